//! Groups as frames of the unroll: lists, iterators and one task over many arguments.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use celerant_arrow::rows::Rows;
use celerant_core::unroll::{Frame, Step};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList, PyRange, PyString, PyTuple, PyType};

use crate::lowered::{Lowered, PyLowered};
use crate::table::{PyTable, Walk as RowWalk};

/// A member as found in the canvas.
#[derive(Debug)]
pub(crate) enum Leaf {
    /// A signature, in one of the forms that are read.
    Signature(Py<PyDict>),
    /// A chain or chord, which becomes messages of its own.
    Unit(Py<PyDict>),
    /// A message of a canvas that is lowered already, and its number there.
    Message(Arc<Lowered>, usize),
    /// One item of a mapped task.
    Item {
        /// Its positional arguments: a tuple or list.
        args: Py<PyAny>,
        /// The task and options that all items share.
        mapped: Arc<Mapped>,
    },
    /// One row of a table that a task is mapped over.
    Row(Row),
}

/// One row of a table.
#[derive(Debug)]
pub(crate) struct Row {
    /// The rows around it.
    pub(crate) rows: Arc<Rows>,
    /// Which of them it is.
    pub(crate) at: usize,
    /// The task and options that all rows share.
    pub(crate) mapped: Arc<Mapped>,
    /// Makes Python's values of it.
    pub(crate) table: Arc<Py<PyTable>>,
}

/// One task over many arguments.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) task: Py<PyString>,
    pub(crate) options: Py<PyDict>,
    star: bool,
}

/// Why a canvas cannot be read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// Python raised, in the user's generator for instance.
    Python(PyErr),
    /// Something that is no member; the text says what it is and what to do.
    Member(String),
}

impl From<PyErr> for Unreadable {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

/// The types that are read, by address.
#[derive(Debug, Default)]
pub(crate) struct ReadTypes {
    /// A few: looking at each takes less than hashing.
    by_type: Vec<usize>,
    mapped: usize,
    /// Keeps the addresses valid.
    _held: Vec<Py<PyType>>,
}

impl ReadTypes {
    /// `readable`: exact types of signatures and groups; `mapped`: of mapped sources.
    pub(crate) fn new(readable: Vec<Py<PyType>>, mapped: Py<PyType>) -> Self {
        let by_type = readable.iter().map(|kind| kind.as_ptr() as usize).collect();
        let mapped_address = mapped.as_ptr() as usize;
        let mut held = readable;
        held.push(mapped);
        Self {
            by_type,
            mapped: mapped_address,
            _held: held,
        }
    }

    pub(crate) fn is_readable(&self, value: &Bound<'_, PyAny>) -> bool {
        self.by_type.contains(&(value.get_type_ptr() as usize))
    }
}

/// Iterators that a walk has met: they give their members once, and perhaps slowly. One thread
/// walks.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Whether there was an iterator, at any depth.
    pub(crate) are_met: AtomicBool,
    /// Whether nested ones are passed over, because their members must not be drawn.
    pub(crate) are_skipped: AtomicBool,
}

impl Streams {
    /// Starts to iterate, unless that is passed over.
    fn iterate<'py>(
        &self,
        items: &Bound<'py, PyAny>,
    ) -> Result<Bound<'py, PyIterator>, Unreadable> {
        if self.are_skipped.load(Relaxed) {
            return iterate(PyTuple::empty(items.py()).as_any());
        }
        self.are_met.store(true, Relaxed);
        iterate(items)
    }
}

/// A group that is being walked.
#[derive(Debug)]
pub(crate) struct Walk {
    types: Arc<ReadTypes>,
    streams: Arc<Streams>,
    source: Source,
    /// The object that the frame walks. It tells the frame apart, and the frame keeps it alive.
    origin: Py<PyAny>,
}

#[derive(Debug)]
enum Source {
    List(Py<PyList>, usize),
    Tuple(Py<PyTuple>, usize),
    Iterator(Py<PyIterator>),
    Mapped(Py<PyIterator>, Arc<Mapped>),
    Rows(Box<RowWalk>, Arc<Py<PyTable>>, Arc<Mapped>),
    Lowered(Arc<Lowered>, usize),
}

impl Walk {
    /// Starts to walk a group's members.
    pub(crate) fn over(
        tasks: &Bound<'_, PyAny>,
        types: &Arc<ReadTypes>,
    ) -> Result<Self, Unreadable> {
        Self::watched(tasks, types, &Arc::default())
    }

    /// The same, telling `streams` of iterators.
    pub(crate) fn watched(
        tasks: &Bound<'_, PyAny>,
        types: &Arc<ReadTypes>,
        streams: &Arc<Streams>,
    ) -> Result<Self, Unreadable> {
        let py = tasks.py();
        let source = if let Ok(lowered) = tasks.cast::<PyLowered>() {
            Source::Lowered(Arc::clone(&lowered.get().0), 0)
        } else if let Ok(list) = tasks.cast::<PyList>() {
            Source::List(list.clone().unbind(), 0)
        } else if let Ok(tuple) = tasks.cast::<PyTuple>() {
            Source::Tuple(tuple.clone().unbind(), 0)
        } else if tasks.get_type_ptr() as usize == types.mapped {
            let mapped = Mapped {
                task: tasks
                    .getattr(intern!(py, "task"))?
                    .cast_into()
                    .map_err(PyErr::from)?
                    .unbind(),
                options: tasks
                    .getattr(intern!(py, "options"))?
                    .cast_into()
                    .map_err(PyErr::from)?
                    .unbind(),
                star: tasks.getattr(intern!(py, "star"))?.is_truthy()?,
            };
            let items = tasks.getattr(intern!(py, "items"))?;
            if let Ok(table) = items.cast_exact::<PyTable>() {
                let walk = RowWalk::new(table.get().begin(py)?);
                let table = Arc::new(table.clone().unbind());
                return Ok(Self {
                    types: Arc::clone(types),
                    streams: Arc::clone(streams),
                    source: Source::Rows(Box::new(walk), table, Arc::new(mapped)),
                    origin: tasks.clone().unbind(),
                });
            }
            let items = if is_held(&items) {
                iterate(&items)?
            } else {
                streams.iterate(&items)?
            };
            Source::Mapped(items.unbind(), Arc::new(mapped))
        } else {
            Source::Iterator(streams.iterate(tasks)?.unbind())
        };
        Ok(Self {
            types: Arc::clone(types),
            streams: Arc::clone(streams),
            source,
            origin: tasks.clone().unbind(),
        })
    }

    /// Passes over the next row of a table, which was read with the last one.
    pub(crate) fn pass_row(&mut self) {
        if let Source::Rows(walk, ..) = &mut self.source {
            walk.pass();
        }
    }

    fn step(&self, item: &Bound<'_, PyAny>) -> Result<Step<Leaf, Self>, Unreadable> {
        if !self.types.is_readable(item) {
            return Err(Unreadable::Member(stranger(item)));
        }
        let py = item.py();
        let Ok(dict) = item.cast::<PyDict>() else {
            return Err(Unreadable::Member(stranger(item)));
        };
        let subtask = dict.get_item(intern!(py, "subtask_type"))?;
        let Some(kind) = subtask.filter(|kind| !kind.is_none()) else {
            return Ok(Step::Leaf(Leaf::Signature(dict.clone().unbind())));
        };
        let kind = kind.str()?.to_string_lossy().into_owned();
        match kind.as_str() {
            "group" => {
                let tasks = dict
                    .get_item(intern!(py, "kwargs"))?
                    .and_then(|kwargs| kwargs.get_item(intern!(py, "tasks")).ok());
                match tasks {
                    Some(tasks) => {
                        Self::watched(&tasks, &self.types, &self.streams).map(Step::Group)
                    }
                    None => Err(Unreadable::Member("this group has no tasks".to_owned())),
                }
            }
            "chain" if is_stepless(dict)? => {
                let nothing = PyTuple::empty(py).into_any();
                Self::over(&nothing, &self.types).map(Step::Group)
            }
            "chain" | "chord" => Ok(Step::Leaf(Leaf::Unit(dict.clone().unbind()))),
            // One message whose worker loops, or sends: sent as it is.
            "xmap" | "xstarmap" | "chunks" => {
                Ok(Step::Leaf(Leaf::Signature(dict.clone().unbind())))
            }
            _ => Err(Unreadable::Member(format!(
                "a {kind} inside a group cannot be sent yet; send it on its own"
            ))),
        }
    }
}

/// Whether a chain has no steps: it is no member then.
fn is_stepless(chain: &Bound<'_, PyDict>) -> PyResult<bool> {
    let py = chain.py();
    let tasks = chain
        .get_item(intern!(py, "kwargs"))?
        .and_then(|kwargs| kwargs.get_item(intern!(py, "tasks")).ok());
    // Anything else is refused later, when it is read.
    let is_list = |tasks: &Bound<'_, PyAny>| {
        tasks.is_instance_of::<PyList>() || tasks.is_instance_of::<PyTuple>()
    };
    match tasks.filter(is_list) {
        Some(tasks) => Ok(tasks.len()? == 0),
        None => Ok(false),
    }
}

/// Whether items are there already, each time that they are iterated.
fn is_held(items: &Bound<'_, PyAny>) -> bool {
    items.is_instance_of::<PyList>()
        || items.is_instance_of::<PyTuple>()
        || items.is_instance_of::<PyRange>()
}

/// Starts to iterate what should be a group's members or a mapped task's arguments.
fn iterate<'py>(items: &Bound<'py, PyAny>) -> Result<Bound<'py, PyIterator>, Unreadable> {
    let py = items.py();
    items.try_iter().map_err(|error| {
        if items.hasattr(intern!(py, "__iter__")).unwrap_or(true) {
            return Unreadable::Python(error);
        }
        let kind = items.get_type();
        let name = kind
            .name()
            .map_or_else(|_| "object".to_owned(), |name| name.to_string());
        Unreadable::Member(format!("expected an iterable of members, not {name}"))
    })
}

/// The text of an error about something that is no member.
pub(crate) fn stranger(item: &Bound<'_, PyAny>) -> String {
    let name = item.get_type().name().map_or_else(
        |_| "an object".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    let hint = if item.is_instance_of::<PyDict>() {
        "subclasses of Signature are not read; make it with task.s(...)"
    } else {
        "make a signature with task.s(...)"
    };
    format!("a member must be a signature or a group, not {name}; {hint}")
}

impl Frame for Walk {
    type Leaf = Leaf;
    type Error = Unreadable;

    fn next(&mut self) -> Result<Option<Step<Leaf, Self>>, Unreadable> {
        Python::attach(|py| {
            let item = match &mut self.source {
                Source::List(list, at) => {
                    let found = list.bind(py).get_item(*at).ok();
                    *at += 1;
                    found
                }
                Source::Tuple(tuple, at) => {
                    let found = tuple.bind(py).get_item(*at).ok();
                    *at += 1;
                    found
                }
                Source::Iterator(iterator) => iterator.bind(py).clone().next().transpose()?,
                Source::Lowered(lowered, at) => {
                    if *at == lowered.messages.len() {
                        return Ok(None);
                    }
                    *at += 1;
                    let message = Leaf::Message(Arc::clone(lowered), *at - 1);
                    return Ok(Some(Step::Leaf(message)));
                }
                Source::Rows(walk, table, mapped) => {
                    return Ok(walk.next(py)?.map(|(rows, at)| {
                        Step::Leaf(Leaf::Row(Row {
                            rows,
                            at,
                            mapped: Arc::clone(mapped),
                            table: Arc::clone(table),
                        }))
                    }));
                }
                Source::Mapped(iterator, mapped) => {
                    let Some(item) = iterator.bind(py).clone().next().transpose()? else {
                        return Ok(None);
                    };
                    let args = if mapped.star {
                        starred(&item)?
                    } else {
                        PyTuple::new(py, [item])?.into_any()
                    };
                    return Ok(Some(Step::Leaf(Leaf::Item {
                        args: args.unbind(),
                        mapped: Arc::clone(mapped),
                    })));
                }
            };
            item.map(|item| self.step(&item)).transpose()
        })
    }

    fn identity(&self) -> usize {
        self.origin.as_ptr() as usize
    }
}

/// The positional arguments that an item of `starmap` stands for.
fn starred<'py>(item: &Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>, Unreadable> {
    if item.is_exact_instance_of::<PyTuple>() {
        return Ok(item.clone());
    }
    match item.try_iter() {
        Ok(items) => {
            let items = items.collect::<PyResult<Vec<_>>>()?;
            Ok(PyTuple::new(item.py(), items)?.into_any())
        }
        Err(error) if item.hasattr(intern!(item.py(), "__iter__"))? => {
            Err(Unreadable::Python(error))
        }
        Err(_) => Err(Unreadable::Member(format!(
            "starmap takes an iterable of arguments per task, not {}; use map for one argument",
            item.get_type().name()?
        ))),
    }
}
