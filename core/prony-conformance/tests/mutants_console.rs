//! Mutants of the reporter `console`.

mod support;

use prony_conformance::mutants::Of;
use reporter_console::PLUGIN;
use support::all_are_found;

#[test]
fn mutants_of_console() {
    all_are_found("console", &PLUGIN, Of::Reporter, |kit| kit, &[]);
}
