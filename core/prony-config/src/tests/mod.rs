//! Tests of loading, by what users see.

#![allow(
    clippy::disallowed_methods,
    reason = "tests read files and watch the clock"
)]

mod against_itself;
mod digits;
mod duration;
mod edges;
mod explain;
mod fairness;
mod fixtures;
mod hostile;
mod inputs;
mod invalid;
mod matrix;
mod merge;
mod plugins;
mod properties;
mod schema;
mod secret_names;
mod shipped;
mod template;
mod valid;
mod values;
