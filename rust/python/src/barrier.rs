//! `Barrier`: which members of a dispatch are done.

// The docs of methods are Python docstrings, in Google's sections.
#![allow(clippy::doc_markdown)]

use celerant_core::barrier::{Arrival, Barrier, BarrierError, State};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::meta::{Absorbed, absorb, put};
use crate::values::PyValues;

mod raised {
    pyo3::import_exception!(celerant.errors, BarrierError);
}

/// Carries the core's error over to Python's `celerant.errors.BarrierError`.
pub(crate) struct Raised(BarrierError);

impl From<BarrierError> for Raised {
    fn from(error: BarrierError) -> Self {
        Self(error)
    }
}

impl From<Raised> for PyErr {
    fn from(Raised(error): Raised) -> Self {
        raised::BarrierError::new_err(error.to_string())
    }
}

type Done<T> = Result<T, Raised>;

/// Which members of a dispatch are done: one byte a member, and O(1) for a look.
///
/// Safe to use from any thread; holds no lock and never waits.
#[pyclass(frozen, module = "celerant._core", name = "Barrier")]
#[derive(Debug, Default)]
pub struct PyBarrier {
    core: Barrier,
}

#[pymethods]
impl PyBarrier {
    #[classattr]
    const PENDING: u8 = State::Pending.code();
    #[classattr]
    const SUCCESS: u8 = State::Success.code();
    #[classattr]
    const FAILURE: u8 = State::Failure.code();
    #[classattr]
    const REVOKED: u8 = State::Revoked.code();
    #[classattr]
    const IGNORED: u8 = State::Ignored.code();
    #[classattr]
    const NOT_SENT: u8 = State::NotSent.code();
    #[classattr]
    const EXPIRED: u8 = State::Expired.code();

    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Add `n` pending members; return how many there are now.
    ///
    /// Raises:
    ///     BarrierError: After `seal`, or with more than 2**31 - 1 members.
    fn grow(&self, n: u32) -> Done<u32> {
        Ok(self.core.grow(n)?)
    }

    /// Note that member `index` is done; repeated arrivals change nothing.
    ///
    /// Returns:
    ///     ``"pending"``, ``"completed"`` (once in a barrier's life) or ``"duplicate"``.
    ///
    /// Raises:
    ///     BarrierError: No such member, or the state is PENDING or no state.
    fn arrive(&self, index: u32, state: u8) -> PyResult<&'static str> {
        let state = state_from(state)?;
        Ok(name(self.core.arrive(index, state).map_err(Raised::from)?))
    }

    /// Keep a value among `values` and let member `index` arrive, as one step.
    ///
    /// If several threads bring the same member, one does both, and the others neither.
    ///
    /// Returns:
    ///     As `arrive`.
    ///
    /// Raises:
    ///     BarrierError: As `arrive`.
    fn put(
        &self,
        index: u32,
        state: u8,
        values: &PyValues,
        value: Bound<'_, PyAny>,
    ) -> PyResult<&'static str> {
        let state = state_from(state)?;
        Ok(name(put(&self.core, index, state, values, value)?))
    }

    /// Note that members `start` to `stop` (excluded) are done; true if this completed it.
    ///
    /// Raises:
    ///     BarrierError: As `arrive`; the members before the bad one have arrived.
    fn arrive_range(&self, start: u32, stop: u32, state: u8) -> PyResult<bool> {
        let state = state_from(state)?;
        let mut completed = false;
        for index in start..stop {
            let arrival = self.core.arrive(index, state).map_err(Raised::from)?;
            completed |= arrival == Arrival::Completed;
        }
        Ok(completed)
    }

    /// Say that there are `n` members and no more will come; returns as `arrive` does.
    ///
    /// Raises:
    ///     BarrierError: Sealed before, or it was not grown to `n`.
    fn seal(&self, n: u32) -> Done<&'static str> {
        Ok(name(self.core.seal(n)?))
    }

    /// Whether it is sealed and all members arrived.
    #[getter]
    fn is_complete(&self) -> bool {
        self.core.is_complete()
    }

    /// Whether it is sealed.
    #[getter]
    fn is_sealed(&self) -> bool {
        self.core.is_sealed()
    }

    /// The member whose failure or revocation came first, or None.
    #[getter]
    fn first_failure(&self) -> Option<u32> {
        self.core.first_failure()
    }

    /// Note that member `index` will fail: a waiter for a failure need not wait for its end.
    fn fail_early(&self, index: u32) {
        self.core.fail_early(index);
    }

    /// Members that have not arrived.
    #[getter]
    fn remaining(&self) -> u32 {
        self.core.remaining()
    }

    /// Members that have arrived.
    #[getter]
    fn arrived(&self) -> u32 {
        self.core.arrived()
    }

    fn __len__(&self) -> usize {
        self.core.size() as usize
    }

    /// The state of member `index`.
    ///
    /// Raises:
    ///     BarrierError: No such member.
    fn state(&self, index: u32) -> Done<u8> {
        Ok(self.core.state(index)?.code())
    }

    /// Members per state, by the states' numbers.
    fn counts(&self) -> [u32; celerant_core::barrier::STATES] {
        self.core.counts()
    }

    /// Members in `state`; O(1).
    fn count(&self, state: u8) -> PyResult<u32> {
        Ok(self.core.count(state_from(state)?))
    }

    /// Up to `limit` pending members from `start` on, ascending.
    fn pending<'py>(
        &self,
        py: Python<'py>,
        start: u32,
        limit: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.core.pending(start, limit))
    }

    /// Up to `limit` members in `state` from `start` on, ascending.
    fn select<'py>(
        &self,
        py: Python<'py>,
        state: u8,
        start: u32,
        limit: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.core.select(state_from(state)?, start, limit))
    }

    /// The states of all members, one byte each.
    fn states<'py>(&self, py: Python<'py>) -> Done<Bound<'py, PyBytes>> {
        let mut codes = Vec::with_capacity(self.core.size() as usize);
        for index in 0..self.core.size() {
            codes.push(self.core.state(index)?.code());
        }
        Ok(PyBytes::new(py, &codes))
    }

    /// Of members `start` to `stop` (excluded), let those arrive that arrived in `previous` in
    /// another state than `but`; true if this completed it.
    ///
    /// Raises:
    ///     BarrierError: `previous` has members that this one has not.
    fn inherit(&self, previous: &Self, but: u8, start: u32, stop: u32) -> PyResult<bool> {
        let but = state_from(but)?;
        let previous = &previous.core;
        if let Some(index) = previous.first_failure()
            && (start..stop).contains(&index)
            && previous.state(index).map_err(Raised::from)? != but
        {
            self.core.fail_early(index);
        }
        let mut completed = false;
        for index in start..stop.min(previous.size()) {
            let state = previous.state(index).map_err(Raised::from)?;
            if state != State::Pending && state != but {
                let arrival = self.core.arrive(index, state).map_err(Raised::from)?;
                completed |= arrival == Arrival::Completed;
            }
        }
        Ok(completed)
    }

    /// Take in stored records: parse each, and let the members that are done arrive.
    ///
    /// Args:
    ///     indices: The members.
    ///     payloads: Their records as stored, as `bytes`; None if there is none.
    ///     values: What is kept of the members: of a success its value, of a failure or a
    ///         revocation the record itself, before it arrives.
    ///
    /// Returns:
    ///     (completed, first, deferred): whether this call completed the barrier, the first
    ///     member that newly arrived as failed or revoked or None, and the positions in
    ///     `payloads` of the records that only kombu can read.
    ///
    /// Raises:
    ///     BarrierError: No such member.
    ///     ValueError: `indices` and `payloads` differ in length.
    #[allow(clippy::needless_pass_by_value)] // PyO3 hands over what it extracted
    fn absorb(
        &self,
        indices: Vec<u32>,
        payloads: &Bound<'_, PyList>,
        values: &PyValues,
    ) -> PyResult<Absorbed> {
        absorb(&self.core, &indices, payloads, values)
    }

    fn __repr__(&self) -> String {
        let sealed = if self.core.is_sealed() {
            "sealed"
        } else {
            "open"
        };
        let (size, remaining) = (self.core.size(), self.core.remaining());
        format!("<Barrier: {remaining} of {size} members pending, {sealed}>")
    }
}

fn state_from(code: u8) -> PyResult<State> {
    let unknown = || raised::BarrierError::new_err(format!("{code} is not the number of a state"));
    State::from_code(code).ok_or_else(unknown)
}

const fn name(arrival: Arrival) -> &'static str {
    match arrival {
        Arrival::Pending => "pending",
        Arrival::Completed => "completed",
        Arrival::Duplicate => "duplicate",
    }
}
