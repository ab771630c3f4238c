//! The subject of the checks: anything that answers the calls of an engine adapter.

use prony_plugin_sdk::native::{PluginTable, RawEvent, Str, code, op};
use prony_plugin_sdk::{
    Endpoint, Error, Event, EventKind, HttpRequest, LaunchPlan, Manifest, Message, Model, Request,
    StdioPlan,
};
use serde_json::{Value, json};
use std::ffi::c_void;
use std::fmt;

/// Reasons for a missing answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The plugin reported an error, which is allowed.
    Reported(Error),
    /// A panic, a trap, an unreadable answer: a defect.
    Broken(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reported(error) => write!(f, "error: {error}"),
            Self::Broken(what) => write!(f, "broke down: {what}"),
        }
    }
}

/// An answer, or the reason why there is none.
pub type Answer<T> = Result<T, Fault>;

/// A plugin in any form. Implemented for the table of a linked plugin; the
/// methods are those of the contract.
pub trait Subject {
    /// Returns the manifest.
    fn describe(&self) -> Answer<Manifest>;
    /// Everything wrong with a config.
    fn check(&self, _config: &Value) -> Answer<Vec<Error>> {
        Ok(Vec::new())
    }
    /// Plans how to start or reach the engine.
    fn launch(&self, config: &Value, model: &Model, at: &Endpoint) -> Answer<LaunchPlan>;
    /// Converts a request to an HTTP exchange.
    fn encode(&self, config: &Value, model: &Model, request: &Request) -> Answer<HttpRequest>;
    /// Plans how to start an engine over standard input and output.
    fn launch_stdio(&self, _config: &Value, _model: &Model) -> Answer<StdioPlan> {
        Err(Fault::Broken("it has no `launch` of that kind".to_owned()))
    }
    /// Converts a request to a line for such an engine.
    fn encode_stdio(
        &self,
        _config: &Value,
        _model: &Model,
        _request: &Request,
        _number: u64,
    ) -> Answer<Message> {
        Err(Fault::Broken("it has no `encode` of that kind".to_owned()))
    }
    /// Decodes a response.
    fn decode(&self, config: &Value, status: u16, body: &[u8], ends: &[u32]) -> Answer<Vec<Event>>;
}

/// Calls through the C table, as the host does for a native plugin.
impl Subject for PluginTable {
    fn describe(&self) -> Answer<Manifest> {
        call(self, op::DESCRIBE, &json!({}))
    }

    fn check(&self, config: &Value) -> Answer<Vec<Error>> {
        let (returned, written) = called(self, op::CHECK, &json!({ "config": config }))?;
        if returned == code::UNSUPPORTED {
            return Ok(Vec::new());
        }
        answered(returned, &written)
    }

    fn launch(&self, config: &Value, model: &Model, at: &Endpoint) -> Answer<LaunchPlan> {
        let input = json!({ "config": config, "model": model, "at": at });
        call(self, op::LAUNCH, &input)
    }

    fn encode(&self, config: &Value, model: &Model, request: &Request) -> Answer<HttpRequest> {
        let input = json!({ "config": config, "model": model, "request": request });
        call(self, op::ENCODE, &input)
    }

    fn launch_stdio(&self, config: &Value, model: &Model) -> Answer<StdioPlan> {
        let input = json!({ "config": config, "model": model });
        call(self, op::LAUNCH, &input)
    }

    fn encode_stdio(
        &self,
        config: &Value,
        model: &Model,
        request: &Request,
        number: u64,
    ) -> Answer<Message> {
        let input =
            json!({ "config": config, "model": model, "request": request, "number": number });
        call(self, op::ENCODE, &input)
    }

    fn decode(&self, config: &Value, status: u16, body: &[u8], ends: &[u32]) -> Answer<Vec<Event>> {
        let decode = self
            .decode
            .ok_or_else(|| Fault::Broken("it has no `decode`".to_owned()))?;
        let context = json!({ "config": config, "status": status }).to_string();
        let mut reply = Reply::default();
        // SAFETY: all inputs outlive the call; the callbacks get their context.
        let returned = unsafe {
            decode(
                Str::of(context.as_bytes()),
                Str::of(body),
                ends.as_ptr(),
                ends.len(),
                emit,
                write,
                (&raw mut reply).cast(),
            )
        };
        outcome(returned, &reply.written)?;
        match reply.defect {
            Some(defect) => Err(Fault::Broken(defect)),
            None => Ok(reply.events),
        }
    }
}

#[derive(Default)]
struct Reply {
    written: Vec<u8>,
    events: Vec<Event>,
    defect: Option<String>,
}

fn call<T: serde::de::DeserializeOwned>(
    table: &PluginTable,
    operation: u32,
    input: &Value,
) -> Answer<T> {
    let (returned, written) = called(table, operation, input)?;
    answered(returned, &written)
}

/// The return code of an operation, and what it has written.
fn called(table: &PluginTable, operation: u32, input: &Value) -> Answer<(i32, Vec<u8>)> {
    let call = table
        .call
        .ok_or_else(|| Fault::Broken("it has no `call`".to_owned()))?;
    let input = input.to_string();
    let mut reply = Reply::default();
    // SAFETY: the input outlives the call; `write` gets its context.
    let returned = unsafe {
        call(
            operation,
            Str::of(input.as_bytes()),
            write,
            (&raw mut reply).cast(),
        )
    };
    Ok((returned, reply.written))
}

fn answered<T: serde::de::DeserializeOwned>(returned: i32, written: &[u8]) -> Answer<T> {
    outcome(returned, written)?;
    serde_json::from_slice(written)
        .map_err(|error| Fault::Broken(format!("the answer is unreadable: {error}")))
}

fn outcome(returned: i32, written: &[u8]) -> Answer<()> {
    if returned == code::OK {
        return Ok(());
    }
    let error: Error = serde_json::from_slice(written)
        .map_err(|_| Fault::Broken(format!("return code {returned} without an error")))?;
    Err(match returned {
        code::ERR => Fault::Reported(error),
        code::PANIC => Fault::Broken(format!("panic: {}", error.message)),
        other => Fault::Broken(format!("return code {other}: {}", error.message)),
    })
}

unsafe extern "C" fn write(ctx: *mut c_void, bytes: Str) {
    // SAFETY: `ctx` is the `Reply` handed to the call; `bytes` is lent for it.
    unsafe {
        (*ctx.cast::<Reply>())
            .written
            .extend_from_slice(bytes.get());
    }
}

unsafe extern "C" fn emit(ctx: *mut c_void, event: *const RawEvent) {
    // SAFETY: as in `write`.
    let (reply, event) = unsafe { (&mut *ctx.cast::<Reply>(), &*event) };
    // SAFETY: the text is lent for the callback.
    let text = std::str::from_utf8(unsafe { event.text.get() });
    match (EventKind::ALL.get(event.kind as usize), text) {
        (Some(kind), Ok(text)) => reply.events.push(Event {
            chunk: event.chunk,
            kind: *kind,
            tokens: event.tokens,
            ns: event.ns,
            text: text.to_owned(),
        }),
        (None, _) => reply.defect = Some(format!("there is no event kind {}", event.kind)),
        (_, Err(error)) => reply.defect = Some(format!("the text of an event: {error}")),
    }
}
