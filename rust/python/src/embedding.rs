//! Arguments and options of a lowered tree's message, written into an arena without Python's dicts.

use celerant_core::canvas::{
    Given, Header, Id, Item, Key, Kind, ListId, MAX_DEPTH, Message, NodeId, Options, Setting,
    deeper,
};
use celerant_core::error::Error;
use celerant_core::value::{Token, ValueRef};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::call::EMBEDDED;
use crate::convert::Reader;
use crate::error::Raised;
use crate::frames::ReadTypes;
use crate::lowered::Lowered;
use crate::names::Named;
use crate::signatures::immutable_copy;

/// Writes parts of a lowered tree as values.
///
/// If it meets a value that only Python can encode, its reader says so, and the part that it wrote
/// is of no use.
pub(crate) struct Writer<'a, 'py> {
    py: Python<'py>,
    lowered: &'a Lowered,
    reader: Reader<'a>,
    /// Canvases that are open, one in the other.
    level: usize,
}

impl<'a, 'py> Writer<'a, 'py> {
    pub(crate) fn new(py: Python<'py>, lowered: &'a Lowered, reader: Reader<'a>) -> Self {
        Self {
            py,
            lowered,
            reader,
            level: 0,
        }
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.reader.is_plain
    }

    /// From here on signatures, groups, chains and chords count as plain dicts.
    pub(crate) fn with_canvases(self, types: &'a ReadTypes) -> Self {
        Self {
            reader: self.reader.with_canvases(types),
            ..self
        }
    }

    fn value(&mut self, given: Given) -> PyResult<()> {
        self.reader.value(self.lowered.canvas.value(self.py, given))
    }

    /// Arguments of a task that leaves now: a tuple.
    pub(crate) fn args(&mut self, sequences: &[Given]) -> PyResult<ValueRef> {
        let at = self.reader.position()?;
        self.joined(sequences)?;
        Ok(at)
    }

    pub(crate) fn kwargs(&mut self, mappings: &[Given]) -> PyResult<ValueRef> {
        let at = self.reader.position()?;
        self.merged(mappings)?;
        Ok(at)
    }

    /// The third item of a message's body.
    pub(crate) fn embed(&mut self, message: &Message) -> PyResult<ValueRef> {
        let at = self.reader.position()?;
        self.reader.push_open(Token::Dict, EMBEDDED.len())?;
        for (option, name) in EMBEDDED {
            self.reader.push_text(name)?;
            match message.options.get(option) {
                None => self.reader.push(Token::Null)?,
                Some(setting) => self.setting(setting)?,
            }
        }
        Ok(at)
    }

    /// Options without those that `is_left_out`.
    pub(crate) fn options(
        &mut self,
        options: &Options,
        is_left_out: impl Fn(&str, &Setting) -> bool,
    ) -> PyResult<ValueRef> {
        let at = self.reader.position()?;
        let kept = |(key, setting): &(&Key, &Setting)| !is_left_out(key, setting);
        let count = options.iter().filter(kept).count();
        self.reader.push_open(Token::Dict, count)?;
        for (key, setting) in options.iter().filter(kept) {
            self.reader.push_text(key)?;
            self.setting(setting)?;
        }
        Ok(at)
    }

    fn setting(&mut self, setting: &Setting) -> PyResult<()> {
        match setting {
            Setting::Given(given) | Setting::Stamps(given, _) => self.value(*given),
            Setting::Null => self.reader.push(Token::Null),
            Setting::No => self.reader.push(Token::Bool(false)),
            Setting::Id(id) => self.id(*id),
            Setting::Index(index) => self.reader.push(Token::Int(i64::from(*index))),
            Setting::ReplyTo => self.reader.value(self.lowered.names.reply_to.bind(self.py)),
            Setting::Canvas(node) => self.node(*node),
            Setting::List(items) => {
                self.reader.push_open(Token::List, items.len())?;
                items.iter().try_for_each(|item| self.item(*item))
            }
        }
    }

    fn id(&mut self, id: Id) -> PyResult<()> {
        match self.lowered.names.text(id) {
            Named::Given(given) => self.value(given),
            Named::Text(text) => self.reader.push_text(&text),
        }
    }

    fn item(&mut self, item: Item) -> PyResult<()> {
        match item {
            Item::Canvas(node) => self.node(node),
            Item::Given(given) => {
                let callback = self.lowered.canvas.value(self.py, given);
                // Python says what to do of something that is no callback.
                self.reader.is_plain &= callback.is_instance_of::<PyDict>();
                self.reader.value(callback)
            }
            Item::Immutable(given) => {
                let callback = self.lowered.canvas.value(self.py, given);
                self.reader.value(&immutable_copy(callback)?)
            }
        }
    }

    fn node(&mut self, id: NodeId) -> PyResult<()> {
        if !self.is_plain() {
            return Ok(());
        }
        self.level += 1;
        if self.level > MAX_DEPTH {
            return Err(Raised::from(Error::TooDeep {
                path: self.lowered.path().to_owned(),
                limit: MAX_DEPTH,
            })
            .into());
        }
        deeper(|| self.signature(id))?;
        self.level -= 1;
        Ok(())
    }

    /// A signature: `task`, `args`, `kwargs`, `options`, `subtask_type` and `immutable`.
    fn signature(&mut self, id: NodeId) -> PyResult<()> {
        let (py, lowered) = (self.py, self.lowered);
        let node = lowered.canvas.tree.node(id);
        let kind = match node.kind {
            Kind::Task => None,
            Kind::Group(_) => Some("group"),
            Kind::Chain(_) => Some("chain"),
            Kind::Chord { .. } => Some("chord"),
        };
        self.reader.push(Token::Dict(6))?;
        self.reader.push_text("task")?;
        match kind {
            None => self.of_origin(id, intern!(py, "task"))?,
            Some(kind) => self.reader.push_text(&format!("celery.{kind}"))?,
        }
        self.reader.push_text("args")?;
        match node.args[..] {
            [only] => self.value(only)?,
            _ => self.joined(&node.args)?,
        }
        self.reader.push_text("kwargs")?;
        match node.kind {
            Kind::Task => self.merged(&node.kwargs)?,
            Kind::Group(list) | Kind::Chain(list) => {
                self.reader.push(Token::Dict(1))?;
                self.reader.push_text("tasks")?;
                self.nodes(list)?;
            }
            Kind::Chord { header, body } => {
                self.reader.push(Token::Dict(3))?;
                self.reader.push_text("kwargs")?;
                self.merged(&node.kwargs)?;
                self.reader.push_text("header")?;
                match header {
                    Header::List(list) => self.nodes(list)?,
                    Header::Group(group) => self.node(group)?,
                }
                self.reader.push_text("body")?;
                self.node(body)?;
            }
        }
        self.reader.push_text("options")?;
        self.options(&node.options, |_, _| false)?;
        self.reader.push_text("subtask_type")?;
        match kind {
            None => self.of_origin(id, intern!(py, "subtask_type"))?,
            Some(kind) => self.reader.push_text(kind)?,
        }
        self.reader.push_text("immutable")?;
        self.reader.push(Token::Bool(node.is_immutable))
    }

    /// The value that a task's signature had under `key` as it was given.
    fn of_origin(&mut self, id: NodeId, key: &Bound<'py, PyString>) -> PyResult<()> {
        let canvas = &self.lowered.canvas;
        let Some(origin) = canvas.tree.node(id).origin else {
            return self.reader.push(Token::Null);
        };
        let origin = canvas.value(self.py, origin).cast::<PyDict>()?;
        match origin.get_item(key)? {
            Some(value) => self.reader.value(&value),
            None => self.reader.push(Token::Null),
        }
    }

    fn nodes(&mut self, list: ListId) -> PyResult<()> {
        let nodes = self.lowered.canvas.tree.nodes(list);
        self.reader.push_open(Token::List, nodes.len())?;
        nodes.iter().try_for_each(|&node| self.node(node))
    }

    /// Sequences one after the other, as one tuple.
    fn joined(&mut self, sequences: &[Given]) -> PyResult<()> {
        let mut items = Vec::new();
        for &sequence in sequences {
            let sequence = self.lowered.canvas.value(self.py, sequence);
            if let Ok(tuple) = sequence.cast_exact::<PyTuple>() {
                items.extend(tuple.iter());
            } else if let Ok(list) = sequence.cast_exact::<PyList>() {
                // Gathered first: reading an item may run code that changes the list.
                items.extend(list.iter());
            } else {
                self.reader.is_plain = false;
            }
        }
        self.reader.push_open(Token::Tuple, items.len())?;
        items.iter().try_for_each(|item| self.reader.value(item))
    }

    /// Mappings laid one over the other.
    fn merged(&mut self, mappings: &[Given]) -> PyResult<()> {
        match mappings {
            [] => self.reader.push(Token::Dict(0)),
            [only] => self.value(*only),
            several => {
                let merged = self.lowered.rendering(self.py).kwargs(several)?;
                self.reader.value(&merged)
            }
        }
    }
}
