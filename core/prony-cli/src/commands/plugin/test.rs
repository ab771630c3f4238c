//! `prony plugin test`

use super::subject::Source;
use crate::arguments::Global;
use crate::commands::print_json;
use crate::{Exit, Outcome, output};
use clap::Args;
use prony_conformance::{Check, KIT, Kit, Settings, mutants};
use prony_contract::{Kind, Transport};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time for the ways to cut one recorded response.
const BUDGET: Duration = Duration::from_millis(250);
/// The same for each mutant.
const BUDGET_OF_MUTANTS: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
#[command(
    after_help = "Example: prony plugin test engine-mine --fixtures fixtures --config '{\"base_url\": \"http://127.0.0.1:8000\"}'"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Write the expected files of the fixtures as the plugin says now. Read the difference
    /// before you keep it.
    #[arg(long)]
    bless: bool,
    /// Also make mutants of the plugin, one defect each, and say how many of them the checks and
    /// the fixtures find.
    #[arg(long)]
    mutants: bool,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Checks with one folder of fixtures.
#[derive(Serialize)]
struct Suite {
    /// The folder, if there is one.
    fixtures: Option<PathBuf>,
    checks: Vec<Check>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mutants: Option<Mutants>,
}

#[derive(Serialize)]
struct Mutants {
    found: Vec<&'static str>,
    not_found: Vec<&'static str>,
    without_effect: Vec<&'static str>,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let tested = arguments.source.load(global)?;
    let mut suites = Vec::new();
    for (folder, settings) in folders(arguments, &tested.fixtures, &tested.settings)? {
        if let Some(folder) = folder.as_ref().filter(|_| !arguments.json) {
            output::line(format_args!("{}", folder.display()));
        }
        let mut checks = Vec::new();
        let told = |check: &Check| {
            if !arguments.json {
                show(check);
            }
            checks.push(check.clone());
        };
        let kit = Kit::new(&tested.subject).budget(BUDGET);
        let kit = with(kit, folder.as_deref(), &settings).bless(arguments.bless);
        let findings = kit.on_check(told).run();
        let of = tested
            .subject
            .plugin()
            .describe()
            .ok()
            .and_then(|manifest| match (manifest.kind, manifest.transport) {
                (Kind::Reporter, _) => Some(mutants::Of::Reporter),
                (_, Some(Transport::Http)) => Some(mutants::Of::Http),
                (_, Some(Transport::Stdio)) => Some(mutants::Of::Stdio),
                (_, Some(Transport::InProcess)) => Some(mutants::Of::Local),
                _ => None,
            });
        let score = match of.filter(|_| arguments.mutants && findings.is_empty()) {
            None => None,
            Some(of) => {
                let score = mutants::score(&tested.subject, of, |kit| {
                    let kit = kit.budget(BUDGET_OF_MUTANTS).bless(false);
                    with(kit, folder.as_deref(), &settings)
                });
                score.ok()
            }
        };
        if arguments.mutants && !arguments.json {
            match &score {
                Some(score) => output::line(format_args!("      {score}")),
                None => output::line(format_args!(
                    "      no mutants: the plugin itself has findings"
                )),
            }
        }
        suites.push(Suite {
            fixtures: folder,
            checks,
            mutants: score.map(|score| Mutants {
                found: score.killed,
                not_found: score.survived,
                without_effect: score.without_effect,
            }),
        });
    }
    if arguments.json {
        print_json(&suites)?;
    }
    let checks = suites.iter().flat_map(|suite| &suite.checks);
    let findings: usize = checks.clone().map(|check| check.findings.len()).sum();
    if findings == 0 {
        if !arguments.json {
            output::line(format_args!("`{}` passes", tested.shown));
        }
        return Ok(Exit::Ok);
    }
    if !arguments.json {
        let s = if findings == 1 { "" } else { "s" };
        output::line(format_args!("`{}`: {findings} finding{s}", tested.shown));
    }
    Ok(Exit::Plugin)
}

/// The checks with a folder of fixtures. Settings of the command line go before those of the folder.
fn with<'k>(kit: Kit<'k>, folder: Option<&Path>, settings: &Settings) -> Kit<'k> {
    let kit = match folder {
        Some(folder) => kit.fixtures(folder),
        None => kit,
    };
    kit.settings(settings.clone())
}

/// The folder of fixtures and those in it that have settings of their own, each with them.
fn folders(
    arguments: &Arguments,
    fixtures: &Path,
    settings: &Settings,
) -> Result<Vec<(Option<PathBuf>, Settings)>, crate::Failure> {
    if !fixtures.is_dir() {
        if arguments.source.fixtures.is_some() {
            return Err(super::subject::wrong(format!(
                "`--fixtures`: there is no folder `{}`",
                fixtures.display()
            )));
        }
        return Ok(vec![(None, settings.clone())]);
    }
    let mut folders = vec![(Some(fixtures.to_owned()), settings.clone())];
    let entries = std::fs::read_dir(fixtures).into_iter().flatten().flatten();
    let mut below: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.join(KIT).is_file())
        .collect();
    below.sort();
    for folder in below {
        let settings = arguments.source.settings(&folder)?;
        folders.push((Some(folder), settings));
    }
    Ok(folders)
}

/// One line for a check, and what it found below it.
fn show(check: &Check) {
    let mark = match (check.findings.is_empty(), check.skipped) {
        (false, _) => "FAIL",
        (true, true) => "skip",
        (true, false) => "ok",
    };
    output::line(format_args!(
        "{mark:<4}  {:<8}  {}",
        check.check, check.detail
    ));
    for finding in &check.findings {
        output::line(format_args!("      {}", finding.message));
        let diff = finding.diff.as_deref().unwrap_or_default();
        for line in diff.lines() {
            output::line(format_args!("        {line}"));
        }
    }
}
