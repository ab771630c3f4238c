//! Text in XML 1.0.

use prony_plugin_sdk::words::one_line;

/// One line of text, as content of an element or in a quoted attribute. Control characters are
/// written out, since XML has no way to hold them; so are the two that are no characters.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for char in one_line(text).chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => escaped.extend(char.escape_unicode()),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        assert_eq!(
            escape("<&\"'%\n:]]>\u{1b}\u{ffff}é"),
            "&lt;&amp;&quot;&apos;% :]]&gt;\\u{1b}\\u{ffff}é"
        );
    }
}
