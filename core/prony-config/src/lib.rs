//! From YAML text to a checked [`Pipeline`].
//!
//! The way is one way: text to a tree that knows where everything stands,
//! templates checked, JSON Schema, types, and what a schema can not say. Every
//! problem becomes a diagnostic with a place, and one run reports all of them.
//!
//! Nothing here does I/O or reads a clock or the environment.

mod codes;
mod duration;
mod file;
mod load;
mod ordered;
mod pipeline;
mod plugins;
mod resolve;
mod schema;
mod stage;
pub mod template;
mod tree;
mod wording;
mod yaml;

pub use codes::{CODES, Code, explain};
pub use duration::Duration;
pub use load::{load, unreadable};
pub use ordered::Ordered;
pub use pipeline::{Api, Compare, Engine, Model, Order, Pipeline, Reporter, Schedule, Workload};
pub use plugins::{PluginKind, Plugins};
pub use schema::schema;
pub use stage::{Arrival, Load, Measure, OnFailure, Report, Setup, Stages, Step, Unload, Warmup};

#[cfg(test)]
mod tests;
