//! JSON exactly as Python's `json.dumps` writes it by default.

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::float;
use crate::value::{Arena, Token, ValueRef};

const HEX: &[u8; 16] = b"0123456789abcdef";

#[derive(Clone, Copy, Default)]
struct Open {
    /// Items (or pairs) still to be finished, the current one included.
    left: u32,
    is_dict: bool,
}

/// Appends `value` to `out`, byte for byte as `json.dumps(value)`.
///
/// Separators `, ` and `: `, ASCII only, floats as `repr` (`NaN` and `Infinity` as Python
/// writes them), tuples as arrays. On an error `out` keeps the part that was written.
///
/// # Errors
/// [`Error::NotPlain`] for a token that is shown in reprs only, and for a key that is no
/// `str`; [`Error::Incomplete`] if the arena ends early.
///
/// # Source
/// `CPython`'s `json.encoder` with `ensure_ascii=True`.
pub fn write(arena: &Arena, value: ValueRef, out: &mut Vec<u8>) -> Result<()> {
    let mut tokens = Tokens {
        arena,
        rest: arena.tokens_from(value),
        read: 0,
    };
    // Arguments of tasks are rarely nested deeper than it goes without allocating.
    let mut open = SmallVec::<[Open; 8]>::new();
    loop {
        match tokens.next()? {
            Token::Null => out.extend_from_slice(b"null"),
            Token::Bool(true) => out.extend_from_slice(b"true"),
            Token::Bool(false) => out.extend_from_slice(b"false"),
            Token::Int(int) => out.extend_from_slice(itoa::Buffer::new().format(int).as_bytes()),
            Token::Float(float) => write_float(float, out),
            Token::Str(span) => write_string(arena.text(span), out),
            Token::Encoded(span) => out.extend_from_slice(arena.encoded(span).0),
            Token::List(0) | Token::Tuple(0) => out.extend_from_slice(b"[]"),
            Token::Dict(0) => out.extend_from_slice(b"{}"),
            Token::List(left) | Token::Tuple(left) => {
                out.push(b'[');
                open.push(Open {
                    left,
                    is_dict: false,
                });
                continue;
            }
            Token::Dict(left) => {
                out.push(b'{');
                tokens.write_key(out)?;
                open.push(Open {
                    left,
                    is_dict: true,
                });
                continue;
            }
            other => return Err(Error::NotPlain { kind: other.kind() }),
        }
        loop {
            let Some(top) = open.last_mut() else {
                return Ok(());
            };
            top.left -= 1;
            if top.left > 0 {
                out.extend_from_slice(b", ");
                if top.is_dict {
                    tokens.write_key(out)?;
                }
                break;
            }
            out.push(if top.is_dict { b'}' } else { b']' });
            open.pop();
        }
    }
}

struct Tokens<'a> {
    arena: &'a Arena,
    rest: &'a [Token],
    read: usize,
}

impl Tokens<'_> {
    fn next(&mut self) -> Result<Token> {
        let Some((&first, rest)) = self.rest.split_first() else {
            return Err(Error::Incomplete { at: self.read });
        };
        self.rest = rest;
        self.read += 1;
        Ok(first)
    }

    fn write_key(&mut self, out: &mut Vec<u8>) -> Result<()> {
        match self.next()? {
            Token::Str(span) => write_string(self.arena.text(span), out),
            // Python turns some other keys into text; that is the serializer's business.
            other => return Err(Error::NotPlain { kind: other.kind() }),
        }
        out.extend_from_slice(b": ");
        Ok(())
    }
}

/// Appends a number as Python's `repr` does, or `NaN` or `Infinity`.
pub fn write_float(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 {
            b"Infinity"
        } else {
            b"-Infinity"
        });
    } else {
        float::write(value, out);
    }
}

/// Appends text in quotes, as `write_escaped` writes it.
pub fn write_string(wtf8: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(wtf8, out);
    out.push(b'"');
}

/// Appends text for a place inside quotes, escaped as `json.dumps` does.
///
/// `wtf8` is UTF-8 plus lone surrogates; a byte that fits neither is written as U+FFFD.
pub fn write_escaped(wtf8: &[u8], out: &mut Vec<u8>) {
    let mut rest = wtf8;
    loop {
        let plain = rest
            .iter()
            .position(|&c| !is_plain(c))
            .unwrap_or(rest.len());
        let (head, tail) = rest.split_at(plain);
        out.extend_from_slice(head);
        let Some(&first) = tail.first() else { return };
        rest = if first < 0x80 {
            write_ascii_escape(first, out);
            &tail[1..]
        } else {
            let (code, len) = decode(tail);
            write_code_point(code, out);
            &tail[len..]
        };
    }
}

/// Whether the byte stands for itself inside a JSON string; DEL does not, in Python.
const fn is_plain(c: u8) -> bool {
    matches!(c, b' '..=b'~') && c != b'"' && c != b'\\'
}

fn write_ascii_escape(c: u8, out: &mut Vec<u8>) {
    let short = match c {
        b'"' | b'\\' => c,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => return write_unit(u16::from(c), out),
    };
    out.extend_from_slice(&[b'\\', short]);
}

fn write_code_point(code: u32, out: &mut Vec<u8>) {
    if let Ok(unit) = u16::try_from(code) {
        return write_unit(unit, out);
    }
    let offset = code - 0x1_0000;
    write_unit(low_16(0xd800 + (offset >> 10)), out);
    write_unit(low_16(0xdc00 + (offset & 0x3ff)), out);
}

#[allow(clippy::cast_possible_truncation)] // surrogates are below 2^16 by construction
const fn low_16(unit: u32) -> u16 {
    unit as u16
}

fn write_unit(unit: u16, out: &mut Vec<u8>) {
    let digit = |shift: u16| HEX[usize::from((unit >> shift) & 15)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// The first code point of `text`, which starts with a byte above 0x7f, and its length.
fn decode(text: &[u8]) -> (u32, usize) {
    const REPLACEMENT: (u32, usize) = (0xfffd, 1);
    let (bits, len) = match text[0] {
        c @ 0xc2..=0xdf => (c & 0x1f, 2),
        c @ 0xe0..=0xef => (c & 0x0f, 3),
        c @ 0xf0..=0xf4 => (c & 0x07, 4),
        _ => return REPLACEMENT,
    };
    let Some(tail) = text.get(1..len) else {
        return REPLACEMENT;
    };
    let mut code = u32::from(bits);
    for &c in tail {
        if c & 0xc0 != 0x80 {
            return REPLACEMENT;
        }
        code = (code << 6) | u32::from(c & 0x3f);
    }
    let smallest = [0x80, 0x800, 0x1_0000][len - 2];
    if code < smallest || code > 0x10_ffff {
        REPLACEMENT
    } else {
        (code, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &[u8]) -> String {
        let mut out = Vec::new();
        write_escaped(text, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn text_that_is_no_wtf8_is_replaced_not_trusted() {
        assert_eq!(escaped(b"a\xff\xc3"), r"a\ufffd\ufffd");
        assert_eq!(escaped(b"\xc0\xaf"), r"\ufffd\ufffd");
        assert_eq!(escaped(b"\xf4\x90\x80\x80"), r"\ufffd\ufffd\ufffd\ufffd");
        assert_eq!(escaped(b"\xe2\x28\xa1"), r"\ufffd(\ufffd");
    }

    #[test]
    fn containers_nest_to_any_depth() -> Result<()> {
        let mut arena = Arena::new();
        let value = arena.position()?;
        for _ in 0..100_000 {
            arena.push_list(1)?;
        }
        arena.push_dict(2)?;
        arena.push_str(b"a")?;
        arena.push_tuple(0)?;
        arena.push_str(b"b")?;
        arena.push_float(f64::NAN)?;
        let mut out = Vec::new();
        write(&arena, value, &mut out)?;
        let inner = String::from_utf8_lossy(&out).replace(['[', ']'], "");
        assert_eq!(inner, r#"{"a": , "b": NaN}"#);
        assert_eq!(out.len(), 2 * 100_000 + r#"{"a": [], "b": NaN}"#.len());
        Ok(())
    }

    #[test]
    fn what_json_lacks_is_refused() -> Result<()> {
        let mut arena = Arena::new();
        let bytes = arena.position()?;
        arena.push_bytes(b"x")?;
        let int_key = arena.position()?;
        arena.push_dict(1)?;
        arena.push_int(1)?;
        arena.push_null()?;
        let short = arena.position()?;
        arena.push_list(2)?;
        arena.push_null()?;
        let mut out = Vec::new();
        assert_eq!(
            write(&arena, bytes, &mut out),
            Err(Error::NotPlain { kind: "bytes" })
        );
        assert_eq!(
            write(&arena, int_key, &mut out),
            Err(Error::NotPlain { kind: "int" })
        );
        assert_eq!(
            write(&arena, short, &mut out),
            Err(Error::Incomplete { at: 2 })
        );
        Ok(())
    }
}
