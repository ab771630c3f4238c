//! `prony plan`

use super::run::base_of;
use crate::arguments::{Global, Source};
use crate::commands::print_json;
use crate::{Exit, Outcome, files, part, pipeline, plugins};
use clap::Args;
use prony_config::{Cycles, Order, Pipeline, Stop};
use prony_plan::{Estimate, Plan, Segment, Stage, Visit};
use prony_result::words::{count, seconds};
use serde::Serialize;
use std::collections::HashSet;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony plan pipelines/quickstart.yaml --json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Folder with earlier runs, for estimating the time.
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub(crate) results: PathBuf,
    /// Show one of N parts, as `prony run --part` runs it.
    #[arg(long, value_name = "K/N", value_parser = part::wanted)]
    pub(crate) part: Option<part::Wanted>,
    /// Print the plan as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Facts known before a run.
#[derive(Serialize)]
struct Planned<'a> {
    pipeline: &'a str,
    setup: Vec<String>,
    #[serde(flatten)]
    plan: &'a Plan,
    report: &'a [String],
    estimate: Estimate,
    /// The run on which the estimate is based.
    estimated_from: Option<String>,
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let base = super::run::base_of(&arguments.source.file)?;
    let registry = plugins::registry_of(global, &base)?;
    let Some(loaded) = pipeline::open(global, &arguments.source, &registry, None) else {
        return Ok(Exit::InvalidPipeline);
    };
    let pipeline = loaded.pipeline;
    let plan = part::of_plan(Plan::new(&pipeline), arguments.part)?;
    let past = prony_journal::past(&arguments.results, &pipeline.name);
    let estimate = Estimate::new(&pipeline, &plan, past.as_ref().map(|(_, past)| past));
    let from = past.filter(|_| estimate.seconds.is_some());
    let planned = Planned {
        pipeline: &pipeline.name,
        setup: steps(&pipeline),
        plan: &plan,
        report: &pipeline.report.reporters,
        estimate,
        estimated_from: from.map(|(folder, _)| folder.id()),
    };
    if arguments.json {
        print_json(&planned)?;
        return Ok(Exit::Ok);
    }
    let order = match pipeline.schedule.order {
        Order::Interleaved => format!("a coin per cycle, seed {}", pipeline.schedule.seed),
        Order::Sequential => "as written".to_owned(),
    };
    println!("{}: {}, order: {order}", pipeline.name, totals(&plan));
    if let Some(cycles) = cycles(&pipeline) {
        println!("{cycles}");
    }
    if let Some(control_s) = plan.control_s {
        println!("a control of {control_s} s right before and right after each visit");
    }
    if pipeline.comparisons() > 0 {
        for line in compares(&plan) {
            println!("{line}");
        }
    }
    for source in sources(&pipeline) {
        println!("sends {source}");
    }
    for line in files::datasets(&pipeline, &base_of(&arguments.source.file)?) {
        println!("{line}");
    }
    for line in pipeline::repeats(&pipeline) {
        println!("{line}");
    }
    println!(
        "{}",
        time(&planned, &arguments.results.display().to_string())
    );
    println!("   setup");
    for step in &planned.setup {
        println!("     {step}");
    }
    visits(&plan, pipeline.schedule.cycles);
    println!("   report: {}", planned.report.join(", "));
    Ok(Exit::Ok)
}

/// Subjects of the verdicts, without duplicates.
fn compares(plan: &Plan) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for stage in plan.segments.iter().flat_map(Segment::measures) {
        let line = stage
            .statistic
            .map(|it| format!("compares {}", it.meaning()));
        lines.extend(line.filter(|line| !lines.contains(line)));
    }
    lines
}

/// Sources of prompts that are not in the pipeline, without duplicates.
fn sources(pipeline: &Pipeline) -> Vec<String> {
    let mut sources = Vec::new();
    for point in &pipeline.points {
        let source = prony_journal::source_of_prompts(&point.workload);
        if let Some(source) = source.filter(|it| !sources.contains(it)) {
            sources.push(source);
        }
    }
    sources
}

/// The steps of `setup`, in order.
fn steps(pipeline: &Pipeline) -> Vec<String> {
    let setup = &pipeline.setup;
    let steps = setup.before.iter().chain(&setup.after);
    steps.map(prony_runner::step_name).collect()
}

/// A note on the number of cycles, if engines are compared.
fn cycles(pipeline: &Pipeline) -> Option<String> {
    let schedule = &pipeline.schedule;
    let turns = schedule.blocks().map_or_else(String::new, |blocks| {
        format!(
            "; both engines loaded, {} of ABBA or BAAB in each",
            count(u64::from(blocks), "block")
        )
    });
    let planned = schedule.cycles.planned();
    let (most, end) = if schedule.cycles.is_open() {
        (
            format!("any number of cycles ({planned} are planned)"),
            " or you end it",
        )
    } else {
        (format!("at most {planned} cycles"), "")
    };
    match (pipeline.first_verdict(), schedule.stop) {
        (Some(first), Stop::Decided) if first < planned => Some(format!(
            "{most} of each model: it ends when its comparisons are decided{end}, at the earliest after {first}{turns}"
        )),
        _ if turns.is_empty() => None,
        _ => Some(format!("{}{turns}", count(u64::from(planned), "cycle"))),
    }
}

/// `10 min to 1 h`, or the only one of the two.
pub(super) fn range(estimate: &Estimate, most: f64) -> String {
    match estimate.least_seconds {
        None => seconds(most),
        Some(least) => format!("{} to {}", seconds(least), seconds(most)),
    }
}

/// `24 visits, 96 requests (2 warm-up + 4 measured each)`.
fn totals(plan: &Plan) -> String {
    let requests = |it: &Segment| (it.warmup_requests(), it.measured_requests());
    let segments = plan.segments();
    let visits = plan
        .visits
        .iter()
        .filter_map(|visit| segments.get(&visit.of_segment()));
    let of_all = visits.fold((0, 0), |(warmup, measured), segment| {
        let (more_warmup, more_measured) = requests(segment);
        (warmup + more_warmup, measured + more_measured)
    });
    let alike: HashSet<(u64, u64)> = plan.segments.iter().map(requests).collect();
    let ((warmup, measured), each) = match alike.iter().next() {
        Some(of_each) if alike.len() == 1 => (*of_each, " each"),
        _ => (of_all, ""),
    };
    format!(
        "{}, {} ({warmup} warm-up + {measured} measured{each})",
        count(plan.visits.len() as u64, "visit"),
        count(plan.requests(), "request")
    )
}

/// The maximum number of tokens, and the estimated time.
fn time(planned: &Planned<'_>, results: &str) -> String {
    let tokens = count(planned.estimate.most_output_tokens, "output token");
    match (planned.estimate.seconds, &planned.estimated_from) {
        (Some(time), Some(run)) => {
            format!(
                "at most {tokens}; about {} by what {run} took",
                range(&planned.estimate, time)
            )
        }
        _ => format!(
            "at most {tokens}; how long that takes cannot be said: no finished run of `{}` with these engines is in `{results}`",
            planned.pipeline
        ),
    }
}

/// Prints the visits; of a run without a maximum of cycles the first of each model.
fn visits(plan: &Plan, cycles: Cycles) {
    const SHOWN: u32 = 5;
    let segments = plan.segments();
    let width = plan.visits.len().to_string().len();
    let mut point = None;
    for (number, visit) in (1..).zip(&plan.visits) {
        if cycles.is_open() && visit.cycle > SHOWN {
            if visit.cycle == SHOWN + 1 && plan.visits[number - 2].cycle == SHOWN {
                println!("{:>width$}  and so on", "");
            }
            continue;
        }
        if visit.point.as_deref() != point {
            point = visit.point.as_deref();
            println!("   {}", point.unwrap_or_default());
        }
        let stages = segments
            .get(&visit.of_segment())
            .map_or(&[][..], |segment| &segment.stages);
        println!("{number:>width$}  {}: {}", name(visit), sequence(stages));
    }
}

fn name(visit: &Visit) -> String {
    let again = match visit.segment {
        1 => String::new(),
        segment => format!(", part {segment}"),
    };
    format!(
        "{}  cycle {}  {}{again}",
        visit.model, visit.cycle, visit.engine
    )
}

/// `load, warmup 3×4, measure 10 (poisson, 4 a second), unload`.
fn sequence(stages: &[Stage]) -> String {
    let stage = |stage: &Stage| {
        let kind = prony_plan::StageKind::from(stage.phase).name();
        let id = match stage.id.as_str() {
            id if id == kind => String::new(),
            id => format!(" {id}"),
        };
        let sending = match (&stage.arrival, stage.concurrency) {
            (Some(arrival), _) => format!(" ({arrival})"),
            (None, 1) => String::new(),
            (None, concurrency) => format!("×{concurrency}"),
        };
        let condition = match &stage.condition {
            None => String::new(),
            Some(condition) => format!(" if {condition}"),
        };
        format!("{kind}{id} {}{sending}{condition}", stage.requests)
    };
    let sequence = std::iter::once("load".to_owned())
        .chain(stages.iter().map(stage))
        .chain(std::iter::once("unload".to_owned()));
    sequence.collect::<Vec<_>>().join(", ")
}
