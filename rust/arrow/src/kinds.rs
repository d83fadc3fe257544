//! Which types of Arrow's have a place in a message.

use std::collections::HashSet;

use arrow_schema::{DataType, Field, Fields};

use crate::fault::{Fault, Result};
use crate::moments::Zone;

/// Lists and structs inside one another that are read: kombu's readers take no more levels.
const MAX_NESTING: usize = 64;
/// The key under which a field names its extension type.
const EXTENSION: &str = "ARROW:extension:name";

/// Refuses a column whose values have no place in a message.
///
/// # Errors
/// [`Fault::Refused`] names the column, its type, and what to do.
pub fn check(field: &Field) -> Result<()> {
    let Some((kind, advice)) = refused(field, 0) else {
        return Ok(());
    };
    Err(Fault::Refused(format!(
        "column '{}' is of Arrow's type {kind}, which has no place in a message; {advice}",
        field.name()
    )))
}

/// The type that is refused in a field, and what to do.
fn refused(field: &Field, depth: usize) -> Option<(String, &'static str)> {
    let kind = field.data_type();
    if let Some(name) = field.metadata().get(EXTENSION) {
        let named = format!("{name} (an extension of {kind})");
        return Some((named, "cast it to the type that it extends, or to strings"));
    }
    if depth > MAX_NESTING {
        return Some((kind.to_string(), "nest fewer lists in one another"));
    }
    let advice = match kind {
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float16
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_)
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => return None,
        DataType::Timestamp(_, zone) => {
            Zone::read(zone.as_deref()).map_or(Some("convert it to UTC first"), |_| None)?
        }
        DataType::List(inner)
        | DataType::LargeList(inner)
        | DataType::FixedSizeList(inner, _)
        | DataType::Map(inner, _) => return refused(inner, depth + 1),
        DataType::Struct(fields) if has_twins(fields) => {
            "two of its fields have one name, and a dict keeps one of them: rename one"
        }
        DataType::Struct(fields) => {
            return fields.iter().find_map(|inner| refused(inner, depth + 1));
        }
        DataType::Dictionary(_, inner) => {
            return refused(&Field::new("", inner.as_ref().clone(), true), depth + 1);
        }
        DataType::Duration(_) => "JSON has no durations: cast it to integers",
        DataType::Interval(_) => "JSON has no intervals: make numbers or strings of it",
        DataType::RunEndEncoded(..) => "decode its runs first",
        _ => "cast it to another type first",
    };
    Some((kind.to_string(), advice))
}

/// Whether two fields have one name.
fn has_twins(fields: &Fields) -> bool {
    let mut names = HashSet::new();
    !fields.iter().all(|field| names.insert(field.name()))
}
