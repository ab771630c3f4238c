//! A YAML document as a tree that records the place of every key and value.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::{Number, Value};

/// A byte range of the text.
pub type Span = Range<usize>;

/// A value and its place.
#[derive(Debug, Clone)]
pub struct Node {
    /// The value.
    pub kind: Kind,
    /// Bytes of the text that it takes up.
    pub span: Span,
    /// Text of a plain scalar whose value is shown otherwise, such as `1.10`, `0x10` or `True`.
    /// A string has one if it is a number in YAML that no value holds, such as `.inf`.
    pub written: Option<Box<str>>,
}

/// A value of a document.
#[derive(Debug, Clone)]
pub enum Kind {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    String(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file; its keys are unique.
    Map(Vec<Entry>),
}

impl Kind {
    /// Returns `true` for null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

/// A key, its place and its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Bytes of the text that the key takes up.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

/// A node found by a path, with the place of the key that leads to it.
#[derive(Debug, Clone)]
pub(crate) struct Found<'a> {
    pub key: Option<&'a Entry>,
    /// The key of the list, for an item of one.
    pub item_of: Option<&'a Entry>,
    pub node: &'a Node,
}

impl Node {
    /// A value that is written as it is shown.
    pub(crate) fn new(kind: Kind, span: Span) -> Self {
        Self {
            kind,
            span,
            written: None,
        }
    }

    /// The entries of a mapping; empty for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; empty for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// The entry of a mapping with this key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The place of the value of a key.
    pub(crate) fn at_key(&self, key: &str) -> Option<Span> {
        self.entry(key).map(|entry| entry.value.span.clone())
    }

    /// The text of a string, a number or a boolean, as it is written.
    pub(crate) fn words(&self) -> Option<Cow<'_, str>> {
        match (&self.written, &self.kind) {
            (Some(written), _) => Some(Cow::Borrowed(&**written)),
            (None, Kind::String(text)) => Some(Cow::Borrowed(text)),
            (None, Kind::Number(number)) => Some(Cow::Owned(number.to_string())),
            (None, Kind::Bool(value)) => Some(Cow::Owned(value.to_string())),
            (None, Kind::Null | Kind::List(_) | Kind::Map(_)) => None,
        }
    }

    /// The text of a string.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }

    /// The node at a JSON pointer, if it exists.
    pub(crate) fn exactly(&self, pointer: &str) -> Option<&Self> {
        let mut node = self;
        for segment in pointer.split('/').skip(1) {
            let key = segment.replace("~1", "/").replace("~0", "~");
            node = match &node.kind {
                Kind::Map(_) => &node.entry(&key)?.value,
                Kind::List(items) => items.get(key.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(node)
    }

    /// The node at a JSON pointer to be changed, if it exists.
    pub(crate) fn exactly_at(&mut self, pointer: &str) -> Option<&mut Self> {
        let mut node = self;
        for segment in pointer.split('/').skip(1) {
            let key = segment.replace("~1", "/").replace("~0", "~");
            node = match &mut node.kind {
                Kind::Map(entries) => {
                    let mut entries = entries.iter_mut();
                    &mut entries.find(|entry| entry.key == key)?.value
                }
                Kind::List(items) => items.get_mut(key.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(node)
    }

    /// The node at a JSON pointer, or its deepest existing ancestor.
    pub(crate) fn at(&self, pointer: &str) -> Found<'_> {
        let mut found = Found::root(self);
        for segment in pointer.split('/').skip(1) {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            match &found.node.kind {
                Kind::Map(_) => match found.node.entry(&segment) {
                    Some(entry) => found = Found::value_of(entry),
                    None => break,
                },
                Kind::List(items) => {
                    match segment.parse::<usize>().ok().and_then(|i| items.get(i)) {
                        Some(node) => {
                            found = Found {
                                key: None,
                                item_of: found.key.or(found.item_of),
                                node,
                            }
                        }
                        None => break,
                    }
                }
                _ => break,
            }
        }
        found
    }

    /// The same value without its places.
    pub(crate) fn to_json(&self) -> Value {
        self.to_value(&|_| None)
    }

    /// The same value without its places; of a scalar what `instead` gives, if it gives
    /// something.
    pub(crate) fn to_value(&self, instead: &dyn Fn(&Self) -> Option<Value>) -> Value {
        if let Some(value) = instead(self) {
            return value;
        }
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(value) => Value::Number(value.clone()),
            Kind::String(value) => Value::String(value.clone()),
            Kind::List(items) => items.iter().map(|item| item.to_value(instead)).collect(),
            Kind::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.to_value(instead)))
                .collect(),
        }
    }
}

impl<'a> Found<'a> {
    /// The whole document.
    pub(crate) fn root(node: &'a Node) -> Self {
        Self {
            key: None,
            item_of: None,
            node,
        }
    }

    /// The value of a key.
    pub(crate) fn value_of(entry: &'a Entry) -> Self {
        Self {
            key: Some(entry),
            item_of: None,
            node: &entry.value,
        }
    }

    /// The place of the thing as a whole: its key if it has one.
    pub(crate) fn name_span(&self) -> Span {
        self.key
            .map_or_else(|| self.node.span.clone(), |entry| entry.key_span.clone())
    }
}
