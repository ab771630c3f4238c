//! Models of the Hugging Face hub, fetched into the hub's own cache folder.
//!
//! The folder's layout is that of the hub's Python package
//! (<https://huggingface.co/docs/huggingface_hub/guides/manage-cache>), so that engines find
//! what was fetched here, and what they have fetched is not fetched again. A file is complete
//! and has the digest that the hub states, or is not there; what is missing of a broken-off
//! download is fetched later.

mod cache;
mod download;
mod error;
mod fetch;
mod lock;
mod names;
mod remote;

pub use cache::CachedModel;
pub use error::{Error, Result};
pub use fetch::Hub;
pub use lock::{LOCK, Lock, Locked, LockedFile};

use std::path::{Path, PathBuf};

/// Files of a model to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The model's id on the hub, `organisation/name`.
    pub id: &'a str,
    /// Branch, tag or commit; the hub's default branch if absent.
    pub revision: Option<&'a str>,
    /// Names of files, with `*`, `?` and `[…]` as in a shell; `*` also matches `/`.
    pub files: &'a [String],
}

/// Files of a model that are in the cache folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The entry to lock: the commit and the files with their digests.
    pub locked: Locked,
    /// Folder with all files of this commit that are here.
    pub folder: PathBuf,
}

impl Fetched {
    /// The path for an engine: the file if there is one only, or the first of one that was
    /// split (`…-00001-of-00003.gguf`), else the folder.
    pub fn path(&self) -> PathBuf {
        let names = self.locked.found.iter().map(|file| file.name.as_str());
        path_of(&self.folder, names)
    }
}

/// The path of files in a folder, as in [`Fetched::path`]; they are sorted.
fn path_of<'n>(folder: &Path, mut files: impl Iterator<Item = &'n str>) -> PathBuf {
    match files.next() {
        Some(first) if files.all(|name| names::is_next_part(first, name)) => folder.join(first),
        _ => folder.to_owned(),
    }
}

/// Follows a fetch, and may end it.
pub trait Watch {
    /// A file of `bytes` begins, of which `have` are there already.
    fn begins(&mut self, file: &str, bytes: u64, have: u64);
    /// `have` bytes of the file are there.
    fn has(&mut self, have: u64);
    /// Something that the user should know.
    fn note(&mut self, text: &str);
    /// `true` if the fetch is to end with [`Error::Interrupted`].
    fn is_interrupted(&self) -> bool;
    /// SHA-256 of a file in the cache folder, in lower-case hexadecimal digits.
    fn sha256(&mut self, path: &Path) -> std::io::Result<String>;
}
