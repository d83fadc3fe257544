//! Stored records into Python values, in bulk.

use celerant_core::barrier::{Arrival, Barrier, State};
use celerant_core::meta::{JsonValue, Meta, parse};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString};

use crate::barrier::Raised;
use crate::values::PyValues;

/// (completed, first failed or revoked member, positions for kombu).
pub(crate) type Absorbed = (bool, Option<u32>, Vec<usize>);

/// See `Barrier.absorb`.
pub(crate) fn absorb(
    barrier: &Barrier,
    indices: &[u32],
    payloads: &Bound<'_, PyList>,
    values: &PyValues,
) -> PyResult<Absorbed> {
    if indices.len() != payloads.len() {
        let (left, right) = (indices.len(), payloads.len());
        return Err(PyValueError::new_err(format!(
            "{left} indices for {right} payloads"
        )));
    }
    let mut completed = false;
    let mut first = None;
    let mut deferred = Vec::new();
    for (position, (payload, &index)) in payloads.iter().zip(indices).enumerate() {
        if payload.is_none() || barrier.state(index).map_err(Raised::from)? != State::Pending {
            continue;
        }
        let Ok(bytes) = payload.cast::<PyBytes>() else {
            deferred.push(position);
            continue;
        };
        let (state, value) = match parse(bytes.as_bytes()) {
            Meta::NotReady => continue,
            Meta::Defer => {
                deferred.push(position);
                continue;
            }
            Meta::Ready {
                state: State::Success,
                result,
            } => (State::Success, to_python(payload.py(), &result)?),
            Meta::Ready { state, .. } => (state, payload),
        };
        let arrival = put(barrier, index, state, values, value)?;
        completed |= arrival == Arrival::Completed;
        if state != State::Success && arrival != Arrival::Duplicate {
            first = first.or(Some(index));
        }
    }
    Ok((completed, first, deferred))
}

/// Puts a value into its slot and lets its member arrive, as one step: one of all calls for a
/// member does both, and the others neither.
pub(crate) fn put(
    barrier: &Barrier,
    index: u32,
    state: State,
    values: &PyValues,
    value: Bound<'_, PyAny>,
) -> PyResult<Arrival> {
    let Some(claim) = barrier.claim(index, state).map_err(Raised::from)? else {
        return Ok(Arrival::Duplicate);
    };
    values.set(index, value);
    Ok(claim.settle())
}

/// The value that Python's `json.loads` would make of it. Bounded by the parser's 200 levels.
pub(crate) fn to_python<'py>(
    py: Python<'py>,
    value: &JsonValue<'_>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        JsonValue::Null => py.None().into_bound(py),
        JsonValue::Bool(value) => PyBool::new(py, *value).to_owned().into_any(),
        JsonValue::Int(value) => PyInt::new(py, *value).into_any(),
        JsonValue::Float(value) => PyFloat::new(py, *value).into_any(),
        JsonValue::Str(value) => PyString::new(py, value).into_any(),
        JsonValue::Array(items) => {
            let list = PyList::empty(py);
            for item in items.iter() {
                list.append(to_python(py, item)?)?;
            }
            list.into_any()
        }
        JsonValue::Object(items) => {
            let dict = PyDict::new(py);
            for (key, value) in items.iter() {
                dict.set_item(key.as_ref(), to_python(py, value)?)?;
            }
            dict.into_any()
        }
        // `meta::parse` defers these.
        JsonValue::BigInt(value) => {
            return Err(PyValueError::new_err(format!("{value} is past 64 bits")));
        }
    })
}
