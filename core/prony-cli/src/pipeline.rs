//! From a pipeline file, and what is laid over it, to a pipeline.

use crate::arguments::{Deny, Global, Layers, Source};
use crate::plugins::Locked;
use prony_config::{Inputs, Loaded, MAX_BYTES};
use prony_diagnostic::Diagnostic;
use prony_importers::IMPORTERS;
use prony_plugin_host::Registry;
use std::io::Read as _;
use std::path::Path;

/// Loads the pipeline of a command and shows what there is to say about it.
/// Nothing is returned when it is not valid, or has warnings that are denied.
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

/// Loads a pipeline that another one was turned into, under the other's name.
pub(crate) fn turned(
    name: &str,
    text: String,
    layers: &Layers,
    registry: &Registry,
) -> Result<Loaded, Vec<Diagnostic>> {
    let inputs = Inputs {
        // What is laid over the other one is in it.
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

/// What the results must say about a pipeline: its warnings, and those it allows.
pub(crate) fn notes(loaded: &Loaded) -> Vec<String> {
    let warning = |warning: &Diagnostic| format!("{}: {}", warning.code, warning.message);
    let allowed = |(code, reason): &(String, String)| format!("{code} is allowed: {reason}");
    let warnings = loaded.warnings.iter().map(warning);
    warnings.chain(loaded.allowed.iter().map(allowed)).collect()
}

/// Loads a pipeline: what it is, if it is valid, and every diagnostic.
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

/// Whether there is a warning that the user takes for an error.
pub(crate) fn is_denied(layers: &Layers, diagnostics: &[Diagnostic]) -> bool {
    layers.deny == Some(Deny::Warnings) && !diagnostics.is_empty()
}

/// The text of a file, or why there is none. Bytes first, since a file that is no
/// UTF-8 deserves to be told so; and no more of them than a pipeline may have.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
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
