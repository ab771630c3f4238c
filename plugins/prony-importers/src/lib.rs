//! Configurations of other tools: told from pipelines by their own keys, and made into pipelines
//! where there is an importer.
//!
//! A tool is a row of [`TOOLS`], an importer one module and a row of [`IMPORTERS`]. The command
//! line takes its names from there.

mod mlx_serving;
mod tools;

use prony_config::foreign::Importer;
pub use tools::TOOLS;

/// Every importer, as on the command line.
pub const IMPORTERS: &[Importer] = &[mlx_serving::IMPORTER];
