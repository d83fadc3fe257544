//! Dates and times as Python's `isoformat` and `repr` write them.

use std::fmt::Write as _;
use std::io::Write as _;

use arrow_schema::TimeUnit;
use celerant_core::moment::{write_date, write_time};
use celerant_core::value::Arena;
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike};

use crate::fault::{Fault, Result};

/// The place of a timestamp's values on the clock.
#[derive(Clone, Debug)]
pub(crate) enum Zone {
    /// Without a time zone.
    None,
    /// UTC, by that name.
    Utc,
    /// Seconds east of UTC.
    Offset(i32),
}

impl Zone {
    /// Reads Arrow's name of a time zone; None for one whose offset changes.
    #[must_use]
    pub(crate) fn read(name: Option<&str>) -> Option<Self> {
        let Some(name) = name else {
            return Some(Self::None);
        };
        if matches!(name, "UTC" | "Etc/UTC" | "Z") {
            return Some(Self::Utc);
        }
        let (sign, rest) = match name.split_at_checked(1)? {
            ("+", rest) => (1, rest),
            ("-", rest) => (-1, rest),
            _ => return None,
        };
        let (hours, minutes) = rest.split_once(':').or_else(|| rest.split_at_checked(2))?;
        let number = |text: &str| {
            let is_number = text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit());
            is_number.then(|| text.parse::<i32>().ok()).flatten()
        };
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        let seconds = sign * (hours * 3600 + minutes * 60);
        (hours < 24 && minutes < 60).then_some(match seconds {
            0 => Self::Utc,
            other => Self::Offset(other),
        })
    }
}

/// How many of a unit are in a second.
#[must_use]
pub(crate) const fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Pushes a `datetime`.
pub(crate) fn push_datetime(
    value: i64,
    unit: TimeUnit,
    zone: &Zone,
    arena: &mut Arena,
) -> Result<()> {
    let (seconds, micros) = parts(value, unit)?;
    let utc = DateTime::from_timestamp(seconds, micros * 1000);
    let local = utc.and_then(|utc| match zone {
        Zone::Offset(seconds) => {
            let shift = TimeDelta::seconds(i64::from(*seconds));
            utc.naive_utc().checked_add_signed(shift)
        }
        _ => Some(utc.naive_utc()),
    });
    let Some(local) = local.filter(|local| is_of_python(local.date())) else {
        return Err(beyond("a datetime"));
    };
    let (mut json, mut repr) = (Vec::with_capacity(80), String::with_capacity(80));
    json.extend_from_slice(br#"{"__type__": "datetime", "__value__": ""#);
    write_date(local.date(), &mut json);
    json.push(b'T');
    write_time(local.time(), &mut json);
    let _ = write!(
        repr,
        "datetime.datetime({}, {}, {}, ",
        local.year(),
        local.month(),
        local.day()
    );
    write_clock(&local, micros, &mut repr);
    match zone {
        Zone::None => {}
        Zone::Utc => {
            json.extend_from_slice(b"+00:00");
            repr.push_str(", tzinfo=datetime.timezone.utc");
        }
        Zone::Offset(seconds) => {
            let (sign, size) = (if *seconds < 0 { '-' } else { '+' }, seconds.abs());
            let _ = write!(json, "{sign}{:02}:{:02}", size / 3600, size / 60 % 60);
            let days = if *seconds < 0 { "days=-1, " } else { "" };
            let rest = seconds.rem_euclid(86_400);
            let _ = write!(
                repr,
                ", tzinfo=datetime.timezone(datetime.timedelta({days}seconds={rest}))"
            );
        }
    }
    json.extend_from_slice(b"\"}");
    repr.push(')');
    Ok(arena.push_encoded(&json, repr.as_bytes())?)
}

/// Pushes a `date`, in days since 1970.
pub(crate) fn push_date(days: i64, arena: &mut Arena) -> Result<()> {
    let date = i32::try_from(days)
        .ok()
        .and_then(NaiveDate::from_epoch_days)
        .filter(|&date| is_of_python(date));
    let Some(date) = date else {
        return Err(beyond("a date"));
    };
    let mut json = br#"{"__type__": "date", "__value__": ""#.to_vec();
    write_date(date, &mut json);
    json.extend_from_slice(b"\"}");
    let repr = format!(
        "datetime.date({}, {}, {})",
        date.year(),
        date.month(),
        date.day()
    );
    Ok(arena.push_encoded(&json, repr.as_bytes())?)
}

/// Pushes a `time`, in `unit` since midnight.
pub(crate) fn push_time(value: i64, unit: TimeUnit, arena: &mut Arena) -> Result<()> {
    let (seconds, micros) = parts(value, unit)?;
    let moment = DateTime::from_timestamp(seconds, micros * 1000);
    let Some(moment) = moment.filter(|_| (0..86_400).contains(&seconds)) else {
        return Err(Fault::Refused(format!("{value} is no time of a day")));
    };
    let moment = moment.naive_utc();
    let mut json = br#"{"__type__": "time", "__value__": ""#.to_vec();
    write_time(moment.time(), &mut json);
    json.extend_from_slice(b"\"}");
    let mut repr = String::from("datetime.time(");
    write_clock(&moment, micros, &mut repr);
    repr.push(')');
    Ok(arena.push_encoded(&json, repr.as_bytes())?)
}

/// Whole seconds, and microseconds on top.
fn parts(value: i64, unit: TimeUnit) -> Result<(i64, u32)> {
    let each = per_second(unit);
    let (seconds, rest) = (value.div_euclid(each), value.rem_euclid(each));
    if each == 1_000_000_000 && rest % 1000 != 0 {
        return Err(Fault::Refused(format!(
            "{rest} ns are no whole microseconds, and Python has nothing shorter; cast the column \
             to microseconds"
        )));
    }
    let micros = if each > 1_000_000 {
        rest / 1000
    } else {
        rest * (1_000_000 / each)
    };
    Ok((seconds, u32::try_from(micros).unwrap_or_default()))
}

fn is_of_python(date: NaiveDate) -> bool {
    (1..=9999).contains(&date.year())
}

fn beyond(what: &str) -> Fault {
    Fault::Refused(format!(
        "{what} of Python's is in the years 1 to 9999, and this is not"
    ))
}

// Writing to a string or a vector cannot fail.

/// Hours and minutes, and what follows up to the last that is not 0.
fn write_clock(moment: &NaiveDateTime, micros: u32, out: &mut String) {
    let _ = write!(out, "{}, {}", moment.hour(), moment.minute());
    if moment.second() > 0 || micros > 0 {
        let _ = write!(out, ", {}", moment.second());
    }
    if micros > 0 {
        let _ = write!(out, ", {micros}");
    }
}
