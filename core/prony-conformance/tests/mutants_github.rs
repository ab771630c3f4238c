//! Mutants of the reporter `github`.

mod support;

use prony_conformance::mutants::Of;
use reporter_github::PLUGIN;
use support::all_are_found;

#[test]
fn mutants_of_github() {
    all_are_found("github", &PLUGIN, Of::Reporter, |kit| kit, &[]);
}
