//! What goes onto the wires reads back as what was put in.

mod codec;

use std::collections::{BTreeMap, HashSet};

use celerant_core::error::{Error, Result};
use celerant_core::id::{Ids, Seed, Tags};
use celerant_core::message::{AmqpEnvelope, Chunk, Envelope, Part, Slot, Template};
use celerant_core::wire::redis::{Mark, Route};
use celerant_core::wire::{amqp, redis};
use codec::amqp::{Field, Published};
use codec::members::{self, Drawn, fill, repr, template};
use codec::resp;
use proptest::prelude::*;
use serde_json::Value;

const CHANNEL: u16 = 3;
const FRAME_MAX: u32 = 4096;

fn ids() -> Ids {
    Ids::new(Seed::new([7; 16]))
}

fn part(bytes: impl AsRef<[u8]>) -> Part {
    Part::Bytes(bytes.as_ref().to_vec())
}

fn redis_template(number: u32, route: u32) -> Template {
    let parts = vec![
        part(r#"{"body": ""#),
        Part::Slot(Slot::Body),
        part(r#"", "headers": {"id": ""#),
        Part::Slot(Slot::Id),
        part(r#"", "group_index": "#),
        Part::Slot(Slot::GroupIndex),
        part(r#", "argsrepr": ""#),
        Part::Slot(Slot::ArgsRepr),
        part(r#"", "kwargsrepr": ""#),
        Part::Slot(Slot::KwargsRepr),
        part(r#""}, "properties": {"correlation_id": ""#),
        Part::Slot(Slot::Id),
        part(r#"", "delivery_tag": ""#),
        Part::Slot(Slot::Tag),
        part(format!(r#""}}, "template": {number}}}"#)),
    ];
    template(Envelope::Redis(parts), route)
}

fn routes() -> Vec<Route> {
    vec![
        Route {
            key: b"a".to_vec(),
            expire: Vec::new(),
        },
        Route {
            key: b"never used".to_vec(),
            expire: vec![(b"x".to_vec(), 1)],
        },
        Route {
            key: b"b\r\n".to_vec(),
            expire: vec![(b"b".to_vec(), 60_000), (b"b6".to_vec(), 5)],
        },
    ]
}

/// Templates 0 and 2 share route 2; route 1 is never used.
fn redis_chunk(drawn: &[Drawn]) -> Result<Chunk> {
    let templates = vec![
        redis_template(0, 2),
        redis_template(1, 0),
        redis_template(2, 2),
    ];
    fill(drawn, templates, 100)
}

fn check_envelope(text: &[u8], at: usize, chunk: &Chunk, drawn: &Drawn) -> Result<Value> {
    let read: Value = serde_json::from_slice(text).expect("JSON");
    let member = &chunk.members[at];
    let id = drawn.id(&ids(), member.index);
    assert_eq!(read["headers"]["id"], id.as_str());
    assert_eq!(read["properties"]["correlation_id"], id.as_str());
    assert_eq!(read["headers"]["group_index"], member.index);
    assert_eq!(read["headers"]["argsrepr"], repr(chunk, member.args)?);
    assert_eq!(read["headers"]["kwargsrepr"], repr(chunk, member.kwargs)?);
    assert_eq!(read["template"], drawn.template);
    let body = read["body"].as_str().expect("text");
    let body = base64_simd::STANDARD.decode_to_vec(body).expect("base64");
    assert!(drawn.has_body(&body), "{}", String::from_utf8_lossy(&body));
    Ok(read["properties"]["delivery_tag"].clone())
}

proptest! {
    #[test]
    fn redis_messages_read_back(drawn in members::members(3), marked in any::<bool>()) {
        let chunk = redis_chunk(&drawn)?;
        let mark = Mark { key: b"mark".to_vec(), value: 1 << 40 };
        let mut out = b"kept".to_vec();
        let queued = redis::encode(
            &chunk,
            &ids(),
            &mut Tags::new([1; 16]),
            &routes(),
            marked.then_some(&mark),
            &mut out,
        )?;

        let mut commands = resp::commands(out.strip_prefix(b"kept").expect("what was there"));
        if marked {
            prop_assert_eq!(commands.pop(), Some(vec![b"WATCH".as_slice(), b"mark"]));
        }
        prop_assert_eq!(commands.pop(), Some(vec![b"EXEC".as_slice()]));
        prop_assert_eq!(commands.remove(0), vec![b"MULTI".as_slice()]);
        prop_assert_eq!(commands.len(), queued);
        if marked {
            let set = [b"SET".as_slice(), b"mark", b"1099511627776", b"KEEPTTL"];
            prop_assert_eq!(commands.pop(), Some(set.to_vec()));
        }

        let mut tags = HashSet::new();
        let mut commands = commands.into_iter();
        for (route, templates) in routes().iter().zip([&[1][..], &[], &[0, 2]]) {
            let expected: Vec<usize> =
                (0..drawn.len()).filter(|&at| templates.contains(&drawn[at].template)).collect();
            if expected.is_empty() {
                continue;
            }
            let push = commands.next().expect("a push per route used");
            prop_assert_eq!(&push[..2], [b"LPUSH".as_slice(), &route.key]);
            prop_assert_eq!(push.len() - 2, expected.len());
            for (text, at) in push[2..].iter().zip(expected) {
                let tag = check_envelope(text, at, &chunk, &drawn[at])?;
                prop_assert!(tags.insert(tag.to_string()), "a tag is never used again");
            }
            for (key, ttl_ms) in &route.expire {
                let words = [b"PEXPIRE".as_slice(), key, &ttl_ms.to_string().into_bytes()]
                    .map(<[u8]>::to_vec);
                let command = commands.next().expect("an expiry");
                prop_assert_eq!(command, words.iter().map(Vec::as_slice).collect::<Vec<_>>());
            }
        }
        prop_assert_eq!(commands.next(), None);
    }

    #[test]
    fn amqp_messages_read_back(
        drawn in members::members(2),
        first in prop_oneof![Just(0), Just(0x7fff_fff8_u32)],
        max_bytes in 0..20_000_usize,
    ) {
        let chunk = fill(&drawn, vec![amqp_template(0), amqp_template(1)], first)?;
        let mut from = 0;
        while from < drawn.len() {
            let mut out = b"kept".to_vec();
            let next =
                amqp::encode(&chunk, &ids(), CHANNEL, FRAME_MAX, from, max_bytes, &mut out)?;
            prop_assert!(next > from, "every call makes progress");
            prop_assert!(next == from + 1 || out.len() - 4 <= max_bytes);
            let read = codec::amqp::messages(&out[4..], CHANNEL);
            prop_assert_eq!(read.len(), next - from);
            for (message, at) in read.iter().zip(from..) {
                check_published(message, at, &chunk, &drawn[at])?;
            }
            from = next;
        }
    }
}

fn short(text: &str) -> Vec<u8> {
    let len = u8::try_from(text.len()).expect("a short string");
    [&[len], text.as_bytes()].concat()
}

fn amqp_template(number: u8) -> Template {
    let flags = 0x8000_u16 | 0x2000 | 0x1000 | 0x0400;
    let table = vec![
        part([short("shadow"), b"V".to_vec(), short("id")].concat()),
        Part::Slot(Slot::Id),
        part(short("group_index")),
        Part::Slot(Slot::GroupIndex),
        part(short("argsrepr")),
        Part::Slot(Slot::ArgsRepr),
        part(short("kwargsrepr")),
        Part::Slot(Slot::KwargsRepr),
    ];
    let envelope = AmqpEnvelope {
        method: vec![0, 60, 0, 40, number],
        before: [&flags.to_be_bytes()[..], &short("application/json")].concat(),
        table,
        after: vec![part([2]), Part::Slot(Slot::Id)],
    };
    template(Envelope::Amqp(envelope), 0)
}

fn check_published(message: &Published, at: usize, chunk: &Chunk, drawn: &Drawn) -> Result<()> {
    let member = &chunk.members[at];
    let id = drawn.id(&ids(), member.index).into_bytes();
    assert_eq!(
        message.method.last().copied().map(u32::from),
        Some(drawn.template)
    );
    assert_eq!(message.content_type, b"application/json");
    assert_eq!(message.delivery_mode, 2);
    assert_eq!(message.correlation_id, id);
    let text = |value| repr(chunk, value).map(|text| Field::Text(text.into_bytes()));
    let expected = [
        ("argsrepr", text(member.args)?),
        ("group_index", Field::Int(i64::from(member.index))),
        ("id", Field::Text(id)),
        ("kwargsrepr", text(member.kwargs)?),
        ("shadow", Field::Void),
    ];
    assert_eq!(
        message
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect::<Vec<_>>(),
        expected
    );
    assert!(
        drawn.has_body(&message.body),
        "{}",
        String::from_utf8_lossy(&message.body)
    );
    let limit = FRAME_MAX as usize - 8;
    assert!(
        message.pieces.iter().rev().skip(1).all(|&len| len == limit),
        "full but the last"
    );
    assert!(message.pieces.iter().all(|&len| (1..=limit).contains(&len)));
    Ok(())
}

fn one(own_id: Option<String>) -> Drawn {
    Drawn {
        template: 0,
        args: Vec::new(),
        kwargs: BTreeMap::new(),
        own_id,
        ready: None,
    }
}

#[test]
fn a_header_of_the_members_own_stands_in_its_slot_and_a_missing_one_is_an_error() -> Result<()> {
    let own = || vec![part("<"), Part::Slot(Slot::Own(1)), part(">")];
    let mut amqp_envelope = amqp_template(0);
    if let Envelope::Amqp(envelope) = &mut amqp_envelope.envelope {
        envelope.table = own();
    }
    for template in [template(Envelope::Redis(own()), 0), amqp_envelope] {
        let is_amqp = matches!(template.envelope, Envelope::Amqp(_));
        let mut chunk = fill(&[one(None)], vec![template], 5)?;
        let encode = |chunk: &Chunk| {
            let mut out = Vec::new();
            if is_amqp {
                amqp::encode(chunk, &ids(), CHANNEL, FRAME_MAX, 0, 1 << 20, &mut out)?;
            } else {
                let mut tags = Tags::new([1; 16]);
                redis::encode(chunk, &ids(), &mut tags, &routes(), None, &mut out)?;
            }
            Ok(out)
        };
        let missing = Error::NoOwnHeader { number: 1 }.in_member(5);
        assert_eq!(encode(&chunk), Err(missing));

        let spans = [&b"first"[..], b"second"].map(|bytes| chunk.arena.store(bytes));
        let spans = spans.into_iter().collect::<Result<_>>()?;
        chunk.own.insert(5, spans);
        let out = encode(&chunk)?;
        assert!(out.windows(8).any(|found| found == b"<second>"));
    }
    Ok(())
}

#[test]
fn amqp_names_the_member_it_cannot_carry_and_writes_nothing() -> Result<()> {
    let long_id = fill(
        &[one(None), one(Some("i".repeat(256)))],
        vec![amqp_template(0)],
        5,
    )?;
    let mut out = b"kept".to_vec();
    let error = amqp::encode(&long_id, &ids(), CHANNEL, FRAME_MAX, 0, 1 << 20, &mut out);
    assert_eq!(error, Err(Error::IdTooLong { len: 256 }.in_member(6)));

    let mut huge = amqp_template(0);
    if let Envelope::Amqp(envelope) = &mut huge.envelope {
        envelope.table.push(part(
            [short("x"), vec![b'S', 0, 0, 16, 0], vec![b'x'; 4096]].concat(),
        ));
    }
    let chunk = fill(&[one(None)], vec![huge], 0)?;
    let error = amqp::encode(&chunk, &ids(), CHANNEL, FRAME_MAX, 0, 1 << 20, &mut out);
    assert!(error.is_err_and(|error| error.to_string().contains("group[0]: message properties")));
    assert_eq!(out, b"kept");
    amqp::encode(&chunk, &ids(), CHANNEL, 0, 0, 1 << 20, &mut out)?;
    assert_eq!(
        codec::amqp::messages(&out[4..], CHANNEL).len(),
        1,
        "0 is no limit"
    );

    let error = amqp::encode(&chunk, &ids(), CHANNEL, 8, 0, 1 << 20, &mut out);
    assert_eq!(error, Err(Error::FrameMaxTooSmall { frame_max: 8 }));
    Ok(())
}

#[test]
fn a_wire_refuses_what_was_made_for_another_and_writes_nothing() -> Result<()> {
    let mut out = b"kept".to_vec();
    let mut tags = Tags::new([1; 16]);
    let chunk = fill(&[one(None)], vec![amqp_template(0)], 0)?;
    let error = redis::encode(&chunk, &ids(), &mut tags, &routes(), None, &mut out);
    assert_eq!(
        error,
        Err(Error::WrongEnvelope { wire: "redis" }.in_member(0))
    );
    let chunk = fill(&[one(None)], vec![redis_template(0, 9)], 0)?;
    let error = redis::encode(&chunk, &ids(), &mut tags, &routes(), None, &mut out);
    assert_eq!(
        error,
        Err(Error::UnknownRoute { route: 9, len: 3 }.in_member(0))
    );
    let error = amqp::encode(&chunk, &ids(), 1, FRAME_MAX, 0, 1, &mut out);
    assert_eq!(
        error,
        Err(Error::WrongEnvelope { wire: "amqp" }.in_member(0))
    );
    assert_eq!(out, b"kept");
    Ok(())
}

#[test]
fn lengths_are_right_where_they_gain_and_lose_a_digit() -> Result<()> {
    let drawn: Vec<Drawn> = (0..2000_usize)
        .map(|at| Drawn {
            ready: Some(vec![b'x'; (at * 37) % 900 * (at % 13)]),
            ..one(None)
        })
        .collect();
    let chunk = fill(&drawn, vec![redis_template(0, 0)], 0)?;
    let mut out = Vec::new();
    redis::encode(
        &chunk,
        &ids(),
        &mut Tags::new([1; 16]),
        &routes(),
        None,
        &mut out,
    )?;
    let commands = resp::commands(&out);
    let messages = &commands[1][2..];
    let digits: HashSet<usize> = messages
        .iter()
        .map(|text| text.len().to_string().len())
        .collect();
    assert_eq!(digits, HashSet::from([3, 4, 5]));
    for (at, text) in messages.iter().enumerate() {
        check_envelope(text, at, &chunk, &drawn[at])?;
    }
    Ok(())
}
