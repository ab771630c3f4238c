//! Token counts of prompts.

use crate::{Config, IMAGE_TOKENS, Images, PROMPT_TOKENS, images};
use serde_json::Value;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// Rule for counting the tokens of a prompt. Each image adds [`IMAGE_TOKENS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PromptTokens {
    /// [`PROMPT_TOKENS`], whatever the prompt.
    #[default]
    Constant,
    /// One token per word (separated by white space), plus [`PROMPT_TOKENS`] per message,
    /// as if by a template. A plain prompt has no template.
    Words,
}

impl FromStr for PromptTokens {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "constant" => Ok(Self::Constant),
            "words" => Ok(Self::Words),
            _ => Err("expected `constant` or `words`".to_owned()),
        }
    }
}

/// The usage reported for a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) tokens: u32,
    /// Cached tokens, if there is a cache.
    pub(crate) cached: Option<u32>,
}

/// Counts the prompt of `request`; fails with the reason if it is invalid.
pub(crate) fn cost(request: &Value, config: &Config, cache: &PrefixCache) -> Result<Cost, String> {
    let images = images::count(request)?;
    if images == 0 && config.images == Images::Required {
        return Err("an image is required".to_owned());
    }
    let images = match config.images {
        Images::Dropped => 0,
        Images::Counted | Images::Required => images,
    };
    let words = || texts(request).flat_map(str::split_whitespace);
    let text = if config.prompt_tokens == PromptTokens::Words || config.prefix_cache {
        let messages = request["messages"].as_array().map_or(0, Vec::len);
        words().count() as u32 + PROMPT_TOKENS * messages as u32
    } else {
        PROMPT_TOKENS
    };
    Ok(Cost {
        tokens: text + IMAGE_TOKENS * images,
        cached: config
            .claim_cached
            .or_else(|| config.prefix_cache.then(|| cache.meet(words()))),
    })
}

/// The prompt, or the text of all messages, in order.
fn texts(request: &Value) -> impl Iterator<Item = &str> {
    let messages = request["messages"].as_array().into_iter().flatten();
    let contents = messages.flat_map(|message| {
        let content = &message["content"];
        let parts = content.as_array().into_iter().flatten();
        let parts = parts.filter_map(|part| part["text"].as_str());
        content.as_str().into_iter().chain(parts)
    });
    request["prompt"].as_str().into_iter().chain(contents)
}

/// Remembers prompts as an engine with a prefix cache does, exact to the word.
///
/// It holds one number for every prefix of a prompt, not the words. When it is full, the
/// half least recently met is forgotten.
#[derive(Debug, Default)]
pub(crate) struct PrefixCache(Mutex<[HashSet<u64>; 2]>);

/// Prefixes in each half: some 40 MiB in all.
const PREFIXES: usize = 1 << 20;

impl PrefixCache {
    /// Number of leading words of this prompt that an earlier one began with; then
    /// remembers it.
    fn meet<'a>(&self, words: impl Iterator<Item = &'a str>) -> u32 {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hasher = DefaultHasher::new();
        let mut cached = 0;
        let mut known = true;
        for word in words {
            // Each prefix is hashed into the next: if one is known, so are all before it.
            word.hash(&mut hasher);
            let prefix = hasher.finish();
            let [recent, old] = &mut *halves;
            known = known && (recent.contains(&prefix) || old.contains(&prefix));
            cached += u32::from(known);
            recent.insert(prefix);
            if recent.len() >= PREFIXES {
                *old = std::mem::take(recent);
            }
        }
        cached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(request: &Value) -> u32 {
        let config = Config {
            prompt_tokens: PromptTokens::Words,
            ..Config::default()
        };
        let cost = cost(request, &config, &PrefixCache::default()).expect("well");
        assert_eq!(cost.cached, None);
        cost.tokens
    }

    #[test]
    fn words_and_templates_are_counted() {
        assert_eq!(words(&json!({ "prompt": " a  b\nc " })), 3);
        assert_eq!(words(&json!({ "prompt": "" })), 0);
        let parts = json!([{ "type": "text", "text": "a b" }, { "type": "text", "text": "c" }]);
        let messages = json!([{ "content": "x y" }, { "content": parts }]);
        assert_eq!(
            words(&json!({ "messages": messages })),
            5 + 2 * PROMPT_TOKENS
        );
    }

    #[test]
    fn the_longest_known_prefix_is_cached() {
        let cache = PrefixCache::default();
        let meet = |text: &str| cache.meet(text.split(' '));
        assert_eq!(meet("a b c d"), 0);
        assert_eq!(meet("a b c d"), 4);
        assert_eq!(meet("a b x y z"), 2);
        assert_eq!(meet("b c d"), 0);
        assert_eq!(meet("a b x y c"), 4);
        assert_eq!(meet("ab c d"), 0);
    }

    #[test]
    fn the_cache_is_bounded_and_forgets_what_is_old() {
        let cache = PrefixCache::default();
        let long = vec!["w"; PREFIXES - 1];
        assert_eq!(cache.meet(["old"].into_iter()), 0);
        assert_eq!(cache.meet(long.iter().copied()), 0);
        assert_eq!(
            cache.meet(["old"].into_iter()),
            1,
            "it is in the older half"
        );
        let other = vec!["v"; 3 * PREFIXES];
        cache.meet(other.into_iter());
        assert_eq!(cache.meet(["old"].into_iter()), 0);
        let held: usize = cache
            .0
            .lock()
            .expect("whole")
            .iter()
            .map(HashSet::len)
            .sum();
        assert!(held <= 2 * PREFIXES, "{held}");
    }
}
