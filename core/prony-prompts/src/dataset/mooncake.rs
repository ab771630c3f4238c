//! Mooncake's traces: `timestamp` in milliseconds, `input_length`, `output_length` and
//! `hash_ids`, an id for each block of 512 tokens of the prompt; prompts with equal ids at the
//! beginning begin equally. Source: github.com/kvcache-ai/Mooncake, FAST25-release/traces.
//!
//! `AIPerf` reads `text_input` or `messages` in place of a length, and joins the lines of a
//! `session_id`, with `delay` in milliseconds before each (its `MooncakeTrace`).

use super::conversation::{Conversation, Text, Turn};
use super::fields::{Fields, Wrong};
use super::format::{Context, Definition};
use super::parts::CANNOT_SEND;
use super::{aiperf, messages, trace};

pub(super) const FORMAT: Definition = Definition {
    name: "mooncake",
    title: "a Mooncake trace",
    fits: |fields| {
        if fields.has("input_length") {
            return Some("`input_length`");
        }
        if fields.has("hash_ids") {
            return Some("`hash_ids`");
        }
        let is_text = fields.has("text_input");
        is_text.then_some("`text_input`")
    },
    read,
    time: Some("`timestamp`, in milliseconds"),
    columns: &[],
};

fn read(fields: &Fields<'_>, context: &mut Context<'_>) -> Result<Option<Conversation>, Wrong> {
    fields.refuse(&["tools", "payload"], CANNOT_SEND)?;
    let output = fields.tokens("output_length")?;
    let mut conversation = if fields.has("text_input") {
        Conversation::of_text(fields.some_text("text_input")?.to_owned())
    } else if fields.has("messages") {
        messages::read(fields, "messages", context)?
    } else {
        let Some(tokens) = fields.some_tokens("input_length")? else {
            return Err(fields.wrong_here("there is no `input_length`"));
        };
        let blocks = fields.list("hash_ids")?.unwrap_or_default().iter();
        let blocks: Option<Vec<u64>> = blocks.map(block).collect();
        let Some(blocks) = blocks else {
            return Err(fields.wrong(
                "hash_ids",
                "`hash_ids` has something that is no whole number",
            ));
        };
        if blocks.len() as u64 > u64::from(tokens) {
            let message = format!(
                "{} `hash_ids` for {tokens} tokens: a block has one token at least",
                blocks.len()
            );
            return Err(fields.wrong("hash_ids", message));
        }
        Conversation::of_turn(Turn {
            text: Text::Tokens { tokens, blocks },
            ..Turn::default()
        })
    };
    conversation.at_ns = trace::at(fields, "timestamp", 1.0)?;
    conversation.session = fields.text("session_id")?.map(ToOwned::to_owned);
    let delay = aiperf::delay(fields)?;
    if let Some(first) = conversation.turns.first_mut() {
        first.delay = delay;
    }
    for turn in &mut conversation.turns {
        turn.max_tokens = output;
    }
    Ok(Some(conversation))
}

/// An id, which may be negative or of 64 bits.
fn block(value: &serde_json::Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_i64().map(i64::cast_unsigned))
}
