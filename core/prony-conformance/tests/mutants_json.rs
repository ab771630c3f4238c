//! Mutants of the reporter `json`.

mod support;

use prony_conformance::mutants::Of;
use reporter_json::PLUGIN;
use support::all_are_found;

#[test]
fn mutants_of_json() {
    all_are_found("json", &PLUGIN, Of::Reporter, |kit| kit, &[]);
}
