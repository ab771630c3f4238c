//! `prony aa`: compares an engine with itself.

use crate::arguments::{Global, Source};
use crate::commands::print_json;
use crate::commands::run::{
    Destination, Job, STOPPING, check_open_files, code, load_plugins, stop_on_signal,
};
use crate::{Exit, Failure, Outcome, pipeline, plugins};
use clap::Args;
use prony_config::{AgainstItself, Cycles, Loaded, Pipeline};
use prony_journal::{Noise, RunFolder};
use prony_metrics::statistics::pilot::detectable;
use prony_metrics::statistics::sequential::{MAX_CYCLES_RELOAD, Rule, Sequential};
use prony_metrics::statistics::{chance_wins, standard_deviation};
use prony_plan::Plan;
use prony_plugin_host::Registry;
use prony_result::to_percent;
use prony_result::{
    Comparison, Interval, RunResult, Verdict,
    words::{count, one_line, optional, percent},
};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const AFTER_HELP: &str = "\
Exit codes: 0 ok, 1 a run failed, or 20 or more runs named a winner more often than
chance would, 2 usage, 3 invalid pipeline, 5 plugin failure, 6 not valid, 130 interrupted.\n\nExample: prony aa pipelines/quickstart.yaml --runs 20 --limit 30m";

/// Runs a pipeline with one of its engines on both sides, under the names `NAME` and
/// `NAME_again`. Any difference is then noise. The result is kept for this machine, and
/// later results with the same engine, model and workload show it.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) source: Source,
    /// The engine. Defaults to the baseline, or the only engine.
    #[arg(long, value_name = "NAME")]
    pub(crate) engine: Option<String>,
    /// Number of runs, each with its own seed. From 20 on, the number of winners is
    /// compared with what chance allows.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,
    /// Cycles per run, instead of the pipeline's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(6..=10_000))]
    pub(crate) cycles: Option<u32>,
    /// Start no run that would end after this time, judging by the longest so far; for
    /// example `30m`.
    #[arg(long, value_name = "TIME")]
    pub(crate) limit: Option<prony_config::Duration>,
    /// Folder in which to create a folder for each run.
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub(crate) results: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Number of runs from which on winners are compared with what chance allows.
const ENOUGH_RUNS: usize = 20;
/// The code of a warning that is allowed but does not occur.
const UNUSED_ALLOW: &str = "P0320";
/// The largest seed of a pipeline, plus one.
const SEEDS: u64 = 1 << 53;

/// The result.
#[derive(Debug, Serialize)]
struct Found {
    engine: String,
    /// Folders of the runs.
    runs: Vec<String>,
    groups: Vec<Group>,
    /// Number of comparisons that named a winner.
    wins: u64,
    /// Number of comparisons.
    comparisons: u64,
    /// Number of winners attributable to chance; absent with too few runs.
    allowed_wins: Option<u64>,
}

/// One model, matrix point and `measure` stage over all runs.
#[derive(Debug, Serialize)]
struct Group {
    label: String,
    runs: Vec<One>,
    /// Cycles of all runs.
    cycles: usize,
    standard_deviation_percent: Option<f64>,
    /// Smallest difference that the planned cycles are expected to detect.
    detectable_percent: Option<f64>,
}

/// One comparison of the engine with itself.
#[derive(Debug, Serialize)]
struct One {
    run: String,
    verdict: Verdict,
    cycles: u32,
    difference_percent: Option<f64>,
    interval: Option<Interval>,
    reason: String,
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    crate::ranks::must_be_alone("aa")?;
    let base = super::run::base_of(&arguments.source.file)?;
    let registry = plugins::registry_of(global, &base)?;
    let (given, diagnostics) = pipeline::load(
        global,
        &arguments.source.file,
        &arguments.source.layers,
        &registry,
        Some(&base),
    );
    let Some(given) = given else {
        pipeline::show(global, &diagnostics);
        return Ok(Exit::InvalidPipeline);
    };
    let engine = engine(&given.pipeline, arguments.engine.as_deref())?;
    let cycles = cycles(global, &given.pipeline, arguments);
    let job = Job {
        global,
        registry: &registry,
        base,
        results: &arguments.results,
    };
    let left = format!(
        "what was measured is in the newest folder below {}: `prony report` reports it",
        arguments.results.display()
    );
    let stop = stop_on_signal(STOPPING, &left)?;
    let begin = Instant::now();
    let mut longest = Duration::ZERO;
    let mut done: Vec<(RunFolder, RunResult)> = Vec::new();
    let mut exit = Exit::Ok;
    for number in 0..arguments.runs {
        if let Some(limit) = arguments.limit
            && begin.elapsed() + longest > limit.to_std()
        {
            eprintln!(
                "note: ended after {} of {}: the next would go beyond the limit",
                done.len(),
                count(arguments.runs.into(), "run")
            );
            break;
        }
        let aa = AgainstItself {
            engine: &engine,
            cycles,
            seed: (given.pipeline.schedule.seed + u64::from(number)) % SEEDS,
        };
        let Some(loaded) = turned(
            global,
            arguments,
            &aa,
            &given.pipeline,
            &registry,
            number == 0,
        ) else {
            return Ok(Exit::InvalidPipeline);
        };
        let notes = pipeline::notes(&loaded);
        let pipeline = loaded.pipeline;
        if number == 0 {
            load_plugins(&pipeline, &registry)?;
        }
        if arguments.runs > 1 && !global.quiet {
            eprintln!("run {} of {}", number + 1, arguments.runs);
        }
        let started = Instant::now();
        let folder = job.folder(&pipeline)?;
        let plan = Plan::new(&pipeline);
        check_open_files(&plan)?;
        let (outcome, result, reported) = job.run(
            &pipeline,
            notes,
            &plan,
            Destination::new(folder.clone()),
            &stop,
        )?;
        longest = longest.max(started.elapsed());
        if arguments.runs == 1 && !arguments.json {
            super::report::show(global, &reported);
        }
        exit = code(outcome, &result, Exit::Ok);
        if !matches!(
            result.run.outcome,
            prony_result::Outcome::Completed | prony_result::Outcome::Failed
        ) {
            // It has fewer cycles than designed; its folder remains.
            break;
        }
        done.push((folder, result));
        keep(global, &done)?;
        if exit != Exit::Ok {
            break;
        }
    }
    let found = found(engine, cycles, &done);
    if arguments.json {
        print_json(&found)?;
    } else {
        show(&found, cycles);
    }
    if let Some(allowed) = found.allowed_wins
        && found.wins > allowed
        && exit == Exit::Ok
    {
        eprintln!(
            "error: {} of {} named a winner, and chance would hardly name more than {allowed}: do not trust verdicts of this machine as it is",
            found.wins,
            count(found.comparisons, "comparison")
        );
        exit = Exit::RunFailed;
    }
    Ok(exit)
}

/// The engine to compare.
fn engine(pipeline: &Pipeline, asked: Option<&str>) -> Result<String, Failure> {
    let names: Vec<&str> = pipeline.engines.iter().map(|it| it.name.as_str()).collect();
    let baseline = pipeline.compare.as_ref().map(|it| it.baseline.as_str());
    let name = asked.or(baseline).or(names.first().copied());
    let name = name.unwrap_or_default();
    if names.contains(&name) {
        return Ok(name.to_owned());
    }
    let nearest = prony_config::nearest(name, names);
    let known: Vec<String> = nearest.iter().map(|it| format!("`{it}`")).collect();
    let message = format!(
        "there is no engine `{name}`; there are {}",
        known.join(", ")
    );
    Err(Failure::new(Exit::Usage, message))
}

/// The requested number of cycles; else the pipeline's if it allows a verdict, else the
/// default.
fn cycles(global: &Global, pipeline: &Pipeline, arguments: &Arguments) -> u32 {
    let given = pipeline.schedule.cycles;
    let rule = |cycles: u32| Rule::new(0.0, cycles as usize);
    let can_decide = |cycles: u32| Sequential::new(rule(cycles)).first_look().is_some();
    if let Some(cycles) = arguments.cycles {
        return cycles;
    }
    let why = match given {
        Cycles::AtMost(given) if can_decide(given) => return given,
        Cycles::AtMost(given) => {
            format!(
                "has {}, too few for a verdict",
                count(given.into(), "cycle")
            )
        }
        Cycles::Open => "has no maximum of cycles".to_owned(),
    };
    let cycles = MAX_CYCLES_RELOAD as u32;
    if !global.quiet {
        eprintln!("note: the pipeline {why}; {cycles} are used (`--cycles` sets another number)");
    }
    cycles
}

/// The pipeline with the engine on both sides; its diagnostics are shown once.
fn turned(
    global: &Global,
    arguments: &Arguments,
    aa: &AgainstItself<'_>,
    given: &Pipeline,
    registry: &Registry,
    first: bool,
) -> Option<Loaded> {
    let file = aa.of(given)?;
    let text = serde_yaml::to_string(&file).ok()?;
    let name = format!(
        "{} ({} against itself)",
        pipeline::name_of(&arguments.source.file),
        aa.engine
    );
    match pipeline::turned(&name, text, given, &arguments.source.layers, registry) {
        Ok(mut loaded) => {
            // Warnings about other engines, allowed by the pipeline, do not occur here.
            loaded.warnings.retain(|it| it.code != UNUSED_ALLOW);
            if first {
                pipeline::show(global, &loaded.warnings);
            }
            Some(loaded)
        }
        Err(diagnostics) => {
            pipeline::show(global, &diagnostics);
            None
        }
    }
}

/// Stores the current findings for later results of this machine: those of valid runs.
fn keep(global: &Global, done: &[(RunFolder, RunResult)]) -> Result<(), Failure> {
    let is_valid = |(_, result): &&(RunFolder, RunResult)| result.invalid.is_empty();
    let done: Vec<(RunFolder, RunResult)> = done.iter().filter(is_valid).cloned().collect();
    let Some((_, first)) = done.first() else {
        return Ok(());
    };
    let (mut noise, _) = Noise::open(&plugins::cache(global), &first.environment.machine);
    Ok(noise.keep(&done)?)
}

fn found(engine: String, planned: u32, done: &[(RunFolder, RunResult)]) -> Found {
    let mut groups: Vec<(Group, Vec<f64>)> = Vec::new();
    for (folder, result) in done {
        for model in &result.models {
            let Some(comparison) = model.comparisons.first() else {
                continue;
            };
            let label = model.label();
            let known = groups.iter().position(|(group, _)| group.label == label);
            let at = known.unwrap_or_else(|| {
                groups.push((
                    Group {
                        label,
                        runs: Vec::new(),
                        cycles: 0,
                        standard_deviation_percent: None,
                        detectable_percent: None,
                    },
                    Vec::new(),
                ));
                groups.len() - 1
            });
            groups[at].0.runs.push(one(folder, comparison));
            groups[at].1.extend(&comparison.cycle_log_ratios);
        }
    }
    let groups: Vec<Group> = groups
        .into_iter()
        .map(|(group, ratios)| {
            let deviation = (ratios.len() > 1).then(|| standard_deviation(&ratios));
            Group {
                cycles: ratios.len(),
                standard_deviation_percent: deviation.map(to_percent),
                detectable_percent: deviation
                    .map(|it| to_percent(detectable(it, planned as usize))),
                ..group
            }
        })
        .collect();
    let all = || groups.iter().flat_map(|group| &group.runs);
    let wins = all().filter(|one| one.is_win()).count() as u64;
    let comparisons = all().count() as u64;
    Found {
        engine,
        runs: done.iter().map(|(folder, _)| folder.id()).collect(),
        wins,
        comparisons,
        allowed_wins: (done.len() >= ENOUGH_RUNS).then(|| chance_wins(comparisons)),
        groups,
    }
}

fn one(folder: &RunFolder, comparison: &Comparison) -> One {
    One {
        run: folder.id(),
        verdict: comparison.verdict,
        cycles: comparison.cycles,
        difference_percent: comparison.difference_percent,
        interval: comparison.interval,
        reason: comparison.reason.clone(),
    }
}

impl One {
    fn is_win(&self) -> bool {
        matches!(self.verdict, Verdict::Faster | Verdict::Slower)
    }
}

fn show(found: &Found, planned: u32) {
    println!("{} against itself", one_line(&found.engine));
    for group in &found.groups {
        println!("");
        println!("{}", one_line(&group.label));
        for one in &group.runs {
            let interval = one.interval.map_or_else(
                || "no interval".to_owned(),
                |it| format!("{:+.2} … {:+.2} %", it.low_percent, it.high_percent),
            );
            let told = match one.verdict {
                Verdict::Inconclusive => format!("inconclusive: {}", one_line(&one.reason)),
                verdict if one.is_win() => format!("{}, a false winner", verdict.word()),
                verdict => verdict.word().to_owned(),
            };
            println!(
                "  {}: {interval}, {told}",
                count(one.cycles.into(), "cycle")
            );
        }
        println!(
            "  a cycle differs by {} (standard deviation of {}); {} can be expected to show differences from {}",
            optional(group.standard_deviation_percent, percent),
            count(group.cycles as u64, "cycle"),
            count(planned.into(), "cycle"),
            optional(group.detectable_percent, percent)
        );
    }
    println!(
        "\n{} of {} named a winner, and there is none{}",
        found.wins,
        count(found.comparisons, "comparison"),
        found.allowed_wins.map_or_else(
            || format!("; from {ENOUGH_RUNS} runs on (`--runs`) that is held against chance"),
            |allowed| format!("; chance allows {allowed}")
        )
    );
}
