//! `prony.lock`: which plugins there are, pinned by digest, with what they are
//! allowed to do and the schema of their config, so that validating a pipeline
//! instantiates nothing.

use crate::error::{Error, Result};
use prony_contract::{Kind, Transport};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The file.
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
    /// The name users write after `plugin:`.
    pub name: String,
    /// Engine or reporter.
    pub kind: Kind,
    /// Version of the plugin.
    pub version: String,
    /// One line.
    pub description: String,
    /// WASM component or native library.
    pub form: Form,
    /// How prony talks to an engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// Whether requests to an engine may carry images; if not said, they may not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub images: bool,
    /// Version of the plugin contract, for example `0.1`.
    pub contract: String,
    /// The file, relative to the lock.
    pub path: String,
    /// Its SHA-256.
    pub sha256: String,
    /// What it may do beyond the sandbox.
    pub grants: Vec<Grant>,
    /// JSON Schema of its `config`.
    pub config_schema: serde_json::Value,
}

/// How a plugin is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A WASM component: sandboxed.
    Wasm,
    /// A shared library: not sandboxed.
    Native,
}

impl Form {
    /// As in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Native => "native",
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

/// What all versions of the file have.
#[derive(Deserialize)]
struct Version {
    version: u64,
}

impl Lock {
    /// Reads a lock file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let damaged = |reason: String| Error::Lock {
            path: path.to_owned(),
            reason,
        };
        // First the version: another one may have fields that this one has not.
        let Version { version } =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if version != 1 {
            return Err(damaged(format!(
                "version {version} is unknown; this prony reads version 1"
            )));
        }
        serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))
    }

    /// Puts `entry` in place of the one of the same kind and name, and writes
    /// the file so that a reader sees the old lock or the new one.
    pub(crate) fn put(path: &Path, entry: Entry) -> Result<()> {
        let mut lock = if path.exists() {
            Self::read(path)?
        } else {
            Self {
                version: 1,
                plugins: Vec::new(),
            }
        };
        lock.plugins
            .retain(|other| (other.kind, &other.name) != (entry.kind, &entry.name));
        lock.plugins.push(entry);
        lock.plugins
            .sort_by(|a, b| (a.kind as u8, &a.name).cmp(&(b.kind as u8, &b.name)));
        let mut text = serde_json::to_string_pretty(&lock).map_err(|error| Error::Lock {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        text.push('\n');
        write_atomically(path, text.as_bytes())
    }
}

/// The folder that relative paths in a lock start from.
pub(crate) fn folder(lock: &Path) -> PathBuf {
    match lock.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Writes next to `path` and renames. The file is readable by everyone and
/// writable by its owner only, whatever the umask.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = folder(path);
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(Error::io(&folder))?;
    file.write_all(bytes).map_err(Error::io(path))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))
            .map_err(Error::io(path))?;
    }
    file.persist(path).map_err(|error| Error::Io {
        path: path.to_owned(),
        source: error.error,
    })?;
    Ok(())
}
