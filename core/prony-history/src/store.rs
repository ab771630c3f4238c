//! The folder of a history: a file of lines for each series. Lines are only added, so that copies
//! of the folder merge by a union of their lines.

use crate::{Error, Record, SCHEMA};
use jiff::Timestamp;
use prony_diagnostic::{Diagnostic, Source};
use prony_plugin_host::Code;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const BROKEN: &str = "H0001";
const NEWER: &str = "H0002";
const DIFFERENT: &str = "H0003";
const MISPLACED: &str = "H0004";

/// Codes of what can be wrong with a history.
pub const CODES: &[Code] = &[
    Code {
        code: BROKEN,
        summary: "A line of a history is not one that prony wrote: it was edited, cut short, or left by a merge.",
        page: include_str!("../explain/H0001.md"),
    },
    Code {
        code: NEWER,
        summary: "A line of a history was written by a later prony, whose format this one does not know.",
        page: include_str!("../explain/H0002.md"),
    },
    Code {
        code: DIFFERENT,
        summary: "Two lines of a history have one id and say different things.",
        page: include_str!("../explain/H0003.md"),
    },
    Code {
        code: MISPLACED,
        summary: "A line of a history is in the file of another series.",
        page: include_str!("../explain/H0004.md"),
    },
];

/// Extension of the files.
const EXTENSION: &str = "jsonl";
/// Maximum size of a file, in bytes: about a million lines.
const MAX_BYTES: u64 = 1 << 30;
/// The file that has git merge lines.
const ATTRIBUTES: (&str, &str) = (".gitattributes", "*.jsonl merge=union\n");

/// A history as it was read.
#[derive(Debug, Default)]
pub struct Store {
    /// The lines of each series, by time and then by id.
    pub series: BTreeMap<String, Vec<Record>>,
    /// Lines that could not be read, or say different things.
    pub problems: Vec<Diagnostic>,
}

/// Outcome of adding the lines of a run.
#[derive(Debug, Default, PartialEq)]
pub struct Added {
    /// Lines that were added.
    pub new: usize,
    /// Lines that were there already.
    pub known: usize,
    /// The files that got some.
    pub files: Vec<PathBuf>,
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::Io { path, error }
}

impl Store {
    /// Reads a folder, which may not be there.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let mut store = Self::default();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(store),
            Err(error) => return Err(io(folder)(error)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(io(folder))?.path();
            if path.extension().is_some_and(|it| it == EXTENSION) {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths {
            store.read_file(&path)?;
        }
        Ok(store)
    }

    fn read_file(&mut self, path: &Path) -> Result<(), Error> {
        let bytes = prony_files::read(path, MAX_BYTES).map_err(io(path))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let series = path.file_stem().unwrap_or_default().to_string_lossy();
        self.take(&series, Source::new(path.display().to_string(), text));
        Ok(())
    }

    /// Takes in the text of a series.
    pub fn take(&mut self, series: &str, source: Source) {
        let source = Arc::new(source);
        let mut seen: BTreeMap<String, (Record, Range<usize>)> = BTreeMap::new();
        let mut start = 0;
        for line in source.text.split_inclusive('\n') {
            let span = start..start + line.trim_end().len();
            start += line.len();
            if line.trim().is_empty() {
                continue;
            }
            match parsed(line.trim_end(), &span, series) {
                Err(problem) => self.problems.push(problem.in_file(&source)),
                Ok(record) => match seen.get(&record.id) {
                    Some((other, place)) if *other != record => {
                        let problem = different(&record.id, &span, place);
                        self.problems.push(problem.in_file(&source));
                    }
                    Some(_) => {}
                    None => {
                        seen.insert(record.id.clone(), (record, span));
                    }
                },
            }
        }
        let mut records: Vec<Record> = seen.into_values().map(|(record, _)| record).collect();
        if records.is_empty() {
            return;
        }
        // Times were looked at, and are in UTC or with an offset.
        let time = |record: &Record| record.at.parse::<Timestamp>().unwrap_or_default();
        records.sort_by(|a, b| (time(a), &a.id).cmp(&(time(b), &b.id)));
        self.series.insert(series.to_owned(), records);
    }
}

/// A line as a record, or what is wrong with it.
fn parsed(line: &str, span: &Range<usize>, own: &str) -> Result<Record, Box<Diagnostic>> {
    const MARKS: [&str; 4] = ["<<<<<<<", "=======", ">>>>>>>", "|||||||"];
    let broken = |label: String| {
        Diagnostic::error(BROKEN, "a line that is no line of a history").at(span.clone(), label)
    };
    if MARKS.iter().any(|mark| line.starts_with(mark)) {
        return Err(Box::new(broken("left by a merge".to_owned())
            .help("remove the marks and keep the lines of both sides; `.gitattributes` with `*.jsonl merge=union` has git do so")));
    }
    let again = "remove the line, and add its run again with `prony history add`";
    let value: serde_json::Value = serde_json::from_str(line).map_err(|error| {
        let column = error.column().saturating_sub(1).min(line.len());
        let place = span.start + line.floor_char_boundary(column);
        let label = format!("not JSON: {}", without_place(&error));
        let problem = broken(String::new()).at(place..span.end.max(place), label);
        Box::new(problem.help(again))
    })?;
    let schema = value.get("schema").and_then(serde_json::Value::as_str);
    match schema {
        Some(SCHEMA) => {}
        Some(other) if other.starts_with("prony-history/") => {
            let label = format!("its schema is `{}`", prony_result::words::one_line(other));
            let problem =
                Diagnostic::error(NEWER, "a line of a later prony").at(span.clone(), label);
            let problem = problem.note(format!("this prony reads `{SCHEMA}`"));
            return Err(Box::new(
                problem.help("use the prony that wrote it, or a later one"),
            ));
        }
        _ => {
            let label = format!("it has no `\"schema\": \"{SCHEMA}\"`");
            return Err(Box::new(broken(label).help(again)));
        }
    }
    let record: Record = serde_json::from_value(value)
        .map_err(|error| Box::new(broken(without_place(&error)).help(again)))?;
    if record.at.parse::<Timestamp>().is_err() {
        let label = "its `at` is no time such as `2026-11-28T02:00:00Z`".to_owned();
        return Err(Box::new(broken(label).help(again)));
    }
    if let Some(label) = record.absurd() {
        return Err(Box::new(broken(label).help(again)));
    }
    if record.series != own {
        let series = prony_result::words::one_line(&record.series);
        let problem = Diagnostic::error(MISPLACED, "a line in the file of another series")
            .at(span.clone(), format!("it is of the series `{series}`"));
        return Err(Box::new(
            problem.help(format!("move the line to `{series}.{EXTENSION}`")),
        ));
    }
    Ok(record)
}

fn different(id: &str, span: &Range<usize>, other: &Range<usize>) -> Diagnostic {
    let id = prony_result::words::one_line(id);
    Diagnostic::error(
        DIFFERENT,
        format!("two lines have the id `{id}` and differ"),
    )
    .at(span.clone(), "this one is passed over")
    .and(other.clone(), "this one counts")
    .note("a line is never changed once it is written")
    .help("remove the one that is wrong")
}

/// The message of an error without its place, which is that in a line.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}

/// Adds lines to a folder, each unless its id is there, also if others add some at the same time.
/// Makes the folder, with a file that has git merge it.
pub fn add(folder: &Path, records: &[Record]) -> Result<Added, Error> {
    fs::create_dir_all(folder).map_err(io(folder))?;
    let attributes = folder.join(ATTRIBUTES.0);
    match File::create_new(&attributes) {
        Ok(mut file) => file
            .write_all(ATTRIBUTES.1.as_bytes())
            .map_err(io(&attributes))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io(&attributes)(error)),
    }
    // Where files cannot be locked, only adds at the same time are a danger, and told later.
    let lock = prony_files::open(&attributes).map_err(io(&attributes))?;
    let _ = lock.lock();
    let store = Store::read(folder)?;
    let there = store.series.values().flatten();
    let mut ids: BTreeSet<&str> = there.map(|it| it.id.as_str()).collect();
    let mut added = Added::default();
    for record in records {
        if !ids.insert(&record.id) {
            added.known += 1;
            continue;
        }
        let path = folder.join(format!("{}.{EXTENSION}", record.series));
        append(&path, record)?;
        added.new += 1;
        added.files.push(path);
    }
    Ok(added)
}

/// Appends a line as a whole.
fn append(path: &Path, record: &Record) -> Result<(), Error> {
    let mut line = serde_json::to_string(record)? + "\n";
    // A line that an editor or a full disk left without its end stays one of its own.
    if fs::read(path).is_ok_and(|text| text.last().is_some_and(|last| *last != b'\n')) {
        line.insert(0, '\n');
    }
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(io(path))?;
    file.write_all(line.as_bytes()).map_err(io(path))?;
    file.sync_data().map_err(io(path))
}
