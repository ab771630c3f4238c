//! `prony compile-component`

use crate::{Exit, Failure, Outcome};

pub(crate) fn run() -> Outcome {
    prony_plugin_host::compile_from_input().map_err(|reason| Failure::new(Exit::Plugin, reason))?;
    Ok(Exit::Ok)
}
