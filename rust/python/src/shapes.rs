//! Results of members that are chains, chords or groups: which ids they have.

use std::collections::BTreeMap;
use std::sync::Arc;

use celerant_core::canvas::{Id, PromiseId};
use celerant_core::id::Ids;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PyString, PyTuple};

use crate::canvas::Canvas;

/// Which id: most derive, and are the same for all members that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    /// The member's own.
    Whole,
    /// That of the n-th thing inside the member that needed one.
    Inner(u32),
    Given(String),
}

/// A result of a line: of a task, or of a group with the shapes of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: Name,
    members: Option<Vec<Shape>>,
}

/// A line: of each result the id, and a group's members' forms.
pub(crate) type Line<'py> = Vec<(Bound<'py, PyString>, Option<Bound<'py, PyList>>)>;

/// A result and those it follows, from the first to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape(Vec<Entry>);

impl Shape {
    pub(crate) fn of(py: Python<'_>, canvas: &Canvas, promise: PromiseId) -> PyResult<Self> {
        let mut line = Vec::new();
        let mut at = Some(promise);
        while let Some(id) = at {
            let promise = canvas.tree.promise(id);
            let members = promise.members.as_ref().map(|members| {
                let members = members.iter().map(|&member| Self::of(py, canvas, member));
                members.collect::<PyResult<Vec<_>>>()
            });
            let name = match promise.id {
                Id::Whole => Name::Whole,
                Id::Inner(position) => Name::Inner(position),
                Id::Given(given) => Name::Given(canvas.value(py, given).extract()?),
            };
            line.push(Entry {
                name,
                members: members.transpose()?,
            });
            at = promise.parent;
        }
        line.reverse();
        Ok(Self(line))
    }

    /// Whether it is a task and nothing more.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(&self.0[..], [only] if only.members.is_none())
    }

    /// From lists and tuples: `[(name, [shapes] or None), ...]`, where a name is None, the number
    /// of an inner id, or an id.
    pub(crate) fn read(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut line = Vec::new();
        for entry in value.try_iter()? {
            let parts = entry?.try_iter()?.collect::<PyResult<Vec<_>>>()?;
            let [name, members] = <[_; 2]>::try_from(parts).map_err(|_| {
                PyTypeError::new_err("a part of a shape is a name and members, or None")
            })?;
            let name = if name.is_none() {
                Name::Whole
            } else if name.is_instance_of::<PyInt>() {
                Name::Inner(name.extract()?)
            } else {
                Name::Given(name.extract()?)
            };
            let members = if members.is_none() {
                None
            } else {
                let members = members.try_iter()?.map(|member| Self::read(&member?));
                Some(members.collect::<PyResult<Vec<_>>>()?)
            };
            line.push(Entry { name, members });
        }
        if line.is_empty() {
            return Err(PyTypeError::new_err("a shape without a result"));
        }
        Ok(Self(line))
    }

    /// As `read` takes it.
    pub(crate) fn write<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let line = PyList::empty(py);
        for entry in &self.0 {
            let name = match &entry.name {
                Name::Whole => py.None().into_bound(py),
                Name::Inner(position) => position.into_pyobject(py)?.into_any(),
                Name::Given(id) => PyString::new(py, id).into_any(),
            };
            let members = match &entry.members {
                None => py.None().into_bound(py),
                Some(members) => {
                    let members = members.iter().map(|member| member.write(py));
                    PyList::new(py, members.collect::<PyResult<Vec<_>>>()?)?.into_any()
                }
            };
            line.append((name, members))?;
        }
        Ok(line)
    }

    /// In the form of Celery's `as_tuple`: `((id, parent), members)`.
    pub(crate) fn form<'py>(
        &self,
        py: Python<'py>,
        ids: &Ids,
        index: u32,
        whole: &str,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let mut before: Option<Bound<'py, PyTuple>> = None;
        for (id, members) in self.line(py, ids, index, whole)? {
            before = Some(((id, before), members).into_pyobject(py)?);
        }
        before.ok_or_else(|| PyTypeError::new_err("a shape without a result"))
    }

    /// The same without its nesting, from the first to the last: ids and members' forms.
    pub(crate) fn line<'py>(
        &self,
        py: Python<'py>,
        ids: &Ids,
        index: u32,
        whole: &str,
    ) -> PyResult<Line<'py>> {
        let mut line = Vec::with_capacity(self.0.len());
        for entry in &self.0 {
            let id = match &entry.name {
                Name::Whole => PyString::new(py, whole),
                Name::Inner(position) => PyString::new(py, &ids.inner_text(index, *position)),
                Name::Given(id) => PyString::new(py, id),
            };
            let members = match &entry.members {
                None => None,
                Some(members) => {
                    let members = members.iter().map(|m| m.form(py, ids, index, whole));
                    Some(PyList::new(py, members.collect::<PyResult<Vec<_>>>()?)?)
                }
            };
            line.push((id, members));
        }
        Ok(line)
    }
}

/// Shapes by member, in runs: a million members that are alike cost what one costs.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    /// Start -> end (excluded) and shape.
    runs: BTreeMap<u32, (u32, Arc<Shape>)>,
}

impl Shapes {
    pub(crate) fn get(&self, index: u32) -> Option<Arc<Shape>> {
        let (_, (end, shape)) = self.runs.range(..=index).next_back()?;
        (index < *end).then(|| Arc::clone(shape))
    }

    /// Keeps the shape of members `start` to `end` (excluded), instead of any other.
    pub(crate) fn keep(&mut self, start: u32, end: u32, shape: Shape) {
        if start >= end {
            return;
        }
        self.clear(start, end);
        if let Some((_, (last, before))) = self.runs.range_mut(..start).next_back()
            && *last == start
            && **before == shape
        {
            *last = end;
            return;
        }
        self.runs.insert(start, (end, Arc::new(shape)));
    }

    fn clear(&mut self, start: u32, end: u32) {
        while let Some((&at, &(last, ref shape))) = self.runs.range(..end).next_back()
            && last > start
        {
            let shape = Arc::clone(shape);
            self.runs.remove(&at);
            if at < start {
                self.runs.insert(at, (start, Arc::clone(&shape)));
            }
            if last > end {
                self.runs.insert(end, (last, shape));
            }
        }
    }

    /// The runs from member `first` on, and what is left of the one that it is in.
    pub(crate) fn runs(&self, first: u32) -> impl Iterator<Item = (u32, u32, Arc<Shape>)> {
        let within = self.runs.range(..first).next_back();
        let within = within.filter(move |(_, (end, _))| *end > first);
        let within = within.map(|(_, (end, shape))| (first, *end, Arc::clone(shape)));
        let behind = self.runs.range(first..);
        let behind = behind.map(|(&start, (end, shape))| (start, *end, Arc::clone(shape)));
        within.into_iter().chain(behind)
    }
}
