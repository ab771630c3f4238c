//! A fixed load, whose time shows how fast the machine is while no engine is loaded.

use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// Numbers of the memory that is worked on: 64 MiB, more than most caches hold.
const MEMORY: usize = 8 << 20;

/// An amount of work, the same each time that it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Steps of arithmetic on one core.
    single: u64,
    /// Steps of arithmetic on each core, all at once.
    all_cores: u64,
    /// Passes over the memory.
    passes: u64,
}

/// Times of the parts of a [`Control`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlTimes {
    /// Of arithmetic on one core, in nanoseconds.
    pub single_ns: u64,
    /// Of arithmetic on all cores at once, until the last has ended.
    pub all_cores_ns: u64,
    /// Of reading and writing memory.
    pub memory_ns: u64,
}

impl Control {
    /// As much work as takes about `time` now, a third for each part.
    pub fn lasting(time: Duration) -> Self {
        let third = time / 3;
        let mut memory = Memory::new();
        Self {
            single: fitting(third, arithmetic),
            all_cores: fitting(third, on_all_cores),
            passes: fitting(third, |passes| memory.pass(passes)),
        }
    }

    /// Does the work; `None` if it is stopped between two parts.
    pub fn run(&self, stopped: impl Fn() -> bool) -> Option<ControlTimes> {
        let mut memory = Memory::new();
        let single_ns = timed(|| arithmetic(self.single));
        let all_cores_ns = (!stopped()).then(|| timed(|| on_all_cores(self.all_cores)))?;
        let memory_ns = (!stopped()).then(|| timed(|| memory.pass(self.passes)))?;
        Some(ControlTimes {
            single_ns,
            all_cores_ns,
            memory_ns,
        })
    }
}

/// The amount of work that takes about `time`.
fn fitting(time: Duration, mut work: impl FnMut(u64)) -> u64 {
    /// Share of the time in which the pace is measured.
    const SHARE: u32 = 4;
    /// Times of an amount, of which the shortest counts: others were disturbed.
    const TIMES: usize = 3;
    let mut amount = 1_u64;
    loop {
        let times = (0..TIMES).map(|_| timed(|| work(amount)));
        let ns = times.min().unwrap_or(u64::MAX);
        let enough = u64::try_from((time / SHARE).as_nanos()).unwrap_or(u64::MAX);
        if ns >= enough {
            let fit = amount as f64 * time.as_nanos() as f64 / ns as f64;
            return (fit as u64).max(1);
        }
        amount = amount.saturating_mul(2);
    }
}

fn timed(work: impl FnOnce()) -> u64 {
    let start = Instant::now();
    work();
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Steps that each need the one before: whole numbers and fractions.
fn arithmetic(steps: u64) {
    /// Steps of one unit, long enough that counting them costs nothing.
    const UNIT: u64 = 1_000;
    let (mut whole, mut fraction) = (black_box(1_u64), black_box(1.0_f64));
    for _ in 0..steps {
        for _ in 0..UNIT {
            whole = whole
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            fraction = fraction * 0.999_999 + 1e-6;
        }
    }
    black_box((whole, fraction));
}

fn on_all_cores(steps: u64) {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 1..cores {
            scope.spawn(|| arithmetic(steps));
        }
        arithmetic(steps);
    });
}

struct Memory(Vec<u64>);

impl Memory {
    /// Written once, so that a pass finds every page.
    fn new() -> Self {
        Self((0..MEMORY as u64).collect())
    }

    fn pass(&mut self, passes: u64) {
        for _ in 0..passes {
            for number in &mut self.0 {
                *number = number.wrapping_add(1);
            }
            black_box(&mut self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_about_as_long_as_asked_and_can_be_stopped() {
        let control = Control::lasting(Duration::from_millis(300));
        assert!(control.single > 0 && control.all_cores > 0 && control.passes > 0);
        let times = control.run(|| false).expect("not stopped");
        let total = times.single_ns + times.all_cores_ns + times.memory_ns;
        // Whatever else runs here may take its share.
        assert!((30_000_000..30_000_000_000).contains(&total), "{times:?}");
        let parts = [times.single_ns, times.all_cores_ns, times.memory_ns];
        assert!(parts.iter().all(|ns| *ns > 5_000_000), "{times:?}");
        assert_eq!(control.run(|| true), None);
    }

    #[test]
    fn more_work_takes_longer() {
        let once = timed(|| arithmetic(2_000));
        let often = timed(|| arithmetic(200_000));
        assert!(often > 5 * once, "{once} ns, {often} ns");
    }
}
