//! The cycles that a run has left, and the time when it may end.

use jiff::{SignedDuration, ZonedDateTime};
use prony_config::{Pipeline, Stop};
use prony_plan::Visit;
use prony_result::words::count;
use std::collections::HashSet;
use std::time::Instant;

/// Rule by which a run ends before its last planned cycle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Ending {
    /// It has all planned cycles.
    Planned,
    /// The comparisons of a model may be decided, at the earliest after cycle `first`.
    Decided { first: u32 },
    /// The same, and there is no last cycle.
    Open { first: u32 },
}

impl Ending {
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        let schedule = &pipeline.schedule;
        match pipeline.first_verdict() {
            Some(first) if schedule.cycles.is_open() => Self::Open { first },
            Some(first) if schedule.stop == Stop::Decided => Self::Decided { first },
            _ => Self::Planned,
        }
    }
}

/// A number of cycles.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Cycles {
    least: u64,
    most: u64,
}

/// Cycles that are left, the one under way among them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Left {
    all: Cycles,
    /// Of the model under way. How long those of another take is not known.
    here: Cycles,
    /// `true` if there is no maximum.
    is_open: bool,
    /// Time since which these are left.
    since: Instant,
    /// Mean duration of the model's cycles that are over, in seconds; `None` before the first.
    cycle_s: Option<f64>,
}

impl Left {
    /// Counts the cycles of visits, in the order of the plan.
    pub(super) fn new(visits: &[Visit], ending: Ending, cycle_s: Option<f64>) -> Self {
        let of_models = visits.chunk_by(Visit::is_of_model);
        let of_models: Vec<Cycles> = of_models.map(|it| of_model(it, ending)).collect();
        Self {
            all: Cycles {
                least: of_models.iter().map(|it| it.least).sum(),
                most: of_models.iter().map(|it| it.most).sum(),
            },
            here: of_models.first().copied().unwrap_or_default(),
            is_open: matches!(ending, Ending::Open { .. }),
            since: Instant::now(),
            cycle_s,
        }
    }

    /// In words, by the clock of the wall.
    pub(super) fn parts(&self, now: Instant, clock: &ZonedDateTime) -> Vec<String> {
        let Cycles { least, most } = self.all;
        let cycles = match most {
            0 => return Vec::new(),
            _ if self.is_open => format!("{} left at the least", count(least, "cycle")),
            _ if most == least => format!("{} left", count(most, "cycle")),
            _ => format!("{least} to {} left", count(most, "cycle")),
        };
        let until = self.until(now, clock);
        let until = until.map(|until| {
            if self.all == self.here {
                until
            } else {
                format!("this model {until}")
            }
        });
        [cycles].into_iter().chain(until).collect()
    }

    /// The time when the model under way may end.
    fn until(&self, now: Instant, clock: &ZonedDateTime) -> Option<String> {
        let cycle_s = self.cycle_s?;
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        let seconds = |cycles: u64| (cycles as f64 * cycle_s - passed).max(0.0);
        let Cycles { least, most } = self.here;
        let most = if self.is_open { least } else { most };
        let time = |cycles| time(seconds(cycles), seconds(most), clock);
        let (earliest, latest) = (time(least)?, time(most)?);
        Some(if self.is_open {
            format!("until about {earliest} at the earliest")
        } else if earliest == latest {
            format!("until about {latest}")
        } else {
            format!("until about {earliest} to {latest}")
        })
    }
}

/// The cycles of the visits of one model.
fn of_model(visits: &[Visit], ending: Ending) -> Cycles {
    let cycles: HashSet<u32> = visits.iter().map(|it| it.cycle).collect();
    let engines: HashSet<&str> = visits.iter().map(|it| it.engine.as_str()).collect();
    let most = cycles.len() as u64;
    let least = match ending {
        // A single engine is compared with none.
        Ending::Decided { first } | Ending::Open { first } if engines.len() > 1 => {
            let first = cycles.iter().filter(|it| **it <= first).count() as u64;
            first.max(1)
        }
        _ => most,
    };
    Cycles { least, most }
}

/// The time of day in so many seconds, with its day if that is another; `latest` says how exact.
fn time(seconds: f64, latest: f64, clock: &ZonedDateTime) -> Option<String> {
    const EXACT: f64 = 600.0;
    let later = SignedDuration::try_from_secs_f64(seconds).ok()?;
    let then = clock.checked_add(later).ok()?;
    let day = if then.date() == clock.date() {
        String::new()
    } else {
        then.strftime("%b %-d ").to_string()
    };
    let time = if latest < EXACT { "%H:%M:%S" } else { "%H:%M" };
    Some(format!("{day}{}", then.strftime(time)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use jiff::tz::TimeZone;
    use std::time::Duration;

    fn visits(model: &str, engines: &[&str], cycles: std::ops::RangeInclusive<u32>) -> Vec<Visit> {
        let of_cycle = |cycle| {
            engines.iter().map(move |engine| Visit {
                point: None,
                model: model.to_owned(),
                cycle,
                segment: 1,
                engine: (*engine).to_owned(),
            })
        };
        cycles.flat_map(of_cycle).collect()
    }

    fn words(left: &Left, passed: u64) -> String {
        let clock = date(2026, 11, 28).at(23, 50, 10, 0);
        let clock = clock.to_zoned_datetime(TimeZone::UTC).expect("a time");
        let now = left.since + Duration::from_secs(passed);
        left.parts(now, &clock).join(", ")
    }

    #[test]
    fn a_comparison_ends_between_its_first_verdict_and_its_last_cycle() {
        let decided = Ending::Decided { first: 9 };
        let all = visits("m", &["a", "b"], 7..=60);
        let left = Left::new(&all, decided, None);
        assert_eq!(words(&left, 5), "3 to 54 cycles left");
        let left = Left::new(&all, decided, Some(2.0));
        assert_eq!(
            words(&left, 1),
            "3 to 54 cycles left, until about 23:50:15 to 23:51:57"
        );
        let left = Left::new(&all, decided, Some(60.0));
        assert_eq!(
            words(&left, 0),
            "3 to 54 cycles left, until about 23:53 to Nov 29 00:44"
        );
        // After the first verdict any cycle may be the last.
        let left = Left::new(&visits("m", &["a", "b"], 20..=60), decided, None);
        assert_eq!(words(&left, 0), "1 to 41 cycles left");
        // Nothing is compared.
        let left = Left::new(&visits("m", &["a"], 20..=60), decided, None);
        assert_eq!(words(&left, 0), "41 cycles left");
    }

    #[test]
    fn every_model_has_its_cycles_and_a_cycle_that_takes_long_ends_no_earlier_than_now() {
        let mut all = visits("m", &["a", "b"], 8..=9);
        all.extend(visits("n", &["a", "b"], 1..=9));
        let left = Left::new(&all, Ending::Planned, Some(1.0));
        let words_at = |passed| words(&left, passed);
        assert_eq!(
            words_at(0),
            "11 cycles left, this model until about 23:50:12"
        );
        assert_eq!(
            words_at(400),
            "11 cycles left, this model until about 23:50:10"
        );
        // Nothing of the next model is known.
        let left = Left::new(&all[4..], Ending::Planned, None);
        assert_eq!(words(&left, 0), "9 cycles left");
    }

    #[test]
    fn an_open_run_has_no_latest_time() {
        let all = visits("m", &["a", "b"], 3..=1000);
        let left = Left::new(&all, Ending::Open { first: 12 }, Some(60.0));
        assert_eq!(
            words(&left, 0),
            "10 cycles left at the least, until about Nov 29 00:00 at the earliest"
        );
    }

    #[test]
    fn of_a_run_that_is_over_nothing_is_told() {
        let left = Left::new(&[], Ending::Planned, Some(1.0));
        assert_eq!(words(&left, 0), "");
    }
}
