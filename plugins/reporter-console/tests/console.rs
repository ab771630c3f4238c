//! What the terminal shows.

mod fixtures;

use prony_plugin_sdk::Reporter;
use prony_plugin_sdk::result::RunResult;
use reporter_console::{Config, Console};
use unicode_width::UnicodeWidthStr;

fn render(width: usize, result: &RunResult) -> String {
    let config: Config =
        serde_json::from_value(serde_json::json!({ "width": width })).expect("config");
    let artifacts = Console::new(config)
        .and_then(|reporter| reporter.render(result))
        .expect("renders");
    let [artifact] = &artifacts[..] else {
        panic!("one artifact")
    };
    assert_eq!(
        (artifact.name.as_str(), artifact.media_type.as_str()),
        ("stdout", "text/plain")
    );
    String::from_utf8(artifact.bytes.clone()).expect("UTF-8")
}

#[test]
fn snapshots() {
    for (name, result) in fixtures::all() {
        insta::assert_snapshot!(name, render(120, &result));
    }
    insta::assert_snapshot!("narrow", render(72, &fixtures::winner()));
}

#[test]
fn lines_fit_and_hold_no_control_characters() {
    for (name, result) in fixtures::all() {
        for width in [60, 72, 80, 100, 120, 200] {
            let text = render(width, &result);
            let hidden = |char| char != '\n' && prony_plugin_sdk::words::is_hidden(char);
            assert!(!text.contains(hidden), "{name}: {text:?}");
            for line in text.lines() {
                assert!(line.width() <= width, "{name} at {width}: {line}");
                assert_eq!(line, line.trim_end(), "{name}");
            }
        }
    }
}

#[test]
fn a_single_engine_has_no_winner() {
    let text = render(120, &fixtures::single_engine());
    assert!(
        !text.contains("Winner") && !text.contains("Difference"),
        "{text}"
    );
}

#[test]
fn the_defaults_apply_and_mistakes_are_named() {
    assert!(serde_json::from_str::<Config>("{}").is_ok());
    assert!(serde_json::from_str::<Config>(r#"{"color": true}"#).is_err());
    let narrow: Config = serde_json::from_str(r#"{"width": 59}"#).expect("config");
    let error = Console::new(narrow).expect_err("too narrow");
    assert_eq!(error.to_string(), "must be at least 60 (at `config/width`)");
}
