//! `Plan`: reads a canvas chunk by chunk.

use std::sync::{Arc, Mutex, PoisonError};

use celerant_core::message::ReprLimits;
use celerant_core::unroll::{Failure, Unroll};
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};

use crate::chunk::PyChunk;
use crate::error::{Raised, canvas_error};
use crate::frames::{Kinds, Leaf, Unreadable, Walk};
use crate::reading::{Reading, State};
use crate::roster::PyRoster;

/// Reads the members of a canvas, left to right, depth first, as chunks of owned data.
#[pyclass(frozen, module = "celerant._core", name = "Plan")]
#[derive(Debug)]
pub struct PyPlan {
    pub(crate) roster: Py<PyRoster>,
    pub(crate) resolver: Py<PyAny>,
    pub(crate) args: Py<PyTuple>,
    pub(crate) kwargs: Py<PyDict>,
    pub(crate) is_grouped: bool,
    pub(crate) is_list: bool,
    only: Option<Vec<(u32, u32)>>,
    pub(crate) repr_limits: ReprLimits,
    // Taken out while Python runs, so that no lock is held then.
    state: Mutex<Option<State>>,
}

#[pymethods]
impl PyPlan {
    /// Start reading.
    ///
    /// Args:
    ///     resolver: ``(task, options, args, kwargs) -> Template``, called once per kind.
    ///     source: The members: a list, a tuple or something to iterate once.
    ///     readable: Exact types of signatures and groups that are read.
    ///     mapped: The exact type of mapped sources.
    ///     only: Half-open ranges of members to read; None reads all.
    #[new]
    #[pyo3(signature = (
        roster, resolver, source, *, readable, mapped, args, kwargs, grouped, only = None,
        repr_levels = 3
    ))]
    #[allow(clippy::too_many_arguments)] // keyword-only context of one dispatch
    fn new(
        py: Python<'_>,
        roster: Py<PyRoster>,
        resolver: Py<PyAny>,
        source: &Bound<'_, PyAny>,
        readable: Vec<Py<PyType>>,
        mapped: Py<PyType>,
        args: Py<PyTuple>,
        kwargs: Py<PyDict>,
        grouped: bool,
        only: Option<Vec<(u32, u32)>>,
        repr_levels: usize,
    ) -> PyResult<Self> {
        let kinds = Arc::new(Kinds::new(readable, mapped));
        let walk = Walk::over(source, &kinds).map_err(|error| unreadable(py, error, "group"))?;
        let is_list = source.is_instance_of::<PyList>() || source.is_instance_of::<PyTuple>();
        Ok(Self {
            roster,
            resolver,
            args,
            kwargs,
            is_grouped: grouped,
            is_list,
            only,
            repr_limits: ReprLimits {
                max_levels: repr_levels,
                ..ReprLimits::default()
            },
            state: Mutex::new(Some(State::new(Unroll::new(walk)))),
        })
    }

    // A resolver usually holds the plan: without this the two would never be collected.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.resolver)?;
        visit.call(&self.args)?;
        visit.call(&self.kwargs)
    }

    /// Whether the members stay where they are: the canvas can be read again.
    #[getter]
    fn holds(&self) -> bool {
        self.is_list
    }

    /// Members met so far.
    #[getter]
    fn count(&self) -> PyResult<u32> {
        let guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        guard
            .as_ref()
            .map(|state| state.unroll.len())
            .ok_or_else(in_use)
    }

    /// The next chunk: up to `members` members or about `len_bytes` bytes; None at the end.
    ///
    /// Raises:
    ///     `CanvasError`, `EncodeError`, `SettingError`, `TypeError`: A bad member.
    fn read(&self, py: Python<'_>, members: usize, len_bytes: usize) -> PyResult<Option<PyChunk>> {
        self.with_state(|state| Reading::new(py, self, state).chunk(members, len_bytes))
    }

    /// Go through what is left without reading it, so that `count` is the total.
    fn skip_rest(&self, py: Python<'_>) -> PyResult<()> {
        self.with_state(|state| {
            loop {
                match state.unroll.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok(()),
                    Err(failure) => return Err(failed(py, &state.unroll, failure)),
                }
            }
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
            Ok(Some((_, Leaf::Signature(signature)))) => found.append(signature)?,
            Ok(Some((_, Leaf::Item { args, mapped }))) => {
                found.append((&mapped.task, args, &mapped.options))?;
            }
            Err(failure) => return Err(failed(py, &unroll, failure)),
        }
    }
}

fn in_use() -> PyErr {
    PyRuntimeError::new_err("a plan is read by one thread at a time")
}

fn unreadable(py: Python<'_>, error: Unreadable, path: &str) -> PyErr {
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
