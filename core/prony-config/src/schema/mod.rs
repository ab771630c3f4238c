//! The JSON Schema of the file, and the checks against it.

mod check;
mod editor;
mod generate;
mod plugins;
mod problem;
mod settle;
mod texts;

pub(crate) use check::Checker;
pub(crate) use generate::{keys, strict};
pub use generate::{overlay_schema, overlay_schema_with_plugins, schema, schema_with_plugins};
pub(crate) use plugins::{ask_plugins, check_bare_plugin, check_plugins};
pub(crate) use problem::missing_message;
pub(crate) use settle::{Settled, Uneven, flatten, settle, unflattened, uses};
pub(crate) use texts::launched;
pub use texts::{as_texts, option_paths};
