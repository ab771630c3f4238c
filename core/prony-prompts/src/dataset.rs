//! Conversations from files as they are on disk.
//!
//! Data moves one way: bytes become [`rows`] (lines or an array of JSON, CSV, lines of text,
//! files of a folder), rows become conversations by one of the [`Format`]s, and [`select`] keeps
//! those that are asked for. Everything is read once, in order, and no further than needed.
//!
//! A format is a file of its own here with one [`format::Definition`], and a row of
//! `format::FORMATS`.

mod aiperf;
mod alpaca;
mod azure;
mod burstgpt;
mod column;
mod conversation;
mod custom;
mod dolly;
mod fields;
mod format;
mod guidellm;
mod messages;
mod mooncake;
mod mt_bench;
mod notes;
mod openai;
mod parts;
mod prony;
mod rows;
mod select;
mod sharegpt;
mod text;
mod trace;

#[cfg(test)]
mod tests;

pub use conversation::{Conversation, Image, Text, Turn};
pub use format::Format;
pub use notes::Note;
pub use select::{Length, Selection};

use fields::{Fields, Known};
use notes::Notes;
use rows::{Record, Row, Rows};
use select::{Selector, Taken};
use std::collections::HashMap;
use std::io::Read;
use std::ops::ControlFlow;

/// Maximum number of problems that are looked for.
pub const MAX_PROBLEMS: usize = 100;
/// Maximum size of the texts and images that are kept, in bytes.
const MAX_KEPT: u64 = 1 << 30;

/// An error in a dataset, and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", self.place())]
pub struct Problem {
    /// The file in a folder of texts; `None` for a dataset that is one file.
    pub file: Option<String>,
    /// Line, from 1; 0 if it is about the file as a whole.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
    /// Description of the error, and what was expected.
    pub message: String,
}

impl Problem {
    /// A problem of the whole file.
    pub(crate) fn of_file(message: impl Into<String>) -> Self {
        Self {
            file: None,
            line: 0,
            column: 0,
            message: message.into(),
        }
    }

    fn at(line: usize, column: usize, message: impl Into<String>) -> Self {
        Self {
            file: None,
            line,
            column: column.max(1),
            message: message.into(),
        }
    }

    /// Text to follow the name of the dataset: `:line:column: `, `/file: ` or `: `.
    fn place(&self) -> String {
        match (&self.file, self.line) {
            (Some(file), _) => format!("/{file}: "),
            (None, 0) => ": ".to_owned(),
            (None, line) => format!(":{line}:{}: ", self.column),
        }
    }

    /// The message without what differs between lines with the same fault.
    fn kind(&self) -> String {
        let is_kept = |c: &char| !c.is_ascii_digit();
        self.message.chars().filter(is_kept).collect()
    }
}

/// Describes problems: the first of each kind with its place, and the number of others like it.
pub fn describe(problems: &[Problem]) -> Vec<String> {
    let mut kinds: Vec<(String, &Problem, usize)> = Vec::new();
    for problem in problems {
        let kind = problem.kind();
        match kinds.iter_mut().find(|it| it.0 == kind) {
            Some(known) => known.2 += 1,
            None => kinds.push((kind, problem, 0)),
        }
    }
    let is_cut = problems.len() >= MAX_PROBLEMS;
    let least = if is_cut { "at least " } else { "" };
    kinds
        .into_iter()
        .map(|(_, first, others)| match others {
            0 => first.to_string(),
            _ => format!("{first} (and {least}{others} more like it)"),
        })
        .collect()
}

/// Content of a dataset.
pub enum Input<'a> {
    /// A file, unpacked. Its name tells a list of texts from JSON and CSV where the content
    /// does not.
    File {
        /// Name of the file, without the ending of a packed one.
        name: &'a str,
        /// The bytes.
        bytes: Box<dyn Read + 'a>,
    },
    /// The files of a folder in order: their names, and their texts or what is wrong with them.
    Folder(Box<dyn Iterator<Item = (String, Result<String, String>)> + 'a>),
}

/// The way a dataset is read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Its format, if the user names it; otherwise the first record tells.
    pub format: Option<Format>,
    /// Name of the column or key that has the prompts.
    pub column: Option<String>,
    /// Conversations that are used.
    pub selection: Selection,
    /// Tokens of a block of `hash_ids`, if they are not the usual 512.
    pub block_tokens: Option<u32>,
    /// `true` if each conversation must have a time, and none an earlier one than the
    /// conversation before.
    pub is_timed: bool,
    /// Seed of what is drawn.
    pub seed: u64,
}

/// Conversations of a dataset.
#[derive(Debug)]
pub struct Dataset {
    /// The format.
    pub format: Format,
    /// The signs of the format, and what else would fit, in words.
    pub recognised: String,
    /// The conversations that are used, in the order of the file.
    pub conversations: Vec<Conversation>,
    /// Number of records that were read.
    pub records: u64,
    /// Facts that the user must be told.
    pub notes: Vec<Note>,
}

/// Reads a dataset up to the last conversation that is used, or to the end: what lies behind is
/// not looked at. `tokens` counts the tokens of a text, for a selection by tokens; `see` is
/// called with each conversation that passes the filters. Reports all problems up to there, at
/// most 100, not only the first.
pub fn read(
    input: Input<'_>,
    options: &Options,
    tokens: &mut dyn FnMut(&str) -> Result<usize, String>,
    see: &mut dyn FnMut(&Conversation),
) -> Result<Dataset, Vec<Problem>> {
    let rows = match input {
        Input::File { name, bytes } => {
            Rows::of_file(name, bytes, options.format).map_err(|problem| vec![problem])?
        }
        Input::Folder(files) => Rows::of_folder(files),
    };
    let mut reading = Reading {
        options,
        container: rows.container(),
        format: None,
        recognised: String::new(),
        selector: Selector::new(&options.selection, options.seed),
        notes: Notes::default(),
        problems: Vec::new(),
        sessions: Vec::new(),
        places: HashMap::new(),
        records: 0,
        kept: 0,
        last_ns: 0,
    };
    let ended = rows.each(&mut |row| reading.take(row, tokens, see));
    if let Err(problem) = ended {
        reading.problems.push(problem);
    }
    reading.end(tokens, see)
}

/// The state of reading.
struct Reading<'o> {
    options: &'o Options,
    container: rows::Container,
    format: Option<Format>,
    recognised: String,
    selector: Selector<'o>,
    notes: Notes,
    problems: Vec<Problem>,
    /// Conversations whose turns lie on several lines, which may stand anywhere in the file.
    sessions: Vec<Conversation>,
    /// Place of a session among them.
    places: HashMap<String, usize>,
    records: u64,
    /// Bytes of the texts of sessions.
    kept: u64,
    last_ns: u64,
}

impl Reading<'_> {
    /// Takes a row, and says whether to go on.
    fn take(
        &mut self,
        row: Result<Row, Problem>,
        tokens: &mut dyn FnMut(&str) -> Result<usize, String>,
        see: &mut dyn FnMut(&Conversation),
    ) -> ControlFlow<()> {
        let taken = row.and_then(|row| {
            self.records += 1;
            let Some(format) = self.format else {
                let format = self.recognise(&row)?;
                self.format = Some(format);
                return self.conversation(format, &row);
            };
            self.conversation(format, &row)
        });
        let offered = match taken {
            Ok(Some(conversation)) => self.offer(conversation, tokens, see),
            Ok(None) => Ok(Taken::More),
            Err(problem) => Err(problem),
        };
        match offered {
            Ok(Taken::More) => {}
            Ok(Taken::Enough) => return ControlFlow::Break(()),
            Err(problem) => self.problems.push(problem),
        }
        if self.format.is_none() || self.problems.len() >= MAX_PROBLEMS {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// The format: the one that is named, or the first that fits the first record.
    fn recognise(&mut self, row: &Row) -> Result<Format, Problem> {
        if let Some(format) = self.options.format {
            self.recognised.push_str("as `format` says");
            return Ok(format);
        }
        if let (Some(column), Record::Object(_)) = (&self.options.column, &row.record) {
            self.recognised = format!("as `column: {column}` says");
            return Ok(Format::COLUMN);
        }
        let (format, by) = Format::recognise(&row.record, self.container)
            .map_err(|message| row.problem(&[], message))?;
        self.recognised = by;
        Ok(format)
    }

    /// The conversation of a row; `None` if it has nothing to send, or is a turn of an earlier
    /// one.
    fn conversation(&mut self, format: Format, row: &Row) -> Result<Option<Conversation>, Problem> {
        let known = Known::default();
        let fields = Fields::of(&row.record, &known);
        let mut context = format::Context {
            notes: &mut self.notes,
            column: self.options.column.as_deref(),
        };
        let read = format.read(&fields, &mut context);
        let read = read.map_err(|wrong| row.problem(&wrong.path, wrong.message))?;
        self.notes.unused(&known, &row.record);
        let Some(read) = read else {
            return Ok(None);
        };
        let mut conversation = read;
        conversation.line = row.line;
        conversation.file.clone_from(&row.file);
        Ok(Some(conversation))
    }

    /// Offers a conversation to the selection, unless other lines may belong to it.
    fn offer(
        &mut self,
        conversation: Conversation,
        tokens: &mut dyn FnMut(&str) -> Result<usize, String>,
        see: &mut dyn FnMut(&Conversation),
    ) -> Result<Taken, Problem> {
        let Some(session) = conversation.session.clone() else {
            if !self.sessions.is_empty() {
                self.sessions.push(conversation);
                return Ok(Taken::More);
            }
            return self.select(conversation, tokens, see);
        };
        self.kept += conversation.bytes();
        if self.kept > MAX_KEPT {
            let message = format!(
                "the sessions up to here come to more than {} MiB, and all of them are needed to join their lines",
                MAX_KEPT >> 20
            );
            return Err(conversation.problem(message));
        }
        if let Some(place) = self.places.get(&session) {
            let known = &mut self.sessions[*place];
            known.of_lines = true;
            known.turns.extend(conversation.turns);
        } else {
            self.places.insert(session, self.sessions.len());
            self.sessions.push(conversation);
        }
        Ok(Taken::More)
    }

    fn select(
        &mut self,
        conversation: Conversation,
        tokens: &mut dyn FnMut(&str) -> Result<usize, String>,
        see: &mut dyn FnMut(&Conversation),
    ) -> Result<Taken, Problem> {
        if self.options.is_timed {
            let Some(at_ns) = conversation.at_ns else {
                let names = self.format.map_or("a time", Format::time);
                return Err(conversation.problem(format!(
                    "it has no time, and the arrival `replay` sends at it: expected {names}"
                )));
            };
            if at_ns < self.last_ns {
                return Err(conversation.problem(
                    "its time is before that of the record above: sort the file by time, or use another arrival than `replay`",
                ));
            }
            self.last_ns = at_ns;
        }
        self.selector.offer(conversation, tokens, see)
    }

    fn end(
        mut self,
        tokens: &mut dyn FnMut(&str) -> Result<usize, String>,
        see: &mut dyn FnMut(&Conversation),
    ) -> Result<Dataset, Vec<Problem>> {
        for conversation in std::mem::take(&mut self.sessions) {
            match self.select(conversation, tokens, see) {
                Ok(Taken::More) => {}
                Ok(Taken::Enough) => break,
                Err(problem) => self.problems.push(problem),
            }
            if self.problems.len() >= MAX_PROBLEMS {
                break;
            }
        }
        let Some(format) = self.format.filter(|_| self.problems.is_empty()) else {
            if self.problems.is_empty() {
                let message = format!("it is empty; expected one of: {}", Format::list());
                self.problems.push(Problem::of_file(message));
            }
            return Err(self.problems);
        };
        let left_out = self.selector.left_out;
        let conversations = self
            .selector
            .end(&mut self.notes)
            .map_err(|message| vec![Problem::of_file(message)])?;
        if conversations.is_empty() {
            let why = if left_out > 0 {
                "no conversation is as long as `input_chars`, `input_tokens` and `output_tokens` ask for"
            } else {
                "there is no conversation in it"
            };
            return Err(vec![Problem::of_file(why)]);
        }
        let is_recorded = conversations.iter().any(|it| it.at_ns.is_some());
        if is_recorded && !self.options.is_timed {
            self.notes.add(
                "its recorded times are not used: `arrival: { replay: {} }` sends at them",
                "",
                1,
            );
        }
        Ok(Dataset {
            format,
            recognised: self.recognised,
            conversations,
            records: self.records,
            notes: self.notes.end(),
        })
    }
}
