//! `SGLang`'s `/generate`: raw prompts, with counts of tokens and of cached ones behind each
//! text.
//!
//! Requests as in `SGLang`'s `srt/managers/io_struct.py` (`GenerateReqInput`) and
//! `srt/sampling/sampling_params.py`; messages as in `srt/managers/tokenizer_manager.py`
//! (`_handle_batch_output`), finish reasons as in `srt/managers/schedule_batch.py`, errors and
//! the end as in `srt/entrypoints/http_server.py`, of version 0.5.23.
//!
//! Each message has the whole text so far, or what is new if the server was started with
//! `--incremental-streaming-output`. `e2e_latency` is no time of the queue, the prompt or the
//! answer; `queue_time` is there with `--enable-metrics`.

use super::{DONE, Draft, EVENTS, Form, RAW, prompt_alone};
use crate::decode::message::Count;
use crate::decode::{self, Answer, Framing, Said, words};
use prony_plugin_sdk::{Error, EventKind, Request, Result};
use serde_json::{Value, json};

pub(super) const FORM: Form = Form {
    apis: RAW,
    base_path: "",
    models: "/v1/models",
    sent: &[
        "text",
        "sampling_params.max_new_tokens",
        "sampling_params.temperature",
        "sampling_params.sampling_seed",
        "sampling_params.top_p",
        "sampling_params.stop",
        "sampling_params.ignore_eos",
        "stream",
    ],
    limit: "sampling_params.max_new_tokens",
    needed: &["text", "stream"],
    group: Some("sampling_params"),
    accepts: EVENTS,
    end_marks: DONE,
};

pub(super) fn draft(request: &Request) -> Result<Draft> {
    let mut fields = vec![
        ("text", prompt_alone(request)?),
        ("sampling_params.max_new_tokens", json!(request.max_tokens)),
        ("sampling_params.temperature", json!(request.temperature)),
        ("sampling_params.sampling_seed", json!(request.seed)),
    ];
    if let Some(top_p) = request.top_p {
        fields.push(("sampling_params.top_p", json!(top_p)));
    }
    if !request.stop.is_empty() {
        fields.push(("sampling_params.stop", json!(request.stop)));
    }
    if request.ignore_eos {
        fields.push(("sampling_params.ignore_eos", json!(true)));
    }
    fields.push(("stream", json!(true)));
    Ok(Draft {
        endpoint: "/generate",
        fields,
    })
}

/// Reads the messages of a generation.
#[derive(Default)]
pub(super) struct Reader {
    /// The text so far.
    text: String,
    /// Tokens so far.
    tokens: u32,
    /// The text of the message before.
    before: String,
    /// A text claims to be new, and begins with all of the one before.
    has_doubt: bool,
    /// A text claims to be new, and can be nothing else.
    has_proof: bool,
}

impl Reader {
    /// Tells what is new in a message's text.
    fn tell(
        &mut self,
        read: u32,
        message: &Value,
        tokens: Count,
        answer: &mut Answer<'_, '_>,
    ) -> Result<()> {
        let Some(text) = message.get("text").and_then(Value::as_str) else {
            return Ok(());
        };
        // The ids are those of the text: of all tokens, or of the new ones.
        let ids = message.get("output_ids").and_then(Value::as_array);
        let ids = ids.and_then(|ids| u32::try_from(ids.len()).ok());
        let is_new = match (ids, tokens.0) {
            (Some(ids), Some(tokens)) if self.tokens > 0 => {
                ids <= tokens.saturating_sub(self.tokens)
            }
            _ => false,
        };
        if is_new {
            let could_be_all = !self.before.is_empty() && text.starts_with(&self.before);
            self.has_doubt |= could_be_all;
            self.has_proof |= !could_be_all && !self.before.is_empty();
            answer.counted_text(read, text, tokens);
            self.text.push_str(text);
        } else if let Some(new) = text.strip_prefix(self.text.as_str()) {
            answer.counted_text(read, new, tokens);
            self.text.push_str(new);
        } else if self.text.starts_with(text) {
            // The beginning of a stop word, sent before it was known to be one.
            return Err(Error::malformed(format!(
                "the engine took back the end of a text that it had sent (of `{}` it keeps `{}`), so what it answered was never streamed; ask without `stop`",
                words::quote(&self.text),
                words::quote(text)
            )));
        } else {
            return Err(Error::malformed(format!(
                "a text does not begin with what was sent before: `{}`",
                words::quote(text)
            )));
        }
        text.clone_into(&mut self.before);
        Ok(())
    }
}

impl decode::Reader for Reader {
    const FRAMING: Framing = Framing::Events;
    const END: &'static str = "data: [DONE]";

    fn read(&mut self, read: u32, message: &Value, answer: &mut Answer<'_, '_>) -> Result<Said> {
        let Some(meta) = message.get("meta_info").filter(|meta| meta.is_object()) else {
            return Ok(Said::Nothing);
        };
        let tokens = Count::at(meta, "completion_tokens");
        self.tell(read, message, tokens, answer)?;
        self.tokens = tokens.0.unwrap_or(self.tokens);
        let Some(reason) = meta.get("finish_reason").filter(|it| !it.is_null()) else {
            return Ok(Said::Part);
        };
        if self.has_doubt && !self.has_proof {
            return Err(Error::malformed(
                "each text begins with all that was sent before, but has ids of its new tokens only (`output_ids`): it could be the whole answer so far, or a repetition",
            ));
        }
        answer.output(read, tokens);
        let count = |key: &str| Count::at(meta, key);
        answer.count(read, EventKind::PromptTokens, count("prompt_tokens"));
        answer.count(read, EventKind::CachedTokens, count("cached_tokens"));
        // In seconds.
        answer.time(read, EventKind::QueueTime, &meta["queue_time"], 1e9);
        let kind = reason.get("type").unwrap_or(reason).as_str();
        match (reason.get("message").and_then(Value::as_str), kind) {
            // Broken off.
            (Some(words), _) => answer.fail(read, words),
            (None, Some(kind)) => answer.finish(read, kind),
            (None, None) => {}
        }
        Ok(Said::Part)
    }
}
