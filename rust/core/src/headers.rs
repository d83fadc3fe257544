//! The headers that most task messages have, and no others.
//!
//! # Source
//! Celery message protocol 2 as emitted by celery 5.7.0 `as_task_v2`.

/// The stores do not keep larger numbers exactly.
const HIGHEST_INDEX: i64 = 1 << 53;
/// AMQP's limit for a name, which brokers apply to addresses.
const LONGEST_ADDRESS: usize = 255;

/// What a header may hold in the usual form, besides null.
#[derive(Clone, Copy)]
enum Kind {
    Id,
    Task,
    /// Nobody reads it.
    Any,
    /// Two nulls.
    NoLimits,
    Nothing,
    Text,
    Index,
    Number,
    Flag,
    Texts,
    Values,
}

/// The headers of the usual form.
const HEADERS: [(&str, Kind); 19] = [
    ("lang", Kind::Any),
    ("task", Kind::Task),
    ("id", Kind::Id),
    ("shadow", Kind::Text),
    ("eta", Kind::Nothing),
    ("expires", Kind::Nothing),
    ("group", Kind::Text),
    ("group_index", Kind::Index),
    ("retries", Kind::Number),
    ("timelimit", Kind::NoLimits),
    ("root_id", Kind::Text),
    ("parent_id", Kind::Text),
    ("argsrepr", Kind::Text),
    ("kwargsrepr", Kind::Text),
    ("origin", Kind::Text),
    ("ignore_result", Kind::Flag),
    ("replaced_task_nesting", Kind::Number),
    ("stamped_headers", Kind::Texts),
    ("stamps", Kind::Values),
];

/// A value of a header, of whoever has read it.
pub trait Value {
    /// Whether it is nothing.
    fn is_null(&self) -> bool;
    /// The text that it is, if it is one that brokers and stores take.
    fn text(&self) -> Option<&str>;
    /// The whole number of up to 64 bits that it is.
    fn number(&self) -> Option<i64>;
    /// Whether it is true or false.
    fn is_flag(&self) -> bool;
    /// Whether it is a list of texts.
    fn is_texts(&self) -> bool;
    /// Whether it is a list of `count` nulls.
    fn is_nulls(&self, count: usize) -> bool;
    /// Whether it is a table that Python has in one form only.
    fn is_table(&self) -> bool;
}

/// What a header of the usual form is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The task's id, not empty.
    Id,
    /// The task's name, not empty.
    Task,
    /// A field of the request.
    Field,
    /// Nothing: it is null, or nobody reads it.
    Nothing,
}

/// The names of the headers of the usual form, in their places.
pub fn header_names() -> impl Iterator<Item = &'static str> {
    HEADERS.iter().map(|(name, _)| *name)
}

/// The place of a header; `None` if it is unusual.
#[must_use]
pub fn place_of(name: &str) -> Option<usize> {
    HEADERS.iter().position(|(known, _)| *known == name)
}

/// What the header in a place is for; `None` if its value is unusual.
#[must_use]
pub fn meaning(place: usize, value: &impl Value) -> Option<Meaning> {
    let (_, kind) = HEADERS.get(place)?;
    // A message without a name or an id is refused, by those who say so.
    let is_name = || value.text().is_some_and(|text| !text.is_empty());
    match kind {
        Kind::Id => is_name().then_some(Meaning::Id),
        Kind::Task => is_name().then_some(Meaning::Task),
        Kind::Any => Some(Meaning::Nothing),
        _ if value.is_null() => Some(Meaning::Nothing),
        Kind::NoLimits => value.is_nulls(2).then_some(Meaning::Nothing),
        kind => kind.takes(value).then_some(Meaning::Field),
    }
}

/// Whether a broker takes a text as the address of a queue or of a message.
#[must_use]
pub const fn is_address(text: &str) -> bool {
    text.len() <= LONGEST_ADDRESS
}

impl Kind {
    /// Whether the request takes this value, which is not null.
    fn takes(self, value: &impl Value) -> bool {
        match self {
            Self::Text => value.text().is_some(),
            Self::Number => value.number().is_some(),
            Self::Flag => value.is_flag(),
            Self::Index => value
                .number()
                .is_some_and(|index| (0..=HIGHEST_INDEX).contains(&index)),
            Self::Texts => value.is_texts(),
            Self::Values => value.is_table(),
            Self::Id | Self::Task | Self::Any | Self::NoLimits | Self::Nothing => false,
        }
    }
}
