//! The wires against the bytes that kombu, redis-py and py-amqp wrote
//! (`tests/conformance/make_wire_vectors.py`).

mod codec;

use std::sync::Arc;

use celerant_core::error::Result;
use celerant_core::id::{Ids, Seed, Tags};
use celerant_core::message::{AmqpEnvelope, Body, Chunk, Envelope, Member, Part, Slot, Template};
use celerant_core::wire::redis::{Mark, Route};
use celerant_core::wire::{amqp, redis};
use codec::trees::{cases, from_hex, push};
use serde_json::Value;

fn case() -> Value {
    cases(include_str!("data/wire.json")).remove(0)
}

fn ids() -> Ids {
    Ids::new(Seed::new([7; 16]))
}

fn parts(pieces: &Value) -> Vec<Part> {
    let part = |piece: &Value| match (piece[0].as_str(), piece[1].as_str()) {
        (Some("bytes"), _) => Part::Bytes(from_hex(&piece[1])),
        (_, Some("id")) => Part::Slot(Slot::Id),
        (_, Some("group_index")) => Part::Slot(Slot::GroupIndex),
        (_, Some("argsrepr")) => Part::Slot(Slot::ArgsRepr),
        (_, Some("kwargsrepr")) => Part::Slot(Slot::KwargsRepr),
        (_, Some("body")) => Part::Slot(Slot::Body),
        other => panic!("unknown piece {other:?}"),
    };
    pieces
        .as_array()
        .expect("pieces")
        .iter()
        .map(part)
        .collect()
}

fn chunk(case: &Value, envelope: Envelope) -> Result<Chunk> {
    let embed = case["embed"].as_str().expect("JSON").into();
    let template = Template {
        envelope,
        embed,
        route: 0,
    };
    let mut chunk = Chunk {
        templates: vec![Arc::new(template)],
        ..Chunk::default()
    };
    for (index, member) in (0..).zip(case["members"].as_array().expect("members")) {
        let arena = &mut chunk.arena;
        let args = arena.position()?;
        push(&member["args"], arena)?;
        let kwargs = arena.position()?;
        push(&member["kwargs"], arena)?;
        let own_id = Some(arena.store(&from_hex(&member["id"]))?);
        let body = Body::Plain {
            args,
            kwargs,
            embed: None,
        };
        chunk.members.push(Member {
            template: 0,
            index,
            position: index,
            args,
            kwargs,
            own_id,
            body,
        });
    }
    Ok(chunk)
}

#[test]
fn redis_commands_are_kombus_and_redis_pys_to_the_byte() -> Result<()> {
    let case = case();
    let chunk = chunk(&case, Envelope::Redis(parts(&case["redis"]["pieces"])))?;
    let route = Route {
        key: b"queue".to_vec(),
        expire: vec![(b"queue".to_vec(), 1000)],
    };
    let mark = Mark {
        key: case["mark"][0].as_str().expect("a key").into(),
        value: case["mark"][1].as_u64().expect("a number"),
    };
    let mut out = Vec::new();
    let mut tags = Tags::new([0; 16]);
    let queued = redis::encode(&chunk, &ids(), &mut tags, &[route], Some(&mark), &mut out)?;
    assert_eq!(queued, 3);
    let expected = from_hex(&case["redis"]["expected"]);
    assert_eq!(
        String::from_utf8_lossy(&out),
        String::from_utf8_lossy(&expected)
    );
    Ok(())
}

#[test]
fn amqp_frames_are_py_amqps_to_the_byte() -> Result<()> {
    let case = case();
    let amqp = &case["amqp"];
    let envelope = AmqpEnvelope {
        method: from_hex(&amqp["method"]),
        before: from_hex(&amqp["before"]),
        table: parts(&amqp["table"]),
        after: parts(&amqp["after"]),
    };
    let chunk = chunk(&case, Envelope::Amqp(envelope))?;
    let number = |name: &str| amqp[name].as_u64().expect("a number");
    let channel = u16::try_from(number("channel")).expect("a channel");
    let frame_max = u32::try_from(number("frame_max")).expect("a size");
    let mut out = Vec::new();
    let next = amqp::encode(&chunk, &ids(), channel, frame_max, 0, usize::MAX, &mut out)?;
    assert_eq!(next, chunk.members.len());
    let expected = from_hex(&amqp["expected"]);
    assert_eq!(
        String::from_utf8_lossy(&out),
        String::from_utf8_lossy(&expected)
    );
    assert_eq!(out, expected);
    Ok(())
}
