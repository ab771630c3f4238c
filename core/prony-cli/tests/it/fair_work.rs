//! Cache contract and same work: what engines say of both is held against what was asked.

use crate::kit::{Scratch, With, pipeline, text, truth};
use serde_json::{Value, json};

fn check(result: &Value) -> &Value {
    &result["models"][0]["engines"][0]["cache"]
}

#[test]
fn a_cold_measure_that_was_answered_from_a_cache_is_not_valid() {
    let scratch = Scratch::new();
    // Of some 8 tokens all but one, whatever is in front of the prompt.
    let claims = truth(&["--claim-cached", "7"]);
    let cold = pipeline([("engine", claims)])
        .with("workload.prompts", vec!["What is machine learning?"])
        .stage("measure", "cache", "cold");
    let run = scratch.run(&cold).exits(6);
    run.complains("cold prefix cache");
    let result = run.result();
    assert_eq!(result["models"][0]["cache"], "cold");
    assert_eq!(check(&result)["outcome"], "broken");
    assert_eq!(check(&result)["broken"], 4);
    let reason = result["invalid"][0].as_str().expect("a reason");
    assert!(reason.contains("4 of 4 requests"), "{reason}");
    assert!(reason.contains("`cache: warm`"), "{reason}");
}

#[test]
fn cached_tokens_of_a_cold_measure_are_explained_by_the_tokenizer_or_verify_nothing() {
    let scratch = Scratch::new();
    let vocab = json!({ "<unk>": 0, "a": 1 });
    let tokenizer = json!({
        "version": "1.0",
        "pre_tokenizer": { "type": "Whitespace" },
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "<unk>" },
    });
    scratch.write("tokenizer.json", tokenizer.to_string());
    // 7 tokens are the template's, by the server's own rule.
    let claims = truth(&["--claim-cached", "7", "--prompt-tokens", "words"]);
    let cold = pipeline([("engine", claims)])
        .with(
            "workload.prompts",
            vec!["one two three four five six seven"],
        )
        .stage("measure", "cache", "cold");
    let run = scratch.run(&cold).exits(0);
    assert_eq!(check(&run.result())["outcome"], "unverified");
    assert_eq!(check(&run.result())["unexplained"], 4);
    let warnings = run.result()["warnings"].to_string();
    let words =
        "it found 46.7 % of the prompt tokens of 4 requests there, and of 4 of them nothing tells";
    assert!(warnings.contains(words), "{warnings}");
    let model = json!([{ "id": "truth", "tokenizer": "tokenizer.json" }]);
    let run = scratch.run(&cold.with("models", model)).exits(0);
    assert_eq!(check(&run.result())["outcome"], "kept");
    let words = "all of them of the chat template's beginning";
    run.reports(words);
}

#[test]
fn an_answer_that_was_to_be_full_and_is_not_is_told() {
    let told = |options: &[&str]| {
        let engine = pipeline([("engine", truth(options))]).with("workload.ignore_eos", true);
        let warnings = Scratch::new().run(&engine).exits(0).result()["warnings"].to_string();
        warnings.contains("4 of 4 requests: the answer ended before `max_tokens`")
    };
    assert!(told(&["--tokens", "8"]));
    assert!(!told(&["--tokens", "64"]));
}

#[test]
fn a_cold_request_warms_no_cache() {
    let long = |first: &str| format!("{first} two three four five six seven eight nine ten");
    let mut pipeline = pipeline([("engine", truth(&["--prefix-cache"]))])
        .with("workload.prompts", vec![long("one"), long("another")]);
    let stages = pipeline["stages"].as_array_mut().expect("a list");
    let at = stages.iter().position(|it| it.get("measure").is_some());
    let measure =
        |id: &str, cache: &str| json!({ "measure": { "id": id, "requests": 4, "cache": cache } });
    let both = [measure("first", "cold"), measure("second", "warm")];
    let at = at.expect("there is one");
    stages.splice(at..=at, both);
    let run = Scratch::new().run(&pipeline).exits(0);
    let models = run.result()["models"].clone();
    let second = models
        .as_array()
        .expect("a list")
        .iter()
        .find(|it| it["measure"] == "second");
    let cache = &second.expect("it was measured")["engines"][0]["cache"];
    // Of 2 prompts twice: the first time they were new.
    assert_eq!(
        (&cache["outcome"], &cache["requests"], &cache["new"]),
        (&json!("unverified"), &json!(2), &json!(2))
    );
}

#[test]
fn a_warm_measure_needs_a_cache_that_answers() {
    let scratch = Scratch::new();
    let long = vec!["one two three four five six seven eight nine ten eleven twelve"];
    let warm = |engine| {
        pipeline([("engine", engine)])
            .with("workload.prompts", long.clone())
            .stage("measure", "cache", "warm")
    };
    let mut alone = warm(truth(&["--prefix-cache"]));
    let run = scratch.run(&alone).exits(0);
    let result = run.result();
    // The first request has met no answer yet.
    assert_eq!(check(&result)["outcome"], "unverified");
    assert_eq!(check(&result)["requests"], 3);
    let told = result["warnings"].to_string();
    let words = "the prompt of 1 request had not been answered before, beside 3 whose had";
    assert!(told.contains(words), "{told}");
    let stages = alone["stages"].as_array_mut().expect("a list");
    let at = stages.iter().position(|it| it.get("measure").is_some());
    let warmup = json!({ "warmup": { "requests": 1 } });
    stages.insert(at.expect("there is one"), warmup);
    let result = scratch.run(&alone).exits(0).result();
    assert_eq!(check(&result)["outcome"], "kept");
    assert_eq!(check(&result)["requests"], 4);
    let run = scratch.run(&warm(truth(&["--claim-cached", "0"]))).exits(6);
    let reason = run.result()["invalid"][0].clone();
    let reason = reason.as_str().expect("a reason");
    assert!(reason.contains("3 of 3 requests"), "{reason}");
}

#[test]
fn an_engine_that_reports_nothing_is_not_believed() {
    let scratch = Scratch::new();
    let cold = pipeline([("engine", truth(&[]))]).stage("measure", "cache", "cold");
    let run = scratch.run(&cold).exits(0);
    let result = run.result();
    assert_eq!(check(&result)["outcome"], "unverified");
    let told = |warning: &Value| {
        warning
            .as_str()
            .is_some_and(|it| it.contains("a cold prefix cache is not verified"))
    };
    assert!(
        result["warnings"]
            .as_array()
            .expect("a list")
            .iter()
            .any(told)
    );
}

#[test]
fn answers_of_another_length_are_other_work() {
    let scratch = Scratch::new();
    let both = |tokens| pipeline([("one", truth(&[])), ("two", truth(&["--tokens", tokens]))]);
    let same =
        |run: &crate::kit::Run| run.result()["models"][0]["comparisons"][0]["same_work"].clone();
    let equal = same(&scratch.run(&both("8")).exits(0));
    assert_eq!(equal["pairs"], 4);
    assert_eq!(equal["identical_share"], 1.0);
    assert_eq!(equal["questions_of_unequal_length"], 0);
    let unequal = same(&scratch.run(&both("4")).exits(0));
    assert_eq!(unequal["identical_share"], 0.0);
    assert_eq!(unequal["questions_of_unequal_length"], 2);
    assert_eq!(unequal["largest_length_difference_percent"], -50.0);
    assert!(unequal["first_divergence_characters_p50"].is_number());
}

/// A tokenizer to which whatever `pattern` splits off is a token.
fn tokenizer(pattern: &str) -> String {
    let split = json!({
        "type": "Split",
        "pattern": { "Regex": pattern },
        "behavior": "Removed",
        "invert": true,
    });
    json!({
        "version": "1.0",
        "pre_tokenizer": split,
        "model": { "type": "WordLevel", "vocab": { "<unk>": 0 }, "unk_token": "<unk>" },
    })
    .to_string()
}

#[test]
fn tokens_are_counted_once_more_by_the_model_s_tokenizer() {
    let scratch = Scratch::new();
    scratch.write("words/tokenizer.json", tokenizer(r"\S+"));
    scratch.write("signs.json", tokenizer(r"\S"));
    let counted = |path: &str| {
        let both = pipeline([("one", truth(&[])), ("two", truth(&[]))]);
        scratch.run(&both.with("models", json!([{ "id": "model", "tokenizer": path }])))
    };
    // To the server, too, a word is a token.
    let result = counted("words").exits(0).result();
    let check = &result["models"][0]["engines"][0]["token_check"];
    assert_eq!(check["requests"], 4, "{check}");
    assert_eq!(check["mismatched"], 0, "{check}");
    assert_eq!(check["engine_tokens"], check["counted_tokens"]);
    let result = counted("signs.json").exits(0).result();
    let model = &result["models"][0];
    let check = &model["engines"][0]["token_check"];
    assert_eq!(check["mismatched"], 4, "{check}");
    let flags = &model["comparisons"][0]["flags"];
    assert!(flags.to_string().contains("token_mismatch"), "{flags}");
    let warnings = result["warnings"].to_string();
    assert!(
        warnings.contains("count different tokens in 4 of 4"),
        "{warnings}"
    );

    // Before anything starts.
    let run = counted("elsewhere.json").exits(3);
    run.complains("P0341");
    run.complains("elsewhere.json");
}

#[test]
fn an_image_that_does_not_reach_the_model_is_no_success() {
    let scratch = Scratch::new();
    scratch.write("a.png", b"\x89PNG\r\n\x1a\n and so on");
    let images = |cache: &str| {
        let one = ("keeps", truth(&["--prompt-tokens", "words"]));
        let other = truth(&["--prompt-tokens", "words", "--drop-images"]);
        // One that refuses what has no image cannot be asked.
        let third = truth(&["--prompt-tokens", "words", "--require-image"]);
        pipeline([one, ("drops", other), ("refuses", third)])
            .with("workload.images", ["a.png"].as_slice())
            .stage("measure", "cache", cache)
    };
    let run = scratch.run(&images("cold")).exits(1);
    run.all_well("keeps");
    assert_eq!(run.requests("keeps").len(), 4, "no more than were planned");
    for request in run.requests("drops") {
        assert_eq!(request["failed"]["class"], "protocol", "{request:#}");
        let message = text(&request["failed"]["message"]);
        assert!(message.contains("did not reach the model"), "{message}");
    }
    run.all_well("refuses");
    let warnings = run.result()["warnings"].to_string();
    let unverified = "of 2 of 2 prompts, `refuses` does not say";
    assert!(warnings.contains(unverified), "{warnings}");
    assert!(!warnings.contains("`keeps` does not say"), "{warnings}");
}
