//! `prony report`

use crate::arguments::{Global, Report};
use crate::commands::print_json;
use crate::{Exit, Outcome, output, plugins};
use prony_config::{OnFailure, Reporter};

pub(crate) fn run(global: &Global, arguments: &Report) -> Outcome {
    let folder = prony_runner::find_run(&arguments.results, &arguments.run)?;
    let result = prony_runner::result_of(&folder)?;
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
        prony_runner::report(&result, &reporters, OnFailure::Continue, &registry, &folder)?;
    Ok(show(global, &reported))
}

/// Prints what reporters printed, and which files they wrote.
pub(crate) fn show(global: &Global, reported: &prony_runner::Reported) -> Exit {
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
