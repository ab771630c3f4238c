//! The WASM form: components in wasmtime.
//!
//! Imports are checked before anything is instantiated; since a component can
//! only call what it imports, that check is the sandbox. Every call gets a fresh
//! store and instance, an epoch deadline and a memory limit.

mod bindings;
mod cache;
mod functions;
mod imports;
mod ticker;

use crate::error::{Error, Result};
use crate::{Plugin, contract};
pub use cache::compile_from_input;
pub use imports::imports;
pub(crate) use imports::{beyond_contract, causes};

pub(crate) use bindings::shortened;
use bindings::{Host, check, engine, reporter, stdio};
use prony_contract as contract;
use prony_contract::{
    Artifact, Carries, Endpoint, Event, HttpRequest, LaunchPlan, Manifest, Message, Model, Request,
    Response, StdioPlan, Transport,
};
use rustix::process::{Resource, getrlimit};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use ticker::Ticker;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Engine, Store};

/// Limits of one call.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Linear memory, in bytes. A request's images, a response's body and a result add to it.
    pub memory: usize,
    /// Time. A response's body and a result add to it.
    pub time: Duration,
}

impl Default for Limits {
    /// 64 MiB and 10 s, far more than a usual call takes.
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            time: Duration::from_secs(10),
        }
    }
}

/// Additional linear memory per byte of an image: enough for the file, its base64 and a
/// body that doubles as it grows.
const MEMORY_PER_IMAGE_BYTE: usize = 8;

/// Additional linear memory per byte of a response's body: enough for the body and for the
/// events of short texts, which are copied as their list grows and once more to the host.
const MEMORY_PER_BODY_BYTE: usize = 4;
/// Bytes of a response's body for each additional second: less than a tenth of what is usual.
const BODY_BYTES_PER_SECOND: usize = 8 << 20;

/// Additional linear memory per byte of a result: enough for its JSON, what is read of it, and a
/// report that is as long.
const MEMORY_PER_RESULT_BYTE: usize = 16;
/// Bytes of a result for each additional second, likewise.
const RESULT_BYTES_PER_SECOND: usize = 1 << 20;

fn memory_for_images(request: &Request) -> usize {
    let bytes: usize = request.images.iter().map(|it| it.data.len()).sum();
    bytes.saturating_mul(MEMORY_PER_IMAGE_BYTE)
}

/// Compiles components and holds their shared state.
pub struct WasmHost {
    engine: Engine,
    ticker: Arc<Ticker>,
    limits: Limits,
    cache: PathBuf,
    /// Command that compiles components; empty: this process does.
    compiler: Vec<String>,
    /// Told before a component is compiled that takes long.
    say: Option<fn(&str)>,
}

impl WasmHost {
    /// A host that caches compiled components in `cache`.
    pub fn new(cache: &Path, limits: Limits) -> Result<Self> {
        let engine = new_engine()?;
        let ticker = Arc::new(Ticker::start(engine.clone()));
        Ok(Self {
            engine,
            ticker,
            limits,
            cache: cache.to_owned(),
            compiler: Vec::new(),
            say: None,
        })
    }

    /// Compiles with this command, which calls [`compile_from_input`].
    pub(crate) fn with_compiler(self, compiler: Vec<String>, say: Option<fn(&str)>) -> Self {
        Self {
            compiler,
            say,
            ..self
        }
    }

    /// Compiles (or takes from the cache) and checks a component. `path` is for messages.
    pub fn load(&self, path: &Path, bytes: &[u8]) -> Result<WasmPlugin> {
        self.load_within(path, bytes, self.limits)
    }

    /// The same, with other limits of a call than the host's.
    pub(crate) fn load_within(
        &self,
        path: &Path,
        bytes: &[u8],
        limits: Limits,
    ) -> Result<WasmPlugin> {
        refuse_imports(path, imports::beyond_contract(bytes))?;
        let not_a_plugin = |reason: String| Error::NotAPlugin {
            path: path.to_owned(),
            reason,
        };
        let say = || {
            let mib = bytes.len() >> 20;
            if let Some(say) = self.say.filter(|_| mib > 0) {
                say(&format!(
                    "compiling `{}` ({mib} MiB), once for this machine",
                    path.display()
                ));
            }
        };
        let component = cache::compile(&self.engine, &self.cache, &self.compiler, bytes, say)
            .map_err(not_a_plugin)?;
        let ty = component.component_type();
        let imports: Vec<String> = ty
            .imports(&self.engine)
            .map(|(name, _)| name.to_owned())
            .filter(|name| !may_import(name))
            .collect();
        refuse_imports(path, imports)?;
        let exports: Vec<String> = ty
            .exports(&self.engine)
            .map(|(name, _)| name.to_owned())
            .collect();
        let (interface, theirs) = exports
            .iter()
            .find_map(|name| {
                let (interface, version) = name.strip_prefix("prony:plugin/")?.split_once('@')?;
                matches!(interface, "engine" | "stdio-engine" | "reporter")
                    .then_some((interface, version))
            })
            .ok_or_else(|| {
                not_a_plugin(
                    "it exports neither `prony:plugin/engine` nor `prony:plugin/stdio-engine` \
                     nor `prony:plugin/reporter`: in Rust the line `plugin!(…)` of the SDK makes \
                     them; in other languages `prony plugin build` does"
                        .to_owned(),
                )
            })?;
        if !speaks_our_contract(theirs) {
            return Err(Error::Contract {
                path: path.to_owned(),
                theirs: theirs.to_owned(),
                ours: contract(),
            });
        }
        let wrong = |error: wasmtime::Error| not_a_plugin(format!("{error:#}"));
        let mut linker = Linker::<Host>::new(&self.engine);
        let guest = match interface {
            "engine" => {
                engine::EnginePlugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host)
                    .map_err(wrong)?;
                let instance = linker.instantiate_pre(&component).map_err(wrong)?;
                Guest::Engine(engine::EnginePluginPre::new(instance).map_err(wrong)?)
            }
            "stdio-engine" => {
                stdio::StdioEnginePlugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host)
                    .map_err(wrong)?;
                let instance = linker.instantiate_pre(&component).map_err(wrong)?;
                Guest::Stdio(stdio::StdioEnginePluginPre::new(instance).map_err(wrong)?)
            }
            _ => {
                reporter::ReporterPlugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host)
                    .map_err(wrong)?;
                let instance = linker.instantiate_pre(&component).map_err(wrong)?;
                Guest::Reporter(reporter::ReporterPluginPre::new(instance).map_err(wrong)?)
            }
        };
        // An older plugin has no such export.
        let check = if exports.iter().any(|name| is_check(name)) {
            let instance = linker.instantiate_pre(&component).map_err(wrong)?;
            Some(check::CheckedPluginPre::new(instance).map_err(wrong)?)
        } else {
            None
        };
        let mut plugin = WasmPlugin {
            check,
            name: path.display().to_string(),
            carries: Carries::default(),
            engine: self.engine.clone(),
            ticker: self.ticker.clone(),
            limits,
            guest,
        };
        let manifest = plugin.describe()?;
        let kind = interface.strip_prefix("stdio-").unwrap_or(interface);
        if manifest.kind.name() != kind {
            let reason = format!(
                "it exports `{interface}`, and its manifest says `{}`",
                manifest.kind.name()
            );
            return Err(plugin.answer("describe", reason));
        }
        let stdio = manifest.transport == Some(Transport::Stdio);
        if stdio != (interface == "stdio-engine") {
            let reason = format!(
                "it exports `{interface}`, and its manifest says that the transport is {}`stdio`",
                if stdio { "" } else { "not " }
            );
            return Err(plugin.answer("describe", reason));
        }
        if let Some(problem) = crate::misread(&manifest) {
            return Err(plugin.answer("describe", problem));
        }
        plugin.carries = manifest.carries();
        plugin.name = manifest.name;
        Ok(plugin)
    }
}

/// The error of the runtime, with the way out if the address space is limited: the runtime
/// reserves more of it than a call's memory takes.
fn words(error: &wasmtime::Error) -> String {
    let words = format!("{error:#}");
    let limit = getrlimit(Resource::As).current;
    match limit.filter(|_| wants_memory(error)) {
        Some(limit) => format!(
            "the address space of this process is limited to {} MiB, and the WASM runtime needs some 5,000 for each call (of addresses, not of memory): run prony without that limit, `ulimit -v unlimited` ({words})",
            limit >> 20
        ),
        None => words,
    }
}

/// Returns `true` if the system gave no memory.
fn wants_memory(error: &wasmtime::Error) -> bool {
    format!("{error:#}").contains("os error 12")
}

pub(crate) fn refuse_imports(path: &Path, imports: Vec<String>) -> Result<()> {
    if imports.is_empty() {
        return Ok(());
    }
    Err(Error::Import {
        path: path.to_owned(),
        imports,
    })
}

fn new_engine() -> Result<Engine> {
    Engine::new(&config()).map_err(|error| Error::Runtime(error.to_string()))
}

/// The settings of every WASM engine: code of one runs in every other.
fn config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config
}

fn may_import(name: &str) -> bool {
    name.strip_prefix("prony:plugin/")
        .and_then(|rest| rest.split_once('@'))
        .is_some_and(|(interface, _)| matches!(interface, "types" | "log"))
}

/// Returns `true` for the export of a plugin that checks its options.
fn is_check(name: &str) -> bool {
    name.strip_prefix("prony:plugin/check@")
        .is_some_and(speaks_our_contract)
}

/// Returns `true` for a version that this host takes.
fn speaks_our_contract(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => contract::speaks(major, minor),
        _ => false,
    }
}

/// Wraps a core module, as made by `cargo build --target wasm32-unknown-unknown`, into a
/// component.
pub(crate) fn componentize(path: &Path, module: &[u8]) -> Result<Vec<u8>> {
    refuse_imports(path, imports::beyond_contract(module))?;
    let not_a_plugin = |reason: String| Error::NotAPlugin {
        path: path.to_owned(),
        reason,
    };
    // The encoder panics on a truncated module.
    wasmtime::Module::validate(&Engine::default(), module)
        .map_err(|error| not_a_plugin(format!("{error:#}")))?;
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| not_a_plugin(format!("{error:#}")))
}

/// Raises the limits of a call before it begins.
fn allow(store: &mut Store<Host>, memory: usize, time: Duration) {
    let limits = &mut store.data_mut().limits;
    limits.memory = limits.memory.saturating_add(memory);
    limits.time += time;
    let ticks = ticks(limits.time);
    store.set_epoch_deadline(ticks);
}

/// A time in ticks of the epoch.
fn ticks(time: Duration) -> u64 {
    let ticks = time.as_millis().div_ceil(ticker::TICK.as_millis());
    ticks.max(1) as u64
}

enum Guest {
    Engine(engine::EnginePluginPre<Host>),
    Stdio(stdio::StdioEnginePluginPre<Host>),
    Reporter(reporter::ReporterPluginPre<Host>),
}

/// A compiled, checked component.
pub struct WasmPlugin {
    name: String,
    /// Allowed contents of requests, by its manifest; it gets nothing else.
    carries: Carries,
    engine: Engine,
    ticker: Arc<Ticker>,
    limits: Limits,
    guest: Guest,
    /// Its check of options, if it has one.
    check: Option<check::CheckedPluginPre<Host>>,
}

impl WasmPlugin {
    /// Runs `call` in a fresh instance of an engine adapter.
    fn with_engine<T>(
        &self,
        export: &'static str,
        call: impl FnOnce(&engine::Guest, &mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Result<T> {
        match &self.guest {
            Guest::Engine(pre) => self.run(export, |store| {
                pre.instantiate(&mut *store)
                    .and_then(|it| call(it.prony_plugin_engine(), store))
            }),
            _ => Err(self.unsupported(export)),
        }
    }

    /// Runs `call` in a fresh instance of an adapter for standard input and output.
    fn with_stdio<T>(
        &self,
        export: &'static str,
        call: impl FnOnce(&stdio::Guest, &mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Result<T> {
        match &self.guest {
            Guest::Stdio(pre) => self.run(export, |store| {
                pre.instantiate(&mut *store)
                    .and_then(|it| call(it.prony_plugin_stdio_engine(), store))
            }),
            _ => Err(self.unsupported(export)),
        }
    }

    /// Runs `call` in a fresh instance of a reporter.
    fn with_reporter<T>(
        &self,
        export: &'static str,
        call: impl FnOnce(&reporter::Guest, &mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Result<T> {
        match &self.guest {
            Guest::Reporter(pre) => self.run(export, |store| {
                pre.instantiate(&mut *store)
                    .and_then(|it| call(it.prony_plugin_reporter(), store))
            }),
            _ => Err(self.unsupported(export)),
        }
    }

    fn run<T>(
        &self,
        export: &'static str,
        call: impl FnOnce(&mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Result<T> {
        let mut store = Store::new(&self.engine, Host::new(self.name.clone(), self.limits));
        store.limiter(|host| host);
        store.set_epoch_deadline(ticks(self.limits.time));
        let ticking = self.ticker.ticking();
        let outcome = call(&mut store);
        drop(ticking);
        outcome.map_err(|error| {
            let host = store.into_data();
            let reason = if host.memory_denied {
                format!(
                    "it needs more than its {} MiB of memory",
                    host.limits.memory >> 20
                )
            } else if matches!(
                error.downcast_ref::<wasmtime::Trap>(),
                Some(wasmtime::Trap::Interrupt)
            ) {
                format!("it took longer than {:?}", host.limits.time)
            } else {
                match error.downcast_ref::<wasmtime::Trap>() {
                    Some(trap) => trap.to_string(),
                    None => words(&error),
                }
            };
            Error::Trap {
                plugin: self.name.clone(),
                export,
                reason,
                log: host.errors,
            }
        })
    }

    fn unsupported(&self, export: &'static str) -> Error {
        Error::Unsupported {
            plugin: self.name.clone(),
            export,
        }
    }

    fn reported<T, E: Into<contract::Error>>(
        &self,
        result: std::result::Result<T, E>,
    ) -> Result<T> {
        result.map_err(|error| Error::Reported {
            plugin: self.name.clone(),
            error: error.into(),
        })
    }

    fn answer(&self, export: &'static str, reason: impl ToString) -> Error {
        Error::Answer {
            plugin: self.name.clone(),
            export,
            reason: reason.to_string(),
        }
    }
}

impl Plugin for WasmPlugin {
    fn describe(&self) -> Result<Manifest> {
        let json = match self.guest {
            Guest::Engine(_) => {
                self.with_engine("describe", |guest, store| guest.call_describe(store))?
            }
            Guest::Stdio(_) => {
                self.with_stdio("describe", |guest, store| guest.call_describe(store))?
            }
            Guest::Reporter(_) => {
                self.with_reporter("describe", |guest, store| guest.call_describe(store))?
            }
        };
        serde_json::from_str(&json).map_err(|error| self.answer("describe", error))
    }

    fn check(&self, config: &Value) -> Result<Vec<contract::Error>> {
        let Some(pre) = &self.check else {
            return Ok(Vec::new());
        };
        let config = config.to_string();
        let problems = self.run("check", |store| {
            let guest = pre.instantiate(&mut *store)?;
            guest.prony_plugin_check().call_check(store, &config)
        })?;
        Ok(problems.into_iter().map(Into::into).collect())
    }

    fn launch(&self, config: &Value, model: &Model, at: &Endpoint) -> Result<LaunchPlan> {
        let (config, model, at) = (config.to_string(), model.into(), at.into());
        let plan = self.with_engine("launch", |guest, store| {
            guest.call_launch(store, &config, &model, &at)
        })?;
        let plan = self.reported(plan)?;
        plan.try_into()
            .map_err(|error: String| self.answer("launch", error))
    }

    fn encode(&self, config: &Value, model: &Model, request: &Request) -> Result<HttpRequest> {
        self.reported(self.carries.check(request))?;
        let more = memory_for_images(request);
        let (config, model, request) = (config.to_string(), model.into(), request.into());
        let made = self.with_engine("encode", |guest, store| {
            allow(store, more, Duration::ZERO);
            guest.call_encode(store, &config, &model, &request)
        })?;
        let made = self.reported(made)?;
        made.try_into()
            .map_err(|error| self.answer("encode", error))
    }

    fn launch_stdio(&self, config: &Value, model: &Model) -> Result<StdioPlan> {
        let (config, model) = (config.to_string(), model.into());
        let plan = self.with_stdio("launch", |guest, store| {
            guest.call_launch(store, &config, &model)
        })?;
        let plan = self.reported(plan)?;
        plan.try_into()
            .map_err(|error: String| self.answer("launch", error))
    }

    fn encode_stdio(
        &self,
        config: &Value,
        model: &Model,
        request: &Request,
        number: u64,
    ) -> Result<Message> {
        self.reported(self.carries.check(request))?;
        let more = memory_for_images(request);
        let (config, model, request) = (config.to_string(), model.into(), request.into());
        let made = self.with_stdio("encode", |guest, store| {
            allow(store, more, Duration::ZERO);
            guest.call_encode(store, &config, &model, &request, number)
        })?;
        let made = self.reported(made)?;
        made.try_into()
            .map_err(|error: String| self.answer("encode", error))
    }

    fn decode(&self, config: &Value, response: &Response<'_>) -> Result<Vec<Event>> {
        let config = config.to_string();
        let recorded = engine::types::Response {
            status: response.status,
            headers: response.headers.iter().map(Into::into).collect(),
            body: response.body.to_vec(),
            ends: response.ends.to_vec(),
        };
        let memory = response.body.len().saturating_mul(MEMORY_PER_BODY_BYTE);
        let time = Duration::from_secs((response.body.len() / BODY_BYTES_PER_SECOND) as u64);
        let events = match &self.guest {
            Guest::Stdio(_) => self.with_stdio("decode", |guest, store| {
                allow(store, memory, time);
                guest.call_decode(store, &config, &recorded)
            }),
            _ => self.with_engine("decode", |guest, store| {
                allow(store, memory, time);
                guest.call_decode(store, &config, &recorded)
            }),
        }?;
        let events: Vec<Event> = self.reported(events)?.into_iter().map(Into::into).collect();
        match crate::misplaced(&events, response.ends.len()) {
            Some(defect) => Err(self.answer("decode", defect)),
            None => Ok(events),
        }
    }

    fn render(&self, config: &Value, result: &str) -> Result<Vec<Artifact>> {
        let memory = result.len().saturating_mul(MEMORY_PER_RESULT_BYTE);
        let time = Duration::from_secs((result.len() / RESULT_BYTES_PER_SECOND) as u64);
        let (config, result) = (config.to_string(), result.to_owned());
        let artifacts = self.with_reporter("render", |guest, store| {
            allow(store, memory, time);
            guest.call_render(store, &config, &result)
        })?;
        Ok(self
            .reported(artifacts)?
            .into_iter()
            .map(Into::into)
            .collect())
    }
}
