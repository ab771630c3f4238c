//! Runs that an earlier prony recorded are read, written and reported as they were.
//!
//! `broken` has a matrix, a reload, requests of three error classes, failed stages and steps,
//! a model that is not there and an engine that does not start; `compared` is decided after
//! 7 cycles of two engines that stay loaded. Names of folders and the machine were replaced.

use prony_journal::{Event, Journal, read, result};
use prony_result::RunResult;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const RUNS: [&str; 2] = ["broken", "compared"];

fn file(run: &str, name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fixtures.join(run).join(name)
}

fn text(run: &str, name: &str) -> String {
    fs::read_to_string(file(run, name)).expect("the fixture is there")
}

fn journal(run: &str) -> Journal {
    read(&file(run, "journal.jsonl")).expect("the journal can be read")
}

/// Ends of paths whose definition changed since the runs were recorded, and why.
const REDEFINED: [(&str, &str); 10] = [
    (
        ".same_work.lengths_by",
        "equal texts are equal work whatever engines count, so texts come first",
    ),
    (
        ".prefill",
        "speeds are bounded by what a stream shows of its tokens",
    ),
    (
        ".decode",
        "speeds are bounded by what a stream shows of its tokens",
    ),
    (
        ".intended_per_sec",
        "requests whose due time is not known are left out",
    ),
    (".difference_percent", JUDGED),
    (".interval", JUDGED),
    (".interval_equivalent", JUDGED),
    (".needs_cycles", JUDGED),
    (".detectable_percent", JUDGED),
    (".nominal_p_value", JUDGED),
];

/// Verdicts were of signed ranks.
const JUDGED: &str = "by exact tests over the orders of the engines";

/// Fails at the first place where `new` lacks what `old` has, or has another value for it.
fn holds(new: &Value, old: &Value, path: &str) {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            for (key, old) in old {
                let path = format!("{path}.{key}");
                if REDEFINED.iter().any(|(end, _)| path.ends_with(end)) {
                    continue;
                }
                let new = new.get(key);
                let new = new.unwrap_or_else(|| panic!("{path} is gone"));
                holds(new, old, &path);
            }
        }
        (Value::Array(new), Value::Array(old)) => {
            assert_eq!(new.len(), old.len(), "{path}");
            for (index, (new, old)) in new.iter().zip(old).enumerate() {
                holds(new, old, &format!("{path}[{index}]"));
            }
        }
        (Value::Number(new), Value::Number(old)) => {
            // The order of a sum may differ.
            let (new, old) = (new.as_f64(), old.as_f64());
            let near = |new: f64, old: f64| (new - old).abs() <= 1e-12 * old.abs();
            let same = new.zip(old).is_some_and(|(new, old)| near(new, old));
            assert!(same, "{path}: {new:?}, not {old:?}");
        }
        _ => assert_eq!(new, old, "{path}"),
    }
}

#[test]
fn every_line_of_a_journal_is_written_as_it_was_read() {
    for run in RUNS {
        let Journal { started, events } = journal(run);
        let events = [Event::Started(started)].into_iter().chain(events);
        let written: Vec<String> = events
            .map(|event| serde_json::to_string(&event).expect("an event is JSON"))
            .collect();
        let text = text(run, "journal.jsonl");
        for (written, line) in written.iter().zip(text.lines()) {
            let read = |text: &str| serde_json::from_str::<Event>(text).expect("an event");
            assert_eq!(read(written), read(line), "{run}");
            // Times were written in full.
            let without = |text: &str| {
                let mut value: Value = serde_json::from_str(text).expect("JSON");
                for times in ["arrivals", "textless_ns", "emitted_ns"] {
                    value.as_object_mut().and_then(|it| it.remove(times));
                }
                value.to_string()
            };
            assert_eq!(without(written), without(line), "{run}");
        }
        assert_eq!(written.len(), text.lines().count(), "{run}");
    }
}

#[test]
fn the_result_of_a_journal_is_what_it_was() {
    for run in RUNS {
        let old: Value = serde_json::from_str(&text(run, "result.json")).expect("JSON");
        let new = serde_json::to_value(result(&journal(run))).expect("a result is JSON");
        holds(&new, &old, run);
    }
}

#[test]
fn a_result_that_was_written_can_be_read() {
    for run in RUNS {
        let written = text(run, "result.json");
        let old: RunResult = serde_json::from_str(&written).expect("a result");
        let again = serde_json::to_value(old).expect("a result is JSON");
        let written: Value = serde_json::from_str(&written).expect("JSON");
        holds(&again, &written, run);
    }
}

/// A journal of a recorded run, changed.
fn changed(change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> prony_journal::Result<Journal> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.jsonl");
    let bytes = fs::read(file("compared", "journal.jsonl")).expect("the fixture is there");
    fs::write(&path, change(bytes)).expect("a writable folder");
    read(&path)
}

#[test]
fn a_disk_that_is_full_in_the_middle_of_a_character_costs_one_line() {
    let whole = journal("compared").events.len();
    let cut =
        changed(|bytes| [&bytes[..], b"{\"event\":\"warning\",\"message\":\"\xe2\x82"].concat());
    assert_eq!(cut.expect("it can be read").events.len(), whole);
    let within = changed(|bytes| [&bytes[..], b"\xe2\x82\n"].concat());
    let within = within.expect("it can be read");
    assert_eq!(within.events.len(), whole + 1);
    let told = result(&within).warnings.concat();
    let line = format!("line {} of the journal", whole + 2);
    assert!(told.contains("UTF-8") && told.contains(&line), "{told}");
}

#[test]
fn a_rule_that_no_pipeline_can_have_is_damage() {
    for (old, new, told) in [
        ("\"max_cycles\":12", "\"max_cycles\":65536", "65536 cycles"),
        ("\"max_cycles\":12", "\"max_cycles\":0", "no cycles"),
        ("\"alpha\":0.04", "\"alpha\":0.0", "`alpha` is 0"),
        ("\"alpha\":0.04", "\"alpha\":1.0", "`alpha` is 1"),
        ("\"margin\":0.01", "\"margin\":-0.01", "the margin is -0.01"),
    ] {
        let error = changed(|bytes| {
            let text = String::from_utf8(bytes).expect("text");
            let more = text.replacen(old, new, 1);
            assert_ne!(more, text);
            more.into_bytes()
        });
        let error = error.expect_err("damage").to_string();
        assert!(error.contains(told), "{error}");
    }
}

/// The lines of a journal, each with one of its numbers replaced, one of each kind: of the same
/// event, under the same keys.
fn with_numbers(lines: &[Value], number: u64) -> Vec<Vec<String>> {
    fn places(at: &Value, path: &str, kind: &str, found: &mut Vec<(String, String)>) {
        match at {
            Value::Number(_) => found.push((kind.to_owned(), path.to_owned())),
            Value::Array(all) => all.iter().enumerate().for_each(|(index, it)| {
                places(it, &format!("{path}/{index}"), &format!("{kind}/*"), found);
            }),
            Value::Object(all) => all.iter().for_each(|(key, it)| {
                let key = key.replace('~', "~0").replace('/', "~1");
                places(
                    it,
                    &format!("{path}/{key}"),
                    &format!("{kind}/{key}"),
                    found,
                );
            }),
            _ => {}
        }
    }
    let mut seen = std::collections::HashSet::new();
    let mut journals = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let mut found = Vec::new();
        places(line, "", &line["event"].to_string(), &mut found);
        for (kind, path) in found {
            if seen.insert(kind) {
                let mut changed = line.clone();
                *changed.pointer_mut(&path).expect("it was found") = number.into();
                let mut journal: Vec<String> = lines.iter().map(Value::to_string).collect();
                journal[index] = changed.to_string();
                journals.push(journal);
            }
        }
    }
    journals
}

#[test]
fn no_number_of_a_foreign_journal_takes_memory_or_ends_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.jsonl");
    for run in RUNS {
        let lines = text(run, "journal.jsonl");
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        let lines: Vec<Value> = lines.collect();
        for number in [4_000_000_000, u64::MAX] {
            for journal in with_numbers(&lines, number) {
                fs::write(&path, journal.join("\n") + "\n").expect("a file");
                // A number that is impossible may be refused.
                if let Ok(journal) = read(&path) {
                    let _ = result(&journal);
                }
            }
        }
    }
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
        let peak: u64 = peak.expect("a peak").parse().expect("a number");
        assert!(peak < 1 << 20, "{peak} KiB");
    }
}
