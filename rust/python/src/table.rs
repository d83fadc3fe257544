//! `Table`: rows of a table as the arguments of tasks.

use std::sync::{Arc, Mutex, PoisonError};

use celerant_arrow::fault::Fault;
use celerant_arrow::rows::{Rows, Table};
use celerant_arrow::stream::Stream;
use celerant_core::json;
use celerant_core::value::Arena;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::error::{Raised, canvas_error};

/// A table that can be read again and again.
#[pyclass(frozen, module = "celerant._core", name = "Table")]
#[derive(Debug)]
pub struct PyTable {
    source: Py<PyAny>,
    #[pyo3(get)]
    star: bool,
    /// From JSON to values, as workers do it.
    loads: Py<PyAny>,
    /// The first reading, begun to see that the table can be sent.
    first: Mutex<Option<Table>>,
}

impl PyTable {
    /// Begins with the first row.
    pub(crate) fn begin(&self, py: Python<'_>) -> PyResult<Table> {
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match first {
            Some(table) => Ok(table),
            None => open(self.source.bind(py), self.star),
        }
    }

    /// The arguments of a row, as a worker would get them.
    pub(crate) fn arguments<'py>(
        &self,
        py: Python<'py>,
        rows: &Rows,
        row: usize,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let mut arena = Arena::new();
        let at = rows
            .push(row, &mut arena)
            .map_err(|fault| raised(py, &fault))?;
        let mut text = Vec::new();
        json::write(&arena, at, &mut text).map_err(Raised::from)?;
        let values = self.loads.bind(py).call1((PyBytes::new(py, &text),))?;
        Ok(values.cast_into::<PyList>()?.to_tuple())
    }
}

fn open(source: &Bound<'_, PyAny>, star: bool) -> PyResult<Table> {
    let py = source.py();
    let capsule = source.call_method0(intern!(py, "__arrow_c_stream__"))?;
    let stream = Stream::open(&capsule).map_err(|fault| raised(py, &fault))?;
    Table::new(stream, star).map_err(|fault| raised(py, &fault))
}

/// The exception for what a table cannot do.
pub(crate) fn raised(py: Python<'_>, fault: &Fault) -> PyErr {
    canvas_error(py, &fault.to_string(), "group")
}

#[pymethods]
impl PyTable {
    /// Look at a table.
    ///
    /// Args:
    ///     source: Its method `__arrow_c_stream__` gives the same each time.
    ///     star: Whether a row is all arguments of a task, and not one.
    ///     loads: ``(bytes) -> values``, as workers read JSON.
    ///
    /// Raises:
    ///     `CanvasError`: A column that has no place in a message.
    #[new]
    fn new(source: Bound<'_, PyAny>, star: bool, loads: Py<PyAny>) -> PyResult<Self> {
        let first = open(&source, star)?;
        Ok(Self {
            source: source.unbind(),
            star,
            loads,
            first: Mutex::new(Some(first)),
        })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.source)?;
        visit.call(&self.loads)
    }

    /// Iterate over the rows as Python's values: tuples, or single ones.
    fn __iter__(slf: Bound<'_, Self>) -> PyResult<PyRows> {
        let table = slf.get().begin(slf.py())?;
        Ok(PyRows {
            source: slf.unbind(),
            walk: Mutex::new(Some(Walk {
                table,
                rows: None,
                at: 0,
            })),
        })
    }

    /// Whether the rows are there each time; a stream without a length is read once.
    #[getter]
    fn is_held(&self, py: Python<'_>) -> PyResult<bool> {
        self.source.bind(py).hasattr(intern!(py, "__len__"))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.source.bind(py).len()
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(other) = other.cast::<Self>() else {
            return Ok(false);
        };
        let (source, theirs) = (self.source.bind(py), other.get().source.bind(py));
        if self.star != other.get().star || !source.get_type().is(theirs.get_type()) {
            return Ok(false);
        }
        let equals = intern!(py, "equals");
        if source.is(theirs) || !source.hasattr(equals)? {
            return Ok(source.is(theirs));
        }
        source.call_method1(equals, (theirs,))?.is_truthy()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let kind = self.source.bind(py).get_type().name()?;
        Ok(format!("<Table: rows of a {kind}>"))
    }
}

/// The rows of a table, one after the other.
#[derive(Debug)]
pub(crate) struct Walk {
    table: Table,
    rows: Option<Arc<Rows>>,
    at: usize,
}

impl Walk {
    pub(crate) const fn new(table: Table) -> Self {
        Self {
            table,
            rows: None,
            at: 0,
        }
    }

    /// Passes over the next row, which is among those around the last one.
    pub(crate) const fn pass(&mut self) {
        self.at += 1;
    }

    /// The next row, with those around it; None at the end.
    pub(crate) fn next(&mut self, py: Python<'_>) -> PyResult<Option<(Arc<Rows>, usize)>> {
        loop {
            if let Some(rows) = &self.rows
                && self.at < rows.len()
            {
                self.at += 1;
                return Ok(Some((Arc::clone(rows), self.at - 1)));
            }
            self.at = 0;
            self.rows = self.table.next_rows().map_err(|fault| raised(py, &fault))?;
            if self.rows.is_none() {
                return Ok(None);
            }
        }
    }
}

/// An iterator over the rows of a table.
#[pyclass(frozen, module = "celerant._core", name = "TableRows")]
#[derive(Debug)]
pub struct PyRows {
    source: Py<PyTable>,
    // Taken out while Python runs, so that no lock is held then.
    walk: Mutex<Option<Walk>>,
}

#[pymethods]
impl PyRows {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let take = || {
            self.walk
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
        };
        let Some(mut walk) = take() else {
            return Ok(None);
        };
        let Some((rows, row)) = walk.next(py)? else {
            return Ok(None);
        };
        let table = self.source.get();
        let args = table.arguments(py, &rows, row)?;
        *self.walk.lock().unwrap_or_else(PoisonError::into_inner) = Some(walk);
        if table.star {
            return Ok(Some(args.into_any()));
        }
        args.get_item(0).map(Some)
    }
}
