//! Messages of kombu's in-process transport, ready to be put into its queues.

use celerant_core::id::{ID_LEN, Ids, Tags};
use celerant_core::message::{Chunk, Member};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use crate::convert::from_wtf8;
use crate::error::Raised;

/// Messages in a row that have one layout, for kombu's queues in memory.
#[pyclass(frozen, get_all, module = "celerant._core", name = "Ready")]
#[derive(Debug)]
pub struct PyReady {
    /// The object that `Layout.generic` was given.
    layout: Py<PyAny>,
    /// The index of the first member.
    index: u32,
    messages: Py<PyList>,
}

#[pymethods]
impl PyReady {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.layout)?;
        visit.call(&self.messages)
    }
}

/// Dicts that each message of a layout gets a copy of; made by `dispatch/wires/memory.py`.
struct Originals<'py> {
    message: Bound<'py, PyDict>,
    headers: Bound<'py, PyDict>,
    properties: Bound<'py, PyDict>,
    info: Bound<'py, PyDict>,
    /// Names of headers, and which of a member's fields each has: id, `group_index`, argsrepr or
    /// kwargsrepr.
    slots: Vec<(Bound<'py, PyString>, usize)>,
    /// Whether a message's correlation id is the task's id.
    is_correlated: bool,
}

impl<'py> Originals<'py> {
    fn of(layout: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = layout.py();
        let dict = |name: &Bound<'py, PyString>| -> PyResult<Bound<'py, PyDict>> {
            let found = layout.getattr(name)?.cast_into();
            found.map_err(|_| PyTypeError::new_err("a layout's parts are dicts"))
        };
        Ok(Self {
            message: dict(intern!(py, "message"))?,
            headers: dict(intern!(py, "headers"))?,
            properties: dict(intern!(py, "whole_properties"))?,
            info: dict(intern!(py, "info"))?,
            slots: layout.getattr(intern!(py, "slots"))?.extract()?,
            is_correlated: layout.getattr(intern!(py, "is_correlated"))?.is_truthy()?,
        })
    }
}

/// The messages of a chunk: those in a row that have one layout together.
///
/// `entropy`: for the delivery tags, which are fresh for each message, as kombu's are.
pub(crate) fn ready(
    py: Python<'_>,
    chunk: &Chunk,
    ids: &Ids,
    layouts: &[Py<PyAny>],
    entropy: [u8; 16],
) -> PyResult<Vec<PyReady>> {
    let originals = layouts.iter().map(|layout| Originals::of(layout.bind(py)));
    let originals = originals.collect::<PyResult<Vec<_>>>()?;
    let mut filling = Filling {
        py,
        chunk,
        ids,
        tags: Tags::new(entropy),
        scratch: Vec::new(),
    };
    let mut runs = Vec::new();
    for members in chunk.members.chunk_by(|a, b| a.template == b.template) {
        let number = members[0].template as usize;
        let (Some(layout), Some(originals)) = (layouts.get(number), originals.get(number)) else {
            return Err(PyValueError::new_err("a member without its layout"));
        };
        let filled = members.iter().map(|member| filling.fill(member, originals));
        let filled = filled.collect::<PyResult<Vec<_>>>()?;
        let first = members[0].index;
        runs.push(PyReady {
            layout: layout.clone_ref(py),
            index: first,
            messages: PyList::new(py, filled)?.unbind(),
        });
    }
    Ok(runs)
}

struct Filling<'a, 'py> {
    py: Python<'py>,
    chunk: &'a Chunk,
    ids: &'a Ids,
    tags: Tags,
    scratch: Vec<u8>,
}

impl<'py> Filling<'_, 'py> {
    /// The message of a member.
    fn fill(
        &mut self,
        member: &Member,
        originals: &Originals<'py>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let py = self.py;
        let failed =
            |error: celerant_core::error::Error| Raised::from(error.in_member(member.index));
        let mut derived = [0; ID_LEN];
        let id = from_wtf8(py, self.chunk.id(member, self.ids, &mut derived))?;
        let headers = originals.headers.copy()?;
        for (name, field) in &originals.slots {
            let repr = match field {
                0 => {
                    headers.set_item(name, &id)?;
                    continue;
                }
                1 => {
                    headers.set_item(name, member.position)?;
                    continue;
                }
                2 => member.args,
                _ => member.kwargs,
            };
            self.scratch.clear();
            let written = self.chunk.write_repr(repr, &mut self.scratch);
            written.map_err(failed)?;
            if self.scratch == b"{}" {
                // The keywords of most; one text for all.
                headers.set_item(name, intern!(py, "{}"))?;
            } else {
                headers.set_item(name, from_wtf8(py, &self.scratch)?)?;
            }
        }
        self.scratch.clear();
        self.chunk
            .write_body(member, &mut self.scratch)
            .map_err(failed)?;
        let body = base64_simd::STANDARD.encode_to_string(&self.scratch);
        let properties = originals.properties.copy()?;
        if originals.is_correlated {
            properties.set_item(intern!(py, "correlation_id"), id)?;
        }
        // A message that goes back to the queue is marked there.
        properties.set_item(intern!(py, "delivery_info"), originals.info.copy()?)?;
        properties.set_item(
            intern!(py, "delivery_tag"),
            from_wtf8(py, self.tags.draw())?,
        )?;
        let message = originals.message.copy()?;
        message.set_item(intern!(py, "body"), PyString::new(py, &body))?;
        message.set_item(intern!(py, "headers"), headers)?;
        message.set_item(intern!(py, "properties"), properties)?;
        Ok(message)
    }
}
