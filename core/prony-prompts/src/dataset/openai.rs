//! Requests of `OpenAI`'s API: `{"messages": […]}` as for chats, with `max_completion_tokens` or
//! `max_tokens`, and lines of its Batch API, `{"custom_id", "method", "url", "body": {…}}`.
//! Sources: platform.openai.com/docs/api-reference/chat/create and …/batch/request-input.

use super::conversation::Conversation;
use super::fields::{Fields, Wrong};
use super::format::{Context, Definition};
use super::parts::CANNOT_SEND;
use super::{messages, trace};
use serde_json::Value;

pub(super) const FORMAT: Definition = Definition {
    name: "openai",
    title: "requests of OpenAI's API, also as a batch",
    fits: |fields| {
        if fields.value("body").is_some_and(Value::is_object) {
            return Some("`body`");
        }
        let is = fields.has("messages") && !fields.has("prompt") && !fields.has("input_tokens");
        is.then_some("`messages`")
    },
    read,
    time: Some("`at_ms`, in milliseconds"),
    columns: &[],
};

fn read(fields: &Fields<'_>, context: &mut Context<'_>) -> Result<Option<Conversation>, Wrong> {
    let Some(body) = fields.object("body")? else {
        return request(fields, context).map(Some);
    };
    fields.know(&["custom_id", "method"]);
    if let Some(url) = fields.text("url")? {
        let path = url.trim_end_matches('/');
        if !path.ends_with("/chat/completions") && !path.ends_with("/completions") {
            let message =
                format!("`url` is `{url}`, expected /v1/chat/completions or /v1/completions");
            return Err(fields.wrong("url", message));
        }
    }
    let mut conversation = request(&body, context)?;
    if conversation.at_ns.is_none() {
        conversation.at_ns = trace::at_ms(fields)?;
    }
    Ok(Some(conversation))
}

fn request(fields: &Fields<'_>, context: &mut Context<'_>) -> Result<Conversation, Wrong> {
    fields.refuse(&["tools", "functions", "audio"], CANNOT_SEND)?;
    let limit = match fields.some_tokens("max_completion_tokens")? {
        None => fields.some_tokens("max_tokens")?,
        limit => {
            fields.know(&["max_tokens"]);
            limit
        }
    };
    let mut conversation = if fields.has("messages") {
        messages::read(fields, "messages", context)?
    } else if fields.has("prompt") {
        Conversation::of_text(fields.some_text("prompt")?.to_owned())
    } else {
        return Err(fields.wrong_here("there is no `messages`"));
    };
    conversation.at_ns = trace::at_ms(fields)?;
    for turn in &mut conversation.turns {
        turn.max_tokens = limit;
    }
    Ok(conversation)
}
