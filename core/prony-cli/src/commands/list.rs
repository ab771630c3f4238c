//! `prony list`

use crate::arguments::Global;
use crate::commands::print_json;
use crate::{Exit, Failure, Outcome, plugins};
use clap::Args;
use prony_journal::{Digests, ListCache, Listed};
use serde::Serialize;
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

/// A run and the folder that it is found in.
#[derive(Serialize)]
struct Row {
    /// Name of the folder, which people can change; that of the run is its `id`.
    folder: String,
    #[serde(flatten)]
    listed: Listed,
}

impl Row {
    /// The name to find the run by, and that of the run if it is another.
    fn name(&self) -> String {
        let (folder, id) = (&self.folder, &self.listed.run.id);
        if folder == id {
            folder.clone()
        } else {
            format!("{folder} (run {id})")
        }
    }
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let cache = cache(global)?;
    let mut runs: Vec<Row> = Vec::new();
    for folder in prony_journal::runs(&arguments.results) {
        super::report::note_left(&folder);
        match prony_journal::listed(&folder, &cache) {
            Ok(listed) => runs.push(Row {
                folder: folder.id(),
                listed,
            }),
            Err(error) => eprintln!("warning: {error}"),
        }
    }
    if arguments.json {
        print_json(&runs)?;
    } else if runs.is_empty() {
        println!("there are no runs in `{}`", arguments.results.display());
    } else {
        for row in &runs {
            println!(
                "{}  {}  {}",
                row.name(),
                row.listed.run.outcome.word(),
                findings(&row.listed).join("; ")
            );
        }
    }
    Ok(Exit::Ok)
}

/// The cache of the lines of runs.
fn cache(global: &Global) -> Result<ListCache, Failure> {
    let cache = plugins::cache(global);
    let program = std::env::current_exe();
    let digest = program.and_then(|it| Digests::open(&cache).of(&it, &|| false));
    let (program, _) = digest.map_err(|error| Failure::new(Exit::RunFailed, error.to_string()))?;
    Ok(ListCache {
        folder: cache.join("listed"),
        program,
    })
}

/// The verdicts, and the number of missed thresholds.
fn findings(listed: &Listed) -> Vec<String> {
    let verdicts = listed.verdicts.iter();
    let mut findings: Vec<String> = verdicts
        .map(|it| format!("{}: {}", it.label, it.sentence))
        .collect();
    if listed.missed > 0 {
        findings.push(format!(
            "{} of {} thresholds missed",
            listed.missed, listed.thresholds
        ));
    }
    if !listed.valid {
        findings.push("not valid".to_owned());
    }
    findings
}
