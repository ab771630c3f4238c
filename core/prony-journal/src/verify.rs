//! Checks a journal without believing any of it.

use crate::Result;
use crate::journal::Event;
use crate::reader::{Placed, Reader};
use prony_result::Outcome;
use std::path::Path;

/// Findings of a check of a journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Number of lines that hold.
    pub lines: u64,
    /// Outcome of the run; `None` if the journal lacks its last line.
    pub outcome: Option<Outcome>,
    /// `true` if every line has a checksum; the first schema has none.
    pub has_checksums: bool,
    /// Damage, each with its place.
    pub damage: Vec<String>,
}

/// Checks the lines of a journal, their numbers, and the digest of the whole in its last line.
pub fn verify(path: &Path) -> Result<Verified> {
    let mut reader = Reader::with_digest(path)?;
    let mut found = Verified {
        lines: 1,
        has_checksums: reader.has_checksums(),
        ..Verified::default()
    };
    // As the last `finished` says, until a `resumed`.
    let mut ended = None;
    while let Some(placed) = reader.next() {
        let Placed {
            line, event, made, ..
        } = placed?;
        if matches!(event, Event::Damaged { .. }) {
            found.damage.extend(event.damage());
        }
        if made {
            continue;
        }
        found.lines += 1;
        found.outcome = None;
        if ended.is_some_and(|outcome| !may_follow(outcome, &event)) {
            let words = format!("line {line} comes after the last line of a run");
            found.damage.push(words);
        }
        match event {
            Event::Finished {
                outcome, sha256, ..
            } => {
                (ended, found.outcome) = (Some(outcome), Some(outcome));
                let is = reader.digest_before().cloned();
                let is = is.map(prony_plugin_host::Digester::finish);
                match sha256 {
                    Some(told) if is.is_none_or(|is| is == told) => {}
                    Some(_) => found.damage.push(format!(
                        "line {line}: the journal before it has another SHA-256 than it says"
                    )),
                    None if found.has_checksums => found.damage.push(format!(
                        "line {line} ends the run without the SHA-256 of the journal before it"
                    )),
                    None => {}
                }
            }
            Event::Resumed { .. } => ended = None,
            _ => {}
        }
    }
    Ok(found)
}

/// Returns `true` for what may follow the end of a run: one that was broken off goes on, after
/// the answers that it had received and could not write on a full disk.
fn may_follow(outcome: Outcome, event: &Event) -> bool {
    outcome == Outcome::Interrupted
        && matches!(
            event,
            Event::Resumed { .. } | Event::Request(_) | Event::Warning { .. }
        )
}
