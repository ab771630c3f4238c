//! The one dependency of a plugin author.
//!
//! A plugin is a type that implements one of four traits, and one line:
//!
//! - [`Engine`]: an adapter for a server. It says how to start the server and
//!   what to send, and explains afterwards what came back; prony does the I/O.
//! - [`StdioEngine`]: an adapter for a process that speaks lines of JSON over its
//!   standard input and output.
//! - [`LocalEngine`]: an engine that runs inside a process (native form only).
//! - [`Reporter`]: turns a [`result::RunResult`] into files.
//!
//! ```
//! use prony_plugin_sdk::*;
//!
//! /// Options under `engines.<name>.config`; the schema comes from here.
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     /// Where the server listens.
//!     base_url: String,
//! }
//!
//! struct Lines { config: Config }
//!
//! impl Engine for Lines {
//!     type Config = Config;
//!     const ABOUT: About = about!("lines", "One token a line");
//!
//!     fn new(config: Config) -> Result<Self> { Ok(Self { config }) }
//!
//!     fn launch(&self, _: &Model, _: &Endpoint) -> Result<LaunchPlan> {
//!         Ok(LaunchPlan::attach(&self.config.base_url, Ready::Immediate))
//!     }
//!
//!     fn encode(&self, _: &Model, request: &Request) -> Result<HttpRequest> {
//!         Ok(HttpRequest::post_json("/generate", &serde_json::json!({ "prompt": request.prompt })))
//!     }
//!
//!     fn decode(&self, response: &Response<'_>, events: &mut Events) -> Result<()> {
//!         for (read, line) in response.lines() {
//!             events.text(read, 1, &String::from_utf8_lossy(line));
//!         }
//!         // Every line is a token, and the body's end is the answer's.
//!         events.finish(response.last_read(), "stop");
//!         events.end(response.last_read());
//!         Ok(())
//!     }
//! }
//!
//! plugin!(engine: Lines);
//! # fn main() {}
//! ```
//!
//! The same source becomes a WASM component (`--target wasm32-unknown-unknown`),
//! a shared library with the C entry symbol (crate feature `export`), or part of
//! the host (`PLUGIN`, the same table, linked in).
//!
//! The contract itself: `schemas/wit/plugin.wit`, `schemas/include/prony_plugin.h`.

pub mod finish;
pub mod native;
pub mod sse;
#[cfg(target_arch = "wasm32")]
pub mod wasm;

pub use prony_contract::*;
pub use prony_result::{self as result, words};
#[doc(hidden)]
pub use schemars;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// An [`About`] with the version of the crate that calls it.
#[macro_export]
macro_rules! about {
    ($name:literal, $description:literal) => {
        $crate::About {
            name: $name,
            version: env!("CARGO_PKG_VERSION"),
            description: $description,
        }
    };
}

/// An adapter for an engine that answers over HTTP.
///
/// Every method is pure: the host may call it in a fresh instance each time.
pub trait Engine: Sized + 'static {
    /// The plugin's options. Its JSON Schema is what `prony validate` checks.
    type Config: DeserializeOwned + JsonSchema;
    /// Name, version, description.
    const ABOUT: About;
    /// Forms of requests that the engine takes. To one without [`Api::Chat`] prony sends
    /// conversations as prompts, rendered with the model's own chat template. An option whose
    /// value leaves only some of them says so in its schema, under `x-prony-apis`
    /// ([`Api::of_config`]).
    const APIS: &'static [Api] = &[Api::Chat, Api::Completions];
    /// `true` if requests may carry images. If not, a request with images is an
    /// error before it comes here. If so, [`encode`](Self::encode) must send
    /// every one of them or return an error.
    const IMAGES: bool = false;
    /// `true` if requests may carry a history, under the same rule.
    const HISTORY: bool = false;

    /// Ports that a launched server needs beside its own: [`Endpoint::more_ports`].
    const MORE_PORTS: u32 = 0;

    /// Engines that this adapter knows how to start.
    fn recipes() -> Vec<Recipe> {
        Vec::new()
    }

    /// Checks what the schema could not. Called before every other method.
    fn new(config: Self::Config) -> Result<Self>;

    /// Everything wrong with options that the schema takes, for `prony validate`; what only a run
    /// knows is a sample. Defaults to what [`new`](Self::new) says.
    fn check(config: Self::Config) -> Vec<Error> {
        Self::new(config).err().into_iter().collect()
    }

    /// Describes how to start the engine for `model`, or how to reach one that runs.
    /// Called once per visit; a launched server must listen at `at`.
    fn launch(&self, model: &Model, at: &Endpoint) -> Result<LaunchPlan>;

    /// The HTTP exchange for one request. Called before the clock starts; must
    /// be deterministic, since all engines get the same work.
    fn encode(&self, model: &Model, request: &Request) -> Result<HttpRequest>;

    /// Explains the response as events, in order. Called once per request after the
    /// clock has stopped. An error means that the bytes make no sense; an error
    /// that the *engine* reports is [`Events::failure`].
    fn decode(&self, response: &Response<'_>, events: &mut Events) -> Result<()>;
}

/// An adapter for a process that speaks lines of JSON, JSON-RPC for example, over its
/// standard input and output.
///
/// Every method is pure: the host may call it in a fresh instance each time.
pub trait StdioEngine: Sized + 'static {
    /// The plugin's options. Its JSON Schema is what `prony validate` checks.
    type Config: DeserializeOwned + JsonSchema;
    /// Name, version, description.
    const ABOUT: About;
    /// Forms of requests that the engine takes. To one without [`Api::Chat`] prony sends
    /// conversations as prompts, rendered with the model's own chat template.
    const APIS: &'static [Api] = &[Api::Chat, Api::Completions];
    /// `true` if requests may carry images. If not, a request with images is an
    /// error before it comes here.
    const IMAGES: bool = false;
    /// `true` if requests may carry a history, under the same rule.
    const HISTORY: bool = false;

    /// Python packages of the engine, if prony can install it.
    fn packages() -> Option<Packages> {
        None
    }

    /// Checks what the schema could not. Called before every other method.
    fn new(config: Self::Config) -> Result<Self>;

    /// Everything wrong with options that the schema takes, for `prony validate`; what only a run
    /// knows is a sample. Defaults to what [`new`](Self::new) says.
    fn check(config: Self::Config) -> Vec<Error> {
        Self::new(config).err().into_iter().collect()
    }

    /// Describes how to start the engine, and how lines belong to messages. Called once per
    /// visit.
    fn launch(&self, model: &Model) -> Result<StdioPlan>;

    /// One request. Called before the clock starts; must be deterministic. `number`
    /// is another for each request of a visit, from 1 on: ids are made of it.
    fn encode(&self, model: &Model, request: &Request, number: u64) -> Result<Message>;

    /// Explains the request's lines as events, in order. Called once per request after the
    /// clock has stopped. An error means that the lines make no sense; an error that
    /// the *engine* reports is [`Events::failure`].
    fn decode(&self, response: &Response<'_>, events: &mut Events) -> Result<()>;
}

/// An engine that runs inside a process which prony starts for it.
///
/// Native form only. Dropping the value unloads the model.
pub trait LocalEngine: Sized + 'static {
    /// The plugin's options.
    type Config: DeserializeOwned + JsonSchema;
    /// Name, version, description.
    const ABOUT: About;
    /// Forms of requests that the engine takes. To one without [`Api::Chat`] prony sends
    /// conversations as prompts, rendered with the model's own chat template.
    const APIS: &'static [Api] = &[Api::Chat, Api::Completions];
    /// `true` if requests may carry images. If not, a request with images is an
    /// error before it comes here.
    const IMAGES: bool = false;
    /// `true` if requests may carry a history, under the same rule.
    const HISTORY: bool = false;

    /// Everything wrong with options that the schema takes, for `prony validate`. Defaults to
    /// nothing.
    fn check(_config: Self::Config) -> Vec<Error> {
        Vec::new()
    }

    /// Loads the model.
    fn load(config: Self::Config, model: &Model) -> Result<Self>;

    /// Generates. `emit` must be called the moment a token is there, once per
    /// token with `tokens == 1`: the host stamps its arrival in the call. The
    /// counts, the finish reason and [`EventKind::End`] follow the last token. Once it returns
    /// `false` the answer is no longer wanted: return soon, with what was emitted.
    fn generate(
        &mut self,
        request: &Request,
        emit: &mut dyn FnMut(EventKind, u32, &str) -> bool,
    ) -> Result<()>;
}

/// Turns a result into files or terminal output.
pub trait Reporter: Sized + 'static {
    /// The plugin's options.
    type Config: DeserializeOwned + JsonSchema;
    /// Name, version, description.
    const ABOUT: About;
    /// Parts beyond the result that the reporter asks for: with [`Want::Detail`] the result has
    /// [`detail`](result::RunResult::detail).
    const WANTS: &'static [Want] = &[];

    /// Checks what the schema could not.
    fn new(config: Self::Config) -> Result<Self>;

    /// Everything wrong with options that the schema takes, for `prony validate`. Defaults to
    /// what [`new`](Self::new) says.
    fn check(config: Self::Config) -> Vec<Error> {
        Self::new(config).err().into_iter().collect()
    }

    /// Renders. The host writes the files.
    fn render(&self, result: &result::RunResult) -> Result<Vec<Artifact>>;
}

/// Adds a line to the run's log, for the plugin's author and whoever looks for the reason of a
/// failure.
pub fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    wasm::log(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    native::log(level, message);
}

/// Fails if there is a system message and the prompt goes to the model as it is: nothing would
/// carry the message, and to leave it out would be to measure other work than what was asked for.
pub fn without_system(request: &Request) -> Result<()> {
    if request.system.is_none() {
        return Ok(());
    }
    Err(Error::unsupported(
        "a plain completion has no system message: remove `system`, or use `api: chat`",
    ))
}

/// Makes a type the plugin of its crate: `plugin!(engine: T)`,
/// `plugin!(stdio_engine: T)`, `plugin!(local_engine: T)` or `plugin!(reporter: T)`,
/// once per crate.
#[macro_export]
macro_rules! plugin {
    (engine: $t:ty) => {
        $crate::plugin!(@native $crate::native::engine_table::<$t>());
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;
            impl $crate::wasm::EngineComponent for Component {
                type Engine = $t;
            }
            $crate::wasm::engine::export!(Component with_types_in $crate::wasm::engine);
            impl $crate::wasm::CheckedComponent for Component {
                fn check(config: &str) -> Vec<$crate::Error> {
                    $crate::native::check(config, <$t as $crate::Engine>::check)
                }
            }
            $crate::wasm::check::export!(Component with_types_in $crate::wasm::check);
        };
    };
    (stdio_engine: $t:ty) => {
        $crate::plugin!(@native $crate::native::stdio_engine_table::<$t>());
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;
            impl $crate::wasm::StdioComponent for Component {
                type Engine = $t;
            }
            $crate::wasm::stdio::export!(Component with_types_in $crate::wasm::stdio);
            impl $crate::wasm::CheckedComponent for Component {
                fn check(config: &str) -> Vec<$crate::Error> {
                    $crate::native::check(config, <$t as $crate::StdioEngine>::check)
                }
            }
            $crate::wasm::check::export!(Component with_types_in $crate::wasm::check);
        };
    };
    (local_engine: $t:ty) => {
        $crate::plugin!(@native $crate::native::local_engine_table::<$t>());
    };
    (reporter: $t:ty) => {
        $crate::plugin!(@native $crate::native::reporter_table::<$t>());
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;
            impl $crate::wasm::ReporterComponent for Component {
                type Reporter = $t;
            }
            $crate::wasm::reporter::export!(Component with_types_in $crate::wasm::reporter);
            impl $crate::wasm::CheckedComponent for Component {
                fn check(config: &str) -> Vec<$crate::Error> {
                    $crate::native::check(config, <$t as $crate::Reporter>::check)
                }
            }
            $crate::wasm::check::export!(Component with_types_in $crate::wasm::check);
        };
    };
    (@native $table:expr) => {
        /// The plugin, for hosts that link it in.
        pub static PLUGIN: $crate::native::PluginTable = $table;

        /// Entry symbol of the native form.
        #[cfg(all(feature = "export", not(target_arch = "wasm32")))]
        // SAFETY: the name belongs to the plugin contract; a process that links
        // several plugins turns `export` off.
        #[unsafe(no_mangle)]
        pub extern "C" fn prony_plugin() -> *const $crate::native::PluginTable {
            &raw const PLUGIN
        }
    };
}
