//! `Values`: what is kept of members that are done.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyList;

/// Slots of a bucket: few enough that a stream leaves little behind, many enough that a bucket's
/// own cost does not show.
const SLOTS: u32 = 256;

/// The values of members, by index: only what is there takes memory.
///
/// None is what a slot holds that nothing was put into. Safe to use from any thread.
#[pyclass(frozen, module = "celerant._core", name = "Values")]
#[derive(Debug, Default)]
pub struct PyValues {
    /// Held for as long as a value is moved; no Python runs meanwhile.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    buckets: HashMap<u32, Bucket>,
    /// One bit per member whose value was dropped.
    dropped: Vec<u64>,
    dropped_count: usize,
}

#[derive(Debug)]
struct Bucket {
    slots: Box<[Option<Py<PyAny>>]>,
    full: usize,
}

impl Bucket {
    fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| None).collect(),
            full: 0,
        }
    }
}

impl Kept {
    /// Puts a value into its slot; returns what was there, to be let go without the lock.
    fn put(&mut self, index: u32, value: Option<Py<PyAny>>) -> Option<Py<PyAny>> {
        let (number, offset) = (index / SLOTS, (index % SLOTS) as usize);
        if value.is_none() && !self.buckets.contains_key(&number) {
            return None;
        }
        let bucket = self.buckets.entry(number).or_insert_with(Bucket::new);
        bucket.full += usize::from(value.is_some());
        let before = std::mem::replace(&mut bucket.slots[offset], value);
        bucket.full -= usize::from(before.is_some());
        if bucket.full == 0 {
            self.buckets.remove(&number);
        }
        before
    }

    fn get(&self, index: u32) -> Option<&Py<PyAny>> {
        let bucket = self.buckets.get(&(index / SLOTS))?;
        bucket.slots[(index % SLOTS) as usize].as_ref()
    }

    fn mark(&mut self, index: u32) {
        let (word, bit) = place(index);
        if self.dropped.len() <= word {
            self.dropped.resize(word + 1, 0);
        }
        self.dropped_count += usize::from(self.dropped[word] & bit == 0);
        self.dropped[word] |= bit;
    }

    fn unmark(&mut self, index: u32) {
        let (word, bit) = place(index);
        if let Some(bits) = self.dropped.get_mut(word) {
            self.dropped_count -= usize::from(*bits & bit != 0);
            *bits &= !bit;
        }
    }

    fn is_dropped(&self, index: u32) -> bool {
        let (word, bit) = place(index);
        self.dropped.get(word).is_some_and(|bits| bits & bit != 0)
    }
}

const fn place(index: u32) -> (usize, u64) {
    ((index / 64) as usize, 1 << (index % 64))
}

impl PyValues {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a value into its slot.
    pub(crate) fn set(&self, index: u32, value: Bound<'_, PyAny>) {
        let value = (!value.is_none()).then(|| value.unbind());
        let mut kept = self.lock();
        kept.unmark(index);
        let before = kept.put(index, value);
        std::mem::drop(kept);
        // Its end may run Python: the lock is free by now.
        drop(before);
    }
}

#[pymethods]
impl PyValues {
    #[new]
    #[pyo3(signature = (values = None))]
    fn new(values: Option<&Bound<'_, PyList>>) -> Self {
        let made = Self::default();
        for (index, value) in (0..).zip(values.into_iter().flatten()) {
            made.set(index, value);
        }
        made
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Taken by a thread that moves a value: what is there is in use anyway.
        let Ok(kept) = self.kept.try_lock() else {
            return Ok(());
        };
        let mut slots = kept.buckets.values().flat_map(|bucket| &bucket.slots);
        slots.try_for_each(|value| visit.call(value))
    }

    fn __clear__(&self) {
        let buckets = std::mem::take(&mut self.lock().buckets);
        drop(buckets);
    }

    /// How many values there are.
    fn __len__(&self) -> usize {
        self.lock().buckets.values().map(|bucket| bucket.full).sum()
    }

    /// What is kept of member `index`; None where nothing is.
    fn get(&self, py: Python<'_>, index: u32) -> Option<Py<PyAny>> {
        self.lock().get(index).map(|value| value.clone_ref(py))
    }

    /// Keep `value` for member `index`, in the place of any other.
    #[pyo3(name = "set")]
    fn put(&self, index: u32, value: Bound<'_, PyAny>) {
        self.set(index, value);
    }

    /// Keep the values of these members no longer, and know that they were dropped.
    #[allow(clippy::needless_pass_by_value)] // PyO3 hands over what it extracted
    fn drop(&self, indices: Vec<u32>) {
        let mut gone = Vec::with_capacity(indices.len());
        let mut kept = self.lock();
        for index in indices {
            gone.extend(kept.put(index, None));
            kept.mark(index);
        }
        // Their ends may run Python: first the lock.
        std::mem::drop(kept);
        std::mem::drop(gone);
    }

    /// Whether the value of member `index` was dropped, and none has come since.
    fn is_dropped(&self, index: u32) -> bool {
        self.lock().is_dropped(index)
    }

    /// How many members' values were dropped.
    #[getter]
    fn dropped(&self) -> usize {
        self.lock().dropped_count
    }

    /// The values of members `start` to `stop` (excluded), None where there is none.
    fn list<'py>(&self, py: Python<'py>, start: u32, stop: u32) -> PyResult<Bound<'py, PyList>> {
        let kept = self.lock();
        let values = (start..stop).map(|index| kept.get(index).map(|value| value.clone_ref(py)));
        let values: Vec<_> = values.collect();
        std::mem::drop(kept);
        PyList::new(py, values)
    }

    fn __repr__(&self) -> String {
        format!("<Values: {} kept>", self.__len__())
    }
}
