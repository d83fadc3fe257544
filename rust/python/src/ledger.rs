//! `Ledger`: what became of each member of a dispatch.

use std::sync::{Mutex, MutexGuard, PoisonError};

use celerant_core::ledger::{Ledger, State};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::chunk::PyChunk;
use crate::error::Raised;

/// Which members are confirmed, rejected, unknown and unsent.
#[pyclass(frozen, module = "celerant._core", name = "Ledger")]
#[derive(Debug, Default)]
pub struct PyLedger {
    // Held for the length of one bitmap operation, never while Python runs.
    inner: Mutex<Ledger>,
}

impl PyLedger {
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn state(name: &str) -> PyResult<State> {
    match name {
        "confirmed" => Ok(State::Confirmed),
        "rejected" => Ok(State::Rejected),
        "unknown" => Ok(State::Unknown),
        "unsent" => Ok(State::Unsent),
        _ => Err(PyValueError::new_err(format!("no such state: {name:?}"))),
    }
}

#[pymethods]
impl PyLedger {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn __len__(&self) -> usize {
        self.lock().len() as usize
    }

    /// Make sure that there are at least `total` members.
    fn grow(&self, total: u32) -> PyResult<()> {
        let mut ledger = self.lock();
        let more = total.saturating_sub(ledger.len());
        Ok(ledger.grow(more).map_err(Raised::from)?)
    }

    /// Say what became of all members of `chunk`.
    fn mark(&self, chunk: &PyChunk, state: &str) -> PyResult<()> {
        let state = self::state(state)?;
        let mut ledger = self.lock();
        for range in chunk.ranges() {
            ledger.mark(range, state).map_err(Raised::from)?;
        }
        Ok(())
    }

    /// Say what became of one member.
    fn mark_index(&self, index: u32, state: &str) -> PyResult<()> {
        let state = self::state(state)?;
        Ok(self
            .lock()
            .mark(index..index.saturating_add(1), state)
            .map_err(Raised::from)?)
    }

    /// How many members are in `state`.
    fn count(&self, state: &str) -> PyResult<u32> {
        Ok(self.lock().count(self::state(state)?))
    }

    /// The members in `state`, as half-open ranges in order.
    fn intervals(&self, state: &str) -> PyResult<Vec<(u32, u32)>> {
        Ok(self.lock().intervals(self::state(state)?))
    }

    /// What became of member `index`; None where there is no such member.
    fn state(&self, index: u32) -> Option<&'static str> {
        self.lock().state(index).map(|state| match state {
            State::Confirmed => "confirmed",
            State::Rejected => "rejected",
            State::Unknown => "unknown",
            State::Unsent => "unsent",
        })
    }
}
