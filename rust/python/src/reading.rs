//! Reads one chunk: members apart, templates looked up, arguments into the arena.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use celerant_core::message::{Body, Chunk, Member};
use celerant_core::unroll::Unroll;
use celerant_core::value::{Arena, Span, ValueRef};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::call::Call;
use crate::chunk::{KeptSize, PyChunk, extend};
use crate::convert::{Reader, with_wtf8};
use crate::error::{Place, Raised, argument_error, canvas_error};
use crate::frames::{Leaf, Walk};
use crate::heard::{Heard, Hearing};
use crate::plan::{PyPlan, failed, unreadable};
use crate::roster::PyRoster;
use crate::template::PyTemplate;
use crate::templates::{Known, Templates};

/// A slow generator's members leave when one is drawn and this has passed.
const LINGER: Duration = Duration::from_millis(20);

/// About what a message takes beside its arguments, in bytes.
const MESSAGE_BYTES: usize = 1100;

/// Where a plan stands.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) unroll: Unroll<Walk>,
    /// Members that were read or skipped: without one that could not be read.
    pub(crate) read: u32,
    /// The path at which reading failed.
    pub(crate) failed_at: Option<String>,
    templates: Templates,
    /// Messages of a chain or chord that are still to be read.
    pending: VecDeque<Pending>,
    /// Chains of nothing but empty groups.
    pub(crate) without_messages: Vec<u32>,
    /// Read first in the next chunk: the one before it is not the last, then.
    pub(crate) held: Option<Held>,
    /// Whether a chunk with a member from an iterator was given.
    has_streamed: bool,
    is_over: bool,
}

/// A member that was drawn and is not read yet.
#[derive(Debug)]
pub(crate) struct Held {
    index: u32,
    leaf: Leaf,
    path: String,
}

#[derive(Debug)]
struct Pending {
    /// Which member it is of.
    index: u32,
    message: Py<PyDict>,
    /// Whether the member is several messages.
    is_shared: bool,
}

impl State {
    pub(crate) fn new(unroll: Unroll<Walk>) -> Self {
        Self {
            unroll,
            read: 0,
            failed_at: None,
            templates: Templates::default(),
            pending: VecDeque::new(),
            without_messages: Vec::new(),
            held: None,
            has_streamed: false,
            is_over: false,
        }
    }
}

/// One chunk in the making.
pub(crate) struct Reading<'a, 'py> {
    py: Python<'py>,
    plan: &'a PyPlan,
    state: &'a mut State,
    wired: Chunk,
    generic: Chunk,
    forms: Vec<Py<PyAny>>,
    ignored: Vec<(u32, u32)>,
    chord_sizes: Vec<KeptSize>,
    results: u64,
    several: Vec<(u32, u32)>,
    shared: Vec<u32>,
    heard: Vec<Heard>,
    /// Template number -> (is wired, number in its chunk).
    placed: HashMap<usize, (bool, u32)>,
    /// Where the member stands that was held, while it is read.
    path_of_held: Option<String>,
    is_due: bool,
}

impl<'a, 'py> Reading<'a, 'py> {
    pub(crate) fn new(py: Python<'py>, plan: &'a PyPlan, state: &'a mut State) -> Self {
        let chunk = || Chunk {
            repr_limits: plan.rules.get().repr_limits,
            ..Chunk::default()
        };
        Self {
            py,
            plan,
            state,
            wired: chunk(),
            generic: chunk(),
            forms: Vec::new(),
            ignored: Vec::new(),
            chord_sizes: Vec::new(),
            results: 0,
            several: Vec::new(),
            shared: Vec::new(),
            heard: Vec::new(),
            placed: HashMap::new(),
            path_of_held: None,
            is_due: false,
        }
    }

    pub(crate) fn chunk(mut self, members: usize, bytes: usize) -> PyResult<Option<PyChunk>> {
        let started = Instant::now();
        if let Some(Held { index, leaf, path }) = self.state.held.take() {
            self.path_of_held = Some(path);
            self.read(index, leaf)?;
            self.path_of_held = None;
        }
        while !self.state.is_over && self.len() < members && self.len_bytes() < bytes {
            if let Some(pending) = self.state.pending.pop_front() {
                if pending.is_shared && self.shared.last() != Some(&pending.index) {
                    self.shared.push(pending.index);
                }
                self.member(pending.index, Leaf::Unit(pending.message))?;
                self.is_due = self.state.pending.is_empty() && self.must_leave(started);
                if self.is_due {
                    break;
                }
                continue;
            }
            let Some((index, leaf)) = self.draw()? else {
                break;
            };
            // Whoever waits for one member must not wait for two.
            self.is_due = self.must_leave(started);
            if self.plan.tells_last && self.is_due && !matches!(leaf, Leaf::Unit(_)) {
                self.hold(index, leaf);
                break;
            }
            self.read(index, leaf)?;
            self.is_due = self.must_leave(started);
            if self.is_due {
                break;
            }
        }
        if self.plan.tells_last {
            self.look_ahead()?;
        }
        let is_last =
            self.state.is_over && self.state.pending.is_empty() && self.state.held.is_none();
        self.state.has_streamed |= self.len() > 0 && self.is_streamed();
        self.py.check_signals()?;
        let routes = self.state.templates.routes();
        self.state.templates.forget();
        let roster = self.plan.roster.get();
        roster.set_len(self.state.unroll.len());
        if self.len() == 0 && is_last {
            return Ok(None);
        }
        let len_bytes = self.len_bytes();
        Ok(Some(PyChunk {
            ids: roster.derived().clone(),
            wired: self.wired,
            routes,
            generic: self.generic,
            forms: self.forms,
            ignored: self.ignored,
            chord_sizes: self.chord_sizes,
            results: self.results,
            is_last,
            is_due: self.is_due,
            len_bytes,
            several: self.several,
            shared: self.shared,
            hearing: Hearing::of(self.heard, self.plan.kinds()),
        }))
    }

    /// The next member that is to be sent.
    fn draw(&mut self) -> PyResult<Option<(u32, Leaf)>> {
        loop {
            match self.state.unroll.next() {
                Ok(Some((index, leaf))) if self.plan.wants(index) => {
                    return Ok(Some((index, leaf)));
                }
                Ok(Some(_)) => self.state.read = self.state.unroll.len(),
                Ok(None) => {
                    self.state.is_over = true;
                    return Ok(None);
                }
                Err(failure) => return Err(failed(self.py, &self.state.unroll, failure)),
            }
        }
    }

    fn read(&mut self, index: u32, leaf: Leaf) -> PyResult<()> {
        match leaf {
            Leaf::Unit(canvas) => self.unit(index, &canvas)?,
            leaf => {
                self.results += 1;
                self.member(index, leaf)?;
            }
        }
        self.state.read = index + 1;
        Ok(())
    }

    fn hold(&mut self, index: u32, leaf: Leaf) {
        let path = self.state.path(self.plan.is_grouped);
        self.state.held = Some(Held { index, leaf, path });
    }

    /// Draws until it is known whether messages follow.
    fn look_ahead(&mut self) -> PyResult<()> {
        while self.state.held.is_none() && self.state.pending.is_empty() && !self.state.is_over {
            match self.draw()? {
                // It may be without messages.
                Some((index, leaf @ Leaf::Unit(_))) => self.read(index, leaf)?,
                Some((index, leaf)) => self.hold(index, leaf),
                None => {}
            }
        }
        Ok(())
    }

    /// Whether what was drawn leaves before more is: the first of an iterator, and what comes
    /// slowly.
    fn must_leave(&self, started: Instant) -> bool {
        let is_waited_for = self.is_streamed() && self.len() > 0;
        is_waited_for && (!self.state.has_streamed || started.elapsed() > LINGER)
    }

    /// Whether an iterator was met, which may wait.
    fn is_streamed(&self) -> bool {
        self.plan.streams.are_met.load(Relaxed)
    }

    /// Where the member stands that is read.
    fn path(&self) -> String {
        match &self.path_of_held {
            Some(path) => path.clone(),
            None => self.state.path(self.plan.is_grouped),
        }
    }

    fn len(&self) -> usize {
        self.wired.members.len() + self.generic.members.len()
    }

    fn len_bytes(&self) -> usize {
        self.wired.arena.len_bytes() + self.generic.arena.len_bytes() + self.len() * MESSAGE_BYTES
    }

    fn part(&mut self, is_wired: bool) -> &mut Chunk {
        if is_wired {
            &mut self.wired
        } else {
            &mut self.generic
        }
    }

    /// Lowers a chain or chord; its messages are read next.
    fn unit(&mut self, index: u32, canvas: &Py<PyDict>) -> PyResult<()> {
        let path = self.path();
        let roster = self.plan.roster.get();
        let parts = self.plan.lower(self.py, canvas, index, path)?;
        if let Some(id) = &parts.id
            && roster.derived().index(id) != Some(index)
        {
            refuse_taken(self.py, roster, id, index)?;
            roster.keep(index, id);
        }
        if let Some(shape) = parts.outcome
            && !shape.is_plain()
        {
            roster.keep_outcome(index, shape);
        }
        let vet = self.plan.vet.bind(self.py);
        if vet.call1((canvas, parts.has_chords))?.is_truthy()? {
            extend(&mut self.ignored, index);
        }
        self.results += u64::from(parts.results);
        let sizes = parts.chord_sizes.into_iter();
        self.chord_sizes
            .extend(sizes.map(|(id, size, form)| (id.unbind(), size, form.map(Bound::unbind))));
        if parts.messages.is_empty() {
            self.state.without_messages.push(index);
        }
        let is_shared = parts.messages.len() > 1;
        if is_shared {
            let messages = u32::try_from(parts.messages.len()).unwrap_or(u32::MAX);
            self.several.push((index, messages));
        }
        let messages = parts.messages.into_iter();
        self.state.pending.extend(messages.map(|message| Pending {
            index,
            message: message.unbind(),
            is_shared,
        }));
        Ok(())
    }

    fn member(&mut self, index: u32, leaf: Leaf) -> PyResult<()> {
        // What a chain or chord became has all that the call brings.
        let is_final = matches!(leaf, Leaf::Unit(_));
        let py = self.py;
        let (args, kwargs) = if is_final {
            (PyTuple::empty(py), PyDict::new(py))
        } else {
            (
                self.plan.args.bind(py).clone(),
                self.plan.kwargs.bind(py).clone(),
            )
        };
        // As if copied from the group: a plain dict is not, and its list shows in the repr.
        let is_copied = match &leaf {
            Leaf::Signature(signature) => {
                self.plan.is_grouped && !signature.bind(py).is_exact_instance_of::<PyDict>()
            }
            Leaf::Unit(_) | Leaf::Item { .. } => false,
        };
        let mut call = Call::of(py, leaf, &args, &kwargs)
            .map_err(|error| unreadable(self.py, error, &self.path()))?;
        if is_copied && let Ok(list) = call.args.cast::<PyList>() {
            call.args = list.to_tuple().into_any();
        }
        self.take(index, &call, is_final).map_err(|error| {
            Place {
                path: &self.path(),
                task: &call.task,
                index: self.plan.is_grouped.then_some(index),
            }
            .given_to(self.py, error)
        })
    }

    /// Puts a member into the chunk; an error says what, not which member.
    fn take(&mut self, index: u32, call: &Call<'py>, is_final: bool) -> PyResult<()> {
        let plan = self.plan;
        let (resolver, embed) = if is_final {
            (&plan.final_resolver, None)
        } else {
            (&plan.resolver, Some(plan.embed.bind(self.py)))
        };
        let resolver = resolver.bind(self.py);
        let number = self.state.templates.number(call, resolver, is_final)?;
        let known = self.state.templates.get(number);
        let template = known.python.get();
        check(template, call)?;
        let (is_wired, placed) = self.place(number, &known);
        let roster = self.plan.roster.get();
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
        let whole = match embed {
            Some(embed) => call.whole_embed(embed)?,
            None => call.whole_embed(&PyDict::new(call.task.py()))?,
        };
        let mut reader = Reader::new(&mut chunk.arena);
        let args = value(&mut reader, &call.args)?;
        let kwargs = value(&mut reader, &call.kwargs)?;
        let mut reader = reader.with_canvases(plan.kinds());
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
            template: placed,
            index,
            position: plan.position(index),
            args,
            kwargs,
            own_id,
            body,
        });
        if template.heard.is_some() {
            let position = chunk.members.len() - 1;
            let heard = Heard::new(is_wired, position, &known.python, call, whole);
            self.heard.push(heard);
        }
        // Of a chain the last step's result counts.
        if template.is_ignored && is_whole {
            extend(&mut self.ignored, index);
        }
        Ok(())
    }

    /// Makes sure that the chunk knows a template; returns whether it is wired, and its number.
    fn place(&mut self, number: usize, known: &Known) -> (bool, u32) {
        if let Some(&placed) = self.placed.get(&number) {
            return placed;
        }
        let form = known.python.get().form.get();
        if let Some(generic) = &form.generic {
            self.forms.push(generic.clone_ref(self.py));
        }
        let is_wired = form.generic.is_none();
        let templates = &mut self.part(is_wired).templates;
        templates.push(known.core.clone());
        let last = u32::try_from(templates.len() - 1).unwrap_or(u32::MAX);
        self.placed.insert(number, (is_wired, last));
        (is_wired, last)
    }
}

impl State {
    /// Where the current member stands, for messages.
    pub(crate) fn path(&self, is_grouped: bool) -> String {
        if is_grouped {
            self.unroll.path()
        } else {
            "task".to_owned()
        }
    }
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

pub(crate) fn value(reader: &mut Reader<'_>, value: &Bound<'_, PyAny>) -> PyResult<ValueRef> {
    let at = reader.position()?;
    reader.value(value)?;
    Ok(at)
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
fn refuse_taken(py: Python<'_>, roster: &PyRoster, id: &str, index: u32) -> PyResult<()> {
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
