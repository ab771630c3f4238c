//! The clock.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the system's monotonic clock. All processes of a machine read
/// the same clock, so a worker's stamps and prony's are comparable.
pub fn now_ns() -> u64 {
    read(ClockId::Monotonic)
}

/// CPU time of this thread, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    read(ClockId::ThreadCPUTime)
}

/// Nanoseconds of a time. Wraps around for a wall clock that is far from today, so that
/// differences stay right.
pub(crate) fn nanoseconds(seconds: u64, nanos: u64) -> u64 {
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos)
}

fn read(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    // These clocks start at 0 and never go back below it.
    nanoseconds(now.tv_sec as u64, now.tv_nsec as u64)
}

/// Converts the kernel's receive stamps from the wall clock to the monotonic one.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) struct WallClock {
    /// Lead of the wall clock, in nanoseconds; wraps around.
    ahead: u64,
}

#[cfg(target_os = "linux")]
impl WallClock {
    /// Reads further apart than this may have been interrupted in between.
    const TOGETHER_NS: u64 = 2_000;

    pub(crate) fn new() -> Self {
        let mut clock = Self { ahead: 0 };
        clock.refresh();
        clock
    }

    /// Reads both clocks anew, since the wall clock may have been set.
    pub(crate) fn refresh(&mut self) {
        let mut nearest = u64::MAX;
        // The first try nearly always suffices.
        for _ in 0..5 {
            let before = now_ns();
            let wall = read(ClockId::Realtime);
            let apart = now_ns() - before;
            if apart < nearest {
                nearest = apart;
                self.ahead = wall.wrapping_sub(before + apart / 2);
            }
            if nearest < Self::TOGETHER_NS {
                break;
            }
        }
    }

    /// The monotonic time for a wall-clock time, both in nanoseconds.
    pub(crate) fn monotonic_ns(&self, wall_ns: u64) -> u64 {
        wall_ns.wrapping_sub(self.ahead)
    }
}
