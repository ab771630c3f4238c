//! The stages and their legal order.

use std::collections::HashMap;

use prony_diagnostic::Diagnostic;

use super::{Document, is_false, is_hole};
use crate::file::Stage;
use crate::template::default_id;
use crate::tree::{Entry, Node, Span};
use crate::wording::literal;
use crate::{Condition, Duration, codes};

const LEGAL: &str = "the order is `setup`, then `load`, any number of `warmup` and `measure`, `unload`, \
                     and once more from `load` for a fresh start, then `report`";
const KINDS: [&str; 6] = ["setup", "load", "warmup", "measure", "unload", "report"];

/// State of the engine at a point of the sequence.
enum Engine {
    /// No stage has needed one yet: the first that does loads it.
    None,
    /// Loaded by this stage.
    Loaded(Span),
    /// Loaded implicitly by this `warmup` or `measure`, without a `load` before it.
    Needed(Span),
    /// Unloaded by this stage.
    Unloaded(Span),
}

impl<'a> Document<'a> {
    fn dataset_without_limit(&self) -> Option<&'a Entry> {
        let dataset = self.entry("workload")?.value.entry("dataset")?;
        let is_counted = ["limit", "sample"].map(|key| dataset.value.entry(key).is_some());
        (!is_counted.contains(&true)).then_some(dataset)
    }

    pub(super) fn stages(&self, out: &mut Vec<Diagnostic>) {
        let stages = self.stage_entries();
        let Some(section) = self.entry("stages") else {
            return;
        };
        // The schema reports a value that is not a list, or empty.
        if section.value.items().is_empty() {
            return;
        }
        let unknown = section.value.items().len() > stages.len()
            || stages
                .iter()
                .any(|stage| !KINDS.contains(&stage.key.as_str()));
        let mut disordered = Vec::new();
        in_order(&stages, &mut disordered);
        ids(&stages, out);
        how_many(&stages, self.dataset_without_limit(), out);
        recorded(&stages, self.entry("workload"), out);
        out.extend(stages.iter().filter_map(|stage| timeout_before_end(stage)));
        if !unknown && !stages.iter().any(|stage| stage.key == "measure") {
            out.push(
                Diagnostic::error(codes::STAGE_ORDER, "there is no `measure` stage")
                    .at(section.key_span.clone(), "nothing is measured")
                    .note("all other stages may be left out")
                    .help("add `- measure: {}`"),
            );
        }
        let nothing = nothing_runs(&stages);
        unreachable(&stages, &disordered, nothing.is_some(), out);
        out.append(&mut disordered);
        if !unknown {
            out.extend(nothing);
        }
        if !unknown && !stages.iter().any(|stage| stage.key == "report") {
            out.push(
                Diagnostic::warning(codes::NO_REPORT, "there is no `report` stage")
                    .at(section.key_span.clone(), "does not say where results go")
                    .note("the reporters are then `console`, `markdown`, `html` and `json`")
                    .help("add `- report: { reporters: [console, markdown, html, json] }`"),
            );
        }
    }
}

/// Checks that a closed loop with a duration, or a measurement of a whole dataset, limits
/// the number of requests.
fn how_many(stages: &[&Entry], dataset: Option<&Entry>, out: &mut Vec<Diagnostic>) {
    const OPEN: [&str; 3] = ["constant", "poisson", "gamma"];
    for stage in stages.iter().filter(|stage| stage.key == "measure") {
        let arrival = stage.value.entry("arrival");
        let is = |kind: &&str| arrival.is_some_and(|it| it.value.entry(kind).is_some());
        let duration = stage.value.entry("duration");
        let Some(duration) = duration.filter(|_| !is(&"replay")) else {
            if let (Some(dataset), None) = (dataset, stage.value.entry("requests")) {
                out.push(
                    Diagnostic::error(
                        codes::HOW_MANY,
                        "a dataset without a `limit` needs `requests`",
                    )
                    .at(
                        stage.key_span.clone(),
                        "does not say how many requests it has",
                    )
                    .and(dataset.key_span.clone(), "may have any number of prompts")
                    .help(
                        "add `requests: 100` here, or `limit: 100` or `sample: 100` to the dataset",
                    ),
                );
            }
            continue;
        };
        let is_open = OPEN.iter().any(is) || arrival.is_some_and(|it| is_hole(&it.value));
        if !is_open && stage.value.entry("requests").is_none() {
            out.push(
                Diagnostic::error(
                    codes::HOW_MANY,
                    "a closed loop with a `duration` needs `requests`",
                )
                .at(duration.key_span.clone(), "ends the stage, and does not say how many requests to prepare")
                .note("a stage with both ends when all requests are sent or the time is over, whichever is first")
                .help("add the most that can be sent in that time, for example `requests: 10000`"),
            );
        }
    }
}

/// Checks that a stage may last as long as requests are sent.
fn timeout_before_end(stage: &Entry) -> Option<Diagnostic> {
    let span = |key| {
        let entry = stage.value.entry(key)?;
        Some((entry, entry.value.text()?.parse::<Duration>().ok()?))
    };
    let ((timeout, limit), (duration, sending)) = (span("timeout")?, span("duration")?);
    (limit <= sending).then(|| {
        Diagnostic::error(
            codes::STAGE_TIMEOUT,
            "the stage times out before its requests are sent",
        )
        .at(timeout.value.span.clone(), "ends the stage")
        .and(
            duration.value.span.clone(),
            "requests are sent for this long",
        )
        .note("the answers to the last requests need time too")
        .help("make `timeout` longer than `duration`, by `request_timeout` or more, or remove it")
    })
}

/// Checks that `replay` has a dataset with recorded times.
fn recorded(stages: &[&Entry], workload: Option<&Entry>, out: &mut Vec<Diagnostic>) {
    let Some(workload) = workload.filter(|it| !is_hole(&it.value)) else {
        return;
    };
    if workload.value.entry("dataset").is_some() {
        return;
    }
    for stage in stages {
        let arrival = stage.value.entry("arrival");
        if let Some(replay) = arrival.and_then(|it| it.value.entry("replay")) {
            out.push(
                Diagnostic::error(codes::REPLAY, "`replay` needs a `dataset`")
                    .at(replay.key_span.clone(), "sends at the times of a dataset's lines")
                    .and(workload.key_span.clone(), "has none")
                    .help("add `dataset: { path: trace.jsonl }`, with `at_ms` in its lines, or use `poisson`"),
            );
        }
    }
}

fn in_order(stages: &[&Entry], out: &mut Vec<Diagnostic>) {
    let mut engine = Engine::None;
    let mut setup: Option<&Entry> = None;
    let mut report: Option<&Entry> = None;
    let mut before: Option<&Entry> = None;
    for (index, stage) in stages.iter().enumerate() {
        let place = stage.key_span.clone();
        let name = literal(&stage.key);
        let wrong = |message: String, label: &str| {
            Diagnostic::error(codes::STAGE_ORDER, message).at(place.clone(), label)
        };
        let twice = |first: &Entry| {
            wrong(format!("the stage {name} is given twice"), "given again")
                .and(first.key_span.clone(), "given here")
                .note("it runs once")
                .help("put the two into one")
        };
        let late = |other: &Entry| {
            let other_name = literal(&other.key);
            wrong(
                format!("the stage {name} comes after {other_name}"),
                "too late",
            )
            .and(other.key_span.clone(), format!("{name} comes before this"))
            .note(LEGAL)
            .help(format!("move {name} before {other_name}"))
        };
        match stage.key.as_str() {
            "setup" => {
                match (setup, before) {
                    (Some(first), _) => out.push(twice(first)),
                    (None, Some(other)) => out.push(late(other)),
                    (None, None) => {}
                }
                setup = setup.or(Some(stage));
            }
            "load" => {
                if let Engine::Loaded(since) = &engine {
                    out.push(
                        wrong(
                            "an engine is loaded that is loaded already".into(),
                            "loaded again",
                        )
                        .and(since.clone(), "loaded since here")
                        .note("a `warmup` or `measure` without a `load` before it loads the engine")
                        .help("put `- unload: {}` before it for a fresh start, or remove it"),
                    );
                } else if let Engine::Needed(since) = &engine {
                    let earlier = stages[..index].iter().find(|s| s.key_span == *since);
                    let earlier = earlier.map_or_else(String::new, |stage| literal(&stage.key));
                    out.push(
                        wrong(
                            "an engine is loaded that is loaded already".into(),
                            "loaded again",
                        )
                        .and(since.clone(), "loaded for this one")
                        .note("a `warmup` or `measure` without a `load` before it loads the engine")
                        .help(if stages[..index].iter().any(|s| s.key == "measure") {
                            format!("move `load` before {earlier}, or put `- unload: {{}}` before it for a fresh start")
                        } else {
                            format!("move `load` before {earlier}")
                        }),
                    );
                }
                engine = Engine::Loaded(place);
            }
            "warmup" | "measure" => match &engine {
                Engine::Unloaded(since) => {
                    out.push(
                        wrong(
                            format!("the stage {name} has no engine"),
                            "nothing is loaded here",
                        )
                        .and(since.clone(), "unloaded here")
                        .note(LEGAL)
                        .help("put `- load: {}` before it"),
                    );
                    engine = Engine::Loaded(place);
                }
                Engine::None => engine = Engine::Needed(place),
                Engine::Loaded(_) | Engine::Needed(_) => {}
            },
            "unload" => {
                let since = match &engine {
                    Engine::Loaded(_) | Engine::Needed(_) => None,
                    Engine::None => Some(None),
                    Engine::Unloaded(since) => Some(Some(since.clone())),
                };
                if let Some(since) = since {
                    let mut problem = wrong(
                        "the stage `unload` has no engine".into(),
                        "nothing is loaded here",
                    );
                    if let Some(since) = since {
                        problem = problem.and(since, "unloaded here already");
                    }
                    out.push(
                        problem
                            .note(LEGAL)
                            .help("remove it, or put `load` and `measure` before it"),
                    );
                }
                engine = Engine::Unloaded(place);
            }
            "report" => {
                let is_other = |s: &&&Entry| s.key != "report" && KINDS.contains(&s.key.as_str());
                if let Some(first) = report {
                    out.push(twice(first));
                } else if let Some(next) = stages[index + 1..].iter().find(is_other) {
                    let label = format!("{} comes after it", literal(&next.key));
                    out.push(
                        wrong("the stage `report` is not the last".into(), "too early")
                            .and(next.key_span.clone(), label)
                            .help("move it to the end"),
                    );
                }
                report = report.or(Some(stage));
                continue;
            }
            _ => continue,
        }
        before = Some(stage);
    }
}

/// Checks that every stage has a unique id. Returns the ids of the `measure` stages,
/// given or not.
pub(super) fn measures(stages: &[&Entry]) -> Vec<String> {
    let measures = stages.iter().filter(|stage| stage.key == "measure");
    let id = |(same, stage): (usize, &&Entry)| {
        let given = stage.value.entry("id").and_then(|id| id.value.text());
        given.map_or_else(|| default_id("measure", same), str::to_owned)
    };
    measures.enumerate().map(id).collect()
}

fn ids(stages: &[&Entry], out: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<String, Span> = HashMap::new();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for stage in stages {
        let same = counts.entry(stage.key.as_str()).or_default();
        let given = stage.value.entry("id");
        let (id, place) = match given.and_then(|id| Some((id.value.text()?, &id.value.span))) {
            Some((id, span)) => (id.to_owned(), span.clone()),
            None => (default_id(&stage.key, *same), stage.key_span.clone()),
        };
        *same += 1;
        let Some(first) = seen.insert(id.clone(), place.clone()) else {
            continue;
        };
        // Repeated `setup` and `report` stages are reported elsewhere.
        if given.is_none() && ["setup", "report"].contains(&stage.key.as_str()) {
            continue;
        }
        out.push(
            Diagnostic::error(
                codes::DUPLICATE_STAGE,
                format!("two stages are called {}", literal(&id)),
            )
            .at(place, "the second")
            .and(first, "the first")
            .help("give one of them another `id`"),
        );
    }
}

/// Reports that all measurements are switched off, so there would be no results.
fn nothing_runs(stages: &[&Entry]) -> Option<Diagnostic> {
    let off: Option<Vec<&Entry>> = stages
        .iter()
        .filter(|stage| stage.key == "measure")
        .map(|stage| stage.value.entry("if").filter(|e| is_false(&e.value)))
        .collect();
    off?.first().map(|first| {
        Diagnostic::error(codes::STAGE_ORDER, "no `measure` stage ever runs")
            .at(first.value.span.clone(), "always false")
            .help("remove its `if`, or add another `measure`")
    })
}

/// Stages whose condition is false in every matrix point. `points` has their stages, in
/// the order of the file.
pub(crate) fn unreachable_in_points(root: &Node, points: &[&[Stage]]) -> Vec<Diagnostic> {
    let never = Condition::Is(false);
    let is_off = |index: usize| {
        let stage =
            |stages: &&[Stage]| stages.get(index).and_then(Stage::condition) == Some(&never);
        points.iter().all(stage)
    };
    let items = root.at("/stages").node.items().iter().enumerate();
    let off = items.filter_map(|(index, item)| {
        let [stage] = item.entries() else {
            return None;
        };
        let condition = stage.value.entry("if")?;
        (is_hole(&condition.value) && is_off(index)).then_some((stage, condition))
    });
    let off: Vec<(&Entry, &Entry)> = off.collect();
    let measures = |stages: &&[Stage]| {
        let mut stages = stages.iter();
        stages.any(|s| matches!(s, Stage::Measure(measure) if measure.condition != never))
    };
    if !points.iter().any(measures) {
        let first = off.iter().find(|(stage, _)| stage.key == "measure");
        let problem = first.map(|(_, condition)| {
            Diagnostic::error(codes::STAGE_ORDER, "no `measure` stage ever runs")
                .at(condition.value.span.clone(), "false in every matrix point")
                .help("change its `if`, or add another `measure`")
        });
        return problem.into_iter().collect();
    }
    let problem = |(stage, condition): &(&Entry, &Entry)| {
        let message = format!("the stage {} never runs", literal(&stage.key));
        Diagnostic::warning(codes::UNREACHABLE, message)
            .at(condition.value.span.clone(), "false in every matrix point")
            .help("remove the stage, or change its `if`")
    };
    off.iter().map(problem).collect()
}

/// Stages that never do anything. Skips misplaced stages, and measurements if `nothing`
/// of them runs: these are reported elsewhere.
fn unreachable(
    stages: &[&Entry],
    disordered: &[Diagnostic],
    nothing: bool,
    out: &mut Vec<Diagnostic>,
) {
    let is_wrong = |stage: &Entry| {
        let mut labels = disordered
            .iter()
            .flat_map(|problem| problem.primary.iter().chain(&problem.secondary));
        labels.any(|label| label.span == stage.key_span)
    };
    for (index, stage) in stages.iter().enumerate() {
        let name = literal(&stage.key);
        let has_condition = match stage.key.as_str() {
            "setup" | "warmup" => true,
            "measure" => !nothing,
            _ => false, // has no `if`, which the schema says
        };
        let condition = stage.value.entry("if").filter(|e| is_false(&e.value));
        if let Some(condition) = condition {
            if has_condition {
                out.push(
                    Diagnostic::warning(codes::UNREACHABLE, format!("the stage {name} never runs"))
                        .at(condition.value.span.clone(), "always false")
                        .help("remove the stage, or its `if`"),
                );
            }
            continue;
        }
        let rest = stages[index + 1..].iter().map(|next| next.key.as_str());
        let next = rest
            .filter(|key| *key != "warmup" && *key != "report")
            .find(|key| KINDS.contains(key));
        if stage.key == "warmup" && !matches!(next, Some("measure")) && !is_wrong(stage) {
            out.push(
                Diagnostic::warning(codes::UNREACHABLE, "a warm-up that no measurement follows")
                    .at(stage.key_span.clone(), "warms up for nothing")
                    .help("put it before `measure`, or remove it"),
            );
        }
    }
}
