//! Columns: what is made of each of Arrow's types.
//!
//! | Arrow | Python |
//! |---|---|
//! | integers, floats, booleans, null | `int`, `float`, `bool`, `None` |
//! | strings, binaries | `str`, `bytes` |
//! | timestamps, dates, times | `datetime`, `date`, `time` |
//! | decimals | `Decimal` |
//! | lists of any kind; maps | `list`; `list` of pairs |
//! | structs | `dict` |
//! | dictionaries | their values |

use arrow_array::cast::AsArray;
use arrow_array::types as arrow;
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, BinaryViewArray, StringViewArray};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_schema::{DataType, Field, TimeUnit};
use celerant_core::value::{Arena, Token};

use crate::fault::{Fault, Result};
use crate::moments::{Zone, push_date, push_datetime, push_time};
use crate::{decimal, kinds};

const DAY_MS: i64 = 86_400_000;

/// Some rows of one column.
#[derive(Debug)]
pub struct Column {
    nulls: Option<NullBuffer>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Null,
    Bool(BooleanBuffer),
    Int(Vec<i64>),
    UInt(Vec<u64>),
    Float(Vec<f64>),
    Text(Vec<usize>, Buffer),
    TextView(StringViewArray),
    Bytes(Vec<usize>, Buffer),
    BytesView(BinaryViewArray),
    Date(Vec<i64>),
    Time(Vec<i64>, TimeUnit),
    Datetime(Vec<i64>, TimeUnit, Zone),
    /// Their digits, and places after the point.
    Decimal(Vec<String>, i8),
    /// Where each list begins, and the end of the last.
    List(Vec<usize>, Box<Column>),
    /// The same; each entry is a pair.
    Map(Vec<usize>, Box<Column>, Box<Column>),
    Struct(Vec<(String, Column)>),
    Dictionary(Vec<usize>, Box<Column>),
}

impl Column {
    /// Takes in an array of a type that [`kinds::check`] lets pass.
    ///
    /// # Errors
    /// As [`kinds::check`].
    pub fn read(field: &Field, array: &ArrayRef) -> Result<Self> {
        Ok(Self {
            nulls: array
                .nulls()
                .filter(|nulls| nulls.null_count() > 0)
                .cloned(),
            values: read(field, array)?,
        })
    }

    /// Pushes the value of a row.
    ///
    /// # Errors
    /// A value that Python has not, or an arena that is full.
    pub fn push(&self, row: usize, arena: &mut Arena) -> Result<()> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(arena.push_null()?);
        }
        match &self.values {
            Values::Null => arena.push_null()?,
            Values::Bool(values) => arena.push_bool(values.value(row))?,
            Values::Int(values) => arena.push(Token::Int(values[row]))?,
            Values::UInt(values) => push_unsigned(values[row], arena)?,
            Values::Float(values) => arena.push(Token::Float(values[row]))?,
            Values::Text(ends, data) => arena.push_str(&data[ends[row]..ends[row + 1]])?,
            Values::TextView(values) => arena.push_str(values.value(row).as_bytes())?,
            Values::Bytes(ends, data) => push_bytes(&data[ends[row]..ends[row + 1]], arena)?,
            Values::BytesView(values) => push_bytes(values.value(row), arena)?,
            Values::Date(values) => push_date(values[row], arena)?,
            Values::Time(values, unit) => push_time(values[row], *unit, arena)?,
            Values::Datetime(values, unit, zone) => {
                push_datetime(values[row], *unit, zone, arena)?;
            }
            Values::Decimal(values, scale) => decimal::push(&values[row], *scale, arena)?,
            Values::List(ends, inner) => {
                arena.push_list(ends[row + 1] - ends[row])?;
                for at in ends[row]..ends[row + 1] {
                    inner.push(at, arena)?;
                }
            }
            Values::Map(ends, keys, values) => {
                arena.push_list(ends[row + 1] - ends[row])?;
                for at in ends[row]..ends[row + 1] {
                    arena.push_tuple(2)?;
                    keys.push(at, arena)?;
                    values.push(at, arena)?;
                }
            }
            Values::Struct(columns) => {
                arena.push_dict(columns.len())?;
                for (name, column) in columns {
                    arena.push_str(name.as_bytes())?;
                    column.push(row, arena)?;
                }
            }
            Values::Dictionary(keys, values) => values.push(keys[row], arena)?,
        }
        Ok(())
    }
}

fn read(field: &Field, array: &ArrayRef) -> Result<Values> {
    Ok(match array.data_type() {
        DataType::Null => Values::Null,
        DataType::Boolean => Values::Bool(array.as_boolean().values().clone()),
        DataType::Int8 => Values::Int(widened::<arrow::Int8Type, _>(array)),
        DataType::Int16 => Values::Int(widened::<arrow::Int16Type, _>(array)),
        DataType::Int32 => Values::Int(widened::<arrow::Int32Type, _>(array)),
        DataType::Int64 => Values::Int(widened::<arrow::Int64Type, _>(array)),
        DataType::UInt8 => Values::Int(widened::<arrow::UInt8Type, _>(array)),
        DataType::UInt16 => Values::Int(widened::<arrow::UInt16Type, _>(array)),
        DataType::UInt32 => Values::Int(widened::<arrow::UInt32Type, _>(array)),
        DataType::UInt64 => Values::UInt(widened::<arrow::UInt64Type, _>(array)),
        DataType::Float16 => {
            let values = array.as_primitive::<arrow::Float16Type>().values();
            Values::Float(values.iter().map(|value| value.to_f64()).collect())
        }
        DataType::Float32 => Values::Float(widened::<arrow::Float32Type, _>(array)),
        DataType::Float64 => Values::Float(widened::<arrow::Float64Type, _>(array)),
        DataType::Utf8 => {
            let text = array.as_string::<i32>();
            Values::Text(places(text.value_offsets()), text.values().clone())
        }
        DataType::LargeUtf8 => {
            let text = array.as_string::<i64>();
            Values::Text(places(text.value_offsets()), text.values().clone())
        }
        DataType::Utf8View => Values::TextView(array.as_string_view().clone()),
        DataType::Binary => {
            let bytes = array.as_binary::<i32>();
            Values::Bytes(places(bytes.value_offsets()), bytes.values().clone())
        }
        DataType::LargeBinary => {
            let bytes = array.as_binary::<i64>();
            Values::Bytes(places(bytes.value_offsets()), bytes.values().clone())
        }
        DataType::BinaryView => Values::BytesView(array.as_binary_view().clone()),
        DataType::FixedSizeBinary(_) => {
            let bytes = array.as_fixed_size_binary();
            let size = usize::try_from(bytes.value_length()).unwrap_or_default();
            let ends = (0..=bytes.len()).map(|row| row * size).collect();
            Values::Bytes(ends, Buffer::from(bytes.value_data()))
        }
        DataType::Date32 => Values::Date(widened::<arrow::Date32Type, _>(array)),
        DataType::Date64 => {
            let days = widened::<arrow::Date64Type, i64>(array);
            Values::Date(days.iter().map(|ms| ms.div_euclid(DAY_MS)).collect())
        }
        DataType::Time32(unit) => Values::Time(
            match unit {
                TimeUnit::Second => widened::<arrow::Time32SecondType, _>(array),
                _ => widened::<arrow::Time32MillisecondType, _>(array),
            },
            *unit,
        ),
        DataType::Time64(unit) => Values::Time(
            match unit {
                TimeUnit::Microsecond => widened::<arrow::Time64MicrosecondType, _>(array),
                _ => widened::<arrow::Time64NanosecondType, _>(array),
            },
            *unit,
        ),
        DataType::Timestamp(unit, zone) => {
            let values = match unit {
                TimeUnit::Second => widened::<arrow::TimestampSecondType, _>(array),
                TimeUnit::Millisecond => widened::<arrow::TimestampMillisecondType, _>(array),
                TimeUnit::Microsecond => widened::<arrow::TimestampMicrosecondType, _>(array),
                TimeUnit::Nanosecond => widened::<arrow::TimestampNanosecondType, _>(array),
            };
            let zone = Zone::read(zone.as_deref()).ok_or_else(|| unreadable(field))?;
            Values::Datetime(values, *unit, zone)
        }
        DataType::Decimal32(_, scale) => {
            Values::Decimal(digits::<arrow::Decimal32Type>(array), *scale)
        }
        DataType::Decimal64(_, scale) => {
            Values::Decimal(digits::<arrow::Decimal64Type>(array), *scale)
        }
        DataType::Decimal128(_, scale) => {
            Values::Decimal(digits::<arrow::Decimal128Type>(array), *scale)
        }
        DataType::Decimal256(_, scale) => {
            Values::Decimal(digits::<arrow::Decimal256Type>(array), *scale)
        }
        _ => return nested(field, array),
    })
}

fn nested(field: &Field, array: &ArrayRef) -> Result<Values> {
    Ok(match array.data_type() {
        DataType::List(inner) => {
            let lists = array.as_list::<i32>();
            listed(inner, lists.value_offsets(), lists.values())?
        }
        DataType::LargeList(inner) => {
            let lists = array.as_list::<i64>();
            listed(inner, lists.value_offsets(), lists.values())?
        }
        DataType::FixedSizeList(inner, size) => {
            let lists = array.as_fixed_size_list();
            let size = usize::try_from(*size).unwrap_or_default();
            let ends = (0..=lists.len()).map(|row| row * size).collect();
            Values::List(ends, Box::new(Column::read(inner, lists.values())?))
        }
        DataType::Map(entries, _) => {
            let maps = array.as_map();
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(unreadable(field));
            };
            let [key, value] = &fields[..] else {
                return Err(unreadable(field));
            };
            let (first, ends) = shifted(maps.value_offsets());
            let count = ends.last().copied().unwrap_or_default();
            let keys = Column::read(key, &maps.keys().slice(first, count))?;
            let values = Column::read(value, &maps.values().slice(first, count))?;
            Values::Map(ends, Box::new(keys), Box::new(values))
        }
        DataType::Struct(fields) => {
            let arrays = array.as_struct().columns();
            let columns = fields.iter().zip(arrays).map(|(field, array)| {
                let column = Column::read(field, array)?;
                Ok((field.name().clone(), column))
            });
            Values::Struct(columns.collect::<Result<_>>()?)
        }
        DataType::Dictionary(_, kind) => {
            let dictionary = array.as_any_dictionary();
            let inner = Field::new(field.name(), kind.as_ref().clone(), true);
            let values = Column::read(&inner, dictionary.values())?;
            let keys = if dictionary.values().is_empty() {
                // All of them are null.
                vec![0; array.len()]
            } else {
                dictionary.normalized_keys()
            };
            Values::Dictionary(keys, Box::new(values))
        }
        _ => return Err(unreadable(field)),
    })
}

fn listed<T: Copy + TryInto<usize>>(
    inner: &Field,
    offsets: &[T],
    values: &ArrayRef,
) -> Result<Values> {
    // Of a part of a column, that part of its items.
    let (first, ends) = shifted(offsets);
    let count = ends.last().copied().unwrap_or_default();
    let items = Column::read(inner, &values.slice(first, count))?;
    Ok(Values::List(ends, Box::new(items)))
}

/// The first of offsets, and all of them counted from there.
fn shifted<T: Copy + TryInto<usize>>(offsets: &[T]) -> (usize, Vec<usize>) {
    let places = places(offsets);
    let first = places.first().copied().unwrap_or_default();
    (first, places.iter().map(|place| place - first).collect())
}

fn places<T: Copy + TryInto<usize>>(offsets: &[T]) -> Vec<usize> {
    let place = |&offset: &T| offset.try_into().unwrap_or_default();
    offsets.iter().map(place).collect()
}

fn widened<T: ArrowPrimitiveType, Wide: From<T::Native>>(array: &ArrayRef) -> Vec<Wide> {
    let values = array.as_primitive::<T>().values();
    values.iter().map(|&value| Wide::from(value)).collect()
}

fn digits<T: ArrowPrimitiveType<Native: ToString>>(array: &ArrayRef) -> Vec<String> {
    let values = array.as_primitive::<T>().values();
    values.iter().map(ToString::to_string).collect()
}

fn unreadable(field: &Field) -> Fault {
    match kinds::check(field) {
        Err(fault) => fault,
        Ok(()) => Fault::Refused(format!("column '{}' cannot be read", field.name())),
    }
}

fn push_unsigned(value: u64, arena: &mut Arena) -> Result<()> {
    if let Ok(value) = i64::try_from(value) {
        return Ok(arena.push(Token::Int(value))?);
    }
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value).as_bytes();
    Ok(arena.push_encoded(text, text)?)
}

/// Pushes bytes as kombu writes them: as text if they are UTF-8, else in base64.
fn push_bytes(bytes: &[u8], arena: &mut Arena) -> Result<()> {
    let mut json = Vec::with_capacity(bytes.len() + 64);
    let mut repr = Vec::with_capacity(bytes.len() + 3);
    if std::str::from_utf8(bytes).is_ok() {
        json.extend_from_slice(br#"{"__type__": "bytes", "__value__": ""#);
        celerant_core::json::write_escaped(bytes, &mut json);
    } else {
        json.extend_from_slice(br#"{"__type__": "base64", "__value__": ""#);
        base64_simd::STANDARD.encode_append(bytes, &mut json);
    }
    json.extend_from_slice(b"\"}");
    celerant_core::saferepr::write_bytes(bytes, &mut repr);
    Ok(arena.push_encoded(&json, &repr)?)
}
