//! Random members, kept beside the chunk that was filled from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use celerant_core::error::Result;
use celerant_core::id::Ids;
use celerant_core::message::{Body, Chunk, Envelope, Member, Template};
use celerant_core::saferepr;
use celerant_core::value::{Arena, ValueRef};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::json;

/// A plain Python value.
#[derive(Clone, Debug)]
pub(crate) enum Plain {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Plain>),
    Tuple(Vec<Plain>),
    Dict(BTreeMap<String, Plain>),
}

impl Plain {
    fn push(&self, arena: &mut Arena) -> Result<()> {
        match self {
            Self::Null => arena.push_null(),
            Self::Bool(value) => arena.push_bool(*value),
            Self::Int(value) => arena.push_int(*value),
            Self::Float(value) => arena.push_float(*value),
            Self::Text(text) => arena.push_str(text.as_bytes()),
            Self::List(items) => {
                arena.push_list(items.len())?;
                items.iter().try_for_each(|item| item.push(arena))
            }
            Self::Tuple(items) => {
                arena.push_tuple(items.len())?;
                items.iter().try_for_each(|item| item.push(arena))
            }
            Self::Dict(pairs) => push_dict(pairs, arena),
        }
    }

    /// What a JSON reader must find.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => json!(null),
            Self::Bool(value) => json!(value),
            Self::Int(value) => json!(value),
            Self::Float(value) => json!(value),
            Self::Text(text) => json!(text),
            Self::List(items) | Self::Tuple(items) => list_to_json(items),
            Self::Dict(pairs) => dict_to_json(pairs),
        }
    }
}

fn push_dict(pairs: &BTreeMap<String, Plain>, arena: &mut Arena) -> Result<()> {
    arena.push_dict(pairs.len())?;
    pairs.iter().try_for_each(|(key, value)| {
        arena.push_str(key.as_bytes())?;
        value.push(arena)
    })
}

pub(crate) fn list_to_json(items: &[Plain]) -> serde_json::Value {
    items.iter().map(Plain::to_json).collect()
}

pub(crate) fn dict_to_json(pairs: &BTreeMap<String, Plain>) -> serde_json::Value {
    pairs
        .iter()
        .map(|(key, value)| (key.clone(), value.to_json()))
        .collect()
}

/// One member as drawn.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    pub(crate) template: u32,
    pub(crate) args: Vec<Plain>,
    pub(crate) kwargs: BTreeMap<String, Plain>,
    pub(crate) own_id: Option<String>,
    pub(crate) ready: Option<Vec<u8>>,
}

fn plain() -> impl Strategy<Value = Plain> {
    let leaf = prop_oneof![
        Just(Plain::Null),
        any::<bool>().prop_map(Plain::Bool),
        any::<i64>().prop_map(Plain::Int),
        // Eighths: serde_json reads other fractions only approximately.
        any::<i32>().prop_map(|value| Plain::Float(f64::from(value) / 8.0)),
        ".{0,12}".prop_map(Plain::Text),
        "[\\x00-\\x7f]{0,12}".prop_map(Plain::Text),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Plain::List),
            vec(inner.clone(), 0..4).prop_map(Plain::Tuple),
            btree_map(".{0,4}", inner, 0..4).prop_map(Plain::Dict),
        ]
    })
}

/// Members of `templates` templates.
pub(crate) fn members(templates: u32) -> impl Strategy<Value = Vec<Drawn>> {
    let ready = prop_oneof![
        4 => vec(any::<u8>(), 0..40),
        // Several frames of the least size.
        1 => (4000..13_000_usize).prop_map(|len| vec![b'x'; len]),
    ];
    let member = (
        0..templates,
        vec(plain(), 0..4),
        btree_map(".{0,4}", plain(), 0..3),
        option::weighted(0.3, "[^\\x00]{1,40}"),
        option::weighted(0.3, ready),
    );
    let drawn = member.prop_map(|(template, args, kwargs, own_id, ready)| Drawn {
        template,
        args,
        kwargs,
        own_id,
        ready,
    });
    vec(drawn, 0..24)
}

/// The chunk that a reader would have made of `drawn`; indices count from `first`.
pub(crate) fn fill(drawn: &[Drawn], templates: Vec<Template>, first: u32) -> Result<Chunk> {
    let templates = templates.into_iter().map(Arc::new).collect();
    let mut chunk = Chunk {
        templates,
        ..Chunk::default()
    };
    for (index, member) in (first..).zip(drawn) {
        let arena = &mut chunk.arena;
        let args = arena.position()?;
        Plain::Tuple(member.args.clone()).push(arena)?;
        let kwargs = arena.position()?;
        push_dict(&member.kwargs, arena)?;
        let own_id = member
            .own_id
            .as_ref()
            .map(|id| arena.store(id.as_bytes()))
            .transpose()?;
        let body = match &member.ready {
            Some(bytes) => Body::Ready(arena.store(bytes)?),
            None => Body::Plain {
                args,
                kwargs,
                embed: None,
            },
        };
        let template = member.template;
        chunk.members.push(Member {
            template,
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

pub(crate) fn template(envelope: Envelope, route: u32) -> Template {
    Template {
        envelope,
        embed: br#"{"chord": null}"#.to_vec(),
        route,
    }
}

impl Drawn {
    /// The id that must be on the wire.
    pub(crate) fn id(&self, ids: &Ids, index: u32) -> String {
        self.own_id.clone().unwrap_or_else(|| ids.text(index))
    }

    /// Whether `body` is what the worker must get.
    pub(crate) fn has_body(&self, body: &[u8]) -> bool {
        if let Some(ready) = &self.ready {
            return body == ready;
        }
        let expected =
            json!([list_to_json(&self.args), dict_to_json(&self.kwargs), { "chord": null }]);
        serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|read| read == expected)
    }
}

/// The repr of `value`, as text.
pub(crate) fn repr(chunk: &Chunk, value: ValueRef) -> Result<String> {
    let mut out = Vec::new();
    saferepr::write(&chunk.arena, value, saferepr::Limits::default(), &mut out)?;
    Ok(String::from_utf8(out).expect("no surrogates were drawn"))
}
