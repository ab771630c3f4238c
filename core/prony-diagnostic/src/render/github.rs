//! For GitHub Actions: workflow commands, shown beside the lines of a change.
//!
//! Form and escapes are those read by the runner (`ActionCommand` in
//! <https://github.com/actions/runner>).

use super::{Spot, words};
use crate::Diagnostic;

/// Renders diagnostics as workflow commands, one line each. The text ends with
/// a line break unless it is empty.
pub fn github(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(command).collect()
}

fn command(diagnostic: &Diagnostic) -> String {
    let mut properties = Vec::new();
    if let Some(spot) = Spot::of(diagnostic) {
        properties.push(format!("file={}", property(spot.file)));
        if let Some(range) = spot.range {
            let (start, end) = (range.start, range.end);
            properties.push(format!("line={},endLine={}", start.line, end.line));
            // The runner accepts columns only within one line.
            if start.line == end.line {
                let columns = format!("col={},endColumn={}", start.column, end.column);
                properties.push(columns);
            }
        }
    }
    properties.push(format!("title={}", property(diagnostic.code)));
    let mut message = words(diagnostic);
    message.extend(elsewhere(diagnostic));
    format!(
        "::{} {}::{}\n",
        diagnostic.severity.name(),
        properties.join(","),
        data(&message.join("\n"))
    )
}

/// The other places in words: a command holds only one place.
fn elsewhere(diagnostic: &Diagnostic) -> impl Iterator<Item = String> {
    let labels = diagnostic.secondary.iter();
    labels.filter_map(|label| {
        let spot = Spot::of_label(diagnostic, label)?;
        let start = spot.range?.start;
        let place = format!("{}:{}:{}", spot.file, start.line, start.column);
        Some(if label.text.is_empty() {
            format!("note: see {place}")
        } else {
            format!("note: {place}: {}", label.text)
        })
    })
}

/// The percent sign goes first, or it would escape the escapes.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
