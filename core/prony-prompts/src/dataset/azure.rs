//! Azure's traces of inference: CSV with `TIMESTAMP`, `ContextTokens` and `GeneratedTokens`, as in
//! `AzureLLMInferenceTrace_code.csv`. Times are dates such as `2023-11-16 18:17:03.9799600`, in
//! the trace of 2024 with `+00:00` behind. Source: github.com/Azure/AzurePublicDataset.

use super::conversation::Conversation;
use super::fields::{Fields, Wrong};
use super::format::{Context, Definition};
use super::trace;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

pub(super) const FORMAT: Definition = Definition {
    name: "azure",
    title: "Azure's traces of inference",
    fits: |fields| {
        let is = fields.has("ContextTokens") || fields.has("GeneratedTokens");
        is.then_some("`ContextTokens`")
    },
    read,
    time: Some("`TIMESTAMP`, a date with a time"),
    columns: &["ContextTokens", "GeneratedTokens"],
};

fn read(fields: &Fields<'_>, _: &mut Context<'_>) -> Result<Option<Conversation>, Wrong> {
    let mut conversation = trace::lengths(fields, "ContextTokens", "GeneratedTokens")?;
    if let Some(text) = fields.text("TIMESTAMP")? {
        let at_ns = at_ns(text.trim()).ok_or_else(|| {
            fields.wrong(
                "TIMESTAMP",
                format!("`TIMESTAMP` is `{text}`, expected a date such as 2023-11-16 18:17:03.97"),
            )
        })?;
        conversation.at_ns = Some(at_ns);
    }
    Ok(Some(conversation))
}

/// Nanoseconds since 1970 of a date, in UTC unless it says otherwise.
fn at_ns(text: &str) -> Option<u64> {
    let with_offset: Option<Timestamp> = text.parse().ok();
    let timestamp = with_offset.or_else(|| {
        let date: DateTime = text.parse().ok()?;
        Offset::UTC.to_timestamp(date).ok()
    });
    u64::try_from(timestamp?.as_nanosecond()).ok()
}
