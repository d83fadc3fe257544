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

/// An empty delivery whose property `headers` is a table.
fn with_headers(table: &[u8]) -> Vec<u8> {
    let mut properties = u32::try_from(table.len())
        .expect("small")
        .to_be_bytes()
        .to_vec();
    properties.extend(table);
    let mut bytes = framed(METHOD, 1, &method(1));
    bytes.extend(framed(HEADER, 1, &header(0, 0x2000, &properties)));
    bytes
}

#[test]
fn a_value_that_only_the_client_knows_leaves_it_the_delivery() {
    let mut table = short("when");
    table.push(b'T');
    table.extend(0u64.to_be_bytes());
    let bytes = with_headers(&table);
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
    let bytes = with_headers(&table);
    assert!(Items::new(&bytes, 1).all(|item| matches!(item, Item::Frame(..))));
}
