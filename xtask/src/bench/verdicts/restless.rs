//! Load in bursts, as a machine has that others use, too.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};

/// The machine `cloud` of `cargo xtask sim`: mean times between the beginnings of bursts and of
/// a burst, in seconds, and the least and the greatest size, as a log ratio of times.
const CLOUD: (f64, f64, f64, f64) = (120.0, 20.0, 0.05, 0.3);
/// Time of a cycle there, in seconds.
const CLOUD_CYCLE_S: f64 = 73.0;
/// A core is taken away for a part of each of these.
const SLICE: Duration = Duration::from_millis(10);

/// Bursts at exponential times, which may overlap; the same for the same seed.
struct Bursts {
    random: Pcg64Mcg,
    /// The time of a cycle over that of a cycle in the simulator.
    scale: f64,
    next_s: f64,
    /// End and size of those that have begun.
    begun: Vec<(f64, f64)>,
}

impl Bursts {
    fn new(cycle_s: f64, seed: u64) -> Self {
        let mut bursts = Self {
            random: Pcg64Mcg::seed_from_u64(seed),
            scale: cycle_s / CLOUD_CYCLE_S,
            next_s: 0.0,
            begun: Vec::new(),
        };
        bursts.next_s = bursts.exponential(CLOUD.0);
        bursts
    }

    /// Above 0, at most 1.
    fn uniform(&mut self) -> f64 {
        ((self.random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean_s: f64) -> f64 {
        -self.scale * mean_s * self.uniform().ln()
    }

    /// Share of each core that is taken at a time, which is not before the time asked last.
    fn share(&mut self, at_s: f64) -> f64 {
        let (every, duration, least, greatest) = CLOUD;
        while self.next_s <= at_s {
            let until = self.next_s + self.exponential(duration);
            let size = least + (greatest - least) * self.uniform();
            self.begun.push((until, size));
            self.next_s += self.exponential(every);
        }
        self.begun.retain(|(until, _)| *until > at_s);
        let size: f64 = self.begun.iter().map(|(_, size)| size).sum();
        // What is left of the core is `exp(-size)`.
        1.0 - (-size).exp()
    }
}

/// Work on all cores until this is dropped. It is done by threads, so it ends with the process.
pub(super) struct Restless {
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Restless {
    /// Begins, with bursts as long beside a cycle of so many seconds as in the simulator.
    pub(super) fn new(cycle_s: f64, seed: u64) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let ended = Arc::new(AtomicBool::new(false));
        let begin = Instant::now();
        let work = |_| {
            let ended = Arc::clone(&ended);
            thread::spawn(move || {
                let mut bursts = Bursts::new(cycle_s, seed);
                while !ended.load(Ordering::Relaxed) {
                    let slice = Instant::now();
                    let share = bursts.share((slice - begin).as_secs_f64());
                    let busy = SLICE.mul_f64(share);
                    while slice.elapsed() < busy {
                        std::hint::spin_loop();
                    }
                    thread::sleep(SLICE.saturating_sub(slice.elapsed()));
                }
            })
        };
        Self {
            threads: (0..cores).map(work).collect(),
            ended,
        }
    }
}

impl Drop for Restless {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It cannot panic, and nothing is to be done if it did.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_take_the_share_that_their_times_and_sizes_give() {
        let mut bursts = Bursts::new(1.0, 7);
        let (mut quiet, mut sum) = (0, 0.0);
        let looks = 1_000_000;
        for look in 0..looks {
            let share = bursts.share(f64::from(look) / 100.0);
            quiet += i32::from(share <= 0.0);
            sum -= (1.0 - share).ln();
        }
        let looks = f64::from(looks);
        // Bursts under way are Poisson, with the mean `duration / every`.
        let under_way = CLOUD.1 / CLOUD.0;
        assert!((f64::from(quiet) / looks - (-under_way).exp()).abs() < 0.01);
        let mean_size = f64::midpoint(CLOUD.2, CLOUD.3);
        assert!((sum / looks - under_way * mean_size).abs() < 0.002);
    }

    #[test]
    fn the_same_seed_gives_the_same_bursts() {
        let shares = |seed| -> Vec<u64> {
            let mut bursts = Bursts::new(1.0, seed);
            let look = |at: u32| bursts.share(f64::from(at) / 100.0).to_bits();
            (0..1000).map(look).collect()
        };
        assert_eq!(shares(1), shares(1));
        assert_ne!(shares(1), shares(2));
    }
}
