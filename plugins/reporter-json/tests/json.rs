//! The file is the result: complete, stable, described by the schema.

#[path = "../../reporter-console/tests/fixtures/mod.rs"]
mod fixtures;

use prony_plugin_sdk::Reporter;
use prony_plugin_sdk::result::{ModelResult, RunResult};
use reporter_json::{Config, Json};
use std::fs;
use std::path::Path;

fn render(config: &str, result: &RunResult) -> String {
    let config: Config = serde_json::from_str(config).expect("config");
    let artifacts = Json::new(config)
        .and_then(|reporter| reporter.render(result))
        .expect("renders");
    let [artifact] = &artifacts[..] else {
        panic!("one artifact")
    };
    assert_eq!(
        (artifact.name.as_str(), artifact.media_type.as_str()),
        ("result.json", "application/json")
    );
    String::from_utf8(artifact.bytes.clone()).expect("UTF-8")
}

#[test]
fn reading_back_gives_the_same_result_and_the_same_bytes() {
    for (name, result) in fixtures::all() {
        for config in ["{}", r#"{"pretty": false}"#] {
            let text = render(config, &result);
            let back: RunResult = serde_json::from_str(&text).expect("parses");
            assert_eq!(back, result, "{name}");
            assert_eq!(render(config, &back), text, "{name}");
        }
    }
}

#[test]
fn numbers_keep_every_digit() {
    let mut result = fixtures::single_engine();
    result.run.seed = u64::MAX;
    let mut bits = 1_u64;
    for _ in 0..2000 {
        bits = bits
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // A number from 1 to 2, times a power of two: every digit of it counts.
        let value = f64::from_bits(bits >> 12 | 1023 << 52) * f64::from(1_u32 << (bits % 20));
        result.run.duration_s = value;
        let back: RunResult =
            serde_json::from_str(&render(r#"{"pretty": false}"#, &result)).expect("parses");
        assert_eq!(back.run.duration_s.to_bits(), value.to_bits());
        assert_eq!(back.run.seed, u64::MAX);
    }
}

#[test]
fn the_file_follows_the_schema() {
    let schema = schemars::schema_for!(RunResult).to_value();
    let validator = jsonschema::validator_for(&schema).expect("schema");
    for (name, result) in fixtures::all() {
        let value = serde_json::from_str(&render("{}", &result)).expect("parses");
        assert!(
            validator.is_valid(&value),
            "{name}: {:?}",
            validator.iter_errors(&value).next()
        );
    }
}

#[test]
fn compact_is_one_line() {
    let text = render(r#"{"pretty": false}"#, &fixtures::winner());
    assert_eq!(text.lines().count(), 1);
    assert!(text.ends_with('\n'));
}

#[test]
fn unknown_options_are_refused() {
    assert!(serde_json::from_str::<Config>(r#"{"prety": true}"#).is_err());
}

#[test]
fn pretty() {
    insta::assert_snapshot!(render("{}", &fixtures::equivalent()));
}

/// The results as files, for the readers of other tools (`cargo xtask outputs`): also one with
/// names in which every format has something to escape, and one with many models.
#[test]
fn results_for_other_readers() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("results");
    let mut all = fixtures::all();
    let mut hostile = fixtures::winner();
    for model in &mut hostile.models {
        model.id = format!("<{}&\"'%\n:,;=]]>{{}}\\", model.id);
    }
    hostile.invalid = Vec::new();
    all.push(("escapes", hostile.clone()));
    let mut many = hostile;
    let model = many.models.remove(0);
    let named = |index: u32| ModelResult {
        id: format!("{}-{index}", model.id),
        ..model.clone()
    };
    many.models = (0..3000).map(named).collect();
    all.push(("many", many));
    for (name, result) in all {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("result.json");
        fs::write(&file, render("{}", &result)).expect("a file");
        let written = fs::read_to_string(&file).expect("a file");
        let back: RunResult = serde_json::from_str(&written).expect("a result");
        assert_eq!(back, result, "{name}");
    }
}
