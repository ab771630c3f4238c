//! Comparison of an engine's count of prompt tokens with that of the prompts as prony renders
//! them. The two are of the same text with the same vocabulary, so they are equal, or the
//! engine got another prompt: one with a second begin token, or of another chat template.

use crate::facts::Facts;
use prony_result::PromptCheck;

/// Compares the counts of the successful requests; `None` if none was rendered and counted.
pub fn check(measured: &[&Facts]) -> Option<PromptCheck> {
    let good = || measured.iter().filter(|record| record.ok());
    let requests = good()
        .filter(|it| it.own_counts().rendered.is_some())
        .count();
    let differences: Vec<i64> = good().filter_map(|record| difference(record)).collect();
    (requests > 0).then(|| PromptCheck {
        requests: requests as u64,
        counted: differences.len() as u64,
        mismatched: differences.iter().filter(|it| **it != 0).count() as u64,
        largest_difference: differences.into_iter().max_by_key(|it| it.abs()),
    })
}

/// Returns `true` if the two counts differ: the engine got another prompt.
pub fn disagree(record: &Facts) -> bool {
    record.ok() && difference(record).is_some_and(|difference| difference != 0)
}

/// Prompt tokens by the engine's count less those of the rendering; `None` without either.
fn difference(record: &Facts) -> Option<i64> {
    Some(i64::from(record.prompt_tokens?) - i64::from(record.own_counts().rendered?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Requests;
    use crate::fixture::answered;
    use prony_record::Record;

    fn prompt(engine: Option<u32>, rendered: Option<u32>) -> Record {
        let mut record = answered("text", 1);
        (record.prompt_tokens, record.rendered_tokens) = (engine, rendered);
        record
    }

    fn checked(records: &[Record]) -> Option<PromptCheck> {
        check(&records.iter().collect::<Requests>().all())
    }

    #[test]
    fn one_token_more_is_another_prompt() {
        let records = [prompt(Some(20), Some(20)), prompt(Some(21), Some(20))];
        let found = checked(&records).expect("a check");
        assert_eq!((found.requests, found.counted, found.mismatched), (2, 2, 1));
        assert_eq!(found.largest_difference, Some(1));
        let requests: Requests = records.iter().collect();
        let facts = requests.facts();
        assert!(!disagree(&facts[0]) && disagree(&facts[1]));
    }

    #[test]
    fn what_is_not_counted_is_not_compared() {
        assert_eq!(checked(&[prompt(Some(20), None)]), None);
        let found = checked(&[prompt(None, Some(20))]).expect("a check");
        assert_eq!((found.requests, found.counted, found.mismatched), (1, 0, 0));
        assert_eq!(found.largest_difference, None);
    }
}
