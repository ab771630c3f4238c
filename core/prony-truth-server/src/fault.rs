//! Faults.

use serde::{Deserialize, Serialize};

/// A fault. *Half* means before token `tokens / 2`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// An error object inside a stream that began with HTTP 200.
    ErrorFrame,
    /// HTTP 200 and no body.
    Empty,
    /// The connection is closed after half of the tokens.
    Cut,
    /// HTTP 500 with an error object.
    Http500,
    /// HTTP 404 with an error text.
    Http404,
    /// Nothing comes after the first token.
    Hang,
    /// The process ends after half of the tokens.
    Crash,
    /// A `data` line that is not JSON.
    Garbage,
    /// A well-formed stream without a token.
    ZeroTokens,
    /// The stream ends by its rule but has no finish reason.
    NoFinish,
    /// An answer that is not HTTP.
    NotHttp,
    /// A pause ([`Config::stall`](crate::Config)) after half of the tokens; everything
    /// later is delayed by it. The answer is correct except for its times.
    Stall,
    /// The head comes byte by byte, spread evenly over [`Config::stall`](crate::Config);
    /// the tokens are delayed by that time.
    SlowHeaders,
    /// The connection is reset (RST instead of FIN) after half of the tokens.
    Reset,
    /// The head promises 64 bytes more than come before the connection is closed.
    WrongLength,
    /// After half of the tokens a chunk's size is not a number. Everything else is
    /// correct, so that only a client that checks sizes notices.
    BadChunk,
    /// HTTP 302 to `/elsewhere`, where `ok` is answered.
    Redirect,
    /// 80 KiB of headers before a correct answer.
    HugeHead,
    /// Header lines without end.
    EndlessHead,
    /// Interim (100) responses without end.
    EndlessInterim,
    /// A chunk's extension without end.
    EndlessExtension,
    /// Chunks of one byte with long extensions, without end.
    EndlessChunks,
    /// Trailers without end.
    EndlessTrailers,
    /// `stop` has no effect.
    IgnoreStop,
    /// `seed` has no effect, so that answers that sample differ.
    IgnoreSeed,
    /// `ignore_eos` has no effect.
    IgnoreIgnoreEos,
    /// A prompt that is longer than the context is cut to it, and answered.
    CutPrompt,
    /// The stream does not tell the usage.
    NoUsage,
    /// The stream ends without `[DONE]`.
    NoEndMark,
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 29] = [
        Self::ErrorFrame,
        Self::Empty,
        Self::Cut,
        Self::Http500,
        Self::Http404,
        Self::Hang,
        Self::Crash,
        Self::Garbage,
        Self::ZeroTokens,
        Self::NoFinish,
        Self::NotHttp,
        Self::Stall,
        Self::SlowHeaders,
        Self::Reset,
        Self::WrongLength,
        Self::BadChunk,
        Self::Redirect,
        Self::HugeHead,
        Self::EndlessHead,
        Self::EndlessInterim,
        Self::EndlessExtension,
        Self::EndlessChunks,
        Self::EndlessTrailers,
        Self::IgnoreStop,
        Self::IgnoreSeed,
        Self::IgnoreIgnoreEos,
        Self::CutPrompt,
        Self::NoUsage,
        Self::NoEndMark,
    ];

    /// Name on the command line.
    pub fn name(self) -> String {
        serde_json::to_value(self)
            .ok()
            .and_then(|name| name.as_str().map(ToOwned::to_owned))
            .unwrap_or_default()
    }
}
