//! Recorded responses, which are played as they are.

use crate::stream::Then;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The bytes of a response, when each piece of them is due, and how the connection ends.
///
/// It lies in two files. `NAME.http` holds the bytes as they go over the wire, head
/// included. `NAME.txt` beside it says the rest, a line each:
///
/// ```text
/// end of connection: keep
/// pieces:
///   +0 110
///   +40 202
/// ```
///
/// Each piece is a pause in milliseconds, counted from when the piece before was due (the
/// first: from when the request had been read), and a number of bytes. Nothing is written
/// for a piece of no bytes; it is a pause. `keep` leaves the connection to the next
/// request, `close` ends it, and `hold` does nothing more until the client ends it. Lines
/// before the end of the connection are for people.
#[derive(Debug, Clone)]
pub struct Recording(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes: Vec<u8>,
    /// Due times, counted from the request, and places in `bytes`.
    pieces: Vec<(Duration, Range<usize>)>,
    end: Then,
}

impl Recording {
    /// Reads `http` and the file beside it. An error is of one of the files and names it.
    pub fn read(http: &Path) -> io::Result<Self> {
        let txt = http.with_extension("txt");
        let of = |path: &Path, error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        let bytes = std::fs::read(http).map_err(|error| of(http, error))?;
        let times = std::fs::read_to_string(&txt).map_err(|error| of(&txt, error))?;
        Self::parse(bytes, &times).map_err(|words| of(&txt, io::Error::other(words)))
    }

    fn parse(bytes: Vec<u8>, times: &str) -> Result<Self, String> {
        let mut lines = times.lines();
        let end = lines
            .find_map(|line| line.strip_prefix("end of connection:"))
            .ok_or("there is no line `end of connection: …`")?;
        let end = match end.split_whitespace().next() {
            Some("keep") => Then::Next,
            Some("close") => Then::Close,
            Some("hold") => Then::Hang,
            _ => return Err("the end of the connection is `keep`, `close` or `hold`".to_owned()),
        };
        if !lines.next().is_some_and(|line| line.starts_with("pieces")) {
            return Err("a line `pieces:` follows the end of the connection".to_owned());
        }
        let (mut due, mut start) = (Duration::ZERO, 0);
        let mut pieces = Vec::new();
        for line in lines.filter(|line| !line.trim().is_empty()) {
            let numbers = line
                .trim()
                .strip_prefix('+')
                .and_then(|rest| rest.split_once(' '));
            let (pause, length) = numbers
                .and_then(|(pause, length)| Some((pause.parse().ok()?, length.parse().ok()?)))
                .ok_or_else(|| format!("`{line}` is no piece; write `+MS BYTES`"))?;
            due += Duration::from_millis(pause);
            let piece = start..usize::saturating_add(start, length);
            start = piece.end;
            pieces.push((due, piece));
        }
        if pieces.is_empty() || start != bytes.len() {
            return Err(format!(
                "the pieces have {start} bytes, and the response {}",
                bytes.len()
            ));
        }
        Ok(Self(Arc::new(Inner { bytes, pieces, end })))
    }

    /// Plays it once.
    pub(crate) fn play(&self, received_ns: u64) -> Playing {
        Playing {
            recording: self.clone(),
            received_ns,
            next: 0,
        }
    }
}

/// A recording that is being played.
pub(crate) struct Playing {
    recording: Recording,
    received_ns: u64,
    /// The next piece.
    next: usize,
}

impl Playing {
    /// Due time of the next piece.
    pub(crate) fn due(&self) -> u64 {
        let piece = self.recording.0.pieces.get(self.next);
        let due = piece.map_or(0, |(due, _)| due.as_nanos() as u64);
        self.received_ns.saturating_add(due)
    }

    /// Renders the next piece, and tells what follows it.
    pub(crate) fn piece(&mut self, out: &mut Vec<u8>) -> Then {
        let Inner { bytes, pieces, end } = &*self.recording.0;
        if let Some((_, piece)) = pieces.get(self.next) {
            out.extend_from_slice(&bytes[piece.clone()]);
            self.next += 1;
        }
        if self.next < pieces.len() {
            Then::More
        } else {
            *end
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_due_at_absolute_times() {
        let times = "for people\nend of connection: close (at once)\npieces (ms; bytes):\n  +5 2\n  +0 1\n\n  +10 0\n  +1 1\n";
        let recording = Recording::parse(b"abcd".to_vec(), times).expect("a recording");
        let mut playing = recording.play(1_000_000);
        let mut out = Vec::new();
        let seen: Vec<_> = (0..4)
            .map(|_| {
                let due = playing.due() / 1_000_000;
                let then = playing.piece(&mut out);
                (due, out.len(), then)
            })
            .collect();
        let wanted = [
            (6, 2, Then::More),
            (6, 3, Then::More),
            (16, 3, Then::More),
            (17, 4, Then::Close),
        ];
        assert_eq!(seen, wanted);
        assert_eq!(out, b"abcd");
    }

    #[test]
    fn what_is_no_recording_is_told() {
        for (times, words) in [
            ("pieces:\n+0 1\n", "there is no line `end of connection"),
            (
                "end of connection: later\npieces:\n+0 1\n",
                "`keep`, `close` or `hold`",
            ),
            (
                "end of connection: keep\n+0 1\n",
                "a line `pieces:` follows",
            ),
            ("end of connection: keep\npieces:\n+0 1 2\n", "is no piece"),
            ("end of connection: keep\npieces:\n0 1\n", "is no piece"),
            (
                "end of connection: keep\npieces:\n+0 2\n",
                "have 2 bytes, and the response 1",
            ),
            ("end of connection: keep\npieces:\n", "have 0 bytes"),
        ] {
            let error = Recording::parse(b"a".to_vec(), times).expect_err(times);
            assert!(error.contains(words), "{error}");
        }
    }
}
