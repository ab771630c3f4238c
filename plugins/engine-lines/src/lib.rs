//! Any program that speaks the protocol of docs/stdio.md: lines of JSON over its standard
//! input and output, with the program's own stamp on each text.

use prony_plugin_sdk::{
    About, Api, Command, Ending, Error, EventKind, Events, Message, Model, Pair, Ready, Request,
    Response, Result, StdioEngine, StdioPlan, about, finish,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Options of the `lines` engine.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Program and arguments, without a shell, for example `[python3, engine.py]`.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// Working folder.
    pub cwd: Option<String>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Handed to the program with `load`, as they are, for example `{ threads: 4 }`.
    #[serde(default)]
    pub options: Map<String, Value>,
    /// Finish reasons that end a complete answer, beside the usual ones, such as `stop` and
    /// `length`. An answer with any other reason is a failure.
    #[serde(default)]
    pub finish_reasons: Vec<String>,
}

/// The adapter.
pub struct Lines {
    config: Config,
}

prony_plugin_sdk::plugin!(stdio_engine: Lines);

/// A line of an answer.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// Used by the host alone, which assigns lines to requests.
    #[serde(rename = "id")]
    _id: Value,
    text: Option<String>,
    /// Tokens that the text stands for.
    tokens: Option<u32>,
    /// Reading of `CLOCK_MONOTONIC` when the text was there.
    at_ns: Option<u64>,
    done: Option<bool>,
    finish_reason: Option<String>,
    prompt_tokens: Option<u32>,
    cached_tokens: Option<u32>,
    output_tokens: Option<u32>,
    queue_ns: Option<u64>,
    prefill_ns: Option<u64>,
    decode_ns: Option<u64>,
    model: Option<String>,
    version: Option<String>,
    error: Option<Value>,
}

impl StdioEngine for Lines {
    type Config = Config;
    const ABOUT: About = about!(
        "lines",
        "Any program that speaks prony's lines of JSON over standard input and output"
    );
    const HISTORY: bool = true;

    fn new(config: Config) -> Result<Self> {
        if config.command.first().is_none_or(String::is_empty) {
            return Err(Error::config(
                "/command",
                "name a program and its arguments, for example `[python3, engine.py]`",
            ));
        }
        Ok(Self { config })
    }

    fn launch(&self, model: &Model) -> Result<StdioPlan> {
        let env = self.config.env.iter();
        let load = json!({
            "op": "load",
            "id": 0,
            "model": model.path.as_ref().unwrap_or(&model.id),
            "options": self.config.options,
        });
        Ok(StdioPlan {
            command: Command {
                argv: self.config.command.clone(),
                env: env.map(|(name, value)| Pair::new(name, value)).collect(),
                cwd: self.config.cwd.clone(),
            },
            // It is ready once `load` is answered.
            ready: Ready::Immediate,
            id_at: vec!["/id".to_owned()],
            opening: vec![message(0, &load)],
            closing: vec![message(0, &json!({ "op": "unload", "id": 0 }))],
        })
    }

    fn encode(&self, _: &Model, request: &Request, number: u64) -> Result<Message> {
        let mut line = json!({
            "op": "generate",
            "id": number,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        });
        match request.api {
            Api::Completions => {
                prony_plugin_sdk::without_system(request)?;
                request.without_history()?;
                line["prompt"] = json!(request.prompt);
            }
            Api::Chat => {
                let said = |role: &str, content: &str| json!({ "role": role, "content": content });
                let system = request.system.iter().map(|it| said("system", it));
                let history = request.history.iter();
                let history = history.map(|it| said(it.role.name(), &it.content));
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
        if request.ignore_eos {
            line["ignore_eos"] = json!(true);
        }
        Ok(message(number, &line))
    }

    fn decode(&self, response: &Response<'_>, events: &mut Events) -> Result<()> {
        let mut counted = Counted::default();
        for (read, bytes) in response.lines() {
            let mut line: Line = serde_json::from_slice(bytes)
                .map_err(|error| unreadable(bytes, &error.to_string()))?;
            if let Some(error) = &line.error {
                let words = error
                    .as_str()
                    .map_or_else(|| error.to_string(), str::to_owned);
                events.failure(read, &words);
                continue;
            }
            let is_last = line.done == Some(true);
            if line.text.is_none() && !is_last {
                return Err(unreadable(bytes, "neither `text` nor `done` nor `error`"));
            }
            match line.text.as_deref().filter(|text| !text.is_empty()) {
                Some(text) => {
                    let tokens = counted.text(line.tokens);
                    events.stamped_text(read, tokens, line.at_ns.unwrap_or(0), text);
                }
                None => counted.hold(line.tokens),
            }
            if is_last {
                line.output_tokens = line.output_tokens.or_else(|| counted.all());
                self.done(read, &line, events);
            }
        }
        Ok(())
    }
}

/// Tokens of an answer, text by text.
#[derive(Default)]
struct Counted {
    /// Tokens of the texts so far.
    told: u32,
    /// Tokens that came without text: the next text stands for them, too.
    held: u32,
    /// A text did not name its tokens.
    has_gap: bool,
}

impl Counted {
    fn hold(&mut self, tokens: Option<u32>) {
        self.held = self.held.saturating_add(tokens.unwrap_or(0));
    }

    /// Tokens that a text stands for; 0 if it does not name its own.
    fn text(&mut self, tokens: Option<u32>) -> u32 {
        let held = std::mem::take(&mut self.held);
        let Some(tokens) = tokens.filter(|tokens| *tokens > 0) else {
            self.has_gap = true;
            return 0;
        };
        let tokens = tokens.saturating_add(held);
        self.told = self.told.saturating_add(tokens);
        tokens
    }

    /// All of them, if some came behind the last text and no text leaves its own out.
    fn all(&self) -> Option<u32> {
        let is_known = self.held > 0 && !self.has_gap;
        is_known.then(|| self.told.checked_add(self.held)).flatten()
    }
}

impl Lines {
    /// Adds the events of an answer's last line.
    fn done(&self, read: u32, line: &Line, events: &mut Events) {
        for (kind, text) in [
            (EventKind::ServedModel, &line.model),
            (EventKind::EngineVersion, &line.version),
        ] {
            if let Some(text) = text {
                events.push(read, kind, 0, text);
            }
        }
        for (kind, count) in [
            (EventKind::PromptTokens, line.prompt_tokens),
            (EventKind::OutputTokens, line.output_tokens),
            (EventKind::CachedTokens, line.cached_tokens),
        ] {
            if let Some(count) = count {
                events.count(read, kind, count);
            }
        }
        for (kind, ns) in [
            (EventKind::QueueTime, line.queue_ns),
            (EventKind::PrefillTime, line.prefill_ns),
            (EventKind::DecodeTime, line.decode_ns),
        ] {
            if let Some(ns) = ns {
                events.time(read, kind, ns);
            }
        }
        if let Some(reason) = &line.finish_reason {
            events.finish(read, reason);
            if let Some(words) = finish::problem(reason, &self.config.finish_reasons) {
                events.failure(read, &words);
            }
        }
        events.end(read);
    }
}

/// A message whose answer ends with `done` or `error`.
fn message(id: u64, line: &Value) -> Message {
    Message {
        line: line.to_string(),
        ids: vec![id.to_string()],
        ends: vec![Ending::is("/done", true), Ending::at("/error").failed()],
    }
}

fn unreadable(line: &[u8], why: &str) -> Error {
    let shown: String = String::from_utf8_lossy(line).chars().take(200).collect();
    Error::malformed(format!(
        "this is not a line of an answer ({why}; see docs/stdio.md): `{}`",
        shown.escape_debug()
    ))
}
