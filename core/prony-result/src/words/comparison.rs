//! Sentences about a candidate and the baseline.

use super::{
    Flag, MISSING, about_seconds, count, level, number, one_line, optional, percent,
    percent_number, share, short_percent, signed_number, signed_percent,
};
use crate::rule::MAX_CYCLES;
use crate::{
    Comparison, Interval, Judgement, NoiseFloor, Overall, TailJudgement, TestStatistic, Verdict,
};

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
/// Name of the judgement of tokens over latencies.
const END_TO_END: &str = "End to end";
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
    fn finding(&self) -> Finding<'_> {
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

    /// Judgements beside the verdict, by the same rule, with their names.
    fn judgements(&self) -> impl Iterator<Item = (&'static str, &Judgement)> {
        [
            ("Total throughput", &self.total),
            ("Typical request", &self.median),
            ("Prefill", &self.prefill),
            ("Decode", &self.decode),
            (END_TO_END, &self.end_to_end),
            ("TTFT", &self.time_to_first_token),
            ("Latency p50", &self.latency_p50),
            ("Latency p90", &self.latency_p90),
            ("Load time", &self.load_time),
        ]
        .into_iter()
        .filter_map(|(name, judgement)| Some((name, judgement.as_ref()?)))
    }

    /// Judgements that say nothing, by the reason: `No interval of total throughput, decode: 3
    /// cycles are too few`.
    fn silent_judgements(&self) -> Vec<String> {
        let resources = [("Memory", &self.memory), ("Energy", &self.energy)];
        let resources = resources
            .into_iter()
            .filter_map(|(name, judgement)| Some((name, judgement.as_ref()?)));
        let all = self.judgements().chain(resources);
        let mut told: Vec<(String, Vec<String>)> = Vec::new();
        for (name, judgement) in all.filter(|(_, it)| is_silent(it)) {
            // Results of before there was a reason have none.
            let why = judgement.no_interval.as_deref().map(one_line);
            let why = why.unwrap_or_else(|| "too few cycles, or too different ones".to_owned());
            let basis = count(judgement.cycles.into(), "cycle");
            let why = format!("{why} ({basis})");
            match told.iter_mut().find(|it| it.0 == why) {
                Some((_, names)) => names.push(lower(name)),
                None => told.push((why, vec![lower(name)])),
            }
        }
        let line = |(why, names): (String, Vec<String>)| {
            format!("No interval of {}: {why}", names.join(", "))
        };
        told.into_iter().map(line).collect()
    }

    /// The judgements' findings, a sentence without a full stop each, for example
    /// `Prefill: B is 3.1 % faster than A (2.2 … 4.0 %, 96 % interval, 11 cycles)`, and advice
    /// on another run.
    pub fn judgement_sentences(&self) -> Vec<String> {
        let sentence = |(name, judgement): (&str, &Judgement)| {
            if let Some(why) = &judgement.withheld {
                return format!("{name}: cannot be told: {}", one_line(why));
            }
            let withheld = judgement.verdict == Verdict::Inconclusive
                && judgement.interval.and_then(direction).is_some();
            let finding = Finding {
                verdict: judgement.verdict,
                difference_percent: judgement.difference_percent,
                interval: judgement.interval,
                basis: basis(judgement.cycles, 0),
                reason: withheld.then(|| "withheld for the reason above".to_owned()),
                ..self.finding()
            };
            format!("{name}: {}", finding.sentence())
        };
        // Of answers that are credited in full it is the total throughput once more.
        let said = |it: &Judgement| sentence(("", it));
        let is_total = |it: &Judgement| self.total.as_ref().is_some_and(|at| said(at) == said(it));
        let is_new = |(name, it): &(&'static str, &Judgement)| *name != END_TO_END || !is_total(it);
        let of_tail = |(name, tail): (&str, &TailJudgement)| {
            let cycles = count(tail.cycles.into(), "cycle");
            let p_value = match tail.p_value {
                small if small < 0.001 => "p < 0.001".to_owned(),
                p_value => format!("p = {p_value:.3}"),
            };
            let basis = format!("{p_value} by label swap, {cycles}");
            let difference = match tail.verdict {
                Verdict::Faster | Verdict::Slower => String::new(),
                _ => format!("{}, ", signed_percent(tail.difference_percent)),
            };
            let finding = Finding {
                verdict: tail.verdict,
                difference_percent: Some(tail.difference_percent),
                basis: Some(format!("{difference}{basis}")),
                ..self.finding()
            };
            format!("{name}: {}", finding.sentence())
        };
        let tails = [
            ("TTFT p99", &self.time_to_first_token_p99),
            ("Latency p99", &self.latency_p99),
        ];
        let tails = tails
            .into_iter()
            .filter_map(|(name, tail)| Some(of_tail((name, tail.as_ref()?))));
        let memory = self.memory.as_ref().and_then(|it| self.memory_sentence(it));
        let energy = self.energy.as_ref().and_then(|it| self.energy_sentence(it));
        self.judgements()
            .filter(|(_, it)| !is_silent(it))
            .filter(is_new)
            .map(sentence)
            .chain(tails)
            .chain(memory)
            .chain(energy)
            .chain(self.silent_judgements())
            .chain(self.better_requests.map(better_requests))
            .collect()
    }

    /// The energy's finding, for example
    /// `Energy: B gives 3.1 % more tokens per joule than A (2.2 … 4.0 %, 96 % interval, 11 cycles)`.
    fn energy_sentence(&self, judgement: &Judgement) -> Option<String> {
        if let Some(why) = &judgement.withheld {
            return Some(format!("Energy: cannot be told: {}", one_line(why)));
        }
        let said = self.of_resource(judgement, ["gives", "more", "fewer"], "tokens per joule")?;
        Some(format!("Energy: {said}"))
    }

    /// The memory's finding, for example
    /// `Memory: B needs 8.0 % less memory than A (7.2 … 8.9 %, 96 % interval, 11 cycles)`.
    fn memory_sentence(&self, judgement: &Judgement) -> Option<String> {
        // Of the baseline's memory over the candidate's to how much less the candidate needs.
        let less = |percent: f64| 100.0 * percent / (100.0 + percent);
        let judgement = Judgement {
            difference_percent: judgement.difference_percent.map(less),
            interval: judgement.interval.map(|it| Interval {
                low_percent: less(it.low_percent),
                high_percent: less(it.high_percent),
                ..it
            }),
            ..judgement.clone()
        };
        let said = self.of_resource(&judgement, ["needs", "less", "more"], "memory")?;
        Some(format!("Memory: {said}"))
    }

    /// A finding that is not about speed, with its verb and its words for a candidate that is
    /// better or worse.
    fn of_resource(
        &self,
        judgement: &Judgement,
        [verb, better, worse]: [&str; 3],
        unit: &str,
    ) -> Option<String> {
        let interval = judgement.interval?;
        let (candidate, baseline) = (one_line(&self.candidate), one_line(&self.baseline));
        let basis = count(judgement.cycles.into(), "cycle");
        let signed = interval.words(signed_number);
        let winner = |sign: f64, word: &str| {
            let by = judgement
                .difference_percent
                .map(|value| format!("{} ", percent(sign * value)))
                .unwrap_or_default();
            let interval = interval.times(sign).words(percent_number);
            format!("{candidate} {verb} {by}{word} {unit} than {baseline} ({interval}, {basis})")
        };
        Some(match judgement.verdict {
            Verdict::Faster => winner(1.0, better),
            Verdict::Slower => winner(-1.0, worse),
            Verdict::Equivalent => {
                let margin = short_percent(self.margin_percent);
                format!(
                    "{candidate} and {baseline} are equivalent in {unit} within ±{margin} ({signed}, {basis})"
                )
            }
            Verdict::Inconclusive => format!(
                "{candidate} against {baseline} is inconclusive in {unit} ({signed}, {basis})"
            ),
        })
    }

    /// The difference with its sign, or [`MISSING`].
    pub fn difference(&self) -> String {
        optional(self.difference_percent, signed_percent)
    }

    /// The interval that the verdict rests on: of an equivalence the one that lies inside the
    /// margin, else that of the difference.
    fn shown_interval(&self) -> Option<Interval> {
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

/// `Visits of 9 requests would tell more in the same time`.
pub fn better_requests(requests: u32) -> String {
    let requests = count(requests.into(), "request");
    format!("Visits of {requests} would tell more in the same time")
}

/// `11 cycles`, `11 cycles, 1 left out`.
fn basis(cycles: u32, left_out: u32) -> Option<String> {
    match (cycles, left_out) {
        (0, 0) => None,
        (used, 0) => Some(count(used.into(), "cycle")),
        (used, left_out) => Some(format!(
            "{}, {left_out} left out",
            count(used.into(), "cycle")
        )),
    }
}

/// `true` of a judgement without an interval and without a reason to withhold it.
fn is_silent(judgement: &Judgement) -> bool {
    judgement.interval.is_none() && judgement.withheld.is_none()
}

/// A name inside a sentence: `total throughput`, but `TTFT`.
fn lower(name: &str) -> String {
    if name.chars().all(|it| !it.is_lowercase()) {
        return name.to_owned();
    }
    let mut name = name.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    name
}

/// Position of an interval that excludes zero.
fn direction(interval: Interval) -> Option<Verdict> {
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
    fn times(self, sign: f64) -> Self {
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

    fn words(self, show: fn(f64) -> String) -> String {
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
    fn every_side_that_was_judged_has_its_sentence() {
        let interval = |low_percent, high_percent| Interval {
            low_percent,
            high_percent,
            level: 0.96,
        };
        let judged = Comparison {
            prefill: Some(Judgement {
                verdict: Verdict::Faster,
                difference_percent: Some(5.1),
                interval: Some(interval(4.0, 6.2)),
                cycles: 11,
                ..Judgement::default()
            }),
            decode: Some(Judgement {
                verdict: Verdict::Inconclusive,
                difference_percent: Some(0.4),
                interval: Some(interval(-2.1, 2.6)),
                cycles: 11,
                ..Judgement::default()
            }),
            latency_p50: Some(Judgement {
                verdict: Verdict::Inconclusive,
                difference_percent: Some(3.0),
                interval: None,
                no_interval: Some("too few cycles".to_owned()),
                cycles: 3,
                ..Judgement::default()
            }),
            end_to_end: Some(Judgement {
                verdict: Verdict::Inconclusive,
                difference_percent: Some(3.4),
                interval: Some(interval(2.1, 5.0)),
                cycles: 11,
                ..Judgement::default()
            }),
            time_to_first_token_p99: Some(TailJudgement {
                verdict: Verdict::Slower,
                difference_percent: -31.0,
                p_value: 0.0004,
                cycles: 12,
            }),
            latency_p99: Some(TailJudgement {
                verdict: Verdict::Inconclusive,
                difference_percent: 4.2,
                p_value: 0.21,
                cycles: 12,
            }),
            ..comparison(Verdict::Faster, 3.1, 2.2, 4.0)
        };
        assert_eq!(
            judged.judgement_sentences(),
            [
                "Prefill: B is 5.1 % faster than A (4.0 … 6.2 %, 96 % interval, 11 cycles)",
                "Decode: B against A is inconclusive (-2.1 … +2.6 %, 96 % interval, 11 cycles)",
                "End to end: B against A is inconclusive (+2.1 … +5.0 %, 96 % interval, 11 cycles): withheld for the reason above",
                "TTFT p99: B is 31.0 % slower than A (p < 0.001 by label swap, 12 cycles)",
                "Latency p99: B against A is inconclusive (+4.2 %, p = 0.210 by label swap, 12 cycles)",
                "No interval of latency p50: too few cycles (3 cycles)",
            ]
        );
    }

    #[test]
    fn what_is_the_total_once_more_is_told_once() {
        let part = |low| {
            Some(Judgement {
                verdict: Verdict::Faster,
                difference_percent: Some(3.1),
                interval: Some(Interval {
                    low_percent: low,
                    high_percent: 4.0,
                    level: 0.96,
                }),
                cycles: 11,
                ..Judgement::default()
            })
        };
        let told = |total, end_to_end| {
            let judged = Comparison {
                total,
                end_to_end,
                ..comparison(Verdict::Faster, 3.1, 2.2, 4.0)
            };
            judged.judgement_sentences().len()
        };
        assert_eq!(told(part(2.2), part(2.2)), 1);
        assert_eq!(told(part(2.2), part(2.0)), 2);
        assert_eq!(told(None, part(2.2)), 1);
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
