//! Has every mutant of a plugin checked.

use prony_conformance::mutants::{Of, score};
use prony_conformance::{Kit, Subject};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Ways to cut each response: few, since every mutant is tried with each.
const SAMPLES: usize = 6;

/// Fixtures of a plugin.
#[allow(dead_code, reason = "reporters have none")]
pub(crate) fn fixtures(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../plugins")
        .join(path)
}

/// All mutants that have an effect are found; those that may have none are `without_effect`, by
/// name: what the engine or its fixtures do not have.
#[track_caller]
pub(crate) fn all_are_found(
    name: &str,
    subject: &dyn Subject,
    of: Of,
    kit: impl for<'k> Fn(Kit<'k>) -> Kit<'k>,
    without_effect: &[&str],
) {
    let score = score(subject, of, |it| kit(it).bless(false).samples(SAMPLES));
    let score = score.unwrap_or_else(|findings| {
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        panic!("{name}: {findings:#?}")
    });
    let told = writeln!(std::io::stdout(), "{name}: {score}");
    told.expect("standard output");
    assert_eq!(score.survived, [""; 0], "{name}: not found");
    let mut odd = score.without_effect.clone();
    odd.retain(|it| !without_effect.contains(it));
    assert_eq!(odd, [""; 0], "{name}: without effect");
    assert!(score.killed.len() > 15, "{name}: {}", score.killed.len());
}
