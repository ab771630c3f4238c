//! Compiled components, by content: sha256 of the component and of everything in wasmtime
//! that compiled code depends on.

use super::functions::Functions;
use crate::digest::sha256_of;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
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
/// Ending of the name of a compiled component.
const ENDING: &str = "cwasm";
/// Beginning of the names of files that are being written.
const TEMPORARY: &str = ".tmp";
/// Maximum length of all compiled components, in bytes: some thousand small ones, or thirty with
/// the runtime of a language. Each build by its author makes another.
const MAX_CACHED: u64 = 1 << 30;
/// Components that were used this long ago are marked as used again, and what a process that was
/// killed has left of its writing is removed.
const LONG_AGO: Duration = Duration::from_hours(1);

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
    let path = folder.join(format!("{digest}-{:016x}.{ENDING}", hasher.finish()));
    if let Some(component) = load(engine, &path)? {
        mark_used(&path);
        return Ok(component);
    }
    tracing::debug!("compiling a component of {} KiB", bytes.len() >> 10);
    say();
    let functions = folder.join(FUNCTIONS);
    let compiled = match command {
        [] => precompile(bytes, &functions)?,
        // If it is what was kept that takes too much, the next try is without.
        [program, arguments @ ..] => compile_apart(program, arguments, &functions, bytes)
            .inspect_err(|_| drop(std::fs::remove_file(&functions)))?,
    };
    if let Err(error) = store(&path, &compiled) {
        tracing::debug!("`{}` is not cached: {error}", path.display());
    }
    prune(folder, MAX_CACHED);
    // SAFETY: these bytes come from `precompile_component` of the same engine.
    unsafe { Component::deserialize(engine, compiled) }.map_err(|error| super::words(&error))
}

/// Guests above this size are compiled without optimisation, in bytes: they bring the runtime of a
/// language, whose compilation takes long, and a plugin is never on the clock.
const LARGE: usize = 8 << 20;

/// Maximum time to compile so many bytes.
fn time_for(bytes: usize) -> Duration {
    TIME + TIME_PER_MIB * (bytes >> 20) as u32
}

/// Name of the file that keeps the functions of large guests.
const FUNCTIONS: &str = "functions.bin";

/// Compiles a component; the functions of a large one are kept in a file, and taken from it.
fn precompile(bytes: &[u8], file: &Path) -> Result<Vec<u8>, String> {
    let words = |error: wasmtime::Error| format!("{error:#}");
    let mut config = super::config();
    if bytes.len() <= LARGE {
        let engine = Engine::new(&config).map_err(words)?;
        return engine.precompile_component(bytes).map_err(words);
    }
    config.cranelift_opt_level(OptLevel::None);
    let functions = Functions::read(&read(file).unwrap_or_default());
    let functions = Arc::new(functions);
    config
        .enable_incremental_compilation(functions.clone())
        .map_err(words)?;
    let engine = Engine::new(&config).map_err(words)?;
    let compiled = engine.precompile_component(bytes).map_err(words)?;
    if let Some(functions) = functions.kept_and_new()
        && let Err(error) = store(file, &functions)
    {
        tracing::debug!("`{}` is not written: {error}", file.display());
    }
    Ok(compiled)
}

/// Compiles in a process that is ended when it takes too much.
fn compile_apart(
    program: &str,
    arguments: &[String],
    functions: &Path,
    bytes: &[u8],
) -> Result<Vec<u8>, String> {
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
        .arg(functions)
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
/// memory for this process. `functions` is the file of functions that were compiled before. The
/// error is the reason.
pub fn compile_from_input(functions: &Path) -> Result<(), String> {
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
    let compiled = precompile(&bytes, functions)?;
    io::stdout().write_all(&compiled).map_err(words)?;
    io::stdout().flush().map_err(words)
}

/// Loads a compiled component if only its owner could have written it, and it is whole. The error is
/// that there is no memory for it: it would be the same after a compilation.
fn load(engine: &Engine, path: &Path) -> Result<Option<Component>, String> {
    let Some(compiled) = read(path) else {
        return Ok(None);
    };
    // SAFETY: the file was written by `store`, in one piece, and only its owner,
    // who runs this process, can write it; no bit of it has changed.
    match unsafe { Component::deserialize(engine, compiled) } {
        Ok(component) => Ok(Some(component)),
        Err(error) if super::wants_memory(&error) => Err(super::words(&error)),
        Err(error) => {
            tracing::debug!("`{}` is compiled again: {error}", path.display());
            Ok(None)
        }
    }
}

/// Reads a file if only its owner could have written it, and it is whole.
fn read(path: &Path) -> Option<Vec<u8>> {
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
    Some(compiled)
}

fn store(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = prony_files::folder(path);
    std::fs::create_dir_all(&folder)?;
    // A temporary file is private to its owner (0600) and stays so when renamed.
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempfile_in(&folder)?;
    file.write_all(content)?;
    file.write_all(sha256_of(content).as_bytes())?;
    file.persist(path)?;
    Ok(())
}

/// Makes a component one of those that are kept longest.
fn mark_used(path: &Path) {
    let now = SystemTime::now();
    let used = path.metadata().and_then(|it| it.modified());
    if used.is_ok_and(|used| now.duration_since(used).is_ok_and(|ago| ago > LONG_AGO)) {
        let _ = File::open(path).and_then(|file| file.set_modified(now));
    }
}

/// Removes the least recently used components until at most `most` bytes are left. One that another
/// process is about to load is compiled again there.
fn prune(folder: &Path, most: u64) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut components: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.path();
            let metadata = std::fs::symlink_metadata(&path).ok()?;
            let used = metadata.modified().ok()?;
            let is_left = entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(TEMPORARY.as_bytes());
            if is_left && used.elapsed().is_ok_and(|ago| ago > LONG_AGO) {
                let _ = std::fs::remove_file(&path);
            }
            let is_component = path.extension().is_some_and(|it| it == ENDING);
            is_component.then_some((used, metadata.len(), path))
        })
        .collect();
    components.sort_unstable_by(|a, b| b.cmp(a));
    let mut length = 0_u64;
    for (_, of_one, path) in components {
        length = length.saturating_add(of_one);
        if length > most {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[expect(clippy::verbose_bit_mask, reason = "modes are read in octal")]
fn private(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    metadata.is_file()
        && metadata.mode() & 0o077 == 0
        && metadata.uid() == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    /// A large guest with this byte in its data.
    fn large(byte: char) -> Vec<u8> {
        let data: String = std::iter::repeat_n(byte, LARGE + 1).collect();
        let functions: Vec<String> = (0..200)
            .map(|it| format!("(func (result i32) (i32.const {it}))"))
            .collect();
        let functions = functions.concat();
        let text = format!(
            "(component (core module (memory 200) (data (i32.const 0) \"{data}\") {functions}))"
        );
        wat::parse_str(text).expect("a component")
    }

    #[test]
    fn functions_of_large_guests_are_shared_and_change_nothing() -> Result<(), Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("new").join(FUNCTIONS);
        precompile(&large('a'), &file)?;
        let functions = std::fs::read(&file)?;
        let shared = precompile(&large('b'), &file)?;
        // A few have another key, by what was compiled on the same thread before them.
        assert!(std::fs::read(&file)?.len() < functions.len() * 3 / 2);
        let alone = precompile(&large('b'), &folder.path().join("none"))?;
        assert!(shared == alone);

        std::fs::write(&file, &functions[..functions.len() / 2])?;
        assert!(precompile(&large('b'), &file)? == alone);
        assert!(read(&file).is_some());
        Ok(())
    }

    #[test]
    fn the_components_that_were_used_last_are_kept() -> Result<(), Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        let long_ago = SystemTime::now() - Duration::from_hours(72);
        for (name, hours) in [
            ("a.cwasm", 3),
            ("b.cwasm", 1),
            ("c.cwasm", 2),
            ("d.bin", 0),
            (".tmp", 0),
        ] {
            std::fs::write(path(name), [0; 10])?;
            File::open(path(name))?.set_modified(long_ago + Duration::from_hours(hours))?;
        }
        mark_used(&path("b.cwasm"));
        prune(folder.path(), 20);
        let left = ["a.cwasm", "b.cwasm", "c.cwasm", "d.bin"].map(|it| path(it).exists());
        assert_eq!(left, [true, true, false, true]);
        assert!(!path(".tmp").exists());
        mark_used(&path("nothing"));
        prune(&path("nothing"), 20);
        Ok(())
    }
}
