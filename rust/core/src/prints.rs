//! What members were sent with, in two bytes each: enough to see that a source has changed.
//!
//! A changed member passes for the same once in 65,535 times. What travels with a member (its
//! callbacks, where results go) is no part of it: that differs by the process that sends.

use std::hash::Hasher;
use std::ops::Range;

use siphasher::sip::SipHasher24;

use crate::error::Result;
use crate::json;
use crate::message::{Body, Chunk, Member};

/// Nothing is known of the member.
const UNKNOWN: u16 = 0;

/// The prints of a dispatch's members.
#[derive(Debug, Default)]
pub struct Prints {
    /// By member.
    known: Vec<u16>,
    scratch: Vec<u8>,
}

impl Prints {
    /// Keeps what a chunk's members are sent with; the first message of each counts.
    ///
    /// # Errors
    /// A value that is not of the chunk's arena.
    pub fn keep(&mut self, chunk: &Chunk) -> Result<()> {
        for member in &chunk.members {
            let at = member.index as usize;
            if self.known.len() <= at {
                self.known.resize(at + 1, UNKNOWN);
            }
            if self.known[at] == UNKNOWN {
                self.known[at] = self.print(chunk, member)?;
            }
        }
        Ok(())
    }

    /// The first member of a chunk that is known to have been another; `seen` is the member whose
    /// first message came last.
    ///
    /// # Errors
    /// As [`Prints::keep`].
    pub fn first_other(&mut self, chunk: &Chunk, seen: &mut Option<u32>) -> Result<Option<u32>> {
        for member in &chunk.members {
            if seen.replace(member.index) == Some(member.index) {
                continue;
            }
            let known = self.known.get(member.index as usize).copied();
            let known = known.unwrap_or(UNKNOWN);
            if known == UNKNOWN {
                continue;
            }
            let print = self.print(chunk, member)?;
            if print != UNKNOWN && print != known {
                return Ok(Some(member.index));
            }
        }
        Ok(None)
    }

    /// Those of some members as bytes, for another process; of members without one, zeros. What
    /// lies behind the last known member is left out.
    #[must_use]
    pub fn pack(&self, members: Range<usize>) -> Vec<u8> {
        let end = members.end.min(self.known.len());
        let known = self.known.get(members.start..end).unwrap_or_default();
        let pairs = known.iter().map(|print| print.to_le_bytes());
        pairs.flatten().collect()
    }

    /// What `pack` made of all of them.
    #[must_use]
    pub fn unpack(packed: &[u8]) -> Self {
        let pairs = packed.chunks_exact(2);
        Self {
            known: pairs
                .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
                .collect(),
            scratch: Vec::new(),
        }
    }

    fn print(&mut self, chunk: &Chunk, member: &Member) -> Result<u16> {
        let Body::Plain { args, kwargs, .. } = member.body else {
            // Another serializer's bytes may differ by themselves.
            return Ok(UNKNOWN);
        };
        self.scratch.clear();
        json::write(&chunk.arena, args, &mut self.scratch)?;
        json::write(&chunk.arena, kwargs, &mut self.scratch)?;
        let mut hasher = SipHasher24::new();
        hasher.write(&self.scratch);
        let [low, high, ..] = hasher.finish().to_le_bytes();
        Ok(u16::from_le_bytes([low, high]).max(UNKNOWN + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(index: u32, value: i64) -> Result<Chunk> {
        let mut chunk = Chunk::default();
        let args = chunk.arena.position()?;
        chunk.arena.push_tuple(1)?;
        chunk.arena.push_int(value)?;
        let kwargs = chunk.arena.position()?;
        chunk.arena.push_dict(0)?;
        let body = Body::Plain {
            args,
            kwargs,
            embed: None,
        };
        chunk.members.push(Member {
            template: 0,
            index,
            position: index,
            args,
            kwargs,
            own_id: None,
            body,
        });
        Ok(chunk)
    }

    #[test]
    fn the_same_member_passes_and_another_is_named() -> Result<()> {
        let mut prints = Prints::default();
        prints.keep(&chunk(3, 1)?)?;
        let mut other = |index, value| prints.first_other(&chunk(index, value)?, &mut None);
        assert_eq!(other(3, 1)?, None);
        assert_eq!(other(3, 2)?, Some(3));
        assert_eq!(other(2, 2)?, None);
        assert_eq!(other(9, 2)?, None);
        let mut again = Prints::unpack(&prints.pack(0..usize::MAX));
        assert_eq!(again.first_other(&chunk(3, 2)?, &mut None)?, Some(3));
        Ok(())
    }

    #[test]
    fn the_prints_of_some_members_are_a_part_of_all() -> Result<()> {
        let mut prints = Prints::default();
        for index in 0..5 {
            prints.keep(&chunk(index, i64::from(index))?)?;
        }
        let all = prints.pack(0..usize::MAX);
        assert_eq!(all.len(), 10);
        assert_eq!(prints.pack(2..4), all[4..8]);
        assert_eq!(prints.pack(4..9), all[8..]);
        assert!(prints.pack(7..9).is_empty());
        Ok(())
    }

    #[test]
    fn only_the_first_message_of_a_member_counts() -> Result<()> {
        let mut prints = Prints::default();
        let mut two = chunk(3, 1)?;
        let second = two.members[0];
        two.members.push(second);
        prints.keep(&two)?;
        prints.keep(&chunk(3, 2)?)?;
        let mut seen = None;
        assert_eq!(prints.first_other(&two, &mut seen)?, None);
        assert_eq!(prints.first_other(&chunk(3, 2)?, &mut seen)?, None);
        assert_eq!(prints.first_other(&chunk(3, 2)?, &mut None)?, Some(3));
        Ok(())
    }
}
