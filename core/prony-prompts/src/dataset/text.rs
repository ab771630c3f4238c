//! Plain texts: one a line, one a file of a folder, or texts of JSON.

use super::conversation::Conversation;
use super::fields::{Fields, Wrong};
use super::format::{Context, Definition};

pub(super) const FORMAT: Definition = Definition {
    name: "text",
    title: "plain texts, one each line or each file of a folder",
    fits: |fields| {
        let text = fields.itself().filter(|text| !text.trim().is_empty());
        text.map(|_| "plain text")
    },
    read,
    time: None,
    columns: &[],
};

fn read(fields: &Fields<'_>, _: &mut Context<'_>) -> Result<Option<Conversation>, Wrong> {
    match fields.itself() {
        Some(text) if !text.trim().is_empty() => Ok(Some(Conversation::of_text(text.to_owned()))),
        Some(_) => Err(Wrong::new("the text is empty")),
        None => Err(Wrong::new("it is an object, and a plain text is expected")),
    }
}
