//! Checks of plugin options against the plugins' own schemas.

use std::collections::HashMap;

use prony_diagnostic::Diagnostic;
use serde_json::Value;

use super::problem::missing_message;
use super::{Checker, uses};
use crate::file::MAX_PLUGINS;
use crate::plugins::{is_path, plugin_of};
use crate::template::{self, is_template};
use crate::tree::{Entry, Found, Kind, Node, Span};
use crate::wording::{alternatives, literal, similar, with_article};
use crate::{OptionProblem, PluginKind, Plugins, codes};

/// Checks every place of a document that names a plugin and its options.
pub(crate) fn check_plugins(root: &Node, plugins: &dyn Plugins) -> Vec<Diagnostic> {
    let uses = |key: &str| {
        let entries = root.entry(key).map(|entry| entry.value.entries());
        entries.unwrap_or_default().iter().take(MAX_PLUGINS)
    };
    let engine = root.entry("engine").map(|entry| &entry.value);
    let engines = uses("engines").map(|entry| &entry.value);
    let reporters = uses("reporters").map(|entry| &entry.value);
    let mut problems = Vec::new();
    for node in engine.into_iter().chain(engines) {
        problems.extend(check_use(node, PluginKind::Engine, plugins));
    }
    for node in reporters {
        problems.extend(check_use(node, PluginKind::Reporter, plugins));
    }
    problems
}

fn check_use(node: &Node, kind: PluginKind, plugins: &dyn Plugins) -> Vec<Diagnostic> {
    let Some((named, name)) = plugin_of(node).and_then(|it| Some((it, it.text()?))) else {
        return Vec::new(); // what is wrong with that, the file's schema says
    };
    if is_template(name) {
        return Vec::new(); // known in a point
    }
    let span = &named.span;
    let is_text = node
        .entry("plugin")
        .is_some_and(|it| it.value.text().is_some());
    match (is_text, is_path(name)) {
        (true, true) => return vec![path_as_name(name, span)],
        (false, false) => return Vec::new(), // as above
        _ => {}
    }
    if let Some(reason) = plugins.problem(kind, name) {
        let message = format!(
            "the {} plugin {} cannot be used",
            kind.name(),
            literal(name)
        );
        let problem = Diagnostic::error(codes::UNKNOWN_PLUGIN, message);
        return vec![problem.at(span.clone(), "not as it is").help(reason)];
    }
    let Some(schema) = plugins.config_schema(kind, name) else {
        return vec![unknown_plugin(kind, name, span, plugins)];
    };
    let mut problems = match node.entry("config") {
        Some(config) if matches!(config.value.kind, Kind::Map(_)) => {
            check_config(&schema, name, span, &Found::value_of(config))
        }
        Some(_) => Vec::new(),
        None => check_bare_plugin(&schema, name, span),
    };
    // An option beside `config` is reported with that advice; that it is missing follows
    // from it.
    let is_beside = |problem: &Diagnostic| {
        let missing = |entry: &Entry| problem.message == missing_message(&entry.key);
        problem.code == codes::MISSING_KEY && node.entries().iter().any(missing)
    };
    problems.retain(|problem| !is_beside(problem));
    problems
}

/// Reports a path where a name is expected.
fn path_as_name(name: &str, span: &Span) -> Diagnostic {
    let message = format!("{} is a path, and no plugin has such a name", literal(name));
    Diagnostic::error(codes::UNKNOWN_PLUGIN, message)
        .at(span.clone(), "expected a name")
        .suggest(
            "a plugin that somebody works on is named by `{ path: PATH }`",
            span.clone(),
            format!("{{ path: {name} }}"),
        )
}

/// Checks a plugin named at `span` without options.
pub(crate) fn check_bare_plugin(schema: &Value, name: &str, span: &Span) -> Vec<Diagnostic> {
    let none = Entry {
        key: "config".into(),
        key_span: span.clone(),
        value: Node::new(Kind::Map(Vec::new()), span.clone()),
    };
    check_config(schema, name, span, &Found::value_of(&none))
}

fn check_config(schema: &Value, name: &str, span: &Span, config: &Found<'_>) -> Vec<Diagnostic> {
    match Checker::new(schema) {
        Ok(checker) => checker.check(config),
        Err(reason) => {
            let message = format!(
                "the config schema of the plugin {} is not valid",
                literal(name)
            );
            vec![
                Diagnostic::error(codes::PLUGIN_SCHEMA, message)
                    .at(span.clone(), "this plugin")
                    .note(reason)
                    .help("tell the plugin's author"),
            ]
        }
    }
}

/// Asks the plugins of a document about their options, in which `samples` stand for what only the
/// run knows. `asked` holds the answers so far.
pub(crate) fn ask_plugins(
    root: &Node,
    samples: &Value,
    plugins: &dyn Plugins,
    asked: &mut HashMap<String, Vec<OptionProblem>>,
) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for (pointer, kind) in uses(root).into_iter().take(2 * MAX_PLUGINS) {
        let Some(named) = root.exactly(&pointer).and_then(plugin_of) else {
            continue;
        };
        let none = Entry {
            key: "config".into(),
            key_span: named.span.clone(),
            value: Node::new(Kind::Map(Vec::new()), named.span.clone()),
        };
        let given = root.exactly(&pointer).and_then(|node| node.entry("config"));
        let config = Found::value_of(given.unwrap_or(&none));
        let (Some(name), Ok(value)) = (
            named.text(),
            template::render_value(&config.node.to_json(), samples),
        ) else {
            continue;
        };
        let answer = asked
            .entry(format!("{} {name} {value}", kind.name()))
            .or_insert_with(|| plugins.check(kind, name, &value));
        for OptionProblem { pointer, message } in answer {
            let found = match config.node.exactly(pointer) {
                Some(_) if !pointer.is_empty() => config.node.at(pointer),
                _ => config.clone(),
            };
            // A sample is not to blame.
            if has_hole(found.node) {
                continue;
            }
            let span = match &found.node.kind {
                Kind::Map(_) => found.name_span(),
                _ if found.node.span.is_empty() => found.name_span(),
                _ => found.node.span.clone(),
            };
            problems.push(
                Diagnostic::error(codes::PLUGIN_OPTION, message.clone())
                    .at(
                        span,
                        format!("the plugin {} cannot work with this", literal(name)),
                    )
                    .help(format!(
                        "`prony schema plugin {name}` shows all of its options"
                    )),
            );
        }
    }
    problems
}

/// Returns `true` if a value has a template in it.
fn has_hole(node: &Node) -> bool {
    match &node.kind {
        Kind::String(text) => is_template(text),
        Kind::List(items) => items.iter().any(has_hole),
        Kind::Map(entries) => entries.iter().any(|entry| has_hole(&entry.value)),
        _ => false,
    }
}

/// Reports that a plugin is not installed, and lists those that are.
fn unknown_plugin(kind: PluginKind, name: &str, span: &Span, plugins: &dyn Plugins) -> Diagnostic {
    let kind_name = kind.name();
    let names = plugins.names(kind);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let message = format!("unknown {kind_name} plugin {}", literal(name));
    let mut problem =
        Diagnostic::error(codes::UNKNOWN_PLUGIN, message).at(span.clone(), "not installed");
    if !names.is_empty() {
        problem = problem.note(alternatives("installed", name, &names));
    }
    if let Some(meant) = similar(name, names.iter().copied()) {
        let message = "an installed plugin with a similar name exists";
        problem = problem.suggest(message, span.clone(), meant);
    }
    let (other, wanted) = match kind {
        PluginKind::Engine => (PluginKind::Reporter, "an engine"),
        PluginKind::Reporter => (PluginKind::Engine, "a reporter"),
    };
    if plugins.config_schema(other, name).is_some() {
        let what = with_article(other.name());
        return problem
            .note(format!("{} is {what} plugin, not {wanted}", literal(name)))
            .help(format!("name {wanted} plugin here"));
    }
    problem.help("see `prony plugin list`, or install it with `prony plugin add`")
}
