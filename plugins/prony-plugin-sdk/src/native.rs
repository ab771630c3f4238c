//! The native form: the table of `schemas/include/prony_plugin.h`.
//!
//! [`prony_contract::abi`] has its types and the memory rule. Every entry catches panics.

use crate::{Carries, Engine, LocalEngine, Reporter, Result, StdioEngine, result::RunResult};
pub use prony_contract::abi::*;
use prony_contract::{
    Artifact, Endpoint, Error, ErrorKind, Events, HttpRequest, Kind, Manifest, Message, Model,
    Pair, Request, Response, Transport,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicPtr, Ordering};

/// What the host offers, from its call of [`start`] on.
static HOST: AtomicPtr<RawHost> = AtomicPtr::new(std::ptr::null_mut());

unsafe extern "C" fn start(host: *const RawHost) {
    HOST.store(host.cast_mut(), Ordering::Release);
}

/// Adds a line to the run's log. Nothing without a host.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn log(level: prony_contract::Level, message: &str) {
    let host = HOST.load(Ordering::Acquire);
    if host.is_null() {
        return;
    }
    // SAFETY: the host's structure lives as long as the process, and its first field says how
    // much of it there is.
    let log = unsafe {
        let has_log = (*host).struct_size >= size_of::<RawHost>();
        has_log.then(|| (*host).log).flatten()
    };
    if let Some(log) = log {
        // SAFETY: the host copies the message.
        unsafe { log(level as u32, Str::of(message.as_bytes())) }
    }
}

/// A table with what every plugin has.
const STARTED: PluginTable = PluginTable {
    start: Some(start),
    ..PluginTable::EMPTY
};

/// Table of an [`Engine`].
pub const fn engine_table<E: Engine>() -> PluginTable {
    PluginTable {
        call: Some(engine_call::<E>),
        decode: Some(engine_decode::<E>),
        ..STARTED
    }
}

/// Table of a [`StdioEngine`].
pub const fn stdio_engine_table<E: StdioEngine>() -> PluginTable {
    PluginTable {
        call: Some(stdio_call::<E>),
        decode: Some(stdio_decode::<E>),
        ..STARTED
    }
}

/// Table of a [`LocalEngine`].
pub const fn local_engine_table<E: LocalEngine>() -> PluginTable {
    PluginTable {
        call: Some(local_call::<E>),
        engine_open: Some(local_open::<E>),
        engine_generate: Some(local_generate::<E>),
        engine_close: Some(local_close::<E>),
        ..STARTED
    }
}

/// Table of a [`Reporter`].
pub const fn reporter_table<R: Reporter>() -> PluginTable {
    PluginTable {
        call: Some(reporter_call::<R>),
        render: Some(reporter_render::<R>),
        ..STARTED
    }
}

#[derive(Deserialize)]
struct LaunchInput {
    config: serde_json::Value,
    model: Model,
    at: Endpoint,
}

#[derive(Deserialize)]
struct EncodeInput {
    config: serde_json::Value,
    model: Model,
    request: Request,
}

#[derive(Deserialize)]
struct MessageInput {
    config: serde_json::Value,
    model: Model,
    request: Request,
    number: u64,
}

/// Input of operations with only a config and a model.
#[derive(Deserialize)]
struct OpenInput {
    config: serde_json::Value,
    model: Model,
}

#[derive(Deserialize)]
struct DecodeContext {
    config: serde_json::Value,
    status: u16,
    #[serde(default)]
    headers: Vec<Pair>,
}

#[derive(Deserialize)]
struct RenderInput {
    config: serde_json::Value,
    result: RunResult,
}

/// Allowed contents of requests to an engine, for any of the traits.
macro_rules! carries {
    ($engine:ty) => {
        Carries {
            apis: <$engine>::APIS.to_vec(),
            images: <$engine>::IMAGES,
            history: <$engine>::HISTORY,
        }
    };
}

/// Reads a plugin's typed config, with a message that names the place.
pub(crate) fn config<C: DeserializeOwned>(value: serde_json::Value) -> Result<C> {
    serde_json::from_value(value).map_err(|error| Error::config("", error.to_string()))
}

#[derive(Deserialize)]
struct CheckInput {
    config: serde_json::Value,
}

/// The problems of a config, given as JSON: those of `check`, or that it is no config.
pub fn check<C: DeserializeOwned>(json: &str, check: fn(C) -> Vec<Error>) -> Vec<Error> {
    let value = serde_json::from_str(json);
    let value = value.map_err(|error| Error::config("", error.to_string()));
    match value.and_then(config) {
        Ok(config) => check(config),
        Err(error) => vec![error],
    }
}

/// Answers [`op::CHECK`].
fn checked<C: DeserializeOwned>(
    input: Str,
    write: Write,
    ctx: *mut c_void,
    of: fn(C) -> Vec<Error>,
) -> i32 {
    guard(write, ctx, || {
        let input: CheckInput = parse(input)?;
        put(write, ctx, &check(&input.config.to_string(), of));
        Ok(())
    })
}

/// [`Engine::encode`] in every form.
pub(crate) fn encode<E: Engine>(
    config_json: serde_json::Value,
    model: &Model,
    request: &Request,
) -> Result<HttpRequest> {
    let engine = E::new(config(config_json)?)?;
    carries!(E).check(request)?;
    engine.encode(model, request)
}

/// [`StdioEngine::encode`] in every form.
pub(crate) fn message<E: StdioEngine>(
    config_json: serde_json::Value,
    model: &Model,
    request: &Request,
    number: u64,
) -> Result<Message> {
    let engine = E::new(config(config_json)?)?;
    carries!(E).check(request)?;
    engine.encode(model, request, number)
}

pub(crate) fn stdio_manifest<E: StdioEngine>() -> Manifest {
    Manifest {
        packages: E::packages(),
        ..Manifest::of::<E::Config>(E::ABOUT, Kind::Engine, Some(Transport::Stdio), carries!(E))
    }
}

pub(crate) fn engine_manifest<E: Engine>() -> Manifest {
    Manifest {
        more_ports: E::MORE_PORTS,
        recipes: E::recipes(),
        ..Manifest::of::<E::Config>(E::ABOUT, Kind::Engine, Some(Transport::Http), carries!(E))
    }
}

pub(crate) fn reporter_manifest<R: Reporter>() -> Manifest {
    Manifest {
        wants: R::WANTS.to_vec(),
        ..Manifest::of::<R::Config>(R::ABOUT, Kind::Reporter, None, Carries::default())
    }
}

fn parse<T: DeserializeOwned>(input: Str) -> Result<T> {
    // SAFETY: the host lends `input` for the duration of the call.
    serde_json::from_slice(unsafe { input.get() })
        .map_err(|error| Error::new(ErrorKind::Internal, format!("input: {error}")))
}

/// Runs `body`; writes its error as JSON; turns a panic into a code.
fn guard(write: Write, ctx: *mut c_void, body: impl FnOnce() -> Result<()>) -> i32 {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => code::OK,
        Ok(Err(error)) => {
            put(write, ctx, &error);
            code::ERR
        }
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| panic.downcast_ref::<String>().cloned());
            put(
                write,
                ctx,
                &Error::new(
                    ErrorKind::Internal,
                    text.unwrap_or_else(|| "panic".to_owned()),
                ),
            );
            code::PANIC
        }
    }
}

fn put<T: Serialize>(write: Write, ctx: *mut c_void, value: &T) {
    let json = serde_json::to_vec(value).unwrap_or_default();
    // SAFETY: `write` and `ctx` come from the host and go together; it copies.
    unsafe { write(ctx, Str::of(&json)) }
}

unsafe extern "C" fn engine_call<E: Engine>(
    operation: u32,
    input: Str,
    write: Write,
    ctx: *mut c_void,
) -> i32 {
    if operation == op::CHECK {
        return checked(input, write, ctx, E::check);
    }
    let done = guard(write, ctx, || {
        match operation {
            op::DESCRIBE => put(write, ctx, &engine_manifest::<E>()),
            op::LAUNCH => {
                let input: LaunchInput = parse(input)?;
                put(
                    write,
                    ctx,
                    &E::new(config(input.config)?)?.launch(&input.model, &input.at)?,
                );
            }
            op::ENCODE => {
                let input: EncodeInput = parse(input)?;
                put(
                    write,
                    ctx,
                    &encode::<E>(input.config, &input.model, &input.request)?,
                );
            }
            _ => return Err(Error::unsupported(format!("operation {operation}"))),
        }
        Ok(())
    });
    if operation > op::ENCODE {
        code::UNSUPPORTED
    } else {
        done
    }
}

unsafe extern "C" fn stdio_call<E: StdioEngine>(
    operation: u32,
    input: Str,
    write: Write,
    ctx: *mut c_void,
) -> i32 {
    if operation == op::CHECK {
        return checked(input, write, ctx, E::check);
    }
    if operation > op::ENCODE {
        return code::UNSUPPORTED;
    }
    guard(write, ctx, || {
        match operation {
            op::DESCRIBE => put(write, ctx, &stdio_manifest::<E>()),
            op::LAUNCH => {
                let input: OpenInput = parse(input)?;
                let plan = E::new(config(input.config)?)?.launch(&input.model)?;
                put(write, ctx, &plan);
            }
            _ => {
                let input: MessageInput = parse(input)?;
                let made = message::<E>(input.config, &input.model, &input.request, input.number);
                put(write, ctx, &made?);
            }
        }
        Ok(())
    })
}

unsafe extern "C" fn engine_decode<E: Engine>(
    context: Str,
    body: Str,
    ends: *const u32,
    ends_len: usize,
    emit: Emit,
    error: Write,
    ctx: *mut c_void,
) -> i32 {
    // SAFETY: the host lends `body` and `ends_len` numbers at `ends` for the call.
    let (body, ends) = unsafe { (body.get(), numbers(ends, ends_len)) };
    decode_by(
        context,
        body,
        ends,
        emit,
        error,
        ctx,
        |config_json, response, events| E::new(config(config_json)?)?.decode(response, events),
    )
}

unsafe extern "C" fn stdio_decode<E: StdioEngine>(
    context: Str,
    body: Str,
    ends: *const u32,
    ends_len: usize,
    emit: Emit,
    error: Write,
    ctx: *mut c_void,
) -> i32 {
    // SAFETY: the host lends `body` and `ends_len` numbers at `ends` for the call.
    let (body, ends) = unsafe { (body.get(), numbers(ends, ends_len)) };
    decode_by(
        context,
        body,
        ends,
        emit,
        error,
        ctx,
        |config_json, response, events| E::new(config(config_json)?)?.decode(response, events),
    )
}

/// # Safety
/// `count` numbers must lie at `start` and stay there for `'a`.
unsafe fn numbers<'a>(start: *const u32, count: usize) -> &'a [u32] {
    if count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(start, count) }
}

fn decode_by(
    context: Str,
    body: &[u8],
    ends: &[u32],
    emit: Emit,
    error: Write,
    ctx: *mut c_void,
    decode: impl FnOnce(serde_json::Value, &Response<'_>, &mut Events) -> Result<()>,
) -> i32 {
    guard(error, ctx, || {
        let context: DecodeContext = parse(context)?;
        let mut events = Events::default();
        let response = Response {
            status: context.status,
            headers: &context.headers,
            body,
            ends,
        };
        decode(context.config, &response, &mut events)?;
        for event in events.into_vec() {
            let raw = RawEvent {
                read: event.read,
                kind: event.kind as u32,
                tokens: event.tokens,
                reserved: 0,
                ns: event.ns,
                text: Str::of(event.text.as_bytes()),
            };
            send(emit, ctx, &raw);
        }
        Ok(())
    })
}

/// Returns `true` if the host wants more.
fn send(emit: Emit, ctx: *mut c_void, event: &RawEvent) -> bool {
    // SAFETY: `emit` and `ctx` come from the host and go together; it copies.
    unsafe { emit(ctx, event) == 0 }
}

unsafe extern "C" fn local_call<E: LocalEngine>(
    operation: u32,
    input: Str,
    write: Write,
    ctx: *mut c_void,
) -> i32 {
    if operation == op::CHECK {
        return checked(input, write, ctx, E::check);
    }
    if operation != op::DESCRIBE {
        return code::UNSUPPORTED;
    }
    guard(write, ctx, || {
        put(
            write,
            ctx,
            &Manifest::of::<E::Config>(
                E::ABOUT,
                Kind::Engine,
                Some(Transport::InProcess),
                carries!(E),
            ),
        );
        Ok(())
    })
}

unsafe extern "C" fn local_open<E: LocalEngine>(
    input: Str,
    error: Write,
    ctx: *mut c_void,
) -> *mut c_void {
    let mut engine: Option<Box<E>> = None;
    guard(error, ctx, || {
        let input: OpenInput = parse(input)?;
        engine = Some(Box::new(E::load(config(input.config)?, &input.model)?));
        Ok(())
    });
    engine.map_or(std::ptr::null_mut(), |engine| Box::into_raw(engine).cast())
}

unsafe extern "C" fn local_generate<E: LocalEngine>(
    engine: *mut c_void,
    request: Str,
    emit: Emit,
    error: Write,
    ctx: *mut c_void,
) -> i32 {
    guard(error, ctx, || {
        let request: Request = parse(request)?;
        carries!(E).check(&request)?;
        // SAFETY: the host hands back what `local_open` returned, to one call at a time.
        let engine = unsafe { &mut *engine.cast::<E>() };
        engine.generate(&request, &mut |kind, tokens, text| {
            let event = RawEvent {
                read: 0,
                kind: kind as u32,
                tokens,
                reserved: 0,
                ns: 0,
                text: Str::of(text.as_bytes()),
            };
            send(emit, ctx, &event)
        })
    })
}

unsafe extern "C" fn local_close<E: LocalEngine>(engine: *mut c_void) {
    if !engine.is_null() {
        // SAFETY: the host hands back what `local_open` returned, once.
        let engine = unsafe { Box::from_raw(engine.cast::<E>()) };
        // A panic in a destructor must not cross the boundary.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(engine)));
    }
}

unsafe extern "C" fn reporter_call<R: Reporter>(
    operation: u32,
    input: Str,
    write: Write,
    ctx: *mut c_void,
) -> i32 {
    if operation == op::CHECK {
        return checked(input, write, ctx, R::check);
    }
    if operation != op::DESCRIBE {
        return code::UNSUPPORTED;
    }
    guard(write, ctx, || {
        put(write, ctx, &reporter_manifest::<R>());
        Ok(())
    })
}

unsafe extern "C" fn reporter_render<R: Reporter>(
    input: Str,
    keep: Keep,
    error: Write,
    ctx: *mut c_void,
) -> i32 {
    guard(error, ctx, || {
        let input: RenderInput = parse(input)?;
        for Artifact {
            name,
            media_type,
            bytes,
        } in R::new(config(input.config)?)?.render(&input.result)?
        {
            let artifact = RawArtifact {
                name: Str::of(name.as_bytes()),
                media_type: Str::of(media_type.as_bytes()),
                bytes: Str::of(&bytes),
            };
            // SAFETY: `keep` and `ctx` come from the host and go together; it copies.
            unsafe { keep(ctx, &raw const artifact) }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prony_contract::Level;
    use std::sync::Mutex;

    static LOG: Mutex<Vec<(u32, String)>> = Mutex::new(Vec::new());

    unsafe extern "C" fn record(level: u32, message: Str) {
        // SAFETY: the message is lent for the call.
        let message = String::from_utf8_lossy(unsafe { message.get() }).into_owned();
        LOG.lock().expect("no panic").push((level, message));
    }

    #[test]
    fn a_message_reaches_the_host_that_started_the_plugin() {
        static FULL: RawHost = RawHost {
            struct_size: size_of::<RawHost>(),
            log: Some(record),
        };
        // A host of an earlier contract, which has no log.
        static SHORT: RawHost = RawHost {
            struct_size: size_of::<usize>(),
            log: Some(record),
        };
        crate::log(Level::Warn, "to nobody");
        for host in [&SHORT, &FULL] {
            // SAFETY: the structures are static.
            unsafe { STARTED.start.expect("an entry")(host) }
            crate::log(Level::Warn, "café");
        }
        let told = LOG.lock().expect("no panic").clone();
        assert_eq!(told, [(2, "café".to_owned())]);
    }
}
