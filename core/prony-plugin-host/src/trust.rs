//! Native code runs unsandboxed, so it needs more than a lock file that names it: a grant
//! that the user has given on this machine, a place that only the user can write, and a
//! private copy, so that the bytes that were verified are the bytes that are loaded.

use crate::digest::sha256_of;
use crate::error::{Error, Result};
use nix::unistd::{Gid, Group, Uid, User, geteuid};
use std::collections::HashSet;
use std::fs::{DirBuilder, Metadata, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Maximum size of the file of grants, in bytes: some thousand grants.
const MAX_GRANTS: u64 = 1 << 20;

/// The native code that may run. The default allows none.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The user's grants: lines of a library's SHA-256 and, for people, its name.
    pub grants: Option<PathBuf>,
    /// Lock files that belong to prony itself; their libraries need no grant.
    pub bundled: Vec<PathBuf>,
}

impl Trust {
    /// Returns `true` if the lock file is one of prony's own.
    pub(crate) fn is_bundled(&self, lock: &Path) -> bool {
        let Ok(lock) = lock.canonicalize() else {
            return false;
        };
        let mut bundled = self.bundled.iter();
        bundled.any(|own| own.canonicalize().is_ok_and(|own| own == lock))
    }

    /// Checks that the library `path`, whose digest a lock file names, may be loaded.
    pub(crate) fn check(&self, lock: &Path, path: &Path, sha256: &str) -> Result<()> {
        if self.is_bundled(lock) {
            // Whoever owns prony can change it anyway.
            let prony = std::env::current_exe().and_then(std::fs::metadata);
            let owner = prony.ok().map(|prony| prony.uid());
            refuse_exposed(lock, owner)?;
            return refuse_exposed(path, owner);
        }
        if !self.granted()?.contains(sha256) {
            return Err(Error::NotGranted {
                path: path.to_owned(),
            });
        }
        refuse_exposed(path, None)
    }

    fn granted(&self) -> Result<HashSet<String>> {
        let Some(grants) = self.grants.as_ref().filter(|grants| grants.exists()) else {
            return Ok(HashSet::new());
        };
        refuse_exposed(grants, None)?;
        let text = prony_files::read_text(grants, MAX_GRANTS).map_err(Error::io(grants))?;
        let digests = text
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        Ok(digests.map(str::to_ascii_lowercase).collect())
    }

    /// Grants the library with this digest to run, by a new line.
    pub(crate) fn grant(&self, sha256: &str, name: &str) -> Result<()> {
        let Some(grants) = &self.grants else {
            let source = std::io::Error::other("there is no folder for the user's grants");
            return Err(Error::io("grants")(source));
        };
        let folder = prony_files::folder(grants);
        make_private_folder(&folder)?;
        let _one_at_a_time = prony_files::lock_folder(&folder).map_err(Error::io(&folder))?;
        if self.granted()?.contains(sha256) {
            return Ok(());
        }
        let mut text = match prony_files::read_text(grants, MAX_GRANTS) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                "# Native plugins that may run on this machine: SHA-256 and name.\n".to_owned()
            }
            Err(error) => return Err(Error::io(grants)(error)),
        };
        text = format!("{}\n{sha256}  {name}\n", text.trim_end());
        prony_files::replace(grants, text.as_bytes()).map_err(Error::io(grants))
    }
}

/// A copy of a library that only the user can change, in `cache`; made if it is not there.
/// The name tells the content, and what is there is checked.
pub(crate) fn private_copy(cache: &Path, sha256: &str, bytes: &[u8]) -> Result<PathBuf> {
    make_private_folder(cache)?;
    // Links on the way are no matter; what they lead to is.
    let cache = cache.canonicalize().map_err(Error::io(cache))?;
    refuse_exposed(&cache, None)?;
    let path = cache.join(format!("{sha256}.{}", std::env::consts::DLL_EXTENSION));
    let is_own = |found: &Metadata| {
        let mode = found.permissions().mode();
        found.is_file() && found.uid() == geteuid().as_raw() && mode & 0o7777 == 0o500
    };
    let found = std::fs::symlink_metadata(&path);
    let is_there = found.is_ok_and(|found| is_own(&found))
        && std::fs::read(&path).is_ok_and(|found| sha256_of(&found) == sha256);
    if !is_there {
        let mut file = tempfile::NamedTempFile::new_in(&cache).map_err(Error::io(&cache))?;
        file.write_all(bytes).map_err(Error::io(&path))?;
        let mode = Permissions::from_mode(0o500);
        file.as_file()
            .set_permissions(mode)
            .map_err(Error::io(&path))?;
        // The system does not load a file that is open for writing everywhere.
        file.into_temp_path()
            .persist(&path)
            .map_err(|error| Error::io(&path)(error.error))?;
    }
    Ok(path)
}

/// Makes a folder that only the user can use, unless it is there.
fn make_private_folder(folder: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.map_err(Error::io(folder))
}

/// Fails if others than the user and root (and `owner`) can change the file, or put another
/// in its place, since they can write it or one of the folders above it.
fn refuse_exposed(path: &Path, owner: Option<u32>) -> Result<()> {
    let path = path.canonicalize().map_err(Error::io(path))?;
    let user = geteuid();
    for place in path.ancestors() {
        let found = std::fs::metadata(place).map_err(Error::io(place))?;
        let exposed = |words: String| Error::Exposed {
            path: path.clone(),
            place: place.to_owned(),
            words,
        };
        let uid = Uid::from_raw(found.uid());
        if !(uid.is_root() || uid == user || Some(found.uid()) == owner) {
            let words = "belongs to another user: move it to a folder of your own";
            return Err(exposed(words.to_owned()));
        }
        let mode = found.permissions().mode();
        // Nobody can replace the files of others in such a folder, for example `/tmp`.
        let is_sticky = found.is_dir() && mode & 0o1000 != 0;
        let by_group = mode & 0o020 != 0 && !is_of_one(Gid::from_raw(found.gid()), user);
        if (mode & 0o002 != 0 || by_group) && !is_sticky {
            let who = if mode & 0o002 != 0 { "o" } else { "g" };
            let words = format!(
                "can be written by others: run `chmod {who}-w '{}'`",
                place.display()
            );
            return Err(exposed(words));
        }
    }
    Ok(())
}

/// Returns `true` for a group that has nobody in it but the user, or who may become root.
fn is_of_one(group: Gid, user: Uid) -> bool {
    /// The group `admin`, whose members may become root.
    const ADMIN: u32 = 80;
    if group.as_raw() == 0 || (cfg!(target_os = "macos") && group.as_raw() == ADMIN) {
        return true;
    }
    // By custom a user's private group has the user's name.
    match (User::from_uid(user), Group::from_gid(group)) {
        (Ok(Some(user)), Ok(Some(group))) => {
            user.gid == group.gid
                && user.name == group.name
                && group.mem.iter().all(|member| *member == user.name)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    }

    #[test]
    fn what_others_can_write_is_refused_wherever_they_can() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("a/b");
        std::fs::create_dir_all(&inner).expect("folders");
        let file = inner.join("library");
        std::fs::write(&file, "").expect("a file");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&inner, &link).expect("a link");
        let linked = link.join("library");
        let check = || [&file, &linked].map(|path| refuse_exposed(path, None));
        assert!(check().iter().all(Result::is_ok), "{:?}", check());
        let place = folder.path().join("a");
        for (place, mode, is_well) in [
            (&file, 0o666, false),
            (&file, 0o644, true),
            (&inner, 0o757, false),
            (&inner, 0o755, true),
            (&place, 0o777, false),
            // As `/tmp`.
            (&place, 0o1777, true),
        ] {
            set(place, mode);
            for checked in check() {
                assert_eq!(checked.is_ok(), is_well, "{place:?} {mode:o}: {checked:?}");
                if let Err(error) = checked {
                    let words = error.to_string();
                    let place = place.canonicalize().expect("it is there");
                    assert!(words.contains(&*place.to_string_lossy()), "{words}");
                }
            }
        }
    }

    #[test]
    fn only_a_private_group_is_of_one() {
        let user = geteuid();
        assert!(is_of_one(Gid::from_raw(0), user));
        // Nobody's.
        assert!(!is_of_one(Gid::from_raw(54_321), user));
    }

    #[test]
    fn a_grant_is_given_once_and_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let trust = Trust {
            grants: Some(folder.path().join("new/grants")),
            bundled: Vec::new(),
        };
        assert!(trust.granted().expect("none yet").is_empty());
        for _ in 0..2 {
            trust.grant("abc", "engine mine").expect("a grant");
        }
        trust.grant("def", "engine other").expect("a grant");
        let text = std::fs::read_to_string(folder.path().join("new/grants")).expect("a file");
        assert_eq!(text.matches("abc").count(), 1, "{text}");
        let granted = trust.granted().expect("grants");
        assert!(granted.contains("abc") && granted.contains("def"));
        set(&folder.path().join("new/grants"), 0o666);
        assert!(matches!(trust.granted(), Err(Error::Exposed { .. })));
        assert!(Trust::default().grant("abc", "engine mine").is_err());
    }

    #[test]
    fn a_copy_that_was_changed_is_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = folder.path().join("cache");
        let digest = sha256_of(b"library");
        let copy = || {
            let path = private_copy(&cache, &digest, b"library").expect("a copy");
            assert_eq!(std::fs::read(&path).expect("readable"), b"library");
            path
        };
        let path = copy();
        set(&path, 0o700);
        std::fs::write(&path, "other").expect("it is ours");
        set(&path, 0o500);
        assert_eq!(copy(), path);
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, "library").expect("a file");
        std::fs::remove_file(&path).expect("it is ours");
        std::os::unix::fs::symlink(&elsewhere, &path).expect("a link");
        assert!(!copy().is_symlink());
        set(&cache, 0o777);
        let refused = private_copy(&cache, &digest, b"library");
        assert!(matches!(refused, Err(Error::Exposed { .. })));
    }
}
