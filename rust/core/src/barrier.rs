//! A lock-free barrier: knows of each member whether it is done, and tells once when all are.
//!
//! ```text
//! word   s nnnn....nnnn aaaa....aaaa
//!        s: 1 bit, sealed    n: 31 bits, members    a: 32 bits, members that arrived
//! cells  one byte per member: its State
//! ```
//!
//! The barrier is complete when it is sealed and `a == n`. Each of `arrive` and `seal` changes
//! the word by one atomic operation, each member is counted once (its cell leaves `Pending` once),
//! and nothing leaves the complete state; so exactly one call makes the change to it, and that
//! one returns [`Arrival::Completed`].
//!
//! It holds atomics and no waiting: who waits registers first and looks second.

use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Cells, Ordering};
use thiserror::Error;

/// Members that one barrier can have.
pub const MAX_MEMBERS: u32 = (1 << 31) - 1;

const SEALED: u64 = 1 << 63;
const ONE_MEMBER: u64 = 1 << 32;
const ARRIVED_MASK: u64 = ONE_MEMBER - 1;

/// The release half lets the completing call, and whoever sees the barrier complete, read what
/// was written before this call; the acquire half lets the completing call read what the others
/// wrote. Pairs with itself and with `Barrier::word`'s `Acquire` loads.
const COUNTING: Ordering = if cfg!(celerant_loom_mutant) {
    Ordering::Relaxed
} else {
    Ordering::AcqRel
};

/// What became of a member. The numbers are the cells' encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// Not known yet.
    Pending = 0,
    /// It returned a value.
    Success = 1,
    /// It raised.
    Failure = 2,
    /// It was revoked before its end.
    Revoked = 3,
    /// Its result is not stored, and nobody waits for it.
    Ignored = 4,
    /// It never reached the broker.
    NotSent = 5,
    /// Its result was stored and is gone.
    Expired = 6,
}

/// How many states there are.
pub const STATES: usize = 7;

impl State {
    const ALL: [Self; STATES] = [
        Self::Pending,
        Self::Success,
        Self::Failure,
        Self::Revoked,
        Self::Ignored,
        Self::NotSent,
        Self::Expired,
    ];

    /// The state that `code` stands for.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        if (code as usize) < STATES {
            Some(Self::ALL[code as usize])
        } else {
            None
        }
    }

    /// The number that stands for this state.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// What a call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Counted; others are still missing, or the barrier is not sealed yet.
    Pending,
    /// Counted; with it all are done. Returned exactly once in a barrier's life.
    Completed,
    /// The member was there before; its first state stays.
    Duplicate,
}

/// A use that the barrier does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BarrierError {
    /// No such member.
    #[error("member {index} is unknown: the barrier has {size} members")]
    Unknown {
        /// The member asked for.
        index: u32,
        /// Members the barrier has.
        size: u32,
    },
    /// A member can arrive, it cannot go back to pending.
    #[error("member {index} cannot arrive as pending")]
    NotAnArrival {
        /// The member.
        index: u32,
    },
    /// `grow` or `seal` after `seal`.
    #[error("the barrier is sealed at {size} members and takes no more")]
    Sealed {
        /// Members the barrier has.
        size: u32,
    },
    /// `seal(n)` of a barrier that has not n members.
    #[error("cannot seal at {wanted} members: the barrier was grown to {size}")]
    WrongSize {
        /// What `seal` was told.
        wanted: u32,
        /// Members the barrier has.
        size: u32,
    },
    /// More members than a barrier can count.
    #[error("{wanted} members are too many: a barrier counts up to {MAX_MEMBERS}")]
    TooLarge {
        /// Members it would have had.
        wanted: u64,
    },
}

/// See the module's text.
#[derive(Debug)]
pub struct Barrier {
    word: AtomicU64,
    /// Arrivals per state; slot 0 is unused. `Relaxed`: each is written before the word, so
    /// whoever sees an arrival in the word through `Acquire` sees it here too.
    counts: [AtomicU32; STATES],
    cells: Cells,
}

impl Default for Barrier {
    fn default() -> Self {
        Self::new()
    }
}

impl Barrier {
    /// A barrier without members, not sealed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            counts: std::array::from_fn(|_| AtomicU32::new(0)),
            cells: Cells::new(),
        }
    }

    /// Adds `n` members, all pending, and returns how many there are now.
    ///
    /// # Errors
    /// [`BarrierError::Sealed`], [`BarrierError::TooLarge`].
    ///
    /// # Ordering
    /// The cells are there before the word says so (`Release`); pairs with the `Acquire` load
    /// in `arrive`.
    pub fn grow(&self, n: u32) -> Result<u32, BarrierError> {
        let mut word = self.load();
        loop {
            if word & SEALED != 0 {
                return Err(BarrierError::Sealed { size: size(word) });
            }
            let wanted = u64::from(size(word)) + u64::from(n);
            let grown = u32::try_from(wanted)
                .ok()
                .filter(|&grown| grown <= MAX_MEMBERS);
            let grown = grown.ok_or(BarrierError::TooLarge { wanted })?;
            self.cells.reserve(grown);
            match self.word.compare_exchange_weak(
                word,
                word + u64::from(n) * ONE_MEMBER,
                COUNTING,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(grown),
                Err(now) => word = now,
            }
        }
    }

    /// Notes that member `index` is done. Repeated arrivals change nothing.
    ///
    /// # Errors
    /// [`BarrierError::Unknown`], [`BarrierError::NotAnArrival`].
    ///
    /// # Ordering
    /// What the caller wrote before is visible to the call that returns `Completed` and to
    /// whoever then sees [`Barrier::is_complete`].
    pub fn arrive(&self, index: u32, state: State) -> Result<Arrival, BarrierError> {
        if state == State::Pending {
            return Err(BarrierError::NotAnArrival { index });
        }
        let cell = self.cell(index)?;
        if !claim(cell, state) {
            return Ok(Arrival::Duplicate);
        }
        self.counts[usize::from(state.code())].fetch_add(1, Ordering::Relaxed);
        let word = self.word.fetch_add(1, COUNTING) + 1;
        Ok(if complete(word) {
            Arrival::Completed
        } else {
            Arrival::Pending
        })
    }

    /// Says that there are `n` members and no more will come.
    ///
    /// # Errors
    /// [`BarrierError::Sealed`], [`BarrierError::WrongSize`].
    pub fn seal(&self, n: u32) -> Result<Arrival, BarrierError> {
        let mut word = self.load();
        loop {
            if word & SEALED != 0 {
                return Err(BarrierError::Sealed { size: size(word) });
            }
            if size(word) != n {
                return Err(BarrierError::WrongSize {
                    wanted: n,
                    size: size(word),
                });
            }
            let sealed = word | SEALED;
            match self
                .word
                .compare_exchange_weak(word, sealed, COUNTING, Ordering::Acquire)
            {
                Ok(_) if complete(sealed) => return Ok(Arrival::Completed),
                Ok(_) => return Ok(Arrival::Pending),
                Err(now) => word = now,
            }
        }
    }

    /// Whether it is sealed and all members arrived.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        complete(self.load())
    }

    /// Whether it is sealed.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.load() & SEALED != 0
    }

    /// Members so far.
    #[must_use]
    pub fn size(&self) -> u32 {
        size(self.load())
    }

    /// Members that have not arrived.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        let word = self.load();
        size(word) - arrived(word)
    }

    /// What is known of member `index`.
    ///
    /// # Errors
    /// [`BarrierError::Unknown`].
    pub fn state(&self, index: u32) -> Result<State, BarrierError> {
        // Pairs with `claim`.
        let code = self.cell(index)?.load(Ordering::Acquire);
        Ok(State::from_code(code).unwrap_or(State::Pending))
    }

    /// Members per state, by the states' numbers. A snapshot: while members arrive, one that is
    /// claimed but not counted yet may still be among the pending ones.
    #[must_use]
    pub fn counts(&self) -> [u32; STATES] {
        let word = self.load();
        let mut counts = [0; STATES];
        for (count, counter) in counts.iter_mut().zip(&self.counts).skip(1) {
            *count = counter.load(Ordering::Relaxed);
        }
        let done: u32 = counts.iter().sum();
        counts[0] = size(word).saturating_sub(done);
        counts
    }

    /// Members that arrived in `state`.
    #[must_use]
    pub fn count(&self, state: State) -> u32 {
        match state {
            State::Pending => self.counts()[0],
            // Pairs with nothing: a number on its own.
            _ => self.counts[usize::from(state.code())].load(Ordering::Relaxed),
        }
    }

    /// Up to `limit` members in `state`, from `start` on, ascending.
    #[must_use]
    pub fn select(&self, state: State, start: u32, limit: usize) -> Vec<u32> {
        let size = self.size();
        let mut found = Vec::new();
        let mut index = start;
        while index < size && found.len() < limit {
            let run = self.cells.run(index);
            if run.is_empty() {
                break;
            }
            for (cell, at) in run.iter().zip(index..size) {
                if cell.load(Ordering::Acquire) == state.code() {
                    found.push(at);
                    if found.len() == limit {
                        break;
                    }
                }
            }
            index = index.saturating_add(u32::try_from(run.len()).unwrap_or(u32::MAX));
        }
        found
    }

    /// Up to `limit` pending members from `start` on, ascending.
    #[must_use]
    pub fn pending(&self, start: u32, limit: usize) -> Vec<u32> {
        self.select(State::Pending, start, limit)
    }

    /// Pairs with `COUNTING`: what was written before an arrival that this load sees is visible.
    fn load(&self) -> u64 {
        let order = if cfg!(celerant_loom_mutant) {
            Ordering::Relaxed
        } else {
            Ordering::Acquire
        };
        self.word.load(order)
    }

    fn cell(&self, index: u32) -> Result<&AtomicU8, BarrierError> {
        let size = self.size();
        let cell = if index < size {
            self.cells.get(index)
        } else {
            None
        };
        cell.ok_or(BarrierError::Unknown { index, size })
    }
}

/// Takes a member out of `Pending`; true for the one call that did it.
///
/// `Release` so that who reads the state also sees what the caller wrote before (its value).
fn claim(cell: &AtomicU8, state: State) -> bool {
    if cfg!(celerant_loom_mutant) {
        // What the model must catch: looking and taking as two steps.
        let free = cell.load(Ordering::Relaxed) == State::Pending.code();
        if free {
            cell.store(state.code(), Ordering::Relaxed);
        }
        return free;
    }
    let pending = State::Pending.code();
    cell.compare_exchange(pending, state.code(), Ordering::AcqRel, Ordering::Acquire)
        .is_ok()
}

#[allow(clippy::cast_possible_truncation)] // 31 bits
const fn size(word: u64) -> u32 {
    ((word & !SEALED) >> 32) as u32
}

#[allow(clippy::cast_possible_truncation)] // 32 bits
const fn arrived(word: u64) -> u32 {
    (word & ARRIVED_MASK) as u32
}

const fn complete(word: u64) -> bool {
    word & SEALED != 0 && size(word) == arrived(word)
}

#[cfg(all(test, not(celerant_loom)))]
mod tests {
    use super::*;

    fn grown(n: u32) -> Barrier {
        let barrier = Barrier::new();
        assert_eq!(barrier.grow(n), Ok(n));
        barrier
    }

    #[test]
    fn last_arrival_is_reported_once() {
        let barrier = grown(3);
        assert_eq!(barrier.seal(3), Ok(Arrival::Pending));
        assert_eq!(barrier.arrive(2, State::Success), Ok(Arrival::Pending));
        assert_eq!(barrier.arrive(2, State::Failure), Ok(Arrival::Duplicate));
        assert_eq!(barrier.arrive(0, State::Failure), Ok(Arrival::Pending));
        assert!(!barrier.is_complete());
        assert_eq!(barrier.arrive(1, State::Success), Ok(Arrival::Completed));
        assert_eq!(barrier.arrive(1, State::Success), Ok(Arrival::Duplicate));
        assert!(barrier.is_complete());
        assert_eq!(barrier.counts(), [0, 2, 1, 0, 0, 0, 0]);
        assert_eq!(barrier.state(2), Ok(State::Success));
    }

    #[test]
    fn the_seal_completes_where_all_were_there_before() {
        let barrier = grown(1);
        assert_eq!(barrier.arrive(0, State::Ignored), Ok(Arrival::Pending));
        assert_eq!(barrier.seal(1), Ok(Arrival::Completed));
    }

    #[test]
    fn an_empty_barrier_completes_at_its_seal() {
        assert_eq!(Barrier::new().seal(0), Ok(Arrival::Completed));
    }

    #[test]
    fn misuse_is_an_error_and_changes_nothing() {
        let barrier = grown(2);
        assert_eq!(
            barrier.arrive(2, State::Success),
            Err(BarrierError::Unknown { index: 2, size: 2 })
        );
        assert_eq!(
            barrier.state(9),
            Err(BarrierError::Unknown { index: 9, size: 2 })
        );
        assert_eq!(
            barrier.arrive(0, State::Pending),
            Err(BarrierError::NotAnArrival { index: 0 })
        );
        assert_eq!(
            barrier.seal(3),
            Err(BarrierError::WrongSize { wanted: 3, size: 2 })
        );
        assert_eq!(barrier.seal(2), Ok(Arrival::Pending));
        assert_eq!(barrier.seal(2), Err(BarrierError::Sealed { size: 2 }));
        assert_eq!(barrier.grow(1), Err(BarrierError::Sealed { size: 2 }));
        assert_eq!(barrier.remaining(), 2);
    }

    #[test]
    fn more_than_31_bits_of_members_are_refused() {
        let barrier = grown(1);
        let wanted = u64::from(MAX_MEMBERS) + 1;
        assert_eq!(
            barrier.grow(MAX_MEMBERS),
            Err(BarrierError::TooLarge { wanted })
        );
        assert_eq!(barrier.size(), 1);
    }

    #[test]
    fn pending_members_are_found_across_buckets() {
        let barrier = grown(1000);
        for index in (0..1000).filter(|index| index % 7 != 0) {
            assert!(barrier.arrive(index, State::Success).is_ok());
        }
        let expected: Vec<u32> = (0..1000).filter(|index| index % 7 == 0).collect();
        assert_eq!(barrier.pending(0, usize::MAX), expected);
        assert_eq!(barrier.pending(8, 2), [14, 21]);
        assert_eq!(barrier.pending(1000, 5), [0; 0]);
    }

    #[test]
    fn codes_are_the_states_positions() {
        for (code, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(state.code()), code);
        }
        assert_eq!(State::from_code(7), None);
    }
}
