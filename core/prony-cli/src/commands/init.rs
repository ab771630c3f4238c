//! `prony init`

use crate::arguments::Global;
use crate::commands::trial;
use crate::{Exit, Failure, Outcome, output};
use clap::{Args, ValueEnum};
use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::{ErrorKind, IsTerminal as _, Write as _, stderr, stdin};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
#[command(after_help = "Example: prony init compare versions.yaml")]
pub(crate) struct Arguments {
    /// The starting point. Without one, prony asks on a terminal, and writes `hello` elsewhere.
    #[arg(value_enum)]
    pub(crate) what: Option<Starter>,
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
    let is_asked = stdin().is_terminal() && stderr().is_terminal();
    if arguments.what.is_none() && is_asked && arguments.file != Path::new("-") {
        return ask(global, arguments);
    }
    let text = text(arguments.what.unwrap_or_default());
    if arguments.file == Path::new("-") {
        output::lines(text);
    } else {
        write(&arguments.file, text, arguments.force)?;
        say_next(global, &arguments.file);
    }
    Ok(Exit::Ok)
}

/// Asks what to measure, and writes the pipeline for it.
fn ask(global: &Global, arguments: &Arguments) -> Outcome {
    let servers = words(&answer("Servers that run, by address (none if empty)")?);
    let engines = if servers.is_empty() {
        words(&answer(
            "Engines to start, by name as in `prony plugin list` (none if empty)",
        )?)
    } else {
        Vec::new()
    };
    if servers.is_empty() && engines.is_empty() {
        write(&arguments.file, text(Starter::default()), arguments.force)?;
        say_next(global, &arguments.file);
        return Ok(Exit::Ok);
    }
    let question = if servers.is_empty() {
        "Model: a file, a folder, or an id on the Hugging Face hub"
    } else {
        "Model, by the name that the servers know it by (the only one if empty)"
    };
    let model = answer(question)?;
    let trial = trial::Arguments {
        servers,
        engines,
        model: (!model.is_empty()).then_some(model),
        files: Vec::new(),
        api_key_env: None,
        file: arguments.file.clone(),
        force: arguments.force,
        no_run: true,
        results: PathBuf::new(),
        open: false,
    };
    trial::run(global, &trial)
}

/// The answer to a question on the terminal.
fn answer(question: &str) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::RunFailed, error.to_string());
    let mut terminal = stderr();
    let asked = write!(terminal, "{question}: ").and_then(|()| terminal.flush());
    asked.map_err(failed)?;
    let mut line = String::new();
    if stdin().read_line(&mut line).map_err(failed)? == 0 {
        return Err(Failure::new(
            Exit::Usage,
            "no answer, so nothing is written",
        ));
    }
    Ok(line.trim().to_owned())
}

/// Words between blanks and commas.
fn words(line: &str) -> Vec<String> {
    let words = line.split([' ', ',', '\t']);
    words
        .filter(|it| !it.is_empty())
        .map(ToOwned::to_owned)
        .collect()
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
