//! Values in shell text: each is one word, whatever is in it, and never code.

/// Characters that are the same in any quotes and without.
const PLAIN: &str = "/._-+=:,@%";

/// A shell text as far as it has been written.
#[derive(Debug, Default)]
pub(super) struct Shell {
    /// Quotes and substitutions that are open at the end of the text, the innermost last.
    inside: Vec<Inside>,
    /// Characters of the text that are to be taken as they are.
    escaped: bool,
    last: Option<char>,
    /// `true` behind a `<<`: which lines are the document is not known here.
    has_document: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Single,
    Double,
    Comment,
    /// `$(` or `(`.
    Brackets,
    Backticks,
}

impl Shell {
    /// Reads a part of the text that is no value.
    pub(super) fn read(&mut self, text: &str) {
        for c in text.chars() {
            self.next(c);
            self.last = Some(c);
        }
    }

    fn next(&mut self, c: char) {
        if std::mem::take(&mut self.escaped) {
            return;
        }
        let is_dollar = self.last == Some('$');
        match (self.inside.last(), c) {
            (Some(Inside::Single), '\'')
            | (Some(Inside::Double), '"')
            | (Some(Inside::Comment), '\n')
            | (Some(Inside::Brackets), ')')
            | (Some(Inside::Backticks), '`') => {
                self.inside.pop();
            }
            (Some(Inside::Single | Inside::Comment), _) => {}
            (_, '\\') => self.escaped = true,
            (_, '`') => self.inside.push(Inside::Backticks),
            (Some(Inside::Double), '(') if is_dollar => self.inside.push(Inside::Brackets),
            (Some(Inside::Double), _) => {}
            (_, '\'') => self.inside.push(Inside::Single),
            (_, '"') => self.inside.push(Inside::Double),
            (_, '(') => self.inside.push(Inside::Brackets),
            (_, '#') if self.last.is_none_or(|c| c.is_whitespace() || c == ';') => {
                self.inside.push(Inside::Comment);
            }
            (_, '<') => self.has_document |= self.last == Some('<'),
            _ => {}
        }
    }

    /// A value as it is written here. Fails, with the reason, where that cannot be known.
    pub(super) fn value(&mut self, value: &str) -> Result<String, String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || PLAIN.contains(c);
        let inside = self.inside.last().copied();
        if !value.is_empty() && value.chars().all(is_plain) {
            self.last = value.chars().next_back();
            return Ok(value.to_owned());
        }
        if value.contains('\0') {
            return Err("a command cannot hold a NUL".to_owned());
        }
        if self.has_document || self.inside.contains(&Inside::Backticks) {
            return Err(
                "in backticks, and behind `<<`, a value other than a plain word cannot be quoted"
                    .to_owned(),
            );
        }
        self.last = Some('\'');
        Ok(match inside {
            None | Some(Inside::Brackets | Inside::Backticks) => {
                format!("'{}'", value.replace('\'', "'\\''"))
            }
            Some(Inside::Single) => value.replace('\'', "'\\''"),
            Some(Inside::Comment) => value.replace(['\n', '\r'], " "),
            Some(Inside::Double) => {
                let mut text = String::with_capacity(value.len());
                for c in value.chars() {
                    if "\\\"$`".contains(c) {
                        text.push('\\');
                    }
                    text.push(c);
                }
                text
            }
        })
    }
}
