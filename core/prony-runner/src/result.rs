//! From a journal to a result.

use crate::journal::{Event, Started};
use prony_metrics::comparison::{Design, Side, compare};
use prony_metrics::record::{Phase, Record};
use prony_metrics::summary::{self, Visit};
use prony_plugin_sdk::result::{Failure, ModelResult, Outcome, Run, RunResult, SCHEMA};
use std::collections::{BTreeMap, BTreeSet};

/// The result of a run, from its journal alone. `None` when the journal does
/// not start with `started`. A journal without an end is of an interrupted run.
pub fn result(events: &[Event]) -> Option<RunResult> {
    let Some(Event::Started(started)) = events.first() else {
        return None;
    };
    let subject = &started.subject;
    let (outcome, end_ns) = events
        .iter()
        .find_map(|event| match event {
            Event::Finished { outcome, at_ns } => Some((*outcome, *at_ns)),
            _ => None,
        })
        .unwrap_or_else(|| (Outcome::Interrupted, last_ns(events)));
    let models: Vec<ModelResult> = subject
        .models
        .iter()
        .map(|(id, size)| model(events, started, id, size.clone()))
        .collect();
    let mut warnings: Vec<String> = events
        .iter()
        .filter_map(|event| match event {
            Event::Warning { message } => Some(message.clone()),
            Event::Failed {
                model: None,
                stage,
                message,
                ..
            } => Some(format!("{stage} failed: {message}")),
            _ => None,
        })
        .collect();
    warnings.extend(observations(&models));
    warnings.extend(resent(events));
    Some(RunResult {
        schema: SCHEMA.to_owned(),
        prony_version: started.prony_version.clone(),
        run: Run {
            id: started.run.clone(),
            name: subject.name.clone(),
            description: subject.description.clone(),
            started_at: started.started_at.clone(),
            duration_s: end_ns as f64 / 1e9,
            outcome,
            pipeline_sha256: started.pipeline_sha256.clone(),
            cycles: subject.cycles,
            order: subject.order.clone(),
            seed: subject.seed,
        },
        workload: subject.workload.clone(),
        environment: started.environment.clone(),
        engines: subject.engines.clone(),
        plugins: started.plugins.clone(),
        models,
        warnings,
    })
}

fn model(events: &[Event], started: &Started, id: &str, size: Option<String>) -> ModelResult {
    let subject = &started.subject;
    let concurrency = subject.workload.concurrency;
    let records = |engine: &str| -> Vec<&Record> {
        let of_it = |record: &Record| record.place.model == id && record.place.engine == engine;
        events
            .iter()
            .filter_map(|event| match event {
                Event::Request(record) if of_it(record) => Some(&**record),
                _ => None,
            })
            .collect()
    };
    let visits = |engine: &str| visits(events, id, engine, &records(engine));
    let engines = subject.engines.iter().map(|engine| {
        summary::engine(
            &engine.name,
            &records(&engine.name),
            &visits(&engine.name).iter().collect::<Vec<_>>(),
            concurrency,
        )
    });
    let baseline = subject.engines.iter().find(|engine| engine.baseline);
    let comparisons = baseline.into_iter().flat_map(|baseline| {
        let (baseline_records, baseline_visits) = (records(&baseline.name), visits(&baseline.name));
        subject
            .engines
            .iter()
            .filter(|engine| !engine.baseline)
            .map(move |candidate| {
                let (candidate_records, candidate_visits) =
                    (records(&candidate.name), visits(&candidate.name));
                compare(
                    Side {
                        name: &baseline.name,
                        records: &baseline_records,
                        visits: &baseline_visits.iter().collect::<Vec<_>>(),
                        failed: &failed_cycles(events, id, &baseline.name),
                    },
                    Side {
                        name: &candidate.name,
                        records: &candidate_records,
                        visits: &candidate_visits.iter().collect::<Vec<_>>(),
                        failed: &failed_cycles(events, id, &candidate.name),
                    },
                    Design {
                        cycles: subject.cycles,
                        requests_per_visit: subject.workload.requests_per_visit,
                        concurrency,
                        margin_percent: subject.margin_percent,
                    },
                )
            })
    });
    let failures = events.iter().filter_map(|event| match event {
        Event::Failed {
            model: Some(model),
            engine,
            cycle,
            stage,
            message,
        } if model == id => Some(Failure {
            engine: engine.clone(),
            cycle: *cycle,
            stage: stage.clone(),
            message: message.clone(),
        }),
        _ => None,
    });
    ModelResult {
        id: id.to_owned(),
        size,
        engines: engines.collect(),
        comparisons: comparisons.collect(),
        failures: failures.collect(),
    }
}

/// Cycles in which a stage of one model on one engine failed. What fails after
/// the measurement does not touch it.
fn failed_cycles(events: &[Event], of_model: &str, of_engine: &str) -> BTreeSet<u32> {
    let failed = events.iter().filter_map(|event| match event {
        Event::Failed {
            model: Some(model),
            engine,
            cycle,
            stage,
            ..
        } if model == of_model && engine == of_engine && stage != "unload" => Some(*cycle),
        _ => None,
    });
    failed.collect()
}

/// The visits of one model on one engine. A visit that a killed run left without
/// its line lasted as long as its requests: tokens never come without their time.
fn visits(events: &[Event], model: &str, engine: &str, records: &[&Record]) -> Vec<Visit> {
    let mut visits: Vec<Visit> = events
        .iter()
        .filter_map(|event| match event {
            Event::Visit(visit) if visit.model == model && visit.engine == engine => {
                Some(visit.clone())
            }
            _ => None,
        })
        .collect();
    for record in records {
        let cycle = record.place.cycle;
        if record.place.phase != Phase::Measure || visits.iter().any(|it| it.cycle == cycle) {
            continue;
        }
        let of_it = || {
            records
                .iter()
                .filter(|it| it.place.cycle == cycle && it.place.phase == Phase::Measure)
        };
        let start = of_it().map(|it| it.stamps.intended_ns).min();
        let end = of_it().map(|it| it.stamps.end_ns).max();
        visits.push(Visit {
            model: model.to_owned(),
            engine: engine.to_owned(),
            cycle,
            load_time_ns: None,
            measure_ns: end.zip(start).map(|(end, start)| end.saturating_sub(start)),
            peak_memory_bytes: None,
        });
    }
    visits
}

/// What the numbers themselves give reason to warn about.
fn observations(models: &[ModelResult]) -> Vec<String> {
    let mut warnings = Vec::new();
    for model in models {
        for engine in &model.engines {
            if engine.cached_tokens > 0 {
                warnings.push(format!(
                    "{}: `{}` answered {} prompt tokens from its prefix cache, so its time to first token is of a warm cache",
                    model.id, engine.engine, engine.cached_tokens
                ));
            }
            if engine.succeeded > 0 && engine.output_tokens_per_sec.is_none() {
                warnings.push(format!(
                    "{}: `{}` does not say how many tokens it generated, so it has no throughput",
                    model.id, engine.engine
                ));
            }
        }
    }
    warnings
}

/// Requests that were sent twice, per model and engine.
fn resent(events: &[Event]) -> Vec<String> {
    let mut counts = BTreeMap::<(&str, &str), u64>::new();
    for event in events {
        if let Event::Request(record) = event
            && record.resent
        {
            let place = &record.place;
            *counts.entry((&place.model, &place.engine)).or_default() += 1;
        }
    }
    let warning = |((model, engine), count)| {
        format!(
            "{model}: `{engine}` had closed a kept connection, so {count} requests were sent again; their time counts from the first sending"
        )
    };
    counts.into_iter().map(warning).collect()
}

/// The latest time in a journal without an end.
fn last_ns(events: &[Event]) -> u64 {
    let times = events.iter().map(|event| match event {
        Event::Stage { at_ns, .. } | Event::Finished { at_ns, .. } => *at_ns,
        Event::Request(record) => record.stamps.end_ns,
        _ => 0,
    });
    times.max().unwrap_or_default()
}
