//! The orderings of the barrier's accesses, and under loom a way to weaken each by itself.
//!
//! ```text
//! what was written                written by    is seen by whoever           by
//! before a member arrives         SETTLE        finds it done                STATE
//! before a member arrives         COUNT         completes the barrier        COUNT, SEAL
//! before an arrival or the seal   COUNT, SEAL   finds it complete            WORD
//! before members are added        GROW          finds them there             WORD
//! before a claim is given up      GIVE_UP       claims the member next       TAKE
//! before a failure                FAIL          finds it to be the first     FAILED
//! ```
//!
//! `tests/loom_barrier.rs` has a model for each, which fails once that one is weakened.

use crate::sync::{AtomicU8, Ordering};

/// One access, by what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The word, when a member arrives: what the others wrote.
    CountAcquire,
    /// The word, when a member arrives: what this call wrote.
    CountRelease,
    /// The word at the seal: what the others wrote.
    SealAcquire,
    /// The word at the seal: what this call wrote.
    SealRelease,
    /// The word, when members are added.
    Grow,
    /// The word, when it is looked at.
    Word,
    /// A cell that is claimed: what a claim before it wrote.
    Take,
    /// A cell that is claimed: looked at and taken in one step.
    TakeAtOnce,
    /// A cell whose claim is given up.
    GiveUp,
    /// A cell whose member is done.
    Settle,
    /// A cell that is looked at.
    State,
    /// The first failure, when there is one.
    Fail,
    /// The first failure, when it is looked at.
    Failed,
}

pub(super) fn count() -> Ordering {
    acquire_and_release(Access::CountAcquire, Access::CountRelease)
}

pub(super) fn seal() -> Ordering {
    acquire_and_release(Access::SealAcquire, Access::SealRelease)
}

pub(super) fn grow() -> Ordering {
    release(Access::Grow)
}

pub(super) fn word() -> Ordering {
    acquire(Access::Word)
}

pub(super) fn give_up() -> Ordering {
    release(Access::GiveUp)
}

pub(super) fn settle() -> Ordering {
    release(Access::Settle)
}

pub(super) fn state() -> Ordering {
    acquire(Access::State)
}

pub(super) fn fail() -> Ordering {
    release(Access::Fail)
}

pub(super) fn failed() -> Ordering {
    acquire(Access::Failed)
}

/// Changes a cell; true for the one call that did it.
pub(super) fn take(cell: &AtomicU8, from: u8, to: u8) -> bool {
    let order = acquire(Access::Take);
    if is_kept(Access::TakeAtOnce) {
        return cell
            .compare_exchange(from, to, order, Ordering::Relaxed)
            .is_ok();
    }
    let is_free = cell.load(order) == from;
    if is_free {
        cell.store(to, Ordering::Relaxed);
    }
    is_free
}

fn acquire(access: Access) -> Ordering {
    if is_kept(access) {
        Ordering::Acquire
    } else {
        Ordering::Relaxed
    }
}

fn release(access: Access) -> Ordering {
    if is_kept(access) {
        Ordering::Release
    } else {
        Ordering::Relaxed
    }
}

fn acquire_and_release(acquires: Access, releases: Access) -> Ordering {
    match (is_kept(acquires), is_kept(releases)) {
        (true, true) => Ordering::AcqRel,
        (false, _) => Ordering::Release,
        (_, false) => Ordering::Acquire,
    }
}

/// Outside of models all are.
#[cfg(not(celerant_loom))]
#[inline]
const fn is_kept(_access: Access) -> bool {
    true
}

#[cfg(celerant_loom)]
fn is_kept(access: Access) -> bool {
    WEAKENED.get() != Some(access)
}

#[cfg(celerant_loom)]
std::thread_local! {
    // Loom runs all threads of a model on one of the system's.
    static WEAKENED: std::cell::Cell<Option<Access>> = const { std::cell::Cell::new(None) };
}

/// Weakens one access in the models that this thread runs.
#[cfg(celerant_loom)]
pub fn weaken(access: Access) {
    WEAKENED.set(Some(access));
}
