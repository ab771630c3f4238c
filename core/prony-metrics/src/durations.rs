//! Many durations, and their exact quantiles in bounded memory.
//!
//! Requests are counted in millions at most, the gaps between their texts in hundreds of
//! millions. While there are few they are kept. Beyond, they are *reread*: once to
//! count them by size, in buckets of 0.1 % width, and once more to collect those few buckets
//! that hold the ranks asked for. What comes out is exact in both cases.

use crate::statistics::quantile::{median_ranks, min_samples_for_quantile};
use prony_result::Distribution;
use std::collections::{BTreeMap, BTreeSet};

const MS: f64 = 1e6;
/// Durations that are sorted in memory, at most: 16 MiB.
const MAX_SORTED: u64 = 2 << 20;

/// Durations as they are found.
#[derive(Debug, Clone, Default)]
pub struct Durations {
    n: u64,
    /// All of them, in nanoseconds; empty once they were forgotten.
    kept: Vec<u64>,
    forgotten: bool,
}

impl Durations {
    /// Takes in more. Returns how many it keeps of them.
    pub fn extend(&mut self, ns: impl Iterator<Item = u64>) -> usize {
        let before = self.kept.len();
        if self.forgotten {
            self.n += ns.count() as u64;
        } else {
            self.kept.extend(ns);
            self.n += (self.kept.len() - before) as u64;
        }
        self.kept.len() - before
    }

    /// Takes in so many of which none is kept.
    pub fn count(&mut self, more: u64) {
        self.forget();
        self.n += more;
    }

    /// Frees their memory.
    pub fn forget(&mut self) {
        self.kept = Vec::new();
        self.forgotten = true;
    }

    /// Sorts them, as far as quantiles need it. `reread` calls back with every duration again,
    /// in any order, and is called only if they were forgotten.
    ///
    /// # Errors
    ///
    /// The error of `reread`.
    pub fn sorted<E>(
        &self,
        mut reread: impl FnMut(&mut dyn FnMut(u64)) -> Result<(), E>,
    ) -> Result<Sorted, E> {
        if !self.forgotten {
            return Ok(Sorted::of(self.kept.clone()));
        }
        if self.n <= MAX_SORTED {
            let mut all = Vec::with_capacity(self.n as usize);
            reread(&mut |ns| all.push(ns))?;
            return Ok(Sorted::of(all));
        }
        let mut counted = Counted::default();
        reread(&mut |ns| counted.add(ns))?;
        if counted.n == 0 {
            return Ok(Sorted::of(Vec::new()));
        }
        counted.choose();
        reread(&mut |ns| counted.collect(ns))?;
        let sorted = Sorted(Values::Counted(Box::new(counted)));
        // Where the two values in the middle are far apart, the limit was not known before.
        let limit = bucket_of(sorted.stall_limit());
        let Values::Counted(mut counted) = sorted.0 else {
            return Ok(sorted);
        };
        if !counted.chosen.contains(&limit) {
            counted.chosen = BTreeSet::from([limit]);
            reread(&mut |ns| counted.collect(ns))?;
        }
        Ok(Sorted(Values::Counted(counted)))
    }
}

/// Durations in order, of which the quantiles that results have can be read.
#[derive(Debug, Clone)]
pub struct Sorted(Values);

#[derive(Debug, Clone)]
enum Values {
    All(Vec<u64>),
    Counted(Box<Counted>),
}

impl Sorted {
    /// Of durations in any order, in nanoseconds.
    pub(crate) fn of(mut all: Vec<u64>) -> Self {
        all.sort_unstable();
        Self(Values::All(all))
    }

    /// All of them in order, in nanoseconds; `None` if there were too many to keep.
    pub(crate) fn kept(&self) -> Option<&[u64]> {
        match &self.0 {
            Values::All(all) => Some(all),
            Values::Counted(_) => None,
        }
    }

    /// Number of durations.
    pub(crate) fn len(&self) -> u64 {
        match &self.0 {
            Values::All(all) => all.len() as u64,
            Values::Counted(counted) => counted.n,
        }
    }

    /// Returns `true` without any.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Value at an index from 0, in nanoseconds: one that a quantile of results needs.
    fn at(&self, index: u64) -> u64 {
        match &self.0 {
            Values::All(all) => all[index as usize],
            Values::Counted(counted) => counted.at(index),
        }
    }

    /// Quantile of type 7, in nanoseconds, of at least one duration.
    pub(crate) fn quantile(&self, p: f64) -> f64 {
        self.quantile_in(1.0, p)
    }

    /// The value at an index from 0 next to the quantile `p`, in nanoseconds; see
    /// [`Sorted::quantile`].
    pub(crate) fn near(&self, index: u64) -> u64 {
        self.at(index.min(self.len() - 1))
    }

    /// The largest, in nanoseconds, of at least one.
    pub(crate) fn max(&self) -> u64 {
        self.at(self.len() - 1)
    }

    /// Sum of all, in nanoseconds.
    pub(crate) fn sum(&self) -> f64 {
        match &self.0 {
            Values::All(all) => all.iter().map(|ns| *ns as f64).sum(),
            Values::Counted(counted) => counted.sum as f64,
        }
    }

    /// Time from which on they are stalls, in nanoseconds; of at least one.
    fn stall_limit(&self) -> f64 {
        STALL * self.quantile(0.5)
    }

    /// Sum of stalls, in nanoseconds, of at least one duration: those that are longer than five
    /// times the median.
    pub(crate) fn stalls(&self) -> f64 {
        let limit = self.stall_limit();
        match &self.0 {
            Values::All(all) => {
                let above = all.iter().map(|ns| *ns as f64).filter(|ns| *ns > limit);
                // From 0, since the sum of nothing is -0.
                above.fold(0.0, |sum, ns| sum + ns)
            }
            Values::Counted(counted) => counted.sum_above(limit) as f64,
        }
    }

    /// Number of durations of no time.
    pub(crate) fn zeros(&self) -> u64 {
        match &self.0 {
            Values::All(all) => all.partition_point(|ns| *ns == 0) as u64,
            Values::Counted(counted) => counted.buckets[0].0,
        }
    }

    /// Mean in milliseconds, of at least one.
    pub(crate) fn mean_ms(&self) -> f64 {
        let n = self.len() as f64;
        match &self.0 {
            Values::All(all) => all.iter().map(|ns| *ns as f64 / MS).sum::<f64>() / n,
            Values::Counted(counted) => counted.sum as f64 / MS / n,
        }
    }

    /// Quantile of type 7, in milliseconds, of at least one duration.
    pub(crate) fn quantile_ms(&self, p: f64) -> f64 {
        self.quantile_in(MS, p)
    }

    /// Quantile of type 7, in a unit of so many nanoseconds, of at least one duration.
    fn quantile_in(&self, unit: f64, p: f64) -> f64 {
        let [below, above] = quantile_ranks(self.len(), p);
        let at = (self.len() - 1) as f64 * p;
        let (low, high) = (self.at(below) as f64 / unit, self.at(above) as f64 / unit);
        low + (high - low) * (at - below as f64)
    }

    /// As [`distribution`](crate::statistics::distribution) of the same, in milliseconds.
    pub(crate) fn distribution_ms(&self) -> Option<Distribution> {
        let n = self.len();
        if n == 0 {
            return None;
        }
        let ms = |index: u64| self.at(index) as f64 / MS;
        let percentile = |p| (n >= min_samples_for_quantile(p)).then(|| self.quantile_ms(p));
        let [low, high] = median_interval(n);
        let (p50_low, p50_high) = low.zip(high).unzip();
        Some(Distribution {
            n,
            mean: self.mean_ms(),
            min: ms(0),
            p50: self.quantile_ms(0.5),
            p50_low: p50_low.map(ms),
            p50_high: p50_high.map(ms),
            p90: percentile(0.9),
            p95: percentile(0.95),
            p99: percentile(0.99),
            max: ms(n - 1),
        })
    }
}

/// Bits of a duration below its highest that choose its bucket: 0.1 % of it.
const BITS: u32 = 10;
const PER_OCTAVE: usize = 1 << BITS;
const BUCKETS: usize = (64 - BITS as usize + 1) * PER_OCTAVE;
/// Times the median beyond which a gap is a stall.
const STALL: f64 = 5.0;

/// Durations counted by size.
#[derive(Debug, Clone)]
struct Counted {
    n: u64,
    sum: u128,
    /// Number and sum of the durations of each bucket.
    buckets: Vec<(u64, u128)>,
    /// Buckets whose values are told apart.
    chosen: BTreeSet<usize>,
    /// Their values, and how often each occurs.
    values: BTreeMap<u64, u64>,
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            n: 0,
            sum: 0,
            buckets: vec![(0, 0); BUCKETS],
            chosen: BTreeSet::new(),
            values: BTreeMap::new(),
        }
    }
}

/// Bucket of a duration: below 2^10 its own, then 2^10 for each power of 2.
fn bucket(ns: u64) -> usize {
    let octave = (u64::BITS - ns.leading_zeros()).saturating_sub(BITS + 1);
    octave as usize * PER_OCTAVE + (ns >> octave) as usize
}

impl Counted {
    fn add(&mut self, ns: u64) {
        self.n += 1;
        self.sum += u128::from(ns);
        let (count, sum) = &mut self.buckets[bucket(ns)];
        *count += 1;
        *sum += u128::from(ns);
    }

    /// Bucket of the value at an index, and the number of values in those before it.
    fn bucket_at(&self, index: u64) -> (usize, u64) {
        let mut before = 0;
        for (number, (count, _)) in self.buckets.iter().enumerate() {
            if before + count > index {
                return (number, before);
            }
            before += count;
        }
        (self.buckets.len() - 1, before)
    }

    /// Chooses the buckets that quantiles of results lie in, and the limit of stalls.
    fn choose(&mut self) {
        let n = self.n;
        let last = n - 1;
        let mut ranks: Vec<u64> = vec![0, last];
        for p in [0.5, 0.9, 0.95, 0.99] {
            let [below, above] = quantile_ranks(n, p);
            // Other ways to find a quantile take a neighbour.
            ranks.extend([below.saturating_sub(1), below, above, (above + 1).min(last)]);
        }
        ranks.extend(median_interval(n).into_iter().flatten());
        let chosen: BTreeSet<usize> = ranks.iter().map(|it| self.bucket_at(*it).0).collect();
        self.chosen = chosen;
        let median = self.bucket_at(quantile_ranks(n, 0.5)[0]).0;
        let limit = |bucket| bucket_of(STALL * first_of(bucket) as f64);
        self.chosen.extend(limit(median)..=limit(median + 1));
    }

    fn collect(&mut self, ns: u64) {
        if self.chosen.contains(&bucket(ns)) {
            *self.values.entry(ns).or_insert(0) += 1;
        }
    }

    fn at(&self, index: u64) -> u64 {
        let (number, mut before) = self.bucket_at(index);
        for (value, count) in self.values.range(first_of(number)..) {
            before += count;
            if before > index {
                return *value;
            }
        }
        debug_assert!(false, "the bucket of rank {index} was not chosen");
        first_of(number)
    }

    fn sum_above(&self, limit: f64) -> u128 {
        let number = bucket_of(limit);
        let beyond = self.buckets.iter().skip(number + 1);
        let whole: u128 = beyond.map(|it| it.1).sum();
        let own = self.values.range(first_of(number)..first_of(number + 1));
        let part = own.filter(|(value, _)| **value as f64 > limit);
        whole
            + part
                .map(|(value, count)| u128::from(*value) * u128::from(*count))
                .sum::<u128>()
    }
}

/// Bucket of a time that need not be whole.
fn bucket_of(ns: f64) -> usize {
    bucket(ns as u64)
}

/// The smallest duration of a bucket.
fn first_of(number: usize) -> u64 {
    let octave = (number / PER_OCTAVE).saturating_sub(1) as u32;
    let within = (number - octave as usize * PER_OCTAVE) as u64;
    u64::try_from(u128::from(within) << octave).unwrap_or(u64::MAX)
}

/// Indices from 0 of the values that a quantile of type 7 lies between, of at least one.
fn quantile_ranks(n: u64, p: f64) -> [u64; 2] {
    let below = ((n - 1) as f64 * p).floor() as u64;
    [below, (below + 1).min(n - 1)]
}

/// Indices from 0 of the ends of the median's interval, where there are such.
fn median_interval(n: u64) -> [Option<u64>; 2] {
    let (low, high) = median_ranks(n);
    [low.checked_sub(1), Some(high - 1).filter(|it| *it < n)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::{distribution, quantile};
    use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

    /// The same by counting, whatever the number.
    fn counted(all: &[u64]) -> Sorted {
        let durations = Durations {
            n: MAX_SORTED + 1,
            kept: Vec::new(),
            forgotten: true,
        };
        let mut calls = 0;
        let sorted = durations.sorted(|see| {
            calls += 1;
            for ns in all {
                see(*ns);
            }
            Ok::<(), ()>(())
        });
        assert!((2..=3).contains(&calls));
        sorted.expect("no error")
    }

    fn check(all: &[u64]) {
        let ms = all.iter().map(|ns| *ns as f64 / MS);
        let wanted = distribution(ms.collect());
        let (kept, counted) = (Sorted::of(all.to_vec()), counted(all));
        assert_eq!(kept.distribution_ms(), wanted, "bit by bit");
        let (mut wanted, found) = (wanted.expect("some"), counted.distribution_ms());
        let found = found.expect("some");
        assert!((found.mean / wanted.mean - 1.0).abs() < 1e-12 || wanted.mean < 1e-12);
        wanted.mean = found.mean;
        assert_eq!(found, wanted, "all but the mean bit by bit");
        assert_eq!(kept.zeros(), counted.zeros());
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs();
        assert!(near(kept.sum(), counted.sum()));
        assert!(near(kept.stalls(), counted.stalls()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn counting_finds_what_sorting_finds(
            all in proptest::collection::vec(0_u64..50_000_000_000, 1..700),
            shift in 0_u32..36,
        ) {
            let all: Vec<u64> = all.into_iter().map(|ns| ns >> shift).collect();
            check(&all);
        }

        #[test]
        fn a_bucket_holds_its_values(ns in any::<u64>(), shift in 0_u32..64) {
            let ns = ns >> shift;
            let number = bucket(ns);
            prop_assert!(number < BUCKETS && first_of(number) <= ns);
            prop_assert!(ns < first_of(number + 1) || ns > u64::MAX - (1 << 54));
            prop_assert_eq!(bucket(first_of(number)), number);
        }
    }

    #[test]
    fn values_in_the_middle_that_are_far_apart_are_found() {
        let all: Vec<u64> = (0..600)
            .map(|i| {
                if i < 300 {
                    1_000 + i
                } else {
                    90_000_000 + 999_983 * i
                }
            })
            .collect();
        check(&all);
        let sorted = Sorted::of(all);
        assert!((sorted.quantile(0.5) - quantile(&[1_299.0, 389_994_900.0], 0.5)).abs() < 1.0);
        assert!(sorted.stalls() == 0.0);
    }

    #[test]
    fn what_was_forgotten_is_read_again() {
        let mut durations = Durations::default();
        assert_eq!(durations.extend([3, 1].into_iter()), 2);
        durations.forget();
        assert_eq!(durations.extend([2].into_iter()), 0);
        assert_eq!(durations.n, 3);
        let sorted = durations.sorted(|see| {
            [3, 1, 2].into_iter().for_each(see);
            Ok::<(), ()>(())
        });
        assert_eq!(sorted.expect("no error").at(1), 2);
    }
}
