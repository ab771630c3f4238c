//! Decoding of responses: what all protocols share.
//!
//! Servers differ in where they put things, so every message is searched for all of them.
//! A note says what was passed over; a message quotes what cannot be read.

mod answer;
mod halves;
pub(crate) mod message;
pub(crate) mod words;

pub(crate) use answer::Answer;

use crate::config::EndMark;
use prony_plugin_sdk::sse::Item;
use prony_plugin_sdk::{Error, Response, Result, sse};
use serde_json::Value;
use std::borrow::Cow;

/// The data that ends a stream of `OpenAI`'s API, and of those that took it over.
pub(crate) const DONE: &str = "[DONE]";

/// Options for the end of streams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'c> {
    pub(crate) end_mark: EndMark,
    /// Finish reasons of complete answers, beside those of [`prony_plugin_sdk::finish`].
    pub(crate) finish_reasons: &'c [String],
}

/// Boundaries between the messages of a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events, one message in the data of each.
    Events,
    /// A message a line.
    Lines,
}

/// Place of a message in its stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// It is none of the protocol's.
    Nothing,
    /// A part of the answer.
    Part,
    /// The end of the answer.
    Last,
}

/// A reader of the messages of a native protocol, each of which is a JSON object.
pub(crate) trait Reader {
    /// Boundaries between messages.
    const FRAMING: Framing;
    /// Content of the last message, in the words of a note.
    const END: &'static str;

    /// Reads a message.
    fn read(&mut self, read: u32, message: &Value, answer: &mut Answer<'_, '_>) -> Result<Said>;

    /// Reads a whole response.
    fn decode(mut self, response: &Response<'_>, answer: &mut Answer<'_, '_>) -> Result<()>
    where
        Self: Sized,
    {
        if refused(response, answer) {
            return Ok(());
        }
        let items: Box<dyn Iterator<Item = Item<'_>>> = match Self::FRAMING {
            Framing::Events => Box::new(sse::items(response)),
            Framing::Lines => Box::new(lines(response)),
        };
        let (mut stray, mut has_messages, mut last) = (None, false, 0);
        // The read of the last message. Behind it there is nothing but an error.
        let mut end = None;
        for item in items {
            let message = match item {
                Item::Message(message) => message,
                Item::Stray { read, line } => {
                    last = read;
                    stray_line(read, line, &mut stray, answer);
                    continue;
                }
            };
            let data = message.data.trim();
            if Self::FRAMING == Framing::Events && data == DONE {
                answer.end(end.unwrap_or(message.read));
                return Ok(());
            }
            let json = match message::json(data) {
                Ok(json) => json,
                // The body ended within the message.
                Err(_) if !message.is_complete && could_be_cut::<Self>(data) => break,
                Err(_) if end.is_some() => {
                    if let Some(words) = error_words(&message, data) {
                        answer.fail(message.read, &words);
                    }
                    continue;
                }
                Err(error) => {
                    let handled = not_json(&message, data, &error.to_string(), answer);
                    if handled.is_err() && Self::FRAMING == Framing::Lines && !has_messages {
                        return Err(no_lines(response));
                    }
                    handled?;
                    has_messages = true;
                    last = message.read;
                    continue;
                }
            };
            (has_messages, last) = (true, message.read);
            let is_error = says_error(&message, &json, answer);
            if end.is_some() {
                continue;
            }
            match self.read(last, &json, answer)? {
                Said::Last => end = Some(last),
                Said::Nothing if is_error => {}
                Said::Nothing if says_nothing(&message, data, &json) => {
                    answer.pass_over(last, data);
                }
                Said::Nothing => return Err(unreadable(data, "no message of the protocol")),
                Said::Part => {}
            }
        }
        if let Some(end) = end {
            answer.end(end);
            return Ok(());
        }
        if !has_messages && !answer.has_failed() {
            return match Self::FRAMING {
                Framing::Events => no_stream(response, stray.is_some(), answer),
                Framing::Lines => Ok(()),
            };
        }
        close(last, stray, Self::END, answer);
        Ok(())
    }
}

/// Returns `true` if the beginning of a message may be what `data` is.
fn could_be_cut<R: Reader>(data: &str) -> bool {
    R::FRAMING == Framing::Events || data.starts_with('{')
}

/// A body without a message a line, in the server's words.
fn no_lines(response: &Response<'_>) -> Error {
    Error::malformed(format!(
        "the server answered `{}`; a JSON object a line was asked for",
        words::quote(&String::from_utf8_lossy(response.body))
    ))
}

/// The lines of a response that are not empty, as messages; the last may lack its end.
fn lines<'a>(response: &Response<'a>) -> impl Iterator<Item = Item<'a>> {
    let whole = response.lines().map(|(read, line)| (read, line, true));
    let last = response.last_read();
    let rest = response.unfinished_line().map(|line| (last, line, false));
    let lines = whole
        .chain(rest)
        .filter(|(_, line, _)| !line.trim_ascii().is_empty());
    lines.map(|(read, line, is_complete)| {
        Item::Message(sse::Message {
            read,
            event: None,
            data: String::from_utf8_lossy(line),
            is_complete,
        })
    })
}

/// Returns `true` for an answer with a status that is not 200, which is a failure.
pub(crate) fn refused(response: &Response<'_>, answer: &mut Answer<'_, '_>) -> bool {
    let is_refused = response.status != 200;
    if is_refused {
        answer.fail(response.last_read(), &words::of_refusal(response.body));
    }
    is_refused
}

/// Tells the error that a message speaks of, if it does.
pub(crate) fn says_error(
    message: &sse::Message<'_>,
    json: &Value,
    answer: &mut Answer<'_, '_>,
) -> bool {
    let words = match words::of_json(json) {
        None if message.event.as_deref() == Some("error") => Some(words::of_error(json)),
        words => words,
    };
    if let Some(words) = &words {
        answer.fail(message.read, words);
    }
    words.is_some()
}

/// Returns `true` for a message that only keeps the connection alive.
pub(crate) fn says_nothing(message: &sse::Message<'_>, data: &str, json: &Value) -> bool {
    json.is_null() || is_keep_alive(message.event.as_deref(), data.trim_matches('"'))
}

/// The words of data that is no JSON, if it speaks of an error.
fn error_words(message: &sse::Message<'_>, data: &str) -> Option<String> {
    let event = message.event.as_deref();
    if event == Some("error") {
        return Some(words::of_refusal(data.as_bytes()));
    }
    let start = data.get(..5).filter(|_| !is_keep_alive(event, data))?;
    start
        .eq_ignore_ascii_case("error")
        .then(|| words::quote(data))
}

/// Handles data that is no JSON: words of an error, or what only keeps the connection alive.
pub(crate) fn not_json(
    message: &sse::Message<'_>,
    data: &str,
    why: &str,
    answer: &mut Answer<'_, '_>,
) -> Result<()> {
    if let Some(words) = error_words(message, data) {
        answer.fail(message.read, &words);
    } else if is_keep_alive(message.event.as_deref(), data) {
        answer.pass_over(message.read, data);
    } else {
        return Err(unreadable(data, why));
    }
    Ok(())
}

/// Handles a line that is no part of an event stream.
pub(crate) fn stray_line(
    read: u32,
    line: &[u8],
    stray: &mut Option<String>,
    answer: &mut Answer<'_, '_>,
) {
    let line = String::from_utf8_lossy(line);
    match words::of_line(&line) {
        Some(words) => answer.fail(read, &words),
        None => *stray = Some(words::quote(&line)),
    }
}

/// Says what was missing at the end of a stream.
pub(crate) fn close(read: u32, stray: Option<String>, mark: &str, answer: &mut Answer<'_, '_>) {
    if let Some(line) = stray {
        answer.note(read, &format!("a line is no event: `{line}`"));
    }
    answer.end_without(read, mark);
}

/// A body in which there is no event: some servers answer an error, or the whole answer, as
/// one document in place of a stream.
pub(crate) fn no_stream(
    response: &Response<'_>,
    has_stray: bool,
    answer: &mut Answer<'_, '_>,
) -> Result<()> {
    let body = response.body.trim_ascii();
    let what = match body.first() {
        None => return Ok(()),
        Some(b'{' | b'[') => match serde_json::from_slice::<Value>(body) {
            Ok(json) => match words::of_json(&json) {
                Some(words) => {
                    answer.fail(response.last_read(), &words);
                    return Ok(());
                }
                None => Cow::Borrowed("one JSON document"),
            },
            Err(_) => Cow::Borrowed("half a JSON document"),
        },
        Some(b'<') => Cow::Borrowed("a web page"),
        // Comments, or the beginning of a field.
        Some(_) if !has_stray && response.unfinished_line().is_none_or(could_be_field) => {
            return Ok(());
        }
        Some(_) => format!("`{}`", words::quote(&String::from_utf8_lossy(body))).into(),
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

/// Returns `true` if data that is no message only keeps the connection alive.
fn is_keep_alive(event: Option<&str>, data: &str) -> bool {
    let is_word = |text: &str| {
        ["ping", "pong", "heartbeat", "keepalive", "keep-alive"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
    };
    event.is_some_and(is_word) || is_word(data) || data.starts_with(':')
}

pub(crate) fn unreadable(data: &str, why: &str) -> Error {
    Error::malformed(format!(
        "a message is not the JSON expected ({why}): `{}`",
        words::quote(data)
    ))
}
