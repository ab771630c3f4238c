//! An adapter for the program in toy/engine.py, which speaks lines of JSON. Change `encode` and
//! `decode` to your engine's words.
//!
//! prony sends and receives; this says what to send, and explains afterwards what came back.

use prony_plugin_sdk::*;
use serde_json::{Value, json};

/// Options under `engines.<name>.config`. Doc comments become the schema that
/// `prony validate` checks and editors complete.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Program and arguments, for example `[python3, toy/engine.py]`.
    #[schemars(length(min = 1))]
    command: Vec<String>,
}

struct Adapter {
    config: Config,
}

plugin!(stdio_engine: Adapter);

impl StdioEngine for Adapter {
    type Config = Config;
    const ABOUT: About = about!("{{ name }}", "{{ description }}");
    // Leave out `Chat` if the engine takes plain prompts only; prony then renders conversations.
    const APIS: &'static [Api] = &[Api::Chat, Api::Completions];
    const HISTORY: bool = true;

    fn new(config: Config) -> Result<Self> {
        Ok(Self { config })
    }

    /// Plans how to start the engine, and how its lines belong to messages.
    fn launch(&self, model: &Model) -> Result<StdioPlan> {
        let load = json!({ "op": "load", "id": 0, "model": model.path.as_ref().unwrap_or(&model.id) });
        let unload = json!({ "op": "unload", "id": 0 });
        Ok(StdioPlan {
            command: Command { argv: self.config.command.clone(), env: Vec::new(), cwd: None },
            ready: Ready::Immediate,
            id_at: vec!["/id".to_owned()],
            opening: vec![message(0, &load)],
            closing: vec![message(0, &unload)],
        })
    }

    /// One request. All that is in it is sent, or refused: other engines get the same work.
    fn encode(&self, _: &Model, request: &Request, number: u64) -> Result<Message> {
        let mut line = json!({
            "op": "generate",
            "id": number,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
            "ignore_eos": request.ignore_eos,
        });
        match request.api {
            Api::Completions => {
                if request.system.is_some() {
                    return Err(Error::unsupported("a plain completion has no system message: use `api: chat`"));
                }
                request.without_history()?;
                line["prompt"] = json!(request.prompt);
            }
            Api::Chat => {
                let said = |role: &str, content: &str| json!({ "role": role, "content": content });
                let system = request.system.iter().map(|it| said("system", it));
                let history = request.history.iter().map(|it| said(it.role.name(), &it.content));
                let prompt = [said("user", &request.prompt)];
                line["messages"] = system.chain(history).chain(prompt).collect();
            }
        }
        if let Some(top_p) = request.top_p {
            line["top_p"] = json!(top_p);
        }
        if !request.stop.is_empty() {
            line["stop"] = json!(request.stop);
        }
        Ok(message(number, &line))
    }

    /// Decodes a response: the request's own lines, with `text`, or `error`, or `done` at the end.
    fn decode(&self, response: &Response<'_>, events: &mut Events) -> Result<()> {
        for (read, line) in response.lines() {
            let line: Value = serde_json::from_slice(line).map_err(|error| {
                Error::malformed(format!("`{}`: {error}", String::from_utf8_lossy(line)))
            })?;
            if let Some(error) = line.get("error") {
                events.failure(read, error.as_str().unwrap_or(&error.to_string()));
            }
            if let Some(text) = line["text"].as_str().filter(|text| !text.is_empty()) {
                events.text(read, 1, text);
            }
            if let Some(reason) = line["done"].as_str() {
                let count = |name: &str| line[name].as_u64().unwrap_or(0) as u32;
                events.count(read, EventKind::PromptTokens, count("prompt_tokens"));
                events.count(read, EventKind::OutputTokens, count("output_tokens"));
                events.finish(read, reason);
                events.end(read);
            }
        }
        Ok(())
    }
}

/// A line that is answered by lines with its id, the last one with `done` or `error`.
fn message(id: u64, line: &Value) -> Message {
    Message {
        line: line.to_string(),
        ids: vec![id.to_string()],
        ends: vec![Ending::at("/done"), Ending::at("/error").failed()],
    }
}
