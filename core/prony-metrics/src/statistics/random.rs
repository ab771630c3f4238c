//! Random numbers that a seed decides.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};

/// A generator of random numbers.
pub(crate) struct Random(Pcg64Mcg);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed))
    }

    /// Heads or tails, equally likely.
    pub(crate) fn coin(&mut self) -> bool {
        self.0.next_u64() >> 63 == 1
    }

    /// A number below `limit`, which is at least 1: all equally likely, but for a part in 2^32 at most.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        // Multiplication instead of division (Lemire 2019), without its rejection.
        ((u128::from(self.0.next_u64()) * limit as u128) >> 64) as usize
    }

    /// A number that is as likely as its negative, and as good as never zero or equal
    /// to another one in size.
    #[cfg(test)]
    pub(super) fn symmetric(&mut self) -> f64 {
        f64::from(self.0.next_u32().cast_signed()) + 0.5
    }
}
