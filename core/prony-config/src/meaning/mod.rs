//! Checks on the tree that a schema cannot express, so that all problems of a file are
//! found at once. Values of the wrong shape are skipped here; the schema reports them.

mod apis;
mod engines;
mod matrix;
mod models;
mod reporters;
mod stages;
mod thresholds;
mod variables;
mod workload;

use prony_diagnostic::Diagnostic;

use crate::Plugins;
use crate::plugins::{own_name, plugin_of};
use crate::template::{Filled, is_template};
use crate::tree::{Entry, Kind, Node, Span};
use crate::wording::literal;

pub(crate) use matrix::{Combination, combinations, id_text};
pub use models::is_of_hub;
pub(crate) use stages::unreachable_in_points;
pub(crate) use thresholds::meant_of;

/// Runs all checks on a document.
///
/// `layered` states that the document is merged from several files or settings, so an
/// unused declaration is no mistake.
pub(crate) fn check(filled: &Filled, plugins: &dyn Plugins, layered: bool) -> Vec<Diagnostic> {
    let document = Document {
        root: &filled.root,
        plugins,
    };
    let mut out = Vec::new();
    if !matches!(filled.root.kind, Kind::Map(_)) {
        return out;
    }
    document.engines(&mut out);
    document.models(&mut out);
    document.workload(&mut out);
    document.apis(&mut out);
    document.matrix(filled, &mut out);
    document.stages(&mut out);
    document.reporters(&mut out);
    document.thresholds(&mut out);
    if !layered {
        document.variables(filled, &mut out);
    }
    document.allowed(&mut out);
    out
}

/// Checks that depend on the values of a matrix point.
pub(crate) fn check_point(root: &Node, plugins: &dyn Plugins) -> Vec<Diagnostic> {
    let document = Document { root, plugins };
    let mut out = Vec::new();
    document.models(&mut out);
    document.workload(&mut out);
    document.apis(&mut out);
    out
}

/// The document, with shortcuts into it.
struct Document<'a> {
    root: &'a Node,
    plugins: &'a dyn Plugins,
}

impl<'a> Document<'a> {
    /// The entry of a top-level key.
    fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.root.entry(key)
    }

    /// The engines' names with the places of their keys.
    fn engine_names(&self) -> Vec<(&'a str, Span)> {
        if let Some(engines) = self.entry("engines") {
            let entries = engines.value.entries().iter();
            return entries
                .map(|entry| (entry.key.as_str(), entry.key_span.clone()))
                .collect();
        }
        let plugin = self
            .entry("engine")
            .and_then(|engine| plugin_of(&engine.value));
        let name = plugin.and_then(|plugin| Some((own_name(plugin.text()?), plugin.span.clone())));
        name.into_iter().collect()
    }

    /// The models, each a mapping.
    fn model_nodes(&self) -> Vec<&'a Node> {
        let several = self.entry("models").map(|models| models.value.items());
        let one = self.entry("model").map(|model| &model.value);
        one.into_iter().chain(several.unwrap_or_default()).collect()
    }

    /// The well-formed stages: kind, place of the kind, content.
    fn stage_entries(&self) -> Vec<&'a Entry> {
        let stages = self.entry("stages").map(|stages| stages.value.items());
        let one = |item: &'a Node| match item.entries() {
            [entry] => Some(entry),
            _ => None,
        };
        stages.unwrap_or_default().iter().filter_map(one).collect()
    }

    /// Reports an error unless exactly one of two keys is given.
    fn one_of(&self, code: &'static str, one: &str, several: &str, out: &mut Vec<Diagnostic>) {
        let entries = (self.entry(one), self.entry(several));
        let names = (literal(one), literal(several));
        match entries {
            // The schema has already asked for a value in place of `null`.
            (Some(first), Some(second))
                if !first.value.kind.is_null() && !second.value.kind.is_null() =>
            {
                let message = format!("{} and {} are both given", names.0, names.1);
                out.push(
                    Diagnostic::error(code, message)
                        .at(second.key_span.clone(), format!("{} here", names.1))
                        .and(first.key_span.clone(), format!("{} here", names.0))
                        .help(format!("move what {} says into {}", names.0, names.1)),
                );
            }
            (None, None) if !self.misspells(one, several) => {
                let message = format!("neither {} nor {} is given", names.0, names.1);
                out.push(
                    Diagnostic::error(code, message)
                        .at(self.root.span.clone(), "in this pipeline")
                        .help(format!(
                            "add {} for one, or {} for several",
                            names.0, names.1
                        )),
                );
            }
            _ => {}
        }
    }

    /// Returns `true` if an unknown key is probably one of the two; it has then been
    /// reported.
    fn misspells(&self, one: &str, several: &str) -> bool {
        let words = [one, several];
        let known = crate::schema::keys();
        self.root.entries().iter().take(100).any(|entry| {
            !known.contains(&entry.key.as_str())
                && crate::wording::similar(&entry.key, known.iter().copied())
                    .is_some_and(|meant| words.contains(&meant))
        })
    }
}

/// Returns `true` for a template whose value is not known yet.
fn is_hole(node: &Node) -> bool {
    node.text().is_some_and(is_template)
}

/// The text of a value, if known.
fn known(node: &Node) -> Option<&str> {
    node.text().filter(|text| !is_template(text))
}

/// Returns `true` if a value is `false`.
fn is_false(node: &Node) -> bool {
    matches!(node.kind, Kind::Bool(false))
}
