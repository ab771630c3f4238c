//! Ollama's API: `/api/chat`, and `/api/generate` with raw prompts. A JSON object a line.
//!
//! Requests and responses as in Ollama's `api/types.go` and its API reference; what is
//! streamed, as in `server/routes.go`. It has no `ignore_eos`, and no text says how many tokens it
//! stands for.

use super::{BOTH, Draft, Form, messages, prompt_alone};
use crate::decode::message::Count;
use crate::decode::{self, Answer, Framing, Said};
use prony_plugin_sdk::{Api, EventKind, Image, Request, Result};
use serde_json::{Value, json};

pub(super) const FORM: Form = Form {
    apis: BOTH,
    base_path: "",
    models: "/v1/models",
    sent: &[
        "model",
        "messages",
        "prompt",
        "raw",
        "stream",
        "truncate",
        "options.num_predict",
        "options.temperature",
        "options.seed",
        "options.top_p",
        "options.stop",
    ],
    limit: "options.num_predict",
    needed: &["model", "messages", "prompt", "raw"],
    group: Some("options"),
    accepts: "application/x-ndjson",
    end_marks: &[],
};

pub(super) fn draft(model: &str, request: &Request) -> Result<Draft> {
    let mut fields = vec![("model", json!(model))];
    let endpoint = match request.api {
        Api::Chat => {
            let mut user = json!({ "role": "user", "content": request.prompt });
            if !request.images.is_empty() {
                user["images"] = request.images.iter().map(Image::base64).collect();
            }
            fields.push(("messages", messages(request, user)));
            "/api/chat"
        }
        Api::Completions => {
            fields.push(("prompt", prompt_alone(request)?));
            // Without the model's template around it.
            fields.push(("raw", json!(true)));
            "/api/generate"
        }
    };
    fields.push(("stream", json!(true)));
    // A prompt that is too long is to be refused: by default its beginning is left out.
    fields.push(("truncate", json!(false)));
    fields.push(("options.num_predict", json!(request.max_tokens)));
    fields.push(("options.temperature", json!(request.temperature)));
    fields.push(("options.seed", json!(request.seed)));
    if let Some(top_p) = request.top_p {
        fields.push(("options.top_p", json!(top_p)));
    }
    if !request.stop.is_empty() {
        fields.push(("options.stop", json!(request.stop)));
    }
    Ok(Draft { endpoint, fields })
}

/// Reads `ChatResponse` and `GenerateResponse`.
pub(super) struct Reader;

impl decode::Reader for Reader {
    const FRAMING: Framing = Framing::Lines;
    const END: &'static str = "\"done\": true";

    fn read(&mut self, read: u32, message: &Value, answer: &mut Answer<'_, '_>) -> Result<Said> {
        let Some(done) = message.get("done").and_then(Value::as_bool) else {
            return Ok(Said::Nothing);
        };
        let text =
            |json: &Value, key: &str| json.get(key).and_then(Value::as_str).map(str::to_owned);
        if let Some(model) = message.get("model").and_then(Value::as_str) {
            answer.served_model(read, model);
        }
        // Of a chat, and of a completion.
        let (said, content) = match message.get("message") {
            Some(said) => (said, "content"),
            None => (message, "response"),
        };
        if let Some(thought) = text(said, "thinking") {
            answer.piece(read, EventKind::Reasoning, &thought);
        }
        if let Some(content) = text(said, content) {
            answer.text(read, &content);
        }
        let calls = said.get("tool_calls").and_then(Value::as_array);
        for call in calls.into_iter().flatten() {
            let function = &call["function"];
            let name = text(function, "name").unwrap_or_default();
            let arguments = function.get("arguments").map(Value::to_string);
            let call = name + &arguments.unwrap_or_default();
            answer.piece(read, EventKind::ToolCall, &call);
        }
        if !done {
            return Ok(Said::Part);
        }
        let count = |key: &str| Count::at(message, key);
        answer.count(read, EventKind::PromptTokens, count("prompt_eval_count"));
        answer.output(read, count("eval_count"));
        answer.count(
            read,
            EventKind::CachedTokens,
            count("prompt_eval_cached_count"),
        );
        // In nanoseconds. Not told is the wait for a free slot, so that there is no time of the
        // queue; `load_duration` is the wait until the model is loaded.
        answer.time(
            read,
            EventKind::PrefillTime,
            &message["prompt_eval_duration"],
            1.0,
        );
        answer.time(read, EventKind::DecodeTime, &message["eval_duration"], 1.0);
        let ns = |key: &str| message.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        if ns("load_duration") > ns("total_duration") / 2.0 {
            answer.note(
                read,
                "most of the time of a request went into loading the model",
            );
        }
        if let Some(reason) = text(message, "done_reason").filter(|it| !it.is_empty()) {
            answer.finish(read, &reason);
        }
        Ok(Said::Last)
    }
}
