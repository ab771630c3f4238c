//! Fuzzes the loading of pipelines, with libFuzzer on stable Rust.
//!
//! libFuzzer needs code that counts the branches taken. The flags for that are stable,
//! and the C++ of libFuzzer comes inside a crate, so neither cargo-fuzz nor a nightly
//! toolchain is needed. Only the address sanitizer needs nightly, and would find nothing:
//! prony-config has no unsafe code.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::shell;
use crate::workspace::{Workspace, create_folder, is_yaml};

/// The crate with the fuzz target; not a member of the workspace.
pub(crate) const FOLDER: &str = "core/prony-config/fuzz";

/// Default duration, in seconds.
pub(crate) const SECONDS: u32 = 60;

const TARGET: &str = "load";

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

/// Maximum length of a text, in bytes: several times the longest example.
const MAX_LEN: usize = 16 * 1024;

/// Time limit for one text, in seconds, in instrumented code.
const TIMEOUT: usize = 5;

const MEMORY_MB: usize = 2048;

/// Number of log lines shown after a finding.
const LINES: usize = 30;
const WIDTH: usize = 400;

/// Tries texts for some time.
pub(crate) fn fuzz(workspace: &Workspace, seconds: u32) -> Result<()> {
    let fuzzer = Fuzzer::build(workspace)?;
    fuzzer.collect_seeds(workspace)?;
    let before = fuzzer.artifacts()?;
    let log = fuzzer.folder.join("log");
    shell::step(&format!("fuzzing for {seconds} s (log: {})", log.display()));
    let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    // New texts go into the first folder, where the next run finds them.
    let status = fuzzer
        .command(workspace)
        .args([fuzzer.folder.join("corpus"), fuzzer.folder.join("seeds")])
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
    let found: Vec<PathBuf> = fuzzer.artifacts()?.difference(&before).cloned().collect();
    judge(status, &text, &found)?;
    shell::step(&format!("fuzzing: ok, {}", summary(&text)));
    Ok(())
}

/// Tries each of these files once, to check earlier findings.
pub(crate) fn reproduce(workspace: &Workspace, files: &[&str]) -> Result<()> {
    let fuzzer = Fuzzer::build(workspace)?;
    shell::run(fuzzer.command(workspace).args(files))
}

/// The built fuzz target.
struct Fuzzer {
    program: PathBuf,
    /// Folder for all fuzzing data.
    folder: PathBuf,
}

impl Fuzzer {
    fn build(workspace: &Workspace) -> Result<Self> {
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
        for name in ["corpus", "artifacts"] {
            create_folder(&folder.join(name))?;
        }
        take_lock(workspace, &folder)?;
        let host = host()?;
        shell::step("building the fuzz target");
        // Without `--target` the flags would go to build scripts and macros too.
        shell::run(
            workspace
                .cargo("build")
                .args(["--release", "--manifest-path"])
                .arg(workspace.root.join(FOLDER).join("Cargo.toml"))
                .args(["--target", &host, "--bin", TARGET])
                .env("CARGO_ENCODED_RUSTFLAGS", flags(&host).join("\u{1f}"))
                .env("CARGO_TARGET_DIR", &folder),
        )?;
        Ok(Self {
            program: folder.join(host).join("release").join(TARGET),
            folder,
        })
    }

    /// The fuzzer with the limits for every text.
    fn command(&self, workspace: &Workspace) -> Command {
        let dictionary = workspace.root.join(FOLDER).join("yaml.dict");
        let artifacts = self.folder.join("artifacts");
        let mut command = Command::new(&self.program);
        command
            .current_dir(&workspace.root)
            .arg(format!("-dict={}", dictionary.display()))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(format!("-max_len={MAX_LEN}"))
            .arg(format!("-timeout={TIMEOUT}"))
            .arg(format!("-rss_limit_mb={MEMORY_MB}"));
        command
    }

    /// Copies every YAML file that is related to pipelines to one folder.
    fn collect_seeds(&self, workspace: &Workspace) -> Result<()> {
        let folder = self.folder.join("seeds");
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        create_folder(&folder)?;
        let own = format!("{FOLDER}/seeds/");
        for path in workspace.files()? {
            let wanted = ["core/prony-config/tests/", "pipelines/", "examples/", &own]
                .iter()
                .any(|start| path.starts_with(start));
            if wanted && is_yaml(&path) {
                fs::copy(
                    workspace.root.join(&path),
                    folder.join(path.replace('/', "-")),
                )
                .with_context(|| format!("cannot copy {path}"))?;
            }
        }
        Ok(())
    }

    /// The texts that caused findings, in this run or an earlier one.
    fn artifacts(&self) -> Result<BTreeSet<PathBuf>> {
        let folder = self.folder.join("artifacts");
        let entries = folder
            .read_dir()
            .with_context(|| format!("cannot read {}", folder.display()))?;
        Ok(entries.flatten().map(|entry| entry.path()).collect())
    }
}

/// Shows why a fuzzer stopped early, and names its findings.
fn judge(status: ExitStatus, log: &str, found: &[PathBuf]) -> Result<()> {
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
        bail!("the fuzzer failed: {status}");
    }
    let found: Vec<String> = found.into_iter().collect();
    bail!(
        "fuzzing found {0}; to see it again: cargo xtask fuzz {0}",
        found.join(" ")
    );
}

/// Gives the fuzz target the same dependency versions as prony: its lock file starts as a
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

/// Number of texts tried, from the fuzzer's final output.
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
        "{} texts, {} of them new to it, at most {} MB",
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
        assert_eq!(summary(log), "12 texts, 3 of them new to it, at most 40 MB");
        assert_eq!(summary(""), "? texts, ? of them new to it, at most ? MB");
    }
}
