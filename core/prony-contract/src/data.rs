//! The data of the contract, as Rust types. `schemas/wit/plugin.wit` says what
//! each field means; here stands what Rust authors need on top.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Kind of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An engine adapter or an in-process engine.
    Engine,
    /// A reporter.
    Reporter,
}

impl Kind {
    /// As in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Reporter => "reporter",
        }
    }
}

/// Way in which the host talks to an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// HTTP exchanges with a server.
    Http,
    /// Lines of JSON over the standard input and output of a process.
    Stdio,
    /// Calls into the plugin, in a worker process.
    InProcess,
}

/// Manifest: the result of `describe`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// The name users write after `plugin:`.
    pub name: String,
    /// Engine or reporter.
    pub kind: Kind,
    /// Version of the plugin.
    pub version: String,
    /// One line.
    pub description: String,
    /// Engines only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// Forms of requests that an engine takes. Defaults to all. For an engine without
    /// `chat`, prony renders conversations itself.
    #[serde(default = "Api::all", skip_serializing_if = "Api::is_all")]
    pub apis: Vec<Api>,
    /// `true` if requests may carry images. Defaults to `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub images: bool,
    /// `true` if requests may carry a history. Defaults to `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub history: bool,
    /// Ports that a launched server needs beside its own. Defaults to none; at most
    /// [`MAX_MORE_PORTS`](crate::MAX_MORE_PORTS).
    #[serde(default, skip_serializing_if = "is_none")]
    pub more_ports: u32,
    /// Parts beyond the result that a reporter asks for. Reporters only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wants: Vec<Want>,
    /// Packages of the engine itself, if the adapter drives one engine only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<Packages>,
    /// Known engines that the adapter drives. Engine plugins only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipes: Vec<Recipe>,
    /// JSON Schema (2020-12) of the plugin's `config`.
    pub config_schema: serde_json::Value,
}

/// Part of a run that a reporter may ask for beyond the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// Numbers of single requests, visits and cycles, under `detail`.
    Detail,
}

/// A known engine, as data of the adapter that drives it. Its name stands after `plugin:`
/// like a plugin's own; in each call, the adapter then finds it under `recipe` in the
/// config.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The name users write after `plugin:`.
    pub name: String,
    /// One line.
    pub description: String,
    /// Version and system that it was tried on; absent if it was written from the engine's
    /// documentation and never run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<String>,
    /// Forms of requests that the engine takes. Defaults to all.
    #[serde(default = "Api::all", skip_serializing_if = "Api::is_all")]
    pub apis: Vec<Api>,
    /// Command that installs the engine, by system: `linux`, `macos` or `any`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub install: BTreeMap<String, String>,
    /// Packages of the engine, if it is a Python program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<Packages>,
    /// Behaviour of the engine that a comparison should know of, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// JSON Schema (2020-12) of its `config`, without `recipe`.
    pub config_schema: serde_json::Value,
}

/// Python packages of an engine, which prony installs into an environment of the engine's
/// own when it is asked to. An engine without packages for a system does not run there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// Least version of Python, for example `3.11`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// Repository whose modules the environment can import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// Arguments of `pip install` on Linux: requirements with exact versions. `{source}` is
    /// the folder of the repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub linux: Vec<String>,
    /// The same on macOS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macos: Vec<String>,
}

impl Packages {
    /// Arguments of `pip install` on a system by its name in Rust; none if the engine does
    /// not run there.
    pub fn on(&self, system: &str) -> &[String] {
        match system {
            "linux" => &self.linux,
            "macos" => &self.macos,
            _ => &[],
        }
    }
}

/// A git repository at a fixed commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Address to clone from.
    pub url: String,
    /// The commit, as hexadecimal digits.
    pub revision: String,
}

/// Optional parts of requests that a plugin supports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carries {
    /// [`Request::api`].
    pub apis: Vec<Api>,
    /// [`Request::images`].
    pub images: bool,
    /// [`Request::history`].
    pub history: bool,
}

impl Default for Carries {
    fn default() -> Self {
        Self {
            apis: Api::all(),
            images: false,
            history: false,
        }
    }
}

impl Carries {
    /// An error if a request carries what it may not: to leave that out would be to
    /// measure other work than what was asked for.
    pub fn check(&self, request: &Request) -> Result<()> {
        if !self.apis.contains(&request.api) {
            return Err(Error::unsupported(format!(
                "this engine does not take `api: {}`",
                request.api.name()
            )));
        }
        if !self.images {
            request.without_images()?;
        }
        if !self.history {
            request.without_history()?;
        }
        Ok(())
    }
}

impl Manifest {
    /// Optional parts of requests that are supported.
    pub fn carries(&self) -> Carries {
        Carries {
            apis: self.apis.clone(),
            images: self.images,
            history: self.history,
        }
    }

    /// Of a plugin whose options are a `C`.
    pub fn of<C: JsonSchema>(
        about: crate::About,
        kind: Kind,
        transport: Option<Transport>,
        carries: Carries,
    ) -> Self {
        Self {
            name: about.name.to_owned(),
            kind,
            version: about.version.to_owned(),
            description: about.description.to_owned(),
            transport,
            apis: carries.apis,
            images: carries.images,
            history: carries.history,
            more_ports: 0,
            wants: Vec::new(),
            packages: None,
            recipes: Vec::new(),
            config_schema: schemars::schema_for!(C).to_value(),
        }
    }
}

/// Subject of an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The plugin's own `config` is wrong.
    InvalidConfig,
    /// The request asks for something that the engine cannot do.
    Unsupported,
    /// A response that the adapter cannot read.
    MalformedResponse,
    /// The engine reported a failure.
    Engine,
    /// A defect in the plugin.
    Internal,
}

/// An error that crosses the plugin boundary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// The subject.
    pub kind: ErrorKind,
    /// Lower case, no full stop, backticks around literals.
    pub message: String,
    /// JSON pointer into `config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Result of a plugin's function.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of the given kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            path: None,
        }
    }

    /// The config is wrong at `path` (a JSON pointer).
    pub fn config(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::InvalidConfig,
            message: message.into(),
            path: Some(path.into()),
        }
    }

    /// The engine cannot do what is asked.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// The engine failed.
    pub fn engine(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Engine, message)
    }

    /// The bytes make no sense.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::MalformedResponse, message)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match &self.path {
            Some(path) if !path.is_empty() => write!(f, " (at `config{path}`)"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// A name and a value: a header, an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl Pair {
    /// A pair.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }
}

/// The model under test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Its id in the pipeline.
    pub id: String,
    /// A file or folder, if the pipeline names one.
    pub path: Option<String>,
}

/// Address at which a launched server must listen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// A loopback address.
    pub host: String,
    /// A free port.
    pub port: u16,
    /// Free ports beside it: [`Manifest::more_ports`] of them.
    #[serde(default)]
    pub more_ports: Vec<u16>,
}

/// A process to start, without a shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Added to the environment.
    #[serde(default)]
    pub env: Vec<Pair>,
    /// Working folder.
    #[serde(default)]
    pub cwd: Option<String>,
}

/// Condition under which a started engine may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// `GET` of this path answers 200.
    Http(String),
    /// A line of the process's output contains this text.
    LogLine(String),
    /// At once.
    Immediate,
}

/// Plan for starting or reaching an engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchPlan {
    /// The process to start; `None` to attach.
    pub command: Option<Command>,
    /// `http://host:port`.
    pub base_url: String,
    /// Condition under which it may be used.
    pub ready: Ready,
    /// A request whose answer lists the models of the server, `{"data": [{"id": …}, …]}`:
    /// sent when a stage has ended without a success and with HTTP 404, for its message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<HttpRequest>,
    /// Questions to the server about itself: asked before the first `measure` stage of a visit
    /// and, where there are counters, again after each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<Question>,
    /// Loads the model, once the server is ready; part of the load's time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load: Vec<Exchange>,
    /// Gives the model's memory back, before the server is stopped or left as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unload: Vec<Exchange>,
    /// Empties the server's prefix cache, before a `measure` stage with `cache: cold`. Empty:
    /// the server has no such request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reset: Vec<Exchange>,
}

/// A request to a server about its model or cache, none of the workload's, and its end. Of a list each
/// is sent when the one before is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// The request.
    pub request: HttpRequest,
    /// Rules that find the last answer: the request is sent again until one does, or means a
    /// failure. Empty: the first, which must have a status of 200 to 299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<Ending>,
}

impl Exchange {
    /// Done with the first answer.
    pub fn once(request: HttpRequest) -> Self {
        Self {
            request,
            ends: Vec::new(),
        }
    }

    /// Repeated until an answer meets one of `ends`.
    pub fn until(request: HttpRequest, ends: impl IntoIterator<Item = Ending>) -> Self {
        Self {
            request,
            ends: ends.into_iter().collect(),
        }
    }
}

/// A question to a server about itself, and where its answer has what.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The request.
    pub request: HttpRequest,
    /// Settings in the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Setting>,
    /// Counters in the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counters: Vec<Counter>,
}

/// A setting that is in force in a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name: that of the config's option, if there is one. `model` and `model_file` are
    /// compared as names of models.
    pub name: String,
    /// Its place in the answer: a JSON pointer, or `metric` or `metric{label}` of Prometheus.
    pub at: String,
    /// Value that was asked for; `None`: nothing is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<serde_json::Value>,
}

/// Returns `true` for a place in an answer: a JSON pointer, or `metric` or `metric{label}` of
/// Prometheus.
pub fn is_place(at: &str) -> bool {
    if at.starts_with('/') {
        return true;
    }
    let is_name = |name: &str, also: char| {
        let may_be = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == also;
        name.chars().all(may_be) && name.starts_with(|it: char| !it.is_ascii_digit())
    };
    match at.split_once('{') {
        None => is_name(at, ':'),
        Some((metric, label)) => {
            let label = label.strip_suffix('}');
            is_name(metric, ':') && label.is_some_and(|label| is_name(label, '_'))
        }
    }
}

/// A counter of a server, over all its clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Subject of the counter.
    pub kind: CounterKind,
    /// Its place in the answer, as in [`Setting::at`]. Of a metric with several sets of labels
    /// it is their sum.
    pub at: String,
}

/// Subject of a counter, since the server started. See `counter-kind` in `plugin.wit`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum CounterKind {
    /// Requests.
    Requests,
    /// Prompt tokens, those from a prefix cache included.
    PromptTokens,
    /// Prompt tokens that were computed: without those from a prefix cache.
    ComputedPromptTokens,
    /// Prompt tokens that came from a prefix cache.
    CachedTokens,
    /// Generated tokens.
    OutputTokens,
    /// Time of all requests before work on them began, in seconds.
    QueueTime,
    /// Time of all requests from there to the first token, in seconds.
    PrefillTime,
    /// Time of all requests from the first token to the last, in seconds.
    DecodeTime,
}

impl LaunchPlan {
    /// Uses a server that runs already.
    pub fn attach(base_url: impl Into<String>, ready: Ready) -> Self {
        Self {
            command: None,
            base_url: base_url.into(),
            ready,
            models: None,
            questions: Vec::new(),
            load: Vec::new(),
            unload: Vec::new(),
            reset: Vec::new(),
        }
    }

    /// Starts `command`, which listens at `at`.
    pub fn spawn(command: Command, at: &Endpoint, ready: Ready) -> Self {
        Self {
            command: Some(command),
            ..Self::attach(format!("http://{}:{}", at.host, at.port), ready)
        }
    }

    /// The same, of a server that answers `request` with a list of its models.
    #[must_use]
    pub fn lists_models(self, request: HttpRequest) -> Self {
        Self {
            models: Some(request),
            ..self
        }
    }

    /// The same, of a server that can be asked about itself.
    #[must_use]
    pub fn asks(self, questions: Vec<Question>) -> Self {
        Self { questions, ..self }
    }

    /// The same, of a server that loads the model by `load` and gives it back by `unload`.
    #[must_use]
    pub fn loads(self, load: Vec<Exchange>, unload: Vec<Exchange>) -> Self {
        Self {
            load,
            unload,
            ..self
        }
    }

    /// The same, of a server that empties its prefix cache by `reset`.
    #[must_use]
    pub fn resets(self, reset: Vec<Exchange>) -> Self {
        Self { reset, ..self }
    }
}

/// The last line of an answer, or the last answer: one that has something at `at`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// JSON pointer into the line, or into the body of the answer.
    pub at: String,
    /// Required value; `None`: anything, `null` too unless `failed`: it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_null")]
    pub value: Option<serde_json::Value>,
    /// It means that the engine refused or failed. What is at `at` are its words.
    #[serde(default)]
    pub failed: bool,
}

/// Tells `null` from nothing.
mod maybe_null {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use serde_json::Value;

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Value>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Value>, D::Error> {
        Value::deserialize(from).map(Some)
    }
}

impl Ending {
    /// Returns `true` if `said`, a line or an answer, is the last by this rule.
    pub fn ends(&self, said: &serde_json::Value) -> bool {
        match (said.pointer(&self.at), &self.value) {
            (Some(found), Some(wanted)) => found == wanted,
            // `"error": null` is how some say that there was none.
            (found, None) => found.is_some_and(|found| !(self.failed && found.is_null())),
            (None, Some(_)) => false,
        }
    }

    /// A line that has anything at `at`.
    pub fn at(at: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            value: None,
            failed: false,
        }
    }

    /// A line that has `value` at `at`.
    pub fn is(at: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        Self {
            value: Some(value.into()),
            ..Self::at(at)
        }
    }

    /// The same, and it means that the engine refused or failed.
    #[must_use]
    pub fn failed(self) -> Self {
        Self {
            failed: true,
            ..self
        }
    }
}

/// A line that is sent to an engine over its standard input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// JSON, without the line break.
    pub line: String,
    /// Ids by which the lines that answer it refer to it: texts as they are, numbers as they
    /// are written. No two messages in flight share one.
    pub ids: Vec<String>,
    /// Rules that find the last line of the answer. At least one.
    pub ends: Vec<Ending>,
}

/// Plan for starting an engine that speaks lines of JSON over its standard input and
/// output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StdioPlan {
    /// The process to start.
    pub command: Command,
    /// Condition under which it may be spoken to; not [`Ready::Http`].
    pub ready: Ready,
    /// JSON pointers to where a line says which message it belongs to: the first
    /// that leads to a text or a number. A line without is the log's.
    pub id_at: Vec<String>,
    /// Sent once it is ready, each when the one before has been answered.
    #[serde(default)]
    pub opening: Vec<Message>,
    /// Sent in the same way when it is unloaded, before its input is closed.
    #[serde(default)]
    pub closing: Vec<Message>,
}

/// Form in which the prompt reaches the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// The last user message, rendered with the model's chat template.
    #[default]
    Chat,
    /// As it is.
    Completions,
}

impl Api {
    /// All of them.
    pub fn all() -> Vec<Self> {
        vec![Self::Chat, Self::Completions]
    }

    /// Returns `true` if `apis` has all of them.
    pub fn is_all(apis: &[Self]) -> bool {
        Self::all().iter().all(|api| apis.contains(api))
    }

    /// The forms that an engine takes with a config: `apis` without those that the value of an
    /// option rules out. The option's schema says what is left, by value, under
    /// `x-prony-apis`: `{ "raw": ["completions"] }`. An option that is not given has its
    /// default.
    pub fn of_config(
        apis: &[Self],
        schema: &serde_json::Value,
        config: &serde_json::Map<String, serde_json::Value>,
    ) -> Vec<Self> {
        let mut left = apis.to_vec();
        let options = schema["properties"].as_object();
        for (name, option) in options.into_iter().flatten() {
            let given = config.get(name).filter(|value| !value.is_null());
            let value = given.or_else(|| option.get("default"));
            let value = value.and_then(serde_json::Value::as_str);
            let rule = value.and_then(|value| option["x-prony-apis"].get(value));
            if let Some(rule) = rule.and_then(|rule| Vec::<Self>::deserialize(rule).ok()) {
                left.retain(|api| rule.contains(api));
            }
        }
        left
    }

    /// Name in pipelines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
        }
    }
}

/// One request, the same for every engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chat or plain completions.
    pub api: Api,
    /// The prompt.
    pub prompt: String,
    /// System message (chat only).
    pub system: Option<String>,
    /// Messages before the prompt, after the system message: oldest first, user and
    /// assistant in turn, the last of the assistant (chat only). Empty unless the plugin
    /// says that it takes a history.
    #[serde(default)]
    pub history: Vec<ChatMessage>,
    /// Upper limit of generated tokens.
    pub max_tokens: u32,
    /// 0 means greedy.
    pub temperature: f64,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// Seed of the sampler.
    pub seed: u64,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Generate exactly `max_tokens` where the engine can.
    pub ignore_eos: bool,
    /// Part of the user's message, before the prompt. Empty unless the plugin
    /// says that it takes images.
    #[serde(default)]
    pub images: Vec<Image>,
}

impl Request {
    /// An error if there are images, for an engine that takes none: to leave
    /// them out would be to measure other work than what was asked for.
    pub fn without_images(&self) -> Result<()> {
        let what = match self.images.len() {
            0 => return Ok(()),
            1 => "an image".to_owned(),
            many => format!("{many} images"),
        };
        Err(Error::unsupported(format!(
            "the request carries {what}, and this engine takes no images: ask without them, or use an engine that takes them"
        )))
    }

    /// An error if something was said before the prompt, for an engine that takes no
    /// history: to leave it out would be to measure other work than what was asked for.
    pub fn without_history(&self) -> Result<()> {
        let messages = match self.history.len() {
            0 => return Ok(()),
            1 => "1 message".to_owned(),
            many => format!("{many} messages"),
        };
        Err(Error::unsupported(format!(
            "the request is a later turn of a conversation, with {messages} before it, and this engine takes only the first: use conversations of one turn, or an engine that takes more"
        )))
    }
}

/// Author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The one who asks.
    User,
    /// The one who answers.
    Assistant,
}

impl Role {
    /// As chat templates and APIs have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// The author.
    pub role: Role,
    /// The text.
    pub content: String,
}

/// A file that goes with the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// For example `image/png`.
    pub media_type: String,
    /// The bytes of the file, as they are; base64 in JSON.
    #[serde(with = "in_base64")]
    pub data: Vec<u8>,
}

impl Image {
    /// The file in base64: RFC 4648, section 4, padded.
    pub fn base64(&self) -> String {
        STANDARD.encode(&self.data)
    }

    /// The file as a URL: `data:image/png;base64,…`.
    pub fn data_url(&self) -> String {
        let mut url = format!("data:{};base64,", self.media_type);
        STANDARD.encode_string(&self.data, &mut url);
        url
    }
}

mod in_base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(data: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(data))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD
            .decode(text)
            .map_err(|error| D::Error::custom(format!("not base64: {error}")))
    }
}

/// An HTTP request, relative to the base URL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// `POST`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers; the host adds `host` and `content-length`.
    pub headers: Vec<Pair>,
    /// Body. UTF-8 in the native form.
    pub body: String,
    /// Lines that end the answer, without their line breaks. The host takes the answer as
    /// complete when the body has one of them; what follows is not kept. Empty: the answer
    /// ends with the body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub end_marks: Vec<String>,
    /// Names of headers of the answer that `decode` gets, in lower case. No others are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answer_headers: Vec<String>,
    /// Server's name of the model that is asked for. The host warns if
    /// [`EventKind::ServedModel`] is another one; `None`: they are not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl HttpRequest {
    /// A `GET`.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.into(),
            ..Self::default()
        }
    }

    /// A `POST` of a JSON body.
    pub fn post_json(path: impl Into<String>, body: &serde_json::Value) -> Self {
        Self {
            method: "POST".to_owned(),
            path: path.into(),
            headers: vec![Pair::new("content-type", "application/json")],
            body: body.to_string(),
            ..Self::default()
        }
    }

    /// The same, of which the answer ends at a line equal to one of `marks`.
    #[must_use]
    pub fn ends_at<'m>(mut self, marks: impl IntoIterator<Item = &'m str>) -> Self {
        self.end_marks.extend(marks.into_iter().map(str::to_owned));
        self
    }

    /// The same, of whose answer `decode` gets these headers. Names are in lower case.
    #[must_use]
    pub fn keeps_headers<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.answer_headers
            .extend(names.into_iter().map(str::to_ascii_lowercase));
        self
    }

    /// The same, which asks for the model that the server calls `model`.
    #[must_use]
    pub fn asks_for(self, model: impl Into<String>) -> Self {
        Self {
            model: Some(model.into()),
            ..self
        }
    }
}

/// A whole recorded response.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    /// HTTP status; 200 over standard input and output.
    pub status: u16,
    /// Headers that the request asked for in [`HttpRequest::answer_headers`], names in lower
    /// case, in the order in which they came.
    pub headers: &'a [Pair],
    /// The body as it arrived, transfer coding removed. Over standard output: the
    /// request's own lines, each with its line break.
    pub body: &'a [u8],
    /// End offset in `body` of each read, ascending.
    pub ends: &'a [u32],
}

impl<'a> Response<'a> {
    /// A response without headers.
    pub fn new(status: u16, body: &'a [u8], ends: &'a [u32]) -> Self {
        Self {
            status,
            headers: &[],
            body,
            ends,
        }
    }

    /// The first header of this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let found = self.headers.iter().find(|header| header.name == name);
        found.map(|header| header.value.as_str())
    }

    /// Index of the last read.
    pub fn last_read(&self) -> u32 {
        self.ends.len().saturating_sub(1) as u32
    }

    /// The bytes after the last line break, if there are any.
    pub fn unfinished_line(&self) -> Option<&'a [u8]> {
        let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let start = self.body.iter().rposition(is_break).map_or(0, |at| at + 1);
        Some(&self.body[start..]).filter(|line| !line.is_empty())
    }

    /// Lines that ended (`\n`, `\r\n` or `\r`), each with the read that
    /// completed it. An unfinished last line is left out.
    pub fn lines(&self) -> impl Iterator<Item = (u32, &'a [u8])> {
        let (response, mut at, mut read) = (*self, 0, 0);
        std::iter::from_fn(move || {
            let rest = &response.body[at..];
            let length = memchr::memchr2(b'\n', b'\r', rest)?;
            let mut end = at + length;
            if rest[length] == b'\r' && rest.get(length + 1) == Some(&b'\n') {
                end += 1;
            }
            let line = &rest[..length];
            at = end + 1;
            // Lines go up, and so do reads.
            while response
                .ends
                .get(read)
                .is_some_and(|read| *read as usize <= end)
            {
                read += 1;
            }
            let read = read.min(response.ends.len().saturating_sub(1));
            Some((read as u32, line))
        })
    }
}

/// Severity of a line of the log, by its number in the C form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Level {
    /// Of use to the plugin's author.
    Debug,
    /// Worth knowing.
    Info,
    /// Something may be wrong.
    Warn,
    /// Something is wrong.
    Error,
}

/// Kind of an event. See `event-kind` in `plugin.wit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u32)]
pub enum EventKind {
    /// Answer text. Empty and without tokens: a chunk of the answer that brought no text, such
    /// as a role or a finish reason alone.
    Text,
    /// Reasoning text.
    Reasoning,
    /// Count of generated tokens so far; the last one counts for the answer.
    OutputTokens,
    /// Count of prompt tokens.
    PromptTokens,
    /// Prompt tokens answered from a cache.
    CachedTokens,
    /// Generated tokens that were reasoning.
    ReasoningTokens,
    /// Why generation stopped.
    Finish,
    /// An error inside the stream.
    Failure,
    /// The model that was served.
    ServedModel,
    /// The engine's version or build.
    EngineVersion,
    /// The stream ended by its own rule.
    End,
    /// Part of a call of a tool that the answer makes.
    ToolCall,
    /// Something about this response that a reader of the report should know.
    Note,
    /// Time in the engine before work on the request began, by its own clock.
    QueueTime,
    /// Time from there to the first token.
    PrefillTime,
    /// Time from the first token to the last.
    DecodeTime,
}

impl EventKind {
    /// Returns `true` for text of any kind: what arrives, and has a stamp if the engine gives
    /// one.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Reasoning | Self::ToolCall)
    }

    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::Text,
        Self::Reasoning,
        Self::OutputTokens,
        Self::PromptTokens,
        Self::CachedTokens,
        Self::ReasoningTokens,
        Self::Finish,
        Self::Failure,
        Self::ServedModel,
        Self::EngineVersion,
        Self::End,
        Self::ToolCall,
        Self::Note,
        Self::QueueTime,
        Self::PrefillTime,
        Self::DecodeTime,
    ];
}

/// One event of a response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Index of the read that completed it.
    // Its name before contract 1.0, in answers that an interrupted run left.
    #[serde(alias = "chunk")]
    pub read: u32,
    /// Kind of the event.
    pub kind: EventKind,
    /// A count, where the kind has one.
    pub tokens: u32,
    /// Nanoseconds by the engine's own clock: the duration, if the kind is a time; for a text,
    /// the time at which it was emitted (`CLOCK_MONOTONIC` of the same machine), 0 if unknown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ns: u64,
    /// A text, where the kind has one.
    pub text: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_none(count: &u32) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(ns: &u64) -> bool {
    *ns == 0
}

/// Collects the events of a response.
#[derive(Debug, Default)]
pub struct Events(Vec<Event>);

impl Events {
    /// Adds an event.
    pub fn push(&mut self, read: u32, kind: EventKind, tokens: u32, text: &str) {
        self.0.push(Event {
            read,
            kind,
            tokens,
            ns: 0,
            text: text.to_owned(),
        });
    }

    /// Answer text that stands for `tokens` tokens (0: unknown).
    pub fn text(&mut self, read: u32, tokens: u32, text: &str) {
        self.push(read, EventKind::Text, tokens, text);
    }

    /// Answer text that the engine says it emitted at `ns`, by `CLOCK_MONOTONIC` of the same
    /// machine.
    pub fn stamped_text(&mut self, read: u32, tokens: u32, ns: u64, text: &str) {
        self.0.push(Event {
            read,
            kind: EventKind::Text,
            tokens,
            ns,
            text: text.to_owned(),
        });
    }

    /// A time by the engine's own clock, e.g. [`EventKind::PrefillTime`], in nanoseconds.
    pub fn time(&mut self, read: u32, kind: EventKind, ns: u64) {
        self.0.push(Event {
            read,
            kind,
            tokens: 0,
            ns,
            text: String::new(),
        });
    }

    /// A count, e.g. [`EventKind::OutputTokens`].
    pub fn count(&mut self, read: u32, kind: EventKind, tokens: u32) {
        self.push(read, kind, tokens, "");
    }

    /// Adds the reason why generation stopped.
    pub fn finish(&mut self, read: u32, reason: &str) {
        self.push(read, EventKind::Finish, 0, reason);
    }

    /// The engine reported an error.
    pub fn failure(&mut self, read: u32, message: &str) {
        self.push(read, EventKind::Failure, 0, message);
    }

    /// The stream ended by its own rule.
    pub fn end(&mut self, read: u32) {
        self.push(read, EventKind::End, 0, "");
    }

    /// Something that a reader of the report should know, in equal words for equal things.
    pub fn note(&mut self, read: u32, text: &str) {
        self.push(read, EventKind::Note, 0, text);
    }

    /// The events, in order.
    pub fn into_vec(self) -> Vec<Event> {
        self.0
    }
}

/// A file that a reporter made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// `stdout` is printed; any other name is a file in the result folder.
    pub name: String,
    /// For example `text/markdown`.
    pub media_type: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl Artifact {
    /// A text artifact.
    pub fn text(
        name: impl Into<String>,
        media_type: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            media_type: media_type.into(),
            bytes: text.into().into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(data: &[u8]) -> Image {
        Image {
            media_type: "image/png".to_owned(),
            data: data.to_vec(),
        }
    }

    #[test]
    fn a_null_is_a_result_and_no_error() {
        let (result, error) = (Ending::at("/it"), Ending::at("/it").failed());
        let done = Ending::is("/it", true);
        for (line, expected) in [
            (serde_json::json!({ "it": null }), [true, false, false]),
            (serde_json::json!({ "it": "words" }), [true, true, false]),
            (serde_json::json!({ "it": true }), [true, true, true]),
            (serde_json::json!({}), [false, false, false]),
        ] {
            let found = [&result, &error, &done].map(|end| end.ends(&line));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn an_image_is_base64_in_json_and_comes_back_unchanged() {
        let json = |image: &Image| serde_json::to_value(image).expect("serialises");
        assert_eq!(
            json(&image(b"\xff\xfe\0")),
            serde_json::json!({ "media_type": "image/png", "data": "//4A" })
        );
        assert_eq!(image(b"a").base64(), "YQ==");
        assert_eq!(image(b"a").data_url(), "data:image/png;base64,YQ==");
        let bytes: Vec<u8> = (0..=255).collect();
        for length in 0..=bytes.len() {
            let image = image(&bytes[..length]);
            let back: Image = serde_json::from_value(json(&image)).expect("reads");
            assert_eq!(back, image);
        }
        for wrong in ["YQ", "YQ=", "Y Q==", "YQ==\n", "_-4A", "é"] {
            let wrong = serde_json::json!({ "media_type": "image/png", "data": wrong });
            let error = serde_json::from_value::<Image>(wrong).expect_err("refused");
            assert!(error.to_string().contains("not base64"), "{error}");
        }
    }
}
