//! Answers to requests.

use crate::account::Spent;
use crate::body::Framing;
use crate::log::Entry;
use crate::prompt::{PrefixCache, cost};
use crate::recording::{Playing, Recording};
use crate::request::Request;
use crate::schedule::Schedule;
use crate::stream::{Reply, Stream, Then};
use crate::{Config, Fault};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// An answer that is being sent.
pub(crate) struct Answer {
    received: u64,
    head: Vec<u8>,
    /// The bytes of the head that were rendered.
    head_sent: usize,
    rest: Rest,
    /// With [`Fault::SlowHeaders`].
    slow: Option<Schedule>,
    /// Pieces due at the same time go together.
    burst: bool,
    /// Tokens that it takes, if it is an answer of the model.
    pub(crate) spent: Option<Spent>,
    /// Entry for the log.
    pub(crate) entry: Option<Entry>,
}

/// Content after the head.
enum Rest {
    Stream(Box<Stream>),
    /// A recording, which has a head of its own.
    Playing(Playing),
    /// Nothing but what is to happen then.
    Then(Then),
    /// The same bytes again and again, without end.
    Flood(&'static [u8]),
}

/// A write of this size is not made larger.
const FULL: usize = 64 << 10;

/// Number of bytes that [`Fault::WrongLength`] promises beyond the body.
const MISSING: usize = 64;

impl Answer {
    /// Of anything that is not asked of the model.
    pub(crate) fn plain(status: &str, body: &str, close: bool, received: u64) -> Self {
        let kind = if body.starts_with('{') {
            "application/json"
        } else {
            "text/plain"
        };
        let connection = connection(close);
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n{connection}\r\n{body}",
            body.len()
        );
        let then = if close { Then::Close } else { Then::Next };
        Self {
            received,
            head: head.into_bytes(),
            head_sent: 0,
            rest: Rest::Then(then),
            slow: None,
            burst: true,
            spent: None,
            entry: None,
        }
    }

    /// Of request `number` to the model.
    pub(crate) fn of_model(
        request: &Request,
        number: u32,
        received: u64,
        config: &Config,
        cache: &PrefixCache,
    ) -> Self {
        let mut answer = Self::unlogged(request, number, received, config, cache);
        answer.entry = entry(request, number, received, config);
        answer
    }

    /// A recording.
    pub(crate) fn played(
        request: &Request,
        number: u32,
        received: u64,
        recording: &Recording,
        config: &Config,
    ) -> Self {
        Self {
            received,
            head: Vec::new(),
            head_sent: 0,
            rest: Rest::Playing(recording.play(received)),
            slow: None,
            // Each piece is a write of its own.
            burst: false,
            spent: None,
            entry: entry(request, number, received, config),
        }
    }

    fn unlogged(
        request: &Request,
        number: u32,
        received: u64,
        config: &Config,
        cache: &PrefixCache,
    ) -> Self {
        let close = request.close;
        let plain =
            |status: &str, body: Value| Self::plain(status, &body.to_string(), close, received);
        let mut prompt = match cost(&request.body, config, cache) {
            Ok(prompt) => prompt,
            Err(message) => {
                let error = json!({ "message": message, "type": "invalid_request_error" });
                return plain("400 Bad Request", json!({ "error": error }));
            }
        };
        let fault = config.fault.filter(|_| number >= config.fault_from);
        if let Some(context) = config.context.filter(|most| prompt.tokens > *most) {
            if fault != Some(Fault::CutPrompt) {
                let message = format!("the context has {context} tokens, and the prompt more");
                let error = json!({ "message": message, "type": "exceed_context_size_error" });
                return plain("400 Bad Request", json!({ "error": error }));
            }
            prompt.tokens = context;
        }
        let then = if close { Then::Close } else { Then::Next };
        let bare = |head: &[u8], then| {
            let mut answer = Self::plain("", "", false, received);
            answer.head = head.to_vec();
            answer.rest = Rest::Then(then);
            answer
        };
        match fault {
            Some(Fault::Http500) => {
                let error = json!({ "message": "broken on purpose" });
                return plain("500 Internal Server Error", json!({ "error": error }));
            }
            Some(Fault::Http404) => {
                return plain("404 Not Found", json!({ "error": "no such model" }));
            }
            Some(Fault::NotHttp) => return bare(b"220 ready to serve mail\r\n", Then::Close),
            Some(Fault::Empty) => {
                return bare(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 0\r\n\r\n", then);
            }
            Some(Fault::Redirect) => {
                return bare(
                    b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n",
                    then,
                );
            }
            Some(fault) => {
                if let Some((head, bytes)) = flood(fault) {
                    let mut answer = bare(head, then);
                    answer.rest = Rest::Flood(bytes);
                    return answer;
                }
            }
            None => {}
        }

        let framing = match fault {
            Some(Fault::WrongLength) => Framing::Length,
            Some(Fault::BadChunk) => Framing::Chunked,
            _ => config.framing,
        };
        let close = close || framing == Framing::Close || fault == Some(Fault::WrongLength);
        let first = first_token(&request.body, number, config, fault);
        let (tokens, finish) = length(&request.body, first, config, fault);
        let spent = Spent {
            prompt: prompt.tokens,
            cached: prompt.cached.unwrap_or(0),
            output: tokens,
        };
        if config.hide_cached {
            prompt.cached = None;
        }
        let reply = Reply {
            chat: request.path.ends_with("/chat/completions"),
            fault,
            first,
            tokens,
            finish,
            prompt,
            framing,
            gzip: config.gzip && request.gzip,
            end: match fault {
                Some(Fault::WrongLength) => Then::Cut,
                _ if close => Then::Close,
                _ => Then::Next,
            },
        };
        let schedule = Schedule::new(config, fault, tokens / 2, number, received);
        let head = head(&reply, &schedule, close, config);
        Self {
            received,
            head,
            head_sent: 0,
            slow: (fault == Some(Fault::SlowHeaders)).then(|| schedule.clone()),
            rest: Rest::Stream(Box::new(Stream::new(reply, schedule, config))),
            burst: Schedule::is_burst(config),
            spent: Some(spent),
            entry: None,
        }
    }

    /// Due time of the next piece.
    pub(crate) fn due(&self) -> u64 {
        match (&self.slow, &self.rest) {
            (Some(slow), _) if self.head_sent < self.head.len() => {
                slow.head_byte(self.head_sent, self.head.len())
            }
            (_, Rest::Stream(stream)) if self.head_sent == self.head.len() => stream.due(),
            (_, Rest::Playing(playing)) => playing.due(),
            _ => self.received,
        }
    }

    /// Renders what is to be written next, at once: how many tokens it has, and what
    /// follows.
    pub(crate) fn render(&mut self, out: &mut Vec<u8>) -> (u32, Then) {
        let due = self.due();
        let mut tokens = 0;
        loop {
            let (more, then) = self.piece(out);
            tokens += more;
            let goes_on = self.burst && then == Then::More && self.due() <= due;
            if !goes_on || out.len() >= FULL {
                return (tokens, then);
            }
        }
    }

    fn piece(&mut self, out: &mut Vec<u8>) -> (u32, Then) {
        if self.head_sent < self.head.len() {
            let end = match self.slow {
                Some(_) => self.head_sent + 1,
                None => self.head.len(),
            };
            out.extend_from_slice(&self.head[self.head_sent..end]);
            self.head_sent = end;
            let whole = end == self.head.len();
            return match self.rest {
                Rest::Then(then) if whole => (0, then),
                _ => (0, Then::More),
            };
        }
        match &mut self.rest {
            Rest::Stream(stream) => stream.piece(out),
            Rest::Playing(playing) => (0, playing.piece(out)),
            Rest::Then(then) => (0, *then),
            Rest::Flood(bytes) => {
                while out.len() < FULL {
                    out.extend_from_slice(bytes);
                }
                (0, Then::More)
            }
        }
    }
}

/// The head of an answer without end, and what repeats.
fn flood(fault: Fault) -> Option<(&'static [u8], &'static [u8])> {
    let (head, bytes): (&[u8], &[u8]) = match fault {
        Fault::EndlessHead => (b"HTTP/1.1 200 OK\r\n", b"x: a\r\n"),
        Fault::EndlessInterim => (
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
        ),
        Fault::EndlessExtension => (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1",
            b";a=b",
        ),
        Fault::EndlessChunks => (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\n\r\n",
        ),
        Fault::EndlessTrailers => (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
            b"a: b\r\n",
        ),
        _ => return None,
    };
    Some((head, bytes))
}

/// Log entry of an answer, as far as it is known before it is sent.
fn entry(request: &Request, number: u32, received: u64, config: &Config) -> Option<Entry> {
    config.log.is_kept().then(|| Entry {
        request: number,
        path: request.path.clone(),
        id: request.id.clone(),
        body: digest(&request.body),
        received_ns: received,
        ..Entry::default()
    })
}

fn digest(body: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.to_string().hash(&mut hasher);
    hasher.finish()
}

/// Number of the first token's text: 0, or another for each seed.
fn first_token(request: &Value, number: u32, config: &Config, fault: Option<Fault>) -> u32 {
    /// No two seeds have a text in common in answers of fewer tokens.
    const APART: u32 = 10_000;
    const SEEDS: u64 = 100_000;
    let is_sampled = request["temperature"].as_f64().unwrap_or(1.0) > 0.0;
    if !(config.samples && is_sampled) {
        return 0;
    }
    let seed = match fault {
        Some(Fault::IgnoreSeed) => u64::from(number),
        _ => request["seed"].as_u64().unwrap_or_default(),
    };
    (seed % SEEDS) as u32 * APART
}

/// Number of tokens reported, and the finish reason.
fn length(
    request: &Value,
    first: u32,
    config: &Config,
    fault: Option<Fault>,
) -> (u32, &'static str) {
    let asked = ["max_completion_tokens", "max_tokens"]
        .iter()
        .find_map(|name| request[name].as_u64())
        .map_or(u32::MAX, |asked| asked.min(u64::from(u32::MAX)) as u32);
    let tokens = config.tokens.min(asked);
    let to_the_end =
        request["ignore_eos"].as_bool() == Some(true) && fault != Some(Fault::IgnoreIgnoreEos);
    let eos = config.eos_after.filter(|_| !to_the_end);
    let stop =
        tokens_before_stop(request, first, tokens).filter(|_| fault != Some(Fault::IgnoreStop));
    match [eos, stop].into_iter().flatten().min() {
        Some(end) if end < tokens => (end, "stop"),
        _ if tokens == asked => (tokens, "length"),
        _ => (tokens, "stop"),
    }
}

/// Number of tokens before the one that completes a text to stop at, if one of the first
/// `tokens` does.
fn tokens_before_stop(request: &Value, first: u32, tokens: u32) -> Option<u32> {
    let stops: Vec<&str> = match &request["stop"] {
        Value::String(stop) => vec![stop],
        Value::Array(stops) => stops.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let longest = stops.iter().map(|stop| stop.len()).max()?;
    let mut text = String::new();
    (0..tokens).find(|token| {
        let _ = write!(text, " t{}", first.wrapping_add(*token));
        let is_complete = stops.iter().any(|stop| text.contains(stop));
        // What may be the beginning of one. All of it is ASCII.
        text.drain(..text.len().saturating_sub(longest));
        is_complete
    })
}

fn head(reply: &Reply, schedule: &Schedule, close: bool, config: &Config) -> Vec<u8> {
    let mut head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n".to_owned();
    if reply.gzip {
        head += "content-encoding: gzip\r\n";
    }
    match reply.framing {
        Framing::Chunked => head += "transfer-encoding: chunked\r\n",
        Framing::Close => {}
        Framing::Length => {
            let missing = match reply.fault {
                Some(Fault::WrongLength) => MISSING,
                _ => 0,
            };
            let length = Stream::length(reply, schedule, config) + missing;
            let _ = write!(head, "content-length: {length}\r\n");
        }
    }
    if reply.fault == Some(Fault::HugeHead) {
        let padding = "x".repeat(1000);
        for number in 0..80 {
            let _ = write!(head, "x-padding-{number:02}: {padding}\r\n");
        }
    }
    head += connection(close);
    head += "\r\n";
    head.into_bytes()
}

fn connection(close: bool) -> &'static str {
    if close { "connection: close\r\n" } else { "" }
}
