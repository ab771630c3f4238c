//! Checks before parsing: size and characters.

use prony_diagnostic::Diagnostic;

use super::MAX_BYTES;
use crate::codes;

pub(crate) fn check(text: &str) -> Result<(), Box<Diagnostic>> {
    if text.len() > MAX_BYTES {
        return Err(Box::new(
            Diagnostic::error(codes::BUDGET, "the file is too large for a pipeline")
                .note(format!(
                    "it has {} bytes, {MAX_BYTES} are allowed",
                    text.len()
                ))
                .help("use several pipelines"),
        ));
    }
    match text.char_indices().find(|(_, c)| is_forbidden(*c)) {
        None => Ok(()),
        Some((at, c)) => Err(Box::new(
            Diagnostic::error(
                codes::CHARACTER,
                format!("the file holds the control character U+{:04X}", c as u32),
            )
            .at(at..at + c.len_utf8(), "not allowed in YAML")
            .help("remove it, or write it as an escape such as `\"\\x1b\"` in double quotes"),
        )),
    }
}

/// Returns `true` for control characters except tab and line breaks. The parser takes NUL
/// for the end of the text and would drop the rest.
fn is_forbidden(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')
}
