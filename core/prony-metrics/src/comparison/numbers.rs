//! From the requests of a comparison to the numbers of its cycles.

use super::{Arm, Question, StudyDesign, question};
use crate::credit::Credits;
use crate::energy::comparable;
use crate::granularity::{Bounds, decode_speed, prefill_speed};
use crate::statistics::aggregate::{self, Block, median_log_ratio, quantile_log_ratio};
use crate::throughput::{Visit, rate};
use prony_record::Record;
use std::collections::{BTreeMap, BTreeSet};

/// The requests and times of one cycle.
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
    /// By cycle, the log ratio of the requests (of the prompt tokens, where both engines
    /// count the same) over the times to the first token.
    pub prefill: Vec<(u32, f64)>,
    /// Log ratios by which the prefill of the baseline and of the candidate may be faster than
    /// measured: 0 where streams show it all, infinite where they hide it.
    pub prefill_slack: (f64, f64),
    /// By cycle, the log ratio of the tokens after the first over their time.
    pub decode: Vec<(u32, f64)>,
    /// Log ratios by which decoding may be slower than measured, likewise.
    pub decode_slack: (f64, f64),
    /// By cycle, the log ratio of the output tokens over the latencies.
    pub end_to_end: Vec<(u32, f64)>,
    /// By cycle, the log ratio of the median latencies, with enough requests.
    pub latency_p50: Vec<(u32, f64)>,
    /// By cycle, the log ratio of the 90th percentiles of the latencies, likewise.
    pub latency_p90: Vec<(u32, f64)>,
    /// By cycle, the log ratio of the output tokens per joule.
    pub energy: Vec<(u32, f64)>,
    /// Reason why the energy of a cycle cannot be compared, in words.
    pub energy_withheld: Option<&'static str>,
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
    fn more(&mut self, cycle: u32, baseline: &Cycle, candidate: &Cycle, credits: &Credits) {
        let energies = comparable(&baseline.visits, &candidate.visits);
        let (baseline, candidate) = (&baseline.records, &candidate.records);
        let first = |records: &[&Record]| records.iter().map(|it| it.stamps.sent_ns).min();
        if first(candidate) < first(baseline) {
            self.candidate_first.insert(cycle);
        }
        let numbers = |d: Option<f64>| d.filter(|d| d.is_finite()).map(|d| (cycle, d));
        self.medians
            .extend(numbers(median(baseline, candidate, credits)));
        if let (Some(a), Some(b)) = (
            credited(baseline, |it| credits.baseline(it)),
            credited(candidate, |it| credits.candidate(it)),
        ) {
            let weight = prompt_weight(baseline, candidate);
            let prefill = (prefill_speed(&a, weight), prefill_speed(&b, weight));
            // Its lower bound is what a user sees.
            let d = prefill
                .0
                .zip(prefill.1)
                .map(|(a, b)| aggregate::log_ratio(a.0, b.0));
            self.prefill.extend(numbers(d));
            widen(&mut self.prefill_slack, prefill);
            let decode = (decode_speed(&a), decode_speed(&b));
            let d = decode
                .0
                .zip(decode.1)
                .map(|(a, b)| aggregate::log_ratio(a.1, b.1));
            self.decode.extend(numbers(d));
            widen(&mut self.decode_slack, decode);
            let end_to_end = |answers: &[(&Record, u32)]| {
                let tokens: u64 = answers.iter().map(|(_, tokens)| u64::from(*tokens)).sum();
                let time: u64 = answers.iter().map(|(it, _)| it.latency_ns()).sum();
                tokens as f64 / time as f64
            };
            let d = aggregate::log_ratio(end_to_end(&a), end_to_end(&b));
            self.end_to_end.extend(numbers(Some(d)));
            let tokens = |answers: &[(&Record, u32)]| {
                let tokens = answers.iter().map(|(_, tokens)| u64::from(*tokens));
                tokens.sum::<u64>() as f64
            };
            match energies {
                Some(Ok((one, other))) => {
                    let d = aggregate::log_ratio(tokens(&a) / one, tokens(&b) / other);
                    self.energy.extend(numbers(Some(d)));
                }
                Some(Err(why)) => self.energy_withheld = Some(why),
                None => {}
            }
        }
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

/// Records with the tokens that they are credited with; `None` if one has none.
pub(super) fn credited<'a>(
    records: &[&'a Record],
    credit: impl Fn(&Record) -> Option<u32>,
) -> Option<Vec<(&'a Record, u32)>> {
    let answers = records
        .iter()
        .map(|record| Some((*record, credit(record)?)));
    answers.collect()
}

/// Weight of a prompt in the speed of prefill: its tokens if both engines count the same for
/// each request, and 1 otherwise. A longer chat template is not faster work.
fn prompt_weight(baseline: &[&Record], candidate: &[&Record]) -> fn(&Record) -> u32 {
    let of = |records: &[&Record]| -> BTreeMap<(u32, u32), Option<u32>> {
        let prompts = records
            .iter()
            .map(|it| (it.id.cycle_and_index(), it.prompt_tokens));
        prompts.collect()
    };
    let (a, b) = (of(baseline), of(candidate));
    if a == b && a.values().all(Option::is_some) {
        |record| record.prompt_tokens.unwrap_or(1)
    } else {
        |_| 1
    }
}

/// Takes the bounds of both engines' speeds in a cycle into their slack so far.
fn widen(slack: &mut (f64, f64), bounds: (Option<Bounds>, Option<Bounds>)) {
    let of = |bounds: Option<Bounds>| bounds.map_or(f64::INFINITY, |(low, high)| (high / low).ln());
    slack.0 = slack.0.max(of(bounds.0));
    slack.1 = slack.1.max(of(bounds.1));
}

/// The log ratios without their cycles, in order.
pub(super) fn values(by_cycle: &[(u32, f64)]) -> Vec<f64> {
    by_cycle.iter().map(|(_, d)| *d).collect()
}

/// The numbers of the cycles so far. A cycle that is not over, or that an interruption
/// left without some of its requests, is passed over.
///
/// The interim analyses and the verdict both start here, so that they cannot disagree.
pub fn ratios(baseline: Arm<'_>, candidate: Arm<'_>, design: StudyDesign) -> Ratios {
    let (of_baseline, of_candidate) = (baseline.cycles(), candidate.cycles());
    let whole = |cycles: &BTreeMap<u32, Cycle<'_>>| -> BTreeSet<u32> {
        let whole = |cycle: &Cycle<'_>| cycle.records.len() >= design.requests_per_visit as usize;
        let numbers = cycles.iter().filter(|(_, cycle)| whole(cycle));
        numbers.map(|(number, _)| *number).collect()
    };
    let broken: BTreeSet<u32> = baseline.failed | candidate.failed;
    let both: BTreeSet<u32> = &whole(&of_baseline) & &whole(&of_candidate);
    let credits = Credits::new(baseline.records, candidate.records);
    let mut ratios = Ratios::default();
    for number in &both | &broken {
        let good = |cycles: &BTreeMap<u32, Cycle<'_>>, tokens: &dyn Fn(&Record) -> Option<u32>| {
            let cycle = cycles.get(&number)?;
            let well = cycle.records.iter().all(|record| record.ok());
            well.then(|| rate(&cycle.records, &cycle.visits, design.concurrency, tokens))
                .flatten()
        };
        let a = good(&of_baseline, &|it| credits.baseline(it));
        let b = good(&of_candidate, &|it| credits.candidate(it));
        if let (Some(a), Some(b), false) = (a, b, broken.contains(&number)) {
            ratios.cycles.push((number, aggregate::log_ratio(a, b)));
            let (a, b) = (&of_baseline[&number], &of_candidate[&number]);
            ratios.more(number, a, b, &credits);
        } else {
            ratios.degraded.insert(number);
        }
    }
    ratios
}

/// The statistic `med` of a cycle. Times are per token, which changes nothing where the
/// lengths are equal, and compares like with like where they are not.
fn median(baseline: &[&Record], candidate: &[&Record], credits: &Credits) -> Option<f64> {
    let times = |records: &[&Record], credit: &dyn Fn(&Record) -> Option<u32>| {
        let mut times = BTreeMap::<Question, Vec<f64>>::new();
        for record in records {
            let tokens = f64::from(credit(record).filter(|tokens| *tokens > 0)?);
            let time = record.latency_ns() as f64 / tokens;
            times.entry(question(record)).or_default().push(time);
        }
        Some(times)
    };
    let baseline = times(baseline, &|it| credits.baseline(it))?;
    let candidate = times(candidate, &|it| credits.candidate(it))?;
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
