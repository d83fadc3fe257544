//! `Failures`: stored failures, grouped.

use std::sync::{Mutex, MutexGuard, PoisonError};

use celerant_core::failures::{Failed, Failures, Found};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

/// (type, module, message, (file, line, function) or None, count, example members).
type Told = (
    String,
    String,
    String,
    Option<(String, u32, String)>,
    u64,
    Vec<u32>,
);

/// Failures as they are read, grouped by the exception's type and the last frame of the user's
/// code.
#[pyclass(frozen, module = "celerant._core", name = "Failures")]
#[derive(Debug, Default)]
pub(crate) struct PyFailures {
    /// No Python runs while it is held.
    core: Mutex<Failures>,
}

impl PyFailures {
    fn lock(&self) -> MutexGuard<'_, Failures> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl PyFailures {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Read stored records, and count those that are of failures.
    ///
    /// Args:
    ///     indices: The members.
    ///     payloads: Their records as stored, `bytes` or None where there is none.
    ///
    /// Returns:
    ///     The positions in `payloads` of the records that only kombu can read.
    ///
    /// Raises:
    ///     `ValueError`: `indices` and `payloads` differ in length.
    #[allow(clippy::needless_pass_by_value)] // PyO3 hands over what it extracted
    fn read(&self, indices: Vec<u32>, payloads: &Bound<'_, PyList>) -> PyResult<Vec<usize>> {
        if indices.len() != payloads.len() {
            let (left, right) = (indices.len(), payloads.len());
            return Err(PyValueError::new_err(format!(
                "{left} indices for {right} payloads"
            )));
        }
        let mut deferred = Vec::new();
        for (position, (payload, &index)) in payloads.iter().zip(&indices).enumerate() {
            if payload.is_none() {
                continue;
            }
            let found = payload.cast::<PyBytes>().map_or(Found::Defer, |bytes| {
                self.lock().read(index, bytes.as_bytes())
            });
            if found == Found::Defer {
                deferred.push(position);
            }
        }
        Ok(deferred)
    }

    /// Count `count` failures that are alike; `index` is one of them.
    #[pyo3(signature = (index, exc_type, module, message, traceback, count = 1))]
    fn add(
        &self,
        index: u32,
        exc_type: &str,
        module: &str,
        message: &str,
        traceback: &str,
        count: u64,
    ) {
        let failed = Failed {
            exc_type,
            module,
            message,
            traceback,
        };
        self.lock().add(index, count, &failed);
    }

    /// The groups, the most frequent first: `(type, module, message, frame, count, indices)`.
    ///
    /// A frame is `(file, line, function)` or None; `indices` are the first ones that came.
    fn ranked(&self) -> Vec<Told> {
        let core = self.lock();
        let ranked = core.ranked().into_iter().cloned();
        let told = ranked.map(|group| {
            let frame = group.frame;
            let frame = frame.map(|frame| (frame.file, frame.line, frame.function));
            (
                group.exc_type,
                group.module,
                group.message,
                frame,
                group.count,
                group.indices,
            )
        });
        told.collect()
    }
}
