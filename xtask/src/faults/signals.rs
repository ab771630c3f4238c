//! Signals at random times.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};

use super::row::Row;
use super::subject::{Load, Subject};
use super::{Extent, SEED};
use crate::shell;
use crate::workspace::Workspace;

/// Requests to end that prony follows.
const REQUESTS: [&str; 3] = ["TERM", "INT", "HUP"];

/// Cycles of a run of equal engines.
const CYCLES: u64 = 40;

/// Chance of a winner among equal engines, at most (docs/verdicts.md).
const ALPHA: f64 = 0.04;

/// Random times, the same in each call.
pub(super) struct Times(Pcg64Mcg);

impl Times {
    pub(super) fn new() -> Self {
        Self(Pcg64Mcg::seed_from_u64(SEED))
    }

    /// A time within a duration, and not at its very end: the first run takes longest.
    pub(super) fn within(&mut self, duration: Duration) -> Duration {
        let share = (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        duration.mul_f64(0.8 * share)
    }
}

/// Asks prony to end.
pub(super) fn asked(subject: &mut Subject, extent: Extent, rows: &mut Vec<Row>) -> Result<()> {
    let mut times = Times::new();
    for signal in REQUESTS {
        let mut row = Row::new(format!(
            "SIG{signal} at a random time, {}",
            subject.load.words()
        ));
        shell::step(&row.fault);
        for _ in 0..extent.of(1, 4, 50) {
            let time = times.within(subject.took);
            let what = format!("after {} ms", time.as_millis());
            subject.attempt(&mut row, &what, &[], |_, running| {
                running.sleep_until(time)?;
                running.signal(signal)
            })?;
        }
        rows.push(row);
    }
    Ok(())
}

/// Kills prony.
pub(super) fn killed(subject: &mut Subject, extent: Extent, rows: &mut Vec<Row>) -> Result<()> {
    let mut row = Row::new(format!(
        "SIGKILL at a random time, {}",
        subject.load.words()
    ));
    shell::step(&row.fault);
    kill(subject, &mut row, extent.of(2, 10, 50))?;
    rows.push(row);
    Ok(())
}

/// Kills runs of equal engines, and counts the winners.
pub(super) fn equal_engines(
    workspace: &Workspace,
    until: Option<Instant>,
    extent: Extent,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let mut subject = Subject::new(workspace, Load::One, CYCLES)?;
    subject.until = until;
    let mut row = Row::new(format!(
        "SIGKILL at a random time, {CYCLES} cycles of equal engines"
    ));
    shell::step(&row.fault);
    let verdicts = kill(&mut subject, &mut row, extent.of(1, 10, 50))?;
    let is_winner = |verdict: &&String| matches!(verdict.as_str(), "faster" | "slower");
    let winners = verdicts.iter().filter(is_winner).count() as u64;
    let allowed = allowed(verdicts.len() as u64);
    row.remark = Some(format!(
        "{winners} of {} runs of equal engines got a winner; up to {allowed} are chance",
        verdicts.len()
    ));
    if winners > allowed {
        row.misses.push(row.remark.clone().unwrap_or_default());
    }
    rows.push(row);
    Ok(())
}

/// Kills so many runs; returns the verdicts.
fn kill(subject: &mut Subject, row: &mut Row, tries: u32) -> Result<Vec<String>> {
    let mut times = Times::new();
    let mut verdicts = Vec::new();
    for _ in 0..tries {
        let time = times.within(subject.took);
        let what = format!("after {} ms", time.as_millis());
        let verdict = subject.attempt(row, &what, &[], |_, running| {
            running.sleep_until(time)?;
            running.kill()
        })?;
        verdicts.extend(verdict);
    }
    Ok(verdicts)
}

/// The number of winners that equal engines exceed in one of a hundred series of runs, by
/// the binomial distribution.
fn allowed(runs: u64) -> u64 {
    let mut term = (1.0 - ALPHA).powf(runs as f64);
    let (mut sum, mut winners) = (term, 0);
    while sum < 0.99 && winners < runs {
        term *= (runs - winners) as f64 / (winners + 1) as f64 * ALPHA / (1.0 - ALPHA);
        sum += term;
        winners += 1;
    }
    winners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_allows_few_winners() {
        // P(X <= 1) of 5 runs is 0.985, P(X <= 2) 0.9994.
        assert_eq!([0, 1, 5, 10, 50].map(allowed), [0, 1, 2, 2, 6]);
    }

    #[test]
    fn times_are_the_same_in_each_call() {
        let second = Duration::from_secs(1);
        let (mut one, mut other) = (Times::new(), Times::new());
        let time = one.within(second);
        assert_eq!(time, other.within(second));
        assert!(time < second && time != one.within(second));
    }
}
