//! Members into the chunk: what Python has is taken apart and read.

use celerant_core::message::{Body, Member};
use celerant_core::value::{Arena, Span};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::call::Call;
use crate::chunk::extend;
use crate::convert::{Reader, value, with_wtf8};
use crate::error::{Raised, Subject, argument_error, canvas_error};
use crate::frames::{Mapped, Unreadable};
use crate::heard::Heard;
use crate::plan::unreadable;
use crate::reading::Reading;
use crate::roster::PyRoster;
use crate::template::PyTemplate;
use crate::templates::{Known, Origin, fingerprint};

impl<'a, 'py> Reading<'a, 'py> {
    /// Puts a signature into the chunk, with the arguments and options of its group's call.
    pub(crate) fn signature(&mut self, index: u32, signature: &Bound<'py, PyDict>) -> PyResult<()> {
        let (args, kwargs) = self.brought();
        let mut call = self.readable(Call::of(signature, args, kwargs))?;
        // As if copied from the group: a plain dict is not, and its list shows in the repr.
        let is_copied = self.plan.is_grouped && !signature.is_exact_instance_of::<PyDict>();
        if is_copied && let Ok(list) = call.args.cast::<PyList>() {
            call.args = list.to_tuple().into_any();
        }
        self.call(index, &call, Origin::Member)
    }

    /// The same for an item of a mapped task.
    pub(crate) fn item(
        &mut self,
        index: u32,
        item: Bound<'py, PyAny>,
        mapped: &Mapped,
    ) -> PyResult<()> {
        let (args, kwargs) = self.brought();
        let call = self.readable(Call::of_item(item, mapped, args, kwargs))?;
        self.call(index, &call, Origin::Member)
    }

    /// The arguments and options that the call adds to each member.
    fn brought(&self) -> (&'a Bound<'py, PyTuple>, &'a Bound<'py, PyDict>) {
        let plan = self.plan;
        (plan.args.bind(self.py), plan.kwargs.bind(self.py))
    }

    pub(crate) fn readable<T>(&self, read: Result<T, Unreadable>) -> PyResult<T> {
        read.map_err(|error| unreadable(self.py, error, &self.path()))
    }

    /// Puts a call into the chunk; an error names the member.
    pub(crate) fn call(&mut self, index: u32, call: &Call<'py>, origin: Origin) -> PyResult<()> {
        let taken = self.take(index, call, origin);
        taken.map_err(|error| self.named(index, &call.task, error))
    }

    /// Names a member in an error.
    pub(crate) fn named(&self, index: u32, task: &Bound<'py, PyString>, error: PyErr) -> PyErr {
        Subject {
            path: &self.path(),
            task,
            index: self.plan.is_grouped.then_some(index),
        }
        .given_to(self.py, error)
    }

    fn take(&mut self, index: u32, call: &Call<'py>, origin: Origin) -> PyResult<()> {
        let (py, plan) = (self.py, self.plan);
        let is_final = origin != Origin::Member;
        let number = self.number_of(call, origin)?;
        let known = match self.last.take() {
            Some((of, known)) if of == number => known,
            _ => self.progress.templates.get(number),
        };
        let template = known.python.get();
        check(template, call)?;
        let (is_wired, registered) = self.register(number, &known);
        let roster = plan.roster.get();
        let is_whole = match &call.own_id {
            Some(id) if is_final => id.to_str()? == roster.member_id(index),
            _ => true,
        };
        let chunk = self.part(is_wired);
        let own_id = match &call.own_id {
            Some(id) if is_final => Some(stored(id, &mut chunk.arena)?),
            Some(id) => own_id(id, index, roster, &mut chunk.arena)?,
            None => None,
        };
        let whole = if is_final {
            call.whole_embed(&PyDict::new(py))?
        } else {
            call.whole_embed(plan.embed.bind(py))?
        };
        let mut reader = Reader::new(&mut chunk.arena);
        let args = value(&mut reader, &call.args)?;
        let kwargs = value(&mut reader, &call.kwargs)?;
        let mut reader = reader.with_canvases(plan.types());
        let embed = match &whole {
            Some(embed) => Some(value(&mut reader, embed)?),
            None => None,
        };
        let body = if reader.is_plain && template.embed.is_some() {
            Body::Plain {
                args,
                kwargs,
                embed,
            }
        } else {
            let bytes = template.encoded(&call.args, &call.kwargs, whole.as_ref())?;
            Body::Ready(chunk.arena.store(bytes.as_bytes()).map_err(Raised::from)?)
        };
        chunk.members.push(Member {
            template: registered,
            index,
            position: plan.position(index),
            args,
            kwargs,
            own_id,
            body,
        });
        if template.heard.is_some() {
            let position = chunk.members.len() - 1;
            let heard = Heard::new(is_wired, position, &known, call, whole);
            self.heard.push(heard);
        }
        // A chain's result is its last step's.
        if template.is_ignored && is_whole {
            extend(&mut self.ignored, index);
        }
        self.last = Some((number, known));
        Ok(())
    }

    /// The number of a call's template.
    fn number_of(&mut self, call: &Call<'py>, origin: Origin) -> PyResult<usize> {
        let (py, plan) = (self.py, self.plan);
        let is_plain = origin == Origin::Member && call.options.is_empty();
        if let Some((task, number)) = &self.plainest
            && is_plain
            && task.is(&call.task)
        {
            return Ok(*number);
        }
        let options = fingerprint(&call.options, origin)?;
        let resolve = || {
            let parts = (&call.task, &call.options, &call.args, &call.kwargs);
            template_of(if origin == Origin::Member {
                plan.resolver.bind(py).call1(parts)?
            } else {
                let (task, options, args, kwargs) = parts;
                let parts = (task, options, args, kwargs, false);
                plan.final_resolver.bind(py).call1(parts)?
            })
        };
        let templates = &mut self.progress.templates;
        let number = templates.number(call.task.to_str()?, options, resolve)?;
        if is_plain && templates.get(number).python.get().is_reusable {
            self.plainest = Some((call.task.clone(), number));
        }
        Ok(number)
    }

    /// Makes sure that the chunk knows a template; returns whether it is wired, and its number.
    pub(crate) fn register(&mut self, number: usize, known: &Known) -> (bool, u32) {
        if let Some(&Some(registered)) = self.registered.get(number) {
            return registered;
        }
        let layout = known.python.get().layout.get();
        if let Some(generic) = &layout.generic {
            self.layouts.push(generic.clone_ref(self.py));
        }
        let is_wired = layout.generic.is_none();
        let templates = &mut self.part(is_wired).templates;
        templates.push(known.core.clone());
        let last = u32::try_from(templates.len() - 1).unwrap_or(u32::MAX);
        if self.registered.len() <= number {
            self.registered.resize(number + 1, None);
        }
        self.registered[number] = Some((is_wired, last));
        (is_wired, last)
    }
}

/// The template that a resolver returned.
pub(crate) fn template_of(made: Bound<'_, PyAny>) -> PyResult<Py<PyTemplate>> {
    made.cast_into::<PyTemplate>()
        .map(Bound::unbind)
        .map_err(|_| PyTypeError::new_err("the resolver must return a Template"))
}

/// Whether the call fits the task's parameters; only a misfit asks Python why.
fn check(template: &PyTemplate, call: &Call<'_>) -> PyResult<()> {
    let Some(parameters) = &template.parameters else {
        return Ok(());
    };
    if parameters.fit(call.args.len()?, &call.kwargs)? {
        return Ok(());
    }
    match parameters.explain(&call.args, &call.kwargs)? {
        None => Ok(()),
        Some(reason) => Err(argument_error(call.task.py(), &reason)),
    }
}

/// Stores a member's own id, unless it is the one that derives anyway.
fn own_id(
    id: &Bound<'_, PyString>,
    index: u32,
    roster: &PyRoster,
    arena: &mut Arena,
) -> PyResult<Option<Span>> {
    let text = id.to_str()?;
    refuse_taken(id.py(), roster, text, index)?;
    if roster.derived().index(text) == Some(index) {
        return Ok(None);
    }
    roster.keep(index, text);
    stored(id, arena).map(Some)
}

fn stored(id: &Bound<'_, PyString>, arena: &mut Arena) -> PyResult<Span> {
    with_wtf8(id, |bytes| Ok(arena.store(bytes).map_err(Raised::from)?))
}

/// Refuses an id that another member has.
pub(crate) fn refuse_taken(
    py: Python<'_>,
    roster: &PyRoster,
    id: &str,
    index: u32,
) -> PyResult<()> {
    match roster.holder(id).filter(|&other| other != index) {
        None => Ok(()),
        Some(other) => {
            let reason = format!(
                "its task_id {id:?} is that of member {other}, and the two would share one \
                 result; give it another, or freeze the group anew"
            );
            Err(canvas_error(py, &reason, ""))
        }
    }
}
