//! A lock-free barrier: knows of each member whether it is done, and tells once when all are.
//!
//! ```text
//! word   s nnnn....nnnn aaaa....aaaa
//!        s: 1 bit, sealed    n: 31 bits, members    a: 32 bits, members that arrived
//! cells  one byte per member: its State, or TAKEN while a call settles it
//! first  the member whose failure came first, or NONE
//! ```
//!
//! A member arrives by a [`Claim`]. One of all calls for it takes its cell out of `Pending`, writes
//! its values, and settles it. The barrier is complete when it is sealed and `a == n`. Each of
//! `settle` and `seal` changes the word by one atomic operation, each member is counted once (its
//! cell is settled once), and nothing leaves the complete state; so exactly one call makes the
//! change to it, and that one returns [`Arrival::Completed`].
//!
//! It holds atomics and no waiting. A waiter registers first and looks second.
//!
//! The orderings of all accesses that publish something are in [`ordering`], each by its name.

pub mod ordering;
mod state;
#[cfg(all(test, not(celerant_loom)))]
mod tests;

use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Cells, Ordering};

pub use state::{Arrival, BarrierError, STATES, State};

/// Members that one barrier can have.
pub const MAX_MEMBERS: u32 = (1 << 31) - 1;

const SEALED: u64 = 1 << 63;
const ONE_MEMBER: u64 = 1 << 32;
const ARRIVED_MASK: u64 = ONE_MEMBER - 1;
/// A cell whose claim is not settled yet; it reads as pending.
const TAKEN: u8 = u8::MAX;
/// No member has failed.
const NONE: u32 = u32::MAX;

/// See the module's text.
#[derive(Debug)]
pub struct Barrier {
    word: AtomicU64,
    /// Arrivals per state; slot 0 is unused. `Relaxed`: each is written before the word, so a
    /// thread that sees an arrival in the word sees it here too.
    counts: [AtomicU32; STATES],
    cells: Cells,
    first: AtomicU32,
}

/// The right to let a member arrive, which one call has; dropped, the member is pending again.
#[derive(Debug)]
pub struct Claim<'a> {
    barrier: &'a Barrier,
    cell: &'a AtomicU8,
    index: u32,
    state: State,
}

impl Claim<'_> {
    /// Lets the member arrive. A thread that sees it done also sees all that the caller wrote
    /// before.
    #[must_use]
    pub fn settle(self) -> Arrival {
        let Self {
            barrier,
            cell,
            index,
            state,
        } = self;
        std::mem::forget(self);
        cell.store(state.code(), ordering::settle());
        if matches!(state, State::Failure | State::Revoked) {
            barrier.fail_early(index);
        }
        barrier.counts[usize::from(state.code())].fetch_add(1, Ordering::Relaxed);
        let word = barrier.word.fetch_add(1, ordering::count()) + 1;
        if complete(word) {
            Arrival::Completed
        } else {
            Arrival::Pending
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.cell.store(State::Pending.code(), ordering::give_up());
    }
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
            first: AtomicU32::new(NONE),
        }
    }

    /// Adds `n` members, all pending, and returns how many there are now.
    ///
    /// # Errors
    /// [`BarrierError::Sealed`], [`BarrierError::TooLarge`].
    ///
    /// # Ordering
    /// A thread that finds the members there sees all that the caller wrote before.
    pub fn grow(&self, n: u32) -> Result<u32, BarrierError> {
        let mut word = self.word.load(Ordering::Relaxed);
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
            let next = word + u64::from(n) * ONE_MEMBER;
            match self.change(word, next, ordering::grow()) {
                Ok(_) => return Ok(grown),
                Err(now) => word = now,
            }
        }
    }

    /// Takes a member that is to arrive in `state`; `None` if another call has or had it.
    ///
    /// # Errors
    /// [`BarrierError::Unknown`], [`BarrierError::NotAnArrival`].
    pub fn claim(&self, index: u32, state: State) -> Result<Option<Claim<'_>>, BarrierError> {
        if state == State::Pending {
            return Err(BarrierError::NotAnArrival { index });
        }
        let cell = self.cell(index)?;
        let is_ours = ordering::take(cell, State::Pending.code(), TAKEN);
        // Only the call that took the cell makes a claim: dropping it gives the cell free.
        Ok(is_ours.then(|| Claim {
            barrier: self,
            cell,
            index,
            state,
        }))
    }

    /// Notes that member `index` is done. Repeated arrivals change nothing.
    ///
    /// # Errors
    /// [`BarrierError::Unknown`], [`BarrierError::NotAnArrival`].
    ///
    /// # Ordering
    /// The call that returns `Completed`, and each thread that then sees [`Barrier::is_complete`],
    /// see all that the caller wrote before.
    pub fn arrive(&self, index: u32, state: State) -> Result<Arrival, BarrierError> {
        let claim = self.claim(index, state)?;
        Ok(claim.map_or(Arrival::Duplicate, Claim::settle))
    }

    /// Says that there are `n` members and no more will come.
    ///
    /// # Errors
    /// [`BarrierError::Sealed`], [`BarrierError::WrongSize`].
    ///
    /// # Ordering
    /// As `arrive`.
    pub fn seal(&self, n: u32) -> Result<Arrival, BarrierError> {
        let mut word = self.word.load(Ordering::Relaxed);
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
            match self.change(word, sealed, ordering::seal()) {
                Ok(_) if complete(sealed) => return Ok(Arrival::Completed),
                Ok(_) => return Ok(Arrival::Pending),
                Err(now) => word = now,
            }
        }
    }

    /// Notes that member `index` will fail, or has: the first one noted stays.
    pub fn fail_early(&self, index: u32) {
        let order = ordering::fail();
        // An index that is there already stays; nothing is read by it here.
        let _ = self
            .first
            .compare_exchange(NONE, index, order, Ordering::Relaxed);
    }

    /// The member whose failure or revocation came first.
    #[must_use]
    pub fn first_failure(&self) -> Option<u32> {
        let index = self.first.load(ordering::failed());
        (index != NONE).then_some(index)
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

    /// Members that have arrived.
    #[must_use]
    pub fn arrived(&self) -> u32 {
        arrived(self.load())
    }

    /// What is known of member `index`.
    ///
    /// # Errors
    /// [`BarrierError::Unknown`].
    ///
    /// # Ordering
    /// A thread that sees it done sees all that was written before it arrived.
    pub fn state(&self, index: u32) -> Result<State, BarrierError> {
        let code = self.cell(index)?.load(ordering::state());
        Ok(State::from_code(code).unwrap_or(State::Pending))
    }

    /// Members per state, by the states' numbers. A snapshot: while members arrive, one that is
    /// settled but not counted yet may still be among the pending ones.
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
                if cell.load(ordering::state()) == state.code() {
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

    fn load(&self) -> u64 {
        self.word.load(ordering::word())
    }

    /// `Relaxed`: after a failure the loop tries again and reads nothing by the value.
    fn change(&self, from: u64, to: u64, order: Ordering) -> Result<u64, u64> {
        self.word
            .compare_exchange_weak(from, to, order, Ordering::Relaxed)
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
