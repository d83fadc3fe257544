//! Task arguments as flat tokens in one arena per chunk.
//!
//! A value is its first token and the tokens after it: a container announces how many items come
//! next. Text is WTF-8: UTF-8 plus lone surrogates as three bytes each, since Python's strings may
//! hold them.

use crate::error::{Error, Result};

/// A piece of an arena's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

/// Index of a value's first token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ValueRef(u32);

/// One step of a value, in prefix order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token {
    /// `None`.
    Null,
    /// `bool`.
    Bool(bool),
    /// `int` within 64 bits.
    Int(i64),
    /// `float`.
    Float(f64),
    /// `str`.
    Str(Span),
    /// `list` of that many items.
    List(u32),
    /// `tuple` of that many items.
    Tuple(u32),
    /// `dict` of that many pairs: key, value, key, value.
    Dict(u32),
    /// Ready `repr` text of a value that only a serializer can encode.
    Repr(Span),
    /// `bytes`; shown in reprs only.
    Bytes(Span),
    /// `set` of that many items; shown in reprs only.
    Set(u32),
    /// `frozenset` of that many items; shown in reprs only.
    FrozenSet(u32),
    /// A value with ready JSON and a ready `repr`; see [`Arena::encoded`].
    Encoded(Span),
}

impl Token {
    /// Tokens that belong to this one and follow it.
    pub(crate) const fn children(self) -> u64 {
        match self {
            Self::List(n) | Self::Tuple(n) | Self::Set(n) | Self::FrozenSet(n) => n as u64,
            Self::Dict(pairs) => 2 * pairs as u64,
            _ => 0,
        }
    }

    /// Python's name of the type.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Null => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Repr(_) | Self::Encoded(_) => "object",
            Self::Bytes(_) => "bytes",
            Self::Set(_) => "set",
            Self::FrozenSet(_) => "frozenset",
        }
    }
}

/// A former end of an arena; [`Arena::rollback`] returns to it.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint {
    tokens: usize,
    text: usize,
}

/// Values of one chunk: tokens and the text they point into.
#[derive(Clone, Debug, Default)]
pub struct Arena {
    tokens: Vec<Token>,
    text: Vec<u8>,
}

impl Arena {
    /// An empty arena.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tokens: Vec::new(),
            text: Vec::new(),
        }
    }

    /// An empty arena with room for `tokens` tokens and `text_bytes` bytes of text.
    #[must_use]
    pub fn with_capacity(tokens: usize, text_bytes: usize) -> Self {
        Self {
            tokens: Vec::with_capacity(tokens),
            text: Vec::with_capacity(text_bytes),
        }
    }

    /// Forgets all values; the memory is kept for the next chunk.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.text.clear();
    }

    /// Bytes in use: 16 per token, and the text.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.tokens.len() * size_of::<Token>() + self.text.len()
    }

    /// The position at which the next value will start.
    ///
    /// # Errors
    /// [`Error::ArenaFull`] above 2^32 - 1 tokens.
    pub fn position(&self) -> Result<ValueRef> {
        narrow(self.tokens.len(), "values").map(ValueRef)
    }

    /// Remembers the present end.
    #[must_use]
    pub const fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            tokens: self.tokens.len(),
            text: self.text.len(),
        }
    }

    /// Forgets everything pushed after `checkpoint`.
    pub fn rollback(&mut self, checkpoint: Checkpoint) {
        self.tokens.truncate(checkpoint.tokens);
        self.text.truncate(checkpoint.text);
    }

    /// The text of `span`; empty if it is another arena's span and reaches beyond this one.
    #[must_use]
    pub fn text(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        self.text
            .get(start..start + span.len as usize)
            .unwrap_or_default()
    }

    /// The tokens from `value` on; the first ones are its own.
    pub(crate) fn tokens_from(&self, value: ValueRef) -> &[Token] {
        self.tokens.get(value.0 as usize..).unwrap_or_default()
    }

    /// Stores text that belongs to no token: an id, a ready body.
    ///
    /// # Errors
    /// [`Error::ArenaFull`] above 2^32 - 1 bytes of text.
    pub fn store(&mut self, text: &[u8]) -> Result<Span> {
        let start = self.text.len();
        narrow(start.saturating_add(text.len()), "bytes of text")?;
        self.text.extend_from_slice(text);
        Ok(Span {
            start: narrow(start, "bytes of text")?,
            len: narrow(text.len(), "bytes of text")?,
        })
    }

    /// Pushes any token. Spans must come from this arena's [`store`](Self::store).
    ///
    /// # Errors
    /// [`Error::ArenaFull`] above 2^32 - 1 tokens.
    pub fn push(&mut self, token: Token) -> Result<()> {
        // One less than a position can say, so that `position` after the last push fits too.
        narrow(self.tokens.len() + 1, "values")?;
        self.tokens.push(token);
        Ok(())
    }

    /// Pushes `None`.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_null(&mut self) -> Result<()> {
        self.push(Token::Null)
    }

    /// Pushes a `bool`.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_bool(&mut self, value: bool) -> Result<()> {
        self.push(Token::Bool(value))
    }

    /// Pushes an `int`.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_int(&mut self, value: i64) -> Result<()> {
        self.push(Token::Int(value))
    }

    /// Pushes a `float`.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_float(&mut self, value: f64) -> Result<()> {
        self.push(Token::Float(value))
    }

    /// Pushes a `str` given as WTF-8.
    ///
    /// # Errors
    /// As [`push`](Self::push) and [`store`](Self::store).
    pub fn push_str(&mut self, wtf8: &[u8]) -> Result<()> {
        let span = self.store(wtf8)?;
        self.push(Token::Str(span))
    }

    /// Pushes `bytes`.
    ///
    /// # Errors
    /// As [`push`](Self::push) and [`store`](Self::store).
    pub fn push_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let span = self.store(bytes)?;
        self.push(Token::Bytes(span))
    }

    /// Pushes the ready `repr` of a value, as WTF-8.
    ///
    /// # Errors
    /// As [`push`](Self::push) and [`store`](Self::store).
    pub fn push_repr(&mut self, wtf8: &[u8]) -> Result<()> {
        let span = self.store(wtf8)?;
        self.push(Token::Repr(span))
    }

    /// Pushes a value by its JSON and its `repr`.
    ///
    /// # Errors
    /// As [`push`](Self::push) and [`store`](Self::store).
    pub fn push_encoded(&mut self, json: &[u8], repr: &[u8]) -> Result<()> {
        let len = narrow(json.len(), "bytes of text")?;
        let start = self.text.len();
        let whole = ENCODED_AT + json.len() + repr.len();
        narrow(start.saturating_add(whole), "bytes of text")?;
        self.text.extend_from_slice(&len.to_le_bytes());
        self.text.extend_from_slice(json);
        self.text.extend_from_slice(repr);
        let span = Span {
            start: narrow(start, "bytes of text")?,
            len: narrow(whole, "bytes of text")?,
        };
        self.push(Token::Encoded(span))
    }

    /// The JSON and the `repr` of [`Token::Encoded`].
    #[must_use]
    pub fn encoded(&self, span: Span) -> (&[u8], &[u8]) {
        let text = self.text(span);
        let Some((len, rest)) = text.split_first_chunk::<ENCODED_AT>() else {
            return Default::default();
        };
        let len = u32::from_le_bytes(*len) as usize;
        rest.split_at_checked(len).unwrap_or_default()
    }

    /// Opens a `list`; push its `len` items next.
    ///
    /// # Errors
    /// [`Error::ArenaFull`] above 2^32 - 1 items; as [`push`](Self::push).
    pub fn push_list(&mut self, len: usize) -> Result<()> {
        self.push(Token::List(narrow(len, "items of one container")?))
    }

    /// Opens a `tuple`; push its `len` items next.
    ///
    /// # Errors
    /// [`Error::ArenaFull`] above 2^32 - 1 items; as [`push`](Self::push).
    pub fn push_tuple(&mut self, len: usize) -> Result<()> {
        self.push(Token::Tuple(narrow(len, "items of one container")?))
    }

    /// Opens a `dict`; push its `pairs` keys and values next, in turn.
    ///
    /// # Errors
    /// [`Error::ArenaFull`] above 2^32 - 1 pairs; as [`push`](Self::push).
    pub fn push_dict(&mut self, pairs: usize) -> Result<()> {
        self.push(Token::Dict(narrow(pairs, "items of one container")?))
    }

    /// Opens a `set`; push its `len` items next.
    ///
    /// # Errors
    /// [`Error::ArenaFull`] above 2^32 - 1 items; as [`push`](Self::push).
    pub fn push_set(&mut self, len: usize) -> Result<()> {
        self.push(Token::Set(narrow(len, "items of one container")?))
    }

    /// Opens a `frozenset`; push its `len` items next.
    ///
    /// # Errors
    /// [`Error::ArenaFull`] above 2^32 - 1 items; as [`push`](Self::push).
    pub fn push_frozenset(&mut self, len: usize) -> Result<()> {
        self.push(Token::FrozenSet(narrow(len, "items of one container")?))
    }
}

/// Bytes before the JSON of [`Token::Encoded`]: its length, little-endian.
const ENCODED_AT: usize = 4;

fn narrow(len: usize, what: &'static str) -> Result<u32> {
    u32::try_from(len).map_err(|_| Error::ArenaFull {
        what,
        len,
        limit: u32::MAX as usize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_takes_16_bytes() {
        assert_eq!(size_of::<Token>(), 16);
    }

    #[test]
    fn sizes_beyond_32_bits_are_refused() -> Result<()> {
        let mut arena = Arena::new();
        let too_many = u32::MAX as usize + 1;
        assert!(matches!(
            arena.push_list(too_many),
            Err(Error::ArenaFull { .. })
        ));
        assert!(matches!(
            arena.push_dict(too_many),
            Err(Error::ArenaFull { .. })
        ));
        assert_eq!(
            arena.position()?,
            ValueRef(0),
            "a refused push leaves nothing"
        );
        Ok(())
    }

    #[test]
    fn a_rollback_forgets_tokens_and_text() -> Result<()> {
        let mut arena = Arena::new();
        arena.push_str(b"kept")?;
        let before = arena.len_bytes();
        let mark = arena.checkpoint();
        arena.push_bytes(b"dropped")?;
        arena.rollback(mark);
        assert_eq!(arena.len_bytes(), before);
        assert_eq!(arena.position()?, ValueRef(1));
        Ok(())
    }

    #[test]
    fn an_encoded_value_has_its_json_and_its_repr() -> Result<()> {
        let mut arena = Arena::new();
        arena.push_str(b"before")?;
        arena.push_encoded(b"[1]", b"one")?;
        let Token::Encoded(span) = arena.tokens[1] else {
            panic!("another token");
        };
        assert_eq!(arena.encoded(span), (&b"[1]"[..], &b"one"[..]));
        arena.clear();
        assert_eq!(arena.encoded(span), (&b""[..], &b""[..]));
        Ok(())
    }

    #[test]
    fn text_is_read_back_by_its_span() -> Result<()> {
        let mut arena = Arena::new();
        let first = arena.store(b"one")?;
        let second = arena.store(b"")?;
        let third = arena.store("drei ü".as_bytes())?;
        assert_eq!(arena.text(first), b"one");
        assert_eq!(arena.text(second), b"");
        assert_eq!(arena.text(third), "drei ü".as_bytes());
        arena.clear();
        assert_eq!(arena.text(third), b"", "a stale span reads nothing");
        Ok(())
    }
}
