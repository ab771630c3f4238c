//! A candidate engine against the baseline.
//!
//! The unit of inference is the cycle, a fresh start of both engines: requests within one
//! start share its luck. Each cycle gives numbers ([`ratios`]); the pipeline fixes on which of
//! them a verdict rests ([`TestStatistic`]). All comparisons of a run are judged together
//! after every cycle ([`Family`]); [`compare`] withholds verdicts that the numbers do not
//! support. Method and simulations behind it: ARCHITECTURE.md, "Verdicts".

mod numbers;
mod overall;
mod tail;

pub use numbers::{Bound, Ratios, ratios};
pub use overall::{ModelComparison, overall};
use prony_result::to_percent;

use crate::account::Account;
use crate::cache;
use crate::credit::{Credits, Pairs};
use crate::facts::{Facts, Requests};
use crate::granularity::tokens_per_text;
use crate::same_work::same_work;
use crate::served;
use crate::statistics::aggregate::length_mismatch;
use crate::statistics::holm::Holm;
use crate::statistics::level::{Carried, CarryOver, Level, SlowRequests, slow_requests};
use crate::statistics::mcnemar::mcnemar;
use crate::statistics::pilot::{PILOT_CYCLES, outlook};
use crate::statistics::predecessor::{self, Before};
use crate::statistics::quantile::median;
use crate::statistics::sequential::{ALPHA, ALPHA_EQUIVALENT};
use crate::statistics::warnings::{self, Warning, outliers, residuals};
use crate::statistics::{
    self, Decision, Evidence, LogRatios, Look, Rule, Sequential, mean, orders,
};
use crate::throughput::{Visit, rate};
use prony_result::{
    Comparison, Interval, Judgement, Outliers, TestStatistic, Verdict,
    words::{Flag, count},
};
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
}

/// The comparisons of a run, judged together: every matrix point, model, `measure` stage and
/// candidate that was planned. The rule is fixed before the first cycle.
///
/// With `K` of them each is judged with the error `ALPHA / K`; once one has a winner, the
/// others are with `ALPHA / (K - 1)`, and so on (Holm). Whatever stands in the way of a
/// verdict is not asked here: it withholds the verdict, and gives the others nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Family {
    rule: Rule,
    comparisons: usize,
}

impl Family {
    /// Of `comparisons` planned comparisons, each of at most `cycles` cycles.
    pub fn new(margin_percent: f64, cycles: u32, comparisons: usize) -> Self {
        Self::by(Rule::new(margin_percent, cycles as usize), comparisons)
    }

    /// Of `comparisons` planned comparisons, judged by a rule that was fixed before the
    /// first cycle.
    pub fn by(rule: Rule, comparisons: usize) -> Self {
        Self {
            rule,
            comparisons: comparisons.max(1),
        }
    }

    /// The look of each comparison that decides it, or its last one; `None` where there
    /// is no cycle yet. There must not be more than were planned.
    pub fn looks(&self, numbers: &[Ratios]) -> Vec<Option<Look>> {
        let evidence = numbers.iter().map(|it| it.evidence(Bound::Middle));
        let evidence: Vec<Box<dyn Evidence>> = evidence.collect();
        let evidence: Vec<&dyn Evidence> = evidence.iter().map(AsRef::as_ref).collect();
        Holm::new(self.rule, self.comparisons).judge(&evidence)
    }

    /// Interval of a look.
    pub fn interval(&self, numbers: &Ratios, look: &Look) -> Option<statistics::Interval> {
        let evidence = numbers.evidence(Bound::Middle);
        self.judge(look.alpha).interval(evidence.as_ref(), look)
    }

    /// Returns `true` if cycles may be added until everything is decided.
    pub fn is_open(&self) -> bool {
        self.rule.open
    }

    /// Number of planned comparisons.
    pub fn comparisons(&self) -> usize {
        self.comparisons
    }

    /// The judge of one comparison at a two-sided error.
    fn judge(&self, alpha: f64) -> Sequential {
        let rule = self.rule;
        Sequential::new(Rule { alpha, ..rule })
    }
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
    let margin_percent = design.margin_percent;
    let pairs = pairs.of(baseline.facts(), candidate.facts());
    let credits = Credits::new(&pairs);
    let failed = failures(baseline, candidate, &credits, numbers);
    let failures = uneven(baseline, candidate)
        .or_else(|| uneven(candidate, baseline))
        .or_else(|| failed.as_ref().map(|it| it.reason.clone()));
    let tokens = tokens(baseline, candidate, &credits);
    let lengths = lengths(baseline, candidate, &credits);
    let judge = family.judge(look.map_or(ALPHA, |look| look.alpha));
    let evidence = numbers.evidence(Bound::Middle);
    let carry_over = PredecessorTest {
        numbers,
        margin: family.rule.margin,
        is_due: design.tests_carry_over,
    };
    let found = Objections::new(&judge, numbers, evidence.as_ref(), look, carry_over);
    // What else shows that the engines did not do the same work belongs here.
    let obstacle = failures
        .clone()
        .or_else(|| tokens.clone())
        .or_else(|| nothing_in_common(numbers))
        .or_else(|| single_start(design))
        .or_else(|| found.unexplained.clone());

    let decision = look.map_or(Decision::Continue, |look| look.decision);
    let typical = found.typical_only(decision, baseline.name, candidate.name);
    let (verdict, reason) = match (obstacle.clone(), look) {
        (Some(obstacle), _) => (Verdict::Inconclusive, obstacle),
        (None, Some(look)) if look.decision.is_conclusive() => match typical.clone() {
            Some(reason) => (Verdict::Inconclusive, reason),
            None => (verdict_of(look.decision), conclusive(&look, margin_percent)),
        },
        (None, _) => (Verdict::Inconclusive, inconclusive(look, design, family)),
    };
    let winner = match verdict {
        Verdict::Faster => Some(candidate.name.to_owned()),
        Verdict::Slower => Some(baseline.name.to_owned()),
        Verdict::Equivalent | Verdict::Inconclusive => None,
    };

    let of_cycles = |series: &[(u32, f64)], obstacles: &[&Option<String>]| {
        let evidence = LogRatios(numbers::values(series));
        let look = judge.judge(&evidence)?;
        let cycles: Vec<u32> = series.iter().map(|(cycle, _)| *cycle).collect();
        let trusted = judge.agrees(&look)
            && design.cycles > 1
            && obstacles.iter().all(|it| it.is_none())
            && carry_over.is_withstood(&evidence, &cycles, &look);
        Some(judgement(&judge, &evidence, &look, trusted))
    };
    // Of cycles that all have a number.
    let judged = |series: &[f64], obstacles: &[&Option<String>]| {
        let cycles = numbers.cycles().into_iter();
        let series: Vec<_> = cycles.zip(series.iter().copied()).collect();
        of_cycles(&series, obstacles)
    };
    let shown = |part: Option<Judgement>, series: &[(u32, f64)], slack: (f64, f64)| {
        let series = LogRatios(numbers::values(series));
        within_slack(part, &judge, &series, slack, || {
            coarse(
                [baseline, candidate],
                [&|it| credits.baseline(it), &|it| credits.candidate(it)],
            )
        })
    };
    let tail = |time_ns: fn(&Facts) -> Option<u64>, obstacles: &[&Option<String>]| {
        let trusted = design.cycles > 1 && obstacles.iter().all(|it| it.is_none());
        let tail = || tail::tail(baseline, candidate, numbers, time_ns);
        trusted.then(tail).flatten()
    };
    let per_token = [&failures, &tokens];
    let equal_work = [&failures, &tokens, &lengths];
    let prefill = shown(
        of_cycles(&numbers.prefill, &[&failures]),
        &numbers.prefill,
        numbers.prefill_slack,
    );
    // What decodes slower than it seems is the other way round.
    let (of_baseline, of_candidate) = numbers.decode_slack;
    let decode = shown(
        of_cycles(&numbers.decode, &per_token),
        &numbers.decode,
        (of_candidate, of_baseline),
    );
    let is_coarse = [&prefill, &decode]
        .into_iter()
        .flatten()
        .any(|part| part.withheld.is_some());

    let counts = |arm: Arm<'_>| arm.is_implausible() || arm.is_counted_otherwise();
    let miscounts = counts(baseline) || counts(candidate);
    let other_prompts = baseline.has_another_prompt() || candidate.has_another_prompt();
    let is_of_request = numbers.statistic.is_of_request();
    let totals = numbers.totals(Bound::Middle);
    let medians = numbers.medians(Bound::Middle);
    let sensitive = if is_of_request {
        typical.is_some().then_some(Warning::OutlierSensitive)
    } else {
        let of_medians = judge.judge(&LogRatios(medians.clone()));
        let of_medians = of_medians.map_or(Decision::Continue, |look| look.decision);
        warnings::outlier_sensitive(decision, of_medians)
    };
    // Lengths that may explain the verdict may explain the total, too.
    let total = judged(&totals, &per_token);
    let total = if numbers.is_bounded() {
        let bounds = [Bound::Slowest, Bound::Fastest];
        within_lengths(
            total,
            bounds.map(|it| judged(&numbers.totals(it), &per_token)),
        )
    } else {
        total
    };
    let carried = found.carried_over.filter(|it| it.is_told());
    let warnings = drift(baseline, candidate);
    let withheld = [
        lengths.is_some().then_some(Flag::LengthMismatch),
        miscounts.then_some(Flag::TokenMismatch),
        failed.and_then(|it| it.flag),
        (design.cycles == 1).then_some(Flag::SingleStart),
        [baseline, candidate]
            .iter()
            .any(|arm| {
                served::is_other(&arm.requests.words) || served::is_loaded(&arm.account.settings)
            })
            .then_some(Flag::OtherModel),
        cached_share(baseline)
            .zip(cached_share(candidate))
            .is_some_and(|(one, other)| (one - other).abs() > cache::SHARE_TOLERANCE)
            .then_some(Flag::CacheMismatch),
        other_prompts.then_some(Flag::PromptMismatch),
        is_coarse.then_some(Flag::CoarseStream),
    ];
    let warned = sensitive.into_iter().chain(warnings).map(Warning::flag);
    let flags = withheld.into_iter().flatten().chain(warned);
    let carries_over = carried.is_some() || found.leaves_behind;
    let flags = flags.chain(carries_over.then_some(Flag::CarryOver));
    let flags = flags.map(|flag| flag.name().to_owned()).collect();

    let pooled = |arm: Arm<'_>, tokens: &dyn Fn(&Facts) -> Option<u32>| {
        rate(&arm.requests.all(), arm.visits, design.concurrency, tokens)
    };
    let outlook = outlook(
        evidence.as_ref(),
        family.rule.margin,
        family.rule.max_cycles,
    );
    let looked = look.map_or(0, |look| look.cycles);
    Comparison {
        baseline: baseline.name.to_owned(),
        candidate: candidate.name.to_owned(),
        verdict,
        winner,
        statistic: Some(numbers.statistic),
        difference_percent: look.map(|look| to_percent(look.estimate)),
        interval: found.interval.map(in_percent),
        interval_equivalent: found.interval_equivalent.map(in_percent),
        within_margin: look.is_some_and(|look| look.within_margin),
        pooled_difference_percent: pooled(baseline, &|it| credits.baseline(it))
            .zip(pooled(candidate, &|it| credits.candidate(it)))
            .map(|(a, b)| to_percent((b / a).ln())),
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
        total: total.filter(|_| is_of_request),
        slow_requests_p_value: found.slow.map(|it| it.p_value),
        carry_over_percent: carried.map(|it| to_percent(it.log_ratio)),
        median: (!is_of_request)
            .then(|| judged(&medians, &per_token))
            .flatten(),
        prefill,
        decode,
        end_to_end: of_cycles(&numbers.end_to_end, &equal_work),
        latency_p50: of_cycles(&numbers.latency_p50, &equal_work),
        latency_p90: of_cycles(&numbers.latency_p90, &equal_work),
        energy: match numbers.energy_withheld {
            Some(why) => Some(Judgement {
                withheld: Some(why.to_owned()),
                ..Judgement::default()
            }),
            None => of_cycles(&numbers.energy, &equal_work),
        },
        time_to_first_token: of_cycles(&numbers.first_token, &[&failures]),
        load_time: of_cycles(&numbers.load_time, &[&failures]),
        memory: of_cycles(&numbers.memory, &[&failures]),
        time_to_first_token_p99: tail(Facts::time_to_first_token_ns, &[&failures]),
        latency_p99: tail(|it| Some(it.latency_ns()), &equal_work),
        errors_p_value: errors(baseline, candidate),
        outliers: outliers_of(baseline, candidate),
        common_tokens: is_of_request.then(|| numbers.common_tokens()).flatten(),
        cycle_log_ratios: numbers.throughputs(),
        obstacle,
        reason,
        flags,
        same_work: same_work(&pairs),
    }
}

/// Intervals of a look, and what speaks against its decision.
struct Objections {
    interval: Option<statistics::Interval>,
    interval_equivalent: Option<statistics::Interval>,
    /// Reason why a difference may be something else than speed, in words.
    unexplained: Option<String>,
    slow: Option<SlowRequests>,
    /// Estimate of the totals.
    total: Option<f64>,
    /// Decision by the totals.
    of_total: Option<Decision>,
    /// `true` if they speak against the look.
    against: bool,
    carried_over: Option<Carried>,
    /// `true` if carry-over that is not taken out shows.
    leaves_behind: bool,
}

impl Objections {
    fn new(
        judge: &Sequential,
        numbers: &Ratios,
        evidence: &dyn Evidence,
        look: Option<Look>,
        carry_over: PredecessorTest<'_>,
    ) -> Self {
        let mut found = Self {
            interval: None,
            interval_equivalent: None,
            unexplained: None,
            slow: None,
            total: None,
            of_total: None,
            against: false,
            carried_over: None,
            leaves_behind: false,
        };
        let Some(look) = look else {
            return found;
        };
        found.interval = judge.interval(evidence, &look);
        found.interval_equivalent = look
            .within_margin
            .then(|| judge.interval_equivalent(evidence, &look))
            .flatten();
        if numbers.is_bounded() {
            found.bound(judge, numbers, look);
        }
        if !judge.agrees(&look) {
            found.unexplained = Some(CONTRADICTION.to_owned());
            found.interval = None;
            found.interval_equivalent = None;
        }
        if numbers.statistic.is_of_request() {
            let visits = numbers.visits(Bound::Middle);
            found.slow = Some(slow_requests(&visits[..look.cycles]));
            let totals = LogRatios(numbers.totals(Bound::Middle));
            found.total = totals.estimate(look.cycles);
            found.of_total = judge.judge(&totals).map(|it| it.decision);
            found.against = found.total.is_some_and(|it| it * look.estimate < 0.0)
                && orders::p_value(&totals.signed(look.cycles, 0.0)) < 2.0 * OBJECTION;
        }
        if numbers.statistic == TestStatistic::Level {
            let level = Level::new(numbers.visits(Bound::Middle), CarryOver::Removed);
            found.carried_over = level.carried_over(look.cycles);
            if look.decision.is_conclusive() && !level.withstands(look.decision, look.cycles) {
                found.unexplained = Some(LEFT_BEHIND.to_owned());
            }
        } else {
            let cycles = numbers.cycles();
            found.leaves_behind = carry_over.is_told(evidence, &cycles, &look);
            if !carry_over.is_withstood(evidence, &cycles, &look) {
                found.unexplained = Some(LEFT_BEHIND.to_owned());
            }
        }
        found
    }

    /// Widens the interval by what lengths may explain, and says so if the decision would be
    /// another one.
    fn bound(&mut self, judge: &Sequential, numbers: &Ratios, look: Look) {
        let [slowest, fastest] = [Bound::Slowest, Bound::Fastest].map(|bound| {
            let evidence = numbers.evidence(bound);
            let found = judge.judge(evidence.as_ref());
            let interval = found.and_then(|it| judge.interval(evidence.as_ref(), &it));
            (found.map(|it| it.decision), interval)
        });
        let holds = |found: Option<Decision>| found == Some(look.decision);
        if look.decision.is_conclusive() && !(holds(slowest.0) && holds(fastest.0)) {
            self.unexplained = Some(
                "not the same work: the lengths of the answers may explain the difference"
                    .to_owned(),
            );
        }
        self.interval = slowest
            .1
            .zip(fastest.1)
            .map(|(low, high)| statistics::Interval {
                low: low.low,
                high: high.high,
                ..low
            });
    }

    /// Reason why a winner holds for the typical request only, in words: the total throughput
    /// points the other way, or does not confirm it while the winner has more slow requests.
    fn typical_only(&self, decision: Decision, baseline: &str, candidate: &str) -> Option<String> {
        let total = to_percent(self.total?);
        let slow = self.slow?;
        let (winner, of_winner, of_other) = match decision {
            Decision::Faster => (candidate, slow.candidate, slow.baseline),
            Decision::Slower => (baseline, slow.baseline, slow.candidate),
            _ => return None,
        };
        let is_slow = slow.p_value < OBJECTION && of_winner > of_other;
        let but = if self.against {
            "the total throughput points the other way".to_owned()
        } else if is_slow && self.of_total != Some(decision) {
            format!(
                "{:.1} % of its requests are slow, and {:.1} % of the other's",
                100.0 * of_winner,
                100.0 * of_other
            )
        } else {
            return None;
        };
        let total = prony_result::words::signed_percent(total);
        Some(format!(
            "`{winner}` is faster in the typical request, but {but}: total throughput {total}"
        ))
    }
}

/// Reason where carry-over may be the whole difference.
const LEFT_BEHIND: &str = "what one engine leaves behind for the next visit may explain the difference: put a pause between visits";

/// The test of a decision against what engines leave behind.
#[derive(Clone, Copy)]
struct PredecessorTest<'a> {
    numbers: &'a Ratios,
    /// A log ratio.
    margin: f64,
    is_due: bool,
}

impl PredecessorTest<'_> {
    /// Returns `true` if carry-over does not explain the look at a series, of which `cycles`
    /// are the numbers of its cycles.
    fn is_withstood(&self, evidence: &dyn Evidence, cycles: &[u32], look: &Look) -> bool {
        if !look.decision.is_conclusive() {
            return true;
        }
        self.of(evidence, cycles, look).is_none_or(|(own, before)| {
            predecessor::withstands(&own, &before, look.decision, self.margin)
        })
    }

    /// Returns `true` if carry-over shows in a series.
    fn is_told(&self, evidence: &dyn Evidence, cycles: &[u32], look: &Look) -> bool {
        let of_look = self.of(evidence, cycles, look);
        of_look.is_some_and(|(own, before)| predecessor::is_told(&own, &before))
    }

    /// The numbers of a look and the engines before them; `None` if no test is due.
    fn of(
        &self,
        evidence: &dyn Evidence,
        cycles: &[u32],
        look: &Look,
    ) -> Option<(Vec<f64>, Vec<Before>)> {
        let own = evidence.unweighted(look.cycles).filter(|_| self.is_due)?;
        let cycles = cycles.iter().take(look.cycles).copied();
        Some((own, self.numbers.before(cycles)))
    }
}

/// Reason where a decision and its estimate contradict each other: what one engine leaves
/// behind can make a score zero at two places.
const CONTRADICTION: &str = "its numbers contradict each other, as they do if visits after one engine look like bursts of load";

/// Below this p value an objection is raised to a winner in the typical request: two-sided for
/// slow requests, one-sided for the total throughput.
const OBJECTION: f64 = 0.1;

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

/// Reason why no interim analysis has decided anything; `look` is the last one.
fn inconclusive(look: Option<Look>, design: StudyDesign, family: Family) -> String {
    let judge = family.judge(look.map_or(ALPHA / family.comparisons as f64, |it| it.alpha));
    let done = look.map_or(0, |look| look.cycles);
    match judge.first_look() {
        None => format!(
            "{} cannot decide {}: plan more",
            count(design.cycles.into(), "cycle"),
            match family.comparisons {
                1 => "anything".to_owned(),
                several => format!("among {several} comparisons"),
            }
        ),
        Some(first) if done < first => {
            let planned = if family.is_open() {
                String::new()
            } else {
                format!("of {} planned ", design.cycles)
            };
            format!(
                "{}; {planned}the first that can decide anything is the {first}th",
                count(done as u64, "cycle")
            )
        }
        Some(_) if look.is_some_and(|it| it.decision == Decision::Continue) => {
            "the run ended before anything was decided".to_owned()
        }
        Some(_) => {
            "the interval contains both no difference and a difference that counts".to_owned()
        }
    }
}

/// A look as data; one that cannot be trusted keeps its numbers and decides nothing.
fn judgement(judge: &Sequential, evidence: &LogRatios, look: &Look, trusted: bool) -> Judgement {
    let interval = judge.interval(evidence, look);
    Judgement {
        verdict: if trusted && interval.is_some() {
            verdict_of(look.decision)
        } else {
            Verdict::Inconclusive
        },
        difference_percent: Some(to_percent(look.estimate)),
        interval: interval.map(in_percent),
        cycles: look.cycles as u32,
        withheld: None,
    }
}

/// Widens a judgement by what the streams do not show: the true log ratio may lie up to
/// `slack.0` below and up to `slack.1` above the measured one. Withholds it if the series
/// moved as far decides less.
fn within_slack(
    part: Option<Judgement>,
    judge: &Sequential,
    series: &LogRatios,
    slack: (f64, f64),
    why: impl Fn() -> String,
) -> Option<Judgement> {
    let (below, above) = slack;
    if below <= 0.0 && above <= 0.0 {
        return part;
    }
    let withheld = || Judgement {
        withheld: Some(why()),
        ..Judgement::default()
    };
    let Some(part) = part.filter(|_| below.is_finite() && above.is_finite()) else {
        return Some(withheld());
    };
    let moved = |by: f64| {
        let series = LogRatios(series.0.iter().map(|d| d + by).collect());
        let look = judge.judge(&series)?;
        let holds =
            part.verdict == Verdict::Inconclusive || verdict_of(look.decision) == part.verdict;
        holds.then(|| judge.interval(&series, &look))
    };
    let Some((low, high)) = moved(-below).zip(moved(above)) else {
        return Some(withheld());
    };
    let interval = low.zip(high).map(|(low, high)| statistics::Interval {
        high: high.high,
        ..low
    });
    Some(Judgement {
        interval: interval.map(in_percent),
        ..part
    })
}

/// Widens a judgement to what holds at both bounds of the times; withholds it if they decide
/// differently.
fn within_lengths(
    middle: Option<Judgement>,
    [slowest, fastest]: [Option<Judgement>; 2],
) -> Option<Judgement> {
    let (low, high) = slowest.zip(fastest)?;
    if low.verdict != high.verdict {
        return Some(Judgement {
            withheld: Some("the lengths of the answers may explain the difference".to_owned()),
            ..Judgement::default()
        });
    }
    let interval = low.interval.zip(high.interval);
    Some(Judgement {
        interval: interval.map(|(low, high)| Interval {
            high_percent: high.high_percent,
            ..low
        }),
        ..middle.unwrap_or(low)
    })
}

/// The tokens that an answer is credited with; `None` if they cannot be told.
type Credit<'c> = &'c dyn Fn(&Facts) -> Option<u32>;

/// The reason why the streams of two engines do not tell prefill from decoding.
fn coarse(arms: [Arm<'_>; 2], credits: [Credit<'_>; 2]) -> String {
    let mut found = Vec::new();
    for (arm, credit) in arms.into_iter().zip(credits) {
        if arm
            .good()
            .any(|it| it.hidden_tokens.is_some_and(|hidden| hidden > 0))
        {
            found.push(format!(
                "`{}` generates tokens that it does not send before those that it does",
                arm.name
            ));
            continue;
        }
        let answers: Option<Vec<_>> = arm.good().map(|it| Some((it, credit(it)?))).collect();
        let per_text = answers.as_deref().and_then(tokens_per_text);
        if let Some(per_text) = per_text.filter(|per_text| *per_text > 1.005) {
            found.push(format!(
                "`{}` sends {per_text:.1} tokens at a time and does not say how many",
                arm.name
            ));
        }
    }
    if found.is_empty() {
        "the streams do not show when tokens were generated".to_owned()
    } else {
        found.join(", and ")
    }
}

/// Answers of which no common part can be timed.
fn nothing_in_common(numbers: &Ratios) -> Option<String> {
    let withheld = numbers.withheld()?;
    let is_of_request = numbers.statistic.is_of_request();
    is_of_request.then(|| format!("not the same work: {}", withheld.reason()))
}

/// One start of each engine: whatever was found holds for these two processes.
fn single_start(design: StudyDesign) -> Option<String> {
    (design.cycles == 1).then(|| {
        "a single start of each engine: what was found is conditional on this process start"
            .to_owned()
    })
}

/// A stage that one engine went through and its `if` kept from the other: the
/// two did not do the same work.
fn uneven(measured: Arm<'_>, skipped: Arm<'_>) -> Option<String> {
    let cycles: BTreeSet<u32> = measured.facts().iter().map(|it| it.cycle).collect();
    let uneven = skipped.skipped.intersection(&cycles).count();
    (uneven > 0).then(|| {
        format!(
            "the `if` of the stage left out `{}` in {uneven} of the cycles in which `{}` was measured",
            skipped.name, measured.name
        )
    })
}

/// An obstacle to every verdict.
struct Failures {
    flag: Option<Flag>,
    reason: String,
}

/// Failures that forbid every verdict, if there are such.
fn failures(
    baseline: Arm<'_>,
    candidate: Arm<'_>,
    credits: &Credits,
    numbers: &Ratios,
) -> Option<Failures> {
    for arm in [baseline, candidate] {
        if arm.facts().is_empty() {
            return Some(Failures {
                flag: None,
                reason: format!("`{}` was not measured", arm.name),
            });
        }
        let rate = arm.success_rate();
        if rate < MIN_SUCCESS_RATE {
            return Some(Failures {
                flag: Some(Flag::LowSuccessRate),
                reason: format!(
                    "only {:.1} % of the requests to `{}` succeeded; {:.0} % are needed",
                    rate * 100.0,
                    arm.name,
                    MIN_SUCCESS_RATE * 100.0
                ),
            });
        }
    }
    // Without token counts no cycle has a number; that is told by `tokens`.
    if tokens(baseline, candidate, credits).is_some() {
        return None;
    }
    let degraded = numbers.degraded.len();
    let all = numbers.cycles().len() + degraded;
    (degraded as f64 > MAX_DEGRADED * all as f64).then(|| Failures {
        flag: Some(Flag::DegradedCycles),
        reason: format!("{degraded} of {all} cycles have a failure"),
    })
}

/// Counts of tokens that forbid every verdict that rests on them.
fn tokens(baseline: Arm<'_>, candidate: Arm<'_>, credits: &Credits) -> Option<String> {
    let of = |arm: Arm<'_>, credit: &dyn Fn(&Facts) -> Option<u32>| {
        let missing = arm.good().find(|record| credit(record).is_none())?;
        let name = arm.name;
        let why = if missing.is_withheld {
            format!("not the same work: the number of tokens that `{name}` counts cannot be right")
        } else {
            format!("`{name}` does not say how many tokens it generated")
        };
        Some(format!(
            "{why}; with a `tokenizer` of the model prony counts them itself"
        ))
    };
    let counted = |arm: Arm<'_>, credit: &dyn Fn(&Facts) -> Option<u32>| {
        // Records of before counts were looked at when they were taken.
        let mut good = arm.good();
        let is_used = |it: &Facts| !it.is_plausible && credit(it) == it.output_tokens;
        good.any(is_used).then(|| {
            format!(
                "not the same work: `{}` counts more tokens than its answers have bytes",
                arm.name
            )
        })
    };
    of(baseline, &|it| credits.baseline(it))
        .or_else(|| of(candidate, &|it| credits.candidate(it)))
        .or_else(|| counted(baseline, &|it| credits.baseline(it)))
        .or_else(|| counted(candidate, &|it| credits.candidate(it)))
}

/// Answers of different length: only times per token may be compared.
fn lengths(baseline: Arm<'_>, candidate: Arm<'_>, credits: &Credits) -> Option<String> {
    let a = baseline.lengths(|it| credits.baseline(it));
    let b = candidate.lengths(|it| credits.candidate(it));
    let both = a
        .iter()
        .filter_map(|(question, a)| Some((*a, *b.get(question)?)));
    let both: Vec<(f64, f64)> = both.collect();
    let differ = both.iter().filter(|(a, b)| length_mismatch(*a, *b)).count();
    (differ > 0).then(|| {
        format!(
            "not the same work: the answers to {differ} of {} differ in length by more than 1 %",
            count(both.len() as u64, "question")
        )
    })
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
