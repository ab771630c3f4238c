//! The suite that ships, with stand-ins for both of its engines that speak their protocols:
//! one renders the chat template itself, the other gets prompts rendered by prony.

use crate::kit::{Output, Run, Scratch, number, repository, text};
use serde_json::{Value, json};

const MODEL: &str = "mlx-community/Qwen2.5-0.5B-Instruct-4bit";
const ENGINES: [&str; 2] = ["mlx-engine", "mlx-serving"];

/// A folder with the model and the stand-ins, since Python writes beside what it runs.
fn scratch() -> Scratch {
    scratch_with(MODEL)
}

fn scratch_with(model: &str) -> Scratch {
    let scratch = Scratch::new();
    let copy = |from: &str, to: &str| {
        let path = repository().join("core/prony-cli/tests/it/mlx").join(from);
        scratch.write(to, std::fs::read(path).expect("a file of the stand-ins"));
    };
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        copy(name, &format!("models/{model}/{name}"));
    }
    for name in [
        "model.py",
        "mlx-engine/mlx_engine/__init__.py",
        "mlx-engine/mlx_engine/server/__init__.py",
        "mlx-engine/mlx_engine/server/__main__.py",
        "mlx-serving/config/runtime.yaml",
        "mlx-serving/python/runtime.py",
        "mlx-vlm/mlx_vlm/__init__.py",
        "mlx-vlm/mlx_vlm/server.py",
    ] {
        copy(name, name);
    }
    scratch
}

fn in_model(name: &str) -> String {
    format!("models/{MODEL}/{name}")
}

/// `prony COMMAND pipelines/mlx/base.yaml` with the stand-ins.
fn base(scratch: &Scratch, command: &str, options: &[&str]) -> Output {
    with_stand_ins(scratch, command, &suite("base"), options)
}

/// The file of a suite.
fn suite(name: &str) -> String {
    let file = repository().join(format!("pipelines/mlx/{name}.yaml"));
    file.to_str().expect("the path is text").to_owned()
}

/// `prony COMMAND PIPELINE` with the stand-ins for the pipeline's engines.
fn with_stand_ins(scratch: &Scratch, command: &str, pipeline: &str, options: &[&str]) -> Output {
    let of = |name: &str, path: std::path::PathBuf| format!("--var={name}={}", path.display());
    let mut variables = vec![
        of("mlx_engine", scratch.path("mlx-engine")),
        format!("--models={}", scratch.path("models").display()),
        "--var=mlx_engine_python=python3".to_owned(),
    ];
    // It has no use for mlx-serving.
    if !pipeline.ends_with("vision.yaml") {
        variables.push(of("mlx_serving", scratch.path("mlx-serving")));
        variables.push("--var=mlx_serving_python=python3".to_owned());
    }
    let variables: Vec<&str> = variables.iter().map(String::as_str).collect();
    scratch.prony(&[&[command, pipeline], &variables[..], options].concat())
}

fn run(scratch: &Scratch, options: &[&str]) -> Run {
    scratch.latest(base(scratch, "run", options))
}

/// A run in which everything was measured. On a busy machine the load client may have been
/// late (exit code 6), which says nothing of prompts.
fn completed(scratch: &Scratch, options: &[&str]) -> Run {
    let run = run(scratch, options);
    assert!(matches!(run.output.code, Some(0 | 6)), "{:?}", run.output);
    assert_eq!(run.outcome(), "completed");
    run
}

/// The prompts that an engine's model was given, in order.
fn seen(scratch: &Scratch, engine: &str) -> Vec<String> {
    let log = scratch.read(&in_model(&format!("{engine}.jsonl")));
    let prompt = |line: &str| serde_json::from_str(line).expect("a text");
    log.lines().map(prompt).collect()
}

/// The prompts of one cycle of both engines.
fn of_a_cycle(scratch: &Scratch, requests: usize) -> [Vec<String>; 2] {
    ENGINES.map(|engine| {
        let mut prompts = seen(scratch, engine);
        assert_eq!(prompts.len() % requests, 0, "{engine}");
        prompts.truncate(requests);
        prompts
    })
}

#[test]
fn both_get_the_same_prompt_and_a_verdict() {
    let scratch = scratch();
    let run = completed(&scratch, &[]);
    for engine in ENGINES {
        run.all_well(engine);
    }
    // 2 to warm up, and 5.
    let [of_engine, of_serving] = of_a_cycle(&scratch, 7);
    assert_eq!(of_engine, of_serving);
    assert_eq!(
        of_serving[2],
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    );
    let result = run.result();
    let model = &result["models"][0];
    assert_eq!(model["rendering"]["engines"], json!(["mlx-serving"]));
    assert!(text(&model["rendering"]["template"]).ends_with("tokenizer_config.json"));
    assert!(model["rendering"].get("now").is_none(), "no date is in it");
    let [engine, serving] = [0, 1].map(|index| &model["engines"][index]["prompt_check"]);
    let requests = &model["engines"][0]["succeeded"];
    assert_eq!(&engine["requests"], requests);
    assert_eq!(&engine["counted"], requests);
    assert_eq!(
        (&engine["mismatched"], &engine["largest_difference"]),
        (&json!(0), &json!(0))
    );
    // It does not count prompt tokens, and that is said.
    assert_eq!(
        (&serving["counted"], &serving["mismatched"]),
        (&json!(0), &json!(0))
    );
    run.reports("rendered by prony for mlx-serving, which takes raw prompts");
    run.reports("mlx-serving does not count prompt tokens");
    // The same work, four times slower.
    let comparison = &model["comparisons"][0];
    assert!((number(&comparison["same_work"]["identical_share"]) - 1.0).abs() < 1e-9);
    assert_eq!(comparison["verdict"], "slower", "{comparison:#}");
    assert_eq!(comparison["winner"], "mlx-engine");
    assert!(comparison.get("obstacle").is_none(), "{comparison:#}");
    let flags: Vec<String> = comparison["flags"]
        .as_array()
        .expect("flags")
        .iter()
        .map(text)
        .collect();
    assert!(!flags.contains(&"prompt_mismatch".to_owned()), "{flags:?}");
}

/// Each suite with a single model in place. The others are told, and do not stop it.
#[test]
fn every_suite_runs_with_one_model_in_place() {
    let large = "mlx-community/Qwen2.5-Coder-32B-Instruct-4bit";
    let vision = "mlx-community/Qwen2-VL-2B-Instruct-4bit";
    for (name, models, here) in [
        ("base", 1, MODEL),
        ("small-first", 13, MODEL),
        ("all", 14, MODEL),
        ("large-only", 5, large),
        ("error-handling", 3, MODEL),
        ("vision", 4, vision),
    ] {
        let scratch = scratch_with(here);
        let cwd = format!(
            "--set=engines.mlx-vlm.config.cwd={}",
            scratch.path("mlx-vlm").display()
        );
        let mut options = vec![
            "--set=schedule.cycles=1",
            "--set=stages.1.warmup.requests=1",
            "--set=stages.2.measure.requests=2",
        ];
        let other = match name {
            "vision" => {
                options.push(&cwd);
                "mlx-vlm"
            }
            _ => "mlx-serving",
        };
        for command in ["validate", "plan"] {
            with_stand_ins(&scratch, command, &suite(name), &options).exits(0);
        }
        let run = scratch.latest(with_stand_ins(&scratch, "run", &suite(name), &options));
        let run = run.exits(i32::from(models > 1));
        let result = run.result();
        let all = result["models"].as_array().expect("models");
        assert_eq!(all.len(), models, "{name}");
        for model in all.iter().filter(|model| model["id"] != here) {
            let failures = model["failures"].as_array().expect("failures");
            assert_eq!(failures.len(), 1, "{name}: {model:#}");
            let told = text(&failures[0]["message"]);
            assert!(told.contains("not all files of"), "{name}: {told}");
        }
        let model = run.model(here);
        assert_eq!(model["failures"], json!([]), "{name}");
        let engines = model["engines"].as_array().expect("engines");
        assert_eq!(engines.len(), 2, "{name}");
        for (engine, expected) in engines.iter().zip(["mlx-engine", other]) {
            assert_eq!(engine["engine"], expected, "{name}");
            assert_eq!(engine["succeeded"], 2, "{name}: {engine:#}");
            assert_eq!(engine["success_rate"], 1.0, "{name}: {engine:#}");
            // 11 words and the end token.
            assert_eq!(engine["output_tokens"], 2 * 12, "{name}: {engine:#}");
        }
        let prompts = |engine: &str| {
            let log = scratch.read(&format!("models/{here}/{engine}.jsonl"));
            log.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        // Images are the first word of a message; two more requests are without.
        let sent = prompts("mlx-engine");
        let images = sent.iter().filter(|it| it.contains("\\nimage")).count();
        let expected = if name == "vision" { (5, 3) } else { (3, 0) };
        assert_eq!((sent.len(), images), expected, "{name}");
        assert_eq!(prompts("mlx-engine"), prompts(other), "{name}");
    }
}

#[test]
fn system_history_and_nonce_are_in_the_rendered_prompt() {
    let scratch = scratch();
    let dataset = json!({ "messages": [
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "one" },
        { "role": "assistant", "content": "two" },
        { "role": "user", "content": "three" },
    ] });
    scratch.write("turns.jsonl", dataset.to_string());
    let dataset = format!(
        "--set=workload.dataset.path={}",
        scratch.path("turns.jsonl").display()
    );
    let options = [
        "--set=workload.prompts=null",
        &dataset,
        "--set=workload.dataset.limit=1",
        "--set=schedule.cycles=1",
        "--set=stages.1.warmup.requests=2",
        "--set=stages.2.measure.requests=2",
        "--set=stages.2.measure.cache=cold",
    ];
    let run = completed(&scratch, &options);
    for engine in ENGINES {
        run.all_well(engine);
    }
    let [of_engine, of_serving] = of_a_cycle(&scratch, 4);
    assert_eq!(of_engine, of_serving);
    let last = &of_serving[3];
    let (before, after) = last.split_once("Be brief.").expect("the system message");
    let nonce = before
        .strip_prefix("<|im_start|>system\n")
        .expect("the template");
    assert_eq!(nonce.len(), 11, "{last}");
    assert_eq!(
        after,
        "<|im_end|>\n<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\ntwo<|im_end|>\n<|im_start|>user\nthree<|im_end|>\n<|im_start|>assistant\n"
    );
    let check = &run.result()["models"][0]["engines"][0]["prompt_check"];
    assert_eq!(
        (&check["counted"], &check["mismatched"]),
        (&json!(2), &json!(0))
    );
}

#[test]
fn an_engine_that_renders_something_else_is_told() {
    let scratch = scratch();
    // 4 tokens in the place of 6.
    scratch.write(&in_model("other-system"), "You are brief.");
    let run = completed(&scratch, &["--set=schedule.cycles=1"]);
    let [of_engine, of_serving] = of_a_cycle(&scratch, 7);
    assert_ne!(of_engine, of_serving);
    let result = run.result();
    let model = &result["models"][0];
    let check = &model["engines"][0]["prompt_check"];
    assert_eq!(
        (&check["mismatched"], &check["largest_difference"]),
        (&json!(5), &json!(-2))
    );
    let flags = model["comparisons"][0]["flags"].as_array().expect("flags");
    assert!(flags.contains(&json!("prompt_mismatch")), "{flags:?}");
    run.reports("got another prompt than prony renders in 5 of 5 requests: -2 tokens");
    scratch
        .prony(&["explain", "prompt_mismatch"])
        .exits(0)
        .prints("# prompt_mismatch");
}

#[test]
fn a_template_that_is_missing_or_refuses_is_told_before_an_engine_starts() {
    let message = |run: &Run| text(&run.events("failed")[0]["message"]);
    let scratch = scratch();
    let config: Value =
        serde_json::from_str(&scratch.read(&in_model("tokenizer_config.json"))).expect("JSON");
    let mut without = config.clone();
    without["chat_template"] = Value::Null;
    scratch.write(&in_model("tokenizer_config.json"), without.to_string());
    let missing = run(&scratch, &[]).exits(1);
    let told = message(&missing);
    assert!(
        told.starts_with(
            "`mlx-serving` takes raw prompts, for which prony renders the chat template, and `"
        ),
        "{told}"
    );
    assert!(
        told.ends_with(
            "name a file with one as the model's `chat_template`, or use `api: completions`"
        ),
        "{told}"
    );
    for engine in ENGINES {
        assert!(missing.requests(engine).is_empty());
    }
    // The pipeline may name another.
    scratch.write(
        "refuses.jinja",
        "{{ bos_token }}\n{{ raise_exception('only in verse') }}",
    );
    let own = format!(
        "--set=models.0.chat_template={}",
        scratch.path("refuses.jinja").display()
    );
    let refused = run(&scratch, &[&own]).exits(1);
    let told = message(&refused);
    assert!(
        told.ends_with(
            "refuses.jinja`, prompt 1: the chat template refuses the conversation: only in verse"
        ),
        "{told}"
    );
    scratch.write(
        "dated.jinja",
        "{{ strftime_now('%d %b %Y') }} {{ messages[0].content }}",
    );
    let own = format!(
        "--set=models.0.chat_template={}",
        scratch.path("dated.jinja").display()
    );
    let dated = completed(&scratch, &[&own, "--set=schedule.cycles=1"]);
    assert!(dated.result()["models"][0]["rendering"]["now"].is_string());
    let prompts = seen(&scratch, "mlx-serving");
    assert!(
        prompts[0].ends_with(" What is the capital of France?"),
        "{prompts:?}"
    );
}

#[test]
fn an_imported_configuration_runs_as_the_suite_does() {
    let scratch = scratch();
    let configuration = json!({
        "benchmark": { "max_tokens": 50, "temperature": 0, "timeout_ms": 60000 },
        "models": [{ "name": MODEL, "size": "0.5B", "questions": 2, "cycles": 1, "enabled": true }],
        "questions": ["What is 2+2?", "Name a color."],
    });
    scratch.write("old.yaml", configuration.to_string());
    let to_file = ["import", "mlx-serving", "old.yaml", "-o", "new.yaml"];
    scratch.bare(&to_file).exits(0);
    with_stand_ins(&scratch, "validate", "new.yaml", &[]).exits(0);
    let run = scratch.latest(with_stand_ins(&scratch, "run", "new.yaml", &[]));
    for engine in ENGINES {
        run.all_well(engine);
        assert_eq!(run.requests(engine).len(), 2);
    }
    let [of_engine, of_serving] = ENGINES.map(|engine| seen(&scratch, engine));
    assert_eq!(of_engine, of_serving);
}

#[test]
fn what_raw_prompts_cannot_do_is_found_by_validate() {
    let scratch = scratch();
    base(&scratch, "validate", &[]).exits(0);
    let said = base(&scratch, "validate", &["--set=models.0.files=null"]).exits(3);
    said.complains("error[P0329]")
        .complains("takes raw prompts");
    let image = "--set=workload.images=[\"a.png\"]";
    base(&scratch, "validate", &[image])
        .exits(3)
        .complains("error[P0321]");
}

#[test]
fn a_check_up_holds_prompt_tokens_against_the_chat_template() {
    let scratch = scratch();
    let checked = || {
        let found = base(&scratch, "doctor", &["--json"]).exits(0).json();
        let answers = found["engines"][0]["answers"].as_array().cloned();
        let answers = answers.unwrap_or_else(|| panic!("{found:#}"));
        let row = answers.iter().find(|it| it[0] == "chat template");
        let said = text(&row.unwrap_or_else(|| panic!("{answers:?}"))[1]);
        (said, found["problems"].to_string())
    };
    let (said, problems) = checked();
    assert_eq!(said, "honoured", "{problems}");
    scratch.write(&in_model("other-system"), "You are brief.");
    let (said, problems) = checked();
    assert_eq!(said, "2 fewer tokens than prony renders");
    let cure = "chat_template: FILE }]` names another template";
    assert!(problems.contains(cure), "{problems}");
}
