//! Numbers of single requests, visits and cycles, for reporters that draw.

use crate::Result;
use crate::groups::Group;
use crate::journal::{Event, Visited};
use crate::samples::Sample;
use prony_metrics::curve::{curve, of_durations};
use prony_metrics::facts::Facts;
use prony_metrics::statistics::Decision;
use prony_plan::Visit;
use prony_record::Record;
use prony_result::detail::{
    ComparisonDetail, Curve, CycleDetail, Detail, EngineDetail, LookDetail, ModelDetail,
    StageDetail, Timeline, VisitDetail,
};
use prony_result::words::count;
use prony_result::{Comparison, EngineResult, ModelResult, to_percent};
use std::collections::{BTreeMap, BTreeSet};

/// The cycles of a comparison, each with whether the candidate was measured first, and a log
/// ratio.
pub(crate) type Cycles = Vec<(u32, bool, f64)>;

/// Bytes of a detail as JSON, at most: a reporter has 64 MiB for all that it does.
const MAX_BYTES: usize = 2 << 20;
/// Requests of an engine, in a run of few models.
const MAX_TIMELINES: usize = 40;
/// Requests of all engines and models: each is read once more.
const ALL_TIMELINES: usize = 2_000;
/// Slow requests and failed ones among them, at most each.
const MAX_SPECIAL: usize = 5;
/// Texts of a request.
const MAX_TEXTS: usize = 256;

const MS: f64 = 1e6;
const SECOND: f64 = 1e9;

/// An entry of a result and what it rests on.
pub(crate) struct EntryBasis<'a> {
    pub(crate) group: &'a Group<'a>,
    pub(crate) model: &'a ModelResult,
    /// For each of its comparisons.
    pub(crate) cycles: &'a [Cycles],
}

/// Collects the numbers behind the entries of a result, within the budget.
pub(crate) fn detail(parts: &[EntryBasis<'_>], events: &[Event]) -> Result<Detail> {
    let engines: usize = parts.iter().map(|it| it.model.engines.len()).sum();
    let timelines = (ALL_TIMELINES / engines.max(1)).min(MAX_TIMELINES);
    let visits = visits(events);
    let models = parts
        .iter()
        .map(|basis| of_model(basis, events, &visits, timelines));
    let mut detail = Detail {
        models: models.collect::<Result<_>>()?,
        thinned: Vec::new(),
    };
    thin(&mut detail, MAX_BYTES);
    Ok(detail)
}

fn of_model(
    basis: &EntryBasis<'_>,
    events: &[Event],
    visits: &Visits<'_>,
    timelines: usize,
) -> Result<ModelDetail> {
    let samples: Vec<(&EngineResult, &Sample)> = basis
        .model
        .engines
        .iter()
        .map(|engine| (engine, basis.group.sample(&engine.engine)))
        .collect();
    let chosen = chosen(&samples, timelines);
    let engines = samples.iter().map(|(engine, sample)| {
        let visits = visits.of(basis, engine);
        Ok(EngineDetail {
            engine: engine.engine.clone(),
            curves: curves(basis.group, sample)?,
            timelines: of_requests(basis.group, sample, &chosen)?,
            visits,
        })
    });
    let comparisons = basis.model.comparisons.iter().zip(basis.cycles);
    Ok(ModelDetail {
        engines: engines.collect::<Result<_>>()?,
        comparisons: comparisons
            .map(|(comparison, cycles)| of_comparison(basis, comparison, cycles, events))
            .collect(),
    })
}

/// The distributions of an engine by the names of their metrics.
fn curves(group: &Group<'_>, sample: &Sample) -> Result<BTreeMap<String, Curve>> {
    let facts = sample.requests.facts();
    let whole = |ns: f64| ns.round() as u64;
    let gaps = group.streams(sample)?.gaps;
    let all = [
        (
            "request_latency_ms",
            curve(facts, |it| Some(it.latency_ns())),
        ),
        (
            "time_to_first_token_ms",
            curve(facts, Facts::time_to_first_token_ns),
        ),
        (
            "time_per_output_token_ms",
            curve(facts, |it| it.time_per_output_token_ns().map(whole)),
        ),
        ("inter_token_latency_ms", of_durations(&gaps)),
    ];
    let known = all
        .into_iter()
        .filter_map(|(name, curve)| Some((name.to_owned(), curve?)));
    Ok(known.collect())
}

/// Requests that are shown, by cycle and index: those of the middle cycle that all engines have,
/// from its beginning, the slowest ones and the failed ones.
fn chosen(samples: &[(&EngineResult, &Sample)], most: usize) -> BTreeSet<(u32, u32)> {
    let mut common: Option<BTreeSet<u32>> = None;
    let mut special = BTreeSet::new();
    for (_, sample) in samples {
        let facts = sample.requests.facts();
        let cycles: BTreeSet<u32> = facts.iter().map(|it| it.cycle).collect();
        common = Some(match common {
            Some(before) => &before & &cycles,
            None => cycles,
        });
        let mut slow: Vec<&Facts> = facts.iter().filter(|it| it.ok()).collect();
        slow.sort_by_key(|it| std::cmp::Reverse(it.latency_ns()));
        let failed = facts.iter().filter(|it| !it.ok());
        let of_engine = slow.into_iter().take(MAX_SPECIAL);
        let of_engine = of_engine.chain(failed.take(MAX_SPECIAL));
        special.extend(of_engine.map(Facts::cycle_and_index));
    }
    let common: Vec<u32> = common.unwrap_or_default().into_iter().collect();
    let mut chosen: BTreeSet<(u32, u32)> = special.into_iter().take(most / 2).collect();
    if let Some(cycle) = common.get(common.len() / 2) {
        let of_cycle: BTreeSet<(u32, u32)> = samples
            .iter()
            .flat_map(|(_, sample)| sample.requests.facts())
            .filter(|it| it.cycle == *cycle)
            .map(Facts::cycle_and_index)
            .collect();
        let room = most.saturating_sub(chosen.len());
        chosen.extend(of_cycle.into_iter().take(room));
    }
    chosen
}

/// The chosen requests of an engine, in order.
fn of_requests(
    group: &Group<'_>,
    sample: &Sample,
    chosen: &BTreeSet<(u32, u32)>,
) -> Result<Vec<Timeline>> {
    let mut first_due: BTreeMap<u32, u64> = BTreeMap::new();
    for it in sample.requests.facts() {
        let due = first_due.entry(it.cycle).or_insert(it.intended_ns);
        *due = it.intended_ns.min(*due);
    }
    let facts: Vec<Facts> = sample
        .requests
        .facts()
        .iter()
        .filter(|it| chosen.contains(&it.cycle_and_index()))
        .cloned()
        .collect();
    let mut timelines = Vec::new();
    group.each(&facts, &mut |record| {
        let first = first_due.get(&record.id.cycle).copied().unwrap_or_default();
        timelines.push(timeline(record, first));
    })?;
    timelines.sort_by_key(|it| (it.cycle, it.index));
    Ok(timelines)
}

fn timeline(record: &Record, first_due_ns: u64) -> Timeline {
    let due = record.stamps.intended_ns;
    let since = |ns: u64| micro(ns.saturating_sub(due) as f64 / MS);
    let texts = record.arrivals.iter().take(MAX_TEXTS);
    Timeline {
        cycle: record.id.cycle,
        index: record.id.index,
        due_ms: micro(due.saturating_sub(first_due_ns) as f64 / MS),
        sent_ms: since(record.stamps.sent_ns),
        texts_ms: texts.map(|it| since(it.0)).collect(),
        end_ms: since(record.answered_ns.unwrap_or(record.stamps.end_ns)),
        texts: record.arrivals.len() as u64,
        failed: record.failed.as_ref().map(|it| it.class.name().to_owned()),
    }
}

/// Milliseconds in whole microseconds: more would be no information, and bytes.
fn micro(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

fn of_comparison(
    basis: &EntryBasis<'_>,
    comparison: &Comparison,
    cycles: &Cycles,
    events: &[Event],
) -> ComparisonDetail {
    let cycle = |(cycle, candidate_first, log_ratio): &(u32, bool, f64)| {
        let first = if *candidate_first {
            &comparison.candidate
        } else {
            &comparison.baseline
        };
        CycleDetail {
            cycle: *cycle,
            first: Some(first.clone()),
            difference_percent: to_percent(*log_ratio),
        }
    };
    let key = basis.group.key(&comparison.candidate);
    let looks = events.iter().filter_map(|event| match event {
        Event::Look {
            point,
            model,
            candidate,
            stage,
            cycles,
            decision,
            low_percent,
            high_percent,
            ..
        } if (point, model, candidate, stage)
            == (&key.point, &key.model, &key.engine, &key.measure) =>
        {
            Some(LookDetail {
                cycles: *cycles,
                decision: name_of(*decision).to_owned(),
                low_percent: *low_percent,
                high_percent: *high_percent,
            })
        }
        _ => None,
    });
    // A resumed run does its analyses again.
    let by_cycles: BTreeMap<u32, LookDetail> = looks.map(|it| (it.cycles, it)).collect();
    ComparisonDetail {
        candidate: comparison.candidate.clone(),
        cycles: cycles.iter().map(cycle).collect(),
        looks: by_cycles.into_values().collect(),
    }
}

fn name_of(decision: Decision) -> &'static str {
    match decision {
        Decision::Faster => "faster",
        Decision::Slower => "slower",
        Decision::Equivalent => "equivalent",
        Decision::Continue => "continue",
        Decision::Inconclusive => "inconclusive",
    }
}

/// The visits of a run that came to their end, with the beginnings of their stages.
struct Visits<'a>(Vec<(&'a Visited, Vec<StageDetail>)>);

/// Reads the visits off the events of a run.
fn visits(events: &[Event]) -> Visits<'_> {
    let mut begun: BTreeMap<&Visit, Vec<StageDetail>> = BTreeMap::new();
    let mut visits = Vec::new();
    for event in events {
        match event {
            Event::Stage {
                stage,
                id,
                visit: Some(visit),
                skipped: false,
                at_ns,
            } => {
                let at = *at_ns as f64 / SECOND;
                let stages = begun.entry(visit).or_default();
                if let Some(last) = stages.last_mut() {
                    last.ended_s = at;
                }
                stages.push(StageDetail {
                    stage: stage.name().to_owned(),
                    id: id.clone(),
                    begun_s: at,
                    ended_s: at,
                });
            }
            Event::Visit(visited) => {
                let mut stages = begun.remove(&visited.visit).unwrap_or_default();
                let first = stages.first().map(|it| it.begun_s);
                if let (Some(first), Some(last)) = (first, stages.last_mut()) {
                    let end = first + visited.total_ns as f64 / SECOND;
                    last.ended_s = end.max(last.begun_s);
                }
                // One that was cut short has no end that anybody knows.
                stages.retain(|it| it.ended_s > it.begun_s);
                visits.push((visited, stages));
            }
            _ => {}
        }
    }
    Visits(visits)
}

impl Visits<'_> {
    /// Those of an engine with the model of an entry.
    fn of(&self, basis: &EntryBasis<'_>, engine: &EngineResult) -> Vec<VisitDetail> {
        let key = basis.group.key(&engine.engine);
        let rates: BTreeMap<u32, Option<f64>> = engine
            .by_cycle
            .iter()
            .map(|it| (it.cycle, it.output_tokens_per_sec))
            .collect();
        let own = self.0.iter().filter(|(visited, _)| {
            let visit = &visited.visit;
            (&visit.point, &visit.model, &visit.engine) == (&key.point, &key.model, &key.engine)
        });
        own.map(|(visited, stages)| VisitDetail {
            cycle: visited.visit.cycle,
            part: visited.visit.segment,
            begun_s: stages.first().map_or(0.0, |it| it.begun_s),
            stages: stages.clone(),
            load_ms: visited.load_time_ns.map(|ns| ns as f64 / MS),
            unload_ms: visited.unload_time_ns.map(|ns| ns as f64 / MS),
            peak_memory_bytes: visited.peak_memory_bytes,
            output_tokens_per_sec: (visited.measure_ns.contains_key(&key.measure))
                .then(|| rates.get(&visited.visit.cycle).copied().flatten())
                .flatten(),
            memory: visited.memory.clone(),
            machine: visited
                .machine
                .iter()
                .map(|it| it.message.clone())
                .collect(),
        })
        .collect()
    }
}

/// Leaves out more and more until the JSON has at most so many bytes.
fn thin(detail: &mut Detail, most_bytes: usize) {
    type Step = fn(&mut EngineDetail);
    /// Each with what is said of it.
    const STEPS: [(Step, &str); 5] = [
        (
            |it| it.timelines.truncate(10),
            "requests one by one: at most 10 of each engine",
        ),
        (
            |it| it.visits.iter_mut().for_each(|visit| visit.memory.clear()),
            "no memory over time",
        ),
        (
            |it| it.curves.values_mut().for_each(coarser),
            "distributions by 32 quantiles",
        ),
        (|it| it.timelines.clear(), "no requests one by one"),
        (
            |it| {
                it.curves.clear();
                it.visits.clear();
            },
            "no distributions and no visits",
        ),
    ];
    let bytes = |detail: &Detail| serde_json::to_vec(detail).map_or(0, |json| json.len());
    let models = count(detail.models.len() as u64, "entry");
    for (step, words) in STEPS {
        if bytes(detail) <= most_bytes {
            return;
        }
        let engines = detail.models.iter_mut().flat_map(|it| &mut it.engines);
        engines.for_each(step);
        let words = format!("a run of {models} is much to draw: {words}");
        detail.thinned.push(words);
    }
    if bytes(detail) > most_bytes {
        let comparisons = detail.models.iter_mut().flat_map(|it| &mut it.comparisons);
        comparisons.for_each(|it| {
            it.cycles.clear();
            it.looks.clear();
        });
        let words = format!("a run of {models} is much to draw: no single cycles");
        detail.thinned.push(words);
    }
}

/// Keeps one quantile in eight.
fn coarser(curve: &mut Curve) {
    for values in [&mut curve.quantiles, &mut curve.low, &mut curve.high] {
        *values = values.iter().step_by(8).copied().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large(models: usize) -> Detail {
        let curve = Curve {
            n: 1000,
            quantiles: vec![1.234_567; 257],
            ..Curve::default()
        };
        let timeline = Timeline {
            texts_ms: vec![123.456; 200],
            ..Timeline::default()
        };
        let engine = EngineDetail {
            engine: "a".to_owned(),
            curves: [("request_latency_ms".to_owned(), curve)].into(),
            visits: vec![
                VisitDetail {
                    memory: vec![(1, 1 << 30); 200],
                    ..VisitDetail::default()
                };
                12
            ],
            timelines: vec![timeline; 40],
        };
        let cycle = CycleDetail::default();
        let comparison = ComparisonDetail {
            cycles: vec![cycle; 12],
            ..ComparisonDetail::default()
        };
        let model = ModelDetail {
            engines: vec![engine; 2],
            comparisons: vec![comparison],
        };
        Detail {
            models: vec![model; models],
            thinned: Vec::new(),
        }
    }

    #[test]
    fn it_stays_within_its_budget_and_tells_what_that_cost() {
        for models in [1, 20, 100, 1000, 5000] {
            let mut detail = large(models);
            let whole = detail.clone();
            thin(&mut detail, MAX_BYTES);
            let bytes = serde_json::to_vec(&detail).expect("JSON").len();
            assert!(bytes <= MAX_BYTES, "{models}: {bytes}");
            assert_eq!(detail.thinned.is_empty(), detail == whole, "{models}");
            assert_eq!(detail.models.len(), models);
        }
    }
}
