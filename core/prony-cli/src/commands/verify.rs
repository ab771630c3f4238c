//! `prony verify`

use crate::arguments::{ChosenRun, Global};
use crate::{Exit, Failure, Outcome, plugins};
use clap::Args;
use prony_journal::RunFolder;
use prony_plugin_host::sha256_of;
use prony_result::words::{count, safe_json};

#[derive(Debug, Args)]
#[command(after_help = "Example: prony verify results/latest")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) chosen: ChosenRun,
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let opened = arguments.chosen.open()?;
    let folder = &opened.folder;
    super::report::note_left(folder);
    let path = folder.journal();
    let found = prony_journal::verify(&path)?;
    let mut wrong: Vec<String> = found.damage.clone();
    println!(
        "{}: {} hold{}",
        path.display(),
        count(found.lines, "line"),
        if found.has_checksums {
            ", each with its checksum"
        } else {
            "; an earlier prony wrote no checksums"
        }
    );
    match found.outcome {
        Some(outcome) => println!("the run has ended: {}", outcome.word()),
        None if prony_journal::is_running(&path) => println!("the run is still going on"),
        None => println!("the run has not ended: `prony resume` goes on with it"),
    }
    wrong.extend(pipeline(folder)?);
    wrong.extend(result(folder)?);
    note_other_plugins(global, folder)?;
    for wrong in &wrong {
        eprintln!("error: {wrong}");
    }
    Ok(if wrong.is_empty() {
        println!(
            "ok: nothing is damaged; who wrote it is not proved, which a signature over what `prony attest` writes can do"
        );
        Exit::Ok
    } else {
        Exit::RunFailed
    })
}

/// The pipeline beside the journal is the one that ran.
fn pipeline(folder: &RunFolder) -> Result<Option<String>, Failure> {
    let path = folder.pipeline();
    let reader = prony_journal::Reader::open(&folder.journal())?;
    let words = match prony_files::read(&path, prony_config::MAX_BYTES as u64) {
        Ok(text) if sha256_of(&text) == reader.started().pipeline_sha256 => return Ok(None),
        Ok(_) => "it is not the pipeline that ran: its SHA-256 is another".to_owned(),
        Err(error) => error.to_string(),
    };
    Ok(Some(format!("`{}`: {words}", path.display())))
}

/// The result beside the journal, if there is one, is the one that it gives.
fn result(folder: &RunFolder) -> Result<Option<String>, Failure> {
    /// Bytes of a result, at most.
    const MAX_RESULT: u64 = 1 << 30;
    let path = folder.path().join("result.json");
    if !path.exists() {
        return Ok(None);
    }
    let words = match prony_files::read_text(&path, MAX_RESULT) {
        Err(error) => error.to_string(),
        Ok(text) => {
            let result = prony_journal::result_of(folder)?;
            let json = |of: fn(&prony_result::RunResult) -> serde_json::Result<String>| {
                of(&result).map(|json| safe_json(&json))
            };
            let made = [
                json(serde_json::to_string_pretty),
                json(serde_json::to_string),
            ];
            let is_same = |made: &serde_json::Result<String>| {
                made.as_deref().is_ok_and(|it| it == text.trim_end())
            };
            if made.iter().any(is_same) {
                println!("{}: what the journal gives, to the byte", path.display());
                return Ok(None);
            }
            if result.prony_version != env!("CARGO_PKG_VERSION") {
                println!(
                    "{}: prony {} ran, and this one gives another result for its journal",
                    path.display(),
                    result.prony_version
                );
                return Ok(None);
            }
            "it is not what the journal gives: `prony report --reporter json` writes it again"
                .to_owned()
        }
    };
    Ok(Some(format!("`{}`: {words}", path.display())))
}

/// Says which plugins that ran are no longer those of the lock files. The run is whole without
/// them.
fn note_other_plugins(global: &Global, folder: &RunFolder) -> Result<(), Failure> {
    let registry = plugins::registry(global)?;
    let reader = prony_journal::Reader::open(&folder.journal())?;
    for plugin in &reader.started().plugins {
        match registry.find(plugin.kind, &plugin.name) {
            Ok((entry, _)) if entry.sha256 == plugin.sha256 => {}
            Ok(_) => println!(
                "the plugin `{}` is another here than the one that ran: its SHA-256 was {}",
                plugin.name, plugin.sha256
            ),
            Err(_) => println!("the plugin `{}` is in no lock file here", plugin.name),
        }
    }
    Ok(())
}
