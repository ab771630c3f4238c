//! Reporter plugins: a result in, files out.

use crate::folder::RunFolder;
use crate::{Error, Result};
use prony_config::{OnFailure, Reporter};
use prony_contract::{Artifact, Kind};
use prony_plugin_host::Registry;
use prony_record::limited;
use prony_result::{RunResult, words};
use serde_json::Value;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

/// Output of the reporters.
#[derive(Debug, Default)]
pub struct Reported {
    /// Bytes for standard output, in the reporters' order.
    pub stdout: Vec<u8>,
    /// Files that were written.
    pub files: Vec<PathBuf>,
    /// Reporters that failed: name and reason.
    pub failed: Vec<(String, String)>,
}

/// Runs the reporters and writes their files into `folder`. Records each failure;
/// `on_failure` states whether the others continue.
pub fn report(
    result: &RunResult,
    reporters: &[Reporter],
    on_failure: OnFailure,
    registry: &Registry,
    folder: &RunFolder,
) -> Result<Reported> {
    let mut reported = Reported::default();
    let mut taken = HashSet::new();
    let outcome = match serde_json::to_string(result) {
        Ok(outcome) => outcome,
        Err(error) => {
            reported
                .failed
                .push(("result".to_owned(), error.to_string()));
            return Ok(reported);
        }
    };
    for reporter in reporters {
        let config = Value::Object(reporter.config.clone());
        let made = registry
            .load(Kind::Reporter, &reporter.plugin)
            .and_then(|plugin| plugin.render(&config, &outcome));
        let kept = made
            .map_err(|error| error.to_string())
            .and_then(|artifacts| keep(artifacts, folder.path(), &mut taken, &mut reported));
        if let Err(reason) = kept.map_err(|reason| limited(&reason)) {
            reported.failed.push((reporter.name.clone(), reason));
            if on_failure == OnFailure::Stop {
                break;
            }
        }
    }
    Ok(reported)
}

/// Writes `result.json` into `folder`, whatever the reporters do.
///
/// # Errors
///
/// The file cannot be written.
pub fn keep_result(result: &RunResult, folder: &RunFolder) -> Result<()> {
    let path = folder.path().join("result.json");
    let json = serde_json::to_string_pretty(result);
    let json = json.map_err(|error| Error::io(&path)(error.into()))?;
    // A file is printed, too.
    let json = words::safe_json(&json) + "\n";
    prony_files::replace(&path, json.as_bytes()).map_err(Error::io(&path))
}

/// Files of a reporter, at most.
const MAX_FILES: usize = 100;
/// Bytes of a reporter, at most.
const MAX_BYTES: usize = 256 << 20;
/// Characters of a file's name, at most.
const MAX_NAME: usize = 100;
/// prony's own names in the folder of a run.
const OWN: [&str; 7] = [
    "answers.bin",
    "answers.damaged",
    "attestation.json",
    "attestation.test-result.json",
    "journal.jsonl",
    "logs",
    "pipeline.yaml",
];

/// Writes the files of one reporter, all or none unless a write fails. `taken` are the names
/// of the others before it, in lower case: some file systems do not tell cases apart.
fn keep(
    artifacts: Vec<Artifact>,
    folder: &Path,
    taken: &mut HashSet<String>,
    reported: &mut Reported,
) -> std::result::Result<(), String> {
    let bytes: usize = artifacts.iter().map(|it| it.bytes.len()).sum();
    if artifacts.len() > MAX_FILES || bytes > MAX_BYTES {
        return Err(format!(
            "it made {} files of {} MiB: {MAX_FILES} files and {} MiB are the most",
            artifacts.len(),
            bytes >> 20,
            MAX_BYTES >> 20
        ));
    }
    let (stdout, files): (Vec<_>, Vec<_>) =
        artifacts.into_iter().partition(|it| it.name == "stdout");
    let mut own = HashSet::new();
    for Artifact { name, .. } in &files {
        let lower = name.to_ascii_lowercase();
        if !is_file_name(name) {
            return Err(format!(
                "`{}` is not a name that a reporter may write: letters, digits, `.`, `_` and `-` are, in at most {MAX_NAME} characters that begin with a letter or a digit",
                words::one_line(name)
            ));
        }
        if OWN.contains(&&*lower) || lower == "stdout" {
            return Err(format!(
                "`{name}` is not a name that a reporter may write: it is prony's own"
            ));
        }
        if taken.contains(&lower) || !own.insert(lower) {
            return Err(format!(
                "`{name}` is a file that a reporter has written already, or is so where upper and lower case are the same"
            ));
        }
    }
    taken.extend(own);
    for Artifact { bytes, .. } in stdout {
        reported.stdout.extend_from_slice(&bytes);
    }
    for Artifact { name, bytes, .. } in files {
        let path = folder.join(name);
        prony_files::replace(&path, &bytes)
            .map_err(|error| format!("`{}`: {error}", path.display()))?;
        reported.files.push(path);
    }
    Ok(())
}

/// Names of the files that a run consists of, sorted: its journal, its pipeline, and reports. Logs
/// are beside them in a folder of their own. What prony needs meanwhile, and statements about the
/// run, are none of them; nor are links.
///
/// # Errors
///
/// The folder cannot be read.
pub fn files(folder: &RunFolder) -> io::Result<Vec<String>> {
    /// A file that `prony list` of earlier versions left.
    const OLD: &str = "listed.json";
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.path())? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let is_kept = ["journal.jsonl", "pipeline.yaml"].contains(&&*name);
        let is_report = is_file_name(&name) && !OWN.contains(&&*name) && name != OLD;
        if entry.file_type()?.is_file() && (is_kept || is_report) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Returns `true` for a name that means the same file on every system.
fn is_file_name(name: &str) -> bool {
    /// Devices of Windows, with any extension.
    const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];
    let stem = name.split('.').next().unwrap_or_default();
    let stem = stem.trim_end_matches(|end: char| end.is_ascii_digit());
    let is_device = DEVICES.contains(&&*stem.to_ascii_lowercase());
    (1..=MAX_NAME).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !name.ends_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        && !is_device
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Artifact {
        Artifact {
            name: name.to_owned(),
            media_type: "text/plain".to_owned(),
            bytes: name.as_bytes().to_vec(),
        }
    }

    #[test]
    fn names_are_of_a_closed_alphabet() {
        for name in ["report.md", "a", "A-b_c.1.json", "console.txt"] {
            assert!(is_file_name(name), "{name}");
        }
        let long = "a".repeat(MAX_NAME + 1);
        for name in [
            "",
            ".",
            "..",
            ".hidden",
            "-rf",
            "a/b",
            "/a",
            "a b",
            "a\n",
            "\u{1b}[2J",
            "a.",
            "é",
            "NUL",
            "com1.txt",
            "a:b",
            "a\\b",
            &long,
        ] {
            assert!(!is_file_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_run_consists_of_its_journal_its_pipeline_and_reports() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [
            "journal.jsonl",
            "pipeline.yaml",
            "report.md",
            "result.json",
            ".spare",
            ".journal.lock",
            "answers.bin",
            "listed.json",
            "attestation.json",
            "attestation.test-result.json",
        ] {
            std::fs::write(folder.path().join(name), "").expect("a file");
        }
        std::fs::create_dir(folder.path().join("logs")).expect("a folder");
        std::os::unix::fs::symlink("report.md", folder.path().join("link.md")).expect("a link");
        let found = files(&RunFolder::open(folder.path())).expect("a folder");
        assert_eq!(
            found,
            ["journal.jsonl", "pipeline.yaml", "report.md", "result.json"]
        );
    }

    #[test]
    fn a_reporter_writes_its_own_files_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "kept").expect("a file");
        let run = folder.path().join("run");
        std::fs::create_dir(&run).expect("a folder");
        std::os::unix::fs::symlink(&victim, run.join("report.md")).expect("a link");
        let (mut taken, mut reported) = (HashSet::new(), Reported::default());
        let mut keep = |names: &[&str]| {
            let artifacts = names.iter().map(|name| file(name)).collect();
            keep(artifacts, &run, &mut taken, &mut reported)
        };
        keep(&["report.md", "stdout"]).expect("its own");
        for names in [
            &["REPORT.md"][..],
            &["new.md", "NEW.md"],
            &["Journal.jsonl"],
            &["pipeline.yaml"],
            &["LOGS"],
            &["fine.md", "../out"],
        ] {
            assert!(keep(names).is_err(), "{names:?}");
        }
        let many: Vec<String> = (0..=MAX_FILES).map(|number| format!("f{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(keep(&many).is_err());
        keep(&["fine.md"]).expect("none of what was refused is there");
        assert_eq!(reported.stdout, b"stdout");
        assert_eq!(std::fs::read(&victim).expect("a file"), b"kept");
        let mut found: Vec<_> = std::fs::read_dir(&run)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        found.sort();
        assert_eq!(found, ["fine.md", "report.md"]);
    }
}
