//! Mutants of the reporter `junit`.

mod support;

use prony_conformance::mutants::Of;
use reporter_junit::PLUGIN;
use support::all_are_found;

#[test]
fn mutants_of_junit() {
    all_are_found("junit", &PLUGIN, Of::Reporter, |kit| kit, &[]);
}
