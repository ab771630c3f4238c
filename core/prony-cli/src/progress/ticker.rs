//! Lines from within a stage, for whoever reads a log: no bar moves there.

use super::screen::Sending;
use prony_plan::{Stage, Visit};
use prony_result::words::{about_seconds, count};
use std::time::{Duration, Instant};

/// Least time between two lines.
const EVERY: Duration = Duration::from_secs(20);
/// Longest time without one, where each takes a tenth of the stage's requests.
const AT_LATEST: Duration = Duration::from_mins(1);

/// The stage that sends requests, and the pace of the run.
#[derive(Debug, Default)]
pub(super) struct Ticker {
    /// Time of the first load, and number of requests answered since.
    begun: Option<Instant>,
    answered: u64,
    current: Option<Current>,
}

/// A stage of a visit, or of two whose engines take turns in it.
#[derive(Debug)]
struct Current {
    visit: Visit,
    stage: String,
    engines: Vec<String>,
    /// Number of its requests; `is_most` if it may end with fewer.
    planned: u64,
    is_most: bool,
    answered: u64,
    /// Time of the last line or of its beginning, and requests answered until then.
    told: Instant,
    told_answered: u64,
    begun: Instant,
}

impl Current {
    /// `true` for the same stage of an engine that is loaded beside.
    fn is_shared_with(&self, visit: &Visit, stage: &Stage) -> bool {
        let of = &self.visit;
        self.stage == stage.id
            && (&of.point, &of.model, of.cycle) == (&visit.point, &visit.model, visit.cycle)
            && !self.engines.contains(&visit.engine)
            && self.answered == 0
    }

    fn is_due(&self, now: Instant) -> bool {
        let waited = now.saturating_duration_since(self.told);
        let since = self.answered - self.told_answered;
        let is_news = since * 10 >= self.planned || waited >= AT_LATEST;
        self.answered < self.planned && waited >= EVERY && is_news
    }
}

impl Ticker {
    /// An engine is being loaded.
    pub(super) fn load(&mut self, now: Instant) {
        self.begun.get_or_insert(now);
        self.current = None;
    }

    /// A stage of a visit begins.
    pub(super) fn begin(&mut self, visit: &Visit, stage: &Stage, now: Instant) {
        let planned = u64::from(stage.requests);
        match &mut self.current {
            Some(current) if current.is_shared_with(visit, stage) => {
                current.planned += planned;
                current.engines.push(visit.engine.clone());
            }
            _ => {
                self.current = Some(Current {
                    visit: visit.clone(),
                    stage: stage.id.clone(),
                    engines: vec![visit.engine.clone()],
                    planned,
                    is_most: stage.seconds.is_some(),
                    answered: 0,
                    told: now,
                    told_answered: 0,
                    begun: now,
                });
            }
        }
    }

    /// The engines that share the current stage, in words.
    pub(super) fn engines(&self) -> Option<String> {
        let current = self.current.as_ref()?;
        Some(current.engines.join(" and "))
    }

    /// The requests of the current stage.
    pub(super) fn sending(&self) -> Option<Sending> {
        let current = self.current.as_ref()?;
        Some(Sending {
            answered: current.answered,
            planned: current.planned,
            is_most: current.is_most,
        })
    }

    /// A request was answered. Returns a line if one is due; `left` are the requests after this
    /// one, of so many visits, if all of the plan runs.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        left: impl FnOnce() -> Option<(u64, usize)>,
    ) -> Option<String> {
        self.answered += 1;
        let current = self.current.as_mut()?;
        current.answered += 1;
        if !current.is_due(now) {
            return None;
        }
        (current.told, current.told_answered) = (now, current.answered);
        let at = Visit {
            engine: current.engines.join(" and "),
            ..current.visit.clone()
        };
        let most = if current.is_most { "at most " } else { "" };
        let took = now.saturating_duration_since(current.begun);
        let line = format!(
            "{at}: {}, {} of {most}{} after {}",
            current.stage,
            current.answered,
            count(current.planned, "request"),
            about_seconds(took.as_secs_f64())
        );
        Some(match self.forecast(now, left()) {
            Some(forecast) => format!("{line}; {forecast}"),
            None => line,
        })
    }

    /// Time that the rest of the plan takes at the pace so far, in words.
    fn forecast(&self, now: Instant, left: Option<(u64, usize)>) -> Option<String> {
        let (requests, visits) = left?;
        let took = now.saturating_duration_since(self.begun?);
        let seconds = took.as_secs_f64() / self.answered as f64 * requests as f64;
        let of_visits = match visits {
            1 => "the visit".to_owned(),
            _ => format!("all {visits} visits"),
        };
        let more = about_seconds(seconds);
        (requests > 0).then(|| format!("at this pace {more} more for {of_visits}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prony_record::Phase;

    fn visit(engine: &str) -> Visit {
        Visit {
            point: None,
            model: "m".to_owned(),
            cycle: 2,
            segment: 1,
            engine: engine.to_owned(),
        }
    }

    fn stage(requests: u32) -> Stage {
        Stage {
            phase: Phase::Measure,
            id: "measure".to_owned(),
            requests,
            concurrency: 1,
            arrival: None,
            seconds: None,
            cache: None,
            statistic: None,
            tests_carry_over: false,
            condition: None,
        }
    }

    /// The lines of a stage that answers a request every so many seconds, with their times.
    fn lines(
        ticker: &mut Ticker,
        begin: Instant,
        requests: u32,
        each_s: u64,
    ) -> Vec<(u64, String)> {
        let answered = |n: u64| {
            let seconds = n * each_s;
            let now = begin + Duration::from_secs(seconds);
            let left = u64::from(requests) - n;
            let line = ticker.answered(now, || Some((left, 4)))?;
            Some((seconds, line))
        };
        (1..=u64::from(requests)).filter_map(answered).collect()
    }

    #[test]
    fn a_long_stage_tells_its_requests_and_the_pace() {
        let begin = Instant::now();
        let mut ticker = Ticker::default();
        ticker.load(begin);
        ticker.begin(&visit("a"), &stage(100), begin);
        let told = lines(&mut ticker, begin, 100, 3);
        assert_eq!(
            told[0],
            (
                30,
                format!(
                    "{}: measure, 10 of 100 requests after 30 s; at this pace 4 min more for all 4 visits",
                    visit("a")
                )
            )
        );
        let times: Vec<u64> = told.iter().map(|(time, _)| *time).collect();
        assert_eq!(times, [30, 60, 90, 120, 150, 180, 210, 240, 270]);
    }

    #[test]
    fn there_are_few_lines_a_minute_and_none_in_a_short_stage() {
        let begin = Instant::now();
        let mut ticker = Ticker::default();
        ticker.load(begin);
        ticker.begin(&visit("a"), &stage(19), begin);
        assert_eq!(lines(&mut ticker, begin, 19, 1), []);
        // So many that a tenth of them takes hours.
        ticker.begin(&visit("a"), &stage(36_000), begin);
        let told = lines(&mut ticker, begin, 36_000, 1);
        assert!(told.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 60));
        assert_eq!(told.len(), 599);
    }

    #[test]
    fn engines_that_take_turns_are_one_stage() {
        let begin = Instant::now();
        let mut ticker = Ticker::default();
        ticker.load(begin);
        ticker.begin(&visit("a"), &stage(20), begin);
        ticker.begin(&visit("b"), &stage(20), begin);
        let told = lines(&mut ticker, begin, 40, 6);
        let (time, line) = &told[0];
        assert_eq!(*time, 24);
        let start = format!("{}: measure, 4 of 40 requests", visit("a and b"));
        assert!(line.starts_with(&start), "{line}");
        // The next cycle begins anew.
        ticker.begin(&visit("a"), &stage(20), begin);
        assert_eq!(ticker.current.as_ref().map(|it| it.planned), Some(20));
    }

    #[test]
    fn without_an_end_there_is_no_forecast() {
        let begin = Instant::now();
        let mut ticker = Ticker::default();
        ticker.begin(&visit("a"), &stage(2), begin);
        let line = ticker.answered(begin + Duration::from_secs(80), || None);
        let line = line.expect("it is due");
        assert!(
            line.ends_with("measure, 1 of 2 requests after 80 s"),
            "{line}"
        );
    }
}
