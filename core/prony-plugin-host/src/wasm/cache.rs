//! Compiled components, by content: sha256 of the component and of everything in wasmtime
//! that compiled code depends on.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::Path;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Compiles `bytes`, or loads the result of an earlier call. A cache that cannot be used
/// costs time, never correctness.
pub(super) fn compile(
    engine: &Engine,
    folder: &Path,
    digest: &str,
    bytes: &[u8],
) -> Result<Component, String> {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let path = folder.join(format!("{digest}-{:016x}.cwasm", hasher.finish()));
    if let Some(component) = load(engine, &path) {
        return Ok(component);
    }
    tracing::debug!("compiling a component of {} KiB", bytes.len() >> 10);
    let compiled = engine
        .precompile_component(bytes)
        .map_err(|error| format!("{error:#}"))?;
    if let Err(error) = store(folder, &path, &compiled) {
        tracing::debug!("`{}` is not cached: {error}", path.display());
    }
    // SAFETY: these bytes come from `precompile_component` of the same engine.
    unsafe { Component::deserialize(engine, compiled) }.map_err(|error| format!("{error:#}"))
}

/// Loads a compiled component if only its owner could have written it.
fn load(engine: &Engine, path: &Path) -> Option<Component> {
    let metadata = std::fs::metadata(path).ok()?;
    if !private(&metadata) {
        tracing::warn!(
            "`{}` could have been written by others and is not used",
            path.display()
        );
        return None;
    }
    // SAFETY: the file was written by `store`, in one piece, and only its owner,
    // who runs this process, can write it.
    unsafe { Component::deserialize_file(engine, path) }
        .inspect_err(|error| tracing::debug!("`{}` is compiled again: {error}", path.display()))
        .ok()
}

fn store(folder: &Path, path: &Path, compiled: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    // A temporary file is private to its owner (0600) and stays so when renamed.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(compiled)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(unix)]
#[expect(clippy::verbose_bit_mask, reason = "modes are read in octal")]
fn private(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    metadata.mode() & 0o077 == 0 && metadata.uid() == rustix::process::geteuid().as_raw()
}

#[cfg(not(unix))]
fn private(_: &std::fs::Metadata) -> bool {
    true
}
