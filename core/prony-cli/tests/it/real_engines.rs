//! A real model on real engines: they answer the same question alike.

use crate::kit::{Run, Scratch, repository, text};
use etcetera::base_strategy::{BaseStrategy as _, choose_native_strategy};
use serde_json::Value;
use std::path::PathBuf;

/// prony's cache folder, by the rule of the command line.
fn cache() -> PathBuf {
    let set = std::env::var_os("PRONY_CACHE").filter(|it| !it.is_empty());
    if let Some(folder) = set {
        return PathBuf::from(folder);
    }
    let user = choose_native_strategy().expect("a home folder");
    user.cache_dir().join("prony")
}

/// Whether there is what the pipeline needs; where there has to be, it is.
fn installed() -> bool {
    let needed = [
        "engines/bin/llama-server",
        "models/smollm2-135m-instruct-q4_1.gguf",
    ];
    let missing = needed.into_iter().find(|file| !cache().join(file).exists());
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
fn smaller() -> String {
    let file = repository().join("pipelines/smollm2.yaml");
    let mut yaml = std::fs::read_to_string(file).expect("the pipeline is there");
    for (all, few) in [
        ("cycles: 40", "cycles: 1"),
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

fn answer_to_the_first_prompt(run: &Run, engine: &str) -> String {
    text(&run.requests(engine)[0]["text"])
}

#[test]
fn they_answer_alike() {
    if !installed() {
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
        let answer = answer_to_the_first_prompt(&run, engine);
        let expected = "Machine learning is a subset of artificial intelligence";
        assert!(
            answer.trim_start().starts_with(expected),
            "{engine}: {answer}"
        );
    }
    let prompt_tokens = |engine: &str| -> Vec<Value> {
        let requests = run.requests(engine);
        requests
            .iter()
            .map(|it| it["prompt_tokens"].clone())
            .collect()
    };
    assert_eq!(prompt_tokens(engines[0]), prompt_tokens(engines[1]));
    assert!(
        prompt_tokens(engines[0])
            .iter()
            .all(|it| it.as_u64() > Some(0))
    );
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
    if !installed() {
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
    if !installed() {
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
