//! Fuzzes everything that reads bytes of others, with libFuzzer on stable Rust.
//!
//! libFuzzer needs code that counts the branches taken. The flags for that are stable,
//! and the C++ of libFuzzer comes inside a crate, so neither cargo-fuzz nor a nightly
//! toolchain is needed. Only the address sanitizer needs nightly, and would find nothing:
//! what is fuzzed has no unsafe code.

mod targets;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};

use self::targets::{TARGETS, Target};
use crate::shell;
use crate::workspace::{Workspace, create_folder};

/// The crate with the fuzz targets; not a member of the workspace.
pub(crate) const FOLDER: &str = "fuzz";

/// Default duration for each target, in seconds.
const SECONDS: u32 = 60;

/// The rustc flags of cargo-fuzz for `--sanitizer none --debug-assertions`.
const FLAGS: [&str; 10] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "--cfg=fuzzing",
    "-Clink-dead-code",
    "-Cdebug-assertions",
    "-Ccodegen-units=1",
];

/// Time limit for one input, in seconds, in instrumented code on a busy machine.
const TIMEOUT: usize = 20;

const MEMORY_MB: usize = 2048;

/// Number of log lines shown after a finding.
const LINES: usize = 30;
const WIDTH: usize = 400;

/// `[TARGET] [--seconds N]`, or `TARGET FILE...`.
pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    let (chosen, rest) = match arguments.split_first() {
        Some((name, rest)) if !name.starts_with('-') => (vec![target(name)?], rest),
        _ => (TARGETS.iter().collect(), arguments),
    };
    match (&chosen[..], rest) {
        (_, []) => fuzz(workspace, &chosen, SECONDS),
        (_, ["--seconds", seconds]) => {
            let seconds = seconds
                .parse()
                .with_context(|| format!("`{seconds}` is not a number of seconds"))?;
            fuzz(workspace, &chosen, seconds)
        }
        ([target], files) if !files.iter().any(|file| file.starts_with('-')) => {
            let fuzzer = Fuzzer::build(workspace, &[target])?;
            shell::run(fuzzer.command(workspace, target).args(files))
        }
        _ => bail!("`cargo xtask help` says how `fuzz` is used"),
    }
}

/// Fuzzes all targets, each for so many seconds.
pub(crate) fn all(workspace: &Workspace, seconds: u32) -> Result<()> {
    fuzz(workspace, &TARGETS.iter().collect::<Vec<_>>(), seconds)
}

fn target(name: &str) -> Result<&'static Target> {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.with_context(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        format!(
            "there is no fuzz target `{name}`; there are {}",
            names.join(", ")
        )
    })
}

/// Tries inputs for some time; goes on with the next target after a finding.
fn fuzz(workspace: &Workspace, targets: &[&Target], seconds: u32) -> Result<()> {
    let fuzzer = Fuzzer::build(workspace, targets)?;
    let mut findings = Vec::new();
    for target in targets {
        if let Err(error) = fuzzer.fuzz(workspace, target, seconds) {
            findings.push(error.to_string());
        }
    }
    match &findings[..] {
        [] => Ok(()),
        findings => bail!("{}", findings.join("\n")),
    }
}

/// The built fuzz targets.
struct Fuzzer {
    /// Folder of the programs.
    programs: PathBuf,
    /// Folder for all fuzzing data.
    folder: PathBuf,
}

impl Fuzzer {
    fn build(workspace: &Workspace, targets: &[&Target]) -> Result<Self> {
        if !["c++", "g++", "clang++"]
            .iter()
            .any(|name| shell::on_path(name).is_some())
            && std::env::var_os("CXX").is_none()
        {
            bail!(
                "no C++ compiler, which libFuzzer needs: install one \
                 (Debian: `apt-get install g++`, macOS: `xcode-select --install`); \
                 `cargo xtask test --fast` leaves fuzzing out"
            );
        }
        let folder = workspace.target.join("fuzz");
        create_folder(&folder)?;
        take_lock(workspace, &folder)?;
        let host = host()?;
        shell::step("building the fuzz targets (minutes the first time)");
        let mut cargo = workspace.cargo("build");
        // Without `--target` the flags would go to build scripts and macros too.
        cargo
            .args(["--release", "--manifest-path"])
            .arg(workspace.root.join(FOLDER).join("Cargo.toml"))
            .args(["--target", &host])
            .env("CARGO_ENCODED_RUSTFLAGS", flags(&host).join("\u{1f}"))
            .env("CARGO_TARGET_DIR", &folder);
        for target in targets {
            cargo.args(["--bin", target.name]);
        }
        shell::run(&mut cargo)?;
        Ok(Self {
            programs: folder.join(host).join("release"),
            folder,
        })
    }

    /// A folder of a target.
    fn of(&self, target: &Target, name: &str) -> PathBuf {
        self.folder.join("data").join(target.name).join(name)
    }

    fn fuzz(&self, workspace: &Workspace, target: &Target, seconds: u32) -> Result<()> {
        let name = target.name;
        let (corpus, seeds) = (self.of(target, "corpus"), self.of(target, "seeds"));
        create_folder(&corpus)?;
        create_folder(&self.of(target, "artifacts"))?;
        collect_seeds(workspace, target, &seeds)?;
        let before = self.artifacts(target)?;
        let log = self.of(target, "log");
        shell::step(&format!(
            "fuzzing {name} for {seconds} s (log: {})",
            log.display()
        ));
        let output =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        // New inputs go into the first folder, where the next run finds them.
        let status = self
            .command(workspace, target)
            .args([corpus, seeds])
            .arg(format!("-max_total_time={seconds}"))
            .arg("-print_final_stats=1")
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .status()
            .context("cannot start the fuzzer")?;
        let text = fs::read(&log)?;
        let text = String::from_utf8_lossy(&text);
        let after = self.artifacts(target)?;
        let found: Vec<PathBuf> = after.difference(&before).cloned().collect();
        judge(target, status, &text, &found)?;
        shell::step(&format!("fuzzing {name}: ok, {}", summary(&text)));
        Ok(())
    }

    /// The fuzzer with the limits for every input.
    fn command(&self, workspace: &Workspace, target: &Target) -> Command {
        let artifacts = self.of(target, "artifacts");
        let mut command = Command::new(self.programs.join(target.name));
        command
            .current_dir(&workspace.root)
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(format!("-max_len={}", target.max_len))
            .arg(format!("-timeout={TIMEOUT}"))
            .arg(format!("-rss_limit_mb={MEMORY_MB}"));
        if target.has_dictionary {
            let file = format!("{}.dict", target.name);
            let dictionary = workspace.root.join(FOLDER).join(file);
            command.arg(format!("-dict={}", dictionary.display()));
        }
        command
    }

    /// The inputs that caused findings, in this run or an earlier one.
    fn artifacts(&self, target: &Target) -> Result<BTreeSet<PathBuf>> {
        let folder = self.of(target, "artifacts");
        let entries = folder
            .read_dir()
            .with_context(|| format!("cannot read {}", folder.display()))?;
        Ok(entries.flatten().map(|entry| entry.path()).collect())
    }
}

/// Copies the files that a target begins with to one folder.
fn collect_seeds(workspace: &Workspace, target: &Target, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    create_folder(folder)?;
    for path in workspace.files()? {
        if target.is_seed(&path) {
            fs::copy(
                workspace.root.join(&path),
                folder.join(path.replace('/', "-")),
            )
            .with_context(|| format!("cannot copy {path}"))?;
        }
    }
    Ok(())
}

/// Shows why a fuzzer stopped early, and names its findings.
fn judge(target: &Target, status: ExitStatus, log: &str, found: &[PathBuf]) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    // From the cause on, which precedes libFuzzer's own output.
    let lines: Vec<&str> = log.lines().collect();
    let cause = lines
        .iter()
        .position(|line| line.contains("panicked at ") || line.contains("ERROR: libFuzzer"))
        .unwrap_or(lines.len().saturating_sub(LINES));
    for line in lines.iter().skip(cause).take(LINES) {
        // A pipeline in Rust's debug format is one long line.
        eprintln!("{}", line.chars().take(WIDTH).collect::<String>());
    }
    // If an earlier run found the same text, no file is new.
    let named = log
        .lines()
        .filter_map(|line| line.split_once("Test unit written to "))
        .map(|(_, path)| path.trim().to_owned());
    let found: BTreeSet<String> = found
        .iter()
        .map(|path| path.display().to_string())
        .chain(named)
        .collect();
    if found.is_empty() {
        bail!("the fuzzer of {} failed: {status}", target.name);
    }
    let found: Vec<String> = found.into_iter().collect();
    bail!(
        "fuzzing found {0}; to see it again: cargo xtask fuzz {1} {0}",
        found.join(" "),
        target.name
    );
}

/// Gives the fuzz targets the same dependency versions as prony: its lock file starts as a
/// copy of the workspace's, and cargo adds what is missing.
///
/// If it were under version control, the two would drift apart, and each new dependency
/// would have to be locked twice.
fn take_lock(workspace: &Workspace, folder: &Path) -> Result<()> {
    let ours = workspace.root.join("Cargo.lock");
    let copy = folder.join("workspace.lock");
    let theirs = workspace.root.join(FOLDER).join("Cargo.lock");
    let now = fs::read(&ours).with_context(|| format!("cannot read {}", ours.display()))?;
    if theirs.exists() && fs::read(&copy).is_ok_and(|then| then == now) {
        return Ok(());
    }
    for file in [&theirs, &copy] {
        fs::write(file, &now).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn flags(host: &str) -> Vec<&'static str> {
    let mut flags = FLAGS.to_vec();
    if host.contains("-linux-") {
        flags.push("-Cllvm-args=-sanitizer-coverage-stack-depth");
    }
    flags
}

/// The default target of rustc.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = String::from_utf8(shell::output(Command::new(rustc).arg("-vV"))?)?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc does not say which system it runs on")
}

/// Number of inputs tried, from the fuzzer's final output.
fn summary(log: &str) -> String {
    let statistic = |name: &str| {
        log.lines()
            .filter_map(|line| {
                line.strip_prefix("stat::")?
                    .strip_prefix(name)?
                    .strip_prefix(':')
            })
            .next_back()
            .map_or("?", str::trim)
    };
    format!(
        "{} inputs, {} of them new to it, at most {} MB",
        statistic("number_of_executed_units"),
        statistic("new_units_added"),
        statistic("peak_rss_mb")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_takes_the_last_word() {
        let log = "#1 INITED\nstat::number_of_executed_units: 12\nstat::new_units_added:          3\nstat::peak_rss_mb: 40\n";
        assert_eq!(
            summary(log),
            "12 inputs, 3 of them new to it, at most 40 MB"
        );
        assert_eq!(summary(""), "? inputs, ? of them new to it, at most ? MB");
    }
}
