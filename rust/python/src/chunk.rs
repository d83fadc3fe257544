//! `Chunk`: members that are encoded and sent together.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use celerant_core::id::{ID_LEN, Ids, Tags};
use celerant_core::message::{Chunk, Member};
use celerant_core::wire::redis::{Mark, Route};
use celerant_core::wire::{amqp, redis};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::chord_size::{PyChordSize, copies};
use crate::convert::from_wtf8;
use crate::error::Raised;
use crate::heard::{Hearing, PyHeard, Rewriting, Rewritten};
use crate::messages::{PyMessage, messages};
use crate::ready::{PyReady, ready};

/// Members below which attaching again costs more than others gain meanwhile.
/// Source: `benches/test_dispatch.py`, `test_encode`: 1 us for a detach, 0.7 us for a member.
const DETACH_FROM: usize = 16;

/// Bytes of a buffer that is kept for the next chunk; one of large messages is let go.
const KEPT_MOST: usize = 4 << 20;

thread_local! {
    /// The buffer of the last chunk that this thread encoded.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Members as owned data, for a wire to encode and for kombu to publish.
#[pyclass(frozen, module = "celerant._core", name = "Chunk")]
#[derive(Debug)]
pub struct PyChunk {
    pub(crate) ids: Ids,
    /// For the dispatch's wire.
    pub(crate) wired: Chunk,
    pub(crate) routes: Arc<Vec<Route>>,
    /// For `Producer.publish`.
    pub(crate) generic: Chunk,
    /// The layouts of `generic`'s templates, in their order.
    pub(crate) layouts: Vec<Py<PyAny>>,
    pub(crate) ignored: Vec<(u32, u32)>,
    /// How many results the chords of groups inside members wait for.
    pub(crate) chord_sizes: Vec<Py<PyChordSize>>,
    /// How many results a chord waits for that has these members as its header.
    pub(crate) results: u64,
    pub(crate) is_last: bool,
    pub(crate) is_due: bool,
    pub(crate) len_bytes: usize,
    /// Members that are several messages and begin here: index, and how many in all chunks.
    pub(crate) several: Vec<(u32, u32)>,
    /// Members that are several messages and have at least one here; ascending.
    pub(crate) shared: Vec<u32>,
    /// Members that somebody hears of.
    pub(crate) hearing: Option<Box<Hearing>>,
    /// Whether a ledger was told the fate of its messages.
    pub(crate) is_told: AtomicBool,
}

impl PyChunk {
    /// The same chunk without messages, of which no ledger was told.
    fn bare(&self) -> Self {
        Self {
            ids: self.ids.clone(),
            wired: Chunk::default(),
            routes: Arc::default(),
            generic: Chunk::default(),
            layouts: Vec::new(),
            ignored: Vec::new(),
            chord_sizes: Vec::new(),
            results: 0,
            is_last: self.is_last,
            is_due: self.is_due,
            len_bytes: self.len_bytes,
            several: Vec::new(),
            shared: self.shared.clone(),
            hearing: None,
            is_told: AtomicBool::new(false),
        }
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        self.wired.members.iter().chain(&self.generic.members)
    }

    /// Members that are one message, as half-open ranges; for each other, how many of its messages
    /// are here.
    pub(crate) fn tally(&self) -> (Vec<Range<u32>>, BTreeMap<u32, u32>) {
        let mut whole = Vec::new();
        let mut shared = BTreeMap::new();
        for member in self.members() {
            if self.shared.is_empty() || self.shared.binary_search(&member.index).is_err() {
                extend(&mut whole, member.index);
            } else {
                *shared.entry(member.index).or_default() += 1;
            }
        }
        let whole = whole.into_iter().map(|(start, end)| start..end).collect();
        (whole, shared)
    }

    /// Encodes into a buffer that the thread keeps: new memory for each chunk would cost as much
    /// again, in page faults.
    fn encoded<'py, T: Send>(
        &self,
        py: Python<'py>,
        work: impl FnOnce(&mut Vec<u8>) -> celerant_core::error::Result<T> + Send,
    ) -> PyResult<(Bound<'py, PyBytes>, T)> {
        let mut out = SCRATCH.take();
        out.clear();
        let done = self.detached(py, || work(&mut out));
        let bytes = done.map(|told| (PyBytes::new(py, &out), told));
        if out.capacity() <= KEPT_MOST {
            SCRATCH.set(out);
        }
        Ok(bytes.map_err(Raised::from)?)
    }

    fn detached<T: Send>(&self, py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
        if self.wired.members.len() < DETACH_FROM {
            return work();
        }
        py.detach(work)
    }
}

/// Adds `index` to ascending half-open ranges.
pub(crate) fn extend(runs: &mut Vec<(u32, u32)>, index: u32) {
    match runs.last_mut() {
        Some((_, end)) if *end == index => *end += 1,
        _ => runs.push((index, index.saturating_add(1))),
    }
}

#[pymethods]
impl PyChunk {
    fn __len__(&self) -> usize {
        self.wired.members.len() + self.generic.members.len()
    }

    /// About how many bytes the members take on the wire.
    #[getter]
    fn size(&self) -> usize {
        self.len_bytes
    }

    /// Whether there is something for the wire.
    #[getter]
    fn has_wired(&self) -> bool {
        !self.wired.members.is_empty()
    }

    /// The members' indices as half-open ranges; one that is several messages comes again.
    fn ranges(&self) -> Vec<(u32, u32)> {
        let mut runs = Vec::new();
        for member in self.members() {
            extend(&mut runs, member.index);
        }
        runs
    }

    /// The task id of the wired message at `position`.
    ///
    /// Raises:
    ///     `IndexError`: There is no such message.
    fn id<'py>(&self, py: Python<'py>, position: usize) -> PyResult<Bound<'py, PyAny>> {
        let Some(member) = self.wired.members.get(position) else {
            return Err(PyIndexError::new_err(format!(
                "no message {position} in this chunk"
            )));
        };
        let mut derived = [0; ID_LEN];
        from_wtf8(py, self.wired.id(member, &self.ids, &mut derived))
    }

    /// The member's index of each message for the wire, in order. A member that is several messages
    /// is in it several times.
    fn wired(&self) -> Vec<u32> {
        self.wired
            .members
            .iter()
            .map(|member| member.index)
            .collect()
    }

    /// Members that ignore their results, as half-open ranges.
    fn ignored(&self) -> Vec<(u32, u32)> {
        self.ignored.clone()
    }

    /// The chord sizes of groups inside members: the result backend is told of them before the
    /// chunk leaves.
    fn chord_sizes(&self, py: Python<'_>) -> Vec<Py<PyChordSize>> {
        copies(py, &self.chord_sizes)
    }

    /// Whether no chunk follows; known only if the plan was told to find out.
    #[getter]
    fn is_last(&self) -> bool {
        self.is_last
    }

    /// Whether it has room left, but its members must not wait for a slow source.
    #[getter]
    fn is_due(&self) -> bool {
        self.is_due
    }

    /// How many results a chord waits for that has these members in its header.
    #[getter]
    fn results(&self) -> u64 {
        self.results
    }

    /// The same chunk with only the wired messages at `positions`, in that order.
    #[allow(clippy::needless_pass_by_value)] // PyO3 hands over what it extracted
    fn select(&self, positions: Vec<usize>) -> Self {
        let members = positions.iter();
        let members = members.filter_map(|&position| self.wired.members.get(position));
        Self {
            wired: Chunk {
                arena: self.wired.arena.clone(),
                members: members.copied().collect(),
                templates: self.wired.templates.clone(),
                repr_limits: self.wired.repr_limits,
                own: self.wired.own.clone(),
            },
            routes: Arc::clone(&self.routes),
            ..self.bare()
        }
    }

    /// The messages for the wire, and those for `Producer.publish`, as a chunk each.
    fn parted(&self, py: Python<'_>) -> (Self, Self) {
        let wired = self.select((0..self.wired.members.len()).collect());
        let generic = Self {
            generic: self.generic.clone(),
            layouts: self.layouts.iter().map(|one| one.clone_ref(py)).collect(),
            ..self.bare()
        };
        (wired, generic)
    }

    /// The same chunk with only the messages of members in `ranges`, half-open and ascending.
    #[allow(clippy::needless_pass_by_value)] // PyO3 hands over what it extracted
    fn within(&self, py: Python<'_>, ranges: Vec<(u32, u32)>) -> Self {
        let is_in = |index: u32| {
            let after = ranges.partition_point(|&(start, _)| start <= index);
            after > 0 && index < ranges[after - 1].1
        };
        let kept = |chunk: &Chunk| Chunk {
            arena: chunk.arena.clone(),
            members: chunk
                .members
                .iter()
                .filter(|member| is_in(member.index))
                .copied()
                .collect(),
            templates: chunk.templates.clone(),
            repr_limits: chunk.repr_limits,
            own: chunk.own.clone(),
        };
        let several = self.several.iter().filter(|(index, _)| is_in(*index));
        Self {
            wired: kept(&self.wired),
            routes: Arc::clone(&self.routes),
            generic: kept(&self.generic),
            layouts: self.layouts.iter().map(|one| one.clone_ref(py)).collect(),
            ignored: self.ignored.clone(),
            chord_sizes: copies(py, &self.chord_sizes),
            results: self.results,
            several: several.copied().collect(),
            ..self.bare()
        }
    }

    /// Whether some messages are for `Producer.publish`.
    #[getter]
    fn has_generic(&self) -> bool {
        !self.generic.members.is_empty()
    }

    /// One transaction in RESP, and the number of commands between MULTI and EXEC.
    ///
    /// Args:
    ///     mark: Full key of the dispatch's mark; None goes without.
    ///     value: The mark's value once the chunk is in.
    ///     entropy: 16 random bytes, for the delivery tags.
    fn redis<'py>(
        &self,
        py: Python<'py>,
        mark: Option<Vec<u8>>,
        value: u64,
        entropy: [u8; 16],
    ) -> PyResult<(Bound<'py, PyBytes>, usize)> {
        let mark = mark.map(|key| Mark { key, value });
        self.encoded(py, |out| {
            let mut tags = Tags::new(entropy);
            redis::encode(
                &self.wired,
                &self.ids,
                &mut tags,
                &self.routes,
                mark.as_ref(),
                out,
            )
        })
    }

    /// Per list that the transaction pushes to: commands queued for it, and its members.
    fn by_route(&self) -> PyResult<Vec<(usize, Vec<u32>)>> {
        let mut found: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for member in &self.wired.members {
            let Some(template) = self.wired.templates.get(member.template as usize) else {
                return Err(PyValueError::new_err("a member without its template"));
            };
            found.entry(template.route).or_default().push(member.index);
        }
        let commands = |route: u32| {
            1 + self
                .routes
                .get(route as usize)
                .map_or(0, |route| route.expire.len())
        };
        Ok(found
            .into_iter()
            .map(|(route, members)| (commands(route), members))
            .collect())
    }

    /// Frames of the members from position `start` on, and the next position.
    fn amqp<'py>(
        &self,
        py: Python<'py>,
        channel: u16,
        frame_max: u32,
        start: usize,
        max_bytes: usize,
    ) -> PyResult<(Bound<'py, PyBytes>, usize)> {
        self.encoded(py, |out| {
            amqp::encode(
                &self.wired,
                &self.ids,
                channel,
                frame_max,
                start,
                max_bytes,
                out,
            )
        })
    }

    /// Members that somebody hears of, in their order.
    fn heard(&self, py: Python<'_>) -> PyResult<Vec<PyHeard>> {
        let members = self.hearing.iter().flat_map(|hearing| &hearing.members);
        members.map(|heard| heard.told(py, self)).collect()
    }

    /// The same chunk with new bodies for the members in `heard`, one for each, and with new
    /// templates if one is given.
    ///
    /// Raises:
    ///     `EncodeError`: A value that no serializer takes.
    #[allow(clippy::needless_pass_by_value)] // PyO3 hands over what it extracted
    fn rewritten(&self, py: Python<'_>, members: Vec<Rewritten<'_>>) -> PyResult<Self> {
        let Some(hearing) = &self.hearing else {
            return Err(PyValueError::new_err("nobody hears of this chunk"));
        };
        let mut writing = Rewriting::of(py, self, hearing);
        for (heard, member) in hearing.members.iter().zip(members) {
            writing.member(heard, &member)?;
        }
        Ok(writing.chunk())
    }

    /// Messages for `Producer.publish`.
    fn generic(&self, py: Python<'_>) -> PyResult<Vec<PyMessage>> {
        messages(py, &self.generic, &self.ids, &self.layouts)
    }

    /// Messages for kombu's queues in memory: those in a row that have one layout together.
    fn ready(&self, py: Python<'_>, entropy: [u8; 16]) -> PyResult<Vec<PyReady>> {
        ready(py, &self.generic, &self.ids, &self.layouts, entropy)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let ranges = PyList::new(py, self.ranges())?;
        Ok(format!("<Chunk of members {ranges}>"))
    }
}
