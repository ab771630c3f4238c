//! `GuideLLM`'s files: a text in `prompt` or another of its names, a system prompt in
//! `system_prompt`, `system` or `prefix`, `prompt_tokens_count` and `output_tokens_count`.
//! Source: github.com/vllm-project/guidellm, defaults of `GenerativeColumnMapper`.

use super::conversation::{Conversation, Turn};
use super::fields::{Fields, Wrong};
use super::format::{Context, Definition};

/// Names of the text, the first that is there counts.
const TEXT: [&str; 7] = [
    "prompt",
    "instruction",
    "question",
    "input",
    "context",
    "content",
    "text",
];
/// Names of the length of the prompt.
const INPUT: [&str; 2] = ["prompt_tokens_count", "input_tokens_count"];
/// Names of the length of the answer.
const OUTPUT: [&str; 2] = ["output_tokens_count", "completion_tokens_count"];
/// Names of the system prompt.
const SYSTEM: [&str; 3] = ["system_prompt", "system", "prefix"];

pub(super) const FORMAT: Definition = Definition {
    name: "guidellm",
    title: "a GuideLLM file with counts of tokens",
    fits: |fields| {
        let first = |names: &[&'static str]| names.iter().find(|name| fields.has(name)).copied();
        first(&TEXT)?;
        first(&OUTPUT)
            .or_else(|| first(&INPUT))
            .map(|name| match name {
                "output_tokens_count" => "`output_tokens_count`",
                "completion_tokens_count" => "`completion_tokens_count`",
                "prompt_tokens_count" => "`prompt_tokens_count`",
                _ => "`input_tokens_count`",
            })
    },
    read,
    time: None,
    columns: &[],
};

fn read(fields: &Fields<'_>, context: &mut Context<'_>) -> Result<Option<Conversation>, Wrong> {
    let first = |names: &[&'static str]| names.iter().find(|name| fields.has(name)).copied();
    // The text as it is counts, not what it was meant to be.
    fields.know(&INPUT);
    let Some(text) = context.column.or_else(|| first(&TEXT)) else {
        return Err(fields.wrong_here("there is no `prompt`"));
    };
    let mut conversation = Conversation::of_turn(Turn {
        text: fields.some_text(text)?.to_owned().into(),
        ..Turn::default()
    });
    if let Some(output) = first(&OUTPUT) {
        conversation.turns[0].max_tokens = fields.tokens(output)?;
    }
    if let Some(system) = first(&SYSTEM) {
        conversation.system = fields.text(system)?.map(ToOwned::to_owned);
    }
    Ok(Some(conversation))
}
