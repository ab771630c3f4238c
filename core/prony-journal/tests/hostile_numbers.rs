//! A journal may come from anybody: whatever numbers it has, it gives a result or a reason, and
//! none that wrapped around.

use prony_journal::{Measurement, RunFolder, result_of};
use prony_metrics::definition::{cadence, definitions, score};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// The numbers in a value, as JSON pointers.
fn numbers(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Number(_) => found.push(at.to_owned()),
        Value::Array(items) => {
            // The others are of the same kind.
            for (index, item) in items.iter().enumerate().take(2) {
                numbers(item, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                let key = key.replace('~', "~0").replace('/', "~1");
                numbers(value, &format!("{at}/{key}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn no_number_of_a_journal_overflows() {
    for run in ["broken", "compared"] {
        withstands(run);
    }
}

fn withstands(run: &str) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let text = fs::read_to_string(fixtures.join(run).join("journal.jsonl")).expect("a journal");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = RunFolder::open(scratch.path());
    let mut seen = BTreeSet::new();
    let mut panicked = Vec::new();
    let mut read = 0;
    for line in &lines {
        let mut places = Vec::new();
        numbers(line, "", &mut places);
        for place in places {
            if !seen.insert((line["event"].to_string(), place.clone())) {
                continue;
            }
            for number in [u64::MAX, u64::from(u32::MAX)] {
                // In all lines of the event: sums may not wrap around either.
                let mut lines = lines.clone();
                for other in lines.iter_mut().filter(|it| it["event"] == line["event"]) {
                    if let Some(value) = other.pointer_mut(&place) {
                        *value = number.into();
                    }
                }
                let text: Vec<String> = lines.iter().map(Value::to_string).collect();
                fs::write(folder.journal(), text.join("\n") + "\n").expect("a file");
                let read_all = || {
                    let measured = |it: &Measurement<'_>| {
                        let all = it.requests.all();
                        for definition in definitions() {
                            score(definition, &all, &it.streams.gaps, &it.chunk_gaps);
                        }
                        cadence(&all, &it.streams.gaps);
                    };
                    let _ = prony_journal::measurements(&folder.journal(), |_| true, measured);
                    result_of(&folder).is_ok()
                };
                match catch_unwind(read_all) {
                    Ok(is_result) => read += u32::from(is_result),
                    Err(_) => panicked.push(format!("{}: {place} = {number}", line["event"])),
                }
            }
        }
    }
    assert!(panicked.is_empty(), "{panicked:#?}");
    assert!(
        seen.len() > 50 && read > 50,
        "{} places, {read} results",
        seen.len()
    );
}
