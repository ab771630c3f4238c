//! Fairness: what makes numbers mean less than they seem to.

use prony_diagnostic::Diagnostic;

use super::Context;
use crate::{Order, Pipeline, codes};

/// The fewest cycles for which an interval of the difference exists.
const MIN_CYCLES: u32 = 6;

pub(super) fn lint(pipeline: &Pipeline, context: &Context<'_>) -> Vec<Diagnostic> {
    let comparison = pipeline.engines.len() > 1;
    [
        no_warmup(pipeline, context),
        few_cycles(pipeline, context).filter(|_| comparison),
        sequential(pipeline, context).filter(|_| comparison),
        temperature(pipeline, context).filter(|_| comparison),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn no_warmup(pipeline: &Pipeline, context: &Context<'_>) -> Option<Diagnostic> {
    if pipeline.stages.warmup.requests > 0 {
        return None;
    }
    let stages = context.root.at("/stages");
    let given = stages.node.items().iter().find_map(|s| s.entry("warmup"));
    let problem = Diagnostic::warning(codes::FAIRNESS_NO_WARMUP, "there is no warm-up");
    let problem = match given {
        Some(entry) => {
            let requests = entry.value.at_key("requests");
            problem
                .at(
                    requests.unwrap_or_else(|| entry.key_span.clone()),
                    "no request is sent",
                )
                .help("let it send a few requests; 3 are the default")
        }
        None => problem
            .at(stages.name_span(), "no `warmup` stage")
            .help("add `- warmup: {}` before `measure`, for 3 requests that are not measured"),
    };
    Some(problem.note("the first measured requests pay for cold caches and lazy work"))
}

fn few_cycles(pipeline: &Pipeline, context: &Context<'_>) -> Option<Diagnostic> {
    let cycles = pipeline.schedule.cycles;
    (cycles < MIN_CYCLES).then(|| {
        let label = match cycles {
            1 => "1 cycle".to_owned(),
            n => format!("{n} cycles"),
        };
        Diagnostic::warning(
            codes::FAIRNESS_FEW_CYCLES,
            "the comparison can not reach a verdict",
        )
        .at(context.place("/schedule/cycles", "/engines"), label)
        .note(format!(
            "the interval of the difference needs {MIN_CYCLES} cycles"
        ))
        .help(format!(
            "set `cycles: {MIN_CYCLES}` or more under `schedule`"
        ))
    })
}

fn sequential(pipeline: &Pipeline, context: &Context<'_>) -> Option<Diagnostic> {
    (pipeline.schedule.order == Order::Sequential).then(|| {
        Diagnostic::warning(
            codes::FAIRNESS_SEQUENTIAL,
            "engines are compared in sequential order",
        )
        .at(
            context.value("/schedule/order"),
            "the same engine always goes first",
        )
        .note("what drifts during a run, such as temperature, counts for one engine only")
        .help("use `order: interleaved`")
    })
}

fn temperature(pipeline: &Pipeline, context: &Context<'_>) -> Option<Diagnostic> {
    let temperature = pipeline.workload.temperature;
    (temperature > 0.0).then(|| {
        Diagnostic::warning(
            codes::FAIRNESS_TEMPERATURE,
            "engines are compared with a temperature above 0",
        )
        .at(
            context.place("/workload/temperature", "/workload"),
            format!("the temperature is {temperature}"),
        )
        .note("outputs may differ in length between engines, and with them the work")
        .help("set `temperature: 0`, or `ignore_eos: true` for outputs of one length")
    })
}
