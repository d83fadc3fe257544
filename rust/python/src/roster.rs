//! `Roster`: the ids of one dispatch's members.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock};

use celerant_core::id::{Ids, Seed};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::shapes::{Shape, Shapes};

/// The ids of one dispatch's members: derived from a seed, or the member's own.
///
/// A derived id costs no memory; own ids are kept in a sparse map.
#[pyclass(frozen, module = "celerant._core", name = "Roster")]
#[derive(Debug)]
pub struct PyRoster {
    ids: Ids,
    /// Members known so far. Written by the one dispatch, read by anyone; publishes nothing else,
    /// so `Relaxed` is enough.
    len: AtomicU32,
    own: RwLock<Own>,
    /// Results of members that are chains or chords.
    shapes: RwLock<Shapes>,
}

#[derive(Debug, Default)]
struct Own {
    by_index: HashMap<u32, String>,
    by_id: HashMap<String, u32>,
}

impl PyRoster {
    /// The ids that derive from the seed.
    pub(crate) fn derived(&self) -> &Ids {
        &self.ids
    }

    /// Notes that there are so many members, or more: a source that is read once more for a
    /// resume or a retry begins at its first member, and other threads look on.
    pub(crate) fn grow_to(&self, len: u32) {
        self.len.fetch_max(len, Ordering::Relaxed);
    }

    /// Keeps a member's own id.
    pub(crate) fn keep(&self, index: u32, task_id: &str) {
        let mut own = self.own.write().unwrap_or_else(PoisonError::into_inner);
        own.by_id.insert(task_id.to_owned(), index);
        own.by_index.insert(index, task_id.to_owned());
    }

    /// Keeps the shape of a member's result.
    pub(crate) fn keep_shape(&self, index: u32, shape: Shape) {
        let mut shapes = self.shapes.write().unwrap_or_else(PoisonError::into_inner);
        shapes.keep(index, index.saturating_add(1), shape);
    }

    /// The member that has this id, known yet or not.
    pub(crate) fn holder(&self, task_id: &str) -> Option<u32> {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        own.by_id
            .get(task_id)
            .copied()
            .or_else(|| self.ids.index(task_id))
    }

    /// The id of member `index`, known yet or not.
    pub(crate) fn member_id(&self, index: u32) -> String {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        self.text(&own, index)
    }

    fn text(&self, own: &Own, index: u32) -> String {
        own.by_index
            .get(&index)
            .cloned()
            .unwrap_or_else(|| self.ids.text(index))
    }
}

#[pymethods]
impl PyRoster {
    #[new]
    #[pyo3(signature = (seed, count = 0))]
    fn new(seed: &[u8], count: u32) -> PyResult<Self> {
        let seed: [u8; 16] = seed
            .try_into()
            .map_err(|_| PyValueError::new_err("seed must be 16 bytes"))?;
        Ok(Self {
            ids: Ids::new(Seed::new(seed)),
            len: AtomicU32::new(count),
            own: RwLock::default(),
            shapes: RwLock::default(),
        })
    }

    /// The 16 bytes from which every derived id is made.
    #[getter]
    fn seed<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.ids.seed().as_bytes())
    }

    /// The seed as UUID text: the group's id unless the caller gave one.
    #[getter]
    fn uuid(&self) -> String {
        self.ids.seed().to_uuid()
    }

    /// The 18 characters that all derived ids share.
    #[getter]
    fn prefix(&self) -> &str {
        self.ids.prefix()
    }

    fn __len__(&self) -> usize {
        self.len.load(Ordering::Relaxed) as usize
    }

    /// Set how many members there are.
    fn resize(&self, count: u32) {
        self.len.store(count, Ordering::Relaxed);
    }

    /// Keep `task_id` as member `index`'s own id.
    fn adopt(&self, index: u32, task_id: &str) {
        self.keep(index, task_id);
    }

    /// The id of member `index`.
    ///
    /// Raises:
    ///     `IndexError`: There is no such member.
    fn id(&self, index: u32) -> PyResult<String> {
        if index >= self.len.load(Ordering::Relaxed) {
            return Err(PyIndexError::new_err(format!("no member {index}")));
        }
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        Ok(self.text(&own, index))
    }

    /// The ids of members `start` to `stop` (excluded), in order.
    fn ids<'py>(&self, py: Python<'py>, start: u32, stop: u32) -> PyResult<Bound<'py, PyList>> {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        let texts: Vec<String> = (start..stop).map(|i| self.text(&own, i)).collect();
        PyList::new(py, texts)
    }

    /// The ids of the members `indices`, in that order.
    #[allow(clippy::needless_pass_by_value)] // PyO3 hands over what it extracted
    fn select<'py>(&self, py: Python<'py>, indices: Vec<u32>) -> PyResult<Bound<'py, PyList>> {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        let texts: Vec<String> = indices.iter().map(|&i| self.text(&own, i)).collect();
        PyList::new(py, texts)
    }

    /// The index of the member whose id is `task_id`; None if it is not one of ours.
    fn index(&self, task_id: &str) -> Option<u32> {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(&index) = own.by_id.get(task_id) {
            return Some(index);
        }
        let index = self.ids.index(task_id)?;
        let known = index < self.len.load(Ordering::Relaxed) && !own.by_index.contains_key(&index);
        known.then_some(index)
    }

    /// The members' own ids, by index.
    fn own(&self) -> HashMap<u32, String> {
        self.own
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .by_index
            .clone()
    }

    /// The own ids of members `start` to `stop` (excluded), by index.
    fn own_in(&self, start: u32, stop: u32) -> HashMap<u32, String> {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        if own.by_index.is_empty() {
            return HashMap::new();
        }
        let found = |index| Some((index, own.by_index.get(&index)?.clone()));
        (start..stop).filter_map(found).collect()
    }

    /// The form of member `index`'s result, as Celery's `as_tuple` gives it; None if it is one task.
    fn form<'py>(&self, py: Python<'py>, index: u32) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let shapes = self.shapes.read().unwrap_or_else(PoisonError::into_inner);
        let shape = shapes.get(index);
        drop(shapes);
        shape
            .map(|shape| shape.form(py, &self.ids, index, &self.member_id(index)))
            .transpose()
    }

    /// The shapes of members that are more than one task: `(start, stop, shape)`.
    ///
    /// A shape is `[(name, [shapes] or None), ...]` from the first to the last; a name is an id,
    /// None for the member's own, or a number of one that derives.
    ///
    /// Args:
    ///     start: The first member that is asked about.
    #[pyo3(signature = (start = 0))]
    fn shapes<'py>(
        &self,
        py: Python<'py>,
        start: u32,
    ) -> PyResult<Vec<(u32, u32, Bound<'py, PyList>)>> {
        // Copied first: no lock is held while Python runs.
        let shapes = self.shapes.read().unwrap_or_else(PoisonError::into_inner);
        let runs: Vec<_> = shapes.runs(start).collect();
        drop(shapes);
        let runs = runs.into_iter();
        runs.map(|(start, stop, shape)| Ok((start, stop, shape.write(py)?)))
            .collect()
    }

    /// Keep the shape of members `start` to `stop` (excluded), as `shapes` gives it.
    fn keep_shapes(&self, start: u32, stop: u32, shape: &Bound<'_, PyAny>) -> PyResult<()> {
        // Read first: no lock is held while Python runs.
        let shape = Shape::read(shape)?;
        let mut shapes = self.shapes.write().unwrap_or_else(PoisonError::into_inner);
        shapes.keep(start, stop, shape);
        Ok(())
    }

    fn __repr__(&self) -> String {
        format!(
            "<Roster {}: {} members>",
            self.ids.seed().to_uuid(),
            self.__len__()
        )
    }
}
