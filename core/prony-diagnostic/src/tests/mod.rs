//! What the renderers make of diagnostics.

use std::ops::Range;
use std::sync::Arc;

use crate::{Diagnostic, Label, Place, Source, Suggestion, github, human, json, sarif};

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

fn find(source: &Source, text: &str) -> Range<usize> {
    let at = source.text.find(text).expect("in the text");
    at..at + text.len()
}

/// With every kind of text that some format has to escape, and a second file.
fn two_files() -> Diagnostic {
    let stage = Arc::new(Source::new(
        "pipe lines/größe: 100%.yaml",
        "stages:\n  - use: { größe: groß, warmup: {{ n }} }\n",
    ));
    let base = Arc::new(Source::new(
        "base,1.yaml",
        "# Größen\n".to_owned() + &"\n".repeat(98) + "klein: 8\n\n\ngrosz: 80\n",
    ));
    let mut diagnostic = Diagnostic::warning("P0301", "no size `groß`, 100% sure")
        .in_file(&stage)
        .at(find(&stage, "groß"), "`{{ n }}` needs one")
        .and(find(&stage, "use"), "in this stage")
        .note("a size is\r\na number")
        .help("name one of: `klein`, `grosz`");
    diagnostic.secondary.push(Label {
        source: Some(Arc::clone(&base)),
        span: find(&base, "klein"),
        text: "sizes: {first}".to_owned(),
    });
    diagnostic.secondary.push(Label {
        source: Some(Arc::clone(&base)),
        span: find(&base, "grosz: 80"),
        text: String::new(),
    });
    diagnostic.suggestion = Some(Suggestion {
        source: Some(Arc::clone(&base)),
        message: "a similar name exists: {rename} it".to_owned(),
        span: find(&base, "grosz"),
        replacement: "groß{}".to_owned(),
    });
    diagnostic
}

/// The SARIF log, in which the version changes with every release.
fn log(diagnostics: &[Diagnostic]) -> String {
    let describe =
        |code: &str| (code != "X0001").then(|| format!("What {code} stands for, in {{braces}}."));
    let log = sarif(diagnostics, &describe);
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(log.contains(&version));
    log.replace(&version, "\"version\": \"[crate]\"")
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
fn shows_both_files_and_the_edit_in_its_own() {
    insta::assert_snapshot!(human(&[two_files()], false));
}

#[test]
fn json_tells_the_other_places_and_the_edit() {
    insta::assert_snapshot!(json(&[two_files()]));
}

#[test]
fn sarif_tells_all_of_it() {
    insta::assert_snapshot!(log(&[two_files(), unknown_arrival()]));
}

#[test]
fn github_tells_all_of_it() {
    insta::assert_snapshot!(github(&[two_files(), unknown_arrival()]));
}

#[test]
fn a_diagnostic_needs_no_place() {
    let no_file = Diagnostic::error("X0001", "no engine answered").help("start one");
    let no_span = Diagnostic::error("P0009", "cannot read the file").in_file(&source());
    let both = [no_file, no_span];
    insta::assert_snapshot!(human(&both, false));
    insta::assert_snapshot!(json(&both));
    insta::assert_snapshot!(log(&both));
    insta::assert_snapshot!(github(&both));
}

#[test]
fn other_places_need_no_first_one() {
    let mut diagnostic = two_files();
    diagnostic.primary = None;
    insta::assert_snapshot!(human(&[diagnostic], false));
}

#[test]
fn no_diagnostics_are_an_empty_report() {
    assert_eq!(human(&[], false), "");
    assert_eq!(github(&[]), "");
    insta::assert_snapshot!(json(&[]));
    insta::assert_snapshot!(log(&[]));
}

#[test]
fn sarif_numbers_the_rules_whatever_the_order() {
    let of = |code| Diagnostic::error(code, "odd");
    let log = |codes: &[&'static str]| {
        let diagnostics: Vec<_> = codes.iter().map(|code| of(code)).collect();
        let log = sarif(&diagnostics, &|_| None);
        serde_json::from_str::<serde_json::Value>(&log).expect("JSON")
    };
    let (one, other) = (log(&["B", "A", "B"]), log(&["A", "B"]));
    let rules = |log: &serde_json::Value| log["runs"][0]["tool"]["driver"]["rules"].clone();
    assert_eq!(rules(&one), rules(&other));
    for result in one["runs"][0]["results"].as_array().expect("a list") {
        let index = result["ruleIndex"].as_u64().expect("a number") as usize;
        assert_eq!(rules(&one)[index]["id"], result["ruleId"]);
    }
}

#[test]
fn sarif_lists_no_other_place_twice() {
    let once = unknown_arrival();
    let mut twice = once.clone();
    twice.secondary.extend(once.secondary.clone());
    assert_eq!(log(&[twice]), log(&[once]));
}

#[test]
fn sarif_names_an_absolute_path_by_its_scheme() {
    let path = std::env::temp_dir().join("p q.yaml");
    let source = Arc::new(Source::new(path.display().to_string(), ""));
    let log = log(&[Diagnostic::error("P0009", "odd").in_file(&source)]);
    assert!(log.contains("\"file:///"), "{log}");
    assert!(log.contains("/p%20q.yaml\""), "{log}");
}

#[test]
fn github_gives_columns_within_one_line_only() {
    let source = source();
    let across = find(&source, "größe\nstages");
    let diagnostic = Diagnostic::error("P0001", "odd").in_file(&source);
    let said = github(&[diagnostic.at(across, "here")]);
    assert_eq!(
        said,
        "::error file=p.yaml,line=1,endLine=2,title=P0001::odd: here\n"
    );
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
    let other = Arc::new(Source::new("q.yaml", "ß"));
    for (start, end) in [(0, usize::MAX), (9999, 9), (9, 3), (9, 10)] {
        let mut diagnostic = Diagnostic::error("P0001", "odd")
            .in_file(&source)
            .at(start..end, "here")
            .and(start..end, "there")
            .suggest("a similar name exists", start..end, "b");
        diagnostic.secondary.extend(diagnostic.primary.clone());
        diagnostic.secondary[1].source = Some(Arc::clone(&other));
        let diagnostics = [diagnostic];
        for said in [
            human(&diagnostics, false),
            json(&diagnostics),
            log(&diagnostics),
            github(&diagnostics),
        ] {
            assert!(said.contains("odd"), "{said}");
        }
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
fn a_long_line_hides_no_other_file() {
    let long = Arc::new(Source::new("long.yaml", "ä".repeat(5_000)));
    let mut diagnostic = unknown_arrival().and(0..4, "of this pipeline");
    diagnostic.secondary[0].source = Some(Arc::clone(&long));
    insta::assert_snapshot!(human(&[diagnostic.clone()], false));
    diagnostic.primary.as_mut().expect("given").source = Some(long);
    insta::assert_snapshot!(human(&[diagnostic], false));
}

#[test]
fn a_place_is_a_line_and_a_column() {
    let source = Source::new("p.yaml", "a\r\nbc\n");
    assert_eq!(source.place(4), Place { line: 2, column: 2 });
    assert_eq!(source.place(99), Place { line: 3, column: 1 });
}
