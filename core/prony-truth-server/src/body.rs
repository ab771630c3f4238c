//! Framing and coding of a body.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;
use std::str::FromStr;

/// Framing that tells a client where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// `transfer-encoding: chunked`, one chunk per event.
    #[default]
    Chunked,
    /// The connection is closed.
    Close,
    /// `content-length`, which is known beforehand here, unlike in an engine.
    Length,
}

impl FromStr for Framing {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "chunked" => Ok(Self::Chunked),
            "close" => Ok(Self::Close),
            "length" => Ok(Self::Length),
            _ => Err("expected `chunked`, `close` or `length`".to_owned()),
        }
    }
}

/// Puts events into frames.
pub(crate) struct Body {
    chunked: bool,
    gzip: Option<GzEncoder<Vec<u8>>>,
}

impl Body {
    pub(crate) fn new(framing: Framing, gzip: bool) -> Self {
        Self {
            chunked: framing == Framing::Chunked,
            gzip: gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
        }
    }

    /// Adds an event, given in parts.
    pub(crate) fn add(&mut self, event: [&[u8]; 3], out: &mut Vec<u8>) {
        if let Some(gzip) = &mut self.gzip {
            for part in event {
                // Writes to memory, so it cannot fail.
                let _ = gzip.write_all(part);
            }
            return;
        }
        let length = event.iter().map(|part| part.len()).sum();
        if self.chunked {
            size(length, out);
        }
        for part in event {
            out.extend_from_slice(part);
        }
        if self.chunked {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Makes everything added so far decodable from the contents of `out`.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) {
        if let Some(gzip) = &mut self.gzip {
            let _ = gzip.flush();
            frame(self.chunked, gzip.get_mut(), out);
        }
    }

    /// Ends the body.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) {
        if let Some(mut bytes) = self.gzip.take().and_then(|gzip| gzip.finish().ok()) {
            frame(self.chunked, &mut bytes, out);
        }
        if self.chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

/// Moves `bytes` into `out`, as a chunk if `chunked`.
fn frame(chunked: bool, bytes: &mut Vec<u8>, out: &mut Vec<u8>) {
    // An empty chunk would end the body.
    if bytes.is_empty() {
        return;
    }
    if chunked {
        size(bytes.len(), out);
    }
    out.append(bytes);
    if chunked {
        out.extend_from_slice(b"\r\n");
    }
}

/// The line before a chunk.
fn size(length: usize, out: &mut Vec<u8>) {
    // Formatted by hand, because it precedes every event.
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        let digit = length >> (4 * digit) & 15;
        out.push(b"0123456789abcdef"[digit]);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_hexadecimal() {
        for length in [0, 1, 9, 10, 15, 16, 255, 256, 0x1_0000, 0xabc_def0] {
            let mut line = Vec::new();
            size(length, &mut line);
            assert_eq!(line, format!("{length:x}\r\n").into_bytes());
        }
    }

    #[test]
    fn each_flush_can_be_read_at_once() {
        let mut body = Body::new(Framing::Close, true);
        let mut out = Vec::new();
        let mut reader = flate2::write::GzDecoder::new(Vec::new());
        for event in ["data: a\n\n", "data: b\n\n"] {
            out.clear();
            body.add([event.as_bytes(), b"", b""], &mut out);
            body.flush(&mut out);
            reader.write_all(&out).expect("gzip");
            reader.flush().expect("gzip");
            assert!(reader.get_ref().ends_with(event.as_bytes()));
        }
        out.clear();
        body.end(&mut out);
        reader.write_all(&out).expect("gzip");
        assert_eq!(reader.finish().expect("whole"), b"data: a\n\ndata: b\n\n");
    }
}
