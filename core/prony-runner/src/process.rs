//! Processes started by a run: each leads its own process group, writes to a log file,
//! and ends with the run.

use crate::log::Search;
pub use prony_machine::is_hangup_ignored;
use prony_machine::{Family, MARK, ProcessTime};
use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, kill_process_group, test_kill_process_group, waitpgid,
    waitpid,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Interval at which an ending process is checked.
const POLL: Duration = Duration::from_millis(20);
/// Time allowed for the system to reap a killed process.
const REAP: Duration = Duration::from_secs(10);

/// Most times that processes outside of a group are looked for and killed.
const MAX_ROUNDS: u32 = 50;

/// Process groups that may still have members.
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Kills everything started by this process, in its groups or not. For a second Ctrl-C.
pub fn kill_all() {
    let groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    for group in groups.iter() {
        if let Some(group) = Pid::from_raw(*group) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    for stray in prony_machine::marked() {
        if let Some(pid) = Pid::from_raw(stray.pid.cast_signed()) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Lets the system kill the process that `command` starts when the thread that starts it ends,
/// also if this process is killed outright (Linux).
fn end_with_this_process(command: &mut std::process::Command) {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt as _;
        let parent = rustix::process::getpid();
        // SAFETY: the closure runs between fork and exec and makes two system calls, which
        // allocate nothing and take no locks.
        unsafe {
            command.pre_exec(move || {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                if rustix::process::getppid() == Some(parent) {
                    Ok(())
                } else {
                    Err(std::io::ErrorKind::Interrupted.into())
                }
            });
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

/// Runs `command` to its end with its output on standard error. When `stop` becomes `true`, it
/// is ended with its group and what has left that, and there is no exit status.
pub async fn run_shown(
    mut command: Command,
    stop: &mut watch::Receiver<bool>,
) -> std::io::Result<Option<ExitStatus>> {
    /// Time between the request to end and the kill.
    const GRACE: Duration = Duration::from_secs(5);
    command.stdin(Stdio::null()).stdout(std::io::stderr());
    // Its output is shown, and in no log.
    let mut process = Process::spawn(command, Path::new("/dev/null"))?;
    tokio::select! {
        status = process.wait() => return status.map(Some),
        _ = stop.wait_for(|stop| *stop) => {}
    }
    process.stop(GRACE).await;
    Ok(None)
}

/// Processes without a mark that are left alone, by id and start: those that were there
/// before the first process was started, and those that a user's step left running.
static SPARED: Mutex<BTreeSet<(u32, u64)>> = Mutex::new(BTreeSet::new());

fn spare(processes: Vec<ProcessTime>) {
    let mut spared = SPARED.lock().unwrap_or_else(PoisonError::into_inner);
    spared.extend(processes.iter().map(id_of));
}

/// Tells a process from others that had its id.
fn id_of(process: &ProcessTime) -> (u32, u64) {
    (process.pid, process.started)
}

/// Kills these processes, and returns their names.
pub(crate) fn kill_each(processes: Vec<ProcessTime>) -> Vec<String> {
    // Stopped first, so that none starts another in the meantime.
    for signal in [Signal::STOP, Signal::KILL] {
        for process in &processes {
            if let Some(pid) = Pid::from_raw(process.pid.cast_signed()) {
                let _ = kill_process(pid, signal);
            }
        }
    }
    processes.into_iter().map(|it| it.name).collect()
}

/// Clears away adopted processes that have ended.
fn reap_orphans() {
    let is_waited_for = |pid: u32| {
        let groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
        groups.contains(&pid.cast_signed())
    };
    for pid in prony_machine::ended_orphans(is_waited_for) {
        let _ = waitpid(Pid::from_raw(pid.cast_signed()), WaitOptions::NOHANG);
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
    /// Value of [`MARK`], different for each process.
    mark: String,
    search: Search,
    /// Keeps the log within its limit until this ends.
    keeper: AbortHandle,
    /// Processes without a mark that were there before it.
    before: BTreeSet<(u32, u64)>,
    /// Number of processes that the kernel had ended for lack of memory when it was started.
    kills_before: Option<u64>,
}

/// The end of a process and its group.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// `true` if it had to be killed.
    pub killed: bool,
    /// Names of processes that had left its group and were killed (Linux).
    pub strays: Vec<String>,
    /// Names of those that could not be killed.
    pub left: Vec<String>,
}

impl Process {
    /// Starts `command` with its output appended to `log`.
    pub fn start(mut command: Command, log: &Path) -> std::io::Result<Self> {
        let file = crate::log::open(log)?;
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
        let file = crate::log::open(log)?;
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
        static ADOPT: Once = Once::new();
        static COUNT: AtomicU64 = AtomicU64::new(0);
        // So that processes that leave their group are found.
        ADOPT.call_once(|| {
            prony_machine::adopt_orphans();
            spare(prony_machine::unmarked());
        });
        let before = prony_machine::unmarked().iter().map(id_of).collect();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}.{number}", std::process::id());
        command.env(MARK, &mark);
        let kept = crate::log::open(log)?;
        let log_start = kept.metadata()?.len() as usize;
        command.process_group(0).kill_on_drop(true);
        end_with_this_process(command.as_std_mut());
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
            kills_before: prony_machine::out_of_memory_kills(),
            mark,
            search: Search::new(log_start as u64),
            keeper: tokio::spawn(crate::log::keep(kept, log.to_owned())).abort_handle(),
            before,
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
    /// Processes that left it remain, as a user's step may want.
    pub async fn stop_group(mut self, grace: Duration) -> bool {
        let killed = self.end_group(grace).await;
        spare(prony_machine::unmarked());
        killed
    }

    /// As [`Self::stop_group`]; then kills what it had started outside of its group.
    pub async fn stop(mut self, grace: Duration) -> Stopped {
        // What has shed the mark can be told by its parents, while these run.
        let mut own: BTreeSet<(u32, u64)> = self.family().members().iter().map(id_of).collect();
        let killed = self.end_group(grace).await;
        let mut strays = BTreeMap::new();
        for _ in 0..MAX_ROUNDS {
            let found = self.strays(&own);
            if found.is_empty() {
                break;
            }
            // Stopped first, so that none starts another in the meantime.
            for signal in [Signal::STOP, Signal::KILL] {
                for stray in &found {
                    if let Some(pid) = Pid::from_raw(stray.pid.cast_signed()) {
                        let _ = kill_process(pid, signal);
                    }
                }
            }
            own.extend(found.iter().map(id_of));
            strays.extend(found.into_iter().map(|it| (id_of(&it), it.name)));
            tokio::time::sleep(POLL).await;
            reap_orphans();
        }
        reap_orphans();
        let left = self.strays(&own).into_iter().map(|it| it.name).collect();
        Stopped {
            killed,
            strays: strays.into_values().collect(),
            left,
        }
    }

    /// The process and all that it starts.
    pub fn family(&self) -> Family {
        Family {
            leader: self.id(),
            mark: self.mark.clone(),
        }
    }

    /// Running processes of it outside of its group. `own` are some found earlier.
    fn strays(&self, own: &BTreeSet<(u32, u64)>) -> Vec<ProcessTime> {
        let mut strays = self.family().members();
        let is_alone = GROUPS.lock().unwrap_or_else(PoisonError::into_inner).len() == 1;
        let spared = SPARED.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unmarked = prony_machine::unmarked();
        unmarked.retain(|it| {
            let id = id_of(it);
            // While others run, nobody knows whose a new process without a mark is.
            own.contains(&id) || is_alone && !self.before.contains(&id) && !spared.contains(&id)
        });
        strays.extend(unmarked);
        strays.retain(|it| it.group != self.id());
        strays.sort_by_key(id_of);
        strays.dedup_by_key(|it| id_of(it));
        strays
    }

    /// Checks that the socket behind `port` of 127.0.0.1 belongs to its tree; passes where the
    /// system does not report owners. The error is for people.
    pub fn listens_on(&self, port: u16) -> Result<(), String> {
        let members: BTreeSet<(u32, u64)> = self.family().members().iter().map(id_of).collect();
        let is_own = |it: &ProcessTime| members.contains(&id_of(it));
        for socket in prony_machine::listeners(port) {
            if let Some(other) = socket.first()
                && !socket.iter().any(is_own)
            {
                return Err(format!(
                    "port {port} belongs to `{}` (process {}), which the engine did not start: end that process, or let the engine listen on the port that it is given",
                    other.name, other.pid
                ));
            }
        }
        Ok(())
    }

    /// Ends the group as [`Self::stop_group`] does. Returns `true` if it had to be killed.
    async fn end_group(&mut self, grace: Duration) -> bool {
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
        // Orphans of the group that were adopted; its leader has been waited for.
        while matches!(waitpgid(self.group, WaitOptions::NOHANG), Ok(Some(_))) {}
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

    /// Returns `true` if its output contains `text`. Each call looks at what is new since
    /// the one before.
    pub fn has_logged(&mut self, text: &str) -> bool {
        self.search.finds(&self.log, text.as_bytes())
    }

    /// Returns `true` if memory ran out, by the last 64 KiB of its log or since the kernel
    /// killed it.
    pub fn ran_out_of_memory(&mut self) -> bool {
        const SEARCHED: u64 = 64 << 10;
        let kills = prony_machine::out_of_memory_kills();
        self.exited()
            .is_some_and(|status| was_killed_for_memory(status, self.kills_before, kills))
            || prony_record::is_out_of_memory(&tail(&self.log, self.log_start, SEARCHED))
    }

    /// The end of its log, for messages.
    pub fn last_words(&self) -> String {
        last_words(&self.log, self.log_start)
    }
}

/// Returns `true` if a process of the group is running. A zombie keeps the group alive but
/// does not run; in a container the init process may be slow to reap it.
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
        self.keeper.abort();
        crate::log::cut(&self.log);
        // Also runs after a normal end: then the group is empty and this does nothing.
        let _ = kill_process_group(self.group, Signal::KILL);
        GROUPS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.group.as_raw_pid());
    }
}

/// Returns `true` if a process with this end was killed for lack of memory, as far as the
/// kernel's count of such kills, `before` and `now`, tells: it is of the whole machine, and the
/// kernel kills with SIGKILL.
fn was_killed_for_memory(status: ExitStatus, before: Option<u64>, now: Option<u64>) -> bool {
    status.signal() == Some(Signal::KILL.as_raw()) && before < now
}

/// The last bytes of a log, at most `limit`, from byte `start` on.
fn tail(log: &Path, start: usize, limit: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let tail = file.metadata()?.len().saturating_sub(limit);
        file.seek(SeekFrom::Start(tail.max(start as u64)))?;
        let mut bytes = Vec::new();
        // The process may go on writing.
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

/// The first error in a log from byte `start` on, and its last lines, at most 5.
fn last_words(log: &Path, start: usize) -> String {
    /// Bytes in which an error is looked for: what comes later is no start.
    const SEARCHED: u64 = 1 << 20;
    let text = tail(log, start, 4096);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        return format!("it printed nothing (log: {})", log.display());
    }
    let last = &lines[lines.len().saturating_sub(5)..];
    // Answers to probes, and hints that come later, may have pushed it out of the last lines.
    let error = first_error(&tail(log, start, SEARCHED)).filter(|error| {
        let mut last = last.iter();
        !last.any(|line| error.ends_with(line))
    });
    let error = error.map_or_else(String::new, |error| format!("its first error: {error}; "));
    format!(
        "{error}its last words: {} (log: {})",
        last.join(" ⏎ "),
        log.display()
    )
}

/// The first line of a log that speaks of an error, of a Python traceback its last one.
fn first_error(text: &str) -> Option<String> {
    /// Maximum length of a line that is quoted, in characters.
    const MAX_LINE: usize = 300;
    const SIGNS: [&str; 5] = ["ERROR", "FATAL", "Error: ", "error: ", "CRITICAL"];
    let mut lines = text.lines().map(str::trim_end);
    let line = lines.find(|line| {
        line.contains("Traceback (most recent call last)")
            || SIGNS.iter().any(|it| line.contains(it))
    })?;
    // The frames are indented, whatever a logger puts in front of every line.
    let mut of_traceback = |line: &str| {
        let at = line.find("Traceback (most recent call last)")?;
        let front = line[..at].to_owned();
        lines.find_map(|line| {
            let line = line.strip_prefix(&front).unwrap_or(line);
            (!line.is_empty() && !line.starts_with(char::is_whitespace)).then(|| line.to_owned())
        })
    };
    let error = of_traceback(line).unwrap_or_else(|| line.trim_start().to_owned());
    Some(error.chars().take(MAX_LINE).collect())
}

/// `exit status: 1`, `signal: 9 (SIGKILL)`.
pub(crate) fn describe(status: ExitStatus) -> String {
    status.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_elsewhere_on_the_machine_are_not_its_own() {
        let [killed, terminated, failed] = [9, 15, 1 << 8].map(ExitStatus::from_raw);
        assert!(was_killed_for_memory(killed, Some(1), Some(2)));
        assert!(!was_killed_for_memory(killed, Some(2), Some(2)));
        assert!(!was_killed_for_memory(killed, None, None));
        assert!(!was_killed_for_memory(terminated, Some(1), Some(2)));
        assert!(!was_killed_for_memory(failed, Some(1), Some(2)));
    }

    #[tokio::test]
    async fn a_command_that_is_stopped_ends_with_what_it_started() {
        let scratch = tempfile::tempdir().expect("a folder");
        let started = scratch.path().join("started");
        let script = format!("sleep 100 & echo $! > '{}'; wait", started.display());
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        let (sender, mut stop) = watch::channel(false);
        let ask = async {
            while std::fs::read_to_string(&started).map_or(true, |it| it.is_empty()) {
                tokio::time::sleep(POLL).await;
            }
            sender.send_replace(true);
        };
        let (ended, ()) = tokio::join!(run_shown(command, &mut stop), ask);
        assert_eq!(ended.expect("it runs"), None);
        let child = std::fs::read_to_string(&started).expect("its id");
        let child = child.trim().parse().ok().and_then(Pid::from_raw);
        let group = rustix::process::getpgid(child);
        assert!(group.is_err(), "it runs on, in group {group:?}");
        let mut command = Command::new("sh");
        command.args(["-c", "exit 3"]);
        let (_sender, mut stop) = watch::channel(false);
        let ended = run_shown(command, &mut stop).await.expect("it runs");
        assert_eq!(ended.and_then(|status| status.code()), Some(3));
    }

    #[test]
    fn the_first_error_of_a_log_is_quoted() {
        let log = "loading\nINFO: 127.0.0.1 - \"GET /health HTTP/1.1\" 503\n\
            Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    run()\n\
            ValueError: no such model\nERROR: later\n";
        assert_eq!(
            first_error(log).as_deref(),
            Some("ValueError: no such model")
        );
        let log =
            "(w1) Traceback (most recent call last):\n(w1)   File \"a.py\"\n(w1) OSError: gone\n";
        assert_eq!(first_error(log).as_deref(), Some("OSError: gone"));
        let log = "fine\nllama: error: no such file\nmore\n";
        assert_eq!(
            first_error(log).as_deref(),
            Some("llama: error: no such file")
        );
        assert_eq!(first_error("fine\nGET /health 503\n"), None);
        let scratch = tempfile::tempdir().expect("a folder");
        let log = scratch.path().join("it.log");
        let polls = "GET /health 503\n".repeat(9);
        std::fs::write(&log, format!("E\nOSError: gone\n{polls}")).expect("a file");
        let words = last_words(&log, 0);
        assert!(
            words.starts_with("its first error: OSError: gone; its last words: GET"),
            "{words}"
        );
        std::fs::write(&log, "OSError: gone\n").expect("a file");
        assert!(last_words(&log, 0).starts_with("its last words: OSError: gone ("));
    }

    #[tokio::test]
    async fn memory_that_ran_out_is_found_although_the_log_goes_on() {
        let scratch = tempfile::tempdir().expect("a folder");
        let log = scratch.path().join("it.log");
        let mut ran_out = Vec::new();
        for script in ["echo MemoryError; seq 2000; exit 1", "seq 2000; exit 1"] {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            let mut process = Process::start(command, &log).expect("it starts");
            process.wait().await.expect("it ends");
            ran_out.push(process.ran_out_of_memory());
        }
        // The second one's log begins with the output of the first.
        assert_eq!(ran_out, [true, false]);
    }
}
