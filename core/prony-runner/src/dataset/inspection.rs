//! The content of a dataset, and what would be sent of it.

use super::open_input;
use prony_prompts::dataset::{Conversation, Dataset, Options, Text, describe};
use prony_prompts::{LazyTokenizer, Prompt, prompts_of};
use prony_tokenizer::Tokenizer;
use serde::Serialize;
use std::path::Path;

/// A dataset in numbers, and some of its requests.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// Name of the format.
    pub format: &'static str,
    /// The format in words.
    pub title: &'static str,
    /// The signs by which it was recognised.
    pub recognised: String,
    /// Number of records that were read.
    pub records: u64,
    /// `true` if these are all of them: nothing behind a `limit` is looked at.
    pub is_whole: bool,
    /// Number of conversations of the lengths asked for, behind `offset` and up to `limit`.
    pub candidates: u64,
    /// Number of conversations that a run uses: all of these, or those that are drawn.
    pub conversations: u64,
    /// Number of requests that send each of their turns once.
    pub requests: u64,
    /// Number of their images.
    pub images: u64,
    /// Characters of the longest request of each conversation; absent if only lengths in tokens
    /// are recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chars: Option<Spread>,
    /// Tokens of the longest request of each conversation, without what a chat template adds;
    /// absent without a tokenizer, unless they are recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Spread>,
    /// Recorded limits of answers, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<Spread>,
    /// Time from the first recorded time to the last, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_s: Option<f64>,
    /// Facts that a run tells.
    pub notes: Vec<String>,
    /// Requests of conversations drawn from them.
    pub sample: Vec<Sent>,
}

/// Lengths in numbers.
#[derive(Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: u32,
    /// The median, of two in the middle the lower.
    pub median: u32,
    /// The 90th percentile, by nearest rank.
    pub p90: u32,
    /// The most.
    pub max: u32,
}

/// A request.
#[derive(Debug, Serialize)]
pub struct Sent {
    /// Recorded time since the first of the dataset, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<f64>,
    /// Pause after the answer before, in milliseconds; absent where it is the workload's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<f64>,
    /// `true` if it follows the request before, as a later turn.
    pub follows: bool,
    /// Limit of the answer; absent where it is the workload's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Number of images.
    pub images: usize,
    /// Length of a prompt that the model's tokenizer is to make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u32>,
    /// The messages.
    pub messages: Vec<Message>,
}

/// A message of a request.
#[derive(Debug, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: &'static str,
    /// The text.
    pub content: String,
}

/// Looks at a dataset: counts the conversations that a run with these options uses, and has the
/// requests of `shown` of them: the first that are drawn, or else some drawn for this. The errors
/// follow the name of the dataset.
pub fn inspect(
    path: &Path,
    options: &Options,
    shown: u32,
    tokenizer: Option<&Path>,
) -> Result<Inspection, Vec<String>> {
    let is_counted = tokenizer.is_some();
    let open = || {
        let path = tokenizer.ok_or("it needs a tokenizer: name one by `--tokenizer`")?;
        Tokenizer::open(path).map_err(|error| error.to_string())
    };
    let tokenizer = LazyTokenizer::new(open);
    let tokens = |text: &str| tokenizer.count(text);
    let tokens: Option<&Count<'_>> = is_counted.then_some(&tokens);
    let drawn = options.selection.sample;
    let mut candidates = 0;
    let mut seen = Seen::default();
    let mut see = |conversation: &Conversation| {
        candidates += 1;
        if drawn.is_none() {
            seen.see(conversation, tokens);
        }
    };
    let mut name = String::new();
    let input = open_input(path, &mut name).map_err(|message| vec![format!(": {message}")])?;
    let mut count = |text: &str| tokenizer.count(text);
    let mut options = options.clone();
    options.selection.is_at_most = true;
    options.selection.sample = drawn.or(Some(shown));
    let read = prony_prompts::dataset::read(input, &options, &mut count, &mut see);
    let mut read = read.map_err(|problems| describe(&problems))?;
    if drawn.is_some() {
        for conversation in &read.conversations {
            seen.see(conversation, tokens);
        }
        read.conversations.truncate(shown as usize);
    }
    let (format, recognised, records) = (read.format, read.recognised.clone(), read.records);
    let first_ns = seen.times.map(|it| it.0);
    let (sample, notes) = if is_counted || !read.conversations.iter().any(is_made) {
        let made = prompts_of(read, &options, u32::MAX, &tokenizer);
        let made = made.map_err(|problem| describe(&[problem]))?;
        let sample = made.prompts.iter().map(|it| sent(it, first_ns));
        (sample.collect(), made.notes)
    } else {
        (lengths(&read, first_ns), read.notes)
    };
    let limit = options.selection.limit.map(u64::from);
    let mut notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
    for (key, asked) in [("limit", limit), ("sample", drawn.map(u64::from))] {
        notes.extend(asked.filter(|asked| candidates < *asked).map(|asked| {
            format!(
                "a pipeline with `{key}: {asked}` is refused, since there are fewer conversations"
            )
        }));
    }
    // As many as a `measure` sends where it does not say how many.
    let stated = drawn.map(u64::from).or(limit);
    if stated.is_some_and(|stated| stated < seen.turns) {
        notes.push(format!(
            "a `measure` without `requests` sends only as many as there are conversations; `requests: {}` sends every prompt",
            seen.turns
        ));
    }
    Ok(Inspection {
        format: format.name(),
        title: format.title(),
        recognised,
        records,
        is_whole: limit.is_none_or(|limit| candidates < limit),
        candidates,
        conversations: seen.conversations,
        requests: seen.turns,
        images: seen.images,
        chars: spread(seen.chars),
        tokens: spread(seen.tokens),
        output_tokens: spread(seen.output),
        recorded_s: seen.times.map(|(first, last)| (last - first) as f64 / 1e9),
        notes,
        sample,
    })
}

fn is_made(conversation: &Conversation) -> bool {
    let mut turns = conversation.turns.iter();
    turns.any(|turn| matches!(turn.text, Text::Tokens { .. }))
}

/// Counts the tokens of a text.
type Count<'c> = dyn Fn(&str) -> Result<usize, String> + 'c;

/// Numbers of the conversations that were seen.
#[derive(Debug, Default)]
struct Seen {
    conversations: u64,
    turns: u64,
    images: u64,
    chars: Vec<u32>,
    tokens: Vec<u32>,
    output: Vec<u32>,
    /// The earliest time and the latest.
    times: Option<(u64, u64)>,
}

impl Seen {
    fn see(&mut self, conversation: &Conversation, tokens: Option<&Count<'_>>) {
        self.conversations += 1;
        self.turns += conversation.turns.len() as u64;
        self.images += conversation.images() as u64;
        let short = |length: u64| u32::try_from(length).unwrap_or(u32::MAX);
        self.chars.extend(conversation.chars().map(short));
        let counted = match tokens {
            Some(count) => conversation.tokens(&mut |text| count(text)).ok(),
            None => is_made(conversation)
                .then(|| conversation.tokens(&mut |_| Ok(0)).ok())
                .flatten(),
        };
        self.tokens.extend(counted.map(short));
        let limits = conversation.turns.iter().filter_map(|it| it.max_tokens);
        self.output.extend(limits);
        if let Some(at) = conversation.at_ns {
            let (first, last) = self.times.unwrap_or((at, at));
            self.times = Some((first.min(at), last.max(at)));
        }
    }
}

fn spread(mut lengths: Vec<u32>) -> Option<Spread> {
    lengths.sort_unstable();
    let at = |share: f64| {
        let rank = (lengths.len() as f64 * share).ceil() as usize;
        lengths.get(rank.max(1) - 1).copied()
    };
    Some(Spread {
        min: *lengths.first()?,
        median: at(0.5)?,
        p90: at(0.9)?,
        max: *lengths.last()?,
    })
}

fn since(at_ns: Option<u64>, first_ns: Option<u64>) -> Option<f64> {
    Some(at_ns?.saturating_sub(first_ns?) as f64 / 1e6)
}

fn sent(prompt: &Prompt, first_ns: Option<u64>) -> Sent {
    let message = |role, content: &str| Message {
        role,
        content: content.to_owned(),
    };
    let system = prompt.system.iter().map(|it| message("system", it));
    let history = prompt.history.iter();
    let history = history.map(|it| message(it.role.name(), &it.content));
    let user = message("user", &prompt.text);
    Sent {
        at_ms: since(prompt.at_ns, first_ns),
        delay_ms: prompt.delay.map(|it| it.as_secs_f64() * 1e3),
        follows: !prompt.begins(),
        max_tokens: Some(prompt.max_tokens).filter(|it| *it != u32::MAX),
        images: prompt.images.len(),
        input_tokens: None,
        messages: system.chain(history).chain([user]).collect(),
    }
}

/// Requests of which only the lengths are known.
fn lengths(read: &Dataset, first_ns: Option<u64>) -> Vec<Sent> {
    let of = |conversation: &Conversation| -> Vec<Sent> {
        let turns = conversation.turns.iter().enumerate();
        let sent = turns.map(|(nth, turn)| {
            let (input_tokens, messages) = match &turn.text {
                Text::Tokens { tokens, .. } => (Some(*tokens), Vec::new()),
                Text::Written(text) => {
                    let message = Message {
                        role: "user",
                        content: text.clone(),
                    };
                    (None, vec![message])
                }
            };
            Sent {
                at_ms: since(conversation.at_ns.filter(|_| nth == 0), first_ns),
                delay_ms: turn.delay.map(|it| it.as_secs_f64() * 1e3),
                follows: nth > 0,
                max_tokens: turn.max_tokens,
                images: turn.images.len(),
                input_tokens,
                messages,
            }
        });
        sent.collect()
    };
    read.conversations.iter().flat_map(of).collect()
}
