//! Reports that are wrong.

use super::Defect::{Artifacts as A, Fails as F, Result as R};
use super::{Mutant, mutant};
use crate::samples;
use prony_contract::Artifact;
use serde_json::{Value, json};

/// All places of a list of engines in a model.
fn models(result: &mut Value) -> impl Iterator<Item = &mut Value> {
    result["models"].as_array_mut().into_iter().flatten()
}

fn append(artifacts: &mut [Artifact], text: &str) {
    for artifact in artifacts {
        artifact.bytes.extend_from_slice(text.as_bytes());
    }
}

pub(crate) const ALL: &[Mutant] = &[
    mutant(
        "the last engine dropped",
        R(|it| {
            let last = it["engines"].as_array_mut().and_then(Vec::pop);
            let name = last.map(|it| it["name"].clone()).unwrap_or_default();
            for model in models(it) {
                for (list, key) in [
                    ("engines", "engine"),
                    ("comparisons", "candidate"),
                    ("failures", "engine"),
                ] {
                    if let Some(list) = model[list].as_array_mut() {
                        list.retain(|it| it[key] != name && it["baseline"] != name);
                    }
                }
            }
        }),
    ),
    mutant("nothing made", A(|it, _, _| it.clear())),
    mutant(
        "another report each call",
        A(|it, _, state| append(it, &format!(" {}", state.calls))),
    ),
    mutant(
        "the model before in the report",
        A(|it, _, state| append(it, &format!("{} ", state.last.escape_debug()))),
    ),
    mutant(
        "a file outside of the folder",
        A(|it, _, _| it.push(Artifact::text("../report.txt", "text/plain", "x"))),
    ),
    mutant(
        "a file of prony's own",
        A(|it, _, _| it.push(Artifact::text("journal.jsonl", "text/plain", "x"))),
    ),
    mutant(
        "a file twice",
        A(|it, _, _| {
            it.push(Artifact::text("more.txt", "text/plain", "x"));
            it.push(Artifact::text("MORE.txt", "text/plain", "x"));
        }),
    ),
    mutant(
        "no media type",
        A(|it, _, _| it.iter_mut().for_each(|it| it.media_type.clear())),
    ),
    mutant(
        "bytes that are no text",
        A(|it, _, _| {
            for it in it.iter_mut() {
                it.bytes.extend_from_slice(b"\xff\xfe");
            }
        }),
    ),
    mutant(
        "hostile texts unescaped",
        A(|it, result, _| {
            let text = result["run"]["description"].as_str().unwrap_or_default();
            append(it, text);
        }),
    ),
    mutant(
        "JSON that is none",
        A(|it, _, _| it.push(Artifact::text("more.json", "application/json", "{,}"))),
    ),
    mutant(
        "fails with one engine",
        F(|it| it["engines"].as_array().is_some_and(|it| it.len() == 1)),
    ),
    mutant(
        "fails with many engines",
        F(|it| it["engines"].as_array().is_some_and(|it| it.len() > 2)),
    ),
    mutant(
        "fails with failures",
        F(|it| {
            it["models"][0]["failures"]
                .as_array()
                .is_some_and(|it| !it.is_empty())
        }),
    ),
    mutant(
        "fails without a success",
        F(|it| it["models"][0]["engines"][0]["succeeded"] == json!(0)),
    ),
    mutant(
        "fails with invalid numbers",
        F(|it| it["invalid"].is_array()),
    ),
    mutant(
        "fails when interrupted",
        F(|it| it["run"]["outcome"] == "interrupted"),
    ),
    mutant(
        "fails with a matrix",
        F(|it| it["cells"].as_array().is_some_and(|it| !it.is_empty())),
    ),
    mutant(
        "fails with other scripts",
        F(|it| it.to_string().contains(samples::HEADING)),
    ),
];
