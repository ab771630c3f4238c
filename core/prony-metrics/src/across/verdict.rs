//! The verdict on two results, by how they were measured.

use super::side::Side;
use super::{Basis, MetricPair, Options, Pair, Unlike, metrics, same_run, to_percent};
use crate::statistics::sequential::{ALPHA, ALPHA_EQUIVALENT, Decision, Rule, Sequential};
use crate::statistics::shift::Shift;
use crate::statistics::{Evidence as _, LogRatios};
use prony_result::{
    Comparison, CycleResult, Interval, Verdict, to_log_ratio,
    words::{Finding, count, undecided},
};
use std::collections::BTreeMap;

impl<'a> Side<'a> {
    pub(super) fn against(&self, other: &Self, of_runs: &[Unlike], options: &Options) -> Pair {
        let differences = self.differences(other);
        let margin_percent = options.margin_percent.unwrap_or_else(|| {
            let comparisons = [self.group, other.group].into_iter();
            let mut comparisons = comparisons.flat_map(|group| &group.comparisons);
            comparisons.next().map_or(2.0, |it| it.margin_percent)
        });
        let forbidden = of_runs.iter().chain(&differences).find(|it| it.forbids);
        let obstacle = forbidden
            .map(|it| format!("not the same {}", it.what))
            .or_else(|| self.obstacle("base"))
            .or_else(|| other.obstacle("candidate"))
            .or_else(|| self.lengths(other));
        let basis = if forbidden.is_some() {
            Basis::Descriptive
        } else if self.is_interleaved(other, options.offset_s) {
            Basis::Paired
        } else if options.assume_stable {
            Basis::TwoSamples
        } else {
            Basis::Descriptive
        };
        let found = match basis {
            Basis::Paired => self.paired(other, margin_percent),
            Basis::TwoSamples => self.two_samples(other, margin_percent),
            Basis::Descriptive => Found::default(),
        };
        // The run's own verdict on the two stands.
        if let Some(said) = self
            .said(other)
            .filter(|it| (it.margin_percent - margin_percent).abs() < 1e-9)
        {
            return Pair {
                label: self.group.label(),
                base_engine: said.baseline.clone(),
                candidate_engine: said.candidate.clone(),
                differences,
                metrics: self.metrics(other),
                basis: Basis::Paired,
                verdict: Some(said.verdict),
                reason: said.reason.clone(),
                sentence: said.sentence(),
                difference_percent: said.difference_percent,
                interval: said.interval,
                margin_percent,
                cycles: [said.cycles, said.cycles],
                regression: said.verdict == Verdict::Slower && !said.within_margin,
            };
        }
        let (verdict, reason) = match (basis, obstacle) {
            (Basis::Descriptive, Some(obstacle)) => (None, obstacle),
            (Basis::Descriptive, None) => (None, "sequential runs: descriptive only".to_owned()),
            (_, Some(obstacle)) => (Some(Verdict::Inconclusive), obstacle),
            (_, None) => (Some(found.verdict), found.reason(margin_percent)),
        };
        let interval = found.interval.map(|interval| Interval {
            low_percent: to_percent(interval.low),
            high_percent: to_percent(interval.high),
            level: interval.level,
        });
        let cycles = [self, other].map(|side| side.throughputs().len() as u32);
        let difference_percent = found.estimate.map(to_percent);
        let (base_engine, candidate_engine) = (&self.engine.engine, &other.engine.engine);
        let (of_base, of_candidate) = if base_engine == candidate_engine {
            ("the base", "the candidate")
        } else {
            (base_engine.as_str(), candidate_engine.as_str())
        };
        let finding = |verdict| Finding {
            baseline: of_base,
            candidate: of_candidate,
            verdict,
            difference_percent,
            interval,
            margin_percent,
            within_margin: found.within_margin,
            scope: None,
            basis: Some(match (basis, cycles) {
                (Basis::Paired, [one, two]) => count(one.min(two).into(), "cycle"),
                (_, [one, two]) => format!("{one} and {}", count(two.into(), "cycle")),
            }),
            remarks: Vec::new(),
            reason: Some(reason.clone()),
        };
        let sentence = verdict.map_or_else(|| reason.clone(), |it| finding(it).sentence());
        Pair {
            label: self.group.label(),
            base_engine: base_engine.clone(),
            candidate_engine: candidate_engine.clone(),
            differences,
            metrics: self.metrics(other),
            basis,
            verdict,
            reason,
            sentence,
            difference_percent,
            interval,
            margin_percent,
            cycles,
            regression: verdict == Some(Verdict::Slower) && !found.within_margin,
        }
    }

    /// The numbers of both; without their differences if one is of a run that is not valid.
    fn metrics(&self, other: &Self) -> Vec<MetricPair> {
        let are_valid = [self, other].iter().all(|it| it.run.invalid.is_empty());
        metrics(self.engine, other.engine, are_valid)
    }

    /// The comparison of the two in their run, if both are of one run that has it.
    fn said(&self, other: &Self) -> Option<&'a Comparison> {
        let is_it = |it: &&Comparison| {
            it.baseline == self.engine.engine && it.candidate == other.engine.engine
        };
        let found = self.group.comparisons.iter().find(is_it);
        found.filter(|_| same_run(self.run, other.run))
    }

    /// Returns `true` if the cycles of both were measured in turn, one at a time, and in
    /// both orders.
    fn is_interleaved(&self, other: &Self, offset_s: Option<f64>) -> bool {
        if same_run(self.run, other.run) {
            return self.run.run.order == "interleaved";
        }
        let Some(offset_s) = offset_s else {
            return false;
        };
        let by_cycle = |side: &Self| -> BTreeMap<u32, CycleResult> {
            let cycles = side.engine.by_cycle.iter().cloned();
            cycles.map(|it| (it.cycle, it)).collect()
        };
        let (base, candidate) = (by_cycle(self), by_cycle(other));
        let mut end = f64::NEG_INFINITY;
        let (mut base_first, mut candidate_first) = (false, false);
        for (cycle, one) in &base {
            let Some(two) = candidate.get(cycle) else {
                // From a run that was cut short.
                continue;
            };
            let (start, stop) = (two.start_s + offset_s, two.end_s + offset_s);
            if one.start_s.min(start) < end {
                return false;
            }
            if one.end_s <= start {
                base_first = true;
            } else if stop <= one.start_s {
                candidate_first = true;
            } else {
                return false;
            }
            end = one.end_s.max(stop);
        }
        base_first && candidate_first
    }

    fn paired(&self, other: &Self, margin_percent: f64) -> Found {
        let (base, candidate) = (self.throughputs(), other.throughputs());
        let ratios = base
            .iter()
            .filter_map(|(cycle, one)| Some((candidate.get(cycle)? / one).ln()));
        let ratios = LogRatios(ratios.collect());
        let planned = (self.run.run.cycles as usize).max(ratios.cycles());
        let rule = Sequential::new(Rule::new(margin_percent, planned));
        let Some(look) = rule.judge(&ratios) else {
            return Found::default();
        };
        Found {
            verdict: match look.decision {
                Decision::Faster => Verdict::Faster,
                Decision::Slower => Verdict::Slower,
                Decision::Equivalent => Verdict::Equivalent,
                Decision::Continue | Decision::Inconclusive => Verdict::Inconclusive,
            },
            estimate: Some(look.estimate),
            interval: rule.deciding_interval(&ratios, &look),
            within_margin: look.within_margin,
        }
    }

    fn two_samples(&self, other: &Self, margin_percent: f64) -> Found {
        let logs = |side: &Self| -> Vec<f64> {
            let rates = side.throughputs().into_values();
            rates.map(f64::ln).collect()
        };
        let Some(shift) = Shift::new(&logs(self), &logs(other)) else {
            return Found::default();
        };
        let margin = to_log_ratio(margin_percent);
        let equivalent = shift.interval(ALPHA_EQUIVALENT);
        let within_margin = equivalent.is_some_and(|it| -margin < it.low && it.high < margin);
        let interval = shift.interval(ALPHA);
        let verdict = match interval {
            Some(interval) if interval.low > 0.0 => Verdict::Faster,
            Some(interval) if interval.high < 0.0 => Verdict::Slower,
            Some(_) if within_margin => Verdict::Equivalent,
            _ => Verdict::Inconclusive,
        };
        Found {
            verdict,
            estimate: Some(shift.estimate()),
            interval: if verdict == Verdict::Equivalent {
                equivalent
            } else {
                interval
            },
            within_margin,
        }
    }
}

/// Result of a test, in log ratios.
struct Found {
    verdict: Verdict,
    estimate: Option<f64>,
    interval: Option<crate::statistics::Interval>,
    /// `true` if the interval for equivalence lies inside the margin.
    within_margin: bool,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            verdict: Verdict::Inconclusive,
            estimate: None,
            interval: None,
            within_margin: false,
        }
    }
}

impl Found {
    fn reason(&self, margin_percent: f64) -> String {
        match self.verdict {
            Verdict::Faster | Verdict::Slower if self.within_margin => format!(
                "the interval excludes zero, but the difference is less than {margin_percent} %"
            ),
            Verdict::Faster | Verdict::Slower => "the interval excludes zero".to_owned(),
            Verdict::Equivalent => {
                format!("the 90 % interval lies inside ±{margin_percent} %")
            }
            Verdict::Inconclusive => undecided(self.interval.is_some()).to_owned(),
        }
    }
}
