//! Names the characters that look like a space or like nothing, and are neither to YAML.

use prony_diagnostic::Diagnostic;

/// The characters, with their names.
const BLANKS: [(char, &str); 12] = [
    ('\u{a0}', "a no-break space"),
    ('\u{ad}', "a soft hyphen"),
    ('\u{2007}', "a figure space"),
    ('\u{2009}', "a thin space"),
    ('\u{200b}', "a zero-width space"),
    ('\u{200c}', "a zero-width non-joiner"),
    ('\u{200d}', "a zero-width joiner"),
    ('\u{200e}', "a left-to-right mark"),
    ('\u{202f}', "a narrow no-break space"),
    ('\u{2060}', "a word joiner"),
    ('\u{3000}', "an ideographic space"),
    ('\u{feff}', "a byte order mark"),
];

/// Points an error at the first such character of its line, or of the line before a mistake of
/// syntax: it may be the cause. In quotes it is text.
pub(crate) fn name(diagnostic: &mut Diagnostic) {
    let (Some(source), Some(label)) = (&diagnostic.source, &diagnostic.primary) else {
        return;
    };
    if !diagnostic.is_error() || label.source.is_some() {
        return;
    }
    let text = &source.text;
    let at = label.span.start.min(text.len());
    let at = text.floor_char_boundary(at);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..]
        .find('\n')
        .map_or(text.len(), |newline| at + newline);
    let before = text[..start.saturating_sub(1)]
        .rfind('\n')
        .map_or(0, |newline| newline + 1);
    let from = if diagnostic.code == crate::codes::SYNTAX {
        before
    } else {
        start
    };
    let Some((place, blank, what)) = blank(&text[from..end]) else {
        return;
    };
    let place = from + place;
    let span = place..place + blank.len_utf8();
    let code = u32::from(blank);
    diagnostic.secondary.push(prony_diagnostic::Label {
        span,
        text: format!("{what} (U+{code:04X})"),
        source: None,
    });
    diagnostic.help.push(format!(
        "U+{code:04X} is no space to YAML: remove it, or put a space in its place"
    ));
}

/// The first of the characters in some lines that is not in quotes: its place and name.
fn blank(lines: &str) -> Option<(usize, char, &'static str)> {
    let mut quote = None;
    lines.char_indices().find_map(|(at, c)| {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (_, '\n') => quote = None,
            _ => {}
        }
        let known = BLANKS.iter().find(|(blank, _)| *blank == c);
        // The mark at the beginning of a file is taken off.
        let (blank, what) = known.filter(|_| quote.is_none() && !(c == '\u{feff}' && at == 0))?;
        Some((at, *blank, *what))
    })
}
