//! Memory and time of prony for runs of growing size, and the law by which they grow.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::workspace::{Workspace, create_folder};
use crate::{build, shell};

/// Numbers of requests; the last one only if asked for.
const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Tokens of an answer.
const TOKENS: u32 = 16;

/// Tokens of an answer, at most, in a journal that is reported.
const LONG: u32 = 256;

/// Interval between looks at the memory of a process.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A command with one size of its work.
pub(super) struct Row {
    /// The command and the kind of its work.
    pub(super) what: &'static str,
    /// Number of requests.
    pub(super) requests: u64,
    pub(super) seconds: f64,
    /// Peak resident memory of the process, without its children, in bytes.
    pub(super) peak_bytes: u64,
}

/// Measures prony with growing numbers of requests.
pub(super) fn scale(workspace: &Workspace, is_long: bool) -> Result<()> {
    build::build(workspace)?;
    let sizes = if is_long { &SIZES } else { &SIZES[..3] };
    let mut rows = runs(workspace, sizes)?;
    rows.extend(reports(workspace, sizes)?);
    println!("{}", table(&rows));
    Ok(())
}

/// `prony run` against the truth server, 32 requests at a time.
fn runs(workspace: &Workspace, sizes: &[u64]) -> Result<Vec<Row>> {
    let folder = workspace.target.join("scale");
    create_folder(&folder)?;
    let prony = workspace.prony();
    let mut rows = Vec::new();
    for requests in sizes {
        shell::step(&format!("prony run, {requests} requests"));
        let pipeline = folder.join("pipeline.yaml");
        fs::write(&pipeline, pipeline_of(&prony, *requests)?)?;
        let results = folder.join("results");
        // Of a bench that was ended.
        let _ = fs::remove_dir_all(&results);
        let mut run = Command::new(&prony);
        run.arg("--quiet")
            .arg("run")
            .arg(&pipeline)
            .arg("--results")
            .arg(&results);
        rows.push(measure("`prony run`", *requests, &mut run)?);
        fs::remove_dir_all(&results)?;
    }
    Ok(rows)
}

/// `prony report` and `prony metrics` of a journal of two engines, ten cycles and long answers
/// that differ, as prony's own writer writes it.
fn reports(workspace: &Workspace, sizes: &[u64]) -> Result<Vec<Row>> {
    let mut build = workspace.cargo("build");
    build.args(["--release", "-p", "prony-journal", "--example", "large"]);
    shell::run_cargo(&mut build)?;
    let large = workspace.release().join("examples/large");
    let run = workspace.target.join("scale").join("large");
    let prony = workspace.prony();
    let (mut reports, mut metrics) = (Vec::new(), Vec::new());
    for requests in sizes {
        shell::step(&format!("prony report, {requests} requests"));
        // Of a bench that was ended.
        let _ = fs::remove_dir_all(&run);
        let mut write = Command::new(&large);
        write
            .arg(&run)
            .arg(requests.to_string())
            .arg(LONG.to_string());
        shell::run(&mut write)?;
        let mut report = Command::new(&prony);
        report.arg("report").arg(&run).arg("--json");
        reports.push(measure("`prony report`", *requests, &mut report)?);
        let mut score = Command::new(&prony);
        score.arg("metrics").arg(&run);
        metrics.push(measure("`prony metrics`", *requests, &mut score)?);
        fs::remove_dir_all(&run)?;
    }
    reports.extend(metrics);
    Ok(reports)
}

/// A pipeline that sends so many requests to the truth server.
fn pipeline_of(prony: &Path, requests: u64) -> Result<String> {
    let tokens = TOKENS.to_string();
    let command = [
        prony.to_str().context("the path is not text")?,
        "truth-server",
        "--port",
        "${{ engine.port }}",
        "--tokens",
        &tokens,
        "--time-to-first-token-ms",
        "1",
        "--inter-token-latency-us",
        "0",
    ];
    let engine = json!({
        "plugin": "openai",
        "config": {
            "model": "truth",
            "launch": { "command": command, "ready": { "http": "/health" } },
        },
    });
    // JSON is YAML.
    let pipeline = json!({
        "version": 1,
        "name": "scale",
        "engines": { "truth": engine },
        "models": [{ "id": "truth" }],
        "workload": { "prompts": ["one", "two"], "max_tokens": 64, "temperature": 0 },
        "schedule": { "cycles": 1 },
        "stages": [
            { "load": {} },
            { "measure": { "requests": requests, "arrival": { "concurrency": 32 } } },
            { "report": { "reporters": ["json"] } },
        ],
    });
    Ok(format!("{pipeline:#}"))
}

/// Runs a command to its end, which has to be a success.
pub(super) fn measure(what: &'static str, requests: u64, command: &mut Command) -> Result<Row> {
    let begin = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak_bytes = 0;
    let ended = loop {
        // The mark is gone with the process.
        let seen = fs::read_to_string(&status).ok();
        peak_bytes = peak_bytes.max(seen.as_deref().and_then(peak).unwrap_or_default());
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        std::thread::sleep(LOOK_EVERY);
    };
    // 6: the client was late, as it may be on a busy machine.
    if !matches!(ended.code(), Some(0 | 6)) {
        bail!("{command:?} failed: {ended}");
    }
    Ok(Row {
        what,
        requests,
        seconds: begin.elapsed().as_secs_f64(),
        peak_bytes,
    })
}

/// The high-water mark of the resident memory, in bytes, of `/proc/PID/status`.
fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// A Markdown table of each kind of work, in the order of its sizes, with the law of growth
/// below.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = "| | Requests | Time, s | Peak memory, MiB |\n|---|---|---|---|\n".to_owned();
    let mut laws = String::new();
    for of_kind in rows.chunk_by(|one, other| one.what == other.what) {
        for row in of_kind {
            let _ = writeln!(
                text,
                "| {} | {} | {:.2} | {:.0} |",
                row.what,
                row.requests,
                row.seconds,
                row.peak_bytes as f64 / f64::from(1 << 20)
            );
        }
        let time = exponent(of_kind, |row| row.seconds);
        let memory = exponent(of_kind, |row| row.peak_bytes as f64);
        if let (Some(row), Some(time), Some(memory)) = (of_kind.first(), time, memory) {
            let _ = writeln!(
                laws,
                "{}: the time grows with the {time:.2}th power of the requests, the memory with the {memory:.2}th.",
                row.what
            );
        }
    }
    format!("{text}\n{laws}")
}

/// The power of the requests with which a value grows, between the two largest sizes: at
/// small ones it is the cost of starting that is seen. `None` for fewer sizes.
fn exponent(rows: &[Row], value: impl Fn(&Row) -> f64) -> Option<f64> {
    let [.., before, last] = rows else {
        return None;
    };
    let requests = last.requests as f64 / before.requests as f64;
    let power = (value(last) / value(before)).ln() / requests.ln();
    power.is_finite().then_some(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_law_is_that_of_the_largest_sizes() {
        let row = |requests, seconds, peak_bytes| Row {
            what: "run",
            requests,
            seconds,
            peak_bytes,
        };
        let rows = [
            row(1_000, 9.0, 5 << 20),
            row(10_000, 10.0, 5 << 20),
            row(100_000, 1000.0, 5 << 20),
        ];
        let table = table(&rows);
        assert!(table.contains("| run | 100000 | 1000.00 | 5 |"), "{table}");
        assert!(
            table.contains("the 2.00th power of the requests, the memory with the 0.00th"),
            "{table}"
        );
        assert_eq!(exponent(&rows[..1], |row| row.seconds), None);
    }

    #[test]
    fn the_peak_is_in_the_status_of_a_process() {
        assert_eq!(peak("Name:\tx\nVmHWM:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(peak("Name:\tx\n"), None);
    }
}
