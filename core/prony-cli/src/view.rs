//! Lines at the bottom of a terminal that change while a command works.
//!
//! A thread of its own draws them at a low rate: nobody who measures waits for a terminal. The
//! cursor rests on the first of them, so that all from there on is the view's, whatever the
//! terminal makes of its text when its size changes, and a line of anybody else only moves it
//! down. It is never hidden, and no screen is switched to.

use crate::arguments::{Global, is_capable};
use crate::output::{self, Told};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Time between two pictures.
const EVERY: Duration = Duration::from_millis(500);
/// Size of a terminal that does not tell it.
const USUAL: (usize, usize) = (80, 24);
/// Cells of a bar.
const BAR: usize = 24;

/// A line, and how it stands out where there is colour. Its words say the same without.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    text: String,
    weight: Weight,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Weight {
    Plain,
    Faint,
    Strong,
}

impl Line {
    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The code that begins it, if it has one.
    fn code(&self) -> Option<&'static str> {
        match self.weight {
            Weight::Plain => None,
            Weight::Faint => Some("\u{1b}[2m"),
            Weight::Strong => Some("\u{1b}[1m"),
        }
    }
}

/// A view that is shown until it is dropped.
#[derive(Debug)]
pub(crate) struct View {
    thread: Option<JoinHandle<()>>,
}

impl View {
    /// Shows what `content` makes for a terminal of so many columns. `None` where nothing is to
    /// move: standard error is no terminal, or one of a build system.
    pub(crate) fn start(
        global: &Global,
        content: impl FnMut(usize) -> Vec<Line> + Send + 'static,
    ) -> Option<Self> {
        let is_ci = std::env::var_os("CI").is_some_and(|it| !it.is_empty() && it != "false");
        if global.quiet || is_ci || !is_capable() {
            return None;
        }
        let (sender, receiver) = channel();
        let picture = Picture {
            color: global.color(),
            content,
            drawn: String::new(),
        };
        let thread = std::thread::Builder::new()
            .name("view".to_owned())
            .spawn(move || picture.show(&receiver));
        // Without a thread there are lines.
        let thread = Some(thread.ok()?);
        output::divert(sender);
        Some(Self { thread })
    }
}

impl Drop for View {
    fn drop(&mut self) {
        output::end_view(Duration::MAX);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's own.
struct Picture<C> {
    color: bool,
    content: C,
    /// The codes of the last picture.
    drawn: String,
}

impl<C: FnMut(usize) -> Vec<Line>> Picture<C> {
    fn show(mut self, told: &Receiver<Told>) {
        let mut text = String::new();
        let mut due = Instant::now();
        loop {
            match told.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Told::Text(more)) => text.push_str(&more),
                Ok(Told::End(done)) => {
                    write(&format!("\r\u{1b}[J{text}"));
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return write("\r\u{1b}[J"),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= due {
                self.draw(&std::mem::take(&mut text));
                due = Instant::now() + EVERY;
            }
        }
    }

    /// Prints a text above the view, and the view where it has changed.
    fn draw(&mut self, text: &str) {
        let size = terminal_size::terminal_size_of(std::io::stderr());
        let size = size.map(|(width, height)| (usize::from(width.0), usize::from(height.0)));
        let (columns, rows) = size.filter(|it| it.0 > 1 && it.1 > 1).unwrap_or(USUAL);
        // A line that fills the last column leaves terminals with different ideas of where
        // the cursor is.
        let columns = columns - 1;
        let mut lines = (self.content)(columns);
        let above = lines.len().saturating_sub(rows - 1);
        lines.drain(..above);
        let new = codes(&lines, columns, self.color);
        if !text.is_empty() {
            write(&format!("\r\u{1b}[J{text}{new}"));
        } else if new != self.drawn {
            write(&new);
        }
        self.drawn = new;
    }
}

/// The codes that draw lines from the cursor on, and leave it where it was.
fn codes(lines: &[Line], columns: usize, color: bool) -> String {
    let mut codes = "\r".to_owned();
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            codes.push('\n');
        }
        let text = cut(&line.text, columns);
        let _ = match line.code().filter(|_| color) {
            Some(code) => write!(codes, "{code}{text}\u{1b}[0m\u{1b}[K"),
            None => write!(codes, "{text}\u{1b}[K"),
        };
    }
    codes.push_str("\u{1b}[J\r");
    if lines.len() > 1 {
        let _ = write!(codes, "\u{1b}[{}A", lines.len() - 1);
    }
    codes
}

/// To a terminal that is gone nothing is lost: the journal has it all.
fn write(codes: &str) {
    let mut terminal = std::io::stderr().lock();
    let _ = terminal.write_all(codes.as_bytes());
    let _ = terminal.flush();
}

/// The beginning of a text that fits into so many columns.
fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let mut short = String::new();
    for char in text.chars() {
        let width = char.width().unwrap_or(0);
        if width > left {
            break;
        }
        left -= width;
        short.push(char);
    }
    short.push('…');
    short
}

/// Lays parts out, separated by commas, in lines of so many columns: a part that does not fit goes
/// to the next line. Whatever in them commands a terminal is spelled out.
pub(crate) fn flow(parts: &[String], columns: usize, weight: Weight) -> Vec<Line> {
    let mut texts: Vec<String> = Vec::new();
    for part in parts.iter().filter(|it| !it.is_empty()) {
        let part = output::one_line(part).replace('\t', " ");
        match texts.last_mut() {
            None => texts.push(part),
            Some(last) if last.width() + 2 + part.width() <= columns => {
                last.push_str(", ");
                last.push_str(&part);
            }
            Some(last) => {
                last.push(',');
                texts.push(format!("  {part}"));
            }
        }
    }
    let line = |text| Line { text, weight };
    texts.into_iter().map(line).collect()
}

/// One part of a line that is all of it.
pub(crate) fn line(text: &str, weight: Weight) -> Line {
    let text = output::one_line(text).replace('\t', " ");
    Line { text, weight }
}

/// A bar that is as full as `have` is of `of`.
pub(crate) fn bar(have: u64, of: u64) -> String {
    let share = have.min(of) as f64 / of.max(1) as f64;
    let full = (share * BAR as f64) as usize;
    "━".repeat(full) + &"╌".repeat(BAR - full)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|it| (*it).to_owned()).collect()
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|it| it.text.as_str()).collect()
    }

    #[test]
    fn parts_go_to_the_next_line_where_they_do_not_fit() {
        let parts = parts(&["eins", "", "zwei", "世界"]);
        let at = |columns| flow(&parts, columns, Weight::Plain);
        assert_eq!(texts(&at(40)), ["eins, zwei, 世界"]);
        assert_eq!(texts(&at(15)), ["eins, zwei,", "  世界"]);
        assert_eq!(texts(&at(9)), ["eins,", "  zwei,", "  世界"]);
    }

    #[test]
    fn a_line_is_cut_by_its_columns_and_commands_nothing() {
        assert_eq!(cut("Grüße", 5), "Grüße");
        assert_eq!(cut("Grüße an", 6), "Grüße…");
        // Two columns each.
        assert_eq!(cut("世界世界", 6), "世界…");
        assert_eq!(cut("abc", 0), "…");
        let hostile = flow(&parts(&["a\u{1b}[2J\tb\nc"]), 80, Weight::Plain);
        assert_eq!(texts(&hostile), ["a\\u{1b}[2J b\\nc"]);
    }

    #[test]
    fn the_cursor_ends_on_the_first_line_whatever_the_terminal_did_to_it() {
        let lines = |width: usize| flow(&parts(&["eins", "zwei", "drei"]), width, Weight::Strong);
        let mut terminal = vt100::Parser::new(6, 20, 10);
        let crlf = |codes: String| codes.replace('\n', "\r\n");
        terminal.process(b"before\r\n");
        terminal.process(crlf(codes(&lines(5), 5, true)).as_bytes());
        assert_eq!(terminal.screen().cursor_position(), (1, 0));
        terminal.screen_mut().set_size(6, 12);
        terminal.process(crlf(codes(&lines(11), 11, false)).as_bytes());
        assert_eq!(terminal.screen().cursor_position(), (1, 0));
        let shown = terminal.screen().contents();
        assert_eq!(shown.trim_end(), "before\neins, zwei,\n  drei");
        // At the bottom the screen moves up.
        terminal.process(b"1\r\n2\r\n3\r\n4\r\n\x1b[J");
        terminal.process(crlf(codes(&lines(5), 5, false)).as_bytes());
        assert_eq!(terminal.screen().cursor_position(), (3, 0));
        terminal.process(b"\r\x1b[Jafter");
        let shown = terminal.screen().contents();
        assert!(shown.ends_with("4\nafter"), "{shown}");
    }

    #[test]
    fn a_bar_is_full_at_the_end_only() {
        assert_eq!(bar(0, 0), "╌".repeat(BAR));
        assert!(bar(99, 100).ends_with('╌') && bar(1, 100).starts_with('╌'));
        assert_eq!(bar(100, 100), "━".repeat(BAR));
        assert_eq!(bar(7, 3), bar(3, 3));
    }
}
