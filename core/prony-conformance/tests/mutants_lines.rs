//! Mutants of the adapter for prony's own lines.

mod support;

use engine_lines::PLUGIN;
use prony_conformance::mutants::Of;
use support::{all_are_found, fixtures};

#[test]
fn mutants_of_lines() {
    all_are_found(
        "lines",
        &PLUGIN,
        Of::Stdio,
        |kit| kit.fixtures(fixtures("engine-lines/fixtures")),
        &[
            "headers of the answer lost",
            "second image dropped",
            "images swapped",
            "reasoning count lost",
            "reasoning as text",
            "tool call as text",
            "notes lost",
            "refusals read as answers",
            "all forms claimed",
            "a history claimed",
        ],
    );
}
