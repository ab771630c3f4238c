//! `prony report`

use crate::arguments::{ChosenRun, Global, Layers};
use crate::commands::print_json;
use crate::{Exit, Failure, Outcome, browser, output, pipeline, plugins};
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
    /// Write the page, by the reporter `html`, and open it in the browser: that of `BROWSER`, or
    /// the system's.
    #[arg(long, conflicts_with = "json")]
    pub(crate) open: bool,
}

/// The reporter whose file is the page.
const PAGE: &str = "html";

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let mut names = arguments.reporters.clone();
    let is_page = arguments.chosen.file().is_some_and(browser::is_page);
    if arguments.open && !is_page && !names.iter().any(|it| it == PAGE) {
        names.push(PAGE.to_owned());
    }
    let reporters: Vec<Reporter> = names
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
        let mut reported = beside(global, file, &result, None, &reporters, &registry)?;
        let exit = show(global, &reported);
        if is_page {
            reported.files.push(file.to_owned());
        }
        return Ok(opened_page(global, arguments, &reported, exit));
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
    if arguments.json {
        print_json(&result)?;
        return Ok(Exit::Ok);
    }
    let registry = plugins::registry(global)?;
    let detail = detail.as_ref();
    let reported = if let Some(bundle) = arguments.chosen.bundle() {
        // What it was unpacked to is gone when this ends.
        let bundle = Path::new(bundle);
        beside(global, bundle, &result, detail, &reporters, &registry)?
    } else {
        let reporters = plugins::fitted(global, &reporters, &registry);
        let go_on = OnFailure::Continue;
        prony_journal::report(&result, detail, &reporters, go_on, &registry, folder)?
    };
    let exit = show(global, &reported);
    Ok(opened_page(global, arguments, &reported, exit))
}

/// Has reporters report a result or bundle that somebody has sent, with their files beside it:
/// those that are not there, since others need not be of this run.
fn beside(
    global: &Global,
    file: &Path,
    result: &RunResult,
    detail: Option<&Detail>,
    reporters: &[Reporter],
    registry: &Registry,
) -> Result<Reported, Failure> {
    let io = |error: std::io::Error| Failure::new(Exit::RunFailed, error.to_string());
    let scratch = tempfile::tempdir().map_err(io)?;
    let folder = RunFolder::open(scratch.path());
    let reporters = plugins::fitted(global, reporters, registry);
    let go_on = OnFailure::Continue;
    let mut reported = prony_journal::report(result, detail, &reporters, go_on, registry, &folder)?;
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

/// Opens the page if that is asked for, which changes no exit code.
fn opened_page(global: &Global, arguments: &Arguments, reported: &Reported, exit: Exit) -> Exit {
    if arguments.open {
        browser::open_page(global, &reported.files);
    }
    exit
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
