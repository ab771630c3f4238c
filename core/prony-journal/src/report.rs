//! Reporter plugins: a result in, files out.

use crate::folder::RunFolder;
use crate::result::Extent;
use crate::{Error, Result};
use prony_config::{OnFailure, Reporter};
use prony_contract::artifact::{self, OWN, is_file_name};
use prony_contract::{Artifact, Kind, Want};
use prony_plugin_host::Registry;
use prony_record::limited;
use prony_result::{Detail, RunResult, words};
use serde::Serialize;
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

/// A result as reporters get it.
#[derive(Serialize)]
struct Outcome<'a> {
    #[serde(flatten)]
    result: &'a RunResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a Detail>,
}

/// The extent of a result that reporters ask for.
pub fn wanted(reporters: &[Reporter], registry: &Registry) -> Extent {
    if reporters.iter().any(|it| wants(it, registry)) {
        Extent::Detailed
    } else {
        Extent::Plain
    }
}

/// Returns `true` for a reporter that wants the detail.
fn wants(reporter: &Reporter, registry: &Registry) -> bool {
    let found = registry.find(Kind::Reporter, &reporter.plugin);
    found.is_ok_and(|(entry, _)| entry.wants.contains(&Want::Detail))
}

/// Runs the reporters and writes their files into `folder`. Records each failure;
/// `on_failure` states whether the others continue.
pub fn report(
    result: &RunResult,
    detail: Option<&Detail>,
    reporters: &[Reporter],
    on_failure: OnFailure,
    registry: &Registry,
    folder: &RunFolder,
) -> Result<Reported> {
    let mut reported = Reported::default();
    let mut taken = HashSet::new();
    for reporter in reporters {
        let config = Value::Object(reporter.config.clone());
        let detail = detail.filter(|_| wants(reporter, registry));
        let outcome = serde_json::to_string(&Outcome { result, detail });
        let made = outcome
            .map_err(|error| error.to_string())
            .and_then(|outcome| {
                registry
                    .load(Kind::Reporter, &reporter.plugin)
                    .and_then(|plugin| plugin.render(&config, &outcome))
                    .map_err(|error| error.to_string())
            });
        let kept =
            made.and_then(|artifacts| keep(artifacts, folder.path(), &mut taken, &mut reported));
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

/// Writes the files of one reporter, all or none unless a write fails. `taken` are the names
/// of the others before it, in lower case: some file systems do not tell cases apart.
fn keep(
    artifacts: Vec<Artifact>,
    folder: &Path,
    taken: &mut HashSet<String>,
    reported: &mut Reported,
) -> std::result::Result<(), String> {
    if let Some(problem) = artifact::artifacts_problem(&artifacts) {
        return Err(problem);
    }
    let (stdout, files): (Vec<_>, Vec<_>) =
        artifacts.into_iter().partition(|it| it.name == "stdout");
    let mut own = HashSet::new();
    for Artifact { name, .. } in &files {
        let lower = name.to_ascii_lowercase();
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
        let many: Vec<String> = (0..=artifact::MAX_FILES)
            .map(|number| format!("f{number}"))
            .collect();
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
