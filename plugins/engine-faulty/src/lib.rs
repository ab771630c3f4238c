//! A fixture, not an engine: an adapter that misbehaves on demand, so that the
//! host's tests can show that a guest harms nobody but itself.
//!
//! `fault` says how, `at` in which call. Without a fault it is a working
//! adapter for a server that sends one token a line and `.` at the end.

use prony_plugin_sdk::{
    About, Endpoint, Engine, Error, Events, HttpRequest, LaunchPlan, Model, Ready, Request,
    Response, Result, about,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Options of the `faulty` engine.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The fault.
    #[serde(default)]
    pub fault: Fault,
    /// In which call.
    #[serde(default)]
    pub at: At,
    /// The server, `http://host:port`; a port without one if absent.
    pub base_url: Option<String>,
}

/// A way to misbehave. `trap`, `loop`, `memory` and `recursion` end or exhaust
/// the process in the native form, so only the WASM form can be asked for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Works.
    #[default]
    None,
    /// Panics.
    Panic,
    /// Executes an illegal instruction.
    Trap,
    /// Never returns.
    Loop,
    /// Allocates without end.
    Memory,
    /// Calls itself without end.
    Recursion,
    /// Returns an error.
    Error,
    /// Answers with megabytes.
    Huge,
    /// Stamps events with reads that never happened.
    Read,
    /// Panics with a message of a megabyte.
    LongPanic,
}

/// A call of the contract.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// While the config is read, before every call.
    New,
    /// `launch`
    Launch,
    /// `encode`
    Encode,
    /// `decode`
    #[default]
    Decode,
}

/// Length of the text in a huge answer.
pub const HUGE: usize = 4 << 20;

/// The adapter.
pub struct Faulty {
    config: Config,
}

prony_plugin_sdk::plugin!(engine: Faulty);

impl Engine for Faulty {
    type Config = Config;
    const ABOUT: About = about!("faulty", "Misbehaves on demand, for tests");
    const HISTORY: bool = true;

    fn new(config: Config) -> Result<Self> {
        let faulty = Self { config };
        faulty.misbehave(At::New)?;
        Ok(faulty)
    }

    fn launch(&self, _: &Model, _: &Endpoint) -> Result<LaunchPlan> {
        self.misbehave(At::Launch)?;
        let url = self.config.base_url.as_deref();
        let url = url.unwrap_or("http://127.0.0.1:1");
        Ok(LaunchPlan::attach(url, Ready::Immediate))
    }

    fn encode(&self, _: &Model, request: &Request) -> Result<HttpRequest> {
        let filler = self.misbehave(At::Encode)?;
        let Request {
            prompt,
            system,
            history,
            max_tokens,
            seed,
            ..
        } = request;
        let system = system.as_deref().unwrap_or_default();
        let said = history
            .iter()
            .map(|it| format!("{}: {}\n", it.role.name(), it.content));
        let body = format!(
            "{max_tokens} {seed} {}\n{system}\n{}{prompt}{filler}",
            prompt.len(),
            said.collect::<String>()
        );
        Ok(HttpRequest {
            method: "POST".to_owned(),
            path: "/generate".to_owned(),
            headers: Vec::new(),
            body,
            answer_headers: vec!["x-request-id".to_owned()],
            ..HttpRequest::default()
        })
    }

    fn decode(&self, response: &Response<'_>, events: &mut Events) -> Result<()> {
        let filler = self.misbehave(At::Decode)?;
        if response.status != 200 {
            events.failure(response.last_read(), "refused");
            return Ok(());
        }
        if let Some(id) = response.header("x-request-id") {
            events.note(0, &format!("request `{id}`"));
        }
        if !filler.is_empty() {
            events.text(0, 1, &filler);
        }
        let late = if self.config.fault == Fault::Read {
            1_000
        } else {
            0
        };
        for (read, line) in response.lines() {
            let read = read + late;
            if line == b"." {
                events.end(read);
                break;
            }
            events.text(read, 1, &String::from_utf8_lossy(line));
        }
        Ok(())
    }
}

impl Faulty {
    /// Goes wrong if this is the place; otherwise returns what to add to the
    /// answer.
    fn misbehave(&self, at: At) -> Result<String> {
        if at != self.config.at {
            return Ok(String::new());
        }
        match self.config.fault {
            Fault::None | Fault::Read => Ok(String::new()),
            Fault::Panic => panic!("asked to panic in `{at:?}`"),
            Fault::LongPanic => panic!("{}", "é".repeat(1 << 20)),
            Fault::Trap => trap(),
            Fault::Loop => {
                let mut number = 0_u64;
                loop {
                    number = std::hint::black_box(number.wrapping_add(1));
                }
            }
            Fault::Memory => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                }
            }
            Fault::Recursion => Ok(descend(1).to_string()),
            Fault::Error => Err(Error::engine("asked to fail")),
            Fault::Huge => Ok("x".repeat(HUGE)),
        }
    }
}

fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}

#[expect(unconditional_recursion, reason = "that is the fault")]
fn descend(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    descend(depth + 1) + frame[0]
}
