//! prony's own lines: `{"prompt": "…"}`, `{"messages": […]}` or `{"input_tokens": 500}`, each
//! with `max_tokens` and `at_ms` if they have any.

use super::conversation::{Conversation, Text, Turn};
use super::fields::{Fields, Wrong};
use super::format::{Context, Definition};
use super::{messages, trace};

pub(super) const FORMAT: Definition = Definition {
    name: "prony",
    title: "prony's own lines",
    fits: |fields| {
        if fields.has("prompt") {
            return Some("`prompt`");
        }
        fields.has("input_tokens").then_some("`input_tokens`")
    },
    read,
    time: Some("`at_ms`, in milliseconds"),
    columns: &[],
};

fn read(fields: &Fields<'_>, context: &mut Context<'_>) -> Result<Option<Conversation>, Wrong> {
    let max_tokens = fields.some_tokens("max_tokens")?;
    let at_ns = trace::at_ms(fields)?;
    let given = ["prompt", "messages", "input_tokens"].map(|key| fields.has(key));
    let mut conversation = match given {
        [true, false, false] => {
            let text = fields.text("prompt")?.unwrap_or_default();
            Conversation::of_text(text.to_owned())
        }
        [false, true, false] => messages::read(fields, "messages", context)?,
        [false, false, true] => {
            let tokens = fields.some_tokens("input_tokens")?.unwrap_or(1);
            Conversation::of_turn(Turn {
                text: Text::Tokens {
                    tokens,
                    blocks: Vec::new(),
                },
                ..Turn::default()
            })
        }
        [false, false, false] => {
            return Err(fields.wrong_here("none of `prompt`, `messages` and `input_tokens`"));
        }
        [true, true, _] => {
            return Err(fields.wrong_here(
                "both `prompt` and `messages`, expected one of them; `--format openai`, in a pipeline `format: openai`, reads the messages",
            ));
        }
        _ => {
            return Err(fields.wrong_here(
                "more than one of `prompt`, `messages` and `input_tokens`; expected one of them",
            ));
        }
    };
    conversation.at_ns = at_ns;
    for turn in &mut conversation.turns {
        turn.max_tokens = max_tokens;
    }
    Ok(Some(conversation))
}
