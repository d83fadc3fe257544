//! `read_envelopes`: many messages of kombu's virtual transports at once.

use celerant_core::envelope::{Arguments, Envelope, arguments, read};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::meta::to_python;
use crate::recent::{Keys, Recent};
use crate::usual::{Way, complete, header_names};

/// Read the task messages of a JSON array, as far as they are of the usual form.
///
/// Args:
///     whole: The array, with one character between two messages.
///     lengths: The length of each message in bytes.
///
/// Returns:
///     For each message the fields of its request, or None: it is unusual or broken.
///
/// Raises:
///     `ValueError`: The lengths are not those of the messages.
#[pyfunction]
#[pyo3(signature = (whole, lengths))]
pub(crate) fn read_envelopes<'py>(
    py: Python<'py>,
    whole: &[u8],
    lengths: Vec<usize>,
) -> PyResult<Bound<'py, PyList>> {
    let found = PyList::empty(py);
    let mut names = Names::default();
    let mut start = 1_usize;
    for length in lengths {
        let stop = start.saturating_add(length);
        let Some(envelope) = whole.get(start..stop) else {
            return Err(PyValueError::new_err(format!(
                "no message at {start} to {stop} of {} bytes",
                whole.len()
            )));
        };
        let usual = read(envelope).and_then(|read| read.body().map(|body| (read, body)));
        let fields = match &usual {
            Some((envelope, body)) => arguments(body)
                .map(|arguments| names.fields(py, envelope, &arguments))
                .transpose()?,
            None => None,
        };
        found.append(fields)?;
        start = stop.saturating_add(1);
    }
    Ok(found)
}

/// Names that most messages share, as Python has them.
#[derive(Default)]
struct Names<'py> {
    task: Recent<'py>,
    exchange: Recent<'py>,
    routing_key: Recent<'py>,
    properties: Keys<'py>,
}

impl<'py> Names<'py> {
    fn fields(
        &mut self,
        py: Python<'py>,
        envelope: &Envelope<'_>,
        arguments: &Arguments<'_>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let fields = PyDict::new(py);
        fields.set_item(intern!(py, "id"), envelope.id.as_ref())?;
        fields.set_item(intern!(py, "task"), self.task.of(py, &envelope.task))?;
        let known = header_names(py);
        for (at, value) in &envelope.headers {
            fields.set_item(&known[*at], to_python(py, value)?)?;
        }
        for (name, text) in [
            (intern!(py, "reply_to"), &envelope.reply_to),
            (intern!(py, "correlation_id"), &envelope.correlation_id),
        ] {
            if let Some(text) = text {
                fields.set_item(name, text.as_ref())?;
            }
        }
        fields.set_item(intern!(py, "properties"), self.properties(py, envelope)?)?;
        let exchange = envelope.exchange.as_ref();
        let routing_key = envelope.routing_key.as_ref();
        let way = Way {
            exchange: exchange.map(|text| self.exchange.of(py, text).into_any()),
            routing_key: routing_key.map(|text| self.routing_key.of(py, text).into_any()),
            priority: envelope.priority.into_pyobject(py)?,
            is_redelivered: envelope.is_redelivered,
        };
        complete(py, &fields, arguments, way)?;
        Ok(fields)
    }

    fn properties(
        &mut self,
        py: Python<'py>,
        envelope: &Envelope<'_>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let properties = PyDict::new(py);
        for (at, (name, value)) in envelope.properties.iter().enumerate() {
            properties.set_item(self.properties.at(py, at, name), to_python(py, value)?)?;
        }
        Ok(properties)
    }
}
