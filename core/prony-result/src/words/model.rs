//! Sentences about a model.

use super::{MISSING, count, number, one_line, optional};
use crate::{Comparison, EngineResult, Failure, ModelResult, Outcome, Verdict};
use std::collections::BTreeSet;

/// Progress of one model on one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A throughput was measured.
    Measured,
    /// No throughput, because something failed.
    Failed,
    /// No throughput, although requests succeeded: not all have a count of tokens.
    NotCounted,
    /// No throughput, because nothing was tried.
    NotMeasured,
}

impl ModelResult {
    /// The result of `engine`, if it was visited.
    pub fn engine(&self, engine: &str) -> Option<&EngineResult> {
        self.engines.iter().find(|result| result.engine == engine)
    }

    /// Progress of the model on `engine`.
    pub fn state(&self, engine: &str) -> State {
        let result = self.engine(engine);
        if let Some(result) = result.filter(|result| result.succeeded > 0) {
            if result.output_tokens_per_sec.is_some() {
                State::Measured
            } else {
                State::NotCounted
            }
        } else if result.is_some_and(|result| result.requests > 0)
            || self.own_failures(engine).next().is_some()
        {
            State::Failed
        } else {
            State::NotMeasured
        }
    }

    /// Failures of `engine` itself.
    pub fn own_failures(&self, engine: &str) -> impl Iterator<Item = &Failure> {
        let all = self.failures.iter();
        all.filter(move |it| it.engine == engine && !it.outside)
    }

    /// Cycles that do not count for a reason that no engine has a part in, a sentence without a
    /// full stop each.
    pub fn broken_cycles(&self) -> Vec<String> {
        let outside = self.failures.iter().filter(|it| it.outside);
        let told: BTreeSet<(u32, String)> = outside
            .map(|it| (it.cycle, one_line(&it.message)))
            .collect();
        told.into_iter()
            .map(|(cycle, message)| format!("cycle {cycle} does not count: {message}"))
            .collect()
    }

    /// Throughput on `engine` in tokens per second, `failed` or [`MISSING`].
    pub fn throughput(&self, engine: &str) -> String {
        match (self.state(engine), self.engine(engine)) {
            (State::Measured, Some(result)) => optional(result.output_tokens_per_sec, number),
            (State::Failed, _) => "failed".to_owned(),
            _ => MISSING.to_owned(),
        }
    }

    /// Contents of a winner column: names, `equivalent` or `inconclusive`. `None` if
    /// nothing was to be compared.
    ///
    /// Candidates are compared with the baseline, not with each other, so with more than
    /// one candidate there may be several names: all that beat the baseline, or the
    /// baseline and all that are equivalent to it.
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

    /// Problems, one sentence without a full stop each. A repeated failure is listed
    /// once.
    pub fn problems(&self) -> Vec<String> {
        let requests = self.engines.iter().flat_map(EngineResult::failed_requests);
        let stages = self.failed_stages(|_| true).into_iter();
        stages.chain(requests).chain(self.broken_cycles()).collect()
    }

    /// Those of one engine; of an empty name, those of a model that failed before any engine.
    pub fn problems_of(&self, engine: &str) -> Vec<String> {
        let own = self.failed_stages(|it| it.engine == engine);
        let requests = self.engine(engine).into_iter();
        let requests = requests.flat_map(EngineResult::failed_requests);
        own.into_iter().chain(requests).collect()
    }

    fn failed_stages(&self, is_meant: impl Fn(&Failure) -> bool) -> Vec<String> {
        let mut told: Vec<(&Failure, u64)> = Vec::new();
        for failure in self
            .failures
            .iter()
            .filter(|it| !it.outside && is_meant(it))
        {
            let same = |(first, _): &&mut (&Failure, u64)| {
                (&first.engine, &first.stage, &first.message)
                    == (&failure.engine, &failure.stage, &failure.message)
            };
            match told.iter_mut().find(same) {
                Some((_, times)) => *times += 1,
                None => told.push((failure, 1)),
            }
        }
        let sentence = |(failure, times): (&Failure, u64)| {
            let cycle = match times {
                1 => format!("cycle {}", failure.cycle),
                _ => format!("{times} times, first in cycle {}", failure.cycle),
            };
            let (engine, stage) = (one_line(&failure.engine), one_line(&failure.stage));
            let message = one_line(&failure.message);
            // A model that could not be obtained failed before any engine or cycle.
            if failure.engine.is_empty() {
                return format!("{stage} failed: {message}");
            }
            format!("{engine} failed in {stage}, {cycle}: {message}")
        };
        told.into_iter().map(sentence).collect()
    }
}

impl EngineResult {
    /// The requests that failed, a sentence without a full stop for each class.
    fn failed_requests(&self) -> Vec<String> {
        let sentence = |(class, times): (&String, &u64)| {
            let first = self.error_messages.get(class);
            let first = first.map(|message| format!(", first: {}", one_line(message)));
            let (engine, times) = (one_line(&self.engine), count(*times, "request"));
            format!(
                "{engine}: {times} failed with {}{}",
                one_line(class),
                first.unwrap_or_default()
            )
        };
        self.errors.iter().map(sentence).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::comparison::tests::comparison;

    fn model(verdicts: &[(&str, Verdict)]) -> ModelResult {
        let engine = |name: &str| EngineResult {
            engine: name.to_owned(),
            requests: 1,
            succeeded: 1,
            output_tokens_per_sec: Some(1.0),
            ..EngineResult::default()
        };
        ModelResult {
            id: "m".to_owned(),
            size: None,
            path: None,
            sha256: None,
            revision: None,
            tape: None,
            rendering: None,
            cell: None,
            measure: None,
            warmup_requests: 0,
            warmup_sending: None,
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
            plugin: false,
            outside: false,
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
    fn a_broken_cycle_is_told_once_and_is_no_engine_s_failure() {
        let mut model = model(&[("B", Verdict::Inconclusive)]);
        let failure = |engine: &str| Failure {
            engine: engine.to_owned(),
            cycle: 2,
            stage: "measure".to_owned(),
            message: "the run was broken off".to_owned(),
            plugin: false,
            outside: true,
        };
        model.failures = vec![failure("A"), failure("B")];
        model.engines[1].requests = 0;
        model.engines[1].succeeded = 0;
        assert_eq!(
            model.problems(),
            ["cycle 2 does not count: the run was broken off"]
        );
        assert_eq!(model.state("B"), State::NotMeasured);
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
        failed.engines[2].succeeded = 1;
        failed.engines[2].output_tokens_per_sec = None;
        assert_eq!(failed.state("C"), State::NotCounted);
        assert_eq!(failed.throughput("C"), MISSING);
        assert_eq!(failed.winner().as_deref(), Some("B"));
    }
}
