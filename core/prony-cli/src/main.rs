//! The prony command: reads arguments, calls the libraries, prints, and picks
//! the exit code. Nothing else in prony prints.

/// Prints a line. Unlike the standard macro's, a failed write does not end the program, since
/// a run continues and is reported in its files, and what is printed is one safe line. See
/// [`output`], also for several lines.
macro_rules! println {
    ($($text:tt)*) => {{
        $crate::output::line(format_args!($($text)*));
    }};
}

/// The same for standard error, where a loss cannot be reported.
macro_rules! eprintln {
    ($($text:tt)*) => {{
        $crate::output::error_line(format_args!($($text)*));
    }};
}

mod arguments;
mod browser;
mod commands;
mod exit;
mod files;
mod memory;
mod neighbours;
mod output;
mod part;
mod pipeline;
mod plugins;
mod progress;
mod ranks;
mod view;

use arguments::Arguments;
use exit::Exit;
use prony_journal::NoParts;
use std::process::ExitCode;

/// Failure of a command: message and exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Exit,
    message: String,
    /// Lines below the message.
    rows: Vec<String>,
}

impl Failure {
    /// A failure with a message.
    pub(crate) fn new(code: Exit, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            rows: Vec::new(),
        }
    }
}

impl From<prony_plugin_host::Error> for Failure {
    fn from(error: prony_plugin_host::Error) -> Self {
        Self::new(Exit::Plugin, format!("[{}] {error}", error.code()))
    }
}

impl From<prony_journal::Error> for Failure {
    fn from(error: prony_journal::Error) -> Self {
        match error {
            prony_journal::Error::Plugin(error) => error.into(),
            prony_journal::Error::Differs { differences } => {
                let rows = prony_journal::table(&differences);
                let error = prony_journal::Error::Differs { differences };
                Self {
                    rows,
                    ..Self::new(Exit::Usage, error.to_string())
                }
            }
            prony_journal::Error::NoParts(NoParts::Differ {
                first,
                second,
                differences,
            }) => {
                let rows = prony_journal::table(&differences);
                let differ = NoParts::Differ {
                    first,
                    second,
                    differences,
                };
                Self {
                    rows,
                    ..Self::new(Exit::Usage, differ.to_string())
                }
            }
            prony_journal::Error::NoParts(_)
            | prony_journal::Error::NoRun { .. }
            | prony_journal::Error::NotARun { .. }
            | prony_journal::Error::NotAResult { .. }
            | prony_journal::Error::Left(_)
            | prony_journal::Error::Ended { .. } => Self::new(Exit::Usage, error.to_string()),
            other => Self::new(Exit::RunFailed, other.to_string()),
        }
    }
}

impl From<prony_history::Error> for Failure {
    fn from(error: prony_history::Error) -> Self {
        let code = match error {
            prony_history::Error::NoPlugin { .. } => Exit::Plugin,
            _ => Exit::RunFailed,
        };
        Self::new(code, error.to_string())
    }
}

/// Result of a command.
pub(crate) type Outcome = Result<Exit, Failure>;

fn main() -> ExitCode {
    memory::end_where_threads_cannot_begin();
    let arguments = arguments::parse();
    // Raises the limit. One that is too low for a run is told where it is.
    let _ = prony_runner::check_open_files(0);
    start_tracing(&arguments);
    let outcome = arguments.command.run(&arguments.global);
    let code = match outcome {
        Ok(code) => code,
        Err(Failure {
            code,
            message,
            rows,
        }) => {
            if !message.is_empty() {
                eprintln!("error: {message}");
            }
            for row in &rows {
                eprintln!("{row}");
            }
            code
        }
    };
    let code = match output::lost() {
        Some(reason) => {
            eprintln!("error: standard output: {reason}");
            code.or_failed()
        }
        None => code,
    };
    ExitCode::from(code as u8)
}

fn start_tracing(arguments: &Arguments) {
    use tracing::Level;
    let level = match (arguments.global.quiet, arguments.global.verbose) {
        (true, _) => Level::ERROR,
        (false, 0) => Level::WARN,
        (false, 1) => Level::INFO,
        (false, 2) => Level::DEBUG,
        (false, _) => Level::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(|| output::LogLines)
        .with_ansi(false)
        .with_target(false)
        .init();
}
