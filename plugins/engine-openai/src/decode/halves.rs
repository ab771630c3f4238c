//! Characters that a server has cut in two: the halves of a surrogate pair, each in a message
//! of its own.
//!
//! JSON can write half a character and a Rust string cannot hold it. Until both halves are
//! there each is a character of a private area that no text uses.

use std::borrow::Cow;

/// As many as there are surrogates, at the end of plane 16.
const AREA: u32 = 0x10_f800;
const SURROGATES: u32 = 0xd800;

/// The character that stands for a surrogate.
pub(crate) fn stand_in(surrogate: u16) -> char {
    char::from_u32(AREA + (u32::from(surrogate) - SURROGATES))
        .unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn surrogate(c: char) -> Option<u16> {
    let offset = u32::from(c).checked_sub(AREA)?;
    u16::try_from(SURROGATES + offset).ok()
}

/// Puts halves together across the messages of a stream.
#[derive(Default)]
pub(crate) struct Halves {
    /// The first half of a character, at the end of the text so far.
    first: Option<u16>,
}

impl Halves {
    /// A text with its characters whole. A first half at its end is kept for the next text;
    /// a half without the other becomes the replacement character.
    pub(crate) fn join<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        if self.first.is_none() && !text.contains(|c| surrogate(c).is_some()) {
            return Cow::Borrowed(text);
        }
        let mut whole = String::with_capacity(text.len());
        for c in text.chars() {
            let unit = surrogate(c);
            if let Some(first) = self.first.take() {
                let pair = char::decode_utf16([first].into_iter().chain(unit)).next();
                if let (Some(Ok(joined)), Some(_)) = (pair, unit) {
                    whole.push(joined);
                    continue;
                }
                whole.push(char::REPLACEMENT_CHARACTER);
            }
            match unit {
                Some(first @ 0xd800..0xdc00) => self.first = Some(first),
                Some(_) => whole.push(char::REPLACEMENT_CHARACTER),
                None => whole.push(c),
            }
        }
        Cow::Owned(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_meet_within_a_text_and_across_texts() {
        let (high, low) = (stand_in(0xd83e), stand_in(0xdd80));
        let mut halves = Halves::default();
        assert_eq!(halves.join("plain"), "plain");
        assert_eq!(halves.join(&format!("a{high}")), "a");
        assert_eq!(halves.join(&format!("{low}b")), "🦀b");
        assert_eq!(halves.join(&format!("{high}{low}")), "🦀");
        assert_eq!(halves.join(&format!("{low}{high}")), "\u{fffd}");
        assert_eq!(halves.join("c"), "\u{fffd}c");
    }
}
