//! The ends of a response's head and body (RFC 9112, sections 6 and 7).
//!
//! Works on bytes as they come; how they were split into reads cannot change
//! what comes out.

use crate::exchange::Coding;
use prony_contract::Pair;
use prony_record::{ErrorClass, Failed};

/// Most headers that a response may have.
const MAX_HEADERS: usize = 128;
/// Most characters of a header or a request line that a message quotes.
const MAX_QUOTED: usize = 200;
/// Most bytes of a size line or of all trailers, data apart.
const MAX_OVERHEAD: u32 = 64 << 10;

/// A parsed head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) coding: Coding,
    /// Target of a redirect, printable and not longer than a message bears.
    pub(crate) location: Option<String>,
    /// Value of `retry-after`: the time after which a refused request may be sent again.
    /// Printable and bounded like `location`.
    pub(crate) retry_after: Option<String>,
}

/// Printable, and not longer than a message bears.
pub(crate) fn quotable(text: &str) -> String {
    let text = text.chars().take(MAX_QUOTED);
    text.flat_map(char::escape_default).collect()
}

impl Head {
    /// Parses a head that `bytes` start with, and its length; `None` while it
    /// is incomplete. Interim (1xx) responses are passed over.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Failed> {
        let protocol = |message: String| Failed::new(ErrorClass::Protocol, message);
        let mut at = 0;
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            let length = match response.parse(&bytes[at..]) {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial) => return Ok(None),
                Err(httparse::Error::TooManyHeaders) => {
                    return Err(protocol(format!(
                        "the response's head has more than {MAX_HEADERS} headers"
                    )));
                }
                Err(error) => {
                    return Err(protocol(format!("this is not an HTTP response: {error}")));
                }
            };
            let status = response.code.unwrap_or_default();
            at += length;
            if (100..200).contains(&status) {
                continue;
            }
            let mut head = Self {
                status,
                framing: Framing::UntilClose,
                keep_alive: response.version == Some(1),
                coding: Coding::Identity,
                location: None,
                retry_after: None,
            };
            if matches!(status, 204 | 304) {
                head.framing = Framing::Length(0);
            }
            let mut has_length = false;
            for header in response.headers.iter() {
                let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
                match header.name.to_ascii_lowercase().as_str() {
                    "transfer-encoding" => {
                        let codings = value.split(',').map(str::trim);
                        // Named twice where a proxy has joined its own header with the
                        // server's; the body is coded once.
                        for coding in codings.filter(|coding| !coding.is_empty()) {
                            if coding.eq_ignore_ascii_case("chunked") {
                                head.framing = Framing::chunked();
                            } else if !coding.eq_ignore_ascii_case("identity") {
                                return Err(protocol(format!(
                                    "transfer coding `{value}` is not supported"
                                )));
                            }
                        }
                    }
                    // Transfer-Encoding overrides Content-Length.
                    "content-length" if !matches!(head.framing, Framing::Chunked { .. }) => {
                        let length = value
                            .parse()
                            .map_err(|_| protocol(format!("content-length `{value}`")))?;
                        // RFC 9112, 6.3: nobody knows where the body ends.
                        if matches!(head.framing, Framing::Length(other) if other != length)
                            && has_length
                        {
                            return Err(protocol("two different `content-length`".to_owned()));
                        }
                        has_length = true;
                        head.framing = Framing::Length(length);
                    }
                    "content-encoding" => {
                        for coding in value.to_ascii_lowercase().split(',').map(str::trim) {
                            head.coding = match coding {
                                // Not codings, but some servers name them; all mean none.
                                "" | "identity" | "none" | "utf-8" | "utf8" => continue,
                                "gzip" | "x-gzip" if head.coding == Coding::Identity => {
                                    Coding::Gzip
                                }
                                "deflate" if head.coding == Coding::Identity => Coding::Deflate,
                                _ => {
                                    return Err(protocol(format!(
                                        "content coding `{value}`; prony reads gzip and deflate"
                                    )));
                                }
                            };
                        }
                    }
                    "location" if (300..400).contains(&status) => {
                        head.location = Some(quotable(value));
                    }
                    "retry-after" if matches!(status, 429 | 503) => {
                        head.retry_after = Some(quotable(value));
                    }
                    "connection" if value.eq_ignore_ascii_case("close") => head.keep_alive = false,
                    _ => {}
                }
            }
            return Ok(Some((head, at)));
        }
    }
}

/// The headers of these names in a head, in the order in which they came. Names are in lower
/// case; of a value that is no text the part that is one stays.
pub(crate) fn headers(head: &[u8], names: &[String]) -> Vec<Pair> {
    let mut headers = Vec::new();
    for line in head.split(|byte| *byte == b'\n') {
        if line.starts_with(b"HTTP/") {
            // Another head came before this one, with a status of 100 to 199.
            headers.clear();
        }
        let line = String::from_utf8_lossy(line);
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let name = name.to_ascii_lowercase();
        if names.contains(&name) {
            headers.push(Pair::new(name, value.trim()));
        }
    }
    headers
}

/// Framing of the body.
#[derive(Debug)]
pub(crate) enum Framing {
    /// Number of bytes still to come.
    Length(u64),
    /// The chunked transfer coding.
    Chunked {
        /// The place within it.
        state: Chunk,
        /// Bytes since the last data.
        overhead: u32,
    },
    /// The connection's end.
    UntilClose,
}

/// Place within the chunked coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// In a size line: the digits so far, and whether there was one.
    Size(u64, bool),
    /// In a size line, behind the size.
    Extension(u64),
    /// In data: bytes still to come.
    Data(u64),
    /// In the line break behind the data.
    DataEnd,
    /// In the trailer: bytes of the current line, carriage returns apart.
    Trailer(u64),
}

impl Framing {
    pub(crate) fn chunked() -> Self {
        Self::Chunked {
            state: Chunk::Size(0, false),
            overhead: 0,
        }
    }

    /// Appends what `bytes` hold of the body, and tells whether it is complete.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        body: &mut Vec<u8>,
    ) -> Result<bool, &'static str> {
        match self {
            Self::UntilClose => {
                body.extend_from_slice(bytes);
                Ok(false)
            }
            Self::Length(left) => {
                let take = (*left).min(bytes.len() as u64);
                body.extend_from_slice(&bytes[..take as usize]);
                *left -= take;
                Ok(*left == 0)
            }
            Self::Chunked { state, overhead } => {
                while let Some((first, rest)) = bytes.split_first() {
                    if let Chunk::Data(left) = *state {
                        let take = left.min(bytes.len() as u64);
                        body.extend_from_slice(&bytes[..take as usize]);
                        bytes = &bytes[take as usize..];
                        *overhead = 0;
                        *state = if take == left {
                            Chunk::DataEnd
                        } else {
                            Chunk::Data(left - take)
                        };
                        continue;
                    }
                    bytes = rest;
                    *overhead += 1;
                    if *overhead > MAX_OVERHEAD {
                        return Err(match state {
                            Chunk::Trailer(_) => "the trailers are longer than 64 KiB",
                            _ => "the extension of a chunk is longer than 64 KiB",
                        });
                    }
                    if *state == Chunk::Trailer(0) && *first == b'\n' {
                        return Ok(true);
                    }
                    *state = state.next(*first)?;
                }
                Ok(false)
            }
        }
    }
}

impl Chunk {
    /// The place behind `byte`, which is not data.
    fn next(self, byte: u8) -> Result<Self, &'static str> {
        match (self, byte) {
            (Self::Size(size, _), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = u64::from((byte as char).to_digit(16).unwrap_or_default());
                size.checked_mul(16)
                    .and_then(|size| size.checked_add(digit))
                    .map(|size| Self::Size(size, true))
                    .ok_or("a chunk is too long")
            }
            (Self::Size(_, false), _) => Err("a chunk has no size"),
            (Self::Size(size, true) | Self::Extension(size), b'\n') => Ok(if size == 0 {
                Self::Trailer(0)
            } else {
                Self::Data(size)
            }),
            (Self::Size(size, true), b'\r' | b';' | b' ' | b'\t') | (Self::Extension(size), _) => {
                Ok(Self::Extension(size))
            }
            (Self::Size(..), _) => Err("a chunk's size is not hexadecimal"),
            (Self::DataEnd, b'\r') => Ok(Self::DataEnd),
            (Self::DataEnd, b'\n') => Ok(Self::Size(0, false)),
            (Self::DataEnd, _) => Err("a chunk is longer than its size"),
            (Self::Trailer(length), b'\r') => Ok(Self::Trailer(length)),
            (Self::Trailer(_), b'\n') => Ok(Self::Trailer(0)),
            (Self::Trailer(length), _) => Ok(Self::Trailer(length + 1)),
            (Self::Data(_), _) => Err("data outside a chunk"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `wire` in pieces that end at `cuts`.
    fn feed(
        mut framing: Framing,
        wire: &[u8],
        cuts: &[usize],
    ) -> Result<(Vec<u8>, bool), &'static str> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (wire.len() + 1)).collect();
        cuts.extend([0, wire.len()]);
        cuts.sort_unstable();
        let (mut body, mut complete) = (Vec::new(), false);
        for piece in cuts.windows(2) {
            if !complete {
                complete = framing.feed(&wire[piece[0]..piece[1]], &mut body)?;
            }
        }
        Ok((body, complete))
    }

    #[test]
    fn chunked_with_extensions_and_trailers() {
        let wire = b"4;x=1\r\nWiki\r\n6 \r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nA: b\r\n\r\n";
        assert_eq!(
            feed(Framing::chunked(), wire, &[]),
            Ok((b"Wikipedia in \r\n\r\nchunks.".to_vec(), true))
        );
        assert_eq!(
            feed(Framing::chunked(), &wire[..20], &[]).map(|it| it.1),
            Ok(false)
        );
        assert!(feed(Framing::chunked(), b"xyz\r\n", &[]).is_err());
        assert!(feed(Framing::chunked(), b"2\r\nabc\r\n", &[]).is_err());
        assert!(feed(Framing::chunked(), b"fffffffffffffffff\r\n", &[]).is_err());
        // An extension, or trailers, without an end.
        for endless in [
            "4;".to_owned() + &"a".repeat(100_000),
            "0\r\n".to_owned() + &"a: b\r\n".repeat(20_000),
        ] {
            assert!(feed(Framing::chunked(), endless.as_bytes(), &[]).is_err());
        }
    }

    #[test]
    fn the_headers_asked_for_are_those_of_the_last_head() {
        let head = b"HTTP/1.1 103 Early Hints\r\nx-a: early\r\n\r\nHTTP/1.1 200 OK\r\nX-A: 1\r\nother: 2\r\nx-B:  b:\xff c \r\nx-a: 3\r\n\r\n";
        let names = ["x-a", "x-b", "x-c"].map(str::to_owned);
        let expected = [("x-a", "1"), ("x-b", "b:\u{fffd} c"), ("x-a", "3")];
        assert_eq!(
            headers(head, &names),
            expected.map(|(name, value)| Pair::new(name, value))
        );
        assert_eq!(headers(head, &[]), []);
    }

    #[test]
    fn heads() {
        let parse = |text: &str| Head::parse(text.as_bytes());
        let (head, length) = parse("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n4")
            .expect("a head")
            .expect("complete");
        assert_eq!((head.status, length, head.keep_alive), (200, 91, true));
        assert!(matches!(head.framing, Framing::Chunked { .. }));
        let (head, _) = parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\nContent-Encoding: none\r\n\r\n")
            .expect("a head")
            .expect("complete");
        assert!(matches!(head.framing, Framing::Chunked { .. }));
        assert_eq!(head.coding, Coding::Identity);
        assert!(parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n").is_err());
        assert!(
            parse("HTTP/1.1 200 OK\r\nContent-Le")
                .expect("a head")
                .is_none()
        );
        assert!(parse("SSH-2.0-OpenSSH_9\r\n").is_err());
        let (head, _) = parse("HTTP/1.0 200 OK\r\n\r\n")
            .expect("a head")
            .expect("complete");
        assert!(matches!(head.framing, Framing::UntilClose) && !head.keep_alive);
        let retry_after = |status: u16| {
            let text = format!("HTTP/1.1 {status} X\r\nRetry-After: 30 \u{e9}\r\n\r\n");
            let (head, _) = parse(&text).expect("a head").expect("complete");
            head.retry_after
        };
        assert_eq!(retry_after(200), None);
        assert_eq!(retry_after(429).as_deref(), Some("30 \\u{e9}"));
        assert!(parse("HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n").is_err());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_body(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            cuts in proptest::collection::vec(any::<usize>(), 0..20),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend(format!("{:X}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"));
            }
            wire.extend(*b"0\r\n\r\n");
            prop_assert_eq!(feed(Framing::chunked(), &wire, &cuts), Ok((chunks.concat(), true)));
        }

        #[test]
        fn garbage_never_panics(wire in proptest::collection::vec(any::<u8>(), 0..200), cuts in proptest::collection::vec(any::<usize>(), 0..5)) {
            let _ = feed(Framing::chunked(), &wire, &cuts);
            let _ = Head::parse(&wire);
        }
    }
}
