//! Builds the tree from parser events.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use prony_diagnostic::Diagnostic;
use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};

use super::syntax::{syntax, too_deep};
use super::{MAX_DEPTH, MAX_NODES, scalar};
use crate::codes;
use crate::tree::{Entry, Kind, Node, Span};
use crate::wording::literal;

type Result<T> = std::result::Result<T, Box<Diagnostic>>;

const BOM: char = '\u{feff}';

/// Maximum number of bytes that are parsed again for tabs.
const MAX_AGAIN: usize = 20_000_000;

pub(crate) fn build(text: &str) -> Result<Node> {
    let mut body = Cow::Borrowed(text.strip_prefix(BOM).unwrap_or(text));
    let base = text.len() - body.len();
    let mut again = 0;
    loop {
        let problem = match Builder::new(text, &body).document() {
            Ok(root) => return Ok(root),
            Err(problem) => problem,
        };
        again += body.len();
        let place = problem.primary.as_ref().map(|label| label.span.start);
        let tabs = place.and_then(|at| tabs_before(&body, at.checked_sub(base)?));
        match tabs.filter(|_| again <= MAX_AGAIN) {
            // The parser takes a tab between a `:` and a text for a mistake, and YAML does not.
            Some(tabs) => {
                let spaces = " ".repeat(tabs.len());
                body.to_mut().replace_range(tabs, &spaces);
            }
            None => return Err(problem),
        }
    }
}

/// The tabs and spaces right before a place, if there is a tab and they are behind a `:`.
fn tabs_before(text: &str, at: usize) -> Option<Span> {
    let before = text.get(..at)?;
    let start = before.trim_end_matches([' ', '\t']).len();
    let is_after_colon = before[..start].ends_with(':');
    (is_after_colon && before[start..].contains('\t')).then_some(start..at)
}

/// A value with the cost of an alias to it.
#[derive(Clone)]
struct Built {
    node: Node,
    weight: usize,
    height: usize,
}

struct Builder<'a> {
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    /// Byte offset of every character: the parser counts characters.
    offsets: Vec<usize>,
    anchors: HashMap<usize, Built>,
    weight: usize,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str, body: &'a str) -> Self {
        let base = text.len() - body.len();
        let ends = std::iter::once(body.len());
        let offsets = body.char_indices().map(|(at, _)| at).chain(ends);
        Self {
            text,
            parser: Parser::new_from_str(body),
            offsets: offsets.map(|at| at + base).collect(),
            anchors: HashMap::new(),
            weight: 0,
        }
    }

    fn document(mut self) -> Result<Node> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(_) if root.is_some() => {
                    return Err(Box::new(
                        Diagnostic::error(codes::DOCUMENT, "the file holds several documents")
                            .at(span, "a second document starts here")
                            .help("put each pipeline in a file of its own"),
                    ));
                }
                Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Nothing => {}
                event => root = Some(self.node(event, span, 0)?.node),
            }
        }
        root.ok_or_else(|| {
            Box::new(
                Diagnostic::error(codes::DOCUMENT, "the file is empty")
                    .help("start with `version: 1` and a `name`"),
            )
        })
    }

    fn next(&mut self) -> Result<(Event<'a>, Span)> {
        match self.parser.next_event() {
            None => Ok((Event::StreamEnd, 0..0)),
            Some(Ok((event, span))) => Ok((
                event,
                self.offset(span.start.index())..self.offset(span.end.index()),
            )),
            Some(Err(error)) => {
                let at = error.marker().index();
                let span = self.offset(at)..self.offset(at + 1);
                Err(Box::new(syntax(self.text, error.info(), span)))
            }
        }
    }

    fn offset(&self, character: usize) -> usize {
        let last = self.offsets.len() - 1;
        self.offsets[character.min(last)]
    }

    /// A quoted scalar up to its closing quote: the parser's mark includes the
    /// spaces and the comment after it.
    fn trimmed(&self, span: Span, style: ScalarStyle) -> Span {
        let written = self.text.get(span.clone()).unwrap_or_default();
        let end = match style {
            ScalarStyle::SingleQuoted => closing(written, '\'', None),
            ScalarStyle::DoubleQuoted => closing(written, '"', Some('\\')),
            _ => None,
        };
        end.map_or(span.clone(), |end| span.start..span.start + end)
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Built> {
        check_depth(depth, &span)?;
        let (built, anchor) = match event {
            Event::Alias(id) => return self.alias(id, span, depth),
            Event::Scalar(text, style, anchor, tag) => {
                let weight = 1 + text.len() / 256;
                self.spend(weight, &span)?;
                let is_text = is_str(tag.as_deref(), &span)? || style != ScalarStyle::Plain;
                let span = self.trimmed(span, style);
                let node = if is_text {
                    Node::new(Kind::String(text.into_owned()), span)
                } else {
                    scalar::node(&text, span)
                };
                (
                    Built {
                        node,
                        weight,
                        height: 0,
                    },
                    anchor,
                )
            }
            Event::SequenceStart(anchor, tag) => {
                no_tag(tag.as_deref(), &span)?;
                self.spend(1, &span)?;
                (self.list(span, depth)?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                no_tag(tag.as_deref(), &span)?;
                self.spend(1, &span)?;
                (self.map(span, depth)?, anchor)
            }
            _ => {
                let problem = Diagnostic::error(codes::SYNTAX, "the file is not valid YAML");
                return Err(Box::new(
                    problem
                        .at(span, "a value is missing here")
                        .help("give a value, or remove the key"),
                ));
            }
        };
        if anchor > 0 {
            self.anchors.insert(anchor, built.clone());
        }
        Ok(built)
    }

    fn alias(&mut self, id: usize, span: Span, depth: usize) -> Result<Built> {
        let Some(target) = self.anchors.get(&id) else {
            let problem = Diagnostic::error(codes::ALIAS, "an alias repeats a value it is part of");
            return Err(Box::new(
                problem
                    .at(span, "inside its own anchor")
                    .help("write the value out, or repeat one that is complete"),
            ));
        };
        check_depth(depth + target.height, &span)?;
        spend(&mut self.weight, target.weight, &span)?;
        let mut built = target.clone();
        built.node.span = span;
        Ok(built)
    }

    fn spend(&mut self, weight: usize, span: &Span) -> Result<()> {
        spend(&mut self.weight, weight, span)
    }

    fn list(&mut self, start: Span, depth: usize) -> Result<Built> {
        let mut items = Vec::new();
        let mut size = Size::default();
        let end = loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                break span;
            }
            let item = self.node(event, span, depth + 1)?;
            size.add(&item);
            items.push(item.node);
        };
        let span = extent(
            &start,
            &end,
            items.first().map(|i| &i.span),
            items.last().map(|i| &i.span),
        );
        Ok(size.finish(Kind::List(items), span))
    }

    fn map(&mut self, start: Span, depth: usize) -> Result<Built> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: HashMap<String, Span> = HashMap::new();
        let mut merged: Vec<Entry> = Vec::new();
        let mut size = Size::default();
        let end = loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break span;
            }
            let (key, key_span, is_merge) = self.key(event, span)?;
            if let Some(first) = places.insert(key.clone(), key_span.clone()) {
                return Err(Box::new(duplicate(&key, key_span, first)));
            }
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            size.add(&value);
            if is_merge {
                merge(value.node, &mut merged)?;
            } else {
                entries.push(Entry {
                    key,
                    key_span,
                    value: value.node,
                });
            }
        };
        let span = extent(
            &start,
            &end,
            entries.first().map(|e| &e.key_span),
            entries.last().map(|e| &e.value.span),
        );
        // A mapping's own keys win over merged ones, and earlier merges over later ones.
        let mut taken: HashSet<String> = places.into_keys().collect();
        entries.extend(merged.into_iter().filter(|e| taken.insert(e.key.clone())));
        Ok(size.finish(Kind::Map(entries), span))
    }

    /// A key as text, with its place; `true` for the merge key.
    fn key(&mut self, event: Event<'a>, span: Span) -> Result<(String, Span, bool)> {
        let plain = matches!(event, Event::Scalar(_, ScalarStyle::Plain, ..));
        // A key that is not text in YAML, such as a number, is taken as written.
        let key = match &event {
            Event::Scalar(text, ..) if !(plain && text.is_empty()) => Some(text.to_string()),
            Event::Alias(id) => self
                .anchors
                .get(id)
                .and_then(|b| b.node.text().map(str::to_owned)),
            _ => None,
        };
        let Some(key) = key else {
            let problem = Diagnostic::error(codes::MAPPING, "a key must be plain text")
                .at(span, "not plain text")
                .help(
                    "write a name and a `:`; a text that starts with `[`, `{` or `?` needs quotes",
                );
            return Err(Box::new(problem));
        };
        self.node(event, span.clone(), 0)?;
        let is_merge = plain && key == "<<";
        Ok((key, span, is_merge))
    }
}

/// Weight and height of a collection while it is built.
#[derive(Default)]
struct Size {
    weight: usize,
    height: usize,
}

impl Size {
    fn add(&mut self, child: &Built) {
        self.weight += child.weight;
        self.height = self.height.max(child.height + 1);
    }

    fn finish(self, kind: Kind, span: Span) -> Built {
        Built {
            node: Node::new(kind, span),
            weight: self.weight + 1,
            height: self.height,
        }
    }
}

fn spend(spent: &mut usize, weight: usize, span: &Span) -> Result<()> {
    *spent += weight;
    if *spent <= MAX_NODES {
        return Ok(());
    }
    Err(Box::new(
        Diagnostic::error(codes::BUDGET, "the file holds too many values")
            .at(span.clone(), "the limit is reached here")
            .note(format!("{MAX_NODES} are allowed, with aliases written out"))
            .help("use fewer aliases, or several pipelines"),
    ))
}

fn check_depth(depth: usize, span: &Span) -> Result<()> {
    if depth <= MAX_DEPTH {
        return Ok(());
    }
    Err(Box::new(too_deep(span.clone())))
}

/// The place of a collection. In block style the parser's own marks are empty
/// or reach into the next line, so the first and last children give it.
fn extent(start: &Span, end: &Span, first: Option<&Span>, last: Option<&Span>) -> Span {
    let flow = !start.is_empty();
    match (first, last) {
        _ if flow => start.start..end.end.max(start.end),
        (Some(first), Some(last)) => first.start..last.end.max(first.end),
        _ => start.clone(),
    }
}

/// The length of a quoted text up to its closing quote. In single quotes, a quote is
/// written as two.
fn closing(written: &str, quote: char, escape: Option<char>) -> Option<usize> {
    let open = written.find(quote)?;
    let mut chars = written[open..].char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if Some(c) == escape {
            chars.next();
        } else if c == quote {
            let doubled = escape.is_none() && chars.peek().is_some_and(|(_, next)| *next == quote);
            if !doubled {
                return Some(open + at + c.len_utf8());
            }
            chars.next();
        }
    }
    None
}

fn duplicate(key: &str, span: Span, first: Span) -> Diagnostic {
    let key = literal(key);
    Diagnostic::error(
        codes::DUPLICATE_KEY,
        format!("the key {key} is given twice"),
    )
    .at(span, "given again")
    .and(first, "first given here")
    .help("keep one of the two")
}

fn merge(value: Node, into: &mut Vec<Entry>) -> Result<()> {
    let span = value.span.clone();
    match value.kind {
        Kind::Map(entries) => into.extend(entries),
        Kind::List(items) if items.iter().all(|i| matches!(i.kind, Kind::Map(_))) => {
            for item in items {
                merge(item, into)?;
            }
        }
        _ => {
            let problem = Diagnostic::error(codes::MAPPING, "`<<` merges mappings only")
                .at(span, "not a mapping")
                .help("give it an alias of a mapping, such as `<<: *common`");
            return Err(Box::new(problem));
        }
    }
    Ok(())
}

/// Returns `true` if a scalar is tagged as a string.
fn is_str(tag: Option<&Tag>, span: &Span) -> Result<bool> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(true),
        Some(tag) => Err(Box::new(unsupported(tag, span))),
    }
}

fn no_tag(tag: Option<&Tag>, span: &Span) -> Result<()> {
    tag.map_or(Ok(()), |tag| Err(Box::new(unsupported(tag, span))))
}

fn unsupported(tag: &Tag, span: &Span) -> Diagnostic {
    let name = if tag.is_yaml_core_schema() {
        format!("!!{}", tag.suffix)
    } else {
        format!("{}{}", tag.handle, tag.suffix)
    };
    Diagnostic::error(
        codes::TAG,
        format!("the tag {} is not supported", literal(&name)),
    )
    .at(span.clone(), "tagged value")
    .note("`!!str` is the only tag that is")
    .help("remove the tag")
}
