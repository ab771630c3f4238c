//! `OpenAI`'s API: chat and plain completions.
//!
//! Engines differ in where they put things (role chunks with null, empty or no
//! content; usage in the last content chunk, the finish chunk, a choice or a chunk of its
//! own; errors as objects, texts or fields of their own, inside a stream that began with
//! 200), so every field is optional.

use super::{BOTH, DONE as END_MARKS, Draft, EVENTS, Form, messages, prompt_alone};
use crate::decode::message::{self, Choice, Count, Message, Text, Timings, Usage};
use crate::decode::{self, Answer, DONE, words};
use prony_plugin_sdk::sse::{self, Item};
use prony_plugin_sdk::{Api, EventKind, Image, Request, Response, Result};
use serde_json::{Value, json};
use std::borrow::Cow;

pub(super) const FORM: Form = Form {
    apis: BOTH,
    base_path: "/v1",
    models: "/models",
    sent: &[
        "model",
        "messages",
        "prompt",
        "max_tokens",
        "temperature",
        "seed",
        "top_p",
        "stop",
        "ignore_eos",
        "stream",
        "stream_options",
    ],
    limit: "max_tokens",
    needed: &["messages", "prompt", "stream"],
    group: None,
    accepts: EVENTS,
    end_marks: END_MARKS,
};

pub(super) fn draft(model: &str, request: &Request) -> Result<Draft> {
    let mut fields = vec![("model", json!(model))];
    let endpoint = match request.api {
        Api::Chat => {
            let mut user = json!({ "role": "user", "content": null });
            user["content"] = content(request);
            fields.push(("messages", messages(request, user)));
            "/chat/completions"
        }
        Api::Completions => {
            fields.push(("prompt", prompt_alone(request)?));
            "/completions"
        }
    };
    fields.push(("max_tokens", json!(request.max_tokens)));
    fields.push(("temperature", json!(request.temperature)));
    fields.push(("seed", json!(request.seed)));
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
    // Token counts come from the engine's own usage, never from chunks.
    fields.push(("stream_options", json!({ "include_usage": true })));
    Ok(Draft { endpoint, fields })
}

/// A text; with images, a list of parts in which they come first.
fn content(request: &Request) -> Value {
    if request.images.is_empty() {
        return json!(request.prompt);
    }
    let text = json!({ "type": "text", "text": request.prompt });
    request.images.iter().map(part).chain([text]).collect()
}

fn part(image: &Image) -> Value {
    let mut part = json!({ "type": "image_url", "image_url": { "url": null } });
    // Moved, since `json!` copies and the sandbox's memory is small.
    part["image_url"]["url"] = Value::String(image.data_url());
    part
}

pub(super) fn decode(response: &Response<'_>, answer: &mut Answer<'_, '_>) -> Result<()> {
    if decode::refused(response, answer) {
        return Ok(());
    }
    let mut alike = Alike::default();
    let mut stray = None;
    let mut has_messages = false;
    // The read of what was said last.
    let mut last = 0;
    for item in sse::items(response) {
        let message = match item {
            Item::Message(message) => message,
            Item::Stray { read, line } => {
                last = read;
                decode::stray_line(read, line, &mut stray, answer);
                continue;
            }
        };
        let in_body = match message.data {
            Cow::Borrowed(data) if message.event.is_none() && message.is_complete => {
                Some(data.trim())
            }
            _ => None,
        };
        has_messages |= message.is_complete;
        last = message.read;
        if let Some(text) = in_body.and_then(|data| alike.text(data)) {
            answer.text(message.read, text);
            continue;
        }
        let data = message.data.trim();
        if data == DONE {
            answer.end(message.read);
            return Ok(());
        }
        match serde_json::from_str::<Message<'_>>(data) {
            Ok(parsed) if is_usual(&parsed) => {
                if message.event.as_deref() == Some("error") {
                    answer.fail(message.read, &words::of_refusal(data.as_bytes()));
                }
                if let Some(data) = in_body {
                    alike = Alike::new(data, &parsed);
                }
                tell(message.read, parsed, answer);
            }
            _ if unusual(&message, data, answer)? => {}
            // The body ended within the line.
            _ => break,
        }
    }
    if !has_messages && !answer.has_failed() {
        return decode::no_stream(response, stray.is_some(), answer);
    }
    decode::close(last, stray, END_MARKS[0], answer);
    Ok(())
}

/// Returns `true` if a message is of the kind that nearly all are, and reports no error of its own.
fn is_usual(message: &Message<'_>) -> bool {
    (message.choices.is_some() || message.usage.is_some())
        && message.error.as_ref().is_none_or(Value::is_null)
        && message.x_groq.as_ref().is_none_or(|it| it.error.is_none())
}

/// Reads a message that is no usual one; `false` if the body ended within it.
fn unusual(message: &sse::Message<'_>, data: &str, answer: &mut Answer<'_, '_>) -> Result<bool> {
    let (json, parsed) = match message::tolerant(data) {
        Ok(read) => read,
        Err(_) if !message.is_complete => return Ok(false),
        Err(error) => {
            decode::not_json(message, data, &error.to_string(), answer)?;
            return Ok(true);
        }
    };
    decode::says_error(message, &json, answer);
    match parsed {
        Some(parsed) => tell(message.read, parsed, answer),
        None if decode::says_nothing(message, data, &json) => {
            answer.pass_over(message.read, data);
        }
        None => {
            let why = "no message of a chat or a completion";
            return Err(decode::unreadable(data, why));
        }
    }
    Ok(true)
}

fn tell(read: u32, message: Message<'_>, answer: &mut Answer<'_, '_>) {
    if let Some(model) = Text::of(message.model.as_ref()) {
        answer.served_model(read, model);
    }
    if let Some(version) = Text::of(message.system_fingerprint.as_ref()) {
        answer.engine_version(read, version);
    }
    let mut usage = message.usage;
    let choices = message.choices.unwrap_or_default();
    if !choices.is_empty() {
        answer.even_without_text(read, |answer| {
            for choice in &choices {
                usage = usage.or(choice.usage);
                tell_choice(read, choice, answer);
            }
        });
    }
    let usage = usage.or_else(|| message.x_groq.and_then(|groq| groq.usage));
    let timings = message.timings.unwrap_or_default();
    if let Some(usage) = usage {
        tell_usage(read, usage, &timings, answer);
    } else {
        let computed = timings.prompt_n.0;
        let cached = timings.cache_n;
        let prompt = computed.map(|it| it.saturating_add(cached.0.unwrap_or_default()));
        answer.count(read, EventKind::PromptTokens, Count(prompt));
        answer.output(read, timings.predicted_n);
        answer.count(read, EventKind::CachedTokens, cached);
    }
    tell_times(read, &timings, answer);
}

/// The server begins to count when it begins to compute the prompt, and its first token
/// ends the one time and begins the other.
pub(super) fn tell_times(read: u32, timings: &Timings, answer: &mut Answer<'_, '_>) {
    const MS: f64 = 1e6;
    answer.time(read, EventKind::PrefillTime, &timings.prompt_ms, MS);
    answer.time(read, EventKind::DecodeTime, &timings.predicted_ms, MS);
}

fn tell_choice(read: u32, choice: &Choice<'_>, answer: &mut Answer<'_, '_>) {
    if let Some(delta) = &choice.delta {
        // The same text under the old name and the new one, or one of them.
        let thought =
            Text::of(delta.reasoning.as_ref()).or(Text::of(delta.reasoning_content.as_ref()));
        if let Some(thought) = thought {
            answer.piece(read, EventKind::Reasoning, thought);
        }
        for text in [&delta.content, &delta.refusal] {
            if let Some(text) = Text::of(text.as_ref()) {
                answer.text(read, text);
            }
        }
        let calls = delta.tool_calls.iter().flatten();
        let calls = calls.filter_map(|call| call.function.as_ref());
        for call in calls.chain(&delta.function_call) {
            let said: String = [&call.name, &call.arguments]
                .into_iter()
                .filter_map(|text| Text::of(text.as_ref()))
                .collect();
            answer.piece(read, EventKind::ToolCall, &said);
        }
    }
    if let Some(text) = Text::of(choice.text.as_ref()) {
        answer.text(read, text);
    }
    if let Some(error) = choice.error.as_ref().filter(|error| !error.is_null()) {
        answer.fail(read, &words::of_error(error));
    }
    if let Some(reason) = Text::of(choice.finish_reason.as_ref()) {
        answer.finish(read, reason);
    }
}

fn tell_usage(read: u32, usage: Usage, timings: &Timings, answer: &mut Answer<'_, '_>) {
    let details = usage.completion_tokens_details;
    let reasoning = details.and_then(|details| details.reasoning_tokens.0);
    let mut output = usage.completion_tokens.0;
    if let (Some(total), Some(prompt), Some(said), Some(thought)) = (
        usage.total_tokens.0,
        usage.prompt_tokens.0,
        output,
        reasoning.filter(|tokens| *tokens > 0),
    ) && total.checked_sub(prompt) == said.checked_add(thought)
    {
        // Reasoning is counted beside the answer and not within it.
        output = Some(said + thought);
    }
    let details = usage.prompt_tokens_details;
    let cached = details
        .and_then(|details| details.cached_tokens.0)
        .or(usage.cached_tokens.0)
        .or(usage.prompt_cache_hit_tokens.0)
        .or(timings.cache_n.0)
        .or_else(|| {
            // What was not computed came from the cache.
            usage.prompt_tokens.0?.checked_sub(timings.prompt_n.0?)
        });
    answer.count(read, EventKind::PromptTokens, usage.prompt_tokens);
    answer.output(read, Count(output));
    answer.count(read, EventKind::CachedTokens, Count(cached));
    answer.count(read, EventKind::ReasoningTokens, Count(reasoning));
}

/// The parts around the text of a message that says nothing else. Nearly all messages of a
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
        x_groq: None,
        timings: None,
        error: None,
    } = message
    else {
        return None;
    };
    let [choice] = choices.as_slice() else {
        return None;
    };
    if Text::of(choice.finish_reason.as_ref()).is_some()
        || choice.error.is_some()
        || choice.usage.is_some()
    {
        return None;
    }
    let text = Text::of(choice.text.as_ref());
    let Some(delta) = &choice.delta else {
        return text;
    };
    if delta.refusal.is_some() || delta.tool_calls.is_some() || delta.function_call.is_some() {
        return None;
    }
    let thinks = Text::of(delta.reasoning.as_ref()).or(Text::of(delta.reasoning_content.as_ref()));
    match (Text::of(delta.content.as_ref()), text, thinks) {
        (Some(content), None, None) => Some(content),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EndMark;
    use crate::decode::Rules;
    use prony_plugin_sdk::{Event, Events};

    fn decoded(lines: &[&str]) -> Result<Vec<Event>> {
        let lines: Vec<String> = lines.iter().map(|line| format!("data: {line}")).collect();
        let body = lines.join("\n\n") + "\n\n";
        let mut events = Events::default();
        let ends = [body.len() as u32];
        let whole = Response::new(200, body.as_bytes(), &ends);
        let rules = Rules {
            end_mark: EndMark::Optional,
            finish_reasons: &[],
        };
        super::decode(&whole, &mut Answer::new(rules, &mut events))?;
        // Of the whole stream, and not of its messages.
        let of_stream = [EventKind::Note, EventKind::End];
        let mut events = events.into_vec();
        events.retain(|event| !of_stream.contains(&event.kind));
        Ok(events)
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
                let alone = |line: &str| decoded(&[line]).expect("a message");
                let apart: Vec<Event> = [alone(one), alone(other), alone(other)].concat();
                let together = decoded(&[one, other, other]).expect("messages");
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
            assert!(decoded(&[good, bad]).is_err(), "{bad}");
        }
    }
}
