//! Comparison of the work of two engines: their answers to the same requests.
//!
//! Two engines with the same weights and greedy sampling need not give the same text: sums
//! are rounded in another order, and a near tie falls the other way. From there on the
//! answers are of another text, and may be of another length. That is no fault, but what an
//! answer took as a whole is then not comparable, and what a token took is.

use crate::credit::{Basis, Pair};
use crate::statistics::distribution;
use prony_result::{Lengths, SameWork};
use std::collections::BTreeMap;

/// Lengths of a question's answers that differ by more than this share are unequal.
const TOLERANCE: f64 = 0.01 + 1e-9;

/// Compares the answers of two engines to the requests of one measure stage, pair by pair:
/// same cycle, same number in the stage. `None` if no request was answered by both.
pub fn same_work(pairs: &[Pair<'_>]) -> Option<SameWork> {
    if pairs.is_empty() {
        return None;
    }
    let divergences: Vec<f64> = pairs
        .iter()
        .filter_map(|pair| pair.divergence)
        .map(f64::from)
        .collect();
    let tokens: Vec<Option<(u32, u32, Basis)>> = pairs.iter().map(Pair::tokens).collect();
    let known = || tokens.iter().flatten();
    let basis = known().map(|(.., basis)| *basis).max();
    let differences = length_differences(pairs, &tokens);
    Some(SameWork {
        pairs: pairs.len() as u64,
        identical_share: 1.0 - divergences.len() as f64 / pairs.len() as f64,
        first_divergence_characters_p50: distribution(divergences).map(|it| it.p50),
        lengths_by: basis.unwrap_or(Basis::Engine).name().to_owned(),
        counted_otherwise: pairs
            .iter()
            .filter(|pair| is_counted_otherwise(pair))
            .count() as u64,
        baseline_output_tokens: lengths(known().map(|(a, ..)| *a)),
        candidate_output_tokens: lengths(known().map(|(_, b, _)| *b)),
        questions: differences.len() as u32,
        questions_of_unequal_length: differences
            .iter()
            .filter(|difference| difference.abs() > TOLERANCE)
            .count() as u32,
        largest_length_difference_percent: differences
            .into_iter()
            .max_by(|a, b| a.abs().total_cmp(&b.abs()))
            .map(|difference| difference * 100.0),
        largest_prompt_difference_tokens: pairs
            .iter()
            .filter_map(
                |Pair {
                     baseline: a,
                     candidate: b,
                     ..
                 }| {
                    Some(i64::from(b.prompt_tokens?) - i64::from(a.prompt_tokens?))
                },
            )
            .max_by_key(|difference| difference.abs()),
    })
}

/// The candidate's length over the baseline's, less 1, for each question whose pairs all have
/// both lengths.
fn length_differences(pairs: &[Pair<'_>], tokens: &[Option<(u32, u32, Basis)>]) -> Vec<f64> {
    let mut questions = BTreeMap::<(u32, Option<u32>), Option<(u64, u64)>>::new();
    for (pair, tokens) in pairs.iter().zip(tokens) {
        let sums = questions
            .entry(pair.baseline.question())
            .or_insert(Some((0, 0)));
        *sums = sums
            .zip(*tokens)
            .map(|((of_a, of_b), (a, b, _))| (of_a + u64::from(a), of_b + u64::from(b)));
    }
    let known = questions.into_values().flatten();
    known
        .filter(|(a, _)| *a > 0)
        .map(|(a, b)| b as f64 / a as f64 - 1.0)
        .collect()
}

/// Returns `true` if the engines count the tokens of one and the same text differently.
fn is_counted_otherwise(pair: &Pair<'_>) -> bool {
    let counts = pair
        .baseline
        .output_tokens
        .zip(pair.candidate.output_tokens);
    pair.is_identical && counts.is_some_and(|(a, b)| a != b)
}

fn lengths(tokens: impl Iterator<Item = u32>) -> Option<Lengths> {
    let all = distribution(tokens.map(f64::from).collect())?;
    Some(Lengths {
        n: all.n,
        min: all.min,
        p50: all.p50,
        max: all.max,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credit::Pairs;
    use crate::facts::Requests;
    use crate::fixture::answered;
    use prony_record::Record;

    fn answer(cycle: u32, index: u32, text: &str, tokens: u32) -> Record {
        let mut record = answered(text, tokens);
        (record.id.cycle, record.id.index) = (cycle, index);
        record.id.prompt = index;
        record
    }

    fn compared(a: &[Record], b: &[Record]) -> Option<SameWork> {
        let (a, b): (Vec<&Record>, Vec<&Record>) = (a.iter().collect(), b.iter().collect());
        let pairs = Pairs::of_records(&a, &b);
        let of = |records: Vec<&Record>| -> Requests { records.into_iter().collect() };
        same_work(&pairs.of(of(a).facts(), of(b).facts()))
    }

    #[test]
    fn equal_answers_are_the_same_work() {
        let answers = [answer(1, 0, "one two", 2), answer(2, 0, "one two", 2)];
        let same = compared(&answers, &answers).expect("pairs");
        assert_eq!((same.pairs, same.questions), (2, 1));
        assert!((same.identical_share - 1.0).abs() < 1e-12);
        assert_eq!(same.first_divergence_characters_p50, None);
        assert!(same.is_of_equal_length());
    }

    #[test]
    fn the_first_difference_is_counted_in_characters() {
        let a = [answer(1, 0, "größer", 3), answer(1, 1, "same", 1)];
        let b = [answer(1, 0, "größte", 3), answer(1, 1, "same", 1)];
        let same = compared(&a, &b).expect("pairs");
        assert!((same.identical_share - 0.5).abs() < 1e-12);
        assert_eq!(same.first_divergence_characters_p50, Some(4.0));
    }

    #[test]
    fn a_difference_that_the_mean_hides_is_seen_question_by_question() {
        let a = [answer(1, 0, "a", 100), answer(1, 1, "b", 50)];
        let b = [answer(1, 0, "c", 50), answer(1, 1, "d", 100)];
        let same = compared(&a, &b).expect("pairs");
        assert_eq!((same.questions, same.questions_of_unequal_length), (2, 2));
        let largest = same.largest_length_difference_percent.expect("known");
        assert!((largest - 100.0).abs() < 1e-9, "{largest}");
        assert!(!same.is_of_equal_length());
        let b = [answer(1, 0, "c", 101), answer(1, 1, "d", 50)];
        assert!(compared(&a, &b).expect("pairs").is_of_equal_length());
    }

    #[test]
    fn only_requests_that_both_answered_are_compared() {
        let a = [answer(1, 0, "a", 1)];
        assert_eq!(compared(&a, &[answer(2, 0, "a", 1)]), None);
        let mut failed = answer(1, 0, "a", 1);
        failed.failed = Some(prony_record::Failed::new(
            prony_record::ErrorClass::Timeout,
            "late",
        ));
        assert_eq!(compared(&a, &[failed]), None);
    }

    #[test]
    fn an_image_that_one_engine_left_out_shows_in_its_prompt() {
        let (mut a, mut b) = (answer(1, 0, "a", 1), answer(1, 0, "a", 1));
        let prompt_difference = |a: &Record, b: &Record| {
            let same = compared(std::slice::from_ref(a), std::slice::from_ref(b));
            same.expect("a pair").largest_prompt_difference_tokens
        };
        a.prompt_tokens = Some(300);
        assert_eq!(prompt_difference(&a, &b), None);
        b.prompt_tokens = Some(44);
        assert_eq!(prompt_difference(&a, &b), Some(-256));
    }

    #[test]
    fn lengths_are_by_the_independent_count_if_all_have_one() {
        let mut a = answer(1, 0, "a", 90);
        let mut b = answer(1, 0, "b", 100);
        (a.counted_tokens, b.counted_tokens) = (Some(80), Some(80));
        let same = compared(std::slice::from_ref(&a), std::slice::from_ref(&b)).expect("a pair");
        assert_eq!(same.lengths_by, "tokenizer");
        assert!(same.is_of_equal_length());
        b.counted_tokens = None;
        let counted = |a: &Record, b: &Record| {
            compared(std::slice::from_ref(a), std::slice::from_ref(b)).expect("a pair")
        };
        let same = counted(&a, &b);
        assert_eq!(same.lengths_by, "engine");
        assert!(!same.is_of_equal_length());
        // Equal texts are the same work, whoever counts what.
        b.text.clone_from(&a.text);
        let same = counted(&a, &b);
        assert_eq!(
            (same.lengths_by.as_str(), same.counted_otherwise),
            ("text", 1)
        );
        assert!(same.is_of_equal_length());
    }
}
