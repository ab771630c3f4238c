//! `prony import`, `prony init`, and the suites that came with the configurations
//! that are imported.

use crate::kit::{Run, Scratch, number, repository, text, truth};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const CONFIGURATION: &str = "
benchmark: { max_tokens: 50, temperature: 0, timeout_ms: 60000 }
models:
  - { name: org/small, size: 1B, questions: 4, cycles: 2, enabled: true }
questions: [What is 2+2?, Name a color.]
";

/// The text of a pipeline file, relative to the repository.
fn suite(name: &str) -> String {
    let path = repository().join("pipelines/mlx").join(name);
    path.to_str().expect("the path is text").to_owned()
}

/// To be laid over a pipeline with mlx-engine and another engine: the truth server in the
/// place of both.
fn truth_servers(other: &str, options: &[&str]) -> Value {
    let command = &truth(options)["config"]["launch"]["command"];
    let launch = |ready: Value| {
        json!({ "plugin": "openai", "config": {
            "program": null,
            "python": null,
            "runtime": null,
            "cwd": null,
            "env": null,
            "context": null,
            "launch": { "command": command, "ready": ready, "cwd": null },
        } })
    };
    json!({ "engines": {
        "mlx-engine": launch(json!({ "log_line": "listening on" })),
        other: launch(json!({ "http": "/health" })),
    } })
}

/// Runs a pipeline with the truth server for its engines, where these models are.
fn run(pipeline: &str, other: &str, here: &[&str], truth: &[&str], options: &[&str]) -> Run {
    let scratch = Scratch::new();
    scratch.write("truth.yaml", truth_servers(other, truth).to_string());
    for model in here {
        scratch.write(&format!("models/{model}/config.json"), "{}");
    }
    let models = scratch.path("models").display().to_string();
    let fixed = ["run", pipeline, "-f", "truth.yaml", "--models", &models];
    let output = scratch.prony(&[&fixed[..], options].concat());
    scratch.latest(output)
}

/// The results of the models, by id.
fn models(run: &Run) -> Vec<(String, Value)> {
    let result = run.result();
    let models = result["models"].as_array().expect("models");
    let named = |model: &Value| (text(&model["id"]), model.clone());
    models.iter().map(named).collect()
}

#[test]
fn a_model_that_is_not_there_does_not_stop_the_others() {
    let here = [
        "mlx-community/Qwen2.5-0.5B-Instruct-4bit",
        "mlx-community/Llama-3.2-1B-Instruct-4bit",
    ];
    let few = ["--set=schedule.cycles=6"];
    let run = run(
        &suite("error-handling.yaml"),
        "mlx-serving",
        &here,
        &[],
        &few,
    )
    .exits(1);
    run.reports("not all files of `mlx-community/INVALID-MODEL-NAME-12345`");
    let models = models(&run);
    assert_eq!(models.len(), 3);
    for (id, model) in &models {
        let failures = model["failures"].as_array().expect("failures");
        if !here.contains(&id.as_str()) {
            assert_eq!(failures.len(), 1, "{model:#}");
            assert!(text(&failures[0]["message"]).contains("INVALID-MODEL-NAME"));
            continue;
        }
        assert_eq!(failures.len(), 0, "{model:#}");
        let engines = model["engines"].as_array().expect("engines");
        assert_eq!(engines.len(), 2);
        for engine in engines {
            assert_eq!(engine["succeeded"], 6 * 2, "{engine:#}");
            assert!(number(&engine["output_tokens_per_sec"]) > 0.0);
        }
    }
}

#[test]
fn every_prompt_of_the_vision_suite_is_sent_with_every_image() {
    let here = ["mlx-community/Qwen2-VL-2B-Instruct-4bit"];
    let others = [1, 2, 3].map(|model| format!("--set=models.{model}.enabled=false"));
    let options: Vec<&str> = others.iter().map(String::as_str).collect();
    let options = [&["--set=schedule.cycles=1"][..], &options].concat();
    let run = run(
        &suite("vision.yaml"),
        "mlx-vlm",
        &here,
        &["--require-image"],
        &options,
    )
    .exits(0);
    for engine in ["mlx-engine", "mlx-vlm"] {
        // The server refuses a request without an image.
        run.all_well(engine);
        let requests = run.requests(engine);
        let pair = |request: &Value| {
            let (prompt, image) = (&request["prompt"], &request["image"]);
            (prompt.as_u64(), image.as_u64().expect("an image"))
        };
        let pairs: BTreeSet<_> = requests.iter().map(pair).collect();
        assert_eq!((requests.len(), pairs.len()), (50, 10 * 5));
    }
}

#[test]
fn an_imported_configuration_runs() {
    let scratch = Scratch::new();
    scratch.write("old.yaml", CONFIGURATION);
    let output = scratch.prony(&["run", "old.yaml"]).exits(3);
    output.complains("prony import mlx-serving");
    let printed = scratch
        .bare(&["import", "mlx-serving", "old.yaml"])
        .exits(0);
    let to_file = ["import", "mlx-serving", "old.yaml", "-o", "new.yaml"];
    scratch.bare(&to_file).exits(0).prints("prony run new.yaml");
    assert_eq!(printed.stdout, scratch.read("new.yaml"));
    scratch.prony(&["validate", "new.yaml"]).exits(0);

    let new = scratch.path("new.yaml");
    let new = new.to_str().expect("the path is text");
    let run = run(new, "mlx-serving", &["org/small"], &[], &[]).exits(0);
    for engine in ["mlx-engine", "mlx-serving"] {
        run.all_well(engine);
        let requests = run.requests(engine);
        let prompts: Vec<&Value> = requests.iter().map(|request| &request["prompt"]).collect();
        assert_eq!(
            prompts,
            [0, 1, 0, 1, 0, 1, 0, 1],
            "4 questions in each of 2 cycles"
        );
    }
}

#[test]
fn what_is_wrong_with_a_configuration_is_told_with_its_place() {
    let scratch = Scratch::new();
    scratch.write("old.yaml", CONFIGURATION.replace("cycles: 2", "cycles: 0"));
    let output = scratch
        .bare(&["import", "mlx-serving", "old.yaml"])
        .exits(3);
    output.complains("error[P0504]").complains("old.yaml:4:56");
    let output = scratch
        .bare(&["import", "mlx-serving", "none.yaml"])
        .exits(3);
    output.complains("error[P0009]");
    scratch.write("old.yaml", CONFIGURATION.replace("cycles: 2, ", ""));
    let output = scratch
        .bare(&["import", "mlx-serving", "old.yaml"])
        .exits(0);
    output.complains("warning[P0512]").prints("schedule:");
}

#[test]
fn nothing_is_written_over_unasked() {
    let scratch = Scratch::new();
    scratch.write("old.yaml", CONFIGURATION);
    for command in [
        &["import", "mlx-serving", "old.yaml", "-o", "mine.yaml"][..],
        &["init", "hello", "mine.yaml"],
    ] {
        scratch.write("mine.yaml", "mine\n");
        scratch
            .bare(command)
            .exits(2)
            .complains("`--force` overwrites it");
        assert_eq!(scratch.read("mine.yaml"), "mine\n");
        scratch.bare(&[command, &["--force"]].concat()).exits(0);
        assert!(scratch.read("mine.yaml").contains("version: 1"));
    }
}

#[test]
fn starters_are_valid_and_run_as_they_are() {
    let scratch = Scratch::new();
    for starter in ["hello", "compare", "sweep", "ci-gate"] {
        let file = format!("{starter}.yaml");
        let output = scratch.bare(&["init", starter, &file]).exits(0);
        output.prints(&format!("prony run {file}"));
        scratch
            .prony(&["validate", "--deny=warnings", &file])
            .exits(0);
        let shorter = ["--set=workload.max_tokens=4", "--set=schedule.cycles=1"];
        let output = scratch.prony(&[&["run", &file][..], &shorter].concat());
        let run = scratch.latest(output).exits(0);
        assert_eq!(run.outcome(), "completed", "{starter}");
    }
    // As it is said in the help: hello, in pipeline.yaml.
    scratch.bare(&["init"]).exits(0);
    assert_eq!(scratch.read("pipeline.yaml"), scratch.read("hello.yaml"));
    let output = scratch.bare(&["init", "sweep", "-"]).exits(0);
    assert_eq!(output.stdout, scratch.read("sweep.yaml"));
}

#[test]
fn a_threshold_of_the_gate_fails_the_build() {
    let scratch = Scratch::new();
    scratch.bare(&["init", "ci-gate"]).exits(0);
    let strict = ["--set=thresholds.1.min=1e9", "--set=schedule.cycles=1"];
    scratch
        .prony(&[&["run", "pipeline.yaml"][..], &strict].concat())
        .exits(4);
}
