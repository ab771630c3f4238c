//! The verdict after every cycle, and when to stop.
//!
//! A run is looked at after each cycle and stops with the first verdict. The interval
//! shown is the repeated confidence interval of Jennison & Turnbull (1989): the
//! signed-rank interval with the critical value of the look, valid at all looks
//! together, also for a run that is broken off.

use super::boundaries::Boundaries;
use super::signed_rank::{Interval, SignedRank};
use prony_result::to_log_ratio;
use serde::{Deserialize, Serialize};

/// Two-sided error of `faster` and `slower` over all looks. One point below the
/// promised 5 %, so that what the theory leaves out has room.
pub const ALPHA: f64 = 0.04;
/// Two-sided error of the interval that must lie inside the margin for `equivalent`:
/// two one-sided tests at 5 % (Schuirmann 1987).
pub const ALPHA_EQUIVALENT: f64 = 0.1;
/// Most cycles when each visit loads its engine.
pub const MAX_CYCLES_RELOAD: usize = 40;

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
    /// The run ends after so many cycles.
    pub max_cycles: usize,
}

impl Rule {
    /// With the usual errors, for a margin in percent.
    pub fn new(margin_percent: f64, max_cycles: usize) -> Self {
        Self {
            margin: to_log_ratio(margin_percent),
            alpha: ALPHA,
            alpha_equivalent: ALPHA_EQUIVALENT,
            max_cycles,
        }
    }
}

/// Decision of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The candidate is faster: the interval lies above zero.
    Faster,
    /// The candidate is slower: the interval lies below zero.
    Slower,
    /// The interval for equivalence lies inside the margin.
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
    /// Hodges-Lehmann estimate of the log ratio. After an early stop it is biased away
    /// from zero, so the interval is what to show first.
    pub estimate: f64,
    /// Interval of the log ratio at level `1 - alpha`; `None` where so few cycles give
    /// none.
    pub interval: Option<Interval>,
    /// Interval at level `1 - alpha_equivalent`.
    pub interval_equivalent: Option<Interval>,
    /// `true` if `interval_equivalent` lies inside the margin: of a winner, that the
    /// difference is real and too small to count.
    pub within_margin: bool,
}

/// A [`Rule`] with its critical values.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequential {
    rule: Rule,
    win: Boundaries,
    equivalent: Boundaries,
}

impl Sequential {
    /// Looks up the critical values, or simulates those that are not in the table.
    pub fn new(rule: Rule) -> Self {
        Self {
            rule,
            win: Boundaries::new(rule.max_cycles, rule.alpha),
            equivalent: Boundaries::new(rule.max_cycles, rule.alpha_equivalent),
        }
    }

    /// The rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The first look that can decide something, if one can.
    pub fn first_look(&self) -> Option<usize> {
        [self.win.first(), self.equivalent.first()]
            .into_iter()
            .flatten()
            .min()
    }

    /// One look at the log ratios `d` of all cycles so far, whatever earlier looks said;
    /// `None` without cycles. Those beyond `max_cycles` are not looked at.
    pub fn look(&self, d: &[f64]) -> Option<Look> {
        let d = &d[..d.len().min(self.rule.max_cycles)];
        let ranks = SignedRank::new(d)?;
        let interval = |boundaries: &Boundaries, alpha: f64| {
            let (low, high) = ranks.order_statistics(boundaries.critical(d.len())?)?;
            let level = 1.0 - alpha;
            Some(Interval { low, high, level })
        };
        let win = interval(&self.win, self.rule.alpha);
        let equivalent = interval(&self.equivalent, self.rule.alpha_equivalent);
        let margin = self.rule.margin;
        let within_margin = equivalent.is_some_and(|it| -margin < it.low && it.high < margin);
        // Strict everywhere: an average of exactly zero supports no winner.
        let decision = match win {
            Some(interval) if interval.low > 0.0 => Decision::Faster,
            Some(interval) if interval.high < 0.0 => Decision::Slower,
            _ if within_margin => Decision::Equivalent,
            _ if d.len() < self.rule.max_cycles => Decision::Continue,
            _ => Decision::Inconclusive,
        };
        Some(Look {
            cycles: d.len(),
            decision,
            alpha: self.rule.alpha,
            estimate: ranks.estimate(),
            interval: win,
            interval_equivalent: equivalent,
            within_margin,
        })
    }

    /// The first look that decides something, or the last one; `None` without cycles.
    ///
    /// A verdict holds although later cycles would say otherwise, so a run gets the
    /// same verdict whether it stopped there or went on.
    pub fn judge(&self, d: &[f64]) -> Option<Look> {
        let looks = (1..=d.len()).filter_map(|n| self.look(&d[..n]));
        let mut last = None;
        for look in looks {
            last = Some(look);
            if look.decision != Decision::Continue {
                break;
            }
        }
        last
    }
}
