//! Bets on the coins: a test without a last cycle.
//!
//! If the engines are equal, a bet on the coin `s_c` of a cycle is fair: a player who puts
//! `λ u_c` on it, in which `u_c` is the cycle's contribution over the scale of those so far,
//! multiplies the stake by `exp(λ s_c u_c) / cosh(λ u_c)`, and 1 is the mean of both outcomes.
//! Neither `u_c` nor `λ` know the coin. So the stake is a martingale, and the chance that it
//! ever reaches `1 / alpha` is at most `alpha` (Ville 1939), however many cycles there are,
//! whoever ends them, and for whatever reason. A mean of several players' stakes is one, too
//! (e-process: Ramdas, Grünwald, Vovk & Shafer 2023).
//!
//! A stake that was won or lost stays so: a contribution must not change any more when later
//! cycles are known ([`super::Evidence::frozen`]).

use super::orders::{FIRST_LOOK, Tail};

/// Sizes of the bets, `λ`: the true size of a difference is not known.
const SIZES: [f64; 3] = [0.2, 0.4, 0.7];

/// Smallest scale.
const MIN_SCALE: f64 = 1e-12;

/// Mean stakes of the players who bet on one engine, from 1 at the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EValue {
    /// Of those who bet that the candidate is faster than a hypothesis says.
    pub faster: f64,
    /// Of those who bet that it is slower.
    pub slower: f64,
}

impl EValue {
    /// Evidence against a hypothesis: at least `e` by chance in one of `e` runs.
    pub fn against(&self, tail: Tail) -> f64 {
        match tail {
            Tail::Both => f64::midpoint(self.faster, self.slower),
            Tail::Faster => self.faster,
            Tail::Slower => self.slower,
        }
    }
}

/// The e-value after each cycle from the first look on, by frozen `s_c g_c`.
///
/// The scale of a contribution is the root mean square of those so far; of the first six, of
/// all six.
pub fn e_values(signed: &[f64]) -> Vec<EValue> {
    let head = signed.iter().take(FIRST_LOOK).map(|it| it * it);
    let head = (head.sum::<f64>() / FIRST_LOOK as f64).sqrt();
    let mut squares = 0.0;
    // By size, logs of the stakes on either engine.
    let mut stakes = [(0.0_f64, 0.0_f64); SIZES.len()];
    let mut values = Vec::with_capacity(signed.len());
    for (n, score) in (1..).zip(signed) {
        squares += score * score;
        let scale = if n <= FIRST_LOOK {
            head
        } else {
            (squares / n as f64).sqrt()
        };
        let unit = score / scale.max(MIN_SCALE);
        for (stake, size) in stakes.iter_mut().zip(SIZES) {
            let fair = log_cosh(size * unit);
            stake.0 += size * unit - fair;
            stake.1 -= size * unit + fair;
        }
        if n >= FIRST_LOOK {
            let mean = |of: fn(&(f64, f64)) -> f64| {
                stakes.iter().map(|it| of(it).exp()).sum::<f64>() / SIZES.len() as f64
            };
            values.push(EValue {
                faster: mean(|it| it.0),
                slower: mean(|it| it.1),
            });
        }
    }
    values
}

/// `ln cosh x`, also where `cosh x` is beyond numbers.
fn log_cosh(x: f64) -> f64 {
    let x = x.abs();
    x + (-2.0 * x).exp().ln_1p() - std::f64::consts::LN_2
}

/// The first look that can reject: the stakes after the first six cycles are bounded, and each
/// later cycle at most doubles them.
pub fn first_look(alpha: f64, tail: Tail) -> usize {
    let sides = if tail == Tail::Both { 2.0 } else { 1.0 };
    let stakes = SIZES.map(|size: f64| (size - log_cosh(size)).exp().powf(FIRST_LOOK as f64));
    let head = stakes.iter().sum::<f64>() / SIZES.len() as f64;
    let later = (sides / alpha / head).log2().ceil().max(0.0);
    FIRST_LOOK + later as usize
}
