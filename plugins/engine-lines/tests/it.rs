//! The adapter against lines of each kind.
#![expect(clippy::unwrap_used, reason = "tests")]

use engine_lines::{Config, Lines, PLUGIN};
use prony_plugin_sdk::{
    Api, ChatMessage, Command, ErrorKind, Event, EventKind, Events, Model, Pair, Ready, Request,
    Response, Role, StdioEngine as _,
};
use serde_json::{Value, json};

#[test]
fn conformance() {
    prony_plugin_test::Engine::new(&PLUGIN)
        .config(r#"{ "command": ["python3", "engine.py"], "options": { "threads": 1 } }"#)
        .fixtures("fixtures")
        .check();
}

fn engine(config: Value) -> prony_plugin_sdk::Result<Lines> {
    Lines::new(serde_json::from_value::<Config>(config).unwrap())
}

fn model() -> Model {
    Model {
        id: "m".to_owned(),
        path: None,
    }
}

fn request(api: Api) -> Request {
    Request {
        api,
        prompt: "Why?".to_owned(),
        system: None,
        history: Vec::new(),
        max_tokens: 24,
        temperature: 0.0,
        top_p: None,
        seed: 1,
        stop: Vec::new(),
        ignore_eos: false,
        images: Vec::new(),
    }
}

fn sent(request: &Request) -> Value {
    let engine = engine(json!({ "command": ["x"] })).unwrap();
    let made = engine.encode(&model(), request, 7).unwrap();
    assert_eq!(made.ids, ["7"]);
    serde_json::from_str(&made.line).unwrap()
}

#[test]
fn a_program_is_started_loaded_and_unloaded() {
    let plan = engine(json!({
        "command": ["py", "x.py"], "cwd": "c", "env": { "A": "b" }, "options": { "threads": 4 },
    }))
    .unwrap()
    .launch(&model())
    .unwrap();
    let command = Command {
        argv: vec!["py".to_owned(), "x.py".to_owned()],
        env: vec![Pair::new("A", "b")],
        cwd: Some("c".to_owned()),
    };
    assert_eq!((plan.command, plan.ready), (command, Ready::Immediate));
    let lines = [&plan.opening, &plan.closing].map(|messages| {
        let [message] = messages.as_slice() else {
            panic!("{messages:?}")
        };
        serde_json::from_str::<Value>(&message.line).unwrap()
    });
    assert_eq!(
        lines,
        [
            json!({ "op": "load", "id": 0, "model": "m", "options": { "threads": 4 } }),
            json!({ "op": "unload", "id": 0 }),
        ]
    );
}

#[test]
fn a_request_becomes_a_line() {
    assert_eq!(
        sent(&request(Api::Completions)),
        json!({
            "op": "generate", "id": 7, "prompt": "Why?",
            "max_tokens": 24, "temperature": 0.0, "seed": 1,
        })
    );
    let chat = Request {
        system: Some("Be brief".to_owned()),
        history: [(Role::User, "One?"), (Role::Assistant, "Two.")]
            .map(|(role, content)| ChatMessage {
                role,
                content: content.to_owned(),
            })
            .into(),
        top_p: Some(0.9),
        stop: vec!["x".to_owned()],
        ignore_eos: true,
        ..request(Api::Chat)
    };
    assert_eq!(
        sent(&chat),
        json!({
            "op": "generate", "id": 7, "messages": [
                { "role": "system", "content": "Be brief" },
                { "role": "user", "content": "One?" },
                { "role": "assistant", "content": "Two." },
                { "role": "user", "content": "Why?" },
            ],
            "max_tokens": 24, "temperature": 0.0, "seed": 1,
            "top_p": 0.9, "stop": ["x"], "ignore_eos": true,
        })
    );
}

#[test]
fn what_makes_no_sense_is_refused_with_the_way_out() {
    for command in [json!([]), json!([""])] {
        let error = engine(json!({ "command": command })).err().unwrap();
        assert_eq!(error.kind, ErrorKind::InvalidConfig);
        assert_eq!(error.path.as_deref(), Some("/command"));
    }
    let engine = engine(json!({ "command": ["x"] })).unwrap();
    let with_system = Request {
        system: Some("s".to_owned()),
        ..request(Api::Completions)
    };
    let error = engine.encode(&model(), &with_system, 1).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains("`api: chat`"), "{error}");
    for (line, words) in [
        (r#"{"id":7}"#, "neither `text` nor `done`"),
        (r#"{"id":7,"txt":"a"}"#, "unknown field `txt`"),
        (r#"{"id":7,"text":"a","at_ns":-1}"#, "`-1`"),
        (r#"{"id":7,"text":"a","tokens":"1"}"#, "u32"),
        (r#"{"text":"a"}"#, "missing field `id`"),
    ] {
        let body = format!("{line}\n");
        let ends = [body.len() as u32];
        let response = Response::new(200, body.as_bytes(), &ends);
        let error = engine
            .decode(&response, &mut Events::default())
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::MalformedResponse);
        assert!(error.message.contains(words), "{error}");
        assert!(error.message.contains("docs/stdio.md"), "{error}");
    }
}

/// Tokens of each text, and the count of all.
fn tokens(lines: &[&str]) -> (Vec<u32>, Option<u32>) {
    let body = lines.join("\n") + "\n";
    let ends = [body.len() as u32];
    let response = Response::new(200, body.as_bytes(), &ends);
    let engine = engine(json!({ "command": ["x"] })).unwrap();
    let mut events = Events::default();
    engine.decode(&response, &mut events).unwrap();
    let of = |kind| move |event: &&Event| event.kind == kind;
    let events = events.into_vec();
    let texts = events.iter().filter(of(EventKind::Text));
    let count = events.iter().find(of(EventKind::OutputTokens));
    (
        texts.map(|it| it.tokens).collect(),
        count.map(|it| it.tokens),
    )
}

#[test]
fn tokens_without_text_go_to_the_next_text_or_to_the_end() {
    let held = r#"{"id":7,"text":"","tokens":1}"#;
    let text = r#"{"id":7,"text":"a","tokens":1}"#;
    let done = r#"{"id":7,"done":true,"finish_reason":"stop"}"#;
    assert_eq!(tokens(&[held, held, text, text, done]), (vec![3, 1], None));
    assert_eq!(tokens(&[text, held, held, done]), (vec![1], Some(3)));
    let told = r#"{"id":7,"done":true,"output_tokens":9}"#;
    assert_eq!(tokens(&[text, held, told]), (vec![1], Some(9)));
    let joined = r#"{"id":7,"text":"b","tokens":1,"done":true}"#;
    assert_eq!(tokens(&[text, held, joined]), (vec![1, 2], None));
    // A text that does not name its tokens leaves the rest unknown.
    let silent = r#"{"id":7,"text":"b"}"#;
    assert_eq!(
        tokens(&[held, silent, text, held, done]),
        (vec![0, 1], None)
    );
}
