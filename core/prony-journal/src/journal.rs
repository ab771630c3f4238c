//! The journal: what happened, one event a line, appended and never changed.
//!
//! A line is handed to the system in one write before the run goes on, so a run
//! that dies loses at most the request in flight.

use crate::noise::KnownNoise;
use crate::{Error, Result};
use prony_config::Order;
use prony_machine::Warning;
use prony_metrics::statistics::{Decision, Rule};
use prony_metrics::threshold::Threshold;
use prony_plan::{ModelKey, Plan, StageKind, Visit};
use prony_record::Record;
use prony_result::{
    CellInfo, Client, EngineInfo, Environment, Outcome, PluginInfo, Selfcheck, Workload,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

/// Value of [`Started::schema`].
pub const SCHEMA: &str = "prony-journal/1";

/// Something that happened. All times are nanoseconds since the run's origin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// First line.
    Started(Box<Started>),
    /// A model is there, and is the one that the pipeline means.
    Model {
        /// Point of the matrix; absent without a matrix.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        point: Option<String>,
        /// Model id.
        model: String,
        /// Its file or folder.
        path: String,
        /// Digest of the file, if the pipeline states one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
    },
    /// An image that requests carry was read.
    Image {
        /// The file, as the pipeline names it.
        path: String,
        /// Its digest.
        sha256: String,
    },
    /// What is sent to all engines is made.
    Tape {
        /// Point of the matrix; absent without a matrix.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        point: Option<String>,
        /// Model id.
        model: String,
        /// Digest of all that requests are made of.
        sha256: String,
        /// Number of different prompts.
        prompts: u32,
        /// Where they come from; absent if they are in the pipeline.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
    /// A stage begins, or is left out.
    Stage {
        /// Its kind.
        stage: StageKind,
        /// What the pipeline calls it, if not that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The visit that it is part of; absent for `setup`.
        #[serde(flatten)]
        visit: Option<Visit>,
        /// Whether its `if` leaves it out.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        skipped: bool,
        /// When.
        at_ns: u64,
    },
    /// The load client was held against a server with a known schedule, as `setup` asks.
    Selfcheck(Box<Selfcheck>),
    /// A step of the user's begins, or is left out.
    Step {
        /// Its name.
        name: String,
        /// Whether it is left out.
        skipped: bool,
        /// Why it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A request has been answered, and is read when the stage has ended. Only for who
    /// watches: it is not in the journal.
    Answered,
    /// A request ended.
    Request(Box<Record>),
    /// The load client has ended a `measure` stage.
    Client {
        /// The visit that it is part of.
        #[serde(flatten)]
        visit: Visit,
        /// The stage's id.
        stage: String,
        /// What the client did.
        client: Client,
    },
    /// How long prompts are without their images, by the engine's count.
    WithoutImages {
        /// The visit that asked.
        #[serde(flatten)]
        visit: Visit,
        /// How many prompts the stage has.
        prompts: u32,
        /// Prompts by index, and their tokens; those that were asked and whose length the
        /// engine said.
        prompt_tokens: Vec<(u32, u32)>,
    },
    /// A visit ended.
    Visit(Visited),
    /// A stage failed.
    Failed {
        /// Its kind.
        stage: StageKind,
        /// What the pipeline calls it, if not that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// What it is part of.
        #[serde(flatten)]
        scope: Scope,
        /// Whether it was a step of the user's that failed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        step: bool,
        /// What happened.
        message: String,
    },
    /// The rest of a model is left out, on one engine or on all.
    Skipped {
        /// Point of the matrix; absent without a matrix.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        point: Option<String>,
        /// Model id.
        model: String,
        /// Engine name; all engines when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        engine: Option<String>,
    },
    /// What is known of a comparison after a cycle.
    Look {
        /// Point of the matrix; absent without a matrix.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        point: Option<String>,
        /// Model id.
        model: String,
        /// The engine that is compared with the baseline.
        candidate: String,
        /// Id of the `measure` stage.
        stage: String,
        /// Cycles that it rests on: those in which nothing failed.
        cycles: u32,
        /// What it decides.
        decision: Decision,
        /// Lower end of the interval of the difference; absent where so few cycles give
        /// none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        low_percent: Option<f64>,
        /// Upper end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        high_percent: Option<f64>,
    },
    /// What the first cycles of a model let expect of its comparisons; of several, of the
    /// one that scatters most.
    Pilot {
        /// Point of the matrix; absent without a matrix.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        point: Option<String>,
        /// Model id.
        model: String,
        /// Cycles that a difference as large as the margin takes.
        expected_cycles: f64,
        /// How long they take, in seconds.
        expected_s: f64,
        /// The smallest difference that all cycles together can tell.
        detectable_percent: f64,
        /// Whether a difference as large as the margin is expected to be found in time.
        feasible: bool,
    },
    /// The remaining cycles of a model are left out: all its comparisons have a verdict.
    Stopped {
        /// Point of the matrix; absent without a matrix.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        point: Option<String>,
        /// Model id.
        model: String,
        /// The last cycle.
        cycles: u32,
        /// The most that there could have been.
        of: u32,
    },
    /// Something a reader of the report must know.
    Warning {
        /// What.
        message: String,
    },
    /// Last line.
    Finished {
        /// How it ended.
        outcome: Outcome,
        /// When.
        at_ns: u64,
    },
}

/// What a visit says beside its requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Visited {
    /// Which visit.
    #[serde(flatten)]
    pub visit: Visit,
    /// From starting the engine to its being ready; `None` if it never was, or
    /// ran already.
    pub load_time_ns: Option<u64>,
    /// Wall-clock time of each `measure` stage that began, by its id.
    pub measure_ns: BTreeMap<String, u64>,
    /// Highest resident memory of the engine's processes, sampled.
    pub peak_memory_bytes: Option<u64>,
    /// Processor time of the engine's processes in each `measure` stage, in seconds, by
    /// its id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measure_cpu_s: BTreeMap<String, f64>,
    /// What was not as it should be with the machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machine: Vec<Warning>,
    /// From its beginning to its end, steps included, the turns of another engine apart.
    pub total_ns: u64,
}

/// A stage, and what it is a part of: makes its events.
#[derive(Debug, Clone)]
pub struct StageOf {
    /// Its kind.
    pub kind: StageKind,
    /// What the pipeline calls it; the kind unless it says otherwise.
    pub id: String,
    /// What it is part of.
    pub scope: Scope,
}

/// What a stage is part of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<Visit>", into = "Option<Visit>")]
pub enum Scope {
    /// The run: `setup`.
    Run,
    /// A model that cannot be had on any engine: `setup`, as far as it is about the model.
    Model {
        /// Point of the matrix; `None` without a matrix.
        point: Option<String>,
        /// Model id.
        model: String,
    },
    /// A visit.
    Visit(Visit),
}

/// A model is written as a visit of it without an engine, in cycle 0.
impl From<Scope> for Option<Visit> {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Run => None,
            Scope::Model { point, model } => Some(Visit {
                point,
                model,
                engine: String::new(),
                cycle: 0,
                segment: 1,
            }),
            Scope::Visit(visit) => Some(visit),
        }
    }
}

impl From<Option<Visit>> for Scope {
    fn from(visit: Option<Visit>) -> Self {
        match visit {
            None => Self::Run,
            Some(Visit {
                point,
                model,
                engine,
                ..
            }) if engine.is_empty() => Self::Model { point, model },
            Some(visit) => Self::Visit(visit),
        }
    }
}

impl Scope {
    /// The visit, if it is one.
    pub fn visit(&self) -> Option<&Visit> {
        match self {
            Self::Visit(visit) => Some(visit),
            Self::Run | Self::Model { .. } => None,
        }
    }
}

impl StageOf {
    /// It begins.
    pub fn begins(&self, at_ns: u64) -> Event {
        self.event(at_ns, false)
    }

    /// Its `if` leaves it out.
    pub fn is_skipped(&self, at_ns: u64) -> Event {
        self.event(at_ns, true)
    }

    fn event(&self, at_ns: u64, skipped: bool) -> Event {
        Event::Stage {
            stage: self.kind,
            id: self.own_id(),
            visit: self.scope.visit().cloned(),
            skipped,
            at_ns,
        }
    }

    /// It failed, by a step of the user's or not.
    pub fn failed(&self, step: bool, message: String) -> Event {
        Event::Failed {
            stage: self.kind,
            id: self.own_id(),
            scope: self.scope.clone(),
            step,
            message,
        }
    }

    fn own_id(&self) -> Option<String> {
        (self.id != self.kind.name()).then(|| self.id.clone())
    }
}

/// What is known when a run starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// `prony-journal/1`.
    pub schema: String,
    /// Version of prony.
    pub prony_version: String,
    /// Name of the run folder.
    pub run: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// SHA-256 of the resolved pipeline.
    pub pipeline_sha256: String,
    /// What is measured.
    pub subject: Subject,
    /// In which order.
    pub plan: Plan,
    /// On which machine.
    pub environment: Environment,
    /// With which plugins.
    pub plugins: Vec<PluginInfo>,
    /// What engines have shown against themselves on this machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub noise: Vec<KnownNoise>,
    /// What there was to say about the pipeline file, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What is measured, as far as a result shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// Name of the pipeline.
    pub name: String,
    /// Its description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Cycles planned.
    pub cycles: u32,
    /// The engines' order within a cycle.
    pub order: Order,
    /// Seed of the order.
    pub seed: u64,
    /// What was asked of every engine, except in matrix points that say otherwise.
    pub workload: Workload,
    /// The points of the matrix; none without a matrix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<CellInfo>,
    /// The engines, as the pipeline states them.
    pub engines: Vec<EngineInfo>,
    /// The enabled models of every matrix point, in order.
    pub models: Vec<ModelInfo>,
    /// Differences up to this count as none.
    pub margin_percent: f64,
    /// By what the comparisons are judged; absent where nothing is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_by: Option<Family>,
    /// What the results must reach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<Threshold>,
}

/// The comparisons of a run and the rule that they share. It stands in the journal before
/// the first cycle: what is decided after having seen numbers says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// The rule for one comparison.
    #[serde(flatten)]
    pub rule: Rule,
    /// How many share its error.
    pub comparisons: u32,
}

/// A model of a matrix point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Point of the matrix; absent without a matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// Its id.
    pub id: String,
    /// Its size label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// The revision that engines are to fetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

impl ModelInfo {
    /// What it is found by.
    pub fn key(&self) -> ModelKey<'_> {
        ModelKey {
            point: self.point.as_deref(),
            model: &self.id,
        }
    }
}

/// A journal that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Journal {
    /// The first event.
    pub started: Box<Started>,
    /// All that followed, in order.
    pub events: Vec<Event>,
}

/// A journal that is being written. Nobody else can lock it until it is dropped,
/// so that a run in progress can be told from one that died.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
}

impl Writer {
    /// Creates it; it must not exist.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::options()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(Error::io(path))?;
        // Where files cannot be locked, a run in progress looks interrupted.
        let _ = file.lock();
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Appends an event.
    pub fn append(&mut self, event: &Event) -> Result<()> {
        let mut line =
            serde_json::to_vec(event).map_err(|error| damaged(&self.path, 0, error.to_string()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(Error::io(&self.path))
    }

    /// Waits until everything is on the disk. Not during a measurement.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io(&self.path))
    }
}

/// Whether the run of this journal is still going on.
pub fn is_running(path: &Path) -> bool {
    let locked = |file: File| {
        matches!(
            file.try_lock_shared(),
            Err(std::fs::TryLockError::WouldBlock)
        )
    };
    File::open(path).is_ok_and(locked)
}

/// Reads a journal. A last line without its end, as a killed run leaves it, is
/// passed over.
pub fn read(path: &Path) -> Result<Journal> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let complete = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let mut lines = complete.lines();
    let started = first(path, lines.next())?;
    let events = (2..).zip(lines).map(|(line, json)| event(path, line, json));
    Ok(Journal {
        started,
        events: events.collect::<Result<_>>()?,
    })
}

/// What is known from the first line alone.
pub(crate) fn started(path: &Path) -> Result<Box<Started>> {
    let mut line = String::new();
    let file = File::open(path).map_err(Error::io(path))?;
    BufReader::new(file)
        .read_line(&mut line)
        .map_err(Error::io(path))?;
    first(
        path,
        Some(&line)
            .filter(|line| line.ends_with('\n'))
            .map(|line| &**line),
    )
}

fn first(path: &Path, line: Option<&str>) -> Result<Box<Started>> {
    let Some(line) = line else {
        return Err(damaged(path, 1, "the journal is empty".to_owned()));
    };
    match event(path, 1, line)? {
        Event::Started(started) if started.schema == SCHEMA => Ok(started),
        _ => {
            let reason = format!("a journal starts with an event `started` of schema `{SCHEMA}`");
            Err(damaged(path, 1, reason))
        }
    }
}

fn event(path: &Path, line: usize, json: &str) -> Result<Event> {
    serde_json::from_str(json).map_err(|error| damaged(path, line, error.to_string()))
}

fn damaged(path: &Path, line: usize, reason: String) -> Error {
    Error::Journal {
        path: path.to_owned(),
        line,
        reason,
    }
}
