//! `Prints`: what members were sent with, to see that a source has changed.

use std::sync::{Mutex, PoisonError};

use celerant_core::prints::Prints;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::chunk::PyChunk;
use crate::error::Raised;

/// What members were sent with, in two bytes each.
#[pyclass(frozen, module = "celerant._core", name = "Prints")]
#[derive(Debug, Default)]
pub struct PyPrints {
    kept: Mutex<Prints>,
    /// The member whose first message was compared last.
    seen: Mutex<Option<u32>>,
}

#[pymethods]
impl PyPrints {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Those of members `start` to `stop` as bytes, for another process; None: to the last.
    #[pyo3(signature = (start=0, stop=None))]
    fn pack<'py>(&self, py: Python<'py>, start: usize, stop: Option<usize>) -> Bound<'py, PyBytes> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        PyBytes::new(py, &kept.pack(start..stop.unwrap_or(usize::MAX)))
    }

    /// What `pack` made of all of them.
    #[staticmethod]
    fn unpack(packed: &[u8]) -> Self {
        Self {
            kept: Mutex::new(Prints::unpack(packed)),
            seen: Mutex::default(),
        }
    }

    /// Keep what a chunk's members are sent with.
    fn keep(&self, chunk: &PyChunk) -> PyResult<()> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for part in [&chunk.wired, &chunk.generic] {
            kept.keep(part).map_err(Raised::from)?;
        }
        Ok(())
    }

    /// Compare another dispatch from now on.
    fn restart(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Return the first member of a chunk that is known to have been another; None: there is none.
    fn first_other(&self, chunk: &PyChunk) -> PyResult<Option<u32>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for part in [&chunk.wired, &chunk.generic] {
            let found = kept.first_other(part, &mut seen).map_err(Raised::from)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}
