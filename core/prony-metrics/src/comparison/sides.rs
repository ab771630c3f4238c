//! Judgements beside the verdict: prefill, decode, latencies, load time, memory, energy.

use super::objections::{PredecessorTest, across};
use super::obstacles::Obstacles;
use super::{Arm, Bound, Ratios, StudyDesign, in_percent, numbers, tail, verdict_of};
use crate::credit::Credits;
use crate::facts::Facts;
use crate::granularity::tokens_per_text;
use crate::statistics::{LogRatios, Look, Sequential};
use prony_result::{Comparison, Interval, Judgement, TailJudgement, Verdict, to_percent};

/// The judgements beside the verdict, by the same rule.
pub(super) struct Sides<'a> {
    pub(super) judge: &'a Sequential,
    pub(super) baseline: Arm<'a>,
    pub(super) candidate: Arm<'a>,
    pub(super) numbers: &'a Ratios,
    pub(super) credits: &'a Credits,
    pub(super) obstacles: &'a Obstacles,
    pub(super) carry_over: PredecessorTest<'a>,
    pub(super) design: StudyDesign,
}

/// Obstacles that forbid a judgement.
type Forbidden<'o> = [&'o Option<String>];

impl Sides<'_> {
    /// A comparison that has only its judgements.
    pub(super) fn judged(&self) -> Comparison {
        let Self {
            numbers, obstacles, ..
        } = self;
        let Obstacles {
            failures,
            tokens,
            lengths,
            ..
        } = obstacles;
        let per_token = [failures, tokens];
        let equal_work = [failures, tokens, lengths];
        let is_of_request = numbers.statistic.is_of_request();
        let medians = || self.of_all(&numbers.medians(Bound::Middle), &per_token);
        // What decodes slower than it seems is the other way round.
        let (of_baseline, of_candidate) = numbers.decode_slack;
        Comparison {
            total: self.total(&per_token).filter(|_| is_of_request),
            median: (!is_of_request).then(medians).flatten(),
            prefill: self.shown(&numbers.prefill, &[failures], numbers.prefill_slack),
            decode: self.shown(&numbers.decode, &per_token, (of_candidate, of_baseline)),
            end_to_end: self.of_cycles(&numbers.end_to_end, &equal_work),
            latency_p50: self.of_cycles(&numbers.latency_p50, &equal_work),
            latency_p90: self.of_cycles(&numbers.latency_p90, &equal_work),
            energy: match numbers.energy_withheld {
                Some(why) => Some(Judgement {
                    withheld: Some(why.to_owned()),
                    ..Judgement::default()
                }),
                None => self.of_cycles(&numbers.energy, &equal_work),
            },
            time_to_first_token: self.of_cycles(&numbers.first_token, &[failures]),
            load_time: self.of_cycles(&numbers.load_time, &[failures]),
            memory: self.of_cycles(&numbers.memory, &[failures]),
            time_to_first_token_p99: self.tail(Facts::time_to_first_token_ns, &[failures]),
            latency_p99: self.tail(|it| Some(it.latency_ns()), &equal_work),
            ..Comparison::default()
        }
    }

    /// The throughput of all requests. Lengths that may explain the verdict may explain it, too.
    fn total(&self, forbidden: &Forbidden<'_>) -> Option<Judgement> {
        let of = |bound| self.of_all(&self.numbers.totals(bound), forbidden);
        let total = of(Bound::Middle);
        if self.numbers.is_bounded() {
            within_lengths(total, [Bound::Slowest, Bound::Fastest].map(of))
        } else {
            total
        }
    }

    fn of_cycles(&self, series: &[(u32, f64)], forbidden: &Forbidden<'_>) -> Option<Judgement> {
        let evidence = LogRatios(numbers::values(series));
        let look = self.judge.judge(&evidence)?;
        let cycles: Vec<u32> = series.iter().map(|(cycle, _)| *cycle).collect();
        let trusted = self.judge.agrees(&look)
            && self.design.cycles > 1
            && forbidden.iter().all(|it| it.is_none())
            && self.carry_over.is_withstood(&evidence, &cycles, &look);
        Some(judgement(self.judge, &evidence, &look, trusted))
    }

    /// Of cycles that all have a number.
    fn of_all(&self, series: &[f64], forbidden: &Forbidden<'_>) -> Option<Judgement> {
        let cycles = self.numbers.cycles().into_iter();
        let series: Vec<_> = cycles.zip(series.iter().copied()).collect();
        self.of_cycles(&series, forbidden)
    }

    /// Of what streams may hide a part of.
    fn shown(
        &self,
        series: &[(u32, f64)],
        forbidden: &Forbidden<'_>,
        slack: (f64, f64),
    ) -> Option<Judgement> {
        let part = self.of_cycles(series, forbidden);
        let series = LogRatios(numbers::values(series));
        within_slack(part, self.judge, &series, slack, || {
            let credits = self.credits;
            coarse(
                [self.baseline, self.candidate],
                [&|it| credits.baseline(it), &|it| credits.candidate(it)],
            )
        })
    }

    fn tail(
        &self,
        time_ns: fn(&Facts) -> Option<u64>,
        forbidden: &Forbidden<'_>,
    ) -> Option<TailJudgement> {
        let trusted = self.design.cycles > 1 && forbidden.iter().all(|it| it.is_none());
        let tail = || tail::tail(self.baseline, self.candidate, self.numbers, time_ns);
        trusted.then(tail).flatten()
    }
}

/// A look as data; one that cannot be trusted keeps its numbers and decides nothing.
fn judgement(judge: &Sequential, evidence: &LogRatios, look: &Look, trusted: bool) -> Judgement {
    let decided = judge.deciding_interval(evidence, look);
    let verdict = if trusted && decided.is_some() {
        verdict_of(look.decision)
    } else {
        Verdict::Inconclusive
    };
    // An equivalence that is not trusted is none.
    let interval = if verdict == Verdict::Inconclusive {
        judge.interval(evidence, look)
    } else {
        decided
    };
    let is_early = judge.first_look().is_none_or(|first| look.cycles < first);
    let why = if is_early {
        "too few cycles"
    } else {
        "the cycles differ too much, or contradict each other"
    };
    Judgement {
        verdict,
        difference_percent: Some(to_percent(look.estimate)),
        interval: interval.map(in_percent),
        no_interval: interval.is_none().then(|| why.to_owned()),
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
        let interval = if part.verdict == Verdict::Equivalent {
            judge.interval_equivalent(&series, &look)
        } else {
            judge.interval(&series, &look)
        };
        holds.then_some(interval)
    };
    let Some((low, high)) = moved(-below).zip(moved(above)) else {
        return Some(withheld());
    };
    Some(Judgement {
        interval: across(low, high).map(in_percent),
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
