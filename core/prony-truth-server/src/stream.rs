//! The events of an answer, piece by piece.

use crate::body::{Body, Framing};
use crate::prompt::Cost;
use crate::schedule::Schedule;
use crate::{Config, Fault};
use serde_json::json;

/// Action after a piece is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Send the next piece.
    More,
    /// Read the next request.
    Next,
    /// Close the connection, as part of the answer.
    Close,
    /// Close the connection early.
    Cut,
    /// Reset the connection early.
    Reset,
    /// Do nothing.
    Hang,
    /// End the process.
    Crash,
}

/// Content and form of an answer.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) chat: bool,
    pub(crate) fault: Option<Fault>,
    /// Number in the first token's text.
    pub(crate) first: u32,
    /// Number of tokens; half of them are sent before a fault.
    pub(crate) tokens: u32,
    pub(crate) finish: &'static str,
    pub(crate) prompt: Cost,
    pub(crate) framing: Framing,
    pub(crate) gzip: bool,
    pub(crate) end: Then,
}

impl Reply {
    fn sent(&self) -> u32 {
        match self.fault {
            Some(Fault::ZeroTokens) => 0,
            _ => self.tokens,
        }
    }
}

/// A stream that is being sent.
pub(crate) struct Stream {
    reply: Reply,
    schedule: Schedule,
    /// Tokens per piece.
    at_once: u32,
    /// The tokens of a piece are one event.
    merge: bool,
    body: Body,
    /// Index of the next token.
    next: u32,
    /// The token before which `fault` occurs.
    fault_at: u32,
    fault: Option<Fault>,
    /// Due time of the previous piece, and earliest due time of what follows.
    last: u64,
}

/// Tokens per piece if all are due at the same time: some 48 KiB, so that even a large
/// answer is never built as a whole.
const BURST: u32 = 256;

impl Stream {
    pub(crate) fn new(reply: Reply, schedule: Schedule, config: &Config) -> Self {
        let at_once = if Schedule::is_burst(config) {
            BURST
        } else {
            config.coalesce.max(1)
        };
        Self {
            last: schedule.begin(),
            schedule,
            at_once,
            merge: config.merge,
            body: Body::new(reply.framing, reply.gzip),
            next: 0,
            fault_at: match reply.fault {
                Some(Fault::Hang) => 1,
                _ => reply.tokens / 2,
            },
            fault: reply.fault,
            reply,
        }
    }

    /// The length of the whole body, found by rendering it.
    pub(crate) fn length(reply: &Reply, schedule: &Schedule, config: &Config) -> usize {
        let mut reply = reply.clone();
        if let Some(Fault::Cut | Fault::Reset | Fault::Hang | Fault::Crash) = reply.fault {
            reply.fault = None;
        }
        let mut stream = Self::new(reply, schedule.clone(), config);
        let mut out = Vec::new();
        let mut length = 0;
        loop {
            out.clear();
            let (_, then) = stream.piece(&mut out);
            length += out.len();
            if then != Then::More {
                return length;
            }
        }
    }

    /// Due time of the next piece.
    pub(crate) fn due(&self) -> u64 {
        match self.piece_end() {
            // The end comes with the last token.
            None => self.last,
            Some(end) => self.schedule.token(end - 1).max(self.last),
        }
    }

    /// The token after the next piece; `None` at the end of the stream. Tokens that are
    /// sent together are due with the last of them, as if the engine had held them back.
    fn piece_end(&self) -> Option<u32> {
        let sent = self.reply.sent();
        if self.next >= sent {
            return None;
        }
        let end = self.next.saturating_add(self.at_once).min(sent);
        // Tokens before a fault are sent before it occurs.
        let before_fault = self.fault.is_some() && (self.next + 1..end).contains(&self.fault_at);
        Some(if before_fault { self.fault_at } else { end })
    }

    /// Renders the next piece; returns its number of tokens and the next action.
    pub(crate) fn piece(&mut self, out: &mut Vec<u8>) -> (u32, Then) {
        self.last = self.due();
        let (tokens, then) = match self.piece_end() {
            None => (0, self.end(out)),
            Some(end) => {
                if self.next == self.fault_at
                    && let Some(then) = self.fault.and_then(|fault| self.show(fault, out))
                {
                    return (0, then);
                }
                let (before, after) = around(self.reply.chat);
                let tokens = end - self.next;
                if self.merge {
                    let texts = (self.next..end).map(|it| self.reply.first.wrapping_add(it));
                    let texts: Vec<String> = texts.map(|it| it.to_string()).collect();
                    self.body
                        .add([before, texts.join(" t").as_bytes(), after], out);
                    self.next = end;
                }
                for token in self.next..end {
                    let mut digits = [0; 10];
                    let text = decimal(self.reply.first.wrapping_add(token), &mut digits);
                    self.body.add([before, text, after], out);
                }
                self.next = end;
                (tokens, Then::More)
            }
        };
        self.body.flush(out);
        (tokens, then)
    }

    /// Renders the fault; returns the next action if the stream ends there.
    fn show(&mut self, fault: Fault, out: &mut Vec<u8>) -> Option<Then> {
        self.fault = None;
        match fault {
            Fault::Cut => return Some(Then::Cut),
            Fault::Reset => return Some(Then::Reset),
            Fault::Crash => return Some(Then::Crash),
            Fault::Hang => return Some(Then::Hang),
            Fault::ErrorFrame => {
                let error = json!({ "message": "broken on purpose", "type": "server_error" });
                self.event(&json!({ "error": error }).to_string(), out);
            }
            Fault::Garbage => self.event("{\"choices\": [oops", out),
            // In place of a chunk with one otherwise correct event.
            Fault::BadChunk => out.extend_from_slice(b"zz\r\ndata: {}\n\n\r\n"),
            _ => {}
        }
        None
    }

    /// The finish reason, the usage and the end.
    fn end(&mut self, out: &mut Vec<u8>) -> Then {
        if self.reply.fault != Some(Fault::NoFinish) {
            let empty = if self.reply.chat {
                json!({ "index": 0, "delta": {}, "logprobs": null, "finish_reason": self.reply.finish })
            } else {
                json!({ "index": 0, "text": "", "logprobs": null, "finish_reason": self.reply.finish })
            };
            self.frame(json!({ "choices": [empty] }), out);
        }
        let (prompt, sent) = (self.reply.prompt, self.reply.sent());
        let mut usage = json!({
            "prompt_tokens": prompt.tokens,
            "completion_tokens": sent,
            "total_tokens": prompt.tokens + sent,
        });
        if let Some(cached) = prompt.cached {
            usage["prompt_tokens_details"] = json!({ "cached_tokens": cached });
        }
        if self.reply.fault != Some(Fault::NoUsage) {
            self.frame(json!({ "choices": [], "usage": usage }), out);
        }
        if self.reply.fault != Some(Fault::NoEndMark) {
            self.event("[DONE]", out);
        }
        self.body.end(out);
        self.reply.end
    }

    /// An event made of the common fields and `rest`.
    fn frame(&mut self, rest: serde_json::Value, out: &mut Vec<u8>) {
        let common = common(self.reply.chat);
        let rest = rest.to_string();
        // Both are objects, and neither is empty.
        self.event(&format!("{{{common},{}", &rest[1..]), out);
    }

    fn event(&mut self, data: &str, out: &mut Vec<u8>) {
        self.body.add([b"data: ", data.as_bytes(), b"\n\n"], out);
    }
}

macro_rules! common {
    (chat) => {
        r#""id":"chatcmpl-truth","object":"chat.completion.chunk","created":0,"model":"truth","system_fingerprint":"truth-1""#
    };
    (plain) => {
        r#""id":"cmpl-truth","object":"text_completion","created":0,"model":"truth","system_fingerprint":"truth-1""#
    };
}

fn common(chat: bool) -> &'static str {
    if chat { common!(chat) } else { common!(plain) }
}

/// The event of a token, before and after its number. Nothing else differs between tokens
/// and requests, so rendering one takes three copies and no formatting.
fn around(chat: bool) -> (&'static [u8], &'static [u8]) {
    if chat {
        (
            concat!(
                "data: {",
                common!(chat),
                r#","choices":[{"index":0,"delta":{"content":" t"#
            )
            .as_bytes(),
            b"\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
        )
    } else {
        (
            concat!(
                "data: {",
                common!(plain),
                r#","choices":[{"index":0,"text":" t"#
            )
            .as_bytes(),
            b"\",\"logprobs\":null,\"finish_reason\":null}]}\n\n",
        )
    }
}

fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut begin = digits.len();
    loop {
        begin -= 1;
        digits[begin] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[begin..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 7, 10, 99, 12_345, u32::MAX] {
            let mut digits = [0; 10];
            assert_eq!(decimal(number, &mut digits), number.to_string().as_bytes());
        }
    }
}
