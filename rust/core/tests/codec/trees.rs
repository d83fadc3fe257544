//! Generated files: cases, hex and typed trees of values.

use celerant_core::error::Result;
use celerant_core::value::Arena;
use serde_json::Value;

/// The cases of a generated file.
pub(crate) fn cases(text: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).expect("a generated file");
    file["cases"].as_array().expect("a list of cases").clone()
}

pub(crate) fn from_hex(text: &Value) -> Vec<u8> {
    let text = text.as_str().expect("hex");
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(digit).collect()
}

/// Pushes the value that `tree` spells out.
pub(crate) fn push(tree: &Value, arena: &mut Arena) -> Result<()> {
    let items = || tree[1].as_array().expect("items");
    match tree[0].as_str().expect("a type") {
        "null" => return arena.push_null(),
        "bool" => return arena.push_bool(tree[1].as_bool().expect("a bool")),
        "int" => return arena.push_int(tree[1].as_i64().expect("an int")),
        "float" => {
            let bits = from_hex(&tree[1]).try_into().expect("8 bytes");
            return arena.push_float(f64::from_be_bytes(bits));
        }
        "str" => return arena.push_str(&from_hex(&tree[1])),
        "bytes" => return arena.push_bytes(&from_hex(&tree[1])),
        "repr" => return arena.push_repr(&from_hex(&tree[1])),
        "list" => arena.push_list(items().len())?,
        "tuple" => arena.push_tuple(items().len())?,
        "set" => arena.push_set(items().len())?,
        "frozenset" => arena.push_frozenset(items().len())?,
        "dict" => {
            arena.push_dict(items().len())?;
            return items().iter().try_for_each(|pair| {
                push(&pair[0], arena)?;
                push(&pair[1], arena)
            });
        }
        other => panic!("unknown type {other}"),
    }
    items().iter().try_for_each(|item| push(item, arena))
}
