//! Warnings of a result, which follow from its numbers and from the journal.

use crate::groups::Group;
use crate::journal::Event;
use crate::samples::Sample;
use prony_contract::Api;
use prony_metrics::account;
use prony_metrics::served;
use prony_plan::Visit;
use prony_result::words::{Forecast, count, number, share};
use prony_result::{
    Cache, CacheCheck, CacheOutcome, EngineResult, ModelResult, PluginInfo, Verdict,
};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Returns `true` for the last forecast of its model; a resumed run may have made several.
pub(crate) fn is_last_pilot(event: &Event, events: &[Event]) -> bool {
    let of = |event: &Event| match event {
        Event::Pilot { point, model, .. } => Some((point.clone(), model.clone())),
        _ => None,
    };
    let mut later = events.iter().rev().filter(|it| of(it) == of(event));
    later.next().is_some_and(|last| std::ptr::eq(last, event))
}

/// Warning that a difference as large as the margin is not expected to be found.
/// A verdict makes it void, and so does a forecast from all cycles.
pub(crate) fn pilot(event: &Event, planned: u32, models: &[ModelResult]) -> Option<String> {
    let Event::Pilot { point, model, .. } = event else {
        return None;
    };
    let forecast = event.forecast(planned).filter(Forecast::is_beyond)?;
    let same = |it: &&ModelResult| it.id == *model && it.cell == *point;
    let mut comparisons = models.iter().filter(same).flat_map(|it| &it.comparisons);
    // All cycles tell more than the first.
    if comparisons.all(|it| it.verdict != Verdict::Inconclusive || it.needs_cycles.is_some()) {
        return None;
    }
    let point = point
        .as_ref()
        .map_or_else(String::new, |point| format!(" · {point}"));
    Some(format!(
        "{model}{point}: by its first cycles, {}",
        forecast.sentence()
    ))
}

/// Warning that nobody can get the same plugin again.
pub(crate) fn dev(plugin: &PluginInfo) -> Option<String> {
    plugin.dev.then(|| {
        format!(
            "the plugin `{}` is a build of a folder that somebody works on, so this run cannot be reproduced from its version",
            plugin.name
        )
    })
}

/// Warning of requests that the numbers of an engine alone have and its comparisons have not, since
/// their cycle was broken off. `last` is the last visit of a run that was interrupted.
pub(crate) fn broken_off(
    group: &Group<'_>,
    model: &ModelResult,
    last: Option<&Visit>,
) -> Option<String> {
    if model.comparisons.is_empty() {
        return None;
    }
    let engines = model.engines.iter().map(|it| it.engine.as_str());
    let samples: Vec<_> = engines.map(|name| (name, group.sample(name))).collect();
    let requests_of = |sample: &Sample, cycle: u32| {
        let facts = sample.requests.facts().iter();
        facts.filter(|it| it.cycle == cycle).count()
    };
    let failures = samples.iter().flat_map(|it| &it.1.failures);
    let mut broken: BTreeSet<u32> = failures
        .filter(|it| it.outside)
        .map(|it| it.cycle)
        .collect();
    let is_own = |it: &&Visit| (&it.point, &it.model) == (&model.cell, &model.id);
    // A stage with a time limit sends as many as it can.
    let planned = match group.stage.seconds {
        Some(_) => 1,
        None => group.stage.requests as usize,
    };
    broken.extend(last.filter(is_own).map(|it| it.cycle).filter(|cycle| {
        let mut samples = samples.iter();
        samples.any(|it| requests_of(it.1, *cycle) < planned)
    }));
    let of_engines = samples.iter().filter_map(|(name, sample)| {
        let number: usize = broken.iter().map(|it| requests_of(sample, *it)).sum();
        (number > 0).then(|| format!("{} of `{name}`", count(number as u64, "request")))
    });
    let of_engines: Vec<String> = of_engines.collect();
    let cycles: Vec<String> = broken.iter().map(ToString::to_string).collect();
    let (subject, verb) = match cycles.len() {
        1 => ("cycle", "was"),
        _ => ("cycles", "were"),
    };
    (!of_engines.is_empty()).then(|| {
        format!(
            "{}: {subject} {} {verb} broken off: no comparison has what was measured there, {}; the numbers of an engine alone do",
            model.label(),
            cycles.join(", "),
            of_engines.join(" and ")
        )
    })
}

/// Warnings that follow from the numbers themselves.
pub(crate) fn observations(models: &[ModelResult]) -> Vec<String> {
    let mut warnings = Vec::new();
    for model in models {
        let label = model.label();
        for engine in &model.engines {
            let unverified = engine
                .cache
                .as_ref()
                .filter(|check| check.outcome == CacheOutcome::Unverified);
            if let (Some(stated), Some(check)) = (model.cache, unverified) {
                warnings.push(format!(
                    "{label}: {}",
                    cache_unverified(&engine.engine, stated, check)
                ));
            }
            if let Some(check) = engine.token_check.as_ref().filter(|it| it.mismatched > 0) {
                warnings.push(format!(
                    "{label}: `{}` and the tokenizer count different tokens in {} of {}: {} and {} in all, {} at most in one",
                    engine.engine,
                    check.mismatched,
                    count(check.requests, "request"),
                    check.engine_tokens,
                    check.counted_tokens,
                    check.largest_difference
                ));
            }
            if let Some(check) = engine.prompt_check.as_ref().filter(|it| it.mismatched > 0) {
                warnings.push(format!(
                    "{label}: `{}` got another prompt than prony renders in {} of {}: {:+} tokens at most, by its own count",
                    engine.engine,
                    check.mismatched,
                    count(check.counted, "request"),
                    check.largest_difference.unwrap_or_default()
                ));
            }
            if model.cache.is_none() && engine.cached_tokens > 0 {
                warnings.push(format!(
                    "{label}: `{}` answered {} prompt tokens from its prefix cache, so its time to first token is of a warm cache",
                    engine.engine, engine.cached_tokens
                ));
            }
            if engine.succeeded > 0 && engine.output_tokens_per_sec.is_none() {
                warnings.push(format!(
                    "{label}: `{}` does not say how many tokens it generated, so it has no throughput: with a `tokenizer` of the model prony counts them",
                    engine.engine
                ));
            }
            let other = served::problem(engine).into_iter();
            let of_account = account::problems(engine);
            let problems = other.chain(of_account);
            warnings.extend(problems.map(|problem| format!("{label}: {problem}")));
            warnings.extend(streams(&label, engine));
        }
    }
    warnings
}

/// Engines that count different tokens of the same prompts.
pub(crate) fn other_prompts(model: &ModelResult, api: Api) -> Option<String> {
    /// Difference of two means of which one token in every prompt makes two of it.
    const MIN_DIFFERENCE: f64 = 0.5;
    let counts = model.engines.iter().filter_map(|engine| {
        let counts = engine.prompt_tokens_per_request.as_ref()?;
        Some((engine.engine.as_str(), counts.n, counts.mean))
    });
    let counts: Vec<(&str, u64, f64)> = counts.collect();
    let (_, requests, mean) = *counts.first()?;
    // Of other requests the counts would say nothing.
    let is_alike = counts.iter().all(|(_, n, _)| *n == requests);
    let differs = |it: &(&str, u64, f64)| (it.2 - mean).abs() >= MIN_DIFFERENCE;
    if !is_alike || !counts.iter().any(differs) {
        return None;
    }
    let counts = counts.iter();
    let counts = counts.map(|(name, _, mean)| format!("`{name}` {}", number(*mean)));
    let cure = match api {
        Api::Chat => "; `workload: { api: completions }` sends prompts as they are",
        Api::Completions => "",
    };
    Some(format!(
        "{}: the engines count different tokens of the same prompts ({} on average): their chat templates or tokenizers differ{cure}",
        model.label(),
        counts.collect::<Vec<_>>().join(", ")
    ))
}

/// Tokens in a piece of text above which an engine's times are not those of tokens.
const COARSE: f64 = 1.5;

/// Warnings about an engine's streams.
fn streams(label: &str, engine: &EngineResult) -> Vec<String> {
    /// A stream that goes on for so long after the answer is told, in milliseconds.
    const MIN_TAIL_MS: f64 = 5.0;
    let name = &engine.engine;
    let of_notes = engine.notes.iter().map(|(note, requests)| {
        let of = count(engine.succeeded, "request");
        format!("{label}: `{name}`, {requests} of {of}: {note}")
    });
    let mut warnings: Vec<String> = of_notes.collect();
    let pieces = engine.cadence.arrivals_per_token.filter(|it| *it > 0.0);
    if let Some(tokens) = pieces.map(|it| 1.0 / it).filter(|it| *it > COARSE) {
        warnings.push(format!(
            "{label}: `{name}` sends {tokens:.1} tokens at a time: its time to first token has some of the decoding in it, so prefill and decode cannot be told apart; let its server send each token, if it can"
        ));
    }
    if let Some(hidden) = engine.hidden_tokens {
        warnings.push(format!(
            "{label}: `{name}` generated {} of reasoning that it did not send, by its own count; they are in no rate",
            count(hidden, "token")
        ));
    }
    if let Some(tail) = &engine.stream_tail_ms
        && tail.p50 > MIN_TAIL_MS
    {
        warnings.push(format!(
            "{label}: the streams of `{name}` go on for {:.0} ms (p50) after the answer, which is no part of its latency",
            tail.p50
        ));
    }
    warnings
}

/// Warning that the state of an engine's prefix cache is not verified, with the reason.
fn cache_unverified(engine: &str, stated: Cache, check: &CacheCheck) -> String {
    let state = stated.name();
    let CacheCheck {
        requests,
        counted,
        unexplained,
        new,
        ..
    } = check;
    if *requests == 0 {
        return format!(
            "whether `{engine}` had a {state} prefix cache is not verified: no prompt came again after it had been answered"
        );
    }
    if let Some(unexplained) = unexplained {
        let advice = if check.by_counters {
            "its answers do not tell of which request; switch its prefix cache off"
        } else {
            "add the `tokenizer` of the model (of prompts with images it tells nothing), or switch its prefix cache off"
        };
        return format!(
            "whether `{engine}` had a {state} prefix cache is not verified: it found {} of the prompt tokens of {} there, and of {unexplained} of them nothing tells whether all were of the chat template's beginning: {advice}",
            share(check.cached_share.unwrap_or_default()),
            count(*counted, "request")
        );
    }
    if let Some(new) = new.filter(|_| counted == requests) {
        return format!(
            "the measure is of a warm prefix cache, and for `{engine}` it is not one alone: the prompt of {} had not been answered before, beside {requests} whose had; let a warm-up send every prompt (the first turn of a conversation is new in any case)",
            count(new, "request")
        );
    }
    format!(
        "whether `{engine}` had a {state} prefix cache is not verified: it reports cached prompt tokens for {counted} of {}",
        count(*requests, "request")
    )
}

/// Warnings about the machine: each kind once, with the number of visits that saw it.
pub(crate) fn machine(events: &[Event]) -> Vec<String> {
    let (mut visits, mut kinds) = (0, Vec::<(&str, &str, u64)>::new());
    for event in events {
        if let Event::Visit(visited) = event {
            visits += 1;
            // Several of a kind, as of two GPUs, are of one visit.
            let mut seen = HashSet::new();
            let machine = visited.machine.iter();
            for warning in machine.filter(|warning| seen.insert(&warning.code)) {
                let known = kinds.iter_mut().find(|(code, ..)| *code == warning.code);
                match known {
                    Some((_, _, count)) => *count += 1,
                    None => kinds.push((&warning.code, &warning.message, 1)),
                }
            }
        }
    }
    let told = |(_, message, count): (&str, &str, u64)| match (count, visits) {
        (1, 1) => message.to_owned(),
        (1, _) => format!("in 1 of {visits} visits the machine was not quiet: {message}"),
        _ => format!(
            "in {count} of {visits} visits the machine was not quiet; in the first of them: {message}"
        ),
    };
    kinds.into_iter().map(told).collect()
}

/// Difference between shares of a model in memory above which load times do not compare.
const MAX_PAGE_CACHE_DIFFERENCE: f64 = 0.5;

/// An engine and the share of its model that was in memory.
type Cached<'a> = (&'a str, f64);

/// The least and the most of one cycle, if they differ by more than [`MAX_PAGE_CACHE_DIFFERENCE`].
fn apart<'a>(shares: &[Cached<'a>]) -> Option<[Cached<'a>; 2]> {
    let by_share = |one: &&Cached<'_>, other: &&Cached<'_>| one.1.total_cmp(&other.1);
    let least = *shares.iter().min_by(by_share)?;
    let most = *shares.iter().max_by(by_share)?;
    (most.1 - least.1 > MAX_PAGE_CACHE_DIFFERENCE).then_some([least, most])
}

/// Cycles in which one engine read a model from the disk that another found in memory, per
/// model.
pub(crate) fn page_cache(events: &[Event]) -> Vec<String> {
    type Shares<'a> = BTreeMap<u32, Vec<Cached<'a>>>;
    let mut models = BTreeMap::<(Option<&str>, &str), Shares<'_>>::new();
    for event in events {
        if let Event::Visit(visited) = event
            && let (Some(share), Some(_)) = (visited.page_cache_share, visited.load_time_ns)
        {
            let visit = &visited.visit;
            let key = (visit.point.as_deref(), visit.model.as_str());
            let of_model = models.entry(key).or_default();
            let of_cycle = of_model.entry(visit.cycle).or_default();
            of_cycle.push((&visit.engine, share));
        }
    }
    let warning = |((point, model), cycles): ((Option<&str>, &str), Shares<'_>)| {
        let model = point.map_or_else(|| model.to_owned(), |point| format!("{model} · {point}"));
        let all = cycles.len();
        let mut unlike = cycles
            .into_iter()
            .filter_map(|(cycle, shares)| Some((cycle, apart(&shares)?)))
            .peekable();
        let (cycle, [least, most]) = *unlike.peek()?;
        let unlike = unlike.count();
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        Some(format!(
            "{model}: in {unlike} of {} the engines did not find the model alike in memory when they were started (cycle {cycle}: `{}` {} of it, `{}` {}), so their load times of these cycles do not compare",
            count(all as u64, "cycle"),
            least.0,
            percent(least.1),
            most.0,
            percent(most.1),
        ))
    };
    models.into_iter().filter_map(warning).collect()
}

/// Requests that were sent twice, per model and engine, with warm-ups, since they too meet
/// a connection that the server has closed.
pub(crate) fn resent_words(counts: &BTreeMap<(String, String), (u64, u64)>) -> Vec<String> {
    let warning = |((model, engine), (twice, all)): (&(String, String), &(u64, u64))| {
        format!(
            "{model}: `{engine}` had closed the connection that {twice} of its {} (warm-ups counted) went out on, so they were sent again on a new one; nothing needs to be done: their time counts from the first sending",
            count(*all, "request")
        )
    };
    let told = counts.iter().filter(|(_, (twice, _))| *twice > 0);
    told.map(warning).collect()
}

/// Prompts of which an engine read less than there is.
pub(crate) fn cut_words(cut: &BTreeMap<(String, String), (u64, u32, u32)>) -> Vec<String> {
    let warning = |((model, engine), (requests, read, least)): (&(String, String), &_)| {
        format!(
            "{model}: `{engine}` read only part of the prompt in {} (warm-ups counted): it counts {read} prompt tokens where there are at least {least}, so the prompt was probably cut to its context; give it a longer context, or shorter prompts",
            count(*requests, "request")
        )
    };
    cut.iter().map(warning).collect()
}
