//! Test of a difference between the engines' quantiles over all cycles.

use super::random::Random;

/// Random swaps of a test: the smallest p value is then 0.0001.
pub const RESAMPLES: u32 = 9999;

/// The latencies of one cycle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cycle<'a> {
    /// Of the baseline.
    pub baseline: &'a [f64],
    /// Of the candidate.
    pub candidate: &'a [f64],
}

/// A permutation test of a pooled quantile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelSwap {
    /// `ln(quantile of candidate / quantile of baseline)`.
    pub log_ratio: f64,
    /// Two-sided p value.
    pub p_value: f64,
}

/// Tests the `p` quantile over all cycles by swapping the engines' labels per cycle
/// with fair coins: `T = |ln q(candidate) - ln q(baseline)|`,
/// `p = (1 + #{T* >= T}) / (resamples + 1)` (Phipson & Smyth 2010).
///
/// The coin that drew the order of each cycle makes it exact, for one test at the end
/// of a run. `None` if an engine has no latencies.
pub fn label_swap(cycles: &[Cycle<'_>], p: f64, resamples: u32, seed: u64) -> Option<LabelSwap> {
    if cycles.iter().all(|cycle| cycle.baseline.is_empty())
        || cycles.iter().all(|cycle| cycle.candidate.is_empty())
    {
        return None;
    }
    let pool = Pool::new(cycles, p);
    let mut random = Random::new(seed);
    let mut swaps = vec![false; cycles.len()];
    let observed = pool.log_ratio(&swaps);
    let mut reached = 0;
    for _ in 0..resamples {
        swaps.fill_with(|| random.coin());
        reached += u32::from(pool.log_ratio(&swaps).abs() >= observed.abs());
    }
    Some(LabelSwap {
        log_ratio: observed,
        p_value: (1.0 + f64::from(reached)) / (f64::from(resamples) + 1.0),
    })
}

/// All latencies in one order. Swapping labels changes whose they are and not the order, so
/// a high quantile is found a few steps from the top, however many there are.
struct Pool {
    p: f64,
    /// Number of values of baseline and candidate in each cycle.
    sizes: Vec<[usize; 2]>,
    /// From the largest on: latency, cycle, and whether it is of the candidate.
    values: Vec<(f64, usize, bool)>,
}

impl Pool {
    fn new(cycles: &[Cycle<'_>], p: f64) -> Self {
        let mut values = Vec::new();
        for (cycle, it) in cycles.iter().enumerate() {
            values.extend(it.baseline.iter().map(|value| (*value, cycle, false)));
            values.extend(it.candidate.iter().map(|value| (*value, cycle, true)));
        }
        values.sort_by(|a, b| b.0.total_cmp(&a.0));
        let sizes = cycles
            .iter()
            .map(|it| [it.baseline.len(), it.candidate.len()]);
        Self {
            p,
            sizes: sizes.collect(),
            values,
        }
    }

    /// The log ratio when the labels of a cycle are swapped wherever `swaps` says so.
    fn log_ratio(&self, swaps: &[bool]) -> f64 {
        let mut sizes = [0, 0];
        for (of_cycle, swap) in self.sizes.iter().zip(swaps) {
            sizes[0] += of_cycle[usize::from(*swap)];
            sizes[1] += of_cycle[usize::from(!*swap)];
        }
        if sizes.contains(&0) {
            // All on one side: as far from equal as can be.
            return f64::INFINITY;
        }
        let mut searches = sizes.map(|size| Search::new(size, self.p));
        for (value, cycle, candidate) in &self.values {
            searches[usize::from(candidate ^ swaps[*cycle])].see(*value);
            if let [Some(baseline), Some(candidate)] = [searches[0].found, searches[1].found] {
                return candidate.ln() - baseline.ln();
            }
        }
        unreachable!("the walk ends where the smallest latency is")
    }
}

/// Looks for the quantile of one engine in its latencies, the largest first.
struct Search {
    /// Number of values before the two that the quantile lies between.
    left: usize,
    /// Position above the lower one, 0 to 1.
    share: f64,
    above: Option<f64>,
    found: Option<f64>,
}

impl Search {
    /// Of type 7, as [`quantile`](super::quantile::quantile); `size` is not zero.
    fn new(size: usize, p: f64) -> Self {
        let at = (size - 1) as f64 * p;
        // The upper one of the two; the same where the quantile is one of the latencies.
        let upper = at.ceil() as usize;
        Self {
            left: size - 1 - upper,
            share: at - at.floor(),
            above: None,
            found: None,
        }
    }

    fn see(&mut self, value: f64) {
        if self.left > 0 {
            self.left -= 1;
        } else if self.found.is_none() {
            match self.above {
                None if self.share > 0.0 => self.above = Some(value),
                None => self.found = Some(value),
                Some(above) => self.found = Some(value + (above - value) * self.share),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::quantile::quantile;

    /// The walk from the top finds what sorting each side anew would.
    #[test]
    fn it_is_the_quantile_of_type_7() {
        let mut random = Random::new(5);
        let mut latencies = |n: usize| -> Vec<f64> {
            std::iter::repeat_with(|| 1.0 + (random.symmetric().abs() % 50.0).floor())
                .take(n)
                .collect()
        };
        let sides: Vec<[Vec<f64>; 2]> = [(7, 5), (1, 9), (12, 12), (4, 0)]
            .map(|(a, b)| [latencies(a), latencies(b)])
            .into();
        let cycles: Vec<Cycle<'_>> = sides
            .iter()
            .map(|[baseline, candidate]| Cycle {
                baseline,
                candidate,
            })
            .collect();
        for p in [0.0, 0.3, 0.5, 0.9, 0.99, 1.0] {
            let pool = Pool::new(&cycles, p);
            for bits in 0..16_u32 {
                let swaps: Vec<bool> = (0..4).map(|cycle| bits >> cycle & 1 == 1).collect();
                let mut pooled = [Vec::new(), Vec::new()];
                for (side, swap) in sides.iter().zip(&swaps) {
                    pooled[0].extend(&side[usize::from(*swap)]);
                    pooled[1].extend(&side[usize::from(!*swap)]);
                }
                let [baseline, candidate] = pooled.map(|mut all| {
                    all.sort_by(f64::total_cmp);
                    quantile(&all, p).ln()
                });
                let found = pool.log_ratio(&swaps);
                assert!(
                    (found - (candidate - baseline)).abs() < 1e-12,
                    "{p} {swaps:?}"
                );
            }
        }
    }
}
