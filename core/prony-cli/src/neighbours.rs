//! Other prony processes that measure on this machine. Each disturbs the other, so both warn.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// Folder in the cache with a file for each prony that measures, locked while it does.
const FOLDER: &str = "measuring";

/// This prony among those that measure.
pub(crate) struct Neighbours {
    folder: PathBuf,
    own: String,
    /// Held locked; `None` where files cannot be locked.
    _locked: Option<File>,
    told: BTreeSet<String>,
}

impl Neighbours {
    /// Announces this prony.
    pub(crate) fn new(cache: &Path) -> Self {
        let folder = cache.join(FOLDER);
        let own = std::process::id().to_string();
        let announced = fs::create_dir_all(&folder).and_then(|()| File::create(folder.join(&own)));
        let locked = announced.ok().filter(|file| file.try_lock().is_ok());
        Self {
            folder,
            own,
            _locked: locked,
            told: BTreeSet::new(),
        }
    }

    /// Process ids of those that measure now, each told once.
    pub(crate) fn new_ones(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if name == self.own || !name.bytes().all(|it| it.is_ascii_digit()) {
                continue;
            }
            let Ok(file) = prony_files::open(&entry.path()) else {
                continue;
            };
            match file.try_lock_shared() {
                // What one left that was killed.
                Ok(()) => {
                    let _ = fs::remove_file(entry.path());
                }
                Err(TryLockError::WouldBlock) if self.told.insert(name.clone()) => found.push(name),
                Err(_) => {}
            }
        }
        found
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.folder.join(&self.own));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_measures_is_told_once_and_one_that_died_is_forgotten() {
        let cache = tempfile::tempdir().expect("a folder");
        let mut own = Neighbours::new(cache.path());
        assert!(own.new_ones().is_empty());
        let folder = cache.path().join(FOLDER);
        let other = File::create(folder.join("1")).expect("a file");
        other.try_lock().expect("nobody else has it");
        fs::write(folder.join("2"), "").expect("a file");
        assert_eq!(own.new_ones(), ["1"]);
        assert!(own.new_ones().is_empty(), "once");
        assert!(!folder.join("2").exists());
        drop(own);
        let left: Vec<_> = fs::read_dir(folder).expect("a folder").flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
