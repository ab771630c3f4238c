//! Processes started by a run: each leads its own process group, writes to a log file,
//! and ends with the run.

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Interval at which an ending process is checked.
const POLL: Duration = Duration::from_millis(20);
/// Time allowed for the system to reap a killed process.
const REAP: Duration = Duration::from_secs(10);

/// Groups that may still have members.
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Kills everything started by this process. For a second Ctrl-C.
pub fn kill_all() {
    for group in GROUPS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        if let Some(group) = Pid::from_raw(*group) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// A started process and its process group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Pid,
    log: PathBuf,
    /// Length of the log when the process was started, in bytes.
    log_start: usize,
}

impl Process {
    /// Starts `command` with its output appended to `log`.
    pub fn start(mut command: Command, log: &Path) -> std::io::Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        Self::spawn(command, log)
    }

    /// Starts `command` with pipes for input and output; its standard error is appended
    /// to `log`.
    pub fn start_piped(
        mut command: Command,
        log: &Path,
    ) -> std::io::Result<(Self, ChildStdin, ChildStdout)> {
        let file = File::options().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file);
        let mut process = Self::spawn(command, log)?;
        match (process.child.stdin.take(), process.child.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok((process, stdin, stdout)),
            _ => Err(std::io::Error::other("the process has no pipes")),
        }
    }

    fn spawn(mut command: Command, log: &Path) -> std::io::Result<Self> {
        let log_start = std::fs::metadata(log)?.len() as usize;
        command.process_group(0).kill_on_drop(true);
        #[cfg(target_os = "linux")]
        {
            let parent = rustix::process::getpid();
            // SAFETY: the closure runs between fork and exec and makes two
            // system calls, which allocate nothing and take no locks.
            unsafe {
                command.pre_exec(move || {
                    // Even if this process is killed outright, nothing is left running.
                    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                    if rustix::process::getppid() == Some(parent) {
                        Ok(())
                    } else {
                        Err(std::io::ErrorKind::Interrupted.into())
                    }
                });
            }
        }
        let child = command.spawn()?;
        let group = child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
            .ok_or_else(|| std::io::Error::other("the process has no id"))?;
        GROUPS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(group.as_raw_pid());
        Ok(Self {
            child,
            group,
            log: log.to_owned(),
            log_start,
        })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.group.as_raw_pid().cast_unsigned()
    }

    /// Exit status, if it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end; returns the exit status.
    pub async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Exit status, waiting up to `limit` for an end that is under way.
    pub async fn exited_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        tokio::time::timeout(limit, self.child.wait())
            .await
            .ok()?
            .ok()
    }

    /// Asks the group to end, kills it after `grace`, and waits until no member is left.
    /// Returns `true` if it had to be killed.
    pub async fn stop(mut self, grace: Duration) -> bool {
        let _ = kill_process_group(self.group, Signal::TERM);
        let mut killed = !self.gone_within(grace).await;
        if killed {
            let _ = kill_process_group(self.group, Signal::KILL);
            if !self.gone_within(REAP).await {
                tracing::warn!("process group {} could not be killed", self.id());
            }
        } else if has_members(self.group) {
            killed = true;
            let _ = kill_process_group(self.group, Signal::KILL);
        }
        killed
    }

    /// Waits for the leader and every other member of the group. Returns `true` if all
    /// ended within `limit`.
    async fn gone_within(&mut self, limit: Duration) -> bool {
        let all_gone = async {
            let _ = self.child.wait().await;
            while has_members(self.group) {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(limit, all_gone).await.is_ok()
    }

    /// Returns `true` if a line that it printed contains `text`.
    pub fn has_logged(&self, text: &str) -> bool {
        std::fs::read(&self.log).is_ok_and(|log| {
            // Text before that is the output of an earlier process with this log.
            let own = log.get(self.log_start..).unwrap_or_default();
            String::from_utf8_lossy(own).contains(text)
        })
    }

    /// The end of its log, for messages.
    pub fn last_words(&self) -> String {
        last_words(&self.log, self.log_start)
    }
}

/// Returns `true` if a process of the group is running. An orphan that has ended but was
/// not yet reaped by the system's first process, which in a container may take its time,
/// keeps the group but no longer runs.
fn has_members(group: Pid) -> bool {
    if test_kill_process_group(group).is_err() {
        return false;
    }
    #[cfg(target_os = "linux")]
    if let Ok(processes) = std::fs::read_dir("/proc") {
        let runs = |stat: String| {
            // `pid (name) state parent group …`; the name may hold anything.
            let mut fields = stat.rsplit(')').next()?.split_whitespace();
            let state = fields.next()?;
            let of: i32 = fields.nth(1)?.parse().ok()?;
            Some(of == group.as_raw_pid() && !matches!(state, "Z" | "X"))
        };
        return processes
            .flatten()
            .filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok())
            .any(|stat| runs(stat).unwrap_or(false));
    }
    true
}

impl Drop for Process {
    fn drop(&mut self) {
        // Also runs after a normal end: then the group is empty and this does nothing.
        let _ = kill_process_group(self.group, Signal::KILL);
        GROUPS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.group.as_raw_pid());
    }
}

/// The last lines of a log, at most 5, from byte `start` on.
fn last_words(log: &Path, start: usize) -> String {
    const TAIL: u64 = 4096;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let tail = file.metadata()?.len().saturating_sub(TAIL);
        file.seek(SeekFrom::Start(tail.max(start as u64)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        return format!("it printed nothing (log: {})", log.display());
    }
    format!(
        "its last words: {} (log: {})",
        lines[lines.len().saturating_sub(5)..].join(" ⏎ "),
        log.display()
    )
}

/// `exit status: 1`, `signal: 9 (SIGKILL)`.
pub(crate) fn describe(status: ExitStatus) -> String {
    status.to_string()
}
