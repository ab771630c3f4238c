//! Loads results named by a user, for comparison.

use crate::folder::{RunFolder, find_run};
use crate::result::result_of;
use crate::{Error, Result};
use prony_result::{RunResult, SCHEMA};
use serde_json::Value;
use std::path::Path;

/// Loads the result named by a user: a run as found by [`find_run`], computed from its
/// journal, a result file, or a page that has the result in it.
pub fn recorded(results: &Path, name: &str) -> Result<RunResult> {
    if let Some(path) = result_file(name) {
        return read(path);
    }
    result_of(&find_run(results, name)?)
}

/// The file that a user's name for a run means; `None` if it means a run with its journal.
pub fn result_file(name: &str) -> Option<&Path> {
    let path = Path::new(name);
    (path.is_file() && !is_of_run(path)).then_some(path)
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
    let own = matches!(
        name,
        Some("result.json" | "journal.jsonl" | "report.md" | "report.html")
    );
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
    let text = prony_files::read_text(path, MAX_RESULT).map_err(Error::io(path))?;
    let text = text.as_bytes();
    let json = match embedded(text) {
        Some(Ok(json)) => json,
        Some(Err(reason)) => return Err(not_a_result(reason.to_owned())),
        None => text,
    };
    let value: Value = serde_json::from_slice(json)
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
    let mut result: RunResult = serde_json::from_value(value)
        .map_err(|error| not_a_result(format!("it is damaged or of another version ({error})")))?;
    // Only a journal can vouch for it.
    result.detail = None;
    Ok(result)
}

/// The result in a page of the reporter `html`; `None` if the text is no page.
fn embedded(text: &[u8]) -> Option<std::result::Result<&[u8], &'static str>> {
    const BEGIN: &[u8] = b"<script type=\"application/json\" id=\"prony-result\">";
    const END: &[u8] = b"</script>";
    if !text.trim_ascii_start().starts_with(b"<") {
        return None;
    }
    let find = |text: &[u8], word: &[u8]| text.windows(word.len()).position(|it| it == word);
    // Whatever a page shows of others, it shows escaped: only its own element reads so.
    let json = find(text, BEGIN).and_then(|at| {
        let json = &text[at + BEGIN.len()..];
        Some(&json[..find(json, END)?])
    });
    Some(json.ok_or("it is a page without a result of prony in it, or cut off"))
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
            ("\u{feff}{\"schema\": \"prony-result/1\"}", "it is damaged"),
            ("<!doctype html><p>x", "it is a page without a result"),
            (
                "\n<html><script type=\"application/json\" id=\"prony-result\">{\"schema\": \"prony-result/1\"}",
                "it is a page without a result",
            ),
            (
                "<html><script type=\"application/json\" id=\"prony-result\">{\"schema\": \"prony-result/1\"}</script>",
                "it is damaged",
            ),
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
