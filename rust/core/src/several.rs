//! Members that are several messages: the fate of each follows from the fates of all.

use std::collections::HashMap;

use crate::ledger::Fate;

/// The fates of one member's messages so far.
#[derive(Clone, Copy, Debug)]
struct Tally {
    messages: u32,
    confirmed: u32,
    rejected: u32,
    unknown: u32,
    /// Whether some of it may be in already: this is not its first dispatch.
    is_doubtful: bool,
}

impl Tally {
    fn count(&mut self, messages: u32, fate: Fate) {
        match fate {
            Fate::Confirmed => self.confirmed += messages,
            Fate::Rejected => self.rejected += messages,
            Fate::Unknown => self.unknown += messages,
            Fate::Unsent => {}
        }
    }

    const fn fate(&self) -> Fate {
        match (self.confirmed, self.rejected, self.unknown) {
            (0, 0, 0) if !self.is_doubtful => Fate::Unsent,
            (0, 1.., 0) if !self.is_doubtful => Fate::Rejected,
            (confirmed, 0, 0) if confirmed == self.messages => Fate::Confirmed,
            // Some of it is in, or may be, and some is not.
            _ => Fate::Unknown,
        }
    }

    /// Whether nothing can change any more. An unknown message may still be found out.
    const fn is_told(&self) -> bool {
        self.confirmed + self.rejected >= self.messages
    }
}

/// Members of a dispatch that are several messages each, until the fate of all is told.
#[derive(Clone, Debug, Default)]
pub struct Several {
    members: HashMap<u32, Tally>,
}

impl Several {
    /// Says of how many messages member `index` consists, and its fate of a dispatch before.
    ///
    /// Fates that were told of it before are forgotten.
    pub fn expect(&mut self, index: u32, messages: u32, before: Fate) {
        let tally = Tally {
            messages,
            confirmed: 0,
            rejected: 0,
            unknown: 0,
            is_doubtful: matches!(before, Fate::Confirmed | Fate::Unknown),
        };
        self.members.insert(index, tally);
    }

    /// Notes the fate of `messages` messages of member `index`; returns the member's fate.
    ///
    /// A member that is one message has that message's fate.
    pub fn note(&mut self, index: u32, messages: u32, fate: Fate) -> Fate {
        if self.members.is_empty() {
            return fate;
        }
        let Some(tally) = self.members.get_mut(&index) else {
            return fate;
        };
        tally.count(messages, fate);
        let fate = tally.fate();
        if tally.is_told() {
            self.members.remove(&index);
        }
        fate
    }

    /// Notes the fate of messages that were told as unknown, like [`Self::note`].
    pub fn find_out(&mut self, index: u32, messages: u32, fate: Fate) -> Fate {
        if let Some(tally) = self.members.get_mut(&index) {
            tally.unknown = tally.unknown.saturating_sub(messages);
        }
        self.note(index, messages, fate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Fate::{Confirmed, Rejected, Unknown, Unsent};

    /// The fate after each of the fates of a member's messages.
    fn fates(messages: u32, before: Fate, fates: &[Fate]) -> Vec<Fate> {
        let mut several = Several::default();
        several.expect(7, messages, before);
        let fates = fates.iter();
        fates.map(|&fate| several.note(7, 1, fate)).collect()
    }

    #[test]
    fn a_member_is_confirmed_with_its_last_message() {
        let found = fates(3, Unsent, &[Confirmed; 3]);
        assert_eq!(found, [Unknown, Unknown, Confirmed]);
    }

    #[test]
    fn a_member_of_which_nothing_is_in_is_rejected() {
        assert_eq!(fates(3, Unsent, &[Rejected; 3]), [Rejected; 3]);
    }

    #[test]
    fn a_mixed_member_is_unknown_in_any_order() {
        for mixed in [
            [Rejected, Confirmed, Confirmed],
            [Confirmed, Rejected, Confirmed],
            [Confirmed, Confirmed, Rejected],
            [Unknown, Confirmed, Confirmed],
            [Rejected, Rejected, Unknown],
        ] {
            assert_eq!(fates(3, Unsent, &mixed)[2], Unknown, "{mixed:?}");
        }
    }

    #[test]
    fn a_member_sent_again_is_confirmed_or_still_unknown() {
        assert_eq!(fates(2, Unknown, &[Rejected; 2]), [Unknown; 2]);
        assert_eq!(fates(2, Unknown, &[Confirmed; 2]), [Unknown, Confirmed]);
        assert_eq!(fates(2, Rejected, &[Rejected; 2]), [Rejected; 2]);
    }

    #[test]
    fn a_member_of_one_message_has_its_fate() {
        let mut several = Several::default();
        assert_eq!(several.note(1, 1, Rejected), Rejected);
        several.expect(2, 2, Unsent);
        assert_eq!(several.note(1, 1, Confirmed), Confirmed);
    }

    #[test]
    fn a_member_is_confirmed_once_its_unknown_messages_are_found_in_the_queue() {
        let mut several = Several::default();
        several.expect(7, 3, Unsent);
        several.note(7, 1, Confirmed);
        assert_eq!(several.note(7, 2, Unknown), Unknown);
        assert_eq!(several.find_out(7, 2, Confirmed), Confirmed);
        assert!(several.members.is_empty());
    }

    #[test]
    fn a_member_is_unsent_once_none_of_its_messages_is_found_in_the_queue() {
        let mut several = Several::default();
        several.expect(7, 2, Unsent);
        several.note(7, 2, Unknown);
        assert_eq!(several.find_out(7, 2, Unsent), Unsent);
        several.expect(8, 2, Unsent);
        several.note(8, 1, Confirmed);
        several.note(8, 1, Unknown);
        assert_eq!(several.find_out(8, 1, Unsent), Unknown);
    }

    #[test]
    fn messages_of_one_member_may_be_told_together() {
        let mut several = Several::default();
        several.expect(0, 900, Unsent);
        assert_eq!(several.note(0, 500, Confirmed), Unknown);
        assert_eq!(several.note(0, 400, Confirmed), Confirmed);
        assert!(several.members.is_empty());
    }
}
