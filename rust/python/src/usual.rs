//! `read_raw`, and the fields of a request out of the dicts of a usual message.
//!
//! A message that is unusual or broken in any part is left to Python, which also says what is
//! wrong.

use celerant_core::envelope::{Arguments, arguments};
use celerant_core::headers::{self, Meaning, Value, is_address, meaning};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyInt, PyList, PyString};

use crate::meta::to_python;

/// Read a task message out of one of kombu's in-process queues.
///
/// Returns:
///     The fields of its request; None: it is unusual or broken.
#[pyfunction]
#[pyo3(signature = (raw))]
pub(crate) fn read_raw<'py>(
    py: Python<'py>,
    raw: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some(raw) = exact_dict(raw) else {
        return Ok(None);
    };
    let Some((parts, body)) = from_queue(py, raw)? else {
        return Ok(None);
    };
    let text = exact_text(&body);
    let Some(body) = text.and_then(|text| base64_simd::STANDARD.decode_to_vec(text).ok()) else {
        return Ok(None);
    };
    fields(py, &parts, &body)
}

/// The parts of an item of a queue, and its body; `None` if it is unusual.
fn from_queue<'py>(
    py: Python<'py>,
    raw: &Bound<'py, PyDict>,
) -> PyResult<Option<(Parts<'py>, Bound<'py, PyAny>)>> {
    let get = |name: &Bound<'py, PyString>| raw.get_item(name);
    let (Some(body), Some(headers), Some(properties), Some(kind), Some(encoding)) = (
        get(intern!(py, "body"))?,
        get(intern!(py, "headers"))?,
        get(intern!(py, "properties"))?,
        get(intern!(py, "content-type"))?,
        get(intern!(py, "content-encoding"))?,
    ) else {
        return Ok(None);
    };
    let (Some(headers), Some(properties)) = (exact_dict(&headers), exact_dict(&properties)) else {
        return Ok(None);
    };
    let Some(info) = properties.get_item(intern!(py, "delivery_info"))? else {
        return Ok(None);
    };
    let Some(info) = exact_dict(&info) else {
        return Ok(None);
    };
    let is_base64 = properties
        .get_item(intern!(py, "body_encoding"))?
        .is_some_and(|encoding| is_text(&encoding, "base64"));
    let is_redelivered = match info.get_item(intern!(py, "redelivered"))? {
        None => false,
        Some(told) => match told.cast_exact::<PyBool>() {
            Ok(told) => told.is_true(),
            Err(_) => return Ok(None),
        },
    };
    if !(is_base64 && is_json(&kind, &encoding)) {
        return Ok(None);
    }
    let parts = Parts {
        headers: headers.clone(),
        properties: properties.clone(),
        exchange: info.get_item(intern!(py, "exchange"))?,
        routing_key: info.get_item(intern!(py, "routing_key"))?,
        is_redelivered,
    };
    Ok(Some((parts, body)))
}

/// The parts of a message that its request tells of, as Python has them.
pub(crate) struct Parts<'py> {
    pub(crate) headers: Bound<'py, PyDict>,
    pub(crate) properties: Bound<'py, PyDict>,
    pub(crate) exchange: Option<Bound<'py, PyAny>>,
    pub(crate) routing_key: Option<Bound<'py, PyAny>>,
    pub(crate) is_redelivered: bool,
}

/// Whether a body is JSON in UTF-8.
pub(crate) fn is_json(kind: &Bound<'_, PyAny>, encoding: &Bound<'_, PyAny>) -> bool {
    is_text(kind, "application/json") && is_text(encoding, "utf-8")
}

/// The fields of a request; `None` if the message is unusual.
pub(crate) fn fields<'py>(
    py: Python<'py>,
    parts: &Parts<'py>,
    body: &[u8],
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let fields = PyDict::new(py);
    // First: most unusual messages differ there.
    if !take_headers(py, parts, &fields)? {
        return Ok(None);
    }
    let Some(arguments) = arguments(body) else {
        return Ok(None);
    };
    let Some(priority) = take_addresses(py, parts, &fields)? else {
        return Ok(None);
    };
    fields.set_item(intern!(py, "properties"), &parts.properties)?;
    let way = Way {
        exchange: parts.exchange.clone(),
        routing_key: parts.routing_key.clone(),
        priority,
        is_redelivered: parts.is_redelivered,
    };
    complete(py, &fields, &arguments, way)?;
    Ok(Some(fields))
}

/// The way that a message came.
pub(crate) struct Way<'py> {
    pub(crate) exchange: Option<Bound<'py, PyAny>>,
    pub(crate) routing_key: Option<Bound<'py, PyAny>>,
    pub(crate) priority: Bound<'py, PyAny>,
    pub(crate) is_redelivered: bool,
}

/// Adds the arguments, the way, and the fields that no two requests may share.
pub(crate) fn complete<'py>(
    py: Python<'py>,
    fields: &Bound<'py, PyDict>,
    arguments: &Arguments<'_>,
    way: Way<'py>,
) -> PyResult<()> {
    let info = PyDict::new(py);
    info.set_item(intern!(py, "exchange"), way.exchange)?;
    info.set_item(intern!(py, "routing_key"), way.routing_key)?;
    info.set_item(intern!(py, "priority"), way.priority)?;
    info.set_item(intern!(py, "redelivered"), way.is_redelivered)?;
    fields.set_item(intern!(py, "delivery_info"), info)?;
    fields.set_item(intern!(py, "args"), to_python(py, &arguments.args)?)?;
    fields.set_item(intern!(py, "kwargs"), to_python(py, &arguments.kwargs)?)?;
    let stamps = match fields.get_item(intern!(py, "stamps"))? {
        // In memory the members of a group have one in common.
        Some(stamps) => stamps.cast_into::<PyDict>()?.copy()?,
        None => PyDict::new(py),
    };
    fields.set_item(intern!(py, "stamps"), stamps)?;
    fields.set_item(intern!(py, "headers"), PyDict::new(py))?;
    fields.set_item(intern!(py, "children"), PyList::empty(py))?;
    fields.set_item(intern!(py, "successors"), PyList::empty(py))
}

/// Puts the headers into the fields; false if one is unusual.
fn take_headers<'py>(
    py: Python<'py>,
    parts: &Parts<'py>,
    fields: &Bound<'py, PyDict>,
) -> PyResult<bool> {
    let (mut known, mut has_id, mut has_task) = (0, false, false);
    for (place, name) in header_names(py).iter().enumerate() {
        let Some(value) = parts.headers.get_item(name)? else {
            continue;
        };
        known += 1;
        match meaning(place, &Held(&value)) {
            Some(Meaning::Nothing) => continue,
            Some(Meaning::Field) => {}
            Some(Meaning::Id) => has_id = true,
            Some(Meaning::Task) => has_task = true,
            None => return Ok(false),
        }
        fields.set_item(name, value)?;
    }
    Ok(has_id && has_task && known == parts.headers.len())
}

/// Puts the addresses into the fields and returns the priority, which may be None;
/// `None` if one of them is unusual.
fn take_addresses<'py>(
    py: Python<'py>,
    parts: &Parts<'py>,
    fields: &Bound<'py, PyDict>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    for name in [intern!(py, "reply_to"), intern!(py, "correlation_id")] {
        let Some(value) = parts.properties.get_item(name)? else {
            continue;
        };
        if value.is_none() {
            continue;
        }
        if !exact_text(&value).is_some_and(is_address) {
            return Ok(None);
        }
        fields.set_item(name, value)?;
    }
    let priority = parts.properties.get_item(intern!(py, "priority"))?;
    let priority = priority.unwrap_or_else(|| py.None().into_bound(py));
    Ok((priority.is_none() || priority.is_exact_instance_of::<PyInt>()).then_some(priority))
}

/// The names of the headers of the usual form, in their places.
pub(crate) fn header_names(py: Python<'_>) -> &[Py<PyString>] {
    static NAMES: PyOnceLock<Vec<Py<PyString>>> = PyOnceLock::new();
    NAMES.get_or_init(py, || {
        headers::header_names()
            .map(|name| PyString::intern(py, name).unbind())
            .collect()
    })
}

fn exact_dict<'a, 'py>(value: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, PyDict>> {
    value.cast_exact::<PyDict>().ok()
}

/// The text of exactly a `str`, if it can be encoded.
fn exact_text<'a>(value: &'a Bound<'_, PyAny>) -> Option<&'a str> {
    value.cast_exact::<PyString>().ok()?.to_str().ok()
}

fn is_text(value: &Bound<'_, PyAny>, wanted: &str) -> bool {
    exact_text(value) == Some(wanted)
}

/// A value of Python's, whose type is no subclass.
struct Held<'a, 'py>(&'a Bound<'py, PyAny>);

impl Value for Held<'_, '_> {
    fn is_null(&self) -> bool {
        self.0.is_none()
    }

    fn text(&self) -> Option<&str> {
        exact_text(self.0)
    }

    fn number(&self) -> Option<i64> {
        self.0.cast_exact::<PyInt>().ok()?.extract().ok()
    }

    fn is_flag(&self) -> bool {
        self.0.is_exact_instance_of::<PyBool>()
    }

    fn is_texts(&self) -> bool {
        let all = |items: &Bound<'_, PyList>| items.iter().all(|item| exact_text(&item).is_some());
        self.0.cast_exact::<PyList>().is_ok_and(all)
    }

    fn is_nulls(&self, count: usize) -> bool {
        let all = |items: &Bound<'_, PyList>| {
            items.len() == count && items.iter().all(|item| item.is_none())
        };
        self.0.cast_exact::<PyList>().is_ok_and(all)
    }

    fn is_table(&self) -> bool {
        self.0.is_exact_instance_of::<PyDict>()
    }
}
