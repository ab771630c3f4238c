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
    fn of<'t>(text: Option<&'t Text<'_>>) -> Option<&'t str> {
        text.map(|text| &*text.0).filter(|text| !text.is_empty())
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
    let mut alike = Alike::default();
    let mut said_anything = false;
    for message in sse::messages(response) {
        said_anything = true;
        let in_body = match message.data {
            Cow::Borrowed(data) if message.event.is_none() => Some(data.trim()),
            _ => None,
        };
        if let Some(text) = in_body.and_then(|data| alike.text(data)) {
            events.text(message.chunk, 0, text);
            continue;
        }
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
        if let Some(data) = in_body {
            alike = Alike::new(data, &parsed);
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

/// What is around the text of a message that says nothing else. Nearly all messages of a
/// stream differ in their text alone, and to compare is several times as fast as to parse.
#[derive(Default)]
struct Alike<'a> {
    around: Option<(&'a str, &'a str)>,
}

impl<'a> Alike<'a> {
    /// From a message that lies in `data`.
    fn new(data: &'a str, message: &Message<'_>) -> Self {
        let around = only_text(message).and_then(|text| {
            // Where it is not borrowed it had an escape.
            let start = (text.as_ptr() as usize).checked_sub(data.as_ptr() as usize)?;
            let (before, rest) = data.split_at_checked(start)?;
            Some((before, rest.strip_prefix(text)?))
        });
        Self { around }
    }

    /// The text of `data`, if it is like the message before in all else.
    fn text(&self, data: &'a str) -> Option<&'a str> {
        let (before, after) = self.around?;
        let text = data.strip_prefix(before)?.strip_suffix(after)?;
        // Then the string would end elsewhere, or say something else, or be no JSON.
        let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
        (!text.is_empty() && text.bytes().all(is_plain)).then_some(text)
    }
}

/// The text of a message that has one and says nothing else.
fn only_text<'m>(message: &'m Message<'_>) -> Option<&'m str> {
    let Message {
        model: _,
        system_fingerprint: _,
        choices: Some(choices),
        usage: None,
        error: None,
    } = message
    else {
        return None;
    };
    let [choice] = choices.as_slice() else {
        return None;
    };
    if Text::of(choice.finish_reason.as_ref()).is_some() {
        return None;
    }
    let text = Text::of(choice.text.as_ref());
    let Some(delta) = &choice.delta else {
        return text;
    };
    let thinks = Text::of(delta.reasoning.as_ref()).or(Text::of(delta.reasoning_content.as_ref()));
    match (Text::of(delta.content.as_ref()), text, thinks) {
        (Some(content), None, None) => Some(content),
        _ => None,
    }
}

/// Emits the served model and the engine's version once each.
#[derive(Default)]
struct Identity {
    model: bool,
    version: bool,
}

impl Identity {
    fn tell(&mut self, chunk: u32, message: &Message<'_>, events: &mut Events) {
        let mut once = |told: &mut bool, kind, text: Option<&Text<'_>>| {
            if let (false, Some(text)) = (*told, Text::of(text)) {
                *told = true;
                events.push(chunk, kind, 0, text);
            }
        };
        once(
            &mut self.model,
            EventKind::ServedModel,
            message.model.as_ref(),
        );
        once(
            &mut self.version,
            EventKind::EngineVersion,
            message.system_fingerprint.as_ref(),
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
            let thought =
                Text::of(delta.reasoning.as_ref()).or(Text::of(delta.reasoning_content.as_ref()));
            if let Some(thought) = thought {
                events.push(chunk, EventKind::Reasoning, 0, thought);
            }
            if let Some(content) = Text::of(delta.content.as_ref()) {
                events.text(chunk, 0, content);
            }
        }
        if let Some(text) = Text::of(choice.text.as_ref()) {
            events.text(chunk, 0, text);
        }
        if let Some(reason) = Text::of(choice.finish_reason.as_ref()) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use prony_plugin_sdk::Event;

    fn decode(lines: &[&str]) -> Result<Vec<Event>> {
        let lines: Vec<String> = lines.iter().map(|line| format!("data: {line}")).collect();
        let body = lines.join("\n\n") + "\n\n";
        let mut events = Events::default();
        let ends = [body.len() as u32];
        let whole = Response {
            status: 200,
            body: body.as_bytes(),
            ends: &ends,
        };
        response(&whole, &mut events)?;
        Ok(events.into_vec())
    }

    /// Every message behind every other one says what it says on its own.
    #[test]
    fn what_came_before_does_not_change_what_a_message_says() {
        let chat = |content: &str, rest: &str| {
            format!(
                r#"{{"id":"x","choices":[{{"index":0,"delta":{{"content":"{content}"}}{rest}}}]}}"#
            )
        };
        let messages = [
            chat("a", ""),
            chat("bc", ""),
            chat("", ""),
            chat("\\n", ""),
            chat("\\\"", ""),
            chat("ü 語", ""),
            chat("a", r#","finish_reason":null"#),
            chat("a", r#","finish_reason":"stop""#),
            r#"{"id":"x","choices":[{"index":0,"delta":{"content":"a","reasoning":"b"}}]}"#.into(),
            r#"{"id":"x","choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"completion_tokens":3}}"#.into(),
            r#"{"id":"x","choices":[{"index":0,"delta":{"content":"a"}},{"delta":{"content":"b"}}]}"#.into(),
            r#"{"choices":[{"text":"a"}]}"#.into(),
            r#"{"choices":[{"text":"a","delta":{"content":"a"}}]}"#.into(),
            r#"{"choices":[{"text":"a"}],"error":{"message":"no"}}"#.into(),
            r#"{"content":"a","choices":[{"text":"a"}]}"#.into(),
        ];
        for one in &messages {
            for other in &messages {
                let alone = |line: &str| decode(&[line]).expect("a message");
                let apart: Vec<Event> = [alone(one), alone(other), alone(other)].concat();
                let together = decode(&[one, other, other]).expect("messages");
                assert_eq!(together, apart, "{one}\n{other}");
            }
        }
    }

    #[test]
    fn what_is_no_json_is_an_error_behind_whatever() {
        let good = r#"{"choices":[{"text":"a"}]}"#;
        for bad in [
            r#"{"choices":[{"text":"a""}]}"#,
            "{\"choices\":[{\"text\":\"a\u{1}\"}]}",
            r#"{"choices":[{"text":"a\"}]}"#,
        ] {
            assert!(decode(&[good, bad]).is_err(), "{bad}");
        }
    }
}
