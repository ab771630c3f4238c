//! Coins that might have fallen otherwise: the test that the order of the engines gives.
//!
//! In each cycle a fair coin decides which engine is measured first. If the engines are
//! equal, the other orders would have given the same numbers. So a score `T = Σ s_c g_c`, of
//! coins `s_c` and of contributions `g_c` that do not know the coins, is compared with what
//! it would have been in other orders, whatever the machine did.
//!
//! Of the `2^n` orders a subgroup of `2^14` is enough: those of the dual of the BCH code
//! (127, 113), in which any four coins are independent, so mean, variance and
//! fourth moment of `T` are those over all orders (`MacWilliams` & Sloane 1977, chapter 9). Of
//! up to 14 cycles in a row all orders are there.
//!
//! After each cycle the orders with the largest scores are removed, at most
//! `alpha (n / N)^1.5` of all by cycle `n` of `N` (Lan & `DeMets` 1983; Kim & `DeMets` 1987,
//! power family). Whichever of the orders really was, the same ones are removed, and each was
//! equally likely to be it. So the chance that it is ever removed is at most `alpha`: exactly,
//! on any machine, even if the contributions are computed anew after each cycle.

use prony_result::rule;
use statrs::function::erf::erfc;

/// Number of orders that are compared.
pub const ORDERS: usize = 1 << rule::ORDERS_LOG2;

/// The most cycles that the code has coins for.
pub const MAX_CYCLES: usize = rule::MAX_CYCLES as usize;

/// The first cycle after which something is tested.
pub const FIRST_LOOK: usize = rule::FIRST_LOOK as usize;

/// Sum of the sizes of all scores, as integers.
const SCALE: f64 = (1 << 30) as f64;

/// The columns of the check matrix: `a^c` and `a^3c` in GF(2^7) with `x^7 + x^3 + 1`. Order
/// `i` turns the coin of cycle `c` if `i` and column `c` share an odd number of bits.
pub const fn columns() -> [u16; MAX_CYCLES] {
    let mut powers = [1_u16; MAX_CYCLES];
    let mut c = 1;
    while c < MAX_CYCLES {
        let next = powers[c - 1] << 1;
        powers[c] = if next & 0x80 == 0 { next } else { next ^ 0x89 };
        c += 1;
    }
    let mut columns = [0; MAX_CYCLES];
    let mut c = 0;
    while c < MAX_CYCLES {
        columns[c] = powers[c] | powers[3 * c % MAX_CYCLES] << 7;
        c += 1;
    }
    columns
}

const COLUMNS: [u16; MAX_CYCLES] = columns();

/// The scores of all orders, from `s_c g_c` of each cycle, in units of `Σ |g_c| / 2^30`; the
/// first is that of the order that was. Empty if all are zero.
///
/// They are whole numbers, so that equal scores are equal on any processor.
pub fn scores(signed: &[f64]) -> Vec<i32> {
    let size: f64 = signed.iter().map(|it| it.abs()).sum();
    let known = size.is_finite() && size > 0.0;
    if !known || signed.len() > MAX_CYCLES {
        return Vec::new();
    }
    let mut sums = vec![0_i32; ORDERS];
    for (column, score) in COLUMNS.iter().zip(signed) {
        sums[usize::from(*column)] = (score / size * SCALE).round() as i32;
    }
    // The Walsh-Hadamard transform: all sums over the signs at once.
    let mut half = 1;
    while half < ORDERS {
        for block in sums.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    sums
}

/// The orders that `alpha` lets the looks at up to `n` of `cycles` cycles remove.
pub fn budget(cycles: usize, alpha: f64, n: usize) -> usize {
    let share = (n as f64 / cycles as f64).powf(rule::SPENDING);
    (alpha * share * ORDERS as f64 + 1e-9).floor() as usize
}

/// The first look that can reject, if one can: by then `alpha` pays for all coins falling
/// alike, and, two-sided, for all of them falling the other way.
pub fn first_look(cycles: usize, alpha: f64, tail: Tail) -> Option<usize> {
    let sides = if tail == Tail::Both { 2 } else { 1 };
    let alike = |n: usize| sides * (ORDERS >> n.min(rule::ORDERS_LOG2 as usize));
    (FIRST_LOOK..=cycles.min(MAX_CYCLES))
        .find(|n| budget(cycles, alpha, *n) >= alike(*n).max(sides))
}

/// Scores that speak against a hypothesis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Large ones of either sign.
    Both,
    /// Large positive ones: the candidate is faster than the hypothesis says.
    Faster,
    /// Large negative ones: it is slower.
    Slower,
}

/// A test of one hypothesis, after every cycle.
#[derive(Debug, Clone)]
pub struct Test {
    cycles: usize,
    alpha: f64,
    tail: Tail,
    removed: Vec<bool>,
    count: usize,
}

impl Test {
    /// Of at most `cycles` cycles, with the error `alpha` over all looks.
    pub fn new(cycles: usize, alpha: f64, tail: Tail) -> Self {
        Self {
            cycles,
            alpha,
            tail,
            removed: vec![false; ORDERS],
            count: 0,
        }
    }

    /// Looks at `s_c g_c` of the cycles so far. Returns `true` if the hypothesis is rejected:
    /// the order that was is among those removed now. Looks must be in the order of cycles.
    pub fn look(&mut self, signed: &[f64]) -> bool {
        let n = signed.len();
        let allowed = budget(self.cycles, self.alpha, n).saturating_sub(self.count);
        if n < FIRST_LOOK || allowed == 0 || allowed >= ORDERS - self.count {
            return false;
        }
        let mut scores = scores(signed);
        if scores.is_empty() {
            return false;
        }
        for (score, removed) in scores.iter_mut().zip(&self.removed) {
            let against = match self.tail {
                Tail::Both => score.abs(),
                Tail::Faster => *score,
                Tail::Slower => -*score,
            };
            *score = if *removed { i32::MIN } else { against };
        }
        let mut sorted = scores.clone();
        let at = ORDERS - 1 - allowed;
        let (_, edge, _) = sorted.select_nth_unstable(at);
        // Scores that differ by no more than their rounding are equal, and equal ones stay.
        let edge = edge.saturating_add(rounding(n));
        for (score, removed) in scores.iter().zip(&mut self.removed) {
            if *score > edge {
                *removed = true;
                self.count += 1;
            }
        }
        self.removed[0]
    }

    /// Number of orders removed so far.
    pub fn removed(&self) -> usize {
        self.count
    }
}

/// By how much rounding may move apart two equal scores of `n` cycles: a unit for each.
fn rounding(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// The two-sided p value of a single look: the share of orders whose score is at least as
/// large as that of the order that was. 1 if all scores are zero.
///
/// Of more than [`MAX_CYCLES`] cycles the score is nearly normal, with the variance `Σ g_c²`.
pub fn p_value(signed: &[f64]) -> f64 {
    if signed.len() > MAX_CYCLES {
        let squares: f64 = signed.iter().map(|it| it * it).sum();
        let z = signed.iter().sum::<f64>() / squares.sqrt();
        // Without scores `z` is no number.
        return if squares > 0.0 {
            erfc(z.abs() / std::f64::consts::SQRT_2)
        } else {
            1.0
        };
    }
    let scores = scores(signed);
    let Some(own) = scores.first().map(|it| it.abs()) else {
        return 1.0;
    };
    let least = own - rounding(signed.len());
    let as_large = scores.iter().filter(|it| it.abs() >= least);
    as_large.count() as f64 / ORDERS as f64
}
