//! From the requests of a comparison to the numbers of its cycles.

use super::{Arm, Question, StudyDesign, question};
use crate::statistics::aggregate::{
    self, Block, Timing, decode_rate, median_log_ratio, prefill_rate, quantile_log_ratio,
};
use crate::throughput::{Visit, throughput};
use prony_record::Record;
use std::collections::{BTreeMap, BTreeSet};

/// What there is of one cycle.
#[derive(Default)]
struct Cycle<'a> {
    records: Vec<&'a Record>,
    visits: Vec<Visit>,
}

impl<'a> Arm<'a> {
    fn cycles(&self) -> BTreeMap<u32, Cycle<'a>> {
        let mut cycles = BTreeMap::<u32, Cycle<'a>>::new();
        for record in self.records {
            let cycle = cycles.entry(record.id.cycle).or_default();
            cycle.records.push(record);
        }
        for visit in self.visits {
            cycles.entry(visit.cycle).or_default().visits.push(*visit);
        }
        cycles
    }
}

/// The numbers of the cycles, on which everything that is said of two engines rests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ratios {
    /// By cycle, `ln(candidate / baseline)` of the throughputs: the statistic `sum`.
    pub cycles: Vec<(u32, f64)>,
    /// By cycle, the median over questions of `ln(baseline / candidate)` of the time per
    /// token: the statistic `med`, above zero where the candidate is faster.
    pub medians: Vec<(u32, f64)>,
    /// By cycle, the log ratio of the prompt tokens (of the requests, where an engine does
    /// not count them) over the times to the first token.
    pub prefill: Vec<(u32, f64)>,
    /// By cycle, the log ratio of the tokens after the first over their time.
    pub decode: Vec<(u32, f64)>,
    /// By cycle, the log ratio of the output tokens over the latencies.
    pub end_to_end: Vec<(u32, f64)>,
    /// By cycle, the log ratio of the median latencies, with enough requests.
    pub latency_p50: Vec<(u32, f64)>,
    /// By cycle, the log ratio of the 90th percentiles of the latencies, likewise.
    pub latency_p90: Vec<(u32, f64)>,
    /// Cycles in which the candidate was measured first.
    pub candidate_first: BTreeSet<u32>,
    /// Cycles that give no number, since something in them failed.
    pub degraded: BTreeSet<u32>,
}

impl Ratios {
    /// The log ratios of the throughputs, in the order of the cycles.
    pub fn throughputs(&self) -> Vec<f64> {
        values(&self.cycles)
    }

    /// Everything but the throughput, of a cycle without a failure.
    fn more(&mut self, cycle: u32, baseline: &[&Record], candidate: &[&Record]) {
        let first = |records: &[&Record]| records.iter().map(|it| it.stamps.sent_ns).min();
        if first(candidate) < first(baseline) {
            self.candidate_first.insert(cycle);
        }
        let numbers = |d: Option<f64>| d.filter(|d| d.is_finite()).map(|d| (cycle, d));
        let rates = |rate: &dyn Fn(&[Timing]) -> Option<f64>| {
            let (a, b) = (timings(baseline, candidate)?, timings(candidate, baseline)?);
            Some(aggregate::log_ratio(rate(&a)?, rate(&b)?))
        };
        self.medians.extend(numbers(median(baseline, candidate)));
        self.prefill.extend(numbers(rates(&prefill_rate)));
        self.decode.extend(numbers(rates(&decode_rate)));
        self.end_to_end
            .extend(numbers(rates(&aggregate::throughput)));
        let latencies = |records: &[&Record]| -> Vec<f64> {
            records.iter().map(|it| it.latency_ns() as f64).collect()
        };
        let block = Block {
            baseline: &latencies(baseline),
            candidate: &latencies(candidate),
        };
        self.latency_p50
            .extend(numbers(quantile_log_ratio(block, 0.5)));
        self.latency_p90
            .extend(numbers(quantile_log_ratio(block, 0.9)));
    }
}

/// What the rates are made from. A prompt counts as one token unless both engines say how
/// many it has. `None` where an answer has no first token or no count.
fn timings(records: &[&Record], others: &[&Record]) -> Option<Vec<Timing>> {
    let said = |records: &[&Record]| records.iter().all(|it| it.prompt_tokens.is_some());
    let counted = said(records) && said(others);
    let timing = |record: &&Record| {
        Some(Timing {
            prompt_tokens: record.prompt_tokens.filter(|_| counted).unwrap_or(1),
            output_tokens: record.output_tokens?,
            first_token_s: record.time_to_first_token_ns()? as f64 / 1e9,
            latency_s: record.latency_ns() as f64 / 1e9,
        })
    };
    records.iter().map(timing).collect()
}

/// The log ratios without their cycles, in order.
pub(super) fn values(by_cycle: &[(u32, f64)]) -> Vec<f64> {
    by_cycle.iter().map(|(_, d)| *d).collect()
}

/// The numbers of the cycles so far. A cycle that is not over, or that an interruption
/// left without some of its requests, is passed over.
///
/// What decides after each cycle whether to go on and what names the winner both start
/// here, so that they cannot disagree.
pub fn ratios(baseline: Arm<'_>, candidate: Arm<'_>, design: StudyDesign) -> Ratios {
    let (of_baseline, of_candidate) = (baseline.cycles(), candidate.cycles());
    let whole = |cycles: &BTreeMap<u32, Cycle<'_>>| -> BTreeSet<u32> {
        let whole = |cycle: &Cycle<'_>| cycle.records.len() >= design.requests_per_visit as usize;
        let numbers = cycles.iter().filter(|(_, cycle)| whole(cycle));
        numbers.map(|(number, _)| *number).collect()
    };
    let broken: BTreeSet<u32> = baseline.failed | candidate.failed;
    let both: BTreeSet<u32> = &whole(&of_baseline) & &whole(&of_candidate);
    let mut ratios = Ratios::default();
    for number in &both | &broken {
        let good = |cycles: &'_ BTreeMap<u32, Cycle<'_>>| {
            let cycle = cycles.get(&number)?;
            let well = cycle.records.iter().all(|record| record.ok());
            well.then(|| throughput(&cycle.records, &cycle.visits, design.concurrency))
                .flatten()
        };
        let (a, b) = (good(&of_baseline), good(&of_candidate));
        if let (Some(a), Some(b), false) = (a, b, broken.contains(&number)) {
            ratios.cycles.push((number, aggregate::log_ratio(a, b)));
            let (a, b) = (
                &of_baseline[&number].records,
                &of_candidate[&number].records,
            );
            ratios.more(number, a, b);
        } else {
            ratios.degraded.insert(number);
        }
    }
    ratios
}

/// The statistic `med` of a cycle. Times are per token, which changes nothing where the
/// lengths are equal, and compares like with like where they are not.
fn median(baseline: &[&Record], candidate: &[&Record]) -> Option<f64> {
    let times = |records: &[&Record]| {
        let mut times = BTreeMap::<Question, Vec<f64>>::new();
        for record in records {
            let tokens = f64::from(record.output_tokens.filter(|tokens| *tokens > 0)?);
            let time = record.latency_ns() as f64 / tokens;
            times.entry(question(record)).or_default().push(time);
        }
        Some(times)
    };
    let (baseline, candidate) = (times(baseline)?, times(candidate)?);
    let blocks: Vec<Block<'_>> = baseline
        .iter()
        .filter_map(|(question, baseline)| {
            let candidate = candidate.get(question)?;
            Some(Block {
                baseline,
                candidate,
            })
        })
        .collect();
    median_log_ratio(&blocks)
}
