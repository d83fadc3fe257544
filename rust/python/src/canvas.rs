//! A canvas of Python's as a tree of the core's: one pass in.

use std::collections::HashMap;

use celerant_core::canvas::{
    Given, Header, Item, Key, Kind, MAX_WRITTEN_DEPTH, Node, NodeId, Options, Setting, Tree, deeper,
};
use celerant_core::error::Error;
use celerant_core::json;
use celerant_core::value::Arena;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet, PyString, PyTuple};

use crate::call::{listed, no_callback};
use crate::convert::Reader;
use crate::error::{Raised, canvas_error};
use crate::frames::{ReadTypes, stranger};

/// Options that hold lists of signatures.
const LISTS: [&str; 3] = ["link", "link_error", "chain"];

/// A canvas, and the values that its tree refers to by number.
#[derive(Debug)]
pub(crate) struct Canvas {
    pub(crate) tree: Tree,
    given: Vec<Py<PyAny>>,
    /// Numbers of callbacks: those that are written alike have one.
    callbacks: HashMap<Vec<u8>, Given>,
    /// Whether any signature says how it is sent.
    has_options: bool,
    /// Whether members of a generator were taken in.
    has_streams: bool,
}

impl Canvas {
    pub(crate) fn new(links_errors_to_headers: bool) -> Self {
        let mut tree = Tree::new();
        tree.links_errors_to_headers = links_errors_to_headers;
        Self {
            tree,
            given: Vec::new(),
            callbacks: HashMap::new(),
            has_options: false,
            has_streams: false,
        }
    }

    /// Takes a value in.
    pub(crate) fn give(&mut self, value: Bound<'_, PyAny>) -> Given {
        self.given.push(value.unbind());
        Given(u32::try_from(self.given.len() - 1).unwrap_or(u32::MAX))
    }

    /// A value as it was taken in.
    pub(crate) fn value<'py>(&self, py: Python<'py>, given: Given) -> &Bound<'py, PyAny> {
        self.given[given.0 as usize].bind(py)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Py<PyAny>> {
        self.given.iter()
    }

    /// The name of the task whose result is the whole canvas's. None if more than this name, and
    /// whether there are chords, decides whether the canvas may be sent and its result is kept.
    pub(crate) fn plain_end<'py>(
        &self,
        py: Python<'py>,
        root: NodeId,
    ) -> PyResult<Option<Bound<'py, PyString>>> {
        if self.has_options || self.has_streams {
            return Ok(None);
        }
        let mut end = root;
        loop {
            let node = self.tree.node(end);
            end = match (node.kind, self.tree.members(end)) {
                (Kind::Task, _) => break,
                (Kind::Chord { body, .. }, _) => body,
                (Kind::Group(_), [only]) => *only,
                (Kind::Chain(_), [.., last]) => *last,
                _ => return Ok(None),
            };
        }
        let origin = self.tree.node(end).origin;
        let Some(origin) = origin.map(|origin| self.value(py, origin)) else {
            return Ok(None);
        };
        let task = origin.cast::<PyDict>()?.get_item(intern!(py, "task"))?;
        Ok(task.and_then(|task| task.cast_into_exact().ok()))
    }

    /// Takes a callback in.
    ///
    /// Callbacks with the same JSON are alike: in it 1 and true differ, as they do for the task,
    /// and none of their code runs. A callback that JSON cannot write is like no other.
    fn give_callback(&mut self, callback: Bound<'_, PyAny>, types: &ReadTypes) -> PyResult<Item> {
        let Some(key) = written(&callback, types)? else {
            return Ok(Item::Given(self.give(callback)));
        };
        if let Some(&known) = self.callbacks.get(&key) {
            return Ok(Item::Given(known));
        }
        let given = self.give(callback);
        self.callbacks.insert(key, given);
        Ok(Item::Given(given))
    }

    /// Takes options in.
    pub(crate) fn options(
        &mut self,
        options: &Bound<'_, PyDict>,
        types: &ReadTypes,
    ) -> PyResult<Options> {
        let mut read = Options::new();
        // Gathered first: PyO3 panics if a dict changes while it is iterated.
        let entries: Vec<_> = options.iter().collect();
        for (key, value) in entries {
            let name: String = key.extract()?;
            let setting = self.setting(&name, value, types)?;
            read.set(Key::Owned(name), setting);
        }
        Ok(read)
    }

    fn setting(
        &mut self,
        name: &str,
        value: Bound<'_, PyAny>,
        types: &ReadTypes,
    ) -> PyResult<Setting> {
        if value.is_none() {
            return Ok(Setting::Null);
        }
        if LISTS.contains(&name) {
            return Ok(Setting::List(self.items(&value, types)?));
        }
        if name == "group_index"
            && let Ok(index) = value.extract::<u32>()
        {
            return Ok(Setting::Index(index));
        }
        if name == "stamped_headers" {
            let names = value.try_iter()?.map(|name| {
                let name: String = name?.extract()?;
                Ok(Key::Owned(name))
            });
            let names = names.collect::<PyResult<Vec<_>>>()?;
            return Ok(Setting::Stamps(self.give(value), names));
        }
        Ok(Setting::Given(self.give(value)))
    }

    fn items(&mut self, value: &Bound<'_, PyAny>, types: &ReadTypes) -> PyResult<Vec<Item>> {
        let is_list = value.is_instance_of::<PyList>()
            || value.is_instance_of::<PyTuple>()
            || value.is_instance_of::<PySet>();
        if !is_list {
            return Ok(vec![self.give_callback(value.clone(), types)?]);
        }
        let mut items = Vec::new();
        for item in value.try_iter()? {
            items.push(self.give_callback(item?, types)?);
        }
        Ok(items)
    }
}

/// A long path without its middle.
fn shortened(path: &str) -> String {
    const EDGE: usize = 60;
    if path.len() <= 3 * EDGE {
        return path.to_owned();
    }
    let (head, tail) = (&path[..EDGE], &path[path.len() - EDGE..]);
    format!("{head} ... {tail}")
}

/// A callback as JSON; None if JSON cannot write it.
fn written(callback: &Bound<'_, PyAny>, types: &ReadTypes) -> PyResult<Option<Vec<u8>>> {
    let mut arena = Arena::new();
    let at = arena.position().map_err(Raised::from)?;
    let mut reader = Reader::new(&mut arena).with_canvases(types);
    reader.value(callback)?;
    if !reader.is_plain {
        return Ok(None);
    }
    let mut key = Vec::new();
    json::write(&arena, at, &mut key).map_err(Raised::from)?;
    Ok(Some(key))
}

/// One pass over a canvas.
pub(crate) struct TreeReader<'a> {
    pub(crate) canvas: &'a mut Canvas,
    types: &'a ReadTypes,
    /// Addresses of the canvases that are open.
    open: Vec<usize>,
    path: String,
}

impl<'a> TreeReader<'a> {
    /// `path`: the canvas's.
    pub(crate) fn new(canvas: &'a mut Canvas, types: &'a ReadTypes, path: String) -> Self {
        Self {
            canvas,
            types,
            open: Vec::new(),
            path,
        }
    }

    /// Reads one signature and all in it.
    pub(crate) fn node(&mut self, value: &Bound<'_, PyAny>) -> PyResult<NodeId> {
        let py = value.py();
        let signature = match value.cast::<PyDict>() {
            Ok(dict) if self.types.is_readable(value) => dict,
            _ => return Err(self.refused(py, &stranger(value))),
        };
        let address = signature.as_ptr() as usize;
        if self.open.contains(&address) {
            return Err(Raised::from(Error::Cycle {
                path: self.path.clone(),
            })
            .into());
        }
        if self.open.len() == MAX_WRITTEN_DEPTH {
            return Err(Raised::from(Error::TooDeep {
                path: shortened(&self.path),
                limit: MAX_WRITTEN_DEPTH,
            })
            .into());
        }
        self.open.push(address);
        let read = deeper(|| self.signature(signature));
        self.open.pop();
        read
    }

    fn signature(&mut self, signature: &Bound<'_, PyDict>) -> PyResult<NodeId> {
        let py = signature.py();
        let kwargs = self.mapping(signature, intern!(py, "kwargs"))?;
        let kind = match signature.get_item(intern!(py, "subtask_type"))? {
            Some(kind) if !kind.is_none() => kind.str()?.to_string_lossy().into_owned(),
            _ => String::new(),
        };
        let (kind, kwargs) = match kind.as_str() {
            "group" => (Kind::Group(self.tasks(&kwargs, "tasks", "")?), None),
            "chain" => (Kind::Chain(self.tasks(&kwargs, "tasks", "")?), None),
            "chord" => self.chord(&kwargs)?,
            _ => (Kind::Task, Some(kwargs)),
        };
        let args = signature
            .get_item(intern!(py, "args"))?
            .filter(|args| !args.is_none());
        let args = match args {
            Some(args) if args.is_instance_of::<PyTuple>() || args.is_instance_of::<PyList>() => {
                Some(args).filter(|args| kind == Kind::Task || args.len().unwrap_or(1) > 0)
            }
            Some(args) => {
                let found = args.get_type().name()?;
                let reason = format!("args must be a list or tuple, not {found}");
                return Err(self.refused(py, &reason));
            }
            None => None,
        };
        let options = self.mapping(signature, intern!(py, "options"))?;
        self.canvas.has_options |= !options.is_empty();
        self.check_callbacks(&options)?;
        let is_immutable = match signature.get_item(intern!(py, "immutable"))? {
            Some(flag) => flag.is_truthy()?,
            None => false,
        };
        let node = Node {
            origin: Some(self.canvas.give(signature.clone().into_any())),
            kind,
            args: args.into_iter().map(|a| self.canvas.give(a)).collect(),
            kwargs: kwargs
                .into_iter()
                .map(|k| self.canvas.give(k.into_any()))
                .collect(),
            options: self.canvas.options(&options, self.types)?,
            is_immutable,
        };
        Ok(self.canvas.tree.add(node))
    }

    /// Refuses values that are no callbacks: the worker would, after it has run the task.
    fn check_callbacks(&self, options: &Bound<'_, PyDict>) -> PyResult<()> {
        for option in ["link", "link_error"] {
            let value = options.get_item(option)?.filter(|value| !value.is_none());
            let Some(value) = value else {
                continue;
            };
            if let Some(reason) = no_callback(option, &listed(option, value)?)? {
                return Err(self.refused(options.py(), &reason));
            }
        }
        Ok(())
    }

    fn chord<'py>(
        &mut self,
        kwargs: &Bound<'py, PyDict>,
    ) -> PyResult<(Kind, Option<Bound<'py, PyDict>>)> {
        let py = kwargs.py();
        let body = match kwargs.get_item(intern!(py, "body"))? {
            Some(body) if !body.is_none() => self.inside(".chord_body", |this| this.node(&body))?,
            _ => {
                let reason =
                    "this chord has no body; write chord(header, body) or chord(header)(body)";
                return Err(self.refused(py, reason));
            }
        };
        let frozen = kwargs
            .get_item(intern!(py, "header"))?
            .filter(PyAnyMethods::is_instance_of::<PyDict>);
        let header = match frozen {
            Some(group) => Header::Group(self.inside(".chord_header", |this| this.node(&group))?),
            None => Header::List(self.tasks(kwargs, "header", ".chord_header")?),
        };
        let own = self.mapping(kwargs, intern!(py, "kwargs"))?;
        Ok((Kind::Chord { header, body }, Some(own)))
    }

    /// The canvases under `key`.
    fn tasks(
        &mut self,
        kwargs: &Bound<'_, PyDict>,
        key: &str,
        at: &str,
    ) -> PyResult<celerant_core::canvas::ListId> {
        let py = kwargs.py();
        let Some(mut tasks) = kwargs.get_item(key)? else {
            return Err(self.refused(py, &format!("this chain, group or chord has no {key}")));
        };
        if !tasks.is_instance_of::<PyList>() && !tasks.is_instance_of::<PyTuple>() {
            // A canvas inside another is held: it may be needed twice.
            let Ok(hold) = tasks.getattr(intern!(py, "hold")) else {
                let found = tasks.get_type().name()?;
                return Err(self.refused(py, &format!("{key} must be a list, not {found}")));
            };
            tasks = hold.call0()?;
            self.canvas.has_streams = true;
        }
        let mut nodes = Vec::with_capacity(tasks.len()?);
        for (index, task) in tasks.try_iter()?.enumerate() {
            let task = task?;
            nodes.push(self.inside(&format!("{at}[{index}]"), |this| this.node(&task))?);
        }
        Ok(self.canvas.tree.list(nodes))
    }

    fn mapping<'py>(
        &self,
        signature: &Bound<'py, PyDict>,
        key: &Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let py = signature.py();
        match signature.get_item(key)?.filter(|found| !found.is_none()) {
            None => Ok(PyDict::new(py)),
            Some(found) => found
                .cast_into::<PyDict>()
                .map_err(|_| self.refused(py, &format!("{key} must be a dict"))),
        }
    }

    fn inside<T>(&mut self, at: &str, read: impl FnOnce(&mut Self) -> PyResult<T>) -> PyResult<T> {
        let len = self.path.len();
        self.path.push_str(at);
        let done = read(self);
        self.path.truncate(len);
        done
    }

    fn refused(&self, py: Python<'_>, reason: &str) -> PyErr {
        canvas_error(py, &format!("{}: {reason}", self.path), &self.path)
    }
}
