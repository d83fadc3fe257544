//! Floats as Python's `float.__repr__` writes them.

/// Writes `value` as `repr(float)` does: shortest digits that read back the same, with an
/// exponent of at least two digits below 1e-4 and from 1e16 on.
///
/// # Source
/// `CPython`'s `format_float_short` with format code `r`; digits by Ryū (PLDI 2018).
pub(crate) fn write(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    // Ryū and Python choose the exponent form at different sizes only below 1e-4.
    if !text.contains('e') && (value == 0.0 || value.abs() >= 1e-4) {
        return out.extend_from_slice(text.as_bytes());
    }
    write_scientific(text, out);
}

/// Rewrites Ryū's `0.00001234` or `1.234e-7` as `1.234e-05`, `1.234e-07`.
fn write_scientific(text: &str, out: &mut Vec<u8>) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let mut exponent: i32 = exponent.parse().unwrap_or_default();
    let digits = match mantissa.strip_prefix('-') {
        Some(rest) => {
            out.push(b'-');
            rest
        }
        None => mantissa,
    };
    let digits = match digits.strip_prefix("0.") {
        Some(fraction) => {
            let significant = fraction.trim_start_matches('0');
            for _ in significant.len()..=fraction.len() {
                exponent -= 1;
            }
            significant
        }
        None => digits,
    };
    let mut characters = digits.bytes().filter(|&c| c != b'.');
    out.extend(characters.next());
    let mut rest = characters.peekable();
    if rest.peek().is_some() {
        out.push(b'.');
        out.extend(rest);
    }
    out.push(b'e');
    out.push(if exponent < 0 { b'-' } else { b'+' });
    let size = exponent.unsigned_abs();
    if size < 10 {
        out.push(b'0');
    }
    out.extend_from_slice(itoa::Buffer::new().format(size).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        write(value, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn the_exponent_form_starts_where_python_starts_it() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (1e-4, "0.0001"),
            (1.5e-5, "1.5e-05"),
            (-1e-5, "-1e-05"),
            (1.234e-7, "1.234e-07"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (1.25e100, "1.25e+100"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(text(value), expected);
        }
    }
}
