//! The prompts of a workload.

use crate::dataset::{self, Conversation, Role};
use crate::synthetic::{self, Length, Writer};
use prony_tokenizer::Tokenizer;
use serde::Serialize;

/// A prompt, as every engine gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prompt {
    /// System message of its own; that of the workload unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// What is said.
    pub text: String,
    /// The most tokens of its answer.
    pub max_tokens: u32,
}

/// What synthetic prompts are to be like.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// How many.
    pub count: u32,
    /// Their lengths, prefix included.
    pub input: Length,
    /// Those of the answers, if not the workload's.
    pub output: Option<Length>,
    /// Tokens of a shared beginning, and how many different ones there are.
    pub prefix: Option<(u32, u32)>,
}

/// Prompts that are texts.
pub fn texts(texts: impl IntoIterator<Item = String>, max_tokens: u32) -> Vec<Prompt> {
    let prompt = |text| Prompt {
        system: None,
        text,
        max_tokens,
    };
    texts.into_iter().map(prompt).collect()
}

/// The prompts of a dataset, at most `limit` of them. The errors are for people, each
/// with its place.
pub fn of_dataset(
    content: &str,
    limit: Option<u32>,
    max_tokens: u32,
) -> Result<Vec<Prompt>, Vec<String>> {
    let told = |problems: Vec<dataset::Problem>| -> Vec<String> {
        let told = problems.iter().map(dataset::Problem::place_and_message);
        told.collect()
    };
    let conversations = dataset::read(content).map_err(told)?;
    if let Some(limit) = limit
        && conversations.len() < limit as usize
    {
        return Err(vec![format!(
            " has {} prompts, and the workload's `limit` is {limit}",
            conversations.len()
        )]);
    }
    let most = limit.map_or(usize::MAX, |limit| limit as usize);
    let mut prompts = Vec::new();
    let mut problems = Vec::new();
    for conversation in conversations.into_iter().take(most) {
        let line = conversation.line;
        match single(conversation, max_tokens) {
            Some(prompt) => prompts.push(prompt),
            None => problems.push(format!(
                ":{line}:1: a conversation of several turns, which cannot be sent yet: expected one message of `user`"
            )),
        }
    }
    if problems.is_empty() {
        Ok(prompts)
    } else {
        Err(problems)
    }
}

/// The only turn of a conversation; `None` if it has several.
fn single(conversation: Conversation, max_tokens: u32) -> Option<Prompt> {
    let mut prompt = Prompt {
        system: None,
        text: String::new(),
        max_tokens: conversation.max_tokens.unwrap_or(max_tokens),
    };
    if conversation.turns().count() > 1 {
        return None;
    }
    for message in conversation.messages {
        match message.role {
            Role::System => prompt.system = Some(message.content),
            Role::User => prompt.text = message.content,
            Role::Assistant => {}
        }
    }
    Some(prompt)
}

/// Prompts of exact lengths; equal seeds give equal ones.
pub fn of_shape(
    shape: Shape,
    tokenizer: &Tokenizer,
    max_tokens: u32,
    seed: u64,
) -> Result<Vec<Prompt>, synthetic::Error> {
    let writer = Writer::new(tokenizer)?;
    let count = shape.count as usize;
    let mut seeds = Seeds(seed);
    let inputs = shape.input.draw(seeds.next(), count)?;
    let outputs = match shape.output {
        Some(length) => length.draw(seeds.next(), count)?,
        None => vec![max_tokens; count],
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
        prompts.push(Prompt {
            system: None,
            text: writer.text(prefix, input, seeds.next())?,
            max_tokens,
        });
    }
    Ok(prompts)
}

/// Seeds of their own for everything that is drawn: `SplitMix64` (Steele, Lea & Flood,
/// "Fast splittable pseudorandom number generators", 2014).
struct Seeds(u64);

impl Seeds {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Letters and digits that stand in front of a request whose prompt no cache may know:
/// always 10 of them and a space. Equal places and seeds give equal ones, so all engines
/// get the same; others differ but for one chance in 10^15.
pub fn nonce(seed: u64, place: &str) -> String {
    const SIGNS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    // FNV-1a tells places apart, and the mixing spreads what differs over all signs.
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

    #[test]
    fn lines_have_limits_and_system_messages_of_their_own() {
        let content = concat!(
            r#"{"prompt":"a"}"#,
            "\n\n",
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"b"}],"max_tokens":5}"#,
        );
        let prompts = of_dataset(content, None, 9).expect("prompts");
        let read: Vec<_> = prompts
            .iter()
            .map(|it| (it.system.as_deref(), it.text.as_str(), it.max_tokens))
            .collect();
        assert_eq!(read, [(None, "a", 9), (Some("s"), "b", 5)]);
        assert_eq!(of_dataset(content, Some(1), 9).expect("prompts").len(), 1);
        assert_eq!(
            of_dataset(content, Some(3), 9).expect_err("too few"),
            [" has 2 prompts, and the workload's `limit` is 3"]
        );
    }

    #[test]
    fn what_cannot_be_sent_is_told_with_its_line() {
        let turns = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]}"#;
        let problems = of_dataset(&format!("\n{turns}"), None, 9).expect_err("two turns");
        assert!(
            problems[0].starts_with(":2:1: a conversation of several turns"),
            "{problems:?}"
        );
        let problems = of_dataset("{}\n{\"promt\":1}", None, 9).expect_err("bad lines");
        assert_eq!(problems[0], ":1:1: neither `prompt` nor `messages`");
        assert!(
            problems[1].starts_with(":2:8: unknown field `promt`"),
            "{problems:?}"
        );
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
