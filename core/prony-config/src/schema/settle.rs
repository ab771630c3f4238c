//! Reads each scalar as its place wants it, by the schema, before it is checked.
//!
//! Where a text is wanted, a number or a boolean is the text that is written: `1.10` stays `1.10`.
//! Where a number is wanted, it must be one that a value holds. In a list whose items are no
//! lists, one that stands there stands for its items, and a template that gives null for nothing.

use jsonschema::Draft;
use prony_diagnostic::Diagnostic;
use serde_json::{Value, json};

use super::check::follow;
use super::generate::strict;
use super::problem::{has_type, types};
use crate::file::MAX_PLUGINS;
use crate::plugins::plugin_of;
use crate::template::{escape, is_template};
use crate::text::Texts;
use crate::tree::{Kind, Node};
use crate::wording::literal;
use crate::{PluginKind, Plugins, codes};

/// Maximum number of schemas for one place: more are not read.
const MAX_FORMS: usize = 200;
/// Maximum number of problems: more would not be shown.
const MAX_PROBLEMS: usize = 100;

/// The template of an item that stands for nothing.
const NOTHING: &str = "${{ none }}";

/// Outcome of settling a document.
#[derive(Default)]
pub(crate) struct Settled {
    /// Numbers that no value holds as they are written.
    pub(crate) problems: Vec<Diagnostic>,
    /// Lists with items to leave out or to splice in, for [`flatten`].
    pub(crate) lists: Vec<Uneven>,
}

/// A list with items that stand for none or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uneven {
    /// Its pointer.
    pub(crate) pointer: String,
    /// Indices of the lists in it that are spliced in; others are values of their own.
    spliced: Vec<usize>,
}

/// Settles the scalars of a document. Lists keep their items.
pub(crate) fn settle(root: &mut Node, texts: &Texts, plugins: &dyn Plugins) -> Settled {
    let mut settled = Settled::default();
    let mut walk = Walk {
        schema: strict(),
        is_plugin: false,
        texts,
        pointer: String::new(),
        out: &mut settled,
    };
    walk.node(root, &[strict()]);
    for (pointer, kind) in uses(root).into_iter().take(2 * MAX_PLUGINS) {
        let name = plugin_of(root.at(&pointer).node).and_then(Node::text);
        let schema = name.and_then(|name| plugins.config_schema(kind, name));
        let pointer = format!("{pointer}/config");
        if let (Some(schema), Some(config)) = (schema, root.exactly_at(&pointer)) {
            let mut walk = Walk {
                schema: &schema,
                is_plugin: true,
                texts,
                pointer,
                out: &mut settled,
            };
            walk.node(config, &[&schema]);
        }
    }
    settled
}

/// The places that name a plugin.
pub(crate) fn uses(root: &Node) -> Vec<(String, PluginKind)> {
    let mut uses = vec![("/engine".to_owned(), PluginKind::Engine)];
    for (section, kind) in [
        ("engines", PluginKind::Engine),
        ("reporters", PluginKind::Reporter),
    ] {
        let entries = root.entry(section).map(|it| it.value.entries());
        let entries = entries.unwrap_or_default().iter();
        uses.extend(entries.map(|entry| (format!("/{section}/{}", escape(&entry.key)), kind)));
    }
    uses
}

/// Leaves out and splices in the items of some lists.
pub(crate) fn flatten(root: &mut Node, lists: &[Uneven]) {
    let mut lists: Vec<&Uneven> = lists.iter().collect();
    // Inner lists first, before their places move.
    lists.sort_by_key(|list| std::cmp::Reverse(list.pointer.matches('/').count()));
    for list in lists {
        let Some(Node {
            kind: Kind::List(items),
            ..
        }) = root.exactly_at(&list.pointer)
        else {
            continue;
        };
        let old = std::mem::take(items);
        for (index, item) in old.into_iter().enumerate() {
            match item.kind {
                Kind::Null if item.written.is_some() => {}
                Kind::List(inner) if list.spliced.contains(&index) => items.extend(inner),
                _ => items.push(item),
            }
        }
    }
}

/// A list before [`flatten`], as it can be read again.
pub(crate) fn unflattened(list: &Node) -> Value {
    list.to_value(&|node| {
        let is_nothing = node.kind.is_null() && node.written.is_some();
        is_nothing.then(|| NOTHING.into())
    })
}

struct Walk<'a> {
    schema: &'a Value,
    /// `true` within the options of a plugin.
    is_plugin: bool,
    texts: &'a Texts,
    pointer: String,
    out: &'a mut Settled,
}

impl<'a> Walk<'a> {
    fn node(&mut self, node: &mut Node, at: &[&'a Value]) {
        let forms = self.forms(at);
        match &mut node.kind {
            Kind::Map(entries) => {
                for entry in entries {
                    let below: Vec<_> = forms
                        .iter()
                        .filter_map(|form| property(form, &entry.key))
                        .collect();
                    let key = escape(&entry.key);
                    self.below(&key, |walk| walk.node(&mut entry.value, &below));
                }
            }
            Kind::List(items) => self.list(items, &forms),
            Kind::Null => {}
            Kind::Bool(_) | Kind::Number(_) | Kind::String(_) => self.scalar(node, &forms),
        }
    }

    fn below(&mut self, segment: &str, walk: impl FnOnce(&mut Self)) {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(segment);
        walk(self);
        self.pointer.truncate(length);
    }

    fn list(&mut self, items: &mut [Node], forms: &[&'a Value]) {
        let mut is_flat = true;
        let mut spliced = Vec::new();
        // A point of the matrix that disappeared would not be missed.
        let may_leave_out = !self.pointer.starts_with("/matrix/");
        for (index, item) in items.iter_mut().enumerate() {
            let below: Vec<_> = forms
                .iter()
                .filter_map(|form| item_of(form, index))
                .collect();
            let of_item = self.forms(&below);
            let is_open = of_item.is_empty() || of_item.iter().any(|form| is_open(form));
            let takes = |name: &str| is_open || of_item.iter().any(|it| types(it).contains(&name));
            self.below(&index.to_string(), |walk| match &mut item.kind {
                Kind::List(inner) if !takes("array") => {
                    is_flat = false;
                    spliced.push(index);
                    for item in inner {
                        walk.node(item, &below);
                    }
                }
                Kind::Null
                    if may_leave_out
                        && !takes("null")
                        && is_template(walk.texts.get(&item.span)) =>
                {
                    is_flat = false;
                    item.written = Some("".into());
                }
                _ => walk.node(item, &below),
            });
        }
        if !is_flat {
            self.out.lists.push(Uneven {
                pointer: self.pointer.clone(),
                spliced,
            });
        }
    }

    fn scalar(&mut self, node: &mut Node, forms: &[&'a Value]) {
        let is_open = forms.is_empty() || forms.iter().any(|form| is_open(form));
        let Some(words) = node.words().map(std::borrow::Cow::into_owned) else {
            return;
        };
        let wants_text = forms.iter().any(|form| takes_text(form, &words));
        if node.text().is_some() {
            // Of a text only what YAML takes for a number is in question.
            if node.written.is_some() {
                let wants_number = forms.iter().any(|form| {
                    let types = types(form);
                    types.contains(&"number") || types.contains(&"integer")
                });
                if wants_text && !is_open {
                    node.written = None;
                } else if wants_number || is_open && self.is_plugin {
                    self.changed(node, &words);
                }
            }
            return;
        }
        let takes_value = is_open || forms.iter().any(|form| takes_value(form, node));
        let is_other = node.written.is_some();
        if wants_text && !is_open && (!takes_value || self.is_plugin && is_other) {
            node.kind = Kind::String(words);
            node.written = None;
        } else if is_other
            && !crate::yaml::scalar::is_exact(&words)
            && (self.is_plugin || !is_open && !wants_text)
        {
            self.changed(node, &words);
        }
    }

    /// Reports a number that no value holds.
    fn changed(&mut self, node: &Node, words: &str) {
        if self.out.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let message = format!(
            "the number {} cannot be kept as it is written",
            literal(words)
        );
        let label = match &node.kind {
            Kind::Number(number) => format!("would become `{number}`"),
            _ => "no number of 64 bits is that".to_owned(),
        };
        self.out.problems.push(
            Diagnostic::error(codes::DIGITS, message)
                .at(node.span.clone(), label)
                .note("a number has 64 bits: a whole one up to 18446744073709551615, any other up to 17 digits")
                .help("write a number that fits, or put it in quotes where it is a text"),
        );
    }

    /// The schemas that describe one value: through references and alternatives.
    fn forms(&self, at: &[&'a Value]) -> Vec<&'a Value> {
        let mut forms: Vec<&'a Value> = Vec::new();
        let mut todo: Vec<&'a Value> = at.to_vec();
        while let Some(schema) = todo.pop() {
            let is_known = forms.iter().any(|form| std::ptr::eq(*form, schema));
            if is_known || forms.len() >= MAX_FORMS {
                continue;
            }
            if let Some(reference) = schema.get("$ref").and_then(Value::as_str)
                && let Some(place) = reference.strip_prefix('#')
            {
                todo.extend(follow(self.schema, place));
                continue;
            }
            for key in ["oneOf", "anyOf", "allOf"] {
                let all = schema.get(key).and_then(Value::as_array);
                todo.extend(all.into_iter().flatten());
            }
            for key in ["then", "else"] {
                todo.extend(schema.get(key));
            }
            if !is_rule(schema) {
                forms.push(schema);
            }
        }
        forms
    }
}

/// Returns `true` for a schema that says nothing of a value but what its alternatives say, or
/// which keys it must have.
fn is_rule(schema: &Value) -> bool {
    const RULES: [&str; 7] = ["oneOf", "anyOf", "allOf", "then", "else", "not", "required"];
    const FORMS: [&str; 5] = ["type", "const", "enum", "properties", "items"];
    let has = |keys: &[&str]| keys.iter().any(|key| schema.get(key).is_some());
    has(&RULES) && !has(&FORMS)
}

/// Returns `true` for a schema that takes anything.
fn is_open(schema: &Value) -> bool {
    const CLOSED: [&str; 5] = ["type", "const", "enum", "properties", "items"];
    !CLOSED.iter().any(|key| schema.get(key).is_some()) && schema != &Value::Bool(false)
}

/// The schema of a key.
fn property<'s>(schema: &'s Value, key: &str) -> Option<&'s Value> {
    let own = schema.get("properties").and_then(|all| all.get(key));
    let others = ["additionalProperties", "unevaluatedProperties"];
    let mut others = others.iter().filter_map(|others| schema.get(others));
    own.or_else(|| others.find(|it| **it != Value::Bool(false)))
}

/// The schema of an item.
fn item_of(schema: &Value, index: usize) -> Option<&Value> {
    let first = schema.get("prefixItems").and_then(|first| first.get(index));
    first.or_else(|| schema.get("items"))
}

fn takes_value(schema: &Value, node: &Node) -> bool {
    match alternatives(schema) {
        Some(options) => options.contains(&&node.to_json()),
        None => schema.get("type").is_some() && has_type(&node.kind, schema),
    }
}

fn takes_text(schema: &Value, text: &str) -> bool {
    const BOUNDS: [&str; 3] = ["pattern", "minLength", "maxLength"];
    if let Some(options) = alternatives(schema) {
        return options.iter().any(|option| option.as_str() == Some(text));
    }
    if !types(schema).contains(&"string") {
        return false;
    }
    let mut bounds = json!({});
    for key in BOUNDS {
        if let Some(bound) = schema.get(key) {
            bounds[key] = bound.clone();
        }
    }
    if bounds.as_object().is_some_and(serde_json::Map::is_empty) {
        return true;
    }
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .build(&bounds);
    validator.is_ok_and(|validator| validator.is_valid(&text.into()))
}

/// The only values that a schema takes.
fn alternatives(schema: &Value) -> Option<Vec<&Value>> {
    if let Some(only) = schema.get("const") {
        return Some(vec![only]);
    }
    let options = schema.get("enum")?.as_array()?;
    Some(options.iter().collect())
}
