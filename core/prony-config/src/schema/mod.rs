//! The JSON Schema of the file, and what a document says that it does not allow.

mod check;
mod generate;
mod plugins;
mod problem;

pub(crate) use check::Checker;
pub use generate::schema;
pub(crate) use plugins::{check_bare_plugin, check_plugins};
