//! `Ledger`: the fate of each member of a dispatch.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use celerant_core::error::Result;
use celerant_core::ledger::{Fate, Ledger};
use celerant_core::several::Several;
use pyo3::prelude::*;
use pyo3::types::PySet;

use crate::chunk::PyChunk;
use crate::error::Raised;

/// Which members are confirmed, rejected, unknown and unsent.
#[pyclass(frozen, module = "celerant._core", name = "Ledger")]
#[derive(Debug, Default)]
pub struct PyLedger {
    // Held for the length of few bitmap operations, never while Python runs.
    inner: Mutex<Accounts>,
}

/// Notes the fate of some messages of a member; returns the member's.
type Note = fn(&mut Several, u32, u32, Fate) -> Fate;

#[derive(Debug, Default)]
struct Accounts {
    ledger: Ledger,
    /// Members whose fate follows from the fates of several messages.
    several: Several,
}

impl Accounts {
    /// Notes the fate of `messages` messages of a member, by a way of `Several`.
    fn note(&mut self, index: u32, messages: u32, fate: Fate, note: Note) -> Result<()> {
        let fate = note(&mut self.several, index, messages, fate);
        self.ledger.mark(index..index.saturating_add(1), fate)
    }

    /// Notes one fate for all messages of `chunk`.
    fn tell(&mut self, chunk: &PyChunk, fate: Fate, note: Note) -> Result<()> {
        let (whole, shared) = chunk.tally();
        for range in whole {
            self.ledger.mark(range, fate)?;
        }
        for (index, messages) in shared {
            self.note(index, messages, fate, note)?;
        }
        Ok(())
    }
}

impl PyLedger {
    fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fate of a member; see `celerant_core::ledger::Fate`.
#[pyclass(
    frozen,
    eq,
    hash,
    from_py_object,
    module = "celerant._core",
    name = "Fate",
    rename_all = "SCREAMING_SNAKE_CASE"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PyFate {
    /// The broker has it.
    Confirmed,
    /// The broker refused it.
    Rejected,
    /// It left, and nobody knows whether it arrived.
    Unknown,
    /// It never left.
    Unsent,
}

impl From<PyFate> for Fate {
    fn from(fate: PyFate) -> Self {
        match fate {
            PyFate::Confirmed => Self::Confirmed,
            PyFate::Rejected => Self::Rejected,
            PyFate::Unknown => Self::Unknown,
            PyFate::Unsent => Self::Unsent,
        }
    }
}

impl From<Fate> for PyFate {
    fn from(fate: Fate) -> Self {
        match fate {
            Fate::Confirmed => Self::Confirmed,
            Fate::Rejected => Self::Rejected,
            Fate::Unknown => Self::Unknown,
            Fate::Unsent => Self::Unsent,
        }
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
            let before = accounts.ledger.fate(index).unwrap_or(Fate::Unsent);
            accounts.several.expect(index, messages, before);
        }
    }

    /// Note one fate for all messages of `chunk`; only the first call for a chunk counts, so that
    /// whoever is interrupted can call again.
    fn mark(&self, chunk: &PyChunk, fate: PyFate) -> PyResult<()> {
        if chunk.is_told.swap(true, Relaxed) {
            return Ok(());
        }
        Ok(self
            .lock()
            .tell(chunk, fate.into(), Several::note)
            .map_err(Raised::from)?)
    }

    /// The same with a fate for each part of a chunk: the members of its messages, and their fate.
    #[allow(clippy::needless_pass_by_value)] // PyO3 hands over what it extracted
    fn mark_parts(&self, chunk: &PyChunk, parts: Vec<(Vec<u32>, PyFate)>) -> PyResult<()> {
        if chunk.is_told.swap(true, Relaxed) {
            return Ok(());
        }
        let mut accounts = self.lock();
        for (members, fate) in parts {
            for index in members {
                let noted = accounts.note(index, 1, fate.into(), Several::note);
                noted.map_err(Raised::from)?;
            }
        }
        Ok(())
    }

    /// Note the fate of one message of a member if its position is in `among`, and take it out: in
    /// one step, so that an interruption finds both done or none.
    fn close(
        &self,
        among: &Bound<'_, PySet>,
        position: u32,
        index: u32,
        fate: PyFate,
    ) -> PyResult<()> {
        if !among.discard(position)? {
            return Ok(());
        }
        self.mark_index(index, fate)
    }

    /// Note one fate for all messages of `chunk`, which were marked as unknown.
    fn find_out(&self, chunk: &PyChunk, fate: PyFate) -> PyResult<()> {
        Ok(self
            .lock()
            .tell(chunk, fate.into(), Several::find_out)
            .map_err(Raised::from)?)
    }

    /// Note the fate of one message of a member.
    fn mark_index(&self, index: u32, fate: PyFate) -> PyResult<()> {
        Ok(self
            .lock()
            .note(index, 1, fate.into(), Several::note)
            .map_err(Raised::from)?)
    }

    /// Note the fate of members `start` to `stop`, whatever it was.
    fn mark_range(&self, start: u32, stop: u32, fate: PyFate) -> PyResult<()> {
        let mut accounts = self.lock();
        let marked = accounts.ledger.mark(start..stop, fate.into());
        Ok(marked.map(drop).map_err(Raised::from)?)
    }

    /// Whether all members `start` to `stop` are confirmed.
    fn is_confirmed(&self, start: u32, stop: u32) -> bool {
        self.lock().ledger.is_confirmed(start..stop)
    }

    /// How many members have this fate.
    fn count(&self, fate: PyFate) -> u32 {
        self.lock().ledger.count(fate.into())
    }

    /// The members that have this fate, as half-open ranges in order.
    fn intervals(&self, fate: PyFate) -> Vec<(u32, u32)> {
        self.lock().ledger.intervals(fate.into())
    }

    /// The fate of member `index`; None if there is no such member.
    fn fate(&self, index: u32) -> Option<PyFate> {
        self.lock().ledger.fate(index).map(PyFate::from)
    }
}
