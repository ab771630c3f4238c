//! Ranks and parts under the systems that start them: Slurm with two nodes on this machine, Open
//! MPI, GNU parallel, and what the controller of a Kubernetes job does, with the manifests that
//! `prony launch` prints.

mod clocks;
mod kubernetes;
mod slurm;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::shell;
use crate::workspace::{Workspace, create_folder};

/// Programs that are needed, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 6] = [
    ("ip", "iproute2"),
    ("srun", "slurm-wlm"),
    ("munged", "munge"),
    ("mpirun", "openmpi-bin"),
    ("parallel", "parallel"),
    ("unshare", "util-linux"),
];

/// Runs a pipeline by each system.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let is_root = || shell::output(Command::new("id").arg("-u")).is_ok_and(|it| it == b"0\n");
    if !cfg!(target_os = "linux") || !is_root() {
        eprintln!("note: ranks are tried on Linux by root only, who can start Slurm's daemons");
        return Ok(());
    }
    install(workspace)?;
    let bench = Bench::new(workspace)?;
    slurm::check(&bench)?;
    open_mpi(&bench)?;
    parallel(&bench)?;
    clocks::check(&bench)?;
    kubernetes::check(workspace, &bench)
}

fn install(workspace: &Workspace) -> Result<()> {
    let missing = PROGRAMS.iter().filter(|it| shell::on_path(it.0).is_none());
    let missing: Vec<&str> = missing.map(|it| it.1).collect();
    if missing.is_empty() {
        return Ok(());
    }
    shell::step(&format!("installing {}", missing.join(", ")));
    shell::run(workspace.script("install-debian.sh").args(missing))
}

/// A folder with a pipeline, for runs of it.
struct Bench {
    folder: PathBuf,
    prony: PathBuf,
}

impl Bench {
    fn new(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.target.join("ranks");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        create_folder(&folder)?;
        let prony = workspace.prony();
        let pipeline = PIPELINE.replace("PRONY", &prony.to_string_lossy());
        fs::write(folder.join("pipeline.yaml"), pipeline)?;
        Ok(Self { folder, prony })
    }

    /// A command that runs in the folder, with prony on its path.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let own = self.prony.parent().unwrap_or(Path::new("."));
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .current_dir(&self.folder)
            .env("PATH", format!("{}:{path}", own.display()));
        command
    }

    /// Checks a run in a folder of this one: its exit code, and how many ranks it had.
    fn checked(&self, results: &str, ended: &Output, ranks: usize) -> Result<Run> {
        let said = String::from_utf8_lossy(&ended.stderr);
        // A busy machine makes it invalid, which is as it must be.
        let code = ended.status.code();
        ensure!(
            matches!(code, Some(0 | 6)),
            "it ended with {code:?}:\n{said}"
        );
        let run = self.run(results)?;
        ensure!(
            run.ranks == ranks,
            "{} ranks sent, not {ranks}:\n{said}",
            run.ranks
        );
        ensure!(
            run.succeeded == REQUESTS,
            "{} requests succeeded:\n{said}",
            run.succeeded
        );
        Ok(run)
    }

    /// The newest run in a folder of this one.
    fn run(&self, results: &str) -> Result<Run> {
        let folder = self.folder.join(results);
        let mut runs: Vec<PathBuf> = fs::read_dir(&folder)
            .with_context(|| format!("no run in {}", folder.display()))?
            .map(|it| Ok(it?.path()))
            .collect::<Result<_>>()?;
        runs.retain(|it| !it.is_symlink());
        runs.sort();
        let run = runs.pop().context("no run")?;
        let journal = fs::read_to_string(run.join("journal.jsonl"))?;
        let events = journal
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut ranks = 1;
        let mut clocks = Vec::new();
        let (mut succeeded, mut failed) = (0, Vec::new());
        for event in events {
            if let Some(others) = event["world"]["ranks"].as_array() {
                ranks += others.len();
            }
            if event["event"] == "clock" {
                let bound = event["bound_ns"].as_i64().context("no bound")?;
                clocks.push((event["offset_ns"].as_i64().context("no offset")?, bound));
            }
            let is_counted = event["event"] == "request" && event["phase"] == "measure";
            succeeded += usize::from(is_counted && event.get("failed").is_none());
            if event["event"] == "failed" {
                failed.push(event["message"].as_str().unwrap_or_default().to_owned());
            }
        }
        Ok(Run {
            ranks,
            clocks,
            succeeded,
            failed,
        })
    }
}

/// What a journal tells.
struct Run {
    ranks: usize,
    /// Offsets of the clocks of other ranks, and their bounds, in nanoseconds.
    clocks: Vec<(i64, i64)>,
    /// Measured requests that succeeded.
    succeeded: usize,
    /// What failed.
    failed: Vec<String>,
}

/// Measured requests of the pipeline.
const REQUESTS: usize = 48;

const PIPELINE: &str = r#"version: 1
name: ranks
engines:
  truth:
    plugin: openai
    config:
      model: truth
      launch:
        command: [PRONY, truth-server, --host, "${{ engine.host }}", --port, "${{ engine.port }}", --tokens, "8"]
        ready: { http: /health }
models: [{ id: one }, { id: two }]
workload: { prompts: [one, two], max_tokens: 64, temperature: 0 }
schedule: { cycles: 1 }
stages:
  - load: {}
  - warmup: { requests: 4, arrival: { concurrency: 4 } }
  - measure: { requests: 24, arrival: { concurrency: 4 } }
  - unload: {}
  - report: { reporters: [json] }
"#;

fn open_mpi(bench: &Bench) -> Result<()> {
    shell::step("three ranks of Open MPI");
    let mut run = bench.command("mpirun");
    run.args([
        "--allow-run-as-root",
        "--oversubscribe",
        "-n",
        "3",
        "prony",
        "run",
    ]);
    let ended = run.args(["pipeline.yaml", "--results", "mpi"]).output()?;
    bench.checked("mpi", &ended, 3).map(|_| ())
}

fn parallel(bench: &Bench) -> Result<()> {
    shell::step("two parts by GNU parallel");
    let mut run = bench.command("parallel");
    run.env("PRONY_PARTS", "2");
    run.args([
        "-j1",
        "-n0",
        "prony",
        "run",
        "pipeline.yaml",
        "--part",
        "auto",
        "--results",
        "parts",
    ]);
    let ended = run.args([":::", "1", "2"]).output()?;
    merged(bench, "parts", &ended)
}

/// Merges the parts of the pipeline.
fn merged(bench: &Bench, results: &str, ended: &Output) -> Result<()> {
    let said = String::from_utf8_lossy(&ended.stderr);
    let parts = [1, 2].map(|part| format!("-part-{part}-of-2"));
    let folder = bench.folder.join(results);
    let all = fs::read_dir(&folder).with_context(|| format!("no parts:\n{said}"))?;
    let all: Vec<PathBuf> = all.map(|it| Ok(it?.path())).collect::<Result<_>>()?;
    let mut merge = bench.command("prony");
    merge.args(["merge", "--results", &format!("{results}-merged")]);
    for part in parts {
        let found = all.iter().find(|it| it.to_string_lossy().ends_with(&part));
        match found {
            Some(found) => merge.arg(found),
            None => bail!("no {part} in {}:\n{said}", folder.display()),
        };
    }
    let ended = merge.output()?;
    bench
        .checked(&format!("{results}-merged"), &ended, 1)
        .map(|_| ())
}
