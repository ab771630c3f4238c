//! The adapter against lines as the runtime writes them. They are written by hand after
//! its protocol, not recorded.
#![expect(clippy::unwrap_used, reason = "tests")]

use engine_mlx_serving::{Config, MlxServing, PLUGIN};
use prony_plugin_sdk::{
    Api, ErrorKind, Event, EventKind, Events, Model, Ready, Request, Response, StdioEngine as _,
};
use serde_json::{Value, json};

/// A single chunk, a batch, a token without text, an emoji.
const ANSWER: &str = concat!(
    r#"{"jsonrpc":"2.0","id":7,"result":{"stream_id":"prony-7","started_at":1730000000.5}}"#,
    "\n",
    r#"{"jsonrpc":"2.0","method":"stream.chunk","params":{"stream_id":"prony-7","token":"The","token_id":5,"is_final":false,"cumulative_text":"The","logprob":-1.5}}"#,
    "\n",
    r#"{"jsonrpc":"2.0","method":"stream.chunk","params":{"stream_id":"prony-7","tokens":[{"stream_id":"prony-7","token":" sea","token_id":6,"is_final":false},{"stream_id":"prony-7","token":"","token_id":7},{"stream_id":"prony-7","token":" 🦀","token_id":8}],"batch_size":3,"is_batch":true}}"#,
    "\n",
    r#"{"jsonrpc":"2.0","method":"stream.stats","params":{"stream_id":"prony-7","tokens_generated":4,"tokens_per_second":100.0,"time_to_first_token":0.1,"total_time":0.2}}"#,
    "\n",
    r#"{"jsonrpc":"2.0","method":"stream.event","params":{"stream_id":"prony-7","event":"completed","is_final":true,"finish_reason":"completed"}}"#,
    "\n",
);

#[test]
fn conformance() {
    prony_plugin_test::Engine::new(&PLUGIN)
        .fixtures("fixtures")
        .check();
}

fn engine(more: Value) -> MlxServing {
    let mut config = json!({ "runtime": "python/runtime.py" });
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    MlxServing::new(serde_json::from_value::<Config>(config).unwrap()).unwrap()
}

fn model(id: &str) -> Model {
    Model {
        id: id.to_owned(),
        path: None,
    }
}

fn request() -> Request {
    Request {
        api: Api::Completions,
        prompt: "Say \"é\n\"".to_owned(),
        system: None,
        max_tokens: 24,
        temperature: 0.0,
        top_p: Some(0.9),
        seed: 1,
        stop: Vec::new(),
        ignore_eos: false,
        history: Vec::new(),
        images: Vec::new(),
    }
}

fn decode(body: &[u8], ends: &[u32]) -> Result<Vec<Event>, prony_plugin_sdk::Error> {
    let mut events = Events::default();
    let response = Response::new(200, body, ends);
    engine(json!({})).decode(&response, &mut events)?;
    Ok(events.into_vec())
}

#[test]
fn an_answer_in_singles_and_batches() {
    let events = decode(ANSWER.as_bytes(), &[ANSWER.len() as u32]).unwrap();
    let said: Vec<_> = events
        .iter()
        .map(|event| (event.kind, event.tokens, event.text.as_str()))
        .collect();
    let text = EventKind::Text;
    assert_eq!(
        said,
        [
            (text, 1, "The"),
            (text, 1, " sea"),
            (text, 1, " 🦀"),
            (EventKind::OutputTokens, 4, ""),
            (EventKind::Finish, 0, "completed"),
            (EventKind::End, 0, ""),
        ]
    );
}

#[test]
fn no_cut_changes_the_events_and_each_is_of_the_read_that_completed_its_line() {
    let body = ANSWER.as_bytes();
    let whole = decode(body, &[body.len() as u32]).unwrap();
    let single: Vec<u32> = (1..=body.len() as u32).collect();
    let places: Vec<u32> = decode(body, &single)
        .unwrap()
        .iter()
        .map(|it| it.read)
        .collect();
    // The tokens of a batch came together.
    assert_eq!(places[1], places[2]);
    for cut in 1..body.len() as u32 {
        let found = decode(body, &[cut, body.len() as u32]).unwrap();
        assert_eq!(found.len(), whole.len());
        for ((found, whole), place) in found.iter().zip(&whole).zip(&places) {
            assert_eq!((found.kind, &found.text), (whole.kind, &whole.text));
            assert_eq!(found.read, u32::from(*place >= cut), "cut at {cut}");
        }
        // Cut short, it has not ended.
        let short = decode(&body[..cut as usize], &[cut]).unwrap();
        assert!(short.iter().all(|event| event.kind != EventKind::End));
    }
}

#[test]
fn a_finish_reason_that_is_not_known_to_be_good_is_a_failure() {
    let failed = |reason: &str, more: Value| {
        let body = ANSWER.replace(r#""finish_reason":"completed""#, reason);
        assert_ne!(body, ANSWER);
        let ends = [body.len() as u32];
        let response = Response::new(200, body.as_bytes(), &ends);
        let mut events = Events::default();
        engine(more).decode(&response, &mut events).unwrap();
        let events = events.into_vec();
        let failure = events.iter().find(|it| it.kind == EventKind::Failure);
        failure.map(|it| it.text.clone())
    };
    assert_eq!(failed(r#""finish_reason":"length""#, json!({})), None);
    let broken = failed(r#""finish_reason":"abort""#, json!({})).unwrap();
    assert!(broken.contains("`abort`"), "{broken}");
    let unknown = failed(r#""finish_reason":"done""#, json!({})).unwrap();
    assert!(unknown.contains("`finish_reasons`"), "{unknown}");
    let known = json!({ "finish_reasons": ["done"] });
    assert_eq!(failed(r#""finish_reason":"done""#, known), None);
}

#[test]
fn errors_are_failures_and_nonsense_is_malformed() {
    for line in [
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"no","data":{}}}"#,
        r#"{"jsonrpc":"2.0","method":"stream.event","params":{"stream_id":"prony-7","event":"error","error":"no","is_final":true}}"#,
    ] {
        let events = decode(format!("{line}\n").as_bytes(), &[line.len() as u32 + 1]).unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(
            (events[0].kind, events[0].text.as_str()),
            (EventKind::Failure, "no")
        );
    }
    for line in ["no JSON\n", "\u{0}\n"] {
        let error = decode(line.as_bytes(), &[line.len() as u32]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::MalformedResponse);
    }
    assert_eq!(decode(b"[1]\nnull\n3\n", &[11]).unwrap(), []);
}

#[test]
fn a_request_becomes_a_call_that_its_answers_name() {
    let made = engine(json!({}))
        .encode(&model("m"), &request(), 7)
        .unwrap();
    let line: Value = serde_json::from_str(&made.line).unwrap();
    assert_eq!(
        line,
        json!({ "jsonrpc": "2.0", "id": 7, "method": "generate", "params": {
            "model_id": "m", "prompt": "Say \"é\n\"", "max_tokens": 24, "temperature": 0.0,
            "top_p": 0.9, "stream_id": "prony-7", "streaming": true,
        } })
    );
    assert_eq!(made.ids, ["7", "prony-7"]);
    assert!(!made.line.contains('\n'));
    assert_eq!(
        engine(json!({}))
            .encode(&model("m"), &request(), 7)
            .unwrap(),
        made
    );
}

#[test]
fn what_the_runtime_would_ignore_is_refused() {
    let with = |change: &dyn Fn(&mut Request)| {
        let mut request = request();
        change(&mut request);
        request
    };
    for (asked, word) in [
        (with(&|it| it.stop = vec!["x".to_owned()]), "`stop`"),
        (with(&|it| it.ignore_eos = true), "`ignore_eos`"),
        (with(&|it| it.prompt = "p".repeat(1 << 20)), "1048576"),
    ] {
        let error = engine(json!({}))
            .encode(&model("m"), &asked, 1)
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
        assert!(error.message.contains(word), "{error}");
    }
    let gemma = model("mlx-community/Gemma-2-2b-it-4bit");
    let error = engine(json!({})).encode(&gemma, &request(), 1).unwrap_err();
    assert!(
        error.message.contains("a chat template of its own"),
        "{error}"
    );
    // Prompts go to the model as they are.
    assert_eq!(MlxServing::APIS, [Api::Completions]);
}

#[test]
fn it_is_started_loaded_and_unloaded() {
    let more = json!({ "python": "py", "arguments": ["-v"], "cwd": "c", "env": { "A": "b" }, "context": 4096 });
    let model = Model {
        id: "m".to_owned(),
        path: Some("/models/m".to_owned()),
    };
    let plan = engine(more).launch(&model).unwrap();
    assert_eq!(plan.command.argv, ["py", "python/runtime.py", "-v"]);
    assert_eq!(plan.command.cwd.as_deref(), Some("c"));
    assert_eq!(plan.command.env[0].value, "b");
    assert_eq!(plan.ready, Ready::LogLine("MLX Runtime ready".to_owned()));
    let sent = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let load = sent(&plan.opening[0].line);
    assert_eq!(
        load["params"],
        json!({ "model_id": "/models/m", "context_length": 4096 })
    );
    let methods: Vec<Value> = plan
        .closing
        .iter()
        .map(|it| sent(&it.line)["method"].clone())
        .collect();
    assert_eq!(methods, ["unload_model", "shutdown"]);
}
