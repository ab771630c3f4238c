//! `ShareGPT` and what took its form: `conversations` of `from` (`human` or `user`, `gpt` or
//! `assistant`, `system`) and `value`; also of `role` and `content`. The file that benchmarks
//! use, `ShareGPT_V3_unfiltered_cleaned_split.json`, is an array whose long conversations were
//! split: parts of them begin with an answer, and some are empty. Source:
//! `huggingface.co/datasets/anon8231489123/ShareGPT_Vicuna_unfiltered`.

use super::conversation::Conversation;
use super::fields::{Fields, Wrong};
use super::format::{Context, Definition};
use super::messages::{Author, Builder, author};

pub(super) const FORMAT: Definition = Definition {
    name: "sharegpt",
    title: "ShareGPT conversations",
    fits: |fields| {
        let is = |key: &str| {
            let list = fields.value(key).and_then(|it| it.as_array());
            list.is_some_and(|list| {
                let first = list.first().and_then(|it| it.as_object());
                list.is_empty()
                    || first.is_some_and(|it| it.contains_key("from") || it.contains_key("role"))
            })
        };
        if is("conversations") {
            return Some("`conversations`");
        }
        is("conversation").then_some("`conversation`")
    },
    read,
    time: None,
    columns: &[],
};

fn read(fields: &Fields<'_>, context: &mut Context<'_>) -> Result<Option<Conversation>, Wrong> {
    fields.know(&["id"]);
    let key = ["conversations", "conversation"];
    let key = key.into_iter().find(|key| fields.has(key));
    let Some(key) = key else {
        return Err(fields.wrong_here("there is no `conversations`"));
    };
    let mut builder = Builder::default();
    if let Some(system) = fields.text("system")?.filter(|it| !it.trim().is_empty()) {
        builder.system(system.to_owned());
    }
    let mut is_first = true;
    let mut last = None;
    for message in fields.objects(key)?.unwrap_or_default() {
        let from = if message.has("from") { "from" } else { "role" };
        let value = if message.has("value") {
            "value"
        } else {
            "content"
        };
        let author = author(&message, from)?;
        let text = message.text(value)?.unwrap_or_default();
        if author == Author::System {
            if !is_first {
                return Err(message.wrong(from, "a system message after the first message"));
            }
            builder.system(text.to_owned());
            continue;
        }
        if author == Author::Assistant && !builder.has_turns() {
            context.notes.add(
                "an answer at the beginning, to a question that is not in the file, is left out",
                "message",
                1,
            );
            continue;
        }
        if last == Some(author) {
            context.notes.add(
                "messages of one author in a row are sent as one, with an empty line between",
                "message",
                1,
            );
        }
        match author {
            Author::User => builder.user_joined(text.to_owned()),
            _ => builder.assistant_joined(text.to_owned()),
        }
        is_first = false;
        last = Some(author);
    }
    let conversation = builder.end();
    if conversation.is_none() {
        context.notes.add(
            "a conversation without a question is left out",
            "conversation",
            1,
        );
    }
    Ok(conversation)
}
