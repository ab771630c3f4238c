//! Types of plain scalars: the core schema of YAML 1.2, finite numbers only.

use serde_json::Number;

use crate::tree::Kind;

/// The value of a plain scalar. `no`, `on` and `1_000` are strings.
pub(crate) fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        _ => number(text).map_or_else(|| Kind::String(text.to_owned()), Kind::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
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
    float(digits, text)
}

/// `from_str_radix` accepts a sign, which the core schema does not.
fn radix(digits: &str, radix: u32) -> Option<Number> {
    let plain = digits.starts_with(|c: char| c.is_ascii_hexdigit());
    plain
        .then(|| u64::from_str_radix(digits, radix).ok())?
        .map(Number::from)
}

/// A number with a fraction or an exponent. A whole one, such as `1e3` or `2.0`, is an
/// integer, as in JSON Schema.
fn float(digits: &str, text: &str) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if !digits
        .bytes()
        .all(|b| b.is_ascii_digit() || b".eE+-".contains(&b))
    {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    if value.fract() == 0.0 && value.abs() < EXACT {
        let whole = value as i64;
        return Some(u64::try_from(whole).map_or_else(|_| whole.into(), Number::from));
    }
    Number::from_f64(value)
}
