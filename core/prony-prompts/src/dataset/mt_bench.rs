//! MT-bench's questions: `question_id`, `category` and `turns`, two texts each. No answers are
//! recorded, so an empty one stands between them. Source: github.com/lm-sys/FastChat,
//! `fastchat/llm_judge/data/mt_bench/question.jsonl`.

use super::aiperf::without_answers;
use super::conversation::{Conversation, Turn};
use super::fields::{Fields, Wrong};
use super::format::{Context, Definition};
use serde_json::Value;

pub(super) const FORMAT: Definition = Definition {
    name: "mt_bench",
    title: "MT-bench questions",
    fits: |fields| {
        let turns = fields.value("turns").and_then(Value::as_array);
        turns
            .is_some_and(|turns| turns.first().is_some_and(Value::is_string))
            .then_some("`turns`, a list of texts")
    },
    read,
    time: None,
    columns: &[],
};

fn read(fields: &Fields<'_>, context: &mut Context<'_>) -> Result<Option<Conversation>, Wrong> {
    fields.know(&["question_id", "category", "reference"]);
    let turns = fields.list("turns")?.unwrap_or_default();
    let texts: Option<Vec<&str>> = turns.iter().map(Value::as_str).collect();
    let Some(texts) = texts.filter(|it| !it.is_empty()) else {
        return Err(fields.wrong("turns", "`turns` has something that is no text, or nothing"));
    };
    let turns = texts.into_iter().map(|text| Turn {
        text: text.to_owned().into(),
        ..Turn::default()
    });
    let mut conversation = Conversation {
        turns: turns.collect(),
        ..Conversation::default()
    };
    without_answers(&mut conversation, context);
    Ok(Some(conversation))
}
