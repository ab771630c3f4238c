//! How reports say it: verdicts as sentences, numbers with sensible digits.
//!
//! Kept in one place so that every report phrases the same fact the same way.
//! All texts are single lines without control characters, whatever the names
//! in the pipeline contain.

use crate::result::{
    Comparison, EngineResult, Failure, Interval, ModelResult, NoiseFloor, Outcome, Verdict,
};

/// Stands for a value that does not exist.
pub const MISSING: &str = "–";

/// How far one model came on one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is a throughput to show.
    Measured,
    /// There is none because something failed.
    Failed,
    /// There is none because nothing was tried.
    NotMeasured,
}

impl ModelResult {
    /// The numbers of `engine`, if it was visited.
    pub fn engine(&self, engine: &str) -> Option<&EngineResult> {
        self.engines.iter().find(|result| result.engine == engine)
    }

    /// How far the model came on `engine`.
    pub fn state(&self, engine: &str) -> State {
        let result = self.engine(engine);
        let works =
            |result: &EngineResult| result.succeeded > 0 && result.output_tokens_per_sec.is_some();
        if result.is_some_and(works) {
            State::Measured
        } else if result.is_some_and(|result| result.requests > 0)
            || self.failures.iter().any(|failure| failure.engine == engine)
        {
            State::Failed
        } else {
            State::NotMeasured
        }
    }

    /// Throughput on `engine` in tokens per second, `failed` or [`MISSING`].
    pub fn throughput(&self, engine: &str) -> String {
        match (self.state(engine), self.engine(engine)) {
            (State::Measured, Some(result)) => optional(result.output_tokens_per_sec, number),
            (State::Failed, _) => "failed".to_owned(),
            _ => MISSING.to_owned(),
        }
    }

    /// What belongs into a winner column: names, `equivalent` or `inconclusive`.
    /// `None` if nothing was to be compared.
    ///
    /// Candidates are compared with the baseline, not with each other. So with
    /// more than one candidate there may be several names: all that beat the
    /// baseline, or the baseline and all that are equivalent to it.
    pub fn winner(&self) -> Option<String> {
        let measured =
            |comparison: &&Comparison| self.state(&comparison.candidate) == State::Measured;
        let comparisons: Vec<&Comparison> = match self.comparisons.as_slice() {
            [] => {
                let any = self
                    .engines
                    .iter()
                    .any(|result| self.state(&result.engine) == State::Measured);
                return (any && self.engines.len() > 1)
                    .then(|| Verdict::Inconclusive.word().to_owned());
            }
            [only] => vec![only],
            several => several.iter().filter(measured).collect(),
        };
        let having = |verdict: Verdict| {
            comparisons
                .iter()
                .filter(move |comparison| comparison.verdict == verdict)
        };
        let inconclusive = Some(Verdict::Inconclusive.word().to_owned());
        let Some(first) = comparisons.first() else {
            return inconclusive;
        };
        if having(Verdict::Inconclusive).next().is_some() {
            return inconclusive;
        }
        let leaders: Vec<String> = if having(Verdict::Faster).next().is_some() {
            having(Verdict::Faster)
                .map(|comparison| one_line(&comparison.candidate))
                .collect()
        } else if having(Verdict::Slower).next().is_some() {
            let equals =
                having(Verdict::Equivalent).map(|comparison| one_line(&comparison.candidate));
            std::iter::once(one_line(&first.baseline))
                .chain(equals)
                .collect()
        } else {
            return Some(Verdict::Equivalent.word().to_owned());
        };
        Some(leaders.join(", "))
    }

    /// What went wrong, one sentence without a full stop per problem. A failure
    /// that repeats is told once.
    pub fn problems(&self) -> Vec<String> {
        let mut told: Vec<(&Failure, u64)> = Vec::new();
        for failure in &self.failures {
            let same = |(first, _): &&mut (&Failure, u64)| {
                (&first.engine, &first.stage, &first.message)
                    == (&failure.engine, &failure.stage, &failure.message)
            };
            match told.iter_mut().find(same) {
                Some((_, times)) => *times += 1,
                None => told.push((failure, 1)),
            }
        }
        let stages = told.into_iter().map(|(failure, times)| {
            let cycle = match times {
                1 => format!("cycle {}", failure.cycle),
                _ => format!("{times} times, first in cycle {}", failure.cycle),
            };
            let (engine, stage) = (one_line(&failure.engine), one_line(&failure.stage));
            let message = one_line(&failure.message);
            // A model that cannot be had has failed before any engine or cycle.
            if failure.engine.is_empty() {
                return format!("{stage} failed: {message}");
            }
            format!("{engine} failed in {stage}, {cycle}: {message}")
        });
        let requests = self.engines.iter().flat_map(|result| {
            result.errors.iter().map(|(class, times)| {
                let first = result
                    .error_messages
                    .get(class)
                    .map(|message| format!(", first: {}", one_line(message)));
                let (engine, times) = (one_line(&result.engine), count(*times, "request"));
                format!(
                    "{engine}: {times} failed with {}{}",
                    one_line(class),
                    first.unwrap_or_default()
                )
            })
        });
        stages.chain(requests).collect()
    }
}

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

impl Outcome {
    /// The outcome as one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Running => "running",
        }
    }
}

impl Comparison {
    /// What the comparison found, as a sentence without a full stop, for
    /// example `B is 3.1 % faster than A (2.2 … 4.0 %, 95 % interval, 11 cycles)`.
    pub fn sentence(&self) -> String {
        let (candidate, baseline) = (one_line(&self.candidate), one_line(&self.baseline));
        match self.verdict {
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
                let small = if self.within_margin {
                    format!(
                        ", but by less than the margin of {}",
                        short_percent(self.margin_percent)
                    )
                } else {
                    String::new()
                };
                let interval = self
                    .interval
                    .map(|interval| interval.times(sign).words(percent_number));
                let details = self.details(interval);
                format!(
                    "{candidate} is {by}{} than {baseline}{small}{details}",
                    self.verdict.word()
                )
            }
            Verdict::Equivalent => {
                let details = self.details(self.signed_interval());
                let margin = short_percent(self.margin_percent);
                format!("{candidate} and {baseline} are equivalent within ±{margin}{details}")
            }
            Verdict::Inconclusive => {
                let reason = one_line(self.reason.trim_end_matches('.'));
                let reason = if reason.is_empty() {
                    "no reason given".to_owned()
                } else {
                    reason
                };
                let details = self.details(self.signed_interval());
                format!("{candidate} against {baseline} is inconclusive: {reason}{details}")
            }
        }
    }

    /// The difference with its sign, or [`MISSING`].
    pub fn difference(&self) -> String {
        optional(self.difference_percent, signed_percent)
    }

    /// `+2.2 … +4.0 %`, or [`MISSING`].
    pub fn range(&self) -> String {
        self.interval.map_or_else(
            || MISSING.to_owned(),
            |interval| interval.range(signed_number),
        )
    }

    fn signed_interval(&self) -> Option<String> {
        self.interval.map(|interval| interval.words(signed_number))
    }

    fn details(&self, interval: Option<String>) -> String {
        let cycles = match (self.cycles, self.degraded_cycles) {
            (0, 0) => None,
            (used, 0) => Some(count(used.into(), "cycle")),
            (used, left_out) => Some(format!(
                "{}, {left_out} left out",
                count(used.into(), "cycle")
            )),
        };
        let parts: Vec<String> = interval.into_iter().chain(cycles).collect();
        if parts.is_empty() {
            String::new()
        } else {
            format!(" ({})", parts.join(", "))
        }
    }
}

impl NoiseFloor {
    /// What it says, as a sentence without a full stop, for example `A against itself
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

/// What a flag of a comparison means, as a sentence; `None` for flags that this
/// version does not know.
pub fn flag(flag: &str) -> Option<&'static str> {
    Some(match flag {
        "length_mismatch" => {
            "The engines generated answers of different length, so they did not do the same work; \
             compare time per output token and time to first token, not throughput."
        }
        "outlier_sensitive" => {
            "Throughput and the typical request disagree: a few requests decide the verdict."
        }
        "thermal_ramp" => {
            "The machine became steadily faster or slower during the run, as it does when it heats up."
        }
        "throttle_step" => {
            "The machine's speed changed abruptly during the run, as it does when it throttles."
        }
        "carry_over" => {
            "Whichever engine ran second was affected by the first; longer pauses between visits help."
        }
        "no_steady_state" => "Speed had not settled after the warm-up requests; use more of them.",
        "low_success_rate" => "Too many requests failed for a winner to be named.",
        "token_mismatch" => {
            "An engine counts more tokens than its answers have bytes, so its count cannot be right."
        }
        "cache_violation" => {
            "Prompt tokens came from a cache although the requests were to be answered without one."
        }
        _ => return None,
    })
}

/// `1 cycle`, `2 cycles`.
pub fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// Three to four significant digits: `1234`, `45.2`, `8.31`, `0.042`.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return MISSING.to_owned();
    }
    let size = value.abs();
    let decimals = match size {
        size if size >= 999.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        size if size >= 0.0995 => 3,
        size if size >= 0.00995 => 4,
        0.0 => return "0".to_owned(),
        _ => return format!("{value:.2e}"),
    };
    format!("{value:.decimals$}")
}

/// `show` of the value, or [`MISSING`].
pub fn optional(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| MISSING.to_owned(), show)
}

/// `3.1 %`.
pub fn percent(value: f64) -> String {
    format!("{} %", percent_number(value))
}

/// `+3.1 %`, `-0.4 %`.
pub fn signed_percent(value: f64) -> String {
    format!("{} %", signed_number(value))
}

/// `2 %`, `2.5 %`: for numbers that a person chose.
fn short_percent(value: f64) -> String {
    format!("{value} %")
}

/// One decimal; two where one would show a difference as none.
fn percent_number(value: f64) -> String {
    if !value.is_finite() {
        return MISSING.to_owned();
    }
    let decimals = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 0.095 => 1,
        size if size >= 0.005 => 2,
        _ => return "0".to_owned(),
    };
    format!("{value:.decimals$}")
}

fn signed_number(value: f64) -> String {
    let text = percent_number(value);
    if value > 0.0 && value.is_finite() && text != "0" {
        format!("+{text}")
    } else {
        text
    }
}

/// `100 %`, `98.3 %` of a share from 0 to 1. Never rounds up to 100 % or down to 0 %.
pub fn share(share: f64) -> String {
    format!("{} %", share_number(share))
}

/// [`share`] without the unit.
pub fn share_number(share: f64) -> String {
    if !share.is_finite() {
        return MISSING.to_owned();
    }
    if share <= 0.0 || share >= 1.0 {
        return format!("{:.0}", share * 100.0);
    }
    format!("{:.1}", (share * 100.0).clamp(0.1, 99.9))
}

/// `95 %`, `95.7 %` of a confidence level; rounded down, since it is a promise.
pub fn level(level: f64) -> String {
    let tenths = (level * 1000.0 + 1e-6).floor() / 10.0;
    format!("{tenths} %")
}

/// `812 MiB`, `5.12 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = if unit == 0 || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `850 ms`, `4.2 s`, `12 min 4 s`, `2 h 5 min`.
pub fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return MISSING.to_owned();
    }
    if seconds < 0.9995 {
        return format!("{:.0} ms", seconds * 1000.0);
    }
    if seconds < 59.95 {
        return format!("{} s", (seconds * 10.0).round() / 10.0);
    }
    let whole = seconds.round() as u64;
    if whole < 3600 {
        format!("{} min {} s", whole / 60, whole % 60)
    } else {
        let minutes = (seconds / 60.0).round() as u64;
        format!("{} h {} min", minutes / 60, minutes % 60)
    }
}

/// The text as one line that is safe to print: runs of white space become one
/// space; control characters and those that reorder text become visible.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for char in text.trim().chars() {
        if char.is_whitespace() {
            if !line.ends_with(' ') {
                line.push(' ');
            }
        } else if is_hidden(char) {
            line.extend(char.escape_unicode());
        } else {
            line.push(char);
        }
    }
    line
}

/// Control characters (terminal escapes among them) and bidirectional overrides.
pub fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(verdict: Verdict, difference: f64, low: f64, high: f64) -> Comparison {
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
            "B against A is inconclusive: the interval contains 0 and exceeds ±2 % (-1.2 … +3.1 %, 95 % interval, 11 cycles)"
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
    fn numbers_have_sensible_digits() {
        let shown = [
            1234.5,
            999.96,
            112.44,
            45.21,
            9.996,
            8.312,
            0.04215,
            0.000_042,
            0.0,
            -3.456,
            f64::NAN,
        ]
        .map(number);
        assert_eq!(
            shown,
            [
                "1234", "1000", "112.4", "45.2", "10.0", "8.31", "0.0421", "4.20e-5", "0", "-3.46",
                "–"
            ]
        );
        assert_eq!(
            [3.12, -0.04, 0.001, 123.4].map(signed_percent),
            ["+3.1 %", "-0.04 %", "0 %", "+123 %"]
        );
        assert_eq!(
            [0.0, 0.0001, 0.9833, 0.9999, 1.0].map(share),
            ["0 %", "0.1 %", "98.3 %", "99.9 %", "100 %"]
        );
        assert_eq!(
            [0.95, 0.9512, 0.957, 0.99991].map(level),
            ["95 %", "95.1 %", "95.7 %", "99.9 %"]
        );
        assert_eq!(
            [0, 999, 2048, 851_443_712, 5_497_558_138].map(bytes),
            ["0 B", "999 B", "2.00 KiB", "812 MiB", "5.12 GiB"]
        );
        assert_eq!(
            [0.85, 4.21, 30.0, 59.96, 724.0, 7499.0].map(seconds),
            [
                "850 ms",
                "4.2 s",
                "30 s",
                "1 min 0 s",
                "12 min 4 s",
                "2 h 5 min"
            ]
        );
    }

    #[test]
    fn hostile_text_becomes_one_visible_line() {
        assert_eq!(
            one_line(" a\r\n\tb\u{1b}[31m \u{202e}c "),
            "a b\\u{1b}[31m \\u{202e}c"
        );
    }

    fn model(verdicts: &[(&str, Verdict)]) -> ModelResult {
        let engine = |name: &str| EngineResult {
            engine: name.to_owned(),
            succeeded: 1,
            requests: 1,
            output_tokens_per_sec: Some(1.0),
            by_cycle: Vec::new(),
            cycles: 1,
            success_rate: Some(1.0),
            errors: [].into(),
            error_messages: [].into(),
            output_tokens: 1,
            request_latency_ms: None,
            time_to_first_token_ms: None,
            time_to_first_answer_token_ms: None,
            inter_token_latency_ms: None,
            time_per_output_token_ms: None,
            output_tokens_per_request: None,
            prompt_tokens_per_request: None,
            cached_tokens: 0,
            cache: None,
            token_check: None,
            reasoning_tokens: None,
            total_time_s: 1.0,
            load_time_ms: None,
            peak_memory_bytes: None,
            cpu_percent: None,
            client: None,
            delivered: None,
            cadence: crate::result::Cadence::default(),
            finish_reasons: [].into(),
            served_models: Vec::new(),
            engine_versions: Vec::new(),
            sample_output: None,
        };
        ModelResult {
            id: "m".to_owned(),
            size: None,
            path: None,
            sha256: None,
            revision: None,
            tape: None,
            cell: None,
            measure: None,
            warmup_requests: 0,
            requests_per_visit: 1,
            concurrency: 1,
            arrival: None,
            seconds: None,
            cache: None,
            engines: std::iter::once("A")
                .chain(verdicts.iter().map(|(name, _)| *name))
                .map(engine)
                .collect(),
            noise_floor: None,
            comparisons: verdicts
                .iter()
                .map(|(name, verdict)| Comparison {
                    candidate: (*name).to_owned(),
                    ..comparison(*verdict, 0.0, 0.0, 0.0)
                })
                .collect(),
            failures: Vec::new(),
        }
    }

    #[test]
    fn a_problem_that_repeats_is_told_once() {
        let mut model = model(&[("B", Verdict::Inconclusive)]);
        let failure = |cycle, message: &str| Failure {
            engine: "B".to_owned(),
            cycle,
            stage: "load".to_owned(),
            message: message.to_owned(),
        };
        model.failures = vec![
            failure(2, "out of\nmemory"),
            failure(3, "killed"),
            failure(4, "out of\nmemory"),
        ];
        model.engines[1].errors = [("timeout".to_owned(), 1), ("truncated".to_owned(), 2)].into();
        model.engines[1].error_messages = [("timeout".to_owned(), "30 s".to_owned())].into();
        assert_eq!(
            model.problems(),
            [
                "B failed in load, 2 times, first in cycle 2: out of memory",
                "B failed in load, cycle 3: killed",
                "B: 1 request failed with timeout, first: 30 s",
                "B: 2 requests failed with truncated",
            ]
        );
    }

    #[test]
    fn winners_are_only_what_the_verdicts_allow() {
        use Verdict::{Equivalent, Faster, Inconclusive, Slower};
        let winner = |verdicts: &[(&str, Verdict)]| model(verdicts).winner();
        assert_eq!(winner(&[]), None);
        assert_eq!(winner(&[("B", Faster)]).as_deref(), Some("B"));
        assert_eq!(winner(&[("B", Slower)]).as_deref(), Some("A"));
        assert_eq!(winner(&[("B", Equivalent)]).as_deref(), Some("equivalent"));
        assert_eq!(
            winner(&[("B", Inconclusive)]).as_deref(),
            Some("inconclusive")
        );
        assert_eq!(
            winner(&[("B", Faster), ("C", Slower)]).as_deref(),
            Some("B")
        );
        assert_eq!(
            winner(&[("B", Faster), ("C", Faster)]).as_deref(),
            Some("B, C")
        );
        assert_eq!(
            winner(&[("B", Slower), ("C", Equivalent)]).as_deref(),
            Some("A, C")
        );
        assert_eq!(
            winner(&[("B", Equivalent), ("C", Equivalent)]).as_deref(),
            Some("equivalent")
        );
        assert_eq!(
            winner(&[("B", Faster), ("C", Inconclusive)]).as_deref(),
            Some("inconclusive")
        );
        let mut failed = model(&[("B", Faster), ("C", Inconclusive)]);
        failed.engines[2].succeeded = 0;
        assert_eq!(failed.state("C"), State::Failed);
        assert_eq!(failed.winner().as_deref(), Some("B"));
    }
}
