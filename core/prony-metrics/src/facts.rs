//! Requests as numbers: the part of a record that stays in memory.
//!
//! A record has a stamp for each text and the text itself: kilobytes. Everything that is said of
//! many requests together needs tens of bytes of it. What needs the rest is computed when a
//! record is at hand ([`Requests::add`], [`Overlap`](crate::credit::Overlap)), or reads the
//! records again ([`Durations`](crate::durations::Durations)).

use crate::durations::{Durations, Sorted};
use prony_record::Record;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

/// Numbers of tokens whose times [`Facts::to_tokens_ns`] holds.
pub const TOKENS: [u32; 4] = [1, 8, 32, 128];

/// Numbers of one request. Times are in nanoseconds since the run's origin; fields are those
/// of [`Record`] where they have the same name.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "there are millions, and each is a fact of its own"
)]
pub struct Facts {
    /// Cycle, from 1.
    pub cycle: u32,
    /// Request within the stage, from 0.
    pub index: u32,
    /// Index of the prompt.
    pub prompt: u32,
    /// Index of the image.
    pub image: Option<u32>,
    /// Position of the record in its journal, for reading it again.
    pub position: u64,
    /// Time at which it was due.
    pub intended_ns: u64,
    /// Time at which sending began.
    pub sent_ns: u64,
    /// Time at which the answer was complete.
    pub answered_ns: u64,
    /// Time at which the last byte had come.
    pub end_ns: u64,
    /// Time of the first text behind the reasoning.
    pub first_answer_ns: Option<u64>,
    /// Number of texts.
    pub texts: u32,
    /// Time of the first text; 0 without.
    pub first_ns: u64,
    /// Time of the second text; 0 without.
    pub second_ns: u64,
    /// Time of the last text; 0 without.
    pub last_ns: u64,
    /// Tokens that the first text names; 0: none, or no text.
    pub first_tokens: u32,
    /// The fewest tokens of all texts: those that they name, and one of each that names none.
    pub least_tokens: u64,
    /// Times of the first and of the last chunk, with text or without; 0 without any.
    pub chunks_ns: (u64, u64),
    /// Time of the text that completes the first 1, 8, 32 and 128 tokens; 0 where texts do not
    /// tell, or there are fewer.
    pub to_tokens_ns: [u64; TOKENS.len()],
    /// Generated tokens whose text was sent.
    pub output_tokens: Option<u32>,
    /// Generated tokens whose text was not sent.
    pub hidden_tokens: Option<u32>,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u32>,
    /// Prompt tokens from a prefix cache.
    pub cached_tokens: Option<u32>,
    /// Generated tokens that were reasoning.
    pub reasoning_tokens: Option<u32>,
    /// Tokens of the answer by an independent count.
    pub counted_tokens: Option<u32>,
    /// Counts that prony made of the prompt; `None` if it made none.
    pub own_counts: Option<Box<PromptCounts>>,
    /// The engine's own times; `None` if it tells none.
    pub own_times: Option<Box<OwnTimes>>,
    /// `true` for a success.
    pub is_good: bool,
    /// `true` if the request was written to a connection.
    pub is_written: bool,
    /// `true` if an HTTP status came.
    pub has_status: bool,
    /// `true` if every text names its tokens.
    pub is_complete: bool,
    /// `true` if the answer was cut at its limit, so that it has no end token.
    pub is_cut: bool,
    /// `true` unless the answer has more tokens than bytes.
    pub is_plausible: bool,
    /// `true` if the engine's count was withheld.
    pub is_withheld: bool,
    /// `true` if the answer has reasoning.
    pub has_reasoning: bool,
    /// `true` if its prompt had been answered before, since the engine was loaded.
    pub is_repeated: bool,
}

/// Counts of a prompt that are not the engine's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PromptCounts {
    /// As [`Record::least_prompt_tokens`].
    pub least: Option<u32>,
    /// As [`Record::own_prompt_tokens`].
    pub own: Option<u32>,
    /// As [`Record::rendered_tokens`].
    pub rendered: Option<u32>,
}

/// Times of a request by the engine's own clock, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct OwnTimes {
    /// Before work on the request began.
    pub queue: Option<u64>,
    /// From there to the first token.
    pub prefill: Option<u64>,
    /// To the first token.
    pub first_token: Option<u64>,
    /// For each token after the first.
    pub per_token: Option<f64>,
}

impl Facts {
    /// Of the record at a position in its journal.
    pub fn new(record: &Record, position: u64) -> Self {
        let Record {
            id,
            stamps,
            arrivals,
            ..
        } = record;
        let first = arrivals.first();
        let at = |index: usize| arrivals.get(index).map_or(0, |it| it.0);
        let is_complete = arrivals.iter().all(|it| it.1 > 0);
        let own_counts = PromptCounts {
            least: record.least_prompt_tokens,
            own: record.own_prompt_tokens,
            rendered: record.rendered_tokens,
        };
        let own_times = OwnTimes {
            queue: record.own_queue_ns,
            prefill: record.own_prefill_ns,
            first_token: record.own_time_to_first_token_ns(),
            per_token: record.own_time_per_output_token_ns(),
        };
        Self {
            cycle: id.cycle,
            index: id.index,
            prompt: id.prompt,
            image: id.image,
            position,
            intended_ns: stamps.intended_ns,
            sent_ns: stamps.sent_ns,
            answered_ns: record.answered_ns.unwrap_or(stamps.end_ns),
            end_ns: stamps.end_ns,
            first_answer_ns: record.first_answer_ns,
            texts: arrivals.len() as u32,
            first_ns: at(0),
            second_ns: at(1),
            last_ns: arrivals.last().map_or(0, |it| it.0),
            first_tokens: first.map_or(0, |it| it.1),
            least_tokens: arrivals.iter().map(|it| u64::from(it.1.max(1))).sum(),
            chunks_ns: {
                let texts = arrivals.iter().map(|it| it.0);
                let all = texts.chain(record.textless_ns.iter().copied());
                let (first, last) = (all.clone().min(), all.max());
                (first.unwrap_or_default(), last.unwrap_or_default())
            },
            to_tokens_ns: if is_complete {
                TOKENS.map(|count| time_of_token(record, count))
            } else {
                [0; TOKENS.len()]
            },
            output_tokens: record.output_tokens,
            hidden_tokens: record.hidden_tokens,
            prompt_tokens: record.prompt_tokens,
            cached_tokens: record.cached_tokens,
            reasoning_tokens: record.reasoning_tokens,
            counted_tokens: record.counted_tokens,
            own_counts: (own_counts != PromptCounts::default()).then(|| Box::new(own_counts)),
            own_times: (own_times != OwnTimes::default()).then(|| Box::new(own_times)),
            is_good: record.ok(),
            is_written: stamps.written_ns.is_some(),
            has_status: record.status.is_some(),
            is_complete,
            is_cut: is_cut(record),
            is_plausible: record.count_is_plausible(),
            is_withheld: record.implausible_tokens.is_some(),
            has_reasoning: record.reasoning_bytes > 0,
            is_repeated: false,
        }
    }

    /// Returns `true` if it succeeded.
    pub fn ok(&self) -> bool {
        self.is_good
    }

    /// As [`Record::tokens`].
    pub fn tokens(&self) -> Option<u32> {
        let counted = self.counted_tokens.filter(|_| !self.has_reasoning);
        self.output_tokens.or(counted)
    }

    /// As [`Record::latency_ns`].
    pub fn latency_ns(&self) -> u64 {
        self.answered_ns.saturating_sub(self.intended_ns)
    }

    /// As [`Record::tail_ns`].
    pub fn tail_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.answered_ns)
    }

    /// As [`Record::time_to_first_token_ns`].
    pub fn time_to_first_token_ns(&self) -> Option<u64> {
        (self.texts > 0).then(|| self.first_ns.saturating_sub(self.intended_ns))
    }

    /// Time for each token after the first, in nanoseconds; `None` with fewer than two tokens.
    pub fn time_per_output_token_ns(&self) -> Option<f64> {
        let first = self.time_to_first_token_ns()?;
        let tokens = self.tokens().filter(|tokens| *tokens >= 2)?;
        Some(self.latency_ns().saturating_sub(first) as f64 / f64::from(tokens - 1))
    }

    /// As [`Record::time_to_first_answer_token_ns`].
    pub fn time_to_first_answer_token_ns(&self) -> Option<u64> {
        self.first_answer_ns
            .map(|at| at.saturating_sub(self.intended_ns))
    }

    /// Counts that prony made of the prompt.
    pub fn own_counts(&self) -> PromptCounts {
        self.own_counts.as_deref().copied().unwrap_or_default()
    }

    /// The engine's own times.
    pub fn own_times(&self) -> OwnTimes {
        self.own_times.as_deref().copied().unwrap_or_default()
    }

    /// Times of the first and of the last chunk, with text or without; `None` without any.
    pub fn chunks_ns(&self) -> Option<(u64, u64)> {
        (self.chunks_ns.1 > 0).then_some(self.chunks_ns)
    }

    /// Cycle and number in the stage: which request it is, whatever the engine.
    pub fn cycle_and_index(&self) -> (u32, u32) {
        (self.cycle, self.index)
    }

    /// Prompt and image.
    pub fn question(&self) -> (u32, Option<u32>) {
        (self.prompt, self.image)
    }
}

/// Time of the text that completes the first `count` tokens, of texts that all name theirs; 0
/// if there are fewer.
fn time_of_token(record: &Record, count: u32) -> u64 {
    let mut tokens = 0;
    let reached = record.arrivals.iter().find(|arrival| {
        tokens += u64::from(arrival.1);
        tokens >= u64::from(count)
    });
    reached.map_or(0, |it| it.0)
}

/// Returns `true` for an answer that was cut at its limit: it has no end token.
fn is_cut(record: &Record) -> bool {
    const LIMIT: [&str; 4] = ["length", "max_tokens", "max_length", "max_new_tokens"];
    let reason = record.finish_reason.as_deref();
    reason.is_some_and(|reason| LIMIT.contains(&reason))
}

/// The measured requests of a group: of one model, engine, matrix point and `measure` stage.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    facts: Vec<Facts>,
    /// Words of the requests.
    pub words: Words,
    /// Times between the texts of successful requests.
    pub gaps: Durations,
    /// Times from the engine's stamps of texts to their arrivals, likewise.
    pub deliveries: Durations,
    /// Times between the chunks of successful requests, with text or without. They are never
    /// kept, since only other tools' definitions ask for them.
    chunk_gaps: Durations,
}

/// Times of the texts of a group's successful requests.
#[derive(Debug, Clone)]
pub struct Streams {
    /// From each text to the next.
    pub gaps: Sorted,
    /// From the engine's stamps of texts to their arrivals.
    pub deliveries: Sorted,
}

/// Words of requests, and how often each occurs.
#[derive(Debug, Clone, Default)]
pub struct Words {
    /// Failed requests by class.
    pub errors: BTreeMap<String, u64>,
    /// The first message of each class.
    pub error_messages: BTreeMap<String, String>,
    /// Finish reasons of successful requests.
    pub finish_reasons: BTreeMap<String, u64>,
    /// Remarks on successful requests.
    pub notes: BTreeMap<String, u64>,
    /// Models that served.
    pub served_models: BTreeSet<String>,
    /// The first model that was asked for and that another one served instead.
    pub asked_model: Option<String>,
    /// Versions that the engine reported.
    pub engine_versions: BTreeSet<String>,
    /// The beginning of the first answer to the first prompt.
    pub sample: Option<String>,
}

/// Texts of one kind that a result has, at most: others are not told apart.
const MAX_KINDS: usize = 100;
/// Longest sample of an answer, in bytes: it is to be looked at, and reports are to stay small.
const MAX_SAMPLE: usize = 16 << 10;

impl Words {
    fn add(&mut self, record: &Record) {
        let limited = prony_record::limited;
        if let Some(failed) = &record.failed {
            let class = failed.class.name().to_owned();
            *self.errors.entry(class.clone()).or_insert(0) += 1;
            self.error_messages
                .entry(class)
                .or_insert_with(|| limited(&failed.message));
        } else {
            if let Some(reason) = &record.finish_reason {
                tally(&mut self.finish_reasons, reason);
            }
            for note in &record.notes {
                tally(&mut self.notes, note);
            }
            if record.output_tokens.is_none() && record.tokens().is_some() {
                tally(&mut self.notes, COUNTED_HERE);
            }
            if record.id.prompt == 0 && self.sample.is_none() {
                self.sample = Some(prony_record::beginning(&record.text, MAX_SAMPLE));
            }
        }
        for (names, name) in [
            (&mut self.served_models, &record.served_model),
            (&mut self.engine_versions, &record.engine_version),
        ] {
            if let Some(name) = name
                && !names.contains(name)
                && names.len() < MAX_KINDS
            {
                names.insert(limited(name));
            }
        }
        if self.asked_model.is_none() {
            self.asked_model.clone_from(&record.asked_model);
        }
    }
}

/// Note on an answer whose tokens prony counted itself.
const COUNTED_HERE: &str =
    "the engine gives no count of tokens that can be used, so the model's tokenizer counts";

/// Counts a text.
fn tally(counts: &mut BTreeMap<String, u64>, text: &str) {
    if let Some(count) = counts.get_mut(text) {
        *count += 1;
        return;
    }
    let text = if counts.len() < MAX_KINDS {
        prony_record::limited(text)
    } else {
        "others".to_owned()
    };
    *counts.entry(text).or_insert(0) += 1;
}

impl Requests {
    /// Takes in the record at a position in its journal. Returns the number of durations that
    /// it adds to memory.
    pub fn add(&mut self, record: &Record, position: u64) -> usize {
        self.facts.push(Facts::new(record, position));
        self.words.add(record);
        if !record.ok() {
            return 0;
        }
        let chunks = record.arrivals.len() + record.textless_ns.len();
        self.chunk_gaps.count(chunks.saturating_sub(1) as u64);
        self.gaps.extend(gaps_ns(record)) + self.deliveries.extend(record.deliveries_ns())
    }

    /// All of them, in the journal's order.
    pub fn facts(&self) -> &[Facts] {
        &self.facts
    }

    /// References to all of them.
    pub fn all(&self) -> Vec<&Facts> {
        self.facts.iter().collect()
    }

    /// Notes of the last request that its prompt had been answered before.
    pub fn last_is_repeated(&mut self) {
        if let Some(last) = self.facts.last_mut() {
            last.is_repeated = true;
        }
    }

    /// Times of their texts, in order. `reread` calls back with every record again, in any
    /// order, and is called only if durations were forgotten.
    ///
    /// # Errors
    ///
    /// The error of `reread`.
    pub fn streams<E>(
        &self,
        mut reread: impl FnMut(&mut dyn FnMut(&Record)) -> Result<(), E>,
    ) -> Result<Streams, E> {
        let gaps = self.gaps.sorted(|see| {
            reread(&mut |record| {
                if record.ok() {
                    gaps_ns(record).for_each(&mut *see);
                }
            })
        })?;
        let deliveries = self.deliveries.sorted(|see| {
            reread(&mut |record| {
                if record.ok() {
                    record.deliveries_ns().for_each(&mut *see);
                }
            })
        })?;
        Ok(Streams { gaps, deliveries })
    }

    /// Times between the chunks of successful requests, in order; `reread` as above.
    ///
    /// # Errors
    ///
    /// The error of `reread`.
    pub fn chunk_gaps<E>(
        &self,
        mut reread: impl FnMut(&mut dyn FnMut(&Record)) -> Result<(), E>,
    ) -> Result<Sorted, E> {
        self.chunk_gaps.sorted(|see| {
            reread(&mut |record| {
                if record.ok() {
                    let texts = record.arrivals.iter().map(|it| it.0);
                    let mut chunks: Vec<u64> =
                        texts.chain(record.textless_ns.iter().copied()).collect();
                    chunks.sort_unstable();
                    let gaps = chunks.windows(2).map(|pair| pair[1] - pair[0]);
                    gaps.for_each(&mut *see);
                }
            })
        })
    }

    /// [`Requests::streams`] of durations that were not forgotten.
    pub fn streams_kept(&self) -> Streams {
        let streams = self.streams(|_| Ok::<_, Infallible>(()));
        streams.unwrap_or_else(|never| match never {})
    }

    /// Drops the durations, which are read again when they are needed.
    pub fn forget_durations(&mut self) {
        self.gaps.forget();
        self.deliveries.forget();
    }
}

impl<'a> FromIterator<&'a Record> for Requests {
    fn from_iter<T: IntoIterator<Item = &'a Record>>(records: T) -> Self {
        let mut requests = Self::default();
        for (position, record) in records.into_iter().enumerate() {
            requests.add(record, position as u64);
        }
        requests
    }
}

/// Times from each text of an answer to the next, in nanoseconds.
pub fn gaps_ns(record: &Record) -> impl Iterator<Item = u64> {
    let pairs = record.arrivals.windows(2);
    pairs.map(|pair| pair[1].0.saturating_sub(pair[0].0))
}
