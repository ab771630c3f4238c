//! `prony list`

use crate::commands::print_json;
use crate::{Exit, Outcome};
use clap::Args;
use prony_result::{Comparison, RunResult};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony list --results results")]
pub(crate) struct Arguments {
    /// Folder with runs.
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub(crate) results: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut runs: Vec<RunResult> = Vec::new();
    for folder in prony_journal::runs(&arguments.results) {
        match prony_journal::result_of(&folder) {
            Ok(result) => runs.push(result),
            Err(error) => eprintln!("warning: {error}"),
        }
    }
    if arguments.json {
        let rows: Vec<_> = runs.iter().map(|result| &result.run).collect();
        print_json(&rows)?;
    } else if runs.is_empty() {
        println!("there are no runs in `{}`", arguments.results.display());
    } else {
        for result in &runs {
            println!(
                "{}  {}  {}",
                result.run.id,
                result.run.outcome.word(),
                findings(result).join("; ")
            );
        }
    }
    Ok(Exit::Ok)
}

/// The verdicts, and the number of missed thresholds.
fn findings(result: &RunResult) -> Vec<String> {
    let mut findings = Vec::new();
    for model in &result.models {
        let sentences = model.comparisons.iter().map(Comparison::sentence);
        findings.extend(sentences.map(|it| format!("{}: {it}", model.label())));
    }
    let missed = result.thresholds.iter().filter(|it| !it.passed).count();
    if missed > 0 {
        let all = result.thresholds.len();
        findings.push(format!("{missed} of {all} thresholds missed"));
    }
    findings
}
