//! Stanford's Alpaca: `instruction`, `input` (may be empty) and `output`, as published also
//! `text`, a template of all three. The prompt is the instruction, and below an empty line the
//! input. Source: github.com/tatsu-lab/stanford_alpaca.

use super::conversation::Conversation;
use super::dolly::instruction;
use super::fields::{Fields, Wrong};
use super::format::{Context, Definition};

pub(super) const FORMAT: Definition = Definition {
    name: "alpaca",
    title: "Alpaca's instructions",
    fits: |fields| {
        if !fields.has("instruction") {
            return None;
        }
        if fields.has("output") || fields.has("input") {
            return Some("`instruction` and `output`");
        }
        (!fields.has("response") && !fields.has("context")).then_some("`instruction`")
    },
    read,
    time: None,
    columns: &[],
};

fn read(fields: &Fields<'_>, _: &mut Context<'_>) -> Result<Option<Conversation>, Wrong> {
    fields.know(&["output", "text"]);
    instruction(fields, "input")
}
