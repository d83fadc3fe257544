//! Nodes of a lowered tree as signatures in plain dicts: for `freeze`, and for values that Python
//! encodes or looks at.

use std::collections::HashMap;

use celerant_core::canvas::{
    Given, Header, Id, Item, Kind, Message, Node, NodeId, Options, PromiseId, Setting, deeper,
};
use celerant_core::error::Error;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBool, PyDict, PyList, PyTuple};

use crate::canvas::Canvas;
use crate::error::Raised;
use crate::names::{Named, Names};

/// Renders the nodes of a canvas, each once.
pub(crate) struct Rendering<'a, 'py> {
    py: Python<'py>,
    canvas: &'a Canvas,
    names: &'a Names,
    /// Each with the number of canvases inside each other that it is.
    done: HashMap<NodeId, (Bound<'py, PyDict>, usize)>,
    /// How deep the parts of the open node are nested, as far as they are rendered.
    inside: usize,
    max_depth: usize,
    path: &'a str,
}

impl<'a, 'py> Rendering<'a, 'py> {
    /// `path`: the canvas's.
    pub(crate) fn new(
        py: Python<'py>,
        canvas: &'a Canvas,
        names: &'a Names,
        max_depth: usize,
        path: &'a str,
    ) -> Self {
        Self {
            py,
            canvas,
            names,
            done: HashMap::new(),
            inside: 0,
            max_depth,
            path,
        }
    }

    fn value(&self, given: Given) -> Bound<'py, PyAny> {
        self.canvas.value(self.py, given).clone()
    }

    fn id(&self, id: Id) -> PyResult<Bound<'py, PyAny>> {
        match self.names.text(id) {
            Named::Given(given) => Ok(self.value(given)),
            Named::Text(text) => Ok(text.into_pyobject(self.py)?.into_any()),
        }
    }

    /// A task that leaves now, as a signature with all that it is sent with.
    pub(crate) fn message(&mut self, message: &Message) -> PyResult<Bound<'py, PyDict>> {
        let node = self.canvas.tree.node(message.node).clone();
        let (args, kwargs) = (
            self.copied_args(&message.args)?,
            self.kwargs(&message.kwargs)?,
        );
        let options = self.options(&message.options)?;
        self.task(&node, args, kwargs, options)
    }

    /// A promised result's form, as Celery's `as_tuple` gives it: `((id, parent), members)`.
    pub(crate) fn form(&self, promise: PromiseId) -> PyResult<Bound<'py, PyTuple>> {
        let py = self.py;
        // From the first to the last: a chain of a thousand steps is no recursion.
        let mut line = vec![promise];
        while let Some(parent) = self.canvas.tree.promise(line[line.len() - 1]).parent {
            line.push(parent);
        }
        let mut before = py.None().into_bound(py);
        for at in line.into_iter().rev() {
            let promise = self.canvas.tree.promise(at);
            let members = match &promise.members {
                None => py.None().into_bound(py),
                Some(members) => {
                    let members = members.iter().map(|&member| self.form(member));
                    PyList::new(py, members.collect::<PyResult<Vec<_>>>()?)?.into_any()
                }
            };
            let id = self.id(promise.id)?;
            before = ((id, before), members).into_pyobject(py)?.into_any();
        }
        Ok(before.cast_into()?)
    }

    pub(crate) fn node(&mut self, id: NodeId) -> PyResult<Bound<'py, PyDict>> {
        if let Some((done, depth)) = self.done.get(&id) {
            self.inside = self.inside.max(*depth);
            return Ok(done.clone());
        }
        let beside = std::mem::take(&mut self.inside);
        let dict = deeper(|| self.node_here(id))?;
        let depth = self.inside + 1;
        if depth > self.max_depth {
            return Err(Raised::from(Error::TooDeep {
                path: self.path.to_owned(),
                limit: self.max_depth,
            })
            .into());
        }
        self.done.insert(id, (dict.clone(), depth));
        self.inside = beside.max(depth);
        Ok(dict)
    }

    /// Arguments of a task that leaves now.
    pub(crate) fn copied_args(&self, sequences: &[Given]) -> PyResult<Bound<'py, PyAny>> {
        let args = self.args(sequences)?;
        // Copied arguments are a tuple; its repr travels in the message.
        match args.cast::<PyList>() {
            Ok(list) => Ok(list.to_tuple().into_any()),
            Err(_) => Ok(args),
        }
    }

    fn node_here(&mut self, id: NodeId) -> PyResult<Bound<'py, PyDict>> {
        let py = self.py;
        let node = self.canvas.tree.node(id).clone();
        let args = self.args(&node.args)?;
        let options = self.options(&node.options)?;
        let dict = match node.kind {
            Kind::Task => {
                let kwargs = self.kwargs(&node.kwargs)?;
                self.task(&node, args, kwargs, options)?
            }
            Kind::Group(list) | Kind::Chain(list) => {
                let kwargs = PyDict::new(py);
                kwargs.set_item(intern!(py, "tasks"), self.nodes(list)?)?;
                let kind = if matches!(node.kind, Kind::Group(_)) {
                    "group"
                } else {
                    "chain"
                };
                let name = format!("celery.{kind}");
                signature(
                    py,
                    &name,
                    args,
                    kwargs,
                    options,
                    Some(kind),
                    node.is_immutable,
                )?
            }
            Kind::Chord { header, body } => {
                let kwargs = PyDict::new(py);
                let own = self.kwargs(&node.kwargs)?;
                kwargs.set_item(intern!(py, "kwargs"), own)?;
                let header = match header {
                    Header::List(list) => self.nodes(list)?.into_any(),
                    Header::Group(group) => self.node(group)?.into_any(),
                };
                kwargs.set_item(intern!(py, "header"), header)?;
                kwargs.set_item(intern!(py, "body"), self.node(body)?)?;
                signature(
                    py,
                    "celery.chord",
                    args,
                    kwargs,
                    options,
                    Some("chord"),
                    node.is_immutable,
                )?
            }
        };
        Ok(dict)
    }

    fn nodes(&mut self, list: celerant_core::canvas::ListId) -> PyResult<Bound<'py, PyList>> {
        let nodes = self.canvas.tree.nodes(list).to_vec();
        let rendered = PyList::empty(self.py);
        for node in nodes {
            rendered.append(self.node(node)?)?;
        }
        Ok(rendered)
    }

    fn task(
        &self,
        node: &Node,
        args: Bound<'py, PyAny>,
        kwargs: Bound<'py, PyDict>,
        options: Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let py = self.py;
        let dict = PyDict::new(py);
        let origin = node.origin.map(|origin| self.canvas.value(self.py, origin));
        let origin = match origin {
            Some(origin) => origin.cast::<PyDict>()?.clone(),
            None => PyDict::new(py),
        };
        dict.set_item(intern!(py, "task"), origin.get_item(intern!(py, "task"))?)?;
        dict.set_item(intern!(py, "args"), args)?;
        dict.set_item(intern!(py, "kwargs"), kwargs)?;
        dict.set_item(intern!(py, "options"), options)?;
        let kind = origin.get_item(intern!(py, "subtask_type"))?;
        dict.set_item(intern!(py, "subtask_type"), kind)?;
        dict.set_item(intern!(py, "immutable"), node.is_immutable)?;
        Ok(dict)
    }

    pub(crate) fn args(&self, sequences: &[Given]) -> PyResult<Bound<'py, PyAny>> {
        match sequences {
            [] => Ok(PyTuple::empty(self.py).into_any()),
            [only] => Ok(self.value(*only)),
            several => {
                let mut all = Vec::new();
                for sequence in several {
                    for arg in self.canvas.value(self.py, *sequence).try_iter()? {
                        all.push(arg?);
                    }
                }
                Ok(PyTuple::new(self.py, all)?.into_any())
            }
        }
    }

    pub(crate) fn kwargs(&self, mappings: &[Given]) -> PyResult<Bound<'py, PyDict>> {
        if let [only] = mappings {
            return Ok(self.canvas.value(self.py, *only).cast::<PyDict>()?.clone());
        }
        let merged = PyDict::new(self.py);
        for mapping in mappings {
            merged.update(
                self.canvas
                    .value(self.py, *mapping)
                    .cast::<PyDict>()?
                    .as_mapping(),
            )?;
        }
        Ok(merged)
    }

    pub(crate) fn options(&mut self, options: &Options) -> PyResult<Bound<'py, PyDict>> {
        let py = self.py;
        let rendered = PyDict::new(py);
        for (key, setting) in options.iter() {
            let value = match setting {
                Setting::Given(given) | Setting::Stamps(given, _) => self.value(*given),
                Setting::Null => py.None().into_bound(py),
                Setting::No => PyBool::new(py, false).to_owned().into_any(),
                Setting::Id(id) => self.id(*id)?,
                Setting::Index(index) => index.into_pyobject(py)?.into_any(),
                Setting::ReplyTo => self.names.reply_to.bind(py).clone(),
                Setting::Canvas(node) => self.node(*node)?.into_any(),
                Setting::List(items) => {
                    let list = PyList::empty(py);
                    for item in items {
                        list.append(self.item(*item)?)?;
                    }
                    list.into_any()
                }
            };
            rendered.set_item(key.as_ref(), value)?;
        }
        Ok(rendered)
    }

    fn item(&mut self, item: Item) -> PyResult<Bound<'py, PyAny>> {
        match item {
            Item::Given(given) => Ok(self.value(given)),
            Item::Canvas(node) => Ok(self.node(node)?.into_any()),
            Item::Immutable(given) => immutable_copy(&self.value(given)),
        }
    }
}

/// A callback's copy that keeps its arguments to itself, as a signature whatever it was given as.
pub(crate) fn immutable_copy<'py>(callback: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = callback.py();
    let copy = py
        .import(intern!(py, "celerant.canvas.signature"))?
        .getattr(intern!(py, "maybe_signature"))?
        .call1((callback,))?
        .call_method0(intern!(py, "clone"))?;
    let flag = [("immutable", true)].into_py_dict(py)?;
    copy.call_method(intern!(py, "set"), (), Some(&flag))
}

fn signature<'py>(
    py: Python<'py>,
    task: &str,
    args: Bound<'py, PyAny>,
    kwargs: Bound<'py, PyDict>,
    options: Bound<'py, PyDict>,
    subtask_type: Option<&str>,
    immutable: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item(intern!(py, "task"), task)?;
    dict.set_item(intern!(py, "args"), args)?;
    dict.set_item(intern!(py, "kwargs"), kwargs)?;
    dict.set_item(intern!(py, "options"), options)?;
    dict.set_item(intern!(py, "subtask_type"), subtask_type)?;
    dict.set_item(intern!(py, "immutable"), immutable)?;
    Ok(dict)
}
