//! `prony history check`: the newest change of each series, and exit code 4 if it is a loss.

use super::bisect::{self, Ends};
use super::{Chosen, analysed};
use crate::arguments::Global;
use crate::{Exit, Failure, Outcome, output};
use clap::{Args, ValueEnum};
use prony_history::{Series, short};
use prony_result::words::signed_percent;

const AFTER_HELP: &str = "\
An alarm stays until a later change is a gain, even a smaller one, until an anchor without a bridge begins another segment, or until the change is accepted: `--accept COMMIT`.

Exit codes: 0 ok, 1 a line of the history cannot be read, 2 usage, or no history, 4 what `--fail-on` names.

Example: prony history check --fail-on regression";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    chosen: Chosen,
    /// Condition that ends with exit code 4. May be repeated.
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    fail_on: Vec<FailOn>,
    /// Commit at which a change is wanted, or known: as an alarm names it, or its beginning. May be
    /// repeated.
    #[arg(long, value_name = "COMMIT", value_parser = beginning)]
    accept: Vec<String>,
    /// The pipeline of the runs: an alarm prints one that has both ends of its range as engines.
    #[arg(long, value_name = "FILE")]
    pipeline: Option<std::path::PathBuf>,
    #[command(flatten)]
    build: bisect::Options,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FailOn {
    /// The newest change of a series is a loss of more than the margin.
    Regression,
    /// The runs since the newest change become slower and slower.
    Trend,
}

/// The beginning of a commit: long enough to mean one.
fn beginning(text: &str) -> Result<String, String> {
    const MIN: usize = 4;
    if text.chars().count() < MIN {
        return Err(format!("expected at least {MIN} digits of a commit"));
    }
    Ok(text.to_owned())
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let (all, store) = analysed(global, &arguments.chosen)?;
    let fails = |on: FailOn| arguments.fail_on.contains(&on);
    let tell = |words: &str| {
        // The output may be kept as the pipeline.
        if arguments.pipeline.is_some() {
            eprintln!("{words}");
        } else {
            println!("{words}");
        }
    };
    let mut exit = Exit::Ok;
    for series in &all {
        let label = &series.label;
        for finding in series.findings() {
            tell(&format!("{label}: {finding}"));
        }
        if let Some(change) = series.alarm() {
            let bad = change.bad.as_deref();
            let is_accepted = bad.is_some_and(|bad| {
                let mut accepted = arguments.accept.iter();
                accepted.any(|it| bad.starts_with(it.as_str()))
            });
            if is_accepted {
                tell(&format!(
                    "{label}: the change at {} is accepted",
                    short(bad)
                ));
            } else {
                let severity = if fails(FailOn::Regression) {
                    "error"
                } else {
                    "note"
                };
                eprintln!("{severity}: {label}: {}", change.sentence());
                // The alarm stands, whatever the pipeline is.
                if let Err(failure) = suggest_next(global, arguments, series) {
                    eprintln!("warning: no pipeline of both ends: {}", failure.message);
                }
                if fails(FailOn::Regression) {
                    exit = Exit::ThresholdFailed;
                }
            }
        }
        if let Some(trend) = series.creeping().filter(|_| fails(FailOn::Trend)) {
            eprintln!("error: {label}: trend: {} a run", signed_percent(trend));
            exit = Exit::ThresholdFailed;
        }
    }
    if exit == Exit::Ok && !store.problems.is_empty() {
        let message = "lines of the history cannot be read (above), so a regression may be missed";
        return Err(Failure::new(Exit::RunFailed, message));
    }
    Ok(exit)
}

/// Says how to go on from an alarm: with the pipeline of both ends if it can be made.
fn suggest_next(global: &Global, arguments: &Arguments, series: &Series) -> Result<(), Failure> {
    let ends = series.alarm().and_then(Ends::new);
    let Some(ends) = ends else {
        eprintln!(
            "note: the history has no commits for this change: give `--commit` to `prony history add`"
        );
        return Ok(());
    };
    if let Some(pipeline) = &arguments.pipeline {
        let text =
            bisect::pipeline_text(global, pipeline, &series.candidate, &ends, &arguments.build)?;
        output::lines(&text);
    } else {
        eprintln!(
            "note: the change lies in {}..{}; `prony history bisect {} --pipeline FILE` finds its commit, and prints a pipeline with both ends as engines with `--print`",
            short(Some(&ends.good)),
            short(Some(&ends.bad)),
            series.digest
        );
    }
    Ok(())
}
