//! Escapes text so that Markdown shows it literally.

use prony_plugin_sdk::words::{is_hidden, one_line};

/// Maximum number of characters in a code block.
const BLOCK: usize = 2000;

/// One line of text in which nothing is markup, also at the start of a line.
pub(crate) fn escape(text: &str) -> String {
    let escaped = escape_inline(text);
    let digits = escaped.bytes().take_while(u8::is_ascii_digit).count();
    let block = |rest: &str, marks: &[char]| {
        rest.strip_prefix(marks)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    let (number, rest) = escaped.split_at(digits);
    if digits > 0 && block(rest, &['.', ')']) {
        format!("{number}\\{rest}")
    } else if escaped.starts_with(['#', '>', '='])
        || block(&escaped, &['-', '+'])
        || escaped.starts_with("--")
    {
        format!("\\{escaped}")
    } else {
        escaped
    }
}

/// One line of text in which nothing is markup, if other text precedes it.
fn escape_inline(text: &str) -> String {
    let line = one_line(text);
    let mut escaped = String::with_capacity(line.len() + 8);
    let mut before: Option<char> = None;
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        let after = chars.peek().copied();
        let special = match char {
            '\\' | '`' | '*' | '[' | '<' | '|' | '~' | '$' => true,
            // Names are full of underscores; inside a word they are not markup.
            '_' => {
                !(before.is_some_and(char::is_alphanumeric)
                    && after.is_some_and(char::is_alphanumeric))
            }
            '&' => after.is_some_and(|char| char == '#' || char.is_ascii_alphabetic()),
            _ => false,
        };
        if special {
            escaped.push('\\');
        }
        escaped.push(char);
        before = Some(char);
    }
    escaped
}

/// The first `max` characters, with an ellipsis if there are more.
pub(crate) fn brief(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{} …", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

/// A line of a table.
pub(crate) fn row(cells: impl IntoIterator<Item = String>) -> String {
    cells.into_iter().fold("|".to_owned(), |line, cell| {
        line + " " + &escape_inline(&cell) + " |"
    })
}

/// The line below the heading of a table.
pub(crate) fn rule(columns: usize) -> String {
    "|".to_owned() + &"---|".repeat(columns)
}

/// A code block that ends correctly, whatever `text` contains.
pub(crate) fn fence(text: &str, language: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for char in brief(text, BLOCK).replace("\r\n", "\n").chars() {
        if is_hidden(char) && !matches!(char, '\n' | '\t') {
            code.extend(char.escape_unicode());
        } else {
            code.push(char);
        }
    }
    let longest = code
        .split(|char| char != '`')
        .map(str::len)
        .max()
        .unwrap_or(0);
    let fence = "`".repeat(3.max(longest + 1));
    format!(
        "{fence}{language}\n{}\n{fence}",
        code.trim_end_matches('\n')
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped_and_names_stay_readable() {
        assert_eq!(escape("Qwen2.5-7B_Instruct"), "Qwen2.5-7B_Instruct");
        assert_eq!(
            escape("a|b\n`c` <d> *e* _f_ [g](h)"),
            r"a\|b \`c\` \<d> \*e\* \_f\_ \[g](h)"
        );
        assert_eq!(
            ["# a", "- a", "+", "--", "> a"].map(escape),
            [r"\# a", r"\- a", r"\+", r"\--", r"\> a"]
        );
        assert_eq!(
            ["1. a", "12) a", "1.", "1.5"].map(escape),
            [r"1\. a", r"12\) a", r"1\.", "1.5"]
        );
        assert_eq!(
            ["+4.2%", "-4.2 %", "a & b", "&lt;", "a - b"].map(escape),
            ["+4.2%", "-4.2 %", "a & b", r"\&lt;", "a - b"]
        );
        assert_eq!(escape(r"a\|b"), r"a\\\|b");
    }

    #[test]
    fn code_cannot_end_its_block() {
        assert_eq!(fence("a\n", "json"), "```json\na\n```");
        assert_eq!(
            fence("````\n\u{1b}[2J", ""),
            "`````\n````\n\\u{1b}[2J\n`````"
        );
        assert!(fence(&"é".repeat(5000), "").chars().count() < 2020);
    }

    #[test]
    fn tables_keep_their_columns() {
        assert_eq!(
            row(["a".to_owned(), "b|c\nd".to_owned()]),
            r"| a | b\|c d |"
        );
        assert_eq!(row(["- a".to_owned(), "1. b".to_owned()]), "| - a | 1. b |");
        assert_eq!(rule(2), "|---|---|");
    }
}
