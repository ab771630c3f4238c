//! Recorded responses and their expected events.

use crate::Problem;
use crate::encode::Made;
use crate::files;
use prony_contract::{Event, EventKind, HttpRequest, Pair, Request, Response};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Headers of the answer, names in lower case, if it was recorded.
    pub(crate) headers: Vec<Pair>,
    /// `true` for server-sent events: a message is complete with its `data` line.
    pub(crate) sse: bool,
    pub(crate) request: Option<Request>,
    /// End offsets of the reads in which it arrived, if it was recorded.
    pub(crate) reads: Option<Vec<u32>>,
    folder: PathBuf,
}

/// `NAME.response.json`, as far as the checks need it.
#[derive(Deserialize)]
struct Recorded {
    ends: Vec<u32>,
    #[serde(default)]
    headers: Vec<(String, String)>,
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
        let request = json(folder, name, "request", &mut problems);
        let recorded: Option<Recorded> = json(folder, name, "response", &mut problems);
        match files::read(&path) {
            Ok(body) => {
                let (reads, headers) = recorded.map(|it| (it.ends, it.headers)).unzip();
                let headers: Vec<(String, String)> = headers.unwrap_or_default();
                let headers = headers.into_iter();
                let headers = headers
                    .map(|(name, value)| Pair::new(name, value))
                    .collect();
                let is_whole =
                    |ends: &Vec<u32>| ends.last().map_or(0, |it| *it as usize) == body.len();
                if reads.as_ref().is_some_and(|ends| !is_whole(ends)) {
                    problems.push(format!(
                        "`{name}.response.json`: its reads end elsewhere than the body of {} bytes",
                        body.len()
                    ));
                }
                fixtures.push(Fixture {
                    name: name.to_owned(),
                    status: status(name),
                    reads: reads.filter(is_whole),
                    body,
                    headers,
                    sse: extension == "sse",
                    request,
                    folder: folder.to_owned(),
                });
            }
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

/// `NAME.WHAT.json`, if it is there.
fn json<T: serde::de::DeserializeOwned>(
    folder: &Path,
    name: &str,
    what: &str,
    problems: &mut Vec<String>,
) -> Option<T> {
    let file = format!("{name}.{what}.json");
    let path = folder.join(&file);
    if !path.exists() {
        return None;
    }
    let read = files::read_text(&path).map_err(|error| error.to_string());
    let value = read.and_then(|text| serde_json::from_str(&text).map_err(|it| it.to_string()));
    value
        .map_err(|error| problems.push(format!("`{file}`: {error}")))
        .ok()
}

/// `NAME.404` → 404.
fn status(name: &str) -> u16 {
    name.rsplit_once('.')
        .and_then(|(_, number)| number.parse().ok())
        .filter(|number| (100..600).contains(number))
        .unwrap_or(200)
}

/// The name of a fixture's files, without the last extension: `NAME`, with the status if it is
/// not 200.
pub fn file_stem(name: &str, status: u16) -> String {
    match status {
        200 => name.to_owned(),
        status => format!("{name}.{status}"),
    }
}

impl Fixture {
    /// The answer, or its beginning, as read up to each of `ends`.
    pub(crate) fn response<'f>(&'f self, body: &'f [u8], ends: &'f [u32]) -> Response<'f> {
        Response {
            status: self.status,
            headers: &self.headers,
            body,
            ends,
        }
    }

    /// Describes how `found` differs from `NAME.WHAT.json`; with `bless`, writes it.
    pub(crate) fn compare(&self, what: &str, found: &str, bless: bool) -> Option<Problem> {
        let file = format!("{}.{what}.json", self.name);
        let path = self.folder.join(&file);
        if bless {
            let written = files::replace(&path, found).err();
            return written.map(|error| format!("`{file}`: {error}").into());
        }
        let wanted = match files::read_text(&path) {
            Ok(wanted) => wanted,
            Err(error) => {
                return Some(
                    format!(
                        "`{file}`: {error} (`--bless`, or `BLESS=1` in a test of Rust, writes it)"
                    )
                    .into(),
                );
            }
        };
        let [a, b] = [&wanted, found].map(|text| serde_json::from_str::<Value>(text).ok());
        if a.is_some() && a == b {
            return None;
        }
        let place = wanted.lines().zip(found.lines()).position(|(a, b)| a != b);
        let line = place.unwrap_or_else(|| wanted.lines().count().min(found.lines().count()));
        let show = |text: &str| text.lines().nth(line).unwrap_or("(nothing)").to_owned();
        Some(Problem {
            message: format!(
                "`{file}` line {}: wanted `{}`, got `{}` (`--bless`, or `BLESS=1` in a test of Rust, accepts it)",
                line + 1,
                show(&wanted),
                show(found)
            ),
            diff: Some(diff(&wanted, found, line)),
        })
    }
}

/// The lines around the first difference, which is in `line`, counted from 0.
fn diff(wanted: &str, found: &str, line: usize) -> String {
    const BEFORE: usize = 2;
    const SHOWN: usize = 3;
    let mut diff = Vec::new();
    let from = line.saturating_sub(BEFORE);
    let before = wanted.lines().skip(from).take(line - from);
    diff.extend(before.map(|it| format!("  {it}")));
    let there: Vec<&str> = wanted.lines().skip(line).take(SHOWN).collect();
    let here: Vec<&str> = found.lines().skip(line).take(SHOWN).collect();
    // Lines that both have end the difference.
    let mut same = 0;
    while same < there.len().min(here.len())
        && there[there.len() - 1 - same] == here[here.len() - 1 - same]
    {
        same += 1;
    }
    let (there, after) = there.split_at(there.len() - same);
    diff.extend(there.iter().map(|it| format!("- {it}")));
    diff.extend(here[..here.len() - same].iter().map(|it| format!("+ {it}")));
    diff.extend(after.iter().map(|it| format!("  {it}")));
    diff.join("\n")
}

/// Events as in `NAME.events.json`: one a line, without the read, since that depends on the cuts.
pub fn events(events: &[Event]) -> String {
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

/// An exchange as in `NAME.http.json`, with a JSON body as JSON.
pub fn exchange_json(exchange: &HttpRequest) -> String {
    made(&Made::Exchange(exchange.clone()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_shown_with_its_surroundings() {
        let wanted = "[\n  a,\n  b,\n  c,\n  d\n]\n";
        assert_eq!(
            diff(wanted, "[\n  a,\n  b,\n  x,\n  d\n]\n", 3),
            "    a,\n    b,\n-   c,\n+   x,\n    d\n  ]"
        );
        assert_eq!(
            diff(wanted, "[\n  a\n", 1),
            "  [\n-   a,\n-   b,\n-   c,\n+   a"
        );
    }
}
