//! Valid files load, and what is written back means the same.

use std::fs;

use super::fixtures::{files, load, pipeline, with};
use super::plugins::Installed;
use crate::{Duration, Pipeline};

#[test]
fn valid_files_load_and_survive_a_round_trip() {
    for path in files("valid") {
        let text = fs::read_to_string(&path).expect("a readable file");
        let first = pipeline(&text);
        let yaml = serde_yaml::to_string(&first).expect("YAML");
        assert_eq!(first, pipeline(&yaml), "{}:\n{yaml}", path.display());
        let json = serde_json::to_string_pretty(&first).expect("JSON");
        assert_eq!(first, pipeline(&json), "{}:\n{json}", path.display());
    }
}

#[test]
fn defaults_are_spelled_out() {
    let text = with("engine: { plugin: openai }\nworkload: { prompts: [one, two] }");
    let resolved = serde_json::to_string_pretty(&pipeline(&text)).expect("JSON");
    insta::assert_snapshot!(resolved);
}

#[test]
fn one_engine_is_named_after_its_plugin() {
    let pipeline = pipeline(&with(
        "engine: { plugin: openai }\nworkload: { prompts: [a] }",
    ));
    assert_eq!(pipeline.engines[0].name, "openai");
    assert_eq!(pipeline.compare, None);
}

#[test]
fn the_first_engine_is_the_baseline() {
    let text =
        with("engines: { z: { plugin: openai }, a: { plugin: mock } }\nworkload: { prompts: [a] }");
    let pipeline = pipeline(&text);
    let names: Vec<_> = pipeline.engines.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["z", "a"], "in the order of the file");
    assert_eq!(pipeline.compare.map(|c| c.baseline).as_deref(), Some("z"));
}

#[test]
fn stages_left_out_have_defaults() {
    let text = "version: 1\nname: demo\nmodel: { id: tiny }\nengine: { plugin: mock }\n\
                workload: { prompts: [a, b] }\nstages: [measure: {}]\n";
    let Pipeline {
        stages, reporters, ..
    } = pipeline(text);
    assert_eq!(stages.warmup.requests, 0);
    assert_eq!(stages.measure.requests, 2);
    assert_eq!(stages.load.timeout, Duration::from_secs(600));
    assert_eq!(stages.unload.timeout, Duration::from_secs(30));
    let names: Vec<_> = reporters.iter().map(|r| r.plugin.as_str()).collect();
    assert_eq!(names, ["console", "markdown", "json"]);
}

#[test]
fn options_of_a_plugin_keep_their_types_and_order() {
    let text = with(
        "engine: { plugin: mock, config: { z: 1, a: [true, 1.5, no], t: \"${{ model.id }}\" } }\n\
         workload: { prompts: [a] }",
    );
    let config = serde_json::to_string(&pipeline(&text).engines[0].config).expect("JSON");
    assert_eq!(
        config,
        r#"{"z":1,"a":[true,1.5,"no"],"t":"${{ model.id }}"}"#
    );
}

#[test]
fn warnings_do_not_stop_a_pipeline() {
    let text = with(
        "engine: { plugin: mock }\nreporters: { page: { plugin: html, config: { title: a } } }\nworkload: { prompts: [a] }",
    );
    let (_, warnings) = crate::load("p.yaml", &text, &Installed).expect("a pipeline");
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].code, "P0309");
    assert!(load(&text).is_ok());
}
