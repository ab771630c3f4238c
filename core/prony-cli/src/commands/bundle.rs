//! `prony bundle`, and the run folders in bundles.

use crate::arguments::{ChosenRun, Global};
use crate::plugins::LOCK;
use crate::{Exit, Failure, Outcome, plugins};
use clap::Args;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use prony_journal::{Journal, Newest, RunFolder};
use prony_plugin_host::{Entry, Form, Lock, is_path, sha256_of};
use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use tempfile::TempDir;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony bundle latest --output mine.prony.tar.gz")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) chosen: ChosenRun,
    /// File to write; the run's name with `.prony.tar.gz` here, by default.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Pack also what looks like a secret.
    #[arg(long)]
    pub(crate) with_secrets: bool,
}

/// Ending of bundles.
const ENDING: &str = ".tar.gz";
/// Folder of the plugins in a bundle.
const PLUGINS: &str = "plugins";
/// Deepest path in a bundle, in folders and the file.
const MAX_DEPTH: usize = 4;
/// Most files of a bundle.
const MAX_FILES: usize = 10_000;
/// Most bytes of all files of a bundle.
const MAX_BYTES: u64 = 64 << 30;

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let folder = arguments.chosen.folder()?;
    let failure = |path: &Path, error: &io::Error| {
        Failure::new(Exit::RunFailed, format!("`{}`: {error}", path.display()))
    };
    super::report::note_left(&folder);
    let names = list(&folder).map_err(|it| failure(folder.path(), &it))?;
    if !arguments.with_secrets {
        for name in &names {
            let path = folder.path().join(name);
            let found = telling(&path).map_err(|error| failure(&path, &error))?;
            if let Some(found) = found {
                let message = format!(
                    "`{}` holds what looks like a secret ({found}): remove it, or pack it with `--with-secrets`",
                    path.display()
                );
                return Err(Failure::new(Exit::RunFailed, message));
            }
        }
    }
    let journal = prony_journal::read(&folder.journal())?;
    let plugins = used(global, &journal)?;
    let output = match &arguments.output {
        Some(output) => output.clone(),
        None => PathBuf::from(format!("{}.prony{ENDING}", folder.id())),
    };
    // As a whole or not at all.
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(prony_files::folder(&output))
        .map_err(|error| failure(&output, &error))?;
    pack(&folder, &names, &plugins, file.as_file_mut()).map_err(|it| failure(&output, &it))?;
    file.as_file()
        .sync_all()
        .map_err(|it| failure(&output, &it))?;
    file.persist(&output)
        .map_err(|error| failure(&output, &error.error))?;
    println!("{}", output.display());
    Ok(Exit::Ok)
}

/// A plugin in a bundle: its entry in the bundle's lock file, and its content.
type Packed = (Entry, Vec<u8>);

/// The components that a run used, as far as they are installed with the same digest.
fn used(global: &Global, journal: &Journal) -> Result<Vec<Packed>, Failure> {
    let registry = plugins::registry(global)?;
    let mut packed: Vec<Packed> = Vec::new();
    for used in &journal.started.plugins {
        let Ok((entry, path)) = registry.find(used.kind, &used.name) else {
            continue;
        };
        let is_locked = !is_path(&used.name);
        let same = is_locked && entry.sha256 == used.sha256 && entry.form == Form::Wasm;
        let bytes = prony_files::read(&path, 512 << 20).ok();
        let bytes = bytes.filter(|bytes| same && sha256_of(bytes) == entry.sha256);
        let Some(bytes) = bytes else {
            eprintln!(
                "note: the {} `{}` is not packed: only sandboxed plugins that are installed as they were are",
                used.kind.name(),
                used.name
            );
            continue;
        };
        // A recipe is one of its adapter's.
        let own = entry.recipe.as_ref().map_or(&entry.name, |(own, _)| own);
        let own = format!("{own}@{}", entry.version);
        let Ok((entry, _)) = registry.find(entry.kind, &own) else {
            continue;
        };
        if packed.iter().any(|(known, _)| known.sha256 == entry.sha256) {
            continue;
        }
        let mut path = format!("{}-{}.wasm", entry.kind.name(), entry.name);
        if packed.iter().any(|(known, _)| known.path == path) {
            path = format!(
                "{}-{}-{}.wasm",
                entry.kind.name(),
                entry.name,
                entry.version
            );
        }
        let entry = Entry {
            path,
            // A path of this machine is nobody else's matter.
            source: entry
                .source
                .clone()
                .filter(|it| prony_fetch::is_address(it)),
            ..(*entry).clone()
        };
        packed.push((entry, bytes));
    }
    packed.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
    Ok(packed)
}

/// Packs files so that the same run gives the same bytes: in order, without owners and times.
fn pack(
    folder: &RunFolder,
    names: &[PathBuf],
    plugins: &[Packed],
    file: &mut File,
) -> io::Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let header = |length: u64| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(length);
        header
    };
    let top = PathBuf::from(folder.id());
    for name in names {
        let file = prony_files::open(&folder.path().join(name))?;
        let length = file.metadata()?.len();
        // It may still grow.
        archive.append_data(&mut header(length), top.join(name), file.take(length))?;
    }
    let lock = Lock {
        version: 1,
        plugins: plugins.iter().map(|(entry, _)| entry.clone()).collect(),
    };
    let mut lock = serde_json::to_vec_pretty(&lock)?;
    lock.push(b'\n');
    let files = plugins
        .iter()
        .map(|(entry, bytes)| (entry.path.as_str(), bytes.as_slice()))
        .chain([(LOCK, lock.as_slice())]);
    for (name, bytes) in files {
        let path = top.join(PLUGINS).join(name);
        archive.append_data(&mut header(bytes.len() as u64), path, bytes)?;
    }
    archive.into_inner()?.finish()?.flush()
}

/// The files of a run and its logs, by their paths in its folder, sorted. Links are left out.
fn list(folder: &RunFolder) -> io::Result<Vec<PathBuf>> {
    let files = prony_journal::files(folder)?;
    let mut names: Vec<PathBuf> = files.into_iter().map(PathBuf::from).collect();
    let logs = folder.logs();
    if std::fs::symlink_metadata(&logs).is_ok_and(|it| it.is_dir()) {
        for entry in std::fs::read_dir(&logs)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(Path::new("logs").join(entry.file_name()));
            }
        }
    }
    names.sort();
    Ok(names)
}

/// Kind of the first text of a file that looks like a secret.
fn telling(path: &Path) -> io::Result<Option<&'static str>> {
    /// Beginnings of keys, what they are of, and how many letters and digits follow at least.
    const KEYS: [(&[u8], &str, usize); 9] = [
        (b"-----BEGIN RSA PRIVATE", "a private key", 0),
        (b"-----BEGIN PRIVATE", "a private key", 0),
        (b"-----BEGIN OPENSSH PRIVATE", "a private key", 0),
        (b"AKIA", "a key of AWS", 16),
        (b"ghp_", "a token of GitHub", 36),
        (b"github_pat_", "a token of GitHub", 36),
        (b"hf_", "a token of Hugging Face", 30),
        (b"sk-", "an API key", 32),
        (b"xoxb-", "a token of Slack", 20),
    ];
    const PIECE: usize = 1 << 20;
    const OVERLAP: usize = 64;
    let mut file = prony_files::open(path)?;
    let mut text = Vec::new();
    loop {
        let read = (&mut file).take(PIECE as u64).read_to_end(&mut text)?;
        for (start, kind, length) in KEYS {
            let found = memchr::memmem::find_iter(&text, start).any(|at| {
                let rest = &text[at + start.len()..];
                let is_key = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
                // A word that ends so is no key.
                let before = at.checked_sub(1).map(|at| text[at]);
                let begins = !before.is_some_and(|byte| byte.is_ascii_alphanumeric());
                begins && rest.iter().take_while(is_key).count() >= length
            });
            if found {
                return Ok(Some(kind));
            }
        }
        if read == 0 {
            return Ok(None);
        }
        text.drain(..text.len().saturating_sub(OVERLAP));
    }
}

/// A run that was chosen: its folder, and what of it lasts only as long as this.
pub(crate) struct Opened {
    pub(crate) folder: RunFolder,
    /// The lock file of the plugins in a bundle.
    pub(crate) lock: Option<PathBuf>,
    /// The runs that could be meant as well, if none was named.
    pub(crate) newest: Option<Newest>,
    _unpacked: Option<TempDir>,
}

impl Opened {
    fn of(folder: RunFolder) -> Self {
        Self {
            folder,
            lock: None,
            newest: None,
            _unpacked: None,
        }
    }

    /// The run that is used if none is named.
    pub(crate) fn newest(newest: Newest) -> Self {
        Self {
            newest: Some(newest.clone()),
            ..Self::of(newest.folder)
        }
    }
}

/// Returns `true` if a user names a bundle.
pub(crate) fn of(name: &str) -> bool {
    name.ends_with(ENDING) && Path::new(name).is_file()
}

/// Finds the run that a user names, also in a bundle.
pub(crate) fn open(results: &Path, name: &str) -> Result<Opened, Failure> {
    let path = Path::new(name);
    if !of(name) {
        return Ok(Opened::of(prony_journal::find_run(results, name)?));
    }
    let unpacked = unpack(path).map_err(|error| {
        let message = format!("`{name}` is not a bundle that prony can read: {error}");
        Failure::new(Exit::Usage, message)
    })?;
    let path = unpacked.path().to_string_lossy().into_owned();
    let inside = prony_journal::runs(unpacked.path()).pop();
    let folder = inside.map_or_else(|| prony_journal::find_run(unpacked.path(), &path), Ok)?;
    let lock = folder.path().join(PLUGINS).join(LOCK);
    Ok(Opened {
        lock: lock.is_file().then_some(lock),
        _unpacked: Some(unpacked),
        ..Opened::of(folder)
    })
}

/// Unpacks a bundle into a folder of its own: plain files only, below it, within limits.
fn unpack(path: &Path) -> io::Result<TempDir> {
    let bad = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let target = tempfile::Builder::new().prefix("prony-bundle-").tempdir()?;
    let mut archive = tar::Archive::new(GzDecoder::new(prony_files::open(path)?));
    let (mut files, mut bytes) = (0_usize, 0_u64);
    for entry in archive.entries()? {
        let entry = entry?;
        let name = entry.path()?.into_owned();
        let shown = name.display();
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(bad(format!("`{shown}` in it is no plain file")));
        }
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        let depth = name.components().count();
        if !name.components().all(is_plain) || !(1..=MAX_DEPTH).contains(&depth) {
            return Err(bad(format!("the path `{shown}` in it is not one of a run")));
        }
        files += 1;
        bytes = bytes.saturating_add(entry.size());
        if files > MAX_FILES || bytes > MAX_BYTES {
            let most = MAX_BYTES >> 30;
            let reason = format!("more than {MAX_FILES} files or {most} GiB are in it");
            return Err(bad(reason));
        }
        let place = target.path().join(&name);
        std::fs::create_dir_all(prony_files::folder(&place))?;
        let mut file = File::create_new(&place)?;
        let length = entry.size();
        let written = io::copy(&mut entry.take(length), &mut file)?;
        if written != length {
            return Err(bad(format!("`{shown}` in it is cut off")));
        }
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(name: &str, kind: tar::EntryType) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut builder = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(if kind == tar::EntryType::Regular {
            2
        } else {
            0
        });
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        if kind == tar::EntryType::Symlink {
            header.set_link_name("/etc/passwd").expect("a name");
        }
        header.set_cksum();
        builder
            .append(&header, &b"hi"[..header.size().expect("a size") as usize])
            .expect("packed");
        builder
            .into_inner()
            .and_then(GzEncoder::finish)
            .expect("packed")
    }

    #[test]
    fn a_bundle_cannot_lead_out_of_its_folder() {
        let regular = tar::EntryType::Regular;
        let file = archive("run/journal.jsonl", regular);
        let unpacked = unpack(file.path()).expect("a bundle");
        let text = std::fs::read_to_string(unpacked.path().join("run/journal.jsonl"));
        assert_eq!(text.expect("a file"), "hi");
        for (name, kind) in [
            ("../escaped", regular),
            ("run/../../escaped", regular),
            ("/tmp/escaped", regular),
            ("a/b/c/d/e", regular),
            ("run/link", tar::EntryType::Symlink),
            ("run/link", tar::EntryType::Link),
            ("run/pipe", tar::EntryType::Fifo),
        ] {
            let file = archive(name, kind);
            let error = unpack(file.path()).expect_err(name);
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{name}: {error}");
        }
    }

    #[test]
    fn keys_are_known_by_their_beginnings() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        for (text, found) in [
            (
                format!("x hf_{}", "a".repeat(34)),
                Some("a token of Hugging Face"),
            ),
            (
                format!("{}AKIA{} ", "y ".repeat(1 << 20), "A1".repeat(8)),
                Some("a key of AWS"),
            ),
            ("task-force, mask-".repeat(40), None),
            (format!("hf_{}", "a".repeat(5)), None),
        ] {
            std::fs::write(&path, &text).expect("a file");
            assert_eq!(telling(&path).expect("read"), found);
        }
    }
}
