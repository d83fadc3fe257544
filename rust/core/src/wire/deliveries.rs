//! What a broker of AMQP 0-9-1 sends, out of the bytes of a socket.
//!
//! Whole deliveries to one channel are taken apart; all else stays a frame, for the client
//! whose connection it is.

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xce;
/// Type, channel and size, before the payload of a frame.
const FRAME_HEAD: usize = 7;
const FRAME_OVERHEAD: usize = FRAME_HEAD + 1;
/// Class and method of `basic.deliver`.
const DELIVER: [u8; 4] = [0, 60, 0, 60];
/// Class and weight of a content header of `basic`.
const BASIC: [u8; 4] = [0, 60, 0, 0];
/// Bytes of a delivery that has not come whole, from which on its frames are given out one
/// by one: waiting for the rest would read them again and again.
const LARGE: usize = 1 << 20;
/// Tables inside each other; deeper ones are left to the client.
const MAX_DEPTH: usize = 32;

/// A value of a table of headers.
#[derive(Debug, Clone, PartialEq)]
pub enum Field<'a> {
    /// Nothing.
    Void,
    /// A truth value.
    Bool(bool),
    /// A whole number of any size that AMQP has.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// Values by name.
    Table(Table<'a>),
    /// Values.
    Array(Vec<Field<'a>>),
}

/// Values by name, in their order.
pub type Table<'a> = Vec<(&'a str, Field<'a>)>;

/// A property of a message, under py-amqp's name.
#[derive(Debug, Clone, PartialEq)]
pub enum Property<'a> {
    /// One of the short texts.
    Text(&'a str),
    /// `delivery_mode` or `priority`.
    Octet(u8),
    /// `application_headers`.
    Headers(Table<'a>),
}

/// One message to a consumer.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery<'a> {
    /// Whose it is.
    pub consumer_tag: &'a str,
    /// By which it is acknowledged.
    pub delivery_tag: u64,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
    /// What it was sent to; empty for the default exchange.
    pub exchange: &'a str,
    /// By which it was routed.
    pub routing_key: &'a str,
    /// Those that it has, in the order of the protocol.
    pub properties: Vec<(&'static str, Property<'a>)>,
    /// The payloads of its body frames.
    pub body: Vec<&'a [u8]>,
    /// How many frames it came in.
    pub frames: usize,
}

/// A part of what was read.
#[derive(Debug, Clone, PartialEq)]
pub enum Item<'a> {
    /// A whole delivery to the channel.
    Delivery(Delivery<'a>),
    /// Any other frame: its type, channel and payload.
    Frame(u8, u16, &'a [u8]),
}

/// Takes items from the front of a buffer; a reading without bytes ends it.
#[derive(Debug)]
pub struct Items<'a> {
    buffer: &'a [u8],
    at: usize,
    channel: u16,
}

impl<'a> Items<'a> {
    /// Reads `buffer`, which begins with a frame; deliveries are those to `channel`.
    #[must_use]
    pub const fn new(buffer: &'a [u8], channel: u16) -> Self {
        Self {
            buffer,
            at: 0,
            channel,
        }
    }

    /// How many bytes the items so far were made of.
    #[must_use]
    pub const fn read(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    /// The next item; none if its bytes are not all here, or are no frame.
    fn next(&mut self) -> Option<Item<'a>> {
        let rest = self.buffer.get(self.at..)?;
        let (kind, channel, payload) = frame(rest)?;
        if kind == METHOD && channel == self.channel && payload.starts_with(&DELIVER) {
            match delivery(rest, channel, payload) {
                Content::Whole(found, len_bytes) => {
                    self.at += len_bytes;
                    return Some(Item::Delivery(found));
                }
                Content::Partial if rest.len() < LARGE => return None,
                Content::Partial | Content::Foreign => {}
            }
        }
        self.at += payload.len() + FRAME_OVERHEAD;
        Some(Item::Frame(kind, channel, payload))
    }
}

enum Content<'a> {
    /// All of it, and its bytes.
    Whole(Delivery<'a>, usize),
    /// The rest has not come yet.
    Partial,
    /// Something that is the client's to understand, or to refuse.
    Foreign,
}

/// The frame at the front; none if it is not whole, or does not end as a frame does.
fn frame(bytes: &[u8]) -> Option<(u8, u16, &[u8])> {
    let head = bytes.get(..FRAME_HEAD)?;
    let channel = u16::from_be_bytes([head[1], head[2]]);
    let len_bytes = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
    let payload = bytes.get(FRAME_HEAD..FRAME_HEAD.checked_add(len_bytes)?)?;
    (*bytes.get(FRAME_HEAD + len_bytes)? == FRAME_END).then_some((head[0], channel, payload))
}

fn delivery<'a>(bytes: &'a [u8], channel: u16, method: &'a [u8]) -> Content<'a> {
    let mut at = method.len() + FRAME_OVERHEAD;
    let Some((kind, other, header)) = bytes.get(at..).and_then(frame) else {
        return Content::Partial;
    };
    // Frames of other channels may come in between: the client sorts them out.
    if kind != HEADER || other != channel {
        return Content::Foreign;
    }
    let Some((len_bytes, properties)) = content_header(header) else {
        return Content::Foreign;
    };
    at += header.len() + FRAME_OVERHEAD;
    let (mut body, mut left) = (Vec::new(), len_bytes);
    while left > 0 {
        let Some((kind, other, payload)) = bytes.get(at..).and_then(frame) else {
            return Content::Partial;
        };
        if kind != BODY || other != channel || payload.len() as u64 > left {
            return Content::Foreign;
        }
        left -= payload.len() as u64;
        at += payload.len() + FRAME_OVERHEAD;
        body.push(payload);
    }
    arguments(method, properties, body).map_or(Content::Foreign, |found| Content::Whole(found, at))
}

fn arguments<'a>(
    method: &'a [u8],
    properties: Vec<(&'static str, Property<'a>)>,
    body: Vec<&'a [u8]>,
) -> Option<Delivery<'a>> {
    let mut reader = Reader(method.get(DELIVER.len()..)?);
    let consumer_tag = reader.short_text()?;
    let delivery_tag = u64::from_be_bytes(reader.array()?);
    let redelivered = reader.octet()? & 1 == 1;
    let frames = 2 + body.len();
    Some(Delivery {
        consumer_tag,
        delivery_tag,
        redelivered,
        exchange: reader.short_text()?,
        routing_key: reader.short_text()?,
        properties,
        body,
        frames,
    })
}

/// The properties, by the bits of their flags from the highest on.
const PROPERTIES: [(&str, Kind); 14] = [
    ("content_type", Kind::Text),
    ("content_encoding", Kind::Text),
    ("application_headers", Kind::Headers),
    ("delivery_mode", Kind::Octet),
    ("priority", Kind::Octet),
    ("correlation_id", Kind::Text),
    ("reply_to", Kind::Text),
    ("expiration", Kind::Text),
    ("message_id", Kind::Text),
    // py-amqp gives a moment of it; tasks are sent without.
    ("timestamp", Kind::Foreign),
    ("type", Kind::Text),
    ("user_id", Kind::Text),
    ("app_id", Kind::Text),
    ("cluster_id", Kind::Text),
];

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Octet,
    Headers,
    Foreign,
}

type Properties<'a> = Vec<(&'static str, Property<'a>)>;

/// The size of the body and the properties.
fn content_header(payload: &[u8]) -> Option<(u64, Properties<'_>)> {
    let mut reader = Reader(payload.strip_prefix(&BASIC)?);
    let len_bytes = u64::from_be_bytes(reader.array()?);
    let flags = u16::from_be_bytes(reader.array()?);
    // The lowest bits: more flags, and one that means nothing.
    if flags & 0b11 != 0 {
        return None;
    }
    let mut properties = Vec::with_capacity(PROPERTIES.len());
    for (place, (name, kind)) in PROPERTIES.into_iter().enumerate() {
        if flags & (0x8000 >> place) != 0 {
            let value = match kind {
                Kind::Text => Property::Text(reader.short_text()?),
                Kind::Octet => Property::Octet(reader.octet()?),
                Kind::Headers => Property::Headers(reader.table(0)?),
                Kind::Foreign => return None,
            };
            properties.push((name, value));
        }
    }
    Some((len_bytes, properties))
}

/// Takes values from the front; none if there are too few bytes, or others than it knows.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len_bytes: usize) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_at_checked(len_bytes)?;
        self.0 = rest;
        Some(found)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn octet(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    fn text(&mut self, len_bytes: usize) -> Option<&'a str> {
        std::str::from_utf8(self.take(len_bytes)?).ok()
    }

    fn short_text(&mut self) -> Option<&'a str> {
        let len_bytes = self.octet()?;
        self.text(len_bytes.into())
    }

    fn long(&mut self) -> Option<usize> {
        Some(u32::from_be_bytes(self.array()?) as usize)
    }

    fn table(&mut self, depth: usize) -> Option<Table<'a>> {
        let len_bytes = self.long()?;
        let mut inside = Reader(self.take(len_bytes)?);
        let mut table = Vec::new();
        while !inside.0.is_empty() {
            let name = inside.short_text()?;
            table.push((name, inside.field(depth)?));
        }
        Some(table)
    }

    fn field(&mut self, depth: usize) -> Option<Field<'a>> {
        if depth > MAX_DEPTH {
            return None;
        }
        Some(match self.octet()? {
            b'V' => Field::Void,
            b't' => Field::Bool(self.octet()? != 0),
            b'b' => Field::Int(i8::from_be_bytes(self.array()?).into()),
            b'B' => Field::Int(self.octet()?.into()),
            b's' | b'U' => Field::Int(i16::from_be_bytes(self.array()?).into()),
            b'u' => Field::Int(u16::from_be_bytes(self.array()?).into()),
            b'I' => Field::Int(i32::from_be_bytes(self.array()?).into()),
            b'i' => Field::Int(u32::from_be_bytes(self.array()?).into()),
            b'l' | b'L' => Field::Int(i64::from_be_bytes(self.array()?)),
            b'f' => Field::Float(f32::from_be_bytes(self.array()?).into()),
            b'd' => Field::Float(f64::from_be_bytes(self.array()?)),
            b'S' => {
                let len_bytes = self.long()?;
                Field::Text(self.text(len_bytes)?)
            }
            b'F' => Field::Table(self.table(depth + 1)?),
            b'A' => {
                let len_bytes = self.long()?;
                let mut inside = Reader(self.take(len_bytes)?);
                let mut values = Vec::new();
                while !inside.0.is_empty() {
                    values.push(inside.field(depth + 1)?);
                }
                Field::Array(values)
            }
            // Moments, decimals, bytes: py-amqp makes objects of them.
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
