//! The journal: the events of a run, one a line, appended and never changed.
//!
//! A line is handed to the system in one write before the run continues. With several requests
//! in flight answers lie in a file of their own until their stage has ended. So a run that dies
//! loses only what was in flight. docs/journal.md describes the format.

use crate::Input;
use prony_config::{MAX_COMPARED_CYCLES, Order};
use prony_machine::{Control, GpuUsage, IdlePower, ProcessId, Warning};
use prony_metrics::statistics::{Decision, Rule};
use prony_metrics::threshold::Threshold;
use prony_plan::{ModelKey, Plan, StageKind, Visit};
use prony_record::{CounterTold, Record, SettingTold, limited};
use prony_result::words::{Forecast, count};
use prony_result::{
    CellInfo, Client, EngineInfo, Environment, NoiseFloor, Outcome, PluginInfo, RankInfo,
    Rendering, Selfcheck, Workload,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// Value of [`Started::schema`].
pub const SCHEMA: &str = "prony-journal/2";
/// The first schema, whose lines have no number and no checksum; it is still read.
pub(crate) const FIRST_SCHEMA: &str = "prony-journal/1";

/// An event. All times are nanoseconds since the run's origin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// First line.
    Started(Box<Started>),
    /// A model is available, and its digest is the one in the pipeline.
    Model {
        /// Matrix point; absent without a matrix.
        #[serde(rename = "cell", default, skip_serializing_if = "Option::is_none")]
        point: Option<String>,
        /// Model id.
        model: String,
        /// Its file or folder.
        path: String,
        /// SHA-256 of the file, if the pipeline states one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
    },
    /// A file or folder that the run depends on.
    Input(Input),
    /// An image for requests was read.
    Image {
        /// The file, as the pipeline names it.
        path: String,
        /// SHA-256 of the file.
        sha256: String,
    },
    /// The request set of a model was made.
    #[serde(rename = "tape")]
    RequestSet {
        /// Matrix point; absent without a matrix.
        #[serde(rename = "cell", default, skip_serializing_if = "Option::is_none")]
        point: Option<String>,
        /// Model id.
        model: String,
        /// SHA-256 of the request set.
        sha256: String,
        /// Number of different prompts.
        prompts: u32,
        /// Source of the prompts; absent if they are in the pipeline.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
    /// The conversations of a model are rendered as prompts.
    Rendering {
        /// Matrix point; absent without a matrix.
        #[serde(rename = "cell", default, skip_serializing_if = "Option::is_none")]
        point: Option<String>,
        /// Model id.
        model: String,
        /// The engines, the template and what it was given.
        #[serde(flatten)]
        rendering: Rendering,
    },
    /// A stage begins or is skipped.
    Stage {
        /// Its kind.
        stage: StageKind,
        /// Id in the pipeline, if other than the kind.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The visit it belongs to; absent for `setup`.
        #[serde(flatten)]
        visit: Option<Visit>,
        /// `true` if its `if` skips it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        skipped: bool,
        /// Time of the event.
        at_ns: u64,
    },
    /// The load client was checked against a server with a known schedule, as `setup`
    /// asks.
    Selfcheck(Box<Selfcheck>),
    /// The machine's power before any engine runs; absent where nothing counts energy.
    IdlePower(IdlePower),
    /// A user's step begins or is skipped.
    Step {
        /// Its name.
        name: String,
        /// `true` if it is skipped.
        skipped: bool,
        /// Reason for skipping it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A request was answered and will be decoded when the stage has ended. For observers
    /// only; not written to the journal.
    Answered,
    /// A file of a model is being fetched. For observers only; not written to the journal.
    Fetching {
        /// Model id.
        model: String,
        /// Name of the file.
        file: String,
        /// Its size in bytes.
        bytes: u64,
        /// Bytes that are there.
        have: u64,
    },
    /// An engine is still loading. For observers only; not written to the journal.
    Loading {
        /// The visit it belongs to.
        visit: Visit,
        /// Time since the load began, in seconds.
        seconds: u64,
        /// Memory available on the machine, in bytes, from the first minutes on.
        available_bytes: Option<u64>,
    },
    /// A request ended.
    Request(Box<Record>),
    /// The load client finished a `measure` stage.
    Client {
        /// The visit it belongs to.
        #[serde(flatten)]
        visit: Visit,
        /// The stage's id.
        stage: String,
        /// Activity and resource use of the client.
        client: Client,
    },
    /// The clock of another rank, measured right before a stage and after it.
    Clock {
        /// The visit.
        #[serde(flatten)]
        visit: Visit,
        /// The stage's id.
        stage: String,
        /// Number of the rank.
        rank: u32,
        /// Nanoseconds added to the rank's stamps, which moves them to rank 0's clock.
        offset_ns: i64,
        /// The most by which its times are wrong against those of rank 0.
        bound_ns: u64,
    },
    /// Lengths of prompts without their images, by the engine's count.
    WithoutImages {
        /// The visit that asked.
        #[serde(flatten)]
        visit: Visit,
        /// Number of prompts in the stage.
        prompts: u32,
        /// Prompt index (from 0) and tokens, for prompts that were asked and whose length
        /// the engine reported.
        prompt_tokens: Vec<(u32, u32)>,
    },
    /// The program of an engine was started.
    Program {
        /// The visit it belongs to.
        #[serde(flatten)]
        visit: Visit,
        /// Its path, or its name if nobody knows where the system found it.
        program: String,
        /// The packages that prony installed for it, with versions.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        packages: Vec<String>,
    },
    /// The control, a fixed load right before or right after a visit, was done.
    Control {
        /// The visit.
        visit: Visit,
        /// Time of arithmetic on one core.
        single_ns: u64,
        /// Time of arithmetic on all cores at once.
        all_cores_ns: u64,
        /// Time of reading and writing memory.
        memory_ns: u64,
    },
    /// A visit ended.
    Visit(Visited),
    /// A stage failed.
    Failed {
        /// Its kind.
        stage: StageKind,
        /// Id in the pipeline, if other than the kind.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The run, model or visit it belongs to.
        #[serde(flatten)]
        scope: Scope,
        /// `true` if a user's step failed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        step: bool,
        /// `true` if the engine's plugin failed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        plugin: bool,
        /// `true` if a rank was lost.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        rank: bool,
        /// Description of the failure.
        message: String,
    },
    /// The rest of a model is skipped, on one engine or on all.
    Skipped {
        /// Matrix point; absent without a matrix.
        #[serde(rename = "cell", default, skip_serializing_if = "Option::is_none")]
        point: Option<String>,
        /// Model id.
        model: String,
        /// Engine name; absent for all engines.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        engine: Option<String>,
    },
    /// Result of an interim analysis: a comparison after a cycle.
    Look {
        /// Matrix point; absent without a matrix.
        #[serde(rename = "cell", default, skip_serializing_if = "Option::is_none")]
        point: Option<String>,
        /// Model id.
        model: String,
        /// The engine compared with the baseline.
        candidate: String,
        /// Id of the `measure` stage.
        stage: String,
        /// Cycles used: those in which nothing failed.
        cycles: u32,
        /// The decision.
        decision: Decision,
        /// Estimate of the difference; absent where there is no interval to show it with, and
        /// in journals of before it was told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        estimate_percent: Option<f64>,
        /// Lower end of the interval of the difference; absent with too few cycles for
        /// one, and of a run without a maximum of cycles until it is decided.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        low_percent: Option<f64>,
        /// Upper end of the interval.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        high_percent: Option<f64>,
    },
    /// Forecast from the first cycles of a model, for the comparison with the largest
    /// scatter.
    Pilot {
        /// Matrix point; absent without a matrix.
        #[serde(rename = "cell", default, skip_serializing_if = "Option::is_none")]
        point: Option<String>,
        /// Model id.
        model: String,
        /// Cycles needed to detect a difference as large as the margin.
        expected_cycles: f64,
        /// Lower end of an 80 % interval of them, by how uncertain the scatter of so few is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        low_cycles: Option<f64>,
        /// Upper end of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        high_cycles: Option<f64>,
        /// Their expected duration, in seconds.
        expected_s: f64,
        /// Smallest difference that all cycles together can detect.
        detectable_percent: f64,
        /// `true` if a difference as large as the margin is expected to be found in time.
        feasible: bool,
        /// Number of requests of a visit that would tell more in the same time; absent where
        /// the present one is less than a factor of 2 away, or where nothing is known of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        better_requests: Option<u32>,
    },
    /// The remaining cycles of a model are skipped: all its comparisons have a verdict.
    Stopped {
        /// Matrix point; absent without a matrix.
        #[serde(rename = "cell", default, skip_serializing_if = "Option::is_none")]
        point: Option<String>,
        /// Model id.
        model: String,
        /// The last cycle.
        cycles: u32,
        /// Maximum number of cycles.
        of: u32,
    },
    /// A caveat for readers of the report.
    Warning {
        /// Text of the caveat.
        message: String,
    },
    /// A run that had died goes on. Times continue from the last event before it.
    Resumed {
        /// Start of the rest: RFC 3339, UTC.
        resumed_at: String,
        /// Time in which nothing ran, in seconds.
        gap_s: f64,
        /// The process of prony that goes on.
        process: ProcessId,
    },
    /// Digest of the outputs of the steps of `setup`, which a resumed run must have again.
    Outputs {
        /// SHA-256 of their JSON.
        sha256: String,
    },
    /// The amount of work of the control.
    ControlWork(Control),
    /// A cycle of a model is over, however it went.
    Cycle {
        /// Matrix point; absent without a matrix.
        #[serde(rename = "cell", default, skip_serializing_if = "Option::is_none")]
        point: Option<String>,
        /// Model id.
        model: String,
        /// Its number.
        cycle: u32,
        /// Its duration, in seconds.
        seconds: f64,
    },
    /// Visits that do not count as complete: their cycles are ones in which something failed.
    /// Journalled of a cycle that was broken off; made by the reader of damaged lines.
    Degraded {
        /// The visits.
        visits: Vec<Visit>,
        /// Reason for it.
        reason: String,
    },
    /// Lines of the journal that cannot be believed and were passed over, or are missing. Made
    /// by the reader; not written to the journal.
    Damaged {
        /// The first of them, from 1; of missing lines the next.
        line: u64,
        /// Bytes before it.
        offset: u64,
        /// Number of lines passed over.
        lines: u64,
        /// Number of lines missing by their numbers, besides.
        missing: u64,
        /// Description of the first damage.
        reason: String,
    },
    /// Last line.
    Finished {
        /// Outcome of the run.
        outcome: Outcome,
        /// Time of the event.
        at_ns: u64,
        /// SHA-256 of all bytes of the journal before this line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
    },
}

impl Event {
    /// The forecast of a model, if it is one, for a run of `planned` cycles.
    pub fn forecast(&self, planned: u32) -> Option<Forecast> {
        let Event::Pilot {
            expected_cycles,
            low_cycles,
            high_cycles,
            expected_s,
            detectable_percent,
            feasible,
            ..
        } = self
        else {
            return None;
        };
        Some(Forecast {
            expected_cycles: *expected_cycles,
            likely_cycles: low_cycles.zip(*high_cycles),
            expected_s: *expected_s,
            detectable_percent: *detectable_percent,
            feasible: *feasible,
            planned,
            open: planned > MAX_COMPARED_CYCLES,
        })
    }

    /// Words for lines that cannot be believed.
    pub(crate) fn damage(&self) -> Option<String> {
        let Event::Damaged {
            line,
            offset,
            lines,
            missing,
            reason,
        } = self
        else {
            return None;
        };
        let passed_over = match lines {
            0 => String::new(),
            1 => format!("line {line} of the journal (byte {offset}) is passed over: {reason}"),
            _ => format!(
                "lines {line} to {} of the journal (from byte {offset}) are passed over: {reason}",
                line + lines - 1
            ),
        };
        let lost = match missing {
            0 => String::new(),
            _ if *lines > 0 => format!("; {} missing beside", count(*missing, "line")),
            _ => format!(
                "{} of the journal missing before line {line} (byte {offset}): {reason}",
                count(*missing, "line")
            ),
        };
        Some(passed_over + &lost)
    }
}

/// Measurements of a visit besides its requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Visited {
    /// The visit.
    #[serde(flatten)]
    pub visit: Visit,
    /// From starting the engine until it was ready; `None` if it never was, or was
    /// already running.
    pub load_time_ns: Option<u64>,
    /// From asking the engine to end until all its processes were gone; `None` if it was
    /// not started by the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unload_time_ns: Option<u64>,
    /// Wall-clock time of each `measure` stage that began, by stage id.
    pub measure_ns: BTreeMap<String, u64>,
    /// Peak resident memory of the engine's processes, sampled.
    pub peak_memory_bytes: Option<u64>,
    /// Peak memory of the engine's processes on all GPUs, sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_gpu_memory_bytes: Option<u64>,
    /// Resident memory of the engine's processes over time: milliseconds since the first
    /// sample, and the highest number of bytes in the interval that begins there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<(u64, u64)>,
    /// Energy in each `measure` stage, by stage id, where anything counts it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub energy: BTreeMap<String, StageEnergy>,
    /// Share of the model's files that the system held in memory before the engine was
    /// started, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_cache_share: Option<f64>,
    /// CPU time of the engine's processes in each `measure` stage, in seconds, by stage
    /// id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measure_cpu_s: BTreeMap<String, f64>,
    /// Settings that the engine was asked about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<SettingTold>,
    /// The engine's counters around each `measure` stage, by stage id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, Vec<CounterTold>>,
    /// Warnings about the state of the machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machine: Vec<Warning>,
    /// Duration of the visit, including steps, excluding the turns of another engine.
    pub total_ns: u64,
}

/// Energy and GPUs in the time in which a `measure` stage had requests in flight.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StageEnergy {
    /// The GPUs that the engine used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuUsage>,
    /// Energy of the processor packages in joules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor_joules: Option<f64>,
    /// `true` if another engine was loaded, so that the energy is not this engine's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

/// A stage and its scope, for making its events.
#[derive(Debug, Clone)]
pub struct StageOf {
    /// Its kind.
    pub kind: StageKind,
    /// Id in the pipeline; defaults to the kind.
    pub id: String,
    /// The run, model or visit it belongs to.
    pub scope: Scope,
}

/// Scope of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<Visit>", into = "Option<Visit>")]
pub enum Scope {
    /// The run: `setup`.
    Run,
    /// A model that no engine can have: the model's share of `setup`.
    Model {
        /// Matrix point; `None` without a matrix.
        point: Option<String>,
        /// Model id.
        model: String,
    },
    /// A visit.
    Visit(Visit),
}

/// A model is written as a visit without an engine, in cycle 0.
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
    /// The event of its beginning.
    pub fn begins(&self, at_ns: u64) -> Event {
        self.event(at_ns, false)
    }

    /// The event of being skipped by its `if`.
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

    /// The event of its failure.
    pub fn failed(&self, cause: Cause, message: String) -> Event {
        Event::Failed {
            stage: self.kind,
            id: self.own_id(),
            scope: self.scope.clone(),
            step: cause == Cause::Step,
            plugin: cause == Cause::Plugin,
            rank: cause == Cause::Rank,
            message: limited(message),
        }
    }

    fn own_id(&self) -> Option<String> {
        (self.id != self.kind.name()).then(|| self.id.clone())
    }
}

/// Part of a stage that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A user's step.
    Step,
    /// The engine's plugin.
    Plugin,
    /// A rank that was lost.
    Rank,
    /// Anything else, as a rule the engine.
    Engine,
}

/// Facts known when a run starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// `prony-journal/2`.
    pub schema: String,
    /// Version of prony.
    pub prony_version: String,
    /// Name of the run folder.
    pub run: String,
    /// Start time: RFC 3339, UTC.
    pub started_at: String,
    /// SHA-256 of the resolved pipeline.
    pub pipeline_sha256: String,
    /// Folder that its paths are relative to, as seen from the run's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_folder: Option<String>,
    /// The engines, models and workload measured.
    pub subject: Subject,
    /// The visits in order.
    pub plan: Plan,
    /// The machine.
    pub environment: Environment,
    /// The plugins.
    pub plugins: Vec<PluginInfo>,
    /// Known noise floors of the engines on this machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub noise: Vec<KnownNoise>,
    /// Notes about the pipeline file, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The process of prony.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessId>,
    /// The processes that send the load together; absent if this one sends it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub world: Option<World>,
}

/// The processes that send a load together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    /// Source of their number, for people: variables of the environment, or an option.
    pub by: String,
    /// All ranks but this one, which is rank 0.
    pub ranks: Vec<RankInfo>,
}

impl World {
    /// Number of ranks.
    pub fn size(&self) -> usize {
        self.ranks.len() + 1
    }
}

impl Started {
    /// Id of the run. Of a journal from elsewhere, which may say anything, it is still no path.
    pub fn id(&self) -> String {
        let name = Path::new(&self.run).file_name();
        name.map_or_else(|| "run".to_owned(), |it| it.to_string_lossy().into_owned())
    }
}

/// The subject of the measurement, as far as a result shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// Name of the pipeline.
    pub name: String,
    /// Its description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Planned number of cycles.
    pub cycles: u32,
    /// The engines' order within a cycle.
    pub order: Order,
    /// Seed of the order.
    pub seed: u64,
    /// The workload of every engine, except at matrix points that state their own.
    pub workload: Workload,
    /// The matrix points; empty without a matrix.
    #[serde(rename = "cells", default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<CellInfo>,
    /// The engines, as the pipeline states them.
    pub engines: Vec<EngineInfo>,
    /// The enabled models of every matrix point, in order.
    pub models: Vec<ModelInfo>,
    /// Differences up to this percentage count as none.
    pub margin_percent: f64,
    /// The rule of the comparisons; absent without comparisons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_by: Option<Family>,
    /// Bounds on the results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<Threshold>,
}

/// The comparisons of a run and their common rule. It is in the journal before the first
/// cycle: decisions made after seeing numbers prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// The rule for one comparison.
    #[serde(flatten)]
    pub rule: Rule,
    /// Number of comparisons that share its error.
    pub comparisons: u32,
}

/// The noise floor of one group of a run, as written to the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnownNoise {
    /// Matrix point; absent without a matrix.
    #[serde(rename = "cell", default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// Model id.
    pub model: String,
    /// Id of the `measure` stage.
    pub measure: String,
    /// The noise floor.
    pub floor: NoiseFloor,
}

/// A model at a matrix point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Matrix point; absent without a matrix.
    #[serde(rename = "cell", default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// Id of the model.
    pub id: String,
    /// Its size label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Revision to be fetched by engines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

impl ModelInfo {
    /// Key for lookups.
    pub fn key(&self) -> ModelKey<'_> {
        ModelKey {
            point: self.point.as_deref(),
            model: &self.id,
        }
    }
}

/// A journal read from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Journal {
    /// The first event.
    pub started: Box<Started>,
    /// The remaining events, in order.
    pub events: Vec<Event>,
}

/// Returns `true` if the run of this journal is in progress.
pub fn is_running(path: &Path) -> bool {
    let locked = |file: File| {
        matches!(
            file.try_lock_shared(),
            Err(std::fs::TryLockError::WouldBlock)
        )
    };
    prony_files::open(path).is_ok_and(locked)
}
