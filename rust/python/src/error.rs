//! The error map: what the core says, as what Python raises.

use celerant_core::error::Error;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};

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
        Error::LedgerFull { .. } => canvas_error(py, &message, "group"),
        // Told apart from bad input: these are slips of ours.
        _ => PyRuntimeError::new_err(message),
    }
}

/// A `CanvasError` about what stands at `path`.
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

/// A `TypeError` about the arguments of a call.
pub(crate) fn argument_error(whose: &str, reason: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{whose}: {reason}; the call does not match the task's parameters"
    ))
}
