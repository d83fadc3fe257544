//! `Ledger`: what became of each member of a dispatch.

use std::sync::{Mutex, MutexGuard, PoisonError};

use celerant_core::error::Result;
use celerant_core::ledger::{Ledger, State};
use celerant_core::several::Several;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::chunk::PyChunk;
use crate::error::Raised;

/// Which members are confirmed, rejected, unknown and unsent.
#[pyclass(frozen, module = "celerant._core", name = "Ledger")]
#[derive(Debug, Default)]
pub struct PyLedger {
    // Held for the length of few bitmap operations, never while Python runs.
    inner: Mutex<Accounts>,
}

#[derive(Debug, Default)]
struct Accounts {
    ledger: Ledger,
    /// Members whose state follows from the fates of several messages.
    several: Several,
}

impl Accounts {
    /// Notes the fate of `messages` messages of a member.
    fn note(&mut self, index: u32, messages: u32, fate: State) -> Result<()> {
        let state = self.several.note(index, messages, fate);
        self.ledger.mark(index..index.saturating_add(1), state)
    }
}

impl PyLedger {
    fn lock(&self) -> MutexGuard<'_, Accounts> {
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
        self.lock().ledger.len() as usize
    }

    /// Make sure that there are at least `total` members.
    fn grow(&self, total: u32) -> PyResult<()> {
        let ledger = &mut self.lock().ledger;
        let more = total.saturating_sub(ledger.len());
        Ok(ledger.grow(more).map_err(Raised::from)?)
    }

    /// Note which members of `chunk` are several messages, in this chunk and those behind it.
    fn expect(&self, chunk: &PyChunk) {
        let mut accounts = self.lock();
        for &(index, messages) in &chunk.several {
            let before = accounts.ledger.state(index).unwrap_or(State::Unsent);
            accounts.several.expect(index, messages, before);
        }
    }

    /// Say what became of all messages of `chunk`.
    fn mark(&self, chunk: &PyChunk, state: &str) -> PyResult<()> {
        let state = self::state(state)?;
        let mut accounts = self.lock();
        let (whole, shared) = chunk.tally();
        for range in whole {
            accounts.ledger.mark(range, state).map_err(Raised::from)?;
        }
        for (index, messages) in shared {
            accounts
                .note(index, messages, state)
                .map_err(Raised::from)?;
        }
        Ok(())
    }

    /// Say what became of all messages of `chunk`, which were marked as unknown.
    fn find_out(&self, chunk: &PyChunk, state: &str) -> PyResult<()> {
        let state = self::state(state)?;
        let mut accounts = self.lock();
        let (whole, shared) = chunk.tally();
        for range in whole {
            accounts.ledger.mark(range, state).map_err(Raised::from)?;
        }
        for (index, messages) in shared {
            let found = accounts.several.find_out(index, messages, state);
            let member = index..index.saturating_add(1);
            accounts.ledger.mark(member, found).map_err(Raised::from)?;
        }
        Ok(())
    }

    /// Say what became of one message of a member.
    fn mark_index(&self, index: u32, state: &str) -> PyResult<()> {
        let state = self::state(state)?;
        Ok(self.lock().note(index, 1, state).map_err(Raised::from)?)
    }

    /// How many members are in `state`.
    fn count(&self, state: &str) -> PyResult<u32> {
        Ok(self.lock().ledger.count(self::state(state)?))
    }

    /// The members in `state`, as half-open ranges in order.
    fn intervals(&self, state: &str) -> PyResult<Vec<(u32, u32)>> {
        Ok(self.lock().ledger.intervals(self::state(state)?))
    }

    /// What became of member `index`; None where there is no such member.
    fn state(&self, index: u32) -> Option<&'static str> {
        self.lock().ledger.state(index).map(|state| match state {
            State::Confirmed => "confirmed",
            State::Rejected => "rejected",
            State::Unknown => "unknown",
            State::Unsent => "unsent",
        })
    }
}
