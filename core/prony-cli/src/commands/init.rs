//! `prony init`

use crate::arguments::Global;
use crate::{Exit, Failure, Outcome, output};
use clap::{Args, ValueEnum};
use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
#[command(after_help = "Example: prony init compare versions.yaml")]
pub(crate) struct Arguments {
    /// The starting point.
    #[arg(value_enum, default_value_t)]
    pub(crate) what: Starter,
    /// The file to write; `-` is standard output.
    #[arg(default_value = "pipeline.yaml")]
    pub(crate) file: PathBuf,
    /// Overwrite an existing file.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Starter {
    /// One engine, one model.
    #[default]
    Hello,
    /// Two engines against each other.
    Compare,
    /// One engine with every combination of some settings.
    Sweep,
    /// Limits that a build must meet.
    CiGate,
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let text = text(arguments.what);
    if arguments.file == Path::new("-") {
        output::lines(text);
    } else {
        write(&arguments.file, text, arguments.force)?;
        say_next(global, &arguments.file);
    }
    Ok(Exit::Ok)
}

fn text(starter: Starter) -> &'static str {
    match starter {
        Starter::Hello => include_str!("../starters/hello.yaml"),
        Starter::Compare => include_str!("../starters/compare.yaml"),
        Starter::Sweep => include_str!("../starters/sweep.yaml"),
        Starter::CiGate => include_str!("../starters/ci-gate.yaml"),
    }
}

/// Writes a file unless it exists and `force` is not set.
pub(crate) fn write(file: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written = options
        .open(file)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let name = file.display();
        match error.kind() {
            ErrorKind::AlreadyExists => {
                let message = format!("`{name}` exists already: `--force` overwrites it");
                Failure::new(Exit::Usage, message)
            }
            _ => Failure::new(Exit::RunFailed, format!("`{name}`: {error}")),
        }
    })
}

/// Prints the next steps for a new pipeline.
pub(crate) fn say_next(global: &Global, file: &Path) {
    if global.quiet {
        return;
    }
    let name = file.display();
    let name = name.to_string();
    // A name that no shell can take is shown as it is.
    let word = shlex::try_quote(&name).unwrap_or(Cow::Borrowed(&name));
    println!("wrote {name}; next:");
    for (command, what) in [
        ("validate", "check it"),
        ("plan", "see what it would run"),
        ("run", "run it"),
    ] {
        println!("  {:<40}  # {what}", format!("prony {command} {word}"));
    }
}
