//! Which members of a dispatch are confirmed, rejected, unknown or unsent.

use std::ops::Range;

use roaring::RoaringBitmap;

use crate::error::{Error, Result};

/// The fate of a member's message, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It never left.
    Unsent,
    /// The broker has it.
    Confirmed,
    /// The broker refused it.
    Rejected,
    /// Sent, and no answer came.
    Unknown,
}

/// The fate of each member; every member is in exactly one.
///
/// Memory: runs of members in the same fate cost a few bytes, whatever their length.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    len: u32,
    confirmed: RoaringBitmap,
    rejected: RoaringBitmap,
    unknown: RoaringBitmap,
    /// Marks since the sets were last packed.
    unpacked: u32,
}

/// Packing looks at every container; members confirmed one by one, out of order, must not
/// pay for it each time.
const MARKS_PER_PACKING: u32 = 64;

impl Ledger {
    /// A ledger of no members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Members known.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether no member is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds `n` unsent members.
    ///
    /// # Errors
    /// [`Error::LedgerFull`] above 2^32 - 1 members; nothing is added then.
    pub fn grow(&mut self, n: u32) -> Result<()> {
        let full = Error::LedgerFull {
            len: self.len,
            add: n,
        };
        self.len = self.len.checked_add(n).ok_or(full)?;
        Ok(())
    }

    /// Puts the members of `range` into `fate`, whatever theirs was.
    ///
    /// # Errors
    /// [`Error::UnknownMember`] if the range reaches beyond the members known; nothing
    /// changes then.
    pub fn mark(&mut self, range: Range<u32>, fate: Fate) -> Result<()> {
        let Range { start, end } = range;
        if end > self.len {
            return Err(Error::UnknownMember {
                start,
                end,
                len: self.len,
            });
        }
        for other in [Fate::Confirmed, Fate::Rejected, Fate::Unknown] {
            let Some(set) = self.set_mut(other) else {
                continue;
            };
            if other == fate {
                set.insert_range(start..end);
            } else if !set.is_empty() {
                set.remove_range(start..end);
            }
        }
        self.unpacked += 1;
        if self.unpacked == MARKS_PER_PACKING {
            self.unpacked = 0;
            for set in [&mut self.confirmed, &mut self.rejected, &mut self.unknown] {
                set.optimize();
            }
        }
        Ok(())
    }

    /// The fate of member `index`, or `None` if there is no such member.
    #[must_use]
    pub fn fate(&self, index: u32) -> Option<Fate> {
        if index >= self.len {
            return None;
        }
        let sets = [
            (Fate::Confirmed, &self.confirmed),
            (Fate::Rejected, &self.rejected),
            (Fate::Unknown, &self.unknown),
        ];
        let found = sets.into_iter().find(|(_, set)| set.contains(index));
        Some(found.map_or(Fate::Unsent, |(fate, _)| fate))
    }

    /// Whether all members of `range` are confirmed.
    #[must_use]
    pub fn is_confirmed(&self, range: Range<u32>) -> bool {
        range.is_empty() || self.confirmed.contains_range(range)
    }

    /// How many members are in `fate`.
    #[must_use]
    pub fn count(&self, fate: Fate) -> u32 {
        // No set holds more than `len` members.
        let count = |set: &RoaringBitmap| u32::try_from(set.len()).unwrap_or(u32::MAX);
        match fate {
            Fate::Confirmed => count(&self.confirmed),
            Fate::Rejected => count(&self.rejected),
            Fate::Unknown => count(&self.unknown),
            Fate::Unsent => {
                self.len - count(&self.confirmed) - count(&self.rejected) - count(&self.unknown)
            }
        }
    }

    /// The members in `fate` as intervals, their ends excluded, in order and apart.
    #[must_use]
    pub fn intervals(&self, fate: Fate) -> Vec<(u32, u32)> {
        match fate {
            Fate::Confirmed => runs(&self.confirmed),
            Fate::Rejected => runs(&self.rejected),
            Fate::Unknown => runs(&self.unknown),
            Fate::Unsent => self.gaps(),
        }
    }

    /// Bytes that the sets take, by the bitmaps' own account.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        [&self.confirmed, &self.rejected, &self.unknown]
            .map(RoaringBitmap::serialized_size)
            .iter()
            .sum()
    }

    fn set_mut(&mut self, fate: Fate) -> Option<&mut RoaringBitmap> {
        match fate {
            Fate::Confirmed => Some(&mut self.confirmed),
            Fate::Rejected => Some(&mut self.rejected),
            Fate::Unknown => Some(&mut self.unknown),
            Fate::Unsent => None,
        }
    }

    fn gaps(&self) -> Vec<(u32, u32)> {
        let sent = &(&self.confirmed | &self.rejected) | &self.unknown;
        let mut gaps = Vec::new();
        let mut start = 0;
        for (first, end) in runs(&sent) {
            if start < first {
                gaps.push((start, first));
            }
            start = end;
        }
        if start < self.len {
            gaps.push((start, self.len));
        }
        gaps
    }
}

fn runs(set: &RoaringBitmap) -> Vec<(u32, u32)> {
    let mut members = set.iter();
    // The last index is below `len`, so its successor fits.
    std::iter::from_fn(|| members.next_range())
        .map(|run| (*run.start(), run.end() + 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const ALL: [Fate; 4] = [Fate::Unsent, Fate::Confirmed, Fate::Rejected, Fate::Unknown];

    #[test]
    fn a_member_is_in_exactly_one_set() -> Result<()> {
        let mut ledger = Ledger::new();
        ledger.grow(10)?;
        ledger.mark(0..10, Fate::Unknown)?;
        ledger.mark(2..6, Fate::Confirmed)?;
        ledger.mark(5..7, Fate::Rejected)?;
        ledger.mark(9..10, Fate::Unsent)?;
        assert_eq!(ledger.intervals(Fate::Confirmed), [(2, 5)]);
        assert_eq!(ledger.intervals(Fate::Rejected), [(5, 7)]);
        assert_eq!(ledger.intervals(Fate::Unknown), [(0, 2), (7, 9)]);
        assert_eq!(ledger.intervals(Fate::Unsent), [(9, 10)]);
        assert_eq!(ALL.map(|fate| ledger.count(fate)), [1, 3, 2, 4]);
        assert_eq!(ledger.fate(5), Some(Fate::Rejected));
        assert_eq!(ledger.fate(9), Some(Fate::Unsent));
        assert_eq!(ledger.fate(10), None);
        assert!(ledger.is_confirmed(2..5) && ledger.is_confirmed(7..7));
        assert!(!ledger.is_confirmed(2..6));
        Ok(())
    }

    proptest! {
        #[test]
        fn the_ledger_agrees_with_a_list_of_states(
            marks in vec((0..200_u32, 0..200_u32, 0..4_usize), 0..100),
        ) {
            let mut ledger = Ledger::new();
            ledger.grow(200).expect("room");
            let mut model = [Fate::Unsent; 200];
            for (a, b, fate) in marks {
                let range = a.min(b)..a.max(b);
                ledger.mark(range.clone(), ALL[fate]).expect("known members");
                model[range.start as usize..range.end as usize].fill(ALL[fate]);
            }
            for fate in ALL {
                let expected: Vec<u32> =
                    (0..200).filter(|&at| model[at as usize] == fate).collect();
                let intervals = ledger.intervals(fate);
                let apart = intervals.windows(2).all(|pair| pair[0].1 < pair[1].0);
                prop_assert!(apart, "{intervals:?}");
                let found: Vec<u32> =
                    intervals.into_iter().flat_map(|(start, end)| start..end).collect();
                prop_assert_eq!(ledger.count(fate) as usize, expected.len());
                prop_assert_eq!(found, expected);
            }
            for (at, fate) in (0..).zip(model) {
                prop_assert_eq!(ledger.fate(at), Some(fate));
            }
        }
    }

    #[test]
    fn a_million_confirmed_members_cost_less_than_a_kilobyte() -> Result<()> {
        let mut ledger = Ledger::new();
        for start in (0..1_000_000).step_by(500) {
            ledger.grow(500)?;
            ledger.mark(start..start + 500, Fate::Unknown)?;
            ledger.mark(start..start + 500, Fate::Confirmed)?;
        }
        assert_eq!(ledger.intervals(Fate::Confirmed), [(0, 1_000_000)]);
        assert_eq!(ledger.count(Fate::Unknown), 0);
        assert!(ledger.len_bytes() < 1024, "{} bytes", ledger.len_bytes());
        Ok(())
    }

    #[test]
    fn members_confirmed_one_by_one_and_out_of_order_end_as_cheap() -> Result<()> {
        let mut ledger = Ledger::new();
        let len = 1 << 17;
        ledger.grow(len)?;
        // One is left out: a full container is packed without being asked to.
        for at in (0..len).step_by(2).chain((3..len).step_by(2)).chain(2..66) {
            ledger.mark(at..at + 1, Fate::Confirmed)?;
        }
        assert_eq!(ledger.intervals(Fate::Confirmed), [(0, 1), (2, len)]);
        assert!(ledger.len_bytes() < 1024, "{} bytes", ledger.len_bytes());
        Ok(())
    }

    #[test]
    fn what_is_not_known_is_refused_and_changes_nothing() -> Result<()> {
        let mut ledger = Ledger::new();
        ledger.grow(u32::MAX)?;
        assert_eq!(
            ledger.grow(1),
            Err(Error::LedgerFull {
                len: u32::MAX,
                add: 1
            })
        );
        ledger.mark(u32::MAX - 1..u32::MAX, Fate::Confirmed)?;
        assert_eq!(
            ledger.intervals(Fate::Confirmed),
            [(u32::MAX - 1, u32::MAX)]
        );
        let mut small = Ledger::new();
        small.grow(3)?;
        let error = small.mark(1..4, Fate::Confirmed);
        assert_eq!(
            error,
            Err(Error::UnknownMember {
                start: 1,
                end: 4,
                len: 3
            })
        );
        assert_eq!(small.intervals(Fate::Unsent), [(0, 3)]);
        Ok(())
    }
}
