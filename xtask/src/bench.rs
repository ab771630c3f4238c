//! Benchmarks of prony itself. No check depends on a time; anyone changing benchmarked
//! code reads the numbers.

mod config;
mod generate;
mod scale;
mod verdicts;
mod view;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::plugins::Form;
use crate::workspace::Workspace;
use crate::{build, shell};

/// Number of measurements of each command.
const RUNS: usize = 30;

/// Warm-up runs, which fill the caches of the disk and the processor.
const UNMEASURED: usize = 3;

const BENCHES: [(&str, &str); 6] = [
    (
        "config",
        "`prony validate` of a long pipeline and of those that ship, and `prony --help`",
    ),
    (
        "load",
        "the load client beside a raw-socket client, against the truth server; about 3 minutes",
    ),
    (
        "ranks",
        "time for ranks to assemble, take their shares and hand over their answers; a minute",
    ),
    (
        "scale",
        "memory and time of prony with growing numbers of requests; a minute",
    ),
    (
        "verdicts",
        "verdicts on engines that are equal and that differ, under bursts of load; about an hour",
    ),
    (
        "view",
        "processor time of a run with its view on a terminal, and with lines; 6 minutes, on Linux",
    ),
];

/// Effect of missed targets.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Targets {
    Shown,
    Strict,
}

pub(crate) fn list() {
    for (name, what) in BENCHES {
        println!("{name:<10}{what}");
    }
}

pub(crate) fn bench(workspace: &Workspace, name: &str, targets: Targets) -> Result<()> {
    match name {
        "config" => config::config(workspace, targets),
        "load" => load(workspace),
        "ranks" => ranks(workspace),
        "view" => view::view(workspace),
        _ => bail!("there is no bench `{name}`; `cargo xtask bench` lists them"),
    }
}

fn ranks(workspace: &Workspace) -> Result<()> {
    let mut bench = workspace.cargo("bench");
    shell::run(bench.args(["--locked", "-p", "prony-ranks", "--bench", "ranks"]))
}

/// Judges engines that are equal and that differ, by the options.
pub(crate) fn verdicts(workspace: &Workspace, options: &[&str]) -> Result<()> {
    verdicts::verdicts(workspace, options)
}

/// Measures memory and time with growing numbers of requests.
pub(crate) fn scale(workspace: &Workspace, is_long: bool) -> Result<()> {
    scale::scale(workspace, is_long)
}

/// Measures the accuracy and CPU load of the load client.
fn load(workspace: &Workspace) -> Result<()> {
    build::build(workspace)?;
    let mut library = workspace.cargo("build");
    shell::run(library.args(["--release", "--locked", "-p", "engine-openai"]))?;
    let wasm = workspace.release().join("plugins/engine-openai.wasm");
    let native = build::artifact(workspace, "engine-openai", Form::Native);
    let mut bench = workspace.cargo("bench");
    bench
        .args(["--locked", "-p", "prony-runner", "--bench", "load", "--"])
        .arg("--wasm")
        .arg(wasm)
        .arg("--native")
        .arg(native)
        .arg("--cache")
        .arg(&workspace.cache);
    shell::run(&mut bench)
}

/// A command that is measured from before its process is created until its end.
struct Case {
    name: String,
    command: Command,
    target: Option<Duration>,
}

/// Measurements of a case, sorted.
struct Measured {
    name: String,
    times: Vec<Duration>,
    target: Option<Duration>,
}

impl Measured {
    fn median(&self) -> Duration {
        let upper = self.times.len() / 2;
        let lower = (self.times.len() - 1) / 2;
        (self.times[lower] + self.times[upper]) / 2
    }

    fn is_missed(&self) -> bool {
        self.target.is_some_and(|target| self.median() > target)
    }
}

/// Runs all cases in turn, so that other activity of the machine affects all alike. The
/// first one should be a program that does nothing, as the lower bound.
fn measure(mut cases: Vec<Case>) -> Result<Vec<Measured>> {
    for case in &mut cases {
        // A failing command would be measured as very fast.
        let name = &case.name;
        let output = case
            .command
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start `{name}`"))?;
        if !output.status.success() {
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            bail!("`{name}` failed: {}", output.status);
        }
        case.command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    let mut times = vec![Vec::with_capacity(RUNS); cases.len()];
    for run in 0..UNMEASURED + RUNS {
        for (case, times) in cases.iter_mut().zip(&mut times) {
            let started = Instant::now();
            let status = case.command.status();
            let took = started.elapsed();
            if !status.is_ok_and(|status| status.success()) {
                bail!("`{}` failed in run {run}", case.name);
            }
            if run >= UNMEASURED {
                times.push(took);
            }
        }
    }
    let sorted = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times
    };
    Ok(cases
        .into_iter()
        .zip(times)
        .map(|(case, times)| Measured {
            name: case.name,
            times: sorted(times),
            target: case.target,
        })
        .collect())
}

/// Pins this process and its children to one core; returns its name.
fn pin() -> Option<String> {
    shell::on_path("taskset")?;
    let process = std::process::id().to_string();
    let taskset = |arguments: &[&str]| shell::output(Command::new("taskset").args(arguments)).ok();
    let allowed = String::from_utf8(taskset(&["-c", "-p", &process])?).ok()?;
    // `pid 1's current affinity list: 0,2-3`: the last core is the least busy one.
    let core = allowed.trim().rsplit([' ', ',', '-']).next()?.to_owned();
    taskset(&["-c", "-p", &core, &process])?;
    Some(core)
}

/// A program that does nothing, since that takes time too.
fn nothing() -> Result<Case> {
    let program = shell::on_path("true").context("there is no program `true` on PATH")?;
    Ok(Case {
        name: program.display().to_string(),
        command: Command::new(program),
        target: None,
    })
}

/// Prints a table, and fails if a required target was missed.
fn show(table: &[Measured], targets: Targets) -> Result<()> {
    let width = table.iter().map(|row| row.name.len()).max().unwrap_or(0);
    println!(
        "{:<width$}  {:>8}  {:>8}  {:>8}  {:>8}",
        "ms", "min", "median", "max", "target"
    );
    for row in table {
        let [min, max] = [0, row.times.len() - 1].map(|at| milliseconds(row.times[at]));
        let verdict = match (row.target, row.is_missed()) {
            (None, _) => String::new(),
            (Some(target), missed) => format!(
                "  {:>8.0}  {}",
                milliseconds(target),
                if missed { "missed" } else { "ok" }
            ),
        };
        println!(
            "{:<width$}  {min:>8.2}  {:>8.2}  {max:>8.2}{verdict}",
            row.name,
            milliseconds(row.median()),
        );
    }
    let missed: Vec<&str> = table
        .iter()
        .filter(|row| row.is_missed())
        .map(|row| row.name.as_str())
        .collect();
    if targets == Targets::Strict && !missed.is_empty() {
        bail!("above the target by the median: {}", missed.join(", "));
    }
    Ok(())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_decides() {
        let times = |times: &[u64]| Measured {
            name: String::new(),
            times: times.iter().copied().map(Duration::from_millis).collect(),
            target: Some(Duration::from_millis(3)),
        };
        assert_eq!(times(&[1, 2, 9]).median(), Duration::from_millis(2));
        assert_eq!(times(&[1, 2, 3, 9]).median(), Duration::from_micros(2500));
        assert!(!times(&[1, 3, 9]).is_missed());
        assert!(times(&[1, 4, 9]).is_missed());
    }
}
