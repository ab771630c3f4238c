//! The models.

use std::collections::HashMap;

use prony_diagnostic::Diagnostic;

use super::{Document, is_false, known};
use crate::codes;
use crate::tree::Node;
use crate::wording::literal;

impl Document<'_> {
    pub(super) fn models(&self, out: &mut Vec<Diagnostic>) {
        self.one_of(codes::MODEL_CHOICE, "model", "models", out);
        let models = self.model_nodes();
        let mut seen = HashMap::new();
        for id in models.iter().filter_map(|model| model.entry("id")) {
            let Some(text) = known(&id.value) else {
                continue;
            };
            if let Some(first) = seen.insert(text, id.value.span.clone()) {
                let message = format!("the model {} is given twice", literal(text));
                out.push(
                    Diagnostic::error(codes::DUPLICATE_MODEL, message)
                        .at(id.value.span.clone(), "given again")
                        .and(first, "given here")
                        .help("remove one, or give them different ids"),
                );
            }
        }
        for model in &models {
            fetched(model, out);
        }
        let off = |model: &&Node| model.entry("enabled").is_some_and(|e| is_false(&e.value));
        if !models.is_empty() && models.iter().all(off) {
            let section = self.entry("models").or_else(|| self.entry("model"));
            let span =
                section.map_or_else(|| self.root.span.clone(), |entry| entry.key_span.clone());
            out.push(
                Diagnostic::error(codes::NO_MODEL, "no model is enabled")
                    .at(span, "all are switched off")
                    .help("remove `enabled: false` from at least one model"),
            );
        }
    }
}

/// Finds models that cannot be fetched as they are written.
fn fetched(model: &Node, out: &mut Vec<Diagnostic>) {
    let Some(files) = model.entry("files") else {
        return;
    };
    if let Some(path) = model.entry("path") {
        out.push(
            Diagnostic::error(codes::MODEL_FILES, "a model has either `path` or `files`")
                .at(path.key_span.clone(), "is here")
                .and(files.key_span.clone(), "are fetched")
                .help("remove one: with `files` prony fetches the model from the Hugging Face hub"),
        );
    }
    let id = model.entry("id");
    if let Some((entry, id)) = id.and_then(|id| Some((id, known(&id.value)?)))
        && !is_of_hub(id)
    {
        out.push(
            Diagnostic::error(codes::MODEL_FILES, format!("{} is no model of the Hugging Face hub", literal(id)))
                .at(entry.value.span.clone(), "is its id there")
                .and(files.key_span.clone(), "are fetched")
                .help("write `organisation/name`, as in the address of the model's page; or give its `path` instead of `files`"),
        );
    }
    let names = files.value.items().iter();
    let paths = names.chain(model.entry("revision").map(|it| &it.value));
    for node in paths {
        let Some(path) = known(node).filter(|path| !is_path_of_hub(path)) else {
            continue;
        };
        out.push(
            Diagnostic::error(codes::MODEL_FILES, format!("{} is no name within the hub", literal(path)))
                .at(node.span.clone(), "has an empty part, `.`, `..`, `\\`, or white space at an end")
                .help("write the file's path from the top of the repository, such as `model.gguf` or `q4/*.gguf`; a revision is a branch, a tag or a commit"),
        );
    }
}

/// Returns `true` for the path of a file, or a pattern of some, and for a revision. prony-hub checks
/// them, too, before it asks.
fn is_path_of_hub(path: &str) -> bool {
    let is_part = |part: &str| {
        !["", ".", ".."].contains(&part)
            && !part.contains('\\')
            && !part.chars().any(char::is_control)
    };
    path.trim() == path && path.split('/').all(is_part)
}

/// Returns `true` for the id of a model on the hub: `organisation/name`, or the name alone, of
/// models from the hub's first days. As prony-hub checks it before it asks.
/// <https://huggingface.co/docs/huggingface_hub/package_reference/utilities#huggingface_hub.utils.validate_repo_id>
pub fn is_of_hub(id: &str) -> bool {
    let is_part = |part: &str| {
        (1..=96).contains(&part.len())
            && part
                .chars()
                .all(|it| it.is_ascii_alphanumeric() || "-_.".contains(it))
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
            && !part.contains("--")
            && !part.contains("..")
    };
    id.split('/').count() <= 2 && id.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::is_of_hub;

    #[test]
    fn an_id_that_validate_takes_is_one_that_the_hub_takes() {
        for id in ["gpt2", "Qwen/Qwen2.5-0.5B-Instruct-GGUF", "a/b_c.d"] {
            assert!(is_of_hub(id), "{id}");
        }
        for id in [
            "", "/", "a/", "a/b/c", "a/b--c", "a/b-", "../b", "a/.b", "a b/c",
        ] {
            assert!(!is_of_hub(id), "{id:?}");
        }
        assert!(!is_of_hub(&format!("a/{}", "b".repeat(97))));
    }
}
