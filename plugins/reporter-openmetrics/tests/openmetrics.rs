//! Families, labels and rounding, and what is left out.

#[path = "../../reporter-console/tests/fixtures/mod.rs"]
mod fixtures;

use prony_plugin_sdk::result::RunResult;
use prony_plugin_sdk::{Error, Reporter};
use reporter_openmetrics::{Config, Openmetrics};
use std::collections::HashSet;

fn render(config: &str, result: &RunResult) -> Result<String, Error> {
    let config: Config = serde_json::from_str(config).expect("config");
    let artifacts = Openmetrics::new(config)?.render(result)?;
    let [artifact] = &artifacts[..] else {
        panic!("one artifact")
    };
    assert_eq!(artifact.name, "openmetrics.txt");
    Ok(String::from_utf8(artifact.bytes.clone()).expect("UTF-8"))
}

#[test]
fn snapshots() {
    for (name, result) in fixtures::all() {
        insta::assert_snapshot!(name, render("{}", &result).expect("renders"));
    }
}

#[test]
fn samples_of_a_name_stand_together_and_differ() {
    for (name, result) in fixtures::all() {
        let text = render("{}", &result).expect("renders");
        assert!(text.ends_with("# EOF\n"), "{name}");
        let (mut families, mut samples, mut family) = (HashSet::new(), HashSet::new(), "");
        for line in text.lines() {
            if let Some(header) = line.strip_prefix("# TYPE ") {
                family = header.split(' ').next().expect("a name");
                assert!(families.insert(family), "{name}: {family} twice");
            } else if !line.starts_with('#') {
                assert!(line.starts_with(family), "{name}: {line} below {family}");
                let (labels, _) = line.rsplit_once(' ').expect("a value");
                assert!(samples.insert(labels), "{name}: {labels} twice");
            }
        }
    }
}

#[test]
fn numbers_are_rounded_to_so_many_digits() {
    let mut result = fixtures::single_engine();
    result.models[0].engines[0].output_tokens_per_sec = Some(1234.5678);
    let line = |digits: u8| {
        let config = format!(r#"{{"metrics": ["output_tokens_per_sec"], "digits": {digits}}}"#);
        let text = render(&config, &result).expect("renders");
        let mut lines = text.lines();
        let found = lines.find(|line| line.starts_with("prony_output_tokens_per_sec{"));
        found.expect("the sample").to_owned()
    };
    assert_eq!(
        line(2),
        r#"prony_output_tokens_per_sec{model="tiny",engine="alpha"} 1200"#
    );
    assert!(line(6).ends_with(" 1234.57"));
    assert!(line(17).ends_with(" 1234.5678"));
    assert!(render(r#"{"digits": 0}"#, &result).is_err());
}

#[test]
fn labels_that_look_alike_are_told_apart() {
    let mut result = fixtures::winner();
    let [first, second] = &mut result.models[..] else {
        panic!("two models")
    };
    first.id = "a b".to_owned();
    second.id = "a\nb".to_owned();
    let text = render("{}", &result).expect("renders");
    assert!(
        text.contains(r#"{model="a b",engine="beta",number="2"} 108"#),
        "{text}"
    );
}
