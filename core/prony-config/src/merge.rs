//! Merges several trees into one: `extends`, overlays, `--set` and `--var`.
//!
//! Mappings are merged, other values replaced and `null` removes, as in JSON Merge Patch
//! (RFC 7396). Every key and value keeps its original place.

use std::collections::HashMap;

use prony_diagnostic::Diagnostic;

use crate::foreign::{self, Tool};
use crate::inputs::{Inputs, Unreadable};
use crate::schema::{keys, missing_message};
use crate::template::is_template;
use crate::text::{Texts, shift, shift_diagnostic};
use crate::tree::{Entry, Found, Kind, Node, Span};
use crate::wording::{alternatives, literal, similar};
use crate::{codes, yaml};

/// Beginning of the top-level keys that are the author's own.
const OWN_KEYS: &str = "x-";

/// Maximum length of a chain of `extends`.
const MAX_EXTENDS: usize = 16;

type Result<T> = std::result::Result<T, Box<Diagnostic>>;

/// The inputs merged into one tree.
pub(crate) struct Merged {
    pub(crate) root: Node,
    /// The keys removed by a layer.
    pub(crate) removed: Vec<Removed>,
}

/// A key given by one layer and removed by another.
pub(crate) struct Removed {
    /// The keys that lead to the mapping it was in.
    mapping: Vec<String>,
    key: String,
    /// Place of the removal.
    span: Span,
}

impl Merged {
    /// Points a diagnostic about a missing key at the layer that removed the key.
    pub(crate) fn blame(removed: &[Removed], root: &Node, problem: &mut Diagnostic) {
        let Some(place) = problem.primary.as_ref().map(|label| label.span.clone()) else {
            return;
        };
        let is_missing = |key: &str| match problem.code {
            codes::MISSING_KEY => problem.message == missing_message(key),
            codes::ENGINE_CHOICE => ["engine", "engines"].contains(&key),
            codes::WORKLOAD_SOURCE => crate::Workload::SOURCES.contains(&key),
            codes::MODEL_CHOICE => ["model", "models"].contains(&key),
            _ => false,
        };
        let found = removed
            .iter()
            .rev()
            .find(|it| is_missing(&it.key) && it.mapping_in(root) == Some(place.clone()));
        if let Some(removed) = found {
            *problem = Diagnostic::error(problem.code, problem.message.clone())
                .at(removed.span.clone(), "removed here")
                .help("leave this out, or give a value in its place");
        }
    }
}

impl Removed {
    /// `at` leads to the mapping; `by` removes the key from it.
    fn new(mapping: &[String], by: &Entry) -> Self {
        let span = &by.value.span;
        Self {
            mapping: mapping.to_vec(),
            key: by.key.clone(),
            span: if span.is_empty() { &by.key_span } else { span }.clone(),
        }
    }

    /// Place that a problem with the whole mapping points at, if it exists and lacks the
    /// key.
    fn mapping_in(&self, root: &Node) -> Option<Span> {
        let found = self.mapping.iter().try_fold(Found::root(root), |at, key| {
            match key
                .parse::<usize>()
                .ok()
                .and_then(|index| at.node.items().get(index))
            {
                Some(node) => Some(Found {
                    key: None,
                    item_of: at.key.or(at.item_of),
                    node,
                }),
                None => at.node.entry(key).map(Found::value_of),
            }
        })?;
        found
            .node
            .entry(&self.key)
            .is_none()
            .then(|| found.name_span())
    }
}

/// Merges the inputs into one tree; all texts that were read are in `texts`. Fails at the
/// first file that cannot be parsed, since nothing below it is known.
pub(crate) fn merge(
    inputs: &Inputs<'_>,
    texts: &mut Texts,
) -> std::result::Result<Merged, Vec<Diagnostic>> {
    let mut removed = Vec::new();
    let mut roots = Vec::new();
    let mut problems = Vec::new();
    for (name, text) in &inputs.files {
        let root = parse(name, text, texts, inputs.tools);
        match root.and_then(|root| extended(name, root, inputs, texts, &mut removed)) {
            Ok(root) => roots.push(root),
            Err(problem) => problems.push(*problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut root = roots
        .into_iter()
        .reduce(|base, top| over(base, top, &mut Vec::new(), &mut removed))
        .ok_or_else(|| vec![Diagnostic::error(codes::DOCUMENT, "there is no file")])?;
    let sets = inputs
        .set
        .iter()
        .map(|text| set("--set", text, texts, &mut root, &mut removed));
    let mut problems: Vec<Diagnostic> = sets.filter_map(|done| done.err().map(|p| *p)).collect();
    for text in inputs.var {
        problems.extend(var(text, texts, &mut root).err().map(|problem| *problem));
    }
    if problems.is_empty() {
        Ok(Merged { root, removed })
    } else {
        Err(problems)
    }
}

fn parse(name: &str, text: &str, texts: &mut Texts, tools: &[Tool]) -> Result<Node> {
    let start = texts.add(name, text);
    let parsed = yaml::parse(text).and_then(|root| match &root.kind {
        Kind::Map(_) => Ok(root),
        // Some scripts are one text by YAML's rules.
        _ => foreign::recognise_text(text, tools).map_or(Ok(root), |other| Err(Box::new(other))),
    });
    match parsed {
        Ok(mut root) => {
            if let Kind::Map(entries) = &mut root.kind {
                // They hold anchors, which are written out by now.
                entries.retain(|entry| !entry.key.starts_with(OWN_KEYS));
            }
            shift(&mut root, start);
            Ok(root)
        }
        Err(problem) => {
            let other = foreign::recognise_text(text, tools);
            let mut problem = other.map_or(problem, Box::new);
            shift_diagnostic(&mut problem, start);
            problem.source = texts.sources().last().cloned();
            Err(problem)
        }
    }
}

/// A file merged over those that it extends.
fn extended(
    name: &str,
    root: Node,
    inputs: &Inputs<'_>,
    texts: &mut Texts,
    removed: &mut Vec<Removed>,
) -> Result<Node> {
    let mut layers = vec![root];
    let mut names = vec![normal(name)];
    let mut name = name.to_owned();
    while let Some(entry) = layers.last_mut().and_then(|top| take(top, "extends")) {
        let Some(path) = entry.value.text().filter(|path| !path.is_empty()) else {
            let problem = Diagnostic::error(codes::WRONG_TYPE, "`extends` must be a path");
            return Err(Box::new(
                problem
                    .at(entry.value.span, "not the path of a file")
                    .help("write one path, such as `extends: base.yaml`"),
            ));
        };
        let span = entry.value.span.clone();
        if is_template(path) {
            let problem =
                Diagnostic::error(codes::TEMPLATE_PLACE, "a template is not evaluated here")
                    .at(span, "holds a template")
                    .note("`extends` is read before any template")
                    .help("write the path itself");
            return Err(Box::new(problem));
        }
        let base = beside(&name, path);
        if names.contains(&normal(&base)) {
            let problem = Diagnostic::error(codes::EXTENDS, "a pipeline extends itself")
                .at(span, "already part of this pipeline")
                .note(format!("the files: {}", names.join(", then ")))
                .help("remove one `extends` of the circle");
            return Err(Box::new(problem));
        }
        if names.len() > MAX_EXTENDS {
            let problem = Diagnostic::error(codes::BUDGET, "too many files extend each other")
                .at(span, "the limit is reached here")
                .note(format!("{MAX_EXTENDS} are allowed"))
                .help("put some of the files into one");
            return Err(Box::new(problem));
        }
        let text = (inputs.read)(&base).map_err(|Unreadable { reason, help }| {
            Box::new(
                Diagnostic::error(
                    codes::UNREADABLE,
                    format!("cannot read {}: {reason}", literal(&base)),
                )
                .at(span.clone(), "named here")
                .note("the path is relative to the file that names it")
                .help(help.as_deref().unwrap_or(Unreadable::HELP)),
            )
        })?;
        layers.push(base_of(&base, &text, texts, span)?);
        names.push(normal(&base));
        name = base;
    }
    let layers = layers.into_iter().rev();
    let base = layers.reduce(|base, top| over(base, top, &mut Vec::new(), removed));
    base.ok_or_else(|| Box::new(Diagnostic::error(codes::DOCUMENT, "there is no file")))
}

/// Parses a file that another extends. Anyone may write `extends: FILE` for another to read, so
/// of a file that is not a pipeline no line is shown.
fn base_of(name: &str, text: &str, texts: &mut Texts, named: Span) -> Result<Node> {
    let unlike = |reason: &str| {
        let quoted = literal(name);
        let bare = quoted.trim_matches('`');
        Box::new(
            Diagnostic::error(
                codes::UNREADABLE,
                format!("{quoted} is not a pipeline: {reason}"),
            )
            .at(named.clone(), "named here")
            .note("nothing of a file that is not a pipeline is shown")
            .help(format!(
                "name a pipeline; `prony validate {bare}` says what is wrong with it"
            )),
        )
    };
    let mut alone = texts.clone();
    let root =
        parse(name, text, &mut alone, &[]).map_err(|_| unlike("it cannot be read as YAML"))?;
    let Kind::Map(entries) = &root.kind else {
        return Err(unlike("it is no mapping"));
    };
    let keys = keys();
    let (known, others): (Vec<_>, Vec<_>) = entries
        .iter()
        .partition(|entry| keys.contains(&&*entry.key));
    if others.len() > known.len() {
        return Err(unlike("most of its keys are not those of a pipeline"));
    }
    *texts = alone;
    Ok(root)
}

/// Resolves a path named by a file, relative to that file, unless it begins at the home.
fn beside(file: &str, path: &str) -> String {
    if path.starts_with("~/") {
        return path.to_owned();
    }
    let folder = std::path::Path::new(file).parent();
    let joined = folder.map_or_else(|| path.into(), |folder| folder.join(path));
    joined.to_string_lossy().into_owned()
}

/// Removes `.` and, where possible without I/O, `..` from a path.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            "" if !parts.is_empty() => {}
            ".." if parts.last().is_some_and(|last| !["", ".."].contains(last)) => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Takes an entry out of a mapping.
fn take(node: &mut Node, key: &str) -> Option<Entry> {
    let Kind::Map(entries) = &mut node.kind else {
        return None;
    };
    let at = entries.iter().position(|entry| entry.key == key)?;
    Some(entries.remove(at))
}

/// Merges one tree over another. `at` are the keys that lead to both.
fn over(base: Node, top: Node, at: &mut Vec<String>, removed: &mut Vec<Removed>) -> Node {
    let span = top.span;
    let (base, tops) = match (base.kind, top.kind) {
        (Kind::Map(base), Kind::Map(tops)) => (base, tops),
        (_, kind) => {
            return without_null(Node {
                kind,
                span,
                written: top.written,
            });
        }
    };
    let mut places: HashMap<String, usize> = base
        .iter()
        .map(|entry| entry.key.clone())
        .zip(0..)
        .collect();
    let mut entries: Vec<Option<Entry>> = base.into_iter().map(Some).collect();
    for entry in tops {
        let is_removal = entry.value.kind.is_null();
        match places.get(&entry.key) {
            Some(index) if is_removal => {
                if entries[*index].take().is_some() {
                    removed.push(Removed::new(at, &entry));
                }
            }
            Some(index) => {
                let value = match entries[*index].take() {
                    Some(below) => {
                        at.push(entry.key.clone());
                        let value = over(below.value, entry.value, at, removed);
                        at.pop();
                        value
                    }
                    None => without_null(entry.value),
                };
                entries[*index] = Some(Entry { value, ..entry });
            }
            None if is_removal => {}
            None => {
                places.insert(entry.key.clone(), entries.len());
                let value = without_null(entry.value);
                entries.push(Some(Entry { value, ..entry }));
            }
        }
    }
    Node::new(Kind::Map(entries.into_iter().flatten().collect()), span)
}

/// Removes the `null` entries of a new value: there is nothing for them to remove.
fn without_null(mut node: Node) -> Node {
    if let Kind::Map(entries) = &mut node.kind {
        let kept = std::mem::take(entries).into_iter();
        *entries = kept
            .filter(|entry| !entry.value.kind.is_null())
            .map(|entry| Entry {
                value: without_null(entry.value),
                ..entry
            })
            .collect();
    }
    node
}

/// Applies one `PATH=VALUE`.
fn set(
    option: &str,
    text: &str,
    texts: &mut Texts,
    root: &mut Node,
    removed: &mut Vec<Removed>,
) -> Result<()> {
    let start = texts.add(option, text);
    let wrong = |span: Span, label: String| {
        Diagnostic::error(codes::OPTION, format!("{} cannot be set", literal(text)))
            .at(start + span.start..start + span.end, label)
            .note("the form is `PATH=VALUE`, with keys and indices joined by `.`")
            .help("for example `models.0.enabled=false`; a key with a dot needs quotes: `engines.\"a.b\".config`")
    };
    let (path, equals) = segments(text).map_err(|at| Box::new(wrong(at.clone(), "here".into())))?;
    let value = value(&text[equals + 1..], start + equals + 1, texts)?;
    let mut at = root;
    let keys: Vec<String> = path.iter().map(|(key, _)| key.clone()).collect();
    let mut segments = path.into_iter().peekable();
    while let Some((key, span)) = segments.next() {
        let last = segments.peek().is_none();
        match &mut at.kind {
            Kind::List(items) => {
                let count = items.len();
                let index = key.parse::<usize>().ok().filter(|index| *index < count);
                let Some(index) = index else {
                    let label = format!("not an index from 0 to {}", count.saturating_sub(1));
                    return Err(Box::new(wrong(span, label)));
                };
                at = &mut items[index];
            }
            Kind::Map(entries) => {
                let found = entries.iter().position(|entry| entry.key == key);
                let key_span = start + span.start..start + span.end;
                if last && value.kind.is_null() {
                    if let Some(found) = found {
                        entries.remove(found);
                        removed.push(Removed {
                            mapping: keys[..keys.len() - 1].to_vec(),
                            key,
                            span: start..start + text.len(),
                        });
                    }
                    return Ok(());
                }
                let index = found.unwrap_or_else(|| {
                    entries.push(Entry {
                        key,
                        key_span: key_span.clone(),
                        value: Node::new(Kind::Map(Vec::new()), key_span.clone()),
                    });
                    entries.len() - 1
                });
                if last {
                    entries[index].key_span = key_span;
                }
                at = &mut entries[index].value;
            }
            _ => {
                let label = "what stands before it is neither a mapping nor a list".to_owned();
                return Err(Box::new(wrong(span, label)));
            }
        }
    }
    *at = value;
    Ok(())
}

/// Splits a path into its keys, and finds its `=`.
fn segments(text: &str) -> std::result::Result<(Vec<(String, Span)>, usize), Span> {
    let mut path = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let (key, end) = if let Some(quoted) = rest.strip_prefix('"') {
            let length = quoted.find('"').ok_or(at..text.len())?;
            (&quoted[..length], at + length + 2)
        } else {
            let length = rest.find(['.', '=']).ok_or(at..text.len())?;
            (&rest[..length], at + length)
        };
        if key.is_empty() {
            return Err(at..(at + 1).min(text.len()));
        }
        path.push((key.to_owned(), at..end));
        match text.as_bytes().get(end) {
            Some(b'=') => return Ok((path, end)),
            Some(b'.') => at = end + 1,
            _ => return Err(end.min(text.len())..text.len()),
        }
    }
}

/// Parses a value as it would be written in a file.
fn value(text: &str, start: usize, _texts: &Texts) -> Result<Node> {
    if text.trim().is_empty() {
        return Ok(Node::new(Kind::Null, start..start + text.len()));
    }
    let moved = |mut problem: Box<Diagnostic>| {
        shift_diagnostic(&mut problem, start);
        problem
    };
    let mut node = yaml::parse(text).map_err(moved)?;
    shift(&mut node, start);
    Ok(node)
}

/// The type of a value, in words.
fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Null => "nothing",
        Kind::Bool(_) => "`true` or `false`",
        Kind::Number(_) => "a number",
        Kind::String(_) => "a text",
        Kind::List(_) => "a list",
        Kind::Map(_) => "a mapping",
    }
}

/// Applies one `NAME=VALUE` of a declared variable.
fn var(text: &str, texts: &mut Texts, root: &mut Node) -> Result<()> {
    let start = texts.add("--var", text);
    let Some((name, given)) = text.split_once('=') else {
        let problem = Diagnostic::error(
            codes::OPTION,
            format!("{} is not a variable", literal(text)),
        )
        .at(start..start + text.len(), "no `=` in it")
        .help("write `NAME=VALUE`");
        return Err(Box::new(problem));
    };
    let name_span = start..start + name.len();
    let vars = root
        .entry("vars")
        .map(|vars| vars.value.entries())
        .unwrap_or_default();
    let Some(declared) = vars.iter().find(|var| var.key == name) else {
        let names: Vec<&str> = vars.iter().map(|var| var.key.as_str()).collect();
        let mut problem = Diagnostic::error(
            codes::UNKNOWN_VARIABLE,
            format!("the pipeline has no variable {}", literal(name)),
        )
        .at(name_span.clone(), "not under `vars`");
        problem = if names.is_empty() {
            problem.help("declare it with a default value under `vars`")
        } else {
            problem.note(alternatives("its variables", name, &names))
        };
        if let Some(meant) = similar(name, names.iter().copied()) {
            problem = problem.suggest("a variable with a similar name exists", name_span, meant);
        }
        return Err(Box::new(problem));
    };
    let at = start + name.len() + 1;
    // A variable that is a text stays one: `--var tag=1.0` is the text `1.0`.
    let node = if declared.value.text().is_some() {
        Node::new(Kind::String(given.to_owned()), at..at + given.len())
    } else {
        let node = value(given, at, texts)?;
        let kinds = (kind_name(&declared.value.kind), kind_name(&node.kind));
        // A template may give any type.
        if declared.value.text().is_none() && kinds.0 != kinds.1 {
            let message = format!("the variable {} is {}", literal(name), kinds.0);
            let problem = Diagnostic::error(codes::WRONG_TYPE, message)
                .at(at..at + given.len(), format!("found {}", kinds.1))
                .and(declared.value.span.clone(), "its default value");
            return Err(Box::new(problem.help("give a value of the same kind")));
        }
        node
    };
    if let Kind::Map(entries) = &mut root.kind
        && let Some(vars) = entries.iter_mut().find(|entry| entry.key == "vars")
        && let Kind::Map(vars) = &mut vars.value.kind
        && let Some(var) = vars.iter_mut().find(|var| var.key == name)
    {
        var.value = node;
    }
    Ok(())
}
