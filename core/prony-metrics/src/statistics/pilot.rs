//! Forecast of a run from its first cycles.

use super::evidence::Evidence;
use super::standard_deviation;
use statrs::distribution::{ChiSquared, ContinuousCDF as _};

/// Cycles before anything can be said.
pub const PILOT_CYCLES: usize = 6;

/// `(z(0.975) + z(0.9))^2`: what a difference of `margin` takes with 90 % power, per
/// variance over squared difference.
const POWER: f64 = 10.5;
/// Extra cost of repeated looks.
const LOOKS: f64 = 1.15;
/// Both together, as cycles per variance over squared difference.
const DETECTABLE: f64 = 12.0;
/// Least forecast: the earliest cycle in which a winner can be named with `cycles: 30` or 40.
const EARLIEST: f64 = 9.0;

/// Forecast from the first cycles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pilot {
    /// Standard deviation of a cycle's log ratio.
    pub standard_deviation: f64,
    /// Cycles that a difference of the margin takes: `max(9, 1.15 10.5 (sd / margin)^2)`.
    pub expected_cycles: f64,
    /// An 80 % interval of these cycles, by how uncertain the deviation of so few is:
    /// `(n - 1) sd^2 / variance` has the chi-squared distribution with `n - 1` degrees of
    /// freedom if contributions are normal.
    pub likely_cycles: (f64, f64),
    /// The difference, as a log ratio, that all allowed cycles can tell:
    /// `sd sqrt(12 / max_cycles)`.
    pub detectable: f64,
    /// `true` if a difference of the margin is expected to be found in time.
    pub feasible: bool,
}

/// The difference, as a log ratio, that `cycles` cycles can tell with 90 % power, when the
/// standard deviation of a cycle is `sd`: `sd sqrt(12 / cycles)`.
pub fn detectable(sd: f64, cycles: usize) -> f64 {
    sd * (DETECTABLE / cycles as f64).sqrt()
}

/// Plans from the first cycles; `None` of fewer than [`PILOT_CYCLES`], whose deviation says
/// too little, or where it is beyond any difference of engines.
///
/// The sizes are those of a normal approximation.
pub fn plan(evidence: &dyn Evidence, margin: f64, max_cycles: usize) -> Option<Pilot> {
    let enough = evidence.cycles() >= PILOT_CYCLES;
    enough.then(|| of(evidence, PILOT_CYCLES, margin, max_cycles))?
}

/// The same from all cycles so far, for what a run like this one takes; `None` of fewer
/// than [`PILOT_CYCLES`].
pub fn outlook(evidence: &dyn Evidence, margin: f64, max_cycles: usize) -> Option<Pilot> {
    let cycles = evidence.cycles();
    (cycles >= PILOT_CYCLES).then(|| of(evidence, cycles, margin, max_cycles))?
}

fn of(evidence: &dyn Evidence, n: usize, margin: f64, max_cycles: usize) -> Option<Pilot> {
    /// A larger scatter of log ratios says only that the score hardly falls with the advantage.
    const FARTHEST: f64 = 5.0;
    let sd = standard_deviation(&evidence.influences(n)?);
    if sd.is_nan() || sd > FARTHEST {
        return None;
    }
    let cycles = LOOKS * POWER * (sd / margin).powi(2);
    let expected_cycles = cycles.max(EARLIEST);
    let degrees = n as f64 - 1.0;
    let distribution = ChiSquared::new(degrees).ok()?;
    let likely = [0.9, 0.1].map(|share| cycles * degrees / distribution.inverse_cdf(share));
    let [low, high] = likely.map(|it| it.max(EARLIEST));
    Some(Pilot {
        standard_deviation: sd,
        expected_cycles,
        likely_cycles: (low, high),
        detectable: detectable(sd, max_cycles),
        feasible: expected_cycles <= max_cycles as f64,
    })
}
