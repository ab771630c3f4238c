//! Mutants of the reporter `csv`.

mod support;

use prony_conformance::mutants::Of;
use reporter_csv::PLUGIN;
use support::all_are_found;

#[test]
fn mutants_of_csv() {
    all_are_found("csv", &PLUGIN, Of::Reporter, |kit| kit, &[]);
}
