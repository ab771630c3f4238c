//! The formats, and how one is recognised.

use super::conversation::Conversation;
use super::fields::{Fields, Known, Wrong};
use super::notes::Notes;
use super::rows::{Container, Record};
use super::{
    aiperf, alpaca, azure, burstgpt, column, custom, dolly, guidellm, mooncake, mt_bench, openai,
    prony, sharegpt, text,
};
use std::fmt;

/// A format of a dataset.
#[derive(Clone, Copy)]
pub struct Format(&'static Definition);

/// Definition of a format.
pub(super) struct Definition {
    /// Its name in pipelines and on the command line.
    pub(super) name: &'static str,
    /// Its files, in words.
    pub(super) title: &'static str,
    /// The sign by which a record of it is recognised, if it is one.
    pub(super) fits: fn(&Fields<'_>) -> Option<&'static str>,
    /// Makes a conversation of a record; `None` if it has nothing to send.
    pub(super) read: fn(&Fields<'_>, &mut Context<'_>) -> Result<Option<Conversation>, Wrong>,
    /// The field with the recorded time, in words; `None` if the format has none.
    pub(super) time: Option<&'static str>,
    /// Names of columns of which each marks a table of this format.
    pub(super) columns: &'static [&'static str],
}

/// Means by which a format reads records.
pub(super) struct Context<'r> {
    pub(super) notes: &'r mut Notes,
    /// Name of the column or key that has the prompts, if the user names one.
    pub(super) column: Option<&'r str>,
}

/// The formats. Of those that fit a record the first is taken: what asks for more comes first.
const FORMATS: &[&Definition] = &[
    &mooncake::FORMAT,
    &burstgpt::FORMAT,
    &azure::FORMAT,
    &sharegpt::FORMAT,
    &mt_bench::FORMAT,
    &aiperf::FORMAT,
    &custom::FORMAT,
    &guidellm::FORMAT,
    &openai::FORMAT,
    &dolly::FORMAT,
    &alpaca::FORMAT,
    &prony::FORMAT,
    &text::FORMAT,
    &column::FORMAT,
];

impl Format {
    pub(super) const COLUMN: Self = Self(&column::FORMAT);
    pub(super) const TEXT: Self = Self(&text::FORMAT);

    /// All formats, in the order in which they are tried.
    pub fn all() -> impl Iterator<Item = Self> {
        FORMATS.iter().map(|it| Self(it))
    }

    /// The format of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|it| it.name() == name)
    }

    /// Its name in pipelines and on the command line.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Its files, in words.
    pub fn title(self) -> &'static str {
        self.0.title
    }

    /// The names of all formats, in words.
    pub(super) fn list() -> String {
        let names: Vec<&str> = Self::all().map(Self::name).collect();
        names.join(", ")
    }

    /// The field with the recorded time, in words.
    pub(super) fn time(self) -> &'static str {
        self.0.time.unwrap_or("a format that has times")
    }

    /// Returns `true` for formats that are always tables of CSV.
    pub(super) fn is_table(self) -> bool {
        !self.0.columns.is_empty()
    }

    /// Returns `true` if a line names columns by which a format is known.
    pub(super) fn names_columns(line: &str, delimiter: u8) -> bool {
        let names: Vec<&str> = line
            .split(char::from(delimiter))
            .map(|name| name.trim().trim_matches('"'))
            .collect();
        let mut marks = FORMATS.iter().filter(|it| !it.columns.is_empty());
        marks.any(|it| it.columns.iter().all(|mark| names.contains(mark)))
    }

    /// Returns `true` for a name that a column of prompts usually has.
    pub(super) fn is_usual_column(name: &str) -> bool {
        column::NAMES.contains(&name)
    }

    /// The first format that a record fits, and what it was recognised by. The error says what
    /// was seen, and how to go on.
    pub(super) fn recognise(
        record: &Record,
        container: Container,
    ) -> Result<(Self, String), String> {
        if container == Container::Folder {
            return Ok((Self::TEXT, "a folder of texts".to_owned()));
        }
        let known = Known::default();
        let fields = Fields::of(record, &known);
        let mut fitting = Self::all().filter_map(|it| Some((it, (it.0.fits)(&fields)?)));
        let Some((format, by)) = fitting.next() else {
            return Err(unknown(record, container));
        };
        // A key can be read as a column of any of them.
        let others = fitting.filter(|(it, _)| *it != Self::COLUMN);
        let others: Vec<&str> = others.map(|(it, _)| it.name()).collect();
        let others = match &others[..] {
            [] => String::new(),
            others => format!(
                "; it could be read as {} as well, by `format`",
                others.join(" or ")
            ),
        };
        Ok((format, format!("by {by}{others}")))
    }

    /// Makes a conversation of a record.
    pub(super) fn read(
        self,
        fields: &Fields<'_>,
        context: &mut Context<'_>,
    ) -> Result<Option<Conversation>, Wrong> {
        (self.0.read)(fields, context)
    }
}

/// The message for a record that no format fits.
fn unknown(record: &Record, container: Container) -> String {
    const MAX_SHOWN: usize = 12;
    let Record::Object(object) = record else {
        return "the record is an empty text".to_owned();
    };
    let keys: Vec<String> = object
        .keys()
        .take(MAX_SHOWN)
        .map(|key| format!("`{}`", key.chars().take(40).collect::<String>()))
        .collect();
    let what = match container {
        Container::Table { .. } => "columns",
        _ => "keys",
    };
    let seen = match &keys[..] {
        [] => format!("it has no {what}"),
        keys => format!("its {what} are {}", keys.join(", ")),
    };
    let inner = object.iter().find(|(_, value)| {
        value
            .as_array()
            .is_some_and(|it| it.first().is_some_and(serde_json::Value::is_object))
    });
    let is_table = matches!(container, Container::Table { .. });
    let has_lengths = object
        .keys()
        .any(|key| key.to_lowercase().contains("token"));
    let way = match inner {
        _ if is_table && has_lengths => format!(
            "; a trace of lengths is read by its columns {}: name them so, or name the column with the prompts by `column`",
            traces()
        ),
        Some((key, _)) if object.len() < MAX_SHOWN => format!(
            "; if the records are in `{key}`, take them out: `jq -c '.[{key:?}][]' FILE > records.jsonl`"
        ),
        _ => format!(
            "; name the one with the prompts by `column`, or the format by `format`: {}",
            Format::list()
        ),
    };
    format!("the format is not recognised: {seen}{way}")
}

/// The columns of the tables of lengths, in words.
fn traces() -> String {
    let tables = Format::all().filter(|it| it.is_table());
    let columns = tables.map(|it| {
        let names: Vec<String> = it.0.columns.iter().map(|it| format!("`{it}`")).collect();
        format!(
            "{} and {} (`format: {}`)",
            names.join(", "),
            it.time(),
            it.name()
        )
    });
    columns.collect::<Vec<_>>().join(", or ")
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Format {}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
