//! `success_record`: the stored record of a plain value.

use celerant_core::json::{write_float, write_string};
use celerant_core::moment::write_utc;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::convert::MAX_NESTING;

/// Bytes of a record from which on Python writes it: a value at its end may be one that only
/// Python can write, and all would be written twice.
const LONGEST: usize = 1 << 16;

/// Return the record of a task that succeeded, as `json.dumps` writes it.
///
/// Args:
///     `task_id`: The task's.
///     value: What it returned.
///     `group_id`: Its group's; None or empty: it is in none.
///     `parent_id`: The id of the task that sent it, or None.
///     now: The time, in seconds since the epoch.
///
/// Returns:
///     None if an id is no text; or if the value is not made of JSON's own types alone, is
///     large, or has numbers or depths that only Python writes.
#[pyfunction]
#[pyo3(signature = (task_id, value, group_id, parent_id, now))]
pub(crate) fn success_record<'py>(
    py: Python<'py>,
    task_id: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
    group_id: &Bound<'py, PyAny>,
    parent_id: &Bound<'py, PyAny>,
    now: f64,
) -> Option<Bound<'py, PyBytes>> {
    let mut out = Vec::with_capacity(300);
    out.extend_from_slice(b"{\"status\": \"SUCCESS\", \"result\": ");
    if !write_plain(value, MAX_NESTING, &mut out) {
        return None;
    }
    out.extend_from_slice(b", \"traceback\": null, \"children\": [], \"date_done\": \"");
    write_utc(now, &mut out);
    out.push(b'"');
    for (name, text) in [("group_id", group_id), ("parent_id", parent_id)] {
        if text.is_none() {
            continue;
        }
        let text = text.cast_exact::<PyString>().ok()?.to_str().ok()?;
        if !text.is_empty() {
            write_pair(name, text, &mut out);
        }
    }
    let task_id = task_id.cast_exact::<PyString>().ok()?.to_str().ok()?;
    write_pair("task_id", task_id, &mut out);
    out.push(b'}');
    Some(PyBytes::new(py, &out))
}

/// Writes a value; false if it is not plain. Runs no code of the value's.
fn write_plain(value: &Bound<'_, PyAny>, nesting: usize, out: &mut Vec<u8>) -> bool {
    if let Ok(text) = value.cast_exact::<PyString>() {
        return write_text(text, out);
    }
    if let Ok(number) = value.cast_exact::<PyInt>() {
        // Past 64 bits: Python may refuse to write it.
        let Ok(number) = number.extract::<i64>() else {
            return false;
        };
        out.extend_from_slice(number.to_string().as_bytes());
    } else if value.is_none() {
        out.extend_from_slice(b"null");
    } else if let Ok(truth) = value.cast_exact::<PyBool>() {
        out.extend_from_slice(if truth.is_true() { b"true" } else { b"false" });
    } else if let Ok(number) = value.cast_exact::<PyFloat>() {
        write_float(number.value(), out);
    } else if let Ok(list) = value.cast_exact::<PyList>() {
        return write_items(list.iter(), nesting, out);
    } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        return write_items(tuple.iter(), nesting, out);
    } else if let Ok(dict) = value.cast_exact::<PyDict>() {
        return write_pairs(dict, nesting, out);
    } else {
        return false;
    }
    true
}

fn write_pair(name: &str, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b", \"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\": ");
    write_string(text.as_bytes(), out);
}

fn write_text(text: &Bound<'_, PyString>, out: &mut Vec<u8>) -> bool {
    let Ok(text) = text.to_str() else {
        return false;
    };
    write_string(text.as_bytes(), out);
    true
}

fn write_items<'py>(
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    nesting: usize,
    out: &mut Vec<u8>,
) -> bool {
    let Some(nesting) = nesting.checked_sub(1) else {
        return false;
    };
    out.push(b'[');
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.extend_from_slice(b", ");
        }
        if out.len() > LONGEST || !write_plain(&item, nesting, out) {
            return false;
        }
    }
    out.push(b']');
    true
}

fn write_pairs(dict: &Bound<'_, PyDict>, nesting: usize, out: &mut Vec<u8>) -> bool {
    let Some(nesting) = nesting.checked_sub(1) else {
        return false;
    };
    out.push(b'{');
    if dict.len() > LONGEST {
        return false;
    }
    // Gathered first: PyO3 panics if another thread changes the dict meanwhile.
    let pairs: Vec<_> = dict.iter().collect();
    for (at, (key, item)) in pairs.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b", ");
        }
        // Python makes text of some other keys.
        let Ok(key) = key.cast_exact::<PyString>() else {
            return false;
        };
        if out.len() > LONGEST || !write_text(key, out) {
            return false;
        }
        out.extend_from_slice(b": ");
        if !write_plain(item, nesting, out) {
            return false;
        }
    }
    out.push(b'}');
    true
}
