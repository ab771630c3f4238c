//! Reads a journal line by line, in bounded memory, past what is damaged.
//!
//! A line that cannot be believed is passed over and told with its place, and the visit that
//! it belonged to does not count: see [`Event::Damaged`] and [`Event::Degraded`]. Only an
//! incomplete line at the end is no damage: a killed run leaves it behind, and a resumed one
//! removes it.

use crate::journal::{Event, FIRST_SCHEMA, Journal, SCHEMA, Started};
use crate::line::{self, Seal};
use crate::{Error, Result};
use prony_config::{MAX_COMPARED_CYCLES, OPEN_CYCLES};
use prony_plan::{StageKind, Visit};
use prony_plugin_host::Digester;
use prony_record::RequestId;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Bytes of a line, at most. The longest are the first, with the plan of 1,000 matrix points,
/// and a request whose answer is as long as any may be.
pub const MAX_LINE: usize = 256 << 20;

/// An event and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// Line, from 1.
    pub line: u64,
    /// Bytes before the line.
    pub offset: u64,
    /// The event.
    pub event: Event,
    /// `true` if no line says so: [`Event::Damaged`] and [`Event::Degraded`] of damaged lines.
    /// They have the place of the next line that can be read.
    pub made: bool,
}

/// An open journal: an iterator over its events after the first.
///
/// An item is an error only if the file can no longer be read.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    lines: Lines<BufReader<File>>,
    started: Box<Started>,
    /// `true` if lines end with number and checksum.
    has_checksums: bool,
    /// Number of the last line that holds.
    number: u64,
    bad: Option<Bad>,
    track: Track,
    requests: SeenRequests,
    ready: VecDeque<Placed>,
    over: bool,
}

/// Lines in a row that cannot be believed.
#[derive(Debug)]
struct Bad {
    line: u64,
    offset: u64,
    lines: u64,
    reason: String,
    /// `true` if the last of them is incomplete.
    torn: bool,
}

impl Reader {
    /// Opens a journal and reads its first line, without which nothing can be told of the rest.
    pub fn open(path: &Path) -> Result<Self> {
        Self::opened(path, None)
    }

    /// As [`Self::open`], with the digest of what was read.
    pub(crate) fn with_digest(path: &Path) -> Result<Self> {
        Self::opened(path, Some(Digester::default()))
    }

    /// Bytes up to the end of the last complete line that was read.
    pub(crate) fn complete(&self) -> u64 {
        self.lines.complete
    }

    /// Path of the journal.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the bytes before the last line that was read; at the end, of all complete
    /// lines.
    pub(crate) fn digest_before(&self) -> Option<&Digester> {
        self.lines.digest.as_ref()
    }

    fn opened(path: &Path, digest: Option<Digester>) -> Result<Self> {
        let file = prony_files::open(path).map_err(Error::io(path))?;
        let mut lines = Lines::new(BufReader::with_capacity(1 << 16, file), digest);
        let first = lines.next().map_err(Error::io(path))?;
        let complete = first.filter(|it| it.is_complete);
        let Some(first) = complete else {
            return Err(damaged(path, 1, "the journal is empty".to_owned()));
        };
        let (started, has_checksums) = first
            .bytes
            .map_err(str::to_owned)
            .and_then(first_event)
            .map_err(|reason| damaged(path, 1, reason))?;
        Ok(Self {
            path: path.to_owned(),
            lines,
            started,
            has_checksums,
            number: 1,
            bad: None,
            track: Track::default(),
            requests: SeenRequests::default(),
            ready: VecDeque::new(),
            over: false,
        })
    }

    /// The first event.
    pub fn started(&self) -> &Started {
        &self.started
    }

    /// Number of the last line that holds, as far as was read.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// `true` if every line has a number and a checksum.
    pub(crate) fn has_checksums(&self) -> bool {
        self.has_checksums
    }

    /// The first event, without reading on.
    pub(crate) fn into_started(self) -> Box<Started> {
        self.started
    }

    /// Reads on, up to something to hand out or the end.
    fn advance(&mut self) -> Result<()> {
        let Some(line) = self.lines.next().map_err(Error::io(&self.path))? else {
            self.over = true;
            self.end();
            return Ok(());
        };
        let (at, offset, is_complete) = (line.number, line.offset, line.is_complete);
        let read = if is_complete {
            let read = line.bytes.map_err(str::to_owned);
            read.and_then(|bytes| event(bytes, self.has_checksums))
        } else {
            Err("it is incomplete".to_owned())
        };
        let believed = read.and_then(|(number, event)| {
            if number.is_some_and(|it| it <= self.number) {
                return Err(format!("line {} comes again", number.unwrap_or_default()));
            }
            if let Event::Request(record) = &event
                && !self.requests.is_new(&record.id)
            {
                return Err(format!("request {} comes again", record.id.index));
            }
            Ok((number, event))
        });
        match believed {
            Ok((number, event)) => self.take(at, offset, number, event),
            Err(reason) => {
                let bad = self.bad.get_or_insert(Bad {
                    line: at,
                    offset,
                    lines: 0,
                    reason,
                    torn: false,
                });
                bad.lines += 1;
                bad.torn = !is_complete;
            }
        }
        Ok(())
    }

    /// Hands out an event, after what is to be told of the lines before it.
    fn take(&mut self, line: u64, offset: u64, number: Option<u64>, event: Event) {
        let bad = self.bad.take();
        let skipped = number.map_or(0, |it| it - self.number - 1);
        let missing = skipped.saturating_sub(bad.as_ref().map_or(0, |it| it.lines));
        let before = self.number;
        self.number = number.unwrap_or(self.number);
        let ready = &mut self.ready;
        let mut tell = |event| {
            ready.push_back(Placed {
                line,
                offset,
                event,
                made: true,
            });
        };
        if missing > 0 || bad.is_some() {
            let told = Event::Damaged {
                line: bad.as_ref().map_or(line, |it| it.line),
                offset: bad.as_ref().map_or(offset, |it| it.offset),
                lines: bad.as_ref().map_or(0, |it| it.lines),
                missing,
                reason: bad.map_or_else(
                    || format!("it is number {}, after number {before}", self.number),
                    |it| it.reason,
                ),
            };
            self.track.reason = Some(match &told {
                Event::Damaged {
                    missing: 0, line, ..
                } => {
                    format!("line {line} of the journal is damaged")
                }
                _ => format!("lines of the journal are missing before line {line}"),
            });
            tell(told);
            let visits: Vec<Visit> = self.track.under_way.values().cloned().collect();
            self.track.degrade(visits, &mut tell);
        }
        self.track.see(&event, &self.started, &mut tell);
        self.ready.push_back(Placed {
            line,
            offset,
            event,
            made: false,
        });
    }

    /// Tells of lines at the end that cannot be believed, but not of what a kill leaves.
    fn end(&mut self) {
        let Some(bad) = self.bad.take() else { return };
        if bad.torn && bad.lines == 1 {
            return;
        }
        self.ready.push_back(Placed {
            line: bad.line,
            offset: bad.offset,
            event: Event::Damaged {
                line: bad.line,
                offset: bad.offset,
                lines: bad.lines,
                missing: 0,
                reason: bad.reason,
            },
            made: true,
        });
    }
}

impl Iterator for Reader {
    type Item = Result<Placed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(placed) = self.ready.pop_front() {
                return Some(Ok(placed));
            }
            if self.over {
                return None;
            }
            if let Err(error) = self.advance() {
                self.over = true;
                return Some(Err(error));
            }
        }
    }
}

/// The requests of a run so far. No run sends one twice.
#[derive(Debug, Default)]
struct SeenRequests {
    /// A short name for each text of an id.
    names: HashMap<String, u32>,
    /// By the names of matrix point, model, engine and stage, and the cycle.
    numbers: HashMap<([Option<u32>; 4], u32), Numbers>,
}

impl SeenRequests {
    /// Returns `true` if the request did not come before.
    fn is_new(&mut self, id: &RequestId) -> bool {
        let texts = [
            id.point.as_deref(),
            Some(id.model.as_str()),
            Some(id.engine.as_str()),
            Some(id.stage.as_str()),
        ];
        let of = texts.map(|text| text.map(|text| self.name(text)));
        let numbers = self.numbers.entry((of, id.cycle)).or_default();
        numbers.insert(id.index)
    }

    fn name(&mut self, text: &str) -> u32 {
        if let Some(name) = self.names.get(text) {
            return *name;
        }
        let name = self.names.len() as u32;
        self.names.insert(text.to_owned(), name);
        name
    }
}

/// Numbers, kept as ranges: those of a stage are one, whatever the order in which they came.
#[derive(Debug, Default)]
struct Numbers {
    /// The last number of each range, by its first.
    ranges: BTreeMap<u32, u32>,
}

impl Numbers {
    /// Returns `true` if the number was not there before.
    fn insert(&mut self, number: u32) -> bool {
        let before = self.ranges.range(..=number).next_back();
        let before = before.map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| last >= number) {
            return false;
        }
        let after = number.checked_add(1);
        let last = after.and_then(|after| self.ranges.remove(&after));
        let first = match before {
            Some((first, last)) if last + 1 == number => first,
            _ => number,
        };
        self.ranges.insert(first, last.unwrap_or(number));
        true
    }
}

/// The visits under way, for telling which one a damaged line belonged to.
#[derive(Debug, Default)]
struct Track {
    /// By engine: two can be loaded at once.
    under_way: HashMap<String, Visit>,
    /// Set after damage, until the next visit is known.
    reason: Option<String>,
}

impl Track {
    /// Follows an event; tells of a visit whose beginning was lost.
    fn see(&mut self, event: &Event, started: &Started, tell: &mut impl FnMut(Event)) {
        let begins = matches!(
            event,
            Event::Stage {
                stage: StageKind::Load,
                ..
            }
        );
        let own = match event {
            Event::Stage { visit, .. } => visit.clone(),
            Event::Visit(visited) => Some(visited.visit.clone()),
            Event::Client { visit, .. }
            | Event::Clock { visit, .. }
            | Event::WithoutImages { visit, .. }
            | Event::Program { visit, .. } => Some(visit.clone()),
            Event::Request(record) if self.reason.is_some() => visit_of(&record.id, started),
            _ => None,
        };
        if let Event::Resumed { .. } = event {
            *self = Self::default();
        }
        let Some(visit) = own else { return };
        let is_known = self.under_way.get(&visit.engine) == Some(&visit);
        if begins {
            self.reason = None;
        } else if !is_known && self.reason.is_some() {
            self.degrade(vec![visit.clone()], tell);
            self.reason = None;
        }
        if let Event::Visit(_) = event {
            self.under_way.remove(&visit.engine);
        } else if !is_known {
            self.under_way.insert(visit.engine.clone(), visit);
        }
    }

    fn degrade(&self, visits: Vec<Visit>, tell: &mut impl FnMut(Event)) {
        if let Some(reason) = self.reason.clone().filter(|_| !visits.is_empty()) {
            tell(Event::Degraded { visits, reason });
        }
    }
}

/// The visit of a request whose visit did not begin.
fn visit_of(id: &RequestId, started: &Started) -> Option<Visit> {
    let segments = started.plan.segments.iter();
    let mut own = segments.filter(|it| it.point == id.point);
    let segment = own.find(|it| it.stages.iter().any(|stage| stage.id == id.stage))?;
    Some(Visit {
        point: id.point.clone(),
        model: id.model.clone(),
        engine: id.engine.clone(),
        cycle: id.cycle,
        segment: segment.number,
    })
}

/// Reads a journal as a whole, for what needs all events at once.
pub fn read(path: &Path) -> Result<Journal> {
    let mut reader = Reader::open(path)?;
    let events = reader.by_ref().map(|it| it.map(|it| it.event));
    let events = events.collect::<Result<_>>()?;
    Ok(Journal {
        started: reader.started,
        events,
    })
}

/// Reads only the first line.
pub(crate) fn started(path: &Path) -> Result<Box<Started>> {
    Reader::open(path).map(Reader::into_started)
}

/// Returns `true` if these bytes may be the begin of a journal.
pub(crate) fn is_begin(bytes: &[u8]) -> bool {
    const BEGIN: &[u8] = b"{\"event\":\"started\"";
    bytes.starts_with(BEGIN) || BEGIN.starts_with(bytes)
}

/// Fails if a program that works on texts has written the file again.
fn check_bytes(line: &[u8]) -> std::result::Result<(), String> {
    if line.starts_with(b"\xef\xbb\xbf") {
        return Err("it begins with a byte order mark, which an editor has added: take the journal from where it was written, or remove the first three bytes".to_owned());
    }
    if line.ends_with(b"\r") {
        return Err("it ends with CR LF, as git writes texts with `core.autocrlf`, and a journal has LF: take it from where it was written, or check it out with `*.jsonl -text` in `.gitattributes`".to_owned());
    }
    Ok(())
}

/// The first event, and whether lines have checksums.
fn first_event(line: &[u8]) -> std::result::Result<(Box<Started>, bool), String> {
    check_bytes(line)?;
    let has_checksums = match line::check(line) {
        Seal::Whole(1) => true,
        Seal::None => false,
        Seal::Whole(number) => return Err(format!("it is line {number} of a journal")),
        Seal::Broken => return Err("its checksum is not that of its content".to_owned()),
    };
    let expected = if has_checksums { SCHEMA } else { FIRST_SCHEMA };
    match parse(line)? {
        Event::Started(started) if started.schema == expected => {
            check_rule(&started)?;
            Ok((started, has_checksums))
        }
        Event::Started(started) if started.schema == SCHEMA => {
            Err("it has no checksum, and lines of this schema have one".to_owned())
        }
        _ => Err(format!(
            "a journal starts with an event `started` of schema `{SCHEMA}` or `{FIRST_SCHEMA}`"
        )),
    }
}

/// Fails for a rule of the comparisons that no pipeline can have.
fn check_rule(started: &Started) -> std::result::Result<(), String> {
    let Some(family) = started.subject.judged_by else {
        return Ok(());
    };
    let rule = family.rule;
    let most = if rule.open {
        OPEN_CYCLES
    } else {
        MAX_COMPARED_CYCLES
    };
    let cycles = rule.max_cycles;
    if cycles > most as usize {
        return Err(format!(
            "{cycles} cycles of a comparison are more than the {most} that there can be"
        ));
    }
    if cycles == 0 || family.comparisons == 0 {
        return Err("a comparison of no cycles, or none, decides nothing".to_owned());
    }
    for (name, error) in [
        ("alpha", rule.alpha),
        ("alpha_equivalent", rule.alpha_equivalent),
    ] {
        if !(error > 0.0 && error < 1.0) {
            return Err(format!("`{name}` is {error}, and is to be between 0 and 1"));
        }
    }
    if !(rule.margin >= 0.0 && rule.margin.is_finite()) {
        return Err(format!(
            "the margin is {}, and is to be 0 or more",
            rule.margin
        ));
    }
    Ok(())
}

/// The number, if lines have one, and the event of a line.
fn event(line: &[u8], has_checksums: bool) -> std::result::Result<(Option<u64>, Event), String> {
    let number = match line::check(line) {
        Seal::Whole(number) if has_checksums => Some(number),
        _ if !has_checksums => None,
        Seal::None | Seal::Whole(_) if line.iter().all(|byte| *byte == 0) => {
            return Err("it is empty".to_owned());
        }
        Seal::None | Seal::Whole(_) => {
            check_bytes(line)?;
            return Err("it has no checksum at its end".to_owned());
        }
        Seal::Broken => return Err("its checksum is not that of its content".to_owned()),
    };
    match parse(line)? {
        Event::Started(_) => Err("it is the first line of a journal".to_owned()),
        event => Ok((number, event)),
    }
}

fn parse(line: &[u8]) -> std::result::Result<Event, String> {
    let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
    // Most lines are requests. Which kind of event it is need not be found out by reading all.
    let read = if text.starts_with("{\"event\":\"request\",") {
        serde_json::from_str(text).map(Event::Request)
    } else {
        serde_json::from_str(text)
    };
    read.map_err(|error| {
        let words = error.to_string();
        // The list of all events helps nobody.
        let (what, _) = words
            .split_once(", expected one of")
            .unwrap_or((&words, ""));
        what.to_owned()
    })
}

fn damaged(path: &Path, line: usize, reason: String) -> Error {
    Error::Journal {
        path: path.to_owned(),
        line,
        reason,
    }
}

/// A line and its place.
struct Line<'a> {
    /// From 1.
    number: u64,
    /// Bytes before it.
    offset: u64,
    /// Its bytes without the line break, or what is wrong with it.
    bytes: std::result::Result<&'a [u8], &'static str>,
    /// `true` if it ends with a line break.
    is_complete: bool,
}

/// The lines of a file, each at most [`MAX_LINE`] long.
#[derive(Debug)]
struct Lines<R> {
    from: R,
    buffer: Vec<u8>,
    count: u64,
    offset: u64,
    /// Digest of all bytes before the last line; only where it is asked for.
    digest: Option<Digester>,
    /// Bytes up to the end of the last line that ended with a line break.
    complete: u64,
}

impl<R: BufRead> Lines<R> {
    fn new(from: R, digest: Option<Digester>) -> Self {
        Self {
            from,
            buffer: Vec::new(),
            count: 0,
            offset: 0,
            digest,
            complete: 0,
        }
    }

    fn line_is_complete(&self) -> bool {
        self.offset > 0 && self.complete == self.offset
    }

    /// Adds the last line to the digest, unless it is incomplete.
    fn digest_last(&mut self) {
        if self.line_is_complete()
            && let Some(digest) = &mut self.digest
        {
            digest.update(&self.buffer);
            digest.update(b"\n");
        }
    }

    fn next(&mut self) -> std::io::Result<Option<Line<'_>>> {
        self.digest_last();
        // A long line is rare, and its memory is given back.
        self.buffer.clear();
        self.buffer.shrink_to(1 << 20);
        let offset = self.offset;
        let mut too_long = false;
        let is_complete = loop {
            let part = match self.from.fill_buf() {
                Ok(part) => part,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = memchr::memchr(b'\n', part);
            let content = &part[..end.unwrap_or(part.len())];
            too_long |= self.buffer.len() + content.len() > MAX_LINE;
            if !too_long {
                self.buffer.extend_from_slice(content);
            }
            let (is_end, used) = (part.is_empty(), content.len() + usize::from(end.is_some()));
            self.from.consume(used);
            self.offset += used as u64;
            if is_end || end.is_some() {
                break end.is_some();
            }
        };
        if is_complete {
            self.complete = self.offset;
        }
        if self.offset == offset {
            return Ok(None);
        }
        self.count += 1;
        Ok(Some(Line {
            number: self.count,
            offset,
            bytes: if too_long {
                Err("it is longer than 256 MiB")
            } else {
                Ok(&self.buffer)
            },
            is_complete,
        }))
    }
}
