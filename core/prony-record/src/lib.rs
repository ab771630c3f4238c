//! Records of requests, and the rules of success.

mod account;
mod times;

pub use account::{CounterTold, SettingTold};

use prony_contract::{Error, ErrorKind, Event, EventKind};
use serde::{Deserialize, Serialize};

/// Phase of a request: part of the sample or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before the measurement; never in a number.
    Warmup,
    /// In the sample.
    Measure,
}

/// Class of a failure: the first rule of success that a request broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// No connection.
    Connect,
    /// Not finished within the request's limit.
    Timeout,
    /// HTTP status 400 to 499.
    #[serde(rename = "http_4xx")]
    Http4xx,
    /// HTTP status 500 to 599.
    #[serde(rename = "http_5xx")]
    Http5xx,
    /// The answer broke HTTP's or the engine's own rules.
    Protocol,
    /// The engine reported an error inside a stream that had begun well.
    EngineError,
    /// The stream stopped before its end.
    Truncated,
    /// A well-formed answer without a token.
    Empty,
    /// The engine ran out of memory.
    Oom,
    /// The engine's process was gone.
    Crashed,
    /// The plugin could not read the answer: it broke down or reached a limit of its sandbox.
    /// The engine may have done everything right.
    Plugin,
}

impl ErrorClass {
    /// As in YAML, JSON and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Http4xx => "http_4xx",
            Self::Http5xx => "http_5xx",
            Self::Protocol => "protocol",
            Self::EngineError => "engine_error",
            Self::Truncated => "truncated",
            Self::Empty => "empty",
            Self::Oom => "oom",
            Self::Crashed => "crashed",
            Self::Plugin => "plugin",
        }
    }
}

/// A request's failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Its class.
    pub class: ErrorClass,
    /// Its reason, in words for reports.
    pub message: String,
}

impl Failed {
    /// A failure.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
        }
    }
}

/// Times of a request, in monotonic nanoseconds: since the run's origin in a [`Record`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps {
    /// Time at which it was due.
    pub intended_ns: u64,
    /// Time at which sending began.
    pub sent_ns: u64,
    /// Time at which the request had been written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_ns: Option<u64>,
    /// Time at which the response's head was complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_ns: Option<u64>,
    /// Time at which the last byte had come, or the request was given up.
    pub end_ns: u64,
}

/// A request as its transport saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// Times.
    pub stamps: Stamps,
    /// HTTP status; `None` when there is no HTTP or no head came.
    pub status: Option<u16>,
    /// Arrival of each read, by the index that [`Event::read`] refers to.
    pub reads_ns: Vec<u64>,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// `true` if a kept connection was found closed and the request was sent once more.
    pub resent: bool,
    /// `true` if the connection could not be used for another request after the answer.
    pub closed: bool,
    /// Explanation of an HTTP status beside the body: the request line of a 404, the header
    /// `retry-after` of a 429 or a 503.
    pub status_detail: Option<String>,
    /// Failure of the transport, if any.
    pub failed: Option<Failed>,
}

/// Arrival of a text: its time, in nanoseconds since the run's origin, and the number of
/// tokens that the text stands for (0: unknown).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival(pub u64, pub u32);

/// Identity of a request in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestId {
    /// Point of the matrix; absent without a matrix.
    #[serde(rename = "cell", default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// Model id.
    pub model: String,
    /// Engine name.
    pub engine: String,
    /// Cycle, from 1.
    pub cycle: u32,
    /// In the sample or not.
    pub phase: Phase,
    /// Id of the stage: `warmup` or `measure` unless the pipeline says otherwise.
    pub stage: String,
    /// Request within the stage, from 0.
    pub index: u32,
    /// Index of the prompt.
    pub prompt: u32,
    /// Index of the image, if one was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<u32>,
}

impl RequestId {
    /// Cycle and number in the stage: which request it is, whatever the engine.
    pub fn cycle_and_index(&self) -> (u32, u32) {
        (self.cycle, self.index)
    }
}

/// A request as the journal keeps it. One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Identity of the request.
    #[serde(flatten)]
    pub id: RequestId,
    /// Times.
    #[serde(flatten)]
    pub stamps: Stamps,
    /// HTTP status, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Arrivals of text, in order.
    #[serde(with = "times::arrivals")]
    pub arrivals: Vec<Arrival>,
    /// Arrivals of chunks of the answer that brought no text, such as a role or a finish reason
    /// alone; empty where the plugin does not tell them.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "times::stamps")]
    pub textless_ns: Vec<u64>,
    /// Number of reads: fewer than arrivals means that reads coalesced.
    pub reads: u32,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// `true` if a kept connection was found closed and the request was sent once more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resent: bool,
    /// `true` if the connection could not be used for another request after the answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
    /// Generated tokens whose text was sent, by the engine's own count or, if it gives none,
    /// by arrivals that each name their tokens; absent if the count cannot be right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u32>,
    /// Generated tokens whose text was not sent, by the engine's own count: hidden reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden_tokens: Option<u32>,
    /// The engine's count of tokens, if it cannot be right; `notes` say why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub implausible_tokens: Option<u32>,
    /// Tokens of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u32>,
    /// Prompt tokens from a prefix cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u32>,
    /// Generated tokens that were reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u32>,
    /// Tokens of the answer by an independent count, reasoning excluded; absent without a
    /// tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_tokens: Option<u32>,
    /// The fewest tokens that the request's own text can have, as `cache::least_tokens`
    /// counts; only where a cold prefix cache is asked for, or where the engine counts fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_prompt_tokens: Option<u32>,
    /// The fewest tokens that the request's own text has by the model's tokenizer, without
    /// what a chat template adds; only where a cold prefix cache is asked for, and absent
    /// where they cannot be counted or the engine says that none was cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_prompt_tokens: Option<u32>,
    /// Tokens of the prompt as prony renders it with the model's chat template, by the
    /// model's tokenizer; absent where nothing is rendered or counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendered_tokens: Option<u32>,
    /// Time of the first text of the answer, if there was reasoning before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_answer_ns: Option<u64>,
    /// Time at which the answer was complete: its last text or its finish reason, whichever came
    /// last; absent if that was the end of the stream, or if the request failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_ns: Option<u64>,
    /// Bytes of reasoning text, which is not kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning_bytes: u64,
    /// Bytes of calls of tools, which are not kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tool_call_bytes: u64,
    /// Time at which each text was emitted, by the engine's own stamps, in nanoseconds since
    /// the run's origin and in the order of `arrivals`; empty if it gives none, or none that
    /// can be right.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "times::stamps")]
    pub emitted_ns: Vec<u64>,
    /// Time in the engine before work on the request began, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_queue_ns: Option<u64>,
    /// Time from there to the first token, by the engine's own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_prefill_ns: Option<u64>,
    /// Time from the first token to the last, by the engine's own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_decode_ns: Option<u64>,
    /// Reason why generation stopped, in the engine's word: `stop`, `length`, ….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// The model that the engine says it served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_model: Option<String>,
    /// The model that was asked for, if `served_model` is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_model: Option<String>,
    /// The version that the engine reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// The answer.
    pub text: String,
    /// Remarks on the response for readers of the report, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// `None` is a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
}

/// Facts that events tell of an answer beside those that a record keeps.
#[derive(Default)]
struct Decoded {
    /// `true` if the stream ended by its own rule.
    ended: bool,
    /// The failure that the engine reported.
    reported: Option<String>,
    counts: Counts,
    /// Bytes of the answer by each arrival.
    bytes_by: Vec<u64>,
}

impl Record {
    /// A request that was due and never sent.
    pub fn unsent(id: RequestId, at_ns: u64, failed: Failed) -> Self {
        let stamps = Stamps {
            intended_ns: at_ns,
            sent_ns: at_ns,
            end_ns: at_ns,
            ..Stamps::default()
        };
        let seen = Observation {
            stamps,
            failed: Some(failed),
            ..Observation::default()
        };
        Self::judge(id, seen, Ok(Vec::new()), 0)
    }

    /// Joins what the transport saw with what the plugin read out of it, and
    /// decides whether the request succeeded.
    ///
    /// A success needs all of: the transport held, status 200 (where there is
    /// one), bytes that make sense, no error reported inside the stream, an end
    /// by the stream's own rule, a finish reason, at least one token with text
    /// (unless none were asked for), and no more tokens than `max_tokens` allowed (and
    /// an end token). Rules in order; the first one broken names the class.
    pub fn judge(
        id: RequestId,
        seen: Observation,
        decoded: Result<Vec<Event>, Error>,
        max_tokens: u32,
    ) -> Self {
        let mut record = Self::seen(id, &seen);
        record.failed = seen.failed;
        let mut told = Decoded::default();
        let mut defect = None;
        match decoded {
            Ok(events) => {
                for event in events {
                    let read = seen.reads_ns.get(event.read as usize).copied();
                    record.take_in(event, read.unwrap_or(seen.stamps.end_ns), &mut told);
                }
            }
            Err(error) => defect = Some(error),
        }
        if record.output_tokens.is_none()
            && !record.arrivals.is_empty()
            && record.arrivals.iter().all(|arrival| arrival.1 > 0)
        {
            record.output_tokens = sum_of_tokens(&record.arrivals);
            if record.output_tokens.is_none() {
                record.notes.push(
                    "the engine's counts of its texts' tokens are too high to be right, so they are left out"
                        .to_owned(),
                );
            }
        }
        if record.failed.is_none() {
            let detail = seen.status_detail.as_deref();
            record.failed = record.failure(detail, told.ended, told.reported, defect, max_tokens);
        }
        if let Some(failed) = &mut record.failed {
            failed.message = limited(&failed.message);
        }
        record.check_count(told.counts.went_back);
        record.check_pieces(&told.bytes_by);
        record.check_clock();
        let last = record.arrivals.last().map(|last| last.0);
        record.answered_ns = record
            .answered_ns
            .max(last)
            .filter(|at| record.failed.is_none() && *at < record.stamps.end_ns);
        record
    }

    /// Observations of the transport, before anything of the answer was read.
    fn seen(id: RequestId, seen: &Observation) -> Self {
        Self {
            id,
            stamps: seen.stamps,
            status: seen.status,
            arrivals: Vec::new(),
            textless_ns: Vec::new(),
            reads: seen.reads_ns.len() as u32,
            body_bytes: seen.body_bytes,
            resent: seen.resent,
            closed: seen.closed,
            output_tokens: None,
            hidden_tokens: None,
            implausible_tokens: None,
            prompt_tokens: None,
            cached_tokens: None,
            reasoning_tokens: None,
            counted_tokens: None,
            least_prompt_tokens: None,
            own_prompt_tokens: None,
            rendered_tokens: None,
            first_answer_ns: None,
            answered_ns: None,
            reasoning_bytes: 0,
            tool_call_bytes: 0,
            emitted_ns: Vec::new(),
            own_queue_ns: None,
            own_prefill_ns: None,
            own_decode_ns: None,
            finish_reason: None,
            served_model: None,
            asked_model: None,
            engine_version: None,
            text: String::new(),
            notes: Vec::new(),
            failed: None,
        }
    }

    /// Takes in an event of the answer that was read at `at`.
    fn take_in(&mut self, event: Event, at: u64, decoded: &mut Decoded) {
        match event.kind {
            EventKind::Text if event.text.is_empty() && event.tokens == 0 => {
                self.textless_ns.push(at);
            }
            EventKind::Text | EventKind::Reasoning | EventKind::ToolCall => {
                self.take_text(event, at, decoded);
            }
            EventKind::OutputTokens => {
                self.output_tokens = Some(event.tokens);
                decoded.counts.see(event.tokens, &mut self.arrivals);
            }
            EventKind::PromptTokens => self.prompt_tokens = Some(event.tokens),
            EventKind::CachedTokens => self.cached_tokens = Some(event.tokens),
            EventKind::ReasoningTokens => self.reasoning_tokens = Some(event.tokens),
            EventKind::Finish => {
                self.finish_reason = Some(limited(event.text));
                self.answered_ns = Some(at);
            }
            EventKind::Failure => {
                let told = limited(event.text);
                decoded.reported.get_or_insert(told);
            }
            EventKind::ServedModel => self.served_model = Some(limited(event.text)),
            EventKind::EngineVersion => {
                self.engine_version = Some(limited(event.text));
            }
            EventKind::End => decoded.ended = true,
            EventKind::Note => {
                let note = limited(event.text);
                if self.notes.len() < MAX_NOTES && !self.notes.contains(&note) {
                    self.notes.push(note);
                }
            }
            EventKind::QueueTime => self.own_queue_ns = Some(event.ns),
            EventKind::PrefillTime => self.own_prefill_ns = Some(event.ns),
            EventKind::DecodeTime => self.own_decode_ns = Some(event.ns),
        }
    }

    /// Takes in a piece of text.
    fn take_text(&mut self, event: Event, at: u64, decoded: &mut Decoded) {
        self.arrivals.push(Arrival(at, event.tokens));
        if event.ns > 0 {
            self.emitted_ns.push(event.ns);
        }
        let bytes = event.text.len() as u64;
        let is_first = self.text.is_empty() && self.tool_call_bytes == 0;
        if event.kind != EventKind::Reasoning && is_first && self.reasoning_bytes > 0 {
            self.first_answer_ns = Some(at);
        }
        match event.kind {
            EventKind::Reasoning => self.reasoning_bytes += bytes,
            EventKind::ToolCall => self.tool_call_bytes += bytes,
            _ => self.text.push_str(&event.text),
        }
        decoded
            .bytes_by
            .push(self.text.len() as u64 + self.reasoning_bytes + self.tool_call_bytes);
    }

    /// Separates the tokens that were sent from those that were not, and withholds a count
    /// that cannot be right, before any number is made of it.
    fn check_count(&mut self, went_back: bool) {
        if self.cached_tokens > self.prompt_tokens && self.prompt_tokens.is_some() {
            self.cached_tokens = None;
            self.notes.push(
                "the engine counts more cached tokens than the prompt has, so they are left out"
                    .to_owned(),
            );
        }
        if self.reasoning_bytes == 0
            && let (Some(tokens), Some(hidden @ 1..)) = (self.output_tokens, self.reasoning_tokens)
        {
            self.hidden_tokens = Some(hidden.min(tokens));
            self.output_tokens = tokens.checked_sub(hidden);
        }
        let Some(tokens) = self.output_tokens.filter(|_| self.ok()) else {
            return;
        };
        // A token has at least a byte of text, except an end token; and no event less than
        // a token. A character of several tokens makes one event.
        let bytes = self.text.len() as u64 + self.reasoning_bytes + self.tool_call_bytes;
        let events = self.arrivals.len();
        let problem = if went_back {
            "the engine's counts of tokens contradict each other, so they are left out"
        } else if u64::from(tokens) > bytes + 1 {
            "the engine counts more tokens than the answer has bytes"
        } else if (tokens as usize) < events {
            "the engine counts fewer tokens than it sent pieces of text"
        } else {
            return;
        };
        self.implausible_tokens = Some(tokens);
        self.output_tokens = None;
        for arrival in &mut self.arrivals {
            arrival.1 = 0;
        }
        self.notes.push(problem.to_owned());
    }

    /// Withholds the tokens that texts name if more are said to have come by some of them than
    /// the answer had bytes by then, and one: a token has at least a byte. Else an engine could
    /// seem to be further than it is.
    fn check_pieces(&mut self, bytes_by: &[u64]) {
        if self.output_tokens.is_none() {
            return;
        }
        let mut tokens = 0;
        let is_too_many = |(arrival, bytes): (&Arrival, &u64)| {
            tokens += u64::from(arrival.1);
            tokens > bytes + 1
        };
        if self.arrivals.iter().zip(bytes_by).any(is_too_many) {
            for arrival in &mut self.arrivals {
                arrival.1 = 0;
            }
            self.notes.push(
                "the engine names more tokens of a text than it has bytes, so these counts are left out"
                    .to_owned(),
            );
        }
    }

    /// Withholds what the engine says of its own clock if it cannot be right, before any
    /// number is made of it.
    fn check_clock(&mut self) {
        let Stamps {
            sent_ns, end_ns, ..
        } = self.stamps;
        let mut pairs = self.emitted_ns.iter().zip(&self.arrivals);
        let problem = if self.emitted_ns.is_empty() {
            None
        } else if self.emitted_ns.len() < self.arrivals.len() {
            Some("the engine stamps some of its texts and others not, so its stamps are left out")
        } else if pairs.any(|(emitted, arrival)| *emitted < sent_ns || *emitted > arrival.0) {
            Some(
                "the engine's stamps are of another clock, since they are not between sending and arrival, so they are left out",
            )
        } else if !self.emitted_ns.is_sorted() {
            Some("the engine's stamps go back in time, so they are left out")
        } else if let [first, .., last] = self.emitted_ns.as_slice()
            && first == last
        {
            Some(
                "the engine stamps all texts of an answer with the same time, so its stamps are left out",
            )
        } else {
            None
        };
        if let Some(problem) = problem {
            self.emitted_ns.clear();
            self.notes.push(problem.to_owned());
        }
        let times = [
            &mut self.own_queue_ns,
            &mut self.own_prefill_ns,
            &mut self.own_decode_ns,
        ];
        let sum = times.iter().filter_map(|time| **time);
        let sum = sum.fold(0, u64::saturating_add);
        // The engine may round each of them to a millisecond.
        if sum > end_ns.saturating_sub(sent_ns).saturating_add(ROUNDING_NS) {
            for time in times {
                *time = None;
            }
            let note =
                "the engine's own times are longer than the request took, so they are left out";
            self.notes.push(note.to_owned());
        }
    }

    /// The first rule of success that is broken; `None` if all hold.
    fn failure(
        &self,
        detail: Option<&str>,
        ended: bool,
        reported: Option<String>,
        defect: Option<Error>,
        max_tokens: u32,
    ) -> Option<Failed> {
        use ErrorClass as Class;
        let failed = |class, message: String| Some(Failed { class, message });
        let words = reported.as_deref().unwrap_or_default();
        match self.status {
            Some(status @ 400..600) => {
                let class = match status {
                    400..500 => Class::Http4xx,
                    _ if is_out_of_memory(words) => Class::Oom,
                    _ => Class::Http5xx,
                };
                return failed(class, refusal(status, detail, words));
            }
            Some(200) | None => {}
            Some(status) => {
                return failed(
                    Class::Protocol,
                    format!("HTTP status {status}; 200 was expected"),
                );
            }
        }
        if let Some(message) = reported {
            return failed(
                if is_out_of_memory(&message) {
                    Class::Oom
                } else {
                    Class::EngineError
                },
                message,
            );
        }
        if let Some(error) = defect {
            let class = match error.kind {
                ErrorKind::Engine if is_out_of_memory(&error.message) => Class::Oom,
                ErrorKind::Engine | ErrorKind::Unsupported => Class::EngineError,
                _ => Class::Protocol,
            };
            return failed(class, error.message);
        }
        if self.arrivals.is_empty() && self.finish_reason.is_none() {
            return failed(Class::Empty, "the answer has no token".to_owned());
        }
        if !ended {
            let mut message = "the stream stopped before its end".to_owned();
            for (note, link) in self
                .notes
                .iter()
                .zip([": "].into_iter().chain(std::iter::repeat("; ")))
            {
                message = message + link + note;
            }
            return failed(Class::Truncated, message);
        }
        if self.finish_reason.is_none() {
            return failed(
                Class::Protocol,
                "the stream ended without a finish reason".to_owned(),
            );
        }
        if max_tokens > 0 && self.arrivals.is_empty() {
            let words = match self.reasoning_tokens {
                Some(hidden @ 1..) => format!(
                    "the answer has no text: {hidden} tokens of reasoning, which was not sent, used up the limit"
                ),
                _ => "the answer has no text".to_owned(),
            };
            return failed(Class::Empty, words);
        }
        if let Some(tokens) = self
            .output_tokens
            .filter(|tokens| *tokens > max_tokens.saturating_add(1))
        {
            return failed(
                Class::Protocol,
                format!(
                    "the engine counts {tokens} generated tokens, but {max_tokens} were the limit"
                ),
            );
        }
        None
    }

    /// Compares the model that the engine says it served with the one that was `asked` for.
    /// Engines may as well call it by its id in the pipeline or by its `path`.
    pub fn note_served_model(&mut self, asked: &str, path: Option<&str>) {
        let names = [Some(asked), Some(&self.id.model), path];
        let is_it = |served: &str| {
            let mut names = names.into_iter().flatten();
            names.any(|name| plain_model(name) == plain_model(served))
        };
        let is_other = self.served_model.as_deref().is_some_and(|it| !is_it(it));
        self.asked_model = is_other.then(|| asked.to_owned());
    }

    /// Notes that the answer is shorter than `max_tokens`, for requests that ask for exactly so
    /// many.
    pub fn note_short_answer(&mut self, max_tokens: u32) {
        const AT_LIMIT: [&str; 4] = ["length", "max_tokens", "max_length", "max_new_tokens"];
        let reason = self.finish_reason.as_deref().unwrap_or_default();
        let is_cut = AT_LIMIT.iter().any(|it| it.eq_ignore_ascii_case(reason));
        let is_full = self.tokens().is_some_and(|tokens| tokens >= max_tokens);
        if self.ok() && !is_cut && !is_full {
            self.notes.push(
                "the answer ended before `max_tokens`, although `ignore_eos` asks the engine to go on"
                    .to_owned(),
            );
        }
    }

    /// Returns `true` if the count of tokens can be right. Records written before
    /// `implausible_tokens` existed have unchecked counts.
    pub fn count_is_plausible(&self) -> bool {
        let bytes = self.text.len() as u64 + self.reasoning_bytes + self.tool_call_bytes;
        self.implausible_tokens.is_none()
            && self
                .output_tokens
                .is_none_or(|tokens| u64::from(tokens) <= bytes + 1)
    }

    /// Time to the first token by the engine's own clock, in nanoseconds: its queue and
    /// prefill, or else from sending to its first stamp.
    pub fn own_time_to_first_token_ns(&self) -> Option<u64> {
        let told = self.own_prefill_ns;
        let told = told.map(|prefill| prefill.saturating_add(self.own_queue_ns.unwrap_or(0)));
        let first = self.emitted_ns.first();
        told.or_else(|| first.map(|first| first.saturating_sub(self.stamps.sent_ns)))
    }

    /// Time for each token after the first by the engine's own clock, in nanoseconds: its
    /// decode time, or else from its stamps, if each text names its tokens. Absent for
    /// fewer than two tokens.
    pub fn own_time_per_output_token_ns(&self) -> Option<f64> {
        let (time, tokens) = match self.own_decode_ns {
            Some(decode) => {
                // What was not sent was decoded too.
                let hidden = self.hidden_tokens.unwrap_or(0);
                let tokens = self.output_tokens?.saturating_add(hidden);
                (decode, tokens.checked_sub(1)?)
            }
            None if self.arrivals.iter().all(|arrival| arrival.1 > 0) => {
                let (first, last) = (self.emitted_ns.first()?, self.emitted_ns.last()?);
                let after = sum_of_tokens(self.arrivals.get(1..)?)?;
                (last.saturating_sub(*first), after)
            }
            None => return None,
        };
        (tokens > 0).then(|| time as f64 / f64::from(tokens))
    }

    /// Times from each of the engine's stamps to the arrival of its text, in nanoseconds.
    pub fn deliveries_ns(&self) -> impl Iterator<Item = u64> {
        let pairs = self.emitted_ns.iter().zip(&self.arrivals);
        pairs.map(|(emitted, arrival)| arrival.0.saturating_sub(*emitted))
    }

    /// Tokens of the answer: the engine's count, or else the independent one, which knows
    /// nothing of reasoning.
    pub fn tokens(&self) -> Option<u32> {
        let counted = self.counted_tokens.filter(|_| self.reasoning_bytes == 0);
        self.output_tokens.or(counted)
    }

    /// Returns `true` if it succeeded.
    pub fn ok(&self) -> bool {
        self.failed.is_none()
    }

    /// Time from sending (open loop: from the intended time) to the end of the answer, in
    /// nanoseconds. The rest of the stream, such as token counts, is not part of it.
    pub fn latency_ns(&self) -> u64 {
        let end = self.answered_ns.unwrap_or(self.stamps.end_ns);
        end.saturating_sub(self.stamps.intended_ns)
    }

    /// Time from the end of the answer to the end of the stream, in nanoseconds.
    pub fn tail_ns(&self) -> u64 {
        let answered = self.answered_ns.unwrap_or(self.stamps.end_ns);
        self.stamps.end_ns.saturating_sub(answered)
    }

    /// Time to the first token of the answer, in nanoseconds, if there was reasoning before it.
    pub fn time_to_first_answer_token_ns(&self) -> Option<u64> {
        self.first_answer_ns
            .map(|at| at.saturating_sub(self.stamps.intended_ns))
    }

    /// Time to the first token, reasoning included, in nanoseconds.
    pub fn time_to_first_token_ns(&self) -> Option<u64> {
        self.arrivals
            .first()
            .map(|first| first.0.saturating_sub(self.stamps.intended_ns))
    }
}

/// Tokens of all arrivals; `None` if that is more than an engine can have generated.
fn sum_of_tokens(arrivals: &[Arrival]) -> Option<u32> {
    let mut tokens = arrivals.iter().map(|arrival| arrival.1);
    tokens.try_fold(0, u32::checked_add)
}

/// Maximum rounding error of the sum of an engine's own times, in nanoseconds: three times
/// a millisecond.
const ROUNDING_NS: u64 = 3_000_000;

/// Counts of tokens that a stream carries along with its texts.
#[derive(Default)]
struct Counts {
    /// The last count.
    tokens: u32,
    /// Arrivals that it covers.
    arrivals: usize,
    /// A count was below the one before.
    went_back: bool,
}

impl Counts {
    /// Takes a count of all tokens so far. Where a single text has come since the last one,
    /// the difference is the text's.
    fn see(&mut self, tokens: u32, arrivals: &mut [Arrival]) {
        if let [Arrival(_, of_text @ 0)] = &mut arrivals[self.arrivals..] {
            *of_text = tokens.saturating_sub(self.tokens);
        }
        self.went_back |= tokens < self.tokens;
        (self.tokens, self.arrivals) = (tokens, arrivals.len());
    }
}

/// The name of a model without its folder or organisation, and without `.gguf`.
pub fn plain_model(name: &str) -> &str {
    let name = name.trim_end_matches(['/', '\\']);
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    name.strip_suffix(".gguf").unwrap_or(name)
}

/// Bytes of a text by an engine or a plugin that is not an answer, at most: an error, a note,
/// a name. The rest is cut where it enters prony.
const MAX_WORDS: usize = 4 << 10;

/// Notes of a plugin on a response, at most.
const MAX_NOTES: usize = 20;

/// A text of at most [`MAX_WORDS`] bytes: the beginning of a longer one, and `…`.
pub fn limited(text: impl Into<String>) -> String {
    beginning(text, MAX_WORDS)
}

/// The beginning of a text that is longer than `bytes`, and `…`; a shorter one as it is.
pub fn beginning(text: impl Into<String>, bytes: usize) -> String {
    let mut text = text.into();
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
    }
    text
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A refusal in words: the HTTP status, [`Observation::status_detail`], and the server's own
/// words, which may be empty.
pub fn refusal(status: u16, detail: Option<&str>, words: &str) -> String {
    let mut message = format!("HTTP {status}");
    if let Some(detail) = detail {
        message = message + " (" + detail + ")";
    }
    if !words.is_empty() {
        message = message + ": " + words;
    }
    message
}

/// Returns `true` if these words of an engine say that memory ran out.
pub fn is_out_of_memory(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("out of memory")
        || message.contains("memoryerror")
        || message.contains("bad_alloc")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> RequestId {
        RequestId {
            point: None,
            model: "m".into(),
            engine: "e".into(),
            cycle: 1,
            phase: Phase::Measure,
            stage: "measure".into(),
            index: 0,
            prompt: 0,
            image: None,
        }
    }

    #[test]
    fn an_answer_that_was_to_be_full_and_is_not_has_a_note() {
        let notes = |reason: &str, max_tokens| {
            let mut events = good();
            events[2] = event(EventKind::Finish, 0, reason);
            let mut record = Record::judge(id(), Observation::default(), Ok(events), max_tokens);
            record.note_short_answer(max_tokens);
            record.notes.len()
        };
        assert_eq!(notes("stop", 4), 1);
        // Some engines call it so even there.
        assert_eq!(notes("stop", 3), 0);
        assert_eq!(notes("length", 4), 0);
    }

    #[test]
    fn a_model_by_another_name_is_no_other_model() {
        let mut record = Record::unsent(id(), 0, Failed::new(ErrorClass::Timeout, ""));
        let mut asked_model = |served: Option<&str>| {
            record.served_model = served.map(str::to_owned);
            record.note_served_model("org/asked", Some("/models/file-q4.gguf"));
            record.asked_model.clone()
        };
        for served in [
            "org/asked",
            "asked",
            "other-org/asked",
            "asked.gguf",
            "/cache/asked/",
            "m",
            "file-q4",
            "C:\\models\\file-q4.gguf",
        ] {
            assert_eq!(asked_model(Some(served)), None, "{served}");
        }
        assert_eq!(asked_model(None), None);
        for served in ["asked-2", "Asked", "file-q8.gguf", "models"] {
            assert_eq!(asked_model(Some(served)).as_deref(), Some("org/asked"));
        }
    }

    fn event(kind: EventKind, tokens: u32, text: &str) -> Event {
        Event {
            read: 0,
            kind,
            tokens,
            ns: 0,
            text: text.into(),
        }
    }

    fn good() -> Vec<Event> {
        vec![
            event(EventKind::Text, 0, "Paris"),
            event(EventKind::Text, 0, "."),
            event(EventKind::Finish, 0, "stop"),
            event(EventKind::OutputTokens, 3, ""),
            event(EventKind::End, 0, ""),
        ]
    }

    fn judge(status: Option<u16>, decoded: Result<Vec<Event>, Error>) -> Option<ErrorClass> {
        let seen = Observation {
            status,
            reads_ns: vec![7],
            ..Observation::default()
        };
        Record::judge(id(), seen, decoded, 100)
            .failed
            .map(|failed| failed.class)
    }

    fn without(kind: EventKind) -> Vec<Event> {
        good()
            .into_iter()
            .filter(|event| event.kind != kind)
            .collect()
    }

    #[test]
    fn a_success_needs_every_rule() {
        let with = |event| Ok(good().into_iter().chain([event]).collect());
        assert_eq!(judge(Some(200), Ok(good())), None);
        assert_eq!(judge(None, Ok(good())), None);
        assert_eq!(judge(Some(404), Ok(good())), Some(ErrorClass::Http4xx));
        assert_eq!(judge(Some(503), Ok(good())), Some(ErrorClass::Http5xx));
        assert_eq!(judge(Some(302), Ok(good())), Some(ErrorClass::Protocol));
        assert_eq!(
            judge(
                Some(200),
                with(event(EventKind::Failure, 0, "kv cache full"))
            ),
            Some(ErrorClass::EngineError)
        );
        assert_eq!(
            judge(
                Some(200),
                with(event(EventKind::Failure, 0, "CUDA out of memory"))
            ),
            Some(ErrorClass::Oom)
        );
        assert_eq!(
            judge(Some(200), Err(Error::malformed("?"))),
            Some(ErrorClass::Protocol)
        );
        assert_eq!(judge(Some(200), Ok(vec![])), Some(ErrorClass::Empty));
        assert_eq!(
            judge(Some(200), Ok(without(EventKind::End))),
            Some(ErrorClass::Truncated)
        );
        assert_eq!(
            judge(Some(200), Ok(without(EventKind::Finish))),
            Some(ErrorClass::Protocol)
        );
        assert_eq!(
            judge(Some(200), Ok(without(EventKind::Text))),
            Some(ErrorClass::Empty)
        );
        assert_eq!(
            judge(Some(200), with(event(EventKind::OutputTokens, 102, ""))),
            Some(ErrorClass::Protocol)
        );
        assert_eq!(
            judge(Some(200), with(event(EventKind::OutputTokens, 0, ""))),
            None,
            "a count of nothing beside text is no count"
        );
    }

    fn judged(events: Vec<Event>) -> Record {
        Record::judge(id(), Observation::default(), Ok(events), 1000)
    }

    #[test]
    fn a_count_that_cannot_be_right_is_withheld_before_it_is_used() {
        for (tokens, believed) in [(0, false), (1, false), (2, true), (7, true), (8, false)] {
            let mut events = good();
            events.retain(|event| event.kind != EventKind::OutputTokens);
            events.push(event(EventKind::OutputTokens, tokens, ""));
            let record = judged(events);
            assert!(record.ok());
            let count = (record.output_tokens, record.implausible_tokens);
            let wanted = if believed {
                (Some(tokens), None)
            } else {
                (None, Some(tokens))
            };
            assert_eq!(count, wanted, "{tokens} tokens, 2 events, 6 bytes");
            assert_eq!(record.notes.is_empty(), believed);
        }
    }

    #[test]
    fn tokens_that_were_not_sent_are_apart() {
        let mut events = good();
        events.push(event(EventKind::OutputTokens, 203, ""));
        events.push(event(EventKind::ReasoningTokens, 200, ""));
        let hidden = judged(events.clone());
        assert_eq!(
            (hidden.output_tokens, hidden.hidden_tokens),
            (Some(3), Some(200))
        );
        // Reasoning that was sent is no secret.
        events.insert(0, event(EventKind::Reasoning, 0, &"hm ".repeat(100)));
        let shown = judged(events);
        assert_eq!(
            (shown.output_tokens, shown.hidden_tokens),
            (Some(203), None)
        );
        let used_up = judged(vec![
            event(EventKind::Finish, 0, "length"),
            event(EventKind::OutputTokens, 64, ""),
            event(EventKind::ReasoningTokens, 64, ""),
            event(EventKind::End, 0, ""),
        ]);
        let failed = used_up.failed.expect("a failure");
        assert_eq!(failed.class, ErrorClass::Empty);
        assert!(failed.message.contains("64 tokens of reasoning"));
    }

    #[test]
    fn a_count_behind_each_text_says_what_the_text_stands_for() {
        let of_arrivals = |events: Vec<Event>| -> Vec<u32> {
            judged(events).arrivals.iter().map(|it| it.1).collect()
        };
        let (text, count) = (
            |text: &str| event(EventKind::Text, 0, text),
            |tokens| event(EventKind::OutputTokens, tokens, ""),
        );
        let along = vec![text("four of"), count(4), text(" them"), count(5), count(6)];
        assert_eq!(of_arrivals(along), [4, 1]);
        let at_end = vec![text("four of"), text(" them"), count(6)];
        assert_eq!(of_arrivals(at_end), [0, 0]);
        assert_eq!(of_arrivals(vec![text("all of it"), count(6)]), [6]);
    }

    #[test]
    fn counts_that_contradict_each_other_are_withheld() {
        let text = |text: &str| event(EventKind::Text, 0, text);
        let count = |tokens| event(EventKind::OutputTokens, tokens, "");
        let with = |counts: [u32; 3]| {
            let [first, second, last] = counts.map(count);
            let ends = [
                event(EventKind::Finish, 0, "length"),
                event(EventKind::End, 0, ""),
            ];
            let said = vec![text("one"), first, text(" two"), second, last];
            judged(said.into_iter().chain(ends).collect())
        };
        let good = with([1, 2, 2]);
        assert_eq!(good.output_tokens, Some(2), "{:?}", good.failed);
        for counts in [[u32::MAX, 2, 2], [1, 3, 2], [2, 1, 2]] {
            let record = with(counts);
            assert!(record.ok(), "{:?}", record.failed);
            assert_eq!(record.output_tokens, None, "{counts:?}");
            assert!(!record.count_is_plausible(), "{counts:?}");
            assert!(record.arrivals.iter().all(|it| it.1 == 0), "{counts:?}");
            assert!(record.notes[0].contains("contradict"), "{:?}", record.notes);
        }
    }

    #[test]
    fn words_are_cut_where_they_enter() {
        let long = "é".repeat(10 << 20);
        for kind in [
            EventKind::Failure,
            EventKind::Note,
            EventKind::ServedModel,
            EventKind::EngineVersion,
            EventKind::Finish,
        ] {
            let mut events = good();
            events.insert(1, event(kind, 0, &long));
            let bytes = serde_json::to_vec(&judged(events)).expect("JSON").len();
            assert!(bytes < 2 * MAX_WORDS, "{kind:?}: {bytes}");
        }
        let notes = (0..1000).map(|number| event(EventKind::Note, 0, &number.to_string()));
        let record = judged(notes.chain(good()).collect());
        assert_eq!(record.notes.len(), MAX_NOTES);
        assert!(limited(&*long).ends_with("é…") && limited(&*long).len() <= MAX_WORDS + 3);
        assert_eq!(limited("short"), "short");
    }

    #[test]
    fn a_stream_that_stopped_says_what_is_known_of_it() {
        let mut events = good();
        events.retain(|event| event.kind != EventKind::End);
        events.push(event(EventKind::Note, 0, "the last line was `gone`"));
        events.push(event(EventKind::Note, 0, "the last line was `gone`"));
        let record = judged(events);
        let failed = record.failed.expect("a failure");
        assert_eq!(
            failed.message,
            "the stream stopped before its end: the last line was `gone`"
        );
    }

    #[test]
    fn a_request_for_no_tokens_is_answered_by_none() {
        let nothing = vec![
            event(EventKind::Finish, 0, "length"),
            event(EventKind::OutputTokens, 0, ""),
            event(EventKind::End, 0, ""),
        ];
        let judge = |max_tokens| {
            let seen = Observation::default();
            Record::judge(id(), seen, Ok(nothing.clone()), max_tokens)
        };
        assert!(judge(0).ok());
        assert_eq!(judge(1).failed.map(|it| it.class), Some(ErrorClass::Empty));
    }

    #[test]
    fn a_chunk_without_text_is_no_arrival_of_text() {
        let at = |read, tokens, text: &str| Event {
            read,
            ..event(EventKind::Text, tokens, text)
        };
        let seen = Observation {
            reads_ns: vec![10, 20, 30],
            ..Observation::default()
        };
        // A role, a text, a token without text, and a finish reason alone.
        let events = vec![at(0, 0, ""), at(1, 1, "a"), at(1, 1, ""), at(2, 0, "")];
        let record = Record::judge(id(), seen, Ok(events), 100);
        assert_eq!(record.arrivals, [Arrival(20, 1), Arrival(20, 1)]);
        assert_eq!(record.textless_ns, [10, 30]);
    }

    #[test]
    fn the_answer_begins_after_the_reasoning() {
        let at = |read, kind| Event {
            read,
            ..event(kind, 0, "x")
        };
        let seen = Observation {
            reads_ns: vec![10, 20, 30],
            ..Observation::default()
        };
        let thought = vec![
            at(0, EventKind::Reasoning),
            at(1, EventKind::Text),
            at(2, EventKind::Text),
        ];
        let record = Record::judge(id(), seen.clone(), Ok(thought), 100);
        assert_eq!(record.time_to_first_token_ns(), Some(10));
        assert_eq!(record.time_to_first_answer_token_ns(), Some(20));
        let record = Record::judge(id(), seen, Ok(vec![at(1, EventKind::Text)]), 100);
        assert_eq!(record.time_to_first_answer_token_ns(), None);
    }

    #[test]
    fn tokens_come_from_usage_and_never_from_chunks() {
        let count =
            |decoded| Record::judge(id(), Observation::default(), Ok(decoded), 100).output_tokens;
        assert_eq!(count(good()), Some(3), "two chunks, three tokens");
        assert_eq!(
            count(without(EventKind::OutputTokens)),
            None,
            "chunks of unknown size are not tokens"
        );
        assert_eq!(
            count(vec![
                event(EventKind::Text, 1, "a"),
                event(EventKind::Text, 2, "b")
            ]),
            Some(3)
        );
    }

    /// Sent at 100, read at 200, 300 and 400, ended at 500; texts with these stamps.
    fn stamped(stamps: [u64; 3], times: &[(EventKind, u64)]) -> Record {
        let seen = Observation {
            stamps: Stamps {
                intended_ns: 90,
                sent_ns: 100,
                end_ns: 500,
                ..Stamps::default()
            },
            reads_ns: vec![200, 300, 400],
            ..Observation::default()
        };
        let texts = (0..).zip(stamps).map(|(read, ns)| Event {
            read,
            ns,
            ..event(EventKind::Text, 1, "x")
        });
        let times = times.iter().map(|(kind, ns)| Event {
            read: 2,
            ns: *ns,
            ..event(*kind, 0, "")
        });
        let end = [
            event(EventKind::Finish, 0, "stop"),
            event(EventKind::End, 0, ""),
        ];
        let events = texts.chain(times).chain(end).collect();
        Record::judge(id(), seen, Ok(events), 10)
    }

    #[test]
    fn both_clocks_are_kept() {
        let record = stamped([190, 280, 395], &[]);
        assert_eq!(record.emitted_ns, [190, 280, 395]);
        assert_eq!(record.own_time_to_first_token_ns(), Some(90));
        assert_eq!(record.own_time_per_output_token_ns(), Some(102.5));
        assert_eq!(record.deliveries_ns().collect::<Vec<_>>(), [10, 20, 5]);
        assert!(record.notes.is_empty());
        let silent = stamped([0, 0, 0], &[]);
        assert_eq!(silent.own_time_to_first_token_ns(), None);
        assert_eq!(silent.own_time_per_output_token_ns(), None);
        assert!(silent.notes.is_empty());
    }

    #[test]
    fn what_the_engine_says_of_its_times_comes_before_its_stamps() {
        use EventKind::{DecodeTime, PrefillTime, QueueTime};
        let times = [
            (QueueTime, 20),
            (PrefillTime, 50),
            (DecodeTime, 7),
            (DecodeTime, 200),
        ];
        let record = stamped([190, 280, 395], &times);
        assert_eq!(record.own_time_to_first_token_ns(), Some(70));
        assert_eq!(record.own_time_per_output_token_ns(), Some(100.0));
        let hidden = Record {
            hidden_tokens: Some(2),
            ..record
        };
        assert_eq!(hidden.own_time_per_output_token_ns(), Some(50.0));
    }

    #[test]
    fn stamps_of_another_clock_are_left_out() {
        for (stamps, word) in [
            ([99, 280, 395], "another clock"),
            ([190, 301, 395], "another clock"),
            ([1, 2, 3], "another clock"),
            ([190, 0, 395], "others not"),
            ([190, 180, 395], "back in time"),
            ([150, 150, 150], "the same time"),
        ] {
            let record = stamped(stamps, &[]);
            assert!(record.ok() && record.emitted_ns.is_empty(), "{stamps:?}");
            assert_eq!(record.notes.len(), 1);
            assert!(record.notes[0].contains(word), "{:?}", record.notes);
        }
    }

    #[test]
    fn more_cached_tokens_than_the_prompt_has_are_left_out() {
        use EventKind::{CachedTokens, PromptTokens};
        let told = |prompt: Option<u32>, cached| {
            let prompt = prompt.map(|tokens| event(PromptTokens, tokens, ""));
            let counts = prompt.into_iter().chain([event(CachedTokens, cached, "")]);
            let events = counts.chain(good()).collect();
            Record::judge(id(), Observation::default(), Ok(events), 100)
        };
        assert_eq!(told(Some(9), 9).cached_tokens, Some(9));
        assert_eq!(told(None, 9).cached_tokens, Some(9));
        let record = told(Some(8), 9);
        assert_eq!(
            (record.cached_tokens, record.prompt_tokens),
            (None, Some(8))
        );
        assert!(record.notes[0].contains("more cached tokens"));
    }

    #[test]
    fn a_text_with_more_tokens_than_bytes_shows_no_progress() {
        let told = |first: u32| {
            let mut events = vec![event(EventKind::Text, first, "abc")];
            events.extend((0..8).map(|_| event(EventKind::Text, 1, " word")));
            events.push(event(EventKind::Finish, 0, "stop"));
            events.push(event(EventKind::OutputTokens, 12, ""));
            events.push(event(EventKind::End, 0, ""));
            let record = judged(events);
            (
                record.arrivals[0].1,
                record.output_tokens,
                record.notes.len(),
            )
        };
        assert_eq!(told(3), (3, Some(12), 0));
        assert_eq!(told(4), (4, Some(12), 0));
        assert_eq!(told(8), (0, Some(12), 1));
    }

    #[test]
    fn a_sum_of_tokens_that_is_too_large_is_no_count() {
        let texts = [u32::MAX, 3, 1].map(|tokens| event(EventKind::Text, tokens, "x"));
        let end = [
            event(EventKind::Finish, 0, "stop"),
            event(EventKind::End, 0, ""),
        ];
        let events = texts.into_iter().chain(end).collect();
        let record = Record::judge(id(), Observation::default(), Ok(events), 100);
        assert_eq!((record.output_tokens, record.ok()), (None, true));
        assert!(record.notes[0].contains("too high"), "{:?}", record.notes);
        assert_eq!(record.own_time_per_output_token_ns(), None);
    }

    #[test]
    fn times_longer_than_the_request_are_left_out() {
        let times = |ns| [(EventKind::PrefillTime, ns), (EventKind::QueueTime, 1)];
        let record = stamped([0, 0, 0], &times(399 + ROUNDING_NS));
        assert_eq!(record.own_prefill_ns, Some(399 + ROUNDING_NS));
        let record = stamped([0, 0, 0], &times(400 + ROUNDING_NS));
        assert_eq!((record.own_prefill_ns, record.own_queue_ns), (None, None));
        assert!(record.notes[0].contains("longer than the request"));
        assert_eq!(stamped([0, 0, 0], &times(u64::MAX)).own_prefill_ns, None);
    }

    #[test]
    fn what_the_transport_saw_comes_first() {
        let failed = Some(Failed::new(ErrorClass::Timeout, "after 5m"));
        let record = Record::judge(
            id(),
            Observation {
                failed: failed.clone(),
                ..Observation::default()
            },
            Ok(good()),
            100,
        );
        assert_eq!(record.failed, failed);
    }
}
