//! What the terminal shows.

mod fixtures;

use prony_plugin_sdk::Reporter;
use prony_plugin_sdk::result::RunResult;
use reporter_console::{Config, Console};
use unicode_width::UnicodeWidthStr;

fn render(width: usize, result: &RunResult) -> String {
    render_with(&serde_json::json!({ "width": width }), result)
}

fn render_with(config: &serde_json::Value, result: &RunResult) -> String {
    let config: Config = serde_json::from_value(config.clone()).expect("config");
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
    insta::assert_snapshot!("narrowest", render(40, &fixtures::winner()));
}

#[test]
fn lines_fit_and_hold_no_control_characters() {
    for (name, result) in fixtures::all() {
        for width in [40, 48, 59, 60, 72, 80, 100, 120, 200] {
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
fn an_answer_without_a_count_of_tokens_is_no_failure() {
    let mut result = fixtures::single_engine();
    for engine in &mut result.models[0].engines {
        engine.output_tokens_per_sec = None;
    }
    let text = render(120, &result);
    assert!(text.contains("tokens not counted"), "{text}");
    assert!(
        !text.contains("failed") && !text.contains("succeeded"),
        "{text}"
    );
}

#[test]
fn the_defaults_apply_and_mistakes_are_named() {
    assert!(serde_json::from_str::<Config>("{}").is_ok());
    assert!(serde_json::from_str::<Config>(r#"{"color": true}"#).is_err());
    let narrow: Config = serde_json::from_str(r#"{"width": 39}"#).expect("config");
    let error = Console::new(narrow).expect_err("too narrow");
    assert_eq!(error.to_string(), "must be at least 40 (at `config/width`)");
}

#[test]
fn cycles_are_those_that_were_made() {
    let made = |planned: u32, cycles: [u32; 2], result: RunResult| {
        let mut result = result;
        result.run.cycles = planned;
        for (model, cycles) in result.models.iter_mut().zip(cycles) {
            for engine in &mut model.engines {
                engine.cycles = cycles;
            }
        }
        result.cycles_sentence()
    };
    let decided = fixtures::winner;
    assert_eq!(made(40, [9, 9], decided()), "9 of 40 cycles, decided");
    assert_eq!(
        made(40, [12, 9], decided()),
        "9 to 12 of 40 cycles, decided"
    );
    assert_eq!(made(40, [40, 40], decided()), "40 cycles");
    assert_eq!(
        made(40, [40, 42], decided()),
        "40 cycles and 2 replacement cycles"
    );
    assert_eq!(
        made(40, [40, 9], fixtures::other_work()),
        "9 to 40 of 40 cycles"
    );
    assert_eq!(made(1, [0, 0], fixtures::no_requests()), "0 of 1 cycle");
}

#[test]
fn with_details_every_finding_is_a_sentence() {
    let result = fixtures::several_sides();
    let findings = result.models[0].comparisons[0].judgement_sentences();
    let detailed = render_with(
        &serde_json::json!({ "width": 400, "details": true }),
        &result,
    );
    let brief = render(400, &result);
    for finding in findings {
        assert!(detailed.contains(&finding), "{finding}");
    }
    assert!(brief.contains("Likewise faster: typical request"));
    assert!(!detailed.contains("Likewise"));
    assert!(brief.lines().count() < detailed.lines().count());
}

#[test]
fn a_usual_result_fits_on_a_screen() {
    let text = render(120, &fixtures::winner());
    assert!(text.lines().count() <= 24, "{text}");
}

#[test]
fn what_was_not_judged_together_has_no_line() {
    let lines = |change: fn(&mut RunResult)| {
        let mut result = fixtures::several_sides();
        change(&mut result);
        result.together()
    };
    assert_eq!(lines(|_| {}).len(), 2);
    assert_eq!(lines(|it| it.overall.clear()).len(), 1);
    let alone = lines(|it| {
        it.overall.clear();
        it.family.as_mut().expect("a family").comparisons = 1;
    });
    assert_eq!(alone, [""; 0]);
    let cut_short = lines(|it| {
        it.models.pop();
    });
    assert!(cut_short[0].ends_with("; 1 of 3 not made"), "{cut_short:?}");
}
