//! The engines, and which one is the baseline.

use prony_diagnostic::Diagnostic;

use super::{Document, is_hole, known};
use crate::plugins::plugin_of;
use crate::template::is_template;
use crate::tree::{Entry, Kind, Node};
use crate::wording::{alternatives, literal, offer, similar};
use crate::{PluginKind, codes};

/// Marks an option that starts a server at the given port, in a plugin's schema.
const ROLE: (&str, &str) = ("x-prony-role", "launch");
/// The name of that port in templates.
const PORT: &str = "engine.port";

impl Document<'_> {
    pub(super) fn engines(&self, out: &mut Vec<Diagnostic>) {
        self.one_of(codes::ENGINE_CHOICE, "engine", "engines", out);
        out.extend(self.launches().filter_map(without_port));
        out.extend(self.anchors());
        let baseline = self
            .entry("compare")
            .and_then(|compare| compare.value.entry("baseline"))
            .map(|entry| &entry.value);
        let names = self.engine_names();
        let Some((node, baseline)) = baseline.and_then(|node| Some((node, known(node)?))) else {
            return;
        };
        if names.is_empty() || names.iter().any(|(name, _)| *name == baseline) {
            return;
        }
        let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        let message = format!("the baseline {} is not an engine", literal(baseline));
        let problem = Diagnostic::error(codes::UNKNOWN_BASELINE, message)
            .at(node.span.clone(), "no engine of this name")
            .note(alternatives("engines", baseline, &names));
        out.push(offer(
            problem,
            similar(baseline, names.iter().copied()),
            &node.span,
            "an engine with a similar name exists",
            "name one of the engines",
        ));
    }
}

impl<'a> Document<'a> {
    /// Finds anchors of a history that are not the baseline.
    fn anchors(&self) -> Vec<Diagnostic> {
        let anchor_of = |engine: &'a Node| {
            let anchor = engine.entry("history")?.value.entry("anchor")?;
            matches!(anchor.value.kind, Kind::Bool(true)).then_some(anchor)
        };
        let single = self.entry("engine").and_then(|it| anchor_of(&it.value));
        if let Some(anchor) = single {
            return vec![
                Diagnostic::error(
                    codes::ANCHOR,
                    "an anchor has nothing to be compared with it",
                )
                .at(anchor.key_span.clone(), "the only engine")
                .help("write `engines`, with the one whose history it is besides"),
            ];
        }
        let engines = self.entry("engines").map(|engines| engines.value.entries());
        let engines = engines.unwrap_or_default();
        let compare = self
            .entry("compare")
            .and_then(|it| it.value.entry("baseline"));
        let baseline = match compare {
            Some(entry) => known(&entry.value),
            None => engines.first().map(|it| it.key.as_str()),
        };
        let Some(baseline) = baseline else {
            return Vec::new();
        };
        let others = engines.iter().filter(|engine| engine.key != baseline);
        let problem = |engine: &'a Entry| {
            let anchor = anchor_of(&engine.value)?;
            let name = literal(&engine.key);
            Some(
                Diagnostic::error(codes::ANCHOR, format!("the anchor {name} is not the baseline"))
                    .at(
                        anchor.key_span.clone(),
                        format!("the baseline is {}", literal(baseline)),
                    )
                    .note("a history holds the differences to its anchor, which are those to the baseline")
                    .help(format!("set `baseline: {}` under `compare`, or remove this", engine.key)),
            )
        };
        others.filter_map(problem).collect()
    }

    /// The options that start a server.
    fn launches(&self) -> impl Iterator<Item = &'a Entry> {
        let several = self.entry("engines").map(|engines| engines.value.entries());
        let engines = several.into_iter().flatten().chain(self.entry("engine"));
        engines.flat_map(|engine| {
            let plugin = plugin_of(&engine.value).and_then(known);
            let schema = plugin.and_then(|it| self.plugins.config_schema(PluginKind::Engine, it));
            let config = engine.value.entry("config");
            let options = config.map_or(&[][..], |config| config.value.entries());
            options.iter().filter(move |option| {
                let schema = schema.as_ref();
                let schema = schema.and_then(|it| it["properties"].get(&option.key));
                schema.is_some_and(|it| it[ROLE.0] == ROLE.1)
            })
        })
    }
}

/// Checks that a server gets its port, in its command or its environment.
fn without_port(launch: &Entry) -> Option<Diagnostic> {
    let command = launch.value.entry("command")?;
    if mentions(&launch.value, PORT) || is_hole(&launch.value) || is_hole(&command.value) {
        return None;
    }
    Some(
        Diagnostic::warning(codes::UNUSED_PORT, "the server is not told its port")
            .at(
                command.value.span.clone(),
                "`${{ engine.port }}` is not in it",
            )
            .note("prony chooses a free port for every start and sends requests there")
            .help("give it to the server, for example as `--port, \"${{ engine.port }}\"`"),
    )
}

/// Returns `true` if a text below `node` has `name` in a template.
fn mentions(node: &Node, name: &str) -> bool {
    node.text()
        .is_some_and(|it| is_template(it) && it.contains(name))
        || node.items().iter().any(|it| mentions(it, name))
        || node.entries().iter().any(|it| mentions(&it.value, name))
}
