//! Types of plain scalars: the core schema of YAML 1.2, finite numbers only.

use serde_json::{Number, Value};

use crate::tree::{Kind, Node, Span};

/// A plain scalar.
pub(crate) fn node(text: &str, span: Span) -> Node {
    let (kind, is_shown) = resolve(text);
    Node {
        kind,
        span,
        written: (!is_shown).then(|| text.into()),
    }
}

/// The value of a plain scalar, and `true` if it is shown as it is written. `no`, `on` and
/// `1_000` are strings. A number that no value holds, such as `.inf`, `1e400` or `0x` with more
/// than 64 bits, is a string that is not shown as it is written.
pub(crate) fn resolve(text: &str) -> (Kind, bool) {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => (Kind::Null, true),
        "true" | "True" | "TRUE" => (Kind::Bool(true), text == "true"),
        "false" | "False" | "FALSE" => (Kind::Bool(false), text == "false"),
        _ => match number(text) {
            Some(number) => {
                let is_shown = number.to_string() == text;
                (Kind::Number(number), is_shown)
            }
            None => (Kind::String(text.to_owned()), !is_number(text)),
        },
    }
}

/// The value of a plain scalar as JSON.
pub(crate) fn value(text: &str) -> Value {
    match resolve(text).0 {
        Kind::Bool(value) => Value::Bool(value),
        Kind::Number(value) => Value::Number(value),
        Kind::String(value) => Value::String(value),
        Kind::Null | Kind::List(_) | Kind::Map(_) => Value::Null,
    }
}

/// Returns `true` for every number of the core schema.
fn is_number(text: &str) -> bool {
    let digits_of = |digits: &str, is: fn(&u8) -> bool| {
        !digits.is_empty() && digits.bytes().all(|byte| is(&byte))
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return digits_of(digits, u8::is_ascii_hexdigit);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return digits_of(digits, |byte| (b'0'..=b'7').contains(byte));
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if [".inf", ".Inf", ".INF"].contains(&unsigned) || [".nan", ".NaN", ".NAN"].contains(&text) {
        return true;
    }
    is_decimal(unsigned)
}

/// Returns `true` for digits with or without a point and an exponent.
fn is_decimal(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_exponent = |text: &str| {
        let text = text.strip_prefix(['-', '+']).unwrap_or(text);
        !text.is_empty() && are_digits(text)
    };
    are_digits(whole)
        && are_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(is_exponent)
}

fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !is_decimal(digits) {
        return None;
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        let positive = text.strip_prefix('+').unwrap_or(text);
        if let Ok(value) = positive.parse::<u64>() {
            return Some(value.into());
        }
        if let Ok(value) = positive.parse::<i64>() {
            return Some(value.into());
        }
    }
    Number::from_f64(text.parse().ok()?).map(whole)
}

/// `from_str_radix` accepts a sign, which the core schema does not.
fn radix(digits: &str, radix: u32) -> Option<Number> {
    let plain = digits.starts_with(|c: char| c.is_ascii_hexdigit());
    plain
        .then(|| u64::from_str_radix(digits, radix).ok())?
        .map(Number::from)
}

/// A whole float, such as `1e3` or `2.0`, is an integer, as in JSON Schema.
pub(crate) fn whole(number: Number) -> Number {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let value = number.as_f64().filter(|_| number.is_f64());
    match value.filter(|value| value.fract() == 0.0 && value.abs() < EXACT) {
        Some(value) => {
            let whole = value as i64;
            u64::try_from(whole).map_or_else(|_| whole.into(), Number::from)
        }
        None => number,
    }
}

/// Returns `true` if a scalar that is no text has the value that its text says: a float to all of
/// its digits, up to 17 of which a float always has or rounds.
pub(crate) fn is_exact(written: &str) -> bool {
    let (Kind::Number(number), _) = resolve(written) else {
        return matches!(resolve(written).0, Kind::Bool(_));
    };
    let unsigned = written.trim_start_matches(['-', '+']);
    if !number.is_f64() && unsigned.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let is_radix = unsigned.starts_with("0x") || unsigned.starts_with("0o");
        if is_radix || unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
            return true;
        }
    }
    let digits = significant(unsigned);
    let Some(value) = number.as_f64().map(f64::abs) else {
        return false;
    };
    if digits.is_empty() {
        return value == 0.0;
    }
    // Rust writes as many digits as asked for of the exact value.
    significant(&format!("{value:.*e}", digits.len() - 1)) == digits
}

/// The digits of a decimal without its exponent, its point, and zeros around them.
fn significant(unsigned: &str) -> String {
    let mantissa = unsigned.split(['e', 'E']).next().unwrap_or(unsigned);
    let digits = mantissa.replace('.', "");
    digits.trim_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_core_schema() {
        let shown = |text: &str| resolve(text).1;
        for text in [
            "1.10", "1e3", "007", "0x10", "+5", ".5", "0o17", "True", "2.0",
        ] {
            assert!(!matches!(resolve(text).0, Kind::String(_)), "{text}");
            assert!(!shown(text), "{text}");
        }
        for text in [".inf", "-.INF", ".nan", "1e400", "0x10000000000000000"] {
            assert!(matches!(resolve(text).0, Kind::String(_)), "{text}");
            assert!(!shown(text), "{text}");
        }
        for text in [
            "1_000",
            "yes",
            "2024-01-02",
            "12:30",
            "1e",
            "e5",
            ".",
            "-",
            "+",
            "0x",
            "0o8",
            "1.2.3",
            "inf",
            "nan",
            "1e+-5",
            "--1",
            "0xg",
            "-0x1",
            "1 2",
        ] {
            assert!(matches!(resolve(text).0, Kind::String(_)), "{text}");
            assert!(shown(text), "{text}");
        }
        assert!(shown("1.5") && shown("12") && shown("-3") && shown("true"));
    }

    #[test]
    fn a_number_is_exact_if_its_digits_can_be_had_back() {
        for text in [
            "0.1",
            "1.10",
            "1e3",
            "007",
            "0x10",
            "0",
            "0.0",
            "-0.5",
            "1e-300",
            "1e300",
            "2.50e2",
            "0.30000000000000004",
            "18446744073709551615",
            "1152921504606846976.0",
            "3.14159",
            "100000000000000000000000",
        ] {
            assert!(is_exact(text), "{text}");
        }
        for text in [
            "12345678901234567890123",
            "3.14159265358979323846",
            "0.30000000000000001",
            "1e400",
            "1e-400",
            ".inf",
            ".nan",
            "0x10000000000000000",
        ] {
            assert!(!is_exact(text), "{text}");
        }
    }
}
