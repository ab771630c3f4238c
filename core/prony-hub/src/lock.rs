//! `models.lock`: commits and digests of fetched models, beside the pipeline.

use crate::{Error, Result, Wanted, names};
use glob::Pattern;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::Path;

/// Name of the lock file.
pub const LOCK: &str = "models.lock";

/// Most bytes of a lock file; one line of a file is about 150.
const MAX_BYTES: u64 = 16 << 20;

const VERSION: u32 = 1;

/// The lock file. What it names is fetched again as it was, whatever its branch has become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Format of this file: 1.
    version: u32,
    /// By id, revision and files.
    models: Vec<Locked>,
}

/// A locked model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// Its id.
    pub id: String,
    /// The revision asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The files asked for.
    pub files: Vec<String>,
    /// The commit that the revision was, 40 hexadecimal digits.
    pub commit: String,
    /// The files of this commit that have such names, by name.
    pub found: Vec<LockedFile>,
}

/// A file of a locked model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    /// Path within the model.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 as 64 hexadecimal digits.
    pub sha256: String,
}

impl Locked {
    fn is(&self, wanted: &Wanted<'_>) -> bool {
        self.id == wanted.id
            && self.revision.as_deref() == wanted.revision
            && self.files == wanted.files
    }
}

impl Default for Lock {
    fn default() -> Self {
        Self {
            version: VERSION,
            models: Vec::new(),
        }
    }
}

impl Lock {
    /// Reads a lock file; empty if there is none.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match prony_files::read_text(path, MAX_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(Error::io(path)(error)),
        };
        let damaged = |reason: String| Error::Lock {
            path: path.to_owned(),
            reason,
        };
        let lock: Self = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if lock.version != VERSION {
            let version = lock.version;
            return Err(damaged(format!(
                "version {version} is unknown; this prony reads version {VERSION}"
            )));
        }
        let mut models = HashSet::new();
        for model in &lock.models {
            let is_digest =
                |it: &LockedFile| it.sha256.len() == 64 && names::is_hexadecimal(&it.sha256);
            names::check_id(&model.id)?;
            let mut found = HashSet::new();
            for file in &model.found {
                names::check_path("file", &file.name)?;
                if !found.insert(&file.name) {
                    return Err(damaged(format!("`{}` has `{}` twice", model.id, file.name)));
                }
            }
            let mut wanted = model.files.iter();
            let is_found =
                |pattern: &Pattern| model.found.iter().any(|it| pattern.matches(&it.name));
            if model.found.is_empty()
                || !wanted.all(|it| Pattern::new(it).is_ok_and(|it| is_found(&it)))
            {
                return Err(damaged(format!("`{}` lacks files that it names", model.id)));
            }
            if !names::is_commit(&model.commit) || !model.found.iter().all(is_digest) {
                return Err(damaged(format!(
                    "`{}` has an invalid commit or digest",
                    model.id
                )));
            }
            if !models.insert((&model.id, &model.revision, &model.files)) {
                return Err(damaged(format!("`{}` stands there twice", model.id)));
            }
        }
        Ok(lock)
    }

    /// The model as it was fetched.
    pub fn find(&self, wanted: &Wanted<'_>) -> Option<&Locked> {
        self.models.iter().find(|it| it.is(wanted))
    }

    /// Adds a model, or replaces what was there. Returns `true` if that changes the lock.
    pub fn put(&mut self, model: Locked) -> bool {
        let wanted = Wanted {
            id: &model.id,
            revision: model.revision.as_deref(),
            files: &model.files,
        };
        if let Some(known) = self.models.iter_mut().find(|it| it.is(&wanted)) {
            let is_new = *known != model;
            *known = model;
            return is_new;
        }
        self.models.push(model);
        self.models
            .sort_by(|a, b| (&a.id, &a.revision, &a.files).cmp(&(&b.id, &b.revision, &b.files)));
        true
    }

    /// Writes the file as a whole.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).expect("plain data");
        text.push('\n');
        prony_files::replace(path, text.as_bytes()).map_err(Error::io(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(id: &str) -> Locked {
        Locked {
            id: id.to_owned(),
            revision: None,
            files: vec!["*.gguf".to_owned()],
            commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            found: vec![LockedFile {
                name: "m.gguf".to_owned(),
                bytes: 3,
                sha256: "a".repeat(64),
            }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(LOCK);
        let mut lock = Lock::read(&path).expect("none is empty");
        assert!(lock.put(locked("b/m")));
        assert!(lock.put(locked("a/m")));
        assert!(!lock.put(locked("a/m")), "it is there");
        lock.write(&path).expect("it is ours");
        let read = Lock::read(&path).expect("a lock");
        assert_eq!(read, lock);
        let files = ["*.gguf".to_owned()];
        let of = |revision, files| Wanted {
            id: "a/m",
            revision,
            files,
        };
        assert_eq!(read.find(&of(None, &files)), Some(&locked("a/m")));
        assert_eq!(read.find(&of(Some("v2"), &files)), None);
        assert_eq!(read.find(&of(None, &[])), None);
    }

    #[test]
    fn a_damaged_lock_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(LOCK);
        let good = serde_json::to_string(&Lock {
            version: 1,
            models: vec![locked("a/m")],
        })
        .expect("plain data");
        for (old, new, words) in [
            ("\"version\":1", "\"version\":2", "version 2 is unknown"),
            ("m.gguf", "../m.gguf", "no file of the hub"),
            ("\"a/m\"", "\"../m\"", "no model of the hub"),
            ("012345", "x12345", "invalid commit or digest"),
            ("aaaa", "zzzz", "invalid commit or digest"),
            ("\"bytes\"", "\"size\"", "unknown field `size`"),
            ("*.gguf", "*.json", "lacks files that it names"),
        ] {
            std::fs::write(&path, good.replacen(old, new, 1)).expect("a file");
            let error = Lock::read(&path).expect_err(new).to_string();
            assert!(error.contains(words), "{new}: {error}");
        }
    }
}
