//! What a response says.
//!
//! Engines differ in where they put things (role chunks with null, empty or no
//! content; usage in the last content chunk, the finish chunk or a chunk of its
//! own; errors as objects or strings, inside a stream that began with 200), so
//! every field is optional and every message is searched for all of them.

use prony_plugin_sdk::{Error, EventKind, Events, Response, Result, sse};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;

/// A string that is borrowed if it can be. `Option<Cow<str>>` never is: only a field
/// that is itself a `Cow` has what it takes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    /// The text, if there is one.
    fn of<'t>(text: &'t Option<Text<'_>>) -> Option<&'t str> {
        text.as_ref()
            .map(|text| &*text.0)
            .filter(|text| !text.is_empty())
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    system_fingerprint: Option<Text<'a>>,
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    /// Chat.
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    /// Plain completions.
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u32>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u32>,
}

pub(crate) fn response(response: &Response<'_>, events: &mut Events) -> Result<()> {
    if response.status != 200 {
        events.failure(response.last_chunk(), &refusal(response.body));
        return Ok(());
    }
    let mut identity = Identity::default();
    let mut said_anything = false;
    for message in sse::messages(response) {
        said_anything = true;
        let data = message.data.trim();
        if data == "[DONE]" {
            events.end(message.chunk);
            break;
        }
        let is_error = message.event.as_deref() == Some("error");
        let parsed: Message<'_> = match serde_json::from_str(data) {
            Ok(parsed) => parsed,
            Err(_) if is_error => {
                events.failure(message.chunk, &refusal(data.as_bytes()));
                continue;
            }
            Err(error) => {
                return Err(Error::malformed(format!(
                    "a `data` line is not the JSON expected: {error}"
                )));
            }
        };
        if is_error && parsed.error.is_none() {
            events.failure(message.chunk, &refusal(data.as_bytes()));
        }
        identity.tell(message.chunk, &parsed, events);
        tell(message.chunk, parsed, events);
    }
    // Some servers answer an error as one JSON document in place of a stream.
    if !said_anything && response.body.iter().any(|byte| !byte.is_ascii_whitespace()) {
        if let Ok(Message {
            error: Some(error), ..
        }) = serde_json::from_slice(response.body)
        {
            events.failure(response.last_chunk(), &error_text(&error));
        } else {
            let what = match response.body.trim_ascii_start().first() {
                Some(b'{' | b'[') => "one JSON document",
                Some(b'<') => "a web page",
                _ => return Ok(()),
            };
            return Err(Error::malformed(format!(
                "the server answered {what}; a stream of `data:` lines was asked for"
            )));
        }
    }
    Ok(())
}

/// Emits the served model and the engine's version once each.
#[derive(Default)]
struct Identity {
    model: bool,
    version: bool,
}

impl Identity {
    fn tell(&mut self, chunk: u32, message: &Message<'_>, events: &mut Events) {
        let mut once = |told: &mut bool, kind, text| {
            if let (false, Some(text)) = (*told, Text::of(text)) {
                *told = true;
                events.push(chunk, kind, 0, text);
            }
        };
        once(&mut self.model, EventKind::ServedModel, &message.model);
        once(
            &mut self.version,
            EventKind::EngineVersion,
            &message.system_fingerprint,
        );
    }
}

fn tell(chunk: u32, message: Message<'_>, events: &mut Events) {
    if let Some(error) = &message.error {
        events.failure(chunk, &error_text(error));
    }
    for choice in message.choices.into_iter().flatten() {
        if let Some(delta) = choice.delta {
            // The same text under the old name and the new one, or one of them.
            let thought = Text::of(&delta.reasoning).or(Text::of(&delta.reasoning_content));
            if let Some(thought) = thought {
                events.push(chunk, EventKind::Reasoning, 0, thought);
            }
            if let Some(content) = Text::of(&delta.content) {
                events.text(chunk, 0, content);
            }
        }
        if let Some(text) = Text::of(&choice.text) {
            events.text(chunk, 0, text);
        }
        if let Some(reason) = Text::of(&choice.finish_reason) {
            events.finish(chunk, reason);
        }
    }
    if let Some(usage) = message.usage {
        let mut count = |kind, tokens: Option<u32>| {
            if let Some(tokens) = tokens {
                events.count(chunk, kind, tokens);
            }
        };
        count(EventKind::PromptTokens, usage.prompt_tokens);
        count(EventKind::OutputTokens, usage.completion_tokens);
        count(
            EventKind::CachedTokens,
            usage
                .prompt_tokens_details
                .and_then(|details| details.cached_tokens),
        );
        count(
            EventKind::ReasoningTokens,
            usage
                .completion_tokens_details
                .and_then(|details| details.reasoning_tokens),
        );
    }
}

/// `{"message": …}` or a plain string.
fn error_text(error: &Value) -> String {
    match error.get("message").unwrap_or(error) {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The words of an HTTP error, shortened.
fn refusal(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(json) => error_text(json.get("error").unwrap_or(&json)),
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    text.chars().take(500).collect()
}
