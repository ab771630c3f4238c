//! `prony list`

use crate::arguments::Global;
use crate::commands::print_json;
use crate::view::{View, Weight, bar, line};
use crate::{Exit, Failure, Outcome, plugins};
use clap::Args;
use prony_journal::{Digests, ListCache, Listed};
use prony_result::words::about_seconds;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

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
    let listed = Arc::new(AtomicU64::new(0));
    let view = view(global, Arc::clone(&listed), folders.len() as u64);
    for folder in folders {
        super::report::note_left(&folder);
        match prony_journal::listed(&folder, &cache) {
            Ok(listed) => runs.push(Row {
                folder: folder.id(),
                listed,
            }),
            Err(error) => eprintln!("warning: {error}"),
        }
        listed.fetch_add(1, Ordering::Relaxed);
    }
    drop(view);
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
fn view(global: &Global, listed: Arc<AtomicU64>, runs: u64) -> Option<View> {
    let begun = Instant::now();
    View::start(global, move |_| {
        let listed = listed.load(Ordering::Relaxed);
        let text = format!(
            "{} {listed} of {runs} runs, {} so far",
            bar(listed, runs),
            about_seconds(begun.elapsed().as_secs_f64())
        );
        vec![line(&text, Weight::Plain)]
    })
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
