//! Decoding of responses.
//!
//! Engines differ in where they put things (role chunks with null, empty or no
//! content; usage in the last content chunk, the finish chunk, a choice or a chunk of its
//! own; errors as objects, texts or fields of their own, inside a stream that began with
//! 200), so every field is optional and every message is searched for all of them. What is
//! passed over is told in a note; what cannot be read is quoted.

mod halves;
mod message;
mod words;

use crate::config::EndMark;
use halves::Halves;
use message::{Choice, Message, Text, Timings, Usage};
use prony_plugin_sdk::sse::Item;
use prony_plugin_sdk::{Error, EventKind, Events, Response, Result, finish, sse};
use serde_json::Value;
use std::borrow::Cow;

/// The line that ends a stream, and the text in it.
pub(crate) const END_MARKS: [&str; 2] = ["data: [DONE]", "data:[DONE]"];
const DONE: &str = "[DONE]";

/// Options for the end of streams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'c> {
    pub(crate) end_mark: EndMark,
    /// Finish reasons of complete answers, beside those of [`finish`].
    pub(crate) finish_reasons: &'c [String],
}

pub(crate) fn response(
    rules: Rules<'_>,
    response: &Response<'_>,
    events: &mut Events,
) -> Result<()> {
    if response.status != 200 {
        events.failure(response.last_chunk(), &words::of_refusal(response.body));
        return Ok(());
    }
    let mut stream = Stream {
        rules,
        events,
        identity: Identity::default(),
        halves: Halves::default(),
        has_text: false,
        has_finished: false,
        has_failed: false,
    };
    let mut alike = Alike::default();
    let mut stray = None;
    let mut has_messages = false;
    // The read of what was said last.
    let mut last = 0;
    for item in sse::items(response) {
        let message = match item {
            Item::Message(message) => message,
            Item::Stray { chunk, line } => {
                last = chunk;
                let line = String::from_utf8_lossy(line);
                match words::of_line(&line) {
                    Some(words) => stream.fail(chunk, &words),
                    None => stray = Some(words::quote(&line)),
                }
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
        last = message.chunk;
        if let Some(text) = in_body.and_then(|data| alike.text(data)) {
            stream.text(message.chunk, text);
            continue;
        }
        let data = message.data.trim();
        if data == DONE {
            stream.events.end(message.chunk);
            return Ok(());
        }
        match serde_json::from_str::<Message<'_>>(data) {
            Ok(parsed) if is_usual(&parsed) => {
                if message.event.as_deref() == Some("error") {
                    stream.fail(message.chunk, &words::of_refusal(data.as_bytes()));
                }
                if let Some(data) = in_body {
                    alike = Alike::new(data, &parsed);
                }
                stream.tell(message.chunk, parsed);
            }
            _ if stream.unusual(&message, data)? => {}
            // The body ended within the line.
            _ => break,
        }
    }
    if !has_messages && !stream.has_failed {
        return no_stream(response, stray.is_some(), &mut stream);
    }
    if let Some(line) = stray {
        stream
            .events
            .note(last, &format!("a line is no event: `{line}`"));
    }
    if stream.has_failed {
        return Ok(());
    }
    let note = format!("the stream ended without `{}`", END_MARKS[0]);
    stream.events.note(last, &note);
    if stream.has_finished && rules.end_mark == EndMark::Optional {
        stream.events.end(last);
    }
    Ok(())
}

/// A body in which there is no event: some servers answer an error, or the whole answer, as
/// one document in place of a stream.
fn no_stream(response: &Response<'_>, has_stray: bool, stream: &mut Stream<'_, '_>) -> Result<()> {
    let body = response.body.trim_ascii();
    let what = match body.first() {
        None => return Ok(()),
        Some(b'{' | b'[') => match serde_json::from_slice::<Value>(body) {
            Ok(json) => match words::of_json(&json) {
                Some(words) => {
                    stream.fail(response.last_chunk(), &words);
                    return Ok(());
                }
                None => "one JSON document".to_owned(),
            },
            Err(_) => "half a JSON document".to_owned(),
        },
        Some(b'<') => "a web page".to_owned(),
        // Comments, or the beginning of a field.
        Some(_) if !has_stray && response.unfinished_line().is_none_or(could_be_field) => {
            return Ok(());
        }
        Some(_) => format!("`{}`", words::quote(&String::from_utf8_lossy(body))),
    };
    Err(Error::malformed(format!(
        "the server answered {what}; a stream of `data:` lines was asked for"
    )))
}

/// Returns `true` if a line without an end could be one of an event stream.
fn could_be_field(line: &[u8]) -> bool {
    let fields: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b":"];
    fields
        .iter()
        .any(|field| line.starts_with(field) || field.starts_with(line))
}

/// Returns `true` if a message is of the kind that nearly all are, and reports no error of its own.
fn is_usual(message: &Message<'_>) -> bool {
    (message.choices.is_some() || message.usage.is_some())
        && message.error.as_ref().is_none_or(Value::is_null)
        && message.x_groq.as_ref().is_none_or(|it| it.error.is_none())
}

/// A stream that is being read.
struct Stream<'e, 'c> {
    rules: Rules<'c>,
    events: &'e mut Events,
    identity: Identity,
    halves: Halves,
    has_text: bool,
    has_finished: bool,
    has_failed: bool,
}

impl Stream<'_, '_> {
    fn text(&mut self, chunk: u32, text: &str) {
        self.has_text = true;
        self.events.text(chunk, 0, &self.halves.join(text));
    }

    fn fail(&mut self, chunk: u32, words: &str) {
        self.has_failed = true;
        self.events.failure(chunk, words);
    }

    /// Reads a message that is no usual one; `false` if the body ended within it.
    fn unusual(&mut self, message: &sse::Message<'_>, data: &str) -> Result<bool> {
        let event = message.event.as_deref();
        let chunk = message.chunk;
        let (json, parsed) = match message::tolerant(data) {
            Ok(read) => read,
            Err(_) if !message.is_complete => return Ok(false),
            Err(_) if event == Some("error") => {
                self.fail(chunk, &words::of_refusal(data.as_bytes()));
                return Ok(true);
            }
            Err(_) if is_keep_alive(event, data) => {
                self.pass_over(chunk, data);
                return Ok(true);
            }
            Err(error) => {
                if data
                    .get(..5)
                    .is_some_and(|it| it.eq_ignore_ascii_case("error"))
                {
                    self.fail(chunk, &words::quote(data));
                    return Ok(true);
                }
                return Err(unreadable(data, &error.to_string()));
            }
        };
        if let Some(words) = words::of_json(&json) {
            self.fail(chunk, &words);
        } else if event == Some("error") {
            self.fail(chunk, &words::of_error(&json));
        }
        match parsed {
            Some(parsed) => self.tell(chunk, parsed),
            None if json.is_null() || is_keep_alive(event, data.trim_matches('"')) => {
                self.pass_over(chunk, data);
            }
            None => return Err(unreadable(data, "no message of a chat or a completion")),
        }
        Ok(true)
    }

    fn pass_over(&mut self, chunk: u32, data: &str) {
        let note = format!(
            "a `data` line that says nothing was passed over: `{}`",
            words::quote(data)
        );
        self.events.note(chunk, &note);
    }

    fn tell(&mut self, chunk: u32, message: Message<'_>) {
        self.identity.tell(chunk, &message, self.events);
        let mut usage = message.usage;
        for choice in message.choices.into_iter().flatten() {
            usage = usage.or(choice.usage);
            self.choice(chunk, &choice);
        }
        let usage = usage.or_else(|| message.x_groq.and_then(|groq| groq.usage));
        let timings = message.timings.unwrap_or_default();
        if let Some(usage) = usage {
            self.usage(chunk, usage, &timings);
        } else {
            let computed = timings.prompt_n.0;
            let cached = timings.cache_n.0;
            let prompt = computed.map(|it| it.saturating_add(cached.unwrap_or_default()));
            self.count(chunk, EventKind::PromptTokens, prompt);
            self.output(chunk, timings.predicted_n.0);
            self.count(chunk, EventKind::CachedTokens, cached);
        }
        // The server begins to count when it begins to compute the prompt, and its first token
        // ends the one time and begins the other.
        for (kind, ms) in [
            (EventKind::PrefillTime, timings.prompt_ms),
            (EventKind::DecodeTime, timings.predicted_ms),
        ] {
            if let Some(ms) = ms.as_f64().filter(|ms| *ms >= 0.0) {
                self.events.time(chunk, kind, (ms * 1e6).round() as u64);
            }
        }
    }

    fn choice(&mut self, chunk: u32, choice: &Choice<'_>) {
        if let Some(delta) = &choice.delta {
            // The same text under the old name and the new one, or one of them.
            let thought =
                Text::of(delta.reasoning.as_ref()).or(Text::of(delta.reasoning_content.as_ref()));
            if let Some(thought) = thought {
                let thought = self.halves.join(thought);
                self.events.push(chunk, EventKind::Reasoning, 0, &thought);
                self.has_text = true;
            }
            for text in [&delta.content, &delta.refusal] {
                if let Some(text) = Text::of(text.as_ref()) {
                    self.text(chunk, text);
                }
            }
            let calls = delta.tool_calls.iter().flatten();
            let calls = calls.filter_map(|call| call.function.as_ref());
            for call in calls.chain(&delta.function_call) {
                let said: String = [&call.name, &call.arguments]
                    .into_iter()
                    .filter_map(|text| Text::of(text.as_ref()))
                    .collect();
                if !said.is_empty() {
                    let said = self.halves.join(&said);
                    self.events.push(chunk, EventKind::ToolCall, 0, &said);
                    self.has_text = true;
                }
            }
        }
        if let Some(text) = Text::of(choice.text.as_ref()) {
            self.text(chunk, text);
        }
        if let Some(error) = choice.error.as_ref().filter(|error| !error.is_null()) {
            self.fail(chunk, &words::of_error(error));
        }
        if let Some(reason) = Text::of(choice.finish_reason.as_ref()) {
            self.has_finished = true;
            self.events.finish(chunk, reason);
            if let Some(words) = finish::problem(reason, self.rules.finish_reasons) {
                self.fail(chunk, &words);
            }
        }
    }

    fn usage(&mut self, chunk: u32, usage: Usage, timings: &Timings) {
        let details = usage.completion_tokens_details;
        let reasoning = details.and_then(|details| details.reasoning_tokens.0);
        let mut output = usage.completion_tokens.0;
        if let (Some(total), Some(prompt), Some(answer), Some(thought)) = (
            usage.total_tokens.0,
            usage.prompt_tokens.0,
            output,
            reasoning.filter(|tokens| *tokens > 0),
        ) && total.checked_sub(prompt) == answer.checked_add(thought)
        {
            // Reasoning is counted beside the answer and not within it.
            output = Some(answer + thought);
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
        self.count(chunk, EventKind::PromptTokens, usage.prompt_tokens.0);
        self.output(chunk, output);
        self.count(chunk, EventKind::CachedTokens, cached);
        self.count(chunk, EventKind::ReasoningTokens, reasoning);
    }

    /// Tells how many tokens were generated so far.
    fn output(&mut self, chunk: u32, tokens: Option<u32>) {
        if tokens == Some(0) && self.has_text {
            let note = "the usage counts no tokens, although there is text";
            self.events.note(chunk, note);
        } else {
            self.count(chunk, EventKind::OutputTokens, tokens);
        }
    }

    fn count(&mut self, chunk: u32, kind: EventKind, tokens: Option<u32>) {
        // There is no prompt without a token: it was not counted.
        let is_counted = |tokens: &u32| kind != EventKind::PromptTokens || *tokens > 0;
        if let Some(tokens) = tokens.filter(is_counted) {
            self.events.count(chunk, kind, tokens);
        }
    }
}

/// Returns `true` if data that is no message only keeps the connection alive.
fn is_keep_alive(event: Option<&str>, data: &str) -> bool {
    let is_word = |text: &str| {
        ["ping", "pong", "heartbeat", "keepalive", "keep-alive"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
    };
    event.is_some_and(is_word) || is_word(data) || data.starts_with(':')
}

fn unreadable(data: &str, why: &str) -> Error {
    Error::malformed(format!(
        "a `data` line is not the JSON expected ({why}): `{}`",
        words::quote(data)
    ))
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
        let rules = Rules {
            end_mark: EndMark::Optional,
            finish_reasons: &[],
        };
        response(rules, &whole, &mut events)?;
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
