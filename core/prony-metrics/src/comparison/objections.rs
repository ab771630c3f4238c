//! Objections to the decision of a look.

use super::{Bound, Ratios};
use crate::statistics::level::{Carried, CarryOver, Level, SlowRequests, slow_requests};
use crate::statistics::predecessor::{self, Before};
use crate::statistics::{self, Decision, Evidence, LogRatios, Look, Sequential, orders};
use prony_result::{TestStatistic, to_percent};

/// Intervals of a look, and what speaks against its decision.
pub(super) struct Objections {
    pub(super) interval: Option<statistics::Interval>,
    pub(super) interval_equivalent: Option<statistics::Interval>,
    /// Reason why a difference may be something else than speed, in words.
    pub(super) unexplained: Option<String>,
    pub(super) slow: Option<SlowRequests>,
    /// Estimate of the totals.
    total: Option<f64>,
    /// Decision by the totals.
    of_total: Option<Decision>,
    /// `true` if they speak against the look.
    against: bool,
    pub(super) carried_over: Option<Carried>,
    /// `true` if carry-over that is not taken out shows.
    pub(super) leaves_behind: bool,
}

impl Objections {
    pub(super) fn new(
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

    /// Carry-over that is large enough to be told.
    pub(super) fn told_carry_over(&self) -> Option<Carried> {
        self.carried_over.filter(|it| it.is_told())
    }

    /// Widens the interval by what lengths may explain, and says so if the decision would be
    /// another one.
    fn bound(&mut self, judge: &Sequential, numbers: &Ratios, look: Look) {
        let [slowest, fastest] = [Bound::Slowest, Bound::Fastest].map(|bound| {
            let evidence = numbers.evidence(bound);
            let evidence = evidence.as_ref();
            let found = judge.judge(evidence);
            let equivalent = found.filter(|it| it.within_margin);
            (
                found.map(|it| it.decision),
                found.and_then(|it| judge.interval(evidence, &it)),
                equivalent.and_then(|it| judge.interval_equivalent(evidence, &it)),
            )
        });
        let holds = |found: Option<Decision>| found == Some(look.decision);
        if look.decision.is_conclusive() && !(holds(slowest.0) && holds(fastest.0)) {
            self.unexplained = Some(
                "not the same work: the lengths of the answers may explain the difference"
                    .to_owned(),
            );
        }
        self.interval = across(slowest.1, fastest.1);
        self.interval_equivalent = across(slowest.2, fastest.2);
    }

    /// Reason why a winner holds for the typical request only, in words: the total throughput
    /// points the other way, or does not confirm it while the winner has more slow requests.
    pub(super) fn typical_only(
        &self,
        decision: Decision,
        baseline: &str,
        candidate: &str,
    ) -> Option<String> {
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

/// From the lower end of one interval to the upper end of another.
pub(super) fn across(
    low: Option<statistics::Interval>,
    high: Option<statistics::Interval>,
) -> Option<statistics::Interval> {
    let (low, high) = low.zip(high)?;
    Some(statistics::Interval {
        high: high.high,
        ..low
    })
}

/// Reason where carry-over may be the whole difference.
const LEFT_BEHIND: &str = "what one engine leaves behind for the next visit may explain the difference: put a pause between visits";

/// The test of a decision against what engines leave behind.
#[derive(Clone, Copy)]
pub(super) struct PredecessorTest<'a> {
    pub(super) numbers: &'a Ratios,
    /// A log ratio.
    pub(super) margin: f64,
    pub(super) is_due: bool,
}

impl PredecessorTest<'_> {
    /// Returns `true` if carry-over does not explain the look at a series, of which `cycles`
    /// are the numbers of its cycles.
    pub(super) fn is_withstood(
        &self,
        evidence: &dyn Evidence,
        cycles: &[u32],
        look: &Look,
    ) -> bool {
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
