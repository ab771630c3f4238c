//! `prony list`

use crate::arguments::{Global, is_capable};
use crate::commands::print_json;
use crate::{Exit, Failure, Outcome, plugins};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
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
    let folders = prony_journal::runs(&arguments.results);
    let bar = bar(global, folders.len() as u64);
    for folder in folders {
        bar.suspend(|| super::report::note_left(&folder));
        match prony_journal::listed(&folder, &cache) {
            Ok(listed) => runs.push(Row {
                folder: folder.id(),
                listed,
            }),
            Err(error) => bar.suspend(|| eprintln!("warning: {error}")),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    // A folder's name need not begin with the time.
    runs.sort_by(|a, b| {
        (&a.listed.run.started_at, &a.folder).cmp(&(&b.listed.run.started_at, &b.folder))
    });
    cache.trim();
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

/// Progress on a terminal: a run that was not listed before is judged, which takes its time.
fn bar(global: &Global, runs: u64) -> ProgressBar {
    let shown = !global.quiet && is_capable();
    if !shown {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(runs), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} runs, {elapsed} so far");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
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
