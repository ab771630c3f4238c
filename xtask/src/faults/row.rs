//! A kind of faults in the table.

use std::fmt::Write as _;

/// Tries with one kind of faults, and their outcome.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) fault: String,
    pub(super) tries: u64,
    /// Tries after which `prony verify` found no damage.
    pub(super) verified: u64,
    /// Tries that the same command brought to their end; `None` if nothing goes on.
    pub(super) resumed: Option<u64>,
    /// Tries that kept every line of the journal, plan and rule.
    pub(super) equal: Option<u64>,
    /// Requests that an engine had answered and that are not in the journal.
    pub(super) lost: Option<u64>,
    /// Processes that were left running.
    pub(super) left: u64,
    /// Tries for which there was no time.
    pub(super) late: u64,
    /// Reason why there are no tries, or a remark on them.
    pub(super) remark: Option<String>,
    /// The failure.
    pub(super) misses: Vec<String>,
}

impl Row {
    /// A kind whose runs go on.
    pub(super) fn new(fault: impl Into<String>) -> Self {
        Self {
            fault: fault.into(),
            resumed: Some(0),
            equal: Some(0),
            lost: Some(0),
            ..Self::default()
        }
    }

    /// A kind of which nothing was tried.
    pub(super) fn left_out(fault: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            remark: Some(format!("left out: {}", reason.into())),
            ..Self::new(fault)
        }
    }
}

/// The rows as a Markdown table, with remarks below.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = "| Fault | Tries | Verified | Resumed | Complete cycles byte-equal | Requests lost | Processes left |\n|---|---|---|---|---|---|---|\n".to_owned();
    let mut remarks = String::new();
    let shown = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |it| it.to_string());
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.fault,
            row.tries,
            row.verified,
            shown(row.resumed),
            shown(row.equal),
            shown(row.lost),
            row.left
        );
        if row.late > 0 {
            let _ = writeln!(
                remarks,
                "{}: {} tries left out, since time was up.",
                row.fault, row.late
            );
        }
        if let Some(remark) = &row.remark {
            let _ = writeln!(remarks, "{}: {remark}.", row.fault);
        }
    }
    if remarks.is_empty() {
        return text;
    }
    format!("{text}\n{remarks}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_every_number_and_its_remark_below() {
        let mut kills = Row::new("kill");
        (kills.tries, kills.verified, kills.lost) = (3, 2, Some(1));
        let images = Row {
            fault: "flip".to_owned(),
            tries: 9,
            verified: 9,
            ..Row::default()
        };
        kills.late = 2;
        let text = table(&[kills, images, Row::left_out("strace", "no strace")]);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| kill | 3 | 2 | 0 | 0 | 1 | 0 |",
                "| flip | 9 | 9 | - | - | - | 0 |",
                "| strace | 0 | 0 | 0 | 0 | 0 | 0 |",
                "",
                "kill: 2 tries left out, since time was up.",
                "strace: left out: no strace.",
            ]
        );
    }
}
