//! `argsrepr` and `kwargsrepr`: Celery's truncating `repr`.

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::float;
use crate::value::{Arena, Token, ValueRef};

#[derive(Clone, Copy, Default)]
struct Open {
    /// Items (or pairs) still to be finished, the current one included.
    left: u32,
    is_dict: bool,
    end: &'static str,
}

/// The open containers; arguments of tasks are rarely nested deeper than it goes without allocating.
type Stack = SmallVec<[Open; 8]>;

/// How far a repr goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Characters (a lone surrogate counts as one); `usize::MAX` for no limit.
    pub max_len: usize,
    /// Nested containers shown (`task_repr_maxlevels`); 0 for all.
    pub max_levels: usize,
    /// Whether a repr that is cut closes all parentheses that it opened, and no others. Before 5.7
    /// Celery lost a parenthesis if it cut before it, and closed one that it had not opened.
    pub is_balanced: bool,
}

impl Default for Limits {
    /// Those of `argsrepr` in Celery 5.7: 1,024 characters, 3 levels.
    fn default() -> Self {
        Self {
            max_len: 1024,
            max_levels: 3,
            is_balanced: true,
        }
    }
}

/// Appends `saferepr(value, max_len, max_levels)` as Celery writes it.
///
/// # Errors
/// [`Error::Incomplete`] if the arena ends early.
///
/// # Source
/// `celery.utils.saferepr` of celery 5.7.0, and of 5.6.3 if unbalanced, for the types of [`Token`].
pub fn write(arena: &Arena, value: ValueRef, limits: Limits, out: &mut Vec<u8>) -> Result<()> {
    let budget = isize::try_from(limits.max_len).unwrap_or(isize::MAX);
    let max_levels = if limits.max_levels == 0 {
        usize::MAX
    } else {
        limits.max_levels
    };
    let mut printer = Printer {
        arena,
        rest: arena.tokens_from(value),
        budget,
        max_levels,
        is_balanced: limits.is_balanced,
        out,
    };
    printer.print()
}

/// Appends `bytes` as a repr shows them whole: as text if they are UTF-8, else in hex.
pub fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"b'");
    if std::str::from_utf8(bytes).is_ok() {
        out.extend_from_slice(bytes);
    } else {
        let digits = bytes.iter().flat_map(|&byte| {
            [
                HEX_PAIRS[usize::from(byte >> 4)],
                HEX_PAIRS[usize::from(byte & 15)],
            ]
        });
        digits.for_each(|pair| out.extend_from_slice(pair.as_bytes()));
    }
    out.push(b'\'');
}

struct Printer<'a> {
    arena: &'a Arena,
    rest: &'a [Token],
    /// Characters that may still be written; the text that exhausts them is written whole or cut.
    budget: isize,
    max_levels: usize,
    is_balanced: bool,
    out: &'a mut Vec<u8>,
}

impl Printer<'_> {
    fn print(&mut self) -> Result<()> {
        let mut open = Stack::new();
        loop {
            if self.budget <= 0 {
                self.cut_before_next(&mut open);
                return Ok(());
            }
            let token = self.next()?;
            if let Some((start, frame)) = container(token) {
                if open.len() >= self.max_levels {
                    self.hidden(start, frame.end);
                    self.skip(token)?;
                } else if frame.left == 0 {
                    self.literal(start);
                    if self.is_lost() {
                        self.cut(&mut open);
                        return Ok(());
                    }
                    // Closing an empty container is free once the budget is used up.
                    self.literal(frame.end);
                } else {
                    self.literal(start);
                    open.push(frame);
                    if frame.is_dict && !self.key(&mut open)? {
                        return Ok(());
                    }
                    continue;
                }
            } else {
                self.scalar(token);
            }
            if !self.close(&mut open)? {
                return Ok(());
            }
        }
    }

    /// Finishes an item: separator or end of the container, and so on outwards.
    /// False when the text is complete.
    fn close(&mut self, open: &mut Stack) -> Result<bool> {
        loop {
            let Some(top) = open.last_mut() else {
                return Ok(false);
            };
            top.left -= 1;
            let Open { left, is_dict, end } = *top;
            if left == 0 {
                open.pop();
                if self.is_lost() {
                    self.cut(open);
                    return Ok(false);
                }
                self.literal(end);
                continue;
            }
            if self.budget <= 0 {
                self.cut(open);
                return Ok(false);
            }
            self.literal(", ");
            return if is_dict { self.key(open) } else { Ok(true) };
        }
    }

    /// Writes a dict's next key and its colon. False when the budget ended the text.
    fn key(&mut self, open: &mut Stack) -> Result<bool> {
        if self.budget <= 0 {
            self.cut(open);
            return Ok(false);
        }
        let token = self.next()?;
        if container(token).is_some() {
            self.container_key(token)?;
        } else {
            self.scalar(token);
        }
        if self.budget <= 0 {
            self.cut(open);
            return Ok(false);
        }
        self.literal(": ");
        Ok(true)
    }

    /// A key that is a container is shown on its own: levels start again at 0.
    fn container_key(&mut self, token: Token) -> Result<()> {
        let mut text = Vec::new();
        let rest = self.rest;
        self.skip(token)?;
        let whole = rest.len() - self.rest.len();
        // `next` took the key's own token; the inner printer needs it again.
        let mut tokens = Vec::with_capacity(whole + 1);
        tokens.push(token);
        tokens.extend_from_slice(&rest[..whole]);
        let mut inner = Printer {
            arena: self.arena,
            rest: &tokens,
            budget: self.budget,
            max_levels: self.max_levels,
            is_balanced: self.is_balanced,
            out: &mut text,
        };
        inner.print()?;
        self.raw(&text);
        Ok(())
    }

    /// A container that is too deep to be shown.
    fn hidden(&mut self, start: &str, end: &str) {
        if self.is_balanced {
            self.literal(start);
            self.literal("...");
            self.literal(end);
        } else {
            let text = [start, "...", end].concat();
            self.bare(text.as_bytes());
        }
    }

    /// Whether the end of a container is left out because the budget is used up.
    const fn is_lost(&self) -> bool {
        !self.is_balanced && self.budget <= 0
    }

    /// Leaves out the next value and the rest.
    fn cut_before_next(&mut self, open: &mut Stack) {
        if !self.is_balanced
            && open.len() < self.max_levels
            && let Some((_, frame)) = self.rest.first().copied().and_then(container)
        {
            open.push(frame);
        }
        self.cut(open);
    }

    /// Leaves the rest out, and closes all that is open.
    fn cut(&mut self, open: &mut Stack) {
        self.out.extend_from_slice(b", ...");
        while let Some(Open { end, .. }) = open.pop() {
            self.out.extend_from_slice(end.as_bytes());
        }
    }

    fn scalar(&mut self, token: Token) {
        match token {
            Token::Str(span) => self.quoted(self.arena.text(span)),
            Token::Bytes(span) => self.bytes(self.arena.text(span)),
            Token::Repr(span) => self.bare(self.arena.text(span)),
            Token::Encoded(span) => self.bare(self.arena.encoded(span).1),
            Token::Int(int) => self.bare(itoa::Buffer::new().format(int).as_bytes()),
            Token::Float(float) => self.float(float),
            Token::Bool(true) => self.bare(b"True"),
            Token::Bool(false) => self.bare(b"False"),
            Token::Null => self.bare(b"None"),
            Token::Set(_) => self.bare(b"set()"),
            Token::FrozenSet(_) => self.bare(b"frozenset()"),
            // `container` has taken these.
            Token::List(_) | Token::Tuple(_) | Token::Dict(_) => {}
        }
    }

    fn literal(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.budget -= text.len().cast_signed();
    }

    /// Text that is already complete, counted in characters.
    fn raw(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
        self.budget -= count_chars(text).cast_signed();
    }

    fn bare(&mut self, text: &[u8]) {
        let (kept, is_cut) = self.truncate(text);
        self.raw(kept);
        if is_cut {
            self.literal("...");
        }
    }

    fn float(&mut self, value: f64) {
        let start = self.out.len();
        float::write(value, self.out);
        let len = self.out.len() - start;
        if len < self.budget.cast_unsigned() {
            self.budget -= len.cast_signed();
        } else {
            let text = self.out.split_off(start);
            self.bare(&text);
        }
    }

    fn quoted(&mut self, text: &[u8]) {
        let (mut kept, is_cut) = self.truncate(text);
        self.literal("'");
        while let Some(at) = kept.iter().position(|&c| c == b'\'') {
            self.raw(&kept[..at]);
            self.literal("\\'");
            kept = &kept[at + 1..];
        }
        self.raw(kept);
        self.literal(if is_cut { "...'" } else { "'" });
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let limit = self.budget.cast_unsigned();
        let (kept, is_cut) = if bytes.len() > limit {
            (&bytes[..limit], true)
        } else {
            (bytes, false)
        };
        self.literal("b'");
        if std::str::from_utf8(kept).is_ok() {
            self.raw(kept);
        } else {
            for byte in kept {
                self.literal(HEX_PAIRS[usize::from(byte >> 4)]);
                self.literal(HEX_PAIRS[usize::from(byte & 15)]);
            }
        }
        self.literal(if is_cut { "...'" } else { "'" });
    }

    /// The text that Celery's `truncate` keeps: up to the last space within the budget.
    fn truncate<'t>(&self, text: &'t [u8]) -> (&'t [u8], bool) {
        let limit = self.budget.cast_unsigned();
        // Characters never outnumber bytes.
        if text.len() < limit || count_chars(text) < limit {
            return (text, false);
        }
        let end = text
            .iter()
            .enumerate()
            .filter(|&(_, &c)| !is_continuation(c))
            .nth(limit)
            .map_or(text.len(), |(at, _)| at);
        let kept = &text[..end];
        let space = kept.iter().rposition(|&c| c == b' ');
        (&kept[..space.unwrap_or(end)], true)
    }

    fn next(&mut self) -> Result<Token> {
        let Some((&first, rest)) = self.rest.split_first() else {
            return Err(Error::Incomplete { at: 0 });
        };
        self.rest = rest;
        Ok(first)
    }

    /// Passes over the tokens that belong to the one just taken.
    fn skip(&mut self, token: Token) -> Result<()> {
        let mut pending = token.children();
        while pending > 0 {
            pending = pending - 1 + self.next()?.children();
        }
        Ok(())
    }
}

const HEX_PAIRS: [&str; 16] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f",
];

/// Opening text and frame of a container; empty sets are written as calls instead.
fn container(token: Token) -> Option<(&'static str, Open)> {
    let frame = |left, is_dict, end| Open { left, is_dict, end };
    Some(match token {
        Token::List(n) => ("[", frame(n, false, "]")),
        Token::Tuple(1) => ("(", frame(1, false, ",)")),
        Token::Tuple(n) => ("(", frame(n, false, ")")),
        Token::Dict(n) => ("{", frame(n, true, "}")),
        Token::Set(n) if n > 0 => ("{", frame(n, false, "}")),
        Token::FrozenSet(n) if n > 0 => ("frozenset({", frame(n, false, "})")),
        _ => return None,
    })
}

fn count_chars(text: &[u8]) -> usize {
    text.iter().filter(|&&c| !is_continuation(c)).count()
}

const fn is_continuation(c: u8) -> bool {
    c & 0xc0 == 0x80
}
