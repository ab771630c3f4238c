//! Reporters: every result becomes files that hold all engines, whatever the texts are.

use crate::samples::{self, HEADING, LINK, SCRIPT, Sample, TITLE};
use crate::{Answer, Fault, Kit, adapter, bad_configs};
use prony_contract::{Artifact, ErrorKind, artifact};
use serde_json::Value;

pub(crate) fn configs(kit: &mut Kit<'_>) {
    adapter::check(kit);
    let Some(sample) = samples::all().into_iter().next() else {
        return;
    };
    let config = kit.settings.config.clone();
    if let Err(fault) = render(kit, &config, &sample) {
        kit.finding("config", format!("the config is refused (give one with `--config`, or as `config` in `fixtures/kit.json`): {fault}"));
    }
    for (what, config) in bad_configs(&kit.settings.config) {
        match render(kit, &config, &sample) {
            Err(Fault::Reported(error)) if error.kind == ErrorKind::InvalidConfig => {}
            Err(fault) => kit.finding(
                "config",
                format!("{what} must give an `invalid-config` error: {fault}"),
            ),
            Ok(_) => kit.finding("config", format!("{what} is accepted")),
        }
    }
    kit.done(
        "config",
        "the example is accepted, nonsense is not".to_owned(),
    );
}

fn render(kit: &Kit<'_>, config: &Value, sample: &Sample) -> Answer<Vec<Artifact>> {
    kit.subject.render(config, &sample.result.to_string())
}

pub(crate) fn check(kit: &mut Kit<'_>) {
    let config = kit.settings.config.clone();
    let samples = samples::all();
    let mut made = Vec::new();
    for sample in &samples {
        let artifacts = render(kit, &config, sample);
        let mut detail = sample.name.to_owned();
        match &artifacts {
            Err(fault) => kit.finding("render", format!("{}: {fault}", sample.name)),
            Ok(artifacts) => {
                let names: Vec<&str> = artifacts.iter().map(|it| it.name.as_str()).collect();
                detail = format!("{}: {}", sample.name, names.join(", "));
                for problem in problems(sample, artifacts) {
                    kit.finding("render", format!("{}: {problem}", sample.name));
                }
                if render(kit, &config, sample).as_ref() != Ok(artifacts) {
                    kit.finding("render", format!("{}: differs each time", sample.name));
                }
            }
        }
        kit.done("render", detail);
        made.push(artifacts);
    }
    for (sample, artifacts) in samples.iter().zip(made) {
        if artifacts.is_ok() && render(kit, &config, sample) != artifacts {
            let name = sample.name;
            kit.finding(
                "render",
                format!("{name}: differs after other results: something is kept between them"),
            );
        }
    }
    kit.done("render", "the same after all other results".to_owned());
}

fn problems(sample: &Sample, artifacts: &[Artifact]) -> Vec<String> {
    let mut problems = Vec::new();
    if artifacts.is_empty() {
        problems.push("nothing is made".to_owned());
    }
    problems.extend(artifact::artifacts_problem(artifacts));
    let mut all = String::new();
    for artifact in artifacts {
        let name = &artifact.name;
        match text(artifact) {
            Ok(Some(text)) => {
                let found = if sample.is_hostile {
                    escapes(artifact, text)
                } else {
                    None
                };
                let found = found.or_else(|| broken(artifact, text));
                problems.extend(found.map(|what| format!("`{name}`: {what}")));
                all.push_str(text);
                all.push('\n');
            }
            Ok(None) => {}
            Err(what) => problems.push(format!("`{name}`: {what}")),
        }
    }
    let is_binary = artifacts.iter().any(|it| matches!(text(it), Ok(None)));
    // Nobody reads names out of an image.
    for engine in sample.engines.iter().filter(|_| !is_binary) {
        if !all.contains(engine.as_str()) {
            problems.push(format!("the engine `{engine}` is in no artifact"));
        }
    }
    problems
}

/// The text of an artifact; `None` if it is none by its media type.
fn text(artifact: &Artifact) -> Result<Option<&str>, String> {
    let kind = artifact.media_type.to_ascii_lowercase();
    if !kind.contains('/') {
        return Err(format!("`{}` is no media type", artifact.media_type));
    }
    let is_text = kind.starts_with("text/")
        || [
            "json",
            "xml",
            "svg",
            "yaml",
            "csv",
            "javascript",
            "openmetrics",
        ]
        .iter()
        .any(|it| kind.contains(it));
    if !is_text && artifact.name != "stdout" {
        return Ok(None);
    }
    let text = std::str::from_utf8(&artifact.bytes);
    text.map(Some)
        .map_err(|error| format!("it is no UTF-8: {error}"))
}

fn is_a(artifact: &Artifact, media: &str, extensions: &[&str]) -> bool {
    let name = artifact.name.to_ascii_lowercase();
    artifact.media_type.to_ascii_lowercase().contains(media)
        || extensions.iter().any(|it| name.ends_with(it))
}

/// The way in which a text is not what its media type says.
fn broken(artifact: &Artifact, text: &str) -> Option<String> {
    let is_lines = artifact.name.to_ascii_lowercase().ends_with(".jsonl");
    if !is_a(artifact, "json", &[".json"]) || is_lines {
        return None;
    }
    let parsed = serde_json::from_str::<Value>(text).err();
    parsed.map(|error| format!("it is no JSON: {error}"))
}

/// The way in which a text of the result became more than a text.
fn escapes(artifact: &Artifact, text: &str) -> Option<String> {
    let says = |what: &str, found: &str| {
        Some(format!(
            "{what}, `{}`, is in it unescaped",
            found.escape_debug()
        ))
    };
    if text.contains(TITLE) || text.contains('\u{7}') {
        return says("a control sequence of a terminal", TITLE);
    }
    let is_markdown = is_a(artifact, "markdown", &[".md"]);
    let is_html = is_a(artifact, "html", &[".html", ".htm"]) || is_a(artifact, "svg", &[".svg"]);
    if is_html && text.contains("<script>alert") {
        return says("a script", SCRIPT);
    }
    if is_markdown {
        let plain = without_code(text);
        if plain.lines().any(|line| line.starts_with(HEADING)) {
            return says("a heading", HEADING);
        }
        if plain.contains("<script>") && !plain.contains("\\<script>") {
            return says("a script", SCRIPT);
        }
        if plain.lines().any(has_link) {
            return says("a link", LINK);
        }
    }
    None
}

/// Returns `true` if a line has the link, with brackets that are not escaped.
fn has_link(line: &str) -> bool {
    let is_plain = |at: usize| !line[..at].ends_with('\\');
    line.match_indices(LINK).any(|(at, _)| {
        let mut opened = line[..at].match_indices('[');
        is_plain(at) && opened.any(|(at, _)| is_plain(at))
    })
}

/// Markdown without blocks and spans of code, in which nothing has a meaning.
fn without_code(text: &str) -> String {
    let mut plain = String::new();
    let mut fence: Option<String> = None;
    for line in text.lines() {
        let ticks: String = line
            .trim_start()
            .chars()
            .take_while(|it| *it == '`')
            .collect();
        match &fence {
            Some(open) if ticks.len() >= open.len() && line.trim() == ticks => fence = None,
            Some(_) => {}
            None if ticks.len() >= 3 && !line.trim_start()[ticks.len()..].contains('`') => {
                fence = Some(ticks);
            }
            None => {
                plain.push_str(&without_spans(line));
                plain.push('\n');
            }
        }
    }
    plain
}

/// A line without its spans of code: from a run of backticks to the next that is as long.
fn without_spans(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('`') {
        if rest[..at].ends_with('\\') {
            plain.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
            continue;
        }
        plain.push_str(&rest[..at]);
        let length = rest[at..].bytes().take_while(|byte| *byte == b'`').count();
        let after = &rest[at + length..];
        let mut from = 0;
        let close = loop {
            let Some(found) = after[from..].find('`') else {
                break None;
            };
            let found = from + found;
            let run = after[found..]
                .bytes()
                .take_while(|byte| *byte == b'`')
                .count();
            if run == length {
                break Some(found + run);
            }
            from = found + run;
        };
        rest = if let Some(end) = close {
            &after[end..]
        } else {
            plain.push_str(&rest[at..at + length]);
            after
        };
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_left_out_of_markdown() {
        assert_eq!(without_code("a `<b>` c ``d ` e`` f\n"), "a  c  f\n");
        assert_eq!(without_code("a \\`<b>` c\n"), "a \\`<b>` c\n");
        assert_eq!(without_code("````\n<b>\n```\n````\nc\n"), "c\n");
    }

    #[test]
    fn what_is_more_than_a_text_is_found() {
        let found = |name: &str, media_type: &str, text: &str| {
            escapes(&Artifact::text(name, media_type, text), text).is_some()
        };
        assert!(found("a.html", "text/html", &format!("<p>{SCRIPT}")));
        assert!(!found("a.html", "text/html", "<p>&lt;script>alert(1)"));
        assert!(found("a.md", "text/markdown", &format!("- {SCRIPT}")));
        assert!(!found("a.md", "text/markdown", &format!("- `{SCRIPT}`")));
        assert!(found("a.md", "text/markdown", &format!("[x{LINK}")));
        assert!(!found("a.md", "text/markdown", &format!("\\[x{LINK}")));
        assert!(found("stdout", "text/plain", TITLE));
        assert!(found("a.md", "text/markdown", &format!("x\n{HEADING}")));
        assert!(!found(
            "a.md",
            "text/markdown",
            &format!("```\n{HEADING}\n```\n")
        ));
        assert!(!found("a.txt", "text/plain", SCRIPT));
    }
}
