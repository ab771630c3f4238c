//! `prony verify`

use crate::arguments::{ChosenRun, Global};
use crate::{Exit, Failure, Outcome, plugins};
use clap::Args;
use prony_journal::{RunFolder, Verified};
use prony_plugin_host::sha256_of;
use prony_result::words::{count, safe_json};
use prony_result::{Outcome as Ended, RunResult};
use std::path::PathBuf;

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
    let kept = result(folder, &found)?;
    match (found.outcome, &kept) {
        (_, Kept::Longer(_)) => {}
        (Some(outcome), _) => println!("the run has ended: {}", outcome.word()),
        (None, _) if prony_journal::is_running(&path) => println!("the run is still going on"),
        (None, _) => println!("the run has not ended: `prony resume` goes on with it"),
    }
    wrong.extend(pipeline(folder)?);
    wrong.extend(kept.problem(folder));
    note_other_plugins(global, folder)?;
    for name in ["failed", "logs"] {
        if folder.path().join(name).is_dir() {
            println!("`{name}/` is not covered: nothing in it is in a number");
        }
    }
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

/// The `result.json` beside a journal, against what the journal gives.
enum Kept {
    /// There is none, or nothing is wrong with it.
    Well,
    /// It was written before the run went on.
    Earlier,
    /// It counts requests, or knows of an end, that the journal lacks; with what it knows.
    Longer(String),
    /// Lines of the journal that it was made from are damaged.
    BeforeDamage,
    /// It is another, for a reason that nothing tells.
    Other,
    /// It cannot be read.
    Unread(String),
}

/// Compares the result beside the journal, if there is one, with the one that the journal gives.
fn result(folder: &RunFolder, found: &Verified) -> Result<Kept, Failure> {
    /// Bytes of a result, at most.
    const MAX_RESULT: u64 = 1 << 30;
    let path = path_of_result(folder);
    if !path.exists() {
        return Ok(Kept::Well);
    }
    let text = match prony_files::read_text(&path, MAX_RESULT) {
        Err(error) => return Ok(Kept::Unread(error.to_string())),
        Ok(text) => text,
    };
    let result = prony_journal::result_of(folder)?;
    let json =
        |of: fn(&RunResult) -> serde_json::Result<String>| of(&result).map(|json| safe_json(&json));
    let made = [
        json(serde_json::to_string_pretty),
        json(serde_json::to_string),
    ];
    let is_same =
        |made: &serde_json::Result<String>| made.as_deref().is_ok_and(|it| it == text.trim_end());
    if made.iter().any(is_same) {
        println!("{}: what the journal gives, to the byte", path.display());
        return Ok(Kept::Well);
    }
    if result.prony_version != env!("CARGO_PKG_VERSION") {
        println!(
            "{}: prony {} ran, and this one gives another result for its journal",
            path.display(),
            result.prony_version
        );
        return Ok(Kept::Well);
    }
    let Ok(kept) = serde_json::from_str::<RunResult>(&text) else {
        return Ok(Kept::Other);
    };
    Ok(difference(&kept, &result, found))
}

/// The reason why a result is not the one that the journal gives `now`.
fn difference(kept: &RunResult, now: &RunResult, found: &Verified) -> Kept {
    let requests = |result: &RunResult| -> u64 {
        let engines = result.models.iter().flat_map(|it| &it.engines);
        engines.map(|it| it.requests).sum()
    };
    let (then, is) = (requests(kept), requests(now));
    let had_ended = matches!(kept.run.outcome, Ended::Completed | Ended::Failed);
    if !found.damage.is_empty() {
        Kept::BeforeDamage
    } else if then > is {
        Kept::Longer(format!(
            "it counts {then} measured requests, the journal {is}"
        ))
    } else if had_ended && found.outcome.is_none() {
        Kept::Longer(format!(
            "it is of a run that {}, and the journal has no end",
            kept.run.outcome.word()
        ))
    } else if found.outcome.is_none() {
        Kept::Earlier
    } else {
        Kept::Other
    }
}

impl Kept {
    /// Words for what is wrong with it, with advice.
    fn problem(&self, folder: &RunFolder) -> Option<String> {
        let words = match self {
            Self::Well => return None,
            Self::Earlier => {
                println!(
                    "{}: it was written before the run went on; `prony report --reporter json` writes it again",
                    path_of_result(folder).display()
                );
                return None;
            }
            Self::Longer(what) => format!(
                "{what}, so the end of the journal is lost: get the journal back from a copy, such as a bundle; `prony report` and `prony resume` know only of what is left"
            ),
            Self::BeforeDamage => "it was made before the journal was damaged: get the journal back from a copy, such as a bundle, or keep this result as it is; `prony report` leaves out what is damaged".to_owned(),
            Self::Other => {
                "it is not what the journal gives: `prony report --reporter json` writes it again"
                    .to_owned()
            }
            Self::Unread(error) => error.clone(),
        };
        Some(format!("`{}`: {words}", path_of_result(folder).display()))
    }
}

fn path_of_result(folder: &RunFolder) -> PathBuf {
    folder.path().join("result.json")
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
