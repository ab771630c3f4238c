//! Files that a run depends on besides its pipeline, each with its digest.

use prony_plugin_host::{sha256, sha256_of};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file or folder that a run used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its kind.
    pub kind: InputKind,
    /// Engine, model or file that it is of; empty for prony itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub of: String,
    /// Its path.
    pub path: String,
    /// SHA-256 of the file; of a folder, of the lines `SHA-256  PATH` of all files in it, by
    /// path. Absent if it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Bytes of the file, or of all files of a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The first lines that a program prints when it is asked for its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Reason why the version of a program, or the digest of an image, is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

/// Kinds of inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// The program prony.
    Prony,
    /// A lock file of plugins.
    Lock,
    /// The program of an engine.
    Program,
    /// The image of a container that an engine ran in; its path is its name.
    Container,
    /// A model.
    Model,
    /// A tokenizer.
    Tokenizer,
    /// A chat template.
    ChatTemplate,
    /// A dataset or a file of prompts.
    Dataset,
}

impl InputKind {
    /// Its name in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prony => "prony",
            Self::Lock => "lock file",
            Self::Program => "program",
            Self::Container => "container image",
            Self::Model => "model",
            Self::Tokenizer => "tokenizer",
            Self::ChatTemplate => "chat template",
            Self::Dataset => "dataset",
        }
    }
}

/// Maximum depth of a folder that is digested.
const MAX_DEPTH: usize = 16;
/// A smaller file is not worth remembering.
const MIN_REMEMBERED: u64 = 1 << 20;
/// Most bytes of the file of digests.
const MAX_BYTES: u64 = 16 << 20;

/// Digests of files, computed once for each version of a file: it is the same while inode, size
/// and time of change are.
#[derive(Debug, Default)]
pub struct Digests {
    path: Option<PathBuf>,
    known: BTreeMap<PathBuf, Known>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Known {
    version: Version,
    sha256: String,
}

/// Device, inode, size, and time of change in nanoseconds.
pub(crate) type Version = (u64, u64, u64, i64);

pub(crate) fn version(it: &Metadata) -> Version {
    // That of the inode cannot be set back, as the one of the content can.
    let changed = it.ctime().saturating_mul(1_000_000_000);
    let changed = changed.saturating_add(it.ctime_nsec());
    (it.dev(), it.ino(), it.size(), changed)
}

impl Digests {
    /// The digests remembered in prony's cache folder. An unusable file counts as none.
    pub fn open(cache: &Path) -> Self {
        let path = cache.join("digests.json");
        let text = prony_files::read_text(&path, MAX_BYTES).ok();
        let known = text.and_then(|text| serde_json::from_str(&text).ok());
        Self {
            path: Some(path),
            known: known.unwrap_or_default(),
        }
    }

    /// An input with its digest, as far as it can be read until `is_interrupted`.
    pub fn input(
        &mut self,
        kind: InputKind,
        of: &str,
        path: &Path,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Input {
        let digest = self.of(path, is_interrupted).ok();
        Input {
            kind,
            of: of.to_owned(),
            path: path.to_string_lossy().into_owned(),
            bytes: digest.as_ref().map(|(_, bytes)| *bytes),
            sha256: digest.map(|(sha256, _)| sha256),
            version: None,
            unknown: None,
        }
    }

    /// SHA-256 and bytes of a file or a folder.
    pub fn of(
        &mut self,
        path: &Path,
        is_interrupted: &dyn Fn() -> bool,
    ) -> io::Result<(String, u64)> {
        if !std::fs::metadata(path)?.is_dir() {
            return self.of_file(path, is_interrupted);
        }
        let mut files = Vec::new();
        list(path, Path::new(""), &mut files, MAX_DEPTH)?;
        files.sort();
        let (mut lines, mut bytes) = (String::new(), 0_u64);
        for file in files {
            let (sha256, length) = self.of_file(&path.join(&file), is_interrupted)?;
            lines.extend([&*sha256, "  ", &*file.to_string_lossy(), "\n"]);
            bytes = bytes.saturating_add(length);
        }
        Ok((sha256_of(lines.as_bytes()), bytes))
    }

    fn of_file(
        &mut self,
        path: &Path,
        is_interrupted: &dyn Fn() -> bool,
    ) -> io::Result<(String, u64)> {
        let file = prony_files::open(path)?;
        let before = file.metadata()?;
        let key = path.canonicalize()?;
        let version = version(&before);
        if let Some(known) = self.known.get(&key).filter(|it| it.version == version) {
            return Ok((known.sha256.clone(), before.len()));
        }
        let sha256 = sha256(Interruptible(&file, is_interrupted))?;
        if before.len() >= MIN_REMEMBERED && self::version(&file.metadata()?) == version {
            let known = Known {
                version,
                sha256: sha256.clone(),
            };
            self.known.insert(key, known);
            self.keep();
        }
        Ok((sha256, before.len()))
    }

    /// Remembers the digests. What cannot be written is computed again.
    fn keep(&self) {
        let json = serde_json::to_vec(&self.known).ok();
        if let (Some(path), Some(json)) = (&self.path, json) {
            let _ = prony_files::replace(path, &json);
        }
    }
}

/// A reader that fails once `is_interrupted`: the digest of a large file takes minutes.
struct Interruptible<'f, R>(R, &'f dyn Fn() -> bool);

impl<R: Read> Read for Interruptible<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.1)() {
            return Err(io::Error::other("interrupted"));
        }
        self.0.read(buffer)
    }
}

/// The plain files below a folder, by their paths in it.
fn list(root: &Path, at: &Path, files: &mut Vec<PathBuf>, depth: usize) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(at))? {
        let entry = entry?;
        let path = at.join(entry.file_name());
        // Links lead to the files of a download.
        let kind = std::fs::metadata(entry.path())?;
        if kind.is_file() {
            files.push(path);
        } else if kind.is_dir() && depth > 0 {
            list(root, &path, files, depth - 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_remembered_until_the_file_changes() {
        let cache = tempfile::tempdir().expect("a folder");
        let path = cache.path().join("model");
        std::fs::write(&path, vec![1; 2 << 20]).expect("a file");
        let digest = || {
            let mut digests = Digests::open(cache.path());
            digests.of(&path, &|| false).expect("a digest").0
        };
        let first = digest();
        assert_eq!(first, sha256_of(&vec![1; 2 << 20]));
        // Another time it is not read.
        let mut digests = Digests::open(cache.path());
        assert!(digests.of(&path, &|| true).is_ok());
        std::fs::write(&path, vec![2; 2 << 20]).expect("a file");
        assert!(digests.of(&path, &|| true).is_err(), "it has to be read");
        assert_eq!(digest(), sha256_of(&vec![2; 2 << 20]));
    }

    #[test]
    fn the_digest_of_a_folder_tells_every_file_and_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join("model").join(name);
            std::fs::create_dir_all(prony_files::folder(&path)).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        let digest = || {
            let digest = Digests::default().of(&folder.path().join("model"), &|| false);
            digest.expect("a digest")
        };
        write("a", "one");
        write("b/c", "two");
        let (first, bytes) = digest();
        assert_eq!(bytes, 6);
        write("b/c", "TWO");
        assert_ne!(digest().0, first);
        write("b/c", "two");
        assert_eq!(digest().0, first);
        std::fs::rename(folder.path().join("model/a"), folder.path().join("model/d"))
            .expect("moved");
        assert_ne!(digest().0, first);
    }
}
