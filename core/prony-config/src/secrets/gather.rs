//! The secrets of a document: where they are, and what they are called.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use prony_diagnostic::Diagnostic;
use serde_json::{Map, Value};

use super::{LONG, MAX_SECRETS, MIN_SECRET, Secrets, in_text, is_secret_name, parts_of};
use crate::fairness::marked;
use crate::plugins::plugin_of;
use crate::schema::uses;
use crate::template::{Filled, escape, is_template};
use crate::text::Texts;
use crate::tree::{Kind, Node, Span};
use crate::wording::literal;
use crate::{Plugins, codes};

/// Role of an option that is a secret, in a plugin's schema.
const SECRET: &str = "secret";

/// A secret in the file itself.
#[derive(Debug, Clone)]
pub(crate) struct Literal {
    /// Place of the value, if it is all that stands there.
    pub(crate) pointer: Option<String>,
    /// Environment variable that holds it where the pipeline is written out.
    pub(crate) name: String,
    /// The secret.
    pub(crate) value: String,
}

/// The secrets found so far.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// Names of the environment variables that hold secrets.
    env: BTreeSet<String>,
    /// Name and value of each secret.
    found: Vec<(String, String)>,
    /// Their values, and the bytes of these that count.
    known: HashSet<String>,
    bytes: usize,
    literals: Vec<Literal>,
    /// Warnings about those that cannot be masked.
    pub(crate) problems: Vec<Diagnostic>,
}

impl Gathered {
    /// Looks through a document in which templates have values, as far as these are known.
    pub(crate) fn new(filled: &Filled, plugins: &dyn Plugins) -> Self {
        let root = &filled.raw;
        let mut gathered = Self::default();
        let mut places = Places::new(root, plugins);
        places.document(root);
        let listed = root.at("/secrets").node.items().iter();
        gathered.env = listed.filter_map(Node::text).map(str::to_owned).collect();
        let names = filled.env().map(|(name, _)| name);
        let told = names.filter(|name| is_secret_name(name));
        gathered.env.extend(told.map(str::to_owned));
        let kept = filled.kept();
        let is_kept = |place: &&SecretAt| kept.contains(&*place.pointer);
        let templates = places.found.iter().filter(is_kept);
        let whole = templates.filter(|place| place.is_whole);
        let whole = whole.map(|place| &*place.pointer).collect();
        gathered.env.extend(filled.env_of(&whole));
        for place in places.found {
            if !kept.contains(&*place.pointer) {
                gathered.literal(place);
            } else if !place.is_whole {
                let is_it = |(_, value): &(&str, &str)| *value == place.value;
                let variable = filled.env().find(is_it).map(|(name, _)| name.to_owned());
                let name = variable.unwrap_or_else(|| name_of(&place.key));
                gathered.add(&name, &place.value);
            }
        }
        for (name, value) in filled.env() {
            if gathered.env.contains(name) {
                gathered.add(name, value);
                // Where the file itself repeats it.
                gathered.literals.push(Literal {
                    pointer: None,
                    name: name.to_owned(),
                    value: value.to_owned(),
                });
                let span = listed_at(root, name);
                gathered.warn_if_short(&format!("env.{name}"), value, span);
            }
        }
        gathered.derive(filled, None);
        gathered
    }

    /// Adds the secrets of a matrix point: what its values give where a secret is.
    pub(crate) fn point(
        &mut self,
        filled: &Filled,
        root: &Node,
        matrix: &Map<String, Value>,
        plugins: &dyn Plugins,
    ) {
        let mut places = Places::new(root, plugins);
        places.document(root);
        let kept = filled.kept();
        for place in places.found {
            if kept.contains(&*place.pointer) {
                self.literal(SecretAt {
                    is_whole: false,
                    ..place
                });
            }
        }
        self.derive(filled, Some(matrix));
    }

    fn derive(&mut self, filled: &Filled, matrix: Option<&Map<String, Value>>) {
        for (name, value) in filled.derived(&self.env, matrix) {
            self.add(&name, &value);
        }
    }

    /// The secrets in the file itself.
    pub(crate) fn literals(&self) -> Vec<Literal> {
        self.literals.clone()
    }

    /// All secrets.
    pub(crate) fn secrets(&self) -> Secrets {
        let literals = self.literals.iter();
        let literals = literals.map(|it| (it.name.clone(), it.value.clone()));
        Secrets::new(self.found.iter().cloned().chain(literals).collect())
    }

    /// `true` if there are more than can be looked for.
    pub(crate) fn is_too_much(&self) -> bool {
        let (most, most_bytes) = MAX_SECRETS;
        self.known.len() > most || self.bytes > most_bytes
    }

    fn add(&mut self, name: &str, value: &str) {
        for part in parts_of(value) {
            if self.is_too_much() || part.is_empty() || !self.known.insert(part.to_owned()) {
                continue;
            }
            self.bytes += part.len().min(LONG);
            self.found.push((name.to_owned(), part.to_owned()));
        }
    }

    fn literal(&mut self, place: SecretAt) {
        let value = place.value.trim();
        if self.is_too_much() {
            return;
        }
        if !self.literals.iter().any(|it| it.value == value) {
            self.warn_if_short(&place.key, value, place.span);
        }
        let mut pointer = place.is_whole.then_some(place.pointer);
        for part in parts_of(value).into_iter().filter(|part| !part.is_empty()) {
            // Several secrets may have keys of one name.
            let known = self.literals.iter().find(|it| it.value == part);
            let name = known.map(|it| it.name.clone());
            let name = name.unwrap_or_else(|| self.unused(name_of(&place.key)));
            self.add(&name, part);
            self.literals.push(Literal {
                pointer: pointer.take(),
                name,
                value: part.to_owned(),
            });
        }
    }

    fn unused(&self, name: String) -> String {
        let is_used = |name: &String| self.literals.iter().any(|it| it.name == *name);
        let mut tried = name.clone();
        let mut number = 1;
        while is_used(&tried) {
            number += 1;
            tried = format!("{name}_{number}");
        }
        tried
    }

    fn warn_if_short(&mut self, what: &str, value: &str, place: Option<Span>) {
        if value.is_empty() || value.len() >= MIN_SECRET {
            return;
        }
        let message = format!("the secret {} is too short to be masked", literal(what));
        let problem = Diagnostic::warning(codes::SHORT_SECRET, message);
        let problem = match place {
            Some(place) => problem.at(place, format!("has fewer than {MIN_SECRET} bytes")),
            None => problem,
        };
        self.problems
            .push(problem.help("use a longer one; or give it another name, if it is not a secret"));
    }
}

/// The name of a secret in the file itself: of the variable that is to hold it.
fn name_of(key: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    let name: String = key.chars().map(plain).collect();
    format!("PRONY_SECRET_{}", name.trim_matches('_'))
}

/// The place at which an environment variable is listed.
fn listed_at(root: &Node, name: &str) -> Option<Span> {
    let lists = ["/secrets", "/env"].map(|list| root.at(list).node.items());
    let mut items = lists.into_iter().flatten();
    let listed = items.find(|item| item.text() == Some(name))?;
    Some(listed.span.clone())
}

/// A place where a secret stands.
struct SecretAt {
    pointer: String,
    /// Key of the value, or name in a command.
    key: String,
    value: String,
    /// `true` if the value is all that stands there.
    is_whole: bool,
    span: Option<Span>,
}

/// The walk through a document.
struct Places {
    /// Pointers of the options that plugins mark.
    marked: BTreeSet<String>,
    found: Vec<SecretAt>,
}

impl Places {
    fn new(root: &Node, plugins: &dyn Plugins) -> Self {
        let mut schemas: BTreeMap<String, Option<Value>> = BTreeMap::new();
        let mut all = BTreeSet::new();
        for (at, kind) in uses(root) {
            let node = root.at(&at).node;
            let Some(plugin) = plugin_of(node).and_then(Node::text) else {
                continue;
            };
            let key = format!("{} {plugin}", kind.name());
            let schema = schemas
                .entry(key)
                .or_insert_with(|| plugins.config_schema(kind, plugin));
            if let (Some(schema), Some(config)) = (schema, node.entry("config")) {
                let pointers = marked(schema, &config.value.to_json(), SECRET);
                all.extend(
                    pointers
                        .iter()
                        .map(|pointer| format!("{at}/config{pointer}")),
                );
            }
        }
        Self {
            marked: all,
            found: Vec::new(),
        }
    }

    fn document(&mut self, root: &Node) {
        /// Sections without values of the user's own naming.
        const WITHOUT: [&str; 9] = [
            "version",
            "name",
            "extends",
            "env",
            "secrets",
            "allow",
            "compare",
            "schedule",
            "thresholds",
        ];
        for entry in root.entries() {
            if !WITHOUT.contains(&entry.key.as_str()) {
                let may_be_told = entry.key != "workload" && entry.key != "description";
                let pointer = format!("/{}", escape(&entry.key));
                self.node(&entry.value, &pointer, &entry.key, false, may_be_told);
            }
        }
    }

    /// `secret` is `true` below a key of a secret; `may_be_told` if a text may be a command or
    /// the like.
    fn node(&mut self, node: &Node, pointer: &str, key: &str, secret: bool, may_be_told: bool) {
        match &node.kind {
            // Its value is known later, or it is in the environment.
            Kind::String(text) if secret && is_template(text) => {
                self.add(node, pointer, key, "");
            }
            Kind::String(text) if secret => self.add(node, pointer, key, text),
            Kind::String(text) if is_template(text) => {}
            Kind::String(text) if may_be_told => {
                for (name, at) in in_text(text) {
                    self.found.push(SecretAt {
                        pointer: pointer.to_owned(),
                        key: name,
                        value: text[at].to_owned(),
                        is_whole: false,
                        span: Some(node.span.clone()),
                    });
                }
            }
            Kind::List(items) => {
                let mut option: Option<String> = None;
                for (index, item) in items.iter().enumerate() {
                    let key = option.as_deref().unwrap_or(key);
                    let is_value = option.is_some() && !item.text().is_some_and(is_option);
                    let pointer = format!("{pointer}/{index}");
                    self.node(item, &pointer, key, secret || is_value, may_be_told);
                    let text = item
                        .text()
                        .filter(|text| is_option(text) && !text.contains('='));
                    let name = text.map(|text| text.trim_start_matches('-').to_owned());
                    option = name.filter(|name| is_secret_name(name));
                }
            }
            Kind::Map(entries) => {
                for entry in entries {
                    let pointer = format!("{pointer}/{}", escape(&entry.key));
                    let is_secret = is_secret_name(&entry.key) || self.marked.contains(&pointer);
                    self.node(&entry.value, &pointer, &entry.key, is_secret, may_be_told);
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, node: &Node, pointer: &str, key: &str, value: &str) {
        self.found.push(SecretAt {
            pointer: pointer.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
            is_whole: true,
            span: Some(node.span.clone()),
        });
    }
}

fn is_option(text: &str) -> bool {
    text.starts_with("--")
}

/// The secrets in texts that are no documents, for lack of a syntax: the first ones of more than
/// can be looked for.
pub(crate) fn in_texts(texts: &Texts) -> Secrets {
    let mut gathered = Gathered::default();
    for source in texts.sources() {
        for (name, at) in in_text(&source.text) {
            gathered.add(&name_of(&name), &source.text[at]);
        }
    }
    gathered.secrets()
}
