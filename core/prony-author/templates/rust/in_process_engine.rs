//! An engine in a process: it repeats the words of the prompt. Put yours in its place.
//!
//! prony loads the library in a process of its own for each visit, and stamps a token in `emit`.

use prony_plugin_sdk::*;
use std::thread::sleep;
use std::time::Duration;

/// Options under `engines.<name>.config`. Doc comments become the schema that
/// `prony validate` checks and editors complete.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Time of a token, in microseconds.
    #[serde(default)]
    pause_us: u64,
}

struct Local {
    pause: Duration,
}

plugin!(local_engine: Local);

impl LocalEngine for Local {
    type Config = Config;
    const ABOUT: About = about!("{{ name }}", "{{ description }}");
    // An engine without `Chat` gets conversations as prompts, rendered by prony.
    const APIS: &'static [Api] = &[Api::Completions];

    /// Loads the model. Dropping the value unloads it.
    fn load(config: Config, _: &Model) -> Result<Self> {
        Ok(Self { pause: Duration::from_micros(config.pause_us) })
    }

    /// Generates: `emit` the moment a token is there, then the counts, the reason and the end.
    fn generate(&mut self, request: &Request, emit: &mut dyn FnMut(EventKind, u32, &str) -> bool) -> Result<()> {
        if !request.stop.is_empty() || request.top_p.is_some() {
            return Err(Error::unsupported("this engine has neither `stop` nor `top_p`"));
        }
        if request.api == Api::Chat || request.system.is_some() {
            return Err(Error::unsupported("this engine takes plain prompts: use `api: completions`"));
        }
        let words: Vec<&str> = request.prompt.split_whitespace().collect();
        if words.is_empty() {
            return Err(Error::unsupported("this engine repeats the words of a prompt, and there are none"));
        }
        for word in words.iter().cycle().take(request.max_tokens as usize) {
            sleep(self.pause);
            if !emit(EventKind::Text, 1, &format!("{word} ")) {
                // The answer is no longer wanted.
                return Ok(());
            }
        }
        emit(EventKind::PromptTokens, words.len() as u32, "");
        emit(EventKind::OutputTokens, request.max_tokens, "");
        emit(EventKind::Finish, 0, "length");
        emit(EventKind::End, 0, "");
        Ok(())
    }
}
