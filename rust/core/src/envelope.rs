//! A task's message as kombu's virtual transports keep it in a queue: a JSON envelope with the
//! body in base64. Only the usual form is read here, and all of it: whatever is unusual or wrong
//! is left to kombu, which also says what is wrong.
//!
//! # Source
//! `kombu.transport.virtual.base.Channel.prepare_message` of kombu 5.7.0, and Celery message
//! protocol 2 as emitted by celery 5.7.0 `as_task_v2`.

use std::borrow::Cow;

use jiter::JsonObject;

use crate::headers::{Meaning, Value, is_address, meaning, place_of};
use crate::meta::{MARK, is_plain};

pub use jiter::JsonValue;

/// A message of the usual form.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// The task's id, not empty.
    pub id: Cow<'a, str>,
    /// The task's name.
    pub task: Cow<'a, str>,
    /// The other headers that are not null, for the request, by their places.
    pub headers: Vec<(usize, JsonValue<'a>)>,
    /// All properties.
    pub properties: JsonObject<'a>,
    /// Where the message should be answered; checked.
    pub reply_to: Option<Cow<'a, str>>,
    /// The message's own id; checked.
    pub correlation_id: Option<Cow<'a, str>>,
    /// Of the delivery.
    pub exchange: Option<Cow<'a, str>>,
    /// Of the delivery.
    pub routing_key: Option<Cow<'a, str>>,
    /// Of the message.
    pub priority: Option<i64>,
    /// Whether the broker says that it was delivered before.
    pub is_redelivered: bool,
    body: Cow<'a, str>,
}

/// The arguments of a task whose message has no callbacks, chain or chord.
#[derive(Debug)]
pub struct Arguments<'a> {
    /// The positional ones.
    pub args: JsonValue<'a>,
    /// Those by name.
    pub kwargs: JsonValue<'a>,
}

/// Reads an envelope; `None` if it is unusual.
#[must_use]
pub fn read(envelope: &[u8]) -> Option<Envelope<'_>> {
    let JsonValue::Object(parts) = JsonValue::parse(envelope, false).ok()? else {
        return None;
    };
    let (mut body, mut headers, mut properties) = (None, None, None);
    let (mut is_json, mut is_utf8) = (false, false);
    for (name, value) in parts.iter() {
        match (name.as_ref(), value) {
            ("body", JsonValue::Str(text)) if body.is_none() => body = Some(text.clone()),
            ("headers", JsonValue::Object(items)) if headers.is_none() => headers = Some(items),
            ("properties", JsonValue::Object(items)) if properties.is_none() => {
                properties = Some(items);
            }
            ("content-type", JsonValue::Str(text)) if !is_json => {
                is_json = text == "application/json";
            }
            ("content-encoding", JsonValue::Str(text)) if !is_utf8 => is_utf8 = text == "utf-8",
            _ => return None,
        }
    }
    if !(is_json && is_utf8) {
        return None;
    }
    let mut read = Envelope {
        id: Cow::Borrowed(""),
        task: Cow::Borrowed(""),
        headers: Vec::with_capacity(10),
        properties: properties?.clone(),
        reply_to: None,
        correlation_id: None,
        exchange: None,
        routing_key: None,
        priority: None,
        is_redelivered: false,
        body: body?,
    };
    read.take_headers(headers?)?;
    read.take_properties()?;
    // A message without a name or an id is refused, by those who say so.
    (!read.id.is_empty() && !read.task.is_empty()).then_some(read)
}

/// Reads the arguments out of a body; `None` if it is unusual.
#[must_use]
pub fn arguments(body: &[u8]) -> Option<Arguments<'_>> {
    let JsonValue::Array(items) = JsonValue::parse(body, false).ok()? else {
        return None;
    };
    let [args, kwargs, embed] = items.as_slice() else {
        return None;
    };
    let is_usual = matches!(args, JsonValue::Array(_))
        && matches!(kwargs, JsonValue::Object(_))
        && is_plain(args)
        && is_plain(kwargs)
        && is_empty(embed);
    is_usual.then(|| Arguments {
        args: args.clone(),
        kwargs: kwargs.clone(),
    })
}

impl<'a> Envelope<'a> {
    /// The body, decoded; `None` if it is no base64.
    #[must_use]
    pub fn body(&self) -> Option<Vec<u8>> {
        base64_simd::STANDARD
            .decode_to_vec(self.body.as_bytes())
            .ok()
    }

    fn take_headers(&mut self, headers: &JsonObject<'a>) -> Option<()> {
        let mut seen = 0_u32;
        for (name, value) in headers.iter() {
            let at = place_of(name)?;
            if seen & (1 << at) != 0 {
                // Python keeps the last of two.
                return None;
            }
            seen |= 1 << at;
            match (meaning(at, value)?, value) {
                (Meaning::Id, JsonValue::Str(text)) => self.id.clone_from(text),
                (Meaning::Task, JsonValue::Str(text)) => self.task.clone_from(text),
                (Meaning::Field, value) => self.headers.push((at, value.clone())),
                _ => {}
            }
        }
        Some(())
    }

    fn take_properties(&mut self) -> Option<()> {
        let properties = JsonObject::clone(&self.properties);
        let (mut has_tag, mut is_base64, mut has_info) = (false, false, false);
        let mut seen = 0_u8;
        for (name, value) in properties.iter() {
            let bit = match name.as_ref() {
                "reply_to" => 1,
                "correlation_id" => 2,
                "priority" => 4,
                "delivery_info" => 8,
                "delivery_tag" => 16,
                "body_encoding" => 32,
                name if name != MARK && is_plain(value) => continue,
                _ => return None,
            };
            if seen & bit != 0 {
                return None;
            }
            seen |= bit;
            match (name.as_ref(), value) {
                ("reply_to" | "correlation_id" | "priority", JsonValue::Null) => {}
                ("reply_to", JsonValue::Str(text)) if is_address(text) => {
                    self.reply_to = Some(text.clone());
                }
                ("correlation_id", JsonValue::Str(text)) if is_address(text) => {
                    self.correlation_id = Some(text.clone());
                }
                ("priority", JsonValue::Int(number)) => self.priority = Some(*number),
                ("delivery_info", JsonValue::Object(info)) => {
                    has_info = true;
                    self.take_delivery(info)?;
                }
                ("delivery_tag", JsonValue::Str(text)) => has_tag = !text.is_empty(),
                ("body_encoding", JsonValue::Str(text)) => is_base64 = text == "base64",
                _ => return None,
            }
        }
        (has_tag && is_base64 && has_info).then_some(())
    }

    fn take_delivery(&mut self, info: &JsonObject<'a>) -> Option<()> {
        for (name, value) in info.iter() {
            match (name.as_ref(), value) {
                ("exchange", JsonValue::Str(text)) if self.exchange.is_none() => {
                    self.exchange = Some(text.clone());
                }
                ("routing_key", JsonValue::Str(text)) if self.routing_key.is_none() => {
                    self.routing_key = Some(text.clone());
                }
                ("redelivered", JsonValue::Bool(told)) => self.is_redelivered = *told,
                ("exchange" | "routing_key" | "redelivered", _) => return None,
                (name, _) if name != MARK && is_plain(value) => {}
                _ => return None,
            }
        }
        Some(())
    }
}

impl Value for JsonValue<'_> {
    fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    fn number(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    fn is_flag(&self) -> bool {
        matches!(self, Self::Bool(_))
    }

    fn is_texts(&self) -> bool {
        matches!(self, Self::Array(items) if items.iter().all(|item| item.text().is_some()))
    }

    fn is_nulls(&self, count: usize) -> bool {
        matches!(self, Self::Array(items) if items.len() == count
            && items.iter().all(Value::is_null))
    }

    fn is_table(&self) -> bool {
        matches!(self, Self::Object(_)) && is_plain(self)
    }
}

/// Whether the third part of a body has nothing.
fn is_empty(embed: &JsonValue<'_>) -> bool {
    match embed {
        JsonValue::Null => true,
        JsonValue::Object(items) => items.iter().all(|(name, value)| {
            matches!(name.as_ref(), "callbacks" | "errbacks" | "chain" | "chord")
                && matches!(value, JsonValue::Null)
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
