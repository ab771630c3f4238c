//! Advice on the number of requests of a visit.
//!
//! Requests scatter by `σ` around their visit, visits by `τ` around the level of the machine.
//! A visit of `m` requests of `r` seconds each, and of `o` seconds for everything else, so
//! measures with the variance `τ² + σ²/m` in `o + m r` seconds. What a comparison can tell in
//! a given time depends on their product, which is least at `m = sqrt(o / r) σ / τ` (Cochran
//! 1977, Sampling techniques, 10.6).
//!
//! Nothing here changes a run: its number of requests is fixed before it begins.

use super::control::weighted_median;
use super::evidence::{Evidence as _, NORMAL};
use super::level::{Cycle, Level};
use super::quantile::{median, quantile};

/// Most requests of a visit that are advised.
pub const MAX_REQUESTS: u32 = 1000;

/// Factor from which on another number is worth telling.
const WORTH_TELLING: f64 = 2.0;

/// Where the time and the scatter of a comparison come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effort {
    /// Requests of a visit.
    pub requests: f64,
    /// Duration of a request, in seconds.
    pub request_s: f64,
    /// Duration of a visit without its requests, in seconds.
    pub other_s: f64,
    /// Variance of a request around its visit, of log times: `σ²`.
    pub request_variance: f64,
    /// Variance of visits around the level: `τ²`. Below zero where requests explain more
    /// than all scatter.
    pub visit_variance: f64,
    /// Its bounds, within two standard errors of the logarithm of the scatter.
    pub visit_variance_bounds: (f64, f64),
}

impl Effort {
    /// Of the first `n` cycles of visits that load their engine, each of two requests or
    /// more; `None` where they are too few or too alike to tell.
    ///
    /// `σ` is the median distance of two requests of a visit, and the scatter of visits
    /// that of two neighbours, each by its median request, over its value for a normal
    /// distribution of variance 1. A pair of visits counts as far as the level trusts both,
    /// so that bursts of load count little. The advantage of the candidate is taken out by
    /// its estimate: swapping the engines changes nothing.
    pub fn new(level: &Level, n: usize) -> Option<Self> {
        let advantage = level.estimate(n)?;
        let logs = level.logs(n, advantage);
        let fit = level.fit(n, advantage);
        let (seconds, requests) = visits(&level.series()[..n])?;
        let of_request = {
            /// Enough for a median, and few enough for visits of thousands.
            const REQUESTS: usize = 32;
            let pairs = logs.iter().flat_map(|logs| {
                let logs = &logs[..logs.len().min(REQUESTS)];
                let pair = move |(at, a): (usize, &f64)| {
                    let a = *a;
                    logs[at + 1..].iter().map(move |b| (a - b).abs())
                };
                logs.iter().enumerate().flat_map(pair)
            });
            let pairs: Vec<f64> = pairs.collect();
            (!pairs.is_empty()).then(|| variance_of_one(median(&pairs)))?
        };
        let side = |k: usize| if k.is_multiple_of(2) { -0.5 } else { 0.5 };
        let middles: Vec<Option<f64>> = (logs.iter().enumerate())
            .map(|(k, logs)| (!logs.is_empty()).then(|| median(logs) - side(k) * fit.order_effect))
            .collect();
        let apart = middles.windows(2).zip(fit.trust.windows(2));
        let apart = apart.filter_map(|(middles, trust)| {
            let distance = (middles[0]? - middles[1]?).abs();
            Some((distance, trust[0] * trust[1])).filter(|it| it.1 > 0.0)
        });
        let apart: Vec<(f64, f64)> = apart.collect();
        let number = requests.len() as f64 / (2 * n) as f64;
        // The variance of the median of few normal values, nearly.
        let of_median = {
            let half_pi = std::f64::consts::FRAC_PI_2;
            half_pi / (number + half_pi - 1.0)
        };
        let of_visit = variance_of_one(weighted_median(&apart)?);
        let (weight, squares) = apart.iter().fold((0.0, 0.0), |sum, (_, weight)| {
            (sum.0 + weight, sum.1 + weight * weight)
        });
        // The median of absolute values has an efficiency of 37 %, and distances that share a
        // visit say less than as many others: squares of neighbours correlate by a quarter.
        let distances = weight * weight / squares / 1.5;
        let relative_error = (2.0 / (0.37 * distances)).sqrt();
        let factor = (2.0 * relative_error).exp();
        let of_requests = of_request * of_median;
        let one_s = median(&requests);
        let effort = Self {
            requests: number,
            request_s: one_s,
            other_s: seconds - number * one_s,
            request_variance: of_request,
            visit_variance: of_visit - of_requests,
            visit_variance_bounds: (
                of_visit / factor - of_requests,
                of_visit * factor - of_requests,
            ),
        };
        let is_known = effort.other_s > 0.0 && one_s > 0.0 && of_request > 0.0;
        is_known.then_some(effort)
    }

    /// The number of requests that tells most in a given time: `sqrt(o / r) σ / τ`, from 1 to
    /// [`MAX_REQUESTS`].
    pub fn best(&self) -> f64 {
        self.best_for(self.visit_variance)
    }

    fn best_for(&self, visit_variance: f64) -> f64 {
        let most = f64::from(MAX_REQUESTS);
        if visit_variance <= 0.0 {
            return most;
        }
        let square = self.other_s / self.request_s * self.request_variance / visit_variance;
        square.sqrt().clamp(1.0, most)
    }

    /// A number of requests that would tell more in the same time: of those that are the best
    /// within the bounds the one nearest to the present number. `None` where that is
    /// less than a factor of 2 away.
    pub fn advice(&self) -> Option<u32> {
        let (least, most) = self.visit_variance_bounds;
        if most <= 0.0 {
            // Visits scatter less than their requests explain: by how much, nobody knows.
            return None;
        }
        let (low, high) = (self.best_for(most), self.best_for(least));
        let better = self.requests.clamp(low, high).round();
        let factor = better / self.requests;
        (factor >= WORTH_TELLING || factor <= 1.0 / WORTH_TELLING).then_some(better as u32)
    }
}

/// The duration of a visit, in seconds, and of each request.
///
/// The middles of two neighbouring visits are a visit apart. Where other engines are visited
/// between, they are further apart, but not all of them: hence a low quantile.
fn visits(cycles: &[Cycle]) -> Option<(f64, Vec<f64>)> {
    let visits = || cycles.iter().flat_map(|cycle| &cycle.visits);
    let times: Vec<f64> = visits().map(|visit| visit.at_s).collect();
    let mut gaps: Vec<f64> = times.windows(2).map(|two| two[1] - two[0]).collect();
    gaps.sort_by(f64::total_cmp);
    let requests: Vec<f64> = visits()
        .flat_map(|visit| visit.requests.iter().map(|it| it.time_s))
        .collect();
    (!gaps.is_empty() && !requests.is_empty()).then(|| (quantile(&gaps, 0.25), requests))
}

/// Variance of a value, from the median distance of two.
fn variance_of_one(distance: f64) -> f64 {
    (NORMAL * distance).powi(2) / 2.0
}
