//! Recorded times and lengths.

use super::conversation::{Conversation, Text, Turn};
use super::fields::{Fields, Wrong};

/// Latest time of a line, in milliseconds since the recording began: a hundred days.
const LATEST_MS: f64 = 8.64e9;
/// Latest time of a trace, in milliseconds since 1970: the year 2286.
const LATEST_EPOCH_MS: f64 = 1e13;

/// The time in `at_ms`, in nanoseconds.
pub(super) fn at_ms(fields: &Fields<'_>) -> Result<Option<u64>, Wrong> {
    match fields.number("at_ms")? {
        None => Ok(None),
        Some(at) if (0.0..=LATEST_MS).contains(&at) => Ok(Some((at * 1e6) as u64)),
        Some(at) => Err(fields.wrong(
            "at_ms",
            format!(
                "`at_ms` is {at:e}, expected milliseconds since the recording began, at most {LATEST_MS:e}"
            ),
        )),
    }
}

/// The time in a field that counts in units of `ms` milliseconds, in nanoseconds.
pub(super) fn at(fields: &Fields<'_>, key: &str, ms: f64) -> Result<Option<u64>, Wrong> {
    match fields.number(key)? {
        None => Ok(None),
        Some(at) if (0.0..=LATEST_EPOCH_MS).contains(&(at * ms)) => {
            Ok(Some((at * ms * 1e6) as u64))
        }
        Some(at) => Err(fields.wrong(
            key,
            format!(
                "`{}` is {at}, expected a time from 0 to {:e}",
                fields.named(key),
                LATEST_EPOCH_MS / ms
            ),
        )),
    }
}

/// A request of which only the lengths were recorded.
pub(super) fn lengths(
    fields: &Fields<'_>,
    input: &str,
    output: &str,
) -> Result<Conversation, Wrong> {
    let Some(tokens) = fields.some_tokens(input)? else {
        return Err(fields.wrong_here(format!("there is no `{input}`")));
    };
    Ok(Conversation::of_turn(Turn {
        text: Text::Tokens {
            tokens,
            blocks: Vec::new(),
        },
        max_tokens: fields.tokens(output)?,
        ..Turn::default()
    }))
}
