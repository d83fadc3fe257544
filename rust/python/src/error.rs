//! The error map: from the core's errors to Python's exceptions.

use celerant_core::error::Error;
use pyo3::exceptions::{PyBaseException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict, PyString};

/// Carries a core error through `?` into Python.
#[derive(Debug)]
pub(crate) struct Raised(Error);

impl From<Error> for Raised {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<Raised> for PyErr {
    fn from(Raised(error): Raised) -> Self {
        Python::attach(|py| to_python(py, &error))
    }
}

fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    let message = error.to_string();
    let path = error.path().unwrap_or_default();
    match error {
        Error::Cycle { .. } | Error::TooDeep { .. } | Error::TooManyMembers { .. } => {
            canvas_error(py, &message, path)
        }
        Error::Member { index, reason } => match reason.as_ref() {
            Error::Cycle { .. } | Error::TooDeep { .. } => canvas_error(py, &message, path),
            _ => encode_error(py, &message, *index),
        },
        Error::ArenaFull { .. } | Error::FieldTooLong { .. } | Error::HeaderTooLarge { .. } => {
            named(py, "EncodeError", &message, &PyDict::new(py))
        }
        Error::EmptyChain => canvas_error(py, &message, "chain"),
        Error::LedgerFull { .. } => canvas_error(py, &message, "group"),
        // Told apart from bad input: these are slips of ours.
        _ => PyRuntimeError::new_err(message),
    }
}

/// A `CanvasError` about the canvas at `path`.
pub(crate) fn canvas_error(py: Python<'_>, message: &str, path: &str) -> PyErr {
    match [("path", path)].into_py_dict(py) {
        Ok(fields) => named(py, "CanvasError", message, &fields),
        Err(error) => error,
    }
}

fn encode_error(py: Python<'_>, message: &str, index: u32) -> PyErr {
    match [("group_index", index)].into_py_dict(py) {
        Ok(fields) => named(py, "EncodeError", message, &fields),
        Err(error) => error,
    }
}

/// An error of `celerant.errors` with its fields.
pub(crate) fn named(
    py: Python<'_>,
    class: &str,
    message: &str,
    fields: &Bound<'_, PyDict>,
) -> PyErr {
    let made = py
        .import("celerant.errors")
        .and_then(|errors| errors.getattr(class))
        .and_then(|class| class.call((message,), Some(fields)));
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// An `ArgumentError`: the call does not fit the task's parameters.
pub(crate) fn argument_error(py: Python<'_>, reason: &str) -> PyErr {
    let message = format!("{reason}; the call does not match the task's parameters");
    named(py, "ArgumentError", &message, &PyDict::new(py))
}

/// Which member an error is about.
pub(crate) struct Subject<'a, 'py> {
    pub(crate) path: &'a str,
    pub(crate) task: &'a Bound<'py, PyString>,
    /// None outside of groups.
    pub(crate) index: Option<u32>,
}

impl Subject<'_, '_> {
    /// Names the member in an error of `celerant.errors` that has a path, and none yet.
    ///
    /// The error stays the one that was raised, with its fields, cause and traceback.
    pub(crate) fn given_to(&self, py: Python<'_>, error: PyErr) -> PyErr {
        match self.write(error.value(py)) {
            Ok(()) => error,
            Err(failure) => failure,
        }
    }

    fn write(&self, error: &Bound<'_, PyBaseException>) -> PyResult<()> {
        let py = error.py();
        let root = py.import("celerant.errors")?.getattr("CelerantError")?;
        if !error.is_instance(&root)? || !error.hasattr("path")? {
            return Ok(());
        }
        if error.getattr("path")?.is_truthy()? {
            return Ok(());
        }
        let task = self.task.to_string_lossy();
        let message = match self.index {
            Some(_) => format!("{}: task {task}: {error}", self.path),
            None => format!("task {task}: {error}"),
        };
        error.setattr("args", (message,))?;
        error.setattr("path", self.path)?;
        if error.hasattr("group_index")? {
            error.setattr("task", self.task)?;
            error.setattr("group_index", self.index)?;
        }
        Ok(())
    }
}
