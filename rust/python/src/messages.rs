//! `Message`: a member as kombu publishes it.

use celerant_core::id::Ids;
use celerant_core::message::Chunk;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::convert::from_wtf8;
use crate::error::Raised;

/// A member's part of a message; its layout has the part that it shares with others.
#[pyclass(frozen, get_all, module = "celerant._core", name = "Message")]
#[derive(Debug)]
pub(crate) struct PyMessage {
    /// The object that `Layout.generic` was given.
    layout: Py<PyAny>,
    id: Py<PyAny>,
    /// The member's.
    index: u32,
    group_index: u32,
    argsrepr: Py<PyAny>,
    kwargsrepr: Py<PyAny>,
    body: Py<PyBytes>,
}

/// The messages of a chunk; `layouts` are its templates' layouts, in their order.
pub(crate) fn messages(
    py: Python<'_>,
    chunk: &Chunk,
    ids: &Ids,
    layouts: &[Py<PyAny>],
) -> PyResult<Vec<PyMessage>> {
    let members = chunk.members.iter().zip(chunk.plain_messages(ids));
    let messages = members.map(|(member, message)| {
        let message = message.map_err(Raised::from)?;
        let Some(layout) = layouts.get(member.template as usize) else {
            return Err(PyValueError::new_err("a member without its layout"));
        };
        Ok(PyMessage {
            layout: layout.clone_ref(py),
            id: from_wtf8(py, &message.id)?.unbind(),
            index: message.index,
            group_index: message.position,
            argsrepr: from_wtf8(py, &message.args_repr)?.unbind(),
            kwargsrepr: from_wtf8(py, &message.kwargs_repr)?.unbind(),
            body: PyBytes::new(py, &message.body).unbind(),
        })
    });
    messages.collect()
}
