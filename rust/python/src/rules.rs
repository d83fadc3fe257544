//! The same for all dispatches of an app: which classes are read, and how.

use std::sync::Arc;

use celerant_core::saferepr::Limits;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::frames::ReadTypes;

/// The classes that are read as signatures, groups and mapped sources.
#[pyclass(frozen, module = "celerant._core", name = "Readable")]
#[derive(Debug)]
pub struct PyReadable {
    pub(crate) types: Arc<ReadTypes>,
}

#[pymethods]
impl PyReadable {
    /// `types`: exact ones of signatures and groups; `mapped`: the type of mapped sources.
    #[new]
    fn new(types: Vec<Py<PyType>>, mapped: Py<PyType>) -> Self {
        let types = Arc::new(ReadTypes::new(types, mapped));
        Self { types }
    }
}

/// How members are read and shown.
#[pyclass(frozen, module = "celerant._core", name = "Rules")]
#[derive(Debug)]
pub struct PyRules {
    pub(crate) types: Arc<ReadTypes>,
    pub(crate) repr_limits: Limits,
    pub(crate) links_errors_to_headers: bool,
}

#[pymethods]
impl PyRules {
    /// Put them together.
    ///
    /// Args:
    ///     readable: The classes that are read.
    ///     `repr_levels`: Nested containers that ``argsrepr`` shows.
    ///     `balanced_reprs`: Whether a repr that is cut closes all that it opens, as from Celery
    ///         5.7 on.
    ///     `links_errors_to_headers`: Celery's ``task_allow_error_cb_on_chord_header``.
    #[new]
    #[pyo3(signature = (
        readable, *, repr_levels = 3, balanced_reprs = true, links_errors_to_headers = false
    ))]
    fn new(
        readable: &Bound<'_, PyReadable>,
        repr_levels: usize,
        balanced_reprs: bool,
        links_errors_to_headers: bool,
    ) -> Self {
        Self {
            types: Arc::clone(&readable.get().types),
            repr_limits: Limits {
                max_levels: repr_levels,
                is_balanced: balanced_reprs,
                ..Limits::default()
            },
            links_errors_to_headers,
        }
    }
}
