//! Stored failures, grouped by the exception's type and the last frame of the user's code.
//!
//! # Source
//! `celery.backends.base.Backend.prepare_exception` of celery 5.7.0 (`exc_type`, `exc_message`,
//! `exc_module`), and the form of a traceback as Python prints it: `  File "f", line n, in name`.

use std::collections::HashMap;

use jiter::{Jiter, JiterResult, JsonValue, Peek};

/// Members that a group names, the first ones that came.
pub const EXAMPLES: usize = 5;
/// Characters of a message that are kept.
const MESSAGE_MOST: usize = 500;
/// Parts of the path of a file that is not the user's.
const FOREIGN: [&str; 10] = [
    "/site-packages/",
    "\\site-packages\\",
    "/dist-packages/",
    "/lib/python3",
    "\\lib\\python3",
    "/celerant/tasks/",
    "/celerant/running/",
    "/celery/app/",
    "<frozen ",
    "\\Lib\\",
];
const FRAME: &str = "File \"";

/// What a record turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is of a failure, which is counted now.
    Failure,
    /// It is of something else.
    Other,
    /// Only kombu can read it: another serializer, compression, lone surrogates, broken text.
    Defer,
}

/// A failure, told by its parts.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    /// The exception's class.
    pub exc_type: &'a str,
    /// Where it is defined; may be empty.
    pub module: &'a str,
    /// What it says.
    pub message: &'a str,
    /// As Python prints it; may be empty.
    pub traceback: &'a str,
}

/// Failures that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The exception's class.
    pub exc_type: String,
    /// Where it is defined; may be empty.
    pub module: String,
    /// What the first of them says.
    pub message: String,
    /// The frame in which they were raised: the last one of the user's code.
    pub frame: Option<Frame>,
    /// How many there are.
    pub count: u64,
    /// The first of their members, up to [`EXAMPLES`].
    pub indices: Vec<u32>,
}

/// A line of a traceback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The file's path, as the worker knows it.
    pub file: String,
    /// The line in it.
    pub line: u32,
    /// The function's name.
    pub function: String,
}

/// Failures as they are read, by group.
#[derive(Debug, Default)]
pub struct Failures {
    groups: Vec<Group>,
    by_key: HashMap<Vec<u8>, usize>,
    /// Of the record that is being read.
    key: Vec<u8>,
    tape: Vec<u8>,
}

impl Failures {
    /// None so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a member's record, and counts it if it is of a failure.
    pub fn read(&mut self, index: u32, payload: &[u8]) -> Found {
        // What is skipped is not checked for UTF-8, and kombu would refuse the record.
        if payload.first() != Some(&b'{') || std::str::from_utf8(payload).is_err() {
            return Found::Defer;
        }
        let tape = std::mem::take(&mut self.tape);
        let mut reader = Jiter::with_tape(payload, tape).with_allow_inf_nan();
        let found = self.read_fields(index, &mut reader);
        self.tape = reader.into_tape();
        found.unwrap_or(Found::Defer)
    }

    fn read_fields(&mut self, index: u32, reader: &mut Jiter<'_>) -> JiterResult<Found> {
        let mut is_failure = None;
        let mut message = None;
        // Module, type and frame: each is put down as it is met.
        let (mut module, mut exc_type, mut frame) = (String::new(), None, String::new());
        let mut key = reader.next_object()?.map(Field::named);
        while let Some(field) = key {
            match field {
                Field::Status => {
                    let failed = reader.next_str()? == "FAILURE";
                    if !failed {
                        return Ok(Found::Other);
                    }
                    is_failure = Some(());
                }
                Field::Result => {
                    if reader.peek()? != Peek::Object {
                        return Ok(Found::Defer);
                    }
                    let mut part = reader.next_object()?.map(Part::named);
                    while let Some(named) = part {
                        match named {
                            Part::Type => exc_type = Some(reader.next_str()?.to_owned()),
                            Part::Module if reader.peek()? == Peek::String => {
                                reader.next_str()?.clone_into(&mut module);
                            }
                            Part::Message => {
                                let start = reader.current_index();
                                reader.next_skip()?;
                                message = Some(reader.slice_to_current(start));
                            }
                            Part::Module | Part::Other => reader.next_skip()?,
                            Part::Foreign => return Ok(Found::Defer),
                        }
                        part = reader.next_key()?.map(Part::named);
                    }
                }
                Field::Traceback if reader.peek()? == Peek::String => {
                    if let Some(found) = last_frame(reader.next_str()?) {
                        found.clone_into(&mut frame);
                    }
                }
                Field::Traceback | Field::Other => reader.next_skip()?,
                Field::Foreign => return Ok(Found::Defer),
            }
            key = reader.next_key()?.map(Field::named);
        }
        reader.finish()?;
        let (Some(()), Some(exc_type)) = (is_failure, exc_type) else {
            return Ok(Found::Defer);
        };
        let say = || message.map(text_of).unwrap_or_default();
        self.count(index, 1, &exc_type, &module, &frame, say);
        Ok(Found::Failure)
    }

    /// Counts `count` failures that are alike; `index` is one of them.
    pub fn add(&mut self, index: u32, count: u64, failed: &Failed<'_>) {
        let frame = last_frame(failed.traceback).unwrap_or_default();
        let say = || shortened(failed.message);
        self.count(index, count, failed.exc_type, failed.module, frame, say);
    }

    fn count(
        &mut self,
        index: u32,
        count: u64,
        exc_type: &str,
        module: &str,
        frame: &str,
        say: impl FnOnce() -> String,
    ) {
        self.key.clear();
        for part in [exc_type, module, frame] {
            self.key.extend_from_slice(part.as_bytes());
            self.key.push(0);
        }
        // By the slice: a key is copied once for each group.
        let number = if let Some(&number) = self.by_key.get(self.key.as_slice()) {
            number
        } else {
            self.groups.push(Group {
                exc_type: exc_type.to_owned(),
                module: module.to_owned(),
                message: say(),
                frame: Frame::parsed(frame),
                count: 0,
                indices: Vec::new(),
            });
            self.by_key.insert(self.key.clone(), self.groups.len() - 1);
            self.groups.len() - 1
        };
        let group = &mut self.groups[number];
        group.count += count;
        if group.indices.len() < EXAMPLES {
            group.indices.push(index);
        }
    }

    /// The groups, the most frequent first; of equal ones that which came first.
    #[must_use]
    pub fn ranked(&self) -> Vec<&Group> {
        let mut ranked: Vec<_> = self.groups.iter().collect();
        ranked.sort_by_key(|group| std::cmp::Reverse(group.count));
        ranked
    }
}

enum Field {
    Status,
    Result,
    Traceback,
    Foreign,
    Other,
}

impl Field {
    fn named(key: &str) -> Self {
        match key {
            "status" => Self::Status,
            "result" => Self::Result,
            "traceback" => Self::Traceback,
            "__type__" => Self::Foreign,
            _ => Self::Other,
        }
    }
}

enum Part {
    Type,
    Message,
    Module,
    /// Part of kombu's envelope for a value of a type JSON does not have.
    Foreign,
    Other,
}

impl Part {
    fn named(key: &str) -> Self {
        match key {
            "exc_type" => Self::Type,
            "exc_message" => Self::Message,
            "exc_module" => Self::Module,
            "__type__" => Self::Foreign,
            _ => Self::Other,
        }
    }
}

impl Frame {
    /// From a line of a traceback, from its `File "` on.
    fn parsed(line: &str) -> Option<Self> {
        let (file, rest) = line.strip_prefix(FRAME)?.split_once("\", line ")?;
        let (number, function) = rest.split_once(", in ").unwrap_or((rest, ""));
        Some(Self {
            file: file.to_owned(),
            line: number.trim_end().parse().ok()?,
            function: function.trim_end().to_owned(),
        })
    }
}

/// The last frame of the user's code in a traceback, from its `File "` on; if all are others',
/// the last one of all.
fn last_frame(traceback: &str) -> Option<&str> {
    let mut last = None;
    let mut text = traceback;
    while let Some(at) = text.rfind(FRAME) {
        // Of an exception group the frames have a line on their left.
        let before = text.as_bytes()[..at].iter().rev();
        let mut margin = before.skip_while(|c| matches!(c, b' ' | b'|' | b'+'));
        if margin.next().is_none_or(|&c| c == b'\n') {
            let line = text[at..].lines().next().unwrap_or_default();
            if line.contains("\", line ") {
                if is_users(line) {
                    return Some(line);
                }
                last = last.or(Some(line));
            }
        }
        text = &text[..at];
    }
    last
}

fn is_users(line: &str) -> bool {
    let path = line.split("\", line ").next().unwrap_or(line);
    !FOREIGN.iter().any(|part| path.contains(part))
}

/// What an exception says, by its arguments as JSON.
fn text_of(arguments: &[u8]) -> String {
    let Ok(value) = JsonValue::parse(arguments, true) else {
        return String::new();
    };
    if let Some(only) = only_text(&value) {
        return shortened(only);
    }
    let text = String::from_utf8_lossy(arguments);
    let inner = text.trim();
    let inner = inner.strip_prefix('[').unwrap_or(inner);
    shortened(inner.strip_suffix(']').unwrap_or(inner))
}

fn only_text<'a>(value: &'a JsonValue<'_>) -> Option<&'a str> {
    match value {
        JsonValue::Str(text) => Some(text),
        JsonValue::Array(items) => match items.as_slice() {
            [JsonValue::Str(text)] => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
