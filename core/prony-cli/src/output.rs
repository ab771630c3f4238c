//! Standard output. A failed write is reported at the end and fails the command; a reader
//! that has closed the pipe (`prony list | head`) has seen enough.

use std::fmt::Arguments;
use std::io::{ErrorKind, Result, Write as _, stdout};
use std::sync::OnceLock;

/// Reason for the first loss of output.
static LOST: OnceLock<String> = OnceLock::new();

/// Writes bytes.
pub(crate) fn write(bytes: &[u8]) {
    note(stdout().write_all(bytes));
}

/// Writes a line.
pub(crate) fn line(text: Arguments<'_>) {
    note(stdout().write_fmt(format_args!("{text}\n")));
}

/// The reason why output was lost, if it was.
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
