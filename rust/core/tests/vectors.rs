//! The encoders against what Python and Celery wrote
//! (`tests/conformance/make_saferepr_vectors.py`).

mod codec;

use celerant_core::error::Result;
use celerant_core::value::{Arena, ValueRef};
use celerant_core::{json, saferepr};
use codec::trees::{cases, from_hex, push};
use serde_json::Value;

fn read(tree: &Value) -> Result<(Arena, ValueRef)> {
    let mut arena = Arena::new();
    // Not at 0: positions must be honoured.
    arena.push_null()?;
    let value = arena.position()?;
    push(tree, &mut arena)?;
    arena.push_list(9)?;
    Ok((arena, value))
}

#[test]
fn saferepr_is_celerys_to_the_byte() -> Result<()> {
    are_celerys(include_str!("data/saferepr.json"), true)
}

#[test]
fn saferepr_is_that_of_celery_before_5_7_to_the_byte() -> Result<()> {
    are_celerys(include_str!("data/saferepr_before_5_7.json"), false)
}

fn are_celerys(file: &str, is_balanced: bool) -> Result<()> {
    for case in cases(file) {
        let (arena, value) = read(&case["value"])?;
        let limit = |name: &str| {
            usize::try_from(case[name].as_u64().expect("a limit")).expect("a small limit")
        };
        let mut out = Vec::new();
        let limits = saferepr::Limits {
            max_len: limit("max_len"),
            max_levels: limit("max_levels"),
            is_balanced,
        };
        saferepr::write(&arena, value, limits, &mut out)?;
        let expected = from_hex(&case["expected"]);
        assert_eq!(
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(&expected),
            "of {case}"
        );
        assert_eq!(out, expected, "of {case}");
    }
    Ok(())
}

#[test]
fn json_is_pythons_to_the_byte() -> Result<()> {
    for case in cases(include_str!("data/json.json")) {
        let (arena, value) = read(&case["value"])?;
        let mut out = Vec::new();
        json::write(&arena, value, &mut out)?;
        let expected = case["expected"].as_str().expect("text");
        assert_eq!(String::from_utf8_lossy(&out), expected, "of {case}");
    }
    Ok(())
}
