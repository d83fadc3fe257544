//! What a lowered tree says, as signatures in plain dicts: one pass out.

use std::collections::HashMap;

use celerant_core::canvas::{
    Call, Given, Header, Id, Item, Kind, Lowered, MAX_DEPTH, MAX_WRITTEN_DEPTH, Message, Node,
    NodeId, Options, OutcomeId, Place, Setting, deeper,
};
use celerant_core::error::Error;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBool, PyDict, PyList, PyTuple};

use crate::canvas::{Canvas, Reading};
use crate::error::Raised;
use crate::frames::Kinds;
use crate::outcomes::Shape;
use crate::roster::PyRoster;
use crate::rules::PyReadable;

/// Ids of what a canvas holds, and where results go.
pub(crate) struct Names<'a, 'py> {
    pub(crate) roster: &'a PyRoster,
    /// Which member of the roster the canvas is.
    pub(crate) member: u32,
    pub(crate) reply_to: Bound<'py, PyAny>,
}

impl<'py> Names<'_, 'py> {
    fn id(&self, canvas: &Canvas<'py>, id: Id) -> PyResult<Bound<'py, PyAny>> {
        let text = match id {
            Id::Given(given) => return Ok(canvas.value(given).clone()),
            Id::Whole => self.roster.member_id(self.member),
            Id::Inner(position) => self.roster.derived().inner_text(self.member, position),
        };
        Ok(text.into_pyobject(self.reply_to.py())?.into_any())
    }
}

/// Renders the nodes of a canvas, each once.
pub(crate) struct Rendering<'a, 'py> {
    canvas: &'a Canvas<'py>,
    names: &'a Names<'a, 'py>,
    /// Each with the number of canvases inside each other that it is.
    done: HashMap<NodeId, (Bound<'py, PyDict>, usize)>,
    /// The deepest of what is rendered of the node that is open.
    inside: usize,
    max_depth: usize,
    path: String,
}

impl<'a, 'py> Rendering<'a, 'py> {
    /// `path`: where the canvas stands.
    pub(crate) fn new(
        canvas: &'a Canvas<'py>,
        names: &'a Names<'a, 'py>,
        max_depth: usize,
        path: String,
    ) -> Self {
        Self {
            canvas,
            names,
            done: HashMap::new(),
            inside: 0,
            max_depth,
            path,
        }
    }

    fn py(&self) -> Python<'py> {
        self.names.reply_to.py()
    }

    /// A task that leaves now, as a signature with all that it is sent with.
    pub(crate) fn message(&mut self, message: &Message) -> PyResult<Bound<'py, PyDict>> {
        let node = self.canvas.tree.node(message.node).clone();
        let (mut args, kwargs) = (self.args(&message.args)?, self.kwargs(&message.kwargs)?);
        if let Ok(list) = args.cast::<PyList>() {
            // What has been copied has a tuple; its repr travels in the message.
            args = list.to_tuple().into_any();
        }
        let options = self.options(&message.options)?;
        self.task(&node, args, kwargs, options)
    }

    /// What the result backend is to know of groups whose chords wait for them.
    pub(crate) fn chord_sizes(&self, lowered: &Lowered) -> PyResult<Vec<ChordSize<'py>>> {
        let mut sizes = Vec::new();
        for chord in &lowered.chord_sizes {
            let id = match chord.group_id {
                Setting::Id(id) => self.names.id(self.canvas, id)?,
                Setting::Given(given) => self.canvas.value(given).clone(),
                _ => continue,
            };
            let form = match &chord.members {
                None => None,
                Some(members) => {
                    let members = members.iter().map(|&member| self.outcome(member));
                    let members = members.collect::<PyResult<Vec<_>>>()?;
                    Some(((&id, self.py().None()), members).into_pyobject(self.py())?)
                }
            };
            sizes.push((id, chord.size, form));
        }
        Ok(sizes)
    }

    /// An outcome in the form of Celery's `as_tuple`: `((id, parent), members)`.
    pub(crate) fn outcome(&self, outcome: OutcomeId) -> PyResult<Bound<'py, PyTuple>> {
        let py = self.py();
        // From the first to the last: a chain of a thousand steps is no recursion.
        let mut line = vec![outcome];
        while let Some(parent) = self.canvas.tree.outcome(line[line.len() - 1]).parent {
            line.push(parent);
        }
        let mut before = py.None().into_bound(py);
        for at in line.into_iter().rev() {
            let outcome = self.canvas.tree.outcome(at);
            let members = match &outcome.members {
                None => py.None().into_bound(py),
                Some(members) => {
                    let members = members.iter().map(|&member| self.outcome(member));
                    PyList::new(py, members.collect::<PyResult<Vec<_>>>()?)?.into_any()
                }
            };
            let id = self.names.id(self.canvas, outcome.id)?;
            before = ((id, before), members).into_pyobject(py)?.into_any();
        }
        Ok(before.cast_into()?)
    }

    fn node(&mut self, id: NodeId) -> PyResult<Bound<'py, PyDict>> {
        if let Some((done, depth)) = self.done.get(&id) {
            self.inside = self.inside.max(*depth);
            return Ok(done.clone());
        }
        let beside = std::mem::take(&mut self.inside);
        let dict = deeper(|| self.node_here(id))?;
        let depth = self.inside + 1;
        if depth > self.max_depth {
            return Err(Raised::from(Error::TooDeep {
                path: self.path.clone(),
                limit: self.max_depth,
            })
            .into());
        }
        self.done.insert(id, (dict.clone(), depth));
        self.inside = beside.max(depth);
        Ok(dict)
    }

    fn node_here(&mut self, id: NodeId) -> PyResult<Bound<'py, PyDict>> {
        let py = self.py();
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
        let rendered = PyList::empty(self.py());
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
        let py = self.py();
        let dict = PyDict::new(py);
        let origin = node.origin.map(|origin| self.canvas.value(origin));
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

    fn args(&self, sequences: &[Given]) -> PyResult<Bound<'py, PyAny>> {
        match sequences {
            [] => Ok(PyTuple::empty(self.py()).into_any()),
            [only] => Ok(self.canvas.value(*only).clone()),
            several => {
                let mut all = Vec::new();
                for sequence in several {
                    for arg in self.canvas.value(*sequence).try_iter()? {
                        all.push(arg?);
                    }
                }
                Ok(PyTuple::new(self.py(), all)?.into_any())
            }
        }
    }

    fn kwargs(&self, mappings: &[Given]) -> PyResult<Bound<'py, PyDict>> {
        if let [only] = mappings {
            return Ok(self.canvas.value(*only).cast::<PyDict>()?.clone());
        }
        let merged = PyDict::new(self.py());
        for mapping in mappings {
            merged.update(self.canvas.value(*mapping).cast::<PyDict>()?.as_mapping())?;
        }
        Ok(merged)
    }

    fn options(&mut self, options: &Options) -> PyResult<Bound<'py, PyDict>> {
        let py = self.py();
        let rendered = PyDict::new(py);
        for (key, setting) in options.iter() {
            let value = match setting {
                Setting::Given(given) | Setting::Stamps(given, _) => {
                    self.canvas.value(*given).clone()
                }
                Setting::Null => py.None().into_bound(py),
                Setting::No => PyBool::new(py, false).to_owned().into_any(),
                Setting::Id(id) => self.names.id(self.canvas, *id)?,
                Setting::Index(index) => index.into_pyobject(py)?.into_any(),
                Setting::ReplyTo => self.names.reply_to.clone(),
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
        let py = self.py();
        match item {
            Item::Given(given) => Ok(self.canvas.value(given).clone()),
            Item::Canvas(node) => Ok(self.node(node)?.into_any()),
            Item::Immutable(given) => {
                let copy = copied(self.canvas.value(given))?;
                let flag = [("immutable", true)].into_py_dict(py)?;
                copy.call_method(intern!(py, "set"), (), Some(&flag))
            }
        }
    }
}

/// A callback's copy, as a signature whatever it was given as.
fn copied<'py>(callback: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = callback.py();
    py.import(intern!(py, "celerant.canvas.signature"))?
        .getattr(intern!(py, "maybe_signature"))?
        .call1((callback,))?
        .call_method0(intern!(py, "clone"))
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

/// A group's id, how many results its chord waits for, and, where some members are groups, its
/// result in the form of Celery's `as_tuple`.
pub(crate) type ChordSize<'py> = (Bound<'py, PyAny>, u32, Option<Bound<'py, PyTuple>>);

/// What became of a canvas: messages, chord sizes and the outcome.
pub(crate) struct Parts<'py> {
    pub(crate) messages: Vec<Bound<'py, PyDict>>,
    pub(crate) chord_sizes: Vec<ChordSize<'py>>,
    /// None of a chain without steps.
    pub(crate) outcome: Option<Shape>,
    /// The outcome's id.
    pub(crate) id: Option<String>,
    /// What it counts towards a chord that has it in its header.
    pub(crate) results: u32,
    pub(crate) has_chords: bool,
}

/// How and where a canvas is applied, still Python's.
pub(crate) struct Applied<'a, 'py> {
    pub(crate) args: &'a Bound<'py, PyTuple>,
    pub(crate) kwargs: &'a Bound<'py, PyDict>,
    pub(crate) options: &'a Bound<'py, PyDict>,
    /// Its `group_index`, where it is a member of a group.
    pub(crate) group_index: Option<u32>,
    pub(crate) links_errors_to_headers: bool,
}

/// Lowers a canvas that stands at `path`.
pub(crate) fn lower_at<'py>(
    canvas: &Bound<'py, PyAny>,
    kinds: &Kinds,
    names: &Names<'_, 'py>,
    applied: &Applied<'_, 'py>,
    path: String,
) -> PyResult<Parts<'py>> {
    let py = canvas.py();
    let mut read = Canvas::new(applied.links_errors_to_headers);
    let root = Reading::new(&mut read, kinds, path.clone()).node(canvas)?;
    let no_results = read.give((PyList::empty(py),).into_pyobject(py)?.into_any());
    let mut call = Call {
        options: read.options(applied.options, kinds)?,
        ..Call::default()
    };
    if !applied.args.is_empty() {
        call.args.push(read.give(applied.args.clone().into_any()));
    }
    if !applied.kwargs.is_empty() {
        call.kwargs
            .push(read.give(applied.kwargs.clone().into_any()));
    }
    if applied.group_index.is_some() {
        // As a group passes them on to its members.
        call.options.take("producer");
        call.options.set("add_to_parent", Setting::No);
        call.options.set_default("chord", Setting::Null);
    }
    let results = read.tree.count_results(root);
    let place = applied.group_index.map(|index| Place {
        id: Some(Id::Whole),
        group_id: call.options.some("group_id").cloned(),
        group_index: Some(index),
        chord: call.options.some("chord").cloned(),
        root_id: call.options.some("root_id").cloned(),
        parent_id: None,
    });
    let lowered = read
        .tree
        .lower(root, place.as_ref(), &call, no_results)
        .map_err(Raised::from)?;
    let mut rendering = Rendering::new(&read, names, MAX_DEPTH, path);
    let mut messages = Vec::with_capacity(lowered.messages.len());
    for message in &lowered.messages {
        messages.push(rendering.message(message)?);
    }
    let id = match lowered.outcome {
        Some(outcome) => Some(names.id(&read, read.tree.outcome(outcome).id)?.extract()?),
        None => None,
    };
    Ok(Parts {
        messages,
        chord_sizes: rendering.chord_sizes(&lowered)?,
        outcome: lowered.outcome.map(|o| Shape::of(&read, o)).transpose()?,
        id,
        results,
        has_chords: read.tree.has_chords(),
    })
}

/// What the path of a canvas begins with.
fn kind_of(canvas: &Bound<'_, PyAny>) -> PyResult<String> {
    let kind = match canvas.cast::<PyDict>() {
        Ok(dict) => dict.get_item(intern!(canvas.py(), "subtask_type"))?,
        Err(_) => None,
    };
    match kind.filter(|kind| !kind.is_none()) {
        Some(kind) => kind.str()?.extract(),
        None => Ok("task".to_owned()),
    }
}

/// How many results a chord waits for that has this canvas in its header.
pub(crate) fn results_of(canvas: &Bound<'_, PyAny>, kinds: &Kinds, path: String) -> PyResult<u32> {
    let mut read = Canvas::new(false);
    let root = Reading::new(&mut read, kinds, path).node(canvas)?;
    Ok(read.tree.count_results(root))
}

/// A canvas with ids for all that is in it, in plain dict form, and its outcome.
///
/// Args:
///     roster: Its first member is the canvas: that id it gets, unless it has one.
///     `reply_to`: Where results go.
///     readable: Exact types of canvases that are read.
/// Raises:
///     `CanvasError`: A cycle, too deep, something that is no canvas, or a chain without steps.
#[pyfunction]
#[pyo3(signature = (canvas, roster, *, reply_to, readable))]
pub(crate) fn freeze<'py>(
    canvas: &Bound<'py, PyAny>,
    roster: &Bound<'py, PyRoster>,
    reply_to: Bound<'py, PyAny>,
    readable: &Bound<'_, PyReadable>,
) -> PyResult<(Bound<'py, PyDict>, Bound<'py, PyTuple>)> {
    let kinds = &readable.get().kinds;
    let mut read = Canvas::new(false);
    let path = kind_of(canvas)?;
    let root = Reading::new(&mut read, kinds, path.clone()).node(canvas)?;
    let place = Place {
        id: Some(Id::Whole),
        ..Place::default()
    };
    let outcome = read.tree.freeze(root, &place).map_err(Raised::from)?;
    let names = Names {
        roster: roster.get(),
        member: 0,
        reply_to,
    };
    let mut rendering = Rendering::new(&read, &names, MAX_WRITTEN_DEPTH, path);
    Ok((rendering.node(root)?, rendering.outcome(outcome)?))
}

/// What leaves now for a canvas that is applied.
///
/// Args:
///     roster: Its first member is the canvas: that id it gets, unless it has one.
///     args: Positional arguments for what runs first.
///     kwargs: Keyword arguments for what runs first.
///     options: Over the canvas's own.
///     `reply_to`: Where results go.
///     readable: Exact types of canvases that are read.
/// Returns:
///     Signatures with all options that they are sent with, ids among them; group ids with the
///     number of results that their chords wait for, and the group's form where groups are in
///     it; the outcome as Celery's ``as_tuple``, None of a chain without steps; and whether
///     there is a chord in it.
/// Raises:
///     `CanvasError`: A cycle, too deep, or something that is no canvas.
#[pyfunction]
#[pyo3(signature = (
    canvas, roster, *, args, kwargs, options, reply_to, readable,
    links_errors_to_headers = false
))]
#[allow(clippy::too_many_arguments, clippy::type_complexity)] // keyword-only context of one call
pub(crate) fn lower<'py>(
    canvas: &Bound<'py, PyAny>,
    roster: &Bound<'py, PyRoster>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
    options: &Bound<'py, PyDict>,
    reply_to: Bound<'py, PyAny>,
    readable: &Bound<'_, PyReadable>,
    links_errors_to_headers: bool,
) -> PyResult<(
    Vec<Bound<'py, PyDict>>,
    Vec<ChordSize<'py>>,
    Option<Bound<'py, PyTuple>>,
    bool,
)> {
    let kinds = &readable.get().kinds;
    let names = Names {
        roster: roster.get(),
        member: 0,
        reply_to,
    };
    let applied = Applied {
        args,
        kwargs,
        options,
        group_index: None,
        links_errors_to_headers,
    };
    let parts = lower_at(canvas, kinds, &names, &applied, kind_of(canvas)?)?;
    let outcome = match (&parts.outcome, &parts.id) {
        (Some(shape), Some(_)) => {
            let whole = names.roster.member_id(0);
            Some(shape.form(canvas.py(), names.roster.derived(), 0, &whole)?)
        }
        _ => None,
    };
    Ok((parts.messages, parts.chord_sizes, outcome, parts.has_chords))
}
