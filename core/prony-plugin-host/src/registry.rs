//! Loads plugins by their lock files.

use crate::digest::sha256_of;
use crate::error::{Error, Result};
use crate::lock::{self, AskedLimits, Entry, Form, Grant, Lock};
use crate::native::NativePlugin;
use crate::recipe::WithRecipe;
use crate::trust::{Trust, private_copy};
use crate::wasm::{WasmHost, beyond_contract, componentize, refuse_imports};
use crate::{Plugin, contract};
use prony_contract::Kind;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The installed plugins, from one or more lock files; the first one that names a plugin
/// wins, and a plugin wins over a recipe.
pub struct Registry {
    /// Each with its lock file. A recipe has an entry of its own.
    entries: Vec<(PathBuf, Entry)>,
    host: WasmHost,
    setup: Setup,
    loaded: Mutex<HashMap<(Kind, String), Arc<dyn Plugin>>>,
}

/// The host's place on this machine.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Folder for compiled components and copies of libraries.
    pub cache: PathBuf,
    /// The libraries that may run.
    pub trust: Trust,
    /// Command that calls [`compile_from_input`](crate::compile_from_input), so that compiling
    /// a component is limited. Empty: it is done in this process, without limits.
    pub compiler: Vec<String>,
    /// Told before something that takes long.
    pub say: Option<fn(&str)>,
}

impl Setup {
    pub(crate) fn host(&self) -> Result<WasmHost> {
        let host = WasmHost::new(&self.cache, crate::Limits::default())?;
        Ok(host.with_compiler(self.compiler.clone(), self.say))
    }
}

impl Registry {
    /// Reads the lock files that exist among `locks`.
    pub fn open(locks: &[PathBuf], setup: Setup) -> Result<Self> {
        let (mut entries, mut recipes) = (Vec::new(), Vec::new());
        for path in locks.iter().filter(|path| path.exists()) {
            let lock = Lock::read(path)?;
            for entry in lock.plugins {
                recipes.extend(entry.of_recipes().map(|entry| (path.clone(), entry)));
                entries.push((path.clone(), entry));
            }
        }
        // No recipe takes the place of a plugin.
        entries.append(&mut recipes);
        Ok(Self {
            entries,
            host: setup.host()?,
            setup,
            loaded: Mutex::default(),
        })
    }

    /// Every usable plugin, with the folder of its lock.
    pub fn entries(&self) -> impl Iterator<Item = (&Entry, PathBuf)> {
        let mut seen = std::collections::HashSet::new();
        self.entries
            .iter()
            .map(|(path, entry)| (entry, prony_files::folder(path)))
            .filter(move |(entry, _)| seen.insert((entry.kind, &entry.name)))
    }

    /// The entry of a plugin.
    pub fn find(&self, kind: Kind, name: &str) -> Result<(&Entry, PathBuf)> {
        self.entries()
            .find(|(entry, _)| entry.kind == kind && entry.name == name)
            .map(|(entry, folder)| (entry, folder.join(&entry.path)))
            .ok_or_else(|| Error::Unknown {
                kind: kind.name(),
                name: name.to_owned(),
            })
    }

    /// Loads a plugin, after checking its file against the lock.
    pub fn load(&self, kind: Kind, name: &str) -> Result<Arc<dyn Plugin>> {
        let (entry, path) = self.find(kind, name)?;
        let mut loaded = self
            .loaded
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (kind, name.to_owned());
        if let Some(plugin) = loaded.get(&key) {
            return Ok(plugin.clone());
        }
        let plugin: Arc<dyn Plugin> = match entry.form {
            Form::Wasm => {
                let bytes = verified(entry, &path)?;
                let limits = entry.limits.unwrap_or_default().of_call();
                Arc::new(self.host.load_within(&path, &bytes, limits)?)
            }
            Form::Native => Arc::new(self.open_native(entry, &path)?),
        };
        let manifest = plugin.describe()?;
        let own = entry.recipe.as_ref().map_or(name, |(plugin, _)| plugin);
        if (manifest.kind, manifest.name.as_str()) != (kind, own) {
            let reason = format!(
                "it is the {} `{}`, and the lock says {} `{own}`",
                manifest.kind.name(),
                manifest.name,
                kind.name()
            );
            return Err(Error::NotAPlugin { path, reason });
        }
        let plugin = match &entry.recipe {
            None => plugin,
            Some((_, recipe)) => Arc::new(WithRecipe {
                adapter: plugin,
                recipe: recipe.name.clone(),
            }),
        };
        loaded.insert(key, plugin.clone());
        Ok(plugin)
    }

    /// Loads a native plugin for a worker process.
    pub fn load_native(&self, kind: Kind, name: &str) -> Result<NativePlugin> {
        let (entry, path) = self.find(kind, name)?;
        if entry.form != Form::Native {
            return Err(Error::NotAPlugin {
                path,
                reason: "an in-process engine must be a native library".to_owned(),
            });
        }
        self.open_native(entry, &path)
    }

    /// Loads what was verified, from a copy of its own.
    fn open_native(&self, entry: &Entry, path: &Path) -> Result<NativePlugin> {
        let bytes = verified(entry, path)?;
        let mut locks = self.entries.iter();
        let lock = locks.find(|(_, own)| std::ptr::eq(own, entry));
        let granted = entry.grants.contains(&Grant::Native);
        let Some((lock, _)) = lock.filter(|_| granted) else {
            return Err(Error::NotGranted {
                path: path.to_owned(),
            });
        };
        self.setup.trust.check(lock, path, &entry.sha256)?;
        let copy = private_copy(&self.setup.cache, &entry.sha256, &bytes)?;
        NativePlugin::open_copy(path, &copy)
    }
}

/// The bytes of a file that can be a plugin.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    const MAX_BYTES: u64 = 512 << 20;
    prony_files::read(path, MAX_BYTES).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput | ErrorKind::IsADirectory | ErrorKind::FileTooLarge => {
            Error::NotAPlugin {
                path: path.to_owned(),
                reason: error.to_string(),
            }
        }
        _ => Error::io(path)(error),
    })
}

/// The bytes of a plugin's file; fails if they differ from the locked ones.
fn verified(entry: &Entry, path: &Path) -> Result<Vec<u8>> {
    let bytes = read(path)?;
    let found = sha256_of(&bytes);
    if found != entry.sha256 {
        return Err(Error::Digest {
            path: path.to_owned(),
            found,
            locked: entry.sha256.clone(),
        });
    }
    Ok(bytes)
}

/// Turns what a toolchain made into what is locked: a core WASM module becomes a component.
/// Checks its imports, and runs nothing of it. `file` is for messages.
pub fn finished(file: &Path, bytes: Vec<u8>) -> Result<(Form, Vec<u8>)> {
    match bytes.get(..8) {
        Some(b"\0asm\x01\0\0\0") => Ok((Form::Wasm, componentize(file, &bytes)?)),
        Some([0, b'a', b's', b'm', ..]) => {
            refuse_imports(file, beyond_contract(&bytes))?;
            Ok((Form::Wasm, bytes))
        }
        Some(
            [0x7f, b'E', b'L', b'F', ..]
            | [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..]
            | [0xca, 0xfe, 0xba, 0xbe, ..],
        ) => Ok((Form::Native, bytes)),
        _ => Err(Error::NotAPlugin {
            path: file.to_owned(),
            reason: "it is neither a WASM file nor a shared library".to_owned(),
        }),
    }
}

/// What an entry of the lock says beside what is in the plugin.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin {
    /// Limits that it asks for.
    pub limits: Option<AskedLimits>,
    /// `true` for a build of a folder that somebody works on.
    pub dev: bool,
}

/// Checks the plugin in `file`, copies it beside the lock if it is not there, and locks
/// it. A core WASM module becomes a component. A grant becomes one of the user's, unless the
/// lock is prony's own. Returns its entry.
pub fn add(file: &Path, lock_path: &Path, grants: &[Grant], setup: &Setup) -> Result<Entry> {
    add_from(file, lock_path, grants, setup, Origin::default(), &|_| {
        Ok(())
    })
}

/// The same, with what the lock says beside, unless `is_right` says why not.
pub fn add_from(
    file: &Path,
    lock_path: &Path,
    grants: &[Grant],
    setup: &Setup,
    origin: Origin,
    is_right: &dyn Fn(&Entry) -> std::result::Result<(), String>,
) -> Result<Entry> {
    let (form, bytes) = finished(file, read(file)?)?;
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
    let extension = match form {
        Form::Wasm => "wasm",
        Form::Native => std::env::consts::DLL_EXTENSION,
    };
    let entry = Entry {
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
        sha256: sha256_of(&bytes),
        grants: if form == Form::Native {
            grants.to_vec()
        } else {
            Vec::new()
        },
        packages: manifest.packages,
        recipes: manifest.recipes,
        config_schema: manifest.config_schema,
        limits: origin.limits,
        dev: origin.dev,
        recipe: None,
    };
    let checked = lock::check(std::slice::from_ref(&entry)).and_then(|()| is_right(&entry));
    checked.map_err(|reason| Error::Answer {
        plugin: file.display().to_string(),
        export: "describe",
        reason,
    })?;
    let folder = prony_files::folder(lock_path);
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    let _one_at_a_time = prony_files::lock_folder(&folder).map_err(Error::io(&folder))?;
    let lock = Lock::with(lock_path, entry.clone())?;
    let path = folder.join(&entry.path);
    prony_files::replace(&path, &bytes).map_err(Error::io(&path))?;
    lock.write(lock_path)?;
    if form == Form::Native && !setup.trust.is_bundled(lock_path) {
        let name = format!("{} {} {}", entry.kind.name(), entry.name, entry.version);
        setup.trust.grant(&entry.sha256, &name)?;
    }
    Ok(entry)
}
