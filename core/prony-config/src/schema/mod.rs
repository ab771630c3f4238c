//! The JSON Schema of the file, and the checks against it.

mod check;
mod generate;
mod plugins;
mod problem;

pub(crate) use check::Checker;
pub(crate) use generate::{keys, strict_schema};
pub use generate::{schema, schema_with_plugins};
pub(crate) use plugins::{check_bare_plugin, check_plugins};
pub(crate) use problem::missing_message;
