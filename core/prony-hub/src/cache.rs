//! The hub's cache folder.
//!
//! `models--ORG--NAME/` holds `blobs/BLOB`, `snapshots/COMMIT/FILE`, which are links to blobs,
//! and `refs/REVISION` with the commit.

use crate::{Error, Result, names};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Most bytes of a file that names a commit.
const MAX_REF: u64 = 1 << 10;
/// Most files of a model.
const MAX_FILES: usize = 100_000;
/// Deepest folder of a model's files.
const MAX_DEPTH: usize = 16;

/// A model in the cache folder, at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedModel {
    /// Its id.
    pub id: String,
    /// The commit.
    pub commit: String,
    /// Branches and tags that are this commit, as far as known here.
    pub revisions: Vec<String>,
    /// The files with their sizes in bytes, by name.
    pub files: Vec<(String, u64)>,
    /// Folder of the files.
    pub folder: PathBuf,
}

/// The cache folder by the hub's own variables; `None` without a home.
/// <https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables>
pub(crate) fn folder(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name: &str| {
        variable(name)
            .filter(|it| !it.is_empty())
            .map(PathBuf::from)
    };
    set("HF_HUB_CACHE")
        .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| Some(home(variable)?.join("hub")))
}

/// The hub's folder of a user.
pub(crate) fn home(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name: &str| {
        variable(name)
            .filter(|it| !it.is_empty())
            .map(PathBuf::from)
    };
    set("HF_HOME")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("huggingface")))
        .or_else(|| Some(set("HOME")?.join(".cache/huggingface")))
}

/// A model's part of the cache folder.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
    pub(crate) folder: PathBuf,
}

impl Cache {
    /// `id` has been checked.
    pub(crate) fn of(root: &Path, id: &str) -> Self {
        let name = format!("models--{}", id.replace('/', "--"));
        Self {
            root: root.to_owned(),
            folder: root.join(name),
        }
    }

    pub(crate) fn blob(&self, blob: &str) -> PathBuf {
        self.folder.join("blobs").join(blob)
    }

    /// The file that is locked while a blob is fetched, where the hub's Python package has it.
    pub(crate) fn lock(&self, blob: &str) -> PathBuf {
        let name = self.folder.file_name().unwrap_or_default();
        self.root
            .join(".locks")
            .join(name)
            .join(format!("{blob}.lock"))
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The commit that a revision was when it was last asked for.
    pub(crate) fn commit(&self, revision: &str) -> Option<String> {
        if names::is_commit(revision) {
            return Some(revision.to_owned());
        }
        names::check_path("revision", revision).ok()?;
        let text =
            prony_files::read_text(&self.folder.join("refs").join(revision), MAX_REF).ok()?;
        let commit = text.trim();
        names::is_commit(commit).then(|| commit.to_owned())
    }

    /// Remembers the commit of a revision.
    pub(crate) fn remember(&self, revision: &str, commit: &str) -> Result<()> {
        if names::is_commit(revision) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        prony_files::replace(&path, commit.as_bytes()).map_err(Error::io(&path))
    }

    /// Makes a file of a snapshot, as a link to its blob.
    pub(crate) fn link(&self, commit: &str, file: &str, blob: &str) -> Result<()> {
        let path = self.snapshot(commit).join(file);
        let up = "../".repeat(2 + file.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{blob}"));
        if fs::read_link(&path).is_ok_and(|it| it == target) {
            return Ok(());
        }
        let folder = prony_files::folder(&path);
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(&path)(error));
            }
            _ => {}
        }
        std::os::unix::fs::symlink(target, &path).map_err(Error::io(&path))
    }

    /// Files of a snapshot with their sizes, by name; empty if there is none.
    pub(crate) fn files(&self, commit: &str) -> Vec<(String, u64)> {
        files(&self.snapshot(commit))
    }
}

/// Files below a folder with their sizes, by name; empty if there is none.
pub(crate) fn files(folder: &Path) -> Vec<(String, u64)> {
    let mut files = Vec::new();
    list(folder, "", MAX_DEPTH, &mut files);
    files.sort();
    files
}

fn list(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<(String, u64)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type()) else {
            continue;
        };
        let name = format!("{prefix}{name}");
        // Links are followed to files only: one to a folder may lead back.
        if kind.is_dir() {
            if depth > 0 {
                list(&entry.path(), &format!("{name}/"), depth - 1, files);
            }
        } else if let Ok(found) = fs::metadata(entry.path())
            && found.is_file()
            && files.len() < MAX_FILES
        {
            files.push((name, found.len()));
        }
    }
}

/// All models in the cache folder, by id and commit.
pub(crate) fn models(root: &Path) -> Vec<CachedModel> {
    let mut models = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let id = name.to_str().and_then(|it| it.strip_prefix("models--"));
        let Some(id) = id.map(|it| it.replacen("--", "/", 1)) else {
            continue;
        };
        if names::check_id(&id).is_err() {
            continue;
        }
        let cache = Cache::of(root, &id);
        let revisions = files(&cache.folder.join("refs"));
        let snapshots = fs::read_dir(cache.folder.join("snapshots"));
        for snapshot in snapshots.into_iter().flatten().flatten() {
            let Ok(commit) = snapshot.file_name().into_string() else {
                continue;
            };
            let files = cache.files(&commit);
            if !names::is_commit(&commit) || files.is_empty() {
                continue;
            }
            let mut known: Vec<String> = revisions
                .iter()
                .map(|(name, _)| name.clone())
                .filter(|name| cache.commit(name).as_ref() == Some(&commit))
                .collect();
            known.sort();
            models.push(CachedModel {
                id: id.clone(),
                revisions: known,
                folder: cache.snapshot(&commit),
                files,
                commit,
            });
        }
    }
    models.sort_by(|a, b| (&a.id, &a.commit).cmp(&(&b.id, &b.commit)));
    models
}
