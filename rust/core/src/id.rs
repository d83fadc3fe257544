//! Task ids derived from a seed.
//!
//! An id is a UUID of version 8 (RFC 9562):
//!
//! ```text
//! pppppppp-pppp-8ppp-vxxx-xxxxxxxxxxxx
//! p: 60 bits of prefix, the same for every member of a dispatch
//! v: the two variant bits and the top two bits of x
//! x: 62 bits = 32 bits of index, 30 bits of keyed tag
//! ```
//!
//! The index is masked by a hash of the tag, so neighbours do not look alike,
//! and an id whose tag is wrong is not ours.

use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hasher128, SipHasher24 as SipHasher128};
use std::hash::Hasher;

/// Bytes of a task id as text.
pub const ID_LEN: usize = 36;

/// Characters that all derived ids of one seed share: `pppppppp-pppp-8ppp`.
pub const PREFIX_LEN: usize = 18;

const TAG_BITS: u32 = 30;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
/// The low 62 bits, behind the variant bits.
const TAIL_MASK: u64 = (1 << 62) - 1;
const VARIANT: u64 = 0b10 << 62;

/// 128 random bits drawn for one dispatch; every derived id follows from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seed([u8; 16]);

impl Seed {
    /// Wraps 16 bytes. Their randomness is the caller's business.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes as given.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The seed as UUID text: the group's id unless the caller gives one.
    #[must_use]
    pub fn to_uuid(self) -> String {
        let bits = u128::from_be_bytes(self.0);
        let mut text = [0; ID_LEN];
        write_uuid(high_64(bits), low_64(bits), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// The ids of one seed, ready to be written.
#[derive(Clone, Debug)]
pub struct Ids {
    seed: Seed,
    head_text: [u8; PREFIX_LEN],
}

impl Ids {
    /// Derives the part that all ids of `seed` share.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        let mut hasher = SipHasher128::new_with_key(seed.as_bytes());
        hasher.write(b"celerant prefix");
        let bits = hasher.finish128().h1;
        let mut text = [0; ID_LEN];
        write_uuid(of_version_8(bits), 0, &mut text);
        let mut head_text = [0; PREFIX_LEN];
        head_text.copy_from_slice(&text[..PREFIX_LEN]);
        Self { seed, head_text }
    }

    /// The seed these ids derive from.
    #[must_use]
    pub const fn seed(&self) -> Seed {
        self.seed
    }

    /// The characters that all ids share.
    #[must_use]
    pub fn prefix(&self) -> &str {
        // ASCII by construction.
        std::str::from_utf8(&self.head_text).unwrap_or_default()
    }

    /// Writes the id of member `index`.
    pub fn write(&self, index: u32, out: &mut [u8; ID_LEN]) {
        out[..PREFIX_LEN].copy_from_slice(&self.head_text);
        write_tail(VARIANT | self.tail(index), out);
    }

    /// The id of member `index` as text.
    #[must_use]
    pub fn text(&self, index: u32) -> String {
        let mut out = [0; ID_LEN];
        self.write(index, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The id of the `position`-th thing inside member `member`: a step, a group, a body.
    ///
    /// It names no member: [`index`](Self::index) does not know it.
    #[must_use]
    pub fn inner_text(&self, member: u32, position: u32) -> String {
        let mut hasher = SipHasher128::new_with_key(self.seed.as_bytes());
        hasher.write(b"celerant inner");
        hasher.write_u64((u64::from(member) << 32) | u64::from(position));
        let hash = hasher.finish128();
        let mut out = [0; ID_LEN];
        write_uuid(
            of_version_8(hash.h1),
            (hash.h2 & TAIL_MASK) | VARIANT,
            &mut out,
        );
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The index that `id` names, or `None` if the id does not derive from this seed.
    #[must_use]
    pub fn index(&self, id: &str) -> Option<u32> {
        let bytes = id.as_bytes();
        if bytes.len() != ID_LEN || bytes[..PREFIX_LEN] != self.head_text {
            return None;
        }
        let tail = read_tail(bytes)? & TAIL_MASK;
        let tag = tail & TAG_MASK;
        let masked = low_32(tail >> TAG_BITS);
        let index = masked ^ self.mask(tag);
        (self.tag(index) == tag).then_some(index)
    }

    fn tail(&self, index: u32) -> u64 {
        let tag = self.tag(index);
        (u64::from(index ^ self.mask(tag)) << TAG_BITS) | tag
    }

    fn tag(&self, index: u32) -> u64 {
        self.keyed(b't', u64::from(index)) & TAG_MASK
    }

    fn mask(&self, tag: u64) -> u32 {
        low_32(self.keyed(b'm', tag))
    }

    fn keyed(&self, purpose: u8, value: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_key(self.seed.as_bytes());
        hasher.write_u64((u64::from(purpose) << 56) | value);
        hasher.finish()
    }
}

/// Fresh ids for things that are sent once, such as a message's `delivery_tag`: random numbers
/// that are counted on.
#[derive(Debug)]
pub struct Tags {
    text: [u8; ID_LEN],
    next: u64,
}

impl Tags {
    /// `random`: 16 random bytes, drawn for each use.
    #[must_use]
    pub fn new(random: [u8; 16]) -> Self {
        let bits = u128::from_be_bytes(random);
        let mut text = [0; ID_LEN];
        write_uuid(of_version_8(high_64(bits)), 0, &mut text);
        Self {
            text,
            next: low_64(bits),
        }
    }

    /// The next tag, shaped as a UUID of version 8.
    pub fn draw(&mut self) -> &[u8; ID_LEN] {
        write_tail((self.next & TAIL_MASK) | VARIANT, &mut self.text);
        self.next = self.next.wrapping_add(1);
        &self.text
    }
}

/// The first 64 bits of a UUID: bits 12..16 are its version.
const fn of_version_8(bits: u64) -> u64 {
    (bits & !0xf000) | 0x8000
}

#[allow(clippy::cast_possible_truncation)] // the upper half is taken by `high_64`
const fn low_64(bits: u128) -> u64 {
    bits as u64
}

#[allow(clippy::cast_possible_truncation)] // shifted down to 64 bits
const fn high_64(bits: u128) -> u64 {
    (bits >> 64) as u64
}

#[allow(clippy::cast_possible_truncation)] // 32 bits of a hash, or all that is left of 62 - 30
const fn low_32(bits: u64) -> u32 {
    bits as u32
}

fn write_uuid(high: u64, low: u64, out: &mut [u8; ID_LEN]) {
    write_hex(high, [0, 2, 4, 6, 9, 11, 14, 16], out);
    out[8] = b'-';
    out[13] = b'-';
    write_tail(low, out);
}

/// Writes the last 64 bits of a UUID, behind its prefix.
fn write_tail(low: u64, out: &mut [u8; ID_LEN]) {
    write_hex(low, [19, 21, 24, 26, 28, 30, 32, 34], out);
    out[18] = b'-';
    out[23] = b'-';
}

/// Writes each byte at its place.
fn write_hex(bits: u64, places: [usize; 8], out: &mut [u8; ID_LEN]) {
    for (at, byte) in places.into_iter().zip(bits.to_be_bytes()) {
        out[at..at + 2].copy_from_slice(&hex(byte));
    }
}

/// A byte as two digits.
fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]
}

/// The last 64 bits of a UUID's text, if it looks like `-vxxx-xxxxxxxxxxxx`.
fn read_tail(text: &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (i, &c) in text[PREFIX_LEN..].iter().enumerate() {
        if i == 0 || i == 5 {
            if c != b'-' {
                return None;
            }
            continue;
        }
        let digit = match c {
            b'0'..=b'9' => c - b'0',
            b'a'..=b'f' => c - b'a' + 10,
            _ => return None,
        };
        value = (value << 4) | u64::from(digit);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(byte: u8) -> Ids {
        Ids::new(Seed::new([byte; 16]))
    }

    #[test]
    fn every_index_is_read_back_from_its_id() {
        let ids = ids(7);
        for index in (0..2000).chain([u32::MAX - 1, u32::MAX]) {
            assert_eq!(ids.index(&ids.text(index)), Some(index));
        }
    }

    #[test]
    fn ids_have_the_shape_of_uuid_version_8() {
        let text = ids(1).text(5);
        assert_eq!(text.len(), ID_LEN);
        assert_eq!(&text[14..15], "8");
        assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"));
        assert!(text.starts_with(ids(1).prefix()));
    }

    #[test]
    fn an_id_of_another_seed_is_not_ours() {
        assert_eq!(ids(1).index(&ids(2).text(0)), None);
        // The right prefix under a wrong tag: a forged neighbour.
        let mut forged = ids(1).text(0).into_bytes();
        forged[35] = if forged[35] == b'0' { b'1' } else { b'0' };
        assert_eq!(
            ids(1).index(std::str::from_utf8(&forged).unwrap_or("")),
            None
        );
        assert_eq!(ids(1).index("not an id"), None);
    }

    #[test]
    fn tags_do_not_repeat() {
        let mut tags = Tags::new([3; 16]);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            assert!(seen.insert(*tags.draw()));
        }
    }

    #[test]
    fn a_seed_reads_as_its_uuid() {
        let seed = Seed::new(*b"\x12\x34\x56\x78\x9a\xbc\xde\xf0\x12\x34\x56\x78\x9a\xbc\xde\xf0");
        assert_eq!(seed.to_uuid(), "12345678-9abc-def0-1234-56789abcdef0");
    }
}
