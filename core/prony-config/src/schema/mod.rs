//! The JSON Schema of the file, and the checks against it.

mod check;
mod generate;
mod plugins;
mod problem;
mod settle;

pub(crate) use check::Checker;
pub(crate) use generate::{keys, strict};
pub use generate::{schema, schema_with_plugins};
pub(crate) use plugins::{ask_plugins, check_bare_plugin, check_plugins};
pub(crate) use problem::missing_message;
pub(crate) use settle::{Settled, Uneven, flatten, settle, unflattened, uses};
