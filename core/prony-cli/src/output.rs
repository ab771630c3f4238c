//! Standard output. What cannot be written to it is told at the end and fails the
//! command; a reader who has gone away (`prony list | head`) has seen enough.

use std::fmt::Arguments;
use std::io::{ErrorKind, Result, Write as _, stdout};
use std::sync::OnceLock;

/// Why something is lost, the first time.
static LOST: OnceLock<String> = OnceLock::new();

/// Writes bytes.
pub(crate) fn write(bytes: &[u8]) {
    note(stdout().write_all(bytes));
}

/// Writes a line.
pub(crate) fn line(text: Arguments<'_>) {
    note(stdout().write_fmt(format_args!("{text}\n")));
}

/// Why some of what was written is lost, if it is.
pub(crate) fn lost() -> Option<&'static str> {
    note(stdout().flush());
    LOST.get().map(String::as_str)
}

fn note(written: Result<()>) {
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        LOST.get_or_init(|| error.to_string());
    }
}
