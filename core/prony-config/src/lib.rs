//! Loads YAML text into a checked [`Pipeline`].
//!
//! Loading goes one way: text to a tree that records the place of every value, then
//! templates, JSON Schema, types, and checks that a schema cannot express. Every problem
//! becomes a diagnostic with a place, and one run reports all of them.
//!
//! Nothing here does I/O or reads a clock or the environment.

mod against_itself;
mod blanks;
mod checkup;
pub mod codes;
mod condition;
mod dataset;
mod duration;
mod edits;
mod fairness;
mod file;
pub mod foreign;
mod inputs;
mod load;
mod meaning;
mod merge;
mod named;
mod ordered;
mod pipeline;
mod plugins;
mod refused;
mod resolve;
mod resumable;
mod schedule;
mod schema;
mod secrets;
mod stage;
pub mod template;
mod text;
mod threshold;
mod tree;
mod wording;
mod yaml;

pub use against_itself::{AgainstItself, TwoBuilds};
pub use checkup::{
    Ask, CHECKUP_REQUESTS, Question, ask, checkup, context_of, setting, stop_word, too_many,
};
pub use codes::{CODES, Code, explain};
pub use condition::Condition;
pub use dataset::{Dataset, DatasetFormat, Interval};
pub use duration::Duration;
pub use fairness::options_of;
pub use file::Scalar;
pub use inputs::{Inputs, Unreadable};
pub use load::{Loaded, check_all, load, load_all, unreadable};
pub use meaning::is_of_hub;
pub use named::{NamedFile, Purpose};
pub use ordered::Ordered;
pub use pipeline::{
    Api, Bounds, CarryOver, Compare, Control, Cycles, Engine, HistoryRole, Length, Lognormal,
    MAX_COMPARED_CYCLES, MatrixPoint, Model, Normal, OPEN_CYCLES, Order, Pipeline, Prefix,
    Reporter, Schedule, Stop, Synthetic, Workload,
};
pub use plugins::{OptionProblem, PluginKind, Plugins};
pub use resumable::{Changed, changed};
pub use schema::{
    as_texts, option_paths, overlay_schema, overlay_schema_with_plugins, schema,
    schema_with_plugins,
};
pub use secrets::Secrets;
pub use stage::{
    Arrival, Bursts, Cache, Load, Measure, OnFailure, Ramp, Rate, Replay, Report, Segment, Setup,
    Step, Unload, Warmup, Work,
};
pub use threshold::Threshold;
pub use wording::{nearest, similar};
pub use yaml::MAX_BYTES;

#[cfg(test)]
mod tests;
