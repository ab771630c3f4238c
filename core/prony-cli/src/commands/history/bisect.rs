//! `prony history bisect`: the commit of a change, by runs with two builds as engines. A history
//! only nominates; the verdict is that of a run.

use super::{Chosen, analysed, commit};
use crate::arguments::{Global, Layers};
use crate::commands::run::{
    Destination, Job, STOPPING, base_of, check_open_files, code, load_plugins, stop_on_signal,
};
use crate::{Exit, Failure, Outcome, output, pipeline, plugins};
use clap::Args;
use prony_config::{Loaded, Pipeline, TwoBuilds};
use prony_history::{Change, Series, short};
use prony_plan::Plan;
use prony_plugin_host::Registry;
use prony_result::{Comparison, RunResult, Verdict, words::one_line};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::sync::watch;

const AFTER_HELP: &str = "\
Every step runs the pipeline with the build of the good end and another one, and follows the verdict.

Exit codes: 0 the commit is found, 1 it is not, or a run failed, 2 usage, 3 invalid pipeline, 5 plugin failure, 6 not valid, 130 interrupted.

Example: prony history bisect my-model --pipeline nightly.yaml --build \"sh build.sh {commit}\" --option launch.command.0=builds/{commit}/server";

/// Stands for a commit in options and commands.
const COMMIT: &str = "{commit}";
/// Runs of one commit, at most, while their numbers are not valid.
const MAX_RUNS: usize = 3;
/// Names of the builds in a pipeline.
const GOOD: &str = "good";
const BAD: &str = "bad";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    chosen: Chosen,
    /// The pipeline of the runs.
    #[arg(long, value_name = "FILE")]
    pipeline: PathBuf,
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    options: Options,
    /// Command that makes the build of a commit, for a shell; `{commit}` in it is the commit. It runs
    /// in the pipeline's folder, once for each commit.
    #[arg(long, value_name = "COMMAND")]
    build: Option<String>,
    /// A commit without the change. Defaults to that of the last run before the change.
    #[arg(long, value_name = "COMMIT")]
    good: Option<String>,
    /// A commit with the change. Defaults to that of the first run after it.
    #[arg(long, value_name = "COMMIT")]
    bad: Option<String>,
    /// Folder of the git repository of the engine.
    #[arg(long, default_value = ".", value_name = "DIR")]
    repository: PathBuf,
    /// Print the pipeline with both ends as engines, and run nothing.
    #[arg(long)]
    print: bool,
    /// Folder with runs.
    #[arg(long, default_value = "results", value_name = "DIR")]
    results: PathBuf,
}

/// Options of the builds.
#[derive(Debug, Default, Args)]
pub(super) struct Options {
    /// Option of the engine that launches the build of a commit: a path in its `config`, and a value
    /// in which `{commit}` is the commit, for example `launch.command.0=builds/{commit}/server`. May
    /// be repeated.
    #[arg(long = "option", value_name = "PATH=VALUE")]
    options: Vec<String>,
}

/// The commits between which a change lies.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ends {
    pub(super) good: String,
    pub(super) bad: String,
}

impl Ends {
    /// The commits around a change, if both are known, and names.
    pub(super) fn new(change: &Change) -> Option<Self> {
        let named = |commit: &Option<String>| commit.clone().filter(|it| is_name(it));
        Some(Self {
            good: named(&change.good)?,
            bad: named(&change.bad)?,
        })
    }
}

/// Returns `true` for what may be a commit, a branch or a tag, and is no option, no path out of a
/// folder, and nothing to a shell, a template or YAML. Lines of a history may be anybody's.
fn is_name(commit: &str) -> bool {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "._/-".contains(it);
    commit.starts_with(|it: char| it.is_ascii_alphanumeric())
        && commit.chars().all(is_plain)
        && !commit.contains("..")
}

fn no_name(commit: &str) -> Failure {
    let message = format!("`{}` is no name of a commit", one_line(commit));
    Failure::new(Exit::Usage, message)
}

/// The options of an engine for the build of a commit.
fn config_of(
    given: &Map<String, Value>,
    options: &Options,
    commit: &str,
) -> Result<Map<String, Value>, Failure> {
    let mut config = Value::Object(given.clone());
    for option in &options.options {
        let usage =
            |reason: String| Failure::new(Exit::Usage, format!("`--option {option}`: {reason}"));
        let (path, value) = option.split_once('=').ok_or_else(|| {
            usage(
                "expected `PATH=VALUE`, for example `launch.command.0=builds/{commit}/server`"
                    .to_owned(),
            )
        })?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        set_at(&mut config, path, value).map_err(usage)?;
    }
    fill(&mut config, commit);
    Ok(config.as_object().cloned().unwrap_or_default())
}

/// Sets the value at a path of keys and indices with dots between them.
fn set_at(config: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let mut at = config;
    for key in path.split('.') {
        at = match at {
            Value::Object(entries) => entries.entry(key).or_insert(Value::Null),
            Value::Array(items) => {
                let length = items.len();
                let item = key.parse::<usize>().ok().and_then(|it| items.get_mut(it));
                item.ok_or_else(|| {
                    format!("`{key}` is no index of a list that has {length} items")
                })?
            }
            Value::Null => {
                *at = Value::Object(Map::new());
                at.as_object_mut()
                    .expect("it is one")
                    .entry(key)
                    .or_insert(Value::Null)
            }
            _ => {
                return Err(format!(
                    "what is before `{key}` is neither a mapping nor a list"
                ));
            }
        };
    }
    *at = value;
    Ok(())
}

/// Puts a commit into every text.
fn fill(value: &mut Value, commit: &str) {
    match value {
        Value::String(text) => *text = text.replace(COMMIT, commit),
        Value::Array(items) => items.iter_mut().for_each(|it| fill(it, commit)),
        Value::Object(entries) => entries.values_mut().for_each(|it| fill(it, commit)),
        _ => {}
    }
}

/// The pipeline with both ends as engines, as YAML.
fn text_of(
    given: &Pipeline,
    engine: &str,
    ends: &Ends,
    options: &Options,
    margin_percent: Option<f64>,
) -> Result<String, Failure> {
    let own = given.engines.iter().find(|it| it.name == engine);
    let own = own.ok_or_else(|| {
        let message = format!(
            "the pipeline has no engine `{}`, whose history it is",
            one_line(engine)
        );
        Failure::new(Exit::Usage, message)
    })?;
    let good = config_of(&own.config, options, &ends.good)?;
    let bad = config_of(&own.config, options, &ends.bad)?;
    if good == bad {
        let message = format!(
            "nothing says how the engine `{engine}` is launched at a commit: give `--option PATH=VALUE` with `{COMMIT}` in the value"
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    let builds = TwoBuilds {
        engine,
        builds: [(GOOD, good), (BAD, bad)],
    };
    let mut file = builds.of(given);
    if let (Some(file), Some(margin)) = (&mut file, margin_percent) {
        file["compare"]["margin_percent"] = margin.into();
    }
    let file = file.and_then(|it| serde_yaml::to_string(&it).ok());
    file.ok_or_else(|| Failure::new(Exit::RunFailed, "the pipeline cannot be written"))
}

/// The given pipeline, or the exit code if it is invalid.
fn load(
    global: &Global,
    file: &Path,
    layers: &Layers,
    base: &Path,
    registry: &Registry,
) -> Result<Loaded, Exit> {
    let (loaded, diagnostics) = pipeline::load(global, file, layers, registry, Some(base));
    loaded.ok_or_else(|| {
        pipeline::show(global, &diagnostics);
        Exit::InvalidPipeline
    })
}

/// The pipeline with both ends of an alarm as engines, as YAML with a line about it.
pub(super) fn pipeline_text(
    global: &Global,
    file: &Path,
    engine: &str,
    ends: &Ends,
    options: &Options,
) -> Result<String, Failure> {
    let base = base_of(file)?;
    let registry = plugins::registry_of(global, &base)?;
    let given = load(global, file, &Layers::default(), &base, &registry)
        .map_err(|exit| Failure::new(exit, "the pipeline is invalid (above)"))?;
    commented(&given.pipeline, engine, ends, options)
}

fn commented(
    given: &Pipeline,
    engine: &str,
    ends: &Ends,
    options: &Options,
) -> Result<String, Failure> {
    let text = text_of(given, engine, ends, options, None)?;
    Ok(format!(
        "# `{GOOD}` is {}, `{BAD}` is {}: keep this file in the folder of the pipeline that it comes from\n{text}",
        one_line(&ends.good),
        one_line(&ends.bad)
    ))
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let (all, _) = analysed(global, &arguments.chosen)?;
    let [series] = all.as_slice() else {
        let rows = all
            .iter()
            .map(|it| format!("  {}  {}", it.digest, it.label));
        return Err(Failure {
            rows: rows.collect(),
            ..Failure::new(Exit::Usage, "bisect takes one series; name one of:")
        });
    };
    let ends = ends(series, arguments)?;
    let base = base_of(&arguments.pipeline)?;
    let registry = plugins::registry_of(global, &base)?;
    let given = match load(
        global,
        &arguments.pipeline,
        &arguments.layers,
        &base,
        &registry,
    ) {
        Ok(given) => given,
        Err(exit) => return Ok(exit),
    };
    if arguments.print {
        if let Some(commit) = [&ends.good, &ends.bad].into_iter().find(|it| !is_name(it)) {
            return Err(no_name(commit));
        }
        output::lines(&commented(
            &given.pipeline,
            &series.candidate,
            &ends,
            &arguments.options,
        )?);
        return Ok(Exit::Ok);
    }
    // Before anything is built.
    text_of(
        &given.pipeline,
        &series.candidate,
        &ends,
        &arguments.options,
        None,
    )?;
    let ends = Ends {
        good: resolved(&arguments.repository, &ends.good)?,
        bad: resolved(&arguments.repository, &ends.bad)?,
    };
    let range = format!("{}..{}", ends.good, ends.bad);
    let revisions = ["rev-list", "--reverse", "--first-parent", &range];
    let commits = commit::lines(&arguments.repository, &revisions).map_err(unknown)?;
    if commits.is_empty() {
        let message = format!(
            "`{}..{}` has no commits: `--good` and `--bad` name others",
            short(Some(&ends.good)),
            short(Some(&ends.bad))
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    let left = format!(
        "what was measured is in the newest folder below {}",
        arguments.results.display()
    );
    let mut walk = Walk {
        global,
        arguments,
        registry: &registry,
        given: &given.pipeline,
        base,
        series,
        good: ends.good,
        built: BTreeSet::new(),
        margin_percent: None,
        stop: stop_on_signal(STOPPING, &left)?,
    };
    walk.through(&commits)
}

/// The hash of a commit in a repository, whatever it is called.
fn resolved(repository: &Path, commit: &str) -> Result<String, Failure> {
    let name = format!("{commit}^{{commit}}");
    let asked = [
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        &name,
    ];
    let lines = commit::lines(repository, &asked);
    let lines = lines.map_err(|_| unknown(format!("it has no `{}`", one_line(commit))))?;
    let hash = lines.into_iter().next().unwrap_or_default();
    if is_name(&hash) {
        Ok(hash)
    } else {
        Err(no_name(commit))
    }
}

fn unknown(error: String) -> Failure {
    let message = format!("the commits between both ends are not known (`--repository`): {error}");
    Failure::new(Exit::Usage, message)
}

fn ends(series: &Series, arguments: &Arguments) -> Result<Ends, Failure> {
    let change = series.changes.last();
    let of = |given: Option<&String>, found: Option<String>, name: &str| {
        given.cloned().or(found).ok_or_else(|| {
            let message = format!(
                "the history of {} knows no such commit: give `--{name}`",
                series.label
            );
            Failure::new(Exit::Usage, message)
        })
    };
    Ok(Ends {
        good: of(
            arguments.good.as_ref(),
            change.and_then(|it| it.good.clone()),
            "good",
        )?,
        bad: of(
            arguments.bad.as_ref(),
            change.and_then(|it| it.bad.clone()),
            "bad",
        )?,
    })
}

/// A search through commits.
struct Walk<'a> {
    global: &'a Global,
    arguments: &'a Arguments,
    registry: &'a Registry,
    given: &'a Pipeline,
    base: PathBuf,
    series: &'a Series,
    /// The commit that others are measured against.
    good: String,
    built: BTreeSet<String>,
    /// Margin of a run: half of the change once it is confirmed, until then the pipeline's.
    margin_percent: Option<f64>,
    /// Becomes `true` at a signal.
    stop: watch::Receiver<bool>,
}

/// Finding of a run.
enum Found {
    Comparison(Box<Comparison>),
    /// The run did not end well.
    Exit(Exit),
}

impl Walk<'_> {
    /// Searches the first commit, in order, that differs from the good one as the last does.
    fn through(&mut self, commits: &[String]) -> Outcome {
        let last = commits.len() - 1;
        let confirmed = match self.judge(&commits[last])? {
            Found::Exit(exit) => return Ok(exit),
            Found::Comparison(comparison) => comparison,
        };
        let kind = confirmed.verdict;
        let is_winner = matches!(kind, Verdict::Slower | Verdict::Faster);
        let Some(difference) = confirmed.difference_percent.filter(|_| is_winner) else {
            println!(
                "not confirmed: a run of {} against {} shows no such change",
                short(Some(&commits[last])),
                short(Some(&self.good))
            );
            return Ok(Exit::RunFailed);
        };
        // A commit has the change or not: what is nearer to none has it not.
        // Two digits are enough, and read well.
        self.margin_percent = Some((difference.abs() * 50.0).ceil() / 100.0);
        // The change lies behind `low` commits, and not behind `high`.
        let (mut low, mut high) = (0, last);
        while low < high {
            let middle = usize::midpoint(low, high);
            let comparison = match self.judge(&commits[middle])? {
                Found::Exit(exit) => return Ok(exit),
                Found::Comparison(comparison) => comparison,
            };
            if comparison.verdict == Verdict::Inconclusive {
                let before = low.checked_sub(1).map_or(&self.good, |it| &commits[it]);
                println!(
                    "undecided: the change lies in {}..{}; more cycles would tell",
                    short(Some(before)),
                    short(Some(&commits[high]))
                );
                return Ok(Exit::RunFailed);
            }
            if comparison.verdict == kind && !comparison.within_margin {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        println!(
            "{} is the first commit that is {}",
            commits[high],
            kind.word()
        );
        Ok(Exit::Ok)
    }

    /// Measures a commit against the good one.
    fn judge(&mut self, commit: &str) -> Result<Found, Failure> {
        let good = self.good.clone();
        for build in [&good, commit] {
            if let Some(exit) = self.build(build)? {
                return Ok(Found::Exit(exit));
            }
        }
        let ends = Ends {
            good,
            bad: commit.to_owned(),
        };
        let text = text_of(
            self.given,
            &self.series.candidate,
            &ends,
            &self.arguments.options,
            self.margin_percent,
        )?;
        let name = format!(
            "{} (at {} and {})",
            pipeline::name_of(&self.arguments.pipeline),
            short(Some(&ends.good)),
            short(Some(commit))
        );
        let layers = &self.arguments.layers;
        let loaded = match pipeline::turned(&name, text, self.given, layers, self.registry) {
            Ok(loaded) => loaded,
            Err(diagnostics) => {
                pipeline::show(self.global, &diagnostics);
                return Ok(Found::Exit(Exit::InvalidPipeline));
            }
        };
        let (mut exit, mut result) = self.run(&loaded)?;
        for _ in 1..MAX_RUNS {
            if exit == Exit::Invalid {
                eprintln!("note: the numbers are not valid, so the run is repeated");
                (exit, result) = self.run(&loaded)?;
            }
        }
        let compared = self.comparison(&result);
        if let Some(comparison) = compared.filter(|_| exit == Exit::Ok) {
            println!("{}: {}", short(Some(commit)), comparison.sentence());
            return Ok(Found::Comparison(Box::new(comparison.clone())));
        }
        eprintln!(
            "error: {}: the run has no verdict, so nothing follows from it; it is in {}",
            short(Some(commit)),
            self.arguments.results.join(&result.run.id).display()
        );
        Ok(Found::Exit(exit.or_failed()))
    }

    /// Makes the build of a commit, once. Returns the exit code if it was stopped by a signal.
    fn build(&mut self, commit: &str) -> Result<Option<Exit>, Failure> {
        let Some(command) = &self.arguments.build else {
            return Ok(None);
        };
        if !self.built.insert(commit.to_owned()) {
            return Ok(None);
        }
        let command = command.replace(COMMIT, commit);
        let mut child = Command::new("sh")
            .args(["-c", &command])
            .current_dir(&self.base)
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| {
                let message = format!("a shell cannot be started: {error}");
                Failure::new(Exit::RunFailed, message)
            })?;
        let failed = match self.ended(&mut child) {
            Ok(None) => return Ok(Some(Exit::Interrupted)),
            Ok(Some(status)) if status.success() => return Ok(None),
            Ok(Some(status)) => format!("ended with {status}"),
            Err(error) => format!("cannot be waited for: {error}"),
        };
        let message = format!("the build of {}: `{command}` {failed}", short(Some(commit)));
        Err(Failure::new(Exit::RunFailed, message))
    }

    /// Waits for a build; `None` if a signal stopped it, with all that it had started.
    fn ended(&self, child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
        const LOOK_EVERY: Duration = Duration::from_millis(20);
        /// Time for what was asked to end.
        const GRACE: Duration = Duration::from_secs(2);
        let group = Pid::from_child(child);
        let mut stopped: Option<Instant> = None;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(stopped.is_none().then_some(status));
            }
            let is_over = stopped.is_some_and(|at| at.elapsed() > GRACE);
            if is_over || (stopped.is_none() && *self.stop.borrow()) {
                let signal = if is_over { Signal::KILL } else { Signal::TERM };
                // It may have ended by now.
                let _ = kill_process_group(group, signal);
                stopped.get_or_insert_with(Instant::now);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn run(&self, loaded: &Loaded) -> Result<(Exit, RunResult), Failure> {
        let pipeline = &loaded.pipeline;
        load_plugins(pipeline, self.registry)?;
        let plan = Plan::new(pipeline);
        check_open_files(&plan)?;
        let job = Job {
            global: self.global,
            registry: self.registry,
            base: self.base.clone(),
            results: &self.arguments.results,
        };
        let folder = job.folder(pipeline)?;
        let notes = pipeline::notes(loaded);
        let (outcome, result, _) =
            job.run(pipeline, notes, &plan, Destination::new(folder), &self.stop)?;
        let exit = code(outcome, &result, Exit::Ok);
        Ok((exit, result))
    }

    /// The comparison of both builds in what the series is of.
    fn comparison<'r>(&self, result: &'r RunResult) -> Option<&'r Comparison> {
        let series = self.series;
        let model = result.models.iter().find(|it| {
            it.id == series.model && it.cell == series.cell && it.measure == series.measure
        });
        model?.comparisons.iter().find(|it| it.candidate == BAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn options_are_those_of_a_commit() {
        let given = json!({ "launch": { "command": ["old/server", "--port"] }, "threads": 4 });
        let given = given.as_object().cloned().expect("an object");
        let config = |option: &str| {
            let options = Options {
                options: vec![option.to_owned()],
            };
            config_of(&given, &options, "3f2a")
                .map(Value::Object)
                .map_err(|it| it.message)
        };
        let found = config("launch.command.0=builds/{commit}/server").expect("options");
        assert_eq!(
            found["launch"]["command"],
            json!(["builds/3f2a/server", "--port"])
        );
        let found = config("program=[\"a/{commit}\"]").expect("options");
        assert_eq!(
            (&found["program"], &found["threads"]),
            (&json!(["a/3f2a"]), &json!(4))
        );
        let error = config("launch.command.7=x").expect_err("there is no such item");
        assert!(error.contains("has 2 items"), "{error}");
        let error = config("threads.x=1").expect_err("a number has no keys");
        assert!(error.contains("before `x`"), "{error}");
        assert!(config("threads").is_err());
    }
}
