//! `prony worker`

use crate::arguments::Global;
use crate::{Exit, Failure, Outcome, plugins};
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The engine plugin.
    plugin: String,
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let registry = plugins::registry(global)?;
    prony_runner::worker::serve(&registry, &arguments.plugin)
        .map_err(|error| Failure::new(Exit::RunFailed, error.to_string()))?;
    Ok(Exit::Ok)
}
