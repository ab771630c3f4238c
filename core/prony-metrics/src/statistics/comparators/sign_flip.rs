//! The randomisation test of a mean.

use crate::statistics::random::Random;

/// Up to so many differences all sign patterns are tried.
const EXACT: usize = 16;
/// Random sign patterns beyond.
const RESAMPLES: usize = 9999;

/// Two-sided p value of a mean of zero by flipping signs (Fisher 1935): exact for up
/// to 16 differences, from 9999 random patterns beyond.
pub fn sign_flip(d: &[f64], seed: u64) -> f64 {
    let total = |flip: &mut dyn FnMut(usize) -> bool| -> f64 {
        let signed = d.iter().enumerate();
        let signed = signed.map(|(i, d)| if flip(i) { -d } else { *d });
        signed.sum::<f64>().abs()
    };
    // Sums of the same numbers in another order differ in their last bits.
    let observed = total(&mut |_| false) * (1.0 - 1e-12);
    if d.len() <= EXACT {
        let patterns = 1_usize << d.len();
        let reached =
            (0..patterns).filter(|pattern| total(&mut |i| pattern >> i & 1 == 1) >= observed);
        reached.count() as f64 / patterns as f64
    } else {
        let mut random = Random::new(seed);
        let reached = (0..RESAMPLES).filter(|_| total(&mut |_| random.coin()) >= observed);
        (1 + reached.count()) as f64 / (RESAMPLES + 1) as f64
    }
}
