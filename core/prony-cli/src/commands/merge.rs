//! `prony merge`

use super::run::code;
use crate::arguments::Global;
use crate::commands::print_json;
use crate::{Exit, Failure, Outcome, plugins};
use clap::Args;
use prony_config::{OnFailure, Reporter};
use prony_journal::{Reader, RunFolder, find_run};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
#[command(after_help = "Example: prony merge results/*-part-*-of-4")]
pub(crate) struct Arguments {
    /// The runs of the parts: folders, or names below the results folder.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// Folder with runs, in which the merged run's folder is made.
    #[arg(long, default_value = "results", value_name = "DIR")]
    results: PathBuf,
    /// Folder of the merged run itself, new or empty.
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Reporter plugins to use.
    #[arg(
        long = "reporter",
        default_value = "console,markdown,html",
        value_name = "NAME",
        value_delimiter = ','
    )]
    reporters: Vec<String>,
    /// Print the result as JSON instead of the reporters' output.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let parts = arguments.runs.iter();
    let parts = parts.map(|name| find_run(&arguments.results, name));
    let parts: Vec<RunFolder> = parts.collect::<Result<_, _>>()?;
    for part in &parts {
        if let Err(told) = super::report::recover(global, part) {
            eprintln!("warning: {told}");
        }
    }
    let folder = folder(arguments, &parts)?;
    let merged = merge(&parts, &folder);
    if merged.is_err() {
        // Nothing of anybody else is in it.
        let _ = fs::remove_dir_all(folder.path());
    }
    let outcome = merged?;
    let registry = plugins::registry(global)?;
    let reporters = arguments.reporters.iter().map(|name| Reporter {
        name: name.clone(),
        plugin: name.clone(),
        config: serde_json::Map::new(),
    });
    let reporters: Vec<Reporter> = reporters.collect();
    let extent = prony_journal::wanted(&reporters, &registry);
    let (result, detail) = prony_journal::result_with(&folder, extent)?;
    prony_journal::keep_result(&result, &folder)?;
    let reporters = plugins::fitted(global, &reporters, &registry);
    let go_on = OnFailure::Continue;
    let mut reported = prony_journal::report(
        &result,
        detail.as_ref(),
        &reporters,
        go_on,
        &registry,
        &folder,
    )?;
    if arguments.into.is_none()
        && let Err(error) = folder.make_latest()
    {
        eprintln!("warning: `latest` does not point to this run: {error}");
    }
    if arguments.json {
        print_json(&result)?;
        reported.stdout.clear();
    }
    if !global.quiet {
        eprintln!("the merged run is in {}", folder.path().display());
    }
    let reports = super::report::show(global, &reported);
    Ok(code(outcome, &result, reports))
}

/// Makes the folder of the merged run.
fn folder(arguments: &Arguments, parts: &[RunFolder]) -> Result<RunFolder, Failure> {
    if let Some(path) = &arguments.into {
        let (folder, has_begun) = RunFolder::at(path)?;
        if has_begun {
            let message = format!(
                "`{}` holds a run: give a new or an empty folder",
                path.display()
            );
            return Err(Failure::new(Exit::Usage, message));
        }
        return Ok(folder);
    }
    let first = parts.first().map(|it| Reader::open(&it.journal()));
    let name = match first.transpose()? {
        Some(reader) => reader.started().subject.name.clone(),
        None => "merged".to_owned(),
    };
    // A journal of elsewhere may say anything.
    let name = Path::new(&name).file_name().unwrap_or_default();
    Ok(RunFolder::create(
        &arguments.results,
        &name.to_string_lossy(),
    )?)
}

/// Writes the journal of the parts, and the pipeline that all of them have.
fn merge(
    parts: &[RunFolder],
    folder: &RunFolder,
) -> Result<prony_result::Outcome, prony_journal::Error> {
    let journals: Vec<PathBuf> = parts.iter().map(RunFolder::journal).collect();
    let outcome = prony_journal::merge(&journals, &folder.journal(), &folder.id())?;
    if let Some(first) = parts.first() {
        let pipeline = first.pipeline();
        let text = prony_files::read(&pipeline, prony_config::MAX_BYTES as u64)
            .map_err(prony_journal::Error::io(&pipeline))?;
        prony_files::replace(&folder.pipeline(), &text)
            .map_err(prony_journal::Error::io(folder.pipeline()))?;
    }
    Ok(outcome)
}
