//! For code scanning and editors: the Static Analysis Results Interchange
//! Format, version 2.1.0. The sections meant are those of
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{MAIN_SEPARATOR_STR, Path};

use serde::Serialize;

use super::{Spot, pretty, words};
use crate::{Diagnostic, Place, Suggestion};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

#[derive(Serialize)]
struct Log<'a> {
    version: &'static str,
    #[serde(rename = "$schema")]
    schema: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Tool<'a>,
    column_kind: &'static str,
    results: Vec<Finding<'a>>,
}

#[derive(Serialize)]
struct Tool<'a> {
    driver: Driver<'a>,
}

#[derive(Serialize)]
struct Driver<'a> {
    name: &'static str,
    version: &'static str,
    rules: Vec<Rule<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    short_description: Option<Message>,
}

/// A `result` object.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding<'a> {
    rule_id: &'a str,
    rule_index: usize,
    level: &'static str,
    message: Message,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fixes: Vec<Fix<'a>>,
}

#[derive(Serialize, PartialEq)]
struct Message {
    text: String,
}

#[derive(Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: PhysicalLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
}

#[derive(Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Serialize, PartialEq)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: usize,
    start_column: usize,
    end_line: usize,
    end_column: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fix<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Message>,
    artifact_changes: [ArtifactChange<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactChange<'a> {
    artifact_location: ArtifactLocation,
    replacements: [Replacement<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Replacement<'a> {
    deleted_region: Region,
    inserted_content: Content<'a>,
}

#[derive(Serialize)]
struct Content<'a> {
    text: &'a str,
}

/// Renders diagnostics as one SARIF 2.1.0 log. `describe` gives what a code
/// stands for, if that is known.
///
/// Lines and columns count from 1, columns in characters; the end is
/// exclusive. A relative path stays relative, so it is up to the reader to
/// know the folder that paths start from.
pub fn sarif(diagnostics: &[Diagnostic], describe: &dyn Fn(&str) -> Option<String>) -> String {
    let codes: BTreeSet<&str> = diagnostics.iter().map(|it| it.code).collect();
    let codes: Vec<&str> = codes.into_iter().collect();
    let rules = codes.iter().map(|code| Rule {
        id: code,
        short_description: describe(code).and_then(|text| message(&text)),
    });
    pretty(&Log {
        version: "2.1.0",
        schema: SCHEMA,
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: "prony",
                    version: env!("CARGO_PKG_VERSION"),
                    rules: rules.collect(),
                },
            },
            column_kind: "unicodeCodePoints",
            results: diagnostics.iter().map(|it| finding(it, &codes)).collect(),
        }],
    })
}

fn finding<'a>(diagnostic: &'a Diagnostic, codes: &[&str]) -> Finding<'a> {
    let mut related_locations = Vec::new();
    for label in &diagnostic.secondary {
        let location = Spot::of_label(diagnostic, label)
            .map(|spot| location(spot, message(&label.text)))
            // None may be listed twice (3.27.22).
            .filter(|location| !related_locations.contains(location));
        related_locations.extend(location);
    }
    Finding {
        rule_id: diagnostic.code,
        rule_index: codes.partition_point(|code| *code < diagnostic.code),
        level: diagnostic.severity.name(),
        message: Message {
            text: escaped(&words(diagnostic).join("\n")),
        },
        locations: Spot::of(diagnostic)
            .map(|spot| location(spot, None))
            .into_iter()
            .collect(),
        related_locations,
        fixes: diagnostic
            .suggestion
            .as_ref()
            .and_then(|suggestion| fix(diagnostic, suggestion))
            .into_iter()
            .collect(),
    }
}

fn location(spot: Spot<'_>, message: Option<Message>) -> Location {
    Location {
        physical_location: PhysicalLocation {
            artifact_location: artifact(spot.file),
            region: spot.range.map(region),
        },
        message,
    }
}

fn fix<'a>(diagnostic: &'a Diagnostic, suggestion: &'a Suggestion) -> Option<Fix<'a>> {
    let spot = Spot::of_edit(diagnostic, suggestion)?;
    Some(Fix {
        description: message(&suggestion.message),
        artifact_changes: [ArtifactChange {
            artifact_location: artifact(spot.file),
            replacements: [Replacement {
                deleted_region: region(spot.range?),
                inserted_content: Content {
                    text: &suggestion.replacement,
                },
            }],
        }],
    })
}

fn region(range: Range<Place>) -> Region {
    Region {
        start_line: range.start.line,
        start_column: range.start.column,
        end_line: range.end.line,
        end_column: range.end.column,
    }
}

/// A message, of which there is none without text (3.11.8).
fn message(text: &str) -> Option<Message> {
    (!text.is_empty()).then(|| Message {
        text: escaped(text),
    })
}

/// Braces stand for arguments unless they are doubled (3.11.5).
fn escaped(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

fn artifact(path: &str) -> ArtifactLocation {
    ArtifactLocation { uri: uri(path) }
}

/// A path as a URI reference: forward slashes, and everything escaped that
/// could be read as another part of a URI, such as a colon or a question mark.
fn uri(path: &str) -> String {
    let slashed = path.replace(MAIN_SEPARATOR_STR, "/");
    let (mut uri, rest) = if Path::new(path).is_absolute() {
        ("file:///".to_owned(), slashed.trim_start_matches('/'))
    } else {
        (String::new(), slashed.as_str())
    };
    for byte in rest.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}
