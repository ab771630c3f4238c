//! `prony report`

use crate::arguments::Global;
use crate::commands::print_json;
use crate::{Exit, Failure, Outcome, output, plugins};
use clap::Args;
use prony_config::{OnFailure, Reporter};
use prony_journal::RunFolder;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony report latest --reporter markdown")]
pub(crate) struct Arguments {
    /// The run: a folder, or a name below the results folder; `latest` is the last one
    /// that finished. Defaults to the newest that is over, even if cut short.
    pub(crate) run: Option<String>,
    /// Folder with runs.
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub(crate) results: PathBuf,
    /// Reporter plugins to use.
    #[arg(
        long = "reporter",
        default_value = "console",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub(crate) reporters: Vec<String>,
    /// Print the result as JSON, and write no files.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let folder = match &arguments.run {
        Some(name) => prony_journal::find_run(&arguments.results, name)?,
        None => newest(global, arguments)?,
    };
    let result = prony_journal::result_of(&folder)?;
    if arguments.json {
        print_json(&result)?;
        return Ok(Exit::Ok);
    }
    let reporters: Vec<Reporter> = arguments
        .reporters
        .iter()
        .map(|name| Reporter {
            name: name.clone(),
            plugin: name.clone(),
            config: serde_json::Map::new(),
        })
        .collect();
    let registry = plugins::registry(global)?;
    let reported =
        prony_journal::report(&result, &reporters, OnFailure::Continue, &registry, &folder)?;
    Ok(show(global, &reported))
}

/// The default run. Prints a note if another could be meant.
fn newest(global: &Global, arguments: &Arguments) -> Result<RunFolder, Failure> {
    let newest = prony_journal::newest_run(&arguments.results)?;
    let named = |run: &RunFolder| arguments.results.join(run.id()).display().to_string();
    if global.quiet {
        return Ok(newest.folder);
    }
    for run in &newest.running {
        eprintln!(
            "note: {} is still running; what it has so far: `prony report {}`",
            run.id(),
            named(run)
        );
    }
    if let Some(latest) = &newest.latest {
        eprintln!(
            "note: {} was cut short; the last run that came to its end: `prony report {}`",
            newest.folder.id(),
            named(latest)
        );
    }
    Ok(newest.folder)
}

/// Prints the reporters' output, and the files they wrote.
pub(crate) fn show(global: &Global, reported: &prony_journal::Reported) -> Exit {
    output::write(&reported.stdout);
    for path in reported.files.iter().filter(|_| !global.quiet) {
        eprintln!("wrote {}", path.display());
    }
    for (name, reason) in &reported.failed {
        eprintln!("error: reporter `{name}`: {reason}");
    }
    if reported.failed.is_empty() {
        Exit::Ok
    } else {
        Exit::Plugin
    }
}
