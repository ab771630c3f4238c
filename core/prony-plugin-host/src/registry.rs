//! Loads plugins by their lock files.

use crate::digest::sha256_of;
use crate::error::{Error, Result};
use crate::lock::{AskedLimits, Entry, Form, Grant, Lock};
use crate::native::NativePlugin;
use crate::recipe::WithRecipe;
use crate::trust::{Trust, private_copy};
use crate::wasm::{WasmHost, beyond_contract, componentize, refuse_imports};
use crate::{Plugin, add};
use prony_contract::Kind;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The installed plugins, from one or more lock files; the first one that names a plugin
/// wins, and a plugin wins over a recipe. Of several versions in a lock file the newest wins.
pub struct Registry {
    /// A recipe has an entry of its own.
    entries: Vec<Located>,
    host: WasmHost,
    setup: Setup,
    /// Folder that paths of plugins are relative to.
    base: PathBuf,
    checks_files: bool,
    /// Plugins that are named by their path, as they were when they were first asked for.
    by_path: Mutex<HashMap<PathBuf, Arc<Entry>>>,
    loaded: Mutex<HashMap<(Kind, String), Arc<dyn Plugin>>>,
}

/// An entry with its lock file.
struct Located {
    lock: PathBuf,
    entry: Arc<Entry>,
}

impl Located {
    fn file(&self) -> PathBuf {
        prony_files::folder(&self.lock).join(&self.entry.path)
    }
}

/// Returns `true` for the name of a plugin that is the path of a file or folder.
pub fn is_path(name: &str) -> bool {
    ["/", "./", "../", "~/"]
        .iter()
        .any(|it| name.starts_with(it))
}

/// Name and version of what stands after `plugin:`.
pub fn name_and_version(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (name, None),
    }
}

/// A project that somebody works on: the file that its build makes, and the limits it asks for.
/// The error is the reason, and the way out.
pub type OfProject = fn(&Path) -> std::result::Result<(PathBuf, AskedLimits), String>;

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
    /// Finds what was built in the folder of a project. `None`: such folders are no plugins.
    pub project: Option<OfProject>,
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
            let mut lock = Lock::read(path)?;
            lock.plugins
                .sort_by_key(|entry| std::cmp::Reverse(entry.semver()));
            let located = |entry| Located {
                lock: path.clone(),
                entry: Arc::new(entry),
            };
            for entry in lock.plugins {
                recipes.extend(entry.of_recipes().map(located));
                entries.push(located(entry));
            }
        }
        // In the order of the lock files, whatever the versions are.
        let order = |it: &Located| {
            let place = locks.iter().position(|lock| *lock == it.lock);
            (place, it.entry.kind as u8, it.entry.name.clone())
        };
        entries.sort_by_cached_key(order);
        // No recipe takes the place of a plugin.
        entries.append(&mut recipes);
        Ok(Self {
            entries,
            host: setup.host()?,
            setup,
            base: PathBuf::new(),
            checks_files: false,
            by_path: Mutex::default(),
            loaded: Mutex::default(),
        })
    }

    /// The same with a folder that the paths of plugins are relative to; else it is the working
    /// folder.
    #[must_use]
    pub fn with_base(self, base: PathBuf) -> Self {
        Self { base, ..self }
    }

    /// Every usable plugin, with the folder of its lock.
    pub fn entries(&self) -> impl Iterator<Item = (&Entry, PathBuf)> {
        let mut seen = std::collections::HashSet::new();
        self.entries
            .iter()
            .map(|it| (&*it.entry, prony_files::folder(&it.lock)))
            .filter(move |(entry, _)| seen.insert((entry.kind, &entry.name)))
    }

    /// Every plugin with its lock file, also those whose place another one takes.
    pub fn all(&self) -> impl Iterator<Item = (&Entry, &Path)> {
        self.entries.iter().map(|it| (&*it.entry, &*it.lock))
    }

    /// The entry of a plugin and its file, by what stands after `plugin:`: a name, `NAME@VERSION`,
    /// or a path.
    pub fn find(&self, kind: Kind, name: &str) -> Result<(Arc<Entry>, PathBuf)> {
        if is_path(name) {
            let entry = self.by_path(kind, name)?;
            let file = PathBuf::from(&entry.path);
            return Ok((entry, file));
        }
        let found = self.located(kind, name)?;
        Ok((found.entry.clone(), found.file()))
    }

    fn located(&self, kind: Kind, name: &str) -> Result<&Located> {
        let (own, version) = name_and_version(name);
        let mut same = self
            .entries
            .iter()
            .filter(|it| it.entry.kind == kind && it.entry.name == own);
        let is_it = |it: &&Located| version.is_none_or(|version| it.entry.version == version);
        same.clone().find(is_it).ok_or_else(|| Error::Unknown {
            kind: kind.name(),
            name: name.to_owned(),
            versions: same.by_ref().map(|it| it.entry.version.clone()).collect(),
            similar: self.similar(kind, own),
        })
    }

    /// The installed name that is the same but for case and what joins its words: an engine's own
    /// name, such as `llama.cpp`, is not always one of a plugin. It is told and not taken, since
    /// results are compared by names.
    fn similar(&self, kind: Kind, name: &str) -> Option<String> {
        let plain = |name: &str| name.to_ascii_lowercase().replace(['.', '_', ' '], "-");
        let wanted = plain(name);
        let names = self.entries.iter().filter(|it| it.entry.kind == kind);
        let mut names = names.map(|it| &it.entry.name);
        let found = names.find(|known| *known != name && plain(known) == wanted)?;
        Some(found.clone())
    }

    /// The lock files whose plugin of the same name another one takes the place of, further from
    /// the pipeline than the first, which is that one's. Empty if there is no other.
    pub fn hidden(&self, kind: Kind, name: &str) -> Vec<&Path> {
        let (own, version) = name_and_version(name);
        let Ok(taken) = self.located(kind, name) else {
            return Vec::new();
        };
        let others = self.entries.iter().filter(|it| {
            (it.entry.kind, it.entry.name.as_str()) == (kind, own)
                && it.lock != taken.lock
                && it.entry.sha256 != taken.entry.sha256
                && version.is_none_or(|version| it.entry.version == version)
        });
        let mut others: Vec<&Path> = others.map(|it| &*it.lock).collect();
        others.dedup();
        if !others.is_empty() {
            others.insert(0, &taken.lock);
        }
        others
    }

    /// What stands after `plugin:`, as it is understood from any folder.
    pub fn from_anywhere(&self, name: &str) -> String {
        if !is_path(name) {
            return name.to_owned();
        }
        let path = prony_files::located(&self.base, name);
        let path = std::path::absolute(&path).unwrap_or(path);
        path.to_string_lossy().into_owned()
    }

    /// The same, which tells [`problem`](Self::problem)s with the files of plugins.
    #[must_use]
    pub fn with_files_checked(self) -> Self {
        Self {
            checks_files: true,
            ..self
        }
    }

    /// The error of a plugin's file that is not there, or not the one that was locked, if files
    /// are checked. Loading a plugin checks its file in any case.
    pub fn problem(&self, kind: Kind, name: &str) -> Option<Error> {
        if !self.checks_files {
            return None;
        }
        let (entry, path) = self.find(kind, name).ok()?;
        self.check_file(&entry, &path).err()
    }

    /// Checks that the file of an entry is there and the one that was locked.
    pub fn check_file(&self, entry: &Entry, path: &Path) -> Result<()> {
        self.verified(entry, path).map(drop)
    }

    /// The entry of a plugin that is named by its path.
    fn by_path(&self, kind: Kind, name: &str) -> Result<Arc<Entry>> {
        let path = prony_files::located(&self.base, name);
        let path = std::path::absolute(&path).unwrap_or(path);
        let mut known = self
            .by_path
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let entry = if let Some(entry) = known.get(&path) {
            entry.clone()
        } else {
            let entry = Arc::new(self.in_development(&path)?);
            known.insert(path.clone(), entry.clone());
            entry
        };
        if entry.kind == kind {
            return Ok(entry);
        }
        let reason = format!("it is the {} `{}`", entry.kind.name(), entry.name);
        Err(Error::NotAPlugin { path, reason })
    }

    /// An entry as a lock would have it, of a file, or of the one that was built in a folder.
    fn in_development(&self, path: &Path) -> Result<Entry> {
        let refused = |reason: String| Error::NotAPlugin {
            path: path.to_owned(),
            reason,
        };
        let (file, asked) = match self.setup.project {
            Some(project) if path.is_dir() => project(path).map_err(refused)?,
            _ => (path.to_owned(), AskedLimits::default()),
        };
        let bytes = read(&file)?;
        let digest = sha256_of(&bytes);
        let is_native = bytes.starts_with(b"\x7fELF") || !bytes.starts_with(b"\0asm");
        let grants = [Grant::Native];
        let addition = add::Addition {
            file: &file,
            bytes,
            grants: if is_native && self.setup.trust.check(&file, &file, &digest).is_ok() {
                &grants
            } else {
                &[]
            },
            origin: add::Origin {
                limits: (asked != AskedLimits::default()).then_some(asked),
                dev: true,
                ..add::Origin::default()
            },
            is_right: &|_| Ok(()),
        };
        let mut entry = add::prepare(addition, &self.setup)?.entry;
        // Of the file as it is, which may be a module that becomes a component.
        entry.sha256 = digest;
        entry.path = file.to_string_lossy().into_owned();
        Ok(entry)
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
                let bytes = self.verified(&entry, &path)?;
                let bytes = if is_path(name) {
                    finished(&path, bytes)?.1
                } else {
                    bytes
                };
                let limits = entry.limits.unwrap_or_default().of_call();
                Arc::new(self.host.load_within(&path, &bytes, limits)?)
            }
            Form::Native => Arc::new(self.open_native(&entry, &path)?),
        };
        let manifest = plugin.describe()?;
        let own = entry
            .recipe
            .as_ref()
            .map_or(&entry.name, |(plugin, _)| plugin);
        if (manifest.kind, &manifest.name) != (kind, own) {
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
        self.open_native(&entry, &path)
    }

    /// Loads what was verified, from a copy of its own.
    fn open_native(&self, entry: &Entry, path: &Path) -> Result<NativePlugin> {
        let bytes = self.verified(entry, path)?;
        if !entry.grants.contains(&Grant::Native) {
            return Err(Error::NotGranted {
                path: path.to_owned(),
            });
        }
        let lock = self.lock_of(entry);
        self.setup
            .trust
            .check(lock.unwrap_or(path), path, &entry.sha256)?;
        let copy = private_copy(&self.setup.cache, &entry.sha256, &bytes)?;
        NativePlugin::open_copy(path, &copy)
    }

    /// The lock file that an entry comes from; `None` if the plugin is named by its path.
    fn lock_of(&self, entry: &Entry) -> Option<&Path> {
        let mut located = self.entries.iter();
        located
            .find(|it| std::ptr::eq(Arc::as_ptr(&it.entry), entry))
            .map(|it| &*it.lock)
    }

    /// The bytes of a plugin's file; fails if it is not there, or differs from the locked one.
    fn verified(&self, entry: &Entry, path: &Path) -> Result<Vec<u8>> {
        let from = self
            .lock_of(entry)
            .and_then(|lock| entry.source_seen_from(lock));
        let bytes = match read(path) {
            Err(Error::Io { source: error, .. }) if error.kind() == ErrorKind::NotFound => {
                let (kind, name, version) = (entry.kind.name(), &entry.name, &entry.version);
                return Err(Error::Gone {
                    path: path.to_owned(),
                    plugin: format!("{kind} `{name}` {version}"),
                    name: format!("{name}@{version}"),
                    from,
                });
            }
            read => read?,
        };
        let found = sha256_of(&bytes);
        if found != entry.sha256 {
            return Err(Error::Digest {
                path: path.to_owned(),
                found,
                locked: entry.sha256.clone(),
                from,
            });
        }
        Ok(bytes)
    }
}

/// The bytes of a file that can be a plugin.
pub fn read(path: &Path) -> Result<Vec<u8>> {
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
