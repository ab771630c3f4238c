//! Sentences about a candidate and the baseline.

use super::{
    Flag, MISSING, about_seconds, count, level, number, one_line, optional, percent,
    percent_number, share, short_percent, signed_number, signed_percent,
};
use crate::rule::MAX_CYCLES;
use crate::{Comparison, Interval, NoiseFloor, Overall, TestStatistic, Verdict};

impl Verdict {
    /// The verdict as one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Equivalent => "equivalent",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// Finding about one quantity of two engines.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Finding<'a> {
    /// The engine that the other is compared with.
    pub baseline: &'a str,
    /// The engine compared with it.
    pub candidate: &'a str,
    /// On the candidate.
    pub verdict: Verdict,
    /// By how much the candidate is faster, in percent.
    pub difference_percent: Option<f64>,
    /// Its interval.
    pub interval: Option<Interval>,
    /// Differences up to this count as none, in percent.
    pub margin_percent: f64,
    /// `true` if the difference is less than that, of a winner.
    pub within_margin: bool,
    /// Basis, such as `11 cycles`.
    pub basis: Option<String>,
    /// Scope of the verdict, such as `in the typical request`.
    pub scope: Option<&'static str>,
    /// Reservation that belongs to the verdict, such as `but not the same work`.
    pub remarks: Vec<String>,
    /// Reason for it, without a full stop.
    pub reason: Option<String>,
}

impl Finding<'_> {
    /// As a sentence without a full stop, for example
    /// `B is 3.1 % faster than A (2.2 … 4.0 %, 96 % interval, 11 cycles)`.
    pub fn sentence(&self) -> String {
        let (candidate, baseline) = (one_line(self.candidate), one_line(self.baseline));
        let margin = short_percent(self.margin_percent);
        let mut remarks = self.remarks.clone();
        let scope = self.scope.map_or_else(String::new, |it| format!(" {it}"));
        let signed = |it: Interval| it.words(signed_number);
        let (said, interval) = match self.verdict {
            Verdict::Faster | Verdict::Slower => {
                let sign = if self.verdict == Verdict::Faster {
                    1.0
                } else {
                    -1.0
                };
                let by = self
                    .difference_percent
                    .map(|value| format!("{} ", percent(sign * value)))
                    .unwrap_or_default();
                if self.within_margin {
                    remarks.insert(0, format!("but by less than the margin of {margin}"));
                }
                let verdict = self.verdict.word();
                let of_size = |it: Interval| it.times(sign).words(percent_number);
                (
                    format!("{candidate} is {by}{verdict} than {baseline}{scope}"),
                    self.interval.map(of_size),
                )
            }
            Verdict::Equivalent => (
                format!("{candidate} and {baseline} are equivalent within ±{margin}{scope}"),
                self.interval.map(signed),
            ),
            Verdict::Inconclusive => (
                format!("{candidate} against {baseline} is inconclusive"),
                self.interval.map(signed),
            ),
        };
        let details: Vec<&str> = [&interval, &self.basis]
            .into_iter()
            .filter_map(Option::as_deref)
            .collect();
        let details = match details.as_slice() {
            [] => String::new(),
            details => format!(" ({})", details.join(", ")),
        };
        let reason = self.reason.as_deref().map(one_line).unwrap_or_default();
        let reason = match reason.trim_end_matches('.') {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        remarks.insert(0, said);
        format!("{}{details}{reason}", remarks.join(", "))
    }
}

/// Beginning of a reason where the engines did not do the same work.
const OTHER_WORK: &str = "not the same work";
/// Remark on a verdict that what engines leave behind for the next visit may have a part in.
const CARRY_OVER_KEPT: &str = "carry-over neither removed nor tested";
/// Beyond so many cycles of an open run nothing is forecast.
const MAX_OPEN_FORECAST: u32 = 1000;

impl Comparison {
    /// The finding, as a sentence without a full stop, for example
    /// `B is 3.1 % faster than A (2.2 … 4.0 %, 96 % interval, 11 cycles)`.
    pub fn sentence(&self) -> String {
        let mut finding = Finding {
            verdict: self.verdict,
            difference_percent: self.difference_percent,
            interval: self.shown_interval(),
            within_margin: self.within_margin,
            scope: self
                .statistic
                .filter(|it| it.is_of_request())
                .map(|_| "in the typical request"),
            basis: basis(self.cycles, self.degraded_cycles),
            remarks: self.common_part().into_iter().collect(),
            ..self.finding()
        };
        if let Some(withheld) = self.of_other_work() {
            finding.verdict = withheld;
            finding.within_margin = false;
            finding.remarks.push(format!("but {OTHER_WORK}"));
            let why = self.reason.trim_start_matches(OTHER_WORK);
            let why = why.trim_start_matches(": ").trim_end_matches('.');
            finding.reason = Some(format!("{why}, so no winner is named"));
        } else if self.verdict == Verdict::Inconclusive {
            let mut reasons = vec![match self.reason.trim_end_matches('.') {
                "" => "no reason given".to_owned(),
                reason => reason.to_owned(),
            }];
            reasons.extend(self.outlook());
            finding.reason = Some(reasons.join("; "));
        } else {
            finding.remarks.extend(self.differing_answers());
            let carried = self.carry_over_kept.then(|| CARRY_OVER_KEPT.to_owned());
            finding.remarks.extend(carried);
        }
        finding.sentence()
    }

    /// Parts common to all findings about the two.
    pub(super) fn finding(&self) -> Finding<'_> {
        Finding {
            baseline: &self.baseline,
            candidate: &self.candidate,
            margin_percent: self.margin_percent,
            ..Finding::default()
        }
    }

    fn has(&self, flag: Flag) -> bool {
        self.flags.iter().any(|name| name == flag.name())
    }

    /// Part of the answers that the numbers are about, if it is not all of them.
    fn common_part(&self) -> Option<String> {
        let tokens = number(self.common_tokens?);
        Some(format!(
            "on the first {tokens} tokens (mean) common to both answers"
        ))
    }

    /// The verdict that was withheld because the engines did not do the same work, and for
    /// no other reason. Answers of different length alone withhold none.
    fn of_other_work(&self) -> Option<Verdict> {
        let other_work = self.reason.starts_with(OTHER_WORK);
        let failures = self.has(Flag::LowSuccessRate) || self.has(Flag::DegradedCycles);
        if self.verdict != Verdict::Inconclusive || !other_work || failures {
            return None;
        }
        direction(self.interval?)
    }

    /// Number of answers that differ, of a verdict.
    fn differing_answers(&self) -> Option<String> {
        let same = self.same_work.as_ref()?.identical_share;
        (same < 1.0).then(|| format!("with {} of the answers differing", share(1.0 - same)))
    }

    /// Requirements for a verdict, if none fell and nothing but the numbers was in its way:
    /// `2 % would need about 24 more cycles (50 min)`.
    fn outlook(&self) -> Option<String> {
        if self.verdict != Verdict::Inconclusive || self.obstacle.is_some() {
            return None;
        }
        // More cycles do not cure slow requests.
        let is_of_request = self.statistic.is_some_and(TestStatistic::is_of_request);
        if is_of_request && self.has(Flag::OutlierSensitive) {
            return None;
        }
        let needs = self.needs_cycles?;
        let margin = short_percent(self.margin_percent);
        if self.open && needs > MAX_OPEN_FORECAST {
            return Some(format!(
                "{margin} would need more than {MAX_OPEN_FORECAST} cycles"
            ));
        }
        if self.open || needs <= MAX_CYCLES {
            let more = needs.checked_sub(self.cycles).filter(|more| *more > 0)?;
            let time = self.cycle_s.map_or_else(String::new, |cycle| {
                format!(" ({})", about_seconds(cycle * f64::from(more)))
            });
            let more = count(more.into(), "more cycle");
            return Some(format!("{margin} would need about {more}{time}"));
        }
        let shown = self.detectable_percent.map_or_else(String::new, |least| {
            format!(
                "; the cycles of this run can show differences from about {}",
                percent(least)
            )
        });
        Some(format!(
            "{margin} would need more than {MAX_CYCLES} cycles{shown}"
        ))
    }

    /// The difference with its sign, or [`MISSING`].
    pub fn difference(&self) -> String {
        optional(self.difference_percent, signed_percent)
    }

    /// The interval that the verdict rests on: of an equivalence the one that lies inside the
    /// margin, else that of the difference.
    pub fn shown_interval(&self) -> Option<Interval> {
        let of_verdict = self.interval_equivalent;
        of_verdict
            .filter(|_| self.verdict == Verdict::Equivalent)
            .or(self.interval)
    }

    /// `+2.2 … +4.0 %`, or [`MISSING`].
    pub fn range(&self) -> String {
        self.shown_interval().map_or_else(
            || MISSING.to_owned(),
            |interval| interval.range(signed_number),
        )
    }
}

/// `11 cycles`, `11 cycles, 1 left out`.
pub(super) fn basis(cycles: u32, left_out: u32) -> Option<String> {
    match (cycles, left_out) {
        (0, 0) => None,
        (used, 0) => Some(count(used.into(), "cycle")),
        (used, left_out) => Some(format!(
            "{}, {left_out} left out",
            count(used.into(), "cycle")
        )),
    }
}

/// Position of an interval that excludes zero.
pub(super) fn direction(interval: Interval) -> Option<Verdict> {
    if interval.low_percent > 0.0 {
        Some(Verdict::Faster)
    } else if interval.high_percent < 0.0 {
        Some(Verdict::Slower)
    } else {
        None
    }
}

impl Overall {
    /// The finding, as a sentence without a full stop, for example `Over 3 models, geometric
    /// mean: B +2.4 % against A (+1.1 … +3.8 %, 96 % interval)`.
    pub fn sentence(&self) -> String {
        let place: Vec<String> = [&self.cell, &self.measure]
            .into_iter()
            .flatten()
            .map(|it| one_line(it))
            .collect();
        let place = match place.as_slice() {
            [] => String::new(),
            place => format!("{}: ", place.join(" · ")),
        };
        let (candidate, baseline) = (one_line(&self.candidate), one_line(&self.baseline));
        let models = count(self.models.into(), "model");
        let Some(difference) = self.difference_percent else {
            let reason = self.reason.as_deref().map(one_line);
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            return format!(
                "{place}Over {models}, no geometric mean of {candidate} against {baseline}{reason}"
            );
        };
        let interval = self.interval.map_or_else(String::new, |interval| {
            format!(" ({})", interval.words(signed_number))
        });
        format!(
            "{place}Over {models}, geometric mean: {candidate} {} against {baseline}{interval}",
            signed_percent(difference)
        )
    }
}

impl NoiseFloor {
    /// The finding, as a sentence without a full stop, for example `A against itself
    /// differs by 1.2 % from cycle to cycle (standard deviation of 160 cycles; 1 of 20 runs
    /// named a winner), so a difference has to be about 1.5 % to be found`.
    pub fn sentence(&self) -> String {
        let found = self.detectable_percent.map_or_else(String::new, |value| {
            format!(
                ", so a difference has to be about {} to be found",
                percent(value)
            )
        });
        format!(
            "{} against itself differs by {} from cycle to cycle (standard deviation of {}; {} of {} named a winner){found}",
            one_line(&self.engine),
            percent(self.standard_deviation_percent),
            count(self.cycles.into(), "cycle"),
            self.wins,
            count(self.runs.into(), "run"),
        )
    }
}

impl Interval {
    /// Both ends, in percent.
    pub fn ends(self) -> [f64; 2] {
        [self.low_percent, self.high_percent]
    }

    pub(super) fn times(self, sign: f64) -> Self {
        if sign < 0.0 {
            Self {
                low_percent: -self.high_percent,
                high_percent: -self.low_percent,
                ..self
            }
        } else {
            self
        }
    }

    fn range(self, show: fn(f64) -> String) -> String {
        format!("{} … {} %", show(self.low_percent), show(self.high_percent))
    }

    pub(super) fn words(self, show: fn(f64) -> String) -> String {
        format!("{}, {} interval", self.range(show), level(self.level))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A comparison of B against A, with an interval in percent.
    pub(crate) fn comparison(verdict: Verdict, difference: f64, low: f64, high: f64) -> Comparison {
        Comparison {
            baseline: "A".to_owned(),
            candidate: "B".to_owned(),
            verdict,
            winner: None,
            difference_percent: Some(difference),
            interval: Some(Interval {
                low_percent: low,
                high_percent: high,
                level: 0.95,
            }),
            pooled_difference_percent: None,
            margin_percent: 2.0,
            cycles: 11,
            degraded_cycles: 0,
            cycle_log_ratios: Vec::new(),
            reason: "the interval contains 0 and exceeds ±2 %".to_owned(),
            flags: Vec::new(),
            within_margin: low > -2.0 && high < 2.0,
            ..Comparison::default()
        }
    }

    #[test]
    fn an_equivalence_shows_the_interval_that_it_rests_on() {
        let mut early = comparison(Verdict::Equivalent, 0.1, -0.3, 0.4);
        early.interval_equivalent = early
            .interval
            .take()
            .map(|it| Interval { level: 0.9, ..it });
        assert_eq!(early.range(), "-0.3 … +0.4 %");
        assert!(
            early.sentence().contains("90 % interval"),
            "{}",
            early.sentence()
        );
        // No other verdict rests on it.
        early.verdict = Verdict::Inconclusive;
        assert_eq!(early.range(), MISSING);
    }

    #[test]
    fn a_verdict_says_that_carry_over_may_have_a_part_in_it() {
        let mut kept = comparison(Verdict::Faster, 3.1, 2.2, 4.0);
        kept.carry_over_kept = true;
        let told = kept.sentence();
        assert!(
            told.starts_with("B is 3.1 % faster than A, carry-over neither removed nor tested ("),
            "{told}"
        );
        kept.verdict = Verdict::Inconclusive;
        assert!(!kept.sentence().contains("carry-over"));
    }

    #[test]
    fn verdicts_are_sentences() {
        assert_eq!(
            comparison(Verdict::Faster, 3.1, 2.2, 4.0).sentence(),
            "B is 3.1 % faster than A (2.2 … 4.0 %, 95 % interval, 11 cycles)"
        );
        assert_eq!(
            comparison(Verdict::Slower, -3.1, -4.0, -2.2).sentence(),
            "B is 3.1 % slower than A (2.2 … 4.0 %, 95 % interval, 11 cycles)"
        );
        assert_eq!(
            comparison(Verdict::Faster, 1.1, 0.04, 1.6).sentence(),
            "B is 1.1 % faster than A, but by less than the margin of 2 % (0.04 … 1.6 %, 95 % interval, 11 cycles)"
        );
        assert_eq!(
            comparison(Verdict::Equivalent, 0.2, -0.6, 1.0).sentence(),
            "B and A are equivalent within ±2 % (-0.6 … +1.0 %, 95 % interval, 11 cycles)"
        );
        assert_eq!(
            comparison(Verdict::Inconclusive, 1.0, -1.2, 3.1).sentence(),
            "B against A is inconclusive (-1.2 … +3.1 %, 95 % interval, 11 cycles): the interval contains 0 and exceeds ±2 %"
        );
        let nothing = Comparison {
            difference_percent: None,
            interval: None,
            cycles: 0,
            reason: "B failed.".to_owned(),
            ..comparison(Verdict::Inconclusive, 0.0, 0.0, 0.0)
        };
        assert_eq!(nothing.sentence(), "B against A is inconclusive: B failed");
        assert_eq!(nothing.difference(), MISSING);
        assert_eq!(nothing.range(), MISSING);
        let degraded = Comparison {
            cycles: 1,
            degraded_cycles: 2,
            ..comparison(Verdict::Faster, 3.0, 2.5, 3.5)
        };
        assert!(degraded.sentence().ends_with("1 cycle, 2 left out)"));
    }

    #[test]
    fn an_inconclusive_comparison_says_what_it_would_take() {
        let open = |needs_cycles, cycle_s| {
            let open = Comparison {
                reason: "it is open".to_owned(),
                needs_cycles,
                cycle_s,
                detectable_percent: Some(4.6),
                ..comparison(Verdict::Inconclusive, 1.0, -1.2, 3.1)
            };
            open.sentence()
        };
        let said =
            "B against A is inconclusive (-1.2 … +3.1 %, 95 % interval, 11 cycles): it is open";
        assert_eq!(
            open(Some(35), Some(125.0)),
            format!("{said}; 2 % would need about 24 more cycles (50 min)")
        );
        assert_eq!(
            open(Some(12), None),
            format!("{said}; 2 % would need about 1 more cycle")
        );
        assert_eq!(open(Some(11), Some(125.0)), said);
        assert_eq!(open(None, Some(125.0)), said);
        assert_eq!(
            open(Some(128), Some(125.0)),
            format!(
                "{said}; 2 % would need more than 127 cycles; the cycles of this run can show differences from about 4.6 %"
            )
        );
        let without_end = Comparison {
            open: true,
            needs_cycles: Some(311),
            better_requests: Some(9),
            ..comparison(Verdict::Inconclusive, 1.0, -1.2, 3.1)
        };
        let more = without_end.sentence();
        assert!(
            more.ends_with("; 2 % would need about 300 more cycles"),
            "{more}"
        );
        assert_eq!(
            without_end.judgement_sentences(),
            ["Visits of 9 requests would tell more in the same time"]
        );
        let forbidden = Comparison {
            obstacle: Some("it may not".to_owned()),
            needs_cycles: Some(35),
            ..comparison(Verdict::Inconclusive, 1.0, -1.2, 3.1)
        };
        assert!(!forbidden.sentence().contains("would need"));
        assert_eq!(
            [0.4, 40.0, 89.0, 100.0, 3000.0, 7499.0].map(about_seconds),
            ["1 s", "40 s", "89 s", "2 min", "50 min", "2 h 5 min"]
        );
    }

    #[test]
    fn other_work_stands_in_the_sentence_itself() {
        let reason =
            "not the same work: the answers to 3 of 10 questions differ in length by more than 1 %";
        let withheld = |low, high, flags: &[Flag]| Comparison {
            obstacle: Some(reason.to_owned()),
            reason: reason.to_owned(),
            flags: flags.iter().map(|it| it.name().to_owned()).collect(),
            ..comparison(Verdict::Inconclusive, -3.1, low, high)
        };
        assert_eq!(
            withheld(-4.0, -2.2, &[Flag::LengthMismatch]).sentence(),
            "B is 3.1 % slower than A, but not the same work (2.2 … 4.0 %, 95 % interval, 11 cycles): the answers to 3 of 10 questions differ in length by more than 1 %, so no winner is named"
        );
        let open = "B against A is inconclusive";
        for comparison in [
            withheld(-4.0, 2.2, &[Flag::LengthMismatch]),
            withheld(-4.0, -2.2, &[Flag::LengthMismatch, Flag::LowSuccessRate]),
            Comparison {
                reason: "the machine was restless".to_owned(),
                ..withheld(-4.0, -2.2, &[Flag::TokenMismatch])
            },
        ] {
            assert!(comparison.sentence().starts_with(open), "{comparison:?}");
        }
        let same_work = crate::SameWork {
            pairs: 10,
            identical_share: 0.6,
            first_divergence_characters_p50: Some(12.0),
            lengths_by: "engine".to_owned(),
            counted_otherwise: 0,
            baseline_output_tokens: None,
            candidate_output_tokens: None,
            questions: 5,
            questions_of_unequal_length: 0,
            largest_length_difference_percent: Some(0.0),
            largest_prompt_difference_tokens: None,
        };
        let other_answers = Comparison {
            same_work: Some(same_work),
            ..comparison(Verdict::Faster, 3.1, 2.2, 4.0)
        };
        assert_eq!(
            other_answers.sentence(),
            "B is 3.1 % faster than A, with 40.0 % of the answers differing (2.2 … 4.0 %, 95 % interval, 11 cycles)"
        );
    }

    #[test]
    fn the_common_part_of_answers_stands_in_the_sentence() {
        let cut = |verdict, low, high| Comparison {
            common_tokens: Some(21.44),
            flags: vec![Flag::LengthMismatch.name().to_owned()],
            ..comparison(verdict, 3.1, low, high)
        };
        assert_eq!(
            cut(Verdict::Faster, 2.2, 4.0).sentence(),
            "B is 3.1 % faster than A, on the first 21.4 tokens (mean) common to both answers (2.2 … 4.0 %, 95 % interval, 11 cycles)"
        );
        assert_eq!(
            cut(Verdict::Faster, 0.2, 1.0).sentence(),
            "B is 3.1 % faster than A, but by less than the margin of 2 %, on the first 21.4 tokens (mean) common to both answers (0.2 … 1.0 %, 95 % interval, 11 cycles)"
        );
        // Lengths alone withhold no verdict, so it was withheld for another reason.
        let other = Comparison {
            reason: "the run ended before anything was decided".to_owned(),
            ..cut(Verdict::Inconclusive, 2.2, 4.0)
        };
        assert_eq!(
            other.sentence(),
            "B against A is inconclusive, on the first 21.4 tokens (mean) common to both answers (+2.2 … +4.0 %, 95 % interval, 11 cycles): the run ended before anything was decided"
        );
        let explained = Comparison {
            reason: "not the same work: the lengths can explain up to 5 %".to_owned(),
            common_tokens: None,
            ..cut(Verdict::Inconclusive, 2.2, 4.0)
        };
        assert_eq!(
            explained.sentence(),
            "B is 3.1 % faster than A, but not the same work (2.2 … 4.0 %, 95 % interval, 11 cycles): the lengths can explain up to 5 %, so no winner is named"
        );
    }

    #[test]
    fn a_mean_over_models_is_a_sentence() {
        let mean = Overall {
            baseline: "A".to_owned(),
            candidate: "B".to_owned(),
            cell: None,
            measure: None,
            models: 3,
            difference_percent: Some(2.4),
            interval: Some(Interval {
                low_percent: -0.1,
                high_percent: 3.8,
                level: 0.96,
            }),
            reason: None,
        };
        assert_eq!(
            mean.sentence(),
            "Over 3 models, geometric mean: B +2.4 % against A (-0.1 … +3.8 %, 96 % interval)"
        );
        let none = Overall {
            cell: Some("quant=q8".to_owned()),
            measure: Some("burst".to_owned()),
            difference_percent: None,
            interval: None,
            reason: Some("m: `B` was not measured".to_owned()),
            ..mean
        };
        assert_eq!(
            none.sentence(),
            "quant=q8 · burst: Over 3 models, no geometric mean of B against A: m: `B` was not measured"
        );
    }
}
