//! Loads a pipeline from its file and overlays.

use crate::arguments::{Deny, Global, Layers, Source};
use crate::plugins::Locked;
use prony_config::{Inputs, Loaded, MAX_BYTES};
use prony_diagnostic::Diagnostic;
use prony_importers::IMPORTERS;
use prony_plugin_host::Registry;
use prony_runner::bounded;
use std::path::Path;

/// Loads the pipeline of a command and shows its diagnostics. `None` if it is invalid, or
/// has warnings that are denied.
pub(crate) fn open(global: &Global, source: &Source, registry: &Registry) -> Option<Loaded> {
    let (loaded, diagnostics) = load(&source.file, &source.layers, registry);
    show(global, &diagnostics);
    let denied = is_denied(&source.layers, &diagnostics);
    if denied {
        eprintln!("error: there are warnings, and `--deny warnings` takes them for errors");
    }
    loaded.filter(|_| !denied).map(|loaded| Loaded {
        warnings: diagnostics,
        ..loaded
    })
}

/// Loads a pipeline derived from another, under the other's name.
pub(crate) fn turned(
    name: &str,
    text: String,
    layers: &Layers,
    registry: &Registry,
) -> Result<Loaded, Vec<Diagnostic>> {
    let inputs = Inputs {
        // The other pipeline's overlays are already merged into it.
        files: vec![(name.to_owned(), text)],
        set: &[],
        var: &[],
        read: &|_| Err("there is nothing to extend".to_owned()),
        env: &|name| std::env::var(name).ok(),
        plugins: &Locked(registry),
        importers: IMPORTERS,
    };
    let loaded = prony_config::load_all(&inputs)?;
    if is_denied(layers, &loaded.warnings) {
        return Err(loaded.warnings);
    }
    Ok(loaded)
}

/// Notes about a pipeline for the results: its warnings, and those it allows.
pub(crate) fn notes(loaded: &Loaded) -> Vec<String> {
    let warning = |warning: &Diagnostic| format!("{}: {}", warning.code, warning.message);
    let allowed = |(code, reason): &(String, String)| format!("{code} is allowed: {reason}");
    let warnings = loaded.warnings.iter().map(warning);
    warnings.chain(loaded.allowed.iter().map(allowed)).collect()
}

/// Loads a pipeline: the pipeline, if it is valid, and every diagnostic.
pub(crate) fn load(
    file: &Path,
    layers: &Layers,
    registry: &Registry,
) -> (Option<Loaded>, Vec<Diagnostic>) {
    let mut files = Vec::new();
    let mut unreadable = Vec::new();
    for path in std::iter::once(file).chain(layers.overlays.iter().map(AsRef::as_ref)) {
        let name = path.display().to_string();
        match read(path) {
            Ok(text) => files.push((name, text)),
            Err(reason) => unreadable.push(prony_config::unreadable(&name, reason)),
        }
    }
    if !unreadable.is_empty() {
        return (None, unreadable);
    }
    let inputs = Inputs {
        files,
        set: &layers.set,
        var: &layers.var,
        read: &|name| read(Path::new(name)),
        env: &|name| std::env::var(name).ok(),
        plugins: &Locked(registry),
        importers: IMPORTERS,
    };
    match prony_config::load_all(&inputs) {
        Ok(mut loaded) => {
            let warnings = std::mem::take(&mut loaded.warnings);
            (Some(loaded), warnings)
        }
        Err(diagnostics) => (None, diagnostics),
    }
}

/// Returns `true` if there is a warning that the user denies.
pub(crate) fn is_denied(layers: &Layers, diagnostics: &[Diagnostic]) -> bool {
    layers.deny == Some(Deny::Warnings) && !diagnostics.is_empty()
}

/// The text of a file, or the reason why it cannot be read. Reads bytes first, to report
/// a file that is not UTF-8 as such; and no more than a pipeline may have.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    let bytes = bounded::read(path, MAX_BYTES as u64).map_err(|error| error.to_string())?;
    let bytes = bytes.ok_or_else(|| format!("it is larger than {MAX_BYTES} bytes"))?;
    String::from_utf8(bytes).map_err(|error| {
        format!(
            "it is not UTF-8 (byte {})",
            error.utf8_error().valid_up_to()
        )
    })
}

/// Prints diagnostics for people.
pub(crate) fn show(global: &Global, diagnostics: &[Diagnostic]) {
    let shown: Vec<Diagnostic> = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.is_error() || !global.quiet)
        .cloned()
        .collect();
    if shown.is_empty() {
        return;
    }
    eprintln!("{}", prony_diagnostic::human(&shown, global.color()));
    if let Some(code) = shown.iter().find(|d| d.is_error()).map(|d| d.code) {
        eprintln!("`prony explain {code}` says more");
    }
}
