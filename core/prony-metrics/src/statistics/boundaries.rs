//! Critical values for looking at the data after every cycle.
//!
//! One look at level `alpha` errs with probability `alpha`; a look after each cycle
//! errs far more often (17 to 26 % at 5 %). So the error is spent bit by bit: up to look
//! `n` of at most `N` it may be `alpha (n / N)^1.5` (Lan & `DeMets` 1983; Kim & `DeMets`
//! 1987, power family).
//!
//! Under the null hypothesis the signs of the differences are fair coins, whatever
//! their distribution, so the critical values hold for every distribution that is
//! symmetric. They are found by simulation instead of a normal approximation, which
//! is poor for so few cycles.

mod table;

use super::random::Random;
use super::signed_rank::with_rank;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Before this look there is none: 5 differences of one sign are no rarity.
const FIRST_LOOK: usize = 6;

/// Exponent of the spending function: little early, most towards the end.
const RHO: f64 = 1.5;

/// Number of paths simulated for critical values that the table does not have.
/// The Monte Carlo error of the attained level is then below 0.0005.
const PATHS: usize = 200_000;

/// Below this error the simulated paths that reach it are too few to count on.
const MIN_SIMULATED: f64 = 0.001;

/// Beyond so many looks a simulation takes too long.
const MAX_SIMULATED: usize = 100;

/// Any; a fixed one, so that a run is judged the same way each time.
const SEED: u64 = 1;

/// The critical values of all looks.
///
/// A look at `n` differences rejects when `min(W+, W-) <= w(n)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Boundaries {
    /// The look with the first critical value.
    first: usize,
    /// From that look on.
    critical: Vec<usize>,
}

impl Boundaries {
    /// For at most `looks` looks with the two-sided error `alpha` over all of them.
    ///
    /// From the table, or simulated where it has none: about 0.2 s for 40 looks, growing
    /// with their square, once in a process. Below an error of 0.001, as with more than
    /// 40 comparisons, and beyond 100 looks they come from [`bound`].
    pub fn new(looks: usize, alpha: f64) -> Self {
        static KNOWN: Mutex<Known> = Mutex::new(Known {
            boundaries: BTreeMap::new(),
            paths: None,
        });
        let close = |other: f64| (other - alpha).abs() < 1e-9;
        let row = table::TABLE
            .iter()
            .find(|(most, error, ..)| *most == looks && close(*error));
        if let Some((_, _, first, critical)) = row {
            return Self {
                first: *first,
                critical: critical.iter().copied().map(usize::from).collect(),
            };
        }
        if alpha < MIN_SIMULATED || looks > MAX_SIMULATED {
            return bound(looks, alpha);
        }
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(looks, alpha)
    }

    /// The critical value at `n` differences; `None` where none of them can reject.
    pub fn critical(&self, n: usize) -> Option<usize> {
        let index = n.checked_sub(self.first)?;
        self.critical.get(index).copied()
    }

    /// The first look that can reject, if one can.
    pub fn first(&self) -> Option<usize> {
        (!self.critical.is_empty()).then_some(self.first)
    }
}

/// Results of earlier simulations.
struct Known {
    /// By looks, and by the bits of `alpha`.
    boundaries: BTreeMap<(usize, u64), Boundaries>,
    /// Of the last number of looks: they serve every `alpha`.
    paths: Option<Paths>,
}

impl Known {
    fn get(&mut self, looks: usize, alpha: f64) -> Boundaries {
        let key = (looks, alpha.to_bits());
        if let Some(known) = self.boundaries.get(&key) {
            return known.clone();
        }
        let paths = self.paths.take().filter(|paths| paths.looks == looks);
        let paths = paths.unwrap_or_else(|| Paths::simulate(looks, PATHS, SEED));
        let boundaries = generate(&paths, alpha);
        self.paths = Some(paths);
        self.boundaries.insert(key, boundaries.clone());
        boundaries
    }
}

/// Critical values without simulation, for any `alpha`: the errors of the looks are
/// exact, and added up as if they never coincided. So what they attain is at most
/// `alpha`, and less than what [`generate`] would allow.
///
/// Sums never fall from look to look. Of the runs that a critical value of an earlier
/// look would reject now, that look has rejected all, so they cost nothing again.
pub fn bound(looks: usize, alpha: f64) -> Boundaries {
    let mut boundaries = Boundaries {
        first: FIRST_LOOK,
        critical: Vec::new(),
    };
    let mut spent = 0.0;
    let mut probability = vec![1.0];
    for n in 1..=looks {
        probability = with_rank(&probability, n);
        if n < FIRST_LOOK {
            continue;
        }
        let room = budget(looks, alpha, n) - spent;
        let from = boundaries.critical.last().map_or(0, |before| before + 1);
        let costs = probability[from..=n * (n + 1) / 4]
            .iter()
            .scan(0.0, |sum, p| {
                *sum += 2.0 * p;
                Some(*sum)
            });
        let affordable: Vec<f64> = costs.take_while(|cost| *cost <= room).collect();
        spent += affordable.last().copied().unwrap_or(0.0);
        let next = from + affordable.len();
        if next == 0 {
            continue;
        }
        if boundaries.critical.is_empty() {
            boundaries.first = n;
        }
        boundaries.critical.push(next - 1);
    }
    boundaries
}

/// Error that [`Boundaries`] of `looks` looks may have spent by look `n`.
pub fn budget(looks: usize, alpha: f64, n: usize) -> f64 {
    alpha * (n as f64 / looks as f64).powf(RHO)
}

/// Simulated `min(W+, W-)` under the null hypothesis, of many runs.
#[derive(Debug, Clone)]
pub struct Paths {
    looks: usize,
    /// `smaller[n - 1][path]`, at look `n`.
    smaller: Vec<Vec<u32>>,
}

impl Paths {
    /// Of `paths` runs with `looks` differences each.
    pub fn simulate(looks: usize, paths: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut smaller = vec![Vec::with_capacity(paths); looks];
        let mut x = vec![0.0_f64; looks];
        for _ in 0..paths {
            x.fill_with(|| random.symmetric());
            let mut positive = 0;
            for (n, smaller) in smaller.iter_mut().enumerate() {
                // The Walsh averages that the new difference brings.
                let newest = x[n];
                let above = x[..=n].iter().filter(|x| **x + newest > 0.0).count();
                positive += above;
                let all = (n + 1) * (n + 2) / 2;
                smaller.push(positive.min(all - positive) as u32);
            }
        }
        Self { looks, smaller }
    }

    /// The errors of `boundaries` by each look, from look 1, as the shares of the runs
    /// that they have rejected.
    pub fn spent(&self, boundaries: &Boundaries) -> Vec<Spent> {
        let paths = self.smaller.first().map_or(0, Vec::len);
        let share = |count: usize| count as f64 / paths as f64;
        let mut alive = vec![true; paths];
        let mut dead = 0;
        let mut spent = Vec::with_capacity(self.looks);
        for (n, smaller) in (1..).zip(&self.smaller) {
            let critical = boundaries.critical(n);
            if let Some(critical) = critical {
                dead += kill(&mut alive, smaller, critical);
            }
            let next = critical.map_or(0, |critical| critical + 1);
            let left = alive.iter().zip(smaller).filter(|(alive, _)| **alive);
            let more = left.filter(|(_, it)| **it as usize == next).count();
            spent.push(Spent {
                error: share(dead),
                with_next: share(dead + more),
            });
        }
        spent
    }
}

/// The simulated error by some look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spent {
    /// Of the boundaries as they are.
    pub error: f64,
    /// If the critical value of this look were the next larger one.
    pub with_next: f64,
}

/// Takes away the runs that are rejected, and counts them.
fn kill(alive: &mut [bool], smaller: &[u32], critical: usize) -> usize {
    let mut killed = 0;
    for (alive, smaller) in alive.iter_mut().zip(smaller) {
        if *alive && *smaller as usize <= critical {
            *alive = false;
            killed += 1;
        }
    }
    killed
}

/// At each look the largest critical value that keeps the simulated error within its
/// budget, given the critical values of the looks before.
pub fn generate(paths: &Paths, alpha: f64) -> Boundaries {
    let count = paths.smaller.first().map_or(0, Vec::len);
    let mut alive = vec![true; count];
    let mut dead = 0;
    let mut boundaries = Boundaries {
        first: FIRST_LOOK,
        critical: Vec::new(),
    };
    for (n, smaller) in (1..).zip(&paths.smaller).skip(FIRST_LOOK - 1) {
        let left = budget(paths.looks, alpha, n) * count as f64 - dead as f64;
        let mut tally = vec![0_usize; n * (n + 1) / 2 + 1];
        for (_, smaller) in alive.iter().zip(smaller).filter(|(alive, _)| **alive) {
            tally[*smaller as usize] += 1;
        }
        let within = tally.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum as f64)
        });
        let Some(critical) = within.take_while(|sum| *sum <= left).count().checked_sub(1) else {
            // Once there is a critical value, the next look has one at least as large:
            // `W+` never falls, so nothing that is alive lies below it.
            continue;
        };
        // A sum that no run lies above is no reason for a larger value.
        let critical = critical.min(n * (n + 1) / 4);
        if boundaries.critical.is_empty() {
            boundaries.first = n;
        }
        boundaries.critical.push(critical);
        dead += kill(&mut alive, smaller, critical);
    }
    boundaries
}
