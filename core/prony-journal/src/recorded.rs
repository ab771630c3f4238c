//! Loads results named by a user, for comparison.

use crate::folder::{RunFolder, find_run};
use crate::result::result_of;
use crate::{Error, Result};
use prony_result::{RunResult, SCHEMA};
use serde_json::Value;
use std::path::Path;

/// Loads the result named by a user: a run as found by [`find_run`], computed from its
/// journal, or a result file.
pub fn recorded(results: &Path, name: &str) -> Result<RunResult> {
    let path = Path::new(name);
    if path.is_file() && !is_of_run(path) {
        return read(path);
    }
    result_of(&find_run(results, name)?)
}

/// Seconds from the start of one run to the start of another; `None` if either is not a
/// time, as in a file made by hand.
pub fn seconds_between(one: &RunResult, other: &RunResult) -> Option<f64> {
    let time = |result: &RunResult| result.run.started_at.parse::<jiff::Timestamp>().ok();
    Some(time(other)?.duration_since(time(one)?).as_secs_f64())
}

/// Returns `true` if a file is prony's own in the folder of a run, whose journal holds
/// more.
fn is_of_run(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let own = matches!(name, Some("result.json" | "journal.jsonl" | "report.md"));
    let folder = path.parent().unwrap_or(Path::new("."));
    own && RunFolder::open(folder).journal().is_file()
}

/// Maximum size of a result, in bytes.
const MAX_RESULT: u64 = 1 << 30;

fn read(path: &Path) -> Result<RunResult> {
    let not_a_result = |reason: String| Error::NotAResult {
        path: path.to_owned(),
        reason,
    };
    let text = prony_files::read(path, MAX_RESULT).map_err(Error::io(path))?;
    let value: Value = serde_json::from_slice(&text)
        .map_err(|error| not_a_result(format!("it is not JSON ({error})")))?;
    match value.get("schema").and_then(Value::as_str) {
        Some(SCHEMA) => {}
        Some(other) => {
            return Err(not_a_result(format!(
                "its schema is `{other}`, and this prony reads `{SCHEMA}`"
            )));
        }
        None => {
            return Err(not_a_result(format!(
                "it has no `schema`; a result starts with `\"schema\": \"{SCHEMA}\"`"
            )));
        }
    }
    serde_json::from_value(value)
        .map_err(|error| not_a_result(format!("it is damaged or of another version ({error})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_result_is_told_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("other.json");
        for (content, told) in [
            ("name: x", "it is not JSON"),
            ("{\"a\": 1}", "it has no `schema`"),
            (
                "{\"schema\": \"prony-result/9\"}",
                "its schema is `prony-result/9`",
            ),
            ("{\"schema\": \"prony-result/1\"}", "it is damaged"),
        ] {
            std::fs::write(&path, content).expect("a file");
            let error = recorded(folder.path(), path.to_str().expect("text"));
            let error = error.expect_err("it is no result").to_string();
            assert!(error.contains(told), "{content}: {error}");
        }
    }

    #[test]
    fn a_run_that_is_not_there_has_neighbours() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [
            "2026-01-01-00-00-00-one",
            "2026-01-02-00-00-00-one",
            "2026-01-03-00-00-00-two",
        ] {
            let run = folder.path().join(name);
            std::fs::create_dir(&run).expect("a folder");
            std::fs::write(run.join("journal.jsonl"), "").expect("a file");
        }
        let message = |name: &str| {
            let error = recorded(folder.path(), name).expect_err("there is no such run");
            error.to_string()
        };
        let one = message("one");
        let newest = "similar: `2026-01-02-00-00-00-one`, `2026-01-01-00-00-00-one`";
        assert!(one.contains(newest), "{one}");
        let typo = message("2026-01-03-00-00-00-tow");
        assert!(typo.contains("`2026-01-03-00-00-00-two`"), "{typo}");
    }
}
