//! Turns the bytes of tokens into text that can be sent: whole characters only, and
//! nothing that may still become a stop text.

/// Joins the bytes of tokens to text and holds back an incomplete character.
#[derive(Debug, Default)]
pub struct Utf8Stream {
    pending: Vec<u8>,
}

impl Utf8Stream {
    /// Adds bytes; returns the text that is complete now. Bytes that can never
    /// become text are replaced by `U+FFFD`.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut done = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            done += chunk.valid().len();
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            // The last bytes may be the start of a character.
            let last = done + invalid.len() == self.pending.len();
            if last && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none())
            {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            done += invalid.len();
        }
        self.pending.drain(..done);
        text
    }

    /// Returns the rest at the end.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

/// Looks for stop texts in a stream, also across its pieces.
#[derive(Debug)]
pub struct StopFilter<'a> {
    stops: &'a [String],
    held: String,
}

impl<'a> StopFilter<'a> {
    /// Looks for `stops`; empty ones are ignored.
    pub fn new(stops: &'a [String]) -> Self {
        Self {
            stops,
            held: String::new(),
        }
    }

    fn stops(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.stops
            .iter()
            .map(String::as_str)
            .filter(|stop| !stop.is_empty())
    }

    /// Adds text; returns what may be sent, and whether a stop text was found
    /// (then everything before it was returned).
    pub fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        if let Some(at) = self.stops().filter_map(|stop| self.held.find(stop)).min() {
            self.held.truncate(at);
            return (self.finish(), true);
        }
        let keep = self
            .stops()
            .map(|stop| overlap(&self.held, stop))
            .max()
            .unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// Returns the rest at the end.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest suffix of `text` that is a prefix of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    stop.char_indices()
        .map(|(at, _)| at)
        .filter(|at| text.ends_with(&stop[..*at]))
        .max()
        .unwrap_or(0)
}
