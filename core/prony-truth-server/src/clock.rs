//! The clock.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the system's monotonic clock, which all processes of a machine share.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // The monotonic clock starts at boot and never goes back below zero.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
