//! A lowered canvas: the messages that leave now, and its promised result.

use std::sync::Arc;

use celerant_core::canvas::{
    Call, ChordSize, Id, MAX_DEPTH, MAX_WRITTEN_DEPTH, Message, Place, Setting,
};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::canvas::{Canvas, TreeReader};
use crate::chord_size::{PyChordSize, copies};
use crate::error::Raised;
use crate::frames::ReadTypes;
use crate::names::{Named, Names};
use crate::roster::PyRoster;
use crate::rules::PyReadable;
use crate::shapes::{Line, Shape};
use crate::signatures::Rendering;

/// A lowered canvas.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) canvas: Canvas,
    pub(crate) names: Names,
    /// The messages that leave now, in this order.
    pub(crate) messages: Vec<Message>,
    /// The result backend is told of them before any message leaves.
    pub(crate) chord_sizes: Vec<Py<PyChordSize>>,
    /// Its result and those before it; None if it is a chain without steps.
    pub(crate) shape: Option<Shape>,
    /// The result's id.
    pub(crate) id: Option<String>,
    /// How many results a chord waits for that has it in its header.
    pub(crate) results: u32,
    pub(crate) has_chords: bool,
    /// As [`Canvas::plain_end`].
    pub(crate) plain_end: Option<Py<PyString>>,
    /// The canvas's path.
    path: String,
}

/// How and where a canvas is applied, in Python's own values.
pub(crate) struct Applied<'a, 'py> {
    pub(crate) args: &'a Bound<'py, PyTuple>,
    pub(crate) kwargs: &'a Bound<'py, PyDict>,
    pub(crate) options: &'a Bound<'py, PyDict>,
    /// Its `group_index`, if it is a member of a group.
    pub(crate) group_index: Option<u32>,
    pub(crate) links_errors_to_headers: bool,
}

impl Applied<'_, '_> {
    fn call(&self, canvas: &mut Canvas, types: &ReadTypes) -> PyResult<Call> {
        let mut call = Call {
            options: canvas.options(self.options, types)?,
            ..Call::default()
        };
        if !self.args.is_empty() {
            call.args.push(canvas.give(self.args.clone().into_any()));
        }
        if !self.kwargs.is_empty() {
            call.kwargs
                .push(canvas.give(self.kwargs.clone().into_any()));
        }
        if self.group_index.is_some() {
            // As a group passes them on to its members.
            call.options.take("producer");
            call.options.set("add_to_parent", Setting::No);
            call.options.set_default("chord", Setting::Null);
        }
        Ok(call)
    }
}

impl Lowered {
    /// Lowers a canvas that stands at `path`.
    pub(crate) fn of(
        canvas: &Bound<'_, PyAny>,
        types: &ReadTypes,
        names: Names,
        applied: &Applied<'_, '_>,
        path: String,
    ) -> PyResult<Self> {
        let py = canvas.py();
        let mut read = Canvas::new(applied.links_errors_to_headers);
        let root = TreeReader::new(&mut read, types, path.clone()).node(canvas)?;
        let no_results = read.give((PyList::empty(py),).into_pyobject(py)?.into_any());
        let call = applied.call(&mut read, types)?;
        let plain_end = read.plain_end(py, root)?.map(Bound::unbind);
        let results = read.tree.count_results(root);
        let place = applied.group_index.map(|index| Place {
            id: Some(Id::Whole),
            group_id: call.options.some("group_id").cloned(),
            group_index: Some(index),
            chord: call.options.some("chord").cloned(),
            root_id: call.options.some("root_id").cloned(),
            parent_id: None,
        });
        let done = read
            .tree
            .lower(root, place.as_ref(), &call, no_results)
            .map_err(Raised::from)?;
        let id = match done.promise.map(|promise| read.tree.promise(promise).id) {
            Some(id) => Some(text(py, &read, &names, id)?),
            None => None,
        };
        let shape = done.promise.map(|promise| Shape::of(py, &read, promise));
        let mut lowered = Self {
            names,
            messages: done.messages,
            chord_sizes: Vec::new(),
            shape: shape.transpose()?,
            id,
            results,
            has_chords: read.tree.has_chords(),
            plain_end,
            canvas: read,
            path,
        };
        let sizes = done.chord_sizes.iter();
        let sizes = sizes.filter_map(|size| lowered.size(py, size).transpose());
        lowered.chord_sizes = sizes.collect::<PyResult<_>>()?;
        Ok(lowered)
    }

    /// Writes its parts as Python's dicts.
    pub(crate) fn rendering<'a, 'py>(&'a self, py: Python<'py>) -> Rendering<'a, 'py> {
        Rendering::new(py, &self.canvas, &self.names, MAX_DEPTH, &self.path)
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The number of results that a group's chord waits for, as the backend is told of it.
    fn size(&self, py: Python<'_>, chord: &ChordSize) -> PyResult<Option<Py<PyChordSize>>> {
        let id = match chord.group_id {
            Setting::Id(id) => match self.names.text(id) {
                Named::Given(given) => self.canvas.value(py, given).clone(),
                Named::Text(text) => text.into_pyobject(py)?.into_any(),
            },
            Setting::Given(given) => self.canvas.value(py, given).clone(),
            _ => return Ok(None),
        };
        let form = match &chord.members {
            None => None,
            Some(members) => {
                let rendering = self.rendering(py);
                let members = members.iter().map(|&member| rendering.form(member));
                let members = members.collect::<PyResult<Vec<_>>>()?;
                Some(((&id, py.None()), members).into_pyobject(py)?.unbind())
            }
        };
        let size = PyChordSize {
            group_id: id.unbind(),
            size: chord.size,
            form,
        };
        Py::new(py, size).map(Some)
    }
}

fn text(py: Python<'_>, canvas: &Canvas, names: &Names, id: Id) -> PyResult<String> {
    match names.text(id) {
        Named::Given(given) => canvas.value(py, given).extract(),
        Named::Text(text) => Ok(text),
    }
}

/// A lowered canvas that is sent by itself; a plan takes it as its source.
#[pyclass(frozen, module = "celerant._core", name = "Lowered")]
#[derive(Debug)]
pub struct PyLowered(pub(crate) Arc<Lowered>);

#[pymethods]
impl PyLowered {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0
            .canvas
            .values()
            .try_for_each(|value| visit.call(value))
    }

    /// How many messages leave now.
    fn __len__(&self) -> usize {
        self.0.messages.len()
    }

    /// The messages as signatures with all options that they are sent with, ids among them.
    fn signatures<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let mut rendering = self.0.rendering(py);
        let messages = self.0.messages.iter();
        messages.map(|message| rendering.message(message)).collect()
    }

    /// The chord sizes of groups inside: the result backend is told of them before anything leaves.
    #[getter]
    fn chord_sizes(&self, py: Python<'_>) -> Vec<Py<PyChordSize>> {
        copies(py, &self.0.chord_sizes)
    }

    /// The line of its result: of each result the id, and a group's members' forms. None if it is a
    /// chain without steps.
    #[getter]
    fn line<'py>(&self, py: Python<'py>) -> PyResult<Option<Line<'py>>> {
        let names = &self.0.names;
        let shape = self.0.shape.as_ref();
        shape
            .map(|shape| shape.line(py, names.ids(), names.member(), names.whole()))
            .transpose()
    }

    /// Whether there is a chord in it, written by the user or made here.
    #[getter]
    fn has_chords(&self) -> bool {
        self.0.has_chords
    }
}

/// The first word of a canvas's path.
fn kind_of(canvas: &Bound<'_, PyAny>) -> PyResult<String> {
    let kind = match canvas.cast::<PyDict>() {
        Ok(dict) => dict.get_item(intern!(canvas.py(), "subtask_type"))?,
        Err(_) => None,
    };
    match kind.filter(|kind| !kind.is_none()) {
        Some(kind) => kind.str()?.extract(),
        None => Ok("task".to_owned()),
    }
}

/// How many results a chord waits for that has this canvas in its header.
pub(crate) fn results_of(
    canvas: &Bound<'_, PyAny>,
    types: &ReadTypes,
    path: String,
) -> PyResult<u32> {
    let mut read = Canvas::new(false);
    let root = TreeReader::new(&mut read, types, path).node(canvas)?;
    Ok(read.tree.count_results(root))
}

/// A canvas that has all its ids.
#[pyclass(frozen, get_all, module = "celerant._core", name = "Frozen")]
#[derive(Debug)]
pub struct PyFrozen {
    /// The canvas in plain dicts.
    canvas: Py<PyDict>,
    /// The form of its result, as Celery's `as_tuple` gives it.
    form: Py<PyTuple>,
}

#[pymethods]
impl PyFrozen {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.canvas)?;
        visit.call(&self.form)
    }
}

/// Gives a canvas and all in it their ids.
///
/// Args:
///     roster: Its first member's id is the canvas's, unless it has one.
///     `reply_to`: The reply queue for results.
///     readable: Exact types of canvases that are read.
/// Raises:
///     `CanvasError`: A cycle, too deep, something that is no canvas, or a chain without steps.
#[pyfunction]
#[pyo3(signature = (canvas, roster, *, reply_to, readable))]
pub(crate) fn freeze(
    canvas: &Bound<'_, PyAny>,
    roster: &Bound<'_, PyRoster>,
    reply_to: Py<PyAny>,
    readable: &Bound<'_, PyReadable>,
) -> PyResult<PyFrozen> {
    let py = canvas.py();
    let types = &readable.get().types;
    let mut read = Canvas::new(false);
    let path = kind_of(canvas)?;
    let root = TreeReader::new(&mut read, types, path.clone()).node(canvas)?;
    let place = Place {
        id: Some(Id::Whole),
        ..Place::default()
    };
    let promise = read.tree.freeze(root, &place).map_err(Raised::from)?;
    let names = Names::new(roster.get(), 0, reply_to);
    let mut rendering = Rendering::new(py, &read, &names, MAX_WRITTEN_DEPTH, &path);
    Ok(PyFrozen {
        canvas: rendering.node(root)?.unbind(),
        form: rendering.form(promise)?.unbind(),
    })
}

/// Applies a canvas: makes the messages that leave now.
///
/// Args:
///     roster: Its first member's id is the canvas's, unless it has one.
///     args: Positional arguments for the first task or tasks.
///     kwargs: Keyword arguments for the same tasks.
///     options: Over the canvas's own.
///     `reply_to`: The reply queue for results.
///     readable: Exact types of canvases that are read.
/// Raises:
///     `CanvasError`: A cycle, too deep, or something that is no canvas.
#[pyfunction]
#[pyo3(signature = (
    canvas, roster, *, args, kwargs, options, reply_to, readable,
    links_errors_to_headers = false
))]
#[allow(clippy::too_many_arguments)] // keyword-only context of one call
pub(crate) fn lower<'py>(
    canvas: &Bound<'py, PyAny>,
    roster: &Bound<'py, PyRoster>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
    options: &Bound<'py, PyDict>,
    reply_to: Py<PyAny>,
    readable: &Bound<'_, PyReadable>,
    links_errors_to_headers: bool,
) -> PyResult<PyLowered> {
    let types = &readable.get().types;
    let names = Names::new(roster.get(), 0, reply_to);
    let applied = Applied {
        args,
        kwargs,
        options,
        group_index: None,
        links_errors_to_headers,
    };
    let lowered = Lowered::of(canvas, types, names, &applied, kind_of(canvas)?)?;
    Ok(PyLowered(Arc::new(lowered)))
}
