//! Sentences about what is judged beside a verdict: phases, percentiles, memory, energy.

use super::comparison::{Finding, basis, direction};
use super::{
    count, one_line, percent, percent_number, short_percent, signed_number, signed_percent,
};
use crate::{Comparison, Interval, Judgement, TailJudgement, Verdict};

/// Name of the judgement of tokens over latencies.
const END_TO_END: &str = "End to end";

/// Finding beside the verdict.
struct Told {
    name: &'static str,
    /// `None` if it cannot be told.
    verdict: Option<Verdict>,
    /// `true` of memory and energy.
    of_resource: bool,
    sentence: String,
}

impl Comparison {
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

    /// Judgements that say nothing.
    fn silent(&self) -> impl Iterator<Item = (&'static str, &Judgement)> {
        let resources = [("Memory", &self.memory), ("Energy", &self.energy)];
        let resources = resources
            .into_iter()
            .filter_map(|(name, judgement)| Some((name, judgement.as_ref()?)));
        let all = self.judgements().chain(resources);
        all.filter(|(_, it)| is_silent(it))
    }

    /// The same by the reason: `No interval of total throughput, decode: 3 cycles are too few`.
    fn silent_judgements(&self) -> Vec<String> {
        let mut told: Vec<(String, Vec<String>)> = Vec::new();
        for (name, judgement) in self.silent() {
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
        let told = self.told().into_iter();
        told.map(|it| it.sentence)
            .chain(self.silent_judgements())
            .chain(self.better_requests.map(better_requests))
            .collect()
    }

    /// The same in few lines: a sentence for each finding that the verdict does not tell, and the
    /// names of those that say the same, `equivalent` or nothing.
    pub fn judgement_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut likewise = Vec::new();
        let mut equivalent = Vec::new();
        let mut undecided = Vec::new();
        for it in self.told() {
            match it.verdict {
                // Less memory is no speed.
                Some(Verdict::Faster | Verdict::Slower | Verdict::Equivalent) if it.of_resource => {
                    lines.push(it.sentence);
                }
                Some(Verdict::Equivalent) => equivalent.push(lower(it.name)),
                Some(verdict @ (Verdict::Faster | Verdict::Slower)) if verdict == self.verdict => {
                    likewise.push(lower(it.name));
                }
                Some(Verdict::Faster | Verdict::Slower) => lines.push(it.sentence),
                Some(Verdict::Inconclusive) | None => undecided.push(lower(it.name)),
            }
        }
        undecided.extend(self.silent().map(|(name, _)| lower(name)));
        let listed = [
            (format!("Likewise {}", self.verdict.word()), likewise),
            ("Equivalent".to_owned(), equivalent),
            ("Not decided".to_owned(), undecided),
        ];
        let listed = listed.into_iter().filter(|(_, names)| !names.is_empty());
        lines.extend(listed.map(|(word, names)| format!("{word}: {}", names.join(", "))));
        lines
    }

    /// Findings that have an interval, a p value or a reason to be withheld.
    fn told(&self) -> Vec<Told> {
        let of_side = |(name, judgement): (&'static str, &Judgement)| Told {
            name,
            verdict: judgement.withheld.is_none().then_some(judgement.verdict),
            of_resource: false,
            sentence: self.side_sentence(name, judgement),
        };
        // Of answers that are credited in full it is the total throughput once more.
        let said = |it: &Judgement| self.side_sentence("", it);
        let is_total = |it: &Judgement| self.total.as_ref().is_some_and(|at| said(at) == said(it));
        let is_new = |(name, it): &(&'static str, &Judgement)| *name != END_TO_END || !is_total(it);
        let tails = [
            ("TTFT p99", &self.time_to_first_token_p99),
            ("Latency p99", &self.latency_p99),
        ];
        let tails = tails.into_iter().filter_map(|(name, tail)| {
            let tail = tail.as_ref()?;
            Some(Told {
                name,
                verdict: Some(tail.verdict),
                of_resource: false,
                sentence: self.tail_sentence(name, tail),
            })
        });
        let of_resource = |name, judgement: &Judgement, sentence| Told {
            name,
            verdict: judgement.withheld.is_none().then_some(judgement.verdict),
            of_resource: true,
            sentence,
        };
        let memory = self.memory.as_ref().and_then(|it| {
            let sentence = self.memory_sentence(it)?;
            Some(of_resource("Memory", it, sentence))
        });
        let energy = self.energy.as_ref().and_then(|it| {
            let sentence = self.energy_sentence(it)?;
            Some(of_resource("Energy", it, sentence))
        });
        self.judgements()
            .filter(|(_, it)| !is_silent(it))
            .filter(is_new)
            .map(of_side)
            .chain(tails)
            .chain(memory)
            .chain(energy)
            .collect()
    }

    fn side_sentence(&self, name: &str, judgement: &Judgement) -> String {
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
    }

    fn tail_sentence(&self, name: &str, tail: &TailJudgement) -> String {
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
}

/// `Visits of 9 requests would tell more in the same time`.
pub fn better_requests(requests: u32) -> String {
    let requests = count(requests.into(), "request");
    format!("Visits of {requests} would tell more in the same time")
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

#[cfg(test)]
mod tests {
    use super::super::comparison::tests::comparison;
    use super::*;

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
        assert_eq!(
            judged.judgement_lines(),
            [
                "TTFT p99: B is 31.0 % slower than A (p < 0.001 by label swap, 12 cycles)",
                "Likewise faster: prefill",
                "Not decided: decode, end to end, latency p99, latency p50",
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
}
