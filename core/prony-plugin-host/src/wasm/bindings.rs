//! Bindings of `schemas/wit/plugin.wit`, and conversions to the SDK's types.

#![expect(unreachable_pub, reason = "what `bindgen!` re-exports must be `pub`")]

use super::Limits;
use prony_contract as contract;
use std::string::FromUtf8Error;
use wasmtime::ResourceLimiter;

/// Bindings of the world `engine-plugin`.
pub mod engine {
    wasmtime::component::bindgen!({ path: "../../schemas/wit", world: "engine-plugin" });
    pub use exports::prony::plugin::engine::Guest;
    pub use prony::plugin::{log, types};
}

/// Bindings of the world `stdio-engine-plugin`; the shared interfaces are the engine
/// world's.
pub mod stdio {
    wasmtime::component::bindgen!({
        path: "../../schemas/wit",
        world: "stdio-engine-plugin",
        with: {
            "prony:plugin/types": super::engine::types,
            "prony:plugin/log": super::engine::log,
        },
    });
    pub use exports::prony::plugin::stdio_engine::Guest;
}

/// Bindings of the world `reporter-plugin`; the shared interfaces are the
/// engine world's.
pub mod reporter {
    wasmtime::component::bindgen!({
        path: "../../schemas/wit",
        world: "reporter-plugin",
        with: {
            "prony:plugin/types": super::engine::types,
            "prony:plugin/log": super::engine::log,
        },
    });
    pub use exports::prony::plugin::reporter::Guest;
}

/// Bindings of the world `checked-plugin`; the shared interfaces are the engine world's.
pub mod check {
    wasmtime::component::bindgen!({
        path: "../../schemas/wit",
        world: "checked-plugin",
        with: {
            "prony:plugin/types": super::engine::types,
            "prony:plugin/log": super::engine::log,
        },
    });
}

use engine::{log, types};

/// State of one call: its limits and its log.
pub(super) struct Host {
    plugin: String,
    /// Limits of the call; the memory is that of all of the guest's memories together.
    pub(super) limits: Limits,
    /// Linear memory in use, over all of the guest's memories.
    used: usize,
    /// `true` if the guest asked for more memory than it may have.
    pub(super) memory_denied: bool,
    /// Messages it logged at level error.
    pub(super) errors: Vec<String>,
}

/// More error lines than this say nothing new.
const MAX_ERRORS: usize = 8;

/// Nobody reads more of one line than this.
const MAX_MESSAGE: usize = 4 << 10;

impl Host {
    pub(super) fn new(plugin: String, limits: Limits) -> Self {
        Self {
            plugin,
            limits,
            used: 0,
            memory_denied: false,
            errors: Vec::new(),
        }
    }
}

impl ResourceLimiter for Host {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        let allowed = used <= self.limits.memory;
        if allowed {
            self.used = used;
        }
        self.memory_denied |= !allowed;
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= 1 << 20)
    }
}

/// A message as the log has it.
pub(crate) fn shortened(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        message.push('…');
    }
    message
}

impl types::Host for Host {}

impl log::Host for Host {
    fn log(&mut self, level: log::Level, message: String) {
        let message = shortened(message);
        let plugin = self.plugin.as_str();
        match level {
            log::Level::Debug => tracing::debug!(plugin, "{message}"),
            log::Level::Info => tracing::info!(plugin, "{message}"),
            log::Level::Warn => tracing::warn!(plugin, "{message}"),
            log::Level::Error => {
                tracing::debug!(plugin, "{message}");
                if self.errors.len() < MAX_ERRORS {
                    self.errors.push(message);
                }
            }
        }
    }
}

impl From<types::Error> for contract::Error {
    fn from(error: types::Error) -> Self {
        let kind = match error.kind {
            types::ErrorKind::InvalidConfig => contract::ErrorKind::InvalidConfig,
            types::ErrorKind::Unsupported => contract::ErrorKind::Unsupported,
            types::ErrorKind::MalformedResponse => contract::ErrorKind::MalformedResponse,
            types::ErrorKind::Engine => contract::ErrorKind::Engine,
            types::ErrorKind::Internal => contract::ErrorKind::Internal,
        };
        Self {
            kind,
            message: error.message,
            path: error.path,
        }
    }
}

impl From<&contract::Model> for types::Model {
    fn from(model: &contract::Model) -> Self {
        Self {
            id: model.id.clone(),
            path: model.path.clone(),
        }
    }
}

impl From<&contract::Endpoint> for types::Endpoint {
    fn from(at: &contract::Endpoint) -> Self {
        Self {
            host: at.host.clone(),
            port: at.port,
            more_ports: at.more_ports.clone(),
        }
    }
}

impl From<&contract::ChatMessage> for types::ChatMessage {
    fn from(said: &contract::ChatMessage) -> Self {
        Self {
            role: match said.role {
                contract::Role::User => types::Role::User,
                contract::Role::Assistant => types::Role::Assistant,
            },
            content: said.content.clone(),
        }
    }
}

impl From<&contract::Image> for types::Image {
    fn from(image: &contract::Image) -> Self {
        Self {
            media_type: image.media_type.clone(),
            data: image.data.clone(),
        }
    }
}

impl From<&contract::Request> for types::Request {
    fn from(request: &contract::Request) -> Self {
        Self {
            api: match request.api {
                contract::Api::Chat => types::Api::Chat,
                contract::Api::Completions => types::Api::Completions,
            },
            prompt: request.prompt.clone(),
            system: request.system.clone(),
            history: request.history.iter().map(Into::into).collect(),
            max_tokens: request.max_tokens,
            temperature: request.temperature,
            top_p: request.top_p,
            seed: request.seed,
            stop: request.stop.clone(),
            ignore_eos: request.ignore_eos,
            images: request.images.iter().map(Into::into).collect(),
        }
    }
}

impl From<&contract::Pair> for types::Pair {
    fn from(pair: &contract::Pair) -> Self {
        Self {
            name: pair.name.clone(),
            value: pair.value.clone(),
        }
    }
}

fn pairs(pairs: Vec<types::Pair>) -> Vec<contract::Pair> {
    pairs
        .into_iter()
        .map(|pair| contract::Pair {
            name: pair.name,
            value: pair.value,
        })
        .collect()
}

impl From<types::Command> for contract::Command {
    fn from(command: types::Command) -> Self {
        Self {
            argv: command.argv,
            env: pairs(command.env),
            cwd: command.cwd,
        }
    }
}

impl From<types::Ready> for contract::Ready {
    fn from(ready: types::Ready) -> Self {
        match ready {
            types::Ready::Http(path) => Self::Http(path),
            types::Ready::LogLine(text) => Self::LogLine(text),
            types::Ready::Immediate => Self::Immediate,
        }
    }
}

impl TryFrom<types::LaunchPlan> for contract::LaunchPlan {
    type Error = String;

    fn try_from(plan: types::LaunchPlan) -> Result<Self, String> {
        let models = plan.models.map(TryInto::try_into).transpose();
        let questions = plan.questions.into_iter().map(TryInto::try_into);
        Ok(Self {
            command: plan.command.map(Into::into),
            base_url: plan.base_url,
            ready: plan.ready.into(),
            models: models.map_err(|error: FromUtf8Error| error.to_string())?,
            questions: questions.collect::<Result<_, String>>()?,
            load: exchanges(plan.load)?,
            unload: exchanges(plan.unload)?,
            reset: exchanges(plan.reset)?,
        })
    }
}

fn exchanges(exchanges: Vec<types::Exchange>) -> Result<Vec<contract::Exchange>, String> {
    let read = |exchange: types::Exchange| {
        let request = contract::HttpRequest::try_from(exchange.request);
        Ok(contract::Exchange {
            request: request.map_err(|error| error.to_string())?,
            ends: endings(exchange.ends)?,
        })
    };
    exchanges.into_iter().map(read).collect()
}

fn endings(endings: Vec<types::Ending>) -> Result<Vec<contract::Ending>, String> {
    let read = |end: types::Ending| {
        let value = end.value.map(|value| serde_json::from_str(&value));
        let value = value
            .transpose()
            .map_err(|error| format!("the value of an ending is no JSON: {error}"))?;
        Ok(contract::Ending {
            at: end.at,
            value,
            failed: end.failed,
        })
    };
    endings.into_iter().map(read).collect()
}

impl TryFrom<types::Question> for contract::Question {
    type Error = String;

    fn try_from(question: types::Question) -> Result<Self, String> {
        let request = contract::HttpRequest::try_from(question.request);
        let setting = |setting: types::Setting| {
            let asked = setting.asked.map(|asked| serde_json::from_str(&asked));
            let asked = asked
                .transpose()
                .map_err(|error| format!("what a setting was asked to be is no JSON: {error}"))?;
            Ok(contract::Setting {
                name: setting.name,
                at: setting.at,
                asked,
            })
        };
        let settings = question.settings.into_iter().map(setting);
        let counters = question.counters.into_iter().map(Into::into);
        Ok(Self {
            request: request.map_err(|error| error.to_string())?,
            settings: settings.collect::<Result<_, String>>()?,
            counters: counters.collect(),
        })
    }
}

impl From<types::Counter> for contract::Counter {
    fn from(counter: types::Counter) -> Self {
        use contract::CounterKind as To;
        use types::CounterKind as From;
        let kind = match counter.kind {
            From::Requests => To::Requests,
            From::PromptTokens => To::PromptTokens,
            From::ComputedPromptTokens => To::ComputedPromptTokens,
            From::CachedTokens => To::CachedTokens,
            From::OutputTokens => To::OutputTokens,
            From::QueueTime => To::QueueTime,
            From::PrefillTime => To::PrefillTime,
            From::DecodeTime => To::DecodeTime,
        };
        Self {
            kind,
            at: counter.at,
        }
    }
}

impl TryFrom<types::Message> for contract::Message {
    type Error = String;

    fn try_from(message: types::Message) -> Result<Self, String> {
        Ok(Self {
            line: message.line,
            ids: message.ids,
            ends: endings(message.ends)?,
        })
    }
}

impl TryFrom<types::StdioPlan> for contract::StdioPlan {
    type Error = String;

    fn try_from(plan: types::StdioPlan) -> Result<Self, String> {
        let read = |messages: Vec<types::Message>| -> Result<Vec<contract::Message>, String> {
            messages.into_iter().map(TryInto::try_into).collect()
        };
        Ok(Self {
            command: plan.command.into(),
            ready: plan.ready.into(),
            id_at: plan.id_at,
            opening: read(plan.opening)?,
            closing: read(plan.closing)?,
        })
    }
}

impl TryFrom<types::HttpRequest> for contract::HttpRequest {
    type Error = FromUtf8Error;

    fn try_from(made: types::HttpRequest) -> Result<Self, Self::Error> {
        let body = String::from_utf8(made.body)?;
        Ok(Self {
            method: made.method,
            path: made.path,
            headers: pairs(made.headers),
            body,
            end_marks: made.end_marks,
            answer_headers: made.answer_headers,
            model: made.model,
        })
    }
}

impl From<types::Event> for contract::Event {
    fn from(event: types::Event) -> Self {
        use contract::EventKind as To;
        use types::EventKind as From;
        let kind = match event.kind {
            From::Text => To::Text,
            From::Reasoning => To::Reasoning,
            From::OutputTokens => To::OutputTokens,
            From::PromptTokens => To::PromptTokens,
            From::CachedTokens => To::CachedTokens,
            From::ReasoningTokens => To::ReasoningTokens,
            From::Finish => To::Finish,
            From::Failure => To::Failure,
            From::ServedModel => To::ServedModel,
            From::EngineVersion => To::EngineVersion,
            From::End => To::End,
            From::ToolCall => To::ToolCall,
            From::Note => To::Note,
            From::QueueTime => To::QueueTime,
            From::PrefillTime => To::PrefillTime,
            From::DecodeTime => To::DecodeTime,
        };
        Self {
            read: event.read,
            kind,
            tokens: event.tokens,
            ns: event.ns,
            text: event.text,
        }
    }
}

impl From<types::Artifact> for contract::Artifact {
    fn from(artifact: types::Artifact) -> Self {
        Self {
            name: artifact.name,
            media_type: artifact.media_type,
            bytes: artifact.bytes,
        }
    }
}
