//! A candidate engine against the baseline.
//!
//! The unit of inference is the cycle, a fresh start of both engines: requests within one
//! start share its luck. Each cycle gives numbers ([`ratios`]); the pipeline fixes on which of
//! them a verdict rests ([`TestStatistic`]). All comparisons of a run are judged together
//! after every cycle ([`Family`]); [`compare`] withholds verdicts that the numbers do not
//! support. Method and simulations behind it: ARCHITECTURE.md, "Verdicts".

mod family;
mod numbers;
mod objections;
mod obstacles;
mod overall;
mod sides;
mod tail;

pub use family::Family;
pub use numbers::{Bound, Ratios, ratios};
pub use overall::{ModelComparison, overall};

use objections::{Objections, PredecessorTest};
use obstacles::{Obstacles, nothing_in_common, single_start};
use sides::Sides;

use crate::account::Account;
use crate::cache;
use crate::credit::{Credits, Pairs};
use crate::facts::{Facts, Requests};
use crate::same_work::same_work;
use crate::served;
use crate::statistics::mcnemar::mcnemar;
use crate::statistics::pilot::{PILOT_CYCLES, outlook};
use crate::statistics::quantile::median;
use crate::statistics::sequential::{ALPHA, ALPHA_EQUIVALENT};
use crate::statistics::warnings::{self, Warning, outliers, residuals};
use crate::statistics::{self, Decision, LogRatios, Look, Sequential, mean, orders};
use crate::throughput::{Visit, rate};
use prony_result::words::Flag;
use prony_result::{Comparison, Interval, Outliers, TestStatistic, Verdict, to_percent};
use std::collections::{BTreeMap, BTreeSet};

/// Below this success rate of either engine no winner is named.
pub const MIN_SUCCESS_RATE: f64 = 0.98;
/// Above this share of degraded cycles no winner is named.
pub const MAX_DEGRADED: f64 = 0.1;

/// One engine of a comparison in a group: one model, matrix point and `measure` stage.
#[derive(Debug, Clone, Copy)]
pub struct Arm<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its measured requests.
    pub requests: &'a Requests,
    /// Its visits.
    pub visits: &'a [Visit],
    /// Cycles in which something failed that the measurement rests on.
    pub failed: &'a BTreeSet<u32>,
    /// Cycles in which the stage's `if` left it out.
    pub skipped: &'a BTreeSet<u32>,
    /// Its own account.
    pub account: &'a Account,
}

impl<'a> Arm<'a> {
    fn facts(&self) -> &'a [Facts] {
        self.requests.facts()
    }

    fn good(&self) -> impl Iterator<Item = &'a Facts> + use<'a> {
        self.facts().iter().filter(|record| record.ok())
    }

    fn success_rate(&self) -> f64 {
        self.good().count() as f64 / self.facts().len().max(1) as f64
    }

    fn is_implausible(&self) -> bool {
        self.good().any(|record| !record.is_plausible)
    }

    fn has_another_prompt(&self) -> bool {
        self.good().any(crate::prompts::disagree)
    }

    fn is_counted_otherwise(&self) -> bool {
        self.good().any(crate::tokens::disagree)
    }

    /// Mean output length of each question.
    fn lengths(&self, credit: impl Fn(&Facts) -> Option<u32>) -> BTreeMap<Question, f64> {
        let mut lengths = BTreeMap::<Question, Vec<f64>>::new();
        for record in self.good() {
            let tokens = credit(record).map(f64::from);
            lengths.entry(record.question()).or_default().extend(tokens);
        }
        lengths.retain(|_, tokens| !tokens.is_empty());
        let means = lengths.into_iter();
        means.map(|(question, it)| (question, mean(&it))).collect()
    }
}

/// Prompt and image.
type Question = (u32, Option<u32>);

/// Planned size of the study.
#[derive(Debug, Clone, Copy)]
pub struct StudyDesign {
    /// Cycles.
    pub cycles: u32,
    /// Measured requests of each visit.
    pub requests_per_visit: u32,
    /// Requests in flight.
    pub concurrency: u32,
    /// The difference that counts as none, in percent.
    pub margin_percent: f64,
    /// Number that the verdict is about.
    pub statistic: TestStatistic,
    /// `true` if what engines leave behind for the next visit may explain a difference, so that
    /// every verdict is tested for it.
    pub tests_carry_over: bool,
    /// `true` if that is neither taken out nor tested.
    pub keeps_carry_over: bool,
}

/// Compares `candidate` with `baseline`, whose answers are `pairs`: the `look` of the family at their
/// `numbers`, unless something forbids a verdict.
pub fn compare(
    baseline: Arm<'_>,
    candidate: Arm<'_>,
    pairs: &Pairs,
    design: StudyDesign,
    numbers: &Ratios,
    family: Family,
    look: Option<Look>,
) -> Comparison {
    let pairs = pairs.of(baseline.facts(), candidate.facts());
    let credits = Credits::new(&pairs);
    let obstacles = Obstacles::new(baseline, candidate, &credits, numbers);
    let judge = family.judge(look.map_or(ALPHA, |look| look.alpha));
    let evidence = numbers.evidence(Bound::Middle);
    let evidence = evidence.as_ref();
    let carry_over = PredecessorTest {
        numbers,
        margin: family.rule.margin,
        is_due: design.tests_carry_over,
    };
    let found = Objections::new(&judge, numbers, evidence, look, carry_over);
    // What else shows that the engines did not do the same work belongs here.
    let obstacle = (obstacles.failures.clone())
        .or_else(|| obstacles.tokens.clone())
        .or_else(|| nothing_in_common(numbers))
        .or_else(|| single_start(design))
        .or_else(|| found.unexplained.clone());
    let decision = look.map_or(Decision::Continue, |look| look.decision);
    let typical = found.typical_only(decision, baseline.name, candidate.name);
    let is_typical_only = typical.is_some();
    let margin_percent = design.margin_percent;
    let (verdict, reason) = match (obstacle.clone().or(typical), look) {
        (Some(reason), _) => (Verdict::Inconclusive, reason),
        (None, Some(look)) if look.decision.is_conclusive() => {
            (verdict_of(look.decision), conclusive(&look, margin_percent))
        }
        (None, _) => {
            let reason = inconclusive(look, found.interval.is_some(), design, family);
            (Verdict::Inconclusive, reason)
        }
    };
    let sides = Sides {
        judge: &judge,
        baseline,
        candidate,
        numbers,
        credits: &credits,
        obstacles: &obstacles,
        carry_over,
        design,
    };
    let sides = sides.judged();
    let flags = Flags {
        arms: [baseline, candidate],
        design,
        obstacles: &obstacles,
        sides: &sides,
        found: &found,
    };
    let sensitive = sensitive(&judge, numbers, decision, is_typical_only);
    let flags = flags.all(sensitive);
    let outlook = outlook(evidence, family.rule.margin, family.rule.max_cycles);
    let looked = look.map_or(0, |look| look.cycles);
    let is_of_request = numbers.statistic.is_of_request();
    Comparison {
        baseline: baseline.name.to_owned(),
        candidate: candidate.name.to_owned(),
        verdict,
        winner: winner(verdict, baseline, candidate),
        statistic: Some(numbers.statistic),
        difference_percent: look.map(|look| to_percent(look.estimate)),
        interval: found.interval.map(in_percent),
        interval_equivalent: found.interval_equivalent.map(in_percent),
        within_margin: look.is_some_and(|look| look.within_margin),
        pooled_difference_percent: pooled_difference(baseline, candidate, &credits, design),
        margin_percent,
        cycles: looked as u32,
        stopped_at: (verdict != Verdict::Inconclusive)
            .then(|| numbers.cycles().get(looked.checked_sub(1)?).copied())
            .flatten(),
        degraded_cycles: numbers.degraded.len() as u32,
        nominal_p_value: (looked > 0).then(|| orders::p_value(&evidence.signed(looked, 0.0))),
        needs_cycles: outlook
            .filter(|it| it.expected_cycles < f64::from(u32::MAX))
            .map(|it| it.expected_cycles.ceil() as u32),
        cycle_s: cycle_s(baseline, candidate),
        better_requests: (looked >= PILOT_CYCLES)
            .then(|| numbers.better_requests(looked))
            .flatten(),
        open: family.rule.open,
        detectable_percent: outlook.map(|it| to_percent(it.detectable)),
        slow_requests_p_value: found.slow.map(|it| it.p_value),
        carry_over_percent: found.told_carry_over().map(|it| to_percent(it.log_ratio)),
        carry_over_kept: design.keeps_carry_over,
        errors_p_value: errors(baseline, candidate),
        outliers: outliers_of(baseline, candidate),
        common_tokens: is_of_request.then(|| numbers.common_tokens()).flatten(),
        cycle_log_ratios: numbers.throughputs(),
        obstacle,
        reason,
        flags,
        same_work: same_work(&pairs),
        ..sides
    }
}

/// The faster engine, if the verdict names one.
fn winner(verdict: Verdict, baseline: Arm<'_>, candidate: Arm<'_>) -> Option<String> {
    match verdict {
        Verdict::Faster => Some(candidate.name.to_owned()),
        Verdict::Slower => Some(baseline.name.to_owned()),
        Verdict::Equivalent | Verdict::Inconclusive => None,
    }
}

/// Difference of the pooled throughputs (ratio of sums), in percent.
fn pooled_difference(
    baseline: Arm<'_>,
    candidate: Arm<'_>,
    credits: &Credits,
    design: StudyDesign,
) -> Option<f64> {
    let pooled = |arm: Arm<'_>, tokens: &dyn Fn(&Facts) -> Option<u32>| {
        rate(&arm.requests.all(), arm.visits, design.concurrency, tokens)
    };
    let a = pooled(baseline, &|it| credits.baseline(it))?;
    let b = pooled(candidate, &|it| credits.candidate(it))?;
    Some(to_percent((b / a).ln()))
}

/// Warning that few requests decide: a winner that holds for the typical request only, or
/// medians that decide otherwise than the throughput.
fn sensitive(
    judge: &Sequential,
    numbers: &Ratios,
    decision: Decision,
    is_typical_only: bool,
) -> Option<Warning> {
    if numbers.statistic.is_of_request() {
        return is_typical_only.then_some(Warning::OutlierSensitive);
    }
    let of_medians = judge.judge(&LogRatios(numbers.medians(Bound::Middle)));
    let of_medians = of_medians.map_or(Decision::Continue, |look| look.decision);
    warnings::outlier_sensitive(decision, of_medians)
}

/// The facts that the flags of a comparison rest on.
struct Flags<'a> {
    arms: [Arm<'a>; 2],
    design: StudyDesign,
    obstacles: &'a Obstacles,
    sides: &'a Comparison,
    found: &'a Objections,
}

impl Flags<'_> {
    /// Their names.
    fn all(&self, sensitive: Option<Warning>) -> Vec<String> {
        let [baseline, candidate] = self.arms;
        let any = |is: &dyn Fn(Arm<'_>) -> bool| self.arms.iter().any(|arm| is(*arm));
        let is_coarse = [&self.sides.prefill, &self.sides.decode]
            .into_iter()
            .flatten()
            .any(|part| part.withheld.is_some());
        let miscounts = any(&|arm| arm.is_implausible() || arm.is_counted_otherwise());
        let serves_other = any(&|arm| {
            served::is_other(&arm.requests.words) || served::is_loaded(&arm.account.settings)
        });
        let caches_differ = cached_share(baseline)
            .zip(cached_share(candidate))
            .is_some_and(|(one, other)| (one - other).abs() > cache::SHARE_TOLERANCE);
        let withheld = [
            (self.obstacles.lengths.is_some()).then_some(Flag::LengthMismatch),
            miscounts.then_some(Flag::TokenMismatch),
            self.obstacles.flag,
            (self.design.cycles == 1).then_some(Flag::SingleStart),
            serves_other.then_some(Flag::OtherModel),
            caches_differ.then_some(Flag::CacheMismatch),
            any(&|arm| arm.has_another_prompt()).then_some(Flag::PromptMismatch),
            is_coarse.then_some(Flag::CoarseStream),
        ];
        let warned = sensitive.into_iter().chain(drift(baseline, candidate));
        let carries_over = self.found.told_carry_over().is_some() || self.found.leaves_behind;
        let flags = withheld
            .into_iter()
            .flatten()
            .chain(warned.map(Warning::flag))
            .chain(carries_over.then_some(Flag::CarryOver));
        flags.map(|flag| flag.name().to_owned()).collect()
    }
}

/// Share of cached prompt tokens, by the answers or else by the engine's counters.
fn cached_share(arm: Arm<'_>) -> Option<f64> {
    cache::share(&arm.requests.all()).or_else(|| arm.account.cached_share())
}

fn verdict_of(decision: Decision) -> Verdict {
    match decision {
        Decision::Faster => Verdict::Faster,
        Decision::Slower => Verdict::Slower,
        Decision::Equivalent => Verdict::Equivalent,
        Decision::Continue | Decision::Inconclusive => Verdict::Inconclusive,
    }
}

/// Reason for the decision of an interim analysis.
fn conclusive(look: &Look, margin_percent: f64) -> String {
    let level = |alpha: f64| prony_result::words::level(1.0 - alpha);
    let inside = level(ALPHA_EQUIVALENT);
    match (look.decision.is_win(), look.within_margin) {
        (true, true) => format!(
            "the {} interval excludes zero, but the difference is less than {margin_percent} %",
            level(look.alpha)
        ),
        (true, false) => format!("the {} interval excludes zero", level(look.alpha)),
        (false, _) => format!("the {inside} interval lies inside ±{margin_percent} %"),
    }
}

/// Reason why no interim analysis has decided anything; `look` is the last one, with an interval
/// or not.
fn inconclusive(
    look: Option<Look>,
    has_interval: bool,
    design: StudyDesign,
    family: Family,
) -> String {
    let judge = family.judge(look.map_or(ALPHA / family.comparisons as f64, |it| it.alpha));
    let done = look.map_or(0, |look| look.cycles);
    match judge.first_look() {
        None => format!(
            "{} planned cannot decide {}: plan more",
            match design.cycles {
                1 => "the cycle",
                _ => "the cycles",
            },
            match family.comparisons {
                1 => "anything".to_owned(),
                several => format!("among {several} comparisons"),
            }
        ),
        Some(first) if done < first => {
            if family.is_open() {
                format!("the first cycle that can decide anything is the {first}th")
            } else {
                format!(
                    "of {} planned cycles the first that can decide anything is the {first}th",
                    design.cycles
                )
            }
        }
        Some(_) if look.is_some_and(|it| it.decision == Decision::Continue) => {
            "the run ended before anything was decided".to_owned()
        }
        Some(_) => prony_result::words::undecided(has_interval).to_owned(),
    }
}

/// Warnings about the machine during the run.
fn drift(baseline: Arm<'_>, candidate: Arm<'_>) -> Vec<Warning> {
    let mut points = warnings::per_cycle(&requests(baseline, candidate));
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let found = [
        warnings::thermal_ramp(&points),
        warnings::throttle_step(&points),
    ];
    found.into_iter().flatten().collect()
}

/// The requests that succeeded, first those of the baseline.
fn requests(baseline: Arm<'_>, candidate: Arm<'_>) -> Vec<warnings::Request> {
    let mut questions = BTreeMap::<Question, usize>::new();
    let mut requests = Vec::new();
    for (engine, arm) in [baseline, candidate].into_iter().enumerate() {
        for record in arm.good().filter(|record| record.latency_ns() > 0) {
            let next = questions.len();
            let question = *questions.entry(record.question()).or_insert(next);
            requests.push(warnings::Request {
                engine,
                question,
                cycle: record.cycle,
                at_s: record.sent_ns as f64 / 1e9,
                latency_s: record.latency_ns() as f64 / 1e9,
            });
        }
    }
    requests
}

fn outliers_of(baseline: Arm<'_>, candidate: Arm<'_>) -> Vec<Outliers> {
    let requests = requests(baseline, candidate);
    let residuals = residuals(&requests);
    let of = |(engine, arm): (usize, Arm<'_>)| {
        let own = requests.iter().zip(&residuals);
        let own: Vec<f64> = own
            .filter(|(request, _)| request.engine == engine)
            .map(|(_, residual)| *residual)
            .collect();
        let statistics::warnings::Outliers { mild, far } = outliers(&own);
        Outliers {
            engine: arm.name.to_owned(),
            mild: mild as u64,
            far: far as u64,
        }
    };
    [baseline, candidate]
        .into_iter()
        .enumerate()
        .map(of)
        .collect()
}

/// The p value of one engine failing more often; `None` where none failed.
fn errors(baseline: Arm<'_>, candidate: Arm<'_>) -> Option<f64> {
    let outcome = |arm: Arm<'_>| -> BTreeMap<(u32, u32), bool> {
        let outcomes = arm.facts().iter();
        outcomes.map(|it| (it.cycle_and_index(), it.ok())).collect()
    };
    let (a, b) = (outcome(baseline), outcome(candidate));
    let (mut only_baseline, mut only_candidate, mut any) = (0, 0, false);
    for (place, a) in &a {
        match (a, b.get(place)) {
            (false, Some(true)) => only_baseline += 1,
            (true, Some(false)) => only_candidate += 1,
            (false, Some(false)) => any = true,
            _ => {}
        }
    }
    (any || only_baseline + only_candidate > 0).then(|| mcnemar(only_baseline, only_candidate))
}

/// From the start of one cycle to that of the next, the median, in seconds.
fn cycle_s(baseline: Arm<'_>, candidate: Arm<'_>) -> Option<f64> {
    let mut starts = BTreeMap::<u32, u64>::new();
    for record in baseline.facts().iter().chain(candidate.facts()) {
        let sent = record.sent_ns;
        let start = starts.entry(record.cycle).or_insert(sent);
        *start = sent.min(*start);
    }
    let starts: Vec<(u32, u64)> = starts.into_iter().collect();
    let next = starts.windows(2).filter(|it| it[1].0 == it[0].0 + 1);
    let times: Vec<f64> = next
        .map(|it| it[1].1.saturating_sub(it[0].1) as f64 / 1e9)
        .collect();
    (!times.is_empty()).then(|| median(&times))
}

fn in_percent(interval: statistics::Interval) -> Interval {
    Interval {
        low_percent: to_percent(interval.low),
        high_percent: to_percent(interval.high),
        level: interval.level,
    }
}
