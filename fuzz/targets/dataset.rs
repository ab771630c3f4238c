//! Datasets: any bytes give prompts, or problems for people.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use prony_fuzz::knobs;
use prony_prompts::dataset::{Format, Input, Options, Selection};
use prony_prompts::of_dataset;

/// Tokens of an answer.
const MAX_TOKENS: u32 = 64;

/// Names of files, whose endings tell how they are read.
const NAMES: [&str; 4] = ["a.jsonl", "a.json", "a.csv", "a.txt"];

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((bytes, [format, name, limit, selected])) = knobs(data) else {
        return Corpus::Reject;
    };
    let selection = Selection {
        offset: u32::from(selected % 4),
        limit: (!limit.is_multiple_of(2)).then_some(u32::from(limit)),
        sample: (selected > 128).then_some(1),
        is_at_most: limit > 64,
        ..Selection::default()
    };
    // Mostly the first record tells.
    let options = Options {
        format: Format::all().nth(usize::from(format / 8)),
        selection,
        is_timed: name > 192,
        seed: 1,
        ..Options::default()
    };
    let input = Input::File {
        name: NAMES[usize::from(name) % NAMES.len()],
        bytes: Box::new(bytes),
    };
    let no_tokenizer = || Err("there is none".to_owned());
    if let Err(problems) = of_dataset(input, &options, MAX_TOKENS, no_tokenizer, &mut |_| {}) {
        assert!(!problems.is_empty());
    }
    Corpus::Keep
});
