//! Evidence of one comparison, by which every hypothesis about the advantage of the candidate
//! can be tested.

use super::quantile::median;

/// The standard deviation of a normal distribution over its median absolute deviation.
pub(super) const NORMAL: f64 = 1.482_602_218_505_602;

/// Contributions of the cycles to a score.
///
/// They may depend on everything that was measured but not on which engine came first: so
/// the coins alone decide the sign with which they enter the score.
pub trait Evidence {
    /// Number of cycles.
    fn cycles(&self) -> usize;

    /// `s_c g_c` of each of the first `n` cycles, when the candidate's times are prolonged by
    /// an `advantage`, a log ratio. Above zero where it is faster by more than that.
    fn signed(&self, n: usize, advantage: f64) -> Vec<f64>;

    /// Number of later cycles that a cycle's contribution needs.
    fn lag(&self) -> usize {
        0
    }

    /// `s_c g_c` of each cycle as it was when the cycle and `lag` more were done, likewise:
    /// later cycles change nothing. The last `lag` cycles have none yet.
    fn frozen(&self, advantage: f64) -> Vec<f64> {
        let lag = self.lag();
        (lag + 1..=self.cycles())
            .map(|n| self.signed(n, advantage)[n - 1 - lag])
            .collect()
    }

    /// The advantage of each of the first `n` cycles that has one, as the cycle alone shows it.
    fn plain_ratios(&self, n: usize) -> Vec<f64>;

    /// The advantage at which the score of the first `n` cycles is zero: of several, one
    /// near the median of the cycles, so that a common factor of all times changes nothing. No
    /// farther from it than the cycles are from each other: a score of few cycles may have a zero
    /// where no cycle is, and then the median is the estimate. `None` where nothing was
    /// measured.
    fn estimate(&self, n: usize) -> Option<f64> {
        const ACCURACY: f64 = 1e-7;
        let score = |advantage: f64| self.signed(n, advantage).iter().sum::<f64>();
        let ratios = self.plain_ratios(n);
        let least = ratios.iter().copied().reduce(f64::min)?;
        let most = ratios.iter().copied().reduce(f64::max)?;
        let (middle, farthest) = (median(&ratios), most - least);
        let mut reach = ACCURACY;
        while !(score(middle - reach) > 0.0 && score(middle + reach) < 0.0) {
            if reach >= farthest {
                return Some(middle);
            }
            reach = (2.0 * reach).min(farthest);
        }
        let (mut low, mut high) = (middle - reach, middle + reach);
        while high - low > ACCURACY {
            let half = f64::midpoint(low, high);
            if score(half) > 0.0 {
                low = half;
            } else {
                high = half;
            }
        }
        Some(f64::midpoint(low, high))
    }

    /// The numbers of the first `n` cycles with equal weights, above zero where the candidate is
    /// faster. `None` where nothing was measured.
    fn unweighted(&self, n: usize) -> Option<Vec<f64>>;

    /// The advantage as each of the first `n` cycles alone would have it: the estimate, and
    /// the cycle's part of the score over how fast the score falls with the advantage. Their
    /// scatter is that of the statistic. `None` where nothing was measured, or where the
    /// score does not fall.
    fn influences(&self, n: usize) -> Option<Vec<f64>> {
        /// Small against any difference, large against rounding.
        const STEP: f64 = 1e-3;
        let estimate = self.estimate(n)?;
        let score = |advantage: f64| self.signed(n, advantage).iter().sum::<f64>();
        let fall = (score(estimate - STEP) - score(estimate + STEP)) / (2.0 * STEP * n as f64);
        let own = self.signed(n, estimate).into_iter();
        (fall > 0.0).then(|| own.map(|signed| estimate + signed / fall).collect())
    }
}

/// One number for each cycle: its log ratio, above zero where the candidate is faster.
///
/// A cycle's number gets the biweight of Beaton & Tukey (1974), so that a burst of load in
/// one visit decides nothing. Its scale is the median size of all numbers, so that a large
/// difference in every cycle is no burst.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRatios(pub Vec<f64>);

/// Scales after which a cycle's number has no weight.
pub(super) const CUT: f64 = 4.0;

impl Evidence for LogRatios {
    fn cycles(&self) -> usize {
        self.0.len()
    }

    fn signed(&self, n: usize, advantage: f64) -> Vec<f64> {
        let d: Vec<f64> = self.0[..n].iter().map(|d| d - advantage).collect();
        if d.is_empty() {
            return d;
        }
        let sizes: Vec<f64> = d.iter().map(|d| d.abs()).collect();
        let cut = CUT * NORMAL * median(&sizes);
        d.into_iter().map(|d| d * biweight(d / cut)).collect()
    }

    fn plain_ratios(&self, n: usize) -> Vec<f64> {
        self.0[..n].to_vec()
    }

    fn unweighted(&self, n: usize) -> Option<Vec<f64>> {
        (n > 0).then(|| self.0[..n].to_vec())
    }
}

/// `(1 - u²)²` within -1 and 1, and 0 beyond.
pub(super) fn biweight(u: f64) -> f64 {
    if u.abs() < 1.0 {
        (1.0 - u * u).powi(2)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::level::{CarryOver, Cycle, Level, Request, Visit};
    use super::*;
    use proptest::prelude::*;

    /// The estimate lies where the cycles are.
    fn is_among_cycles(evidence: &dyn Evidence) {
        for n in 1..=evidence.cycles() {
            let ratios = evidence.plain_ratios(n);
            let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let most = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let estimate = evidence.estimate(n).expect("an estimate");
            let distance = (estimate - median(&ratios)).abs();
            assert!(distance <= most - least + 1e-6, "{ratios:?}: {estimate}");
        }
    }

    /// A visit of three questions whose times are prolonged by so much.
    fn visit(at_s: f64, slower: f64, noise: &[f64]) -> Visit {
        let request = |(question, noise): (usize, &f64)| Request {
            question,
            tokens: 16,
            first_s: Some(0.01),
            time_s: 0.1 * (question + 1) as f64 * slower * noise,
        };
        Visit {
            at_s,
            requests: noise.iter().enumerate().map(request).collect(),
            control: None,
        }
    }

    proptest! {
        #[test]
        fn an_estimate_of_few_cycles_lies_among_them(
            ratios in prop::collection::vec(-1.0..1.0_f64, 1..6),
        ) {
            is_among_cycles(&LogRatios(ratios));
        }

        #[test]
        fn so_it_does_against_the_level(
            noise in prop::collection::vec(0.9..1.1_f64, 24),
            baseline_first in prop::collection::vec(any::<bool>(), 4),
            cycles in 1_usize..5,
        ) {
            let cycle = |index: usize| {
                let [first, second] = [0, 1].map(|half| {
                    let from = 6 * index + 3 * half;
                    let slower = if baseline_first[index] == (half == 1) { 1.1 } else { 1.0 };
                    visit((2 * index + half) as f64, slower, &noise[from..from + 3])
                });
                Cycle {
                    baseline_first: baseline_first[index],
                    is_followed: index + 1 < cycles,
                    visits: [first, second],
                }
            };
            let cycles: Vec<Cycle> = (0..cycles).map(cycle).collect();
            for carry_over in [CarryOver::Removed, CarryOver::None] {
                is_among_cycles(&Level::new(cycles.clone(), carry_over));
            }
        }
    }
}
