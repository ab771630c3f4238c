//! Mutants of the reporter `github-action-benchmark`.

mod support;

use prony_conformance::mutants::Of;
use reporter_github_action_benchmark::PLUGIN;
use support::all_are_found;

#[test]
fn mutants_of_github_action_benchmark() {
    all_are_found(
        "github-action-benchmark",
        &PLUGIN,
        Of::Reporter,
        |kit| kit,
        &[],
    );
}
