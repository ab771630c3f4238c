//! Configurations of another benchmark become pipelines that mean the same.

use prony_config::foreign::Imported;
use prony_config::{Api, Duration, Pipeline, PluginKind, Plugins, load};
use prony_diagnostic::{Diagnostic, human};
use prony_importers::IMPORTERS;
use prony_plugin_sdk::Engine;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const EXAMPLE: &str = r#"
benchmark:
  max_tokens: 100          # Tokens per completion
  temperature: 0.7         # Randomness (0-1)
  timeout_ms: 300000       # 5 minutes per request
models:
  - name: mlx-community/Qwen2.5-7B-Instruct-4bit
    size: 7B
    questions: 10          # Number of test questions
    cycles: 1              # Repetitions
    enabled: true
questions:
  - "What is machine learning?"
  - "Explain quantum computing."
  - "Write a Python function to sort a list."
"#;

const VISION: &str = "
benchmark: { max_tokens: 50, temperature: 0, timeout_ms: 90000 }
models:
  - { name: org/small, size: 2B, questions: 4, cycles: 3, enabled: true }
  - { name: org/large, size: 72B, questions: 9, cycles: 9, enabled: false }
prompts: [What is this?, Which colours are there?]
test_images: [images/a.jpg, images/b.jpg, images/a.jpg]
";

/// The plugins that a pipeline made by an import uses.
struct Used;

impl Plugins for Used {
    fn config_schema(&self, kind: PluginKind, name: &str) -> Option<Value> {
        match (kind, name) {
            // One plugin can be linked; the command's tests validate an import with all.
            (PluginKind::Engine, "mlx-serving") => Some(json!({ "type": "object" })),
            (PluginKind::Engine, name) => {
                let recipes = engine_openai::OpenAi::recipes();
                let recipe = recipes.into_iter().find(|it| it.name == name);
                recipe.map(|it| it.config_schema)
            }
            (PluginKind::Reporter, "console" | "html" | "json" | "markdown") => {
                Some(json!({ "type": "object", "additionalProperties": false }))
            }
            (PluginKind::Reporter, _) => None,
        }
    }

    fn apis(&self, engine: &str, _config: &Map<String, Value>) -> Vec<Api> {
        match engine {
            "mlx-serving" => vec![Api::Completions],
            _ => vec![Api::Chat, Api::Completions],
        }
    }

    fn names(&self, kind: PluginKind) -> Vec<String> {
        let names: &[&str] = match kind {
            PluginKind::Engine => &["mlx-engine", "mlx-serving", "mlx-vlm"],
            PluginKind::Reporter => &["console", "html", "json", "markdown"],
        };
        names.iter().map(ToString::to_string).collect()
    }
}

fn import_mlx_serving(name: &str, text: &str) -> Result<Imported, Vec<Diagnostic>> {
    let importer = IMPORTERS.iter().find(|it| it.name == "mlx-serving");
    (importer.expect("an importer").import)(name, text)
}

fn import(text: &str) -> Imported {
    match import_mlx_serving("suites/My first.yaml", text) {
        Ok(imported) => imported,
        Err(problems) => panic!("{}", human(&problems, false)),
    }
}

/// The pipeline of an import, which is always valid.
fn loaded(imported: &Imported) -> Pipeline {
    match load("imported.yaml", &imported.pipeline, &Used) {
        Ok((pipeline, _)) => pipeline,
        Err(problems) => panic!("{}\n{}", human(&problems, false), imported.pipeline),
    }
}

fn codes(problems: &[Diagnostic]) -> Vec<&'static str> {
    problems.iter().map(|problem| problem.code).collect()
}

fn refused(text: &str) -> Vec<&'static str> {
    codes(&import_mlx_serving("a.yaml", text).expect_err("an error"))
}

#[test]
fn the_example_of_the_guide() {
    let imported = import(EXAMPLE);
    assert_eq!(imported.notes, []);
    insta::assert_snapshot!(imported.pipeline);
    let pipeline = loaded(&imported);
    assert_eq!(pipeline.name, "my-first");
    let [point] = pipeline.points.as_slice() else {
        panic!("one matrix point")
    };
    let engines: Vec<_> = point.engines.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(engines, ["mlx-engine", "mlx-serving"]);
    let workload = &point.workload;
    assert_eq!(workload.prompts.len(), 3);
    assert_eq!((workload.max_tokens, workload.temperature), (100, 0.7));
    assert_eq!(workload.request_timeout, Duration::from_secs(300));
    let model = &point.models[0];
    assert_eq!(model.id, "mlx-community/Qwen2.5-7B-Instruct-4bit");
    assert_eq!(model.size.as_deref(), Some("7B"));
    let requests: Vec<u32> = point.measures().map(|measure| measure.requests).collect();
    assert_eq!(
        (pipeline.schedule.cycles.planned(), requests),
        (1, vec![10])
    );
}

#[test]
fn a_vision_benchmark() {
    let imported = import(VISION);
    insta::assert_snapshot!(imported.pipeline);
    assert_eq!(codes(&imported.notes), ["P0516"]);
    let pipeline = loaded(&imported);
    let enabled: Vec<bool> = pipeline.models.iter().map(|model| model.enabled).collect();
    assert_eq!(enabled, [true, false]);
    let point = &pipeline.points[0];
    let images = ["images/a.jpg", "images/b.jpg", "images/a.jpg"];
    assert_eq!(point.workload.images, images);
    assert_eq!(point.workload.request_timeout, Duration::from_secs(90));
    let requests: Vec<u32> = point.measures().map(|measure| measure.requests).collect();
    assert_eq!(
        (pipeline.schedule.cycles.planned(), requests),
        (3, vec![4]),
        "of the enabled one"
    );
}

#[test]
fn a_size_that_is_a_number_keeps_its_digits() {
    for size in ["1.10", "7", "0.5", "007", "1e3"] {
        let changed = EXAMPLE.replace("size: 7B", &format!("size: {size}"));
        let pipeline = loaded(&import(&changed));
        assert_eq!(pipeline.models[0].size.as_deref(), Some(size));
    }
}

#[test]
fn what_is_not_carried_over_exactly_is_noted() {
    let imported = import(
        "
benchmark: { max_token: 50 }
models:
  - { name: org/a, size: 7, questions: 2, cycles: 1, enabled: true, warmup: 3 }
  - { name: org/b, questions: 9, cycles: 4, enabled: true }
  - { name: org/a, questions: 3, cycles: 1, enabled: true }
  - { name: org/c, questions: 50 }
  - { name: ./models/d, questions: 9, cycles: 1, enabled: true }
questions: [one]
prompts: [two]
",
    );
    insta::assert_snapshot!(human(&imported.notes, false));
    assert!(
        imported
            .notes
            .iter()
            .all(|note| !note.is_error() && note.primary.is_some())
    );
    let pipeline = loaded(&imported);
    let workload = &pipeline.points[0].workload;
    assert_eq!((workload.max_tokens, workload.temperature), (100, 0.7));
    assert_eq!(workload.request_timeout, Duration::from_secs(300));
    assert_eq!(workload.prompts, ["one"]);
    assert_eq!(pipeline.schedule.cycles.planned(), 4);
    let models: Vec<_> = pipeline
        .models
        .iter()
        .map(|m| (m.id.as_str(), m.enabled))
        .collect();
    let expected = [
        ("org/a", true),
        ("org/b", true),
        ("org/c", false),
        ("./models/d", true),
    ];
    assert_eq!(models, expected);
    assert_eq!(pipeline.models[0].size.as_deref(), Some("7"));
    assert_eq!(pipeline.models[3].path.as_deref(), Some("./models/d"));
}

#[test]
fn a_model_listed_twice_is_run_if_one_of_the_two_is() {
    let text = EXAMPLE.replace(
        "questions:\n",
        "  - { name: org/b, questions: 90, cycles: 90, enabled: false }\n  \
           - { name: org/b, questions: 11, cycles: 2, enabled: true }\nquestions:\n",
    );
    let pipeline = loaded(&import(&text));
    assert!(pipeline.models.iter().all(|model| model.enabled));
    assert_eq!(pipeline.schedule.cycles.planned(), 2);
}

#[test]
fn everything_wrong_is_said_at_once() {
    let problems = import_mlx_serving(
        "wrong.yaml",
        r#"
benchmark: { max_tokens: 0, temperature: warm, timeout_ms: -1 }
models:
  - just a name
  - { size: 7B, questions: 1, cycles: 1, enabled: true }
  - { name: "", questions: 1, cycles: 1, enabled: true }
  - { name: org/a, size: [7], questions: 2.5, cycles: "1", enabled: "yes" }
  - { name: "${{ a }}", questions: 1, cycles: 1, enabled: true }
questions: ["fine", 42, "use ${{ this }}"]
"#,
    );
    let problems = problems.expect_err("errors");
    insta::assert_snapshot!(human(&problems, false));
    assert!(problems.iter().all(|problem| problem.primary.is_some()));
}

#[test]
fn an_id_that_is_none_of_the_hub_is_a_path() {
    for id in ["org/name-", "org/a--b", "org/.a", "a/b/c", "name", "org/"] {
        let imported = import(&EXAMPLE.replace("mlx-community/Qwen2.5-7B-Instruct-4bit", id));
        let [point] = &loaded(&imported).points[..] else {
            panic!("one matrix point")
        };
        let model = &point.models[0];
        assert_eq!(model.path.as_deref(), Some(id), "{}", imported.pipeline);
        assert!(model.files.is_empty());
    }
}

#[test]
fn what_is_missing_is_an_error() {
    assert_eq!(refused("[]"), ["P0501"]);
    assert_eq!(
        refused("{ version: 1, name: a, models: [], stages: [] }"),
        ["P0501"]
    );
    assert_eq!(refused("models: []"), ["P0502", "P0502", "P0504"]);
    assert_eq!(refused("benchmark: 1"), ["P0502", "P0502", "P0503"]);
    assert_eq!(refused("a: 1\na: 2"), ["P0002"]);
    let without = |line: &str| EXAMPLE.replace(line, "");
    assert_eq!(refused(&without("    enabled: true\n")), ["P0506", "P0513"]);
    let empty = EXAMPLE
        .split("questions:\n")
        .next()
        .expect("a part")
        .to_owned();
    assert_eq!(refused(&format!("{empty}questions: []")), ["P0504"]);
    assert_eq!(refused(&format!("{empty}questions:")), ["P0502"]);
    assert_eq!(
        refused(&VISION.replace("test_images", "images")),
        ["P0502", "P0511"]
    );
}

#[test]
fn a_pipeline_is_named_after_the_file() {
    let name = |file: &str| {
        let imported = import_mlx_serving(file, EXAMPLE).expect("a pipeline");
        loaded(&imported).name
    };
    assert_eq!(
        name("comprehensive-benchmark-v1.1.1.yaml"),
        "comprehensive-benchmark-v1.1.1"
    );
    assert_eq!(name("../_x Ü\n.yml"), "x---");
    assert_eq!(name("2024.yaml"), "2024");
    assert_eq!(name("-"), "imported");
    assert_eq!(name(&"a".repeat(300)).len(), 100);
}

#[test]
fn many_notes_are_cut_off() {
    let models = "  - { name: org/a }\n".repeat(20_000);
    let text = EXAMPLE.replace("models:\n", &format!("models:\n{models}"));
    assert_eq!(import(&text).notes.len(), 50);
}

#[test]
fn what_gets_too_large_is_an_error() {
    let models: Vec<String> = (0..15_000)
        .map(|n| format!("  - {{ name: org/{n} }}\n"))
        .collect();
    let text = EXAMPLE.replace("models:\n", &format!("models:\n{}", models.concat()));
    let problems = import_mlx_serving("a.yaml", &text).expect_err("too much");
    assert_eq!(problems[0].code, "P0006", "{}", human(&problems, false));
}

/// The suite and an import have the same engines.
#[test]
fn the_suite_has_the_same_engines() {
    let base = include_str!("../../../pipelines/mlx/base.yaml");
    assert!(base.contains(include_str!("../src/mlx_serving/engines.yaml")));
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~\n]{0,40}",
        prop::sample::select(vec![
            "",
            " ",
            "~",
            "null",
            "yes",
            "1",
            "0x1f",
            "- a",
            "a: b",
            "a #b",
            "#",
            "'",
            "\"",
            "\\",
            "\n",
            " \n a\n\n",
            "a\n",
            "\t",
            "\u{7f}",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "\0",
            "|",
            ">",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "---",
            "...",
            "{",
            "}}",
            "[",
            "é\r\n",
        ])
        .prop_map(str::to_owned),
    ]
    .prop_filter("a template is an error", |text| !text.contains("${{"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(512), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_imported_loads_and_means_the_same(
        name in texts(),
        size in texts(),
        file in any::<String>(),
        prompts in prop::collection::vec(texts(), 1..4),
        images in prop::collection::vec(texts(), 0..3),
        numbers in (1_u32..=u32::MAX, 0_f64..100.0, 1_u64..1_000_000_000, 1_u32..1_000_000, 1_u32..10_000),
    ) {
        prop_assume!(!name.is_empty());
        let (max_tokens, temperature, timeout, questions, cycles) = numbers;
        let mut config = json!({
            "benchmark": { "max_tokens": max_tokens, "temperature": temperature, "timeout_ms": timeout },
            "models": [{ "name": name, "size": size, "questions": questions, "cycles": cycles, "enabled": true }],
        });
        if images.is_empty() {
            config["questions"] = json!(prompts);
        } else {
            config["prompts"] = json!(prompts);
            config["test_images"] = json!(images);
        }
        // The only control character that JSON leaves unescaped.
        let text = config.to_string().replace('\u{7f}', "\\u007f");
        let imported = match import_mlx_serving(&file, &text) {
            Ok(imported) => imported,
            // Some characters are invalid in YAML, even escaped.
            Err(problems) => return Err(TestCaseError::reject(human(&problems, false))),
        };
        let pipeline = loaded(&imported);
        let point = &pipeline.points[0];
        prop_assert_eq!(&point.models[0].id, &name);
        prop_assert_eq!(point.models[0].size.as_ref(), Some(&size));
        let workload = &point.workload;
        prop_assert_eq!(&workload.prompts, &prompts);
        prop_assert_eq!(&workload.images, &images);
        prop_assert_eq!((workload.max_tokens, workload.temperature), (max_tokens, temperature));
        prop_assert_eq!(workload.request_timeout, Duration::from_millis(timeout));
        prop_assert_eq!(pipeline.schedule.cycles.planned(), cycles.min(127));
        prop_assert_eq!(point.measures().next().map(|measure| measure.requests), Some(questions));
    }

    #[test]
    fn any_change_of_a_configuration(at in 0_usize..500, text in "[ -~\n]{0,3}", cut in 0_usize..6, vision: bool) {
        let full = if vision { VISION } else { EXAMPLE };
        let start = full.floor_char_boundary(at.min(full.len()));
        let end = full.floor_char_boundary((start + cut).min(full.len()));
        match import_mlx_serving("a.yaml", &format!("{}{text}{}", &full[..start], &full[end..])) {
            Ok(imported) => { loaded(&imported); }
            Err(problems) => prop_assert!(problems.iter().any(Diagnostic::is_error)),
        }
    }
}
