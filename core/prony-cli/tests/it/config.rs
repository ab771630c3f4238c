//! From pipeline files to what is run: layers, variables, formats, explanations.

use crate::kit::{PRONY, Scratch, With, lock, pipeline, truth};
use serde_json::{Value, json};
use std::process::Command;

const BASE: &str = "\
version: 1
name: layered
vars: { tokens: 16, host: localhost }
engine:
  plugin: openai
  config: { base_url: \"http://${{ vars.host }}:1\" }
models:
  - { id: small }
  - { id: big }
workload: { prompts: [hello], max_tokens: \"${{ vars.tokens }}\", temperature: 0 }
stages:
  - warmup: {}
  - measure: {}
  - report: {}
";

fn layered() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("base.yaml", BASE);
    scratch.write(
        "over.yaml",
        "workload: { max_tokens: 99 }\nmodels: [{ id: other }]\n",
    );
    scratch.write(
        "nested/top.yaml",
        "extends: ../base.yaml\nname: top\nvars: { tokens: 3 }\n",
    );
    scratch
}

/// Models and requests of a plan.
fn models(plan: &Value) -> Vec<&str> {
    let visits = plan["visits"].as_array().expect("visits");
    visits
        .iter()
        .filter_map(|visit| visit["model"].as_str())
        .collect()
}

fn plan(scratch: &Scratch, arguments: &[&str]) -> Value {
    let output = scratch.prony(&[&["plan", "--json"], arguments].concat());
    output.exits(0).json()
}

#[test]
fn files_are_laid_over_each_other() {
    let scratch = layered();
    assert_eq!(models(&plan(&scratch, &["base.yaml"])), ["small", "big"]);
    assert_eq!(
        models(&plan(&scratch, &["base.yaml", "-f", "over.yaml"])),
        ["other"]
    );
    assert_eq!(
        models(&plan(&scratch, &["nested/top.yaml"])),
        ["small", "big"]
    );
    let off = ["base.yaml", "--set", "models.0.enabled=false"];
    assert_eq!(models(&plan(&scratch, &off)), ["big"]);
    let one = ["base.yaml", "--model", "big"];
    assert_eq!(models(&plan(&scratch, &one)), ["big"]);
}

#[test]
fn models_that_are_not_there_are_left_out_on_request() {
    let scratch = layered();
    scratch.write("here.gguf", "weights");
    let over = "models: [{ id: big, path: here.gguf }, { id: gone, path: gone.gguf }]\n";
    scratch.write("over.yaml", over);
    let layers = ["base.yaml", "-f", "over.yaml", "--only-present"];
    let plan = |more: &[&str]| scratch.prony(&[&["plan", "--json"], &layers[..], more].concat());
    let planned = plan(&[]).exits(0);
    let said = "gone: left out, since there is no `gone.gguf`";
    assert_eq!(
        planned.stderr.matches(said).count(),
        1,
        "{}",
        planned.stderr
    );
    assert_eq!(models(&planned.json()), ["big"]);
    plan(&["--model", "gone"])
        .exits(3)
        .complains("`--model` and `--only-present` leave no model");
    plan(&["--model", "bgi"])
        .exits(3)
        .complains("`--model bgi` names no model")
        .complains("models: `big`, `gone`");
}

#[test]
fn mistakes_point_into_the_layer_they_are_in() {
    let scratch = layered();
    scratch.write("over.yaml", "workload: { max_tokens: many }\n");
    let output = scratch.prony(&["validate", "base.yaml", "-f", "over.yaml"]);
    output.exits(3).complains("over.yaml:1:25");
    scratch.write("base.yaml", BASE.replace("temperature", "temprature"));
    let output = scratch.prony(&["validate", "nested/top.yaml"]).exits(3);
    output
        .complains("nested/../base.yaml:")
        .complains("temprature");
    let scratch = layered();
    for (option, words) in [
        ("--set=models.7.enabled=false", "not an index from 0 to 1"),
        ("--set=models.0.enabeld=false", "unknown key `enabeld`"),
        (
            "--set=models.0.enabled=perhaps",
            "must be `true` or `false`",
        ),
        ("--set=models", "PATH=VALUE"),
        ("--var=tokns=1", "`tokens`"),
        ("--var=tokens=few", "the variable `tokens` is a number"),
    ] {
        let output = scratch.prony(&["validate", "base.yaml", option]).exits(3);
        output
            .complains(words)
            .complains(&format!("{}:1:", &option[..5]));
    }
}

#[test]
fn variables_come_from_the_command_line_and_the_environment() {
    let scratch = Scratch::new();
    let pipeline = pipeline([("engine", truth(&["--tokens", "${{ vars.tokens }}"]))])
        .with("vars", json!({ "tokens": 4 }))
        .with("env", json!(["PRONY_IT_MODEL"]))
        .with(
            "models",
            json!([{ "id": "${{ env.PRONY_IT_MODEL | default('model') }}" }]),
        );
    let run = scratch.run_with(&pipeline, &["--var", "tokens=5"]).exits(0);
    for request in run.requests("engine") {
        assert_eq!(request["output_tokens"], 5);
    }
    let output = Command::new(PRONY)
        .args(["plan", "--json", "pipeline.yaml", "--lock"])
        .arg(lock())
        .env("PRONY_IT_MODEL", "from-env")
        .current_dir(scratch.path(""))
        .output()
        .expect("prony runs");
    let plan: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(models(&plan), ["from-env"]);
}

#[test]
fn what_the_environment_says_is_not_written_down() {
    let scratch = Scratch::new();
    let step =
        json!([{ "run": "test ${#KEY} = 7", "env": { "KEY": "${{ env.PRONY_IT_SECRET }}" } }]);
    let pipeline = pipeline([("engine", truth(&[]))])
        .with("env", json!(["PRONY_IT_SECRET"]))
        .with(
            "engines.engine.config.body",
            json!({ "user": "${{ env.PRONY_IT_SECRET }}" }),
        )
        .stage("setup", "before", step);
    scratch.write("pipeline.yaml", pipeline.to_string());
    let output = Command::new(PRONY)
        .args(["run", "pipeline.yaml", "--lock"])
        .arg(lock())
        .env("PRONY_IT_SECRET", "hunter2")
        .current_dir(scratch.path(""))
        .output()
        .expect("prony runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let folder = scratch.path("results/latest");
    for file in ["pipeline.yaml", "journal.jsonl", "result.json", "report.md"] {
        let text = std::fs::read_to_string(folder.join(file)).expect(file);
        assert!(!text.contains("hunter2"), "{file}: {text}");
    }
    let text = std::fs::read_to_string(folder.join("pipeline.yaml")).expect("a pipeline");
    assert!(text.contains("${{ env.PRONY_IT_SECRET }}"), "{text}");
}

#[test]
fn warnings_can_be_denied_and_allowed() {
    let scratch = Scratch::new();
    let text = BASE.replace("  - report: {}\n", "");
    scratch.write("base.yaml", &text);
    let warned = scratch.prony(&["validate", "base.yaml"]).exits(0);
    warned
        .prints("base.yaml: valid, 1 warning")
        .complains("P0318");
    for command in ["validate", "plan", "run"] {
        let output = scratch.prony(&[command, "base.yaml", "--deny", "warnings"]);
        output.exits(3).complains("P0318");
    }
    let allowed = format!("{text}allow: [{{ code: P0318, reason: the defaults will do }}]\n");
    scratch.write("base.yaml", allowed);
    let output = scratch.prony(&["validate", "base.yaml", "--deny", "warnings"]);
    assert_eq!(output.exits(0).stderr, "");
}

#[test]
fn results_say_what_a_pipeline_was_warned_of() {
    let scratch = Scratch::new();
    let pipeline = pipeline([("a", truth(&[])), ("b", truth(&["--tokens", "9"]))]).with(
        "allow",
        json!([{ "code": "F0001", "reason": "nothing to warm up" }]),
    );
    let run = scratch.run(&pipeline).exits(0);
    let warnings = run.result()["warnings"].to_string();
    assert!(warnings.contains("F0002"), "{warnings}");
    assert!(
        warnings.contains("F0001 is allowed: nothing to warm up"),
        "{warnings}"
    );
}

#[test]
fn diagnostics_come_in_the_formats_of_other_tools() {
    let scratch = Scratch::new();
    scratch.write("bad.yaml", BASE.replace("prompts", "promts"));
    let sarif = scratch.prony(&["validate", "bad.yaml", "--format", "sarif"]);
    let sarif = sarif.exits(3).json();
    assert_eq!(sarif["version"], "2.1.0");
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "P0101");
    let rule = &sarif["runs"][0]["tool"]["driver"]["rules"][0];
    assert!(rule["shortDescription"]["text"].is_string());
    let github = scratch.prony(&["validate", "bad.yaml", "--format", "github"]);
    let github = github.exits(3).prints("::error file=bad.yaml,line=10,");
    assert_eq!(github.stdout.lines().count(), 1, "{github:?}");
}

#[test]
fn every_code_is_explained() {
    let scratch = Scratch::new();
    let all = scratch.bare(&["explain"]).exits(0).stdout;
    assert!(all.lines().count() > 40, "{all}");
    for line in all.lines() {
        let code = line.split(' ').next().expect("a code");
        let page = scratch.bare(&["explain", code]).exits(0);
        assert!(page.stdout.starts_with(&format!("# {code}")), "{page:?}");
    }
    scratch.bare(&["explain", "p0101"]).exits(0).prints("P0101");
    let flag = scratch.bare(&["explain", "single_start"]).exits(0);
    flag.prints("# single-start: ");
    scratch
        .bare(&["explain", "P9999"])
        .exits(2)
        .complains("P9999");
    scratch
        .bare(&["explain", "carryover"])
        .exits(2)
        .complains("there is no page on `carryover`, but one on `carry_over`");
    let metrics = scratch.bare(&["explain", "metrics"]).exits(0);
    let metrics = metrics.prints("# Metrics").prints("| `goodput_percent` |");
    let one = scratch.bare(&["explain", "cpu_percent"]).exits(0);
    assert_eq!(one.stdout, metrics.stdout);
    scratch.write("bad.yaml", BASE.replace("prompts", "promts"));
    scratch
        .prony(&["validate", "bad.yaml"])
        .exits(3)
        .complains("prony explain P0101");
}

#[test]
fn the_schema_for_editors_knows_the_plugins() {
    let scratch = Scratch::new();
    let schema = scratch
        .prony(&["schema", "pipeline", "--with-plugins"])
        .exits(0)
        .json();
    jsonschema::meta::validate(&schema).expect("a JSON Schema");
    let validator = jsonschema::options().build(&schema).expect("a validator");
    let with = |config: Value| {
        json!({
            "version": 1, "name": "it", "model": { "id": "m" },
            "engine": { "plugin": "openai", "config": config },
            "workload": { "prompts": ["a"] }, "stages": [{ "measure": {} }],
        })
    };
    assert!(validator.is_valid(&with(json!({ "base_url": "http://127.0.0.1:1" }))));
    assert!(validator.is_valid(&with(json!({ "base_url": "${{ vars.url }}" }))));
    assert!(!validator.is_valid(&with(json!({ "base_ulr": "http://127.0.0.1:1" }))));
    assert!(!validator.is_valid(&with(json!({ "base_url": 5 }))));
    scratch
        .prony(&["schema", "pipeline", "openai"])
        .exits(2)
        .complains("takes a name");
}

#[test]
fn huge_and_broken_files_are_refused() {
    let scratch = Scratch::new();
    scratch.write("huge.yaml", vec![b'#'; 100_000_000]);
    scratch.write("nul.yaml", b"version: 1\0\n");
    scratch.write("deep.yaml", "[".repeat(10_000));
    scratch.write("circle.yaml", "extends: circle.yaml\n");
    for (file, code) in [
        ("huge.yaml", "P0009"),
        ("nul.yaml", "P0005"),
        ("deep.yaml", "P0006"),
        ("circle.yaml", "P0011"),
    ] {
        scratch.prony(&["validate", file]).exits(3).complains(code);
    }
}

#[test]
fn configurations_of_the_other_tool_are_recognised() {
    let scratch = Scratch::new();
    scratch.write(
        "old.yaml",
        "benchmark: { max_tokens: 100 }\nmodels: []\nquestions: []\n",
    );
    for command in ["run", "validate", "plan"] {
        let output = scratch.prony(&[command, "old.yaml"]).exits(3);
        output
            .complains("P0012")
            .complains("prony import mlx-serving");
    }
}
