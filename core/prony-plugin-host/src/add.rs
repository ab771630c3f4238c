//! Checks plugins, and puts them into lock files or takes them out.

use crate::digest::{sha256, sha256_of};
use crate::error::{Error, Result};
use crate::lock::{self, AskedLimits, Entry, Form, Grant, Lock};
use crate::native::NativePlugin;
use crate::registry::{Setup, finished, read};
use crate::trust::private_copy;
use crate::{Plugin as _, contract};
use prony_contract::Manifest;
use std::path::{Component, Path};

/// Facts for the lock that are not in the plugin.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Limits that it asks for.
    pub limits: Option<AskedLimits>,
    /// `true` for a build of a folder that somebody works on.
    pub dev: bool,
    /// Place that it comes from, as [`Entry::source`] has it.
    pub source: Option<String>,
    /// Digest of the manifest that a tag named.
    pub resolved: Option<String>,
    /// Public key of who signed it.
    pub signer: Option<String>,
}

/// A plugin to be locked.
pub struct Addition<'a> {
    /// Its file, for messages.
    pub file: &'a Path,
    /// Content of the file.
    pub bytes: Vec<u8>,
    /// Permissions that the user gives.
    pub grants: &'a [Grant],
    /// Facts for the lock that are not in the file.
    pub origin: Origin,
    /// Says why it is not to be locked, once it has described itself.
    pub is_right: &'a dyn Fn(&Entry) -> std::result::Result<(), String>,
}

/// A plugin that was checked and is not locked yet.
pub struct Prepared {
    /// Its entry.
    pub entry: Entry,
    /// Version whose place it takes beside its own, where other versions stay.
    pub replaces: Option<String>,
    bytes: Vec<u8>,
}

impl Prepared {
    /// Size of the file, in bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Names of everything that a component imports.
    pub fn imports(&self) -> Vec<String> {
        crate::imports(&self.bytes)
    }
}

/// Checks the plugin in `file`, copies it beside the lock if it is not there, and locks
/// it. A core WASM module becomes a component. A grant becomes one of the user's, unless the
/// lock is prony's own. Returns its entry.
pub fn add(file: &Path, lock_path: &Path, grants: &[Grant], setup: &Setup) -> Result<Entry> {
    let addition = Addition {
        file,
        bytes: read(file)?,
        grants,
        origin: Origin::default(),
        is_right: &|_| Ok(()),
    };
    let mut entries = commit(vec![prepare(addition, setup)?], lock_path, false, setup)?;
    Ok(entries.remove(0))
}

/// Checks a plugin as far as it can be without a lock: a sandboxed one describes itself, a
/// native one does so only with the grant.
pub fn prepare(addition: Addition<'_>, setup: &Setup) -> Result<Prepared> {
    let Addition {
        file,
        bytes,
        grants,
        origin,
        is_right,
    } = addition;
    let (form, bytes) = finished(file, bytes)?;
    let limits = origin.limits.unwrap_or_default().of_call();
    let manifest = match form {
        Form::Wasm => setup
            .host()?
            .load_within(file, &bytes, limits)?
            .describe()?,
        Form::Native if grants.contains(&Grant::Native) => {
            let copy = private_copy(&setup.cache, &sha256_of(&bytes), &bytes)?;
            NativePlugin::open_copy(file, &copy)?.describe()?
        }
        Form::Native => {
            return Err(Error::NotGranted {
                path: file.to_owned(),
            });
        }
    };
    let entry = entry(manifest, form, &bytes, grants, origin);
    let checked = lock::check(std::slice::from_ref(&entry)).and_then(|()| is_right(&entry));
    checked.map_err(|reason| Error::Answer {
        plugin: file.display().to_string(),
        export: "describe",
        reason,
    })?;
    Ok(Prepared {
        entry,
        replaces: None,
        bytes,
    })
}

fn entry(manifest: Manifest, form: Form, bytes: &[u8], grants: &[Grant], origin: Origin) -> Entry {
    let extension = match form {
        Form::Wasm => "wasm",
        Form::Native => std::env::consts::DLL_EXTENSION,
    };
    Entry {
        path: format!("{}-{}.{extension}", manifest.kind.name(), manifest.name),
        name: manifest.name,
        kind: manifest.kind,
        version: manifest.version,
        description: manifest.description,
        form,
        transport: manifest.transport,
        apis: manifest.apis,
        images: manifest.images,
        wants: manifest.wants,
        contract: contract(),
        sha256: sha256_of(bytes),
        grants: match form {
            Form::Native => grants.to_vec(),
            Form::Wasm => Vec::new(),
        },
        packages: manifest.packages,
        recipes: manifest.recipes,
        config_schema: manifest.config_schema,
        limits: origin.limits,
        dev: origin.dev,
        source: origin.source,
        resolved: origin.resolved,
        signer: origin.signer,
        recipe: None,
    }
}

/// Locks plugins, all or none: each in the place of its other versions, or beside them. Returns
/// their entries.
pub fn commit(
    prepared: Vec<Prepared>,
    lock_path: &Path,
    keep_versions: bool,
    setup: &Setup,
) -> Result<Vec<Entry>> {
    let folder = prony_files::folder(lock_path);
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    let _one_at_a_time = prony_files::lock_folder(&folder).map_err(Error::io(&folder))?;
    let mut lock = Lock::read_or_new(lock_path)?;
    let (mut put, mut gone) = (Vec::new(), Vec::new());
    for prepared in prepared {
        let Prepared {
            entry,
            replaces,
            bytes,
        } = prepared;
        let is_kept = |version: &str| keep_versions && replaces.as_deref() != Some(version);
        let (entry, mut replaced) = lock.put(lock_path, entry, &is_kept)?;
        gone.append(&mut replaced);
        put.push((entry, bytes));
    }
    for (entry, bytes) in &put {
        let path = folder.join(&entry.path);
        prony_files::replace(&path, bytes).map_err(Error::io(&path))?;
    }
    lock.write(lock_path)?;
    remove_files(&folder, &gone, &lock);
    for (entry, _) in &put {
        if entry.form == Form::Native && !setup.trust.is_bundled(lock_path) {
            let name = format!("{} {} {}", entry.kind.name(), entry.name, entry.version);
            setup.trust.grant(&entry.sha256, &name)?;
        }
    }
    Ok(put.into_iter().map(|(entry, _)| entry).collect())
}

/// Takes an entry out of a lock file, and its file out of the folder. A grant stays: another
/// lock may have the same library.
pub fn remove(lock_path: &Path, entry: &Entry) -> Result<()> {
    let folder = prony_files::folder(lock_path);
    let _one_at_a_time = prony_files::lock_folder(&folder).map_err(Error::io(&folder))?;
    let mut lock = Lock::read(lock_path)?;
    lock.plugins
        .retain(|it| !(it.is_like(entry) && it.version == entry.version));
    lock.write(lock_path)?;
    remove_files(&folder, std::slice::from_ref(entry), &lock);
    Ok(())
}

/// Removes the files of entries that no entry of a lock has any more, as far as they lie in its
/// folder and are what was locked: a lock from elsewhere may name any file.
fn remove_files(folder: &Path, gone: &[Entry], lock: &Lock) {
    for entry in gone {
        let mut parts = Path::new(&entry.path).components();
        let is_plain = matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        );
        let path = folder.join(&entry.path);
        let found = prony_files::open(&path).and_then(sha256);
        let is_locked = found.is_ok_and(|found| found == entry.sha256);
        if is_plain && lock.plugins.iter().all(|it| it.path != entry.path) && is_locked {
            // One that is gone already needs no removal, and one that stays does no harm.
            let _ = std::fs::remove_file(path);
        }
    }
}
