//! The place that a plugin comes from: read once by `add`, and again by `update`.

use super::build;
use crate::arguments::Global;
use crate::{Exit, Failure, plugins};
use clap::{Args, ValueEnum};
use prony_author::Project;
use prony_fetch::Signature;
use prony_plugin_host::{
    Addition, AskedLimits, Entry, Grant, Lock, Origin, Prepared, Registry, prepare, read_plugin,
};
use std::path::{Path, PathBuf};

/// Most bytes of a signature or a key.
const MAX_TEXT: u64 = 16 << 10;

/// Options about who has signed a plugin.
#[derive(Debug, Args)]
pub(super) struct Signing {
    /// Public key of minisign that must have signed the file, or a file with one. Defaults to
    /// `minisign.pub` beside the file, or else to one that the lock has.
    #[arg(long, value_name = "KEY|FILE")]
    signer: Option<String>,
    /// Take a plugin that another one has signed, or nobody, than the one that the lock names.
    #[arg(long)]
    accept_new_signer: bool,
    /// Refuse a plugin without a signature that could be checked.
    #[arg(long)]
    require_signed: bool,
}

/// A permission, as an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum GrantOf {
    /// Run as native code, outside the sandbox.
    Native,
}

/// A plugin as its source has it now.
struct Found {
    /// Its file or address, for messages.
    file: PathBuf,
    bytes: Vec<u8>,
    /// The project that it was built of.
    project: Option<Project>,
    resolved: Option<String>,
    signature: Option<String>,
    key: Option<String>,
}

/// Reads a source and checks what it gives, against what the lock file has of it, too.
pub(super) fn prepared(
    global: &Global,
    source: &str,
    lock: &Path,
    grants: &[Grant],
    signing: &Signing,
) -> Result<Prepared, Failure> {
    let found = find(global, source)?;
    let locked = entries(lock)?;
    let signer = signer(global, &found, signing, &locked)?;
    let asked = found.project.as_ref().map(plugins::asked_limits);
    let origin = Origin {
        limits: asked.filter(|asked| *asked != AskedLimits::default()),
        dev: found.project.is_some(),
        source: Some(seen_from(lock, source)),
        resolved: found.resolved,
        signer,
    };
    let stated = |entry: &Entry| match &found.project {
        Some(project) => described_as_stated(entry, project),
        None => Ok(()),
    };
    let addition = Addition {
        file: &found.file,
        bytes: found.bytes,
        grants,
        origin,
        is_right: &stated,
    };
    let prepared = prepare(addition, &plugins::setup(global))?;
    for old in locked.iter().filter(|old| old.is_like(&prepared.entry)) {
        against(old, &prepared.entry, signing)?;
    }
    Ok(prepared)
}

/// The entries of a lock file; none if there is no such file.
pub(super) fn entries(lock: &Path) -> Result<Vec<Entry>, Failure> {
    if lock.exists() {
        Ok(Lock::read(lock)?.plugins)
    } else {
        Ok(Vec::new())
    }
}

fn find(global: &Global, source: &str) -> Result<Found, Failure> {
    if prony_fetch::is_address(source) {
        if !global.quiet {
            eprintln!("fetching {source}");
        }
        let fetched = prony_fetch::fetch(source)
            .map_err(|error| Failure::new(Exit::Plugin, format!("[X0017] {error}")))?;
        return Ok(Found {
            file: source.into(),
            bytes: fetched.bytes,
            project: None,
            resolved: fetched.resolved,
            signature: fetched.signature,
            key: fetched.key,
        });
    }
    let path = PathBuf::from(source);
    let project = if path.is_dir() {
        Some(build::read(&path)?)
    } else {
        None
    };
    let file = match &project {
        Some(project) => build::built(global, project)?,
        None => path,
    };
    let bytes = read_plugin(&file)?;
    // A build that was made a moment ago has no signature.
    let beside = |path: PathBuf| match project {
        None => prony_files::read_text(&path, MAX_TEXT).ok(),
        Some(_) => None,
    };
    let signature = beside(PathBuf::from(format!("{}.minisig", file.display())));
    let key = beside(prony_files::folder(&file).join("minisign.pub"));
    Ok(Found {
        key: key.filter(|_| signature.is_some()),
        file,
        bytes,
        project,
        resolved: None,
        signature,
    })
}

/// Finds out who has signed a file; `None` if nobody has, or nobody knows.
fn signer(
    global: &Global,
    found: &Found,
    signing: &Signing,
    locked: &[Entry],
) -> Result<Option<String>, Failure> {
    let file = found.file.display();
    let Some(text) = &found.signature else {
        let asked = signing.signer.is_some() || signing.require_signed;
        if asked {
            return Err(unsigned(format!(
                "`{file}` is not signed: there is no `{file}.minisig`, which `minisign -S -m FILE` makes"
            )));
        }
        return Ok(None);
    };
    let signature = Signature::read(text)
        .map_err(|reason| unsigned(format!("the signature of `{file}`: {reason}")))?;
    let given = match &signing.signer {
        Some(given) => Some(("--signer", key_of(given)?)),
        None => match &found.key {
            Some(text) => {
                let key = prony_fetch::key(text);
                let key = key.map_err(|reason| {
                    unsigned(format!("`minisign.pub` beside `{file}`: {reason}"))
                })?;
                Some(("`minisign.pub` beside it", key))
            }
            None => None,
        },
    };
    if let Some((what, key)) = given {
        if signature.is_by(&key, &found.bytes) {
            return Ok(Some(key));
        }
        return Err(unsigned(format!(
            "`{file}` is not as the owner of the key of {what} has signed it: the file or the signature was changed, or another key made it"
        )));
    }
    let mut keys = locked.iter().filter_map(|entry| entry.signer.as_ref());
    let known = keys.find(|key| signature.is_by(key, &found.bytes));
    if known.is_none() {
        let words =
            format!("`{file}` has a signature, and no key to check it with: `--signer` names one");
        if signing.require_signed {
            return Err(unsigned(words));
        }
        if !global.quiet {
            eprintln!("note: {words}");
        }
    }
    Ok(known.cloned())
}

fn unsigned(message: String) -> Failure {
    Failure::new(Exit::Plugin, format!("[X0018] {message}"))
}

/// The key that an option gives, or a file that it names.
fn key_of(given: &str) -> Result<String, Failure> {
    let text = prony_files::read_text(Path::new(given), MAX_TEXT);
    let text = text.unwrap_or_else(|_| given.to_owned());
    prony_fetch::key(&text)
        .map_err(|reason| Failure::new(Exit::Usage, format!("`--signer {given}`: {reason}")))
}

/// Checks a plugin against the one of the same name in the lock.
fn against(old: &Entry, new: &Entry, signing: &Signing) -> Result<(), Failure> {
    if let Some(signer) = &old.signer
        && new.signer.as_ref() != Some(signer)
        && !signing.accept_new_signer
    {
        let by = match &new.signer {
            Some(key) => format!("signed by {key}"),
            None => "not signed by a key that is known".to_owned(),
        };
        return Err(unsigned(format!(
            "`{}` {} is {by}, and the lock says that {signer} signs it: if its author says so, too, add `--accept-new-signer`",
            new.name, new.version
        )));
    }
    let is_address = new.source.as_deref().is_some_and(prony_fetch::is_address);
    if is_address
        && old.source == new.source
        && old.version == new.version
        && old.sha256 != new.sha256
    {
        return Err(Failure::new(
            Exit::Plugin,
            format!(
                "[X0017] {} now has another file as `{}` {} (sha256 {}, locked {}): an author gives a change a new version; if you trust it, `prony plugin remove {}@{}` and add it again",
                new.source.as_deref().unwrap_or_default(),
                new.name,
                new.version,
                new.sha256,
                old.sha256,
                old.name,
                old.version
            ),
        ));
    }
    Ok(())
}

/// Checks that the plugin says of itself what its `plugin.toml` says. The error is the reason.
fn described_as_stated(entry: &Entry, project: &Project) -> Result<(), String> {
    let kind = match project.kind {
        prony_author::Kind::Reporter => "reporter",
        _ => "engine",
    };
    let stated = [
        ("name", entry.name.as_str(), project.name.as_str()),
        ("version", &entry.version, &project.version),
        ("kind", entry.kind.name(), kind),
    ];
    for (what, found, stated) in stated {
        if found != stated {
            return Err(format!(
                "its {what} is `{found}`, and `plugin.toml` says `{stated}`: make them the same"
            ));
        }
    }
    Ok(())
}

/// A source as the lock has it: a path relative to the lock's folder, so that it is the same on
/// another machine.
fn seen_from(lock: &Path, source: &str) -> String {
    if prony_fetch::is_address(source) {
        return source.to_owned();
    }
    let absolute = |path: &Path| {
        let path = path.canonicalize().or_else(|_| std::path::absolute(path));
        path.unwrap_or_default()
    };
    let (folder, path) = (
        absolute(&prony_files::folder(lock)),
        absolute(Path::new(source)),
    );
    let common = folder
        .components()
        .zip(path.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = folder.components().skip(common).map(|_| "..");
    let mut relative: PathBuf = up.collect();
    relative.extend(path.components().skip(common));
    if relative.as_os_str().is_empty() {
        relative.push(".");
    }
    relative.to_string_lossy().into_owned()
}

/// The lock file that a command changes: the one given, the user's own, or that of the working
/// folder.
pub(super) fn own_lock(global: &Global, of_user: bool) -> Result<PathBuf, Failure> {
    let usage = |message: &str| Failure::new(Exit::Usage, message);
    match (global.locks().as_slice(), of_user) {
        ([], false) => Ok(PathBuf::from(plugins::LOCK)),
        ([], true) => plugins::of_user().ok_or_else(|| {
            usage("there is no home for a lock of your own: give one with `--lock`")
        }),
        ([lock], false) => Ok(lock.clone()),
        (_, true) => Err(usage("give either `--user` or `--lock`")),
        _ => Err(usage("give one `--lock` to change")),
    }
}

/// Compiles what was added, so that no run has to, and tests the lock file.
pub(super) fn compile(global: &Global, lock: &Path, entry: &Entry) -> Result<(), Failure> {
    let registry = Registry::open(&[lock.to_owned()], plugins::setup(global))?;
    let name = format!("{}@{}", entry.name, entry.version);
    registry.load(entry.kind, &name)?;
    Ok(())
}

/// Beginning of a digest, for people.
pub(super) fn short(sha256: &str) -> String {
    sha256.chars().take(12).collect()
}
