//! A real model on real engines: they answer the same question alike.

use crate::kit::{Run, Scratch, repository, text};
use etcetera::base_strategy::{BaseStrategy as _, choose_native_strategy};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// prony's cache folder, by the rule of the command line.
pub(crate) fn cache() -> PathBuf {
    let set = std::env::var_os("PRONY_CACHE").filter(|it| !it.is_empty());
    if let Some(folder) = set {
        return PathBuf::from(folder);
    }
    let user = choose_native_strategy().expect("a home folder");
    user.cache_dir().join("prony")
}

/// Files of the cache that `pipelines/smollm2.yaml` needs.
pub(crate) const SMOLLM2: [&str; 2] = [
    "engines/bin/llama-server",
    "models/smollm2-135m-instruct-q4_1.gguf",
];

/// `true` if the cache has what a test needs; where it has to, it does.
pub(crate) fn installed(needed: &[&str]) -> bool {
    let missing = needed.iter().find(|file| !cache().join(file).exists());
    let Some(missing) = missing else { return true };
    let missing = cache().join(missing);
    let required = std::env::var_os("PRONY_REQUIRE_ENGINES").is_some_and(|it| it == "1");
    assert!(!required, "there is no `{}`", missing.display());
    eprintln!(
        "not tested: there is no `{}`; `cargo xtask test` gets it",
        missing.display()
    );
    false
}

/// `pipelines/smollm2.yaml`, with as few requests as will do.
pub(crate) fn smaller() -> String {
    let file = repository().join("pipelines/smollm2.yaml");
    let mut yaml = std::fs::read_to_string(file).expect("the pipeline is there");
    for (all, few) in [
        ("cycles: 60", "cycles: 1"),
        ("warmup: { requests: 2 }", "warmup: { requests: 1 }"),
        ("measure: { requests: 6,", "measure: { requests: 2,"),
        // With flash attention, rounding differs between processors, and with it
        // the first word where two are equally likely.
        (
            "      threads: 1\n",
            "      threads: 1\n      arguments: [--flash-attn, \"off\"]\n",
        ),
    ] {
        assert!(yaml.contains(all), "no `{all}` in smollm2.yaml");
        yaml = yaml.replace(all, few);
    }
    yaml
}

/// A field of each request to an engine.
fn fields(run: &Run, engine: &str, name: &str) -> Vec<Value> {
    let requests = run.requests(engine);
    requests.iter().map(|it| it[name].clone()).collect()
}

fn answer_to_the_first_prompt(run: &Run, engine: &str) -> String {
    text(&run.requests(engine)[0]["text"])
}

#[test]
fn they_answer_alike() {
    if !installed(&SMOLLM2) {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("smollm2.yaml", smaller());
    let run = scratch
        .latest(scratch.prony(&["run", "smollm2.yaml"]))
        .exits(0);
    let engines = ["llama.cpp", "candle"];
    for engine in engines {
        run.all_well(engine);
        run.agrees_with_its_journal(engine);
        let numbers = run.engine(engine);
        assert_eq!(numbers["succeeded"], 2, "{engine}");
        assert_eq!(numbers["output_tokens"], 2 * 32, "{engine}");
        let answer = answer_to_the_first_prompt(&run, engine);
        let expected = "Machine learning is a subset of artificial intelligence";
        assert!(
            answer.trim_start().starts_with(expected),
            "{engine}: {answer}"
        );
    }
    let [of_llama, of_candle] = engines.map(|engine| fields(&run, engine, "prompt_tokens"));
    assert_eq!(of_llama, of_candle);
    assert!(of_llama.iter().all(|it| it.as_u64() > Some(0)));
    for served in fields(&run, "llama.cpp", "served_model") {
        assert_eq!(served, "SmolLM2-135M-Instruct");
    }
    let versions = run.engine("llama.cpp")["engine_versions"].clone();
    assert_eq!(versions.as_array().map(Vec::len), Some(1), "{versions}");
    assert!(!text(&versions[0]).is_empty());
    assert_eq!(run.engine("llama.cpp")["cached_tokens"], 0);
    let again = scratch.prony(&["report", "--json"]).exits(0);
    assert_eq!(again.stdout, run.read("result.json"));
    // The server tells its times, which lie within what prony saw.
    let clock = &run.engine("llama.cpp")["own_clock"];
    for name in [
        "prefill_ms",
        "time_per_output_token_ms",
        "first_token_difference_ms",
    ] {
        assert_eq!(clock[name]["n"], 2, "{clock}");
        assert!(clock[name]["min"].as_f64() > Some(0.0), "{name}: {clock}");
    }
    assert!(run.engine("candle").get("own_clock").is_none());
}

#[test]
fn a_cache_that_is_on_finds_nothing_in_a_cold_measure_and_tokens_are_counted_twice() {
    if !installed(&SMOLLM2) {
        return;
    }
    let scratch = Scratch::new();
    let gguf = "path: ${{ prony.cache }}/models/smollm2-135m-instruct-q4_1.gguf";
    let yaml = smaller()
        .replace("prefix_cache: false", "prefix_cache: true")
        .replace(
            gguf,
            &format!("{gguf}\n    {}", gguf.replacen("path", "tokenizer", 1)),
        );
    scratch.write("smollm2.yaml", yaml);
    let run = scratch
        .latest(scratch.prony(&["run", "smollm2.yaml"]))
        .exits(0);
    let llama = run.engine("llama.cpp");
    // The chat template's beginning is the same each time; the rest is not.
    let cache = &llama["cache"];
    assert_eq!(cache["outcome"], "kept", "{cache}");
    assert_eq!(cache["requests"], 2);
    for engine in ["llama.cpp", "candle"] {
        let check = &run.engine(engine)["token_check"];
        assert_eq!(check["requests"], 2, "{engine}: {check}");
        assert_eq!(check["mismatched"], 0, "{engine}: {check}");
        assert!(
            check["counted_tokens"].as_u64() > Some(30),
            "{engine}: {check}"
        );
    }
}

/// The same server asked by its own protocol, for which prony renders the chat template.
#[test]
fn a_native_protocol_tells_the_same() {
    if !installed(&SMOLLM2) {
        return;
    }
    let scratch = Scratch::new();
    let yaml = smaller();
    let candle = "  candle:\n    plugin: candle\n    config: { threads: 1, context: 2048 }\n";
    let (_, shape) = yaml.split_once("  llama.cpp:\n").expect("it is there");
    let (shape, _) = shape.split_once(candle).expect("it is there");
    let native = format!("  native:\n{shape}      protocol: llama-cpp\n");
    scratch.write("smollm2.yaml", yaml.replace(candle, &native));
    let run = scratch
        .latest(scratch.prony(&["run", "smollm2.yaml"]))
        .exits(0);
    let engines = ["llama.cpp", "native"];
    for engine in engines {
        run.all_well(engine);
    }
    let told = |engine: &str, key: &str| -> Vec<Value> {
        let requests = run.requests(engine);
        requests.iter().map(|it| it[key].clone()).collect()
    };
    for key in [
        "text",
        "prompt_tokens",
        "output_tokens",
        "cached_tokens",
        "served_model",
    ] {
        assert_eq!(told(engines[0], key), told(engines[1], key), "{key}");
    }
    assert!(told(engines[1], "prompt_tokens")[0].as_u64() > Some(0));
    let clock = &run.engine(engines[1])["own_clock"];
    assert_eq!(clock["prefill_ms"]["n"], 2, "{clock}");
}

/// The folder of a random Llama, and `examples/lines` with its pipeline for MLX LM.
fn with_tiny_model() -> Scratch {
    let scratch = Scratch::new();
    let made = Command::new(cache().join("engines/mlx-lm/bin/python"))
        .arg(repository().join("pipelines/mlx/tiny-llama.py"))
        .arg(scratch.path("tiny"))
        .output()
        .expect("Python starts");
    assert!(made.status.success(), "{made:?}");
    for name in ["lines.py", "mlx_engine.py", "mlx-lm.yaml"] {
        let file = repository().join("examples/lines").join(name);
        scratch.write(name, std::fs::read(file).expect("an example"));
    }
    scratch
}

#[test]
fn a_server_and_the_library_beneath_it_say_the_same() {
    if !installed(&["engines/mlx-lm/bin/mlx_lm.server"]) {
        return;
    }
    let scratch = with_tiny_model();
    let model = scratch.path("tiny");
    let model = model.to_str().expect("the path is text");
    let path = format!("--var=model={model}");
    let options = [
        &path,
        "--set=schedule.cycles=1",
        "--set=stages.1.warmup.requests=1",
        "--set=stages.2.measure.requests=4",
        // No request waits for a C++ compiler.
        "--set=engines.server.config.compile=false",
        "--set=engines.library.config.env.MLX_DISABLE_COMPILE=\"1\"",
    ];
    let output = scratch.prony(&[&["run", "mlx-lm.yaml"], &options[..]].concat());
    let run = scratch.latest(output).exits(0);
    let engines = ["server", "library"];
    for engine in engines {
        run.all_well(engine);
        run.agrees_with_its_journal(engine);
        assert_eq!(run.engine(engine)["succeeded"], 4);
        for served in fields(&run, engine, "served_model") {
            assert_eq!(served, model, "{engine}");
        }
        let numbers = run.engine(engine);
        assert_eq!(numbers["output_tokens"], 4 * 32, "{engine}");
        let versions = &numbers["engine_versions"];
        assert_eq!(versions.as_array().map(Vec::len), Some(1), "{versions}");
    }
    let [of_server, of_library] = engines.map(|engine| fields(&run, engine, "text"));
    assert_eq!(of_server, of_library);
    // Each byte is a token: those of the nonce, of the prompt, and 16 of the chat template,
    // which has 3 special tokens.
    let prompts = ["What is machine learning?", "What is photosynthesis?"];
    let [first, second] = prompts.map(|prompt| Value::from(11 + prompt.len() + 16 + 3));
    for engine in engines {
        let told = fields(&run, engine, "prompt_tokens");
        assert_eq!(
            told,
            [&first, &second, &first, &second].map(Clone::clone),
            "{engine}"
        );
    }
    // The server's prefix cache knows the chat template's beginning, and the library has none.
    let cached = |engine: &str| run.engine(engine)["cached_tokens"].as_u64();
    assert!(cached("server") > Some(0));
    assert_eq!(cached("library"), Some(0));
    let clock = &run.engine("library")["own_clock"];
    assert_eq!(clock["time_to_first_token_ms"]["n"], 4, "{clock}");
}
