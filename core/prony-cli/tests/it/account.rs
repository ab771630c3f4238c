//! A server's own account, settings and counters, beside what prony knows.

use crate::kit::{Run, Scratch, With, number, pipeline, text, truth};
use crate::real_engines::{SMOLLM2, installed, smaller};
use serde_json::{Value, json};

/// The truth server, asked for its settings and counters.
fn asked(options: &[&str]) -> Value {
    let tells = json!({
        "/props": { "settings": {
            "model": { "at": "/model" },
            "context": { "at": "/context", "asked": 4096 },
            "version": { "at": "/version" },
            "dtype": { "at": "/dtype", "asked": "f16" },
        } },
        "/metrics": { "counters": {
            "requests": "truth:requests_total",
            "prompt_tokens": "truth:prompt_tokens_total",
            "cached_tokens": "truth:cached_tokens_total",
            "output_tokens": "truth:output_tokens_total",
        } },
    });
    truth(options).with("config.tells", tells)
}

fn setting(run: &Run, engine: &str, name: &str) -> Value {
    let settings = run.engine(engine)["settings"].clone();
    let settings = settings.as_array().expect("a list");
    let found = settings.iter().find(|it| it["name"] == name);
    found.expect("it was asked for").clone()
}

/// The engine's count of a kind, and prony's.
fn count(run: &Run, engine: &str, kind: &str) -> (Value, Value) {
    let counts = run.engine(engine)["own_counts"].clone();
    let counts = counts.as_array().expect("a list");
    let found = counts.iter().find(|it| it["kind"] == kind);
    let found = found.unwrap_or_else(|| panic!("no {kind} in {counts:?}"));
    (found["engine"].clone(), found["prony"].clone())
}

fn warnings(run: &Run) -> String {
    let warnings = run.result()["warnings"].clone();
    let warnings: Vec<String> = warnings
        .as_array()
        .expect("a list")
        .iter()
        .map(text)
        .collect();
    warnings.join("\n")
}

/// Both texts without their line breaks.
fn shows(run: &Run, words: &str) -> bool {
    let console = run.output.stdout.split_whitespace().collect::<Vec<_>>();
    console.join(" ").contains(words)
}

#[test]
fn a_server_that_tells_the_truth_agrees_with_prony() {
    let scratch = Scratch::new();
    let pipeline =
        pipeline([("engine", asked(&["--prompt-tokens", "words"]))]).stage("warmup", "requests", 3);
    let run = scratch.run(&pipeline).exits(0);
    run.agrees_with_its_journal("engine");
    // The warm-up is not counted.
    assert_eq!(count(&run, "engine", "requests"), (json!(4.0), json!(4.0)));
    assert_eq!(
        count(&run, "engine", "output_tokens"),
        (json!(32.0), json!(32.0))
    );
    // A word, and 7 tokens of the message's template.
    assert_eq!(
        count(&run, "engine", "prompt_tokens"),
        (json!(32.0), json!(32.0))
    );
    let context = setting(&run, "engine", "context");
    assert_eq!(
        (&context["in_force"], &context["differs"]),
        (&json!([4096]), &json!(false))
    );
    assert_eq!(
        setting(&run, "engine", "version")["in_force"],
        json!(["truth-1"])
    );
    assert_eq!(setting(&run, "engine", "dtype")["in_force"], json!([]));
    assert!(!warnings(&run).contains("counters"), "{}", warnings(&run));
    assert!(!shows(&run, "Settings in force"), "{}", run.output.stdout);
    run.reports("| context | engine | 4096 | 4096 |");
    run.reports("| dtype | engine | f16 | not told |");
    run.reports("| output tokens | engine | 32 | 32 | 0 |");
    let again = scratch.prony(&["report", "--json"]).exits(0);
    assert_eq!(again.stdout, run.read("result.json"));
}

#[test]
fn another_context_and_another_model_are_told_on_the_first_screen() {
    let lies = asked(&["--claim-model", "org/other.gguf", "--claim-context", "2048"])
        .with("config.model", Value::Null);
    let told = asked(&[]);
    let run = Scratch::new()
        .run(&pipeline([("honest", told), ("liar", lies)]))
        .exits(0);
    let differs = |engine: &str, name: &str| setting(&run, engine, name)["differs"].clone();
    assert_eq!(differs("honest", "context"), false);
    assert_eq!(differs("honest", "model"), false);
    assert_eq!(differs("liar", "context"), true);
    assert_eq!(differs("liar", "model"), true);
    let context = "Settings in force in liar: context is 2048 (asked for 4096).";
    assert!(shows(&run, context), "{}", run.output.stdout);
    run.reports("| context | liar | 4096 | 2048 (differs) |");
    // Its answers name yet another one, which is told first, and once.
    let of_answers =
        "`liar` was asked for the model `model` and says that it answered with `truth`";
    assert!(shows(&run, of_answers), "{}", run.output.stdout);
    assert_eq!(warnings(&run).matches("other_model").count(), 1);
    let flags = run.model("model")["comparisons"][0]["flags"].clone();
    assert!(
        flags
            .as_array()
            .expect("a list")
            .contains(&json!("other_model")),
        "{flags}"
    );
}

#[test]
fn another_model_loaded_than_answers_say_is_another_model() {
    let lies = asked(&["--claim-model", "other"]);
    let run = Scratch::new()
        .run(&pipeline([("honest", asked(&[])), ("liar", lies)]))
        .exits(0);
    let words = "`liar` was to have the model `truth` loaded and says that it has `other`";
    assert!(shows(&run, words), "{}", run.output.stdout);
    let flags = run.model("model")["comparisons"][0]["flags"].clone();
    assert!(
        flags
            .as_array()
            .expect("a list")
            .contains(&json!("other_model")),
        "{flags}"
    );
}

#[test]
fn requests_of_others_are_told_and_change_no_number() {
    let run = Scratch::new().run(&pipeline([("engine", asked(&["--claim-requests", "2"]))]));
    let run = run.exits(0);
    run.agrees_with_its_journal("engine");
    assert_eq!(count(&run, "engine", "requests"), (json!(12.0), json!(4.0)));
    assert_eq!(
        count(&run, "engine", "output_tokens"),
        (json!(96.0), json!(32.0))
    );
    let words = "counts 12 requests (prony 4), ";
    assert!(shows(&run, words), "{}", run.output.stdout);
    assert!(warnings(&run).contains("another client used it while it was measured"));
    run.reports("| requests | engine | 12 | 4 | +8 | other clients |");
}

fn check(run: &Run) -> Value {
    run.engine("engine")["cache"].clone()
}

#[test]
fn counters_verify_a_cache_of_which_answers_say_nothing() {
    let long = vec!["one two three four five six seven eight nine ten eleven twelve"];
    let with_cache = |options: &[&str], state: &str| {
        pipeline([("engine", asked(options))])
            .with("workload.prompts", long.clone())
            .stage("warmup", "requests", 1)
            .stage("measure", "cache", state)
    };
    let silent = ["--prefix-cache", "--hide-cached"];
    let cold = with_cache(&silent, "cold");
    let cold = Scratch::new().run_with(&cold, &["--details"]).exits(0);
    let found = check(&cold);
    assert_eq!(
        (&found["outcome"], &found["by_counters"]),
        (&json!("kept"), &json!(true))
    );
    assert!(
        shows(&cold, "engine verified by its own counters"),
        "{}",
        cold.output.stdout
    );
    assert!(
        !warnings(&cold).contains("not verified"),
        "{}",
        warnings(&cold)
    );
    let warm = Scratch::new().run(&with_cache(&silent, "warm")).exits(0);
    let found = check(&warm);
    assert_eq!(
        (&found["outcome"], &found["requests"]),
        (&json!("kept"), &json!(4))
    );
    // Its counters say that it has no cache.
    let none = Scratch::new().run(&with_cache(&["--prompt-tokens", "words"], "warm"));
    let none = none.exits(6);
    assert_eq!(check(&none)["outcome"], "broken");
    let reason = text(&none.result()["invalid"][0]);
    assert!(
        reason.contains("by the engine's counters only 0 %"),
        "{reason}"
    );
    // Others use it, too: whose tokens were cached is not known.
    let shared = [&silent[..], &["--claim-requests", "1"]].concat();
    let shared = Scratch::new().run(&with_cache(&shared, "cold")).exits(0);
    assert_eq!(check(&shared)["outcome"], "unverified");
}

#[test]
fn engines_that_take_turns_are_counted_in_all_their_turns() {
    let pipeline = pipeline([("a", asked(&[])), ("b", asked(&["--tokens", "6"]))])
        .with("schedule.resident", true)
        .stage("measure", "requests", 6);
    let run = Scratch::new().run(&pipeline).exits(0);
    for (engine, tokens) in [("a", 48.0), ("b", 36.0)] {
        assert_eq!(count(&run, engine, "requests"), (json!(6.0), json!(6.0)));
        let of_tokens = count(&run, engine, "output_tokens");
        assert_eq!(of_tokens, (json!(tokens), json!(tokens)));
    }
    let visits = run.events("visit");
    let spans = visits[0]["counters"]["measure"][0]["spans"].clone();
    assert!(spans.as_array().map(Vec::len) > Some(1), "{spans}");
}

#[test]
fn who_does_not_answer_is_not_told_and_measured_all_the_same() {
    let tells = json!({
        "/nothing": {
            "settings": { "context": { "at": "/a/b", "asked": 1 } },
            "counters": { "requests": "no_such_metric", "prompt_tokens": "/a" },
        },
    });
    let engine = truth(&[]).with("config.tells", tells);
    let run = Scratch::new().run(&pipeline([("engine", engine)])).exits(0);
    run.all_well("engine");
    assert_eq!(setting(&run, "engine", "context")["in_force"], json!([]));
    assert!(run.engine("engine").get("own_counts").is_none());
}

#[test]
fn a_place_that_is_none_is_found_before_anything_starts() {
    for (path, at, words) in [
        ("/props", "a b", "`a b` is not allowed as `at`"),
        ("props", "/a", "`props` is not allowed as a key of `tells`"),
    ] {
        let tells = json!({ path: { "settings": { "context": { "at": at } } } });
        let engine = truth(&[]).with("config.tells", tells);
        let scratch = Scratch::new();
        scratch.write("pipeline.yaml", pipeline([("engine", engine)]).to_string());
        let found = scratch.prony(&["validate", "pipeline.yaml"]).exits(3);
        found.complains("P0105").complains(words);
    }
}

#[test]
fn llama_cpp_counts_what_prony_counts() {
    if !installed(&SMOLLM2) {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("smollm2.yaml", smaller());
    let run = scratch
        .latest(scratch.prony(&["run", "smollm2.yaml"]))
        .exits(0);
    let requests = run.requests("llama.cpp");
    let sum = |field: &str| requests.iter().map(|it| number(&it[field])).sum::<f64>();
    for (kind, by_hand) in [
        ("prompt_tokens", sum("prompt_tokens")),
        ("cached_tokens", sum("cached_tokens")),
        ("output_tokens", sum("output_tokens")),
    ] {
        let both = (json!(by_hand), json!(by_hand));
        assert_eq!(count(&run, "llama.cpp", kind), both, "{kind}");
    }
    for kind in ["prefill_time", "decode_time"] {
        let (engine, prony) = count(&run, "llama.cpp", kind);
        assert!(number(&engine) > 0.0, "{kind}");
        // The last token takes it some time after it was sent.
        let slack = if kind == "decode_time" { 1.05 } else { 1.0 };
        assert!(
            number(&engine) <= number(&prony) * slack,
            "{kind}: {engine}, {prony}"
        );
    }
    let of_llama = |name: &str| setting(&run, "llama.cpp", name);
    for name in ["model", "model_file", "context_per_request", "parallel"] {
        let found = of_llama(name);
        assert_eq!(found["differs"], false, "{found}");
        assert!(
            found["asked"] != Value::Null && found["in_force"] != json!([]),
            "{found}"
        );
    }
    assert_eq!(of_llama("quantization")["in_force"], json!(["Q4_1"]));
    assert!(
        !warnings(&run).contains("by its own counters"),
        "{}",
        warnings(&run)
    );
}

#[test]
fn a_context_that_llama_cpp_was_not_asked_for_is_told() {
    if !installed(&SMOLLM2) {
        return;
    }
    let scratch = Scratch::new();
    let yaml = smaller().replace("--flash-attn", "--ctx-size, \"768\", --flash-attn");
    scratch.write("smollm2.yaml", yaml);
    let run = scratch
        .latest(scratch.prony(&["run", "smollm2.yaml"]))
        .exits(0);
    let words = "context_per_request is 768 (asked for";
    assert!(shows(&run, words), "{}", run.output.stdout);
}
