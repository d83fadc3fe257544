//! Dates and times as Python's `isoformat` writes them.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Timelike};

const MICROS: i64 = 1_000_000;
/// The microseconds of the years that Python's `datetime` has.
const FIRST: i64 = -62_135_596_800 * MICROS;
const LAST: i64 = 253_402_300_800 * MICROS - 1;

/// Appends the moment `seconds` after the epoch, in UTC: `2026-11-30T19:00:00.000001+00:00`.
///
/// To the nearest microsecond; one that is beyond the years 1 to 9999 becomes the nearest
/// moment inside.
pub fn write_utc(seconds: f64, out: &mut Vec<u8>) {
    #[allow(clippy::cast_possible_truncation)] // it saturates
    let micros = ((seconds * 1e6).round() as i64).clamp(FIRST, LAST);
    let moment = DateTime::from_timestamp_micros(micros).unwrap_or_default();
    write_date(moment.date_naive(), out);
    out.push(b'T');
    write_time(moment.time(), out);
    out.extend_from_slice(b"+00:00");
}

/// Appends a date of the years 1 to 9999: `2026-11-30`.
pub fn write_date(date: NaiveDate, out: &mut Vec<u8>) {
    write_padded(date.year().unsigned_abs(), 4, out);
    out.push(b'-');
    write_padded(date.month(), 2, out);
    out.push(b'-');
    write_padded(date.day(), 2, out);
}

/// Appends a time of whole microseconds, and no fraction if there are none: `19:00:00.000001`.
pub fn write_time(time: NaiveTime, out: &mut Vec<u8>) {
    write_padded(time.hour(), 2, out);
    out.push(b':');
    write_padded(time.minute(), 2, out);
    out.push(b':');
    write_padded(time.second(), 2, out);
    let micros = time.nanosecond() / 1000;
    if micros > 0 {
        out.push(b'.');
        write_padded(micros, 6, out);
    }
}

fn write_padded(number: u32, width: usize, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    let text = digits.format(number);
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(text.len())));
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(seconds: f64) -> String {
        let mut out = Vec::new();
        write_utc(seconds, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        assert_eq!(utc(0.0), "1970-01-01T00:00:00+00:00");
        assert_eq!(utc(-1.0), "1969-12-31T23:59:59+00:00");
        assert_eq!(utc(951_782_400.0), "2000-02-29T00:00:00+00:00");
        assert_eq!(utc(4_107_542_400.25), "2100-03-01T00:00:00.250000+00:00");
        assert_eq!(
            utc(1_796_065_199.000_001),
            "2026-11-30T18:59:59.000001+00:00"
        );
        assert_eq!(utc(1.999_999_9), "1970-01-01T00:00:02+00:00");
        assert_eq!(utc(f64::NEG_INFINITY), "0001-01-01T00:00:00+00:00");
        assert_eq!(utc(f64::INFINITY), "9999-12-31T23:59:59.999999+00:00");
    }
}
