//! A reader of AMQP 0-9-1 content: frames, basic properties, tables.

use std::collections::BTreeMap;

/// A field of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Field {
    Text(Vec<u8>),
    Int(i64),
    Void,
}

/// A published message, put together from its frames.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) method: Vec<u8>,
    pub(crate) content_type: Vec<u8>,
    pub(crate) headers: BTreeMap<String, Field>,
    pub(crate) delivery_mode: u8,
    pub(crate) correlation_id: Vec<u8>,
    pub(crate) body: Vec<u8>,
    /// Bytes of each body frame's payload.
    pub(crate) pieces: Vec<usize>,
}

/// Every message in `bytes`, all on `channel`.
pub(crate) fn messages(bytes: &[u8], channel: u16) -> Vec<Published> {
    let mut reader = Reader(bytes);
    let mut messages = Vec::new();
    while !reader.0.is_empty() {
        let method = reader.frame(1, channel).to_vec();
        let mut header = Reader(reader.frame(2, channel));
        assert_eq!(
            (header.u16(), header.u16()),
            (60, 0),
            "class and weight of basic"
        );
        let size = usize::try_from(header.u64()).expect("a size");
        let mut message = properties(&mut header, method);
        assert!(header.0.is_empty(), "properties end with their frame");
        while message.body.len() < size {
            let piece = reader.frame(3, channel);
            message.pieces.push(piece.len());
            message.body.extend_from_slice(piece);
        }
        assert_eq!(message.body.len(), size);
        messages.push(message);
    }
    messages
}

/// Properties with the flags that the tests use: type, headers, mode, correlation id.
fn properties(header: &mut Reader<'_>, method: Vec<u8>) -> Published {
    let flags = header.u16();
    assert_eq!(flags, 0x8000 | 0x2000 | 0x1000 | 0x0400);
    let content_type = header.short_text().to_vec();
    let table_len = header.u32() as usize;
    let mut table = Reader(header.take(table_len));
    let mut headers = BTreeMap::new();
    while !table.0.is_empty() {
        let name = String::from_utf8(table.short_text().to_vec()).expect("a name");
        let value = match table.take(1) {
            b"S" => {
                let len = table.u32() as usize;
                Field::Text(table.take(len).to_vec())
            }
            b"I" => Field::Int(i64::from(table.u32().cast_signed())),
            b"L" => Field::Int(table.u64().cast_signed()),
            b"V" => Field::Void,
            other => panic!("unknown field type {other:?}"),
        };
        headers.insert(name, value);
    }
    let delivery_mode = header.take(1)[0];
    let correlation_id = header.short_text().to_vec();
    let (body, pieces) = (Vec::new(), Vec::new());
    Published {
        method,
        content_type,
        headers,
        delivery_mode,
        correlation_id,
        body,
        pieces,
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn frame(&mut self, kind: u8, channel: u16) -> &'a [u8] {
        assert_eq!(self.take(1), [kind], "frame type");
        assert_eq!(self.u16(), channel);
        let len = self.u32() as usize;
        let payload = self.take(len);
        assert_eq!(self.take(1), [0xce], "frame end");
        payload
    }

    fn short_text(&mut self) -> &'a [u8] {
        let len = self.take(1)[0];
        self.take(usize::from(len))
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("2 bytes"))
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().expect("4 bytes"))
    }

    fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take(8).try_into().expect("8 bytes"))
    }
}
