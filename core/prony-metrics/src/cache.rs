//! Checks the declared state of an engine's prefix cache against the engine's own counts.
//!
//! `cold`: the text that a chat template puts before the request's own is the same every
//! time, so an engine may answer it from its cache; it cannot be prevented. The request's own
//! text must be computed. If the model's tokenizer has counted it, at least that many computed
//! tokens verify the state. If not, it has at least [`least_tokens`]: fewer computed tokens
//! prove that some of it was cached, and more prove nothing, unless none was cached at all.
//!
//! `warm`: a request whose prompt was answered before, since the engine was loaded, must
//! have at least half of its prompt from the cache. Caches omit the rest: the last token,
//! or the last block. A request with a new prompt verifies nothing; if it found less than that,
//! the measure is not of a warm cache alone.
//!
//! Where no answer tells, the engine's counters stand in, of all requests together
//! ([`by_counters`]).

use crate::account::{Account, slack};
use crate::facts::Facts;
use prony_contract::CounterKind;
use prony_result::{Cache, CacheCheck, CacheOutcome};
use std::collections::BTreeSet;

/// Maximum length of a token, in bytes.
const MAX_TOKEN: usize = 16;
/// Minimum share of a prompt that a warm cache answers.
const WARM_SHARE: f64 = 0.5;

/// Minimum number of tokens in a text: no token spans white space, and none has more than
/// 16 bytes in scripts without it or in long words.
pub fn least_tokens(text: &str) -> u32 {
    let words = text.split_whitespace();
    words
        .map(|word| word.len().div_ceil(MAX_TOKEN))
        .sum::<usize>() as u32
}

/// Checks the successful requests of `measured`. `is_repeated` returns `true` if a
/// request's prompt had been answered before.
pub fn check(
    stated: Cache,
    measured: &[&Facts],
    is_repeated: impl Fn(&Facts) -> bool,
) -> CacheCheck {
    let (mut requests, mut counted, mut broken, mut unexplained) = (0, 0, 0, 0);
    let mut new = 0;
    let (mut of_cached, mut of_all) = (0, 0);
    for record in measured.iter().filter(|record| record.ok()) {
        if stated == Cache::Warm && !is_repeated(record) {
            let counts = record.prompt_tokens.zip(record.cached_tokens);
            new += u64::from(!counts.is_some_and(|(all, cached)| is_warm(all, cached)));
            continue;
        }
        requests += 1;
        let (Some(all), Some(cached)) = (record.prompt_tokens, record.cached_tokens) else {
            continue;
        };
        if stated == Cache::Cold && all < own_tokens(record) {
            // Of a prompt that was cut, no cached tokens prove nothing.
            continue;
        }
        counted += 1;
        of_cached += u64::from(cached);
        of_all += u64::from(all);
        let is_kept = match stated {
            Cache::Cold => {
                let is_kept = cached == 0 || all.saturating_sub(cached) >= own_tokens(record);
                let is_bounded = cached == 0 || record.own_counts().own.is_some();
                unexplained += u64::from(is_kept && !is_bounded);
                is_kept
            }
            Cache::Warm => is_warm(all, cached),
        };
        broken += u64::from(!is_kept);
    }
    let outcome = if broken > 0 {
        CacheOutcome::Broken
    } else if counted == 0 || counted < requests || unexplained > 0 || new > 0 {
        CacheOutcome::Unverified
    } else {
        CacheOutcome::Kept
    };
    CacheCheck {
        outcome,
        requests,
        counted,
        broken: Some(broken),
        unexplained: (unexplained > 0).then_some(unexplained),
        new: (new > 0).then_some(new),
        cached_share: (of_all > 0).then(|| of_cached as f64 / of_all as f64),
        by_counters: false,
    }
}

/// Returns `true` if enough tokens of a prompt were cached for a warm cache.
fn is_warm(all: u32, cached: u32) -> bool {
    cached > 0 && f64::from(cached) >= f64::from(all) * WARM_SHARE
}

/// The fewest tokens of a request's own text, of a cold request at least 1.
fn own_tokens(record: &Facts) -> u32 {
    let counts = record.own_counts();
    let least = counts.least.unwrap_or(1);
    counts.own.map_or(least, |own| own.max(least))
}

/// The check that [`check`] is, by the engine's counters instead of its answers. `None` where
/// they cannot say: a request failed, the counters do not cover all cycles, or they count
/// what prony did not send.
///
/// The sums tell less than the requests one by one. With `cold`, more than a chat template can
/// explain in all requests is not cold, and only none is: which requests fewer tokens are of is
/// not known. With `warm`, half of the prompts that had been answered before must be cached,
/// even if all others were cached in full; and of the others half must be, even if all repeated ones
/// were in full.
pub fn by_counters(
    stated: Cache,
    measured: &[&Facts],
    is_repeated: impl Fn(&Facts) -> bool,
    account: &Account,
) -> Option<CacheCheck> {
    let cached = account.count(CounterKind::CachedTokens)?;
    let requests = measured.len();
    let cycles: BTreeSet<u32> = measured.iter().map(|record| record.cycle).collect();
    if requests == 0
        || !measured.iter().all(|record| record.ok())
        || cached.cycles as usize != cycles.len()
    {
        return None;
    }
    let mut prompts = Vec::new();
    for record in measured {
        prompts.push((record, record.prompt_tokens?));
    }
    let all: f64 = prompts.iter().map(|(_, tokens)| f64::from(*tokens)).sum();
    // Other clients fill caches and counters alike.
    let is_own = |kind, slack: f64| {
        let count = account.count(kind);
        let more = count.and_then(|it| Some(it.engine - it.prony?));
        more.is_none_or(|more| more.abs() <= slack)
    };
    let slack = slack(requests as u64);
    let is_alone = is_own(CounterKind::Requests, 0.0)
        && is_own(CounterKind::PromptTokens, slack)
        && is_own(CounterKind::OutputTokens, slack);
    if !is_alone || cached.engine > all {
        return None;
    }
    let cached = cached.engine;
    let mut new = None;
    let (outcome, requests) = match stated {
        Cache::Cold => {
            let of_template = |(record, all): &(&&Facts, u32)| {
                // Of a prompt that was cut, no cached tokens prove nothing.
                all.checked_sub(own_tokens(record)).map(f64::from)
            };
            let most: Option<f64> = prompts.iter().map(of_template).sum();
            let outcome = if cached > most? {
                CacheOutcome::Broken
            } else if cached > 0.0 {
                CacheOutcome::Unverified
            } else {
                CacheOutcome::Kept
            };
            (outcome, requests)
        }
        Cache::Warm => {
            let repeated = prompts.iter().filter(|(record, _)| is_repeated(record));
            let (number, of_repeated) = repeated.fold((0, 0.0), |(number, sum), (_, tokens)| {
                (number + 1, sum + f64::from(*tokens))
            });
            let of_new = all - of_repeated;
            let outcome = if cached < of_repeated * WARM_SHARE {
                CacheOutcome::Broken
            } else if number > 0 && cached - of_new >= of_repeated * WARM_SHARE {
                if number == requests || cached - of_repeated >= of_new * WARM_SHARE {
                    CacheOutcome::Kept
                } else {
                    new = Some((requests - number) as u64);
                    CacheOutcome::Unverified
                }
            } else {
                return None;
            };
            (outcome, number)
        }
    };
    Some(CacheCheck {
        outcome,
        requests: requests as u64,
        counted: requests as u64,
        broken: None,
        unexplained: (outcome == CacheOutcome::Unverified && new.is_none())
            .then_some(requests as u64),
        new,
        cached_share: (all > 0.0).then(|| cached / all),
        by_counters: true,
    })
}

/// Largest difference of two engines' shares of cached prompt tokens (0 to 1) at which they
/// still did the same work.
pub const SHARE_TOLERANCE: f64 = 0.1;

/// Cached tokens over prompt tokens, 0 to 1, of the successful requests for which the engine
/// reports both; `None` without any.
pub fn share(measured: &[&Facts]) -> Option<f64> {
    let counts = measured.iter().filter(|record| record.ok());
    let counts = counts.filter_map(|it| Some((it.cached_tokens?, it.prompt_tokens?)));
    let (cached, all) = counts.fold((0, 0), |(cached, all), (of_cached, of_all)| {
        (cached + u64::from(of_cached), all + u64::from(of_all))
    });
    (all > 0).then(|| cached as f64 / all as f64)
}

/// The reason why the numbers are invalid for this; `None` if they are valid.
pub fn reason(stated: Cache, check: &CacheCheck) -> Option<String> {
    if check.outcome != CacheOutcome::Broken {
        return None;
    }
    let share = check.cached_share.unwrap_or_default() * 100.0;
    let counted = check.counted;
    Some(match (stated, check.broken) {
        (Cache::Cold, None) => format!(
            "the measure is of a cold prefix cache, and by the engine's counters {share:.0} % of all prompt tokens of {counted} requests came from it, which a chat template does not explain: switch the engine's prefix cache off, or measure with `cache: warm`"
        ),
        (Cache::Warm, None) => format!(
            "the measure is of a warm prefix cache, and by the engine's counters only {share:.0} % of the prompt tokens came from it: switch the engine's prefix cache on, or measure with `cache: cold`"
        ),
        (Cache::Cold, Some(broken)) => format!(
            "the measure is of a cold prefix cache, and {broken} of {counted} requests were answered from it ({share:.0} % of all prompt tokens): switch the engine's prefix cache off, or measure with `cache: warm`; a server that stays up also has what an earlier run with the same `schedule.seed` sent"
        ),
        (Cache::Warm, Some(broken)) => format!(
            "the measure is of a warm prefix cache, and {broken} of {counted} requests whose prompt had been answered before were not answered from it ({share:.0} % of their prompt tokens were): switch the engine's prefix cache on, or measure with `cache: cold`"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Requests;
    use crate::fixture::answered;
    use prony_record::{CounterTold, ErrorClass, Failed, Record};

    fn asked(least: u32, all: u32, cached: Option<u32>) -> Record {
        let mut record = answered("text", 1);
        record.least_prompt_tokens = Some(least);
        record.prompt_tokens = Some(all);
        record.cached_tokens = cached;
        record
    }

    fn checked(stated: Cache, records: &[Record]) -> CacheCheck {
        let requests: Requests = records.iter().collect();
        let records = requests.all();
        check(stated, &records, |record| record.index > 0)
    }

    #[test]
    fn words_are_the_fewest_tokens() {
        assert_eq!(least_tokens(" What is  machine learning?\n"), 4);
        assert_eq!(least_tokens(""), 0);
        // No white space: 15 characters of 3 bytes.
        assert_eq!(least_tokens("機械学習とは何かを説明してくださ"), 3);
    }

    #[test]
    fn a_template_from_the_cache_is_not_a_warm_cache() {
        // 22 of 31 tokens are the template's; the prompt's own seven are computed.
        let mut first = asked(4, 31, Some(22));
        first.own_prompt_tokens = Some(7);
        let check = checked(Cache::Cold, &[asked(4, 31, Some(0)), first.clone()]);
        assert_eq!(
            (check.outcome, check.unexplained),
            (CacheOutcome::Kept, None)
        );
        assert_eq!(reason(Cache::Cold, &check), None);
        first.cached_tokens = Some(25);
        let check = checked(Cache::Cold, &[asked(4, 31, Some(0)), first]);
        assert_eq!(check.outcome, CacheOutcome::Broken, "one of its own");
    }

    #[test]
    fn cached_tokens_that_nothing_explains_verify_nothing() {
        // 200 of 640 may be the template's, or the prompt's beginning.
        let check = checked(
            Cache::Cold,
            &[asked(400, 640, Some(200)), asked(400, 640, Some(0))],
        );
        assert_eq!(
            (check.outcome, check.unexplained),
            (CacheOutcome::Unverified, Some(1))
        );
        assert_eq!(reason(Cache::Cold, &check), None);
    }

    #[test]
    fn a_prompt_from_the_cache_is_not_cold() {
        let check = checked(
            Cache::Cold,
            &[asked(4, 31, Some(0)), asked(4, 31, Some(30))],
        );
        assert_eq!(
            (check.outcome, check.broken),
            (CacheOutcome::Broken, Some(1))
        );
        let reason = reason(Cache::Cold, &check).expect("not valid");
        assert!(
            reason.contains("1 of 2 requests") && reason.contains("48 %"),
            "{reason}"
        );
        assert!(reason.contains("`cache: warm`"), "{reason}");
    }

    #[test]
    fn a_shared_beginning_from_the_cache_is_not_cold() {
        let check = checked(Cache::Cold, &[asked(510, 640, Some(400))]);
        assert_eq!(check.outcome, CacheOutcome::Broken);
    }

    #[test]
    fn who_does_not_count_is_not_believed() {
        let check = checked(Cache::Cold, &[asked(4, 31, None)]);
        assert_eq!(
            (check.outcome, check.requests),
            (CacheOutcome::Unverified, 1)
        );
        let check = checked(Cache::Cold, &[asked(4, 31, Some(0)), asked(4, 31, None)]);
        assert_eq!(check.outcome, CacheOutcome::Unverified, "one did not");
    }

    fn counted(
        stated: Cache,
        records: &[Record],
        counts: &[(CounterKind, f64)],
    ) -> Option<CacheCheck> {
        let requests: Requests = records.iter().collect();
        let records = requests.all();
        let counters: Vec<CounterTold> = counts
            .iter()
            .map(|(kind, amount)| CounterTold {
                kind: *kind,
                spans: vec![Some((7.0, 7.0 + amount))],
            })
            .collect();
        let account = Account {
            settings: Vec::new(),
            counts: crate::account::counts([(records[0].cycle, &counters[..])], &records),
        };
        by_counters(stated, &records, |record| record.index > 0, &account)
    }

    #[test]
    fn counters_tell_what_answers_do_not() {
        use CounterKind::{CachedTokens, Requests};
        let silent = || asked(4, 31, None);
        let cold = |cached| {
            let counts = [(CachedTokens, cached), (Requests, 2.0)];
            let check = counted(Cache::Cold, &[silent(), silent()], &counts);
            check.expect("counted").outcome
        };
        assert_eq!(cold(0.0), CacheOutcome::Kept);
        // The template's 27 tokens of both, or all of one.
        assert_eq!(cold(54.0), CacheOutcome::Unverified);
        assert_eq!(cold(55.0), CacheOutcome::Broken);
        let mut again = silent();
        again.id.index = 1;
        let warm = |cached| {
            let records = [silent(), again.clone(), again.clone()];
            counted(Cache::Warm, &records, &[(CachedTokens, cached)])
        };
        let outcome = |cached| warm(cached).map(|check| (check.outcome, check.requests));
        assert_eq!(outcome(30.0), Some((CacheOutcome::Broken, 2)));
        assert_eq!(outcome(40.0), None, "the new prompt may have been cached");
        assert_eq!(outcome(62.0), Some((CacheOutcome::Unverified, 2)));
        assert_eq!(warm(62.0).and_then(|check| check.new), Some(1));
        assert_eq!(outcome(78.0), Some((CacheOutcome::Kept, 2)));
        // Of prompts that were all answered before, caches omit the last tokens.
        let records = [again.clone(), again.clone()];
        let check = counted(Cache::Warm, &records, &[(CachedTokens, 54.0)]).expect("counted");
        assert_eq!((check.outcome, check.new), (CacheOutcome::Kept, None));
        let reason = reason(Cache::Warm, &warm(30.0).expect("counted")).expect("not valid");
        assert!(
            reason.contains("by the engine's counters only 32 %"),
            "{reason}"
        );
    }

    #[test]
    fn counters_that_count_others_too_verify_nothing() {
        use CounterKind::{CachedTokens, Requests};
        let records = [asked(4, 31, None), asked(4, 31, None)];
        let of_others = [(CachedTokens, 0.0), (Requests, 3.0)];
        assert_eq!(counted(Cache::Cold, &records, &of_others), None);
        assert_eq!(counted(Cache::Cold, &records, &[(Requests, 2.0)]), None);
        let mut failed = asked(4, 31, None);
        failed.failed = Some(Failed::new(ErrorClass::Timeout, "late"));
        assert_eq!(
            counted(Cache::Cold, &[failed], &[(CachedTokens, 0.0)]),
            None
        );
    }

    #[test]
    fn a_share_is_of_what_is_told() {
        let records = [
            asked(4, 30, Some(20)),
            asked(4, 10, Some(0)),
            asked(4, 99, None),
        ];
        let requests: Requests = records.iter().collect();
        let records = requests.all();
        assert_eq!(share(&records), Some(0.5));
        assert_eq!(share(&records[2..]), None);
    }

    #[test]
    fn a_warm_cache_shows_when_a_prompt_comes_again() {
        let mut again = asked(4, 31, Some(30));
        again.id.index = 1;
        let check = checked(Cache::Warm, &[again.clone()]);
        assert_eq!((check.outcome, check.requests), (CacheOutcome::Kept, 1));
        // A prompt that nobody has sent before is in a warm cache, too, or the measure is of both.
        for (cached, outcome, new) in [
            (Some(30), CacheOutcome::Kept, None),
            (Some(0), CacheOutcome::Unverified, Some(1)),
            (None, CacheOutcome::Unverified, Some(1)),
        ] {
            let check = checked(Cache::Warm, &[asked(4, 31, cached), again.clone()]);
            assert_eq!((check.outcome, check.requests), (outcome, 1));
            assert_eq!(check.new, new);
        }
        again.cached_tokens = Some(8);
        let check = checked(Cache::Warm, &[asked(4, 31, Some(0)), again]);
        assert_eq!(check.outcome, CacheOutcome::Broken);
        assert!(reason(Cache::Warm, &check).is_some_and(|it| it.contains("`cache: cold`")));
        let check = checked(Cache::Warm, &[asked(4, 31, Some(0))]);
        assert_eq!(check.outcome, CacheOutcome::Unverified, "none came again");
    }
}
