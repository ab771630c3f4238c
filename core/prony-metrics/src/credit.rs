//! The tokens with which two answers to the same request are credited when their engines are
//! compared.
//!
//! Work goes by what was said, then by counts. Two equal texts are the same work, whatever
//! the engines count: one counts the end token, another does not. Other texts are counted by
//! the model's tokenizer if both were, and by the engines themselves otherwise.

use prony_record::Record;
use std::collections::HashMap;

/// Source of the token counts of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// Both texts are the same.
    Text,
    /// Both were counted by the model's tokenizer.
    Tokenizer,
    /// Each engine counted its own.
    Engine,
}

impl Basis {
    /// As in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Tokenizer => "tokenizer",
            Self::Engine => "engine",
        }
    }
}

/// The answers of both engines to one request.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// The baseline's.
    pub baseline: &'a Record,
    /// The candidate's.
    pub candidate: &'a Record,
}

impl Pair<'_> {
    /// Returns `true` if both gave the same text. Of reasoning and calls of tools only the length is known.
    pub fn is_identical(&self) -> bool {
        let said = |it: &Record| (it.reasoning_bytes, it.tool_call_bytes);
        self.baseline.text == self.candidate.text && said(self.baseline) == said(self.candidate)
    }

    /// Tokens of the baseline's and of the candidate's answer, and where they come from;
    /// `None` if the texts differ and one of them was not counted.
    ///
    /// Equal texts have the smaller of the two counts, since what the larger one has beside
    /// it has no text; without any count both are one unit of work.
    pub fn tokens(&self) -> Option<(u32, u32, Basis)> {
        let (a, b) = (self.baseline, self.candidate);
        if self.is_identical() {
            let counts = [a, b].map(Record::tokens);
            let tokens = counts.into_iter().flatten().min().unwrap_or(1);
            return Some((tokens, tokens, Basis::Text));
        }
        if let (Some(a), Some(b)) = (a.counted_tokens, b.counted_tokens) {
            return Some((a, b, Basis::Tokenizer));
        }
        Some((a.tokens()?, b.tokens()?, Basis::Engine))
    }
}

/// The pairs of two engines' answers: same cycle, same number in the stage, both successful.
pub fn pairs<'a>(baseline: &[&'a Record], candidate: &[&'a Record]) -> Vec<Pair<'a>> {
    let good = |record: &&&Record| record.ok();
    let of_baseline: HashMap<(u32, u32), &Record> = baseline
        .iter()
        .filter(good)
        .map(|record| (record.id.cycle_and_index(), *record))
        .collect();
    candidate
        .iter()
        .filter(good)
        .filter_map(|record| {
            Some(Pair {
                baseline: of_baseline.get(&record.id.cycle_and_index())?,
                candidate: record,
            })
        })
        .collect()
}

/// The tokens of every answer of a comparison.
#[derive(Debug, Default)]
pub struct Credits(HashMap<(u32, u32), (u32, u32)>);

impl Credits {
    /// Of all pairs of two engines.
    pub fn new(baseline: &[&Record], candidate: &[&Record]) -> Self {
        let pairs = pairs(baseline, candidate).into_iter();
        let tokens = pairs.filter_map(|pair| {
            let (a, b, _) = pair.tokens()?;
            Some((pair.baseline.id.cycle_and_index(), (a, b)))
        });
        Self(tokens.collect())
    }

    /// Tokens of a record of the baseline. One without a counterpart, as closed loops of a
    /// set time have them, goes by its own count.
    pub fn baseline(&self, record: &Record) -> Option<u32> {
        self.of(record, |tokens| tokens.0)
    }

    /// Tokens of a record of the candidate, likewise.
    pub fn candidate(&self, record: &Record) -> Option<u32> {
        self.of(record, |tokens| tokens.1)
    }

    fn of(&self, record: &Record, side: fn(&(u32, u32)) -> u32) -> Option<u32> {
        let of_pair = self.0.get(&record.id.cycle_and_index()).map(side);
        of_pair.or_else(|| record.tokens())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::answered;

    fn tokens(a: &Record, b: &Record) -> Option<(u32, u32, Basis)> {
        let pair = Pair {
            baseline: a,
            candidate: b,
        };
        pair.tokens()
    }

    #[test]
    fn equal_texts_are_equal_work_whatever_is_counted() {
        let (a, mut b) = (answered("one two", 2), answered("one two", 3));
        assert_eq!(tokens(&a, &b), Some((2, 2, Basis::Text)));
        b.output_tokens = None;
        assert_eq!(tokens(&b, &a), Some((2, 2, Basis::Text)));
        assert_eq!(tokens(&b, &b), Some((1, 1, Basis::Text)));
        b.reasoning_bytes = 9;
        assert_eq!(tokens(&a, &b), None, "one thought and the other did not");
    }

    #[test]
    fn other_texts_go_by_the_tokenizer_and_then_by_the_engines() {
        let (mut a, mut b) = (answered("one", 5), answered("two", 7));
        assert_eq!(tokens(&a, &b), Some((5, 7, Basis::Engine)));
        a.counted_tokens = Some(4);
        assert_eq!(tokens(&a, &b), Some((5, 7, Basis::Engine)));
        b.counted_tokens = Some(4);
        assert_eq!(tokens(&a, &b), Some((4, 4, Basis::Tokenizer)));
    }

    #[test]
    fn a_record_without_a_counterpart_goes_by_its_own_count() {
        let (a, b) = (answered("one two", 2), answered("one two", 3));
        let mut alone = answered("one two", 3);
        alone.id.index = 1;
        let credits = Credits::new(&[&a], &[&b, &alone]);
        assert_eq!(credits.candidate(&b), Some(2));
        assert_eq!(credits.candidate(&alone), Some(3));
    }
}
