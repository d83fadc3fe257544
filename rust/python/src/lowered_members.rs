//! Puts messages of a lowered canvas into the chunk, without Python's dicts if all values are
//! plain.

use std::sync::Arc;

use celerant_core::canvas::{Message, Options, Setting};
use celerant_core::json;
use celerant_core::message::{Body, Member};
use celerant_core::value::{Arena, ValueRef};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::call::{Call, EMBEDDED};
use crate::chunk::extend;
use crate::convert::Reader;
use crate::embedding::Writer;
use crate::error::Raised;
use crate::lowered::Lowered;
use crate::members::template_of;
use crate::names::Named;
use crate::reading::Reading;
use crate::template::PyTemplate;
use crate::templates::Origin;

/// The embed of a message; the next one of its canvas may have the same.
#[derive(Debug)]
pub(crate) struct Carried {
    lowered: Arc<Lowered>,
    settings: [Option<Setting>; EMBEDDED.len()],
    is_wired: bool,
    at: ValueRef,
    /// About, with the arguments of the message that was written.
    len_bytes: usize,
}

impl<'py> Reading<'_, 'py> {
    /// Puts a message of a lowered canvas into the chunk.
    pub(crate) fn message(
        &mut self,
        index: u32,
        lowered: &Arc<Lowered>,
        number: usize,
    ) -> PyResult<()> {
        let py = self.py;
        let message = &lowered.messages[number];
        if let Some(task) = task_of(py, lowered, message)? {
            let written = self.written(index, lowered, message, &task);
            if written.map_err(|error| self.named(index, &task, error))? {
                return Ok(());
            }
        }
        let signature = lowered.rendering(py).message(message)?;
        let call = Call::of(&signature, &PyTuple::empty(py), &PyDict::new(py));
        let call = self.readable(call)?;
        self.call(index, &call, Origin::Message)
    }

    /// The same; false if Python must encode it, look at it, or say what is wrong with it.
    fn written(
        &mut self,
        index: u32,
        lowered: &Arc<Lowered>,
        message: &Message,
        task: &Bound<'py, PyString>,
    ) -> PyResult<bool> {
        let (py, plan) = (self.py, self.plan);
        let Some(own_id) = own_id(py, lowered, &message.options) else {
            return Ok(false);
        };
        let position = match message.options.get("group_index") {
            Some(Setting::Index(position)) => Some(*position),
            _ => None,
        };
        let number = self.number(lowered, message, task, position.is_some())?;
        let known = self.progress.templates.get(number);
        let template = known.python.get();
        let is_for_python = template.heard.is_some() || template.embed.is_none();
        if is_for_python || !fits(py, template, lowered, message)? {
            return Ok(false);
        }
        let (is_wired, registered) = self.register(number, &known);
        let carried = self.carried_before(lowered, message, is_wired);
        let arena = &mut self.part(is_wired).arena;
        let (mark, len_bytes) = (arena.checkpoint(), arena.len_bytes());
        let mut writer = Writer::new(py, lowered, Reader::new(arena));
        let args = writer.args(&message.args)?;
        let kwargs = writer.kwargs(&message.kwargs)?;
        let mut writer = writer.with_canvases(plan.types());
        let has_embed = EMBEDDED
            .iter()
            .any(|(option, _)| message.options.has(option));
        let embed = match carried {
            Some(at) => Some(at),
            None if has_embed => Some(writer.embed(message)?),
            None => None,
        };
        let is_plain = writer.is_plain();
        if !is_plain {
            self.part(is_wired).arena.rollback(mark);
            return Ok(false);
        }
        if let Some(at) = embed.filter(|_| carried.is_none()) {
            let len_bytes = self.part(is_wired).arena.len_bytes() - len_bytes;
            self.carry(lowered, message, is_wired, at, len_bytes);
        }
        let chunk = self.part(is_wired);
        let span = if own_id.is_empty() {
            None
        } else {
            let stored = chunk.arena.store(own_id.as_bytes());
            Some(stored.map_err(Raised::from)?)
        };
        chunk.members.push(Member {
            template: registered,
            index,
            position: position.unwrap_or_else(|| plan.position(index)),
            args,
            kwargs,
            own_id: span,
            body: Body::Plain {
                args,
                kwargs,
                embed,
            },
        });
        // A chain's result is its last step's.
        let is_whole = || own_id.is_empty() || own_id == plan.roster.get().member_id(index);
        if template.is_ignored && is_whole() {
            extend(&mut self.ignored, index);
        }
        Ok(true)
    }

    /// The number of a message's template.
    fn number(
        &mut self,
        lowered: &Lowered,
        message: &Message,
        task: &Bound<'py, PyString>,
        is_placed: bool,
    ) -> PyResult<usize> {
        let (py, plan) = (self.py, self.plan);
        let key = key(py, lowered, message, is_placed)?;
        self.progress.templates.number(task.to_str()?, key, || {
            let options = message.options.iter();
            let options = options.filter(|(name, setting)| !is_of_member(name, setting));
            let options = options.map(|(name, setting)| (name.clone(), setting.clone()));
            let mut rendering = lowered.rendering(py);
            let parts = (
                task,
                rendering.options(&options.collect())?,
                rendering.copied_args(&message.args)?,
                rendering.kwargs(&message.kwargs)?,
                is_placed,
            );
            template_of(plan.final_resolver.bind(py).call1(parts)?)
        })
    }

    /// The embed of the message before, if this one has the same.
    fn carried_before(
        &mut self,
        lowered: &Arc<Lowered>,
        message: &Message,
        is_wired: bool,
    ) -> Option<ValueRef> {
        let carried = self.carried.as_ref()?;
        let is_same = carried.is_wired == is_wired
            && Arc::ptr_eq(&carried.lowered, lowered)
            && EMBEDDED
                .iter()
                .zip(&carried.settings)
                .all(|((option, _), setting)| message.options.get(option) == setting.as_ref());
        if !is_same {
            return None;
        }
        self.shared_bytes += carried.len_bytes;
        Some(carried.at)
    }

    fn carry(
        &mut self,
        lowered: &Arc<Lowered>,
        message: &Message,
        is_wired: bool,
        at: ValueRef,
        len_bytes: usize,
    ) {
        if lowered.messages.len() == 1 {
            return;
        }
        self.carried = Some(Carried {
            lowered: Arc::clone(lowered),
            settings: EMBEDDED.map(|(option, _)| message.options.get(option).cloned()),
            is_wired,
            at,
            len_bytes,
        });
    }
}

/// The task's name, if it is text as it should be.
fn task_of<'py>(
    py: Python<'py>,
    lowered: &Lowered,
    message: &Message,
) -> PyResult<Option<Bound<'py, PyString>>> {
    let Some(origin) = lowered.canvas.tree.node(message.node).origin else {
        return Ok(None);
    };
    let origin = lowered.canvas.value(py, origin).cast::<PyDict>()?;
    let task = origin.get_item(intern!(py, "task"))?;
    let task = task.and_then(|task| task.cast_into::<PyString>().ok());
    Ok(task.filter(|task| task.to_str().is_ok()))
}

/// The task's id, empty if it has none; None if it is not text as it should be.
fn own_id(py: Python<'_>, lowered: &Lowered, options: &Options) -> Option<String> {
    let given = match options.some("task_id") {
        None => return Some(String::new()),
        Some(Setting::Id(id)) => match lowered.names.text(*id) {
            Named::Text(text) => return Some(text),
            Named::Given(given) => given,
        },
        Some(Setting::Given(given)) => *given,
        Some(_) => return None,
    };
    let id = lowered.canvas.value(py, given).cast::<PyString>().ok()?;
    id.to_str().ok().map(str::to_owned)
}

/// Whether an option is the message's own; the other options tell which template it has.
fn is_of_member(name: &str, setting: &Setting) -> bool {
    match name {
        "task_id" => true,
        "group_index" => matches!(setting, Setting::Index(_)),
        _ => EMBEDDED.iter().any(|(option, _)| *option == name),
    }
}

/// The bytes that tell a message's template from others of the task; None: it serves no other.
fn key(
    py: Python<'_>,
    lowered: &Lowered,
    message: &Message,
    is_placed: bool,
) -> PyResult<Option<Vec<u8>>> {
    let origin = if is_placed {
        Origin::PositionedMessage
    } else {
        Origin::Message
    };
    let mut arena = Arena::with_capacity(32, 256);
    let mut writer = Writer::new(py, lowered, Reader::new(&mut arena));
    let at = writer.options(&message.options, is_of_member)?;
    if !writer.is_plain() {
        return Ok(None);
    }
    let mut key = vec![origin as u8];
    json::write(&arena, at, &mut key).map_err(Raised::from)?;
    Ok(Some(key))
}

/// Whether a message's arguments fit the task's parameters.
fn fits(
    py: Python<'_>,
    template: &PyTemplate,
    lowered: &Lowered,
    message: &Message,
) -> PyResult<bool> {
    let Some(parameters) = &template.parameters else {
        return Ok(true);
    };
    let mut count = 0;
    for &sequence in &message.args {
        count += lowered.canvas.value(py, sequence).len()?;
    }
    parameters.fit(count, &lowered.rendering(py).kwargs(&message.kwargs)?)
}
