//! `Plan`: reads a canvas chunk by chunk.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use celerant_core::saferepr::Limits;
use celerant_core::unroll::{Failure, Unroll};
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};

use crate::call::{EMBEDDED, listed};
use crate::chunk::PyChunk;
use crate::error::{Raised, canvas_error};
use crate::frames::{Kinds, Leaf, Streams, Unreadable, Walk};
use crate::lowered::{Applied, Names, Parts, lower_at, results_of};
use crate::reading::{Reading, State};
use crate::roster::PyRoster;

/// Reads the members of a canvas, left to right, depth first, as chunks of owned data.
#[pyclass(frozen, module = "celerant._core", name = "Plan")]
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // one dispatch's switches, each its own
pub struct PyPlan {
    pub(crate) roster: Py<PyRoster>,
    pub(crate) resolver: Py<PyAny>,
    /// The same for messages to which the call has nothing to add.
    pub(crate) final_resolver: Py<PyAny>,
    pub(crate) kinds: Arc<Kinds>,
    /// Options of the call, and what of them travels in bodies, by its names there.
    options: Py<PyDict>,
    pub(crate) embed: Py<PyDict>,
    /// ``() -> str``: where results go.
    reply_to: Py<PyAny>,
    /// ``(canvas, has_chords) -> bool``: refuses a chain or chord, or says that its result is
    /// ignored.
    pub(crate) vet: Py<PyAny>,
    links_errors_to_headers: bool,
    pub(crate) args: Py<PyTuple>,
    pub(crate) kwargs: Py<PyDict>,
    pub(crate) is_grouped: bool,
    is_list: bool,
    pub(crate) streams: Arc<Streams>,
    /// Whether chunks say that they are the last.
    pub(crate) tells_last: bool,
    only: Option<Vec<(u32, u32)>>,
    /// `group_index` of each member, where that is not its place among all.
    positions: Option<Vec<u32>>,
    pub(crate) repr_limits: Limits,
    // Taken out while Python runs, so that no lock is held then.
    state: Mutex<Option<State>>,
}

#[pymethods]
impl PyPlan {
    /// Start reading.
    ///
    /// Args:
    ///     resolver: ``(task, options, args, kwargs) -> Template``, called once per kind.
    ///     `final_resolver`: The same for what chains and chords became, whose options are whole.
    ///     `reply_to`: ``() -> str``, where results go; for what is inside chains and chords.
    ///     vet: ``(canvas, has_chords) -> bool``, called for each chain and chord: raises to refuse
    ///         it, and says whether its result is ignored.
    ///     options: Of the call, for chains and chords.
    ///     source: The members: a list, a tuple or something to iterate once.
    ///     readable: Exact types of signatures and groups that are read.
    ///     mapped: The exact type of mapped sources.
    ///     only: Half-open ranges of members to read; None reads all.
    ///     positions: ``group_index`` of each member; None: its place among all.
    ///     `tells_last`: Whether each chunk says whether it is the last, for which one member is
    ///         held back.
    ///     `balanced_reprs`: Whether reprs that are cut close what they open, as from Celery 5.7 on.
    #[new]
    #[pyo3(signature = (
        roster, resolver, final_resolver, reply_to, vet, source, *, readable, mapped, args, kwargs,
        options, grouped, only = None, positions = None, repr_levels = 3, balanced_reprs = true,
        links_errors_to_headers = false, tells_last = false
    ))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)] // keyword-only context of one dispatch
    fn new(
        py: Python<'_>,
        roster: Py<PyRoster>,
        resolver: Py<PyAny>,
        final_resolver: Py<PyAny>,
        reply_to: Py<PyAny>,
        vet: Py<PyAny>,
        source: &Bound<'_, PyAny>,
        readable: Vec<Py<PyType>>,
        mapped: Py<PyType>,
        args: Py<PyTuple>,
        kwargs: Py<PyDict>,
        options: &Bound<'_, PyDict>,
        grouped: bool,
        only: Option<Vec<(u32, u32)>>,
        positions: Option<Vec<u32>>,
        repr_levels: usize,
        balanced_reprs: bool,
        links_errors_to_headers: bool,
        tells_last: bool,
    ) -> PyResult<Self> {
        let kinds = Arc::new(Kinds::new(readable, mapped));
        let streams: Arc<Streams> = Arc::default();
        let is_list = source.is_instance_of::<PyList>() || source.is_instance_of::<PyTuple>();
        let walk = Walk::watched(source, &kinds, &streams)
            .map_err(|error| unreadable(py, error, "group"))?;
        let embed = PyDict::new(py);
        for (option, name) in EMBEDDED {
            if let Some(value) = options.get_item(option)?.filter(|value| !value.is_none()) {
                embed.set_item(name, listed(option, value)?)?;
            }
        }
        Ok(Self {
            roster,
            resolver,
            final_resolver,
            kinds,
            options: options.clone().unbind(),
            embed: embed.unbind(),
            reply_to,
            vet,
            links_errors_to_headers,
            args,
            kwargs,
            is_grouped: grouped,
            is_list,
            streams,
            tells_last,
            only,
            positions,
            repr_limits: Limits {
                max_levels: repr_levels,
                is_balanced: balanced_reprs,
                ..Limits::default()
            },
            state: Mutex::new(Some(State::new(Unroll::new(walk)))),
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

    /// Whether all members read so far stay where they are: none is an iterator's.
    #[getter]
    fn holds(&self) -> bool {
        self.is_list && !self.streams.are_met.load(Relaxed)
    }

    /// Members read or skipped so far, without one that could not be read.
    #[getter]
    fn count(&self) -> PyResult<u32> {
        self.with_state(|state| Ok(state.read))
    }

    /// Members read so far of which nothing is to be sent.
    #[getter]
    fn without_messages(&self) -> PyResult<Vec<u32>> {
        self.with_state(|state| Ok(state.without_messages.clone()))
    }

    /// The path at which `read` failed; None where it has not.
    #[getter]
    fn failed_at(&self) -> PyResult<Option<String>> {
        self.with_state(|state| Ok(state.failed_at.clone()))
    }

    /// The next chunk: up to `members` members or about `len_bytes` bytes; None at the end.
    ///
    /// Raises:
    ///     `CanvasError`, `ArgumentError`, `EncodeError`, `SettingError`: A bad member.
    fn read(&self, py: Python<'_>, members: usize, len_bytes: usize) -> PyResult<Option<PyChunk>> {
        self.with_state(|state| {
            let outcome = Reading::new(py, self, state).chunk(members, len_bytes);
            if outcome.is_err() {
                state.failed_at = Some(state.path(self.is_grouped));
            }
            outcome
        })
    }

    /// Go through what is left without reading it, so that `count` is the total; but of an
    /// iterator only what it has given counts.
    fn skip_rest(&self, py: Python<'_>) -> PyResult<()> {
        self.streams.are_skipped.store(true, Relaxed);
        self.with_state(|state| {
            if !self.holds() {
                state.read += u32::from(state.held.take().is_some());
                return Ok(());
            }
            let outcome = loop {
                match state.unroll.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => break Ok(()),
                    Err(failure) => break Err(failed(py, &state.unroll, failure)),
                }
            };
            state.read = state.unroll.len();
            outcome
        })
    }
}

impl PyPlan {
    fn with_state<T>(&self, work: impl FnOnce(&mut State) -> PyResult<T>) -> PyResult<T> {
        let take = || {
            let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            guard.take()
        };
        let mut state = take().ok_or_else(in_use)?;
        let outcome = work(&mut state);
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        outcome
    }

    /// Lowers a member that is a chain or chord.
    pub(crate) fn lower<'py>(
        &self,
        py: Python<'py>,
        canvas: &Py<PyDict>,
        index: u32,
        path: String,
    ) -> PyResult<Parts<'py>> {
        let names = Names {
            roster: self.roster.get(),
            member: index,
            reply_to: self.reply_to.bind(py).call0()?,
        };
        let applied = Applied {
            args: self.args.bind(py),
            kwargs: self.kwargs.bind(py),
            options: self.options.bind(py),
            group_index: self.is_grouped.then(|| self.position(index)),
            links_errors_to_headers: self.links_errors_to_headers,
        };
        lower_at(canvas.bind(py), &self.kinds, &names, &applied, path)
    }

    /// What `group_index` says of a member.
    pub(crate) fn position(&self, index: u32) -> u32 {
        let positions = self.positions.as_deref().unwrap_or_default();
        positions.get(index as usize).copied().unwrap_or(index)
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
#[pyo3(signature = (source, *, readable, mapped))]
pub(crate) fn unroll<'py>(
    source: &Bound<'py, PyAny>,
    readable: Vec<Py<PyType>>,
    mapped: Py<PyType>,
) -> PyResult<Bound<'py, PyList>> {
    let py = source.py();
    let kinds = Arc::new(Kinds::new(readable, mapped));
    let walk = Walk::over(source, &kinds).map_err(|error| unreadable(py, error, "group"))?;
    let mut unroll = Unroll::new(walk);
    let found = PyList::empty(py);
    loop {
        match unroll.next() {
            Ok(None) => return Ok(found),
            Ok(Some((_, Leaf::Signature(member) | Leaf::Unit(member)))) => found.append(member)?,
            Ok(Some((_, Leaf::Item { args, mapped }))) => {
                found.append((&mapped.task, args, &mapped.options))?;
            }
            Err(failure) => return Err(failed(py, &unroll, failure)),
        }
    }
}

/// Where member `index` is: `group[3][0]`; None where there is no such member.
///
/// Raises:
///     `CanvasError`: A cycle, too deep, or something that is no member.
#[pyfunction]
#[pyo3(signature = (source, index, *, readable, mapped))]
pub(crate) fn path_of(
    source: &Bound<'_, PyAny>,
    index: u32,
    readable: Vec<Py<PyType>>,
    mapped: Py<PyType>,
) -> PyResult<Option<String>> {
    let py = source.py();
    let kinds = Arc::new(Kinds::new(readable, mapped));
    let walk = Walk::over(source, &kinds).map_err(|error| unreadable(py, error, "group"))?;
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
#[pyo3(signature = (source, *, readable, mapped))]
pub(crate) fn count_results(
    source: &Bound<'_, PyAny>,
    readable: Vec<Py<PyType>>,
    mapped: Py<PyType>,
) -> PyResult<u64> {
    let py = source.py();
    let kinds = Arc::new(Kinds::new(readable, mapped));
    let walk = Walk::over(source, &kinds).map_err(|error| unreadable(py, error, "group"))?;
    let mut unroll = Unroll::new(walk);
    let mut count = 0;
    loop {
        match unroll.next() {
            Ok(None) => return Ok(count),
            Ok(Some((_, Leaf::Unit(canvas)))) => {
                count += u64::from(results_of(canvas.bind(py), &kinds, unroll.path())?);
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
