//! Decimals as Python's `str(Decimal)` writes them.

use celerant_core::value::Arena;

use crate::fault::Result;

/// Pushes a `Decimal` of these digits (with their sign) and so many places after the point.
///
/// # Source
/// `CPython`'s `Decimal.__str__`.
pub(crate) fn push(digits: &str, scale: i8, arena: &mut Arena) -> Result<()> {
    let text = written(digits, scale);
    let json = format!(r#"{{"__type__": "decimal", "__value__": "{text}"}}"#);
    let repr = format!("Decimal('{text}')");
    Ok(arena.push_encoded(json.as_bytes(), repr.as_bytes())?)
}

fn written(digits: &str, scale: i8) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits),
    };
    let exponent = -i64::from(scale);
    let len = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let left = exponent + len;
    let is_plain = exponent <= 0 && left > -6;
    let dot = if is_plain { left } else { 1 };
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or_default());
    let (whole, part) = if dot <= 0 {
        ("0".to_owned(), format!(".{}{digits}", zeros(-dot)))
    } else if dot >= len {
        (format!("{digits}{}", zeros(dot - len)), String::new())
    } else {
        let (whole, part) = digits.split_at(usize::try_from(dot).unwrap_or_default());
        (whole.to_owned(), format!(".{part}"))
    };
    let power = match left - dot {
        0 => String::new(),
        power => format!("E{power:+}"),
    };
    format!("{sign}{whole}{part}{power}")
}
