//! Which reporters write the results.

use std::collections::HashMap;

use prony_diagnostic::Diagnostic;

use super::Context;
use crate::file::PluginUse;
use crate::schema::check_bare_plugin;
use crate::tree::Span;
use crate::wording::{list, literal, nearest, similar};
use crate::{Ordered, PluginKind, Reporter, codes};

impl Context<'_> {
    /// The reporters that the `report` stage names: one with options from
    /// `reporters`, or else the plugin of that name.
    pub(super) fn reporters(
        &self,
        used: Option<&[String]>,
        defined: Ordered<PluginUse>,
        out: &mut Vec<Diagnostic>,
    ) -> Vec<Reporter> {
        let Some(used) = used else {
            return Vec::new(); // there is no sound `report` stage to go by
        };
        self.unused_reporters(used, &defined, out);
        let mut seen = HashMap::new();
        let mut reporters = Vec::new();
        for (index, name) in used.iter().enumerate() {
            let span = self.use_of_reporter(index);
            if let Some(first) = seen.insert(name, span.clone()) {
                let message = format!("the reporter {} is named twice", literal(name));
                out.push(
                    Diagnostic::error(codes::DUPLICATE_REPORTER, message)
                        .at(span, "named again")
                        .and(first, "named here")
                        .help("remove one"),
                );
                continue;
            }
            reporters.extend(self.reporter(name, span, &defined, out));
        }
        reporters
    }

    fn reporter(
        &self,
        name: &str,
        span: Span,
        defined: &Ordered<PluginUse>,
        out: &mut Vec<Diagnostic>,
    ) -> Option<Reporter> {
        let kind = PluginKind::Reporter;
        let PluginUse { plugin, config } = if let Some(reporter) = defined.get(name) {
            reporter.clone()
        } else if let Some(schema) = self.plugins.config_schema(kind, name) {
            out.extend(check_bare_plugin(&schema, kind, name, &span));
            PluginUse::bare(name)
        } else {
            out.push(self.unknown_reporter(name, span, defined));
            return None;
        };
        Some(Reporter {
            name: name.to_owned(),
            plugin,
            config,
        })
    }

    fn unused_reporters(
        &self,
        used: &[String],
        defined: &Ordered<PluginUse>,
        out: &mut Vec<Diagnostic>,
    ) {
        let unused = defined
            .iter()
            .filter(|(name, _)| !used.iter().any(|u| u == name));
        for (name, _) in unused {
            let section = self.root.at("/reporters");
            let entry = section.node.entry(name);
            let span = entry.map_or_else(|| section.name_span(), |e| e.key_span.clone());
            let message = format!("the reporter {} is not used", literal(name));
            out.push(
                Diagnostic::warning(codes::UNUSED_REPORTER, message)
                    .at(span, "not in the `report` stage")
                    .help("add it to the stage's `reporters`, or remove it"),
            );
        }
    }

    /// Where the `report` stage names its reporter of this index; the stage,
    /// or the list of stages, when it is left to the defaults.
    fn use_of_reporter(&self, index: usize) -> Span {
        let stages = self.root.at("/stages");
        let report = stages
            .node
            .items()
            .iter()
            .find_map(|item| item.entry("report"));
        match report {
            None => stages.name_span(),
            Some(report) => report
                .value
                .entry("reporters")
                .and_then(|entry| entry.value.items().get(index))
                .map_or_else(|| report.key_span.clone(), |node| node.span.clone()),
        }
    }

    fn unknown_reporter(&self, name: &str, span: Span, defined: &Ordered<PluginUse>) -> Diagnostic {
        let plugins = self.plugins.names(PluginKind::Reporter);
        let defined = defined.iter().map(|(name, _)| name);
        let mut names: Vec<&str> = defined.chain(plugins.iter().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        let mut problem = Diagnostic::error(
            codes::UNKNOWN_REPORTER,
            format!("unknown reporter {}", literal(name)),
        )
        .at(
            span.clone(),
            "neither under `reporters` nor an installed plugin",
        );
        if !names.is_empty() {
            let known = list(&nearest(name, names.iter().copied()));
            problem = problem.note(format!("known: {known}"));
        }
        if let Some(meant) = similar(name, names.iter().copied()) {
            problem = problem.suggest("a reporter with a similar name exists", span, meant);
        }
        problem.help("see `prony plugin list`, or install it with `prony plugin add`")
    }
}
