//! The prompts of a workload.

use crate::dataset::{self, Conversation, Message};
use crate::synthetic::{self, Length, Writer};
use prony_contract::{ChatMessage, Role};
use prony_result::words::count;
use prony_tokenizer::Tokenizer;
use serde::{Serialize, Serializer};
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Maximum total size of a dataset's turns as they are sent, in bytes: each repeats the
/// earlier ones.
const MAX_BYTES: u64 = 1 << 30;
/// Size of a message in a request beside its text, in bytes: `{"role":"assistant",…},`.
const MESSAGE: u64 = 40;

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
    fn new(text: String, max_tokens: u32) -> Self {
        Self {
            system: None,
            history: History::default(),
            text,
            max_tokens,
            at_ns: None,
        }
    }

    /// Returns `true` for the first or only turn of a conversation. Later turns follow it
    /// directly.
    pub fn begins(&self) -> bool {
        self.history.is_empty()
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

/// The prompts of the first `limit` conversations of a dataset, or of all: one per turn,
/// those of a conversation in a row. Lines behind them are not looked at. For lines that
/// state only a length, `tokenizer` provides the words; equal seeds give equal prompts. The
/// errors are for people, each with its place.
pub fn of_dataset<L: AsRef<str>>(
    lines: impl IntoIterator<Item = Result<L, String>>,
    limit: Option<u32>,
    max_tokens: u32,
    tokenizer: impl FnOnce() -> Result<Tokenizer, String>,
    seed: u64,
) -> Result<Vec<Prompt>, Vec<String>> {
    let told = |problems: Vec<dataset::Problem>| -> Vec<String> {
        let told = problems.iter().map(dataset::Problem::place_and_message);
        told.collect()
    };
    let conversations = dataset::read(lines, limit).map_err(told)?;
    if let Some(limit) = limit
        && conversations.len() < limit as usize
    {
        return Err(vec![format!(
            " has {}, and the workload's `limit` is {limit}",
            count(conversations.len() as u64, "conversation")
        )]);
    }
    let mut to_write = conversations.iter();
    let to_write = to_write.find(|it| it.input_tokens.is_some());
    let at = |line: usize, error: String| vec![format!(":{line}:1: `input_tokens`: {error}")];
    let tokenizer = match to_write {
        Some(first) => Some(tokenizer().map_err(|error| at(first.line, error))?),
        None => None,
    };
    let writer = tokenizer.as_ref().map(Writer::new).transpose();
    let writer =
        writer.map_err(|error| at(to_write.map_or(1, |first| first.line), error.to_string()))?;
    let mut seeds = Seeds(seed);
    let mut prompts = Vec::new();
    let mut bytes = 0;
    for conversation in conversations {
        let first = prompts.len();
        let (line, at_ns) = (conversation.line, conversation.at_ns);
        if let (Some(tokens), Some(writer)) = (conversation.input_tokens, &writer) {
            let text = writer.text("", tokens, seeds.next());
            let text = text.map_err(|error| at(line, error.to_string()))?;
            bytes += text.len() as u64;
            if bytes > MAX_BYTES {
                return Err(at(
                    line,
                    format!(
                        "the prompts up to here come to more than {} MiB: lower `limit`",
                        MAX_BYTES >> 20
                    ),
                ));
            }
            prompts.push(Prompt::new(
                text,
                conversation.max_tokens.unwrap_or(max_tokens),
            ));
        }
        bytes += sent_bytes(&conversation.messages);
        if bytes > MAX_BYTES {
            return Err(vec![format!(
                ":{line}:1: the turns up to here come to more than {} MiB, since each repeats what was said before it: shorten the conversations, or lower `limit`",
                MAX_BYTES >> 20
            )]);
        }
        prompts.extend(turns(conversation, max_tokens));
        prompts[first].at_ns = at_ns;
    }
    Ok(prompts)
}

/// Bytes of all turns of a conversation as they are sent, each with what was said before.
fn sent_bytes(messages: &[Message]) -> u64 {
    let (mut so_far, mut all) = (0, 0_u64);
    for message in messages {
        so_far += message.content.len() as u64 + MESSAGE;
        if message.role == dataset::Role::User {
            all = all.saturating_add(so_far);
        }
    }
    all
}

/// The prompts of a conversation, one for each message of the user: up to it, with the
/// answers of the dataset, so that every engine gets the same.
fn turns(conversation: Conversation, max_tokens: u32) -> impl Iterator<Item = Prompt> {
    let max_tokens = conversation.max_tokens.unwrap_or(max_tokens);
    let mut system: Option<Arc<str>> = None;
    let mut messages = Vec::new();
    for Message { role, content } in conversation.messages {
        let role = match role {
            dataset::Role::System => {
                system = Some(content.into());
                continue;
            }
            dataset::Role::User => Role::User,
            dataset::Role::Assistant => Role::Assistant,
        };
        messages.push(ChatMessage { role, content });
    }
    let texts: Vec<String> = match &mut messages[..] {
        // Nothing is shared.
        [only] => vec![std::mem::take(&mut only.content)],
        messages => {
            let of_user = messages.iter().step_by(2);
            of_user.map(|it| it.content.clone()).collect()
        }
    };
    let messages: Arc<[ChatMessage]> = messages.into();
    texts
        .into_iter()
        .enumerate()
        .map(move |(turn, text)| Prompt {
            system: system.clone(),
            history: History {
                messages: messages.clone(),
                length: 2 * turn,
            },
            ..Prompt::new(text, max_tokens)
        })
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
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn dataset(
        content: &str,
        limit: Option<u32>,
        max_tokens: u32,
    ) -> Result<Vec<Prompt>, Vec<String>> {
        let lines = content.lines().map(Ok);
        of_dataset(lines, limit, max_tokens, || Err("none".to_owned()), 1)
    }

    #[test]
    fn times_are_of_conversations_and_lengths_need_a_tokenizer() {
        let turns = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}],"at_ms":0.5}"#;
        let content = format!("{turns}\n{{\"prompt\":\"p\",\"at_ms\":2}}");
        let prompts = dataset(&content, None, 9).expect("prompts");
        let times: Vec<_> = prompts.iter().map(|it| it.at_ns).collect();
        assert_eq!(times, [Some(500_000), None, Some(2_000_000)]);

        let content = "{\"prompt\":\"p\"}\n{\"input_tokens\":5,\"at_ms\":1}";
        assert_eq!(dataset(content, Some(1), 9).expect("one").len(), 1);
        let problems = dataset(content, None, 9).expect_err("no tokenizer");
        assert_eq!(problems, [":2:1: `input_tokens`: none"]);
        for (line, problem) in [
            (r#"{"prompt":"p","at_ms":0}"#, "sort the lines"),
            (r#"{"prompt":"p","at_ms":-1}"#, "expected milliseconds"),
            (r#"{"prompt":"p","input_tokens":1}"#, "more than one of"),
            (r#"{"input_tokens":0}"#, "expected 1 to"),
        ] {
            let content = format!("{{\"prompt\":\"p\",\"at_ms\":1}}\n{line}");
            let problems = dataset(&content, None, 9).expect_err(line);
            assert!(
                problems[0].starts_with(":2:1: ") && problems[0].contains(problem),
                "{problems:?}"
            );
        }
    }

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
        let prompts = dataset(content, None, 9).expect("prompts");
        let read: Vec<_> = prompts
            .iter()
            .map(|it| (it.system.as_deref(), it.text.as_str(), it.max_tokens))
            .collect();
        assert_eq!(read, [(None, "a", 9), (Some("s"), "b", 5)]);
        assert_eq!(dataset(content, Some(1), 9).expect("prompts").len(), 1);
        assert_eq!(
            dataset(content, Some(3), 9).expect_err("too few"),
            [" has 2 conversations, and the workload's `limit` is 3"]
        );
    }

    #[test]
    fn each_turn_is_a_prompt_with_what_was_said_before() {
        let content = concat!(
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},"#,
            r#"{"role":"assistant","content":"b"},{"role":"user","content":"c"},"#,
            r#"{"role":"assistant","content":"not sent"}],"max_tokens":7}"#,
            "\n",
            r#"{"prompt":"p"}"#,
        );
        let prompts = dataset(content, Some(2), 9).expect("prompts");
        let said = |role, content: &str| ChatMessage {
            role,
            content: content.to_owned(),
        };
        let first = Prompt {
            system: Some("s".into()),
            ..Prompt::new("a".to_owned(), 7)
        };
        let second = Prompt {
            history: vec![said(Role::User, "a"), said(Role::Assistant, "b")].into(),
            text: "c".to_owned(),
            ..first.clone()
        };
        let alone = Prompt::new("p".to_owned(), 9);
        assert_eq!(prompts, [first, second, alone]);
        assert_eq!(conversations(&prompts, 0, 3), [0..2, 2..3]);
        // The limit counts conversations.
        assert_eq!(dataset(content, Some(1), 9).expect("prompts").len(), 2);
        // A prompt without a history serialises as before.
        let json = serde_json::to_string(&prompts[2]).expect("serialises");
        assert_eq!(json, r#"{"text":"p","max_tokens":9}"#);
        assert!(serde_json::to_string(&prompts[1]).expect("serialises").contains(
            r#""history":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]"#
        ));
    }

    #[test]
    fn more_text_than_fits_is_told_with_its_line() {
        // 40 turns, each with all of the 3 MiB before it.
        let text = "x".repeat(3 << 20);
        let mut messages = vec![format!(r#"{{"role":"user","content":"{text}"}}"#)];
        for _ in 0..39 {
            messages.push(r#"{"role":"assistant","content":"y"}"#.to_owned());
            messages.push(messages[0].clone());
        }
        let content = format!("{{\"messages\":[{}]}}", messages.join(","));
        let problems = dataset(&content, None, 9).expect_err("too much");
        assert!(problems[0].starts_with(":1:1: the turns up to here come to more than 1024 MiB"));
    }

    #[test]
    fn turns_share_what_was_said() {
        // 0.3 MB: 6,000 turns of one letter.
        let mut messages = vec![r#"{"role":"user","content":"a"}"#];
        for _ in 0..5_999 {
            messages.push(r#"{"role":"assistant","content":"b"}"#);
            messages.push(messages[0]);
        }
        let line = |messages: &[&str]| format!("{{\"messages\":[{}]}}", messages.join(","));
        let problems = dataset(&line(&messages), None, 9).expect_err("1.4 GB of requests");
        assert!(problems[0].starts_with(":1:1: the turns up to here come to more than 1024 MiB"));
        let prompts = dataset(&line(&messages[..9_999]), None, 9).expect("prompts");
        assert_eq!(prompts.len(), 5_000);
        let last = &prompts[4_999];
        assert_eq!(last.history.len(), 9_998);
        assert_eq!(last.history.as_ptr(), prompts[0].history.as_ptr());
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
    fn what_cannot_be_sent_is_told_with_its_line() {
        let problems = dataset("{}\n{\"promt\":1}", None, 9).expect_err("bad lines");
        assert_eq!(
            problems[0],
            ":1:1: none of `prompt`, `messages` and `input_tokens`"
        );
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
