//! `Plan`: reads a canvas chunk by chunk.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use celerant_core::unroll::{Failure, Unroll};
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMapping, PyTuple};

use crate::call::{EMBEDDED, listed};
use crate::chunk::PyChunk;
use crate::error::{Raised, canvas_error};
use crate::frames::{Leaf, ReadTypes, Streams, Unreadable, Walk};
use crate::lowered::{Applied, Lowered, PyLowered, results_of};
use crate::names::Names;
use crate::progress::Progress;
use crate::reading::Reading;
use crate::roster::PyRoster;
use crate::rules::{PyReadable, PyRules};

/// The part of an order that reading it needs; taken from an object by its attributes.
#[derive(FromPyObject)]
struct Order<'py> {
    /// The members: a list, a tuple or something to iterate once.
    source: Bound<'py, PyAny>,
    roster: Py<PyRoster>,
    rules: Py<PyRules>,
    /// [`Blueprints`]. Extracted by itself: an error of its code, such as Ctrl-C, would come out of
    /// a struct in a struct as another one.
    blueprints: Bound<'py, PyAny>,
    args: Py<PyTuple>,
    kwargs: Bound<'py, PyMapping>,
    grouped: bool,
    /// Half-open ranges of members to read; None reads all.
    only: Option<Vec<(u32, u32)>>,
    /// `group_index` of each member; None: its number among all.
    positions: Option<Vec<u32>>,
    /// [`Hooks`].
    hooks: Bound<'py, PyAny>,
}

/// The source of blueprints for its messages.
#[derive(FromPyObject)]
struct Blueprints<'py> {
    /// Options of the call, for chains and chords.
    call: Bound<'py, PyDict>,
    /// ``() -> str``: the reply queue of results, for the tasks inside chains and chords.
    reply_to: Py<PyAny>,
}

/// Functions that are called on the way.
#[derive(FromPyObject)]
struct Hooks {
    /// ``(canvas, has_chords) -> bool``, called for each chain and chord: raises to refuse it, and
    /// says whether its result is ignored.
    vet: Py<PyAny>,
    /// If it is not None, each chunk says whether it is the last; to know that, one member is held
    /// back.
    before_last: Option<Py<PyAny>>,
}

/// Reads the members of a canvas, left to right, depth first, as chunks of owned data.
#[pyclass(frozen, module = "celerant._core", name = "Plan")]
#[derive(Debug)]
pub struct PyPlan {
    pub(crate) roster: Py<PyRoster>,
    pub(crate) rules: Py<PyRules>,
    pub(crate) resolver: Py<PyAny>,
    /// The same for messages to which the call has nothing to add; it is also told whether they are
    /// in a group.
    pub(crate) final_resolver: Py<PyAny>,
    /// Options of the call; `embed` has those that travel in bodies, by their names there.
    options: Py<PyDict>,
    pub(crate) embed: Py<PyDict>,
    pub(crate) reply_to: Py<PyAny>,
    pub(crate) vet: Py<PyAny>,
    pub(crate) args: Py<PyTuple>,
    pub(crate) kwargs: Py<PyDict>,
    pub(crate) is_grouped: bool,
    is_list: bool,
    pub(crate) streams: Arc<Streams>,
    pub(crate) tells_last: bool,
    only: Option<Vec<(u32, u32)>>,
    positions: Option<Vec<u32>>,
    // Taken out while Python runs, so that no lock is held then.
    progress: Mutex<Option<Progress>>,
}

#[pymethods]
impl PyPlan {
    /// Start reading.
    ///
    /// Args:
    ///     order: What is sent.
    ///     resolver: ``(task, options, args, kwargs) -> Template``, called once per template.
    ///     `final_resolver`: The same for messages of chains and chords, whose options are
    ///     complete. Its last argument says whether their ``group_index`` is left out because it is
    ///     a member's.
    #[new]
    fn new(
        py: Python<'_>,
        order: Order<'_>,
        resolver: Py<PyAny>,
        final_resolver: Py<PyAny>,
    ) -> PyResult<Self> {
        let source = &order.source;
        let streams: Arc<Streams> = Arc::default();
        let is_list = source.is_instance_of::<PyList>()
            || source.is_instance_of::<PyTuple>()
            || source.is_instance_of::<PyLowered>();
        let walk = Walk::watched(source, &order.rules.get().types, &streams)
            .map_err(|error| unreadable(py, error, "group"))?;
        let blueprints: Blueprints<'_> = order.blueprints.extract()?;
        let hooks: Hooks = order.hooks.extract()?;
        let options = blueprints.call;
        let embed = PyDict::new(py);
        for (option, name) in EMBEDDED {
            let value = options.get_item(option)?;
            if let Some(value) = value.filter(|value| !value.is_none()) {
                embed.set_item(name, listed(option, value)?)?;
            }
        }
        let kwargs = PyDict::new(py);
        kwargs.update(&order.kwargs)?;
        Ok(Self {
            roster: order.roster,
            rules: order.rules,
            resolver,
            final_resolver,
            options: options.unbind(),
            embed: embed.unbind(),
            reply_to: blueprints.reply_to,
            vet: hooks.vet,
            args: order.args,
            kwargs: kwargs.unbind(),
            is_grouped: order.grouped,
            is_list,
            streams,
            tells_last: hooks.before_last.is_some(),
            only: order.only,
            positions: order.positions,
            progress: Mutex::new(Some(Progress::new(Unroll::new(walk)))),
        })
    }

    // A resolver usually holds the plan: without this the two would never be collected.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.resolver)?;
        visit.call(&self.final_resolver)?;
        visit.call(&self.reply_to)?;
        visit.call(&self.vet)?;
        visit.call(&self.options)?;
        visit.call(&self.embed)?;
        visit.call(&self.args)?;
        visit.call(&self.kwargs)
    }

    /// Whether all members read so far can be read again: none is an iterator's.
    #[getter]
    fn holds(&self) -> bool {
        self.is_list && !self.streams.are_met.load(Relaxed)
    }

    /// Members read or skipped so far, without one that could not be read.
    #[getter]
    fn count(&self) -> PyResult<u32> {
        self.with_progress(|progress| Ok(progress.read))
    }

    /// Members read so far that have no messages.
    #[getter]
    fn without_messages(&self) -> PyResult<Vec<u32>> {
        self.with_progress(|progress| Ok(progress.without_messages.clone()))
    }

    /// The path at which `read` failed; None if it has not failed.
    #[getter]
    fn failed_at(&self) -> PyResult<Option<String>> {
        self.with_progress(|progress| Ok(progress.failed_at.clone()))
    }

    /// Whether of a member some messages were read and others were not.
    #[getter]
    fn is_amid(&self) -> PyResult<bool> {
        self.with_progress(|progress| Ok(progress.is_amid()))
    }

    /// The next chunk: up to `members` members or about `len_bytes` bytes; None at the end.
    ///
    /// Args:
    ///     whole: `members` cuts none in two that is several messages; with 0 of them the rest
    ///         of one is read.
    ///
    /// Raises:
    ///     `CanvasError`, `ArgumentError`, `EncodeError`, `SettingError`: A bad member.
    #[pyo3(signature = (members, len_bytes, whole=false))]
    fn read(
        &self,
        py: Python<'_>,
        members: usize,
        len_bytes: usize,
        whole: bool,
    ) -> PyResult<Option<PyChunk>> {
        self.with_progress(|progress| {
            let done = Reading::new(py, self, progress).chunk(members, len_bytes, whole);
            if done.is_err() {
                progress.failed_at = Some(progress.path(self.is_grouped));
            }
            done
        })
    }

    /// Go through the rest without reading it, so that `count` is the total. An iterator counts
    /// only the members that it has given.
    fn skip_rest(&self, py: Python<'_>) -> PyResult<()> {
        self.streams.are_skipped.store(true, Relaxed);
        self.with_progress(|progress| {
            if !self.holds() {
                progress.read += u32::from(progress.held.take().is_some());
                return Ok(());
            }
            let done = loop {
                match progress.unroll.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => break Ok(()),
                    Err(failure) => break Err(failed(py, &progress.unroll, failure)),
                }
            };
            progress.read = progress.unroll.len();
            done
        })
    }
}

impl PyPlan {
    fn with_progress<T>(&self, work: impl FnOnce(&mut Progress) -> PyResult<T>) -> PyResult<T> {
        let take = || {
            let mut guard = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            guard.take()
        };
        let mut progress = take().ok_or_else(in_use)?;
        let done = work(&mut progress);
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
        done
    }

    pub(crate) fn types(&self) -> &Arc<ReadTypes> {
        &self.rules.get().types
    }

    /// Lowers a member that is a chain or chord.
    pub(crate) fn lower(
        &self,
        py: Python<'_>,
        canvas: &Py<PyDict>,
        index: u32,
        reply_to: Py<PyAny>,
        path: String,
    ) -> PyResult<Lowered> {
        let names = Names::new(self.roster.get(), index, reply_to);
        let applied = Applied {
            args: self.args.bind(py),
            kwargs: self.kwargs.bind(py),
            options: self.options.bind(py),
            group_index: self.is_grouped.then(|| self.position(index)),
            links_errors_to_headers: self.rules.get().links_errors_to_headers,
        };
        Lowered::of(canvas.bind(py), self.types(), names, &applied, path)
    }

    /// A member's `group_index`.
    pub(crate) fn position(&self, index: u32) -> u32 {
        let positions = self.positions.as_deref().unwrap_or_default();
        positions.get(index as usize).copied().unwrap_or(index)
    }

    /// Whether it reads all members.
    pub(crate) const fn wants_all(&self) -> bool {
        self.only.is_none()
    }

    pub(crate) fn wants(&self, index: u32) -> bool {
        self.only.as_ref().is_none_or(|ranges| {
            let after = ranges.partition_point(|&(start, _)| start <= index);
            after > 0 && index < ranges[after - 1].1
        })
    }
}

/// The members of a canvas in order: signatures, and `(task, args, options)` of mapped items.
///
/// Raises:
///     `CanvasError`: A cycle, too deep, or something that is no member.
#[pyfunction]
pub(crate) fn unroll<'py>(
    source: &Bound<'py, PyAny>,
    readable: &Bound<'_, PyReadable>,
) -> PyResult<Bound<'py, PyList>> {
    let py = source.py();
    let types = &readable.get().types;
    let walk = Walk::over(source, types).map_err(|error| unreadable(py, error, "group"))?;
    let mut unroll = Unroll::new(walk);
    let found = PyList::empty(py);
    loop {
        match unroll.next() {
            Ok(None) => return Ok(found),
            Ok(Some((_, Leaf::Signature(member) | Leaf::Unit(member)))) => found.append(member)?,
            Ok(Some((_, Leaf::Item { args, mapped }))) => {
                found.append((&mapped.task, args, &mapped.options))?;
            }
            Ok(Some((_, Leaf::Row(row)))) => {
                let args = row.table.bind(py).get().arguments(py, &row.rows, row.at)?;
                found.append((&row.mapped.task, args, &row.mapped.options))?;
            }
            Ok(Some((_, Leaf::Message(lowered, number)))) => {
                let message = &lowered.messages[number];
                found.append(lowered.rendering(py).message(message)?)?;
            }
            Err(failure) => return Err(failed(py, &unroll, failure)),
        }
    }
}

/// The path of member `index`: `group[3][0]`; None if there is no such member.
///
/// Raises:
///     `CanvasError`: A cycle, too deep, or something that is no member.
#[pyfunction]
pub(crate) fn path_of(
    source: &Bound<'_, PyAny>,
    index: u32,
    readable: &Bound<'_, PyReadable>,
) -> PyResult<Option<String>> {
    let py = source.py();
    let types = &readable.get().types;
    let walk = Walk::over(source, types).map_err(|error| unreadable(py, error, "group"))?;
    let mut unroll = Unroll::new(walk);
    loop {
        match unroll.next() {
            Ok(None) => return Ok(None),
            Ok(Some((at, _))) if at == index => return Ok(Some(unroll.path())),
            Ok(Some(_)) => {}
            Err(failure) => return Err(failed(py, &unroll, failure)),
        }
    }
}

/// How many results a chord waits for that has these members in its header.
///
/// Raises:
///     `CanvasError`: A cycle, too deep, or something that is no member.
#[pyfunction]
pub(crate) fn count_results(
    source: &Bound<'_, PyAny>,
    readable: &Bound<'_, PyReadable>,
) -> PyResult<u64> {
    let py = source.py();
    let types = &readable.get().types;
    let walk = Walk::over(source, types).map_err(|error| unreadable(py, error, "group"))?;
    let mut unroll = Unroll::new(walk);
    let mut count = 0;
    loop {
        match unroll.next() {
            Ok(None) => return Ok(count),
            Ok(Some((_, Leaf::Unit(canvas)))) => {
                count += u64::from(results_of(canvas.bind(py), types, unroll.path())?);
            }
            Ok(Some(_)) => count += 1,
            Err(failure) => return Err(failed(py, &unroll, failure)),
        }
    }
}

fn in_use() -> PyErr {
    PyRuntimeError::new_err("a plan is read by one thread at a time")
}

pub(crate) fn unreadable(py: Python<'_>, error: Unreadable, path: &str) -> PyErr {
    match error {
        Unreadable::Python(error) => error,
        Unreadable::Member(reason) => canvas_error(py, &format!("{path}: {reason}"), path),
    }
}

pub(crate) fn failed(py: Python<'_>, unroll: &Unroll<Walk>, failure: Failure<Unreadable>) -> PyErr {
    match failure {
        Failure::Frame(error) => unreadable(py, error, &unroll.path()),
        Failure::Canvas(error) => Raised::from(error).into(),
    }
}
