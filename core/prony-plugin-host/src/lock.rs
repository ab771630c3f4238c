//! `prony.lock`: the installed plugins, pinned by digest, with their grants and the
//! schema of their config, so that the schema of a pipeline is checked without any of them.

use crate::error::{Error, Result};
use crate::wasm::Limits;
use prony_contract::{Api, Kind, MAX_CALL_MS, MAX_MEMORY_MIB, Packages, Recipe, Transport, Want};
use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

/// The lock file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Format of this file: 1.
    pub version: u32,
    /// Sorted by kind and name.
    pub plugins: Vec<Entry>,
}

/// A locked plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Name to use after `plugin:`.
    pub name: String,
    /// Engine or reporter.
    pub kind: Kind,
    /// Version of the plugin.
    pub version: String,
    /// Description in one line.
    pub description: String,
    /// WASM component or native library.
    pub form: Form,
    /// Transport between prony and an engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// Forms of requests that an engine takes. Defaults to all.
    #[serde(default = "Api::all", skip_serializing_if = "Api::is_all")]
    pub apis: Vec<Api>,
    /// `true` if requests to an engine may carry images. Defaults to `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub images: bool,
    /// Parts beyond the result that a reporter asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wants: Vec<Want>,
    /// Version of the plugin contract, for example `0.1`.
    pub contract: String,
    /// Path of the file, relative to the lock.
    pub path: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Permissions beyond the sandbox that it needs. Only the user can give them.
    pub grants: Vec<Grant>,
    /// Packages of the engine, which `prony doctor --install` installs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<Packages>,
    /// Engines that the adapter knows how to start; their names may be used after
    /// `plugin:`, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipes: Vec<Recipe>,
    /// JSON Schema of its `config`.
    pub config_schema: serde_json::Value,
    /// Limits of a call that it asks for in place of prony's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<AskedLimits>,
    /// `true` for a build of a folder that somebody works on: its version names no certain
    /// source. Reports say so. Defaults to `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dev: bool,
    /// Origin that `prony plugin update` reads again: a file or folder, relative to the lock,
    /// `https://…#sha256=…` or `oci://…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Digest of the manifest that the tag of an `oci://` source named, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<String>,
    /// Public key of minisign whose owner has signed the file, `RW…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// The plugin and its recipe that this entry stands for. In no lock file.
    #[serde(skip)]
    pub recipe: Option<(String, Recipe)>,
}

impl Entry {
    /// Forms of requests that the engine takes with a config.
    pub fn apis_of(&self, config: &serde_json::Map<String, serde_json::Value>) -> Vec<Api> {
        Api::of_config(&self.apis, &self.config_schema, config)
    }

    /// Version, for comparing. One that is none is older than any other.
    pub fn semver(&self) -> Version {
        Version::parse(&self.version).unwrap_or(Version::new(0, 0, 0))
    }

    /// The source as a command takes it that runs in the working folder of this process; `lock` is
    /// the entry's lock file.
    pub fn source_seen_from(&self, lock: &Path) -> Option<String> {
        let source = self.source.as_ref()?;
        if source.contains("://") {
            return Some(source.clone());
        }
        let path = prony_files::folder(lock).join(source);
        Some(
            path.strip_prefix(".")
                .unwrap_or(&path)
                .display()
                .to_string(),
        )
    }

    /// Returns `true` if the other is a version of the same plugin.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.kind, &self.name) == (other.kind, &other.name)
    }

    /// An entry for each of its recipes.
    pub(crate) fn of_recipes(&self) -> impl Iterator<Item = Self> {
        let of = |recipe: &Recipe| Self {
            name: recipe.name.clone(),
            description: recipe.description.clone(),
            apis: recipe.apis.clone(),
            config_schema: recipe.config_schema.clone(),
            packages: recipe.packages.clone(),
            recipes: Vec::new(),
            recipe: Some((self.name.clone(), recipe.clone())),
            ..self.clone()
        };
        self.recipes.iter().map(of)
    }
}

/// Form of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A WASM component: sandboxed.
    Wasm,
    /// A shared library: not sandboxed.
    Native,
}

impl Form {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Native => "native",
        }
    }
}

/// Limits of a call that a plugin asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AskedLimits {
    /// Memory, in MiB; 1024 at most. Defaults to 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub memory_mib: Option<u64>,
    /// Time, in milliseconds; 60,000 at most. Defaults to 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 60_000))]
    pub call_ms: Option<u64>,
}

impl AskedLimits {
    /// The limits of a call. What is beyond the greatest ones counts as these.
    pub(crate) fn of_call(self) -> Limits {
        let default = Limits::default();
        let memory = self
            .memory_mib
            .map(|it| (it.min(MAX_MEMORY_MIB) as usize) << 20);
        let time = self
            .call_ms
            .map(|it| Duration::from_millis(it.min(MAX_CALL_MS)));
        Limits {
            memory: memory.unwrap_or(default.memory),
            time: time.unwrap_or(default.time),
        }
    }
}

/// A permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// Runs as native code, outside the sandbox.
    Native,
}

/// JSON Schema of the lock file.
pub fn lock_schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Lock);
    schema.insert("$id".to_owned(), "lock.v1.json".into());
    schema.to_value()
}

/// The common field of all versions of the file.
#[derive(Deserialize)]
struct Format {
    version: u64,
}

/// Most bytes of a lock file that are read; one is a few kilobytes.
const MAX_LOCK: u64 = 16 << 20;

impl Lock {
    /// Reads a lock file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = prony_files::read_text(path, MAX_LOCK).map_err(Error::io(path))?;
        let damaged = |reason: String| Error::Lock {
            path: path.to_owned(),
            reason,
        };
        // The version first: another version may have unknown fields.
        let Format { version } =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if version != 1 {
            return Err(damaged(format!(
                "version {version} is unknown; this prony reads version 1"
            )));
        }
        let lock: Self = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        check(&lock.plugins).map_err(damaged)?;
        Ok(lock)
    }

    /// The lock file at `path`, or an empty one if there is none.
    pub(crate) fn read_or_new(path: &Path) -> Result<Self> {
        if path.exists() {
            return Self::read(path);
        }
        Ok(Self {
            version: 1,
            plugins: Vec::new(),
        })
    }

    /// Puts an entry in the place of the one of the same kind, name and version; of all versions,
    /// but for those that are kept. Its file gets a name that no other entry has. Returns the entry
    /// and those that it replaces.
    pub(crate) fn put(
        &mut self,
        path: &Path,
        mut entry: Entry,
        is_kept: &dyn Fn(&str) -> bool,
    ) -> Result<(Entry, Vec<Entry>)> {
        let replaced = |other: &Entry| {
            other.is_like(&entry) && (other.version == entry.version || !is_kept(&other.version))
        };
        let (gone, left) = std::mem::take(&mut self.plugins)
            .into_iter()
            .partition(replaced);
        self.plugins = left;
        if self.plugins.iter().any(|other| other.path == entry.path) {
            let (stem, extension) = entry.path.rsplit_once('.').unwrap_or((&entry.path, ""));
            entry.path = format!("{stem}-{}.{extension}", entry.version);
        }
        self.plugins.push(entry.clone());
        self.plugins
            .sort_by_cached_key(|it| (it.kind as u8, it.name.clone(), it.semver()));
        check(&self.plugins).map_err(|reason| Error::Lock {
            path: path.to_owned(),
            reason,
        })?;
        Ok((entry, gone))
    }

    /// Replaces the file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).map_err(|error| Error::Lock {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        text.push('\n');
        prony_files::replace(path, text.as_bytes()).map_err(Error::io(path))
    }
}

/// Checks that the names of plugins and of their recipes are names, that versions are semantic
/// ones, and that no two plugins and no two recipes share both. A recipe may be called like a
/// plugin, which then comes first. The error is the reason.
pub(crate) fn check(plugins: &[Entry]) -> std::result::Result<(), String> {
    let mut seen = HashSet::new();
    for entry in plugins {
        let kind = entry.kind.name();
        let version = entry.version.as_str();
        if let Err(error) = Version::parse(version) {
            return Err(format!(
                "the version `{}` of the {kind} `{}` is not one of semantic versioning, as `0.1.0` is: {error}",
                version.escape_debug(),
                entry.name.escape_debug()
            ));
        }
        let own = ("plugin", entry.name.as_str());
        let recipes = entry.recipes.iter();
        let recipes = recipes.map(|recipe| ("recipe", recipe.name.as_str()));
        for (what, name) in std::iter::once(own).chain(recipes) {
            if !is_name(name) {
                return Err(format!(
                    "the name `{}` of a {what} is not made of lower-case letters, digits, `-` and `_`",
                    name.escape_debug()
                ));
            }
            if !seen.insert((kind, what, name, version)) {
                return Err(format!(
                    "there are two {what}s `{name}` {version} for {kind}s: remove one of them"
                ));
            }
        }
    }
    Ok(())
}

/// Returns `true` if a plugin's name is safe as part of a file's name.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}
