//! Random numbers that a seed decides.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};

/// A generator of random numbers.
pub(super) struct Random(Pcg64Mcg);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed))
    }

    /// Heads or tails, equally likely.
    pub(super) fn coin(&mut self) -> bool {
        self.0.next_u64() >> 63 == 1
    }

    /// A number that is as likely as its negative, and as good as never zero or equal
    /// to another one in size.
    #[cfg(test)]
    pub(super) fn symmetric(&mut self) -> f64 {
        f64::from(self.0.next_u32().cast_signed()) + 0.5
    }
}
