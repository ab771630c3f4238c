//! Mutants of the reporter `llmd`.

mod support;

use prony_conformance::mutants::Of;
use reporter_llmd::PLUGIN;
use support::all_are_found;

#[test]
fn mutants_of_llmd() {
    all_are_found("llmd", &PLUGIN, Of::Reporter, |kit| kit, &[]);
}
