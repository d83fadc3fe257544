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
mod tests {
    use super::*;

    fn framed(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![kind];
        out.extend(channel.to_be_bytes());
        out.extend(u32::try_from(payload.len()).expect("small").to_be_bytes());
        out.extend(payload);
        out.push(FRAME_END);
        out
    }

    fn short(text: &str) -> Vec<u8> {
        let mut out = vec![u8::try_from(text.len()).expect("short")];
        out.extend(text.as_bytes());
        out
    }

    fn method(tag: u64) -> Vec<u8> {
        let mut out = DELIVER.to_vec();
        out.extend(short("ct"));
        out.extend(tag.to_be_bytes());
        out.push(1);
        out.extend(short("ex"));
        out.extend(short("key"));
        out
    }

    fn header(len_bytes: u64, flags: u16, properties: &[u8]) -> Vec<u8> {
        let mut out = BASIC.to_vec();
        out.extend(len_bytes.to_be_bytes());
        out.extend(flags.to_be_bytes());
        out.extend(properties);
        out
    }

    fn message(tag: u64, body: &[&[u8]]) -> Vec<u8> {
        let mut properties = short("application/json");
        let mut table = short("id");
        table.push(b'S');
        table.extend(3u32.to_be_bytes());
        table.extend(b"one");
        table.extend(short("none"));
        table.push(b'V');
        properties.extend(u32::try_from(table.len()).expect("small").to_be_bytes());
        properties.extend(table);
        properties.push(2);
        let len_bytes: usize = body.iter().map(|part| part.len()).sum();
        let mut out = framed(METHOD, 1, &method(tag));
        out.extend(framed(
            HEADER,
            1,
            &header(len_bytes as u64, 0x8000 | 0x2000 | 0x1000, &properties),
        ));
        for part in body {
            out.extend(framed(BODY, 1, part));
        }
        out
    }

    #[test]
    fn a_delivery_has_all_that_its_frames_say() {
        let bytes = message(7, &[b"[1, ", b"2]"]);
        let mut items = Items::new(&bytes, 1);
        let Some(Item::Delivery(found)) = items.next() else {
            panic!("no delivery");
        };
        assert_eq!(found.consumer_tag, "ct");
        assert_eq!((found.delivery_tag, found.redelivered), (7, true));
        assert_eq!((found.exchange, found.routing_key), ("ex", "key"));
        assert_eq!(found.body.concat(), b"[1, 2]");
        assert_eq!(found.frames, 4);
        let headers = vec![("id", Field::Text("one")), ("none", Field::Void)];
        assert_eq!(
            found.properties,
            vec![
                ("content_type", Property::Text("application/json")),
                ("application_headers", Property::Headers(headers)),
                ("delivery_mode", Property::Octet(2)),
            ]
        );
        assert_eq!(items.next(), None);
        assert_eq!(items.read(), bytes.len());
    }

    #[test]
    fn bytes_cut_anywhere_give_the_same_items_once_the_rest_is_there() {
        let mut bytes = message(1, &[b"a"]);
        bytes.extend(framed(8, 0, b""));
        bytes.extend(message(2, &[]));
        let whole: Vec<_> = Items::new(&bytes, 1).collect();
        assert_eq!(whole.len(), 3);
        for cut in 0..bytes.len() {
            let mut first = Items::new(&bytes[..cut], 1);
            let mut found: Vec<_> = first.by_ref().collect();
            found.extend(Items::new(&bytes[first.read()..], 1));
            assert_eq!(found, whole, "cut at {cut}");
        }
    }

    #[test]
    fn frames_of_others_stay_frames() {
        let mut bytes = framed(METHOD, 2, &method(1));
        bytes.extend(framed(METHOD, 1, &[0, 20, 0, 40]));
        let kinds: Vec<_> = Items::new(&bytes, 1)
            .map(|item| matches!(item, Item::Frame(METHOD, ..)))
            .collect();
        assert_eq!(kinds, [true, true]);
    }

    #[test]
    fn a_delivery_with_a_foreign_frame_inside_stays_frames() {
        let mut bytes = framed(METHOD, 1, &method(1));
        bytes.extend(framed(8, 0, b""));
        bytes.extend(framed(HEADER, 1, &header(0, 0, &[])));
        let found: Vec<_> = Items::new(&bytes, 1)
            .map(|item| match item {
                Item::Frame(kind, ..) => kind,
                Item::Delivery(_) => 0,
            })
            .collect();
        assert_eq!(found, [METHOD, 8, HEADER]);
    }

    #[test]
    fn a_value_that_only_the_client_knows_leaves_it_the_delivery() {
        let mut table = short("when");
        table.push(b'T');
        table.extend(0u64.to_be_bytes());
        let mut properties = u32::try_from(table.len())
            .expect("small")
            .to_be_bytes()
            .to_vec();
        properties.extend(table);
        let mut bytes = framed(METHOD, 1, &method(1));
        bytes.extend(framed(HEADER, 1, &header(0, 0x2000, &properties)));
        assert!(Items::new(&bytes, 1).all(|item| matches!(item, Item::Frame(..))));
    }

    #[test]
    fn a_large_delivery_is_given_out_before_it_is_whole() {
        let part = vec![0; 128 << 10];
        let mut bytes = framed(METHOD, 1, &method(1));
        bytes.extend(framed(HEADER, 1, &header(64 << 20, 0, &[])));
        assert_eq!(Items::new(&bytes, 1).count(), 0);
        while bytes.len() < LARGE {
            bytes.extend(framed(BODY, 1, &part));
        }
        assert!(Items::new(&bytes, 1).count() > 2);
    }

    #[test]
    fn what_is_no_frame_is_left() {
        let mut bytes = message(1, &[b"a"]);
        let good = bytes.len();
        bytes.extend(framed(METHOD, 1, &method(2)));
        if let Some(end) = bytes.last_mut() {
            *end = 0;
        }
        let mut items = Items::new(&bytes, 1);
        assert_eq!(items.by_ref().count(), 1);
        assert_eq!(items.read(), good);
    }

    #[test]
    fn tables_inside_each_other_without_end_are_left_to_the_client() {
        let mut table = Vec::new();
        for _ in 0..200 {
            let mut outer = short("t");
            outer.push(b'F');
            outer.extend(u32::try_from(table.len()).expect("small").to_be_bytes());
            outer.extend(table);
            table = outer;
        }
        let mut properties = u32::try_from(table.len())
            .expect("small")
            .to_be_bytes()
            .to_vec();
        properties.extend(table);
        let mut bytes = framed(METHOD, 1, &method(1));
        bytes.extend(framed(HEADER, 1, &header(0, 0x2000, &properties)));
        assert!(Items::new(&bytes, 1).all(|item| matches!(item, Item::Frame(..))));
    }
}
