//! The part of two answers that both have.
//!
//! Where two answers to one request differ in length, the whole of one is not the work of the
//! other, and a rate does not mend that: prefill is shared by fewer tokens in the shorter one.
//! Both did the steps up to the token at which the shorter one ended. So the times to that
//! token, `k`, are compared.
//!
//! A stream shows when a text came, not when its tokens were generated. Let `f_i` be the fewest
//! and `g_i` the most tokens of the texts up to `i`, which came at the time `t_i` since sending;
//! `g_0 = 0` and `t_0 = 0`. Then the time `T` to token `k` has the bounds
//!
//! ```text
//! T <= t_i, the first i with f_i >= k, or the end of the answer if there is none
//! T >= t_(j-1) + (t_j - t_(j-1)) (k - g_(j-1)) / (g_j - g_(j-1)), the first j with g_j >= k
//! ```
//!
//! At the upper bound a text's tokens are generated together, as by speculative decoding; there
//! a user has the token at the latest, whatever the engine does. At the lower one they are
//! generated evenly since the text before: it holds on the mean over requests, not for one that
//! stalls inside of a text. For the first text it spreads prefill over its tokens, and is a lower
//! bound all the same: prefill lies before them all, which outweighs that later steps take a
//! little longer. A token that a server holds back beyond the next text counts with the text that
//! brings it.
//!
//! One token a text makes both bounds equal, as does a `k` at which a text ends where texts name
//! their tokens. An answer of `n` tokens in one piece is known within its latency and `k / n` of
//! it. Texts with one stamp, as those of one read have, are one text. One token more than texts
//! have is taken for the end token, unless the answer was cut at its limit.

use crate::credit::{Basis, tokens_of};
use crate::facts::Facts;
use crate::granularity::Placed;
use crate::tokens::agree;
use prony_record::Record;

const SECOND: f64 = 1e9;

/// The part of two answers to one request that both have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Common {
    /// Its tokens, at least 1: all if the answers are equally long.
    pub tokens: u32,
    /// The baseline's times.
    pub baseline: Part,
    /// The candidate's times.
    pub candidate: Part,
}

/// The time that one engine took for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// From sending (open loop: from when it was due) to the first text, in seconds.
    pub first_s: Option<f64>,
    /// From there to the last common token, in seconds: at least; above zero.
    pub low_s: f64,
    /// At most.
    pub high_s: f64,
    /// Tokens that the whole answer is credited with.
    pub credit: u32,
}

impl Part {
    /// Doubt about the time: `ln(high / low)`, 0 where it is known exactly.
    pub fn doubt(&self) -> f64 {
        (self.high_s / self.low_s).ln()
    }
}

impl Common {
    /// Returns `true` if one of the answers was cut to the length of the other.
    pub fn is_cut(&self) -> bool {
        self.baseline.credit != self.candidate.credit
    }
}

/// Reason why two answers give no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// The tokens of one are not counted.
    NotCounted,
    /// One has no token with text.
    Empty,
    /// One took no time.
    NoTime,
    /// Tokens were generated before the texts and not sent, a different number in each.
    Hidden,
    /// There is reasoning or a call of a tool, which only the engine counts, and one does not.
    Uncounted,
    /// A count of tokens and the texts contradict each other.
    Contradictory,
}

impl Withheld {
    /// In words, for reports.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotCounted => "the tokens of an answer are not counted",
            Self::Empty => "an answer has no token with text",
            Self::NoTime => "an answer took no time",
            Self::Hidden => {
                "the engines generated different numbers of tokens that they did not send"
            }
            Self::Uncounted => {
                "an answer has reasoning or a call of a tool whose tokens are not counted"
            }
            Self::Contradictory => "a count of tokens and the texts contradict each other",
        }
    }
}

/// Cuts two answers to the part that both have. Answers credited with equally many tokens are
/// not cut: their times are their latencies.
///
/// # Errors
///
/// The reason why the pair gives no number.
pub fn common(baseline: &Record, candidate: &Record) -> Result<Common, Withheld> {
    let (a, b, basis) = tokens_of(baseline, candidate).ok_or(Withheld::NotCounted)?;
    let answers = [baseline, candidate];
    if a == b {
        if a == 0 {
            return Err(Withheld::Empty);
        }
        let whole = |record: &Record| {
            let latency_s = record.latency_ns() as f64 / SECOND;
            Part::new(record, a, (latency_s, latency_s))
        };
        return Ok(Common {
            tokens: a,
            baseline: whole(baseline)?,
            candidate: whole(candidate)?,
        });
    }
    let hidden = answers.map(|it| it.hidden_tokens.unwrap_or(0));
    if hidden[0] != hidden[1] {
        return Err(Withheld::Hidden);
    }
    let streams = (
        Stream::new(baseline, Length::new(answers, 0, basis)?)?,
        Stream::new(candidate, Length::new(answers, 1, basis)?)?,
    );
    let tokens = streams.0.tokens.min(streams.1.tokens);
    Ok(Common {
        tokens,
        baseline: Part::new(baseline, a, streams.0.time_s(tokens))?,
        candidate: Part::new(candidate, b, streams.1.time_s(tokens))?,
    })
}

impl Part {
    fn new(record: &Record, credit: u32, (low_s, high_s): (f64, f64)) -> Result<Self, Withheld> {
        let first = record.time_to_first_token_ns();
        let part = Self {
            first_s: first.map(|ns| ns as f64 / SECOND),
            low_s,
            high_s,
            credit,
        };
        (low_s > 0.0).then_some(part).ok_or(Withheld::NoTime)
    }
}

/// The length of an answer, to be found in its stream.
#[derive(Clone, Copy)]
enum Length {
    /// By the engine, which may count an end token.
    Engine(u32),
    /// By the model's tokenizer, of the text alone.
    Tokenizer(u32),
}

impl Length {
    /// Of the answer `side` of two.
    fn new(answers: [&Record; 2], side: usize, basis: Basis) -> Result<Self, Withheld> {
        let record = answers[side];
        // The stream has all of it, and the tokenizer counted the text.
        let has_more = |it: &Record| it.reasoning_bytes > 0 || it.tool_call_bytes > 0;
        let by_engine = basis != Basis::Tokenizer || answers.into_iter().any(has_more);
        match (record.output_tokens, record.counted_tokens) {
            (Some(tokens), _) if by_engine => Ok(Self::Engine(tokens)),
            (_, Some(tokens)) if !has_more(record) => Ok(Self::Tokenizer(tokens)),
            _ => Err(Withheld::Uncounted),
        }
    }

    /// In tokens, as far as the texts of the answer agree.
    fn tokens(self, record: &Record) -> Result<u32, Withheld> {
        let texts = record.arrivals.len() as u32;
        let told: u64 = record.arrivals.iter().map(|it| u64::from(it.1)).sum();
        let told = u32::try_from(told).map_err(|_| Withheld::Contradictory)?;
        let is_told = record.arrivals.iter().all(|it| it.1 > 0);
        let tokens = match self {
            // A text can be tokenised in several ways: what was generated stands in the texts.
            Self::Tokenizer(tokens) if is_told => agree(told, tokens).then_some(told),
            Self::Tokenizer(tokens) if tokens < texts => agree(texts, tokens).then_some(texts),
            Self::Engine(tokens) | Self::Tokenizer(tokens) => Some(tokens),
        };
        let tokens = tokens.filter(|tokens| *tokens >= texts);
        tokens.ok_or(Withheld::Contradictory)
    }
}

/// An answer as it came.
struct Stream {
    /// Its tokens with text: at least.
    tokens: u32,
    /// Its texts, in order of time; no two with the same.
    texts: Vec<Text>,
    /// Its end, in seconds.
    end_s: f64,
}

/// A text and those before it.
struct Text {
    at_s: f64,
    /// Tokens generated by then: at least.
    fewest: u32,
    /// At most.
    most: u32,
}

impl Stream {
    fn new(record: &Record, length: Length) -> Result<Self, Withheld> {
        let tokens = length.tokens(record)?;
        let facts = Facts::new(record, 0);
        let placed = Placed::new(&facts, tokens);
        let ends = matches!(length, Length::Engine(_)) && !facts.is_cut;
        let behind = match placed.unplaced {
            unplaced if placed.is_complete => (unplaced, unplaced),
            0 => (0, 0),
            1 if ends => (1, 1),
            // Its end token may be counted or not.
            _ => (0, u32::from(ends)),
        };
        let mut stream = Self {
            tokens: tokens - behind.1,
            texts: Vec::new(),
            end_s: 0.0,
        };
        let named = record.arrivals.iter().map(|it| placed.told(it.1).max(1));
        // Any text that does not name its tokens can have them all.
        let unnamed = tokens - behind.0 - named.sum::<u32>();
        let (mut fewest, mut more, mut at_ns) = (0, 0, 0);
        for arrival in &record.arrivals {
            let told = placed.told(arrival.1);
            fewest += told.max(1);
            if told == 0 {
                more = unnamed;
            }
            // No text comes before those ahead of it.
            at_ns = at_ns.max(arrival.0.saturating_sub(record.stamps.intended_ns));
            let text = Text {
                at_s: at_ns as f64 / SECOND,
                fewest,
                most: fewest + more,
            };
            match stream.texts.last_mut() {
                Some(last) if last.at_s >= text.at_s => *last = text,
                _ => stream.texts.push(text),
            }
        }
        if stream.texts.is_empty() || stream.tokens == 0 {
            return Err(Withheld::Empty);
        }
        stream.end_s = at_ns.max(record.latency_ns()) as f64 / SECOND;
        Ok(stream)
    }

    /// From sending to token `k` of `1..=self.tokens`, in seconds: at least and at most.
    fn time_s(&self, k: u32) -> (f64, f64) {
        let texts = &self.texts;
        let sure = texts.iter().find(|text| text.fewest >= k);
        let high_s = sure.map_or(self.end_s, |text| text.at_s);
        // All of `self.tokens` can have come with the last text.
        let next = texts.partition_point(|text| text.most < k);
        let (text, before) = (&texts[next], next.checked_sub(1).map(|it| &texts[it]));
        let (from_s, tokens) = before.map_or((0.0, 0), |it| (it.at_s, it.most));
        // The last token of a text is its end, to the bit.
        let left = f64::from(text.most - k) / f64::from(text.most - tokens);
        (text.at_s - (text.at_s - from_s) * left, high_s)
    }
}

/// Log ratios by which the ratio of two engines' throughputs over wall time, credited tokens
/// per second, may be too high and too low for engines that did the same work: `(below,
/// above)`, one of them 0, both for equal lengths. For a cycle with several requests in flight,
/// whose requests share their time. `tokens` are those of its pairs; `None` without pairs, or
/// if answers are not counted.
///
/// Let the requests of a stage take an engine the time `C(n)` for `n` tokens in all, and let
/// more tokens take at least the same time, but per token at most the same, as prefill is
/// shared: `C(k) <= C(n) <= (n / k) C(k)` for `k <= n`. If the baseline gave `a` and the
/// candidate `b` tokens, then for equal work of any length between `a` and `b`
///
/// ```text
/// ln(C_a(w) / C_b(w))  lies between  ln(C_a(a) / C_b(b)), the ratio of requests per second,
///                      and that plus ln(b / a), the ratio of tokens per second.
/// ```
///
/// It holds whatever share of its time each engine prefills. Only sums of lengths are in it:
/// that a stage takes longer where one long answer is left at its end is not.
pub fn slack(tokens: impl IntoIterator<Item = Option<(u32, u32, Basis)>>) -> Option<(f64, f64)> {
    let (mut baseline, mut candidate) = (0, 0);
    for pair in tokens {
        let (a, b, _) = pair?;
        baseline += u64::from(a);
        candidate += u64::from(b);
    }
    let longer = (candidate as f64 / baseline as f64).ln();
    (baseline > 0 && candidate > 0).then(|| (longer.max(0.0), (-longer).max(0.0)))
}

#[cfg(test)]
mod tests;
