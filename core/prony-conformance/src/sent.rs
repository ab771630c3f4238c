//! What an exchange or a plan carries, value by value.

use crate::encode::Made;
use prony_contract::{Api, Model, Request};
use serde_json::Value;
use std::collections::BTreeMap;

/// All texts, numbers and switches of what is sent, by place: a JSON pointer into the body, or
/// `path` and `header NAME`. A body that is no JSON is one text.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Sent {
    /// In the order of the body.
    values: Vec<(String, Value)>,
    is_json: bool,
}

impl Sent {
    pub(crate) fn of(made: &Made) -> Self {
        let mut sent = Self::default();
        match serde_json::from_str::<Value>(made.body()) {
            Ok(body) => {
                sent.is_json = true;
                sent.add("", &body);
            }
            Err(_) => sent.values.push((String::new(), made.body().into())),
        }
        if let Made::Exchange(exchange) = made {
            let path = exchange.path.as_str();
            sent.values.push(("path".to_owned(), path.into()));
            for header in &exchange.headers {
                let value = header.value.as_str();
                sent.values
                    .push((format!("header {}", header.name), value.into()));
            }
        }
        sent
    }

    /// Adds all of a value, below `at`.
    pub(crate) fn add(&mut self, at: &str, value: &Value) {
        self.is_json = true;
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.add(&format!("{at}/{index}"), item);
                }
            }
            Value::Object(map) => {
                for (name, item) in map {
                    self.add(&format!("{at}/{name}"), item);
                }
            }
            leaf => self.values.push((at.to_owned(), leaf.clone())),
        }
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.values.iter().filter_map(|(_, value)| value.as_str())
    }

    /// Returns `true` if a text has `wanted` in it.
    pub(crate) fn holds(&self, wanted: &str) -> bool {
        self.texts().any(|it| it.contains(wanted))
    }

    /// Returns `true` if a text is `wanted`; of a body that is no JSON, has it in it.
    pub(crate) fn is(&self, wanted: &str) -> bool {
        self.texts().any(|it| it == wanted) || (!self.is_json && self.holds(wanted))
    }

    /// How often `wanted` is in the texts.
    pub(crate) fn count(&self, wanted: &str) -> usize {
        self.texts().map(|it| it.matches(wanted).count()).sum()
    }

    /// Returns `true` if it names the model: its id or path is a text, or in one.
    pub(crate) fn names(&self, model: &Model) -> bool {
        self.holds(&model.id) || model.path.as_ref().is_some_and(|path| self.holds(path))
    }

    /// The place of a number. Texts count if they are the number, and words of a body that is
    /// no JSON.
    pub(crate) fn number(&self, wanted: f64) -> Option<&str> {
        // As written with the digits of a 32-bit float.
        let is_wanted = |found: f64| {
            let is_whole = wanted.fract() == 0.0;
            let spare = if is_whole { 0.0 } else { 1e-6 * wanted.abs() };
            (found - wanted).abs() <= spare
        };
        let has_it = |value: &Value| match value {
            Value::Number(number) => number.as_f64().is_some_and(is_wanted),
            Value::String(text) => {
                let is_part = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
                let all = if self.is_json {
                    vec![text.as_str()]
                } else {
                    text.split(is_part).collect()
                };
                all.iter().any(|word| word.parse().is_ok_and(is_wanted))
            }
            _ => false,
        };
        let mut found = self.values.iter().filter(|(_, value)| has_it(value));
        found.next().map(|(at, _)| at.as_str())
    }

    /// The value at a place.
    pub(crate) fn at(&self, at: &str) -> Option<&Value> {
        let mut found = self.values.iter().filter(|(place, _)| place == at);
        found.next().map(|(_, value)| value)
    }

    /// Places that `other` has otherwise or only it has, with the value here and there.
    pub(crate) fn changed<'s>(
        &'s self,
        other: &'s Self,
    ) -> Vec<(&'s str, Option<&'s Value>, &'s Value)> {
        let own: BTreeMap<&str, &Value> = self
            .values
            .iter()
            .map(|(at, it)| (at.as_str(), it))
            .collect();
        let theirs = other.values.iter();
        theirs
            .map(|(at, value)| (at.as_str(), own.get(at.as_str()).copied(), value))
            .filter(|(_, mine, value)| *mine != Some(value))
            .collect()
    }

    /// Returns `true` if a field of a name like this one has this value: an object has no order.
    pub(crate) fn has_field(&self, name: &str, wanted: &str) -> bool {
        let is_named = |at: &str| at.rsplit('/').next().is_some_and(|it| it.contains(name));
        let mut values = self.values.iter();
        values.any(|(at, value)| is_named(at) && value.as_str() == Some(wanted))
    }

    /// Returns `true` if each begins after the end of the one before: in the same text or
    /// in a later one. Texts are in the order of the body, since objects keep theirs.
    pub(crate) fn holds_in_order(&self, wanted: &[&str]) -> bool {
        let texts: Vec<&str> = self.texts().collect();
        let (mut text, mut from) = (0, 0);
        wanted.iter().all(|wanted| {
            while let Some(it) = texts.get(text) {
                if let Some(at) = it[from..].find(wanted) {
                    from += at + wanted.len();
                    return true;
                }
                (text, from) = (text + 1, 0);
            }
            false
        })
    }

    /// A number that can only be the time, if there is one: of today, in seconds, milliseconds,
    /// microseconds or nanoseconds since 1970. `now` is in seconds.
    pub(crate) fn time(&self, now: f64) -> Option<String> {
        const DAY: f64 = 86_400.0;
        let is_time = |number: f64| {
            let units = [1.0, 1e3, 1e6, 1e9];
            units.iter().any(|unit| (number / unit - now).abs() < DAY)
        };
        self.values.iter().find_map(|(_, value)| {
            let text = match value {
                Value::Number(number) => number.to_string(),
                Value::String(text) => text.clone(),
                _ => return None,
            };
            let mut words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
            let found = words.find(|word| word.len() >= 10 && word.parse().is_ok_and(is_time));
            found.map(str::to_owned)
        })
    }
}

pub(crate) const PROMPT: &str = "  Say \"é\\n\" 🦀\tand {{ x }} </s>\n";
pub(crate) const OTHER_PROMPT: &str = "Write: ' <b>ü</b> [INST]\r\n";
pub(crate) const SYSTEM: &str = "Be \"brief\"";
pub(crate) const MAX_TOKENS: u32 = 1_237;
pub(crate) const SEED: u64 = 7_654_321;

/// The request that others differ from in one field.
pub fn probe_request(api: Api) -> Request {
    Request {
        prompt: PROMPT.to_owned(),
        system: (api == Api::Chat).then(|| SYSTEM.to_owned()),
        max_tokens: MAX_TOKENS,
        seed: SEED,
        ..everyday(api, "")
    }
}

/// A request as a run has it: greedy, a short answer.
pub fn everyday(api: Api, prompt: &str) -> Request {
    Request {
        api,
        prompt: prompt.to_owned(),
        system: None,
        history: Vec::new(),
        max_tokens: 24,
        temperature: 0.0,
        top_p: None,
        seed: 1,
        stop: Vec::new(),
        ignore_eos: false,
        images: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sent(body: &Value) -> Sent {
        let mut sent = Sent::default();
        sent.add("", body);
        sent
    }

    #[test]
    fn values_have_places() {
        let body = sent(&json!({ "a": [1, "x y"], "t": "0.37", "b": true }));
        assert_eq!(body.number(1.0), Some("/a/0"));
        assert_eq!(body.number(0.37), Some("/t"));
        assert_eq!(body.number(0.38), None);
        assert!(body.is("x y") && !body.is("x") && body.holds("x"));
        assert_eq!(body.at("/b"), Some(&json!(true)));
        let other = sent(&json!({ "a": [2, "x y"], "t": "0.37", "c": 1 }));
        let changed: Vec<&str> = body.changed(&other).iter().map(|it| it.0).collect();
        assert_eq!(changed, ["/a/0", "/c"]);
    }

    #[test]
    fn only_a_number_of_today_is_a_time() {
        let now = 1_764_000_000.5;
        let time = |value: Value| sent(&value).time(now);
        assert_eq!(time(json!(1_764_000_100)), Some("1764000100".to_owned()));
        assert_eq!(
            time(json!("id-1764000000123")),
            Some("1764000000123".to_owned())
        );
        assert_eq!(time(json!(7_654_321)), None);
        assert_eq!(time(json!(u64::MAX)), None);
    }
}
