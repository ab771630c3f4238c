//! The journal: what happened, one event a line, appended and never changed.
//!
//! A line is handed to the system in one write before the run goes on, so a run
//! that dies loses at most the request in flight.

use crate::{Error, Result};
use prony_metrics::record::Record;
use prony_metrics::summary::Visit;
use prony_plan::Plan;
use prony_plugin_sdk::result::{EngineInfo, Environment, Outcome, PluginInfo, Workload};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Value of [`Started::schema`].
pub(crate) const SCHEMA: &str = "prony-journal/1";

/// Something that happened. All times are nanoseconds since the run's origin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// First line.
    Started(Box<Started>),
    /// A stage begins. `model`, `engine` and `cycle` are absent for `setup` and
    /// `report`.
    Stage {
        /// Which stage.
        stage: String,
        /// Model id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// Engine name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        engine: Option<String>,
        /// Cycle, from 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cycle: Option<u32>,
        /// When.
        at_ns: u64,
    },
    /// A step of the user's begins, or is skipped since what it creates exists.
    Step {
        /// Its name.
        name: String,
        /// Whether it was skipped.
        skipped: bool,
    },
    /// A request ended.
    Request(Box<Record>),
    /// A visit ended.
    Visit(Visit),
    /// A stage failed. `model` is absent when it is not about one model.
    Failed {
        /// Model id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// Engine name; empty when it is not about one.
        engine: String,
        /// Cycle, from 1; 0 outside cycles.
        cycle: u32,
        /// Which stage.
        stage: String,
        /// What happened.
        message: String,
    },
    /// The rest of a model is left out, on one engine or on all.
    Skipped {
        /// Model id.
        model: String,
        /// Engine name; all engines when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        engine: Option<String>,
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
    /// `interleaved` or `sequential`.
    pub order: String,
    /// Seed of the order.
    pub seed: u64,
    /// What was asked of every engine.
    pub workload: Workload,
    /// The engines.
    pub engines: Vec<EngineInfo>,
    /// Enabled models: id and size label.
    pub models: Vec<(String, Option<String>)>,
    /// Differences up to this count as none.
    pub margin_percent: f64,
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Creates it; it must not exist.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::options()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(Error::io(path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Appends an event.
    pub fn append(&mut self, event: &Event) -> Result<()> {
        let mut line = serde_json::to_vec(event).map_err(|error| Error::Journal {
            path: self.path.clone(),
            line: 0,
            reason: error.to_string(),
        })?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(Error::io(&self.path))
    }

    /// Waits until everything is on the disk. Not during a measurement.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io(&self.path))
    }
}

/// Reads a journal. A last line without its end, as a killed run leaves it, is
/// passed over.
pub fn read(path: &Path) -> Result<Vec<Event>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let complete = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let mut events = Vec::new();
    for (line, json) in (1..).zip(complete.lines()) {
        let damaged = |reason: String| Error::Journal {
            path: path.to_owned(),
            line,
            reason,
        };
        let event = serde_json::from_str(json).map_err(|error| damaged(error.to_string()))?;
        if line == 1 && !matches!(&event, Event::Started(started) if started.schema == SCHEMA) {
            return Err(damaged(format!(
                "a journal starts with an event `started` of schema `{SCHEMA}`"
            )));
        }
        events.push(event);
    }
    if events.is_empty() {
        return Err(Error::Journal {
            path: path.to_owned(),
            line: 1,
            reason: "the journal is empty".to_owned(),
        });
    }
    Ok(events)
}
