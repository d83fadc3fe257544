//! Reads one chunk: members apart, templates looked up, arguments into the arena.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use celerant_core::message::Chunk;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::chord_size::PyChordSize;
use crate::chunk::{PyChunk, extend};
use crate::frames::Leaf;
use crate::heard::{Heard, Hearing};
use crate::lowered::Lowered;
use crate::lowered_members::Carried;
use crate::members::refuse_taken;
use crate::plan::{PyPlan, failed};
use crate::progress::{Held, Pending, Progress};
use crate::rows::Shared;
use crate::templates::Known;

/// A slow generator's members leave when one is drawn and this has passed.
const LINGER: Duration = Duration::from_millis(20);

/// About how many bytes a message takes beside its arguments.
const MESSAGE_BYTES: usize = 1100;

/// One chunk in the making.
pub(crate) struct Reading<'a, 'py> {
    pub(crate) py: Python<'py>,
    pub(crate) plan: &'a PyPlan,
    pub(crate) progress: &'a mut Progress,
    wired: Chunk,
    generic: Chunk,
    pub(crate) layouts: Vec<Py<PyAny>>,
    pub(crate) ignored: Vec<(u32, u32)>,
    chord_sizes: Vec<Py<PyChordSize>>,
    pub(crate) results: u64,
    several: Vec<(u32, u32)>,
    shared: Vec<u32>,
    pub(crate) heard: Vec<Heard>,
    /// By template number: whether it is wired, and its number in its chunk.
    pub(crate) registered: Vec<Option<(bool, u32)>>,
    /// The last task without options, and its template: most members have the same as the one
    /// before.
    pub(crate) plainest: Option<(Bound<'py, PyString>, usize)>,
    /// The template of the member before, and its number.
    pub(crate) last: Option<(usize, Arc<Known>)>,
    /// The embed of the message before: all tasks of one header carry the same body.
    pub(crate) carried: Option<Carried>,
    /// What the rows of a table share.
    pub(crate) by_rows: Option<Shared>,
    /// Bytes that messages share, counted for each but the first.
    pub(crate) shared_bytes: usize,
    /// The path of the member that was held, while it is read.
    path_of_held: Option<String>,
    is_due: bool,
}

impl<'a, 'py> Reading<'a, 'py> {
    pub(crate) fn new(py: Python<'py>, plan: &'a PyPlan, progress: &'a mut Progress) -> Self {
        let chunk = || Chunk {
            repr_limits: plan.rules.get().repr_limits,
            ..Chunk::default()
        };
        Self {
            py,
            plan,
            progress,
            wired: chunk(),
            generic: chunk(),
            layouts: Vec::new(),
            ignored: Vec::new(),
            chord_sizes: Vec::new(),
            results: 0,
            several: Vec::new(),
            shared: Vec::new(),
            heard: Vec::new(),
            registered: Vec::new(),
            plainest: None,
            last: None,
            by_rows: None,
            carried: None,
            shared_bytes: 0,
            path_of_held: None,
            is_due: false,
        }
    }

    /// Reads up to `members` messages or `bytes`; if `whole`, `members` cuts no member in two.
    pub(crate) fn chunk(
        mut self,
        members: usize,
        bytes: usize,
        whole: bool,
    ) -> PyResult<Option<PyChunk>> {
        let started = Instant::now();
        if let Some(Held { index, leaf, path }) = self.progress.held.take() {
            self.path_of_held = Some(path);
            self.read(index, leaf)?;
            self.path_of_held = None;
        }
        while !self.progress.is_over && self.len_bytes() < bytes {
            if self.len() >= members && !(whole && self.progress.is_amid()) {
                break;
            }
            if self.progress.pending.is_some() {
                self.of_pending()?;
                self.is_due = self.progress.pending.is_none() && self.must_leave(started);
                if self.is_due {
                    break;
                }
                continue;
            }
            let Some((index, leaf)) = self.draw()? else {
                break;
            };
            // The receiver of one member must not wait for two.
            self.is_due = self.must_leave(started);
            if self.plan.tells_last && self.is_due && !matches!(leaf, Leaf::Unit(_)) {
                self.hold(index, leaf);
                break;
            }
            let next = self.next_rows(&leaf);
            self.read(index, leaf)?;
            if let Some((rows, at)) = next {
                self.rows_from(&rows, at, members, bytes)?;
            }
            self.is_due = self.must_leave(started);
            if self.is_due {
                break;
            }
        }
        if self.plan.tells_last {
            self.look_ahead()?;
        }
        let is_last = self.progress.is_over
            && self.progress.pending.is_none()
            && self.progress.held.is_none();
        self.progress.has_streamed |= self.len() > 0 && self.is_streamed();
        self.py.check_signals()?;
        let routes = self.progress.templates.routes();
        self.progress.templates.forget();
        let roster = self.plan.roster.get();
        roster.grow_to(self.progress.unroll.len());
        if self.len() == 0 && is_last {
            return Ok(None);
        }
        let len_bytes = self.len_bytes();
        Ok(Some(PyChunk {
            ids: roster.derived().clone(),
            wired: self.wired,
            routes,
            generic: self.generic,
            layouts: self.layouts,
            ignored: self.ignored,
            chord_sizes: self.chord_sizes,
            results: self.results,
            is_last,
            is_due: self.is_due,
            len_bytes,
            several: self.several,
            shared: self.shared,
            hearing: Hearing::of(self.heard, self.plan.types()),
            is_told: AtomicBool::new(false),
        }))
    }

    /// The next member to send.
    fn draw(&mut self) -> PyResult<Option<(u32, Leaf)>> {
        loop {
            match self.progress.unroll.next() {
                Ok(Some((index, leaf))) if self.plan.wants(index) => {
                    return Ok(Some((index, leaf)));
                }
                Ok(Some(_)) => self.progress.read = self.progress.unroll.len(),
                Ok(None) => {
                    self.progress.is_over = true;
                    return Ok(None);
                }
                Err(failure) => return Err(failed(self.py, &self.progress.unroll, failure)),
            }
        }
    }

    fn read(&mut self, index: u32, leaf: Leaf) -> PyResult<()> {
        match leaf {
            Leaf::Unit(canvas) => self.unit(index, &canvas)?,
            Leaf::Message(lowered, number) => self.message(index, &lowered, number)?,
            Leaf::Signature(signature) => {
                self.results += 1;
                self.signature(index, signature.bind(self.py))?;
            }
            Leaf::Item { args, mapped } => {
                self.results += 1;
                self.item(index, args.into_bound(self.py), &mapped)?;
            }
            Leaf::Row(row) => {
                self.results += 1;
                self.row(index, &row)?;
            }
        }
        self.progress.read = index + 1;
        Ok(())
    }

    fn hold(&mut self, index: u32, leaf: Leaf) {
        let path = self.progress.path(self.plan.is_grouped);
        self.progress.held = Some(Held { index, leaf, path });
    }

    /// Draws until it is known whether messages follow.
    fn look_ahead(&mut self) -> PyResult<()> {
        while self.progress.held.is_none()
            && self.progress.pending.is_none()
            && !self.progress.is_over
        {
            match self.draw()? {
                // It may be without messages.
                Some((index, leaf @ Leaf::Unit(_))) => self.read(index, leaf)?,
                Some((index, leaf)) => self.hold(index, leaf),
                None => {}
            }
        }
        Ok(())
    }

    /// Whether the members that were drawn leave before more are drawn: an iterator's first member,
    /// and members that come slowly.
    fn must_leave(&self, started: Instant) -> bool {
        let is_waited_for = self.is_streamed() && self.len() > 0;
        is_waited_for && (!self.progress.has_streamed || started.elapsed() > LINGER)
    }

    /// Whether an iterator was met, which may wait.
    fn is_streamed(&self) -> bool {
        self.plan.streams.are_met.load(Relaxed)
    }

    /// The path of the member that is read.
    pub(crate) fn path(&self) -> String {
        match &self.path_of_held {
            Some(path) => path.clone(),
            None => self.progress.path(self.plan.is_grouped),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.wired.members.len() + self.generic.members.len()
    }

    pub(crate) fn len_bytes(&self) -> usize {
        let arenas = self.wired.arena.len_bytes() + self.generic.arena.len_bytes();
        arenas + self.shared_bytes + self.len() * MESSAGE_BYTES
    }

    pub(crate) fn part(&mut self, is_wired: bool) -> &mut Chunk {
        if is_wired {
            &mut self.wired
        } else {
            &mut self.generic
        }
    }

    /// Reads the next message of the chain or chord that is under way.
    fn of_pending(&mut self) -> PyResult<()> {
        let Some(pending) = &mut self.progress.pending else {
            return Ok(());
        };
        let (index, number) = (pending.index, pending.next);
        let lowered = Arc::clone(&pending.lowered);
        pending.next += 1;
        if pending.next == lowered.messages.len() {
            self.progress.pending = None;
        }
        if lowered.messages.len() > 1 && self.shared.last() != Some(&index) {
            self.shared.push(index);
        }
        self.message(index, &lowered, number)
    }

    /// Lowers a chain or chord; its messages are read next.
    fn unit(&mut self, index: u32, canvas: &Py<PyDict>) -> PyResult<()> {
        let path = self.path();
        let py = self.py;
        let roster = self.plan.roster.get();
        let reply_to = match &self.progress.reply_to {
            Some(known) => known.clone_ref(py),
            None => self.plan.reply_to.call0(py)?,
        };
        self.progress.reply_to = Some(reply_to.clone_ref(py));
        let mut lowered = self.plan.lower(py, canvas, index, reply_to, path)?;
        if let Some(id) = &lowered.id
            && roster.derived().index(id) != Some(index)
        {
            refuse_taken(py, roster, id, index)?;
            roster.keep(index, id);
        }
        if let Some(shape) = lowered.shape.take()
            && !shape.is_plain()
        {
            roster.keep_shape(index, shape);
        }
        if self.vet(canvas, &lowered)? {
            extend(&mut self.ignored, index);
        }
        self.results += u64::from(lowered.results);
        self.chord_sizes.append(&mut lowered.chord_sizes);
        let count = lowered.messages.len();
        if count == 0 {
            self.progress.without_messages.push(index);
            return Ok(());
        }
        if count > 1 {
            let messages = u32::try_from(count).unwrap_or(u32::MAX);
            self.several.push((index, messages));
        }
        self.progress.pending = Some(Pending {
            index,
            lowered: Arc::new(lowered),
            next: 0,
        });
        Ok(())
    }

    /// Refuses a chain or chord, or says whether its result is ignored.
    fn vet(&mut self, canvas: &Py<PyDict>, lowered: &Lowered) -> PyResult<bool> {
        let vet = self.plan.vet.bind(self.py);
        let ask = || vet.call1((canvas, lowered.has_chords))?.is_truthy();
        let Some(end) = &lowered.plain_end else {
            return ask();
        };
        let Ok(end) = end.extract::<String>(self.py) else {
            return ask();
        };
        match self.progress.vetted.entry((lowered.has_chords, end)) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(entry) => Ok(*entry.insert(ask()?)),
        }
    }
}
