//! Datasets as they are on disk: what is recognised, told and sent.

use crate::kit::{Output, Run, Scratch, With, pipeline, text, truth};
use serde_json::{Value, json};

const SHAREGPT: &str = r#"[
  {"id": "a1_0", "conversations": [
    {"from": "human", "value": "Which way to the harbour?"},
    {"from": "gpt", "value": "Down the hill."},
    {"from": "human", "value": "On foot?"},
    {"from": "gpt", "value": "Ten minutes."}
  ]},
  {"id": "a2_0", "conversations": [
    {"from": "human", "value": "Name a grey bird."},
    {"from": "gpt", "value": "A heron."}
  ]}
]
"#;

const MOONCAKE: &str = r#"{"timestamp": 1000, "input_length": 65, "output_length": 5, "hash_ids": [0, 1]}
{"timestamp": 1120, "input_length": 67, "output_length": 6, "hash_ids": [0, 2]}
{"timestamp": 1250, "input_length": 90, "output_length": 4, "hash_ids": [0, 1, 3]}
"#;

/// A tokenizer whose words are a token each.
fn tokenizer() -> String {
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
    tokenizer.to_string()
}

fn of(dataset: Value) -> Value {
    let words = || truth(&["--prompt-tokens", "words", "--tokens", "8"]);
    pipeline([("left", words()), ("right", words())]).with(
        "workload",
        json!({ "dataset": dataset, "temperature": 0, "max_tokens": 64 }),
    )
}

fn in_order(run: &Run, engine: &str) -> Vec<Value> {
    let mut requests = run.requests(engine);
    requests.sort_by_key(|it| it["index"].as_u64());
    requests
}

fn numbers(requests: &[Value], key: &str) -> Vec<u64> {
    let numbers = requests.iter().map(|it| it[key].as_u64());
    numbers.map(|it| it.expect("a number")).collect()
}

fn shown(scratch: &Scratch, arguments: &[&str]) -> Output {
    scratch.bare(&[&["dataset"], arguments].concat())
}

#[test]
fn a_dataset_is_shown_with_what_would_be_sent() {
    let scratch = Scratch::new();
    scratch.write("s.json", SHAREGPT);
    shown(&scratch, &["s.json", "--show", "2"])
        .exits(0)
        .prints("s.json: ShareGPT conversations (sharegpt), by `conversations`")
        .prints("has: 2 records\n  used: 2 conversations\n  sent: 3 requests, each prompt once, with 0 images")
        .prints("request 2: follows the answer to the one before")
        .prints("  assistant: Down the hill.");
    let seen = shown(&scratch, &["s.json", "--show", "2", "--json"]);
    let seen = seen.exits(0).json();
    assert_eq!(seen["format"], "sharegpt");
    assert_eq!(seen["chars"]["max"], 47);
    let second = &seen["sample"][1]["messages"];
    let roles = second.as_array().expect("messages").iter();
    let roles: Vec<String> = roles.map(|it| text(&it["role"])).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);

    scratch.write("tokenizer.json", tokenizer());
    scratch.write("m.jsonl", MOONCAKE);
    let lengths = shown(&scratch, &["m.jsonl", "--json"]).exits(0).json();
    assert_eq!(lengths["sample"][0]["input_tokens"], 65);
    assert_eq!(lengths["recorded_s"], 0.25);
    let with = ["m.jsonl", "--json", "--tokenizer", "tokenizer.json"];
    let made = shown(&scratch, &with).exits(0).json();
    assert_eq!(
        made["tokens"],
        json!({ "min": 65, "median": 67, "p90": 90, "max": 90 })
    );
    let words = |nth: usize| -> Vec<String> {
        let content = text(&made["sample"][nth]["messages"][0]["content"]);
        content.split(' ').map(ToOwned::to_owned).collect()
    };
    assert_eq!([0, 1, 2].map(|nth| words(nth).len()), [65, 67, 90]);
    assert_eq!(words(0)[..34], words(1)[..34]);
    assert_eq!(words(0)[..], words(2)[..65]);
    assert_eq!(made["sample"][2]["max_tokens"], 4);
    assert_eq!(made["sample"][2]["at_ms"], 250.0);
}

#[test]
fn what_a_dataset_has_is_told_from_what_is_used_of_it_and_what_is_sent() {
    let scratch = Scratch::new();
    let turns = ["human", "gpt"].repeat(3);
    let record = |id: usize| {
        let said = turns[..2 * (1 + id % 3)].iter();
        let said: Vec<Value> = said
            .map(|from| json!({ "from": from, "value": format!("{from} {id}") }))
            .collect();
        json!({ "id": id.to_string(), "conversations": said }).to_string() + "\n"
    };
    scratch.write("s.jsonl", (0..30).map(record).collect::<String>());
    let all = shown(&scratch, &["s.jsonl", "--show", "1"]).exits(0);
    all.prints("has: 30 records\n  used: 30 conversations\n  sent: 60 requests");
    let limit = shown(&scratch, &["s.jsonl", "--limit", "6"]).exits(0);
    limit.prints(
        "read: 6 records, and nothing behind them\n  used: 6 conversations\n  sent: 12 requests",
    );
    let drawn = ["s.jsonl", "--limit", "9", "--sample", "4", "--seed", "7"];
    shown(&scratch, &drawn)
        .exits(0)
        .prints("read: 9 records")
        .prints("used: 4 conversations, drawn of 9 by the seed 7");
    let drawn = shown(&scratch, &[&drawn[..], &["--show", "9", "--json"]].concat());
    let drawn = drawn.exits(0).json();
    let sample = drawn["sample"].as_array().expect("requests");
    assert_eq!(drawn["requests"], sample.len(), "those that are shown");
    assert!(sample.len() > 4, "conversations of several turns");
    let note = text(&drawn["notes"][0]);
    assert!(
        note.contains("a `measure` without `requests` sends only as many"),
        "{note}"
    );
    let dataset = json!({ "path": "s.jsonl", "limit": 9, "sample": 4 });
    let mut by_default = pipeline([("engine", truth(&[]))])
        .with("workload", json!({ "dataset": dataset, "temperature": 0 }));
    by_default["stages"][3]["measure"] = json!({});
    let run = scratch.run(&by_default).exits(0);
    assert_eq!(run.requests("engine").len(), 4);
    let few = shown(&scratch, &["s.jsonl", "--sample", "31"]).exits(0);
    few.prints("used: 30 conversations, drawn of 30")
        .prints("note: a pipeline with `sample: 31` is refused");
}

#[test]
fn a_dataset_that_cannot_be_read_says_why_and_what_to_do() {
    let scratch = Scratch::new();
    let utf16: Vec<u8> = "\u{feff}{\"prompt\": \"a\"}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for (name, content, words) in [
        ("a.jsonl", utf16, "iconv -f UTF-16LE -t UTF-8 a.jsonl"),
        (
            "b.parquet",
            b"PAR1\x15\x04\x15".to_vec(),
            "it is a Parquet table: make UTF-8 text of it: `python3",
        ),
        (
            "c.jsonl",
            b"{\"a\":1}".to_vec(),
            "error: c.jsonl:1:1: the format is not recognised: its keys are `a`; name the one",
        ),
        (
            "d.jsonl",
            b"{\"prompt\":\"a\"}\n{\"prompt\":7}\n{\"prompt\":8}".to_vec(),
            "error: d.jsonl:2:11: `prompt` is a number, expected a text (and 1 more like it)",
        ),
        ("e.jsonl", Vec::new(), "error: e.jsonl: it is empty"),
    ] {
        scratch.write(name, content);
        shown(&scratch, &[name]).exits(3).complains(words);
    }
    shown(&scratch, &["f.jsonl"])
        .exits(3)
        .complains("No such file");
    shown(&scratch, &["c.jsonl", "--format", "text"]).exits(3);
    shown(&scratch, &["c.jsonl", "--format", "parquet"]).exits(2);
}

#[test]
fn plan_and_validate_say_what_a_dataset_is() {
    let scratch = Scratch::new();
    scratch.write("s.json", SHAREGPT);
    let known = of(json!({ "path": "s.json", "sample": 2 }));
    scratch.write("p.yaml", known.to_string());
    scratch
        .prony(&["plan", "p.yaml"])
        .exits(0)
        .prints("sends 2 conversations drawn of the dataset s.json")
        .prints("the dataset s.json is ShareGPT conversations (`sharegpt`), by `conversations`");
    scratch
        .prony(&["validate", "p.yaml"])
        .exits(0)
        .prints("(`sharegpt`)");
    let absent = of(json!({ "path": "later.json", "limit": 2 }));
    scratch.write("q.yaml", absent.to_string());
    scratch
        .prony(&["plan", "q.yaml"])
        .exits(0)
        .prints("the dataset later.json is not there yet");
}

#[test]
fn conversations_of_an_array_are_sent_to_all_engines_alike() {
    let scratch = Scratch::new();
    scratch.write("s.json", SHAREGPT);
    let run =
        scratch.run(&of(json!({ "path": "s.json", "limit": 2 })).stage("measure", "requests", 3));
    let run = run.exits(0);
    for engine in ["left", "right"] {
        run.all_well(engine);
    }
    let (left, right) = (in_order(&run, "left"), in_order(&run, "right"));
    assert_eq!(
        numbers(&left, "prompt_tokens"),
        numbers(&right, "prompt_tokens")
    );
    // The second turn has the first question and its answer before it.
    let tokens = numbers(&left, "prompt_tokens");
    assert!(tokens[1] > tokens[0] && tokens[2] < tokens[1], "{tokens:?}");
    let warnings = run.result()["warnings"].to_string();
    assert!(!warnings.contains("is not used"), "{warnings}");
}

#[test]
fn a_trace_is_replayed_with_its_lengths_and_times() {
    let scratch = Scratch::new();
    scratch.write("m.jsonl", MOONCAKE);
    scratch.write("tokenizer.json", tokenizer());
    let trace = of(json!({ "path": "m.jsonl", "limit": 3 }))
        .with(
            "models",
            json!([{ "id": "model", "tokenizer": "tokenizer.json" }]),
        )
        .stage("measure", "requests", 3);
    let replay = trace
        .clone()
        .stage("measure", "arrival", json!({ "replay": {} }));
    let run = scratch.run(&replay).exits(0);
    let requests = in_order(&run, "left");
    let due = numbers(&requests, "intended_ns");
    let apart: Vec<u64> = due.iter().map(|at| (at - due[0]) / 1_000_000).collect();
    assert_eq!(apart, [0, 120, 250]);
    assert_eq!(numbers(&requests, "output_tokens"), [5, 6, 4]);
    // A word is a token to the tokenizer and to the server, which adds the same to each.
    let tokens = numbers(&requests, "prompt_tokens");
    assert_eq!([tokens[1] - tokens[0], tokens[2] - tokens[0]], [2, 25]);
    let warnings = run.result()["warnings"].to_string();
    assert!(
        warnings.contains("blocks of 44 tokens are assumed"),
        "{warnings}"
    );
    assert!(!warnings.contains("recorded times"), "{warnings}");
    // Without a replay the times are not used, and that is told.
    let run = scratch.run(&trace).exits(0);
    let warnings = run.result()["warnings"].to_string();
    assert!(
        warnings.contains("its recorded times are not used"),
        "{warnings}"
    );
}

#[test]
fn a_turn_waits_for_its_own_delay() {
    let scratch = Scratch::new();
    scratch.write(
        "a.jsonl",
        r#"{"turns": [{"text": "one", "output_length": 3}, {"text": "two", "delay": 60}, {"text": "three"}]}"#,
    );
    let turns = of(json!({ "path": "a.jsonl", "limit": 1, "think": "10ms" }))
        .stage("measure", "requests", 3);
    let run = scratch.run(&turns).exits(0);
    let requests = in_order(&run, "left");
    let (sent, ended) = (numbers(&requests, "sent_ns"), numbers(&requests, "end_ns"));
    assert!(sent[1] >= ended[0] + 60_000_000, "{sent:?} {ended:?}");
    assert!(sent[2] >= ended[1] + 10_000_000, "{sent:?} {ended:?}");
    assert_eq!(numbers(&requests, "output_tokens"), [3, 8, 8]);
    let warnings = run.result()["warnings"].to_string();
    assert!(
        warnings.contains("no answer is recorded between two turns"),
        "{warnings}"
    );
}

#[test]
fn images_of_a_dataset_reach_the_model_or_refuse_the_engine() {
    let scratch = Scratch::new();
    scratch.write("data/a.gif", b"GIF89a");
    let line = |url: &str| {
        format!(
            r#"{{"messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{url}"}}}},{{"type":"text","text":"What is it?"}}]}}]}}"#
        )
    };
    let lines = [line("a.gif"), line("data:image/gif;base64,R0lGODlhAQ==")].join("\n");
    scratch.write("data/i.jsonl", &lines);
    let images = |engine: Value| {
        pipeline([("engine", engine)])
            .with(
                "workload",
                json!({ "dataset": { "path": "data/i.jsonl", "limit": 2 }, "temperature": 0 }),
            )
            .stage("measure", "requests", 2)
    };
    let run = scratch.run(&images(truth(&[]))).exits(0);
    run.all_well("engine");
    let digest = text(&run.events("tape")[0]["sha256"]);
    scratch.write("data/a.gif", b"GIF89ab");
    let other = scratch.run(&images(truth(&[]))).exits(0);
    assert_ne!(text(&other.events("tape")[0]["sha256"]), digest);
    // A server that drops images is found out.
    let run = scratch.run(&images(truth(&["--drop-images"]))).exits(1);
    run.reports("the image did not reach the model");
    // An engine that takes none gets nothing at all.
    let run = scratch.run(&images(crate::kit::synthetic())).exits(1);
    run.reports("takes no images, and the workload has some");
    assert!(run.requests("engine").is_empty());
    scratch.write("data/i.jsonl", line("b.gif"));
    let missing = images(truth(&[])).with("workload.dataset.limit", 1);
    scratch
        .run(&missing)
        .exits(1)
        .reports("the image `b.gif` of the dataset data/i.jsonl: No such file");
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_prompt() {
    let scratch = Scratch::new();
    let plain = "Name a door.";
    let marked = format!("\u{feff}{plain}");
    let tape = |workload: Value| {
        let engine = pipeline([("engine", truth(&[]))]).with("workload", workload);
        text(&scratch.run(&engine).exits(0).events("tape")[0]["sha256"])
    };
    for (name, key) in [
        ("a.txt", "prompt_files"),
        ("b.txt", "dataset"),
        ("c.csv", "dataset"),
    ] {
        let head = if name == "c.csv" { "prompt\n" } else { "" };
        let workload = |name: &str| match key {
            "dataset" => json!({ "dataset": { "path": name, "limit": 1 }, "temperature": 0 }),
            _ => json!({ "prompt_files": [name], "temperature": 0 }),
        };
        scratch.write(name, format!("{head}{plain}"));
        let without = tape(workload(name));
        let mark = &marked[..marked.len() - plain.len()];
        scratch.write(name, format!("{mark}{head}{plain}"));
        assert_eq!(tape(workload(name)), without, "{name}");
    }
    scratch.write("d.txt", b"\xff\xfeN\0a\0");
    let workload = json!({ "prompt_files": ["d.txt"], "temperature": 0 });
    let engine = pipeline([("engine", truth(&[]))]).with("workload", workload);
    scratch.run(&engine).exits(1).reports("iconv -f UTF-16LE");
}

#[test]
fn unknown_keys_are_a_warning_and_samples_repeat() {
    let scratch = Scratch::new();
    let lines = (0..40).map(|n| format!("{{\"id\": {n}, \"prompt\": \"p{n}\"}}\n"));
    scratch.write("a.jsonl", lines.collect::<String>());
    let sample = |seed: u64| {
        let drawn = of(json!({ "path": "a.jsonl", "sample": 4 })).with("schedule.seed", seed);
        scratch.run(&drawn).exits(0)
    };
    let run = sample(1);
    let warnings = run.result()["warnings"].to_string();
    assert!(
        warnings.contains("the dataset a.jsonl (prony): `id` is not used (40 records)"),
        "{warnings}"
    );
    let tape = |run: &Run| text(&run.events("tape")[0]["sha256"]);
    assert_eq!(tape(&run), tape(&sample(1)));
    assert_ne!(tape(&run), tape(&sample(2)));
}
