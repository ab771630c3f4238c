//! `prony report`

use crate::arguments::{ChosenRun, Global, Layers};
use crate::commands::print_json;
use crate::{Exit, Failure, Outcome, output, pipeline, plugins};
use clap::Args;
use prony_config::{OnFailure, Reporter, Secrets};
use prony_journal::{Extent, Newest, Reported, RunFolder};
use prony_plugin_host::Registry;
use prony_result::{Detail, RunResult};
use prony_runner::{LeftAnswers, Means};
use std::path::Path;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony report latest --reporter markdown")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) chosen: ChosenRun,
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
    let reporters: Vec<Reporter> = arguments
        .reporters
        .iter()
        .map(|name| Reporter {
            name: name.clone(),
            plugin: name.clone(),
            config: serde_json::Map::new(),
        })
        .collect();
    if let Some(file) = arguments.chosen.file() {
        let results = &arguments.chosen.results;
        let result = prony_journal::recorded(results, &file.display().to_string())?;
        if arguments.json {
            print_json(&result)?;
            return Ok(Exit::Ok);
        }
        let registry = plugins::registry(global)?;
        let reported = beside(file, &result, &reporters, &registry)?;
        return Ok(show(global, &reported));
    }
    let opened = arguments.chosen.open()?;
    let folder = &opened.folder;
    if let Some(newest) = opened.newest.as_ref().filter(|_| !global.quiet) {
        tell_of_others(newest, &arguments.chosen.results);
    }
    if let Err(told) = recover(global, folder) {
        eprintln!("warning: {told}");
    }
    let extent = if arguments.json {
        Extent::Plain
    } else {
        prony_journal::wanted(&reporters, &plugins::registry(global)?)
    };
    let (result, detail) = prony_journal::result_with(folder, extent)?;
    if !global.quiet && folder.id() != result.run.id {
        eprintln!("note: `{}` holds the run {}", folder.id(), result.run.id);
    }
    shown(
        global,
        arguments,
        &reporters,
        folder,
        &result,
        detail.as_ref(),
    )
}

/// Has reporters report a result that somebody has sent, with their files beside it: those that
/// are not there, since others need not be of this run.
fn beside(
    file: &Path,
    result: &RunResult,
    reporters: &[Reporter],
    registry: &Registry,
) -> Result<Reported, Failure> {
    let io = |error: std::io::Error| Failure::new(Exit::RunFailed, error.to_string());
    let scratch = tempfile::tempdir().map_err(io)?;
    let folder = RunFolder::open(scratch.path());
    let reporters = plugins::fitted(reporters, registry);
    let go_on = OnFailure::Continue;
    let mut reported = prony_journal::report(result, None, &reporters, go_on, registry, &folder)?;
    for made in std::mem::take(&mut reported.files) {
        let name = made.file_name().unwrap_or_default();
        let path = prony_files::folder(file).join(name);
        if path.exists() {
            let reason = format!("`{}` is there already, and stays", path.display());
            let name = name.to_string_lossy().into_owned();
            reported.failed.push((name, reason));
            continue;
        }
        let bytes = std::fs::read(&made).map_err(io)?;
        prony_files::replace(&path, &bytes).map_err(io)?;
        reported.files.push(path);
    }
    Ok(reported)
}

/// Prints a result, or has the reporters write their files into a folder.
fn shown(
    global: &Global,
    arguments: &Arguments,
    reporters: &[Reporter],
    folder: &RunFolder,
    result: &RunResult,
    detail: Option<&Detail>,
) -> Outcome {
    if arguments.json {
        print_json(result)?;
        return Ok(Exit::Ok);
    }
    let registry = plugins::registry(global)?;
    let reporters = plugins::fitted(reporters, &registry);
    let go_on = OnFailure::Continue;
    let reported = prony_journal::report(result, detail, &reporters, go_on, &registry, folder)?;
    Ok(show(global, &reported))
}

/// Journals what a killed run had received and not decoded yet, and prints what became of it.
/// The error says why answers are left in their file.
pub(crate) fn recover(global: &Global, folder: &RunFolder) -> Result<(), String> {
    let means = || {
        let registry = plugins::registry(global).map_err(|failure| failure.message)?;
        let secrets = secrets_of(global, folder, &registry)?;
        Ok(Means { registry, secrets })
    };
    match prony_runner::recover_answers(folder, means) {
        Some(LeftAnswers::Recovered(told)) if !global.quiet => eprintln!("note: {told}"),
        Some(LeftAnswers::Unread(told)) => return Err(told),
        Some(LeftAnswers::Recovered(_)) | None => {}
    }
    Ok(())
}

/// Warns of answers that are in no number of a killed run yet.
pub(crate) fn note_left(folder: &RunFolder) {
    if let Some(left) = prony_runner::left_answers(folder) {
        eprintln!(
            "warning: {left}: `prony report {}` decodes them",
            folder.path().display()
        );
    }
}

/// The secrets of the pipeline of a run, as far as its text and the environment have them all.
fn secrets_of(global: &Global, folder: &RunFolder, registry: &Registry) -> Result<Secrets, String> {
    let file = folder.pipeline();
    let unknown = |reason: String| {
        format!("they may hold secrets of the pipeline, which are not known: {reason}")
    };
    let (loaded, diagnostics) = pipeline::load(global, &file, &Layers::default(), registry, None);
    let Some(loaded) = loaded else {
        let first = diagnostics.iter().find(|it| it.is_error());
        let words = first.map_or_else(Vec::new, |it| {
            [std::slice::from_ref(&it.message), &it.notes].concat()
        });
        return Err(unknown(format!(
            "`{}`: {}",
            file.display(),
            words.join(": ")
        )));
    };
    Ok(loaded.pipeline.secrets)
}

/// Prints a note if another run than the newest could be meant.
fn tell_of_others(newest: &Newest, results: &Path) {
    let named = |run: &RunFolder| results.join(run.id()).display().to_string();
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
