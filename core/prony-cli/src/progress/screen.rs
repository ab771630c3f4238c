//! The view of a run: its plan, the visit under way, requests, the comparisons so far, and what is
//! left. Only what is known is in it.

use super::left::{Ending, Left};
use crate::view::{Line, Weight, bar, flow, line};
use jiff::ZonedDateTime;
use prony_metrics::comparison::MIN_SUCCESS_RATE;
use prony_metrics::statistics::Decision;
use prony_metrics::throughput;
use prony_record::{Phase, Record};
use prony_result::words::{Scale, about_seconds, count, number, share, signed_percent};
use std::time::Instant;

/// Comparisons that are shown; others are counted.
const MAX_SHOWN: usize = 3;

/// The state of the view.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    /// Engines, models and cycles.
    pub(super) plan: Vec<String>,
    /// Requests of the plan; `None` if it has more than anyone expects.
    pub(super) planned: Option<u64>,
    /// Requests of the plan that are over, those of visits that were left out among them.
    pub(super) position: u64,
    pub(super) now: Doing,
    pub(super) sent: Sent,
    pub(super) compared: Compared,
    pub(super) left: Left,
}

/// The stage under way.
#[derive(Debug, Clone)]
pub(super) struct Doing {
    /// The place in the run: number of the visit, and what it is of.
    pub(super) place: Vec<String>,
    /// The stage, or what it is about.
    pub(super) stage: String,
    /// The requests of a stage that sends some.
    pub(super) sending: Option<Sending>,
    pub(super) since: Instant,
}

/// Requests of a stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sending {
    pub(super) answered: u64,
    pub(super) planned: u64,
    /// `true` if it may end with fewer.
    pub(super) is_most: bool,
}

/// Requests of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sent {
    pub(super) answered: u64,
    /// Answered, and not decoded yet: nobody knows whether they failed.
    pub(super) unread: u64,
    pub(super) failed: u64,
    pub(super) last: Option<Last>,
}

/// The last answer that was decoded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Last {
    Failed(&'static str),
    Good {
        first_token_ms: Option<f64>,
        tokens_per_s: Option<f64>,
    },
}

impl Last {
    pub(super) fn of(record: &Record) -> Self {
        if let Some(failed) = record.failed.as_ref().filter(|_| !record.ok()) {
            return Self::Failed(failed.class.name());
        }
        let tokens = record.tokens().map(u64::from);
        Self::Good {
            first_token_ms: record.time_to_first_token_ns().map(|ns| ns as f64 / 1e6),
            tokens_per_s: tokens.and_then(|it| throughput::per_second(it, record.latency_ns())),
        }
    }
}

/// The comparisons of the model under way.
#[derive(Debug, Clone)]
pub(super) struct Compared {
    pub(super) baseline: String,
    pub(super) margin_percent: f64,
    pub(super) ending: Ending,
    /// Planned cycles.
    pub(super) cycles: u32,
    /// The cycle under way, from 1; 0 before the first.
    pub(super) cycle: u32,
    pub(super) looks: Vec<Looked>,
    /// Measured requests of each engine, and how many of them succeeded.
    pub(super) measured: Vec<(String, u64, u64)>,
}

/// The last interim analysis of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Looked {
    pub(super) candidate: String,
    /// The stage, where there are several.
    pub(super) stage: Option<String>,
    pub(super) cycles: u32,
    pub(super) decision: Decision,
    /// Estimate and interval of the difference, in percent.
    pub(super) difference: Option<(f64, [f64; 2])>,
}

/// An interval between the ends of its scale; `None` where so few columns are too narrow.
fn picture(estimate: f64, interval: [f64; 2], margin: f64, columns: usize) -> Option<String> {
    const LEAST: usize = 13;
    const MOST: usize = 61;
    /// Of the longest ends, each with a space.
    const ENDS: usize = 16;
    let room = columns.checked_sub(ENDS)?.min(MOST);
    let shown = (Some(estimate), Some(interval));
    let scale = Scale::new((room.max(LEAST) - 1) | 1, margin, [shown])?;
    let [low, high] = scale.ends();
    (room >= LEAST).then(|| format!("{low} {} {high}", scale.line(shown.0, shown.1)))
}

impl Compared {
    /// Takes in an interim analysis.
    pub(super) fn look(&mut self, looked: Looked) {
        let is_same =
            |it: &&mut Looked| (&it.candidate, &it.stage) == (&looked.candidate, &looked.stage);
        match self.looks.iter_mut().find(is_same) {
            Some(before) => *before = looked,
            None => self.looks.push(looked),
        }
    }

    /// Another model begins.
    pub(super) fn begin(&mut self) {
        self.looks.clear();
        self.measured.clear();
    }

    /// Takes in a request.
    pub(super) fn count(&mut self, record: &Record) {
        if record.id.phase != Phase::Measure {
            return;
        }
        let engine = &record.id.engine;
        let known = self.measured.iter().position(|it| it.0 == *engine);
        let at = known.unwrap_or_else(|| {
            self.measured.push((engine.clone(), 0, 0));
            self.measured.len() - 1
        });
        self.measured[at].1 += 1;
        self.measured[at].2 += u64::from(record.ok());
    }

    fn of(&self) -> String {
        match self.ending {
            Ending::Open { .. } => String::new(),
            _ => format!(" of {}", self.cycles),
        }
    }

    /// The first cycle after which there may be a verdict, if that is to come.
    fn first(&self) -> Option<u32> {
        let first = match self.ending {
            Ending::Decided { first } | Ending::Open { first } => first,
            Ending::Planned => return None,
        };
        (self.cycle <= first).then_some(first)
    }

    fn lines(&self, columns: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        if let Some(first) = self.first() {
            let text = format!("no verdict before the end of cycle {first}{}", self.of());
            lines.extend(flow(&[text], columns, Weight::Plain));
        }
        for looked in self.looks.iter().take(MAX_SHOWN) {
            lines.extend(self.lines_of(looked, columns));
        }
        if let more @ 1.. = self.looks.len().saturating_sub(MAX_SHOWN) {
            let text = count(more as u64, "more comparison");
            lines.push(line(&text, Weight::Plain));
        }
        if !self.looks.is_empty() {
            lines.extend(self.obstacle(columns));
        }
        lines
    }

    fn lines_of(&self, looked: &Looked, columns: usize) -> Vec<Line> {
        let (candidate, baseline) = (&looked.candidate, &self.baseline);
        let stage = looked.stage.as_ref();
        let stage = stage.map_or_else(String::new, |stage| format!("{stage}: "));
        let about = match looked.decision {
            Decision::Continue => format!("{candidate} against {baseline}: undecided"),
            Decision::Faster => format!("{candidate} is faster than {baseline}"),
            Decision::Slower => format!("{candidate} is slower than {baseline}"),
            Decision::Equivalent => format!("{candidate} and {baseline} are equivalent"),
            Decision::Inconclusive => format!("{candidate} against {baseline} is inconclusive"),
        };
        let after = count(u64::from(self.cycles), "cycle");
        let after = match self.ending {
            Ending::Open { .. } => count(u64::from(looked.cycles), "cycle"),
            _ => format!("{} of {after}", looked.cycles),
        };
        let mut parts = vec![format!("{stage}{about} after {after}")];
        parts.extend(looked.difference.map(|(estimate, [low, high])| {
            let [low, high, estimate] = [low, high, estimate].map(signed_percent);
            let low = low.trim_end_matches(" %").to_owned();
            format!("{estimate} ({low} … {high})")
        }));
        let mut lines = flow(&parts, columns, Weight::Strong);
        let picture = looked.difference.and_then(|(estimate, interval)| {
            picture(estimate, interval, self.margin_percent, columns - 2)
        });
        lines.extend(picture.map(|it| line(&format!("  {it}"), Weight::Plain)));
        lines
    }

    /// Engines of which so many requests fail that no verdict is given.
    fn obstacle(&self, columns: usize) -> Vec<Line> {
        let rate = |(_, sent, good): &(String, u64, u64)| *good as f64 / (*sent).max(1) as f64;
        let failing = self
            .measured
            .iter()
            .filter(|it| rate(it) < MIN_SUCCESS_RATE);
        let parts: Vec<String> = failing
            .map(|it| format!("{} of the requests of {} succeed", share(rate(it)), it.0))
            .collect();
        if parts.is_empty() {
            return Vec::new();
        }
        let mut parts = parts;
        parts.push(format!(
            "below {} there is no verdict",
            share(MIN_SUCCESS_RATE)
        ));
        flow(&parts, columns, Weight::Strong)
    }
}

impl Screen {
    /// The lines for a terminal of so many columns, at a time by two clocks.
    pub(super) fn lines(&self, columns: usize, now: Instant, clock: &ZonedDateTime) -> Vec<Line> {
        let mut lines = flow(&self.plan, columns, Weight::Faint);
        lines.extend(flow(&self.now.parts(now), columns, Weight::Plain));
        lines.extend(flow(&self.requests(now), columns, Weight::Plain));
        lines.extend(self.compared.lines(columns));
        lines.extend(flow(&self.left.parts(now, clock), columns, Weight::Plain));
        lines
    }

    fn requests(&self, now: Instant) -> Vec<String> {
        let Sent {
            answered,
            unread,
            failed,
            last,
        } = self.sent;
        let mut parts = Vec::new();
        if let Some(planned) = self.planned {
            let position = self.position;
            parts.push(format!("{} {position}/{planned}", bar(position, planned)));
        }
        parts.push(count(answered, "request"));
        parts.extend(self.now.rate(now));
        if unread > 0 {
            parts.push(format!("{unread} not decoded yet"));
        }
        if failed > 0 {
            parts.push(format!("{failed} failed"));
        } else if answered > unread {
            parts.push("none failed".to_owned());
        }
        match last {
            None => {}
            Some(Last::Failed(class)) => parts.push(format!("the last: {class}")),
            Some(Last::Good {
                first_token_ms,
                tokens_per_s,
            }) => {
                let first = first_token_ms.map(|ms| format!("TTFT {} ms", number(ms)));
                let rate = tokens_per_s.map(|rate| format!("{} tok/s", number(rate)));
                let known: Vec<String> = first.into_iter().chain(rate).collect();
                if !known.is_empty() {
                    parts.push(format!("the last: {}", known.join(" and ")));
                }
            }
        }
        parts
    }
}

impl Doing {
    /// Nothing runs yet.
    pub(super) fn new(stage: &str) -> Self {
        Self {
            place: Vec::new(),
            stage: stage.to_owned(),
            sending: None,
            since: Instant::now(),
        }
    }

    fn parts(&self, now: Instant) -> Vec<String> {
        let mut parts = self.place.clone();
        let took = now.saturating_duration_since(self.since).as_secs();
        let mut stage = self.stage.clone();
        if let Some(sending) = self.sending {
            let Sending {
                answered,
                planned,
                is_most,
            } = sending;
            let most = if is_most { "at most " } else { "" };
            stage = format!("{stage} {answered} of {most}{}", count(planned, "request"));
        }
        parts.push(stage);
        if took > 0 {
            parts.push(about_seconds(took as f64));
        }
        parts
    }

    /// Requests a second of the stage.
    fn rate(&self, now: Instant) -> Option<String> {
        let sending = self.sending.filter(|it| it.answered > 0)?;
        let took = now.saturating_duration_since(self.since).as_secs_f64();
        // Of a shorter time it would be a guess.
        let rate = sending.answered as f64 / took;
        (took >= 1.0).then(|| format!("{} a second", number(rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn screen() -> Screen {
        let mut now = Doing::new("measure");
        now.place = vec!["visit 7 of 120".to_owned(), "m on b".to_owned()];
        now.sending = Some(Sending {
            answered: 8,
            planned: 20,
            is_most: false,
        });
        Screen {
            plan: vec!["run: a and b".to_owned(), "at most 60 cycles".to_owned()],
            planned: None,
            position: 48,
            now,
            sent: Sent {
                answered: 48,
                ..Sent::default()
            },
            compared: Compared {
                baseline: "a".to_owned(),
                margin_percent: 2.0,
                ending: Ending::Decided { first: 9 },
                cycles: 60,
                cycle: 7,
                looks: Vec::new(),
                measured: Vec::new(),
            },
            left: Left::new(&[], Ending::Planned, None),
        }
    }

    fn looked(candidate: &str, decision: Decision, difference: Option<(f64, [f64; 2])>) -> Looked {
        Looked {
            candidate: candidate.to_owned(),
            stage: None,
            cycles: 6,
            decision,
            difference,
        }
    }

    fn text(screen: &Screen, columns: usize) -> String {
        let later = screen.now.since + Duration::from_secs(2);
        let lines = screen.lines(columns, later, &ZonedDateTime::now());
        let lines: Vec<&str> = lines.iter().map(Line::text).collect();
        lines.join("\n")
    }

    #[test]
    fn before_a_look_there_is_no_estimate_and_an_estimate_needs_an_interval() {
        let mut screen = screen();
        assert_eq!(
            text(&screen, 100),
            "run: a and b, at most 60 cycles\n\
             visit 7 of 120, m on b, measure 8 of 20 requests, 2 s\n\
             48 requests, 4.00 a second, none failed\n\
             no verdict before the end of cycle 9 of 60"
        );
        screen.compared.cycle = 10;
        screen.compared.look(looked("b", Decision::Continue, None));
        assert!(text(&screen, 100).ends_with("\nb against a: undecided after 6 of 60 cycles"));
        let difference = (1.0, [-5.0, 7.0]);
        screen
            .compared
            .look(looked("b", Decision::Continue, Some(difference)));
        let shown = text(&screen, 41);
        assert!(
            shown.ends_with(
                "b against a: undecided after 6 of 60 cycles,\n  \
                 +1.0 % (-5.0 … +7.0 %)\n  -8 %     ├──────┼●────────┤  +8 %"
            ),
            "{shown}"
        );
    }

    #[test]
    fn nobody_says_of_an_answer_that_is_not_decoded_whether_it_failed() {
        let mut screen = screen();
        screen.sent.unread = 48;
        let shown = text(&screen, 100);
        assert!(shown.contains("48 not decoded yet") && !shown.contains("failed"));
        screen.sent.unread = 8;
        screen.sent.failed = 2;
        screen.sent.last = Some(Last::Failed("truncated"));
        assert!(text(&screen, 100).contains("8 not decoded yet, 2 failed, the last: truncated"));
    }

    #[test]
    fn failures_that_withhold_a_verdict_stand_beside_it() {
        let mut screen = screen();
        screen.compared.cycle = 20;
        for candidate in ["b", "c", "d", "e"] {
            screen
                .compared
                .look(looked(candidate, Decision::Faster, None));
        }
        screen.compared.measured = vec![("a".to_owned(), 40, 40), ("b".to_owned(), 40, 30)];
        let shown = text(&screen, 100);
        assert!(
            shown.ends_with(
                "d is faster than a after 6 of 60 cycles\n1 more comparison\n\
                 75.0 % of the requests of b succeed, below 98.0 % there is no verdict"
            ),
            "{shown}"
        );
    }
}
