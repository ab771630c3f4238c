//! Due times of an answer's parts.

use crate::{Config, Fault};
use std::time::Duration;

/// The times of one answer, all in nanoseconds of the monotonic clock. They are counted
/// from the request: a late token does not delay the next.
#[derive(Clone)]
pub(crate) struct Schedule {
    received: u64,
    first: u64,
    gap: u64,
    /// Maximum shift of each token, in either direction.
    jitter: u64,
    /// Seed of this answer.
    seed: u64,
    /// Duration of the head.
    pub(crate) head: u64,
    /// Index of the first delayed token, and the delay.
    stall: (u32, u64),
}

impl Schedule {
    /// The schedule of request `number` with an answer in which `half` tokens precede the
    /// middle.
    pub(crate) fn new(
        config: &Config,
        fault: Option<Fault>,
        half: u32,
        number: u32,
        received: u64,
    ) -> Self {
        let stall = nanos(config.stall);
        let when = |with: Fault| if fault == Some(with) { stall } else { 0 };
        Self {
            received,
            first: nanos(config.time_to_first_token),
            gap: nanos(config.inter_token_latency),
            jitter: nanos(config.jitter),
            seed: mixed(config.seed ^ mixed(u64::from(number))),
            head: when(Fault::SlowHeaders),
            stall: (half, when(Fault::Stall)),
        }
    }

    /// Returns `true` if tokens are due at the same time, so they may be written
    /// together.
    pub(crate) fn is_burst(config: &Config) -> bool {
        config.inter_token_latency.is_zero() && config.jitter.is_zero()
    }

    /// Due time of byte `index` of a head of `length` bytes.
    pub(crate) fn head_byte(&self, index: usize, length: usize) -> u64 {
        self.received + self.head * (index as u64 + 1) / (length as u64).max(1)
    }

    /// Due time of the end of the head.
    pub(crate) fn begin(&self) -> u64 {
        self.received + self.head
    }

    /// Due time of token `index`, counted from 0. If jitter would put it before the
    /// preceding token, it is due with that one.
    pub(crate) fn token(&self, index: u32) -> u64 {
        let (from, stall) = self.stall;
        let due = self
            .begin()
            .saturating_add(self.first)
            .saturating_add(self.gap.saturating_mul(u64::from(index)))
            .saturating_add(if index >= from { stall } else { 0 });
        if self.jitter == 0 {
            return due;
        }
        let drawn = mixed(self.seed ^ u64::from(index)) % (2 * self.jitter + 1);
        due.saturating_add(drawn)
            .saturating_sub(self.jitter)
            .max(self.begin())
    }
}

fn nanos(duration: Duration) -> u64 {
    // A century is enough, and leaves room for sums.
    (duration.as_nanos() as u64).min(3_000_000_000_000_000_000)
}

/// A step of `SplitMix64` (Steele, Lea & Flood, 2014): pseudo-random numbers, the same on
/// every machine.
fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIVED: u64 = 1_000_000;

    fn config(jitter: u64) -> Config {
        Config {
            time_to_first_token: Duration::from_nanos(500),
            inter_token_latency: Duration::from_nanos(100),
            stall: Duration::from_micros(7),
            jitter: Duration::from_nanos(jitter),
            ..Config::default()
        }
    }

    fn times(config: &Config, fault: Option<Fault>, number: u32) -> Vec<u64> {
        let schedule = Schedule::new(config, fault, 2, number, RECEIVED);
        (0..4)
            .map(|token| schedule.token(token) - RECEIVED)
            .collect()
    }

    #[test]
    fn times_are_absolute() {
        assert_eq!(times(&config(0), None, 0), [500, 600, 700, 800]);
    }

    #[test]
    fn faults_move_them() {
        let stalled = times(&config(0), Some(Fault::Stall), 0);
        assert_eq!(stalled, [500, 600, 7700, 7800]);
        let slow = times(&config(0), Some(Fault::SlowHeaders), 0);
        assert_eq!(slow, [7500, 7600, 7700, 7800]);
        let schedule = Schedule::new(&config(0), Some(Fault::SlowHeaders), 2, 0, RECEIVED);
        assert_eq!(schedule.head_byte(0, 70), RECEIVED + 100);
        assert_eq!(schedule.head_byte(69, 70), schedule.begin());
    }

    #[test]
    fn jitter_is_bounded_and_repeatable_and_differs() {
        let jittered = config(40);
        let drawn: Vec<_> = (0..100)
            .map(|number| times(&jittered, None, number))
            .collect();
        let again: Vec<_> = (0..100)
            .map(|number| times(&jittered, None, number))
            .collect();
        assert_eq!(drawn, again);
        let off: Vec<i64> = drawn
            .iter()
            .flat_map(|times| times.iter().zip([500, 600, 700, 800]))
            .map(|(time, exact)| time.cast_signed() - exact)
            .collect();
        assert!(off.iter().all(|off| (-40..=40).contains(off)));
        // 400 draws from 81 values reach all of these.
        assert!(off.iter().any(|off| *off < -30) && off.iter().any(|off| *off > 30));
        let other = Config {
            seed: 1,
            ..jittered
        };
        assert_ne!(drawn[0], times(&other, None, 0));
    }

    #[test]
    fn no_token_is_before_its_request() {
        let schedule = Schedule::new(&config(1_000_000), None, 2, 0, RECEIVED);
        assert!((0..100).all(|token| schedule.token(token) >= RECEIVED));
    }
}
