//! A message of a stream, read as tolerantly as the common clients read it.
//!
//! The usual message is read in one pass into borrowed texts. What that refuses is read once
//! more by [`tolerant`]: keys given twice, halves of characters, `NaN`, contents as lists.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

/// A string that is borrowed if it can be. `Option<Cow<str>>` never is: only a field
/// that is itself a `Cow` has what it takes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl Text<'_> {
    /// The text, if there is one.
    pub(crate) fn of<'t>(text: Option<&'t Text<'_>>) -> Option<&'t str> {
        text.map(|text| &*text.0).filter(|text| !text.is_empty())
    }
}

#[derive(Default, serde::Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(borrow)]
    pub(crate) model: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) system_fingerprint: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) choices: Option<Vec<Choice<'a>>>,
    pub(crate) usage: Option<Usage>,
    /// Groq's.
    pub(crate) x_groq: Option<Groq>,
    /// llama.cpp's.
    pub(crate) timings: Option<Timings>,
    pub(crate) error: Option<Value>,
}

#[derive(serde::Deserialize)]
pub(crate) struct Choice<'a> {
    /// Chat.
    #[serde(borrow)]
    pub(crate) delta: Option<Delta<'a>>,
    /// Plain completions.
    #[serde(borrow)]
    pub(crate) text: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) finish_reason: Option<Text<'a>>,
    pub(crate) error: Option<Value>,
    /// Moonshot's.
    pub(crate) usage: Option<Usage>,
}

#[derive(serde::Deserialize)]
pub(crate) struct Delta<'a> {
    #[serde(borrow)]
    pub(crate) content: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) reasoning_content: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) reasoning: Option<Text<'a>>,
    /// `OpenAI`'s, in place of an answer.
    #[serde(borrow)]
    pub(crate) refusal: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) tool_calls: Option<Vec<ToolCall<'a>>>,
    /// The older form.
    #[serde(borrow)]
    pub(crate) function_call: Option<Function<'a>>,
}

#[derive(serde::Deserialize)]
pub(crate) struct ToolCall<'a> {
    #[serde(borrow)]
    pub(crate) function: Option<Function<'a>>,
}

#[derive(serde::Deserialize)]
pub(crate) struct Function<'a> {
    #[serde(borrow)]
    pub(crate) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) arguments: Option<Text<'a>>,
}

#[derive(Clone, Copy, Default, serde::Deserialize)]
pub(crate) struct Usage {
    #[serde(default)]
    pub(crate) prompt_tokens: Count,
    #[serde(default)]
    pub(crate) completion_tokens: Count,
    #[serde(default)]
    pub(crate) total_tokens: Count,
    /// Moonshot's.
    #[serde(default)]
    pub(crate) cached_tokens: Count,
    /// `DeepSeek`'s.
    #[serde(default)]
    pub(crate) prompt_cache_hit_tokens: Count,
    #[serde(default)]
    pub(crate) prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    pub(crate) completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Clone, Copy, serde::Deserialize)]
pub(crate) struct PromptDetails {
    #[serde(default)]
    pub(crate) cached_tokens: Count,
}

#[derive(Clone, Copy, serde::Deserialize)]
pub(crate) struct CompletionDetails {
    #[serde(default)]
    pub(crate) reasoning_tokens: Count,
}

#[derive(serde::Deserialize)]
pub(crate) struct Groq {
    pub(crate) usage: Option<Usage>,
    pub(crate) error: Option<Value>,
}

/// Tokens computed for the prompt, taken from the cache for it, and generated; milliseconds
/// until the first of these, and from there to the last.
#[derive(Default, serde::Deserialize)]
pub(crate) struct Timings {
    #[serde(default)]
    pub(crate) prompt_n: Count,
    #[serde(default)]
    pub(crate) cache_n: Count,
    #[serde(default)]
    pub(crate) predicted_n: Count,
    #[serde(default)]
    pub(crate) prompt_ms: Value,
    #[serde(default)]
    pub(crate) predicted_ms: Value,
}

/// A number of tokens: an integer, or a float that is one. Anything else is none.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) Option<u32>);

impl Count {
    /// The count at `key` of an object.
    pub(crate) fn at(json: &Value, key: &str) -> Self {
        let count = json.get(key).map(Self::deserialize);
        count.and_then(Result::ok).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of tokens")
            }
            fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
                Ok(Count(u32::try_from(count).ok()))
            }
            fn visit_i64<E>(self, count: i64) -> Result<Count, E> {
                Ok(Count(u32::try_from(count).ok()))
            }
            fn visit_f64<E>(self, count: f64) -> Result<Count, E> {
                let is_count = count.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&count);
                Ok(Count(is_count.then_some(count as u32)))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
                Ok(Count(None))
            }
            fn visit_str<E>(self, text: &str) -> Result<Count, E> {
                Ok(Count(text.parse().ok()))
            }
            fn visit_unit<E>(self) -> Result<Count, E> {
                Ok(Count(None))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Count, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Count(None))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Count(None))
            }
        }
        from.deserialize_any(Reads)
    }
}

/// A message that [`Message`] does not read as it is: as JSON, and as a message if it is
/// one. Halves of a surrogate pair become characters of [`super::halves`].
pub(crate) fn tolerant(data: &str) -> serde_json::Result<(Value, Option<Message<'static>>)> {
    let json = json(data)?;
    let mut plain = json.clone();
    let is_message = simplify(&mut plain);
    let message = is_message
        .then(|| Message::deserialize(plain).ok())
        .flatten();
    Ok((json, message))
}

/// JSON, mended where servers break its rules. Of keys that come twice the last one counts.
pub(crate) fn json(data: &str) -> serde_json::Result<Value> {
    match serde_json::from_str(data) {
        Ok(json) => Ok(json),
        Err(error) => match mended(data) {
            Some(mended) => serde_json::from_str(&mended),
            None => Err(error),
        },
    }
}

/// Brings what is a message in spirit into the form that [`Message`] reads; `false` if it is
/// no object.
fn simplify(json: &mut Value) -> bool {
    let Value::Object(message) = json else {
        return false;
    };
    for key in ["model", "system_fingerprint"] {
        if message.get(key).is_some_and(|it| !it.is_string()) {
            message.remove(key);
        }
    }
    for key in ["usage", "timings", "x_groq"] {
        if message.get(key).is_some_and(|it| !it.is_object()) {
            message.remove(key);
        }
    }
    let choices = message.get_mut("choices").and_then(Value::as_array_mut);
    for choice in choices.into_iter().flatten() {
        if let Some(delta) = choice.get_mut("delta") {
            for key in ["content", "reasoning_content", "reasoning"] {
                if let Some(content) = delta.get_mut(key) {
                    joined(content);
                }
            }
        }
        if let Some(text) = choice.get_mut("text") {
            joined(text);
        }
    }
    true
}

/// Makes one text of a content that is a list of parts.
fn joined(content: &mut Value) {
    let Value::Array(parts) = content else {
        return;
    };
    let texts = parts.iter().filter_map(|part| match part {
        Value::String(text) => Some(text.as_str()),
        part => part.get("text").and_then(Value::as_str),
    });
    *content = Value::String(texts.collect());
}

/// JSON as some servers write it, made JSON: `NaN` and `Infinity` become `null`, and escapes
/// of half a character those of a character that stands for it. `None` if there is neither.
fn mended(data: &str) -> Option<String> {
    let bytes = data.as_bytes();
    let (mut mended, mut from, mut at, mut in_text) = (String::new(), 0, 0, false);
    while let Some(byte) = bytes.get(at) {
        if !in_text {
            in_text = *byte == b'"';
            let word = ["-Infinity", "Infinity", "NaN"]
                .into_iter()
                .find(|word| data[at..].starts_with(word));
            if let Some(word) = word {
                mended.push_str(&data[from..at]);
                mended.push_str("null");
                at += word.len();
                from = at;
                continue;
            }
            at += 1;
            while !data.is_char_boundary(at) {
                at += 1;
            }
            continue;
        }
        match byte {
            b'"' => in_text = false,
            b'\\' => {
                if let Some(unit) = surrogate(data, at) {
                    let is_pair = (0xd800..0xdc00).contains(&unit)
                        && surrogate(data, at + 6)
                            .is_some_and(|next| (0xdc00..0xe000).contains(&next));
                    if is_pair {
                        at += 12;
                        continue;
                    }
                    mended.push_str(&data[from..at]);
                    mended.push(super::halves::stand_in(unit));
                    at += 6;
                    from = at;
                    continue;
                }
                at += 1;
            }
            _ => {}
        }
        at += 1;
    }
    (from > 0).then(|| mended + &data[from..])
}

/// The surrogate that an escape at `at` writes.
fn surrogate(data: &str, at: usize) -> Option<u16> {
    let digits = data.get(at..at + 6)?.strip_prefix("\\u")?;
    let unit = u16::from_str_radix(digits, 16).ok()?;
    (0xd800..0xe000).contains(&unit).then_some(unit)
}
