//! `Layout` and `Template`: the parts that members of the same task and options share.

use celerant_core::message::{AmqpEnvelope, Envelope, Part, Slot, Template};
use celerant_core::wire::redis::Route;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::parameters::Parameters;

/// A message's constant bytes for one wire, with slots; that wire makes it.
#[pyclass(frozen, module = "celerant._core", name = "Layout")]
#[derive(Debug)]
pub struct PyLayout {
    pub(crate) envelope: Envelope,
    pub(crate) route: Route,
    /// The object that a generic message is published with.
    pub(crate) generic: Option<Py<PyAny>>,
}

/// A constant piece, or a slot's name in a 1-tuple.
fn part(piece: &Bound<'_, PyAny>) -> PyResult<Part> {
    if let Ok(slot) = piece.cast::<PyTuple>() {
        let name: String = slot.get_item(0)?.extract()?;
        return Ok(Part::Slot(match name.as_str() {
            "id" => Slot::Id,
            "group_index" => Slot::GroupIndex,
            "argsrepr" => Slot::ArgsRepr,
            "kwargsrepr" => Slot::KwargsRepr,
            "body" => Slot::Body,
            "tag" => Slot::Tag,
            other => match other.strip_prefix("own").map(str::parse) {
                Some(Ok(number)) => Slot::Own(number),
                _ => return Err(PyValueError::new_err(format!("no such slot: {name:?}"))),
            },
        }));
    }
    if let Ok(text) = piece.extract::<String>() {
        return Ok(Part::Bytes(text.into_bytes()));
    }
    Ok(Part::Bytes(piece.extract::<Vec<u8>>()?))
}

fn parts(pieces: &[Bound<'_, PyAny>]) -> PyResult<Vec<Part>> {
    pieces.iter().map(part).collect()
}

#[pymethods]
#[allow(clippy::needless_pass_by_value)] // PyO3 hands over what it extracted
impl PyLayout {
    /// JSON text of kombu's Redis transport, and the full keys it goes to.
    #[staticmethod]
    fn redis(
        pieces: Vec<Bound<'_, PyAny>>,
        key: Vec<u8>,
        expire: Vec<(Vec<u8>, u64)>,
    ) -> PyResult<Self> {
        Ok(Self {
            envelope: Envelope::Redis(parts(&pieces)?),
            route: Route { key, expire },
            generic: None,
        })
    }

    /// Frames of AMQP 0-9-1.
    #[staticmethod]
    fn amqp(
        method: Vec<u8>,
        before: Vec<u8>,
        table: Vec<Bound<'_, PyAny>>,
        after: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let envelope = AmqpEnvelope {
            method,
            before,
            table: parts(&table)?,
            after: parts(&after)?,
        };
        Ok(Self {
            envelope: Envelope::Amqp(envelope),
            route: Route::default(),
            generic: None,
        })
    }

    /// kombu publishes it, with `layout`.
    #[staticmethod]
    fn generic(layout: Py<PyAny>) -> Self {
        Self {
            envelope: Envelope::Generic,
            route: Route::default(),
            generic: Some(layout),
        }
    }
}

/// A layout, and how the members that have it are read.
#[pyclass(frozen, module = "celerant._core", name = "Template")]
#[derive(Debug)]
pub struct PyTemplate {
    pub(crate) layout: Py<PyLayout>,
    /// `(args, kwargs, embed) -> bytes`, for bodies that are not written here. `embed` is the
    /// body's third item; None stands for the third item of all members.
    pub(crate) encode: Py<PyAny>,
    /// Third item of the body, if bodies of plain values are written here.
    pub(crate) embed: Option<Vec<u8>>,
    pub(crate) parameters: Option<Parameters>,
    pub(crate) is_ignored: bool,
    pub(crate) is_reusable: bool,
    pub(crate) is_timed: bool,
    /// The object that [`crate::chunk::PyChunk`] gives to the listener of each member; None if
    /// there is none.
    pub(crate) heard: Option<Py<PyAny>>,
}

#[pymethods]
impl PyTemplate {
    #[new]
    #[pyo3(signature = (layout, *, encode, embed, parameters, ignored, reusable, timed, heard = None))]
    #[allow(clippy::fn_params_excessive_bools, clippy::too_many_arguments)] // keyword-only facts of one record
    fn new(
        layout: Py<PyLayout>,
        encode: Py<PyAny>,
        embed: Option<Vec<u8>>,
        parameters: Option<&Bound<'_, PyAny>>,
        ignored: bool,
        reusable: bool,
        timed: bool,
        heard: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        Ok(Self {
            layout,
            encode,
            embed,
            parameters: parameters.map(Parameters::compile).transpose()?,
            is_ignored: ignored,
            is_reusable: reusable,
            is_timed: timed,
            heard,
        })
    }

    /// Whether a wire of its own carries the messages; else kombu publishes them.
    #[getter]
    fn is_wired(&self) -> bool {
        self.layout.get().generic.is_none()
    }
}

impl PyTemplate {
    /// The same for the core, whose messages go to `route`.
    pub(crate) fn core(&self, route: u32) -> Template {
        Template {
            envelope: self.layout.get().envelope.clone(),
            embed: self.embed.clone().unwrap_or_default(),
            route,
        }
    }

    /// A body by kombu's serializer; if `embed` is None, its third item is the one of all members.
    pub(crate) fn encoded<'py>(
        &self,
        args: &Bound<'py, PyAny>,
        kwargs: &Bound<'py, PyDict>,
        embed: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.encode
            .bind(args.py())
            .call1((args, kwargs, embed))?
            .cast_into::<PyBytes>()
            .map_err(|_| PyTypeError::new_err("a body encoder must return bytes"))
    }
}
