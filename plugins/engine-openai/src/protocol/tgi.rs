//! Text Generation Inference's `/generate_stream`: raw prompts, an event a token.
//!
//! Requests, responses and errors as in TGI's `router/src/lib.rs` (`GenerateRequest`,
//! `StreamResponse`, `ErrorResponse`); what is streamed, as in `router/src/server.rs`
//! (`generate_stream_internal`); limits of parameters as in `router/src/validation.rs`.
//! Times are only in headers of answers that are not streamed.

use super::{Draft, EVENTS, Form, RAW, prompt_alone};
use crate::decode::message::Count;
use crate::decode::{self, Answer, Framing, Said};
use prony_plugin_sdk::{EventKind, Request, Result};
use serde_json::{Value, json};

pub(super) const FORM: Form = Form {
    apis: RAW,
    base_path: "",
    models: "/v1/models",
    sent: &[
        "inputs",
        "parameters.max_new_tokens",
        "parameters.do_sample",
        "parameters.temperature",
        "parameters.top_p",
        "parameters.seed",
        "parameters.stop",
        "parameters.details",
        "parameters.return_full_text",
    ],
    limit: "parameters.max_new_tokens",
    needed: &["inputs", "parameters.details"],
    group: Some("parameters"),
    accepts: EVENTS,
    end_marks: &[],
};

pub(super) fn draft(request: &Request) -> Result<Draft> {
    let samples = request.temperature > 0.0;
    let mut fields = vec![
        ("inputs", prompt_alone(request)?),
        ("parameters.max_new_tokens", json!(request.max_tokens)),
        ("parameters.do_sample", json!(samples)),
    ];
    // A temperature of 0 and a `top_p` of 1 are refused, and any `top_p` makes it sample.
    if samples {
        fields.push(("parameters.temperature", json!(request.temperature)));
        if let Some(top_p) = request.top_p.filter(|top_p| *top_p < 1.0) {
            fields.push(("parameters.top_p", json!(top_p)));
        }
    }
    fields.push(("parameters.seed", json!(request.seed)));
    if !request.stop.is_empty() {
        fields.push(("parameters.stop", json!(request.stop)));
    }
    fields.push(("parameters.details", json!(true)));
    fields.push(("parameters.return_full_text", json!(false)));
    Ok(Draft {
        endpoint: "/generate_stream",
        fields,
    })
}

/// Reads `StreamResponse`.
#[derive(Default)]
pub(super) struct Reader {
    tokens: u32,
}

impl decode::Reader for Reader {
    const FRAMING: Framing = Framing::Events;
    const END: &'static str = "details";

    fn read(&mut self, read: u32, message: &Value, answer: &mut Answer<'_, '_>) -> Result<Said> {
        let Some(token) = message.get("token").filter(|token| token.is_object()) else {
            return Ok(Said::Nothing);
        };
        self.tokens = self.tokens.saturating_add(1);
        // A special token, such as the one that ends a sequence, is no text of the answer.
        if token.get("special").and_then(Value::as_bool) != Some(true)
            && let Some(text) = token.get("text").and_then(Value::as_str)
        {
            answer.counted_text(read, text, Count(Some(self.tokens)));
        }
        let Some(details) = message.get("details").filter(|it| it.is_object()) else {
            return Ok(Said::Part);
        };
        // It counts the special ones, too.
        let generated = Count::at(details, "generated_tokens");
        answer.output(read, generated);
        if generated
            .0
            .is_some_and(|generated| generated != self.tokens)
        {
            // Each event is a token: beside another count it is a contradiction, which is told.
            answer.output(read, Count(Some(self.tokens)));
        }
        let prompt = Count::at(details, "input_length");
        answer.count(read, EventKind::PromptTokens, prompt);
        if let Some(reason) = details.get("finish_reason").and_then(Value::as_str) {
            answer.finish(read, reason);
        }
        Ok(Said::Last)
    }
}
