//! Tests of loading, by what a user would notice.

mod duration;
mod fairness;
mod fixtures;
mod hostile;
mod invalid;
mod plugins;
mod properties;
mod schema;
mod template;
mod valid;
mod values;
