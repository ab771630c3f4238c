//! Conversations, whatever format they were read from.

use super::Problem;
use std::sync::Arc;
use std::time::Duration;

/// Size of a message beside its text that is counted when memory is bounded, in bytes.
const MESSAGE: u64 = 40;

/// A conversation of one or more turns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conversation {
    /// Its own system message.
    pub system: Option<String>,
    /// The turns, at least one.
    pub turns: Vec<Turn>,
    /// Recorded time of the first turn, in nanoseconds since whatever the recording counts from.
    pub at_ns: Option<u64>,
    /// Name of the session that it is a turn of, if lines elsewhere may belong to it.
    pub(super) session: Option<String>,
    /// `true` if the turns are requests of their own, each without those before it.
    pub(super) of_lines: bool,
    /// Line in the file, from 1.
    pub line: usize,
    /// Its file in a folder of texts.
    pub(super) file: Option<String>,
}

/// A request of a conversation, and the answer that was recorded for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turn {
    /// The question.
    pub text: Text,
    /// Images that go with it.
    pub images: Vec<Image>,
    /// The recorded answer, which later turns are sent with; no engine's own.
    pub answer: Option<String>,
    /// Maximum number of tokens in the answer, if the record states it: 0 cannot be sent.
    pub max_tokens: Option<u32>,
    /// Pause between the end of the answer before and this turn, if the record states it.
    pub delay: Option<Duration>,
}

/// Text of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// The text.
    Written(String),
    /// A length, for which a text is made with a tokenizer.
    Tokens {
        /// Number of tokens.
        tokens: u32,
        /// Ids of its blocks: texts with equal ids at the beginning begin equally. Empty if the
        /// text is like no other.
        blocks: Vec<u64>,
    },
}

impl Default for Text {
    fn default() -> Self {
        Self::Written(String::new())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::Written(text)
    }
}

/// An image of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// Its bytes.
    Bytes(Arc<[u8]>),
    /// A file, relative to the dataset's folder.
    File(String),
}

impl Conversation {
    /// A conversation of one text.
    pub(super) fn of_text(text: String) -> Self {
        Self::of_turn(Turn {
            text: text.into(),
            ..Turn::default()
        })
    }

    /// A conversation of one turn.
    pub(super) fn of_turn(turn: Turn) -> Self {
        Self {
            turns: vec![turn],
            ..Self::default()
        }
    }

    /// A problem of this conversation as a whole.
    pub(crate) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem {
            file: self.file.clone(),
            ..Problem::at(self.line, 1, message)
        }
    }

    /// Bytes that it takes in memory.
    pub(super) fn bytes(&self) -> u64 {
        let texts: u64 = self.texts().map(|it| it.len() as u64 + MESSAGE).sum();
        let others = self.turns.iter().map(|turn| {
            let images = turn.images.iter().map(|image| match image {
                Image::Bytes(bytes) => bytes.len(),
                Image::File(path) => path.len(),
            });
            let blocks = match &turn.text {
                Text::Written(_) => 0,
                Text::Tokens { blocks, .. } => 8 * blocks.len(),
            };
            images.sum::<usize>() as u64 + blocks as u64
        });
        texts + others.sum::<u64>()
    }

    /// Texts of the longest request: the last turn with everything before it.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let last = self.turns.len().saturating_sub(1);
        let turns = self.turns.iter().enumerate().flat_map(move |(nth, turn)| {
            let text = match &turn.text {
                Text::Written(text) => Some(text.as_str()),
                Text::Tokens { .. } => None,
            };
            let answer = turn.answer.as_deref().filter(|_| nth < last);
            text.into_iter().chain(answer)
        });
        self.system.as_deref().into_iter().chain(turns)
    }

    /// Number of tokens of texts that are to be made.
    fn recorded_tokens(&self) -> Option<u64> {
        let made = self.turns.iter().filter_map(|turn| match turn.text {
            Text::Written(_) => None,
            Text::Tokens { tokens, .. } => Some(u64::from(tokens)),
        });
        let made: Vec<u64> = made.collect();
        (!made.is_empty()).then(|| made.iter().sum())
    }

    /// Characters of the longest request, without what a chat template adds; `None` if a text
    /// is still to be made.
    pub fn chars(&self) -> Option<u64> {
        let chars = |text: &str| text.chars().count() as u64;
        let written = self.recorded_tokens().is_none();
        written.then(|| self.texts().map(chars).sum())
    }

    /// Tokens of the longest request, without what a chat template adds. `count` counts those
    /// of a text.
    pub fn tokens(
        &self,
        count: &mut dyn FnMut(&str) -> Result<usize, String>,
    ) -> Result<u64, String> {
        let mut tokens = self.recorded_tokens().unwrap_or(0);
        for text in self.texts() {
            tokens += count(text)? as u64;
        }
        Ok(tokens)
    }

    /// Returns `true` if the turns are requests of their own, each without those before it.
    pub(crate) fn is_of_lines(&self) -> bool {
        self.of_lines
    }

    /// Number of images of all turns.
    pub fn images(&self) -> usize {
        self.turns.iter().map(|turn| turn.images.len()).sum()
    }
}
