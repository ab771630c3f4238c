//! Process trees, and what they listen on, as far as it is the same on every system.

use crate::{ProcessTime, client, os};
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

/// Running descendants of the process `of`, without it. On Linux a process that called
/// [`adopt_orphans`] keeps all of its descendants, whatever sessions and groups they
/// make; on macOS none is found.
pub fn descendants(of: u32) -> Vec<ProcessTime> {
    os::descendants(of)
}

/// Makes this process the parent of descendants whose parents end, so that
/// [`descendants`] misses none. Only Linux can; elsewhere it does nothing.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    {
        // It fails for no process on any kernel since 3.4.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }
}

/// Value of an environment variable that a process was started with; `None` also if the
/// system does not tell.
pub fn variable(pid: u32, name: &str) -> Option<String> {
    os::variable(pid, name)
}

/// The processes behind each socket that listens for connections to a port of 127.0.0.1;
/// none for a socket of another user. Empty on macOS, which does not tell.
pub fn listeners(port: u16) -> Vec<Vec<ProcessTime>> {
    os::listeners(port)
}
