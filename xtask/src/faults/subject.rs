//! The run that meets faults, and the judgement after each.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::row::Row;
use crate::shell;
use crate::workspace::{Workspace, create_folder};

/// Environment variable by which the processes of a try are found: all that they start have it.
const MARK: &str = "PRONY_FAULTS";
/// Longest time of a run of a cycle, on a machine that has other work.
const LIMIT_OF_CYCLE: Duration = Duration::from_secs(30);
/// Time that processes have to be gone when prony is.
const GONE: Duration = Duration::from_secs(10);
/// Interval between looks at processes.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Requests of a run that are in flight at a time.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Load {
    One,
    Several,
}

impl Load {
    fn in_flight(self) -> u64 {
        match self {
            Self::One => 1,
            Self::Several => 8,
        }
    }

    fn requests(self) -> u64 {
        match self {
            Self::One => 3,
            Self::Several => 24,
        }
    }

    /// For the table.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::One => "one in flight",
            Self::Several => "eight in flight",
        }
    }
}

/// A run of two equal engines, which are the truth server.
pub(super) struct Subject {
    pub(super) load: Load,
    pub(super) cycles: u64,
    prony: PathBuf,
    /// Holds the pipeline and the run.
    folder: PathBuf,
    /// Holds what may not meet the fault: output of prony, and logs of the servers.
    pub(super) beside: PathBuf,
    /// The first line of the undisturbed run's journal.
    started: Value,
    /// Duration of that run.
    pub(super) took: Duration,
    /// Time after which no try begins.
    pub(super) until: Option<Instant>,
    /// Number of the next try.
    number: u32,
}

impl Subject {
    /// Runs it undisturbed.
    pub(super) fn new(workspace: &Workspace, load: Load, cycles: u64) -> Result<Self> {
        let name = format!("{}-{cycles}", load.in_flight());
        let folder = workspace.target.join("faults").join(name);
        Self::in_folder(workspace, &folder, load, cycles)
    }

    /// The same in a folder of its own, which may be on another disk.
    pub(super) fn in_folder(
        workspace: &Workspace,
        folder: &Path,
        load: Load,
        cycles: u64,
    ) -> Result<Self> {
        let beside = folder.file_name().unwrap_or_default().to_string_lossy();
        let beside = folder.with_file_name(format!("{beside}-beside"));
        let mut subject = Self {
            load,
            cycles,
            prony: workspace.prony(),
            folder: folder.to_owned(),
            beside,
            started: Value::Null,
            took: Duration::ZERO,
            until: None,
            number: 0,
        };
        subject.clear()?;
        fs::write(folder.join("pipeline.yaml"), subject.pipeline()?)?;
        shell::step(&format!(
            "an undisturbed run: {}, {cycles} cycles",
            load.words()
        ));
        let ended = subject.start(&[])?.wait()?;
        ensure!(
            ended.is_success(),
            "an undisturbed run fails: {}",
            ended.stderr
        );
        subject.took = ended.took;
        let journal = Journal::read(&subject.run())?;
        subject.started = journal.events.first().context("a first line")?.clone();
        ensure!(
            journal.cycles() == cycles && journal.successes() == subject.answered()?.len() as u64,
            "{} cycles and {} requests in the journal, and {} answers by the servers' own logs",
            journal.cycles(),
            journal.successes(),
            subject.answered()?.len()
        );
        Ok(subject)
    }

    /// The folder of the run.
    pub(super) fn run(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// The servers' logs, one for each start.
    fn served(&self) -> PathBuf {
        self.beside.join("served")
    }

    fn pipeline(&self) -> Result<String> {
        let served = self.served();
        let (prony, served) = (text(&self.prony)?, text(&served)?);
        let script = "served=$1; shift; exec \"$@\" --log \"$served/$$.jsonl\"";
        let engine = json!({
            "plugin": "openai",
            "config": {
                "model": "truth",
                "launch": {
                    "command": [
                        "sh", "-c", script, "sh", served,
                        prony, "truth-server", "--port", "${{ engine.port }}", "--tokens", "8",
                        "--time-to-first-token-ms", "4", "--inter-token-latency-us", "500",
                    ],
                    "ready": { "http": "/health" },
                },
            },
        });
        let arrival = json!({ "concurrency": self.load.in_flight() });
        // JSON is YAML.
        let pipeline = json!({
            "version": 1,
            "name": "faults",
            "engines": { "a": engine, "b": engine },
            "compare": { "baseline": "a" },
            "models": [{ "id": "truth" }],
            "workload": { "prompts": ["one", "two"], "max_tokens": 64, "temperature": 0 },
            "schedule": { "cycles": self.cycles, "stop": "never" },
            "stages": [
                { "load": {} },
                { "warmup": { "requests": 1 } },
                { "measure": { "requests": self.load.requests(), "arrival": arrival } },
                { "unload": {} },
                { "report": { "reporters": ["markdown", "json"] } },
            ],
        });
        Ok(format!("{pipeline:#}"))
    }

    /// Removes the run of the last try.
    pub(super) fn clear(&self) -> Result<()> {
        for folder in [&self.run(), &self.beside] {
            if folder.exists() {
                fs::remove_dir_all(folder)
                    .with_context(|| format!("cannot clear {}", folder.display()))?;
            }
        }
        create_folder(&self.folder)?;
        create_folder(&self.served())
    }

    /// Starts the run, or goes on with it; `wrapper` are words before the command.
    pub(super) fn start(&mut self, wrapper: &[String]) -> Result<Running> {
        self.number += 1;
        let mut words: Vec<&str> = wrapper.iter().map(String::as_str).collect();
        let (prony, run) = (&self.prony, self.run());
        let (prony, run) = (text(prony)?, text(&run)?);
        words.extend([prony, "--quiet", "run", "pipeline.yaml", "--into", run]);
        let [program, arguments @ ..] = &words[..] else {
            bail!("a command has a program");
        };
        let mark = format!("{}.{}", std::process::id(), self.number);
        let stderr = self.beside.join("stderr");
        let child = Command::new(program)
            .args(arguments)
            .current_dir(&self.folder)
            .env(MARK, &mark)
            .env_remove("PRONY_LOCK")
            // A panic that prints more must not hang, either.
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(File::create(self.beside.join("stdout"))?)
            .stderr(File::create(&stderr)?)
            .spawn()
            .with_context(|| format!("cannot start `{program}`"))?;
        Ok(Running {
            child,
            mark,
            stderr,
            since: Instant::now(),
            limit: LIMIT_OF_CYCLE * (2 + self.cycles as u32),
        })
    }

    /// Runs once with a fault, and judges what came of it. Returns the verdict of the
    /// comparison, and `None` if there was no fault: the run had ended before, or time was up.
    ///
    /// `disturb` makes the fault or waits for it; it says whether there was one.
    pub(super) fn attempt(
        &mut self,
        row: &mut Row,
        what: &str,
        wrapper: &[String],
        disturb: impl FnOnce(&Self, &mut Running) -> Result<bool>,
    ) -> Result<Option<String>> {
        if self.until.is_some_and(|until| Instant::now() > until) {
            row.late += 1;
            return Ok(None);
        }
        self.clear()?;
        let mut running = self.start(wrapper)?;
        let mark = running.mark.clone();
        let has_fault = disturb(self, &mut running)?;
        let ended = running.wait()?;
        let left = end_left(&mark);
        if !has_fault && left == 0 {
            return Ok(None);
        }
        row.tries += 1;
        row.left += left;
        let mut wrong = Vec::new();
        if left > 0 {
            wrong.push(format!("{left} processes were left running"));
        }
        wrong.extend(ended.defect());
        let verdict = self.judge(row, &mut wrong)?;
        if !wrong.is_empty() {
            let kept = self.keep(row.misses.len())?;
            row.misses.push(format!(
                "{}, {what}: {} (kept in {})",
                row.fault,
                wrong.join("; "),
                kept.display()
            ));
        }
        Ok(verdict)
    }

    /// Verifies what a fault has left, goes on with it, and compares.
    fn judge(&mut self, row: &mut Row, wrong: &mut Vec<String>) -> Result<Option<String>> {
        let before = Journal::read(&self.run())?;
        let answered = self.answered()?;
        let mut is_whole = true;
        // Without a first line nothing has begun.
        if !before.events.is_empty() {
            is_whole = self.verify(wrong)?;
        }
        let mut running = self.start(&[])?;
        let mark = running.mark.clone();
        let ended = running.wait()?;
        let left = end_left(&mark);
        row.left += left;
        if left > 0 {
            wrong.push(format!("going on, {left} processes were left running"));
        }
        wrong.extend(ended.defect());
        let after = Journal::read(&self.run())?;
        is_whole &= self.verify(wrong)?;
        row.verified += u64::from(is_whole);

        let is_over = match before.outcome() {
            // It had come to its end, perhaps with an engine that failed for the fault.
            Some("completed" | "failed") => after.bytes == before.bytes,
            _ => {
                ended.is_success()
                    && after.outcome() == Some("completed")
                    && after.cycles() >= self.cycles
            }
        };
        if is_over {
            *row.resumed.get_or_insert_default() += 1;
        } else {
            wrong.push(format!(
                "it does not come to its end: exit code {:?}, outcome {:?}, {} cycles: {}",
                ended.code,
                after.outcome(),
                after.cycles(),
                ended.stderr
            ));
        }
        let is_equal = after.bytes.starts_with(&before.bytes) && self.is_same(&after);
        if is_equal {
            *row.equal.get_or_insert_default() += 1;
        } else {
            wrong.push("the journal, its plan or its rule is not what it was".to_owned());
        }
        let recorded = after.successes();
        let lost = (answered.len() as u64).saturating_sub(recorded);
        *row.lost.get_or_insert_default() += lost;
        if lost > self.may_lose(&answered) {
            wrong.push(format!(
                "{lost} of {} answered requests are lost",
                answered.len()
            ));
        }
        Ok(verdict(&self.run()))
    }

    /// Number of answers that a kill may cost: what was in flight and, with several in flight,
    /// what came in the second before.
    fn may_lose(&self, answered: &[u64]) -> u64 {
        let last = answered.iter().max().copied().unwrap_or_default();
        let of_second = answered.iter().filter(|it| **it + 1_000_000_000 > last);
        match self.load {
            Load::One => 1,
            Load::Several => self.load.in_flight() + of_second.count() as u64,
        }
    }

    /// Returns `true` if the experiment is that of the undisturbed run.
    fn is_same(&self, journal: &Journal) -> bool {
        let Some(started) = journal.events.first() else {
            return false;
        };
        ["plan", "subject", "pipeline_sha256"]
            .iter()
            .all(|key| !started[key].is_null() && started[key] == self.started[key])
    }

    fn verify(&self, wrong: &mut Vec<String>) -> Result<bool> {
        let output = Command::new(&self.prony)
            .arg("verify")
            .arg(self.run())
            .stdin(Stdio::null())
            .output()
            .context("cannot start prony")?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            wrong.push(format!("`prony verify` fails: {}", words.trim()));
        }
        Ok(output.status.success())
    }

    /// Ends of the answers that servers have given as a whole, in nanoseconds, by their own logs.
    fn answered(&self) -> Result<Vec<u64>> {
        let mut ends = Vec::new();
        for entry in fs::read_dir(self.served())? {
            let bytes = fs::read(entry?.path())?;
            for line in bytes.split(|byte| *byte == b'\n') {
                let Ok(entry) = serde_json::from_slice::<Value>(line) else {
                    continue;
                };
                let path = entry["path"].as_str().unwrap_or_default();
                if entry["complete"] == true && path.contains("completions") {
                    let writes = entry["writes_ns"].as_array();
                    let last = writes.and_then(|it| it.last()).and_then(Value::as_u64);
                    ends.push(last.unwrap_or_default());
                }
            }
        }
        Ok(ends)
    }

    /// Keeps the run of a try that went wrong.
    fn keep(&self, number: usize) -> Result<PathBuf> {
        let name = self.beside.file_name().unwrap_or_default();
        let name = format!("{}-{}-{number}", name.to_string_lossy(), self.number);
        let kept = self.beside.with_file_name("wrong").join(name);
        if kept.exists() {
            fs::remove_dir_all(&kept)?;
        }
        create_folder(&kept)?;
        for folder in [&self.run(), &self.beside] {
            // It may be on another disk.
            let mut copy = Command::new("cp");
            shell::run(copy.arg("-r").arg(folder).arg(&kept))?;
        }
        Ok(kept)
    }
}

/// A prony that runs.
pub(super) struct Running {
    child: Child,
    mark: String,
    stderr: PathBuf,
    since: Instant,
    limit: Duration,
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it outright; `false` if it had ended.
    pub(super) fn kill(&mut self) -> Result<bool> {
        let runs = !self.has_ended()?;
        if runs {
            self.child.kill()?;
        }
        Ok(runs)
    }

    /// Sends a signal by its name; `false` if it had ended.
    pub(super) fn signal(&mut self, name: &str) -> Result<bool> {
        let runs = !self.has_ended()?;
        if runs {
            let command = format!("kill -s {name} {}", self.pid());
            shell::run(Command::new("sh").args(["-c", &command]))?;
        }
        Ok(runs)
    }

    pub(super) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits until a time since its start; returns early if it ends.
    pub(super) fn sleep_until(&mut self, time: Duration) -> Result<()> {
        while !self.has_ended()? && self.since.elapsed() < time {
            std::thread::sleep(LOOK_EVERY.min(time.saturating_sub(self.since.elapsed())));
        }
        Ok(())
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self) -> Result<Ended> {
        self.sleep_until(self.limit)?;
        let is_late = !self.has_ended()?;
        if is_late {
            end_left(&self.mark);
            self.child.kill()?;
        }
        let status = self.child.wait()?;
        Ok(Ended {
            code: status.code(),
            signal: status.signal(),
            stderr: String::from_utf8_lossy(&fs::read(&self.stderr)?).into_owned(),
            took: self.since.elapsed(),
            is_late,
        })
    }
}

/// A prony that has ended.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    stderr: String,
    took: Duration,
    is_late: bool,
}

impl Ended {
    /// A run whose numbers are not valid, since the client was late, has come to its end, too.
    fn is_success(&self) -> bool {
        matches!(self.code, Some(0 | 6)) && !self.is_late
    }

    /// Outcomes that no fault may bring about.
    fn defect(&self) -> Option<String> {
        if self.is_late {
            return Some("it hangs".to_owned());
        }
        // What a plugin prints of its own panics is no panic of prony.
        let panic = self.stderr.lines().find(|it| it.contains("panicked at"));
        panic
            .map(|words| format!("it panics: {words}"))
            .or_else(|| match (self.code, self.signal) {
                // Killed, or ended by itself for want of memory.
                (Some(0 | 1 | 6 | 130), _) | (None, Some(6 | 9)) => None,
                // The file of a reporter cannot be written.
                (Some(5), _) if self.stderr.contains("os error") => None,
                (code, signal) => Some(format!(
                    "it ends with exit code {code:?} or signal {signal:?}: {}",
                    self.stderr
                )),
            })
    }
}

/// A journal, read without prony.
struct Journal {
    /// Its whole lines.
    bytes: Vec<u8>,
    events: Vec<Value>,
}

impl Journal {
    /// Of a run; without lines if there is none.
    fn read(run: &Path) -> Result<Self> {
        let path = run.join("journal.jsonl");
        let mut bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).context(format!("cannot read {}", path.display())),
        };
        let whole = bytes.iter().rposition(|it| *it == b'\n');
        bytes.truncate(whole.map_or(0, |at| at + 1));
        let lines = bytes
            .split(|it| *it == b'\n')
            .filter(|line| !line.is_empty());
        // A line that is no JSON is damage, which `prony verify` finds.
        let events = lines.map(|line| serde_json::from_slice(line).unwrap_or_default());
        let events = events.collect();
        Ok(Self { bytes, events })
    }

    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |it| it["event"] == kind)
    }

    /// Number of cycles that are over. One that was broken off is, too; where so few cycles
    /// cannot name a winner, no other takes its place.
    fn cycles(&self) -> u64 {
        let over = self.of("cycle").filter_map(|it| it["cycle"].as_u64());
        over.collect::<BTreeSet<u64>>().len() as u64
    }

    /// Number of successes among the requests that were sent before the run was resumed. The
    /// command that goes on may journal some of them, before it says so.
    fn successes(&self) -> u64 {
        let before = self.events.iter().take_while(|it| it["event"] != "resumed");
        let successes = before.filter(|it| it["event"] == "request" && it["failed"].is_null());
        successes.count() as u64
    }

    fn outcome(&self) -> Option<&str> {
        let last = self.events.last().filter(|it| it["event"] == "finished")?;
        last["outcome"].as_str()
    }
}

/// The verdict in the result of a run.
fn verdict(run: &Path) -> Option<String> {
    let text = fs::read(run.join("result.json")).ok()?;
    let result: Value = serde_json::from_slice(&text).ok()?;
    let verdict = result["models"][0]["comparisons"][0]["verdict"].as_str();
    verdict.map(str::to_owned)
}

/// A path in a command.
pub(super) fn text(path: &Path) -> Result<&str> {
    path.to_str().context("the path is not text")
}

/// Ends what is left of a try when it should be gone; returns the number of its processes.
fn end_left(mark: &str) -> u64 {
    let begin = Instant::now();
    let mut left = marked(mark);
    while !left.is_empty() && begin.elapsed() < GONE {
        std::thread::sleep(LOOK_EVERY);
        left = marked(mark);
    }
    for pid in &left {
        let command = format!("kill -s KILL {pid}");
        shell::succeeds(Command::new("sh").args(["-c", &command]));
    }
    left.len() as u64
}

/// Running processes with a mark.
fn marked(mark: &str) -> Vec<u32> {
    let wanted = format!("{MARK}={mark}");
    let has_it = |pid: &u32| {
        // Of a process that only waits to be cleared away it is empty.
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|it| it == wanted.as_bytes())
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(has_it).collect()
}
