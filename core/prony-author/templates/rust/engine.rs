//! An adapter for the server in toy/server.py. Change `encode` and `decode` to your engine's words.
//!
//! prony sends and receives; this says what to send, and explains afterwards what came back.

use prony_plugin_sdk::*;
use serde_json::{Value, json};

/// Options under `engines.<name>.config`. Doc comments become the schema that
/// `prony validate` checks and editors complete.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Address of a server that runs, for example `http://127.0.0.1:8000`.
    base_url: Option<String>,
    /// Command that starts a server; `--host` and `--port` are added.
    program: Option<Vec<String>>,
}

struct Adapter {
    config: Config,
}

plugin!(engine: Adapter);

impl Engine for Adapter {
    type Config = Config;
    const ABOUT: About = about!("{{ name }}", "{{ description }}");
    // Leave out `Chat` if the engine takes plain prompts only; prony then renders conversations.
    const APIS: &'static [Api] = &[Api::Chat, Api::Completions];
    const HISTORY: bool = true;

    fn new(config: Config) -> Result<Self> {
        Ok(Self { config })
    }

    /// Plans how to start or reach the engine.
    fn launch(&self, _: &Model, at: &Endpoint) -> Result<LaunchPlan> {
        let ready = Ready::Http("/health".to_owned());
        match (&self.config.base_url, &self.config.program) {
            (Some(base_url), _) => Ok(LaunchPlan::attach(base_url.trim_end_matches('/'), ready)),
            (None, Some(program)) => {
                let own = ["--host".to_owned(), at.host.clone(), "--port".to_owned(), at.port.to_string()];
                let argv = [program.as_slice(), &own].concat();
                let command = Command { argv, env: Vec::new(), cwd: None };
                Ok(LaunchPlan::spawn(command, at, ready))
            }
            (None, None) => Err(Error::config(
                "",
                "give `base_url` of a server that runs, or `program` to start one",
            )),
        }
    }

    /// One request. All that is in it is sent, or refused: other engines get the same work.
    fn encode(&self, model: &Model, request: &Request) -> Result<HttpRequest> {
        let mut body = json!({
            "model": model.id,
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
                body["prompt"] = json!(request.prompt);
            }
            Api::Chat => {
                let said = |role: &str, content: &str| json!({ "role": role, "content": content });
                let system = request.system.iter().map(|it| said("system", it));
                let history = request.history.iter().map(|it| said(it.role.name(), &it.content));
                let prompt = [said("user", &request.prompt)];
                body["messages"] = system.chain(history).chain(prompt).collect();
            }
        }
        if let Some(top_p) = request.top_p {
            body["top_p"] = json!(top_p);
        }
        if !request.stop.is_empty() {
            body["stop"] = json!(request.stop);
        }
        Ok(HttpRequest::post_json("/generate", &body))
    }

    /// Decodes a response: a JSON object a line, with `text`, or `error`, or `done` at the end.
    fn decode(&self, response: &Response<'_>, events: &mut Events) -> Result<()> {
        if response.status != 200 {
            let words: String = String::from_utf8_lossy(response.body).chars().take(200).collect();
            let words = if words.is_empty() { format!("status {}", response.status) } else { words };
            events.failure(response.last_read(), &words);
            return Ok(());
        }
        for (read, line) in response.lines().filter(|(_, line)| !line.trim_ascii().is_empty()) {
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
