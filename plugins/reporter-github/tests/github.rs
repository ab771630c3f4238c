//! The summary's size and the annotations' number, order and escaping.

#[path = "../../reporter-console/tests/fixtures/mod.rs"]
mod fixtures;

use prony_plugin_sdk::Reporter;
use prony_plugin_sdk::result::{RunResult, Verdict};
use reporter_github::{Config, Github};

fn render(config: &str, result: &RunResult) -> Vec<(String, String)> {
    let config: Config = serde_json::from_str(config).expect("config");
    let artifacts = Github::new(config)
        .and_then(|reporter| reporter.render(result))
        .expect("renders");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let files = artifacts.iter();
    files.map(|it| (it.name.clone(), text(&it.bytes))).collect()
}

fn both(result: &RunResult) -> [String; 2] {
    let mut files = render("{}", result).into_iter();
    let mut next = |name: &str| {
        let (found, text) = files.next().expect("a file");
        assert_eq!(found, name);
        text
    };
    [next("summary.md"), next("annotations.txt")]
}

#[test]
fn snapshots() {
    for (name, result) in fixtures::all() {
        let [summary, annotations] = both(&result);
        insta::assert_snapshot!(name, format!("{summary}\n{annotations}"));
    }
}

#[test]
fn every_line_is_a_command_whatever_the_names_are() {
    for (name, result) in fixtures::all() {
        let [_, annotations] = both(&result);
        let commands = annotations.lines().filter(|line| {
            let rest = line.strip_prefix("::error title=prony%3A ");
            rest.or(line.strip_prefix("::notice title=prony%3A "))
                .is_some()
        });
        assert_eq!(
            commands.count(),
            annotations.lines().count(),
            "{name}: {annotations}"
        );
        assert!(annotations.lines().count() <= 10, "{name}");
    }
}

/// 3,000 models, every third of which is slower, the later the more.
fn many() -> RunResult {
    let mut result = fixtures::winner();
    let model = result.models[0].clone();
    result.models = (0..3000_u32)
        .map(|index| {
            let mut model = model.clone();
            model.id = format!("{}-{index}", "<&\"'%:\n".repeat(20));
            let comparison = &mut model.comparisons[0];
            if index % 3 == 0 {
                comparison.verdict = Verdict::Slower;
                comparison.difference_percent = Some(-f64::from(index) / 100.0);
            }
            model
        })
        .collect();
    result
}

#[test]
fn the_worst_is_told_first_and_the_rest_is_counted() {
    let [summary, annotations] = both(&many());
    assert!(summary.len() <= 1_000_000, "{}", summary.len());
    assert!(summary.contains(" engines more in `result.json`"));
    assert!(summary.ends_with('\n') && summary.contains("</details>"));
    let lines: Vec<&str> = annotations.lines().collect();
    assert_eq!(lines.len(), 10);
    assert!(
        lines[0].contains("-2997 · ") || lines[0].contains("-2997: "),
        "{}",
        lines[0]
    );
    assert!(lines[0].contains("30.0 %25 slower"), "{}", lines[0]);
    assert_eq!(
        lines[9],
        "::error title=prony%3A regression::2991 more findings in the summary"
    );
}

#[test]
fn a_comparison_of_a_run_that_is_not_valid_is_not_told() {
    let mut result = fixtures::winner();
    result.invalid = vec!["late".to_owned()];
    let [summary, annotations] = both(&result);
    assert_eq!(annotations, "::error title=prony%3A not valid::late\n");
    assert!(
        summary.contains("the numbers are not valid") && !summary.contains("3.9"),
        "{summary}"
    );
}

#[test]
fn annotations_are_printed_if_asked_for() {
    let result = fixtures::winner();
    let files = render(r#"{"print": true}"#, &result);
    let [_, (_, annotations), (name, printed)] = &files[..] else {
        panic!("{files:?}")
    };
    assert_eq!((name.as_str(), printed), ("stdout", annotations));
}
