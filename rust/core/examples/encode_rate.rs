//! Encodes `add(i, i)` into its wire form and says how many members per second.
//!
//! `cargo run --release -p celerant-core --example encode_rate [members]`

use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use celerant_core::error::Result;
use celerant_core::id::{Ids, Seed, Tags};
use celerant_core::message::{AmqpEnvelope, Body, Chunk, Envelope, Member, Part, Slot, Template};
use celerant_core::wire::redis::{Mark, Route};
use celerant_core::wire::{amqp, redis};

/// Members per chunk, as the dispatcher sends them.
const CHUNK: u32 = 500;

fn main() -> Result<()> {
    let members = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_000_000);
    let mut out = std::io::stdout();
    for (wire, template) in [("redis", redis_template()), ("amqp", amqp_template())] {
        let (seconds, bytes) = run(members, template)?;
        let (rate, each) = (f64::from(members) / seconds, bytes / members as usize);
        // Nothing is lost when nobody reads the figure.
        let _ = writeln!(out, "{wire}: {rate:.0} members/s, {each} bytes each");
    }
    Ok(())
}

fn run(members: u32, template: Template) -> Result<(f64, usize)> {
    let ids = Ids::new(Seed::new([7; 16]));
    let mut tags = Tags::new([9; 16]);
    let routes = [Route {
        key: b"celery".to_vec(),
        expire: Vec::new(),
    }];
    let is_amqp = matches!(template.envelope, Envelope::Amqp(_));
    let mut chunk = Chunk {
        templates: vec![Arc::new(template)],
        ..Chunk::default()
    };
    let mut out = Vec::new();
    let mut bytes = 0;
    let start = Instant::now();
    for first in (0..members).step_by(CHUNK as usize) {
        chunk.clear();
        for index in first..(first + CHUNK).min(members) {
            push(index, &mut chunk)?;
        }
        out.clear();
        if is_amqp {
            amqp::encode(&chunk, &ids, 1, 131_072, 0, usize::MAX, &mut out)?;
        } else {
            let mark = Mark {
                key: b"mark".to_vec(),
                value: u64::from(first),
            };
            redis::encode(&chunk, &ids, &mut tags, &routes, Some(&mark), &mut out)?;
        }
        bytes += out.len();
    }
    Ok((start.elapsed().as_secs_f64(), bytes))
}

fn push(index: u32, chunk: &mut Chunk) -> Result<()> {
    let arena = &mut chunk.arena;
    let args = arena.position()?;
    arena.push_tuple(2)?;
    arena.push_int(i64::from(index))?;
    arena.push_int(i64::from(index))?;
    let kwargs = arena.position()?;
    arena.push_dict(0)?;
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
        own_id: None,
        body,
    });
    Ok(())
}

/// Cuts `text` at `{slot}` marks.
fn cut(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for (at, piece) in text.split('@').enumerate() {
        parts.push(match (at % 2, piece) {
            (1, "id") => Part::Slot(Slot::Id),
            (1, "index") => Part::Slot(Slot::GroupIndex),
            (1, "args") => Part::Slot(Slot::ArgsRepr),
            (1, "kwargs") => Part::Slot(Slot::KwargsRepr),
            (1, "body") => Part::Slot(Slot::Body),
            (1, "tag") => Part::Slot(Slot::Tag),
            _ => Part::Bytes(piece.as_bytes().to_vec()),
        });
    }
    parts
}

fn template(envelope: Envelope) -> Template {
    let embed = br#"{"callbacks": null, "errbacks": null, "chain": null, "chord": null}"#.to_vec();
    Template {
        envelope,
        embed,
        route: 0,
    }
}

fn redis_template() -> Template {
    template(Envelope::Redis(cut(concat!(
        r#"{"body": "@body@", "content-encoding": "utf-8", "content-type": "application/json", "#,
        r#""headers": {"lang": "py", "task": "shop.tasks.add", "id": "@id@", "shadow": null, "#,
        r#""eta": null, "expires": null, "group": "6f1c2a52-5f7e-4d2a-9d9b-0d7a3a1c4e5f", "#,
        r#""group_index": @index@, "retries": 0, "timelimit": [null, null], "root_id": "@id@", "#,
        r#""parent_id": null, "argsrepr": "@args@", "kwargsrepr": "@kwargs@", "#,
        r#""origin": "gen4242-at-host", "ignore_result": false, "replaced_task_nesting": 0, "#,
        r#""stamped_headers": null, "stamps": {}}, "properties": {"correlation_id": "@id@", "#,
        r#""reply_to": "3b0cdd21-6c0f-3f4a-8b0a-1f0e6d5c4b3a", "delivery_mode": 2, "#,
        r#""delivery_info": {"exchange": "", "routing_key": "celery"}, "priority": 0, "#,
        r#""body_encoding": "base64", "delivery_tag": "@tag@"}}"#,
    ))))
}

fn amqp_template() -> Template {
    // Constant headers as one field of about their size; what is measured is the splicing.
    let table = cut(
        "\x02id@id@\x0bgroup_index@index@\x07root_id@id@\x08argsrepr@args@\nkwargsrepr@kwargs@",
    );
    let constant = [&[1, b'x', b'S', 0, 0, 1, 0][..], &[b'x'; 256]].concat();
    template(Envelope::Amqp(AmqpEnvelope {
        method: b"\0\x3c\0\x28\0\0\0\x06celery\0".to_vec(),
        before: b"\xb4\0\x10application/json\x05utf-8".to_vec(),
        table: [vec![Part::Bytes(constant)], table].concat(),
        after: vec![Part::Bytes(vec![2]), Part::Slot(Slot::Id)],
    }))
}
