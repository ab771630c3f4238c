//! The custom dataset of `vLLM`'s `bench serve`: `prompt`, and `output_tokens` of the answer.
//! Source: github.com/vllm-project/vllm, `CustomDataset` in vllm/benchmarks/datasets.

use super::conversation::{Conversation, Turn};
use super::fields::{Fields, Wrong};
use super::format::{Context, Definition};

pub(super) const FORMAT: Definition = Definition {
    name: "custom",
    title: "a custom dataset with `output_tokens`",
    fits: |fields| {
        let is = fields.has("prompt") && fields.has("output_tokens");
        is.then_some("`prompt` and `output_tokens`")
    },
    read,
    time: None,
    columns: &[],
};

fn read(fields: &Fields<'_>, _: &mut Context<'_>) -> Result<Option<Conversation>, Wrong> {
    Ok(Some(Conversation::of_turn(Turn {
        text: fields.some_text("prompt")?.to_owned().into(),
        max_tokens: fields.tokens("output_tokens")?,
        ..Turn::default()
    })))
}
