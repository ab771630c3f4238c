//! What the renderers make of diagnostics.

use std::sync::Arc;

use crate::{Diagnostic, Place, Source, human, json};

fn source() -> Arc<Source> {
    Arc::new(Source::new(
        "p.yaml",
        "name: größe\nstages:\n  - measure: { requests: 200, arrival: { concurency: 8 } }\n",
    ))
}

fn unknown_arrival() -> Diagnostic {
    let source = source();
    let at = source.text.find("concurency").expect("in the text");
    let stage = source.text.find("measure").expect("in the text");
    Diagnostic::error("P0104", "unknown arrival process `concurency`")
        .in_file(&source)
        .at(at..at + 10, "not an arrival process")
        .and(stage..stage + 7, "in this stage")
        .note("known: `concurrency`")
        .suggest("a similar name exists", at..at + 10, "concurrency")
}

#[test]
fn shows_the_line_the_labels_and_the_edit() {
    insta::assert_snapshot!(human(&[unknown_arrival()], false));
}

#[test]
fn colour_is_optional() {
    assert!(human(&[unknown_arrival()], true).contains("\u{1b}["));
    assert!(!human(&[unknown_arrival()], false).contains('\u{1b}'));
}

#[test]
fn a_diagnostic_needs_no_place() {
    let no_file = Diagnostic::error("X0001", "no engine answered").help("start one");
    let no_span = Diagnostic::error("P0009", "can not read the file").in_file(&source());
    insta::assert_snapshot!(human(&[no_file.clone(), no_span.clone()], false));
    insta::assert_snapshot!(json(&[no_file, no_span]));
}

#[test]
fn json_counts_characters_from_one() {
    let source = source();
    let at = source.text.find("ße").expect("in the text");
    let warning = Diagnostic::warning("F0001", "odd")
        .in_file(&source)
        .at(at..at + 3, "here");
    insta::assert_snapshot!(json(&[warning]));
}

#[test]
fn spans_outside_the_text_do_not_panic() {
    let source = source();
    for (start, end) in [(0, usize::MAX), (9999, 9), (9, 3), (9, 10)] {
        let diagnostic = Diagnostic::error("P0001", "odd")
            .in_file(&source)
            .at(start..end, "here");
        assert!(human(std::slice::from_ref(&diagnostic), false).contains("odd"));
        assert!(json(&[diagnostic]).contains("odd"));
    }
}

#[test]
fn a_line_too_long_to_show_is_named() {
    let source = Arc::new(Source::new("p.yaml", "a\n".to_owned() + &"ä".repeat(5_000)));
    let diagnostic = Diagnostic::error("P0001", "odd")
        .in_file(&source)
        .at(22..24, "here")
        .suggest("a similar name exists", 22..24, "b");
    insta::assert_snapshot!(human(&[diagnostic], false));
}

#[test]
fn a_place_is_a_line_and_a_column() {
    let source = Source::new("p.yaml", "a\r\nbc\n");
    assert_eq!(source.place(4), Place { line: 2, column: 2 });
    assert_eq!(source.place(99), Place { line: 3, column: 1 });
}
