//! Mutants of the reporter `openmetrics`.

mod support;

use prony_conformance::mutants::Of;
use reporter_openmetrics::PLUGIN;
use support::all_are_found;

#[test]
fn mutants_of_openmetrics() {
    all_are_found("openmetrics", &PLUGIN, Of::Reporter, |kit| kit, &[]);
}
