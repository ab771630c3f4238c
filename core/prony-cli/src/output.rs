//! The one place where prony prints. Whatever comes from servers, engines, plugins, files and
//! journals passes here, so control characters and those that reorder text become visible, and
//! nothing but prony commands the terminal. A line stays one line. Secrets of the pipelines that
//! are loaded become their names.
//!
//! A failed write to standard output is reported at the end and fails the command; a reader
//! that has closed the pipe (`prony list | head`) has seen enough.

use prony_config::Secrets;
use prony_result::words::{is_hidden, safe_json};
use std::borrow::Cow;
use std::fmt::Arguments;
use std::io::{ErrorKind, Result, Write, stderr, stdout};
use std::sync::mpsc::{SendError, Sender, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

/// Reason for the first loss of output.
static LOST: OnceLock<String> = OnceLock::new();

/// Secrets of the pipelines that are loaded.
static SECRETS: RwLock<Vec<Secrets>> = RwLock::new(Vec::new());

/// Keeps the secrets of a pipeline out of all that is printed from now on.
pub(crate) fn conceal(secrets: &Secrets) {
    let mut known = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    if !known.contains(secrets) {
        known.push(secrets.clone());
    }
}

/// A text without secrets, by a way to mask one pipeline's.
fn without_secrets<'t>(
    text: &'t str,
    mask: impl for<'s> Fn(&Secrets, &'s str) -> Cow<'s, str>,
) -> Cow<'t, str> {
    let known = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
    known.iter().fold(Cow::Borrowed(text), |text, secrets| {
        match mask(secrets, &text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(masked) => Cow::Owned(masked),
        }
    })
}

/// Writes a text of any number of lines to standard output.
pub(crate) fn write(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    note(stdout().write_all(visible(&text, Kept::Lines).as_bytes()));
}

/// The same, with one line break at the end.
pub(crate) fn lines(text: &str) {
    write(format!("{}\n", text.trim_end()).as_bytes());
}

/// Writes a line to standard output.
pub(crate) fn line(text: Arguments<'_>) {
    let text = text.to_string();
    note(stdout().write_fmt(format_args!("{}\n", one_line(&text))));
}

/// Writes a line to standard error, where a loss cannot be reported.
pub(crate) fn error_line(text: Arguments<'_>) {
    let text = text.to_string();
    to_standard_error(format!("{}\n", one_line(&text)));
}

/// Writes lines to standard error, with colours if they have some of prony's.
pub(crate) fn error_lines(text: &str, color: bool) {
    let kept = if color { Kept::Colors } else { Kept::Lines };
    let text = visible(text.trim_end_matches('\n'), kept);
    to_standard_error(format!("{text}\n"));
}

/// Message to the view at the bottom of the terminal.
#[derive(Debug)]
pub(crate) enum Told {
    /// Lines to print above it, which command the terminal no more than standard error does.
    Text(String),
    /// It is to disappear, and to say when it has.
    End(SyncSender<()>),
}

/// The view that has the terminal, if there is one.
static VIEW: Mutex<Option<Sender<Told>>> = Mutex::new(None);

/// Has a view print what standard error gets from now on.
pub(crate) fn divert(view: Sender<Told>) {
    *VIEW.lock().unwrap_or_else(PoisonError::into_inner) = Some(view);
}

/// Ends the view, if there is one, and waits until it has left the terminal, at most so long.
pub(crate) fn end_view(at_most: Duration) {
    let view = VIEW.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(view) = view else {
        return;
    };
    let (done, is_done) = sync_channel(1);
    if view.send(Told::End(done)).is_ok() {
        let _ = is_done.recv_timeout(at_most);
    }
}

fn to_standard_error(text: String) {
    let view = VIEW.lock().unwrap_or_else(PoisonError::into_inner);
    let text = match &*view {
        None => text,
        Some(view) => match view.send(Told::Text(text)) {
            // Its thread is gone.
            Err(SendError(Told::Text(text))) => text,
            Ok(()) | Err(_) => return,
        },
    };
    let _ = stderr().write_all(text.as_bytes());
}

/// Writes JSON to standard output. What is hidden is escaped as JSON does, so it means the
/// same.
pub(crate) fn json(text: &str) {
    let text = without_secrets(text, Secrets::mask_json);
    note(stdout().write_fmt(format_args!("{}\n", safe_json(&text))));
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

/// Hidden characters that stay.
#[derive(Clone, Copy, PartialEq)]
enum Kept {
    /// Tabs.
    Tabs,
    /// Tabs and line breaks.
    Lines,
    /// The same, and codes of colours (`ESC [ … m`).
    Colors,
}

/// A text as one line, whatever it holds.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    visible(text, Kept::Tabs)
}

/// A text without secrets, in which hidden characters are spelled out.
fn visible(text: &str, kept: Kept) -> Cow<'_, str> {
    let text = without_secrets(text, Secrets::mask);
    if !text.chars().any(is_hidden) {
        return text;
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(char) = rest.chars().next() {
        let color = if kept == Kept::Colors {
            color(rest)
        } else {
            None
        };
        let length = color.unwrap_or(char.len_utf8());
        let is_kept = match char {
            '\t' => true,
            '\n' => kept != Kept::Tabs,
            _ => color.is_some() || !is_hidden(char),
        };
        if is_kept {
            shown.push_str(&rest[..length]);
        } else {
            shown.extend(char.escape_default());
        }
        rest = &rest[length..];
    }
    Cow::Owned(shown)
}

/// Length of the code of a colour that `text` starts with, if it does.
fn color(text: &str) -> Option<usize> {
    let code = text.strip_prefix("\u{1b}[")?;
    let end = code.find(|char: char| !(char.is_ascii_digit() || char == ';'))?;
    code[end..].starts_with('m').then_some(2 + end + 1)
}

/// Standard error for log messages: each write is a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogLines;

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        error_line(format_args!("{}", text.trim_end_matches('\n')));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_commands_the_terminal() {
        let hostile = "a\u{1b}]0;title\u{7}b\u{9b}2Jc\u{202e}d\r\nerror: forged\te\u{7f}";
        let line = one_line(hostile);
        assert_eq!(
            line,
            "a\\u{1b}]0;title\\u{7}b\\u{9b}2Jc\\u{202e}d\\r\\nerror: forged\te\\u{7f}"
        );
        for kept in [Kept::Tabs, Kept::Lines, Kept::Colors] {
            let shown = visible(hostile, kept);
            let is_allowed = |char| matches!(char, '\t' | '\n') || !is_hidden(char);
            assert!(shown.chars().all(is_allowed), "{shown:?}");
            assert_eq!(shown.contains('\n'), kept != Kept::Tabs);
        }
        let colored = "\u{1b}[1;31merror\u{1b}[0m: \u{1b}[2J\u{1b}]8;;x\u{1b}\\";
        assert_eq!(
            visible(colored, Kept::Colors),
            "\u{1b}[1;31merror\u{1b}[0m: \\u{1b}[2J\\u{1b}]8;;x\\u{1b}\\"
        );
        assert!(matches!(one_line("Grüße, 世界"), Cow::Borrowed(_)));
    }
}
