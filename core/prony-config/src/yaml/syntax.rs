//! Rewords the parser's errors for the author of the file.

use prony_diagnostic::Diagnostic;

use super::MAX_DEPTH;
use crate::codes;
use crate::tree::Span;
use crate::wording::{literal, quoted};

/// Characters allowed after a `\` in double quotes.
const ESCAPES: &str = "0abt\tnvfre \"/\\N_LPxuU\n";

/// The diagnostic of a parser error, with help.
pub(super) fn syntax(text: &str, info: &str, place: Span) -> Diagnostic {
    if info.contains("recursion limit") {
        return too_deep(place);
    }
    if info.contains("unknown anchor") {
        return unknown_anchor(text, &place);
    }
    if info.contains("trailing content") {
        return error("a text goes on after its closing quote")
            .at(place, "after the quote")
            .help("for a quote in the text, write `''` between single quotes, `\\\"` between double ones");
    }
    let line = Line::at(text, place.start);
    line.template()
        .or_else(|| line.escape(info))
        .or_else(|| line.colon(info))
        .or_else(|| line.indicator(info))
        .unwrap_or_else(|| {
            Diagnostic::error(codes::SYNTAX, "the file is not valid YAML")
                .at(place, info)
                .help(general(info))
        })
}

fn general(info: &str) -> &'static str {
    let says = |word: &str| info.contains(word);
    if says("flow") || says("bracket") || says("illegal placement") {
        "close every `[` and `{` that is opened before this place"
    } else if says("tab") {
        "indent with spaces"
    } else if says("quoted scalar") || says("end of stream") {
        "close every quote; inside of double quotes write `\\\"`, inside of single ones `''`"
    } else if says("'-' indicator") || says("sequence entries") {
        "start this line with `-` for one more item, or indent it as the key that holds the list for one more key"
    } else if says("expected key") || says("indentation") || says("simple key") {
        "give the keys of one mapping the same indentation, and each key a `:`"
    } else if says("block scalar") {
        "put `|` or `>` at the end of its line, and the text below it, further in"
    } else {
        "put a text that has signs of YAML in it in quotes, and indent with spaces"
    }
}

fn unknown_anchor(text: &str, place: &Span) -> Diagnostic {
    let rest = &text[place.start..];
    let is_end = |c: char| c.is_whitespace() || ",[]{}".contains(c);
    let length = rest.find(is_end).unwrap_or(rest.len());
    let alias = &rest[..length];
    let anchor = alias.replacen('*', "&", 1);
    let problem = Diagnostic::error(
        codes::ALIAS,
        format!("the alias {} has no anchor", literal(alias)),
    )
    .at(
        place.start..place.start + length,
        format!("no {} stands before it", literal(&anchor)),
    );
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if !alias.chars().skip(1).all(is_name) {
        // Such as `*.txt`, which is meant literally.
        let line = Line::at(text, place.start);
        let scalar = line.scalar(place.start, line.in_flow());
        return line.in_quotes(problem, scalar);
    }
    problem.help(format!(
        "mark the value that it repeats with {}; a text that starts with `*` needs quotes",
        literal(&anchor)
    ))
}

/// The line in which the parser stopped.
struct Line<'a> {
    text: &'a str,
    /// Start of the line, where the parser stopped, and end of the line.
    start: usize,
    at: usize,
    end: usize,
}

impl<'a> Line<'a> {
    fn at(text: &'a str, at: usize) -> Self {
        let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[at..].find(['\n', '\r']).map_or(text.len(), |n| at + n);
        Self {
            text,
            start,
            at,
            end,
        }
    }

    /// `{ url: ${{ vars.url }} }`: in flow style a `{` ends a text without quotes.
    fn template(&self) -> Option<Diagnostic> {
        let before = self.text[self.start..self.at].strip_suffix('$')?;
        if !self.text[self.at..].starts_with("{{") {
            return None;
        }
        let from = self.start + before.rfind(['[', '{', ',']).map_or(0, |at| at + 1);
        let value = self.text[from..self.at]
            .find(": ")
            .map_or(from, |at| from + at + 2);
        let span = self.scalar(value, true);
        let problem = error("a template between `{` and `}` or `[` and `]` needs quotes");
        Some(self.in_quotes(
            problem.at(span.clone(), "the `{` of the template starts a mapping"),
            span,
        ))
    }

    /// `"C:\models"`: an invalid escape in double quotes.
    fn escape(&self, info: &str) -> Option<Diagnostic> {
        if !info.contains("escape") && !info.contains("hexadecimal") {
            return None;
        }
        let inner = self.text[self.at..].strip_prefix('"')?;
        let mut chars = inner.char_indices();
        let mut wrong = None;
        let mut meant = false;
        let mut close = None;
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    close = Some(at);
                    break;
                }
                '\\' => match chars.next() {
                    Some((_, next)) if ESCAPES.contains(next) && !"xuU".contains(next) => {
                        meant |= "\"\\".contains(next);
                    }
                    Some((next, c)) => {
                        wrong = wrong.or(Some(at..next + c.len_utf8()));
                    }
                    None => {}
                },
                _ => {}
            }
        }
        let wrong = wrong?;
        let start = self.at + 1;
        let problem = error(format!(
            "{} is not an escape",
            literal(&inner[wrong.clone()])
        ))
        .at(
            start + wrong.start..start + wrong.end,
            "in double quotes a `\\` starts an escape",
        );
        let Some(close) = close.filter(|_| !meant) else {
            return Some(problem.help("write `\\\\` for a `\\`, or put the text in single quotes"));
        };
        let text = inner[..close].replace('\'', "''");
        Some(problem.suggest(
            "in single quotes a `\\` is nothing but itself",
            self.at..start + close + 1,
            format!("'{text}'"),
        ))
    }

    /// `title: left: right`: a text that looks like a key.
    fn colon(&self, info: &str) -> Option<Diagnostic> {
        let in_flow = self.in_flow();
        let is_second = in_flow && self.text[self.at..].starts_with(':');
        if !info.contains("mapping values are not allowed") && !is_second {
            return None;
        }
        let before = &self.text[self.start..self.at];
        let from = match before.rfind(['[', '{', ',']) {
            Some(at) if in_flow => self.start + at + 1,
            _ => self.start,
        };
        let place = self.at..self.at + 1;
        let Some(key) = self.text[from..self.at].find(": ") else {
            return Some(
                error("a key stands inside of a text")
                    .at(place, "makes a key of what is before it")
                    .help("indent the key like those it belongs to; a text of several lines with a `:` in it needs quotes, or `|` before it"),
            );
        };
        let value = from + key + 2;
        let problem = error("a text with `: ` in it needs quotes");
        let problem = problem.at(place, "makes a key of what is before it");
        Some(self.in_quotes(problem, self.scalar(value, in_flow)))
    }

    /// `name: @home`: a text that starts with a YAML indicator.
    fn indicator(&self, info: &str) -> Option<Diagnostic> {
        let first = self.text[self.at..].chars().next()?;
        if !info.contains("unexpected character") && !"@`%".contains(first) {
            return None;
        }
        let span = self.scalar(self.at, self.in_flow());
        // A backtick inside backticks would be invisible.
        let sign = if first == '`' {
            "a backtick".into()
        } else {
            literal(first.encode_utf8(&mut [0; 4]))
        };
        let problem = error(format!("a text that starts with {sign} needs quotes"));
        Some(self.in_quotes(
            problem.at(
                span.start..span.start + first.len_utf8(),
                "cannot start a text",
            ),
            span,
        ))
    }

    fn in_quotes(&self, problem: Diagnostic, scalar: Span) -> Diagnostic {
        let text = quoted(&self.text[scalar.clone()]);
        problem.suggest("put it in quotes", scalar, text)
    }

    /// The extent of an unquoted text, up to the end of the line, a comment or, in flow
    /// style, the next sign that ends it. Templates are kept whole.
    fn scalar(&self, from: usize, in_flow: bool) -> Span {
        let rest = &self.text[from..self.end];
        let from = from + rest.len() - rest.trim_start().len();
        let rest = rest.trim_start();
        let mut at = 0;
        while at < rest.len() {
            let here = &rest[at..];
            if here.starts_with("${{") {
                at += here.find("}}").map_or(here.len(), |end| end + 2);
                continue;
            }
            if here.starts_with(" #") || in_flow && here.starts_with([',', ']', '}']) {
                break;
            }
            at += here.chars().next().map_or(1, char::len_utf8);
        }
        from..from + rest[..at].trim_end().len()
    }

    /// Returns `true` if a `[` or `{` of this line is open where the parser stopped.
    fn in_flow(&self) -> bool {
        let mut depth = 0_i32;
        let mut quote = None;
        let before = self.text[self.start..self.at].replace("${{", "");
        for c in before.chars() {
            match (quote, c) {
                (Some(open), c) => quote = Some(open).filter(|open| *open != c),
                (None, '"' | '\'') => quote = Some(c),
                (None, '[' | '{') => depth += 1,
                (None, ']' | '}') => depth -= 1,
                _ => {}
            }
        }
        depth > 0
    }
}

fn error(message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(codes::SYNTAX, message)
}

pub(super) fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::error(codes::BUDGET, "the file is nested too deeply")
        .at(span, "the limit is reached here")
        .note(format!(
            "{MAX_DEPTH} levels are allowed, with aliases written out"
        ))
        .help("put less into each other")
}
