//! The tokens with which two answers to the same request are credited when their engines are
//! compared.
//!
//! Work goes by what was said, then by counts. Two equal texts are the same work, whatever
//! the engines count: one counts the end token, another does not. Other texts are counted by
//! the model's tokenizer if both were, and by the engines themselves otherwise.

use crate::common::{Common, Withheld, common};
use crate::facts::{Facts, Requests};
use prony_record::Record;
use std::collections::HashMap;
use std::convert::Infallible;

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

/// Comparison of two answers to one request, made of both records: their texts and stamps need
/// not be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Overlap {
    /// Both gave the same text. Of reasoning and calls of tools only the length is known.
    pub is_identical: bool,
    /// Number of characters that the texts have in common at their beginning; `None` if they
    /// are equal.
    pub divergence: Option<u32>,
    /// The part that both have.
    pub common: Result<Common, Withheld>,
}

impl Overlap {
    /// Of the baseline's and the candidate's answer.
    pub fn new(baseline: &Record, candidate: &Record) -> Self {
        Self {
            is_identical: is_identical(baseline, candidate),
            divergence: divergence(&baseline.text, &candidate.text),
            common: common(baseline, candidate),
        }
    }
}

fn is_identical(a: &Record, b: &Record) -> bool {
    let said = |it: &Record| (it.reasoning_bytes, it.tool_call_bytes);
    a.text == b.text && said(a) == said(b)
}

/// Number of characters that two texts have in common at their beginning; `None` if they are equal.
fn divergence(a: &str, b: &str) -> Option<u32> {
    (a != b).then(|| a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count() as u32)
}

/// The pairs of two engines' answers, in the order of the candidate's: same cycle, same number
/// in the stage, both successful.
#[derive(Debug, Clone, Default)]
pub struct Pairs {
    pairs: Vec<Paired>,
    /// The part that both have, of each pair; empty once it is forgotten.
    parts: Vec<Result<Common, Withheld>>,
}

/// A pair, by its places among the requests of both.
#[derive(Debug, Clone)]
struct Paired {
    baseline: u32,
    candidate: u32,
    is_identical: bool,
    divergence: Option<u32>,
}

impl Pairs {
    /// Pairs the requests of two engines. `overlap` compares the records at two positions.
    ///
    /// # Errors
    ///
    /// The error of `overlap`.
    pub fn new<E>(
        baseline: &[Facts],
        candidate: &[Facts],
        mut overlap: impl FnMut(u64, u64) -> Result<Overlap, E>,
    ) -> Result<Self, E> {
        let numbered = (0_u32..).zip(baseline).filter(|(_, it)| it.ok());
        let of_baseline: HashMap<(u32, u32), u32> = numbered
            .map(|(number, it)| (it.cycle_and_index(), number))
            .collect();
        let mut all = Self::default();
        for (number, facts) in (0_u32..).zip(candidate).filter(|(_, it)| it.ok()) {
            if let Some(other) = of_baseline.get(&facts.cycle_and_index()) {
                let it = overlap(baseline[*other as usize].position, facts.position)?;
                all.pairs.push(Paired {
                    baseline: *other,
                    candidate: number,
                    is_identical: it.is_identical,
                    divergence: it.divergence,
                });
                all.parts.push(it.common);
            }
        }
        Ok(all)
    }

    /// Pairs requests whose records are at hand, each at its index.
    pub fn of_records(baseline: &[&Record], candidate: &[&Record]) -> Self {
        let of = |records: &[&Record]| -> Requests { records.iter().copied().collect() };
        let pairs = Self::new(of(baseline).facts(), of(candidate).facts(), |a, b| {
            let (a, b) = (baseline[a as usize], candidate[b as usize]);
            Ok::<_, Infallible>(Overlap::new(a, b))
        });
        pairs.unwrap_or_else(|never| match never {})
    }

    /// The pairs, with the requests that they were made of.
    pub fn of<'a>(&'a self, baseline: &'a [Facts], candidate: &'a [Facts]) -> Vec<Pair<'a>> {
        let pair = |(number, it): (usize, &Paired)| Pair {
            baseline: &baseline[it.baseline as usize],
            candidate: &candidate[it.candidate as usize],
            is_identical: it.is_identical,
            divergence: it.divergence,
            common: self.parts.get(number),
        };
        self.pairs.iter().enumerate().map(pair).collect()
    }

    /// Frees the memory of the parts that both have, which only [`ratios`] needs.
    ///
    /// [`ratios`]: crate::comparison::ratios
    pub fn forget_parts(&mut self) {
        self.parts = Vec::new();
    }
}

/// The answers of both engines to one request.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// The baseline's.
    pub baseline: &'a Facts,
    /// The candidate's.
    pub candidate: &'a Facts,
    /// As [`Overlap::is_identical`].
    pub is_identical: bool,
    /// As [`Overlap::divergence`].
    pub divergence: Option<u32>,
    /// As [`Overlap::common`]; `None` once it is forgotten.
    pub common: Option<&'a Result<Common, Withheld>>,
}

impl Pair<'_> {
    /// Tokens of the baseline's and of the candidate's answer, and where they come from; see
    /// [`tokens`].
    pub fn tokens(&self) -> Option<(u32, u32, Basis)> {
        tokens(self.is_identical, self.baseline, self.candidate)
    }
}

/// Tokens that two answers are credited with, and where they come from, of two records.
pub(crate) fn tokens_of(baseline: &Record, candidate: &Record) -> Option<(u32, u32, Basis)> {
    let (a, b) = (Facts::new(baseline, 0), Facts::new(candidate, 0));
    tokens(is_identical(baseline, candidate), &a, &b)
}

/// Tokens that two answers are credited with, and where they come from; `None` if the texts
/// differ and one of them was not counted.
///
/// Equal texts have the smaller of the two counts, since what the larger one has beside
/// it has no text; without any count both are one unit of work.
fn tokens(is_identical: bool, a: &Facts, b: &Facts) -> Option<(u32, u32, Basis)> {
    if is_identical {
        let counts = [a, b].map(Facts::tokens);
        let tokens = counts.into_iter().flatten().min().unwrap_or(1);
        return Some((tokens, tokens, Basis::Text));
    }
    if let (Some(a), Some(b)) = (a.counted_tokens, b.counted_tokens) {
        return Some((a, b, Basis::Tokenizer));
    }
    Some((a.tokens()?, b.tokens()?, Basis::Engine))
}

/// The tokens of every answer of a comparison.
#[derive(Debug, Default)]
pub struct Credits(HashMap<(u32, u32), (u32, u32)>);

impl Credits {
    /// Of all pairs of two engines.
    pub fn new(pairs: &[Pair<'_>]) -> Self {
        let tokens = pairs.iter().filter_map(|pair| {
            let (a, b, _) = pair.tokens()?;
            Some((pair.baseline.cycle_and_index(), (a, b)))
        });
        Self(tokens.collect())
    }

    /// Tokens of a request to the baseline. One without a counterpart, as closed loops of a
    /// set time have them, goes by its own count.
    pub fn baseline(&self, request: &Facts) -> Option<u32> {
        self.of(request, |tokens| tokens.0)
    }

    /// Tokens of a request to the candidate, likewise.
    pub fn candidate(&self, request: &Facts) -> Option<u32> {
        self.of(request, |tokens| tokens.1)
    }

    fn of(&self, request: &Facts, side: fn(&(u32, u32)) -> u32) -> Option<u32> {
        let of_pair = self.0.get(&request.cycle_and_index()).map(side);
        of_pair.or_else(|| request.tokens())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::answered;

    fn tokens(a: &Record, b: &Record) -> Option<(u32, u32, Basis)> {
        tokens_of(a, b)
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
        let pairs = Pairs::of_records(&[&a], &[&b, &alone]);
        let (baseline, candidate): (Requests, Requests) = (
            [&a].into_iter().collect(),
            [&b, &alone].into_iter().collect(),
        );
        let (baseline, candidate) = (baseline.facts(), candidate.facts());
        let credits = Credits::new(&pairs.of(baseline, candidate));
        assert_eq!(credits.candidate(&candidate[0]), Some(2));
        assert_eq!(credits.candidate(&candidate[1]), Some(3));
    }
}
