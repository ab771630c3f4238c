//! Configurations of other tools, made into pipelines.
//!
//! A tool is one module and one row of [`IMPORTERS`]. The command line takes its names
//! from there, and a pipeline that is such a file is told so by its key.

mod mlx_serving;

use prony_config::foreign::Importer;

/// Every importer, as on the command line.
pub const IMPORTERS: &[Importer] = &[mlx_serving::IMPORTER];
