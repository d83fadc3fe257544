//! A task's parameters, compiled once, so that calls are checked without Python.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// The parameters of a function; see `inspect.Signature`.
#[derive(Debug)]
pub(crate) struct Parameters {
    /// Positional ones in order.
    positional: Vec<Positional>,
    keyword_only: Vec<(String, bool)>,
    takes_more_positional: bool,
    takes_more_keywords: bool,
    /// The `inspect.Signature` itself: its `bind` words the error.
    source: Py<PyAny>,
}

#[derive(Debug)]
struct Positional {
    name: String,
    is_required: bool,
    by_name: bool,
}

impl Parameters {
    /// Compiles an `inspect.Signature`.
    pub(crate) fn compile(signature: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = signature.py();
        let empty = py
            .import("inspect")?
            .getattr("Parameter")?
            .getattr("empty")?;
        let mut compiled = Self {
            positional: Vec::new(),
            keyword_only: Vec::new(),
            takes_more_positional: false,
            takes_more_keywords: false,
            source: signature.clone().unbind(),
        };
        let parameters = signature.getattr("parameters")?.call_method0("values")?;
        for parameter in parameters.try_iter()? {
            let parameter = parameter?;
            let name: String = parameter.getattr("name")?.extract()?;
            let is_required = parameter.getattr("default")?.is(&empty);
            let kind: String = parameter.getattr("kind")?.getattr("name")?.extract()?;
            match kind.as_str() {
                "VAR_POSITIONAL" => compiled.takes_more_positional = true,
                "VAR_KEYWORD" => compiled.takes_more_keywords = true,
                "KEYWORD_ONLY" => compiled.keyword_only.push((name, is_required)),
                kind => compiled.positional.push(Positional {
                    name,
                    is_required,
                    by_name: kind != "POSITIONAL_ONLY",
                }),
            }
        }
        Ok(compiled)
    }

    /// Whether `given` positional arguments and `kwargs` fit.
    pub(crate) fn fit(&self, given: usize, kwargs: &Bound<'_, PyDict>) -> PyResult<bool> {
        if given > self.positional.len() && !self.takes_more_positional {
            return Ok(false);
        }
        if kwargs.is_empty() {
            let missing = self.positional.iter().skip(given).any(|p| p.is_required);
            return Ok(!missing && !self.keyword_only.iter().any(|(_, required)| *required));
        }
        let mut used = 0;
        for (at, parameter) in self.positional.iter().enumerate() {
            if !parameter.by_name {
                if at >= given && parameter.is_required {
                    return Ok(false);
                }
                continue;
            }
            match (at < given, kwargs.contains(&parameter.name)?) {
                (true, true) => return Ok(false),
                (false, false) if parameter.is_required => return Ok(false),
                (false, true) => used += 1,
                _ => {}
            }
        }
        for (name, is_required) in &self.keyword_only {
            match kwargs.contains(name)? {
                true => used += 1,
                false if *is_required => return Ok(false),
                false => {}
            }
        }
        Ok(self.takes_more_keywords || used == kwargs.len())
    }

    /// Why the call does not fit, in Python's words; None if it fits after all.
    pub(crate) fn explain(
        &self,
        args: &Bound<'_, PyAny>,
        kwargs: &Bound<'_, PyDict>,
    ) -> PyResult<Option<String>> {
        let py = args.py();
        let positional = args.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        let positional = pyo3::types::PyTuple::new(py, positional)?;
        match self
            .source
            .bind(py)
            .call_method("bind", positional, Some(kwargs))
        {
            Ok(_) => Ok(None),
            Err(error) => {
                let reason: Bound<'_, PyString> = error.value(py).str()?;
                Ok(Some(reason.to_string_lossy().into_owned()))
            }
        }
    }
}
