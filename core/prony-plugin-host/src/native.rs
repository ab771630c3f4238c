//! The native form: a shared library with the table of `prony_plugin.h`.
//!
//! A library is never unloaded: thread-locals and exit handlers of its runtime
//! make that unsafe.

use crate::error::{Error, Result};
use crate::{Plugin, contract};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use prony_contract::{
    Artifact, Carries, Endpoint, Event, EventKind, HttpRequest, LaunchPlan, Level, Manifest,
    Message, Model, Request, Response, StdioPlan, Transport,
    abi::{MAGIC, PluginTable, RawArtifact, RawEvent, RawHost, Str, Write, code, op},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::ffi::c_void;
use std::path::Path;

/// What every plugin is offered.
static HOST: RawHost = RawHost {
    struct_size: size_of::<RawHost>(),
    log: Some(log),
};

unsafe extern "C" fn log(level: u32, message: Str) {
    // SAFETY: the message is lent for the call.
    let message = String::from_utf8_lossy(unsafe { message.get() }).into_owned();
    let message = crate::wasm::shortened(message);
    match level {
        level if level == Level::Debug as u32 => tracing::debug!("{message}"),
        level if level == Level::Info as u32 => tracing::info!("{message}"),
        level if level == Level::Warn as u32 => tracing::warn!("{message}"),
        _ => tracing::error!("{message}"),
    }
}

/// Size of the table of contract 1.0, in bytes. A later one has more behind it.
const MIN_TABLE: usize = std::mem::offset_of!(PluginTable, start)
    + size_of::<Option<unsafe extern "C" fn(*const RawHost)>>();

/// The entries of a table of `size` bytes that this host knows; an older table lacks the last.
fn known_part(table: *const PluginTable, size: usize) -> PluginTable {
    let mut known = PluginTable::EMPTY;
    let size = size.min(size_of::<PluginTable>());
    // SAFETY: magic, version and size say that so many bytes of a table lie there, and an entry
    // of zeros is none.
    unsafe {
        std::ptr::copy_nonoverlapping(table.cast::<u8>(), (&raw mut known).cast::<u8>(), size);
    }
    known
}

type Entry = unsafe extern "C" fn() -> *const PluginTable;

/// Reason to reject a library without the entry symbol.
const NO_ENTRY: &str = "it does not export `prony_plugin`: in Rust switch on the crate's feature `export` (`cargo build --release --features export`) and have one `plugin!(…)`; in C define `prony_plugin` as `prony_plugin.h` declares it";

/// An error of the loader with its own words, which name an undefined symbol.
fn words(error: &libloading::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}

/// A native plugin.
pub struct NativePlugin {
    name: String,
    /// Allowed contents of requests, by its manifest; it gets nothing else.
    carries: Carries,
    /// `true` if it uses standard input and output: the same operations have other
    /// meanings.
    stdio: bool,
    table: PluginTable,
}

// SAFETY: the table holds plain numbers and function pointers; the contract demands that
// `call`, `decode` and `render` may be called from any thread.
unsafe impl Send for NativePlugin {}
// SAFETY: as above.
unsafe impl Sync for NativePlugin {}

impl NativePlugin {
    /// Loads a library and checks its table. Runs the library's initialisers,
    /// so the caller must have the user's grant.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_copy(path, path)
    }

    /// The same for a `copy` of the library `path`.
    pub(crate) fn open_copy(path: &Path, copy: &Path) -> Result<Self> {
        let not_a_plugin = |reason: String| Error::NotAPlugin {
            path: path.to_owned(),
            reason,
        };
        prony_files::open(copy).map_err(Error::io(path))?;
        // A bare file name would be searched for in the system's folders.
        let absolute = std::path::absolute(copy).map_err(Error::io(copy))?;
        // SAFETY: loading runs foreign code, which the grant allows.
        // Bound at once: a symbol that nothing defines is an error here, and not the end of this
        // process at the first call.
        let library = unsafe { Library::open(Some(&absolute), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|error| not_a_plugin(words(&error)))?;
        let library: &'static Library = Box::leak(Box::new(library));
        // SAFETY: the contract fixes the type of this symbol for all versions.
        let entry = unsafe { library.get::<Entry>(b"prony_plugin\0") }
            .map_err(|_| not_a_plugin(NO_ENTRY.to_owned()))?;
        // SAFETY: as above; it takes nothing and returns a static table.
        let table = unsafe { entry() };
        Self::checked(table, path)
    }

    /// A plugin linked into this program.
    pub fn linked(table: &'static PluginTable) -> Result<Self> {
        Self::checked(table, Path::new("(linked)"))
    }

    fn checked(table: *const PluginTable, path: &Path) -> Result<Self> {
        let not_a_plugin = |reason: &str| Error::NotAPlugin {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        if table.is_null() || !table.is_aligned() {
            return Err(not_a_plugin("`prony_plugin` returned no table"));
        }
        // SAFETY: the first fields are the same in every version, and the magic number is
        // read before anything else is believed.
        let (magic, major, minor) = unsafe {
            (
                (*table).magic,
                (*table).contract_major,
                (*table).contract_minor,
            )
        };
        if magic != MAGIC {
            return Err(not_a_plugin(
                "its table does not start with the magic number",
            ));
        }
        if !prony_contract::speaks(major, minor) {
            return Err(Error::Contract {
                path: path.to_owned(),
                theirs: format!("{major}.{minor}"),
                ours: contract(),
            });
        }
        // SAFETY: as above.
        let (event_size, struct_size) =
            unsafe { ((*table).event_size as usize, (*table).struct_size) };
        if event_size != size_of::<RawEvent>() || struct_size < MIN_TABLE {
            return Err(not_a_plugin(
                "its table or its events have another size than the contract's",
            ));
        }
        let table = known_part(table, struct_size);
        if let Some(start) = table.start {
            // SAFETY: the host's structure is static.
            unsafe { start(&raw const HOST) }
        }
        let mut plugin = Self {
            name: path.display().to_string(),
            carries: Carries::default(),
            stdio: false,
            table,
        };
        let manifest = plugin.describe()?;
        if let Some(problem) = crate::misread(&manifest) {
            return Err(plugin.answer("describe", problem));
        }
        plugin.carries = manifest.carries();
        plugin.name = manifest.name;
        plugin.stdio = manifest.transport == Some(Transport::Stdio);
        Ok(plugin)
    }

    /// Rejects requests that the plugin does not support: one without images or history
    /// would drop them silently.
    fn takes(&self, request: &Request) -> Result<()> {
        self.carries
            .check(request)
            .map_err(|error| Error::Reported {
                plugin: self.name.clone(),
                error,
            })
    }

    /// JSON in, JSON out.
    fn call<T: DeserializeOwned>(
        &self,
        export: &'static str,
        operation: u32,
        input: &Value,
    ) -> Result<T> {
        let call = self.table.call.ok_or_else(|| self.unsupported(export))?;
        let input = input.to_string();
        let mut host = Host::default();
        // SAFETY: `input` outlives the call; `write` gets the context it expects.
        let code = unsafe { call(operation, Str::of(input.as_bytes()), write, host.context()) };
        self.outcome(export, code, &host)?;
        serde_json::from_slice(&host.written)
            .map_err(|error| self.answer(export, error.to_string()))
    }

    fn outcome(&self, export: &'static str, returned: i32, host: &Host) -> Result<()> {
        match returned {
            code::OK => Ok(()),
            code::UNSUPPORTED => Err(self.unsupported(export)),
            code::ERR => Err(self.reported(export, &host.written)),
            code::PANIC => {
                let reason = self.reported(export, &host.written).into_reported().message;
                Err(Error::Trap {
                    plugin: self.name.clone(),
                    export,
                    reason: format!("panic: {reason}"),
                    log: Vec::new(),
                })
            }
            other => Err(self.answer(export, format!("return code {other}"))),
        }
    }

    fn reported(&self, export: &'static str, written: &[u8]) -> Error {
        match serde_json::from_slice(written) {
            Ok(error) => Error::Reported {
                plugin: self.name.clone(),
                error,
            },
            Err(error) => self.answer(export, format!("an error without a message ({error})")),
        }
    }

    fn unsupported(&self, export: &'static str) -> Error {
        Error::Unsupported {
            plugin: self.name.clone(),
            export,
        }
    }

    fn answer(&self, export: &'static str, reason: String) -> Error {
        Error::Answer {
            plugin: self.name.clone(),
            export,
            reason,
        }
    }
}

impl Plugin for NativePlugin {
    fn describe(&self) -> Result<Manifest> {
        self.call("describe", op::DESCRIBE, &json!({}))
    }

    fn check(&self, config: &Value) -> Result<Vec<prony_contract::Error>> {
        match self.call("check", op::CHECK, &json!({ "config": config })) {
            Err(Error::Unsupported { .. }) => Ok(Vec::new()),
            answer => answer,
        }
    }

    fn launch(&self, config: &Value, model: &Model, at: &Endpoint) -> Result<LaunchPlan> {
        if self.stdio {
            return Err(self.unsupported("launch"));
        }
        self.call(
            "launch",
            op::LAUNCH,
            &json!({ "config": config, "model": model, "at": at }),
        )
    }

    fn encode(&self, config: &Value, model: &Model, request: &Request) -> Result<HttpRequest> {
        if self.stdio {
            return Err(self.unsupported("encode"));
        }
        self.takes(request)?;
        self.call(
            "encode",
            op::ENCODE,
            &json!({ "config": config, "model": model, "request": request }),
        )
    }

    fn launch_stdio(&self, config: &Value, model: &Model) -> Result<StdioPlan> {
        if !self.stdio {
            return Err(self.unsupported("launch"));
        }
        let input = json!({ "config": config, "model": model });
        self.call("launch", op::LAUNCH, &input)
    }

    fn encode_stdio(
        &self,
        config: &Value,
        model: &Model,
        request: &Request,
        number: u64,
    ) -> Result<Message> {
        if !self.stdio {
            return Err(self.unsupported("encode"));
        }
        self.takes(request)?;
        let input =
            json!({ "config": config, "model": model, "request": request, "number": number });
        self.call("encode", op::ENCODE, &input)
    }

    fn decode(&self, config: &Value, response: &Response<'_>) -> Result<Vec<Event>> {
        let decode = self
            .table
            .decode
            .ok_or_else(|| self.unsupported("decode"))?;
        let context = json!({
            "config": config,
            "status": response.status,
            "headers": response.headers,
        });
        let context = context.to_string();
        let mut host = Host::default();
        // SAFETY: all inputs outlive the call; the callbacks get the context they expect.
        let code = unsafe {
            decode(
                Str::of(context.as_bytes()),
                Str::of(response.body),
                response.ends.as_ptr(),
                response.ends.len(),
                emit,
                write,
                host.context(),
            )
        };
        self.outcome("decode", code, &host)?;
        match host
            .defect
            .or_else(|| crate::misplaced(&host.events, response.ends.len()))
        {
            Some(defect) => Err(self.answer("decode", defect)),
            None => Ok(host.events),
        }
    }

    fn render(&self, config: &Value, result: &str) -> Result<Vec<Artifact>> {
        let render = self
            .table
            .render
            .ok_or_else(|| self.unsupported("render"))?;
        let input = format!("{{\"config\":{config},\"result\":{result}}}");
        let mut host = Host::default();
        // SAFETY: `input` outlives the call; the callbacks get the context they expect.
        let code = unsafe { render(Str::of(input.as_bytes()), keep, write, host.context()) };
        self.outcome("render", code, &host)?;
        Ok(host.artifacts)
    }
}

/// Output of the callbacks.
#[derive(Default)]
struct Host {
    written: Vec<u8>,
    events: Vec<Event>,
    artifacts: Vec<Artifact>,
    defect: Option<String>,
}

impl Host {
    fn context(&mut self) -> *mut c_void {
        std::ptr::from_mut(self).cast()
    }
}

unsafe extern "C" fn write(ctx: *mut c_void, bytes: Str) {
    // SAFETY: `ctx` is the `Host` handed to the call; `bytes` is lent for it.
    unsafe { (*ctx.cast::<Host>()).written.extend_from_slice(bytes.get()) }
}

/// Emits an event. Every one is wanted: the answer is whole already.
unsafe extern "C" fn emit(ctx: *mut c_void, event: *const RawEvent) -> i32 {
    // SAFETY: as in `write`.
    let (host, event) = unsafe { (&mut *ctx.cast::<Host>(), &*event) };
    match EventKind::ALL.get(event.kind as usize) {
        Some(kind) => {
            // SAFETY: the text is lent for the callback.
            let text = String::from_utf8_lossy(unsafe { event.text.get() }).into_owned();
            host.events.push(Event {
                read: event.read,
                kind: *kind,
                tokens: event.tokens,
                ns: event.ns,
                text,
            });
        }
        None => host.defect = Some(format!("event kind {}", event.kind)),
    }
    0
}

unsafe extern "C" fn keep(ctx: *mut c_void, artifact: *const RawArtifact) {
    // SAFETY: as in `write`.
    let (host, artifact) = unsafe { (&mut *ctx.cast::<Host>(), &*artifact) };
    // SAFETY: the strings are lent for the callback.
    let (name, media_type, bytes) = unsafe {
        (
            artifact.name.get(),
            artifact.media_type.get(),
            artifact.bytes.get(),
        )
    };
    host.artifacts.push(Artifact {
        name: String::from_utf8_lossy(name).into_owned(),
        media_type: String::from_utf8_lossy(media_type).into_owned(),
        bytes: bytes.to_vec(),
    });
}

/// An in-process engine with its model loaded.
pub struct LocalEngine {
    plugin: NativePlugin,
    engine: *mut c_void,
}

impl LocalEngine {
    /// Loads the model.
    pub fn open(plugin: NativePlugin, config: &Value, model: &Model) -> Result<Self> {
        let open = plugin
            .table
            .engine_open
            .ok_or_else(|| plugin.unsupported("engine_open"))?;
        let input = json!({ "config": config, "model": model }).to_string();
        let mut host = Host::default();
        // SAFETY: `input` outlives the call; `write` gets the context it expects.
        let engine = unsafe { open(Str::of(input.as_bytes()), write, host.context()) };
        if engine.is_null() {
            return Err(plugin.reported("engine_open", &host.written));
        }
        Ok(Self { plugin, engine })
    }

    /// Generates. `clock` is read in the first statement of each callback; each event
    /// comes with its reading, and its `read` is its index. From `until_ns` of that clock on
    /// the engine is told that its answer is no longer wanted.
    pub fn generate(
        &mut self,
        request: &Request,
        clock: fn() -> u64,
        until_ns: u64,
    ) -> Result<Vec<(u64, Event)>> {
        self.plugin.takes(request)?;
        let generate = self
            .plugin
            .table
            .engine_generate
            .ok_or_else(|| self.plugin.unsupported("engine_generate"))?;
        let request = json!(request).to_string();
        let mut stamped = Stamped {
            clock,
            until_ns,
            stamps: Vec::with_capacity(1024),
            host: Host::default(),
        };
        // SAFETY: `request` outlives the call; both callbacks get the context
        // they expect; `engine` came from `engine_open` and is used by one call
        // at a time, since this method takes `&mut self`.
        let code = unsafe {
            generate(
                self.engine,
                Str::of(request.as_bytes()),
                emit_stamped,
                write_stamped as Write,
                std::ptr::from_mut(&mut stamped).cast(),
            )
        };
        self.plugin
            .outcome("engine_generate", code, &stamped.host)?;
        if let Some(defect) = stamped.host.defect {
            return Err(self.plugin.answer("engine_generate", defect));
        }
        let numbered = stamped.host.events.into_iter().enumerate();
        Ok(stamped
            .stamps
            .into_iter()
            .zip(numbered.map(|(index, event)| Event {
                read: index as u32,
                ..event
            }))
            .collect())
    }
}

impl Drop for LocalEngine {
    fn drop(&mut self) {
        if let Some(close) = self.plugin.table.engine_close {
            // SAFETY: `engine` came from `engine_open` and is closed once.
            unsafe { close(self.engine) }
        }
    }
}

struct Stamped {
    clock: fn() -> u64,
    until_ns: u64,
    stamps: Vec<u64>,
    host: Host,
}

unsafe extern "C" fn emit_stamped(ctx: *mut c_void, event: *const RawEvent) -> i32 {
    // SAFETY: `ctx` is the `Stamped` handed to the call.
    let stamped = unsafe { &mut *ctx.cast::<Stamped>() };
    let now = (stamped.clock)();
    stamped.stamps.push(now);
    // SAFETY: the event is lent for the callback.
    unsafe { emit(stamped.host.context(), event) };
    i32::from(now >= stamped.until_ns)
}

unsafe extern "C" fn write_stamped(ctx: *mut c_void, bytes: Str) {
    // SAFETY: `ctx` is the `Stamped` handed to the call.
    let stamped = unsafe { &mut *ctx.cast::<Stamped>() };
    // SAFETY: the bytes are lent for the callback.
    unsafe { write(stamped.host.context(), bytes) }
}
