//! `read_deliveries`: messages out of the bytes of the broker's socket.

use celerant_core::wire::deliveries::{Delivery, Field, Item, Items, Property, Table};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use crate::recent::{Keys, Recent};
use crate::usual::{Parts, fields, is_json};

/// Take what is whole from the front of what was read.
///
/// Args:
///     buffer: Begins with a frame.
///     channel: Whose deliveries are taken apart.
///     longest: The most bytes of a body that is read; 0: none is.
///
/// Returns:
///     Items in their order, how many bytes they were made of, and how many frames the
///     deliveries among them. A delivery is `(consumer_tag, delivery_tag, redelivered,
///     exchange, routing_key, properties, body, fields)`, with properties as py-amqp has
///     them. `fields` are those of its request, or None if it is not of the usual form, or
///     is not read. Any other frame is `(type, channel, payload)`.
#[pyfunction]
#[pyo3(signature = (buffer, channel, longest = 0))]
pub(crate) fn read_deliveries<'py>(
    py: Python<'py>,
    buffer: &[u8],
    channel: u16,
    longest: usize,
) -> PyResult<(Bound<'py, PyList>, usize, usize)> {
    let mut items = Items::new(buffer, channel);
    let found = PyList::empty(py);
    let mut names = Names::default();
    let mut frames = 0;
    for item in &mut items {
        match item {
            Item::Delivery(delivery) => {
                frames += delivery.frames;
                found.append(names.taken(py, &delivery, longest)?)?;
            }
            Item::Frame(kind, channel, payload) => {
                found.append((kind, channel, PyBytes::new(py, payload)))?;
            }
        }
    }
    Ok((found, items.read(), frames))
}

type Taken<'py> = (
    Bound<'py, PyString>,
    u64,
    bool,
    Bound<'py, PyString>,
    Bound<'py, PyString>,
    Bound<'py, PyDict>,
    Bound<'py, PyBytes>,
    Option<Bound<'py, PyDict>>,
);

/// Names that most deliveries share, as Python has them.
#[derive(Default)]
struct Names<'py> {
    consumer_tag: Recent<'py>,
    exchange: Recent<'py>,
    routing_key: Recent<'py>,
    properties: Keys<'py>,
    headers: Keys<'py>,
}

impl<'py> Names<'py> {
    fn taken(
        &mut self,
        py: Python<'py>,
        delivery: &Delivery<'_>,
        longest: usize,
    ) -> PyResult<Taken<'py>> {
        let properties = PyDict::new(py);
        for (at, (name, value)) in delivery.properties.iter().enumerate() {
            let name = self.properties.at(py, at, name);
            match value {
                Property::Text(text) => properties.set_item(name, text)?,
                Property::Octet(number) => properties.set_item(name, number)?,
                Property::Headers(table) => properties.set_item(name, self.headers(py, table)?)?,
            }
        }
        let body = match delivery.body.as_slice() {
            [only] => PyBytes::new(py, only),
            parts => PyBytes::new(py, &parts.concat()),
        };
        let exchange = self.exchange.of(py, delivery.exchange);
        let routing_key = self.routing_key.of(py, delivery.routing_key);
        let mut request_fields = None;
        if (1..=longest).contains(&body.as_bytes().len())
            && let Some(parts) = parts_of(py, delivery, &properties, &exchange, &routing_key)?
        {
            request_fields = fields(py, &parts, body.as_bytes())?;
        }
        Ok((
            self.consumer_tag.of(py, delivery.consumer_tag),
            delivery.delivery_tag,
            delivery.redelivered,
            exchange,
            routing_key,
            properties,
            body,
            request_fields,
        ))
    }

    fn headers(&mut self, py: Python<'py>, table: &Table<'_>) -> PyResult<Bound<'py, PyDict>> {
        let headers = PyDict::new(py);
        for (at, (name, value)) in table.iter().enumerate() {
            headers.set_item(self.headers.at(py, at, name), field(py, value)?)?;
        }
        Ok(headers)
    }
}

/// The parts of a message with headers and a body of JSON.
fn parts_of<'py>(
    py: Python<'py>,
    delivery: &Delivery<'_>,
    properties: &Bound<'py, PyDict>,
    exchange: &Bound<'py, PyString>,
    routing_key: &Bound<'py, PyString>,
) -> PyResult<Option<Parts<'py>>> {
    let get = |name: &Bound<'py, PyString>| properties.get_item(name);
    let (Some(headers), Some(kind), Some(encoding)) = (
        get(intern!(py, "application_headers"))?,
        get(intern!(py, "content_type"))?,
        get(intern!(py, "content_encoding"))?,
    ) else {
        return Ok(None);
    };
    if !is_json(&kind, &encoding) {
        return Ok(None);
    }
    Ok(Some(Parts {
        headers: headers.cast_into()?,
        properties: properties.clone(),
        exchange: Some(exchange.clone().into_any()),
        routing_key: Some(routing_key.clone().into_any()),
        is_redelivered: delivery.redelivered,
    }))
}

fn table<'py>(py: Python<'py>, fields: &Table<'_>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in fields {
        dict.set_item(PyString::intern(py, name), field(py, value)?)?;
    }
    Ok(dict)
}

/// The core has limited the depth.
fn field<'py>(py: Python<'py>, value: &Field<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Field::Void => py.None().into_bound(py),
        Field::Bool(truth) => truth.into_pyobject(py)?.to_owned().into_any(),
        Field::Int(number) => number.into_pyobject(py)?.into_any(),
        Field::Float(number) => number.into_pyobject(py)?.into_any(),
        Field::Text(text) => PyString::new(py, text).into_any(),
        Field::Table(fields) => table(py, fields)?.into_any(),
        Field::Array(values) => {
            let list = PyList::empty(py);
            for value in values {
                list.append(field(py, value)?)?;
            }
            list.into_any()
        }
    })
}
