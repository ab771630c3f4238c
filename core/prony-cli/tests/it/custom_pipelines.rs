//! Pipelines of one's own: matrix, sequences of stages, conditions, outputs, thresholds.

use crate::kit::{Scratch, Server, With, pipeline, truth};
use serde_json::{Value, json};

fn strings(list: &[Value], key: &str) -> Vec<String> {
    list.iter()
        .map(|it| it[key].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn a_matrix_runs_every_cell() {
    let tokens = truth(&["--tokens", "${{ matrix.tokens }}"]);
    let pipeline = pipeline([("a", tokens.clone()), ("b", tokens)])
        .with(
            "matrix",
            json!({
                "axes": { "tokens": [3, 6], "concurrency": [1, 2] },
                "exclude": [{ "tokens": 6, "concurrency": 2 }, { "engine": "b", "tokens": 6 }],
                "include": [{ "tokens": 9, "concurrency": 3, "engine": "a" }],
            }),
        )
        .stage(
            "measure",
            "arrival",
            json!({ "concurrency": "${{ matrix.concurrency }}" }),
        );
    let run = Scratch::new().run(&pipeline).exits(0);
    let result = run.result();
    let models = result["models"].as_array().expect("models");
    let cells = [
        "tokens=3,concurrency=1",
        "tokens=3,concurrency=2",
        "tokens=6,concurrency=1",
        "tokens=9,concurrency=3",
    ];
    assert_eq!(strings(models, "cell"), cells);
    for (model, (tokens, engines)) in models.iter().zip([(3, 2), (3, 2), (6, 1), (9, 1)]) {
        let numbers = model["engines"].as_array().expect("engines");
        assert_eq!(numbers.len(), engines, "{model:#}");
        for engine in numbers {
            assert_eq!(engine["output_tokens"], 4 * tokens, "{engine:#}");
        }
    }
    let report = run.read("report.md");
    assert!(report.contains("tokens=9,concurrency=3"), "{report}");
    let plan = Scratch::new();
    plan.write("p.yaml", pipeline.to_string());
    plan.prony(&["plan", "p.yaml"])
        .exits(0)
        .prints("tokens=9,concurrency=3");
}

#[test]
fn several_measures_and_a_reload_in_the_middle() {
    let pipeline = pipeline([("engine", truth(&[]))]).with(
        "stages",
        json!([
            { "warmup": { "requests": 1 } },
            { "measure": { "id": "single", "requests": 2 } },
            { "measure": { "id": "burst", "requests": 6, "arrival": { "concurrency": 3 } } },
            { "unload": {} },
            { "load": { "id": "again" } },
            { "measure": { "requests": 3 } },
            { "report": {} },
        ]),
    );
    let run = Scratch::new().run(&pipeline).exits(0);
    let result = run.result();
    let models = result["models"].as_array().expect("models");
    assert_eq!(strings(models, "measure"), ["single", "burst", "measure_3"]);
    let counts: Vec<&Value> = models
        .iter()
        .map(|it| &it["engines"][0]["succeeded"])
        .collect();
    assert_eq!(counts, [&json!(2), &json!(6), &json!(3)]);
    let loads = run
        .events("stage")
        .iter()
        .filter(|it| it["stage"] == "load")
        .count();
    assert_eq!(loads, 2, "a fresh start in the middle");
    assert_eq!(run.events("visit").len(), 2);
}

#[test]
fn measure_alone_against_a_running_server() {
    let server = Server::start(&["--tokens", "4"]);
    let engine = json!({ "plugin": "openai", "config": { "base_url": server.url } });
    let pipeline = pipeline([("engine", engine)]).with("stages", json!([{ "measure": {} }]));
    let run = Scratch::new().run(&pipeline).exits(0);
    run.all_well("engine");
}

#[test]
fn steps_give_values_to_those_after_them() {
    let pipeline = pipeline([("engine", truth(&["--tokens", "${{ stages.setup.outputs.tokens }}"]))])
        .stage("setup", "before", json!([
            { "run": "echo tokens=7 >> \"$PRONY_OUTPUT\"; echo note=two words >> \"$PRONY_OUTPUT\"", "outputs": ["tokens", "note"] },
        ]))
        .stage("measure", "after", json!([
            { "run": "echo '${{ stages.setup.outputs.note }} on ${{ engine.port }}' > note" },
        ]));
    let scratch = Scratch::new();
    let run = scratch.run(&pipeline).exits(0);
    for request in run.requests("engine") {
        assert_eq!(request["output_tokens"], 7);
    }
    let note = scratch.read("note");
    let port = note.trim().strip_prefix("two words on ").expect("the note");
    assert!(port.parse::<u16>().is_ok(), "{note}");
}

#[test]
fn an_output_that_is_not_given_fails_the_step() {
    let step = json!([{ "run": "true", "outputs": ["version"] }]);
    let pipeline = pipeline([("engine", truth(&[]))]).stage("setup", "before", step);
    let run = Scratch::new().run(&pipeline).exits(1);
    run.complains("version");
}

#[test]
fn conditions_decide_what_runs() {
    let scratch = Scratch::new();
    let pipeline = pipeline([("engine", truth(&[]))])
        .with("vars", json!({ "quick": true }))
        .with("stages", json!([
            { "setup": { "before": [
                { "run": "echo never > never", "if": false },
                { "run": "echo mode=cold >> \"$PRONY_OUTPUT\"", "outputs": ["mode"] },
                { "run": "echo warm > warm", "if": "${{ stages.setup.outputs.mode == 'warm' }}" },
            ] } },
            { "warmup": { "requests": 2, "if": "${{ stages.setup.outputs.mode == 'cold' }}" } },
            { "measure": { "id": "quick", "if": "${{ vars.quick }}" } },
            { "measure": { "id": "long", "if": "${{ not vars.quick }}" } },
            { "report": {} },
        ]));
    let run = scratch.run(&pipeline).exits(0);
    assert!(!scratch.path("never").exists() && !scratch.path("warm").exists());
    let warm = run
        .events("request")
        .iter()
        .filter(|it| it["phase"] == "warmup")
        .count();
    assert_eq!(warm, 2);
    let stages = strings(&run.events("request"), "stage");
    assert!(stages.contains(&"quick".to_owned()) && !stages.contains(&"long".to_owned()));
}

#[test]
fn a_condition_must_be_true_or_false() {
    let pipeline = pipeline([("engine", truth(&[]))]).stage("measure", "if", "${{ engine.name }}");
    let run = Scratch::new().run(&pipeline).exits(1);
    run.complains("true");
}

#[test]
fn a_missed_threshold_ends_with_four() {
    let with =
        |thresholds: Value| pipeline([("engine", truth(&[]))]).with("thresholds", thresholds);
    let scratch = Scratch::new();
    let met = json!([
        { "metric": "success_rate", "min": 1 },
        { "metric": "time_to_first_token_ms", "statistic": "max", "max": 60_000 },
    ]);
    let run = scratch.run(&with(met)).exits(0);
    assert_eq!(run.result()["thresholds"].as_array().map(Vec::len), Some(2));
    let missed = json!([
        { "metric": "success_rate", "min": 1 },
        { "metric": "output_tokens_per_sec", "min": 1e9, "engine": "engine" },
    ]);
    let run = scratch.run(&with(missed)).exits(4);
    run.complains("output_tokens_per_sec");
    let result = run.result();
    assert_eq!(result["thresholds"][0]["passed"], true);
    assert_eq!(result["thresholds"][1]["passed"], false);
    assert_eq!(result["run"]["outcome"], "completed");
    run.reports("output_tokens_per_sec");
}

#[test]
fn a_threshold_on_goodput_agrees_with_the_command_that_scores_it() {
    let slow = truth(&["--inter-token-latency-us", "4000"]);
    let goodput = |limit: f64| json!({ "metric": "goodput_percent", "tpot_ms": limit, "ttft_ms": 60_000, "min": 99, "measure": "measure" });
    let pipeline =
        pipeline([("engine", slow)]).with("thresholds", json!([goodput(60_000.0), goodput(0.001)]));
    let scratch = Scratch::new();
    let run = scratch.run(&pipeline).exits(4);
    run.complains("goodput_percent (TTFT 60000 ms, TPOT 0.001 ms) is 0, at least 99 is asked for");
    let result = run.result();
    let held = result["thresholds"].as_array().expect("thresholds");
    let passed: Vec<_> = held.iter().map(|it| it["passed"].as_bool()).collect();
    assert_eq!(passed, [Some(true), Some(false)]);
    for it in held {
        let limit = it["tpot_ms"].to_string();
        let scored = scratch.bare(&[
            "metrics",
            "latest",
            "--json",
            "--ttft-ms",
            "60000",
            "--tpot-ms",
            &limit,
        ]);
        let share = scored.exits(0).json()[0]["goodput_share"].as_f64();
        assert_eq!(it["value"].as_f64(), share.map(|share| share * 100.0));
    }
}

#[test]
fn the_pipeline_that_is_written_down_runs_again() {
    let tokens = truth(&["--tokens", "${{ matrix.tokens }}"]);
    let pipeline = pipeline([("engine", tokens)])
        .with("vars", json!({ "sizes": [2, 3] }))
        .with(
            "matrix",
            json!({ "axes": { "tokens": "${{ vars.sizes }}" } }),
        );
    let scratch = Scratch::new();
    let run = scratch.run(&pipeline).exits(0);
    scratch.write("again.yaml", run.read("pipeline.yaml"));
    let output = scratch.prony(&["run", "again.yaml"]);
    let again = scratch.latest(output).exits(0);
    assert_eq!(again.read("pipeline.yaml"), run.read("pipeline.yaml"));
    let cells =
        |run: &crate::kit::Run| strings(run.result()["models"].as_array().expect("models"), "cell");
    assert_eq!(cells(&again), cells(&run));
}

#[test]
fn plan_estimates_from_an_earlier_run() {
    let scratch = Scratch::new();
    let pipeline = pipeline([("engine", truth(&[]))]);
    scratch.write("pipeline.yaml", pipeline.to_string());
    let before = scratch.prony(&["plan", "pipeline.yaml"]).exits(0);
    assert!(
        before.stdout.contains("cannot be said"),
        "{}",
        before.stdout
    );
    scratch.run(&pipeline).exits(0);
    let after = scratch.prony(&["plan", "pipeline.yaml"]).exits(0);
    assert!(!after.stdout.contains("cannot be said"), "{}", after.stdout);
}
