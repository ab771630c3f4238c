//! Databricks' Dolly: `instruction`, `context` (may be empty), `response` and `category`. The
//! prompt is the instruction, and below an empty line the context. Source:
//! huggingface.co/datasets/databricks/databricks-dolly-15k.

use super::conversation::Conversation;
use super::fields::{Fields, Wrong};
use super::format::{Context, Definition};

pub(super) const FORMAT: Definition = Definition {
    name: "dolly",
    title: "Dolly's instructions",
    fits: |fields| {
        if !fields.has("instruction") {
            return None;
        }
        if fields.has("response") {
            return Some("`instruction` and `response`");
        }
        fields
            .has("context")
            .then_some("`instruction` and `context`")
    },
    read,
    time: None,
    columns: &[],
};

fn read(fields: &Fields<'_>, _: &mut Context<'_>) -> Result<Option<Conversation>, Wrong> {
    fields.know(&["response", "category"]);
    instruction(fields, "context")
}

/// The instruction, and below an empty line what it is about.
pub(super) fn instruction(fields: &Fields<'_>, about: &str) -> Result<Option<Conversation>, Wrong> {
    let mut text = fields.some_text("instruction")?.to_owned();
    if let Some(about) = fields.text(about)?.filter(|it| !it.trim().is_empty()) {
        text.push_str("\n\n");
        text.push_str(about);
    }
    Ok(Some(Conversation::of_text(text)))
}
