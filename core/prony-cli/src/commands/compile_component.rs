//! `prony compile-component`

use std::path::PathBuf;

use crate::{Exit, Failure, Outcome};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// File of the functions that were compiled before.
    functions: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    prony_plugin_host::compile_from_input(&arguments.functions)
        .map_err(|reason| Failure::new(Exit::Plugin, reason))?;
    Ok(Exit::Ok)
}
