//! Comparison of an engine's count of generated tokens with an independent one.
//!
//! The two need not be equal. An engine counts tokens without text, such as the one that
//! ends an answer; and a text may be tokenised differently from how it was generated. The
//! first accounts for at most two tokens, the second for a few percent.

use crate::facts::Facts;
use crate::throughput::{Visit, rate};
use prony_result::TokenCheck;

/// Allowed difference in tokens, for tokens without text.
const SPECIAL_TOKENS: u32 = 2;
/// Allowed further difference as a share, since a text can be tokenised in several ways.
const RETOKENISED: f64 = 0.02;

/// Compares the counts of the successful requests; `None` if none was counted
/// independently.
pub fn check(measured: &[&Facts], visits: &[Visit], concurrency: u32) -> Option<TokenCheck> {
    let counts: Vec<(u32, u32)> = measured
        .iter()
        .filter(|record| record.ok())
        .filter_map(|record| counts(record))
        .collect();
    let difference = |(engine, counted): &(u32, u32)| i64::from(*engine) - i64::from(*counted);
    let largest_difference = counts.iter().map(difference).max_by_key(|it| it.abs())?;
    Some(TokenCheck {
        requests: counts.len() as u64,
        mismatched: counts.iter().filter(|(a, b)| !agree(*a, *b)).count() as u64,
        engine_tokens: counts.iter().map(|(engine, _)| u64::from(*engine)).sum(),
        counted_tokens: counts.iter().map(|(_, counted)| u64::from(*counted)).sum(),
        largest_difference,
        output_tokens_per_sec: rate(measured, visits, concurrency, |it| it.counted_tokens),
    })
}

/// Returns `true` if the engine's count of an answer and the independent one disagree.
pub fn disagree(record: &Facts) -> bool {
    record.ok() && counts(record).is_some_and(|(engine, counted)| !agree(engine, counted))
}

/// The engine's count of the answer and the independent one. `None` also if the engine
/// counts reasoning as output without stating its length.
fn counts(record: &Facts) -> Option<(u32, u32)> {
    let reasoning = match record.reasoning_tokens {
        Some(tokens) => tokens,
        None if !record.has_reasoning => 0,
        None => return None,
    };
    let answer = record.output_tokens?.saturating_sub(reasoning);
    Some((answer, record.counted_tokens?))
}

/// Returns `true` if two counts differ by no more than special tokens and retokenisation.
pub(crate) fn agree(engine: u32, counted: u32) -> bool {
    let allowed = SPECIAL_TOKENS + (f64::from(counted) * RETOKENISED) as u32;
    engine.abs_diff(counted) <= allowed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Requests;
    use crate::fixture::answered;
    use prony_record::Record;

    fn counted(engine: u32, counted: u32) -> Record {
        let mut record = answered("words and words", engine);
        record.counted_tokens = Some(counted);
        record.stamps.end_ns = 1_000_000_000;
        record
    }

    fn checked(records: &[Record]) -> Option<TokenCheck> {
        let requests: Requests = records.iter().collect();
        let records = requests.all();
        check(&records, &[], 1)
    }

    #[test]
    fn an_end_token_is_no_mismatch() {
        let check = checked(&[counted(32, 31), counted(32, 30)]).expect("a check");
        assert_eq!((check.requests, check.mismatched), (2, 0));
        assert_eq!(check.largest_difference, 2);
        assert_eq!((check.engine_tokens, check.counted_tokens), (64, 61));
        assert_eq!(check.output_tokens_per_sec, Some(30.5));
    }

    #[test]
    fn a_request_that_is_counted_otherwise_is_named_and_not_averaged_away() {
        let check = checked(&[counted(30, 35), counted(35, 30), counted(32, 32)]).expect("one");
        assert_eq!(check.mismatched, 2, "their sums are equal");
        assert_eq!(check.engine_tokens, check.counted_tokens);
        assert!(agree(205, 200) && !agree(207, 200));
    }

    #[test]
    fn what_was_not_counted_is_not_checked() {
        let mut plain = answered("text", 1);
        assert_eq!(checked(std::slice::from_ref(&plain)), None);
        plain.stamps.end_ns = 1_000_000_000;
        let check = checked(&[plain, counted(3, 3)]).expect("one counted");
        assert_eq!(check.requests, 1);
        assert_eq!(check.output_tokens_per_sec, None, "not all were counted");
    }

    #[test]
    fn reasoning_is_not_part_of_the_answer() {
        let mut record = counted(50, 20);
        record.reasoning_bytes = 100;
        assert_eq!(checked(std::slice::from_ref(&record)), None);
        record.reasoning_tokens = Some(29);
        assert_eq!(checked(&[record]).expect("a check").mismatched, 0);
    }
}
