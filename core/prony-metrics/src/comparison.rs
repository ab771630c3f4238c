//! A candidate engine against the baseline.
//!
//! The unit of inference is the cycle, a fresh start of both engines: requests
//! within one start share that start's luck. Each cycle gives one number, the
//! log ratio of the two throughputs; the verdict is the signed-rank interval of
//! these numbers. Method and simulations behind it: ARCHITECTURE.md.

use crate::record::Record;
use crate::same_work::same_work;
use crate::statistics::aggregate::{self, Block, median_log_ratio};
use crate::statistics::{SignedRank, smallest_sample};
use crate::summary::{Visit, throughput};
use prony_plugin_sdk::result::{Comparison, Interval, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// Two-sided error of the verdict `faster` or `slower`.
pub const ALPHA: f64 = 0.05;
/// Two-sided error of the interval that must lie inside the margin for
/// `equivalent` (two one-sided tests at 5 %).
pub const ALPHA_EQUIVALENT: f64 = 0.1;
/// Below this success rate of either engine no winner is named.
pub const MIN_SUCCESS_RATE: f64 = 0.98;
/// Above this share of degraded cycles no winner is named.
pub const MAX_DEGRADED: f64 = 0.1;
/// Mean output lengths that differ by more than this share are flagged.
const LENGTH_TOLERANCE: f64 = 0.01;

/// What is known of one engine in a group: one model, cell and `measure` stage.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its measured requests.
    pub records: &'a [&'a Record],
    /// Its visits.
    pub visits: &'a [Visit],
    /// Cycles in which something failed that the measurement rests on.
    pub failed: &'a BTreeSet<u32>,
    /// Cycles in which the stage's `if` left it out.
    pub skipped: &'a BTreeSet<u32>,
}

/// What there is of one cycle.
#[derive(Default)]
struct Cycle<'a> {
    records: Vec<&'a Record>,
    visits: Vec<Visit>,
}

impl<'a> Side<'a> {
    fn cycles(&self) -> BTreeMap<u32, Cycle<'a>> {
        let mut cycles = BTreeMap::<u32, Cycle<'a>>::new();
        for record in self.records {
            let cycle = cycles.entry(record.place.cycle).or_default();
            cycle.records.push(record);
        }
        for visit in self.visits {
            cycles.entry(visit.cycle).or_default().visits.push(*visit);
        }
        cycles
    }

    fn good(&self) -> impl Iterator<Item = &'a Record> {
        self.records.iter().copied().filter(|record| record.ok())
    }

    fn success_rate(&self) -> f64 {
        self.good().count() as f64 / self.records.len().max(1) as f64
    }

    fn implausible(&self) -> bool {
        self.good().any(|record| !record.count_is_plausible())
    }

    fn mean_tokens(&self) -> Option<f64> {
        let tokens: Vec<f64> = self
            .good()
            .filter_map(|record| record.output_tokens)
            .map(f64::from)
            .collect();
        (!tokens.is_empty()).then(|| tokens.iter().sum::<f64>() / tokens.len() as f64)
    }
}

/// What the run was to do.
#[derive(Debug, Clone, Copy)]
pub struct Design {
    /// Cycles.
    pub cycles: u32,
    /// Measured requests of each visit.
    pub requests_per_visit: u32,
    /// Requests in flight.
    pub concurrency: u32,
    /// The difference that counts as none, in percent.
    pub margin_percent: f64,
}

/// The numbers of the cycles, on which everything that is said of two engines rests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ratios {
    /// By cycle, `ln(candidate / baseline)` of the throughputs: the statistic `sum`.
    pub cycles: Vec<(u32, f64)>,
    /// By cycle, the median over questions of `ln(baseline / candidate)` of the time per
    /// token: the statistic `med`, above zero where the candidate is faster.
    pub medians: Vec<(u32, f64)>,
    /// Cycles that give no number, since something in them failed.
    pub degraded: BTreeSet<u32>,
}

impl Ratios {
    /// The log ratios of the throughputs, in the order of the cycles.
    pub fn throughputs(&self) -> Vec<f64> {
        values(&self.cycles)
    }
}

fn values(by_cycle: &[(u32, f64)]) -> Vec<f64> {
    by_cycle.iter().map(|(_, d)| *d).collect()
}

/// The numbers of the cycles so far. A cycle that is not over, or that an interruption
/// left without some of its requests, is passed over.
///
/// What decides after each cycle whether to go on and what names the winner both start
/// here, so that they cannot disagree.
pub fn ratios(baseline: Side<'_>, candidate: Side<'_>, design: Design) -> Ratios {
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
            let median = median(
                &of_baseline[&number].records,
                &of_candidate[&number].records,
            );
            ratios.medians.extend(median.map(|d| (number, d)));
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
        let mut times = BTreeMap::<(u32, Option<u32>), Vec<f64>>::new();
        for record in records {
            let tokens = f64::from(record.output_tokens.filter(|tokens| *tokens > 0)?);
            let question = (record.place.prompt, record.place.image);
            let time = record.latency_ns() as f64 / tokens;
            times.entry(question).or_default().push(time);
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

/// Judges `candidate` against `baseline`.
pub fn compare(baseline: Side<'_>, candidate: Side<'_>, design: Design) -> Comparison {
    let Design {
        cycles: planned,
        concurrency,
        margin_percent,
        ..
    } = design;
    let numbers = ratios(baseline, candidate, design);
    let degraded = numbers.degraded.len() as u32;
    let cycles = numbers.cycles.len() + numbers.degraded.len();
    let ratios = numbers.throughputs();
    let pooled = |side: Side<'_>| throughput(side.records, side.visits, concurrency);
    let pooled_difference_percent = pooled(baseline)
        .zip(pooled(candidate))
        .map(|(a, b)| percent((b / a).ln()));

    let mut flags = Vec::new();
    if let (Some(a), Some(b)) = (baseline.mean_tokens(), candidate.mean_tokens())
        && (a - b).abs() > LENGTH_TOLERANCE * a.max(b)
    {
        flags.push("length_mismatch".to_owned());
    }
    if baseline.implausible() || candidate.implausible() {
        flags.push("token_mismatch".to_owned());
    }
    if planned == 1 {
        flags.push("single-start".to_owned());
    }

    let ranks = SignedRank::new(&ratios);
    let interval = ranks.as_ref().and_then(|ranks| ranks.interval(ALPHA));
    let obstacle = uneven(baseline, candidate)
        .or_else(|| uneven(candidate, baseline))
        .or_else(|| obstacle(baseline, candidate, cycles, degraded, ratios.len()));
    let margin = (1.0 + margin_percent / 100.0).ln();
    let inside = ranks
        .as_ref()
        .and_then(|ranks| ranks.interval(ALPHA_EQUIVALENT))
        .is_some_and(|interval| -margin < interval.low && interval.high < margin);
    let (verdict, reason) = match (obstacle, interval) {
        (Some(obstacle), _) => (Verdict::Inconclusive, obstacle),
        (None, Some(interval)) if interval.low > 0.0 => {
            (Verdict::Faster, within(inside, margin_percent))
        }
        (None, Some(interval)) if interval.high < 0.0 => {
            (Verdict::Slower, within(inside, margin_percent))
        }
        (None, Some(_)) if inside => (
            Verdict::Equivalent,
            format!("the 90 % interval lies inside ±{margin_percent} %"),
        ),
        _ => (
            Verdict::Inconclusive,
            "the interval contains both no difference and a difference that counts".to_owned(),
        ),
    };
    let winner = match verdict {
        Verdict::Faster => Some(candidate.name.to_owned()),
        Verdict::Slower => Some(baseline.name.to_owned()),
        Verdict::Equivalent | Verdict::Inconclusive => None,
    };
    Comparison {
        baseline: baseline.name.to_owned(),
        candidate: candidate.name.to_owned(),
        verdict,
        winner,
        difference_percent: ranks.map(|ranks| percent(ranks.estimate())),
        interval: interval.map(|interval| Interval {
            low_percent: percent(interval.low),
            high_percent: percent(interval.high),
            level: interval.level,
        }),
        pooled_difference_percent,
        margin_percent,
        cycles: ratios.len() as u32,
        degraded_cycles: degraded,
        cycle_log_ratios: ratios,
        reason,
        flags,
        same_work: same_work(baseline.records, candidate.records),
    }
}

/// A stage that one engine went through and its `if` kept from the other: the
/// two did not do the same work.
fn uneven(measured: Side<'_>, skipped: Side<'_>) -> Option<String> {
    let cycles: BTreeSet<u32> = measured.records.iter().map(|it| it.place.cycle).collect();
    let uneven = skipped.skipped.intersection(&cycles).count();
    (uneven > 0).then(|| {
        format!(
            "the `if` of the stage left out `{}` in {uneven} of the cycles in which `{}` was measured",
            skipped.name, measured.name
        )
    })
}

/// What else forbids a verdict, if anything.
fn obstacle(
    baseline: Side<'_>,
    candidate: Side<'_>,
    cycles: usize,
    degraded: u32,
    usable: usize,
) -> Option<String> {
    for side in [baseline, candidate] {
        if side.records.is_empty() {
            return Some(format!("`{}` was not measured", side.name));
        }
        let rate = side.success_rate();
        if rate < MIN_SUCCESS_RATE {
            return Some(format!(
                "only {:.1} % of the requests to `{}` succeeded; {:.0} % are needed",
                rate * 100.0,
                side.name,
                MIN_SUCCESS_RATE * 100.0
            ));
        }
        if side.good().any(|record| record.output_tokens.is_none()) {
            return Some(format!(
                "`{}` does not say how many tokens it generated",
                side.name
            ));
        }
        if side.implausible() {
            return Some(format!(
                "`{}` counts more tokens than its answers have bytes",
                side.name
            ));
        }
    }
    if f64::from(degraded) > MAX_DEGRADED * cycles as f64 {
        return Some(format!("{degraded} of {cycles} cycles have a failure"));
    }
    let needed = smallest_sample(ALPHA);
    (usable < needed).then(|| format!("{usable} cycles; an interval needs at least {needed}"))
}

fn within(inside: bool, margin_percent: f64) -> String {
    if inside {
        format!("the interval excludes zero, but the difference is less than {margin_percent} %")
    } else {
        "the interval excludes zero".to_owned()
    }
}

/// A log ratio as a difference in percent.
fn percent(log_ratio: f64) -> f64 {
    log_ratio.exp_m1() * 100.0
}
