//! Moments as Python's `datetime.isoformat` writes them.

const MICROS: i64 = 1_000_000;
const DAY: i64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01, of the Gregorian calendar continued backwards.
const TO_EPOCH: i64 = 719_468;
/// Days of 400 years, after which the calendar repeats itself.
const ERA: i64 = 146_097;
/// The microseconds of the years that Python's `datetime` has.
const FIRST: i64 = -62_135_596_800 * MICROS;
const LAST: i64 = 253_402_300_800 * MICROS - 1;

/// Appends the moment `seconds` after the epoch, in UTC: `2026-11-30T19:00:00.000001+00:00`.
///
/// To the nearest microsecond, and no fraction if there are none; one that is beyond the
/// years 1 to 9999 becomes the nearest moment inside.
pub fn write_utc(seconds: f64, out: &mut Vec<u8>) {
    #[allow(clippy::cast_possible_truncation)] // it saturates
    let micros = ((seconds * 1e6).round() as i64).clamp(FIRST, LAST);
    let (whole, fraction) = (micros.div_euclid(MICROS), micros.rem_euclid(MICROS));
    let (days, second) = (whole.div_euclid(DAY), whole.rem_euclid(DAY));
    let (year, month, day) = date(days);
    write_padded(year, 4, out);
    for (mark, number) in [
        (b'-', month),
        (b'-', day),
        (b'T', second / 3600),
        (b':', second / 60 % 60),
        (b':', second % 60),
    ] {
        out.push(mark);
        write_padded(number, 2, out);
    }
    if fraction != 0 {
        out.push(b'.');
        write_padded(fraction, 6, out);
    }
    out.extend_from_slice(b"+00:00");
}

/// Year, month and day of the day that is `days` after 1970-01-01.
///
/// # Source
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`: years
/// begin in March there, so that the leap day is the last of its year.
const fn date(days: i64) -> (i64, i64, i64) {
    let days = days + TO_EPOCH;
    let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

fn write_padded(number: i64, width: usize, out: &mut Vec<u8>) {
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
