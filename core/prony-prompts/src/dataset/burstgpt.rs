//! The `BurstGPT` trace: CSV with `Timestamp` in seconds, `Model`, `Request tokens`,
//! `Response tokens`, `Total tokens` and `Log Type`; in its second release also `Session ID` and
//! `Elapsed time`. Failed requests have no response tokens; the files `BurstGPT_without_fails`
//! leave them out. Source: github.com/HPMLL/BurstGPT.

use super::conversation::Conversation;
use super::fields::{Fields, Wrong};
use super::format::{Context, Definition};
use super::trace;

pub(super) const FORMAT: Definition = Definition {
    name: "burstgpt",
    title: "the BurstGPT trace",
    fits: |fields| {
        let is = fields.has("Request tokens") || fields.has("Response tokens");
        is.then_some("`Request tokens`")
    },
    read,
    time: Some("`Timestamp`, in seconds"),
    columns: &["Request tokens", "Response tokens"],
};

fn read(fields: &Fields<'_>, _: &mut Context<'_>) -> Result<Option<Conversation>, Wrong> {
    fields.know(&["Total tokens"]);
    let mut conversation = trace::lengths(fields, "Request tokens", "Response tokens")?;
    conversation.at_ns = trace::at(fields, "Timestamp", 1e3)?;
    Ok(Some(conversation))
}
