//! Wording for reports: verdicts as sentences, numbers with a sensible number of digits.
//!
//! Kept in one place so that every report phrases the same fact the same way. All texts
//! are single lines without control characters, whatever the names in the pipeline
//! contain.

mod comparison;
mod flag;
mod forecast;
mod judgements;
mod model;
mod picture;
mod run;

pub use comparison::Finding;
pub use flag::{Flag, flag};
pub use forecast::Forecast;
pub use judgements::better_requests;
pub use model::State;
pub use picture::Scale;

use crate::RankInfo;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Placeholder for a missing value.
pub const MISSING: &str = "–";

/// `1 cycle`, `2 cycles`.
pub fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// The number of processes that sent the load, and the machines of those beside the one that led:
/// `3, beside rank 0 on a, b`.
pub fn ranks(others: &[RankInfo]) -> String {
    let hosts: BTreeSet<&str> = others.iter().map(|it| it.host.as_str()).collect();
    let hosts: Vec<&str> = hosts.into_iter().collect();
    match others.len() {
        0 => "1".to_owned(),
        number => format!(
            "{}, beside rank 0 on {}",
            number + 1,
            one_line(&hosts.join(", "))
        ),
    }
}

/// Three to four significant digits: `1234`, `45.2`, `8.31`, `0.042`.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return MISSING.to_owned();
    }
    let size = value.abs();
    let decimals = match size {
        size if size >= 999.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        size if size >= 0.0995 => 3,
        size if size >= 0.00995 => 4,
        0.0 => return "0".to_owned(),
        _ => return format!("{value:.2e}"),
    };
    format!("{value:.decimals$}")
}

/// Applies `show` to the value; [`MISSING`] for `None`.
pub fn optional(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| MISSING.to_owned(), show)
}

/// `3.1 %`.
pub fn percent(value: f64) -> String {
    format!("{} %", percent_number(value))
}

/// `+3.1 %`, `-0.4 %`.
pub fn signed_percent(value: f64) -> String {
    format!("{} %", signed_number(value))
}

/// `2 %`, `2.5 %`: for numbers chosen by a person.
fn short_percent(value: f64) -> String {
    format!("{value} %")
}

/// One decimal; two where one would show a difference as zero.
fn percent_number(value: f64) -> String {
    if !value.is_finite() {
        return MISSING.to_owned();
    }
    let decimals = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 0.095 => 1,
        size if size >= 0.005 => 2,
        _ => return "0".to_owned(),
    };
    format!("{value:.decimals$}")
}

fn signed_number(value: f64) -> String {
    let text = percent_number(value);
    if value > 0.0 && value.is_finite() && text != "0" {
        format!("+{text}")
    } else {
        text
    }
}

/// `100 %`, `98.3 %`, from a fraction between 0 and 1. Never rounds up to 100 % or down
/// to 0 %.
pub fn share(share: f64) -> String {
    format!("{} %", share_number(share))
}

/// [`share`] without the unit.
pub fn share_number(share: f64) -> String {
    if !share.is_finite() {
        return MISSING.to_owned();
    }
    if share <= 0.0 || share >= 1.0 {
        return format!("{:.0}", share * 100.0);
    }
    format!("{:.1}", (share * 100.0).clamp(0.1, 99.9))
}

/// `95 %`, `95.7 %`, from a confidence level; rounded down, so that it never overstates.
pub fn level(level: f64) -> String {
    let tenths = (level * 1000.0 + 1e-6).floor() / 10.0;
    format!("{tenths} %")
}

/// Reason for no verdict where nothing but the numbers withholds one.
pub fn undecided(has_interval: bool) -> &'static str {
    if has_interval {
        "the interval contains both no difference and a difference that counts"
    } else {
        "too few cycles for an interval"
    }
}

/// `812 MiB`, `5.12 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = if unit == 0 || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `850 ms`, `4.2 s`, `12 min 4 s`, `2 h 5 min`.
pub fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return MISSING.to_owned();
    }
    if seconds < 0.9995 {
        return format!("{:.0} ms", seconds * 1000.0);
    }
    if seconds < 59.95 {
        return format!("{} s", (seconds * 10.0).round() / 10.0);
    }
    let whole = seconds.round() as u64;
    if whole < 3600 {
        format!("{} min {} s", whole / 60, whole % 60)
    } else {
        let minutes = (seconds / 60.0).round() as u64;
        format!("{} h {} min", minutes / 60, minutes % 60)
    }
}

/// As [`seconds`], rounded for estimates: `40 s`, `50 min`, `2 h 5 min`.
pub fn about_seconds(value: f64) -> String {
    let minutes = value / 60.0;
    match value {
        _ if minutes >= 59.5 || !minutes.is_finite() => seconds(value),
        _ if minutes >= 1.5 => format!("{minutes:.0} min"),
        _ => format!("{:.0} s", value.max(1.0)),
    }
}

/// Makes a text one line that is safe to print: runs of white space become one space;
/// control characters and those that reorder text become visible.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for char in text.trim().chars() {
        if char.is_whitespace() {
            if !line.ends_with(' ') {
                line.push(' ');
            }
        } else if is_hidden(char) {
            line.extend(char.escape_unicode());
        } else {
            line.push(char);
        }
    }
    line
}

/// Returns `true` for control characters (terminal escapes included), bidirectional
/// overrides, separators of lines, and characters that nobody sees.
pub fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Text for HTML and SVG, in which nothing is markup; hidden characters are replaced.
pub fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            hidden if is_hidden(hidden) => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// JSON in which hidden characters are escaped, so that it means the same and is safe to
/// print. Its line breaks stay.
pub fn safe_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for char in json.chars() {
        if is_hidden(char) && char != '\n' {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                // Writing to a string cannot fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(char);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_is_safe_means_the_same() {
        let text = "a\u{1b}[2J\u{9b}m\u{202e}b\u{7f}\u{feff}\u{e0041}\u{2028}\"\\é😀";
        let json = serde_json::to_string_pretty(&[text]).expect("JSON");
        let safe = safe_json(&json);
        assert!(
            safe.chars().all(|char| char == '\n' || !is_hidden(char)),
            "{safe}"
        );
        let read: Vec<String> = serde_json::from_str(&safe).expect("JSON");
        assert_eq!(read, [text]);
        assert_eq!(safe_json(r#"{"a": "é"}"#), r#"{"a": "é"}"#);
    }

    #[test]
    fn numbers_have_sensible_digits() {
        let shown = [
            1234.5,
            999.96,
            112.44,
            45.21,
            9.996,
            8.312,
            0.04215,
            0.000_042,
            0.0,
            -3.456,
            f64::NAN,
        ]
        .map(number);
        assert_eq!(
            shown,
            [
                "1234", "1000", "112.4", "45.2", "10.0", "8.31", "0.0421", "4.20e-5", "0", "-3.46",
                "–"
            ]
        );
        assert_eq!(
            [3.12, -0.04, 0.001, 123.4].map(signed_percent),
            ["+3.1 %", "-0.04 %", "0 %", "+123 %"]
        );
        assert_eq!(
            [0.0, 0.0001, 0.9833, 0.9999, 1.0].map(share),
            ["0 %", "0.1 %", "98.3 %", "99.9 %", "100 %"]
        );
        assert_eq!(
            [0.95, 0.9512, 0.957, 0.99991].map(level),
            ["95 %", "95.1 %", "95.7 %", "99.9 %"]
        );
        assert_eq!(
            [0, 999, 2048, 851_443_712, 5_497_558_138].map(bytes),
            ["0 B", "999 B", "2.00 KiB", "812 MiB", "5.12 GiB"]
        );
        assert_eq!(
            [0.85, 4.21, 30.0, 59.96, 724.0, 7499.0].map(seconds),
            [
                "850 ms",
                "4.2 s",
                "30 s",
                "1 min 0 s",
                "12 min 4 s",
                "2 h 5 min"
            ]
        );
    }

    #[test]
    fn hostile_text_becomes_one_visible_line() {
        assert_eq!(
            one_line(" a\r\n\tb\u{1b}[31m \u{202e}c "),
            "a b\\u{1b}[31m \\u{202e}c"
        );
    }
}
