//! The subject of the checks: anything that answers the calls of the contract.

use prony_contract::abi::{PluginTable, RawArtifact, RawEvent, Str, code, op};
use prony_contract::{
    Artifact, Endpoint, Error, Event, EventKind, HttpRequest, LaunchPlan, Manifest, Message, Model,
    Request, Response, StdioPlan,
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

/// A plugin in any form and of any kind. Implemented for the table of a linked plugin; the
/// methods are those of the contract, and those of another kind are missing.
pub trait Subject {
    /// Returns the manifest.
    fn describe(&self) -> Answer<Manifest>;
    /// Everything wrong with a config.
    fn check(&self, _config: &Value) -> Answer<Vec<Error>> {
        Ok(Vec::new())
    }
    /// Plans how to start or reach the engine.
    fn launch(&self, _config: &Value, _model: &Model, _at: &Endpoint) -> Answer<LaunchPlan> {
        Err(missing("launch"))
    }
    /// Converts a request to an HTTP exchange.
    fn encode(&self, _config: &Value, _model: &Model, _request: &Request) -> Answer<HttpRequest> {
        Err(missing("encode"))
    }
    /// Plans how to start an engine over standard input and output.
    fn launch_stdio(&self, _config: &Value, _model: &Model) -> Answer<StdioPlan> {
        Err(missing("launch"))
    }
    /// Converts a request to a line for such an engine.
    fn encode_stdio(
        &self,
        _config: &Value,
        _model: &Model,
        _request: &Request,
        _number: u64,
    ) -> Answer<Message> {
        Err(missing("encode"))
    }
    /// Decodes a response.
    fn decode(&self, _config: &Value, _response: &Response<'_>) -> Answer<Vec<Event>> {
        Err(missing("decode"))
    }
    /// Renders a result, given as JSON, to artifacts.
    fn render(&self, _config: &Value, _result: &str) -> Answer<Vec<Artifact>> {
        Err(missing("render"))
    }
    /// Loads the model of an in-process engine.
    fn open(&self, _config: &Value, _model: &Model) -> Answer<Box<dyn Session + '_>> {
        Err(missing("engine_open"))
    }
}

fn missing(export: &str) -> Fault {
    Fault::Broken(format!("it has no `{export}`"))
}

/// An in-process engine with its model loaded. Dropped, it unloads the model.
pub trait Session {
    /// Generates an answer.
    fn generate(&mut self, request: &Request) -> Answer<Vec<Event>>;
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

    fn decode(&self, config: &Value, response: &Response<'_>) -> Answer<Vec<Event>> {
        let decode = self.decode.ok_or_else(|| missing("decode"))?;
        let context = json!({
            "config": config,
            "status": response.status,
            "headers": response.headers,
        });
        let context = context.to_string();
        let mut reply = Reply::default();
        // SAFETY: all inputs outlive the call; the callbacks get their context.
        let returned = unsafe {
            decode(
                Str::of(context.as_bytes()),
                Str::of(response.body),
                response.ends.as_ptr(),
                response.ends.len(),
                emit,
                write,
                (&raw mut reply).cast(),
            )
        };
        reply.events(returned)
    }

    fn render(&self, config: &Value, result: &str) -> Answer<Vec<Artifact>> {
        let render = self.render.ok_or_else(|| missing("render"))?;
        let input = format!("{{\"config\":{config},\"result\":{result}}}");
        let mut reply = Reply::default();
        // SAFETY: the input outlives the call; the callbacks get their context.
        let returned = unsafe {
            render(
                Str::of(input.as_bytes()),
                keep,
                write,
                (&raw mut reply).cast(),
            )
        };
        outcome_of(returned, &reply.written)?;
        match reply.defect {
            Some(defect) => Err(Fault::Broken(defect)),
            None => Ok(reply.artifacts),
        }
    }

    fn open(&self, config: &Value, model: &Model) -> Answer<Box<dyn Session + '_>> {
        let open = self.engine_open.ok_or_else(|| missing("engine_open"))?;
        let input = json!({ "config": config, "model": model }).to_string();
        let mut reply = Reply::default();
        // SAFETY: the input outlives the call; `write` gets its context.
        let engine = unsafe { open(Str::of(input.as_bytes()), write, (&raw mut reply).cast()) };
        if engine.is_null() {
            let error = serde_json::from_slice(&reply.written).map_err(|_| {
                Fault::Broken("`engine_open` returned nothing and wrote no error".to_owned())
            })?;
            return Err(Fault::Reported(error));
        }
        Ok(Box::new(Loaded {
            table: self,
            engine,
        }))
    }
}

/// An engine of a table.
struct Loaded<'t> {
    table: &'t PluginTable,
    engine: *mut c_void,
}

impl Session for Loaded<'_> {
    fn generate(&mut self, request: &Request) -> Answer<Vec<Event>> {
        let generate = self.table.engine_generate;
        let generate = generate.ok_or_else(|| missing("engine_generate"))?;
        let request = json!(request).to_string();
        let mut reply = Reply::default();
        // SAFETY: the request outlives the call; the callbacks get their context; `engine` came
        // from `engine_open`, and one call at a time uses it, since this takes `&mut self`.
        let returned = unsafe {
            generate(
                self.engine,
                Str::of(request.as_bytes()),
                emit,
                write,
                (&raw mut reply).cast(),
            )
        };
        reply.events(returned)
    }
}

impl Drop for Loaded<'_> {
    fn drop(&mut self) {
        if let Some(close) = self.table.engine_close {
            // SAFETY: `engine` came from `engine_open` and is closed once.
            unsafe { close(self.engine) }
        }
    }
}

#[derive(Default)]
struct Reply {
    written: Vec<u8>,
    events: Vec<Event>,
    artifacts: Vec<Artifact>,
    defect: Option<String>,
}

impl Reply {
    fn events(self, returned: i32) -> Answer<Vec<Event>> {
        outcome_of(returned, &self.written)?;
        match self.defect {
            Some(defect) => Err(Fault::Broken(defect)),
            None => Ok(self.events),
        }
    }
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
    let call = table.call.ok_or_else(|| missing("call"))?;
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
    outcome_of(returned, written)?;
    serde_json::from_slice(written)
        .map_err(|error| Fault::Broken(format!("the answer is unreadable: {error}")))
}

fn outcome_of(returned: i32, written: &[u8]) -> Answer<()> {
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

unsafe extern "C" fn emit(ctx: *mut c_void, event: *const RawEvent) -> i32 {
    // SAFETY: as in `write`.
    let (reply, event) = unsafe { (&mut *ctx.cast::<Reply>(), &*event) };
    // SAFETY: the text is lent for the callback.
    let text = std::str::from_utf8(unsafe { event.text.get() });
    match (EventKind::ALL.get(event.kind as usize), text) {
        (Some(kind), Ok(text)) => reply.events.push(Event {
            read: event.read,
            kind: *kind,
            tokens: event.tokens,
            ns: event.ns,
            text: text.to_owned(),
        }),
        (None, _) => reply.defect = Some(format!("there is no event kind {}", event.kind)),
        (_, Err(error)) => reply.defect = Some(format!("the text of an event: {error}")),
    }
    0
}

unsafe extern "C" fn keep(ctx: *mut c_void, artifact: *const RawArtifact) {
    // SAFETY: as in `write`; the strings are lent for the callback.
    let (reply, name, media_type, bytes) = unsafe {
        let artifact = &*artifact;
        (
            &mut *ctx.cast::<Reply>(),
            artifact.name.get(),
            artifact.media_type.get(),
            artifact.bytes.get(),
        )
    };
    match (std::str::from_utf8(name), std::str::from_utf8(media_type)) {
        (Ok(name), Ok(media_type)) => reply.artifacts.push(Artifact {
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            bytes: bytes.to_vec(),
        }),
        (Err(error), _) => reply.defect = Some(format!("the name of an artifact: {error}")),
        (_, Err(error)) => reply.defect = Some(format!("the media type of an artifact: {error}")),
    }
}
