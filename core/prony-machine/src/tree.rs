//! Process trees, and what they listen on, as far as it is the same on every system.

use crate::{ProcessTime, client, os};
use serde::{Deserialize, Serialize};
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

/// Environment variable that tells whose a process is: all that a started process starts
/// inherit it, wherever they go.
pub const MARK: &str = "PRONY_TREE";

/// A started process and all that it started.
#[derive(Debug, Clone)]
pub struct Family {
    /// The process, which leads a group of its own.
    pub leader: u32,
    /// Its value of [`MARK`]: the id of this process, a dot and a number.
    pub mark: String,
}

impl Family {
    /// Its running members, in its group or not. On Linux these are the group, descendants
    /// of the leader, and descendants of this process with the mark; on macOS none is
    /// found.
    pub fn members(&self) -> Vec<ProcessTime> {
        os::members(self)
    }

    /// Reads the mark of a process: `true` if it is this family's.
    pub(crate) fn has_marked(&self, pid: u32) -> bool {
        os::variable(pid, MARK).is_some_and(|mark| mark == self.mark)
    }
}

/// Running descendants of this process without any family's mark. On macOS none is found.
pub fn unmarked() -> Vec<ProcessTime> {
    let mut all = os::descendants(std::process::id());
    all.retain(|it| os::variable(it.pid, MARK).is_none());
    all
}

/// Running descendants of this process with the mark of a family that it started. On macOS
/// none is found.
pub fn marked() -> Vec<ProcessTime> {
    let own = format!("{}.", std::process::id());
    let mut all = os::descendants(std::process::id());
    all.retain(|it| os::variable(it.pid, MARK).is_some_and(|mark| mark.starts_with(&own)));
    all
}

/// Identity of a process on this machine, also after it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process id.
    pub pid: u32,
    /// Start time, in units of the system's.
    pub started: u64,
    /// Id of the boot, where the system has one (Linux).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
}

impl ProcessId {
    /// Of this process.
    pub fn own() -> Self {
        let pid = std::process::id();
        let own = os::processes().into_iter().find(|it| it.pid == pid);
        Self {
            pid,
            started: own.map_or(0, |it| it.started),
            boot: os::boot(),
        }
    }

    /// Running processes with the mark of families that this process, which is dead, had
    /// started. On macOS none is found.
    pub fn left_over(&self) -> Vec<ProcessTime> {
        if self.boot.is_none() || self.boot != os::boot() {
            return Vec::new();
        }
        let mut all = os::processes();
        // A process that has got its id since has the same mark.
        let later = all.iter().find(|it| it.pid == self.pid);
        let until = later.map_or(u64::MAX, |it| it.started);
        let mark = format!("{}.", self.pid);
        all.retain(|it| {
            (self.started..until).contains(&it.started)
                && os::variable(it.pid, MARK).is_some_and(|it| it.starts_with(&mark))
        });
        all
    }
}

/// Makes this process the parent of descendants whose parents end, so that none is lost.
/// Only Linux can; elsewhere it does nothing.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    {
        // It fails for no process on any kernel since 3.4.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }
}

/// Children of this process that have ended and that nobody waits for: adopted orphans.
/// `known` are those that somebody waits for.
pub fn ended_orphans(known: impl Fn(u32) -> bool) -> Vec<u32> {
    let mut ended = os::ended_children(std::process::id());
    ended.retain(|pid| !known(*pid));
    ended
}

/// The processes behind each socket that listens for connections to a port of 127.0.0.1;
/// none for a socket of another user. Empty on macOS, which does not tell.
pub fn listeners(port: u16) -> Vec<Vec<ProcessTime>> {
    os::listeners(port)
}
