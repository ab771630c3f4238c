//! Protocols: what a server is asked, and how its answers are read. One module each.

mod llama_cpp;
mod ollama;
mod openai;
mod sglang;
mod tgi;

use crate::decode::{Answer, Reader, Rules};
use prony_plugin_sdk::{Api, Error, Events, Request, Response, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// A protocol that servers speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// `OpenAI`'s API.
    #[default]
    Openai,
    /// Ollama's API.
    Ollama,
    /// Text Generation Inference's `/generate_stream`.
    Tgi,
    /// llama.cpp's `/completion`.
    LlamaCpp,
    /// `SGLang`'s `/generate`.
    Sglang,
}

/// The requests of a protocol. Fields are called by their paths in the body, `options.seed`
/// for one within the group `options`.
pub(crate) struct Form {
    /// Forms of requests that the protocol has.
    pub(crate) apis: &'static [Api],
    /// Path before every request's path where `base_url` has none.
    pub(crate) base_path: &'static str,
    /// Path of the list of models, after the base path.
    pub(crate) models: &'static str,
    /// The fields that prony sends, in one form of requests or another.
    pub(crate) sent: &'static [&'static str],
    /// The field with the longest length of an answer, in tokens.
    pub(crate) limit: &'static str,
    /// The fields that no request can do without.
    pub(crate) needed: &'static [&'static str],
    /// The object in the body that has the fields of sampling, if not the body itself.
    pub(crate) group: Option<&'static str>,
    /// Media type of a streamed answer.
    pub(crate) accepts: &'static str,
    /// The lines that end a stream, if they are always the same.
    pub(crate) end_marks: &'static [&'static str],
}

/// One request: its path, and its fields by their paths in the body.
pub(crate) struct Draft {
    pub(crate) endpoint: &'static str,
    pub(crate) fields: Vec<(&'static str, Value)>,
}

const RAW: &[Api] = &[Api::Completions];
const BOTH: &[Api] = &[Api::Chat, Api::Completions];
const EVENTS: &str = "text/event-stream";
/// The line that ends a stream of `OpenAI`'s API, and of those that took it over.
const DONE: &[&str] = &["data: [DONE]", "data:[DONE]"];

impl Protocol {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Openai,
        Self::Ollama,
        Self::Tgi,
        Self::LlamaCpp,
        Self::Sglang,
    ];

    /// Its name in a config.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Ollama => "ollama",
            Self::Tgi => "tgi",
            Self::LlamaCpp => "llama-cpp",
            Self::Sglang => "sglang",
        }
    }

    pub(crate) fn form(self) -> &'static Form {
        match self {
            Self::Openai => &openai::FORM,
            Self::Ollama => &ollama::FORM,
            Self::Tgi => &tgi::FORM,
            Self::LlamaCpp => &llama_cpp::FORM,
            Self::Sglang => &sglang::FORM,
        }
    }

    /// A request to the model of this name.
    pub(crate) fn draft(self, model: &str, request: &Request) -> Result<Draft> {
        match (self, request.api) {
            (Self::Openai, _) => openai::draft(model, request),
            (Self::Ollama, _) => ollama::draft(model, request),
            (_, Api::Chat) => Err(Error::unsupported(format!(
                "`protocol: {}` takes raw prompts: use `api: completions`",
                self.name()
            ))),
            (Self::Tgi, _) => tgi::draft(request),
            (Self::LlamaCpp, _) => llama_cpp::draft(model, request),
            (Self::Sglang, _) => sglang::draft(request),
        }
    }

    /// Says what a response means.
    pub(crate) fn decode(
        self,
        rules: Rules<'_>,
        response: &Response<'_>,
        events: &mut Events,
    ) -> Result<()> {
        let answer = &mut Answer::new(rules, events);
        match self {
            Self::Openai => openai::decode(response, answer),
            Self::Ollama => ollama::Reader.decode(response, answer),
            Self::Tgi => tgi::Reader::default().decode(response, answer),
            Self::LlamaCpp => llama_cpp::Reader.decode(response, answer),
            Self::Sglang => sglang::Reader::default().decode(response, answer),
        }
    }

    /// JSON Schema of the choice between these protocols, of which the first is the default.
    pub(crate) fn schema(choice: &[Self]) -> Value {
        let names: Vec<&str> = choice.iter().map(|it| it.name()).collect();
        let raw = choice.iter().filter(|it| it.form().apis == RAW);
        let raw: Map<String, Value> = raw
            .map(|it| (it.name().to_owned(), json!(it.form().apis)))
            .collect();
        json!({
            "description": format!(
                "Protocol: `{}`. One other than `openai` is the engine's own API, and `body`, `omit` and `rename` are about its fields. Defaults to `{}`.",
                names.join("`, `"),
                names.first().unwrap_or(&""),
            ),
            "type": "string",
            "enum": names,
            "default": names.first(),
            // What prony renders conversations for.
            "x-prony-apis": raw,
        })
    }
}

impl JsonSchema for Protocol {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Protocol".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Schema::try_from(Self::schema(&Self::ALL)).unwrap_or_else(|_| json_schema!(true))
    }
}

/// The prompt of a request that carries nothing else.
fn prompt_alone(request: &Request) -> Result<Value> {
    if !request.images.is_empty() {
        return Err(Error::unsupported(
            "a raw prompt cannot carry images: use `api: chat` with a protocol that takes chats, or ask without images",
        ));
    }
    if !request.history.is_empty() {
        return Err(Error::unsupported(
            "a raw prompt cannot carry a conversation, which a chat template renders: use `api: chat` with a protocol that takes chats, or conversations of one turn",
        ));
    }
    Ok(json!(request.prompt))
}

/// The messages of a chat, the last one as it is given.
fn messages(request: &Request, last: Value) -> Value {
    let message = |role: &str, content: &str| json!({ "role": role, "content": content });
    let system = request.system.iter().map(|text| message("system", text));
    let history = request.history.iter();
    let history = history.map(|said| message(said.role.name(), &said.content));
    system.chain(history).chain([last]).collect()
}
