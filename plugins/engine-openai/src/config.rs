//! The options under `engines.<name>.config`.

use crate::protocol::Protocol;
use crate::recipe;
use prony_plugin_sdk::{
    Counter, CounterKind, Error, HttpRequest, Model, Question, Setting, is_place,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddrV6;

/// Options of the `openai` engine.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    {
        "description": "Attaches to a server.",
        "required": ["base_url"],
        "properties": { "base_url": { "type": "string" } },
    },
    {
        "description": "Starts a server.",
        "required": ["launch"],
        "properties": { "launch": { "type": "object" } },
    },
]))]
pub struct Config {
    /// Attach to this running server, for example `http://127.0.0.1:8080/v1`.
    /// A path is put before every request's path; without one it is `/v1`, and nothing for a
    /// `protocol` other than `openai`. A query goes behind every request's path.
    #[schemars(regex(pattern = BASE_URL), extend("patternErrorMessage" = BASE_URL_FORM))]
    pub base_url: Option<String>,
    /// Path whose `GET` must answer 200 before the first request, when attaching.
    /// Without it the server is taken to be ready.
    pub attach_ready: Option<String>,
    #[serde(default)]
    pub protocol: Protocol,
    /// Start this server for each visit and stop it afterwards.
    #[schemars(extend("x-prony-role" = "launch"))]
    pub launch: Option<Launch>,
    /// Model name to send; the model's `id` if absent.
    pub model: Option<String>,
    /// Sent as `authorization: Bearer …`.
    #[schemars(extend("x-prony-role" = "secret"))]
    pub api_key: Option<String>,
    /// More fields for the request body, for example
    /// `{ cache_prompt: false }`. Fields of sampling win over the workload's; what would change the
    /// work, such as `max_tokens`, is refused.
    #[serde(default)]
    #[schemars(extend("x-prony-role" = "request"))]
    pub body: serde_json::Map<String, serde_json::Value>,
    /// Fields of the request body that this server does not take, for example
    /// `[stream_options, seed]`: they are left out.
    #[serde(default)]
    pub omit: Vec<String>,
    /// Fields of the request body that this server calls otherwise, for example
    /// `{ max_tokens: max_completion_tokens }`.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
    /// More request headers. `host` and those of the connection are prony's own.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Finish reasons that end a complete answer, beside the usual ones (`stop`, `length`,
    /// `eos`, `tool_calls`, …). An answer with any other reason is a failure.
    #[serde(default)]
    pub finish_reasons: Vec<String>,
    /// Need of a stream's end mark, such as `data: [DONE]`, for it to count as complete.
    /// Defaults to `optional`: a stream without it does, if it has a finish reason and its body ends well.
    #[serde(default)]
    pub end_mark: EndMark,
    /// Facts that the server tells of itself, by the path to ask at below that of `base_url` (less `/v1`), for example
    /// `{ /props: { settings: { context: { at: /n_ctx, asked: 4096 } } } }`: shown in reports,
    /// and in no rate or verdict.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "pattern": "^/[^\\x00-\\x1f]*$" }))]
    pub tells: BTreeMap<String, Told>,
    /// Path of a `POST` that empties the server's prefix cache, below that of `base_url` (less `/v1`), for example
    /// `/flush_cache` of `SGLang`: sent before each `measure` stage with `cache: cold`.
    #[schemars(
        regex(pattern = r"^/[^\x00-\x1f]*$"),
        extend("patternErrorMessage" = "write a path such as `/flush_cache`")
    )]
    pub reset: Option<String>,
    /// Path before every request's path where `base_url` has none; the protocol's own if absent.
    #[serde(skip)]
    pub base_path: Option<String>,
    /// Fields that have the server go on after the model's end of an answer, where it is not
    /// `ignore_eos: true`.
    #[serde(skip)]
    pub ignore_eos: Option<Map<String, Value>>,
    /// Path of the model, instead of its own.
    #[serde(skip)]
    pub model_path: Option<String>,
    /// `true` if a recipe made it, so that texts have placeholders.
    #[serde(skip)]
    pub is_recipe: bool,
}

/// The regular expression of a base URL; [`base_url_problem`] knows more of it.
pub(crate) const BASE_URL: &str = r"^[Hh][Tt][Tt][Pp][Ss]?://[^/?#\s]+(/[^?#\s]*)?(\?[^#\s]*)?$";
/// The way out for one that is none.
pub(crate) const BASE_URL_FORM: &str =
    "write `http://` or `https://`, a host and a path, such as `http://127.0.0.1:8080/v1`";

impl Config {
    /// The model with the path that this engine reads it from.
    pub(crate) fn model_here<'m>(&self, model: &'m Model) -> Cow<'m, Model> {
        match &self.model_path {
            None => Cow::Borrowed(model),
            Some(path) => Cow::Owned(Model {
                path: Some(path.clone()),
                ..model.clone()
            }),
        }
    }

    /// Path and query of every request, around its own path.
    pub(crate) fn place(&self) -> (&str, &str) {
        let base_path = self.base_path.as_deref();
        let base_path = base_path.unwrap_or(self.protocol.form().base_path);
        let url = self.base_url.as_deref().unwrap_or_default();
        let (_, path, query) = split_base_url(url);
        (path.unwrap_or(base_path), query)
    }

    /// Path that a server with a base URL is below, without the protocol's own.
    pub(crate) fn below(&self) -> &str {
        let url = self.base_url.as_deref().unwrap_or_default();
        let path = split_base_url(url).1.unwrap_or_default();
        let base_path = self.base_path.as_deref();
        let base_path = base_path.unwrap_or(self.protocol.form().base_path);
        path.strip_suffix(base_path).unwrap_or(path)
    }
}

/// The regular expression of a place, for [`is_place`].
const PLACE: &str = r"^(/.*|[A-Za-z_:][A-Za-z0-9_:]*(\{[A-Za-z_][A-Za-z0-9_]*\})?)$";
/// The description of a place.
const OF_PLACE: &str = "Place in the answer: a JSON pointer such as `/data/0/id`, or the name of a Prometheus metric, with `{label}` behind it for the text of a label.";

/// Places in an answer of a server about itself. A place is a JSON pointer (`/data/0/id`), the
/// name of a Prometheus metric, which is summed over its labels, or `metric{label}`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Told {
    /// Settings in force, by name. `model` and `model_file` are held against the pipeline's
    /// model.
    pub settings: BTreeMap<String, Place>,
    /// Places of counters, written like those of settings. They are read before and after each
    /// `measure` stage.
    #[schemars(extend("additionalProperties" = {
        "type": "string",
        "description": OF_PLACE,
        "pattern": PLACE,
    }))]
    pub counters: BTreeMap<CounterKind, String>,
}

/// A setting in an answer of a server about itself.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    #[schemars(description = OF_PLACE, regex(pattern = PLACE))]
    pub at: String,
    /// Value that it should have.
    pub asked: Option<Value>,
}

impl Told {
    /// The question at `path`.
    fn question(&self, path: &str) -> Question {
        let settings = self.settings.iter().map(|(name, place)| Setting {
            name: name.clone(),
            at: place.at.clone(),
            asked: place.asked.clone(),
        });
        let counters = self.counters.iter().map(|(kind, at)| Counter {
            kind: *kind,
            at: at.clone(),
        });
        Question {
            request: HttpRequest::get(path),
            settings: settings.collect(),
            counters: counters.collect(),
        }
    }

    /// The reason why it cannot be asked at `path`.
    fn problem(&self, path: &str) -> Option<String> {
        if !path.starts_with('/') || path.chars().any(char::is_control) {
            return Some(format!("`{path}` is no path: write `/{path}`"));
        }
        let settings = self.settings.values().map(|place| &place.at);
        let mut places = settings.chain(self.counters.values());
        let wrong = places.find(|at| !is_place(at))?;
        Some(format!(
            "`{wrong}` is no place in an answer: write a JSON pointer such as `/data/0/id`, or the name of a Prometheus metric"
        ))
    }
}

impl Config {
    /// The questions of `tells`.
    pub(crate) fn told(&self) -> impl Iterator<Item = Question> {
        self.tells.iter().map(|(path, told)| told.question(path))
    }

    /// The reason why `tells` cannot be asked.
    pub(crate) fn told_problem(&self) -> Option<Error> {
        let mut problems = self.tells.iter();
        let problem = problems.find_map(|(path, told)| told.problem(path))?;
        Some(Error::config("/tells", problem))
    }
}

/// A [`Config`] as it is given: in full, or as the options of a recipe; or what is wrong with it.
#[derive(Debug, Clone)]
pub struct Given(pub Result<Config, Error>);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut options = Map::deserialize(deserializer)?;
        Ok(Self(match options.remove("recipe") {
            Some(Value::String(name)) => recipe::config(&name, options),
            Some(other) => Err(Error::config(
                "/recipe",
                format!("`recipe` is a name, not `{other}`"),
            )),
            None => serde_json::from_value(Value::Object(options))
                .map_err(|error| Error::config("", error.to_string())),
        }))
    }
}

impl JsonSchema for Given {
    fn schema_name() -> Cow<'static, str> {
        Config::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Config::json_schema(generator)
    }
}

/// Meaning of a stream without `data: [DONE]` at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndMark {
    /// Complete if it has a finish reason and its body ends well; reports have a note.
    #[default]
    Optional,
    /// Cut short, whatever else it has.
    Required,
}

/// Command that starts a server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// Program and arguments, without a shell. `${{ engine.host }}` and
    /// `${{ engine.port }}` say where it must listen.
    #[schemars(length(min = 1), extend("items" = command_word()))]
    pub command: Vec<Word>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, Word>,
    /// Working folder.
    #[schemars(extend("x-prony-path" = "folder"))]
    pub cwd: Option<String>,
    /// Condition under which it is ready.
    #[serde(default)]
    pub ready: Probe,
}

/// A word on a command line, or the value of an environment variable. prony hands over what is
/// written, so numbers need no quotes; those that a run gives, such as `${{ engine.port }}`, come
/// as numbers.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub struct Word(pub String);

/// JSON Schema of a word of a command, of which the first is a program.
pub(crate) fn command_word() -> Value {
    json!({ "$ref": "#/$defs/Word", "x-prony-path": "program" })
}

impl TryFrom<serde_json::Value> for Word {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        match value {
            serde_json::Value::String(text) => Ok(Self(text)),
            serde_json::Value::Number(number) => Ok(Self(number.to_string())),
            serde_json::Value::Bool(value) => Ok(Self(value.to_string())),
            other => Err(format!("`{other}` is neither a text nor a number")),
        }
    }
}

impl JsonSchema for Word {
    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Condition under which a started server is ready.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// `GET` of this path answers 200.
    Http(String),
    /// A line of its output contains this text.
    LogLine(String),
}

impl Default for Probe {
    fn default() -> Self {
        Self::Http("/health".to_owned())
    }
}

/// `http://host:port`, the path prefix if there is one, and the query with its question
/// mark, which each request gets.
pub(crate) fn split_base_url(url: &str) -> (&str, Option<&str>, &str) {
    let (url, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    let url = url.trim_end_matches('/');
    let authority = url.find("://").map_or(0, |at| at + 3);
    match url[authority..].find('/') {
        Some(slash) => {
            let (root, path) = url.split_at(authority + slash);
            (root, Some(path), query)
        }
        None => (url, None, query),
    }
}

/// The ends of paths that are no base but one request's.
const ENDPOINTS: [&str; 8] = [
    "/chat/completions",
    "/completions",
    "/models",
    "/completion",
    "/generate_stream",
    "/generate",
    "/api/generate",
    "/api/chat",
];

/// `http://host:port` of a base URL, with the scheme in lower case, which has none in a URL.
pub(crate) fn root(url: &str) -> String {
    let (root, ..) = split_base_url(url);
    match root.split_once("://") {
        Some((scheme, authority)) => format!("{}://{authority}", scheme.to_ascii_lowercase()),
        None => root.to_owned(),
    }
}

/// Problem of host and port, in words: what prony's client could not connect to.
fn authority_problem(authority: &str) -> Option<String> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control();
    if authority.contains(is_odd) {
        return Some("there is a blank or a control character in the host: remove it".to_owned());
    }
    let port = if authority.starts_with('[') {
        let (host, port) = authority.split_at(authority.find(']').map_or(0, |at| at + 1));
        // Also one with a zone, in digits.
        if format!("{host}:0").parse::<SocketAddrV6>().is_err() {
            return Some(format!(
                "`{authority}` is no IPv6 address in brackets: write it as in `http://[::1]:8080/v1`"
            ));
        }
        match port.strip_prefix(':') {
            None if !port.is_empty() => {
                return Some(format!(
                    "`{port}` behind the brackets is no port: write it as in `http://[::1]:8080/v1`"
                ));
            }
            port => port,
        }
    } else {
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        if authority.contains(['[', ']']) || port.is_some_and(|port| port.contains(':')) {
            return Some(format!(
                "`{authority}` is no host and port; an IPv6 address stands in brackets: write it as in `http://[::1]:8080/v1`"
            ));
        }
        if host.is_empty() {
            return Some(
                "the host is missing: write it as in `http://127.0.0.1:8080/v1`".to_owned(),
            );
        }
        port
    };
    let is_port = |port: &&str| {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        digits && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    let wrong = port.filter(|port| !is_port(port))?;
    Some(format!(
        "`{wrong}` is no port: write a number from 1 to 65535, or leave out `:{wrong}`"
    ))
}

impl Config {
    /// The reason why the key or a header of the user's own cannot be sent. The values are in no
    /// message: they may be secrets.
    pub(crate) fn header_problem(&self) -> Option<Error> {
        let is_broken = |value: &str| value.chars().any(char::is_control);
        if self.api_key.as_deref().is_some_and(is_broken) {
            let words = "the key holds a line break or another control character, which no header can: remove it";
            return Some(Error::config("/api_key", words));
        }
        self.headers.iter().find_map(|(name, value)| {
            let words = if name.is_empty() || !name.bytes().all(is_of_token) {
                format!(
                    "`{}` is no name of a header: it has letters, digits and `-`, as in `x-api-key`",
                    name.escape_debug()
                )
            } else if OF_CLIENT.iter().any(|it| name.eq_ignore_ascii_case(it)) {
                format!(
                    "prony sends `{name}` itself, as the connection and the request need it, and twice it would be refused or misread: remove it"
                )
            } else if is_broken(value) {
                format!(
                    "the value of `{name}` holds a line break or another control character, which no header can: remove it"
                )
            } else {
                return None;
            };
            let key = name.replace('~', "~0").replace('/', "~1");
            Some(Error::config(format!("/headers/{key}"), words))
        })
    }
}

/// The headers that prony's client sends, or that would contradict how it sends a request.
const OF_CLIENT: [&str; 12] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A byte of a header's name, by RFC 9110, 5.6.2.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Problem of a base URL and the way out, in words; `None` if there is none.
pub(crate) fn base_url_problem(url: &str, protocol: Protocol) -> Option<String> {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, url),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    // Before all that repeats the address: a password is in no message.
    if authority.contains('@') {
        return Some("a user or a password in an address is not sent to a server: leave out what stands before `@`, and set `api_key`, or `headers: { authorization: … }`".to_owned());
    }
    match scheme {
        Some(scheme)
            if ["http", "https"]
                .iter()
                .any(|it| scheme.eq_ignore_ascii_case(it)) => {}
        Some(scheme) => {
            return Some(format!(
                "`{scheme}://` is not spoken here: write `http://` or `https://`"
            ));
        }
        None => return Some(format!("the scheme is missing: write `http://{url}`")),
    }
    if let Some(problem) = authority_problem(authority) {
        return Some(problem);
    }
    if rest.contains('#') {
        return Some("a fragment (`#…`) is not sent to a server: remove it".to_owned());
    }
    let path = rest.split('?').next().unwrap_or(rest).trim_end_matches('/');
    if protocol != Protocol::Openai && path.ends_with("/v1") {
        return Some(format!(
            "`/v1` is where the OpenAI API begins, and `protocol: {}` has paths of its own: leave it out, or use `protocol: openai`",
            protocol.name()
        ));
    }
    let endpoints = ENDPOINTS.into_iter().filter(|end| path.ends_with(end));
    let endpoint = endpoints.max_by_key(|end| end.len())?;
    Some(format!(
        "this is the address of one kind of request: leave out `{endpoint}`, which prony adds"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_work_is_told() {
        let problem = |url: &str| base_url_problem(url, Protocol::Openai);
        for url in [
            "http://h/v1",
            "HTTP://h/v1",
            "hTTpS://h:1",
            "http://h:65535/v1?a=b@c:d",
            "http://h/a:b@c",
            "http://[::1]/v1",
            "http://[::1]:8080",
            "http://[fe80::1%2]:8080",
            "http://127.0.0.1:8080/",
        ] {
            assert_eq!(problem(url), None, "{url}");
        }
        for (url, words) in [
            ("http://127.0.0.1:99999/v1", "`99999` is no port"),
            ("http://h:0", "`0` is no port"),
            ("http://h:+1", "`+1` is no port"),
            ("http://h:", "`` is no port"),
            ("http://h:x/v1", "`x` is no port"),
            ("http://[::1/v1", "`[::1` is no IPv6 address"),
            ("http://[h]:1", "no IPv6 address"),
            ("http://[::1]8080", "`8080` behind the brackets"),
            ("http://[::1]:", "`` is no port"),
            ("http://::1/v1", "in brackets"),
            ("http://fe80::1:80/v1", "in brackets"),
            ("http://h]:1", "in brackets"),
            ("http://:80/v1", "the host is missing"),
            ("http:///v1", "the host is missing"),
            ("http://a b:1", "a blank"),
            ("FTP://h", "`FTP://` is not spoken"),
        ] {
            let told = problem(url).unwrap_or_default();
            assert!(told.contains(words), "{url}: {told}");
        }
        for url in [
            "http://user:secretpw@h/v1",
            "http://secretpw@h",
            "ftp://user:secretpw@h:99999#x",
            "user:secretpw@h:80",
        ] {
            let told = problem(url).unwrap_or_default();
            assert!(told.contains("before `@`"), "{url}: {told}");
            assert!(!told.contains("secretpw"), "{told}");
        }
        assert_eq!(root("HTTPS://H:1/v1?a=b"), "https://H:1");
        let schema = json!({ "pattern": BASE_URL });
        let schema = jsonschema::validator_for(&schema).expect("a schema");
        assert!(schema.is_valid(&Value::from("HTTP://h/v1")));
        // Of a text that it refuses, validation shows all.
        assert!(schema.is_valid(&Value::from("http://user:secretpw@h/v1")));
    }

    #[test]
    fn validation_knows_the_places_that_a_run_knows() {
        let schema = serde_json::json!({ "pattern": PLACE });
        let schema = jsonschema::validator_for(&schema).expect("a schema");
        let places = [
            "/",
            "/a/0",
            "/a b",
            "vllm:x_total",
            "m{v}",
            "_m",
            "",
            "a b",
            "7",
            "m{",
            "m{}",
            "m{v}w",
            "m{a:b}",
            "{v}",
            "a/b",
        ];
        for at in places {
            let is_valid = schema.is_valid(&Value::from(at));
            assert_eq!(is_valid, is_place(at), "{at}");
        }
    }
}
