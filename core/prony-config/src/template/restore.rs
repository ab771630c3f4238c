//! Puts templates back into a document that is written out.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::fill::{Filled, escape};
use crate::schema::unflattened;
use crate::secrets::MIN_SECRET;
use crate::tree::{Kind, Node};

impl Filled {
    /// Puts templates back where they must remain, into the same document as JSON.
    pub(crate) fn restore(&self, document: &mut Value) {
        for uneven in &self.lists {
            if let Some(list) = self.raw.exactly(&uneven.pointer) {
                put(document, &uneven.pointer, unflattened(list));
            }
        }
        for (pointer, written) in self.numbers() {
            put(document, &pointer, format!("${{{{ {written} }}}}").into());
        }
        for kept in &self.kept {
            put(document, &kept.pointer, Value::String(kept.text.clone()));
        }
        let hidden = self.hide_literals(document);
        if let Some(vars) = document.get_mut("vars").and_then(Value::as_object_mut) {
            vars.retain(|name, _| self.context["vars"].get(name).is_some());
        }
        if let Some(env) = document.get_mut("env").and_then(Value::as_array_mut) {
            env.retain(|name| {
                let name = name.as_str().unwrap_or_default();
                self.needs_env(name) || hidden.contains(name)
            });
        }
        if let Some(document) = document.as_object_mut() {
            document.retain(|key, value| {
                let empty = value.as_object().is_some_and(Map::is_empty)
                    || value.as_array().is_some_and(Vec::is_empty);
                !(empty && ["vars", "env"].contains(&key.as_str()))
            });
        }
    }

    /// The variables and values of axes that are written otherwise than JSON shows them.
    fn numbers(&self) -> Vec<(String, &str)> {
        fn find<'n>(node: &'n Node, pointer: &str, found: &mut Vec<(String, &'n str)>) {
            match (&node.kind, &node.written) {
                (Kind::Number(_) | Kind::Bool(_), Some(written)) => {
                    found.push((pointer.to_owned(), written));
                }
                (Kind::List(items), _) => {
                    for (index, item) in items.iter().enumerate() {
                        find(item, &format!("{pointer}/{index}"), found);
                    }
                }
                (Kind::Map(entries), _) => {
                    for entry in entries {
                        let pointer = format!("{pointer}/{}", escape(&entry.key));
                        find(&entry.value, &pointer, found);
                    }
                }
                _ => {}
            }
        }
        let mut found = Vec::new();
        for section in ["vars", "matrix"] {
            if let Some(entry) = self.raw.entry(section) {
                find(&entry.value, &format!("/{section}"), &mut found);
            }
        }
        let thresholds = self.raw.entry("thresholds").map(|it| it.value.items());
        for (index, threshold) in thresholds.unwrap_or_default().iter().enumerate() {
            if let Some(entry) = threshold.entry("matrix") {
                let pointer = format!("/thresholds/{index}/matrix");
                find(&entry.value, &pointer, &mut found);
            }
        }
        found
    }

    /// Puts templates in the place of secrets, so that who runs the file gives them anew.
    /// Returns the variables that these use.
    fn hide_literals(&self, document: &mut Value) -> BTreeSet<&str> {
        /// The keys before `secrets`.
        const BEFORE: [&str; 5] = ["version", "name", "description", "vars", "env"];
        let mut names = BTreeSet::new();
        for literal in &self.literals {
            let template = format!("${{{{ env.{} }}}}", literal.name);
            let mut hidden = false;
            if let Some(pointer) = &literal.pointer
                && let Some(place) = document.pointer_mut(pointer)
                && *place == literal.value.as_str()
            {
                *place = template.clone().into();
                hidden = true;
            }
            if literal.value.len() >= MIN_SECRET {
                hidden |= replace(document, &literal.value, &template);
            }
            if hidden {
                names.insert(literal.name.as_str());
            }
        }
        let listed = |key: &str, name: &&str| {
            let list = document.get(key).and_then(Value::as_array);
            list.is_some_and(|list| list.iter().any(|it| it == name))
        };
        let more = names.iter().copied();
        let more = more.filter(|name| !listed("env", name) && !listed("secrets", name));
        let more: Vec<Value> = more.map(Value::from).collect();
        if let (Some(document), false) = (document.as_object_mut(), more.is_empty()) {
            if let Some(Value::Array(listed)) = document.get_mut("secrets") {
                listed.extend(more);
            } else {
                let is_after = |key: &String| !BEFORE.contains(&key.as_str());
                let at = document.keys().position(is_after);
                let at = at.unwrap_or(document.len());
                document.shift_insert(at, "secrets".to_owned(), more.into());
            }
        }
        names
    }

    fn needs_env(&self, name: &str) -> bool {
        let name = format!("env.{name}");
        self.kept.iter().any(|kept| kept.used.contains(&name))
    }
}

/// Sets the value at a pointer. A missing key, omitted because its value is the default,
/// is added.
fn put(document: &mut Value, pointer: &str, value: Value) {
    let mut at = document;
    for segment in pointer.split('/').skip(1) {
        let key = segment.replace("~1", "/").replace("~0", "~");
        at = match at {
            Value::Object(entries) => entries.entry(key).or_insert(Value::Object(Map::new())),
            Value::Array(items) => match key.parse().ok().and_then(|i: usize| items.get_mut(i)) {
                Some(item) => item,
                None => return,
            },
            _ => return,
        };
    }
    *at = value;
}

/// Replaces a text within every string of a document. Returns `true` if there was one.
fn replace(document: &mut Value, text: &str, by: &str) -> bool {
    let mut any = false;
    match document {
        Value::String(string) if string.contains(text) => {
            *string = string.replace(text, by);
            any = true;
        }
        Value::Array(items) => {
            for item in items {
                any |= replace(item, text, by);
            }
        }
        Value::Object(entries) => {
            for value in entries.values_mut() {
                any |= replace(value, text, by);
            }
        }
        _ => {}
    }
    any
}
