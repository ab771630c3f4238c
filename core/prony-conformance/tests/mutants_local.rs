//! Mutants of an engine in a process: one that heeds all of a request and answers at once.

mod support;

use prony_conformance::mutants::Of;
use prony_plugin_sdk::{
    About, Error, EventKind, LocalEngine, Model, Request, Result, about, native,
};
use std::fmt::Write as _;
use support::all_are_found;

/// Options.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Words of the vocabulary.
    #[serde(default = "words")]
    words: u64,
}

fn words() -> u64 {
    97
}

/// A word is drawn from what stands before it. The likeliest is the least, and an answer ends
/// after the sixth word unless it may not.
struct Dice {
    words: u64,
}

const END: u32 = 6;

fn hash(text: &str, number: u64) -> u64 {
    let bytes = text.bytes().chain(number.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl LocalEngine for Dice {
    type Config = Config;
    const ABOUT: About = about!("dice", "Words out of a hash");
    const HISTORY: bool = true;

    fn load(config: Config, _: &Model) -> Result<Self> {
        Ok(Self {
            words: config.words,
        })
    }

    fn generate(
        &mut self,
        request: &Request,
        emit: &mut dyn FnMut(EventKind, u32, &str) -> bool,
    ) -> Result<()> {
        request.without_images()?;
        let mut context = format!("{:?} {:?} ", request.api, request.system);
        for said in &request.history {
            let _ = write!(context, "{:?}: {} ", said.role, said.content);
        }
        context.push_str(&request.prompt);
        if request.temperature < 0.0 {
            return Err(Error::unsupported("a temperature below 0"));
        }
        let prompt_tokens = context.split_whitespace().count() as u32;
        let is_greedy = request.temperature == 0.0 || request.top_p.is_some_and(|it| it < 0.01);
        let (mut text, mut count, mut finish) = (String::new(), 0, "length");
        while count < request.max_tokens {
            if count == END && !request.ignore_eos {
                finish = "stop";
                break;
            }
            let seed = if is_greedy { 0 } else { request.seed };
            let word = format!("{} ", hash(&context, seed) % self.words);
            count += 1;
            context.push_str(&word);
            text.push_str(&word);
            let stop = request
                .stop
                .iter()
                .find_map(|stop| text.find(stop.as_str()));
            if let Some(at) = stop {
                let before = text.len() - word.len();
                emit(EventKind::Text, 1, text.get(before..at).unwrap_or_default());
                finish = "stop";
                break;
            }
            emit(EventKind::Text, 1, &word);
        }
        emit(EventKind::OutputTokens, count, "");
        emit(EventKind::PromptTokens, prompt_tokens, "");
        emit(EventKind::Finish, 0, finish);
        emit(EventKind::End, 0, "");
        Ok(())
    }
}

#[test]
fn mutants_of_an_engine_in_a_process() {
    let table = native::local_engine_table::<Dice>();
    all_are_found(
        "dice",
        &table,
        Of::Local,
        |kit| kit,
        &["all forms claimed", "a history claimed"],
    );
}
