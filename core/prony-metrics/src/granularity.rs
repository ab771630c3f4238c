//! Granularity of streams: how finely they show the work of an engine.
//!
//! An engine generates tokens one after the other, and its stream shows them as its server
//! cuts them: four at a time, held back by a parser, or all at once. The time to the first
//! text then holds part of the decoding, and the texts after it hold fewer tokens than the
//! answer less one. Tokens may also come behind the last text: an end token, or what a server
//! joined to a text that it had already sent. Where a stream says how many tokens each text
//! stands for, all this is known exactly. Otherwise it is known within bounds, which follow
//! from the number of texts: of `n` tokens in `m` texts the first has between 1 and
//! `n - m + 1`, and those after it between `m - 1` and `n - 1`.
//!
//! Speeds are of an engine that decodes evenly; nothing else is assumed.

use crate::facts::Facts;

const SECOND: f64 = 1e9;

/// Granularity of one answer.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Shown {
    /// Tokens of the first text: the fewest and the most that it can have.
    first: (u32, u32),
    /// Tokens between the first text and the last, without the first's: the fewest and the
    /// most. The fewest go with the most of the first text.
    after: (u32, u32),
    /// To the first text, in seconds.
    first_s: f64,
    /// From the first text to the last, in seconds.
    rest_s: f64,
    /// Tokens that nobody saw came before the first text.
    has_hidden: bool,
}

impl Shown {
    /// Of an answer of `tokens` tokens; `None` without text.
    fn new(record: &Facts, tokens: u32) -> Option<Self> {
        let to_first_ns = record.time_to_first_token_ns()?;
        let rest_ns = record.last_ns.saturating_sub(record.first_ns);
        let placed = Placed::new(record, tokens);
        let unplaced = placed.unplaced;
        let end = u32::from(unplaced == 1 && !record.is_cut);
        let of_first = match placed.told(record.first_tokens) {
            0 => (1, 1 + unplaced - end),
            known => (known, known),
        };
        let most = tokens.saturating_sub(of_first.0);
        let fewest = most.saturating_sub(unplaced);
        let after = match (rest_ns, placed.is_complete) {
            // All texts came at once.
            (0, _) => (0, 0),
            (_, true) => (fewest, fewest),
            (_, false) => (fewest, most),
        };
        Some(Self {
            first: of_first,
            after,
            first_s: to_first_ns as f64 / SECOND,
            rest_s: rest_ns as f64 / SECOND,
            has_hidden: record.hidden_tokens.is_some_and(|hidden| hidden > 0),
        })
    }

    /// Time that the tokens of the first text took beside the first, in seconds, if it has
    /// `of_first` of them and `after` follow. `None` if nothing says how fast the engine decodes.
    fn decoding_before_first_s(&self, of_first: u32, after: u32) -> Option<f64> {
        if of_first <= 1 {
            return Some(0.0);
        }
        let pace = (after > 0).then(|| self.rest_s / f64::from(after))?;
        Some(pace * f64::from(of_first - 1))
    }
}

/// Tokens of an answer by where they belong.
pub(crate) struct Placed {
    /// The tokens that texts name are of the kind of the answer's count.
    is_told: bool,
    /// Tokens more than those of texts, of which nothing says where they belong. They came
    /// behind the last text if the placing is complete.
    pub unplaced: u32,
    /// Every text names its tokens.
    pub is_complete: bool,
}

impl Placed {
    pub(crate) fn new(record: &Facts, tokens: u32) -> Self {
        let unplaced = u64::from(tokens).checked_sub(record.least_tokens);
        match unplaced.and_then(|it| u32::try_from(it).ok()) {
            Some(unplaced) => Self {
                is_told: true,
                unplaced,
                is_complete: record.is_complete,
            },
            // Counts of another kind than the answer's say nothing.
            None => Self {
                is_told: false,
                unplaced: tokens.saturating_sub(record.texts),
                is_complete: false,
            },
        }
    }

    /// Tokens of a text that names so many; 0: not told.
    pub(crate) fn told(&self, of_text: u32) -> u32 {
        if self.is_told { of_text } else { 0 }
    }
}

/// A speed, known within bounds: the lower and the upper one.
pub type Bounds = (f64, f64);

/// Tokens between the first text and the last over their time, per second. `None` if an
/// answer has no text, or no two texts that are apart in time.
pub fn decode_speed(answers: &[(&Facts, u32)]) -> Option<Bounds> {
    let shown = shown(answers)?;
    let seconds: f64 = shown.iter().map(|it| it.rest_s).sum();
    let sum = |after: fn(&Shown) -> u32| -> f64 { shown.iter().map(after).map(f64::from).sum() };
    let (fewest, most) = (sum(|it| it.after.0), sum(|it| it.after.1));
    (seconds > 0.0 && most > 0.0).then(|| (fewest / seconds, most / seconds))
}

/// Time of a token between the first text and the last, in nanoseconds. `None` where streams
/// leave a doubt of more than 1 %.
pub(crate) fn time_per_token_ns(record: &Facts) -> Option<f64> {
    let (low, high) = decode_speed(&[(record, record.tokens()?)])?;
    (high <= low * 1.01).then(|| SECOND / f64::midpoint(low, high))
}

/// Prompts over the time to their first token, per second; `weight` is what a prompt counts,
/// its tokens for instance. `None` if an answer has no text.
pub fn prefill_speed(answers: &[(&Facts, u32)], weight: impl Fn(&Facts) -> u32) -> Option<Bounds> {
    let shown = shown(answers)?;
    let work: f64 = answers.iter().map(|(it, _)| f64::from(weight(it))).sum();
    let seconds = |tokens: fn(&Shown) -> (u32, u32), unknown: fn(&Shown) -> f64| -> f64 {
        let times = shown.iter().map(|it| {
            let (of_first, after) = tokens(it);
            let decoding = it.decoding_before_first_s(of_first, after);
            decoding.map_or_else(|| unknown(it), |decoding| (it.first_s - decoding).max(0.0))
        });
        times.sum()
    };
    let longest = seconds(|it| (it.first.0, it.after.1), |it| it.first_s);
    let shortest = seconds(|it| (it.first.1, it.after.0), |_| 0.0);
    let shortest = if shown.iter().any(|it| it.has_hidden) {
        0.0
    } else {
        shortest
    };
    (work > 0.0 && longest > 0.0).then(|| (work / longest, work / shortest))
}

fn shown(answers: &[(&Facts, u32)]) -> Option<Vec<Shown>> {
    let shown = answers
        .iter()
        .map(|(record, tokens)| Shown::new(record, *tokens));
    shown.collect()
}

/// Tokens of a text on average, over the answers of an engine; `None` without texts.
pub fn tokens_per_text(answers: &[(&Facts, u32)]) -> Option<f64> {
    let texts: u64 = answers.iter().map(|(it, _)| u64::from(it.texts)).sum();
    let tokens: f64 = answers.iter().map(|(_, tokens)| f64::from(*tokens)).sum();
    (texts > 0).then(|| tokens / texts as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::answered;
    use prony_record::{Arrival, Record};

    /// An answer of 8 tokens, one each 10 ms from 40 ms on, whose texts come at the times
    /// given, with their tokens (0: not told).
    fn streamed(texts: &[(u64, u32)]) -> Record {
        let mut record = answered("The sea is wide and old and deep", 8);
        record.finish_reason = Some("length".to_owned());
        record.arrivals = texts
            .iter()
            .map(|(ms, tokens)| Arrival(ms * 1_000_000, *tokens))
            .collect();
        record
    }

    fn token_by_token() -> Record {
        let texts: Vec<(u64, u32)> = (0..8).map(|k| (40 + 10 * k, 0)).collect();
        streamed(&texts)
    }

    fn speeds(record: &Record) -> (Option<Bounds>, Option<Bounds>) {
        let answers = [(&Facts::new(record, 0), 8)];
        (decode_speed(&answers), prefill_speed(&answers, |_| 1))
    }

    fn is(found: Option<Bounds>, low: f64, high: f64) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6 || a.total_cmp(&b).is_eq();
        found.is_some_and(|found| near(found.0, low) && near(found.1, high))
    }

    #[test]
    fn one_token_a_text_is_known_exactly() {
        let (decode, prefill) = speeds(&token_by_token());
        assert!(is(decode, 100.0, 100.0), "{decode:?}");
        assert!(is(prefill, 25.0, 25.0), "{prefill:?}");
    }

    #[test]
    fn counts_beside_the_texts_make_every_cut_alike() {
        for texts in [
            vec![(70, 4), (110, 4)],
            vec![(60, 3), (90, 3), (110, 2)],
            vec![(50, 2), (110, 6)],
        ] {
            let (decode, prefill) = speeds(&streamed(&texts));
            assert!(is(decode, 100.0, 100.0), "{texts:?}: {decode:?}");
            assert!(is(prefill, 25.0, 25.0), "{texts:?}: {prefill:?}");
        }
    }

    #[test]
    fn without_counts_the_bounds_hold_the_truth() {
        for texts in [
            vec![(70, 0), (110, 0)],
            vec![(60, 0), (90, 0), (110, 0)],
            // Held back by a parser, then token by token.
            vec![(80, 0), (90, 0), (100, 0), (110, 0)],
        ] {
            let (decode, prefill) = speeds(&streamed(&texts));
            let holds = |bounds: Option<Bounds>, truth: f64| {
                bounds.is_some_and(|(low, high)| low < truth + 1e-6 && high > truth - 1e-6)
            };
            assert!(holds(decode, 100.0), "{texts:?}: {decode:?}");
            assert!(holds(prefill, 25.0), "{texts:?}: {prefill:?}");
        }
    }

    #[test]
    fn an_answer_in_one_piece_says_nothing_of_its_parts() {
        let (decode, prefill) = speeds(&streamed(&[(110, 8)]));
        assert_eq!(decode, None);
        assert!(prefill.is_some_and(|(_, high)| high.is_infinite()));
    }

    #[test]
    fn tokens_behind_the_last_text_are_not_put_into_its_time() {
        // 6 tokens in texts, and 2 after them; with counts, and with some of them.
        let mut texts: Vec<(u64, u32)> = (0..6).map(|k| (40 + 10 * k, 1)).collect();
        let (decode, prefill) = speeds(&streamed(&texts));
        assert!(is(decode, 100.0, 100.0), "{decode:?}");
        assert!(is(prefill, 25.0, 25.0), "{prefill:?}");
        texts[3].1 = 0;
        let (decode, prefill) = speeds(&streamed(&texts));
        assert!(is(decode, 100.0, 140.0), "{decode:?}");
        assert!(is(prefill, 25.0, 25.0), "{prefill:?}");
        // The first text held back, and the last tokens without text of their own.
        let (decode, prefill) = speeds(&streamed(&[(60, 3), (70, 1), (80, 1), (90, 1)]));
        assert!(is(decode, 100.0, 100.0), "{decode:?}");
        assert!(is(prefill, 25.0, 25.0), "{prefill:?}");
    }

    #[test]
    fn counts_that_are_not_of_the_answer_say_nothing() {
        let texts: Vec<(u64, u32)> = (0..8).map(|k| (40 + 10 * k, 2)).collect();
        let (decode, _) = speeds(&streamed(&texts));
        assert!(is(decode, 100.0, 100.0), "{decode:?}");
    }

    #[test]
    fn an_end_token_without_text_is_not_of_the_first_text() {
        let mut record = token_by_token();
        record.finish_reason = Some("stop".to_owned());
        let facts = Facts::new(&record, 0);
        let answers = [(&facts, 9)];
        let decode = decode_speed(&answers);
        // It came behind the last text, unless another text has two tokens.
        assert!(is(decode, 100.0, 800.0 / 7.0), "{decode:?}");
        let prefill = prefill_speed(&answers, |_| 1);
        assert!(is(prefill, 25.0, 25.0), "{prefill:?}");
        for arrival in &mut record.arrivals {
            arrival.1 = 1;
        }
        let decode = decode_speed(&[(&Facts::new(&record, 0), 9)]);
        assert!(is(decode, 100.0, 100.0), "{decode:?}");
        let prefill =
            prefill_speed(&[(&Facts::new(&token_by_token(), 0), 9)], |_| 1).expect("texts");
        assert!(prefill.0 < prefill.1);
    }

    #[test]
    fn a_time_per_token_is_told_where_it_is_known() {
        let near = |record: &Record| {
            time_per_token_ns(&Facts::new(record, 0)).map(|it| (it / 1e6).round() as u32)
        };
        assert_eq!(near(&streamed(&[(60, 3), (70, 1), (110, 4)])), Some(10));
        assert_eq!(near(&token_by_token()), Some(10));
        assert_eq!(near(&streamed(&[(60, 0), (70, 0), (110, 0)])), None);
        assert_eq!(near(&streamed(&[(110, 8)])), None);
    }

    #[test]
    fn hidden_tokens_make_prefill_unknown() {
        let mut record = token_by_token();
        record.hidden_tokens = Some(200);
        let (decode, prefill) = speeds(&record);
        assert!(is(decode, 100.0, 100.0));
        assert!(prefill.is_some_and(|(_, high)| high.is_infinite()));
    }
}
