//! Conversations of several turns: what is sent in each, and when.

use crate::kit::{Run, Scratch, With, pipeline, repository, synthetic, text, truth};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Three conversations, of three turns, of one and of two; the last line's answer is left
/// out.
const SIX_TURNS: &str = concat!(
    r#"{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"a1"},{"role":"assistant","content":"A1"},{"role":"user","content":"a2"},{"role":"assistant","content":"A2"},{"role":"user","content":"a3"}]}"#,
    "\n",
    r#"{"prompt":"b1"}"#,
    "\n",
    r#"{"messages":[{"role":"user","content":"c1"},{"role":"assistant","content":"C1"},{"role":"user","content":"c2"},{"role":"assistant","content":"C2"}]}"#,
    "\n",
);

/// The place of each of the six requests: of which conversation, and which turn.
const PLACES: [(char, usize); 6] = [('a', 1), ('a', 2), ('a', 3), ('b', 1), ('c', 1), ('c', 2)];

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("conversations.jsonl", SIX_TURNS);
    scratch
}

/// All six turns are measured.
fn six<const N: usize>(engines: [(&str, Value); N]) -> Value {
    let dataset = json!({ "path": "conversations.jsonl", "limit": 3 });
    let workload = json!({ "dataset": dataset, "temperature": 0, "max_tokens": 64 });
    pipeline(engines)
        .with("workload", workload)
        .stage("measure", "requests", 6)
}

fn ns(request: &Value, stamp: &str) -> u64 {
    request[stamp].as_u64().expect("a stamp")
}

/// The measured requests in the order of their numbers.
fn in_order(run: &Run, engine: &str) -> Vec<Value> {
    let mut requests = run.requests(engine);
    requests.sort_by_key(|it| it["index"].as_u64());
    requests
}

/// Pairs of a turn and the one that follows it.
const FOLLOW: [(usize, usize); 3] = [(0, 1), (1, 2), (4, 5)];

// ---- a server that keeps what it is sent

#[derive(Default)]
struct Kept {
    /// The messages of each request, in the order in which they came.
    requests: Vec<Value>,
    /// Last messages that were answered.
    answered: HashSet<String>,
    /// Requests that came before the answer to the turn before theirs had been sent.
    early: Vec<String>,
}

#[derive(Clone)]
struct Keeper {
    url: String,
    kept: Arc<(Mutex<Kept>, Condvar)>,
}

impl Keeper {
    /// Answers no first turn before so many requests have come.
    fn start(first_waits_for: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let keeper = Self {
            url: format!("http://{}", listener.local_addr().expect("an address")),
            kept: Arc::default(),
        };
        let serving = keeper.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let keeper = serving.clone();
                std::thread::spawn(move || keeper.serve(stream, first_waits_for));
            }
        });
        keeper
    }

    fn engine(&self) -> Value {
        json!({ "plugin": "openai", "config": { "base_url": self.url } })
    }

    fn requests(&self) -> Vec<Value> {
        self.kept.0.lock().expect("no panic").requests.clone()
    }

    fn early(&self) -> Vec<String> {
        self.kept.0.lock().expect("no panic").early.clone()
    }

    fn serve(&self, mut stream: TcpStream, first_waits_for: usize) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let mut length = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                let line = line.trim().to_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            let body: Value = serde_json::from_slice(&body)?;
            let messages = body["messages"].as_array().expect("messages").clone();
            let output: Vec<String> = messages.iter().map(|it| text(&it["content"])).collect();
            let last = output.last().expect("a message").clone();
            let (kept, more) = &*self.kept;
            let mut kept = kept.lock().expect("no panic");
            kept.requests.push(Value::Array(messages));
            more.notify_all();
            // `a2` follows the answer to `a1`.
            if let Some(turn) = last[1..].parse::<u32>().ok().filter(|turn| *turn > 1) {
                let before = format!("{}{}", &last[..1], turn - 1);
                if !kept.answered.contains(&before) {
                    kept.early.push(last.clone());
                }
            } else {
                let few = |kept: &mut Kept| kept.requests.len() < first_waits_for;
                let limit = Duration::from_secs(20);
                let waited = more.wait_timeout_while(kept, limit, few);
                kept = waited.expect("no panic").0;
            }
            // The client may go on as soon as it has the last byte.
            kept.answered.insert(last);
            drop(kept);
            let body = "data: {\"choices\":[{\"delta\":{\"content\":\"no dataset's answer\"}}]}\n\n\
                data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\
                \"usage\":{\"completion_tokens\":1}}\n\n\
                data: [DONE]\n\n";
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes())?;
        }
    }
}

/// What a turn sends, by the dataset.
fn expected((conversation, turn): (char, usize)) -> Value {
    let mut messages = Vec::new();
    if conversation == 'a' {
        messages.push(json!({ "role": "system", "content": "be brief" }));
    }
    for number in 1..=turn {
        messages.push(json!({ "role": "user", "content": format!("{conversation}{number}") }));
        if number < turn {
            let answer = format!("{}{number}", conversation.to_ascii_uppercase());
            messages.push(json!({ "role": "assistant", "content": answer }));
        }
    }
    Value::Array(messages)
}

#[test]
fn each_turn_is_sent_with_the_datasets_answers_before_it() {
    let scratch = scratch();
    let (left, right) = (Keeper::start(0), Keeper::start(0));
    let run = scratch
        .run(&six([("left", left.engine()), ("right", right.engine())]))
        .exits(0);
    let all: Vec<Value> = PLACES.into_iter().map(expected).collect();
    assert_eq!(left.requests(), all);
    assert_eq!(right.requests(), all);
    assert!(left.early().is_empty() && right.early().is_empty());
    // Turns are prompts of their own, so each is compared with itself.
    let model = &run.result()["models"][0];
    let work = model["comparisons"][0]["same_work"].clone();
    assert_eq!(work["questions"], 6, "{model:#}");
    assert_eq!(
        run.result()["workload"]["source"],
        "the first 3 conversations of the dataset conversations.jsonl"
    );
    let prompts: Vec<Value> = in_order(&run, "left")
        .into_iter()
        .map(|it| it["prompt"].clone())
        .collect();
    assert_eq!(prompts.len(), 6);
    assert_eq!(run.events("tape")[0]["prompts"], 6);
}

#[test]
fn turns_wait_for_each_other_and_conversations_do_not() {
    let scratch = scratch();
    // First turns are answered only when three requests are in flight.
    let keeper = Keeper::start(3);
    let pipeline = six([("engine", keeper.engine())])
        .with("workload.request_timeout", "10s")
        .stage("measure", "arrival", json!({ "concurrency": 3 }));
    let run = scratch.run(&pipeline).exits(0);
    run.all_well("engine");
    let mut sent = keeper.requests();
    let mut all: Vec<Value> = PLACES.into_iter().map(expected).collect();
    sent.sort_by_key(Value::to_string);
    all.sort_by_key(Value::to_string);
    assert_eq!(sent, all);
    assert!(keeper.early().is_empty(), "{:?}", keeper.early());
    let requests = in_order(&run, "engine");
    for (before, next) in FOLLOW {
        assert!(ns(&requests[before], "end_ns") <= ns(&requests[next], "sent_ns"));
    }
}

#[test]
fn a_stage_may_begin_and_end_within_a_conversation() {
    let scratch = scratch();
    let keeper = Keeper::start(0);
    // 8 requests: all six turns and two of the next round.
    let run = scratch
        .run(&six([("engine", keeper.engine())]).stage("measure", "requests", 8))
        .exits(0);
    let places = PLACES.into_iter().chain([('a', 1), ('a', 2)]);
    assert_eq!(keeper.requests(), places.map(expected).collect::<Vec<_>>());
    assert_eq!(run.requests("engine").len(), 8);
    // Turns of both engines: two blocks of two turns each, of two requests.
    let (left, right) = (Keeper::start(0), Keeper::start(0));
    let resident = six([("left", left.engine()), ("right", right.engine())])
        .stage("measure", "requests", 8)
        .with(
            "schedule",
            json!({ "cycles": 1, "resident": true, "blocks": 2 }),
        );
    scratch.run(&resident).exits(0);
    let places = || PLACES.into_iter().chain([('a', 1), ('a', 2)]);
    for keeper in [left, right] {
        let all: Vec<Value> = places().map(expected).collect();
        assert_eq!(keeper.requests(), all);
    }
}

#[test]
fn the_user_thinks_between_turns_and_not_between_conversations() {
    let scratch = scratch();
    let think = Duration::from_millis(500);
    for engine in [truth(&[]), synthetic()] {
        let run = scratch
            .run(
                &six([("engine", engine)])
                    .with("workload.max_tokens", 2)
                    .with("workload.dataset.think", "500ms"),
            )
            .exits(0);
        let requests = in_order(&run, "engine");
        assert_eq!(requests.len(), 6);
        for (before, next) in FOLLOW {
            let gap = ns(&requests[next], "sent_ns") - ns(&requests[before], "end_ns");
            assert!(u128::from(gap) >= think.as_nanos(), "{gap}");
        }
    }
    // Nobody waits between conversations: this would take days.
    scratch.write("conversations.jsonl", "{\"prompt\":\"a1\"}\n".repeat(3));
    for engine in [truth(&[]), synthetic()] {
        scratch
            .run(
                &six([("engine", engine)])
                    .with("workload.max_tokens", 2)
                    .with("workload.dataset.think", "24h"),
            )
            .exits(0);
    }
}

#[test]
fn conversations_arrive_at_a_rate_and_their_turns_are_due_when_they_can_be() {
    let scratch = scratch();
    let open = six([("engine", truth(&[]))])
        .with("workload.dataset.think", "20ms")
        .stage("measure", "arrival", json!({ "constant": { "rate": 50 } }));
    let run = scratch.run(&open).exits(0);
    run.all_well("engine");
    let requests = in_order(&run, "engine");
    let due: Vec<u64> = requests.iter().map(|it| ns(it, "intended_ns")).collect();
    // Requests 0, 3 and 4 begin a conversation.
    assert_eq!((due[3] - due[0], due[4] - due[0]), (20_000_000, 40_000_000));
    for (before, next) in FOLLOW {
        assert_eq!(due[next], ns(&requests[before], "end_ns") + 20_000_000);
        assert!(ns(&requests[next], "sent_ns") >= due[next]);
    }
}

#[test]
fn a_turn_is_sent_although_the_one_before_failed() {
    let scratch = scratch();
    let engine = truth(&["--fault", "http500", "--fault-from", "1"]);
    let run = scratch.run(&six([("engine", engine)]));
    let requests = in_order(&run, "engine");
    let classes: Vec<&Value> = requests.iter().map(|it| &it["failed"]["class"]).collect();
    assert_eq!(classes[0], &Value::Null);
    assert_eq!(classes[1..], [&json!("http_5xx"); 5]);
}

#[test]
fn a_warm_cache_knows_earlier_turns_and_a_cold_one_does_not() {
    let scratch = scratch();
    let cached = |state: &str| -> Vec<u64> {
        let engine = truth(&["--prefix-cache", "--prompt-tokens", "words"]);
        let run = scratch
            .run(&six([("engine", engine)]).stage("measure", "cache", state))
            .exits(0);
        let engine = &run.result()["models"][0]["engines"][0];
        assert_ne!(engine["cache"]["outcome"], "broken", "{engine:#}");
        let requests = in_order(&run, "engine");
        let least = requests.iter().map(|it| it["least_prompt_tokens"].as_u64());
        if state == "cold" {
            // Every word of the history counts, and the nonce.
            let least: Vec<u64> = least.map(|it| it.expect("a count")).collect();
            assert_eq!(least, [4, 6, 8, 2, 2, 4]);
        }
        let tokens = |it: &Value| it["cached_tokens"].as_u64().expect("a count");
        requests.iter().map(tokens).collect()
    };
    // Words in front that an earlier turn had: all but the answer and the new question.
    assert_eq!(cached("warm"), [0, 3, 5, 0, 0, 1]);
    assert_eq!(cached("cold"), [0; 6]);
}

#[test]
fn what_cannot_take_a_conversation_refuses_it() {
    let scratch = scratch();
    let plain = six([("engine", truth(&[]))]).with("workload.api", "completions");
    // Without the line whose system message is told first.
    let dataset = SIX_TURNS.replace(r#"{"role":"system","content":"be brief"},"#, "");
    scratch.write("conversations.jsonl", dataset);
    let run = scratch.run(&plain);
    let message = text(&run.events("failed")[0]["message"]);
    assert!(
        message.contains("conversations of several turns, which do not go with `api: completions`"),
        "{message}"
    );
    assert!(run.requests("engine").is_empty());
    let one_prompt = json!({ "plugin": "mlx-serving", "config": {
        "python": crate::kit::PRONY, "runtime": "truth-stdio",
        "arguments": ["--ready", "MLX Runtime ready"],
    } });
    // One that takes raw prompts gets the whole conversation as one.
    let template = "{% for it in messages %}{{ it.role }}: {{ it.content }}\n{% endfor %}";
    let config = json!({ "chat_template": template });
    scratch.write("model/tokenizer_config.json", config.to_string());
    let model = json!([{ "id": "m", "path": "model" }]);
    let run = scratch
        .run(&six([("engine", one_prompt)]).with("models", model))
        .exits(0);
    run.all_well("engine");
}

#[test]
fn the_example_has_conversations() {
    let scratch = Scratch::new();
    let path = repository().join("examples/conversations/conversations.jsonl");
    let dataset = std::fs::read_to_string(path).expect("the example");
    scratch.write("conversations.jsonl", &dataset);
    let run = scratch
        .run(&six([("engine", truth(&[]))]).stage("measure", "requests", 8))
        .exits(0);
    run.all_well("engine");
    assert_eq!(run.events("tape")[0]["prompts"], 8);
}
