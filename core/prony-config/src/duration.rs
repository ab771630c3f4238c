//! Time spans as written in a pipeline: `250ms`, `30s`, `5m`, `1h`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A time span in whole milliseconds. In files it is a number and a unit
/// (`ms`, `s`, `m` or `h`), without a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration {
    millis: u64,
}

/// The form of a time span, as a regular expression and in words.
pub(crate) const PATTERN: &str = "^[0-9]{1,9}(ms|s|m|h)$";
pub(crate) const FORM: &str = "a number and a unit: `250ms`, `30s`, `5m` or `1h`";

/// The units from large to small, with their length in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Duration {
    /// A span of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// A span of whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_millis(secs * 1_000)
    }

    /// The same span for the standard library.
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.millis)
    }
}

/// Guesses the span meant by a number without a unit, taken as seconds, or with a unit in
/// another notation: `30`, `10 min`, `1.5h`, `1h30m`.
pub(crate) fn meant(text: &str) -> Option<Duration> {
    /// Nine digits of milliseconds, as in the schema.
    const MAX_SECONDS: f64 = 1e9;
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut rest = text.trim();
    let mut millis = 0.0;
    loop {
        let digits = rest.find(|c| !is_number(c)).unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].trim_start();
        let end = unit.find(is_number).unwrap_or(unit.len());
        let length = match unit[..end].trim_end().to_lowercase().as_str() {
            "" | "s" | "sec" | "secs" | "second" | "seconds" => 1_000.0,
            "ms" | "msec" | "millisecond" | "milliseconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000.0,
            "d" | "day" | "days" => 86_400_000.0,
            _ => return None,
        };
        millis += number * length;
        rest = &unit[end..];
        if rest.is_empty() {
            break;
        }
    }
    (millis > 0.0 && millis.fract() == 0.0 && millis < MAX_SECONDS)
        .then(|| Duration::from_millis(millis as u64))
}

/// Help for a text that is not a duration: the text with each unit, if it begins with a
/// number.
pub(crate) fn forms(text: &str) -> String {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = &text[digits..];
    if (1..=9).contains(&digits) && unit.chars().all(char::is_alphabetic) {
        let number = &text[..digits];
        format!("write `{number}s`, `{number}m` or `{number}h`")
    } else {
        "write a number and a unit, such as `30s`".to_owned()
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.to_std()
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .and_then(|(_, length)| number.parse::<u64>().ok()?.checked_mul(*length))
            .map(Self::from_millis)
            .ok_or_else(|| format!("`{text}` is not a duration such as `30s`"))
    }
}

impl TryFrom<String> for Duration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Uses the largest unit that gives a whole number.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS
            .iter()
            .find(|(_, length)| self.millis.is_multiple_of(*length))
        {
            Some((unit, length)) if self.millis > 0 => {
                write!(f, "{}{unit}", self.millis / length)
            }
            _ => write!(f, "{}ms", self.millis),
        }
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        duration.to_string()
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Nine digits keep every unit within range.
        json_schema!({
            "type": "string",
            "title": "duration",
            "description": "A number and a unit: `250ms`, `30s`, `5m` or `1h`.",
            "pattern": PATTERN,
        })
    }
}
