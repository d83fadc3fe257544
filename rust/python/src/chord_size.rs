//! `ChordSize`: the result backend is told of it before a chord's header leaves.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// How many results a group's chord waits for.
#[pyclass(frozen, get_all, module = "celerant._core", name = "ChordSize")]
#[derive(Debug)]
pub struct PyChordSize {
    /// The group, which is the chord's header.
    pub(crate) group_id: Py<PyAny>,
    /// The number of results.
    pub(crate) size: u32,
    /// The group's form, as Celery's `as_tuple` gives it; None if no groups are in it.
    pub(crate) form: Option<Py<PyTuple>>,
}

#[pymethods]
impl PyChordSize {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.group_id)?;
        visit.call(&self.form)
    }
}

/// The same sizes once more.
pub(crate) fn copies(py: Python<'_>, sizes: &[Py<PyChordSize>]) -> Vec<Py<PyChordSize>> {
    sizes.iter().map(|size| size.clone_ref(py)).collect()
}
