//! Errors between a canvas and its bytes.

use thiserror::Error;

/// Result of this crate's encoding side.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the encoding side: arena, encoders, wires, unroll and ledger.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// A chunk's arena reached what 32-bit positions can address.
    #[error("chunk holds too many {what} ({len}, limit {limit}); send fewer members per chunk")]
    ArenaFull {
        /// `values`, `bytes of text` or `items of one container`.
        what: &'static str,
        /// Size that was asked for.
        len: usize,
        /// Largest size that fits.
        limit: usize,
    },
    /// A value ends before its last item: the arena was filled wrongly.
    #[error("value at token {at} is incomplete; push every item that its container announces")]
    Incomplete {
        /// Index of the missing token.
        at: usize,
    },
    /// A value that JSON has no form for reached the JSON writer.
    #[error("a {kind} has no plain JSON form; let the message's serializer write this member")]
    NotPlain {
        /// Python's name of the type.
        kind: &'static str,
    },
    /// Something failed while one member was encoded.
    #[error("group[{index}]: {reason}")]
    Member {
        /// The member's `group_index`.
        index: u32,
        /// The cause.
        reason: Box<Error>,
    },
    /// A member names a template that its chunk does not have.
    #[error("no template {template} in a chunk of {len}; add the template before its members")]
    UnknownTemplate {
        /// Index as given.
        template: u32,
        /// Templates in the chunk.
        len: usize,
    },
    /// A template names a route that the wire was not given.
    #[error("no route {route} among {len}; resolve every route of the chunk before encoding")]
    UnknownRoute {
        /// Index as given.
        route: u32,
        /// Routes given.
        len: usize,
    },
    /// A template was made for another wire.
    #[error("the template is not in {wire} form; render its envelope for the wire in use")]
    WrongEnvelope {
        /// The wire that was asked to encode.
        wire: &'static str,
    },
    /// A layout has a slot that its wire cannot write there.
    #[error("slot {slot} cannot stand in the {place}; render it as constant bytes")]
    MisplacedSlot {
        /// Name of the slot.
        slot: &'static str,
        /// Part of the envelope.
        place: &'static str,
    },
    /// A template has a slot for a header that the member does not bring.
    #[error("the member has no header {number} of its own")]
    NoOwnHeader {
        /// Number of the slot.
        number: u8,
    },
    /// AMQP carries a message's properties in one frame; these do not fit.
    #[error(
        "message properties take {len} bytes, limit {limit} (frame_max - 8); \
         send fewer or shorter headers, or raise frame_max"
    )]
    HeaderTooLarge {
        /// Bytes of the content header's payload.
        len: usize,
        /// Largest payload of a frame.
        limit: usize,
    },
    /// A task id that AMQP's short strings cannot hold.
    #[error("task id takes {len} bytes, limit 255 (an AMQP short string); use a shorter task_id")]
    IdTooLong {
        /// Bytes of the id in UTF-8.
        len: usize,
    },
    /// A negotiated frame size that leaves no room for a payload.
    #[error("frame_max {frame_max} is too small, at least 4096 is required by AMQP 0-9-1")]
    FrameMaxTooSmall {
        /// Size as given, in bytes.
        frame_max: u32,
    },
    /// A piece of a message is longer than its length field can say.
    #[error("{what} takes {len} bytes, which its 32-bit length cannot say; send it by reference")]
    FieldTooLong {
        /// Which piece.
        what: &'static str,
        /// Bytes it takes.
        len: usize,
    },
    /// A group contains itself.
    #[error("{path} closes a cycle: a group contains itself; clone the inner group")]
    Cycle {
        /// The path at which the group was met again.
        path: String,
    },
    /// A canvas is nested deeper than the limit.
    #[error("{path} is nested deeper than {limit} groups; flatten the canvas")]
    TooDeep {
        /// The path at which the limit was passed, without its middle.
        path: String,
        /// Groups that may be open at once.
        limit: usize,
    },
    /// A canvas has more members than an index can count.
    #[error("{path} is member {limit} (limit {limit} members); split the group")]
    TooManyMembers {
        /// The path at which the limit was passed.
        path: String,
        /// Members allowed.
        limit: u32,
    },
    /// A chain without steps stands where something must have a result.
    #[error("a chain without steps has no result; leave it out, or give it a step")]
    EmptyChain,
    /// The ledger cannot count that many members.
    #[error(
        "cannot add {add} members to {len}, limit {}; split the group",
        u32::MAX
    )]
    LedgerFull {
        /// Members so far.
        len: u32,
        /// Members to add.
        add: u32,
    },
    /// A member that the ledger does not know.
    #[error("members {start}..{end} reach beyond the {len} known; grow the ledger first")]
    UnknownMember {
        /// First index as given.
        start: u32,
        /// Index after the last as given.
        end: u32,
        /// Members known.
        len: u32,
    },
}

impl Error {
    /// Says which member the error belongs to, unless it says so already.
    #[must_use]
    pub fn in_member(self, index: u32) -> Self {
        match self {
            Self::Member { .. } => self,
            reason => Self::Member {
                index,
                reason: Box::new(reason),
            },
        }
    }

    /// The member that failed, if the error belongs to one.
    #[must_use]
    pub const fn group_index(&self) -> Option<u32> {
        match self {
            Self::Member { index, .. } => Some(*index),
            _ => None,
        }
    }

    /// The path in the canvas, if the error belongs to one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Cycle { path }
            | Self::TooDeep { path, .. }
            | Self::TooManyMembers { path, .. } => Some(path),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_named_once() {
        let error = Error::IdTooLong { len: 300 }.in_member(7).in_member(8);
        assert_eq!(error.group_index(), Some(7));
        assert!(
            error
                .to_string()
                .starts_with("group[7]: task id takes 300 bytes")
        );
    }
}
