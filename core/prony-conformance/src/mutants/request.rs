//! Requests of which something is lost or changed.

use super::Defect::Request as R;
use super::{Defect, Mutant, mutant};
use prony_contract::Api;

pub(crate) const ALL: &[Mutant] = &[
    mutant("system dropped", R(|it| it.system = None)),
    mutant("history dropped", R(|it| it.history.clear())),
    mutant(
        "first turn dropped",
        R(|it| drop(it.history.drain(..it.history.len().saturating_sub(2)))),
    ),
    mutant("images dropped", R(|it| it.images.clear())),
    mutant(
        "one token more",
        R(|it| it.max_tokens = it.max_tokens.saturating_add(1)),
    ),
    mutant("one token less", R(|it| it.max_tokens -= 1)),
    mutant("max_tokens dropped", R(|it| it.max_tokens = 256)),
    mutant("temperature dropped", R(|it| it.temperature = 0.0)),
    mutant(
        "never greedy",
        R(|it| it.temperature = it.temperature.max(2.0)),
    ),
    mutant("top_p dropped", R(|it| it.top_p = None)),
    mutant("seed dropped", R(|it| it.seed = 0)),
    mutant("stop dropped", R(|it| it.stop.clear())),
    mutant("first stop only", R(|it| it.stop.truncate(1))),
    mutant("ignore_eos dropped", R(|it| it.ignore_eos = false)),
    mutant(
        "ignore_eos inverted",
        R(|it| it.ignore_eos = !it.ignore_eos),
    ),
    mutant(
        "prompt cut",
        R(|it| it.prompt = it.prompt.chars().take(7).collect()),
    ),
];

/// What only the exchange shows.
pub(crate) const ENCODED: &[Mutant] = &[
    mutant("history turned round", R(|it| it.history.reverse())),
    mutant(
        "history trimmed",
        R(|it| {
            for said in &mut it.history {
                said.content = said.content.trim().to_owned();
            }
        }),
    ),
    mutant("second image dropped", R(|it| it.images.truncate(1))),
    mutant("images swapped", R(|it| it.images.reverse())),
    mutant("temperature changed", R(|it| it.temperature *= 0.5)),
    mutant(
        "top_p changed",
        R(|it| it.top_p = it.top_p.map(|it| it / 2.0)),
    ),
    mutant("seed changed", R(|it| it.seed = it.seed.wrapping_add(1))),
    mutant("seed cut to 16 bits", R(|it| it.seed &= 0xffff)),
    mutant(
        "stop trimmed",
        R(|it| {
            for stop in &mut it.stop {
                *stop = stop.trim().to_owned();
            }
        }),
    ),
    mutant(
        "prompt trimmed",
        R(|it| it.prompt = it.prompt.trim().to_owned()),
    ),
    mutant("prompt twice", R(|it| it.prompt = it.prompt.repeat(2))),
    mutant(
        "prompt in ASCII",
        R(|it| it.prompt.retain(|character| character.is_ascii())),
    ),
    mutant(
        "long prompt cut",
        R(|it| it.prompt = it.prompt.chars().take(100_000).collect()),
    ),
    mutant("always chat", R(|it| it.api = Api::Chat)),
    mutant("always completions", R(|it| it.api = Api::Completions)),
    mutant(
        "wrong model",
        Defect::Model(|it| {
            "gpt-x".clone_into(&mut it.id);
            it.path = Some("/elsewhere/gpt-x".to_owned());
        }),
    ),
];
