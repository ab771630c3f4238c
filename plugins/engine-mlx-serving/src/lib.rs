//! The Python runtime of mlx-serving: JSON-RPC 2.0 over its standard input and output.
//!
//! The runtime answers `generate` at once and then notifies: `stream.chunk` with a token
//! or a batch of them, `stream.stats`, and `stream.event` at the end. It accepts a seed
//! and stop sequences but ignores them; requests with stop sequences are refused here,
//! and no seed is sent, so sampling at a temperature above 0 differs each time.

use prony_plugin_sdk::{
    About, Api, Command, Ending, Error, EventKind, Events, Message, Model, Packages, Pair, Ready,
    Repository, Request, Response, Result, StdioEngine, StdioPlan, about, finish,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Maximum length of a line read by the runtime, in bytes.
const MAX_LINE: usize = 1 << 20;

/// Options of the `mlx-serving` engine.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The Python with the runtime's packages, for example
    /// `.mlx-serving-venv/bin/python`.
    #[serde(default = "python")]
    pub python: String,
    /// The runtime's script, for example `python/runtime.py`.
    #[schemars(length(min = 1))]
    pub runtime: String,
    /// Additional arguments for it.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Working folder; the runtime finds its `config/runtime.yaml` from there.
    pub cwd: Option<String>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Context length of the model, in tokens. Defaults to the runtime's own.
    #[schemars(extend("x-prony-role" = "context"))]
    pub context: Option<u32>,
    /// Finish reasons that end a complete answer, beside the usual ones (`stop`, `length`,
    /// `completed`, …). An answer with any other reason is a failure.
    #[serde(default)]
    pub finish_reasons: Vec<String>,
}

fn python() -> String {
    "python3".to_owned()
}

/// The adapter.
pub struct MlxServing {
    config: Config,
}

prony_plugin_sdk::plugin!(stdio_engine: MlxServing);

impl StdioEngine for MlxServing {
    type Config = Config;
    const ABOUT: About = about!(
        "mlx-serving",
        "The Python runtime of mlx-serving, over its standard input and output"
    );
    // A call has one prompt, which goes to the model as it is.
    const APIS: &'static [Api] = &[Api::Completions];

    fn packages() -> Option<Packages> {
        let pins = [
            "mlx==0.32.4",
            "mlx-lm==0.32.2",
            "mlx-vlm==0.7.10",
            "-r",
            "{source}/python/requirements.txt",
        ];
        Some(Packages {
            python: Some("3.11".to_owned()),
            repository: Some(Repository {
                url: "https://github.com/defai-digital/mlx-serving.git".to_owned(),
                revision: "62d6464".to_owned(),
            }),
            macos: pins.map(str::to_owned).into(),
            ..Packages::default()
        })
    }

    fn new(config: Config) -> Result<Self> {
        Ok(Self { config })
    }

    fn launch(&self, model: &Model) -> Result<StdioPlan> {
        let Config {
            python, runtime, ..
        } = &self.config;
        let mut argv = vec![python.clone(), runtime.clone()];
        argv.extend(self.config.arguments.iter().cloned());
        let pairs = self.config.env.iter();
        let name = model_id(model);
        let mut load = json!({ "model_id": name });
        if let Some(length) = self.config.context {
            load["context_length"] = json!(length);
        }
        Ok(StdioPlan {
            command: Command {
                argv,
                env: pairs.map(|(name, value)| Pair::new(name, value)).collect(),
                cwd: self.config.cwd.clone(),
            },
            ready: Ready::LogLine("MLX Runtime ready".to_owned()),
            id_at: vec!["/params/stream_id".to_owned(), "/id".to_owned()],
            opening: vec![call("load_model", &load)],
            closing: vec![
                call("unload_model", &json!({ "model_id": name })),
                call("shutdown", &json!({})),
            ],
        })
    }

    fn encode(&self, model: &Model, request: &Request, number: u64) -> Result<Message> {
        let name = model_id(model);
        // It puts a template of its own around prompts for these models, and there is no
        // way to tell it not to.
        let has_template = ["gemma-2", "gemma2"]
            .iter()
            .any(|it| name.to_lowercase().contains(it));
        if has_template {
            return Err(Error::unsupported(format!(
                "the runtime puts a chat template of its own around prompts for models with `gemma-2` in their name, so none can be sent as it is: rename the folder `{name}`"
            )));
        }
        prony_plugin_sdk::without_system(request)?;
        if !request.stop.is_empty() {
            return Err(Error::unsupported(
                "the runtime takes stop sequences and ignores them: remove `stop`",
            ));
        }
        if request.ignore_eos {
            return Err(Error::unsupported(
                "the runtime always stops at the model's end token: remove `ignore_eos`",
            ));
        }
        let stream = format!("prony-{number}");
        let mut params = json!({
            "model_id": name,
            "prompt": request.prompt,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "stream_id": stream,
            "streaming": true,
        });
        if let Some(top_p) = request.top_p {
            params["top_p"] = json!(top_p);
        }
        let line = rpc(number, "generate", &params);
        if line.len() >= MAX_LINE {
            return Err(Error::unsupported(format!(
                "the request is a line of {} bytes, and the runtime reads at most {MAX_LINE}: shorten the prompt",
                line.len()
            )));
        }
        Ok(Message {
            line,
            ids: vec![number.to_string(), stream],
            ends: vec![
                Ending::is("/params/event", "completed"),
                Ending::is("/params/event", "error").failed(),
                Ending::at("/error").failed(),
            ],
        })
    }

    fn decode(&self, response: &Response<'_>, events: &mut Events) -> Result<()> {
        for (read, line) in response.lines() {
            let line: Value = serde_json::from_slice(line)
                .map_err(|error| Error::malformed(format!("a line is no JSON: {error}")))?;
            if let Some(error) = line.get("error").filter(|error| !error.is_null()) {
                events.failure(read, &words(error));
                continue;
            }
            let params = &line["params"];
            match line["method"].as_str() {
                Some("stream.chunk") => match params["tokens"].as_array() {
                    // Tokens that came together share a read.
                    Some(batch) => batch.iter().for_each(|it| token(it, read, events)),
                    None => token(params, read, events),
                },
                Some("stream.stats") => {
                    if let Some(count) = params["tokens_generated"].as_u64() {
                        let count = u32::try_from(count).unwrap_or(u32::MAX);
                        events.count(read, EventKind::OutputTokens, count);
                    }
                }
                Some("stream.event") => match params["event"].as_str() {
                    Some("completed") => {
                        let reason = params["finish_reason"].as_str().unwrap_or("completed");
                        events.finish(read, reason);
                        if let Some(words) = finish::problem(reason, &self.config.finish_reasons) {
                            events.failure(read, &words);
                        }
                        events.end(read);
                    }
                    Some("error") => events.failure(read, &words(&params["error"])),
                    _ => {}
                },
                // The answer to `generate`, and messages of newer runtimes.
                _ => {}
            }
        }
        Ok(())
    }
}

/// A token of a chunk. A token without text is held back by the runtime's detokeniser or
/// is the end token; the stats count it.
fn token(said: &Value, read: u32, events: &mut Events) {
    if let Some(text) = said["token"].as_str().filter(|text| !text.is_empty()) {
        events.text(read, 1, text);
    }
}

/// The text of an error: a string, or an object with a message.
fn words(error: &Value) -> String {
    let text = error.as_str().or_else(|| error["message"].as_str());
    text.map_or_else(|| error.to_string(), str::to_owned)
}

/// Name of the model in the runtime: a folder, or an id to download.
fn model_id(model: &Model) -> &str {
    model.path.as_deref().unwrap_or(&model.id)
}

/// A call that is answered in one line. Requests have numbers from 1 on.
fn call(method: &str, params: &Value) -> Message {
    Message {
        line: rpc(0, method, params),
        ids: vec!["0".to_owned()],
        ends: vec![Ending::at("/result"), Ending::at("/error").failed()],
    }
}

fn rpc(id: u64, method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}
