//! `AIPerf`'s files. A line is a turn, `text` or `texts` with `image` or `images`, or a
//! conversation, `turns` of them. Each has `output_length`, `timestamp` or `delay`, both in
//! milliseconds. Lines with one `session_id` are sent one after the other, each without those
//! before it. Source: github.com/ai-dynamo/aiperf, `SingleTurn` and `MultiTurn` in
//! src/aiperf/dataset/loader/models.py.

use super::conversation::{Conversation, Text, Turn};
use super::fields::{Fields, Wrong};
use super::format::{Context, Definition};
use super::parts::{self, CANNOT_SEND};
use super::{messages, trace};
use serde_json::Value;
use std::time::Duration;

/// Longest pause before a turn, in milliseconds: a day.
const MAX_DELAY_MS: f64 = 8.64e7;

pub(super) const FORMAT: Definition = Definition {
    name: "aiperf",
    title: "AIPerf's turns and conversations",
    fits: |fields| {
        let turns = fields.value("turns").and_then(Value::as_array);
        if turns.is_some_and(|turns| turns.first().is_some_and(Value::is_object)) {
            return Some("`turns`, a list of objects");
        }
        // Instructions have a `text` too: the template filled in, with the recorded answer.
        let is_instruction = ["instruction", "output", "response"]
            .iter()
            .any(|key| fields.has(key));
        if !is_instruction && fields.value("text").is_some_and(Value::is_string) {
            return Some("`text`");
        }
        if fields.has("texts") {
            return Some("`texts`");
        }
        (fields.has("image") || fields.has("images")).then_some("`image`")
    },
    read,
    time: Some("`timestamp`, in milliseconds"),
    columns: &[],
};

fn read(fields: &Fields<'_>, context: &mut Context<'_>) -> Result<Option<Conversation>, Wrong> {
    if let Some(kind) = fields.text("type")?
        && !["single_turn", "multi_turn", "random_pool"].contains(&kind)
    {
        let kind: String = kind.chars().take(40).collect();
        return Err(fields.wrong(
            "type",
            format!("`type` is `{kind}`, expected single_turn, multi_turn or random_pool"),
        ));
    }
    let session = fields.text("session_id")?;
    let Some(inner) = fields.objects("turns")? else {
        let mut conversation = Conversation::of_turn(turn(fields, context)?);
        conversation.at_ns = trace::at(fields, "timestamp", 1.0)?;
        conversation.session = session.map(ToOwned::to_owned);
        return Ok(Some(conversation));
    };
    let Some(first) = inner.first() else {
        return Err(fields.wrong("turns", "`turns` is empty"));
    };
    let at_ns = match trace::at(fields, "timestamp", 1.0)? {
        None => trace::at(first, "timestamp", 1.0)?,
        at_ns => at_ns,
    };
    let turns: Result<Vec<Turn>, Wrong> = inner.iter().map(|it| turn(it, context)).collect();
    let mut conversation = Conversation {
        system: fields.text("system_message")?.map(ToOwned::to_owned),
        turns: turns?,
        at_ns,
        ..Conversation::default()
    };
    messages::with_later_images(fields, "turns", &conversation)?;
    let later = inner
        .iter()
        .skip(1)
        .filter(|it| it.has("timestamp"))
        .count();
    if later > 0 {
        context.notes.add(
            "the time of a later turn is not used: it follows the answer before it",
            "turn",
            later as u64,
        );
    }
    without_answers(&mut conversation, context);
    Ok(Some(conversation))
}

/// A turn.
fn turn(fields: &Fields<'_>, context: &mut Context<'_>) -> Result<Turn, Wrong> {
    fields.refuse(
        &["audio", "audios", "video", "videos", "extra"],
        CANNOT_SEND,
    )?;
    if let Some(role) = fields.text("role")?
        && role != "user"
    {
        return Err(fields.wrong(
            "role",
            format!("a turn of `{role}` cannot be sent: expected user"),
        ));
    }
    let mut texts: Vec<&str> = fields.text("text")?.into_iter().collect();
    texts.extend(contents(fields, "texts")?);
    let mut images = Vec::new();
    let single = fields.text("image")?;
    for url in single.into_iter().chain(contents(fields, "images")?) {
        images.push(parts::image(url).map_err(|why| fields.wrong("images", why))?);
    }
    if texts.len() > 1 {
        context.notes.add(
            "several texts of a turn are sent as one, with a line break between",
            "turn",
            1,
        );
    }
    if texts.is_empty() && images.is_empty() {
        return Err(fields.wrong_here("there is none of `text`, `texts`, `image` and `images`"));
    }
    let delay = delay(fields)?;
    Ok(Turn {
        text: Text::Written(texts.join("\n")),
        images,
        max_tokens: fields.some_tokens("output_length")?,
        delay,
        ..Turn::default()
    })
}

/// Texts of a list: each as it is, or the `contents` of an object with a name.
fn contents<'r>(fields: &Fields<'r>, key: &str) -> Result<Vec<&'r str>, Wrong> {
    let mut contents = Vec::new();
    for value in fields.list(key)?.unwrap_or_default() {
        match value {
            Value::String(text) => contents.push(text.as_str()),
            Value::Object(object) => {
                let inner = object.get("contents").and_then(Value::as_array);
                let inner = inner.map(|inner| inner.iter().map(Value::as_str).collect());
                let Some(Some(inner)) = inner else {
                    let message =
                        format!("an element of `{key}` has no `contents`, a list of texts");
                    return Err(fields.wrong(key, message));
                };
                let inner: Vec<&str> = inner;
                contents.extend(inner);
            }
            _ => {
                let message = format!("an element of `{key}` is no text");
                return Err(fields.wrong(key, message));
            }
        }
    }
    Ok(contents)
}

/// The pause in `delay`, in milliseconds.
pub(super) fn delay(fields: &Fields<'_>) -> Result<Option<Duration>, Wrong> {
    match fields.number("delay")? {
        None => Ok(None),
        Some(ms) if (0.0..=MAX_DELAY_MS).contains(&ms) => {
            Ok(Some(Duration::from_secs_f64(ms / 1e3)))
        }
        Some(ms) => Err(fields.wrong(
            "delay",
            format!("`delay` is {ms}, expected milliseconds, at most {MAX_DELAY_MS:e}"),
        )),
    }
}

/// Puts an empty answer between turns of which none is recorded, since an engine's own answers
/// are never sent back.
pub(super) fn without_answers(conversation: &mut Conversation, context: &mut Context<'_>) {
    let Some((_, earlier)) = conversation.turns.split_last_mut() else {
        return;
    };
    for turn in earlier.iter_mut().filter(|turn| turn.answer.is_none()) {
        turn.answer = Some(String::new());
        context.notes.add(
            "no answer is recorded between two turns: an empty one is sent, the same to all engines",
            "turn",
            1,
        );
    }
}
