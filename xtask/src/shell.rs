//! Running other programs.

use std::ffi::OsStr;
use std::io::{BufReader, IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Announces the next step on stderr, in order with cargo's output.
pub(crate) fn step(text: &str) {
    eprintln!("==> {text}");
}

/// Steps of a long task: each is announced with its number and the time since the start.
pub(crate) struct Phases {
    names: Vec<&'static str>,
    begun: usize,
    started: Instant,
}

impl Phases {
    pub(crate) fn new(names: Vec<&'static str>) -> Self {
        Self {
            names,
            begun: 0,
            started: Instant::now(),
        }
    }

    /// Announces the next step.
    pub(crate) fn next(&mut self) {
        let text = self.announcement(self.started.elapsed());
        self.begun += 1;
        step(&text);
    }

    fn announcement(&self, elapsed: Duration) -> String {
        let name = self.names[self.begun];
        let next = match self.names.get(self.begun + 1) {
            Some(next) => format!("; next: {next}"),
            None => String::new(),
        };
        format!(
            "[{}/{}, {}] {name}{next}",
            self.begun + 1,
            self.names.len(),
            clock(elapsed)
        )
    }
}

/// Minutes and seconds, as `2:05`.
fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

/// Runs cargo with progress: on a terminal its own progress bar, elsewhere a line every
/// ten seconds instead of one per crate.
pub(crate) fn run_cargo(command: &mut Command) -> Result<()> {
    if std::io::stderr().is_terminal() {
        return run(command);
    }
    // Cargo shows the progress bar in a pipe only if asked to, with a width.
    let mut child = command
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "100")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    if let Some(stderr) = child.stderr.take() {
        watch(stderr, Duration::from_secs(10));
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Forwards cargo's output, with progress at most once every `interval`.
fn watch(stderr: impl Read, interval: Duration) {
    let started = Instant::now();
    let mut shown = started;
    let mut text = Vec::new();
    for byte in BufReader::new(stderr).bytes() {
        // A failed read is not an error: cargo's exit status decides.
        let Ok(byte) = byte else { break };
        if byte != b'\n' && byte != b'\r' {
            text.push(byte);
            continue;
        }
        match Line::of(&String::from_utf8_lossy(&text)) {
            Line::Progress(progress) if shown.elapsed() >= interval => {
                shown = Instant::now();
                eprintln!("    {}  {progress}", clock(started.elapsed()));
            }
            Line::Progress(_) | Line::Routine => {}
            Line::Other(other) => eprintln!("{other}"),
        }
        text.clear();
    }
}

/// A line of cargo's output.
#[derive(Debug, PartialEq)]
enum Line {
    /// Number of crates done, of all, and those in progress.
    Progress(String),
    /// A routine message that a crate is being compiled.
    Routine,
    Other(String),
}

impl Line {
    fn of(line: &str) -> Self {
        // The bar is erased by an escape sequence before a line is written.
        let line = line.trim_start_matches("\x1b[K");
        if line.trim_start().starts_with("Building [")
            && let Some((_, progress)) = line.split_once("] ")
        {
            let (count, crates) = progress.split_once(": ").unwrap_or((progress, ""));
            let count = count.trim().replace('/', " of ");
            return Self::Progress(format!("{count} crates  {crates}").trim_end().to_owned());
        }
        if line.is_empty() || line.trim_start().starts_with("Compiling ") {
            return Self::Routine;
        }
        Self::Other(line.to_owned())
    }
}

/// Runs a command that may print, and fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Runs a command and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", line(command), output.status);
    }
    Ok(output.stdout)
}

/// Runs a command that reports on stdout and may fail on purpose.
pub(crate) fn report(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    if output.stdout.is_empty() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<&str> = errors.lines().collect();
        let last = &errors[errors.len().saturating_sub(10)..];
        bail!(
            "`{}` says nothing ({}):\n{}",
            line(command),
            output.status,
            last.join("\n")
        );
    }
    Ok(output.stdout)
}

/// Runs a command silently. Returns `true` if it succeeds.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The first file called `name` in the folders of PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The command as typed in a shell, for messages.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let words: Vec<_> = std::iter::once(program.file_name().unwrap_or_default())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_say_where_they_are_and_what_follows() {
        let mut phases = Phases::new(vec!["one", "two"]);
        let first = phases.announcement(Duration::from_secs(0));
        phases.begun += 1;
        let second = phases.announcement(Duration::from_secs(125));
        assert_eq!(first, "[1/2, 0:00] one; next: two");
        assert_eq!(second, "[2/2, 2:05] two");
    }

    #[test]
    fn progress_is_told_from_what_must_be_passed_on() {
        for (line, said) in [
            (
                "    Building [====>        ] 123/442: candle-core, wasmtime",
                Line::Progress("123 of 442 crates  candle-core, wasmtime".to_owned()),
            ),
            (
                "    Building [             ] 0/3",
                Line::Progress("0 of 3 crates".to_owned()),
            ),
            ("   Compiling serde v1.0.229", Line::Routine),
            ("\x1b[K   Compiling serde v1.0.229", Line::Routine),
            ("", Line::Routine),
            (
                "error: could not compile `x`",
                Line::Other("error: could not compile `x`".to_owned()),
            ),
        ] {
            assert_eq!(Line::of(line), said, "{line}");
        }
    }
}
