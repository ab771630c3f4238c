//! Typed access to the fields of a record, which keeps note of what was looked at.

use super::rows::Record;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Maximum number of tokens of a text or an answer.
pub(super) const MAX_TOKENS: u32 = 1_000_000;

/// A step on the way to a value in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The value of a key.
    Key(String),
    /// An element of a list, from 0.
    Index(usize),
}

/// An error in a record, and the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) path: Vec<Step>,
    pub(super) message: String,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            path: Vec::new(),
            message: message.into(),
        }
    }
}

/// The names that were looked at, as paths: `messages[].role`.
#[derive(Debug, Default)]
pub(super) struct Known(RefCell<BTreeSet<String>>);

impl Known {
    /// The keys of a record that were not looked at, outside of those that were not, each once.
    pub(super) fn unused(&self, record: &Record) -> BTreeSet<String> {
        let known = self.0.borrow();
        let mut unused = BTreeSet::new();
        if let Record::Object(object) = record {
            let mut open: Vec<(String, &Map<String, Value>)> = vec![(String::new(), object)];
            while let Some((path, object)) = open.pop() {
                for (key, value) in object {
                    let name = format!("{path}{key}");
                    if !known.contains(&name) {
                        unused.insert(name);
                        continue;
                    }
                    // Only values that were looked into have keys of their own to look at.
                    let is_inside = |prefix: &str| {
                        known
                            .range(prefix.to_owned()..)
                            .next()
                            .is_some_and(|it| it.starts_with(prefix))
                    };
                    match value {
                        Value::Object(inner) if is_inside(&format!("{name}.")) => {
                            open.push((format!("{name}."), inner));
                        }
                        Value::Array(list) if is_inside(&format!("{name}[].")) => {
                            let inner = list.iter().filter_map(Value::as_object);
                            open.extend(inner.map(|it| (format!("{name}[]."), it)));
                        }
                        _ => {}
                    }
                }
            }
        }
        unused
    }
}

/// The fields of an object.
#[derive(Clone)]
pub(super) struct Fields<'r> {
    object: &'r Map<String, Value>,
    /// The record, if it is a text and no object.
    text: Option<&'r str>,
    known: &'r Known,
    /// Path of names, for [`Known`].
    name: String,
    path: Vec<Step>,
}

static EMPTY: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

impl<'r> Fields<'r> {
    pub(super) fn of(record: &'r Record, known: &'r Known) -> Self {
        let (object, text) = match record {
            Record::Object(object) => (object, None),
            Record::Text(text) => (&*EMPTY, Some(text.as_str())),
        };
        Self {
            object,
            text,
            known,
            name: String::new(),
            path: Vec::new(),
        }
    }

    /// The record itself, if it is a text.
    pub(super) fn itself(&self) -> Option<&'r str> {
        self.text
    }

    /// The value of a key; `None` also for null.
    pub(super) fn value(&self, key: &str) -> Option<&'r Value> {
        self.known
            .0
            .borrow_mut()
            .insert(format!("{}{key}", self.name));
        self.object.get(key).filter(|it| !it.is_null())
    }

    /// Notes that keys are known, though nothing is made of them.
    pub(super) fn know(&self, keys: &[&str]) {
        for key in keys {
            let _ = self.value(key);
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// An error of the value of a key.
    pub(super) fn wrong(&self, key: &str, message: impl Into<String>) -> Wrong {
        let mut path = self.path.clone();
        path.push(Step::Key(key.to_owned()));
        Wrong {
            path,
            message: message.into(),
        }
    }

    /// An error of the object as a whole.
    pub(super) fn wrong_here(&self, message: impl Into<String>) -> Wrong {
        Wrong {
            path: self.path.clone(),
            message: message.into(),
        }
    }

    fn wrong_type(&self, key: &str, value: &Value, expected: &str) -> Wrong {
        self.wrong(
            key,
            format!(
                "`{}` is {}, expected {expected}",
                self.named(key),
                kind(value)
            ),
        )
    }

    /// The name of a key in messages.
    pub(super) fn named(&self, key: &str) -> String {
        format!("{}{key}", self.name)
    }

    /// A text.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'r str>, Wrong> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_type(key, other, "a text")),
        }
    }

    /// A text that must be there, and not empty.
    pub(super) fn some_text(&self, key: &str) -> Result<&'r str, Wrong> {
        match self.text(key)? {
            Some(text) if !text.trim().is_empty() => Ok(text),
            Some(_) => Err(self.wrong(key, format!("`{}` is empty", self.named(key)))),
            None => Err(self.wrong_here(format!("there is no `{}`", self.named(key)))),
        }
    }

    /// A number, also one written as text.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, Wrong> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number.filter(|it| it.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong_type(key, value, "a number")),
        }
    }

    /// A number of tokens up to [`MAX_TOKENS`].
    pub(super) fn tokens(&self, key: &str) -> Result<Option<u32>, Wrong> {
        match self.number(key)? {
            None => Ok(None),
            Some(number)
                if number.fract() == 0.0 && (0.0..=f64::from(MAX_TOKENS)).contains(&number) =>
            {
                Ok(Some(number as u32))
            }
            Some(number) => Err(self.wrong(
                key,
                format!(
                    "`{}` is {number}, expected a whole number of tokens, at most {MAX_TOKENS}",
                    self.named(key)
                ),
            )),
        }
    }

    /// A number of tokens of which there is at least one.
    pub(super) fn some_tokens(&self, key: &str) -> Result<Option<u32>, Wrong> {
        match self.tokens(key)? {
            Some(0) => Err(self.wrong(
                key,
                format!("`{}` is 0, expected at least 1", self.named(key)),
            )),
            tokens => Ok(tokens),
        }
    }

    /// A list.
    pub(super) fn list(&self, key: &str) -> Result<Option<&'r [Value]>, Wrong> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(other) => Err(self.wrong_type(key, other, "a list")),
        }
    }

    /// The objects of a list.
    pub(super) fn objects(&self, key: &str) -> Result<Option<Vec<Fields<'r>>>, Wrong> {
        let Some(list) = self.list(key)? else {
            return Ok(None);
        };
        let inner = list.iter().enumerate().map(|(index, value)| {
            let mut path = self.path.clone();
            path.extend([Step::Key(key.to_owned()), Step::Index(index)]);
            match value {
                Value::Object(object) => Ok(Fields {
                    object,
                    text: None,
                    known: self.known,
                    name: format!("{}{key}[].", self.name),
                    path,
                }),
                other => Err(Wrong {
                    path,
                    message: format!(
                        "an element of `{}` is {}, expected an object",
                        self.named(key),
                        kind(other)
                    ),
                }),
            }
        });
        inner.collect::<Result<_, _>>().map(Some)
    }

    /// An object.
    pub(super) fn object(&self, key: &str) -> Result<Option<Fields<'r>>, Wrong> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Object(object)) => {
                let mut path = self.path.clone();
                path.push(Step::Key(key.to_owned()));
                Ok(Some(Fields {
                    object,
                    text: None,
                    known: self.known,
                    name: format!("{}{key}.", self.name),
                    path,
                }))
            }
            Some(other) => Err(self.wrong_type(key, other, "an object")),
        }
    }

    /// Fails if a key has a value that would have to be sent and cannot be.
    pub(super) fn refuse(&self, keys: &[&str], why: &str) -> Result<(), Wrong> {
        for key in keys {
            let is_empty = match self.value(key) {
                None => true,
                Some(Value::Array(list)) => list.is_empty(),
                Some(Value::Object(object)) => object.is_empty(),
                Some(Value::String(text)) => text.is_empty(),
                Some(Value::Bool(is)) => !is,
                Some(Value::Number(_) | Value::Null) => false,
            };
            if !is_empty {
                return Err(self.wrong(key, format!("`{}`: {why}", self.named(key))));
            }
        }
        Ok(())
    }
}

/// The kind of a value, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
