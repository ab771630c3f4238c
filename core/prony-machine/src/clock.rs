//! The clock of every stamp here, the same as that of requests.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the system's monotonic clock (`CLOCK_MONOTONIC`).
pub fn now_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

pub(crate) fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
