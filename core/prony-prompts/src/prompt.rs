//! The prompts of a workload.

use crate::dataset::Image;
use crate::synthetic::{self, Length, Writer};
use prony_contract::ChatMessage;
use prony_tokenizer::Tokenizer;
use serde::{Serialize, Serializer};
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::time::Duration;

/// A prompt, the same for every engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prompt {
    /// Its own system message; defaults to that of the workload.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub system: Option<Arc<str>>,
    /// Earlier messages, in a later turn of a conversation. The answers are the
    /// dataset's, not an engine's, so that all engines get the same.
    #[serde(skip_serializing_if = "History::is_empty")]
    pub history: History,
    /// Text of the prompt.
    pub text: String,
    /// Maximum number of tokens in the answer.
    pub max_tokens: u32,
    /// Recorded send time, in nanoseconds; later turns follow the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_ns: Option<u64>,
    /// Pause before it, after the answer to the turn before; defaults to that of the workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
    /// `true` for a later turn of a session that is sent without what was said before it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
    /// Its own images. What is sent for them is known when they are read.
    #[serde(skip)]
    pub images: Vec<Image>,
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn as_text<S: Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_deref().serialize(serializer)
}

/// The beginning of a conversation. Its turns share the messages, so that they take the
/// memory of one conversation and not that of its square.
#[derive(Debug, Clone, Default)]
pub struct History {
    messages: Arc<[ChatMessage]>,
    length: usize,
}

impl History {
    /// The first `length` of messages that are shared.
    pub(crate) fn first(messages: &Arc<[ChatMessage]>, length: usize) -> Self {
        Self {
            messages: messages.clone(),
            length,
        }
    }

    /// Returns `true` for the first or only turn.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl Deref for History {
    type Target = [ChatMessage];

    fn deref(&self) -> &[ChatMessage] {
        &self.messages[..self.length]
    }
}

impl PartialEq for History {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for History {}

impl Serialize for History {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl From<Vec<ChatMessage>> for History {
    fn from(messages: Vec<ChatMessage>) -> Self {
        Self {
            length: messages.len(),
            messages: messages.into(),
        }
    }
}

impl Prompt {
    /// A prompt without history.
    pub(crate) fn new(text: String, max_tokens: u32) -> Self {
        Self {
            system: None,
            history: History::default(),
            text,
            max_tokens,
            at_ns: None,
            delay: None,
            continues: false,
            images: Vec::new(),
        }
    }

    /// Returns `true` for the first or only turn of a conversation. Later turns follow it
    /// directly.
    pub fn begins(&self) -> bool {
        self.history.is_empty() && !self.continues
    }
}

/// Groups `count` requests into conversations, when requests go through `prompts`
/// repeatedly: consecutive ranges of request numbers, counted from the request `first`. A
/// conversation that began earlier, or ends later, is cut.
pub fn conversations(prompts: &[Prompt], first: u32, count: u32) -> Vec<Range<u32>> {
    let begins = |index: &u32| {
        let number = u64::from(first) + u64::from(*index);
        *index == 0 || prompts[(number % prompts.len() as u64) as usize].begins()
    };
    let begun: Vec<u32> = (0..count).filter(begins).collect();
    let ends = begun.iter().skip(1).copied().chain([count]);
    let sessions = begun.iter().copied().zip(ends);
    sessions.map(|(begin, end)| begin..end).collect()
}

/// Properties of synthetic prompts.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Number of prompts.
    pub count: u32,
    /// Their lengths, including the prefix.
    pub input: Length,
    /// Maximum lengths of the answers, if not the workload's.
    pub output: Option<Length>,
    /// Length of shared beginnings in tokens, and the number of different ones.
    pub prefix: Option<(u32, u32)>,
}

/// Makes prompts from texts.
pub fn texts(texts: impl IntoIterator<Item = String>, max_tokens: u32) -> Vec<Prompt> {
    let prompts = texts.into_iter();
    prompts.map(|text| Prompt::new(text, max_tokens)).collect()
}

/// Makes prompts of exact lengths; equal seeds give equal prompts.
pub fn of_shape(
    shape: Shape,
    tokenizer: &Tokenizer,
    max_tokens: u32,
    seed: u64,
) -> Result<Vec<Prompt>, synthetic::Error> {
    let writer = Writer::new(tokenizer)?;
    let prompts = shape.count as usize;
    let mut seeds = Seeds(seed);
    let inputs = shape.input.draw(seeds.next(), prompts)?;
    let outputs = match shape.output {
        Some(length) => length.draw(seeds.next(), prompts)?,
        None => vec![max_tokens; prompts],
    };
    let prefixes = match shape.prefix {
        Some((tokens, groups)) => (0..groups)
            .map(|_| writer.text("", tokens, seeds.next()))
            .collect::<Result<Vec<_>, _>>()?,
        None => Vec::new(),
    };
    let mut prompts = Vec::new();
    for (index, (input, max_tokens)) in inputs.into_iter().zip(outputs).enumerate() {
        let group = index.checked_rem(prefixes.len());
        let prefix = group.map_or("", |group| &prefixes[group]);
        let text = writer.text(prefix, input, seeds.next())?;
        prompts.push(Prompt::new(text, max_tokens));
    }
    Ok(prompts)
}

/// Separate seeds for everything drawn: `SplitMix64` (Steele, Lea & Flood, "Fast
/// splittable pseudorandom number generators", 2014).
pub(crate) struct Seeds(pub(crate) u64);

impl Seeds {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }
}

pub(crate) fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Letters and digits to precede a request whose prompt must be unknown to caches: always
/// 10 of them and a space. Equal places and seeds give equal ones, so all engines get the
/// same; others differ but for one chance in 10^15.
pub fn nonce(seed: u64, place: &str) -> String {
    const SIGNS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    // FNV-1a distinguishes places, and the mixing spreads differences over all
    // characters.
    let hash = place.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut rest = mixed(hash ^ mixed(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)));
    let mut nonce = String::with_capacity(11);
    for _ in 0..10 {
        nonce.push(char::from(SIGNS[(rest % 36) as usize]));
        rest /= 36;
    }
    nonce.push(' ');
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;
    use prony_contract::Role;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn nonces_tell_places_and_seeds_apart() {
        let places = (0..20_000).map(|index| format!("cell/model/1/measure/{index}"));
        let mut seen = HashSet::new();
        for place in places {
            for seed in [0, 1] {
                let nonce = nonce(seed, &place);
                assert_eq!(nonce.len(), 11, "{nonce:?}");
                assert!(nonce.ends_with(' ') && nonce.is_ascii(), "{nonce:?}");
                assert!(seen.insert(nonce), "{place} with {seed}");
            }
        }
        assert_eq!(nonce(1, "a"), nonce(1, "a"));
    }

    proptest! {
        #[test]
        fn conversations_are_cut_where_they_begin(lengths in prop::collection::vec(1..5_usize, 1..6), first in 0..50_u32, count in 0..50_u32) {
            // Prompts as from a dataset whose conversations have these numbers of turns.
            let mut prompts = Vec::new();
            for length in &lengths {
                for turn in 0..*length {
                    let mut prompt = Prompt::new("p".to_owned(), 1);
                    prompt.history = vec![ChatMessage { role: Role::User, content: String::new() }; turn].into();
                    prompts.push(prompt);
                }
            }
            let sessions = conversations(&prompts, first, count);
            // Every request is in one, in order.
            let all: Vec<u32> = sessions.iter().cloned().flatten().collect();
            prop_assert_eq!(all, (0..count).collect::<Vec<_>>());
            for session in &sessions {
                let turns = session.clone().map(|index| prompts[(first + index) as usize % prompts.len()].history.len());
                let turns: Vec<usize> = turns.collect();
                // Turns of one conversation follow one another ...
                prop_assert!(turns.windows(2).all(|pair| pair[1] == pair[0] + 1), "{:?}", turns);
                // ... from its first on, unless the batch begins within it ...
                prop_assert!(turns[0] == 0 || session.start == 0, "{:?}", turns);
                // ... to its last, unless the batch ends within it.
                let next = (first + session.end) as usize % prompts.len();
                prop_assert!(prompts[next].begins() || session.end == count);
            }
        }
    }

    #[test]
    fn prompts_of_a_group_share_their_beginning() {
        let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
        let mut vocab = serde_json::Map::new();
        vocab.insert("<unk>".to_owned(), 0.into());
        for id in 0..100 {
            let word = format!("{}{}", letter(id), letter(id / 26));
            vocab.insert(word, (id + 1).into());
        }
        let json = serde_json::json!({
            "version": "1.0",
            "pre_tokenizer": { "type": "Whitespace" },
            "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "<unk>" },
        });
        let tokenizer = Tokenizer::from_json(json.to_string().as_bytes()).expect("a tokenizer");
        let shape = Shape {
            count: 6,
            input: Length::Uniform { min: 30, max: 60 },
            output: Some(Length::Uniform { min: 1, max: 9 }),
            prefix: Some((20, 2)),
        };
        let made = |seed| of_shape(shape, &tokenizer, 100, seed).expect("prompts");
        let prompts = made(1);
        assert_eq!(prompts, made(1));
        assert_ne!(prompts, made(2));
        let beginning =
            |index: usize| -> Vec<&str> { prompts[index].text.split(' ').take(20).collect() };
        assert_eq!(beginning(0), beginning(2));
        assert_ne!(beginning(0), beginning(1));
        for prompt in &prompts {
            let tokens = tokenizer.count(&prompt.text).expect("a count");
            assert!((30..=60).contains(&tokens), "{tokens}");
            assert!((1..=9).contains(&prompt.max_tokens));
        }
        let different: HashSet<&str> = prompts.iter().map(|it| &*it.text).collect();
        assert_eq!(different.len(), 6);
    }
}
