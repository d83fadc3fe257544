//! Atomics from std, or from loom under `--cfg celerant_loom`.
//!
//! Cells of the barrier live behind this module because loom has no `OnceLock`: the model has
//! all cells from the start. The model leaves out one thing: std promises that a value read through
//! `OnceLock::get` is fully written.

#[cfg(not(celerant_loom))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

#[cfg(celerant_loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

#[cfg(not(celerant_loom))]
mod cells {
    use super::AtomicU8;
    use std::sync::OnceLock;

    /// Cells of the first bucket; each further bucket doubles what there is.
    const FIRST: u64 = 64;
    /// Enough buckets for 2^31 cells: 64 * (2^26 - 1) > 2^31 with room to spare.
    const BUCKETS: usize = 26;

    /// One byte per member, all zero at first, in buckets that never move.
    #[derive(Debug)]
    pub(crate) struct Cells([OnceLock<Box<[AtomicU8]>>; BUCKETS]);

    impl Cells {
        pub(crate) fn new() -> Self {
            Self([const { OnceLock::new() }; BUCKETS])
        }

        /// Makes the cells below `len` reachable.
        pub(crate) fn reserve(&self, len: u32) {
            if len == 0 {
                return;
            }
            let (last, _) = locate(len - 1);
            for (n, bucket) in self.0.iter().enumerate().take(last + 1) {
                bucket.get_or_init(|| (0..FIRST << n).map(|_| AtomicU8::new(0)).collect());
            }
        }

        /// The cell of `index`, if it was reserved.
        pub(crate) fn get(&self, index: u32) -> Option<&AtomicU8> {
            let (bucket, offset) = locate(index);
            self.0.get(bucket)?.get()?.get(offset)
        }

        /// The reserved cells from `index` to the end of its bucket.
        pub(crate) fn run(&self, index: u32) -> &[AtomicU8] {
            let (bucket, offset) = locate(index);
            let cells = self.0.get(bucket).and_then(OnceLock::get);
            cells.and_then(|cells| cells.get(offset..)).unwrap_or(&[])
        }
    }

    /// Bucket n starts at cell `FIRST * (2^n - 1)`.
    #[allow(clippy::cast_possible_truncation)] // an offset is below 2^32
    fn locate(index: u32) -> (usize, usize) {
        let shifted = u64::from(index) + FIRST;
        let bucket = shifted.ilog2() - FIRST.ilog2();
        (bucket as usize, (shifted - (FIRST << bucket)) as usize)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_cell_below_the_reserved_length_is_reachable_and_distinct() {
            let cells = Cells::new();
            cells.reserve(1000);
            let mut seen = std::collections::HashSet::new();
            for index in 0..1000 {
                let cell = cells.get(index).map(std::ptr::from_ref);
                assert!(cell.is_some_and(|cell| seen.insert(cell)), "cell {index}");
            }
            assert!(cells.get(5000).is_none());
        }

        #[test]
        fn the_largest_index_has_a_bucket() {
            let (bucket, _) = locate((1 << 31) - 1);
            assert!(bucket < BUCKETS);
        }
    }
}

#[cfg(celerant_loom)]
mod cells {
    use super::AtomicU8;

    /// How many cells a model may have: loom explores every access.
    const MODELLED: usize = 4;

    #[derive(Debug)]
    pub(crate) struct Cells(Vec<AtomicU8>);

    impl Cells {
        pub(crate) fn new() -> Self {
            Self((0..MODELLED).map(|_| AtomicU8::new(0)).collect())
        }

        pub(crate) fn reserve(&self, len: u32) {
            assert!(len as usize <= MODELLED, "the model has {MODELLED} cells");
        }

        pub(crate) fn get(&self, index: u32) -> Option<&AtomicU8> {
            self.0.get(index as usize)
        }

        pub(crate) fn run(&self, index: u32) -> &[AtomicU8] {
            self.0.get(index as usize..).unwrap_or(&[])
        }
    }
}

pub(crate) use cells::Cells;
