//! Python values to arena tokens, in one pass.

use celerant_core::value::{Arena, Token, ValueRef};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple, PyType,
};
use smallvec::SmallVec;

use crate::error::Raised;
use crate::frames::ReadTypes;

/// Containers within containers that are followed. Deeper ones go to kombu's serializer, and
/// reprs show three levels.
pub(crate) const MAX_NESTING: usize = 100;

/// Items of a container, and containers within containers, that cost no allocation.
const FEW: usize = 8;

/// Reads values into an arena and notes whether all of them were plain.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    arena: &'a mut Arena,
    /// Addresses of the containers that are open.
    open: SmallVec<[usize; FEW]>,
    /// Whether the JSON writer may write the values that were read.
    pub(crate) is_plain: bool,
    /// Subclasses of dict that are written as plain ones: signatures.
    canvases: Option<&'a ReadTypes>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(arena: &'a mut Arena) -> Self {
        Self {
            arena,
            open: SmallVec::new(),
            is_plain: true,
            canvases: None,
        }
    }

    /// From here on signatures, groups, chains and chords count as plain dicts.
    pub(crate) fn with_canvases(mut self, types: &'a ReadTypes) -> Self {
        self.canvases = Some(types);
        self
    }

    /// The position at which the next value will start.
    pub(crate) fn position(&self) -> PyResult<ValueRef> {
        Ok(self.arena.position().map_err(Raised::from)?)
    }

    pub(crate) fn push(&mut self, token: Token) -> PyResult<()> {
        Ok(self.arena.push(token).map_err(Raised::from)?)
    }

    /// Writes text of ours.
    pub(crate) fn push_text(&mut self, text: &str) -> PyResult<()> {
        Ok(self.arena.push_str(text.as_bytes()).map_err(Raised::from)?)
    }

    /// Opens a list of `len` items, a tuple of them, or a dict of as many pairs.
    pub(crate) fn push_open(&mut self, token: fn(u32) -> Token, len: usize) -> PyResult<()> {
        self.push(token(length(len)?))
    }

    /// Reads one value.
    pub(crate) fn value(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        // Asked first: a failed cast makes an error that holds the value and its type.
        if value.is_exact_instance_of::<PyString>() {
            return self.text(value.cast_exact()?);
        }
        if value.is_exact_instance_of::<PyInt>() {
            // Past 64 bits: kombu's.
            return match value.extract::<i64>() {
                Ok(int) => self.push(Token::Int(int)),
                // Python refuses to write more than 4,300 digits.
                Err(_) => self.written(value, value.str()),
            };
        }
        if value.is_none() {
            return self.push(Token::Null);
        }
        if value.is_exact_instance_of::<PyBool>() {
            return self.push(Token::Bool(value.cast_exact::<PyBool>()?.is_true()));
        }
        if value.is_exact_instance_of::<PyFloat>() {
            let number = value.cast_exact::<PyFloat>()?.value();
            if number.is_finite() {
                return self.push(Token::Float(number));
            }
            return self.shown(&value.str()?);
        }
        self.container(value)
    }

    fn container(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let address = value.as_ptr() as usize;
        if value.is_instance_of::<PyTuple>() {
            let tuple = value.cast::<PyTuple>()?;
            self.is_plain &= value.is_exact_instance_of::<PyTuple>();
            return self.inside(address, Token::Tuple, tuple.iter_borrowed());
        }
        if value.is_instance_of::<PyDict>() {
            self.is_plain &= value.is_exact_instance_of::<PyDict>()
                || self.canvases.is_some_and(|types| types.is_readable(value));
            return self.dict(address, value.cast()?);
        }
        if let Ok(list) = value.cast::<PyList>() {
            self.is_plain &= value.is_exact_instance_of::<PyList>();
            // Gathered first: reading an item may run code that changes the list.
            let items: SmallVec<[_; FEW]> = list.iter().collect();
            return self.inside(address, Token::List, items.iter().map(Bound::as_borrowed));
        }
        self.foreign(value, address)
    }

    /// Opens a container and reads its items.
    fn inside<'b, 'py: 'b>(
        &mut self,
        address: usize,
        token: fn(u32) -> Token,
        items: impl ExactSizeIterator<Item = Borrowed<'b, 'py, PyAny>>,
    ) -> PyResult<()> {
        if !self.enter(address) {
            return self.push(token(0));
        }
        self.push(token(length(items.len())?))?;
        for item in items {
            self.value(&item)?;
        }
        self.open.pop();
        Ok(())
    }

    fn dict(&mut self, address: usize, dict: &Bound<'_, PyDict>) -> PyResult<()> {
        if dict.is_empty() || !self.enter(address) {
            return self.push(Token::Dict(0));
        }
        // Gathered first: PyO3 panics if a dict changes while it is iterated.
        let items: SmallVec<[_; FEW]> = dict.iter().collect();
        self.push(Token::Dict(length(items.len())?))?;
        for (key, value) in &items {
            self.is_plain &= key.is_exact_instance_of::<PyString>();
            self.value(key)?;
            self.value(value)?;
        }
        self.open.pop();
        Ok(())
    }

    /// Notes that a container is open; false if it was open already, or nests too deep.
    fn enter(&mut self, address: usize) -> bool {
        if self.open.len() >= MAX_NESTING || self.open.contains(&address) {
            self.is_plain = false;
            return false;
        }
        self.open.push(address);
        true
    }

    /// A value that only a serializer can encode; read for reprs alone.
    fn foreign(&mut self, value: &Bound<'_, PyAny>, address: usize) -> PyResult<()> {
        self.is_plain = false;
        if let Ok(text) = value.cast::<PyString>() {
            return self.text(text);
        }
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(self
                .arena
                .push_bytes(bytes.as_bytes())
                .map_err(Raised::from)?);
        }
        if let Ok(set) = value.cast_exact::<PySet>()
            && !set.is_empty()
        {
            let items: Vec<_> = set.iter().collect();
            return self.inside(address, Token::Set, items.iter().map(Bound::as_borrowed));
        }
        if let Ok(set) = value.cast_exact::<PyFrozenSet>()
            && !set.is_empty()
        {
            let items: Vec<_> = set.iter().collect();
            return self.inside(
                address,
                Token::FrozenSet,
                items.iter().map(Bound::as_borrowed),
            );
        }
        // Source: reprstream of celery 5.7.0: numbers by str, decimals and the rest by repr.
        let by_str = is_number(value);
        let text = match by_str {
            Ok(true) => value.str(),
            Ok(false) => value.repr(),
            Err(error) => Err(error),
        };
        self.written(value, text)
    }

    /// Keeps what `str` or `repr` gave, or that it failed.
    fn written(
        &mut self,
        value: &Bound<'_, PyAny>,
        text: PyResult<Bound<'_, PyString>>,
    ) -> PyResult<()> {
        match text {
            Ok(text) => self.shown(&text),
            // Ctrl-C and the like are no failure of the value.
            Err(error) if !error.is_instance_of::<PyException>(value.py()) => Err(error),
            Err(error) => {
                self.is_plain = false;
                let class = value.get_type().name()?;
                let text = format!("<Unrepresentable {class}: {error}>");
                Ok(self
                    .arena
                    .push_repr(text.as_bytes())
                    .map_err(Raised::from)?)
            }
        }
    }

    fn shown(&mut self, text: &Bound<'_, PyString>) -> PyResult<()> {
        self.is_plain = false;
        with_wtf8(text, |bytes| {
            Ok(self.arena.push_repr(bytes).map_err(Raised::from)?)
        })
    }

    fn text(&mut self, text: &Bound<'_, PyString>) -> PyResult<()> {
        with_wtf8(text, |bytes| {
            Ok(self.arena.push_str(bytes).map_err(Raised::from)?)
        })
    }
}

/// Reads a value; returns its position.
pub(crate) fn value(reader: &mut Reader<'_>, value: &Bound<'_, PyAny>) -> PyResult<ValueRef> {
    let at = reader.position()?;
    reader.value(value)?;
    Ok(at)
}

/// Hands over a string's UTF-8, lone surrogates as three bytes each.
pub(crate) fn with_wtf8<T>(
    text: &Bound<'_, PyString>,
    take: impl FnOnce(&[u8]) -> PyResult<T>,
) -> PyResult<T> {
    if let Ok(utf8) = text.to_str() {
        return take(utf8.as_bytes());
    }
    let encoded = text.call_method1("encode", ("utf-8", "surrogatepass"))?;
    take(encoded.cast::<PyBytes>()?.as_bytes())
}

fn length(len: usize) -> PyResult<u32> {
    u32::try_from(len).map_err(|_| {
        pyo3::exceptions::PyOverflowError::new_err("a container with more than 2**32 - 1 items")
    })
}

fn is_number(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = value.py();
    Ok(value.is_instance(number(py)?)? && !value.is_instance(decimal(py)?)?)
}

fn number(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static NUMBER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    NUMBER.import(py, "numbers", "Number")
}

fn decimal(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static DECIMAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    DECIMAL.import(py, "decimal", "Decimal")
}

/// Text as a `str` of Python's; it may have lone surrogates.
pub(crate) fn from_wtf8<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(PyString::new(py, text).into_any()),
        Err(_) => PyBytes::new(py, bytes).call_method1("decode", ("utf-8", "surrogatepass")),
    }
}
