//! From a pipeline file to a pipeline, with its diagnostics.

use crate::arguments::Global;
use crate::plugins::Locked;
use prony_config::Pipeline;
use prony_diagnostic::Diagnostic;
use prony_plugin_host::Registry;
use std::path::Path;

/// Loads a pipeline file: the pipeline, if it is valid, and every diagnostic.
pub(crate) fn load(file: &Path, registry: &Registry) -> (Option<Pipeline>, Vec<Diagnostic>) {
    let name = file.display().to_string();
    // Bytes, since a file that is no UTF-8 deserves to be told so.
    let text = match std::fs::read(file).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => {
            let reason = format!(
                "it is not UTF-8 (byte {})",
                error.utf8_error().valid_up_to()
            );
            return (None, vec![prony_config::unreadable(&name, reason)]);
        }
        Err(error) => return (None, vec![prony_config::unreadable(&name, error)]),
    };
    match prony_config::load(&name, &text, &Locked(registry)) {
        Ok((pipeline, warnings)) => (Some(pipeline), warnings),
        Err(diagnostics) => (None, diagnostics),
    }
}

/// Prints diagnostics for people.
pub(crate) fn show(global: &Global, diagnostics: &[Diagnostic]) {
    let shown: Vec<Diagnostic> = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.is_error() || !global.quiet)
        .cloned()
        .collect();
    if !shown.is_empty() {
        eprintln!("{}", prony_diagnostic::human(&shown, global.color()));
    }
}
