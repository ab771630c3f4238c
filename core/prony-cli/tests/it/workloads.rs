//! What is sent comes from files, and is the same for all engines.

use crate::kit::{Scratch, With, pipeline, text, truth};
use serde_json::{Value, json};
use std::collections::HashSet;

const TWO: &str = concat!(
    r#"{"prompt":"one two","max_tokens":5}"#,
    "\n",
    r#"{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"three"}]}"#,
    "\n"
);

/// Two engines that know each other's prompts only by what the client sends.
fn two(workload: Value) -> Value {
    let of_words = || truth(&["--prefix-cache"]);
    pipeline([("left", of_words()), ("right", of_words())]).with("workload", workload)
}

fn dataset(limit: u32) -> Value {
    json!({ "dataset": { "path": "questions.jsonl", "limit": limit }, "temperature": 0 })
}

fn tape(result: &Value) -> String {
    text(&result["models"][0]["tape"])
}

#[test]
fn a_dataset_says_what_is_sent_and_how_much_may_be_answered() {
    let scratch = Scratch::new();
    scratch.write("questions.jsonl", TWO);
    let run = scratch.run(&two(dataset(2))).exits(0);
    let result = run.result();
    assert_eq!(
        result["workload"]["source"],
        "the first 2 conversations of the dataset questions.jsonl"
    );
    // The engines answer 8 tokens, or as many as they may: the first line allows 5.
    for engine in ["left", "right"] {
        let requests = run.requests(engine);
        let answered = requests.iter().map(|it| it["output_tokens"].as_u64());
        let answered: Vec<u64> = answered.map(|it| it.expect("a count")).collect();
        assert_eq!(answered, [5, 8, 5, 8], "{requests:?}");
    }
    let [told] = &run.events("tape")[..] else {
        panic!("one cell and one model")
    };
    assert_eq!(told["prompts"], 2);
    assert_eq!(text(&told["sha256"]), tape(&result));
    // Again it is the same, and with another text it is not.
    let again = scratch.run(&two(dataset(2))).result();
    assert_eq!(tape(&again), tape(&result));
    scratch.write("questions.jsonl", TWO.replace("three", "four"));
    let other = scratch.run(&two(dataset(2))).result();
    assert_ne!(tape(&other), tape(&result));
}

#[test]
fn a_bad_line_is_told_before_anything_is_measured() {
    let scratch = Scratch::new();
    scratch.write("questions.jsonl", "{\"prompt\":\"a\"}\n{\"promt\":\"b\"}\n");
    let run = scratch.run(&two(dataset(2)));
    let failed = run.events("failed");
    let message = text(&failed[0]["message"]);
    assert!(
        message.starts_with("questions.jsonl:2:1: none of `prompt`, `messages` and `input_tokens`"),
        "{message}"
    );
    assert!(run.requests("left").is_empty());
    scratch.write("questions.jsonl", TWO);
    let run = scratch.run(&two(dataset(3)));
    let message = text(&run.events("failed")[0]["message"]);
    assert!(
        message.contains("has 2 conversations, and the workload's `limit` is 3"),
        "{message}"
    );
}

#[test]
fn a_cold_cache_finds_nothing_again() {
    let scratch = Scratch::new();
    let long = "one two three four five six seven eight nine ten eleven twelve";
    scratch.write("a.txt", long);
    let files = json!({ "prompt_files": ["a.txt"], "temperature": 0, "max_tokens": 64 });
    let cold = two(files)
        .stage("warmup", "requests", 1)
        .stage("measure", "requests", 4)
        .stage("measure", "cache", "cold");
    let run = scratch.run(&cold).exits(0);
    let result = run.result();
    assert_eq!(result["workload"]["source"], "1 prompt from files");
    for engine in result["models"][0]["engines"].as_array().expect("engines") {
        assert_eq!(engine["cache"]["outcome"], "kept", "{engine}");
    }
}

#[test]
fn synthetic_prompts_are_as_long_as_they_were_drawn() {
    let scratch = Scratch::new();
    let mut vocab = serde_json::Map::new();
    vocab.insert("<unk>".to_owned(), 0.into());
    for (id, first) in ('a'..='z').enumerate() {
        vocab.insert(format!("{first}o"), (id + 1).into());
    }
    let tokenizer = json!({
        "version": "1.0",
        "pre_tokenizer": { "type": "Whitespace" },
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "<unk>" },
    });
    scratch.write("tokenizer.json", tokenizer.to_string());
    let synthetic = json!({
        "count": 4,
        "input_tokens": { "uniform": { "min": 20, "max": 40 } },
        "output_tokens": { "fixed": 8 },
        "prefix": { "tokens": 10, "groups": 2 },
        "tokenizer": "tokenizer.json",
    });
    let run = scratch.run(&two(json!({ "synthetic": synthetic, "temperature": 0 })));
    let lengths = |engine: &str| -> Vec<u64> {
        let requests = run.requests(engine);
        let tokens = |it: &Value| it["prompt_tokens"].as_u64().expect("a count");
        requests.iter().map(tokens).collect()
    };
    // A word is a token to the tokenizer and to the server, which adds the same to each.
    let (left, right) = (lengths("left"), lengths("right"));
    assert_eq!(left, right);
    let different: HashSet<&u64> = left.iter().collect();
    assert!(different.len() > 1, "{left:?}");
    assert!(left.iter().all(|it| (20..=60).contains(it)), "{left:?}");
    assert_eq!(run.result()["workload"]["source"], "4 synthetic prompts");
}

#[test]
fn times_that_nothing_replays_are_no_part_of_what_is_sent() {
    let scratch = Scratch::new();
    let lines = |at: &str| {
        let line = |text: &str| format!("{{\"prompt\":\"{text}\"{at}}}\n");
        ["one", "two"].map(line).concat()
    };
    scratch.write("a.jsonl", lines(""));
    scratch.write("b.jsonl", lines(",\"at_ms\":7"));
    let of = |file: &str| {
        let workload = json!({ "dataset": { "path": file, "limit": 2 }, "temperature": 0 });
        scratch.run(&two(workload)).result()
    };
    assert_eq!(tape(&of("a.jsonl")), tape(&of("b.jsonl")));
}
