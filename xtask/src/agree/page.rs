//! docs/agreement.md: what is measured stands between two marks, the text around by hand.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::WARMUPS;
use crate::shell;

const BEGIN: &str = "<!-- Made by `cargo xtask agree`. -->";
const END: &str = "<!-- End of what it made. -->";

/// A metric of a client.
pub(super) struct Row {
    pub(super) client: &'static str,
    /// The client's name for it.
    pub(super) metric: &'static str,
    pub(super) unit: &'static str,
    /// The client's own figure.
    pub(super) own: f64,
    /// The same by the server's account of the same requests.
    pub(super) server: Option<f64>,
    /// prony's figure by this client's definition, from prony's requests.
    pub(super) prony: Option<f64>,
}

/// All metrics of a server.
#[derive(Default)]
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    /// What a reader should know of it, in sentences.
    pub(super) notes: Vec<String>,
}

/// What the page is made of.
pub(super) struct Page {
    requests: usize,
    environment: Option<Value>,
    versions: BTreeMap<&'static str, String>,
    left_out: BTreeMap<&'static str, String>,
    commands: BTreeMap<&'static str, String>,
    tables: Vec<(&'static str, Table)>,
}

impl Page {
    pub(super) fn new(requests: usize) -> Self {
        Self {
            requests,
            environment: None,
            versions: BTreeMap::new(),
            left_out: BTreeMap::new(),
            commands: BTreeMap::new(),
            tables: Vec::new(),
        }
    }

    pub(super) fn left_out(&mut self, name: &'static str, reason: &str) {
        self.left_out.insert(name, reason.to_owned());
    }

    pub(super) fn version(&mut self, name: &'static str, version: &str) {
        self.versions.insert(name, version.to_owned());
    }

    /// A command line; the first of each name is shown.
    pub(super) fn command(&mut self, name: &'static str, command: &str) {
        self.commands
            .entry(name)
            .or_insert_with(|| command.to_owned());
    }

    pub(super) fn environment(&mut self, environment: &Value) {
        self.environment.get_or_insert_with(|| environment.clone());
    }

    pub(super) fn table(&mut self, title: &'static str, table: Table) {
        self.tables.push((title, table));
    }

    /// Puts it between the marks of the page, or shows where they belong.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let date = shell::output(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))?;
        let date = String::from_utf8(date)?;
        let made = self.markdown(date.trim());
        let old = match fs::read_to_string(path) {
            Ok(old) => old,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                format!("# Agreement\n\n{BEGIN}\n{END}\n")
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let parts = old.split_once(BEGIN).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(END)?;
            Some(format!("{before}{BEGIN}\n\n{made}\n{END}{after}"))
        });
        let page = parts
            .with_context(|| format!("{} lacks the lines `{BEGIN}` and `{END}`", path.display()))?;
        fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
        shell::step(&format!("wrote {}", path.display()));
        Ok(())
    }

    fn markdown(&self, date: &str) -> String {
        let mut text = format!("Measured {date}");
        if let Some(machine) = &self.environment {
            let word = |name: &str| machine[name].as_str().unwrap_or("unknown").to_owned();
            let gib = machine["memory_bytes"].as_f64().unwrap_or(0.0) / f64::from(1 << 30);
            let _ = write!(
                text,
                " on {}, {} CPUs, {gib:.1} GiB, {} ({}), load average {:.1} at the first run",
                word("cpu"),
                machine["cpus"],
                word("os"),
                word("arch"),
                machine["load_average"].as_f64().unwrap_or(0.0),
            );
        }
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        let _ = writeln!(
            text,
            ": {} requests each after {WARMUPS} that are not counted. prony {}, {}.",
            self.requests,
            env!("CARGO_PKG_VERSION"),
            versions.join(", ")
        );
        for (name, reason) in &self.left_out {
            let _ = writeln!(text, "Not measured: {name} ({reason}).");
        }
        for (title, table) in &self.tables {
            let _ = write!(text, "\n## {title}\n\n{}", table.markdown());
        }
        text += "\n## Commands\n\nOf the first server that each was run against.\n\n```sh\n";
        for command in self.commands.values() {
            text += command;
            text.push('\n');
        }
        text + "```\n"
    }
}

impl Table {
    fn markdown(&self) -> String {
        let mut text = "\
| Client | Its metric | Its figure | Server, same requests | Difference | prony by its definition | Its figure over prony's |
|---|---|--:|--:|--:|--:|--:|
"
        .to_owned();
        for row in &self.rows {
            let Row {
                client,
                metric,
                unit,
                own,
                ..
            } = row;
            let or_dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
            let server = or_dash(row.server.map(|it| number(it, unit)));
            let difference = row.server.map(|it| {
                let size = number((own - it).abs(), unit);
                let is_less =
                    own - it < 0.0 && size.contains(|digit: char| ('1'..='9').contains(&digit));
                format!("{}{size} {unit}", if is_less { "-" } else { "+" })
            });
            let prony = or_dash(row.prony.map(|it| number(it, unit)));
            let ratio = or_dash(row.prony.map(|it| format!("{:.3}", own / it)));
            let _ = writeln!(
                text,
                "| {client} | {metric} | {} | {server} | {} | {prony} | {ratio} |",
                number(*own, unit),
                or_dash(difference)
            );
        }
        for note in &self.notes {
            let _ = writeln!(text, "\n{note}");
        }
        text
    }
}

/// Tokens are whole, all else has two places.
fn number(value: f64, unit: &str) -> String {
    if unit == "tokens" {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_difference_to_the_server_and_the_ratio_to_prony() {
        let row = |server, prony| Row {
            client: "other",
            metric: "TTFT (ms)",
            unit: "ms",
            own: 201.0,
            server,
            prony,
        };
        let rows = vec![row(Some(202.5), Some(200.0)), row(None, None)];
        let notes = vec!["other: 1 of 8 failed.".to_owned()];
        let text = Table { rows, notes }.markdown();
        assert!(text.ends_with("\nother: 1 of 8 failed.\n"));
        assert!(
            text.contains("| other | TTFT (ms) | 201.00 | 202.50 | -1.50 ms | 200.00 | 1.005 |")
        );
        assert!(text.contains("| other | TTFT (ms) | 201.00 | - | - | - | - |"));
    }

    #[test]
    fn what_is_written_by_hand_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("page.md");
        fs::write(&path, format!("before\n{BEGIN}\nold\n{END}\nafter\n")).expect("written");
        let mut page = Page::new(8);
        page.left_out("other", "not installed");
        page.write(&path).expect("written");
        let text = fs::read_to_string(&path).expect("read");
        assert!(text.starts_with("before\n") && text.ends_with("\nafter\n"));
        assert!(text.contains("Not measured: other (not installed).") && !text.contains("old"));
        fs::write(&path, "no marks\n").expect("written");
        page.write(&path).expect_err("it would be lost");
    }
}
