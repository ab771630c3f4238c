//! Text measured in terminal columns.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Width of `text` in columns.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// `text` in at most `max` columns, shortened in the middle.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    let room = max.saturating_sub(1);
    let mut head = take(text.chars(), room.div_ceil(2));
    // A joiner at the cut would glue the ellipsis to what precedes it.
    head.truncate(head.trim_end_matches(joins).len());
    let tail: String = take(text.chars().rev(), room - width(&head).min(room))
        .chars()
        .rev()
        .collect();
    let mut tail = tail.trim_start_matches(joins);
    // The width of a sequence is not always the sum over its characters.
    while !tail.is_empty() && width(&head) + 1 + width(tail) > max {
        tail = tail
            .char_indices()
            .nth(1)
            .map_or("", |(next, _)| &tail[next..])
            .trim_start_matches(joins);
    }
    format!("{head}…{tail}")
}

/// As many characters as fit into `room` columns.
fn take(chars: impl Iterator<Item = char>, room: usize) -> String {
    let mut used = 0;
    chars
        .take_while(|char| {
            used += char.width().unwrap_or(0);
            used <= room
        })
        .collect()
}

/// Returns `true` if a character belongs to the one before it.
fn joins(char: char) -> bool {
    char.width() == Some(0)
}

/// `text` padded with spaces to `columns`, at its left or right side.
pub(crate) fn pad(text: &str, columns: usize, right_aligned: bool) -> String {
    let spaces = " ".repeat(columns.saturating_sub(width(text)));
    if right_aligned {
        spaces + text
    } else {
        text.to_owned() + &spaces
    }
}

/// `text` as lines of at most `max` columns. The first line starts with `lead`,
/// the others are indented by as much. A number and its `%` stay together.
pub(crate) fn wrap(lead: &str, text: &str, max: usize) -> String {
    let indent = width(lead);
    let room = max.saturating_sub(indent).max(20);
    let mut lines: Vec<String> = vec![String::new()];
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let mut rest = words.as_slice();
    while let Some((first, after)) = rest.split_first() {
        let unit = after.first().filter(|unit| unit.starts_with('%'));
        rest = &after[usize::from(unit.is_some())..];
        let word = unit.map_or_else(|| (*first).to_owned(), |unit| format!("{first} {unit}"));
        let word = shorten(&word, room);
        let last = lines.last().map_or(0, |line| width(line));
        match lines.last_mut() {
            Some(line) if last == 0 => *line = word,
            Some(line) if last + 1 + width(&word) <= room => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    let separator = format!("\n{}", " ".repeat(indent));
    format!("{lead}{}\n", lines.join(&separator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortening_respects_columns_and_keeps_both_ends() {
        assert_eq!(shorten("abcdefgh", 8), "abcdefgh");
        assert_eq!(shorten("abcdefgh", 7), "abc…fgh");
        assert_eq!(shorten("abcdefgh", 1), "…");
        assert_eq!(shorten("量子化モデル", 8), "量子…ル");
        for text in [
            "👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦 family",
            "e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}",
            "נמוץ ארוך מאוד",
            "🇩🇪🇫🇷🇯🇵🇧🇷",
        ] {
            for max in 1..12 {
                assert!(
                    width(&shorten(text, max)) <= max,
                    "{text:?} in {max}: {:?}",
                    shorten(text, max)
                );
            }
        }
    }

    #[test]
    fn wrapping_indents_and_keeps_every_word() {
        assert_eq!(
            wrap("- ", "one two three four five six seven", 22),
            "- one two three four\n  five six seven\n"
        );
        assert_eq!(
            wrap("", "it is at least by 12.3 % faster", 20),
            "it is at least by\n12.3 % faster\n"
        );
        assert_eq!(wrap("- ", "", 22), "- \n");
        assert_eq!(
            wrap("", &"x".repeat(30), 20),
            format!("{}…{}\n", "x".repeat(10), "x".repeat(9))
        );
    }

    #[test]
    fn padding_counts_columns() {
        assert_eq!(pad("量", 4, true), "  量");
        assert_eq!(pad("量", 4, false), "量  ");
        assert_eq!(pad("long", 2, true), "long");
    }
}
