//! The prompts of a dataset.

mod blocks;

#[cfg(test)]
mod tests;

use crate::dataset::{
    self, Conversation, Dataset, Format, Input, Note, Options, Problem, Text, Turn, describe,
};
use crate::prompt::{History, Prompt};
use crate::synthetic::Writer;
use blocks::{Texts, block_tokens};
use prony_contract::{ChatMessage, Role};
use prony_tokenizer::Tokenizer;
use std::cell::OnceCell;
use std::sync::Arc;

/// Maximum total size of a dataset's turns as they are sent, in bytes: each repeats the
/// earlier ones.
const MAX_BYTES: u64 = 1 << 30;
/// Size of a message in a request beside its text, in bytes: `{"role":"assistant",…},`.
const MESSAGE: u64 = 40;

/// The prompts of a dataset, and what is known of it.
#[derive(Debug)]
pub struct OfDataset {
    /// A prompt for each turn, those of a conversation in a row.
    pub prompts: Vec<Prompt>,
    /// The format of the dataset.
    pub format: Format,
    /// The signs of the format, in words.
    pub recognised: String,
    /// Number of records that were read.
    pub records: u64,
    /// Facts that the user must be told.
    pub notes: Vec<Note>,
}

/// Reads the prompts of a dataset: one per turn, those of a conversation in a row. For records
/// that state only a length, `tokenizer` provides the words; equal seeds give equal prompts.
/// `see` is called with each conversation that may be used, also if it is not drawn. The errors
/// are for people, each with its place.
pub fn of_dataset(
    input: Input<'_>,
    options: &Options,
    max_tokens: u32,
    tokenizer: impl Fn() -> Result<Tokenizer, String>,
    see: &mut dyn FnMut(&Conversation),
) -> Result<OfDataset, Vec<String>> {
    let tokenizer = LazyTokenizer::new(tokenizer);
    let read = dataset::read(input, options, &mut |text| tokenizer.count(text), see);
    let read = read.map_err(|problems| describe(&problems))?;
    let prompts = prompts_of(read, options, max_tokens, &tokenizer);
    prompts.map_err(|problem| describe(&[problem]))
}

/// A tokenizer, opened once and not before it is needed.
#[derive(Debug)]
pub struct LazyTokenizer<F> {
    open: F,
    opened: OnceCell<Result<Tokenizer, String>>,
}

impl<F: Fn() -> Result<Tokenizer, String>> LazyTokenizer<F> {
    /// A tokenizer that `open` opens; its error is for people.
    pub fn new(open: F) -> Self {
        Self {
            open,
            opened: OnceCell::new(),
        }
    }

    /// Counts the tokens of a text.
    pub fn count(&self, text: &str) -> Result<usize, String> {
        let count = self.get()?.count(text);
        count.map_err(|error| error.to_string())
    }

    fn get(&self) -> Result<&Tokenizer, String> {
        let opened = self.opened.get_or_init(&self.open);
        opened.as_ref().map_err(Clone::clone)
    }
}

/// Makes prompts of the conversations of a dataset.
pub fn prompts_of(
    read: Dataset,
    options: &Options,
    max_tokens: u32,
    tokenizer: &LazyTokenizer<impl Fn() -> Result<Tokenizer, String>>,
) -> Result<OfDataset, Problem> {
    let Dataset {
        format,
        recognised,
        conversations,
        records,
        mut notes,
    } = read;
    let is_made = |turn: &Turn| matches!(turn.text, Text::Tokens { .. });
    let mut to_write = conversations.iter();
    let to_write = to_write.find(|it| it.turns.iter().any(is_made));
    let mut writer = None;
    if let Some(first) = to_write {
        let opened = tokenizer
            .get()
            .and_then(|tokenizer| Writer::new(tokenizer).map_err(|error| error.to_string()));
        let opened = opened.map_err(|error| {
            first.problem(format!(
                "its length is recorded and its text is not: {error}"
            ))
        })?;
        let size = block_tokens(&conversations, options.block_tokens)?;
        notes.extend(size.note);
        writer = Some(Texts::new(opened, size.tokens, options.seed));
    }
    let mut prompts = Vec::new();
    let mut bytes = 0;
    for mut conversation in conversations {
        let (line, first) = (conversation.problem(String::new()), prompts.len());
        let told = |message: String| Problem {
            message,
            ..line.clone()
        };
        let at_ns = conversation.at_ns;
        for turn in &mut conversation.turns {
            if let (Text::Tokens { tokens, blocks }, Some(writer)) = (&turn.text, &mut writer) {
                let text = writer.text(*tokens, blocks);
                turn.text = text.map_err(|error| told(error.to_string()))?.into();
            }
        }
        bytes += sent_bytes(&conversation);
        if bytes > MAX_BYTES {
            return Err(told(format!(
                "the turns up to here come to more than {} MiB, since each repeats what was said before it: shorten the conversations, or lower `limit`",
                MAX_BYTES >> 20
            )));
        }
        prompts.extend(turns(conversation, max_tokens));
        if let Some(first) = prompts.get_mut(first) {
            first.at_ns = at_ns;
        }
    }
    Ok(OfDataset {
        prompts,
        format,
        recognised,
        records,
        notes,
    })
}

fn written(turn: &Turn) -> &str {
    match &turn.text {
        Text::Written(text) => text,
        Text::Tokens { .. } => "",
    }
}

/// Bytes of all turns of a conversation as they are sent, each with what was said before.
fn sent_bytes(conversation: &Conversation) -> u64 {
    let system = conversation.system.as_ref().map_or(0, String::len);
    let (mut so_far, mut all) = (system as u64, 0_u64);
    for turn in &conversation.turns {
        if conversation.is_of_lines() {
            so_far = 0;
        }
        so_far += written(turn).len() as u64 + MESSAGE;
        all = all.saturating_add(so_far);
        so_far += turn.answer.as_ref().map_or(0, String::len) as u64 + MESSAGE;
    }
    all
}

/// The prompts of a conversation, one for each turn: up to it, with the answers of the dataset,
/// so that every engine gets the same.
fn turns(conversation: Conversation, max_tokens: u32) -> Vec<Prompt> {
    let is_of_lines = conversation.is_of_lines();
    let system: Option<Arc<str>> = conversation.system.map(Into::into);
    let messages: Arc<[ChatMessage]> = if conversation.turns.len() == 1 || is_of_lines {
        Arc::default()
    } else {
        let message = |role, content: &str| ChatMessage {
            role,
            content: content.to_owned(),
        };
        let turns = conversation.turns.iter().flat_map(|turn| {
            let answer = turn.answer.as_deref().unwrap_or_default();
            [
                message(Role::User, written(turn)),
                message(Role::Assistant, answer),
            ]
        });
        turns.collect()
    };
    let turns = conversation.turns.into_iter().enumerate();
    turns
        .map(|(nth, turn)| {
            let text = match turn.text {
                Text::Written(text) => text,
                Text::Tokens { .. } => String::new(),
            };
            let length = if messages.is_empty() { 0 } else { 2 * nth };
            Prompt {
                system: system.clone(),
                history: History::first(&messages, length),
                delay: turn.delay.filter(|_| nth > 0),
                continues: is_of_lines && nth > 0,
                images: turn.images,
                ..Prompt::new(text, turn.max_tokens.unwrap_or(max_tokens))
            }
        })
        .collect()
}
