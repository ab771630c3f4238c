//! Energy distances of samples (Székely & Rizzo 2013), with absolute differences (α = 1), and
//! their permutation tests.

use super::ARRANGEMENTS;
use crate::statistics::random::Random;

/// The best place to divide values in two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Division {
    /// Index of the first value of the second part.
    pub(super) index: usize,
    /// Its statistic: the energy distance, scaled.
    pub(super) statistic: f64,
}

/// `2 (cross - m within_1 / (n - 1) - n within_2 / (m - 1)) / (n + m)`, of sums over pairs: `Q` of
/// Matteson & James (2014), eq. 6 and 7. A single value has no pairs.
fn scaled(sizes: [usize; 2], cross: f64, within: [f64; 2]) -> f64 {
    let [n, m] = sizes.map(|size| size as f64);
    let mean_of = |within: f64, size: f64| {
        if size > 1.0 {
            within / (size - 1.0)
        } else {
            0.0
        }
    };
    2.0 * (cross - m * mean_of(within[0], n) - n * mean_of(within[1], m)) / (n + m)
}

/// Sums of absolute differences over the pairs of any range of values.
pub(super) struct Pairs {
    values: usize,
    sums: Vec<f64>,
}

impl Pairs {
    pub(super) fn new(values: usize) -> Self {
        Self {
            values,
            sums: vec![0.0; (values + 1) * (values + 1)],
        }
    }

    fn at(&self, start: usize, end: usize) -> f64 {
        self.sums[start * (self.values + 1) + end]
    }

    fn fill(&mut self, values: &[f64]) {
        let width = self.values + 1;
        for start in (0..values.len()).rev() {
            // Of this value with all before the end.
            let mut own = 0.0;
            for end in start + 2..=values.len() {
                own += (values[start] - values[end - 1]).abs();
                self.sums[start * width + end] = self.sums[(start + 1) * width + end] + own;
            }
        }
    }

    /// The best division of the first values, whatever comes behind it: of all `index` and `end`
    /// with the parts `..index` and `index..end`, so that two changes do not hide one another.
    pub(super) fn best(&mut self, values: &[f64]) -> Option<Division> {
        self.fill(values);
        let mut best: Option<Division> = None;
        for index in 1..values.len() {
            let before = self.at(0, index);
            for end in index + 1..=values.len() {
                let behind = self.at(index, end);
                let cross = self.at(0, end) - before - behind;
                let statistic = scaled([index, end - index], cross, [before, behind]);
                if best.is_none_or(|best| statistic > best.statistic) {
                    best = Some(Division { index, statistic });
                }
            }
        }
        best
    }
}

/// The p value of a statistic that `draw` gives for a random arrangement of the values:
/// `(1 + reached) / (1 + drawn)` (Phipson & Smyth 2010). It ends as soon as it cannot be
/// `limit` or below any more (Besag & Clifford 1991).
pub(super) fn drawn(observed: f64, limit: f64, mut draw: impl FnMut() -> f64) -> f64 {
    let most = limit * f64::from(ARRANGEMENTS + 1);
    let (mut reached, mut drawn) = (0_u32, 0_u32);
    while drawn < ARRANGEMENTS && f64::from(reached) < most {
        drawn += 1;
        reached += u32::from(reaches(draw(), observed));
    }
    f64::from(1 + reached) / f64::from(1 + drawn)
}

/// Equal values in another order add up to sums that differ in their last digits.
fn reaches(statistic: f64, observed: f64) -> bool {
    statistic >= observed - 1e-9 * observed.abs()
}

/// Two samples for a test at a fixed division.
pub(super) struct TwoSamples {
    /// All values, sorted.
    sorted: Vec<f64>,
    /// `true` for those of the second sample, in the same order.
    is_second: Vec<bool>,
    /// Sum over all pairs.
    total: f64,
    observed: f64,
}

impl TwoSamples {
    pub(super) fn new(first: &[f64], second: &[f64]) -> Self {
        let of = |values: &[f64], second: bool| {
            let values = values.iter().map(|value| (*value, second));
            values.collect::<Vec<_>>()
        };
        let mut all = of(first, false);
        all.extend(of(second, true));
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (sorted, is_second): (Vec<f64>, Vec<bool>) = all.into_iter().unzip();
        let mut samples = Self {
            total: 0.0,
            observed: 0.0,
            sorted,
            is_second,
        };
        samples.total = samples.within(None);
        samples.observed = samples.statistic(&samples.is_second);
        samples
    }

    /// Sum over the pairs of all values, or of those of which `of` gives its flag.
    fn within(&self, of: Option<(&[bool], bool)>) -> f64 {
        let (mut count, mut sum, mut pairs) = (0.0, 0.0, 0.0);
        for (at, value) in self.sorted.iter().enumerate() {
            if of.is_some_and(|(flags, flag)| flags[at] != flag) {
                continue;
            }
            pairs += count * value - sum;
            count += 1.0;
            sum += value;
        }
        pairs
    }

    fn statistic(&self, is_second: &[bool]) -> f64 {
        let within = [false, true].map(|flag| self.within(Some((is_second, flag))));
        let second = is_second.iter().filter(|it| **it).count();
        let cross = self.total - within[0] - within[1];
        scaled([is_second.len() - second, second], cross, within)
    }

    /// The p value of both being from one distribution; beyond `limit` a rough one. Exact where
    /// there are few arrangements.
    pub(super) fn p_value(&self, limit: f64, seed: u64) -> f64 {
        let second = self.is_second.iter().filter(|it| **it).count();
        match arrangements(self.sorted.len(), second) {
            Some(all) if all <= u64::from(ARRANGEMENTS) => self.enumerated(second, all),
            _ => {
                let mut random = Random::new(seed);
                let mut flags = self.is_second.clone();
                drawn(self.observed, limit, || {
                    shuffle(&mut flags, &mut random);
                    self.statistic(&flags)
                })
            }
        }
    }

    fn enumerated(&self, second: usize, all: u64) -> f64 {
        let values = self.sorted.len();
        let mut chosen: Vec<usize> = (0..second).collect();
        let mut reached = 0_u64;
        loop {
            let mut flags = vec![false; values];
            for at in &chosen {
                flags[*at] = true;
            }
            reached += u64::from(reaches(self.statistic(&flags), self.observed));
            // The next combination: the last index that can still move, and those behind it.
            let movable = (0..second)
                .rev()
                .find(|at| chosen[*at] < values - second + at);
            let Some(movable) = movable else {
                return reached as f64 / all as f64;
            };
            chosen[movable] += 1;
            for at in movable + 1..second {
                chosen[at] = chosen[at - 1] + 1;
            }
        }
    }
}

/// Number of ways to choose `second` of `values`; `None` beyond 64 bits.
pub(super) fn arrangements(values: usize, second: usize) -> Option<u64> {
    let fewer = second.min(values.checked_sub(second)?) as u64;
    (0..fewer).try_fold(1_u64, |product, at| {
        Some(product.checked_mul(values as u64 - at)? / (at + 1))
    })
}

/// Fisher and Yates.
pub(super) fn shuffle<T>(values: &mut [T], random: &mut Random) {
    for at in (1..values.len()).rev() {
        values.swap(at, random.below(at + 1));
    }
}
