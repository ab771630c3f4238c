//! `prony history`: the runs of many nights, and the changes in them.

mod bisect;
mod check;
mod commit;

use crate::arguments::Global;
use crate::commands::{bundle, print_json};
use crate::{Exit, Failure, Outcome, output, plugins};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use prony_history::{Identities, Series, Store};
use prony_result::words::{count, one_line};
use std::path::PathBuf;

/// A history holds, for every run, how much faster each engine is than an anchor: one build that
/// is measured beside it every night. So it does not matter which machine a night got, and what
/// changes is the engine. The engine with `history: { anchor: true }` in the pipeline is the anchor.
#[derive(Debug, Args)]
#[command(subcommand_required = true, after_help = "Example: prony history show")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add the lines of runs to a history, each once.
    Add(AddArguments),
    /// Show the series of a history, their changes and what is suspected.
    Show(ShowArguments),
    /// Search for regressions, and fail if one is there.
    Check(check::Arguments),
    /// Find the commit of a change, by runs of builds in between.
    Bisect(bisect::Arguments),
}

/// A folder with a history, and a choice of its series.
#[derive(Debug, Args)]
struct Chosen {
    /// The series: the beginning of its digest, or words of its name. Defaults to all; `bisect` needs
    /// it if there are several.
    series: Option<String>,
    /// Folder of the history.
    #[arg(long, default_value = "history", value_name = "DIR")]
    history: PathBuf,
    /// Differences up to this count as none, for example `2%`. Defaults to the margin of the last
    /// run of each series that counts; the runs of `bisect` have the pipeline's.
    #[arg(long, value_name = "PERCENT", value_parser = super::compare::percent)]
    margin: Option<f64>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: prony history add latest --commit 3f2a1b7")]
struct AddArguments {
    /// The runs: folders, names below the results folder, bundles, pages `report.html` or files
    /// `result.json`.
    #[arg(default_value = "latest", value_name = "RUN")]
    runs: Vec<String>,
    /// Folder of the history. It is made if it is not there.
    #[arg(long, default_value = "history", value_name = "DIR")]
    history: PathBuf,
    /// Commit that the candidates were built from. Defaults to `GITHUB_SHA` or `CI_COMMIT_SHA`,
    /// else to that of the git repository here.
    #[arg(long, value_name = "COMMIT", value_parser = NonEmptyStringValueParser::new())]
    commit: Option<String>,
    /// Branch or tag of the commit. Defaults to `GITHUB_REF` or `CI_COMMIT_REF_NAME`, else to the
    /// branch here.
    #[arg(long = "ref", value_name = "REF", value_parser = NonEmptyStringValueParser::new())]
    reference: Option<String>,
    /// Place in the history, for example `2026-11-28T02:00:00Z`. Defaults to the start of the run;
    /// for a commit that is measured later than it was made, give the commit's time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<String>,
    /// Folder with runs.
    #[arg(long, default_value = "results", value_name = "DIR")]
    results: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: prony history show --html history.html")]
struct ShowArguments {
    #[command(flatten)]
    chosen: Chosen,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
    /// Write a page with figures instead.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    html: Option<PathBuf>,
}

/// A time as it is kept: RFC 3339, UTC.
fn time(text: &str) -> Result<String, String> {
    let time = text.parse::<jiff::Timestamp>();
    let time = time.map_err(|_| "expected a time such as `2026-11-28T02:00:00Z`".to_owned())?;
    Ok(time.to_string())
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    match &arguments.command {
        Command::Add(it) => add(global, it),
        Command::Show(it) => show(global, it),
        Command::Check(it) => check::run(global, it),
        Command::Bisect(it) => bisect::run(global, it),
    }
}

fn add(global: &Global, arguments: &AddArguments) -> Outcome {
    let mut given = commit::given(arguments.commit.as_deref(), arguments.reference.as_deref());
    given.at.clone_from(&arguments.at);
    let registry = plugins::registry(global)?;
    let mut records = Vec::new();
    for name in &arguments.runs {
        let opened = bundle::of(name).then(|| bundle::open(&arguments.results, name));
        let result = match opened.transpose()? {
            Some(opened) => prony_journal::result_of(&opened.folder)?,
            None => prony_journal::recorded(&arguments.results, name)?,
        };
        if result.run.outcome == prony_result::Outcome::Running {
            let message = format!("`{name}` is still running: add it when it has ended");
            return Err(Failure::new(Exit::Usage, message));
        }
        // A run without a maximum of cycles ends in no other way.
        let is_open = result.run.cycles >= prony_config::OPEN_CYCLES;
        if result.run.outcome == prony_result::Outcome::Interrupted && !is_open {
            let message = format!(
                "`{name}` was cut short, and a line is never changed: `prony resume` goes on with the run; add it when it has ended"
            );
            return Err(Failure::new(Exit::Usage, message));
        }
        let identities = Identities::new(&result, &plugins::Locked(&registry))?;
        let (of_run, left_out) = prony_history::records(&result, &given, &identities);
        for reason in left_out {
            eprintln!("warning: not added: {reason}");
        }
        for record in of_run.iter().filter(|it| !it.valid) {
            let reason = record.reason.as_deref().unwrap_or_default();
            eprintln!(
                "warning: {} does not count: {}",
                record.label(),
                one_line(reason)
            );
        }
        records.extend(of_run);
    }
    let store = Store::read(&arguments.history)?;
    show_problems(global, &store);
    let added = prony_history::add(&arguments.history, &records)?;
    let known = match added.known {
        0 => String::new(),
        n => format!(", {n} there already"),
    };
    println!(
        "{} added to {}{known}",
        count(added.new as u64, "line"),
        arguments.history.display()
    );
    for file in &added.files {
        println!("  {}", file.display());
    }
    if given.commit.is_none() {
        eprintln!("warning: no commit is known, so an alarm cannot name one: give `--commit`");
    }
    Ok(Exit::Ok)
}

/// Shows what is wrong with the lines of a history.
fn show_problems(global: &Global, store: &Store) {
    if !store.problems.is_empty() {
        let text = prony_diagnostic::human(&store.problems, global.color());
        output::error_lines(&text, global.color());
    }
}

/// Reads and analyses the chosen series of a history. Fails if there is none.
fn analysed(global: &Global, chosen: &Chosen) -> Result<(Vec<Series>, Store), Failure> {
    let store = Store::read(&chosen.history)?;
    show_problems(global, &store);
    let all = store.series.keys();
    let all: Vec<Series> = all
        .filter_map(|name| Series::new(name, &store.series, chosen.margin))
        .collect();
    let folder = chosen.history.display();
    if all.is_empty() {
        let message = format!(
            "there is no history in `{folder}`: `prony history add RUN` begins one, `--history` names another folder"
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    let Some(wanted) = &chosen.series else {
        return Ok((all, store));
    };
    let known: Vec<String> = all
        .iter()
        .map(|it| format!("  {}  {}", it.digest, it.label))
        .collect();
    let is_it =
        |it: &Series| it.digest.starts_with(wanted.as_str()) || it.label.contains(wanted.as_str());
    let found: Vec<Series> = all.into_iter().filter(is_it).collect();
    if found.is_empty() {
        let message = format!("no series of `{folder}` has the name `{wanted}`; there are:");
        return Err(Failure {
            rows: known,
            ..Failure::new(Exit::Usage, message)
        });
    }
    Ok((found, store))
}

fn show(global: &Global, arguments: &ShowArguments) -> Outcome {
    let (all, _) = analysed(global, &arguments.chosen)?;
    if let Some(path) = &arguments.html {
        let page = prony_history::page(&all);
        prony_files::replace(path, page.as_bytes()).map_err(|error| {
            Failure::new(Exit::RunFailed, format!("`{}`: {error}", path.display()))
        })?;
        println!("{}", path.display());
    } else if arguments.json {
        print_json(&all)?;
    } else {
        output::lines(&prony_history::text(&all));
    }
    Ok(Exit::Ok)
}
