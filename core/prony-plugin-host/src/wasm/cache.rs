//! Compiled components, by content: sha256 of the component and of everything in wasmtime
//! that compiled code depends on.

use crate::digest::sha256_of;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use wasmtime::component::Component;
use wasmtime::{Engine, OptLevel};

/// Maximum time to compile a component; one that ships takes some seconds.
const TIME: Duration = Duration::from_mins(2);
/// Additional time for each MiB of it.
const TIME_PER_MIB: Duration = Duration::from_secs(10);
/// Maximum memory to compile a component, in bytes (Linux); one that ships takes a tenth.
const MEMORY: u64 = 1 << 30;
/// Maximum number of threads that compile a component. Each takes memory of its own.
const THREADS: usize = 8;
/// Length of the digest at the end of a cached file, in bytes.
const DIGEST: usize = 64;

/// Compiles `bytes`, or loads the result of an earlier call. A cache that cannot be used
/// costs time, never correctness. The `command` calls [`compile_from_input`] in a process of
/// its own; without one it is done in this process, and without limits.
pub(super) fn compile(
    engine: &Engine,
    folder: &Path,
    command: &[String],
    bytes: &[u8],
    say: impl FnOnce(),
) -> Result<Component, String> {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let digest = sha256_of(bytes);
    let path = folder.join(format!("{digest}-{:016x}.cwasm", hasher.finish()));
    if let Some(component) = load(engine, &path) {
        return Ok(component);
    }
    tracing::debug!("compiling a component of {} KiB", bytes.len() >> 10);
    say();
    let compiled = match command {
        [] => precompile(bytes)?,
        [program, arguments @ ..] => compile_apart(program, arguments, bytes)?,
    };
    if let Err(error) = store(folder, &path, &compiled) {
        tracing::debug!("`{}` is not cached: {error}", path.display());
    }
    // SAFETY: these bytes come from `precompile_component` of the same engine.
    unsafe { Component::deserialize(engine, compiled) }.map_err(|error| format!("{error:#}"))
}

/// Guests above this size are compiled without optimisation, in bytes: they bring the runtime of a
/// language, whose compilation takes long, and a plugin is never on the clock.
const LARGE: usize = 8 << 20;

/// Maximum time to compile so many bytes.
fn time_for(bytes: usize) -> Duration {
    TIME + TIME_PER_MIB * (bytes >> 20) as u32
}

fn precompile(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let level = if bytes.len() > LARGE {
        OptLevel::None
    } else {
        OptLevel::Speed
    };
    let engine = super::engine_with(level).map_err(|error| error.to_string())?;
    let compiled = engine.precompile_component(bytes);
    compiled.map_err(|error| format!("{error:#}"))
}

/// Compiles in a process that is ended when it takes too much.
fn compile_apart(program: &str, arguments: &[String], bytes: &[u8]) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("`{program}` cannot compile it: {error}");
    let (mut input, mut output) = (
        tempfile::tempfile().map_err(failed)?,
        tempfile::tempfile().map_err(failed)?,
    );
    let mut words = tempfile::tempfile().map_err(failed)?;
    input.write_all(bytes).map_err(failed)?;
    input.rewind().map_err(failed)?;
    let clone = |file: &File| file.try_clone().map_err(failed);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut child = Command::new(program)
        .args(arguments)
        .env("RAYON_NUM_THREADS", threads.min(THREADS).to_string())
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(clone(&output)?))
        .stderr(Stdio::from(clone(&words)?))
        .spawn()
        .map_err(failed)?;
    let begin = Instant::now();
    let limit = time_for(bytes.len());
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if begin.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("compiling it takes longer than {limit:?}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let content = |file: &mut File| {
        let mut content = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut content)?;
        Ok(content)
    };
    if status.success() {
        return content(&mut output).map_err(failed);
    }
    let words = content(&mut words).map_err(failed)?;
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    if let Some(reason) = exceeded(status, limit) {
        // Less than the limit may be all that this process is allowed.
        return Err(if words.is_empty() {
            reason
        } else {
            format!("{reason}: {words}")
        });
    }
    Err(words)
}

/// The limit that ended a compilation, if one did.
fn exceeded(status: ExitStatus, time: Duration) -> Option<String> {
    let signal = Signal::from_named_raw(status.signal()?)?;
    if signal == Signal::XCPU {
        return Some(format!("compiling it takes longer than {time:?}"));
    }
    // How Rust ends where no memory is left, or how the kernel ends the process.
    let limit = MEMORY >> 20;
    [Signal::ABORT, Signal::KILL, Signal::SEGV]
        .contains(&signal)
        .then(|| {
            format!("compiling it takes more than {limit} MiB of memory, or than the system gives")
        })
}

/// Compiles the component at standard input to standard output, within limits of time and
/// memory for this process. The error is the reason.
pub fn compile_from_input() -> Result<(), String> {
    let limit = |resource, most: u64| {
        let limit = getrlimit(resource);
        let current = limit.maximum.map_or(most, |maximum| most.min(maximum));
        // Where the system does not allow it, time is still limited by the caller.
        let _ = setrlimit(
            resource,
            Rlimit {
                current: Some(current),
                ..limit
            },
        );
    };
    limit(Resource::Data, MEMORY);
    let mut bytes = Vec::new();
    let words = |error: io::Error| error.to_string();
    io::stdin().read_to_end(&mut bytes).map_err(words)?;
    limit(
        Resource::Cpu,
        time_for(bytes.len()).as_secs() * THREADS as u64,
    );
    let compiled = precompile(&bytes)?;
    io::stdout().write_all(&compiled).map_err(words)?;
    io::stdout().flush().map_err(words)
}

/// Loads a compiled component if only its owner could have written it, and it is whole.
fn load(engine: &Engine, path: &Path) -> Option<Component> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    if !private(&metadata) {
        tracing::warn!(
            "`{}` could have been written by others and is not used",
            path.display()
        );
        return None;
    }
    let mut compiled = std::fs::read(path).ok()?;
    let digest = compiled.split_off(compiled.len().checked_sub(DIGEST)?);
    if sha256_of(&compiled).as_bytes() != digest {
        tracing::debug!("`{}` is damaged, and made again", path.display());
        return None;
    }
    // SAFETY: the file was written by `store`, in one piece, and only its owner,
    // who runs this process, can write it; no bit of it has changed.
    unsafe { Component::deserialize(engine, compiled) }
        .inspect_err(|error| tracing::debug!("`{}` is compiled again: {error}", path.display()))
        .ok()
}

fn store(folder: &Path, path: &Path, compiled: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    // A temporary file is private to its owner (0600) and stays so when renamed.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(compiled)?;
    file.write_all(sha256_of(compiled).as_bytes())?;
    file.persist(path)?;
    Ok(())
}

#[expect(clippy::verbose_bit_mask, reason = "modes are read in octal")]
fn private(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    metadata.is_file()
        && metadata.mode() & 0o077 == 0
        && metadata.uid() == rustix::process::geteuid().as_raw()
}
