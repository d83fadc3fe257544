//! The templates of one dispatch: found by task and options, resolved by Python once.

use std::collections::HashMap;
use std::sync::Arc;

use celerant_core::json;
use celerant_core::message::Template;
use celerant_core::value::Arena;
use celerant_core::wire::redis::Route;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::convert::Reader;
use crate::error::Raised;
use crate::template::PyTemplate;

/// Templates kept from chunk to chunk: more would be a leak if each member had its own options.
const TEMPLATES_KEPT: usize = 256;

/// A template, as the core and as Python know it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) core: Arc<Template>,
    pub(crate) python: Py<PyTemplate>,
}

/// The origin of options: the rest of a template depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A member's own; the call adds its own.
    Member,
    /// A message of a chain or chord: the call has nothing to add.
    Message,
    /// The same with a position in a group, which is no part of the template.
    PositionedMessage,
}

/// Templates of one task, by the options that a member brings, encoded.
type ByOptions = HashMap<Vec<u8>, usize>;

/// The templates that were resolved so far.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    by_task: HashMap<String, ByOptions>,
    /// By the numbers that `by_task` has.
    known: Vec<Arc<Known>>,
    routes: Arc<Vec<Route>>,
}

impl Templates {
    pub(crate) fn get(&self, number: usize) -> Arc<Known> {
        Arc::clone(&self.known[number])
    }

    /// The routes of wired messages, by the numbers that templates have.
    pub(crate) fn routes(&self) -> Arc<Vec<Route>> {
        Arc::clone(&self.routes)
    }

    /// The number of a member's template; Python resolves one that is not known yet.
    ///
    /// `options`: what tells templates of one task apart; None: this one serves no other member.
    pub(crate) fn number(
        &mut self,
        task: &str,
        options: Option<Vec<u8>>,
        resolve: impl FnOnce() -> PyResult<Py<PyTemplate>>,
    ) -> PyResult<usize> {
        let Some(options) = options else {
            return Ok(self.add(resolve()?));
        };
        let by_options = self.by_task.get(task);
        if let Some(&number) = by_options.and_then(|by_options| by_options.get(&options)) {
            return Ok(number);
        }
        let template = resolve()?;
        let is_reusable = template.get().is_reusable;
        let number = self.add(template);
        if is_reusable {
            let by_options = self.by_task.entry(task.to_owned()).or_default();
            by_options.insert(options, number);
        }
        Ok(number)
    }

    fn add(&mut self, template: Py<PyTemplate>) -> usize {
        let details = template.get();
        let layout = details.layout.get();
        let core = details.core(number_of(&layout.route, &mut self.routes));
        self.known.push(Arc::new(Known {
            core: Arc::new(core),
            python: template,
        }));
        self.known.len() - 1
    }

    /// Drops templates that hold for one chunk only.
    pub(crate) fn forget(&mut self) {
        if self.known.len() > TEMPLATES_KEPT {
            // Only templates refer to routes; chunks hold their own.
            *self = Self::default();
            return;
        }
        let known = &self.known;
        for by_options in self.by_task.values_mut() {
            by_options.retain(|_, &mut number| !known[number].python.get().is_timed);
        }
    }
}

/// The number of a route among `routes`; a new one is added to them.
pub(crate) fn number_of(route: &Route, routes: &mut Arc<Vec<Route>>) -> u32 {
    let known = routes.iter().position(|known| known == route);
    let number = known.unwrap_or_else(|| {
        Arc::make_mut(routes).push(route.clone());
        routes.len() - 1
    });
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Options as bytes to look them up by; None if they hold more than plain values.
///
/// `origin`: equal options of different origins have different templates.
pub(crate) fn fingerprint(
    options: &Bound<'_, PyDict>,
    origin: Origin,
) -> PyResult<Option<Vec<u8>>> {
    let mut key = vec![origin as u8];
    if options.is_empty() {
        return Ok(Some(key));
    }
    let mut arena = Arena::new();
    let at = arena.position().map_err(Raised::from)?;
    let mut reader = Reader::new(&mut arena);
    reader.value(options)?;
    if !reader.is_plain {
        return Ok(None);
    }
    json::write(&arena, at, &mut key).map_err(Raised::from)?;
    Ok(Some(key))
}
