//! What a run shows on a terminal, by a parser of what terminals are sent.

use crate::kit::{Scratch, With, lock, pipeline, send, truth, wait_for};
use rustix::process::Signal;
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::process::Child;
use std::ptr::null_mut;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Lines of a terminal.
const ROWS: u16 = 24;
/// Lines that it keeps.
const KEPT: usize = 1000;

/// What only the view has, and never a line that stays.
const OF_THE_VIEW: [&str; 4] = ["━", "╌", "cycles left", "none failed"];

/// prony on a terminal.
struct Terminal {
    child: Child,
    typed: File,
    shown: Arc<Mutex<(vt100::Parser, Vec<u8>)>>,
    reader: Option<JoinHandle<()>>,
}

/// Both ends of a terminal: prony's is the second.
fn open() -> [OwnedFd; 2] {
    let mut ends = [-1; 2];
    let [ours, its] = &mut ends;
    // SAFETY: both are places for a descriptor; name, modes and size may be left out.
    let opened = unsafe { libc::openpty(ours, its, null_mut(), null_mut(), null_mut()) };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptors are new, and nobody else's.
    ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) })
}

fn size(columns: u16) -> Winsize {
    Winsize {
        ws_row: ROWS,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Terminal {
    /// Runs the pipeline of a folder on a terminal of so many columns.
    fn run(scratch: &Scratch, columns: u16, variables: &[(&str, &str)]) -> Self {
        let [ours, its] = open();
        tcsetwinsize(&its, size(columns)).expect("a size");
        let lock = lock();
        let lock = lock.to_str().expect("the path is text");
        let end = || its.try_clone().expect("another descriptor");
        let mut command = scratch.command(&["--lock", lock, "run", "pipeline.yaml"]);
        command
            .env("TERM", "xterm-256color")
            .envs(variables.iter().copied())
            .stdin(end())
            .stdout(end())
            .stderr(end());
        let child = command.spawn().expect("prony starts");
        // With the last of its ends the reader comes to an end, too.
        drop((command, its));
        let parser = vt100::Parser::new(ROWS, columns, KEPT);
        let shown = Arc::new(Mutex::new((parser, Vec::new())));
        let mut read = File::from(ours.try_clone().expect("another descriptor"));
        let told = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = read.read(&mut bytes) {
                let mut shown = told.lock().expect("no panic");
                shown.0.process(&bytes[..length]);
                shown.1.extend(&bytes[..length]);
            }
        });
        Self {
            child,
            typed: File::from(ours),
            shown,
            reader: Some(reader),
        }
    }

    /// The lines that are in sight.
    fn screen(&self) -> String {
        let shown = self.shown.lock().expect("no panic");
        shown.0.screen().contents()
    }

    /// Waits until all of these words are in sight at once. Returns the lines.
    fn shows(&self, words: &[&str]) -> String {
        wait_for(&format!("{words:?}"), || {
            let screen = self.screen();
            words
                .iter()
                .all(|word| screen.contains(word))
                .then_some(screen)
        })
    }

    fn resize(&self, columns: u16) {
        let mut shown = self.shown.lock().expect("no panic");
        shown.0.screen_mut().set_size(ROWS, columns);
        tcsetwinsize(&self.typed, size(columns)).expect("a size");
    }

    /// Waits for the end of prony. Returns its exit code, all lines that the terminal has kept,
    /// and the bytes that it was sent.
    fn ends(mut self) -> (Option<i32>, Vec<String>, String) {
        let status = wait_for("prony", || self.child.try_wait().expect("a status"));
        let reader = self.reader.take().expect("it reads");
        reader.join().expect("no panic");
        let mut shown = self.shown.lock().expect("no panic");
        let (parser, bytes) = &mut *shown;
        let screen = parser.screen_mut();
        assert!(!screen.hide_cursor(), "the cursor is hidden");
        assert!(!screen.alternate_screen(), "another screen is left on");
        assert_eq!(screen.cursor_position().1, 0, "a line is not whole");
        let columns = screen.size().1;
        screen.set_scrollback(usize::MAX);
        let mut lines = Vec::new();
        for offset in (1..=screen.scrollback()).rev() {
            screen.set_scrollback(offset);
            lines.extend(screen.rows(0, columns).next());
        }
        screen.set_scrollback(0);
        lines.extend(screen.rows(0, columns));
        let bytes = String::from_utf8_lossy(bytes).into_owned();
        (status.code(), lines, bytes)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two servers, one clearly slower, for so many cycles.
fn compared(cycles: u32) -> Value {
    let engine = |first_ms: &str| {
        truth(&[
            "--time-to-first-token-ms",
            first_ms,
            "--inter-token-latency-us",
            "0",
        ])
    };
    pipeline([("fast", engine("20")), ("other", engine("60"))])
        .stage("measure", "requests", 2)
        .with("schedule", json!({ "cycles": cycles, "stop": "never" }))
}

/// A folder with a pipeline.
fn folder(pipeline: &Value) -> Scratch {
    let scratch = Scratch::new();
    scratch.write_pipeline(pipeline);
    scratch
}

/// Checks that lines that stay have nothing of the view.
fn has_no_leftovers(lines: &[String]) {
    let left = |line: &&String| OF_THE_VIEW.iter().any(|it| line.contains(it));
    let left: Vec<&String> = lines.iter().filter(left).collect();
    assert!(left.is_empty(), "{left:#?} in\n{}", lines.join("\n"));
}

#[test]
fn a_run_shows_plan_visit_estimate_and_end_at_every_width() {
    for columns in [40, 80, 140] {
        let scratch = folder(&compared(20));
        let terminal = Terminal::run(&scratch, columns, &[]);
        terminal.shows(&[
            "it: fast and other",
            "model",
            "20 cycles",
            "visit ",
            " of 40",
            "other against fast: undecided after",
            "cycles left",
            "until about ",
            "none failed",
            "TTFT ",
            " tok/s",
        ]);
        // By then it is decided; the run goes on, as it was told.
        let screen = terminal.shows(&["other is slower than fast after ", "●", "…"]);
        assert_eq!(screen.matches("visit ").count(), 1, "{screen}");
        let (code, lines, _) = terminal.ends();
        assert!(matches!(code, Some(0 | 6)), "{code:?}");
        has_no_leftovers(&lines);
        let text = lines.join("\n");
        for stays in [
            "[1/40] model on ",
            "[40/40] model on ",
            "Winner",
            "results are in",
        ] {
            assert!(text.contains(stays), "no {stays} at {columns} in\n{text}");
        }
    }
}

#[test]
fn a_terminal_that_changes_its_size_keeps_one_view_and_no_leftovers() {
    let scratch = folder(&compared(30));
    let terminal = Terminal::run(&scratch, 120, &[]);
    terminal.shows(&["visit ", "cycles left"]);
    for columns in [50, 41, 90, 130] {
        terminal.resize(columns);
        // Two pictures later.
        std::thread::sleep(std::time::Duration::from_millis(1200));
        let screen = terminal.shows(&["visit ", "cycles left"]);
        for once in ["it: fast and other", "visit ", "cycles left"] {
            assert_eq!(screen.matches(once).count(), 1, "{once}:\n{screen}");
        }
    }
    let (code, lines, _) = terminal.ends();
    assert!(matches!(code, Some(0 | 6)), "{code:?}");
    has_no_leftovers(&lines);
}

#[test]
fn a_run_that_is_interrupted_leaves_the_terminal_clean() {
    let scratch = folder(&compared(100));
    let mut terminal = Terminal::run(&scratch, 100, &[]);
    terminal.shows(&["visit ", "cycles left"]);
    // The terminal shows what is typed, where the cursor is.
    terminal.typed.write_all(b"\x03").expect("it is typed");
    send(terminal.child.id().cast_signed(), Signal::INT);
    let (code, lines, _) = terminal.ends();
    assert_eq!(code, Some(130));
    has_no_leftovers(&lines);
    let text = lines.join("\n");
    assert!(text.contains("\nstopping: engines are unloaded"), "{text}");
    assert!(text.contains("goes on with the run"), "{text}");
    assert!(!text.contains("^C"), "{text}");
}

#[test]
fn a_decision_is_told_with_what_may_be_left_until_then() {
    let decided = compared(30).with("schedule", json!({ "cycles": 30 }));
    let scratch = folder(&decided);
    let terminal = Terminal::run(&scratch, 100, &[("NO_COLOR", "1")]);
    terminal.shows(&["at most 30 cycles", "no verdict before the end of cycle "]);
    terminal.shows(&[" to ", " cycles left, until about "]);
    let (code, lines, bytes) = terminal.ends();
    assert!(matches!(code, Some(0 | 6)), "{code:?}");
    has_no_leftovers(&lines);
    assert!(lines.iter().any(|it| it.contains("model: decided after ")));
    // Where no colour is wanted, nothing stands out by one.
    assert!(bytes.contains("\u{1b}[K") && !bytes.contains("\u{1b}[1m"));
}

#[test]
fn a_terminal_that_cannot_move_its_cursor_and_a_build_system_get_lines() {
    for variable in [("TERM", "dumb"), ("CI", "true")] {
        let scratch = folder(&compared(2));
        let terminal = Terminal::run(&scratch, 80, &[variable, ("NO_COLOR", "1")]);
        let (code, lines, bytes) = terminal.ends();
        assert!(matches!(code, Some(0 | 6)), "{code:?}");
        assert!(!bytes.contains('\u{1b}'), "{bytes}");
        has_no_leftovers(&lines);
        assert!(lines.iter().any(|it| it.starts_with("[4/4] model on ")));
    }
}
