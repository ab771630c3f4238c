//! Fetching of models.

use crate::cache::{self, Cache, CachedModel};
use crate::remote::{Failure, Listing, Remote, RemoteFile};
use crate::{
    Error, Fetched, LOCK, Lock, Locked, LockedFile, Result, Wanted, Watch, download, names, path_of,
};
use glob::Pattern;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The hub's own address.
const ENDPOINT: &str = "https://huggingface.co";
/// The default branch of every model.
const MAIN: &str = "main";
/// Files named in a message.
const NAMED: usize = 12;
/// Most bytes of a token.
const MAX_TOKEN: u64 = 4 << 10;

/// The hub, or a mirror of it, and the cache folder.
#[derive(Debug, Clone)]
pub struct Hub {
    remote: Remote,
    /// Cache folder.
    root: PathBuf,
    /// `true` if the hub is not to be asked.
    offline: bool,
    /// Folders in which models lie as their id says.
    folders: Vec<PathBuf>,
}

impl Hub {
    /// As the environment says, in the hub's own variables: `HF_ENDPOINT`, `HF_TOKEN`,
    /// `HF_TOKEN_PATH`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`,
    /// `HF_HUB_DISABLE_IMPLICIT_TOKEN`.
    pub fn from_env() -> Self {
        Self::new(&|name| std::env::var_os(name))
    }

    /// As the variables say.
    pub fn new(variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| {
            variable(name)
                .and_then(|it| it.into_string().ok())
                .filter(|it| !it.is_empty())
        };
        let is_on = |name: &str| {
            text(name)
                .is_some_and(|it| ["1", "true", "yes", "on"].contains(&it.to_lowercase().as_str()))
        };
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let saved = || {
            let path = text("HF_TOKEN_PATH").map(PathBuf::from);
            let path = path.or_else(|| Some(cache::home(variable)?.join("token")))?;
            let token = prony_files::read_text(&path, MAX_TOKEN)
                .ok()?
                .trim()
                .to_owned();
            (!token.is_empty() && !is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN")).then_some(token)
        };
        let token = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN"));
        let token = token.map(|it| it.trim().to_owned()).or_else(saved);
        // Nobody on the way may read it.
        let token = token.filter(|_| is_private(&endpoint));
        let root = cache::folder(variable);
        Self {
            remote: Remote::new(&endpoint, token),
            root: root.unwrap_or_else(|| std::env::temp_dir().join("huggingface/hub")),
            offline: is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE"),
            folders: Vec::new(),
        }
    }

    /// With folders in which models lie at `ORGANISATION/NAME`, which are not fetched.
    #[must_use]
    pub fn with_folders(self, folders: Vec<PathBuf>) -> Self {
        Self { folders, ..self }
    }

    /// The cache folder.
    pub fn cache(&self) -> &Path {
        &self.root
    }

    /// All models in the cache folder, by id and commit.
    pub fn cached(&self) -> Vec<CachedModel> {
        cache::models(&self.root)
    }

    /// Makes the files be in the cache folder. With `locked`, of that commit and with those
    /// digests; nothing is asked of the hub for what is there already.
    pub fn fetch(
        &self,
        wanted: &Wanted<'_>,
        locked: Option<&Locked>,
        watch: &mut dyn Watch,
    ) -> Result<Fetched> {
        names::check_id(wanted.id)?;
        let revision = wanted.revision.unwrap_or(MAIN);
        names::check_path("revision", revision)?;
        let cache = Cache::of(&self.root, wanted.id);
        if let Some(locked) = locked
            && let Some(fetched) = have_locked(&cache, locked, watch)?
        {
            return Ok(fetched);
        }
        let commit = locked.map(|it| it.commit.as_str());
        let listing = match self.list(wanted.id, commit.unwrap_or(revision)) {
            Ok(listing) => listing,
            Err(Failure::Lasting(error)) => return Err(error),
            Err(Failure::Passing(reason)) => {
                if locked.is_none()
                    && let Some(fetched) = self.have(&cache, wanted, &reason, watch)?
                {
                    return Ok(fetched);
                }
                return Err(self.unreachable(&cache, wanted, reason));
            }
        };
        let pinned = commit.unwrap_or(revision);
        if names::is_commit(pinned) && listing.commit != pinned {
            let reason = format!("commit {} came for {pinned}", listing.commit);
            return Err(self.remote.answer(reason));
        }
        let files = select(wanted, &listing)?;
        self.check_room(&cache, wanted, &files)?;
        let mut found = Vec::new();
        for file in files {
            let sha256 = download::fetch(
                &self.remote,
                &cache,
                wanted.id,
                &listing.commit,
                file,
                watch,
            )?;
            if let Some(locked) = locked {
                check_locked(locked, &file.name, &sha256, &cache.blob(&file.blob))?;
            }
            cache.link(&listing.commit, &file.name, &file.blob)?;
            found.push(LockedFile {
                name: file.name.clone(),
                bytes: file.bytes,
                sha256,
            });
        }
        if locked.is_none() {
            cache.remember(revision, &listing.commit)?;
        }
        Ok(fetched(&cache, wanted, listing.commit, found))
    }

    /// The path of a model for an engine, as [`Fetched::path`]: in one of the folders of models,
    /// or else fetched and locked.
    pub fn path(
        &self,
        lock_folder: &Path,
        wanted: &Wanted<'_>,
        watch: &mut dyn Watch,
    ) -> Result<PathBuf> {
        names::check_id(wanted.id)?;
        if let Some(path) = self.in_folders(wanted)? {
            return Ok(path);
        }
        Ok(self.fetch_locked(lock_folder, wanted, false, watch)?.path())
    }

    /// `true` if a model is here, whatever the hub has.
    pub fn has(&self, lock_folder: &Path, wanted: &Wanted<'_>) -> Result<bool> {
        names::check_id(wanted.id)?;
        if self.in_folders(wanted)?.is_some() {
            return Ok(true);
        }
        let cache = Cache::of(&self.root, wanted.id);
        let lock = Lock::read(&lock_folder.join(LOCK))?;
        if let Some(locked) = lock.find(wanted) {
            let there = cache.files(&locked.commit);
            let is_there = |it: &LockedFile| there.contains(&(it.name.clone(), it.bytes));
            return Ok(locked.found.iter().all(is_there));
        }
        let commit = cache.commit(wanted.revision.unwrap_or(MAIN));
        Ok(match commit {
            Some(commit) => matching(wanted, cache.files(&commit))?.is_some(),
            None => false,
        })
    }

    fn in_folders(&self, wanted: &Wanted<'_>) -> Result<Option<PathBuf>> {
        for folder in &self.folders {
            let folder = folder.join(wanted.id);
            if let Some(files) = matching(wanted, cache::files(&folder))? {
                let names = files.iter().map(|(name, _)| name.as_str());
                return Ok(Some(path_of(&folder, names)));
            }
        }
        Ok(None)
    }

    /// As [`Hub::fetch`], locked in `models.lock` in a folder: of the commit that stands there,
    /// or else of the revision's, which is written there. With `anew` the revision is asked for
    /// again.
    pub fn fetch_locked(
        &self,
        folder: &Path,
        wanted: &Wanted<'_>,
        anew: bool,
        watch: &mut dyn Watch,
    ) -> Result<Fetched> {
        let path = folder.join(LOCK);
        let locked = Lock::read(&path)?;
        let locked = locked.find(wanted).filter(|_| !anew);
        let fetched = self.fetch(wanted, locked, watch)?;
        // Another process may have written meanwhile.
        let mut lock = Lock::read(&path)?;
        if lock.put(fetched.locked.clone())
            && let Err(error) = lock.write(&path)
        {
            watch.note(&format!(
                "the model is not locked, so the next run may get another commit: {error}"
            ));
        }
        Ok(fetched)
    }

    fn list(&self, id: &str, revision: &str) -> Result<Listing, Failure> {
        if self.offline {
            return Err(Failure::Passing("`HF_HUB_OFFLINE` is set".to_owned()));
        }
        self.remote.list(id, revision)
    }

    /// The files of the cache folder, for a hub that cannot be asked.
    fn have(
        &self,
        cache: &Cache,
        wanted: &Wanted<'_>,
        reason: &str,
        watch: &mut dyn Watch,
    ) -> Result<Option<Fetched>> {
        let Some(commit) = cache.commit(wanted.revision.unwrap_or(MAIN)) else {
            return Ok(None);
        };
        let Some(found) = matching(wanted, cache.files(&commit))? else {
            return Ok(None);
        };
        watch.note(&format!(
            "{} cannot be reached ({reason}): taking the files of `{}` that are here, of commit {commit}",
            self.remote.endpoint, wanted.id
        ));
        let folder = cache.snapshot(&commit);
        let found: Result<Vec<LockedFile>> = found
            .into_iter()
            .map(|(name, bytes)| {
                let sha256 = digest(&folder.join(&name), watch)?;
                Ok(LockedFile {
                    name,
                    bytes,
                    sha256,
                })
            })
            .collect();
        Ok(Some(fetched(cache, wanted, commit, found?)))
    }

    fn unreachable(&self, cache: &Cache, wanted: &Wanted<'_>, reason: String) -> Error {
        let words = wanted.files.iter();
        let files = words.fold(String::new(), |all, it| format!("{all} '{it}'"));
        Error::Unreachable {
            endpoint: self.remote.endpoint.as_str().into(),
            id: wanted.id.into(),
            files: files.into(),
            reason: reason.into(),
            folder: cache.folder.clone(),
        }
    }

    /// Checks that the disk has room for what is missing.
    fn check_room(&self, cache: &Cache, wanted: &Wanted<'_>, files: &[&RemoteFile]) -> Result<()> {
        let have = |path: PathBuf| std::fs::metadata(path).map_or(0, |found| found.len());
        let missing = files.iter().fold(0_u64, |sum, file| {
            let blob = cache.blob(&file.blob);
            let part = blob.with_added_extension("incomplete");
            let have = have(blob).max(have(part));
            sum.saturating_add(file.bytes.saturating_sub(have))
        });
        std::fs::create_dir_all(&self.root).map_err(Error::io(&self.root))?;
        match prony_files::free_bytes(&self.root) {
            Some(free) if free < missing => Err(Error::Full {
                id: wanted.id.to_owned(),
                needed: size(missing),
                free: size(free),
                cache: self.root.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// The locked files, if all are here.
fn have_locked(cache: &Cache, locked: &Locked, watch: &mut dyn Watch) -> Result<Option<Fetched>> {
    let folder = cache.snapshot(&locked.commit);
    for file in &locked.found {
        let path = folder.join(&file.name);
        match std::fs::metadata(&path) {
            Ok(found) if found.is_file() && found.len() == file.bytes => {}
            _ => return Ok(None),
        }
        let sha256 = digest(&path, watch)?;
        check_locked(locked, &file.name, &sha256, &path)?;
    }
    let wanted = Wanted {
        id: &locked.id,
        revision: locked.revision.as_deref(),
        files: &locked.files,
    };
    let commit = locked.commit.clone();
    Ok(Some(fetched(cache, &wanted, commit, locked.found.clone())))
}

/// `true` if what is sent there is encrypted, or stays on this machine.
fn is_private(endpoint: &str) -> bool {
    let Some((scheme, rest)) = endpoint.split_once("://") else {
        return false;
    };
    if scheme.eq_ignore_ascii_case("https") {
        return true;
    }
    let host = rest.split('/').next().unwrap_or_default();
    let host = host.strip_prefix('[').map_or_else(
        || host.split(':').next().unwrap_or_default(),
        |host| host.split(']').next().unwrap_or_default(),
    );
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|it| it.is_loopback())
}

fn fetched(cache: &Cache, wanted: &Wanted<'_>, commit: String, found: Vec<LockedFile>) -> Fetched {
    Fetched {
        folder: cache.snapshot(&commit),
        locked: Locked {
            id: wanted.id.to_owned(),
            revision: wanted.revision.map(ToOwned::to_owned),
            files: wanted.files.to_vec(),
            commit,
            found,
        },
    }
}

fn digest(path: &Path, watch: &mut dyn Watch) -> Result<String> {
    match watch.sha256(path) {
        Ok(sha256) => Ok(sha256),
        Err(_) if watch.is_interrupted() => Err(Error::Interrupted),
        Err(error) => Err(Error::io(path)(error)),
    }
}

fn check_locked(locked: &Locked, name: &str, sha256: &str, path: &Path) -> Result<()> {
    let expected = locked.found.iter().find(|it| it.name == name);
    match expected {
        Some(expected) if expected.sha256 == sha256 => Ok(()),
        Some(expected) => Err(Error::Digest {
            path: path.to_owned(),
            reason: format!(
                "it has SHA-256 {sha256}, and `models.lock` says {}: delete it, to fetch it anew, or the model's entry of `models.lock`",
                expected.sha256
            ),
        }),
        None => Err(Error::Digest {
            path: path.to_owned(),
            reason: format!("`models.lock` does not have `{name}`: delete the model's entry there"),
        }),
    }
}

/// The files with the wanted names, by name; `None` if one of the names is of none.
fn matching(wanted: &Wanted<'_>, there: Vec<(String, u64)>) -> Result<Option<Vec<(String, u64)>>> {
    let patterns: Vec<Pattern> = wanted
        .files
        .iter()
        .map(|it| pattern_of(it))
        .collect::<Result<_>>()?;
    let is_there = |pattern: &Pattern| there.iter().any(|(name, _)| pattern.matches(name));
    if !patterns.iter().all(is_there) {
        return Ok(None);
    }
    let is_wanted = |name: &str| patterns.iter().any(|it| it.matches(name));
    let files = there.into_iter().filter(|(name, _)| is_wanted(name));
    Ok(Some(files.collect()))
}

fn pattern_of(text: &str) -> Result<Pattern> {
    Pattern::new(text).map_err(|_| Error::Name {
        kind: "file",
        name: text.to_owned(),
        expected: "expected a name with `*`, `?` and `[…]` as in a shell",
    })
}

/// The files with the wanted names, by name.
fn select<'a>(wanted: &Wanted<'_>, listing: &'a Listing) -> Result<Vec<&'a RemoteFile>> {
    let mut is_wanted = vec![false; listing.files.len()];
    for text in wanted.files {
        let pattern = pattern_of(text)?;
        let mut matches = 0;
        for (file, is_wanted) in listing.files.iter().zip(&mut is_wanted) {
            if pattern.matches(&file.name) {
                *is_wanted = true;
                matches += 1;
            }
        }
        if matches == 0 {
            return Err(Error::NoFile {
                id: wanted.id.to_owned(),
                pattern: text.clone(),
                commit: listing.commit.clone(),
                there: there(&listing.files),
            });
        }
    }
    let files = listing.files.iter().zip(is_wanted);
    Ok(files
        .filter(|(_, is_wanted)| *is_wanted)
        .map(|(file, _)| file)
        .collect())
}

/// Names of files for a message.
fn there(files: &[RemoteFile]) -> String {
    let mut names: Vec<String> = files
        .iter()
        .take(NAMED)
        .map(|it| format!("`{}`", it.name))
        .collect();
    if files.len() > NAMED {
        names.push(format!("{} more", files.len() - NAMED));
    }
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}

/// A size for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_where_nobody_reads_it() {
        for endpoint in [
            "https://huggingface.co",
            "http://127.0.0.1:8080",
            "http://localhost",
            "http://[::1]:8080/hub",
        ] {
            assert!(is_private(endpoint), "{endpoint}");
        }
        for endpoint in [
            "http://huggingface.co",
            "http://10.0.0.1:8080",
            "http://localhost.evil.com",
            "http://127.0.0.1.evil.com/",
            "http://[fe80::1]/",
            "http://127.0.0.1@evil.com/",
            "HTTP://huggingface.co",
        ] {
            assert!(!is_private(endpoint), "{endpoint}");
        }
    }
}
