//! The verdict after every cycle, and when to stop.
//!
//! A run is looked at after each cycle and stops with the first verdict. A winner is named
//! when equal engines are rejected, `equivalent` when both ends of the margin are, each by a
//! test of its own ([`super::orders`]). The interval holds the advantages that no look has
//! rejected: valid at all looks together, also for a run that is broken off (the repeated
//! confidence interval of Jennison & Turnbull 1989).
//!
//! An open run has no last cycle. Its tests are bets on the coins ([`super::bets`]), of which
//! everything said here is true, too: also for a run to which cycles are added.

use super::bets::{self, EValue, e_values};
use super::evidence::Evidence;
use super::orders::{self, FIRST_LOOK, MAX_CYCLES, Tail, Test};
use super::standard_deviation;
pub use prony_result::rule::{ALPHA, ALPHA_EQUIVALENT};
use prony_result::to_log_ratio;
use serde::{Deserialize, Serialize};

/// Most cycles when each visit loads its engine.
pub const MAX_CYCLES_RELOAD: usize = 60;

/// Settings fixed before the first cycle. Changing them after having seen data makes
/// the error rates void, `max_cycles` above all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Differences below this count as none, as a log ratio: `ln 1.02` for 2 %.
    pub margin: f64,
    /// Two-sided error of `faster` and `slower`, over all looks.
    pub alpha: f64,
    /// Two-sided error of the interval for `equivalent`, over all looks.
    pub alpha_equivalent: f64,
    /// Cycles after which the run ends.
    pub max_cycles: usize,
    /// `true` if cycles may be added at any time: the tests are bets, and do not know
    /// `max_cycles`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
}

impl Rule {
    /// With the usual errors, for a margin in percent. More cycles than there are coins of the
    /// code for are an open run.
    pub fn new(margin_percent: f64, max_cycles: usize) -> Self {
        Self {
            margin: to_log_ratio(margin_percent),
            alpha: ALPHA,
            alpha_equivalent: ALPHA_EQUIVALENT,
            max_cycles,
            open: max_cycles > MAX_CYCLES,
        }
    }
}

/// Decision of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The candidate is faster: equal engines are rejected, and its score is above zero.
    Faster,
    /// The candidate is slower.
    Slower,
    /// Both ends of the margin are rejected.
    Equivalent,
    /// Not yet; another cycle may tell.
    Continue,
    /// All cycles are spent and nothing was decided.
    Inconclusive,
}

impl Decision {
    /// Returns `true` if it names a winner.
    pub fn is_win(self) -> bool {
        matches!(self, Self::Faster | Self::Slower)
    }

    /// Returns `true` if it says something about the engines.
    pub fn is_conclusive(self) -> bool {
        self.is_win() || self == Self::Equivalent
    }
}

/// State of a test after some cycles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Cycles that it rests on.
    pub cycles: usize,
    /// The decision.
    pub decision: Decision,
    /// Two-sided error of `faster` and `slower`, over all looks.
    pub alpha: f64,
    /// Estimate of the log ratio. After an early stop it is biased away from zero, so the
    /// interval is what to show first.
    pub estimate: f64,
    /// `true` if both ends of the margin are rejected: of a winner, that the difference is
    /// real and too small to count.
    pub within_margin: bool,
}

/// An interval of a log ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The confidence level; it attains at least that.
    pub level: f64,
}

/// A [`Rule`] at work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sequential {
    rule: Rule,
}

impl Sequential {
    /// By a rule.
    pub fn new(rule: Rule) -> Self {
        Self { rule }
    }

    /// The rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The first look that can decide something, if one can.
    pub fn first_look(&self) -> Option<usize> {
        let Rule {
            max_cycles,
            alpha,
            alpha_equivalent,
            open,
            ..
        } = self.rule;
        if open {
            let win = bets::first_look(alpha, Tail::Both);
            let equivalent = bets::first_look(alpha_equivalent / 2.0, Tail::Faster);
            return Some(win.min(equivalent));
        }
        let win = orders::first_look(max_cycles, alpha, Tail::Both);
        let equivalent = orders::first_look(max_cycles, alpha_equivalent / 2.0, Tail::Faster);
        [win, equivalent].into_iter().flatten().min()
    }

    /// The first look that decides something, or the last one; `None` without cycles.
    /// Cycles beyond `max_cycles` are not looked at.
    ///
    /// A verdict holds although later cycles would say otherwise, so a run gets the
    /// same verdict whether it stopped there or went on.
    pub fn judge(&self, evidence: &dyn Evidence) -> Option<Look> {
        let Rule { margin, alpha, .. } = self.rule;
        if self.rule.open {
            return self.judge_open(evidence);
        }
        let last = evidence.cycles().min(self.rule.max_cycles);
        let mut equal = self.test(alpha, Tail::Both);
        let side = self.rule.alpha_equivalent / 2.0;
        let mut ends = [
            (-margin, self.test(side, Tail::Faster), false),
            (margin, self.test(side, Tail::Slower), false),
        ];
        let mut decision = Decision::Continue;
        let mut cycles = last;
        for n in FIRST_LOOK..=last {
            let signed = evidence.signed(n, 0.0);
            if equal.look(&signed) {
                let is_faster = signed.iter().sum::<f64>() > 0.0;
                decision = if is_faster {
                    Decision::Faster
                } else {
                    Decision::Slower
                };
            }
            for (end, test, rejected) in &mut ends {
                *rejected = *rejected || test.look(&evidence.signed(n, *end));
            }
            if decision == Decision::Continue && ends.iter().all(|it| it.2) {
                decision = Decision::Equivalent;
            }
            if decision != Decision::Continue {
                cycles = n;
                break;
            }
        }
        if decision == Decision::Continue && last == self.rule.max_cycles {
            decision = Decision::Inconclusive;
        }
        Some(Look {
            cycles,
            decision,
            alpha,
            estimate: evidence.estimate(cycles)?,
            within_margin: ends.iter().all(|it| it.2),
        })
    }

    /// The same by bets.
    fn judge_open(&self, evidence: &dyn Evidence) -> Option<Look> {
        let Rule { margin, alpha, .. } = self.rule;
        let last = evidence.cycles().min(self.rule.max_cycles);
        let side = self.rule.alpha_equivalent / 2.0;
        let win = Self::crossing(evidence, last, 0.0, Tail::Both, alpha);
        let ends = [
            Self::crossing(evidence, last, -margin, Tail::Faster, side),
            Self::crossing(evidence, last, margin, Tail::Slower, side),
        ];
        let both = |ends: [Option<(usize, EValue)>; 2]| Some(ends[0]?.0.max(ends[1]?.0));
        let equivalent = both(ends);
        let (decision, cycles) = match (win, equivalent) {
            (Some((n, e)), _) if equivalent.is_none_or(|equivalent| n <= equivalent) => {
                if e.faster > e.slower {
                    (Decision::Faster, n)
                } else {
                    (Decision::Slower, n)
                }
            }
            (_, Some(n)) => (Decision::Equivalent, n),
            _ if last == self.rule.max_cycles => (Decision::Inconclusive, last),
            _ => (Decision::Continue, last),
        };
        Some(Look {
            cycles,
            decision,
            alpha,
            estimate: evidence.estimate(cycles)?,
            within_margin: equivalent.is_some_and(|it| it <= cycles),
        })
    }

    /// The number of the first `last` cycles after which bets reject an `advantage`, and the
    /// e-value that does.
    fn crossing(
        evidence: &dyn Evidence,
        last: usize,
        advantage: f64,
        tail: Tail,
        error: f64,
    ) -> Option<(usize, EValue)> {
        let lag = evidence.lag();
        let values = e_values(&evidence.frozen(advantage)).into_iter();
        (FIRST_LOOK + lag..=last)
            .zip(values)
            .find(|(_, value)| value.against(tail) >= 1.0 / error)
    }

    /// Returns `true` if a look's decision and its estimate say the same. A score that is zero
    /// at several advantages can make them differ; then neither is to be believed.
    pub fn agrees(&self, look: &Look) -> bool {
        match look.decision {
            Decision::Faster => look.estimate > 0.0,
            Decision::Slower => look.estimate < 0.0,
            Decision::Equivalent => look.estimate.abs() < self.rule.margin,
            Decision::Continue | Decision::Inconclusive => true,
        }
    }

    /// Interval of a look at level `1 - alpha`; `None` where so few cycles give none. It
    /// excludes zero exactly if the look names a winner.
    pub fn interval(&self, evidence: &dyn Evidence, look: &Look) -> Option<Interval> {
        let known = |is: bool| is.then_some(0.0);
        self.between(
            evidence,
            look,
            self.rule.alpha,
            [
                (Tail::Both, known(look.decision == Decision::Faster)),
                (Tail::Both, known(look.decision == Decision::Slower)),
            ],
        )
    }

    /// Interval of a look at level `1 - alpha_equivalent`, from two one-sided tests. It lies
    /// inside the margin exactly if the look says so.
    pub fn interval_equivalent(&self, evidence: &dyn Evidence, look: &Look) -> Option<Interval> {
        let margin = self.rule.margin;
        let known = |end: f64| look.within_margin.then_some(end);
        self.between(
            evidence,
            look,
            self.rule.alpha_equivalent,
            [
                (Tail::Faster, known(-margin)),
                (Tail::Slower, known(margin)),
            ],
        )
    }

    /// The interval that a look's decision rests on: of an equivalence the one that lies inside
    /// the margin, else that of the difference.
    pub fn deciding_interval(&self, evidence: &dyn Evidence, look: &Look) -> Option<Interval> {
        if look.decision == Decision::Equivalent {
            self.interval_equivalent(evidence, look)
        } else {
            self.interval(evidence, look)
        }
    }

    /// The advantages between the nearest below and above the estimate that are rejected, by
    /// the tests of either end. Where one is known to be rejected, the end lies before it.
    fn between(
        &self,
        evidence: &dyn Evidence,
        look: &Look,
        alpha: f64,
        ends: [(Tail, Option<f64>); 2],
    ) -> Option<Interval> {
        /// Beyond, an end is not looked for.
        const FARTHEST: f64 = 2.0;
        const ACCURACY: f64 = 1e-4;
        let rejects = |tail: Tail, advantage: f64| {
            let error = if tail == Tail::Both {
                alpha
            } else {
                alpha / 2.0
            };
            if self.rule.open {
                return Self::crossing(evidence, look.cycles, advantage, tail, error).is_some();
            }
            let mut test = self.test(error, tail);
            (FIRST_LOOK..=look.cycles).any(|n| test.look(&evidence.signed(n, advantage)))
        };
        let middle = look.estimate;
        let end = |way: f64, (tail, known): (Tail, Option<f64>)| {
            let known = known
                .map(|known| (known - middle) * way)
                .filter(|it| *it > 0.0);
            let (mut near, mut far) = (0.0, known.unwrap_or(0.005));
            while known.is_none() && !rejects(tail, middle + way * far) {
                (near, far) = (far, 2.0 * far);
                if far > FARTHEST {
                    return None;
                }
            }
            while far - near > ACCURACY {
                let half = f64::midpoint(near, far);
                if rejects(tail, middle + way * half) {
                    far = half;
                } else {
                    near = half;
                }
            }
            Some(middle + way * far)
        };
        let (low, high) = (end(-1.0, ends[0])?, end(1.0, ends[1])?);
        // An earlier look may have rejected what all cycles say: then no advantage is left,
        // unless the cycles do not differ at all.
        let is_empty = high - low <= 3.0 * ACCURACY
            && evidence
                .influences(look.cycles)
                .is_some_and(|it| it.len() > 1 && standard_deviation(&it) > 10.0 * ACCURACY);
        (!is_empty).then_some(Interval {
            low,
            high,
            level: 1.0 - alpha,
        })
    }

    fn test(&self, alpha: f64, tail: Tail) -> Test {
        Test::new(self.rule.max_cycles, alpha, tail)
    }
}
