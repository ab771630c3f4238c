//! Mutants of the reporter `markdown`.

mod support;

use prony_conformance::mutants::Of;
use reporter_markdown::PLUGIN;
use support::all_are_found;

#[test]
fn mutants_of_markdown() {
    all_are_found("markdown", &PLUGIN, Of::Reporter, |kit| kit, &[]);
}
