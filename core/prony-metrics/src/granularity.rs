//! Granularity of streams: how finely they show the work of an engine.
//!
//! An engine generates tokens one after the other, and its stream shows them as its server
//! cuts them: four at a time, held back by a parser, or all at once. The time to the first
//! text then holds part of the decoding, and the texts after it hold fewer tokens than the
//! answer less one. Where a stream says how many tokens each text stands for, both are known
//! exactly. Otherwise they are known within bounds, which follow from the number of texts:
//! of `n` tokens in `m` texts the first has between 1 and `n - m + 1`.
//!
//! Speeds are of an engine that decodes evenly; nothing else is assumed.

use prony_record::Record;

const SECOND: f64 = 1e9;

/// Granularity of one answer.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Shown {
    /// Tokens of the first text: the fewest and the most that it can have.
    first: (u32, u32),
    /// Tokens of the answer.
    tokens: u32,
    /// To the first text, in seconds.
    first_s: f64,
    /// From the first text to the last, in seconds.
    rest_s: f64,
    /// Tokens that nobody saw came before the first text.
    has_hidden: bool,
}

impl Shown {
    /// Of an answer of `tokens` tokens; `None` without text.
    fn new(record: &Record, tokens: u32) -> Option<Self> {
        let (first, last) = (record.arrivals.first()?, record.arrivals.last()?);
        let of_first = match first.1 {
            0 => (1, 1 + unplaced(record, tokens)),
            known => (known, known),
        };
        Some(Self {
            first: of_first,
            tokens: tokens.max(of_first.1),
            first_s: record.time_to_first_token_ns()? as f64 / SECOND,
            rest_s: last.0.saturating_sub(first.0) as f64 / SECOND,
            has_hidden: record.hidden_tokens.is_some_and(|hidden| hidden > 0),
        })
    }

    /// Time that the tokens of the first text took beside the first, in seconds, if it has
    /// `of_first` of them. `None` if nothing says how fast the engine decodes.
    fn decoding_before_first_s(&self, of_first: u32) -> Option<f64> {
        if of_first <= 1 {
            return Some(0.0);
        }
        let after = self.tokens.checked_sub(of_first).filter(|it| *it > 0)?;
        Some(self.rest_s / f64::from(after) * f64::from(of_first - 1))
    }
}

/// Tokens more than texts, of which nothing says where they belong. An end token has no
/// text; an answer that was cut at its limit has none.
fn unplaced(record: &Record, tokens: u32) -> u32 {
    const LIMIT: [&str; 4] = ["length", "max_tokens", "max_length", "max_new_tokens"];
    let reason = record.finish_reason.as_deref();
    let is_cut = reason.is_some_and(|reason| LIMIT.contains(&reason));
    match tokens.saturating_sub(record.arrivals.len() as u32) {
        1 if !is_cut => 0,
        more => more,
    }
}

/// A speed, known within bounds: the lower and the upper one.
pub type Bounds = (f64, f64);

/// Tokens after the first text over their time, per second. `None` if an answer has no text,
/// or no two texts that are apart in time.
pub fn decode_speed(answers: &[(&Record, u32)]) -> Option<Bounds> {
    let shown = shown(answers)?;
    let seconds: f64 = shown.iter().map(|it| it.rest_s).sum();
    let after = |of_first: fn(&Shown) -> u32| -> f64 {
        let tokens = shown
            .iter()
            .map(|it| it.tokens.saturating_sub(of_first(it)));
        tokens.map(f64::from).sum()
    };
    let tokens = (after(|it| it.first.1), after(|it| it.first.0));
    (seconds > 0.0 && tokens.1 > 0.0).then(|| (tokens.0 / seconds, tokens.1 / seconds))
}

/// Prompts over the time to their first token, per second; `weight` is what a prompt counts,
/// its tokens for instance. `None` if an answer has no text.
pub fn prefill_speed(
    answers: &[(&Record, u32)],
    weight: impl Fn(&Record) -> u32,
) -> Option<Bounds> {
    let shown = shown(answers)?;
    let work: f64 = answers.iter().map(|(it, _)| f64::from(weight(it))).sum();
    let seconds = |of_first: fn(&Shown) -> u32, unknown: fn(&Shown) -> f64| -> f64 {
        let times = shown.iter().map(|it| {
            let decoding = it.decoding_before_first_s(of_first(it));
            decoding.map_or_else(|| unknown(it), |decoding| (it.first_s - decoding).max(0.0))
        });
        times.sum()
    };
    let longest = seconds(|it| it.first.0, |it| it.first_s);
    let shortest = seconds(|it| it.first.1, |_| 0.0);
    let shortest = if shown.iter().any(|it| it.has_hidden) {
        0.0
    } else {
        shortest
    };
    (work > 0.0 && longest > 0.0).then(|| (work / longest, work / shortest))
}

fn shown(answers: &[(&Record, u32)]) -> Option<Vec<Shown>> {
    let shown = answers
        .iter()
        .map(|(record, tokens)| Shown::new(record, *tokens));
    shown.collect()
}

/// Tokens of a text on average, over the answers of an engine; `None` without texts.
pub fn tokens_per_text(answers: &[(&Record, u32)]) -> Option<f64> {
    let texts: usize = answers.iter().map(|(it, _)| it.arrivals.len()).sum();
    let tokens: f64 = answers.iter().map(|(_, tokens)| f64::from(*tokens)).sum();
    (texts > 0).then(|| tokens / texts as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::answered;
    use prony_record::Arrival;

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
        let answers = [(record, 8)];
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
    fn an_end_token_without_text_makes_no_doubt() {
        let mut record = token_by_token();
        record.finish_reason = Some("stop".to_owned());
        let answers = [(&record, 9)];
        let decode = decode_speed(&answers).expect("texts");
        assert!((decode.0 - decode.1).abs() < 1e-9);
        record.finish_reason = Some("length".to_owned());
        let decode = decode_speed(&[(&record, 9)]).expect("texts");
        assert!(decode.0 < decode.1);
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
