//! The states of members, and the answers of a barrier's calls.

use super::MAX_MEMBERS;
use thiserror::Error;

/// The state of a member's result. The numbers are the cells' encoding.
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
    pub(super) const ALL: [Self; STATES] = [
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

/// The answer of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Counted; others are still missing, or the barrier is not sealed yet.
    Pending,
    /// Counted, and all members are done. Returned exactly once in a barrier's life.
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
    /// `seal(n)` of a barrier that has another number of members.
    #[error("cannot seal at {wanted} members: the barrier was grown to {size}")]
    WrongSize {
        /// The number that `seal` was given.
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
