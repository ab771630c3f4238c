//! Mutants of the reporter `html`.

mod support;

use prony_conformance::mutants::Of;
use reporter_html::PLUGIN;
use support::all_are_found;

#[test]
fn mutants_of_html() {
    all_are_found("html", &PLUGIN, Of::Reporter, |kit| kit, &[]);
}
