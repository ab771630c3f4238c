//! The metrics of one model on one engine: of one group of requests, which in a
//! run are those of one matrix point and one `measure` stage.

use crate::definition::cadence;
use crate::delivered::delivered;
use crate::energy::energy;
use crate::facts::{Facts, OwnTimes, Requests, Streams};
use crate::granularity::time_per_token_ns;
use crate::prompts;
use crate::statistics::distribution;
use crate::throughput::{Visit, throughput};
use crate::tokens;
use prony_result::{CycleResult, Distribution, EngineResult, OwnClock};
use std::collections::{BTreeMap, BTreeSet};

const MS: f64 = 1e6;

/// Sums up a group's measured requests, the times of their texts, and its visits.
/// `concurrency` is the number of requests in flight.
pub fn engine(
    name: &str,
    requests: &Requests,
    streams: &Streams,
    visits: &[Visit],
    concurrency: u32,
) -> EngineResult {
    let measured = requests.all();
    let measured = measured.as_slice();
    let words = requests.words.clone();
    let mut good = requests.all();
    good.retain(|request| request.ok());
    let cycles: BTreeSet<u32> = measured.iter().map(|request| request.cycle).collect();
    let over = |of: &dyn Fn(&Facts) -> Option<f64>| -> Option<Distribution> {
        distribution(good.iter().filter_map(|record| of(record)).collect())
    };
    let of_visits = |of: &dyn Fn(&Visit) -> Option<u64>| {
        let times = visits.iter().filter_map(of);
        distribution(times.map(|ns| ns as f64 / MS).collect())
    };
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
        errors: words.errors,
        error_messages: words.error_messages,
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
        inter_token_latency_ms: streams.gaps.distribution_ms(),
        time_per_output_token_ms: over(&|record| {
            record.time_per_output_token_ns().map(|ns| ns / MS)
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
            .fold(0, u64::saturating_add) as f64
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
        cadence: cadence(&good, &streams.gaps),
        own_clock: own_clock(&good, streams),
        finish_reasons: words.finish_reasons,
        hidden_tokens,
        stream_tail_ms: has_tail.then(|| distribution(tails)).flatten(),
        notes: words.notes,
        served_models: words.served_models.into_iter().collect(),
        asked_model: words.asked_model,
        // Known from visits.
        settings: Vec::new(),
        own_counts: Vec::new(),
        engine_versions: words.engine_versions.into_iter().collect(),
        sample_output: words.sample,
    }
}

/// The engine's own times of successful requests; `None` if it reports none.
fn own_clock(good: &[&Facts], streams: &Streams) -> Option<OwnClock> {
    let over = |of: &dyn Fn(OwnTimes) -> Option<f64>| -> Option<Distribution> {
        let times = good.iter().filter_map(|it| of(it.own_times()));
        distribution(times.map(|ns| ns / MS).collect())
    };
    let told = OwnClock {
        queue_ms: over(&|it| it.queue.map(|ns| ns as f64)),
        prefill_ms: over(&|it| it.prefill.map(|ns| ns as f64)),
        time_to_first_token_ms: over(&|it| it.first_token.map(|ns| ns as f64)),
        first_token_difference_ms: {
            let difference = |it: &&Facts| {
                let seen = (it.texts > 0).then(|| it.first_ns.saturating_sub(it.sent_ns))?;
                Some((seen as f64 - it.own_times().first_token? as f64) / MS)
            };
            distribution(good.iter().filter_map(difference).collect())
        },
        time_per_output_token_ms: over(&|it| it.per_token),
        seen_time_per_output_token_ms: seen_times_per_token(good),
        delivery_ms: streams.deliveries.distribution_ms(),
    };
    (told != OwnClock::default()).then_some(told)
}

/// prony's own times per token of the requests for which the engine tells its own; `None` if
/// one of them is in doubt.
fn seen_times_per_token(good: &[&Facts]) -> Option<Distribution> {
    let told = good.iter().filter(|it| it.own_times().per_token.is_some());
    let times = told.map(|it| Some(time_per_token_ns(it)? / MS));
    distribution(times.collect::<Option<Vec<f64>>>()?)
}

/// Values of the cycles, in their order: those with at least `whole` requests.
/// `failed` are the cycles in which something failed that the measurement rests on.
pub fn by_cycle(
    measured: &[&Facts],
    visits: &[Visit],
    failed: &BTreeSet<u32>,
    whole: usize,
    concurrency: u32,
) -> Vec<CycleResult> {
    let mut cycles = BTreeMap::<u32, Vec<&Facts>>::new();
    for record in measured {
        cycles.entry(record.cycle).or_default().push(record);
    }
    cycles.retain(|_, records| records.len() >= whole.max(1));
    let result = |(cycle, records): (u32, Vec<&Facts>)| {
        let visits: Vec<Visit> = visits
            .iter()
            .copied()
            .filter(|visit| visit.cycle == cycle)
            .collect();
        let counted = |record: &&Facts| record.ok() && record.is_plausible;
        let good = !failed.contains(&cycle) && records.iter().all(counted);
        let seconds = |ns: Option<u64>| ns.unwrap_or_default() as f64 / 1e9;
        let starts = records.iter().map(|record| record.intended_ns);
        let ends = records.iter().map(|record| record.end_ns);
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
    let (mut cpu_s, mut wall_ns) = (0.0, 0_u64);
    for visit in visits {
        if let (Some(cpu), Some(wall)) = (visit.measure_cpu_s, visit.measure_ns) {
            cpu_s += cpu;
            wall_ns = wall.saturating_add(wall_ns);
        }
    }
    (wall_ns > 0).then(|| cpu_s * 100.0 * 1e9 / wall_ns as f64)
}
