//! Mutants of the reporter `bencher`.

mod support;

use prony_conformance::mutants::Of;
use reporter_bencher::PLUGIN;
use support::all_are_found;

#[test]
fn mutants_of_bencher() {
    all_are_found("bencher", &PLUGIN, Of::Reporter, |kit| kit, &[]);
}
