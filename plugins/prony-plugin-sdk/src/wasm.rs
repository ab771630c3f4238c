//! The WASM form: bindings of `schemas/wit/plugin.wit`, and what turns them into
//! calls of the SDK's traits. Used through [`plugin!`](crate::plugin).

use crate::native::{config, encode, engine_manifest, message, reporter_manifest, stdio_manifest};
use crate::{Engine, Events, Reporter, StdioEngine};
use engine::prony::plugin::{log as host_log, types};
use prony_contract as data;

/// Bindings of the world `engine-plugin`.
#[expect(missing_docs, reason = "generated")]
pub mod engine {
    wit_bindgen::generate!({
        path: "../../schemas/wit",
        world: "engine-plugin",
        pub_export_macro: true,
        default_bindings_module: "prony_plugin_sdk::wasm::engine",
    });
}

/// Bindings of the world `stdio-engine-plugin`; the shared interfaces are the engine
/// world's.
#[expect(missing_docs, reason = "generated")]
pub mod stdio {
    wit_bindgen::generate!({
        path: "../../schemas/wit",
        world: "stdio-engine-plugin",
        pub_export_macro: true,
        default_bindings_module: "prony_plugin_sdk::wasm::stdio",
        with: {
            "prony:plugin/types@1.0.0": crate::wasm::engine::prony::plugin::types,
            "prony:plugin/log@1.0.0": crate::wasm::engine::prony::plugin::log,
        },
    });
}

/// Bindings of the world `reporter-plugin`; the shared interfaces are the engine
/// world's.
#[expect(missing_docs, reason = "generated")]
pub mod reporter {
    wit_bindgen::generate!({
        path: "../../schemas/wit",
        world: "reporter-plugin",
        pub_export_macro: true,
        default_bindings_module: "prony_plugin_sdk::wasm::reporter",
        with: {
            "prony:plugin/types@1.0.0": crate::wasm::engine::prony::plugin::types,
            "prony:plugin/log@1.0.0": crate::wasm::engine::prony::plugin::log,
        },
    });
}

/// Bindings of the world `checked-plugin`; the shared interfaces are the engine world's.
#[expect(missing_docs, reason = "generated")]
pub mod check {
    wit_bindgen::generate!({
        path: "../../schemas/wit",
        world: "checked-plugin",
        pub_export_macro: true,
        default_bindings_module: "prony_plugin_sdk::wasm::check",
        with: {
            "prony:plugin/types@1.0.0": crate::wasm::engine::prony::plugin::types,
            "prony:plugin/log@1.0.0": crate::wasm::engine::prony::plugin::log,
        },
    });
}

/// A component that says what is wrong with its options.
pub trait CheckedComponent: 'static {
    /// The problems of a config, given as JSON.
    fn check(config: &str) -> Vec<data::Error>;
}

impl<C: CheckedComponent> check::exports::prony::plugin::check::Guest for C {
    fn check(config: String) -> Vec<types::Error> {
        log_panics();
        <C as CheckedComponent>::check(&config)
            .into_iter()
            .map(failed)
            .collect()
    }
}

/// Names the engine of a component.
pub trait EngineComponent: 'static {
    /// The adapter.
    type Engine: Engine;
}

/// Names the engine of a component that speaks over standard input and output.
pub trait StdioComponent: 'static {
    /// The adapter.
    type Engine: StdioEngine;
}

/// Names the reporter of a component.
pub trait ReporterComponent: 'static {
    /// The reporter.
    type Reporter: Reporter;
}

/// A trap carries no text, so a panic says what it has to say through the log.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        host_log::log(host_log::Level::Error, &panic.to_string());
    }));
}

pub(crate) fn log(level: data::Level, message: &str) {
    let level = match level {
        data::Level::Debug => host_log::Level::Debug,
        data::Level::Info => host_log::Level::Info,
        data::Level::Warn => host_log::Level::Warn,
        data::Level::Error => host_log::Level::Error,
    };
    host_log::log(level, message);
}

fn value(json: &str) -> data::Result<serde_json::Value> {
    serde_json::from_str(json).map_err(|error| data::Error::config("", error.to_string()))
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn failed(error: data::Error) -> types::Error {
    use data::ErrorKind as From;
    use types::ErrorKind as To;
    types::Error {
        kind: match error.kind {
            From::InvalidConfig => To::InvalidConfig,
            From::Unsupported => To::Unsupported,
            From::MalformedResponse => To::MalformedResponse,
            From::Engine => To::Engine,
            From::Internal => To::Internal,
        },
        message: error.message,
        path: error.path,
    }
}

fn model(model: types::Model) -> data::Model {
    data::Model {
        id: model.id,
        path: model.path,
    }
}

fn pairs(pairs: Vec<data::Pair>) -> Vec<types::Pair> {
    pairs
        .into_iter()
        .map(|pair| types::Pair {
            name: pair.name,
            value: pair.value,
        })
        .collect()
}

fn command(command: data::Command) -> types::Command {
    types::Command {
        argv: command.argv,
        env: pairs(command.env),
        cwd: command.cwd,
    }
}

fn ready(ready: data::Ready) -> types::Ready {
    match ready {
        data::Ready::Http(path) => types::Ready::Http(path),
        data::Ready::LogLine(text) => types::Ready::LogLine(text),
        data::Ready::Immediate => types::Ready::Immediate,
    }
}

fn launch_plan(plan: data::LaunchPlan) -> types::LaunchPlan {
    types::LaunchPlan {
        command: plan.command.map(command),
        base_url: plan.base_url,
        ready: ready(plan.ready),
        models: plan.models.map(http_request),
        questions: plan.questions.into_iter().map(question).collect(),
        load: plan.load.into_iter().map(exchange).collect(),
        unload: plan.unload.into_iter().map(exchange).collect(),
        reset: plan.reset.into_iter().map(exchange).collect(),
    }
}

fn exchange(exchange: data::Exchange) -> types::Exchange {
    types::Exchange {
        request: http_request(exchange.request),
        ends: exchange.ends.into_iter().map(ending).collect(),
    }
}

fn ending(end: data::Ending) -> types::Ending {
    types::Ending {
        at: end.at,
        value: end.value.map(|value| value.to_string()),
        failed: end.failed,
    }
}

fn question(question: data::Question) -> types::Question {
    let setting = |setting: data::Setting| types::Setting {
        name: setting.name,
        at: setting.at,
        asked: setting.asked.map(|asked| asked.to_string()),
    };
    types::Question {
        request: http_request(question.request),
        settings: question.settings.into_iter().map(setting).collect(),
        counters: question.counters.into_iter().map(counter).collect(),
    }
}

fn counter(counter: data::Counter) -> types::Counter {
    use data::CounterKind as From;
    use types::CounterKind as To;
    types::Counter {
        kind: match counter.kind {
            From::Requests => To::Requests,
            From::PromptTokens => To::PromptTokens,
            From::ComputedPromptTokens => To::ComputedPromptTokens,
            From::CachedTokens => To::CachedTokens,
            From::OutputTokens => To::OutputTokens,
            From::QueueTime => To::QueueTime,
            From::PrefillTime => To::PrefillTime,
            From::DecodeTime => To::DecodeTime,
        },
        at: counter.at,
    }
}

fn http_request(made: data::HttpRequest) -> types::HttpRequest {
    types::HttpRequest {
        method: made.method,
        path: made.path,
        headers: pairs(made.headers),
        body: made.body.into_bytes(),
        end_marks: made.end_marks,
        answer_headers: made.answer_headers,
        model: made.model,
    }
}

fn stdio_plan(plan: data::StdioPlan) -> types::StdioPlan {
    types::StdioPlan {
        command: command(plan.command),
        ready: ready(plan.ready),
        id_at: plan.id_at,
        opening: plan.opening.into_iter().map(line).collect(),
        closing: plan.closing.into_iter().map(line).collect(),
    }
}

fn line(message: data::Message) -> types::Message {
    types::Message {
        line: message.line,
        ids: message.ids,
        ends: message.ends.into_iter().map(ending).collect(),
    }
}

fn request(request: types::Request) -> data::Request {
    data::Request {
        api: match request.api {
            types::Api::Chat => data::Api::Chat,
            types::Api::Completions => data::Api::Completions,
        },
        prompt: request.prompt,
        system: request.system,
        history: request.history.into_iter().map(said).collect(),
        max_tokens: request.max_tokens,
        temperature: request.temperature,
        top_p: request.top_p,
        seed: request.seed,
        stop: request.stop,
        ignore_eos: request.ignore_eos,
        images: request.images.into_iter().map(image).collect(),
    }
}

fn said(said: types::ChatMessage) -> data::ChatMessage {
    data::ChatMessage {
        role: match said.role {
            types::Role::User => data::Role::User,
            types::Role::Assistant => data::Role::Assistant,
        },
        content: said.content,
    }
}

fn image(image: types::Image) -> data::Image {
    data::Image {
        media_type: image.media_type,
        data: image.data,
    }
}

fn event(event: data::Event) -> types::Event {
    use data::EventKind as From;
    use types::EventKind as To;
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
    types::Event {
        read: event.read,
        kind,
        tokens: event.tokens,
        ns: event.ns,
        text: event.text,
    }
}

fn headers(response: &types::Response) -> Vec<data::Pair> {
    let headers = response.headers.iter();
    headers
        .map(|header| data::Pair::new(header.name.clone(), header.value.clone()))
        .collect()
}

fn response<'r>(response: &'r types::Response, headers: &'r [data::Pair]) -> data::Response<'r> {
    data::Response {
        status: response.status,
        headers,
        body: &response.body,
        ends: &response.ends,
    }
}

mod engine_glue {
    use super::engine::exports::prony::plugin::engine::Guest;
    use super::{
        Engine, EngineComponent, Events, config, data, encode, engine_manifest, event, failed,
        headers, http_request, json, launch_plan, log_panics, model, request, response, types,
        value,
    };

    fn adapter<C: EngineComponent>(config_json: &str) -> data::Result<C::Engine> {
        log_panics();
        C::Engine::new(config(value(config_json)?)?)
    }

    impl<C: EngineComponent> Guest for C {
        fn describe() -> String {
            log_panics();
            json(&engine_manifest::<C::Engine>())
        }

        fn launch(
            config: String,
            of: types::Model,
            at: types::Endpoint,
        ) -> Result<types::LaunchPlan, types::Error> {
            let at = data::Endpoint {
                host: at.host,
                port: at.port,
                more_ports: at.more_ports,
            };
            adapter::<C>(&config)
                .and_then(|engine| engine.launch(&model(of), &at))
                .map(launch_plan)
                .map_err(failed)
        }

        fn encode(
            config: String,
            of: types::Model,
            what: types::Request,
        ) -> Result<types::HttpRequest, types::Error> {
            log_panics();
            value(&config)
                .and_then(|config| encode::<C::Engine>(config, &model(of), &request(what)))
                .map(http_request)
                .map_err(failed)
        }

        fn decode(
            config: String,
            said: types::Response,
        ) -> Result<Vec<types::Event>, types::Error> {
            let engine = adapter::<C>(&config).map_err(failed)?;
            let mut events = Events::default();
            engine
                .decode(&response(&said, &headers(&said)), &mut events)
                .map_err(failed)?;
            Ok(events.into_vec().into_iter().map(event).collect())
        }
    }
}

mod stdio_glue {
    use super::stdio::exports::prony::plugin::stdio_engine::Guest;
    use super::{
        Events, StdioComponent, StdioEngine, config, data, event, failed, headers, json, line,
        log_panics, message, model, request, response, stdio_manifest, stdio_plan, types, value,
    };

    fn adapter<C: StdioComponent>(config_json: &str) -> data::Result<C::Engine> {
        log_panics();
        C::Engine::new(config(value(config_json)?)?)
    }

    impl<C: StdioComponent> Guest for C {
        fn describe() -> String {
            json(&stdio_manifest::<C::Engine>())
        }

        fn launch(config: String, of: types::Model) -> Result<types::StdioPlan, types::Error> {
            adapter::<C>(&config)
                .and_then(|engine| engine.launch(&model(of)))
                .map(stdio_plan)
                .map_err(failed)
        }

        fn encode(
            config: String,
            of: types::Model,
            what: types::Request,
            number: u64,
        ) -> Result<types::Message, types::Error> {
            log_panics();
            value(&config)
                .and_then(|config| message::<C::Engine>(config, &model(of), &request(what), number))
                .map(line)
                .map_err(failed)
        }

        fn decode(
            config: String,
            said: types::Response,
        ) -> Result<Vec<types::Event>, types::Error> {
            let engine = adapter::<C>(&config).map_err(failed)?;
            let mut events = Events::default();
            engine
                .decode(&response(&said, &headers(&said)), &mut events)
                .map_err(failed)?;
            Ok(events.into_vec().into_iter().map(event).collect())
        }
    }
}

mod reporter_glue {
    use super::reporter::exports::prony::plugin::reporter::Guest;
    use super::{
        Reporter, ReporterComponent, config, data, failed, json, log_panics, reporter_manifest,
        types, value,
    };

    impl<C: ReporterComponent> Guest for C {
        fn describe() -> String {
            json(&reporter_manifest::<C::Reporter>())
        }

        fn render(
            config_json: String,
            result: String,
        ) -> Result<Vec<types::Artifact>, types::Error> {
            log_panics();
            let render = || {
                let reporter = C::Reporter::new(config(value(&config_json)?)?)?;
                let result = serde_json::from_str(&result).map_err(|error| {
                    data::Error::new(data::ErrorKind::Internal, format!("result: {error}"))
                })?;
                reporter.render(&result)
            };
            let artifacts = render().map_err(failed)?;
            Ok(artifacts
                .into_iter()
                .map(|made| types::Artifact {
                    name: made.name,
                    media_type: made.media_type,
                    bytes: made.bytes,
                })
                .collect())
        }
    }
}
