//! Process trees, as far as they are the same on every system.

use crate::client;
use std::time::Duration;

/// Interval between searches for new members of a tree.
const SEARCH: Duration = Duration::from_secs(1);
/// Divisor of a CPU that bounds searches: at most 1/50 of its time.
const SEARCH_SHARE: u32 = 50;

/// Pause after a search that began when the thread had used `spent` nanoseconds of CPU
/// time. Counts the CPU time of the search, not its waiting time.
pub(crate) fn pause(spent: u64) -> Duration {
    let spent = Duration::from_nanos(client::thread_cpu_ns().saturating_sub(spent));
    SEARCH.max(spent * SEARCH_SHARE)
}

/// A tree at one moment.
pub(crate) struct Seen {
    /// `None` if no process is left.
    pub(crate) rss_bytes: Option<u64>,
    /// CPU time of all processes that were ever part of it.
    pub(crate) cpu_ns: u64,
    /// Sum of the system's high-water marks, read only at times.
    pub(crate) high_water_bytes: Option<u64>,
}
