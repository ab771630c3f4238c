//! `prony replay`

use crate::arguments::{ChosenRun, Global, Layers, Source};
use crate::commands::run::{
    Destination, Job, STOPPING, check_open_files, code, load_plugins, stop_on_signal, written,
};
use crate::commands::{print_json, runtime};
use crate::part::{Wanted, of_plan};
use crate::{Exit, Failure, Outcome, output, pipeline, plugins};
use clap::Args;
use prony_config::Pipeline;
use prony_journal::{Digests, Event, Input, InputKind, Journal, Reader, RunFolder};
use prony_metrics::statistics::shift::Shift;
use prony_plan::Plan;
use prony_plugin_host::Registry;
use prony_result::{
    Comparison, ModelResult, RunResult,
    words::{count, one_line},
};
use prony_runner::Fingerprint;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
#[command(after_help = "Example: prony replay mine.prony.tar.gz --dry-run")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) chosen: ChosenRun,
    /// Folder that the paths in the run's pipeline are relative to, and that its commands run in.
    /// Defaults to that of the run, for a run in the results folder, or else to this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Only tell what is the same, what differs and what is missing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Run the commands of a bundle, or of a run outside of the results folder, without asking.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Error of the interval by which a run counts as reproduced.
const ALPHA: f64 = 0.05;

/// A replay and what came of it.
#[derive(Debug, Serialize)]
struct Replayed {
    /// The run that was given.
    run: String,
    inputs: Vec<Row>,
    /// The new run; absent with `--dry-run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<String>,
    comparisons: Vec<Reproduction>,
}

/// One input, then and now.
#[derive(Debug, Serialize)]
struct Row {
    input: String,
    state: State,
    then: String,
    now: String,
    /// `true` if nothing runs without it.
    needed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Same,
    Differs,
    Missing,
    /// Nothing was run to find out.
    Unknown,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Differs => "differs",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}

/// A comparison, then and now.
#[derive(Debug, Serialize)]
struct Reproduction {
    comparison: String,
    outcome: Answer,
    /// Difference of the advantages, in percent: the candidate's now over that of then.
    difference_percent: Option<f64>,
    interval_percent: Option<(f64, f64)>,
    cycles: (usize, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// The advantage is the same but for the margin.
    Reproduced,
    /// It is another.
    Differs,
    /// The cycles do not say.
    Inconclusive,
}

impl Answer {
    fn name(self) -> &'static str {
        match self {
            Self::Reproduced => "reproduced",
            Self::Differs => "differs",
            Self::Inconclusive => "inconclusive",
        }
    }
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    crate::ranks::must_be_alone("replay")?;
    let opened = arguments.chosen.open()?;
    let given = &opened.folder;
    let journal = prony_journal::read(&given.journal())?;
    let registry = registry(global, opened.lock.as_deref())?;
    let inputs = inputs(global, &journal, &registry)?;
    let missing = inputs
        .iter()
        .filter(|row| row.needed && row.state == State::Missing);
    let missing: Vec<&str> = missing.map(|row| row.input.as_str()).collect();
    let problem = (!missing.is_empty()).then(|| {
        let message = format!(
            "this cannot run without what is missing: {}",
            missing.join(", ")
        );
        Failure::new(Exit::InvalidPipeline, message)
    });
    let mut replayed = Replayed {
        run: journal.started.id(),
        inputs,
        replay: None,
        comparisons: Vec::new(),
    };
    if !arguments.json {
        output::lines(&table(&replayed.inputs));
    }
    if arguments.dry_run || problem.is_some() {
        if arguments.json {
            print_json(&replayed)?;
        }
        return problem.map_or(Ok(Exit::Ok), Err);
    }
    let then = prony_journal::result_of(given)?;
    let Some((folder, now, exit)) = again(global, arguments, given, &registry)? else {
        return Ok(Exit::InvalidPipeline);
    };
    replayed.replay = Some(folder.path().display().to_string());
    let requests = |journal: &Journal| -> Vec<Event> {
        let is_set = |event: &&Event| matches!(event, Event::RequestSet { .. });
        journal.events.iter().filter(is_set).cloned().collect()
    };
    let same_requests = requests(&journal) == requests(&prony_journal::read(&folder.journal())?);
    if !same_requests {
        eprintln!("note: the requests are not those of the run: their digests differ");
    }
    replayed.comparisons = compared(&then, &now);
    if arguments.json {
        print_json(&replayed)?;
    } else {
        for reproduction in &replayed.comparisons {
            println!("{}", sentence(reproduction));
        }
        if replayed.comparisons.is_empty() {
            println!("the run compares nothing, so there is nothing to reproduce");
        }
    }
    let differs = |it: &Reproduction| it.outcome == Answer::Differs;
    Ok(match exit {
        Exit::Ok if replayed.comparisons.iter().any(differs) => Exit::ThresholdFailed,
        exit => exit,
    })
}

/// The installed plugins; those of a bundle, which are sandboxed, come first.
fn registry(global: &Global, lock: Option<&Path>) -> Result<Registry, Failure> {
    let mut locks: Vec<PathBuf> = lock.map(Path::to_owned).into_iter().collect();
    locks.extend(plugins::locks(global, None));
    Ok(Registry::open(&locks, plugins::setup(global))?)
}

/// The state of everything that the run depended on.
fn inputs(global: &Global, journal: &Journal, registry: &Registry) -> Result<Vec<Row>, Failure> {
    let started = &journal.started;
    let mut rows = Vec::new();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let then = &started.prony_version;
    rows.push(Row::new("version of prony", then, Some(version), false));
    let (then, now) = (&started.environment.machine, Fingerprint::read().digest);
    rows.push(Row::new("machine", then, Some(now), false));
    for plugin in &started.plugins {
        let found = registry.find(plugin.kind, &plugin.name).ok();
        let now = found.map(|(entry, _)| entry.sha256.clone());
        let name = format!("{} {}", plugin.kind.name(), plugin.name);
        rows.push(Row::new(&name, &plugin.sha256, now, true));
    }
    let mut digests = Digests::open(&plugins::cache(global));
    let runtime = runtime()?;
    let mut seen: Vec<&Input> = Vec::new();
    for event in &journal.events {
        let Event::Input(input) = event else { continue };
        if seen.contains(&input) {
            continue;
        }
        seen.push(input);
        if input.kind == InputKind::Container {
            rows.push(runtime.block_on(container(input)));
            continue;
        }
        let path = match input.kind {
            // The one that would run.
            InputKind::Prony => std::env::current_exe().unwrap_or_default(),
            _ => PathBuf::from(&input.path),
        };
        let now = digests.of(&path, &|| false).ok().map(|(sha256, _)| sha256);
        let name = match input.of.as_str() {
            "" => format!("{} {}", input.kind.name(), input.path),
            of => format!("{} of {of}", input.kind.name()),
        };
        let needed = !matches!(input.kind, InputKind::Prony | InputKind::Lock);
        let row = match &input.sha256 {
            Some(then) => Row::new(&name, then, now, needed),
            // It could not be read then.
            None => Row::new(&name, "", now.map(|_| String::new()), needed),
        };
        let version = input.version.as_ref().map(|then| {
            let (state, now) = match row.state {
                // The same file says the same.
                State::Same => (State::Same, then.clone()),
                State::Missing => (State::Missing, String::new()),
                // A program that a journal names is not run to ask it.
                State::Differs | State::Unknown => (State::Unknown, String::new()),
            };
            Row {
                input: format!("version of {}", input.of),
                state,
                then: then.clone(),
                now,
                needed: false,
            }
        });
        rows.push(row);
        rows.extend(version);
    }
    Ok(rows)
}

/// The image of a container, then and here. A runtime fetches one that is missing.
async fn container(input: &Input) -> Row {
    let name = format!("{} of {}", input.kind.name(), input.of);
    let now = prony_runner::image_digest(&input.path).await;
    match &input.sha256 {
        Some(then) => Row::new(&name, then, now, false),
        None => Row {
            input: name,
            state: State::Unknown,
            then: String::new(),
            now: now.unwrap_or_default(),
            needed: false,
        },
    }
}

impl Row {
    fn new(input: &str, then: &str, now: Option<String>, needed: bool) -> Self {
        let state = match &now {
            None => State::Missing,
            Some(now) if now == then => State::Same,
            Some(_) => State::Differs,
        };
        Self {
            input: input.to_owned(),
            state,
            then: then.to_owned(),
            now: now.unwrap_or_default(),
            needed,
        }
    }
}

/// Runs the pipeline again. `None` if it is no valid pipeline here.
fn again(
    global: &Global,
    arguments: &Arguments,
    given: &RunFolder,
    registry: &Registry,
) -> Result<Option<(RunFolder, RunResult, Exit)>, Failure> {
    let source = Source {
        file: given.pipeline(),
        layers: Layers::default(),
    };
    let Some(loaded) = pipeline::open(global, &source, registry, None) else {
        return Ok(None);
    };
    let notes = pipeline::notes(&loaded);
    let pipeline = loaded.pipeline;
    let part = Reader::open(&given.journal())?.started().plan.part;
    let plan = of_plan(Plan::new(&pipeline), part.map(Wanted::Named))?;
    let is_own = is_own(arguments, given);
    let base = arguments.folder.clone();
    let base = base.or_else(|| prony_journal::pipeline_folder(given).filter(|_| is_own));
    let base = base.unwrap_or_else(|| PathBuf::from("."));
    if !is_own {
        agree(arguments, &pipeline, &base)?;
    }
    check_open_files(&plan)?;
    load_plugins(&pipeline, registry)?;
    let job = Job {
        global,
        registry,
        base,
        results: &arguments.chosen.results,
    };
    let folder = job.folder(&pipeline)?;
    let left = format!("what was measured is in {}", folder.path().display());
    let stop = stop_on_signal(STOPPING, &left)?;
    let destination = Destination::new(folder.clone());
    let (outcome, result, mut reported) = job.run(&pipeline, notes, &plan, destination, &stop)?;
    if arguments.json {
        reported.stdout.clear();
    }
    let reports = super::report::show(global, &reported);
    let exit = code(outcome, &result, reports);
    Ok(Some((folder, result, exit)))
}

/// Returns `true` for a run in the results folder. Others may be a stranger's.
fn is_own(arguments: &Arguments, given: &RunFolder) -> bool {
    let paths = [given.path(), &arguments.chosen.results].map(Path::canonicalize);
    let [Ok(run), Ok(results)] = paths else {
        return false;
    };
    arguments.chosen.bundle().is_none() && run.starts_with(results)
}

/// Shows what would run, and asks whether it may.
fn agree(arguments: &Arguments, pipeline: &Pipeline, base: &Path) -> Result<(), Failure> {
    let commands = written(pipeline, |it| ["engine", "engines", "stages"].contains(&it))?;
    output::error_lines(&commands, false);
    let base = std::path::absolute(base).unwrap_or_else(|_| base.to_owned());
    eprintln!(
        "note: these commands, which whoever made the run wrote, run with your rights, in {}",
        base.display()
    );
    if arguments.yes {
        return Ok(());
    }
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        eprintln!("run them? y or n");
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        if read.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
            return Ok(());
        }
    }
    let message = "nothing was run: read the commands above, then `--yes` runs them";
    Err(Failure::new(Exit::Usage, message))
}

/// Label of the model, baseline and candidate.
type Key<'r> = (String, &'r str, &'r str);

fn comparisons(result: &RunResult) -> impl Iterator<Item = (Key<'_>, &Comparison)> {
    result.models.iter().flat_map(|model: &ModelResult| {
        let all = model.comparisons.iter();
        all.map(move |it| ((model.label(), &*it.baseline, &*it.candidate), it))
    })
}

/// Compares comparisons. The engines of each took turns, so how fast the machine was cancels in
/// the ratio of a cycle, and ratios of different runs may be compared where speeds may not.
fn compared(then: &RunResult, now: &RunResult) -> Vec<Reproduction> {
    let now: BTreeMap<Key<'_>, &Comparison> = comparisons(now).collect();
    let reproduction = |(key, then): (Key<'_>, &Comparison)| {
        let (of, baseline, candidate) = &key;
        let ratios = now.get(&key).map_or(&[][..], |it| &it.cycle_log_ratios);
        let shift = Shift::new(&then.cycle_log_ratios, ratios);
        let percent = |log: f64| log.exp_m1() * 100.0;
        let interval = shift.as_ref().and_then(|shift| shift.interval(ALPHA));
        let interval = interval.map(|it| (percent(it.low), percent(it.high)));
        Reproduction {
            comparison: format!("{of}: {candidate} against {baseline}"),
            outcome: outcome(interval, then.margin_percent),
            difference_percent: shift.map(|shift| percent(shift.estimate())),
            interval_percent: interval,
            cycles: (then.cycle_log_ratios.len(), ratios.len()),
        }
    };
    comparisons(then).map(reproduction).collect()
}

fn outcome(interval: Option<(f64, f64)>, margin: f64) -> Answer {
    match interval {
        Some((low, high)) if -margin <= low && high <= margin => Answer::Reproduced,
        Some((low, high)) if low > 0.0 || high < 0.0 => Answer::Differs,
        _ => Answer::Inconclusive,
    }
}

fn sentence(reproduction: &Reproduction) -> String {
    let Reproduction {
        comparison,
        outcome,
        interval_percent,
        cycles: (then, now),
        ..
    } = reproduction;
    let cycles = format!("{then} cycles then, {} now", count(*now as u64, "cycle"));
    let told = match interval_percent {
        Some((low, high)) => format!(
            "the candidate's advantage is {low:+.1} … {high:+.1} % more than then ({:.0} % interval, {cycles})",
            (1.0 - ALPHA) * 100.0
        ),
        None => format!("too few cycles give no interval ({cycles})"),
    };
    format!("{comparison}: {}: {told}", outcome.name())
}

fn table(rows: &[Row]) -> String {
    let short = |it: &str| one_line(it).chars().take(12).collect::<String>();
    let width = rows.iter().map(|row| row.input.chars().count()).max();
    let width = width.unwrap_or_default();
    let line = |cells: [&str; 4]| {
        let [input, state, then, now] = cells;
        let line = format!("{input:width$}  {state:8} {then:13} {now}");
        line.trim_end().to_owned()
    };
    let head = line(["Input", "State", "Then", "Now"]);
    let rows = rows.iter().map(|row| {
        line([
            &row.input,
            row.state.name(),
            &short(&row.then),
            &short(&row.now),
        ])
    });
    std::iter::once(head)
        .chain(rows)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advantage_is_reproduced_inside_the_margin() {
        for (interval, expected) in [
            (None, Answer::Inconclusive),
            (Some((-1.0, 1.5)), Answer::Reproduced),
            // A difference, and no more than the margin.
            (Some((0.5, 1.5)), Answer::Reproduced),
            (Some((0.5, 2.5)), Answer::Differs),
            (Some((-9.0, -3.0)), Answer::Differs),
            (Some((-3.0, 1.0)), Answer::Inconclusive),
        ] {
            assert_eq!(outcome(interval, 2.0), expected, "{interval:?}");
        }
    }
}
