//! The templates of one dispatch: found by task and options, resolved by Python once.

use std::collections::HashMap;
use std::sync::Arc;

use celerant_core::json;
use celerant_core::message::Template;
use celerant_core::value::Arena;
use celerant_core::wire::redis::Route;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::call::Call;
use crate::convert::Reader;
use crate::error::Raised;
use crate::template::PyTemplate;

/// Templates kept from chunk to chunk: more would be a leak where each member is its own kind.
const TEMPLATES_KEPT: usize = 256;

/// A template, as the core and as Python know it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) core: Arc<Template>,
    pub(crate) python: Arc<Py<PyTemplate>>,
}

/// Templates of one task, by the options that a member brings, encoded.
type Kind = HashMap<Vec<u8>, usize>;

/// What has been resolved so far.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    kinds: HashMap<String, Kind>,
    /// By the number that kinds refer to.
    known: Vec<Known>,
    routes: Arc<Vec<Route>>,
}

impl Templates {
    pub(crate) fn get(&self, number: usize) -> Known {
        self.known[number].clone()
    }

    /// Where wired messages go, by the number that templates refer to.
    pub(crate) fn routes(&self) -> Arc<Vec<Route>> {
        Arc::clone(&self.routes)
    }

    /// The number of a member's template, resolved by Python where it is a new kind.
    pub(crate) fn number(
        &mut self,
        call: &Call<'_>,
        resolver: &Bound<'_, PyAny>,
        is_final: bool,
    ) -> PyResult<usize> {
        let Some(options) = fingerprint(&call.options, is_final)? else {
            return Ok(self.resolve(call, resolver)?.0);
        };
        let task = call.task.to_str()?;
        let kind = self.kinds.get(task);
        if let Some(&number) = kind.and_then(|kind| kind.get(&options)) {
            return Ok(number);
        }
        let (number, is_reusable) = self.resolve(call, resolver)?;
        if is_reusable {
            let kind = self.kinds.entry(task.to_owned()).or_default();
            kind.insert(options, number);
        }
        Ok(number)
    }

    fn resolve(&mut self, call: &Call<'_>, resolver: &Bound<'_, PyAny>) -> PyResult<(usize, bool)> {
        let template = resolver
            .call1((&call.task, &call.options, &call.args, &call.kwargs))?
            .cast_into::<PyTemplate>()
            .map_err(|_| PyTypeError::new_err("the resolver must return a Template"))?
            .unbind();
        let details = template.get();
        let form = details.form.get();
        let core = details.core(number_of(&form.route, &mut self.routes));
        let is_reusable = details.is_reusable;
        self.known.push(Known {
            core: Arc::new(core),
            python: Arc::new(template),
        });
        Ok((self.known.len() - 1, is_reusable))
    }

    /// Drops templates that hold for one chunk only.
    pub(crate) fn forget(&mut self) {
        if self.known.len() > TEMPLATES_KEPT {
            // Only templates refer to routes; chunks hold their own.
            *self = Self::default();
            return;
        }
        let known = &self.known;
        for kind in self.kinds.values_mut() {
            kind.retain(|_, &mut number| !known[number].python.get().is_timed);
        }
    }
}

/// The number of a route among `routes`, to which a new one is added.
pub(crate) fn number_of(route: &Route, routes: &mut Arc<Vec<Route>>) -> u32 {
    let known = routes.iter().position(|known| known == route);
    let number = known.unwrap_or_else(|| {
        Arc::make_mut(routes).push(route.clone());
        routes.len() - 1
    });
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The options as bytes to look them up by; None where they hold more than plain values.
///
/// `is_final`: the call adds nothing to them.
fn fingerprint(options: &Bound<'_, PyDict>, is_final: bool) -> PyResult<Option<Vec<u8>>> {
    if options.is_empty() {
        return Ok(Some(vec![u8::from(is_final)]));
    }
    let mut arena = Arena::new();
    let at = arena.position().map_err(Raised::from)?;
    let mut reader = Reader::new(&mut arena);
    reader.value(options)?;
    if !reader.is_plain {
        return Ok(None);
    }
    let mut key = vec![u8::from(is_final)];
    json::write(&arena, at, &mut key).map_err(Raised::from)?;
    Ok(Some(key))
}
