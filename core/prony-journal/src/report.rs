//! Reporter plugins: a result in, files out.

use crate::Result;
use crate::folder::RunFolder;
use prony_config::{OnFailure, Reporter};
use prony_contract::{Artifact, Kind};
use prony_plugin_host::Registry;
use prony_result::RunResult;
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

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
            .and_then(|artifacts| {
                artifacts
                    .into_iter()
                    .try_for_each(|artifact| keep(artifact, folder.path(), &mut reported))
            });
        if let Err(reason) = kept {
            reported.failed.push((reporter.name.clone(), reason));
            if on_failure == OnFailure::Stop {
                break;
            }
        }
    }
    Ok(reported)
}

fn keep(
    artifact: Artifact,
    folder: &Path,
    reported: &mut Reported,
) -> std::result::Result<(), String> {
    if artifact.name == "stdout" {
        reported.stdout.extend_from_slice(&artifact.bytes);
        return Ok(());
    }
    // A reporter reaches only the result folder, and not prony's own files in it.
    let name = Path::new(&artifact.name);
    let plain = name
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
        && name.components().count() == 1;
    if !plain
        || matches!(
            artifact.name.as_str(),
            "journal.jsonl" | "pipeline.yaml" | "logs"
        )
    {
        return Err(format!(
            "`{}` is not a name that a reporter may write",
            artifact.name
        ));
    }
    let path = folder.join(name);
    std::fs::write(&path, &artifact.bytes)
        .map_err(|error| format!("`{}`: {error}", path.display()))?;
    reported.files.push(path);
    Ok(())
}
