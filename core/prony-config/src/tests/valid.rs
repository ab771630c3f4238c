//! Valid files load, and written out they mean the same.

use prony_diagnostic::human;

use super::fixtures::{again, files, load, load_file, load_layers, pipeline, with};
use super::plugins::Installed;
use crate::{Duration, Pipeline, Work};

#[test]
fn valid_files_load_and_survive_a_round_trip() {
    let mut wrong = Vec::new();
    for path in files("valid") {
        let name = path.display();
        let first = match load_file(&path, "test.yaml") {
            Ok(loaded) => loaded.pipeline,
            Err(problems) => {
                wrong.push(format!("{name}:\n{}", human(&problems, false)));
                continue;
            }
        };
        let yaml = serde_yaml::to_string(&first).expect("YAML");
        let json = serde_json::to_string_pretty(&first).expect("JSON");
        for text in [&yaml, &json] {
            let again = again(text);
            if first != again {
                wrong.push(format!(
                    "{name} is another pipeline when written as\n{text}"
                ));
            }
            // `resume` compares digests of the text.
            let text_again = serde_yaml::to_string(&again).expect("YAML");
            if yaml != text_again {
                wrong.push(format!(
                    "{name} is written in another way the second time:\n{yaml}\n{text_again}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
        points, reporters, ..
    } = pipeline(text);
    let [part] = points[0].segments.as_slice() else {
        panic!("one part")
    };
    let [Work::Measure(measure)] = part.work.as_slice() else {
        panic!("one measure stage")
    };
    assert_eq!((measure.requests, measure.id.as_str()), (2, "measure"));
    assert_eq!(part.load.timeout, Duration::from_secs(600));
    assert_eq!(part.unload.timeout, Duration::from_secs(30));
    let names: Vec<_> = reporters.iter().map(|r| r.plugin.as_str()).collect();
    assert_eq!(names, ["console", "markdown", "html", "json"]);
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
        "engine: { plugin: mock }\nreporters: { page: { plugin: titled, config: { title: a } } }\nworkload: { prompts: [a] }",
    );
    let (_, warnings) = crate::load("p.yaml", &text, &Installed).expect("a pipeline");
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].code, "P0309");
    assert!(load(&text).is_ok());
}

#[test]
fn layers_of_the_repository_are_merged() {
    let read = |name: &str| {
        let found = files("valid")
            .into_iter()
            .find(|path| path.ends_with("overlay.yaml"));
        let path = found.expect("the file is there").with_file_name(name);
        std::fs::read_to_string(path).expect("a readable file")
    };
    let (base, top) = (read("overlay.yaml"), read("_overlay_top.yaml"));
    let layers = [
        ("overlay.yaml", base.as_str()),
        ("_overlay_top.yaml", top.as_str()),
    ];
    let loaded = load_layers(&layers, &[], &["models="], &["host=10.0.0.2"]);
    let pipeline = loaded
        .unwrap_or_else(|p| panic!("{}", human(&p, false)))
        .pipeline;
    assert_eq!(pipeline.models[0].id, "other");
    assert_eq!(pipeline.points[0].workload.max_tokens, 4);
    assert_eq!(pipeline.engines[0].config["base_url"], "http://10.0.0.2");
}
