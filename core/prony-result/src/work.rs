//! Sentences of reports about the prefix cache, counts of tokens, and the work that engines did.

use crate::words::{count, number, one_line, share, signed_percent};
use crate::{
    Cache, CacheCheck, CacheOutcome, Distribution, EngineResult, ModelResult, PromptCheck, SameWork,
};

impl CacheCheck {
    /// Finding about the state that a pipeline asks for, for example `verified, 98 % of the
    /// prompt tokens of 20 requests cached`.
    pub fn sentence(&self, stated: Cache) -> String {
        let counted = match self.cached_share {
            Some(cached) => format!(
                "{} of the prompt tokens of {} cached",
                share(cached),
                count(self.counted, "request")
            ),
            None => format!(
                "cached prompt tokens reported for {} of {}",
                self.counted,
                count(self.requests, "request")
            ),
        };
        match self.outcome {
            CacheOutcome::Kept if self.by_counters => {
                format!("verified by its own counters, {counted}")
            }
            CacheOutcome::Kept if stated == Cache::Cold && self.cached_share > Some(0.0) => {
                format!("verified, {counted}, all of them of the chat template's beginning")
            }
            CacheOutcome::Kept => format!("verified, {counted}"),
            CacheOutcome::Broken => match self.broken {
                Some(broken) => format!("broken by {}, {counted}", count(broken, "request")),
                None => format!("broken by its own counters, {counted}"),
            },
            CacheOutcome::Unverified if self.requests == 0 => {
                "not verified, no prompt came again".to_owned()
            }
            CacheOutcome::Unverified => match self.unexplained {
                Some(_) if self.by_counters => format!(
                    "not verified, {counted} by its own counters, which do not say of which requests"
                ),
                Some(unexplained) => format!(
                    "not verified, {counted}, and of {} nothing tells whether those are the chat template's alone",
                    count(unexplained, "request")
                ),
                None => format!("not verified, {counted}"),
            },
        }
    }
}

impl ModelResult {
    /// The state of the prefix cache, and what each engine's counts say of it, without a full
    /// stop; `None` if nothing was measured.
    pub fn cache_sentence(&self) -> Option<String> {
        let measured = self.engines.iter().filter(|engine| engine.requests > 0);
        let found: Vec<String> = match self.cache {
            Some(stated) => measured
                .filter_map(|it| {
                    let check = it.cache.as_ref()?;
                    let found = format!("{} {}", one_line(&it.engine), check.sentence(stated));
                    // A request whose prompt is new says nothing of a warm cache.
                    let new = it.succeeded.saturating_sub(check.requests);
                    Some(if check.requests > 0 && new > 0 {
                        let new = count(new, "other request");
                        let why = check.new.map_or(", which verifies nothing", |_| "");
                        format!("{found}, and the prompt of {new} was new{why}")
                    } else {
                        found
                    })
                })
                .collect(),
            None => measured
                .map(|it| {
                    let tokens = it.told_cached_tokens();
                    let tokens = tokens.map_or_else(
                        || "does not tell".to_owned(),
                        |tokens| count(tokens, "cached prompt token"),
                    );
                    format!("{} {tokens}", one_line(&it.engine))
                })
                .collect(),
        };
        let state = self.cache.map_or("not stated", Cache::name);
        (!found.is_empty()).then(|| format!("Prefix cache {state}: {}", found.join("; ")))
    }
}

impl ModelResult {
    /// Engines that got prompts rendered by prony, and what the counts of prompt tokens say
    /// of it, without a full stop; `None` if nothing was rendered.
    pub fn rendering_sentence(&self) -> Option<String> {
        let rendering = self.rendering.as_ref()?;
        let template = one_line(&rendering.template);
        let engines: Vec<String> = rendering.engines.iter().map(|it| one_line(it)).collect();
        let mut parts = vec![if engines.is_empty() {
            format!("Chat template {template} is the pipeline's, and every engine renders its own")
        } else {
            format!(
                "Chat template {template} rendered by prony for {}, which takes raw prompts",
                engines.join(", ")
            )
        }];
        if let Some(now) = &rendering.now {
            parts.push(format!("it has the date, which is {} here", one_line(now)));
        }
        match &rendering.uncounted {
            Some(reason) => parts.push(format!("not counted: {}", one_line(reason))),
            None => parts.extend(self.engines.iter().filter_map(|it| {
                let found = it.prompt_check.as_ref()?.sentence();
                Some(format!("{} {found}", one_line(&it.engine)))
            })),
        }
        Some(parts.join("; "))
    }
}

impl PromptCheck {
    /// The finding, for example `counts the rendered prompt's tokens in 20 of 20 requests`.
    fn sentence(&self) -> String {
        match self.largest_difference {
            None => "does not count prompt tokens".to_owned(),
            Some(difference) => {
                let same = format!(
                    "counts the rendered prompt's tokens in {} of {}",
                    self.counted - self.mismatched,
                    count(self.counted, "request")
                );
                match self.mismatched {
                    0 => same,
                    _ => format!("{same} ({difference:+} at most)"),
                }
            }
        }
    }
}

impl EngineResult {
    /// Prompt tokens that came from a prefix cache; `None` if the engine tells nothing.
    pub fn told_cached_tokens(&self) -> Option<u64> {
        (self.cached_tokens_told != Some(0)).then_some(self.cached_tokens)
    }

    /// Finding of an independent count of tokens, without a full stop; `None` if there was
    /// none.
    pub fn token_sentence(&self) -> Option<String> {
        let check = self.token_check.as_ref()?;
        let rate = check
            .output_tokens_per_sec
            .map_or_else(String::new, |rate| {
                format!(", {} tokens a second by that count", number(rate))
            });
        Some(format!(
            "{}: {} output tokens by its own count, {} by the tokenizer; {} of {} mismatched{rate}",
            one_line(&self.engine),
            check.engine_tokens,
            check.counted_tokens,
            check.mismatched,
            count(check.requests, "request")
        ))
    }
}

impl EngineResult {
    /// The engine's own times beside prony's, without a full stop; `None` if it reports none.
    /// For example `llama: decode 45.1 tok/s (prony 44.9), time to first token
    /// 120 ms (prony 128 ms, 8.00 ms of queue, network and rendering)`.
    pub fn clock_sentence(&self) -> Option<String> {
        let clock = self.own_clock.as_ref()?;
        let mut parts = Vec::new();
        if let Some(own) = clock.time_per_output_token_ms {
            let seen = clock.seen_time_per_output_token_ms.map(|it| rate(&it));
            let seen = seen.map_or_else(String::new, |seen| format!(" (prony {seen})"));
            parts.push(format!("decode {} tok/s{seen}", rate(&own)));
        }
        if let Some(own) = clock.time_to_first_token_ms {
            let mut seen: Vec<String> = Vec::new();
            if let Some(it) = self.time_to_first_token_ms {
                seen.push(format!("prony {} ms", number(it.p50)));
            }
            if let Some(it) = clock.first_token_difference_ms {
                let of = match (clock.prefill_ms, clock.queue_ms) {
                    (None, _) => "delivery",
                    (_, Some(_)) => "network and rendering",
                    (_, None) => "queue, network and rendering",
                };
                seen.push(format!("{} ms of {of}", number(it.p50)));
            }
            let seen = match seen.join(", ") {
                none if none.is_empty() => none,
                seen => format!(" ({seen})"),
            };
            parts.push(format!("time to first token {} ms{seen}", number(own.p50)));
            if !self.adds_up(own.p50) {
                parts.push("each a median of its own, so they do not add up".to_owned());
            }
        }
        if let Some(queue) = clock.queue_ms {
            parts.push(format!("queue {} ms", number(queue.p50)));
        }
        if let Some(it) = clock.delivery_ms {
            parts.push(format!("delivery of a text {} ms", number(it.p50)));
        }
        let told = [clock.time_to_first_token_ms, clock.time_per_output_token_ms];
        let told = told.iter().flatten().map(|it| it.n).max();
        if let Some(told) = told.filter(|told| *told < self.succeeded) {
            parts.push(format!(
                "told for {told} of {}",
                count(self.succeeded, "request")
            ));
        }
        (!parts.is_empty()).then(|| format!("{}: {}", one_line(&self.engine), parts.join(", ")))
    }
}

impl EngineResult {
    /// `true` if the medians of an engine's own time to first token and of the difference to
    /// prony's make up the median of prony's, within 1 %. The median of a sum is not the sum of
    /// the medians.
    fn adds_up(&self, own_ms: f64) -> bool {
        let difference = self
            .own_clock
            .as_ref()
            .and_then(|it| it.first_token_difference_ms);
        let seen = self.time_to_first_token_ms.zip(difference);
        seen.is_none_or(|(seen, difference)| {
            (own_ms + difference.p50 - seen.p50).abs() <= 0.01 * seen.p50
        })
    }
}

/// Tokens per second at the median time per token.
fn rate(time_per_output_token_ms: &Distribution) -> String {
    number(1000.0 / time_per_output_token_ms.p50)
}

impl SameWork {
    /// Finding about the answers of both engines, without a full stop.
    pub fn sentence(&self) -> String {
        let mut parts = vec![format!(
            "{} of {} identical",
            share(self.identical_share),
            count(self.pairs, "answer pair")
        )];
        if let Some(characters) = self.first_divergence_characters_p50 {
            parts.push(format!(
                "the others differ after {characters:.0} characters (p50)"
            ));
        }
        if let Some(difference) = self.largest_length_difference_percent {
            parts.push(if self.is_of_equal_length() {
                "equally long within 1 %".to_owned()
            } else {
                format!(
                    "{} of {} of unequal length ({} at most)",
                    self.questions_of_unequal_length,
                    count(u64::from(self.questions), "question"),
                    signed_percent(difference)
                )
            });
        }
        if self.counted_otherwise > 0 {
            parts.push(format!(
                "the engines count the tokens of {} differently, so the texts decide",
                count(self.counted_otherwise, "equal answer pair")
            ));
        }
        if let Some(tokens) = self.largest_prompt_difference_tokens.filter(|it| *it != 0) {
            parts.push(format!("prompts differ by up to {tokens:+} tokens"));
        }
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OwnClock;

    #[test]
    fn what_was_found_of_a_cache_is_said() {
        let check = CacheCheck {
            outcome: CacheOutcome::Kept,
            requests: 4,
            counted: 4,
            broken: Some(0),
            unexplained: None,
            new: None,
            cached_share: Some(0.0),
            by_counters: false,
        };
        assert_eq!(
            check.sentence(Cache::Cold),
            "verified, 0 % of the prompt tokens of 4 requests cached"
        );
        let template = CacheCheck {
            cached_share: Some(0.556),
            ..check.clone()
        };
        assert_eq!(
            template.sentence(Cache::Cold),
            "verified, 55.6 % of the prompt tokens of 4 requests cached, all of them of the chat template's beginning"
        );
        assert_eq!(
            template.sentence(Cache::Warm),
            "verified, 55.6 % of the prompt tokens of 4 requests cached"
        );
        let unexplained = CacheCheck {
            outcome: CacheOutcome::Unverified,
            unexplained: Some(3),
            ..template
        };
        assert_eq!(
            unexplained.sentence(Cache::Cold),
            "not verified, 55.6 % of the prompt tokens of 4 requests cached, and of 3 requests nothing tells whether those are the chat template's alone"
        );
        let unknown = CacheCheck {
            outcome: CacheOutcome::Unverified,
            counted: 0,
            cached_share: None,
            by_counters: false,
            ..check.clone()
        };
        assert_eq!(
            unknown.sentence(Cache::Cold),
            "not verified, cached prompt tokens reported for 0 of 4 requests"
        );
        let broken = CacheCheck {
            outcome: CacheOutcome::Broken,
            broken: Some(1),
            cached_share: Some(0.5),
            by_counters: false,
            ..check
        };
        assert_eq!(
            broken.sentence(Cache::Cold),
            "broken by 1 request, 50.0 % of the prompt tokens of 4 requests cached"
        );
    }

    #[test]
    fn both_clocks_are_said() {
        let times = |n, p50| {
            let json = serde_json::json!({
                "n": n, "mean": p50, "min": p50, "p50": p50, "p90": null, "max": p50,
            });
            Some(serde_json::from_value::<Distribution>(json).expect("a distribution"))
        };
        let mut engine = EngineResult {
            engine: "llama".to_owned(),
            succeeded: 4,
            time_to_first_token_ms: times(4, 128.0),
            // A text may stand for several tokens: this is no time of a token.
            time_per_output_token_ms: times(4, 11.0),
            ..EngineResult::default()
        };
        assert_eq!(engine.clock_sentence(), None);
        engine.own_clock = Some(OwnClock {
            prefill_ms: times(4, 120.0),
            time_to_first_token_ms: times(4, 120.0),
            first_token_difference_ms: times(4, 8.0),
            time_per_output_token_ms: times(4, 16.0),
            seen_time_per_output_token_ms: times(4, 20.0),
            ..OwnClock::default()
        });
        assert_eq!(
            engine.clock_sentence().as_deref(),
            Some(
                "llama: decode 62.5 tok/s (prony 50.0), time to first token 120.0 ms (prony 128.0 ms, 8.00 ms of queue, network and rendering)"
            )
        );
        engine.own_clock = Some(OwnClock {
            time_to_first_token_ms: times(3, 120.0),
            first_token_difference_ms: times(3, 8.0),
            delivery_ms: times(9, 0.25),
            ..OwnClock::default()
        });
        assert_eq!(
            engine.clock_sentence().as_deref(),
            Some(
                "llama: time to first token 120.0 ms (prony 128.0 ms, 8.00 ms of delivery), delivery of a text 0.250 ms, told for 3 of 4 requests"
            )
        );
    }

    #[test]
    fn unequal_work_is_said() {
        let work = SameWork {
            pairs: 10,
            identical_share: 0.5,
            first_divergence_characters_p50: Some(40.0),
            lengths_by: "engine".to_owned(),
            counted_otherwise: 0,
            baseline_output_tokens: None,
            candidate_output_tokens: None,
            questions: 3,
            questions_of_unequal_length: 1,
            largest_length_difference_percent: Some(-12.5),
            largest_prompt_difference_tokens: Some(-256),
        };
        let sentence = work.sentence();
        assert!(
            sentence.starts_with("50.0 % of 10 answer pairs identical; "),
            "{sentence}"
        );
        assert!(
            sentence.contains("1 of 3 questions of unequal length"),
            "{sentence}"
        );
        assert!(
            sentence.ends_with("prompts differ by up to -256 tokens"),
            "{sentence}"
        );
    }
}
