//! `prony list`

use crate::arguments::List;
use crate::commands::print_json;
use crate::{Exit, Outcome};
use prony_plugin_sdk::result::RunResult;
use prony_runner::RunFolder;

pub(crate) fn run(arguments: &List) -> Outcome {
    let mut runs: Vec<RunResult> = Vec::new();
    let entries = std::fs::read_dir(&arguments.results)
        .into_iter()
        .flatten()
        .flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let journal = RunFolder::open(&entry.path()).journal();
        if !journal.is_file() {
            continue;
        }
        match prony_runner::read(&journal) {
            Ok(events) => runs.extend(prony_runner::result(&events)),
            Err(error) => eprintln!("warning: {error}"),
        }
    }
    runs.sort_by(|a, b| a.run.id.cmp(&b.run.id));
    if arguments.json {
        let rows: Vec<_> = runs.iter().map(|result| &result.run).collect();
        print_json(&rows)?;
    } else if runs.is_empty() {
        println!("there are no runs in `{}`", arguments.results.display());
    } else {
        for result in &runs {
            let verdicts: Vec<String> = result
                .models
                .iter()
                .flat_map(|model| {
                    model
                        .comparisons
                        .iter()
                        .map(move |comparison| format!("{}: {}", model.id, comparison.sentence()))
                })
                .collect();
            println!(
                "{}  {}  {}",
                result.run.id,
                result.run.outcome.word(),
                verdicts.join("; ")
            );
        }
    }
    Ok(Exit::Ok)
}
