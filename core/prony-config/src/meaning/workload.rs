//! Checks of the workload.

use prony_diagnostic::Diagnostic;

use super::Document;
use crate::tree::{Entry, Kind, Node};
use crate::wording::{literal, similar};
use crate::{Workload, codes};

impl Document<'_> {
    pub(super) fn workload(&self, out: &mut Vec<Diagnostic>) {
        let Some(section) = self.entry("workload") else {
            return;
        };
        if section.value.kind.is_null() || section.value.text().is_some() {
            return;
        }
        source(section, out);
        lengths(&section.value, out);
        dataset(&section.value, out);
        with_completions(&section.value, out);
    }
}

/// Checks that prompts come from one source.
fn source(section: &Entry, out: &mut Vec<Diagnostic>) {
    let entries = Workload::SOURCES.map(|key| section.value.entry(key));
    let mut given = entries.into_iter().flatten();
    let Some(first) = given.next() else {
        // A misspelt one has been reported.
        let misspelt = |entry: &Entry| similar(&entry.key, Workload::SOURCES).is_some();
        if !section.value.entries().iter().take(100).any(misspelt) {
            out.push(
                Diagnostic::error(codes::WORKLOAD_SOURCE, "the workload has no prompts")
                    .at(section.key_span.clone(), "does not say what is sent")
                    .note("prompts come from `prompts`, `prompt_files`, `dataset` or `synthetic`")
                    .help("add `prompts: [What is machine learning?]`, or one of the others"),
            );
        }
        return;
    };
    for second in given {
        let names = (literal(&first.key), literal(&second.key));
        out.push(
            Diagnostic::error(
                codes::WORKLOAD_SOURCE,
                format!("{} and {} are both given", names.0, names.1),
            )
            .at(
                second.key_span.clone(),
                "says again where prompts come from",
            )
            .and(first.key_span.clone(), "says it first")
            .help(format!(
                "remove one of them; in an overlay, by `{}: null`",
                first.key
            )),
        );
    }
}

/// Checks that bounds are in order and prefixes fit.
fn lengths(workload: &Node, out: &mut Vec<Diagnostic>) {
    let Some(synthetic) = workload.entry("synthetic") else {
        return;
    };
    for key in ["input_tokens", "output_tokens"] {
        let Some(length) = synthetic.value.entry(key) else {
            continue;
        };
        for kind in length.value.entries() {
            bounds(key, &kind.value, out);
        }
    }
    let prefix = synthetic.value.entry("prefix");
    let Some(tokens) = prefix.and_then(|it| it.value.entry("tokens")) else {
        return;
    };
    let input = synthetic.value.entry("input_tokens");
    let Some(least) = input.and_then(|input| match input.value.entries() {
        [fixed] if fixed.key == "fixed" => Some(&fixed.value),
        [other] => other.value.entry("min").map(|min| &min.value),
        _ => None,
    }) else {
        return;
    };
    if let (Some(prefix), Some(shortest)) = (number(&tokens.value), number(least))
        && prefix >= shortest
    {
        out.push(
            Diagnostic::error(
                codes::LENGTHS,
                "a prefix is as long as a whole prompt, or longer",
            )
            .at(
                tokens.value.span.clone(),
                format!("expected less than {shortest}"),
            )
            .and(least.span.clone(), "the shortest prompt")
            .note("`input_tokens` counts the prefix as well")
            .help("make the prefix shorter, or the prompts longer"),
        );
    }
}

/// Checks that the bounds of a dataset's lengths are in order, and that `column` has a format
/// that reads it.
fn dataset(workload: &Node, out: &mut Vec<Diagnostic>) {
    let Some(dataset) = workload.entry("dataset") else {
        return;
    };
    for key in ["input_chars", "input_tokens", "output_tokens"] {
        if let Some(length) = dataset.value.entry(key) {
            bounds(key, &length.value, out);
        }
    }
    let number_of = |key| dataset.value.entry(key).and_then(|it| number(&it.value));
    if let (Some(sample), Some(limit)) = (number_of("sample"), number_of("limit"))
        && sample > limit
        && let Some(entry) = dataset.value.entry("sample")
    {
        out.push(
            Diagnostic::error(codes::LENGTHS, "`sample` is more than `limit`")
                .at(
                    entry.value.span.clone(),
                    format!("drawn from {limit} conversations"),
                )
                .note("`sample` draws from the first `limit` conversations, each at most once")
                .help("raise `limit`, or leave it out to draw from the whole file"),
        );
    }
    if let (Some(column), Some(format)) =
        (dataset.value.entry("column"), dataset.value.entry("format"))
        && let Some(name) = format.value.text()
        && !["column", "guidellm"].contains(&name)
    {
        out.push(
            Diagnostic::error(
                codes::WORKLOAD_SOURCE,
                format!("`column` does not go with the format {}", literal(name)),
            )
            .at(column.key_span.clone(), "says where the prompts are")
            .and(format.value.span.clone(), "says it, too")
            .help("remove one of the two"),
        );
    }
}

/// Checks that a minimum is no more than its maximum.
fn bounds(key: &str, length: &Node, out: &mut Vec<Diagnostic>) {
    if let (Some(min), Some(max)) = (length.entry("min"), length.entry("max"))
        && let (Some(least), Some(most)) = (number(&min.value), number(&max.value))
        && least > most
    {
        out.push(
            Diagnostic::error(
                codes::LENGTHS,
                format!("the least of {} is more than the most", literal(key)),
            )
            .at(min.value.span.clone(), format!("more than {most}"))
            .and(max.value.span.clone(), "the most")
            .help("swap the two"),
        );
    }
}

/// Finds options that have no effect with plain prompts.
fn with_completions(workload: &Node, out: &mut Vec<Diagnostic>) {
    let Some(api) = workload.entry("api") else {
        return;
    };
    if api.value.text() != Some("completions") {
        return;
    }
    for (key, code, help) in [
        (
            "system",
            codes::SYSTEM_PROMPT,
            "use `api: chat`, or put the text into the prompts",
        ),
        ("images", codes::IMAGES, "use `api: chat`"),
    ] {
        if let Some(entry) = workload.entry(key) {
            let message = format!("{} does not go with `completions`", literal(key));
            out.push(
                Diagnostic::error(code, message)
                    .at(entry.key_span.clone(), "would not be sent")
                    .and(api.value.span.clone(), "sends prompts as they are")
                    .help(help),
            );
        }
    }
}

/// A number of tokens, if known.
fn number(node: &Node) -> Option<u64> {
    match &node.kind {
        Kind::Number(number) => number.as_u64(),
        _ => None,
    }
}
