//! A plugin's project, its templates and the toolchains that build it.

mod project;
mod sdk;
mod template;
mod toolchain;

pub use project::{Build, FILE, Kind, Lang, Limits, Problem, Project, is_name};
pub use sdk::{FOLDER as SDK_FOLDER, File, WIT};
pub use template::{New, files};
pub use toolchain::{Error, Tool, Toolchains};
