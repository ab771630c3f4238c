//! Records of a file, one after the other, whatever contains them.

use super::Problem;
use super::fields::Step;
use super::format::Format;
use csv::{ReaderBuilder, StringRecord};
use serde::de::{DeserializeSeed, Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::ops::ControlFlow;

/// Bytes by which the container is recognised.
const HEAD: usize = 64 << 10;
/// Maximum size of a record, and of what lies between two, in bytes.
const MAX_RECORD: u64 = 64 << 20;
/// Words about bytes that no UTF-8 text has.
const NOT_UTF8: &str =
    "it is not UTF-8 text: make it of the file, for example by `iconv -f WINDOWS-1252 -t UTF-8`";
/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Container of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    /// A value of JSON on each line.
    Lines,
    /// An array of JSON.
    Array,
    /// Values of JSON, one after the other, over any number of lines.
    Values,
    /// Comma-separated values, or with another delimiter, below a line of names.
    Table { delimiter: u8 },
    /// A text on each line.
    Texts,
    /// A text in each file.
    Folder,
}

/// A record.
#[derive(Debug)]
pub(super) enum Record {
    Object(Map<String, Value>),
    Text(String),
}

/// A record, and its place.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) record: Record,
    /// Line of its first byte, from 1.
    pub(super) line: usize,
    /// Column of its first byte, in bytes from 1.
    column: usize,
    /// Its text in JSON.
    raw: Option<Box<RawValue>>,
    pub(super) file: Option<String>,
}

impl Row {
    /// A problem at the end of a path.
    pub(super) fn problem(&self, path: &[Step], message: impl Into<String>) -> Problem {
        let raw = self.raw.as_ref().map_or("", |raw| raw.get());
        let before = &raw[..offset(raw, path).unwrap_or(0)];
        let (line, column) = match before.rsplit_once('\n') {
            None => (self.line, self.column + before.len()),
            Some((_, last)) => (
                self.line + before.bytes().filter(|byte| *byte == b'\n').count(),
                last.len() + 1,
            ),
        };
        Problem {
            file: self.file.clone(),
            ..Problem::at(line, column, message)
        }
    }

    fn of_text(text: String, line: usize) -> Self {
        Self {
            record: Record::Text(text),
            line,
            column: 1,
            raw: None,
            file: None,
        }
    }

    fn of_json(raw: Box<RawValue>, line: usize, column: usize) -> Result<Self, Problem> {
        let wrong = |error| in_line(&error, line, column - 1);
        let mut again = None;
        let record = if raw.get().starts_with('{') {
            let object: Object = serde_json::from_str(raw.get()).map_err(wrong)?;
            again = object.again;
            Record::Object(object.entries)
        } else {
            match serde_json::from_str(raw.get()).map_err(wrong)? {
                Value::String(text) => Record::Text(text),
                other => {
                    let message = format!(
                        "the record is {}, expected an object or a text",
                        super::fields::kind(&other)
                    );
                    return Err(Problem::at(line, column, message));
                }
            }
        };
        let row = Self {
            record,
            line,
            column,
            raw: Some(raw),
            file: None,
        };
        match again {
            None => Ok(row),
            Some(key) => {
                let message = format!("the key `{key}` is there twice, and expected once");
                Err(row.problem(&[Step::Key(key)], message))
            }
        }
    }
}

/// An object, and a key that it has more than once: a map alone keeps the last value.
struct Object {
    entries: Map<String, Value>,
    again: Option<String>,
}

impl<'de> serde::Deserialize<'de> for Object {
    fn deserialize<D: serde::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut entries = Map::new();
        let mut again = None;
        while let Some(key) = map.next_key::<String>()? {
            if entries.contains_key(&key) {
                again = Some(key.clone());
            }
            entries.insert(key, map.next_value()?);
        }
        Ok(Object { entries, again })
    }
}

/// Offset of the value at the end of a path in a text of JSON.
fn offset(text: &str, path: &[Step]) -> Option<usize> {
    let mut inner = text;
    for step in path {
        inner = match step {
            Step::Key(key) => {
                let object: std::collections::HashMap<std::borrow::Cow<'_, str>, &RawValue> =
                    serde_json::from_str(inner).ok()?;
                object.get(key.as_str())?.get()
            }
            Step::Index(index) => {
                let list: Vec<&RawValue> = serde_json::from_str(inner).ok()?;
                list.get(*index)?.get()
            }
        };
    }
    Some(inner.as_ptr() as usize - text.as_ptr() as usize)
}

/// A problem of JSON, whose text begins behind `before` bytes of a line.
fn in_line(error: &serde_json::Error, line: usize, before: usize) -> Problem {
    let before = if error.line() == 1 { before } else { 0 };
    Problem::at(
        line + error.line().saturating_sub(1),
        before + error.column(),
        plain(error),
    )
}

/// The message of an error without its place, which is reported beside it.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = text.strip_suffix(&place).unwrap_or(&text);
    format!("it is no JSON: {message}")
}

type Files<'a> = Box<dyn Iterator<Item = (String, Result<String, String>)> + 'a>;
type Bytes<'a> = io::Chain<Cursor<Vec<u8>>, Box<dyn Read + 'a>>;

enum Source<'a> {
    Bytes(Bytes<'a>),
    Files(Files<'a>),
}

/// Records that are yet to be read.
pub(super) struct Rows<'a> {
    container: Container,
    source: Source<'a>,
}

impl<'a> Rows<'a> {
    /// The records of a file. Its name decides where its content does not tell.
    pub(super) fn of_file(
        name: &str,
        mut bytes: Box<dyn Read + 'a>,
        format: Option<Format>,
    ) -> Result<Self, Problem> {
        let mut head = Vec::new();
        let read = bytes.by_ref().take(HEAD as u64).read_to_end(&mut head);
        read.map_err(|error| Problem::of_file(error.to_string()))?;
        if head.starts_with(MARK) {
            head.drain(..MARK.len());
        }
        let container = container(name, &head, format);
        Ok(Self {
            container,
            source: Source::Bytes(Cursor::new(head).chain(bytes)),
        })
    }

    /// The texts of a folder.
    pub(super) fn of_folder(files: Files<'a>) -> Self {
        Self {
            container: Container::Folder,
            source: Source::Files(files),
        }
    }

    pub(super) fn container(&self) -> Container {
        self.container
    }

    /// Hands over the records in order until there are no more or `take` breaks. Fails where
    /// the rest cannot be read.
    pub(super) fn each(
        self,
        take: &mut dyn FnMut(Result<Row, Problem>) -> ControlFlow<()>,
    ) -> Result<(), Problem> {
        let bytes = match self.source {
            Source::Files(files) => {
                of_files(files, take);
                return Ok(());
            }
            Source::Bytes(bytes) => bytes,
        };
        match self.container {
            Container::Array => array(bytes, take),
            Container::Values => values(bytes, take),
            Container::Table { delimiter } => table(bytes, delimiter, take),
            Container::Texts => lines(bytes, false, take),
            Container::Lines | Container::Folder => lines(bytes, true, take),
        }
    }
}

/// Recognises the container by the beginning of a file, and by its name where that may be both.
fn container(name: &str, head: &[u8], format: Option<Format>) -> Container {
    let name = name.to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let text = String::from_utf8_lossy(head);
    let begin = text.trim_start();
    let first = begin.lines().next().unwrap_or_default();
    let delimiter = delimiter(first);
    let is_named_json = ends(&[".jsonl", ".json", ".ndjson"]);
    if format == Some(Format::TEXT) && !is_named_json {
        return Container::Texts;
    }
    if let Some(inner) = begin.strip_prefix('[') {
        let inner = inner.trim_start();
        let is_array = inner.is_empty() || inner.starts_with(['{', '"', ']']);
        let is_line =
            serde_json::from_str::<Vec<Value>>(first).is_ok() && begin.lines().count() > 1;
        if (is_array && !is_line) || ends(&[".json"]) {
            return Container::Array;
        }
    }
    let is_json = |text: &str| serde_json::from_str::<&RawValue>(text).is_ok();
    if is_named_json || (begin.starts_with('{') && !ends(&[".txt"])) {
        return of_json(begin);
    }
    if begin.starts_with('{') && is_json(first) {
        return Container::Lines;
    }
    let is_table = format.is_some_and(Format::is_table)
        || ends(&[".csv", ".tsv"])
        || Format::names_columns(first, delimiter)
        || has_prompts(begin, delimiter);
    if format == Some(Format::COLUMN) || (is_table && !ends(&[".txt"])) {
        return Container::Table { delimiter };
    }
    Container::Texts
}

/// Lines of JSON, or values over several lines: their first line is no value alone, and the
/// next one begins none.
fn of_json(begin: &str) -> Container {
    let mut lines = begin.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    let is_cut = serde_json::from_str::<&RawValue>(first).is_err_and(|error| error.is_eof());
    match lines.next() {
        Some(second) if is_cut && !second.trim_start().starts_with('{') => Container::Values,
        _ => Container::Lines,
    }
}

/// Returns `true` for several names, of which one is usual for prompts as it is written, above a
/// row of as many cells. Texts hardly look so, even if they have commas.
fn has_prompts(begin: &str, delimiter: u8) -> bool {
    let mut table = ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(begin.as_bytes());
    let mut rows = table.records();
    let (Some(Ok(names)), Some(Ok(cells))) = (rows.next(), rows.next()) else {
        return false;
    };
    names.len() > 1 && names.len() == cells.len() && names.iter().any(Format::is_usual_column)
}

/// The delimiter that is most frequent in a line of names.
fn delimiter(first: &str) -> u8 {
    let often = |byte: u8| first.bytes().filter(|it| *it == byte).count();
    // Of equally frequent ones the last wins.
    let known = [b'\t', b';', b','];
    known
        .into_iter()
        .max_by_key(|byte| often(*byte))
        .unwrap_or(b',')
}

fn of_files(files: Files<'_>, take: &mut dyn FnMut(Result<Row, Problem>) -> ControlFlow<()>) {
    for (name, text) in files {
        let row = match text {
            Ok(text) if text.trim().is_empty() => Err("it is empty".to_owned()),
            Ok(text) => Ok(Row {
                file: Some(name.clone()),
                ..Row::of_text(text, 1)
            }),
            Err(message) => Err(message),
        };
        let row = row.map_err(|message| Problem {
            file: Some(name),
            ..Problem::at(1, 1, message)
        });
        if take(row).is_break() {
            return;
        }
    }
}

/// Lines, each with a value of JSON or a text; empty ones are skipped.
fn lines(
    bytes: Bytes<'_>,
    is_json: bool,
    take: &mut dyn FnMut(Result<Row, Problem>) -> ControlFlow<()>,
) -> Result<(), Problem> {
    let mut bytes = BufReader::with_capacity(HEAD, bytes);
    let mut since = 0;
    for number in 1.. {
        let mut line = Vec::new();
        let read = bytes
            .by_ref()
            .take(MAX_RECORD + 1)
            .read_until(b'\n', &mut line);
        let read = read.map_err(|error| Problem::at(number, 1, error.to_string()))? as u64;
        since += read;
        if read == 0 {
            return Ok(());
        }
        if read > MAX_RECORD || since > MAX_RECORD {
            return Err(Problem::at(number, 1, too_large()));
        }
        // As `str::lines` does.
        line.pop_if(|byte| *byte == b'\n');
        line.pop_if(|byte| *byte == b'\r');
        let row = match String::from_utf8(line) {
            Ok(text) if text.trim().is_empty() => continue,
            Ok(text) if is_json => of_line(text, number),
            Ok(text) => Ok(Row::of_text(text, number)),
            Err(error) => {
                let column = error.utf8_error().valid_up_to() + 1;
                Err(Problem::at(number, column, NOT_UTF8))
            }
        };
        since = 0;
        if take(row).is_break() {
            return Ok(());
        }
    }
    Ok(())
}

fn of_line(text: String, number: usize) -> Result<Row, Problem> {
    let indent = text.len() - text.trim_start().len();
    match RawValue::from_string(text.trim().to_owned()) {
        Ok(raw) => Row::of_json(raw, number, indent + 1),
        Err(error) => Err(in_line(&error, number, indent)),
    }
}

fn too_large() -> String {
    format!(
        "a record takes more than {} MiB, or so much lies before it",
        MAX_RECORD >> 20
    )
}

/// The place of the byte that was read last, and the bytes since the last record.
#[derive(Debug, Default)]
struct Place {
    line: Cell<usize>,
    column: Cell<usize>,
    since: Cell<u64>,
}

/// Bytes, of which the place is known. They are read one by one, as `serde_json` does.
struct Placed<'p, R> {
    bytes: R,
    place: &'p Place,
    is_after_line: bool,
}

impl<'p, R: Read> Placed<'p, R> {
    fn new(bytes: R, place: &'p Place) -> Self {
        place.line.set(1);
        Self {
            bytes,
            place,
            is_after_line: false,
        }
    }
}

impl<R: Read> Read for Placed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(byte) = buffer.get_mut(..1) else {
            return Ok(0);
        };
        let read = self.bytes.read(byte)?;
        if read == 0 {
            return Ok(0);
        }
        let place = self.place;
        place.since.set(place.since.get() + 1);
        if place.since.get() > MAX_RECORD {
            return Err(io::Error::other(too_large()));
        }
        if std::mem::replace(&mut self.is_after_line, byte[0] == b'\n') {
            place.line.set(place.line.get() + 1);
            place.column.set(0);
        }
        place.column.set(place.column.get() + 1);
        Ok(1)
    }
}

/// A problem of the stream as a whole.
fn of_stream(error: &serde_json::Error, place: &Place) -> Problem {
    if error.is_io() {
        let message =
            std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        return Problem::at(place.line.get(), place.column.get(), message);
    }
    Problem::at(error.line(), error.column(), plain(error))
}

/// Values of JSON, one after the other.
fn values(
    bytes: Bytes<'_>,
    take: &mut dyn FnMut(Result<Row, Problem>) -> ControlFlow<()>,
) -> Result<(), Problem> {
    let place = Place::default();
    let bytes = Placed::new(BufReader::with_capacity(HEAD, bytes), &place);
    let values = serde_json::Deserializer::from_reader(bytes).into_iter::<Box<RawValue>>();
    for raw in values {
        let raw = raw.map_err(|error| of_stream(&error, &place))?;
        let breaks = raw.get().bytes().filter(|byte| *byte == b'\n').count();
        let column = match breaks {
            0 => (place.column.get() + 1).saturating_sub(raw.get().len()),
            // Where values have lines of their own, they begin there.
            _ => 1,
        };
        let row = Row::of_json(
            raw,
            place.line.get().saturating_sub(breaks).max(1),
            column.max(1),
        );
        place.since.set(0);
        if take(row).is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// The elements of an array of JSON.
fn array(
    bytes: Bytes<'_>,
    take: &mut dyn FnMut(Result<Row, Problem>) -> ControlFlow<()>,
) -> Result<(), Problem> {
    let place = Place::default();
    let bytes = Placed::new(BufReader::with_capacity(HEAD, bytes), &place);
    let mut json = serde_json::Deserializer::from_reader(bytes);
    let is_over = Cell::new(false);
    let elements = Elements {
        place: &place,
        take,
        is_over: &is_over,
    };
    let read = (&mut json)
        .deserialize_seq(elements)
        .and_then(|()| json.end());
    match read {
        Ok(()) => Ok(()),
        Err(_) if is_over.get() => Ok(()),
        Err(error) => Err(of_stream(&error, &place)),
    }
}

struct Elements<'e> {
    place: &'e Place,
    take: &'e mut dyn FnMut(Result<Row, Problem>) -> ControlFlow<()>,
    is_over: &'e Cell<bool>,
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some((raw, line, column)) = list.next_element_seed(Element(self.place))? {
            self.place.since.set(0);
            if (self.take)(Row::of_json(raw, line, column)).is_break() {
                // The rest is not read.
                self.is_over.set(true);
                return Err(serde::de::Error::custom("enough"));
            }
        }
        Ok(())
    }
}

/// An element with its place, whose first byte was the last to be read.
struct Element<'p>(&'p Place);

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = (Box<RawValue>, usize, usize);

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        let (line, column) = (self.0.line.get(), self.0.column.get());
        let raw: Box<RawValue> = serde::Deserialize::deserialize(json)?;
        Ok((raw, line, column))
    }
}

/// The quotes of a table, told apart as `csv` does, which ends a cell with the file in silence.
struct Quotes {
    delimiter: u8,
    state: Quoting,
    /// Line and column of the byte that is next.
    next: (usize, usize),
    /// Line and column of the quote that was opened last.
    opening: (usize, usize),
}

/// The place of a byte in a table, as far as quotes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoting {
    /// The beginning of a cell.
    Begin,
    /// A cell without quotes, or what follows them: a quote here is text.
    Plain,
    /// A quote, and what is in it.
    Inside,
    /// A quote in quotes: their end, or the first of two.
    Second,
}

impl Quotes {
    fn of(delimiter: u8) -> Self {
        Self {
            delimiter,
            state: Quoting::Begin,
            next: (1, 1),
            opening: (1, 1),
        }
    }

    fn see(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (Quoting::Inside, b'"') => Quoting::Second,
            (Quoting::Inside, _) | (Quoting::Second, b'"') => Quoting::Inside,
            (Quoting::Begin, b'"') => {
                self.opening = self.next;
                Quoting::Inside
            }
            (_, b'\n' | b'\r') => Quoting::Begin,
            (_, byte) if byte == self.delimiter => Quoting::Begin,
            _ => Quoting::Plain,
        };
        self.next = match byte {
            b'\n' => (self.next.0 + 1, 1),
            _ => (self.next.0, self.next.1 + 1),
        };
    }
}

/// Bytes with a bound on what lies between two records.
struct Bounded<'p, R> {
    bytes: R,
    since: &'p Cell<u64>,
    quotes: Quotes,
    is_at_end: bool,
}

impl<R> Bounded<'_, R> {
    /// Fails if the file ended in quotes.
    fn closed(&self) -> Result<(), Problem> {
        if !self.is_at_end || self.quotes.state != Quoting::Inside {
            return Ok(());
        }
        let (line, column) = self.quotes.opening;
        Err(Problem::at(
            line,
            column,
            "the quote is not closed up to the end of the file: expected another `\"` behind the cell; one within it is written `\"\"`",
        ))
    }
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        self.is_at_end = read == 0;
        for byte in &buffer[..read] {
            self.quotes.see(*byte);
        }
        self.since.set(self.since.get() + read as u64);
        if self.since.get() > MAX_RECORD + HEAD as u64 {
            return Err(io::Error::other(too_large()));
        }
        Ok(read)
    }
}

/// The rows of a table, by the names in its first line. An empty cell is no value.
fn table(
    bytes: Bytes<'_>,
    delimiter: u8,
    take: &mut dyn FnMut(Result<Row, Problem>) -> ControlFlow<()>,
) -> Result<(), Problem> {
    let since = Cell::new(0);
    let bytes = Bounded {
        bytes,
        since: &since,
        quotes: Quotes::of(delimiter),
        is_at_end: false,
    };
    let mut table = ReaderBuilder::new()
        .delimiter(delimiter)
        .buffer_capacity(HEAD)
        .from_reader(bytes);
    let names = table.headers().cloned();
    table.get_ref().closed()?;
    let names = names.map_err(|error| of_table(&error, 1))?;
    let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
    for (nth, name) in names.iter().enumerate() {
        if !name.is_empty() && names[..nth].contains(name) {
            let message = format!("the column `{name}` is there twice, and expected once");
            return Err(Problem::at(1, 1, message));
        }
    }
    let mut cells = StringRecord::new();
    loop {
        let read = table.read_record(&mut cells);
        table.get_ref().closed()?;
        let line = cells.position().map_or(1, csv::Position::line) as usize;
        let row = match read {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let cells = names.iter().zip(&cells);
                let filled = cells.filter(|(name, cell)| !name.is_empty() && !cell.is_empty());
                let object = filled.map(|(name, cell)| (name.clone(), Value::from(cell)));
                Ok(Row {
                    record: Record::Object(object.collect()),
                    line,
                    column: 1,
                    raw: None,
                    file: None,
                })
            }
            Err(error) => {
                let problem = of_table(&error, line);
                if matches!(error.kind(), csv::ErrorKind::Io(_)) {
                    return Err(problem);
                }
                Err(problem)
            }
        };
        since.set(0);
        if take(row).is_break() {
            return Ok(());
        }
    }
}

fn of_table(error: &csv::Error, line: usize) -> Problem {
    let line = error.position().map_or(line, |at| at.line() as usize);
    let message = match error.kind() {
        csv::ErrorKind::Io(error) => error.to_string(),
        csv::ErrorKind::Utf8 { .. } => NOT_UTF8.to_owned(),
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!(
            "the row has {len} cells, expected {expected_len} as the line of names has; a cell with a comma or a line break stands in quotes"
        ),
        other => format!("{other:?}"),
    };
    Problem::at(line, 1, message)
}
