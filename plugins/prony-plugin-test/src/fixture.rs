//! Recorded responses and their expected events.

use crate::encode::Made;
use prony_plugin_sdk::{Event, EventKind, Request};
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// `true` for server-sent events: a message is complete with its `data` line.
    pub(crate) sse: bool,
    pub(crate) request: Option<Request>,
    folder: PathBuf,
}

/// The fixtures in `folder`, by name, and the problems of the folder.
pub(crate) fn read(folder: &Path) -> (Vec<Fixture>, Vec<String>) {
    let (mut fixtures, mut problems) = (Vec::new(), Vec::new());
    let mut files: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) => return (fixtures, vec![format!("`{}`: {error}", folder.display())]),
    };
    files.sort();
    for path in files {
        let extension = path.extension().and_then(|it| it.to_str());
        let (Some(extension @ ("sse" | "body")), Some(name)) =
            (extension, path.file_stem().and_then(|it| it.to_str()))
        else {
            continue;
        };
        let request = folder.join(format!("{name}.request.json"));
        let request = request.exists().then(|| {
            let text = fs::read_to_string(&request).map_err(|error| error.to_string())?;
            serde_json::from_str(&text).map_err(|error| error.to_string())
        });
        let request = request.transpose().unwrap_or_else(|error: String| {
            problems.push(format!("`{name}.request.json`: {error}"));
            None
        });
        match fs::read(&path) {
            Ok(body) => fixtures.push(Fixture {
                name: name.to_owned(),
                status: status(name),
                body,
                sse: extension == "sse",
                request,
                folder: folder.to_owned(),
            }),
            Err(error) => problems.push(format!("`{}`: {error}", path.display())),
        }
    }
    if fixtures.is_empty() && problems.is_empty() {
        problems.push(format!(
            "`{}` holds no `NAME.sse` and no `NAME.body`",
            folder.display()
        ));
    }
    (fixtures, problems)
}

/// `NAME.404` → 404.
fn status(name: &str) -> u16 {
    name.rsplit_once('.')
        .and_then(|(_, number)| number.parse().ok())
        .filter(|number| (100..600).contains(number))
        .unwrap_or(200)
}

impl Fixture {
    /// Describes how `found` differs from `NAME.WHAT.json`; with `BLESS=1`, writes it.
    pub(crate) fn compare(&self, what: &str, found: &str) -> Option<String> {
        let file = format!("{}.{what}.json", self.name);
        let path = self.folder.join(&file);
        if std::env::var_os("BLESS").is_some_and(|bless| bless == "1") {
            return fs::write(&path, found)
                .err()
                .map(|error| format!("`{file}`: {error}"));
        }
        let wanted = match fs::read_to_string(&path) {
            Ok(wanted) => wanted,
            Err(error) => return Some(format!("`{file}`: {error} (`BLESS=1` writes it)")),
        };
        let [a, b] = [&wanted, found].map(|text| serde_json::from_str::<Value>(text).ok());
        if a.is_some() && a == b {
            return None;
        }
        let place = wanted.lines().zip(found.lines()).position(|(a, b)| a != b);
        let line = place.unwrap_or_else(|| wanted.lines().count().min(found.lines().count()));
        let show = |text: &str| text.lines().nth(line).unwrap_or("(nothing)").to_owned();
        Some(format!(
            "`{file}` line {}: wanted `{}`, got `{}` (`BLESS=1` accepts it)",
            line + 1,
            show(&wanted),
            show(found)
        ))
    }
}

/// One event a line, without the read, since that depends on the cuts.
pub(crate) fn events(events: &[Event]) -> String {
    let lines: Vec<String> = events
        .iter()
        .map(|event| {
            let mut line = Map::new();
            line.insert("kind".to_owned(), serde_json::json!(event.kind));
            if event.tokens != 0 || event.text.is_empty() && counts(event.kind) {
                line.insert("tokens".to_owned(), event.tokens.into());
            }
            if event.ns != 0 {
                line.insert("ns".to_owned(), event.ns.into());
            }
            if !event.text.is_empty() {
                line.insert("text".to_owned(), event.text.as_str().into());
            }
            format!("  {}", Value::Object(line))
        })
        .collect();
    if lines.is_empty() {
        "[]\n".to_owned()
    } else {
        format!("[\n{}\n]\n", lines.join(",\n"))
    }
}

fn counts(kind: EventKind) -> bool {
    use EventKind::{CachedTokens, OutputTokens, PromptTokens, ReasoningTokens};
    matches!(
        kind,
        OutputTokens | PromptTokens | CachedTokens | ReasoningTokens
    )
}

/// The exchange or the message, with a JSON body or line as JSON.
pub(crate) fn made(made: &Made) -> String {
    let (mut value, key) = match made {
        Made::Exchange(exchange) => (serde_json::json!(exchange), "body"),
        Made::Message(message) => (serde_json::json!(message), "line"),
    };
    if let Ok(body) = serde_json::from_str::<Value>(made.body()) {
        value[key] = body;
    }
    format!("{value:#}\n")
}
