//! Mutants: a good plugin with one defect each, made at the boundary of the contract. The share
//! that the checks find is the mutation score.

mod adapter;
mod events;
mod reporter;
mod request;
mod wrap;

use crate::{Finding, Kit, Subject};
use prony_contract::{
    Artifact, Error, Event, HttpRequest, LaunchPlan, Manifest, Message, Model, Pair, Request,
    StdioPlan,
};
use serde_json::Value;
use std::fmt;
use wrap::Mutated;

/// What a mutant remembers, which no good plugin does.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Calls so far.
    calls: u64,
    /// Text of the call before.
    last: String,
}

/// A response on its way to `decode`.
pub(crate) struct Input {
    status: u16,
    headers: Vec<Pair>,
    body: Vec<u8>,
    ends: Vec<u32>,
}

/// A defect, by what it spoils.
#[derive(Clone, Copy)]
pub(crate) enum Defect {
    /// A request, before it is encoded or answered.
    Request(fn(&mut Request)),
    /// The model, in every call.
    Model(fn(&mut Model)),
    /// An exchange.
    Exchange(fn(&mut HttpRequest, &Request, &mut State)),
    /// A message.
    Message(fn(&mut Message, &Request, &mut State)),
    /// A response.
    Input(fn(&mut Input)),
    /// Each read is decoded on its own.
    ReadByRead,
    /// A last line that has not ended is a text.
    HalfLine,
    /// A response that is no UTF-8 is a panic.
    BreaksOnBytes,
    /// Events, as of a number of reads.
    Events(fn(&mut Vec<Event>, u32, &mut State)),
    /// A launch plan.
    Launch(fn(&mut LaunchPlan, &mut State)),
    /// A launch plan of the other transport.
    LaunchStdio(fn(&mut StdioPlan, &mut State)),
    /// A manifest.
    Manifest(fn(&mut Manifest, &mut State)),
    /// Findings on a config.
    Check(fn(&mut Vec<Error>, &mut State)),
    /// A config that is refused counts as `{}` with what the good one has.
    AnyConfig,
    /// A result, before it is rendered.
    Result(fn(&mut Value)),
    /// Results that are no longer rendered.
    Fails(fn(&Value) -> bool),
    /// Artifacts, as of a result.
    Artifacts(fn(&mut Vec<Artifact>, &Value, &mut State)),
}

/// A defect with a name.
#[derive(Clone, Copy)]
pub(crate) struct Mutant {
    name: &'static str,
    defect: Defect,
}

const fn mutant(name: &'static str, defect: Defect) -> Mutant {
    Mutant { name, defect }
}

/// Kind of plugin that mutants are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// An adapter for HTTP.
    Http,
    /// An adapter for standard input and output.
    Stdio,
    /// An engine in a process.
    Local,
    /// A reporter.
    Reporter,
}

fn all(of: Of) -> Vec<Mutant> {
    let manifest = adapter::MANIFEST;
    match of {
        Of::Http => [
            request::ALL,
            request::ENCODED,
            adapter::EXCHANGE,
            adapter::LAUNCH,
            events::ALL,
            events::DECODED,
            manifest,
            adapter::CARRIES,
        ]
        .concat(),
        Of::Stdio => [
            request::ALL,
            request::ENCODED,
            adapter::MESSAGE,
            adapter::LAUNCH_STDIO,
            events::ALL,
            events::DECODED,
            manifest,
            adapter::CARRIES,
        ]
        .concat(),
        Of::Local => [request::ALL, events::ALL, manifest, adapter::CARRIES].concat(),
        Of::Reporter => [reporter::ALL, manifest].concat(),
    }
}

/// Mutants of one plugin, by what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Score {
    /// Found.
    pub killed: Vec<&'static str>,
    /// Not found, though they answered otherwise: each is a hole in the checks or fixtures.
    pub survived: Vec<&'static str>,
    /// Answered like the good plugin, whatever they were asked: a field that the engine does not
    /// have, an event that no fixture holds.
    pub without_effect: Vec<&'static str>,
}

impl Score {
    /// Adds another plugin's.
    pub fn add(&mut self, other: Self) {
        self.killed.extend(other.killed);
        self.survived.extend(other.survived);
        self.without_effect.extend(other.without_effect);
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.killed.len() + self.survived.len();
        let percent = 100.0 * self.killed.len() as f64 / all.max(1) as f64;
        write!(
            f,
            "mutation score {percent:.0} % ({} of {all} mutants found)",
            self.killed.len()
        )?;
        for (words, names) in [
            ("not found", &self.survived),
            ("without effect", &self.without_effect),
        ] {
            if !names.is_empty() {
                write!(f, "; {words}: {}", names.join(", "))?;
            }
        }
        Ok(())
    }
}

/// Makes every mutant of `subject` and has it checked by `kit`, which sets up the checks of what
/// it is handed.
///
/// # Errors
///
/// The good plugin itself has findings.
pub fn score(
    subject: &dyn Subject,
    of: Of,
    kit: impl for<'k> Fn(Kit<'k>) -> Kit<'k>,
) -> Result<Score, Vec<Finding>> {
    let findings = kit(Kit::new(subject)).run();
    if !findings.is_empty() {
        return Err(findings);
    }
    let mut score = Score::default();
    for mutant in all(of) {
        let mutated = Mutated::new(subject, mutant);
        let found = kit(Kit::new(&mutated)).until_first().run();
        let list = if !found.is_empty() {
            &mut score.killed
        } else if mutated.has_effect() {
            &mut score.survived
        } else {
            &mut score.without_effect
        };
        list.push(mutant.name);
    }
    Ok(score)
}
