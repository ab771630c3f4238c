//! The metrics of one model on one engine: of one group of requests, which in a
//! run are those of one matrix point and one `measure` stage.

use crate::definition::cadence;
use crate::delivered::delivered;
use crate::energy::energy;
use crate::granularity::time_per_token_ns;
use crate::prompts;
use crate::statistics::distribution;
use crate::throughput::{Visit, throughput};
use crate::tokens;
use prony_record::Record;
use prony_result::{CycleResult, Distribution, EngineResult, OwnClock};
use std::collections::{BTreeMap, BTreeSet};

const MS: f64 = 1e6;

/// Note on an answer whose tokens prony counted itself.
const COUNTED_HERE: &str =
    "the engine gives no count of tokens that can be used, so the model's tokenizer counts";

/// Sums up a group's measured requests and its visits. `concurrency` is the
/// number of requests in flight.
pub fn engine(
    name: &str,
    measured: &[&Record],
    visits: &[Visit],
    concurrency: u32,
) -> EngineResult {
    let good: Vec<&Record> = measured
        .iter()
        .copied()
        .filter(|record| record.ok())
        .collect();
    let cycles: BTreeSet<u32> = measured.iter().map(|record| record.id.cycle).collect();
    let mut errors = BTreeMap::new();
    let mut error_messages = BTreeMap::new();
    for failed in measured.iter().filter_map(|record| record.failed.as_ref()) {
        let class = failed.class.name().to_owned();
        *errors.entry(class.clone()).or_insert(0) += 1;
        error_messages
            .entry(class)
            .or_insert_with(|| failed.message.clone());
    }
    let mut finish_reasons = BTreeMap::new();
    for reason in good
        .iter()
        .filter_map(|record| record.finish_reason.clone())
    {
        *finish_reasons.entry(reason).or_insert(0) += 1;
    }
    let over = |of: &dyn Fn(&Record) -> Option<f64>| -> Option<Distribution> {
        distribution(good.iter().filter_map(|record| of(record)).collect())
    };
    let of_visits = |of: &dyn Fn(&Visit) -> Option<u64>| {
        let times = visits.iter().filter_map(of);
        distribution(times.map(|ns| ns as f64 / MS).collect())
    };
    let distinct = |of: &dyn Fn(&Record) -> Option<String>| -> Vec<String> {
        measured
            .iter()
            .filter_map(|record| of(record))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    };
    let mut notes = BTreeMap::new();
    for record in &good {
        for note in &record.notes {
            *notes.entry(note.clone()).or_insert(0) += 1;
        }
        if record.output_tokens.is_none() && record.tokens().is_some() {
            *notes.entry(COUNTED_HERE.to_owned()).or_insert(0) += 1;
        }
    }
    let hidden = good.iter().filter_map(|it| it.hidden_tokens);
    let hidden_tokens = hidden.map(u64::from).reduce(|sum, tokens| sum + tokens);
    let tails: Vec<f64> = good.iter().map(|it| it.tail_ns() as f64 / MS).collect();
    let has_tail = tails.iter().any(|ms| *ms > 0.0);
    EngineResult {
        engine: name.to_owned(),
        cycles: cycles.len() as u32,
        requests: measured.len() as u64,
        succeeded: good.len() as u64,
        success_rate: (!measured.is_empty()).then(|| good.len() as f64 / measured.len() as f64),
        errors,
        error_messages,
        output_tokens: good
            .iter()
            .filter_map(|record| record.tokens())
            .map(u64::from)
            .sum(),
        output_tokens_per_sec: throughput(measured, visits, concurrency),
        by_cycle: Vec::new(),
        request_latency_ms: over(&|record| Some(record.latency_ns() as f64 / MS)),
        time_to_first_token_ms: over(&|record| {
            record.time_to_first_token_ns().map(|ns| ns as f64 / MS)
        }),
        time_to_first_answer_token_ms: over(&|record| {
            record
                .time_to_first_answer_token_ns()
                .map(|ns| ns as f64 / MS)
        }),
        inter_token_latency_ms: distribution(
            good.iter()
                .flat_map(|record| {
                    record
                        .arrivals
                        .windows(2)
                        .map(|pair| pair[1].0.saturating_sub(pair[0].0) as f64 / MS)
                })
                .collect(),
        ),
        time_per_output_token_ms: over(&|record| {
            let first = record.time_to_first_token_ns()?;
            let tokens = record.tokens().filter(|tokens| *tokens >= 2)?;
            Some(record.latency_ns().saturating_sub(first) as f64 / MS / f64::from(tokens - 1))
        }),
        output_tokens_per_request: over(&|record| record.tokens().map(f64::from)),
        prompt_tokens_per_request: over(&|record| record.prompt_tokens.map(f64::from)),
        cached_tokens: good
            .iter()
            .filter_map(|record| record.cached_tokens)
            .map(u64::from)
            .sum(),
        cached_tokens_told: Some(
            good.iter()
                .filter(|record| record.cached_tokens.is_some())
                .count() as u64,
        ),
        // What these rest on beside requests is filled in by who knows it.
        cache: None,
        token_check: tokens::check(measured, visits, concurrency),
        prompt_check: prompts::check(measured),
        reasoning_tokens: good
            .iter()
            .filter_map(|record| record.reasoning_tokens.map(u64::from))
            .reduce(|sum, tokens| sum + tokens),
        total_time_s: visits
            .iter()
            .filter_map(|visit| visit.measure_ns)
            .sum::<u64>() as f64
            / 1e9,
        load_time_ms: of_visits(&|visit| visit.load_time_ns),
        start_to_first_token_ms: of_visits(&|visit| visit.first_token_ns),
        unload_time_ms: of_visits(&|visit| visit.unload_time_ns),
        peak_memory_bytes: visits
            .iter()
            .filter_map(|visit| visit.peak_memory_bytes)
            .max(),
        peak_gpu_memory_bytes: visits
            .iter()
            .filter_map(|visit| visit.peak_gpu_memory_bytes)
            .max(),
        energy: energy(measured, visits),
        gpus: Vec::new(),
        cpu_percent: cpu_percent(visits),
        client: None,
        delivered: delivered(measured),
        cadence: cadence(&good),
        own_clock: own_clock(&good),
        finish_reasons,
        hidden_tokens,
        stream_tail_ms: has_tail.then(|| distribution(tails)).flatten(),
        notes,
        served_models: distinct(&|record| record.served_model.clone()),
        asked_model: measured.iter().find_map(|it| it.asked_model.clone()),
        // Known from visits.
        settings: Vec::new(),
        own_counts: Vec::new(),
        engine_versions: distinct(&|record| record.engine_version.clone()),
        sample_output: good
            .iter()
            .find(|record| record.id.prompt == 0)
            .map(|record| beginning(&record.text)),
    }
}

/// Longest sample of an answer, in bytes: it is to be looked at, and reports are to stay small.
const MAX_SAMPLE: usize = 16 << 10;

/// The beginning of a long text, and `…`; a shorter one as it is.
fn beginning(text: &str) -> String {
    if text.len() <= MAX_SAMPLE {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(MAX_SAMPLE)])
}

/// The engine's own times of successful requests; `None` if it reports none.
fn own_clock(good: &[&Record]) -> Option<OwnClock> {
    let over = |of: &dyn Fn(&Record) -> Option<f64>| -> Option<Distribution> {
        distribution(good.iter().filter_map(|it| Some(of(it)? / MS)).collect())
    };
    let told = OwnClock {
        queue_ms: over(&|it| it.own_queue_ns.map(|ns| ns as f64)),
        prefill_ms: over(&|it| it.own_prefill_ns.map(|ns| ns as f64)),
        time_to_first_token_ms: over(&|it| it.own_time_to_first_token_ns().map(|ns| ns as f64)),
        first_token_difference_ms: over(&|it| {
            let seen = it.arrivals.first()?.0.saturating_sub(it.stamps.sent_ns);
            Some(seen as f64 - it.own_time_to_first_token_ns()? as f64)
        }),
        time_per_output_token_ms: over(&Record::own_time_per_output_token_ns),
        seen_time_per_output_token_ms: seen_times_per_token(good),
        delivery_ms: distribution(
            good.iter()
                .flat_map(|it| it.deliveries_ns())
                .map(|ns| ns as f64 / MS)
                .collect(),
        ),
    };
    (told != OwnClock::default()).then_some(told)
}

/// prony's own times per token of the requests for which the engine tells its own; `None` if
/// one of them is in doubt.
fn seen_times_per_token(good: &[&Record]) -> Option<Distribution> {
    let told = good
        .iter()
        .filter(|it| it.own_time_per_output_token_ns().is_some());
    let times = told.map(|it| Some(time_per_token_ns(it)? / MS));
    distribution(times.collect::<Option<Vec<f64>>>()?)
}

/// Values of the cycles, in their order: those with at least `whole` requests.
/// `failed` are the cycles in which something failed that the measurement rests on.
pub fn by_cycle(
    measured: &[&Record],
    visits: &[Visit],
    failed: &BTreeSet<u32>,
    whole: usize,
    concurrency: u32,
) -> Vec<CycleResult> {
    let mut cycles = BTreeMap::<u32, Vec<&Record>>::new();
    for record in measured {
        cycles.entry(record.id.cycle).or_default().push(record);
    }
    cycles.retain(|_, records| records.len() >= whole.max(1));
    let result = |(cycle, records): (u32, Vec<&Record>)| {
        let visits: Vec<Visit> = visits
            .iter()
            .copied()
            .filter(|visit| visit.cycle == cycle)
            .collect();
        let counted = |record: &&Record| record.ok() && record.count_is_plausible();
        let good = !failed.contains(&cycle) && records.iter().all(counted);
        let seconds = |ns: Option<u64>| ns.unwrap_or_default() as f64 / 1e9;
        let starts = records.iter().map(|record| record.stamps.intended_ns);
        let ends = records.iter().map(|record| record.stamps.end_ns);
        CycleResult {
            cycle,
            start_s: seconds(starts.min()),
            end_s: seconds(ends.max()),
            output_tokens_per_sec: good
                .then(|| throughput(&records, &visits, concurrency))
                .flatten(),
        }
    };
    cycles.into_iter().map(result).collect()
}

/// CPU time over wall-clock time of the measured stages, in percent of one core.
fn cpu_percent(visits: &[Visit]) -> Option<f64> {
    let (mut cpu_s, mut wall_ns) = (0.0, 0);
    for visit in visits {
        if let (Some(cpu), Some(wall)) = (visit.measure_cpu_s, visit.measure_ns) {
            cpu_s += cpu;
            wall_ns += wall;
        }
    }
    (wall_ns > 0).then(|| cpu_s * 100.0 * 1e9 / wall_ns as f64)
}
