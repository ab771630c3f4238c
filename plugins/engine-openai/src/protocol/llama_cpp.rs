//! llama.cpp's `/completion`: raw prompts, with a count of tokens behind each text.
//!
//! Requests and responses as in llama.cpp's `tools/server/README.md` and
//! `server_task_result_cmpl_partial`/`_final` of `tools/server/server-task.cpp`, recorded from
//! build 11669 (`fixtures/llama-cpp`). The last message has `stop: true`; no line of its own
//! ends the stream.

use super::{Draft, EVENTS, Form, RAW, openai, prompt_alone};
use crate::decode::message::{Count, Timings};
use crate::decode::{self, Answer, Framing, Said};
use prony_plugin_sdk::{EventKind, Request, Result};
use serde::Deserialize as _;
use serde_json::{Value, json};

pub(super) const FORM: Form = Form {
    apis: RAW,
    base_path: "",
    models: "/v1/models",
    sent: &[
        "model",
        "prompt",
        "n_predict",
        "temperature",
        "seed",
        "top_p",
        "stop",
        "ignore_eos",
        "stream",
    ],
    limit: "n_predict",
    needed: &["prompt", "stream"],
    group: None,
    accepts: EVENTS,
    end_marks: &[],
};

pub(super) fn draft(model: &str, request: &Request) -> Result<Draft> {
    let mut fields = vec![
        ("model", json!(model)),
        ("prompt", prompt_alone(request)?),
        ("n_predict", json!(request.max_tokens)),
        ("temperature", json!(request.temperature)),
        ("seed", json!(request.seed)),
    ];
    if let Some(top_p) = request.top_p {
        fields.push(("top_p", json!(top_p)));
    }
    if !request.stop.is_empty() {
        fields.push(("stop", json!(request.stop)));
    }
    if request.ignore_eos {
        fields.push(("ignore_eos", json!(true)));
    }
    fields.push(("stream", json!(true)));
    Ok(Draft {
        endpoint: "/completion",
        fields,
    })
}

/// Reads the messages of a completion.
pub(super) struct Reader;

impl decode::Reader for Reader {
    const FRAMING: Framing = Framing::Events;
    const END: &'static str = "\"stop\": true";

    fn read(&mut self, read: u32, message: &Value, answer: &mut Answer<'_, '_>) -> Result<Said> {
        let Some(is_last) = message.get("stop").and_then(Value::as_bool) else {
            return Ok(Said::Nothing);
        };
        if let Some(model) = message.get("model").and_then(Value::as_str) {
            answer.served_model(read, model);
        }
        let tokens = Count::at(message, "tokens_predicted");
        if let Some(text) = message.get("content").and_then(Value::as_str) {
            answer.counted_text(read, text, tokens);
        }
        if !is_last {
            return Ok(Said::Part);
        }
        answer.output(read, tokens);
        let timings = message.get("timings").map(Timings::deserialize);
        let timings = timings
            .and_then(std::result::Result::ok)
            .unwrap_or_default();
        let prompt = Count::at(message, "tokens_evaluated");
        answer.count(read, EventKind::PromptTokens, prompt);
        // `tokens_cached` counts what the cache holds afterwards.
        answer.count(read, EventKind::CachedTokens, timings.cache_n);
        openai::tell_times(read, &timings, answer);
        if message.get("truncated").and_then(Value::as_bool) == Some(true) {
            answer.note(
                read,
                "the engine left out a part of the context (`truncated`)",
            );
        }
        if let Some(stopped) = message.get("stop_type").and_then(Value::as_str) {
            let reason = match stopped {
                "limit" => "length",
                // A word of `stop`.
                "word" => "stop",
                other => other,
            };
            answer.finish(read, reason);
        }
        Ok(Said::Last)
    }
}
