//! Cases and what they say, whatever the names are.

#[path = "../../reporter-console/tests/fixtures/mod.rs"]
mod fixtures;

use prony_plugin_sdk::Reporter;
use prony_plugin_sdk::result::RunResult;
use reporter_junit::{Config, Junit};

fn render(config: &str, result: &RunResult) -> String {
    let config: Config = serde_json::from_str(config).expect("config");
    let artifacts = Junit::new(config)
        .and_then(|reporter| reporter.render(result))
        .expect("renders");
    let [artifact] = &artifacts[..] else {
        panic!("one artifact")
    };
    assert_eq!(
        (artifact.name.as_str(), artifact.media_type.as_str()),
        ("junit.xml", "application/xml")
    );
    String::from_utf8(artifact.bytes.clone()).expect("UTF-8")
}

#[test]
fn snapshots() {
    for (name, result) in fixtures::all() {
        insta::assert_snapshot!(name, render("{}", &result));
    }
}

#[test]
fn counts_are_those_of_the_cases() {
    for (name, result) in fixtures::all() {
        let text = render("{}", &result);
        let counted = |element: &str| text.matches(&format!("<{element} ")).count();
        let first = text.lines().nth(1).expect("a root");
        for (attribute, found) in [
            ("tests", counted("testcase")),
            ("failures", counted("failure")),
            ("errors", counted("error")),
            ("skipped", counted("skipped")),
        ] {
            assert!(
                first.contains(&format!(" {attribute}=\"{found}\"")),
                "{name}: {first}, not {found} {attribute}"
            );
        }
    }
}

#[test]
fn a_regression_within_the_margin_is_none() {
    let mut result = fixtures::winner();
    assert_eq!(render("{}", &result).matches("<failure ").count(), 1);
    result.models[1].comparisons[0].within_margin = true;
    assert_eq!(render("{}", &result).matches("<failure ").count(), 0);
}

#[test]
fn without_a_verdict_a_case_is_skipped_or_fails() {
    let result = fixtures::inconclusive();
    assert_eq!(render("{}", &result).matches("<skipped ").count(), 1);
    let strict = render(r#"{"fail_on_inconclusive": true}"#, &result);
    assert_eq!(strict.matches("<failure type=\"inconclusive\"").count(), 1);
}

#[test]
fn of_a_run_that_is_not_valid_every_case_is_an_error() {
    let mut result = fixtures::matrix();
    result.invalid = vec!["the load client was late".to_owned()];
    let text = render("{}", &result);
    let cases = text.matches("<testcase ").count();
    assert!(cases > 8, "{text}");
    assert_eq!(text.matches("<error type=\"not valid\"").count(), cases);
    assert!(text.contains("the run is not valid: the load client was late</error>"));
}

#[test]
fn a_threshold_that_covers_nothing_has_a_suite_of_its_own() {
    let mut result = fixtures::matrix();
    result.thresholds[0].model = "another".to_owned();
    let text = render("{}", &result);
    assert!(
        text.contains("<testsuite name=\"thresholds\" tests=\"1\" failures=\"1\""),
        "{text}"
    );
}
