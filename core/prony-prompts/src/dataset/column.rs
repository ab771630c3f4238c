//! A column of a table, or a key of objects, that has the prompts.

use super::conversation::Conversation;
use super::fields::{Fields, Wrong};
use super::format::{Context, Definition};

/// Names that a column of prompts has if the user gives none.
pub(super) const NAMES: [&str; 7] = [
    "prompt",
    "question",
    "query",
    "text",
    "input",
    "instruction",
    "content",
];

pub(super) const FORMAT: Definition = Definition {
    name: "column",
    title: "a column of CSV or a key of JSON, by `column`",
    fits: |fields| {
        let mut named = NAMES.iter().filter(|name| fields.has(name));
        match (named.next(), named.next()) {
            (Some(_), None) => Some("the only column with a usual name"),
            _ => None,
        }
    },
    read,
    time: None,
    columns: &[],
};

fn read(fields: &Fields<'_>, context: &mut Context<'_>) -> Result<Option<Conversation>, Wrong> {
    let named = || NAMES.into_iter().find(|name| fields.has(name));
    let Some(column) = context.column.or_else(named) else {
        return Err(
            fields.wrong_here("which column has the prompts is not known: name it by `column`")
        );
    };
    let text = fields.some_text(column)?;
    Ok(Some(Conversation::of_text(text.to_owned())))
}
