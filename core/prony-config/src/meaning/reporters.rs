//! Checks of the reporters.

use std::collections::HashMap;

use prony_diagnostic::Diagnostic;

use super::{Document, known};
use crate::schema::check_bare_plugin;
use crate::tree::{Entry, Span};
use crate::wording::{alternatives, literal, similar};
use crate::{PluginKind, Report, codes};

impl Document<'_> {
    /// Checks that the `report` stage names reporters: each an entry of `reporters`, or
    /// else an installed plugin.
    pub(super) fn reporters(&self, out: &mut Vec<Diagnostic>) {
        let stages = self.stage_entries();
        let report = stages.iter().find(|stage| stage.key == "report");
        let defined = self.entry("reporters").map(|entry| entry.value.entries());
        let defined = defined.unwrap_or_default();
        let listed = report.and_then(|report| report.value.entry("reporters"));
        let used: Vec<(String, Span)> = if let Some(listed) = listed {
            let names = listed.value.items().iter();
            names
                .filter_map(|item| Some((known(item)?.to_owned(), item.span.clone())))
                .collect()
        } else {
            let stages = self.entry("stages").map(|stages| stages.key_span.clone());
            let Some(span) = report.map(|report| report.key_span.clone()).or(stages) else {
                return; // there is no `stages` to go by
            };
            let names = Report::default().reporters.into_iter();
            names.map(|name| (name, span.clone())).collect()
        };
        let mut seen: HashMap<&str, &Span> = HashMap::new();
        for (name, span) in &used {
            if let Some(first) = seen.insert(name, span) {
                let message = format!("the reporter {} is named twice", literal(name));
                out.push(
                    Diagnostic::error(codes::DUPLICATE_REPORTER, message)
                        .at(span.clone(), "named again")
                        .and(first.clone(), "named here")
                        .help("remove one"),
                );
            } else if !defined.iter().any(|entry| entry.key == *name) {
                out.extend(self.plugin_alone(name, span, defined));
            }
        }
        for entry in defined
            .iter()
            .filter(|entry| !seen.contains_key(entry.key.as_str()))
        {
            let message = format!("the reporter {} is not used", literal(&entry.key));
            out.push(
                Diagnostic::warning(codes::UNUSED_REPORTER, message)
                    .at(entry.key_span.clone(), "not in the `report` stage")
                    .help("add it to the stage's `reporters`, or remove it"),
            );
        }
    }

    /// Checks a reporter without options, which is the plugin of that name.
    fn plugin_alone(&self, name: &str, span: &Span, defined: &[Entry]) -> Vec<Diagnostic> {
        let kind = PluginKind::Reporter;
        match self.plugins.config_schema(kind, name) {
            Some(schema) => check_bare_plugin(&schema, name, span),
            None => vec![self.unknown_reporter(name, span.clone(), defined)],
        }
    }

    fn unknown_reporter(&self, name: &str, span: Span, defined: &[Entry]) -> Diagnostic {
        let plugins = self.plugins.names(PluginKind::Reporter);
        let defined = defined.iter().map(|entry| entry.key.as_str());
        let mut names: Vec<&str> = defined.chain(plugins.iter().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        let message = format!("unknown reporter {}", literal(name));
        let label = "neither under `reporters` nor an installed plugin";
        let mut problem =
            Diagnostic::error(codes::UNKNOWN_REPORTER, message).at(span.clone(), label);
        if !names.is_empty() {
            problem = problem.note(alternatives("known", name, &names));
        }
        if let Some(meant) = similar(name, names.iter().copied()) {
            problem = problem.suggest("a reporter with a similar name exists", span, meant);
        }
        if self
            .plugins
            .config_schema(PluginKind::Engine, name)
            .is_some()
        {
            return problem.note(format!("{} is an engine plugin", literal(name)));
        }
        problem.help("see `prony plugin list`, or install it with `prony plugin add`")
    }
}
