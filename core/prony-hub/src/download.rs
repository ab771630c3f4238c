//! One file, from the hub into the cache folder.

use crate::cache::Cache;
use crate::remote::{Failure, Remote, RemoteFile};
use crate::{Error, Result, Watch};
use rustix::fs::OFlags;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Tries without a new byte before a download is given up.
const TRIES: u32 = 5;
/// Wait before the second try; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Interruptions are noticed within this time.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const CHUNK: usize = 256 << 10;
/// Chunks read ahead of the disk.
const AHEAD: usize = 8;

/// The digests of a content: the one that the hub names it by, and the one to lock.
struct Digests {
    /// Of small files: Git's, over a header and the content.
    git: Option<Sha1>,
    sha256: Sha256,
}

impl Digests {
    fn new(file: &RemoteFile) -> Self {
        let git = (file.blob.len() == 40).then(|| {
            let mut git = Sha1::new();
            git.update(format!("blob {}\0", file.bytes));
            git
        });
        Self {
            git,
            sha256: Sha256::new(),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(git) = &mut self.git {
            git.update(bytes);
        }
    }

    /// The blob's name and the SHA-256.
    fn finish(self) -> (String, String) {
        let sha256 = hexadecimal(&self.sha256.finalize());
        let blob = self.git.map(|git| hexadecimal(&git.finalize()));
        (blob.unwrap_or_else(|| sha256.clone()), sha256)
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Makes a file of a model be in the cache folder. Returns its SHA-256.
pub(crate) fn fetch(
    remote: &Remote,
    cache: &Cache,
    id: &str,
    commit: &str,
    file: &RemoteFile,
    watch: &mut dyn Watch,
) -> Result<String> {
    let path = cache.blob(&file.blob);
    let _locked = lock(&cache.lock(&file.blob), &file.name, watch)?;
    if let Some(sha256) = kept(&path, file, watch)? {
        return Ok(sha256);
    }
    let folder = prony_files::folder(&path);
    fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    let part = path.with_added_extension("incomplete");
    let mut again = true;
    loop {
        let (blob, sha256) = receive(remote, id, commit, file, &part, watch)?;
        if blob == file.blob {
            fs::rename(&part, &path).map_err(Error::io(&path))?;
            prony_files::sync_folder(&folder);
            return Ok(sha256);
        }
        fs::remove_file(&part).map_err(Error::io(&part))?;
        if !again {
            return Err(Error::Digest {
                path: part,
                reason: format!(
                    "`{}` came with digest {blob}, and the hub states {}: it has been deleted; is the hub a faithful mirror?",
                    file.name, file.blob
                ),
            });
        }
        // What an earlier download left may be of another content.
        again = false;
        watch.note(&format!(
            "{}: what came has another digest; fetching it anew",
            file.name
        ));
    }
}

/// SHA-256 of a blob that is there and is what its name says; one that is not is deleted.
fn kept(path: &Path, file: &RemoteFile, watch: &mut dyn Watch) -> Result<Option<String>> {
    match fs::metadata(path) {
        Ok(found) if found.len() == file.bytes => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(_) => return delete(path, &file.name, watch),
        Err(error) => return Err(Error::io(path)(error)),
    }
    let sha256 = match watch.sha256(path) {
        Ok(sha256) => sha256,
        Err(_) if watch.is_interrupted() => return Err(Error::Interrupted),
        Err(error) => return Err(Error::io(path)(error)),
    };
    let blob = if file.blob.len() == 64 {
        sha256.clone()
    } else {
        let mut digests = Digests::new(file);
        digests.update(&prony_files::read(path, file.bytes).map_err(Error::io(path))?);
        digests.finish().0
    };
    if blob == file.blob {
        return Ok(Some(sha256));
    }
    delete(path, &file.name, watch)
}

fn delete(path: &Path, name: &str, watch: &mut dyn Watch) -> Result<Option<String>> {
    watch.note(&format!(
        "{name}: the cached file is damaged; fetching it anew"
    ));
    fs::remove_file(path).map_err(Error::io(path))?;
    Ok(None)
}

/// Opens a plain file to write, or makes it; never through a link.
fn open(path: &Path) -> Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(Error::io(path))?;
    if file.metadata().map_err(Error::io(path))?.is_file() {
        return Ok(file);
    }
    let error = io::Error::new(io::ErrorKind::InvalidInput, "a plain file is expected");
    Err(Error::io(path)(error))
}

/// Waits until no other process fetches the same.
fn lock(path: &Path, name: &str, watch: &mut dyn Watch) -> Result<File> {
    let folder = prony_files::folder(path);
    fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    let file = open(path)?;
    let mut is_told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            // A file system without locks.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                return Ok(file);
            }
            Err(TryLockError::Error(error)) => return Err(Error::io(path)(error)),
        }
        if !is_told {
            watch.note(&format!(
                "{name}: another process fetches it; waiting for that"
            ));
            is_told = true;
        }
        wait(LOOK_EVERY, watch)?;
    }
}

fn wait(time: Duration, watch: &dyn Watch) -> Result<()> {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if watch.is_interrupted() {
            return Err(Error::Interrupted);
        }
        thread::sleep(left.min(LOOK_EVERY));
    }
    Ok(())
}

/// Receives what is missing of a file into `part`. Returns the content's digests.
fn receive(
    remote: &Remote,
    id: &str,
    commit: &str,
    file: &RemoteFile,
    part: &Path,
    watch: &mut dyn Watch,
) -> Result<(String, String)> {
    let url = remote.url(id, commit, &file.name);
    let mut partial = Partial::open(part, file, watch)?;
    watch.begins(&file.name, file.bytes, partial.have);
    let (mut tries, mut wait_next) = (0, FIRST_WAIT);
    while partial.have < file.bytes {
        let before = partial.have;
        let reason = match partial.go_on(remote, id, &url, watch) {
            Ok(()) => continue,
            Err(Failure::Lasting(error)) => return Err(error),
            Err(Failure::Passing(reason)) => reason,
        };
        if partial.have > before {
            (tries, wait_next) = (0, FIRST_WAIT);
        }
        tries += 1;
        if tries == TRIES {
            partial.sync()?;
            return Err(Error::BrokenOff { url, reason });
        }
        wait(wait_next, watch)?;
        wait_next *= 2;
    }
    partial.sync()?;
    Ok(partial.digests.finish())
}

/// A file that is not complete yet.
struct Partial<'a> {
    of: &'a RemoteFile,
    path: &'a Path,
    file: File,
    have: u64,
    digests: Digests,
}

impl<'a> Partial<'a> {
    /// Opens it, and reads what an earlier download left.
    fn open(path: &'a Path, of: &'a RemoteFile, watch: &mut dyn Watch) -> Result<Self> {
        let mut partial = Self {
            of,
            path,
            file: open(path)?,
            have: 0,
            digests: Digests::new(of),
        };
        let length = partial.file.metadata().map_err(Error::io(path))?.len();
        if length > of.bytes {
            partial.restart()?;
        } else {
            let mut chunk = vec![0; CHUNK];
            loop {
                if watch.is_interrupted() {
                    return Err(Error::Interrupted);
                }
                let read = partial.file.read(&mut chunk).map_err(Error::io(path))?;
                if read == 0 {
                    break;
                }
                partial.digests.update(&chunk[..read]);
                partial.have += read as u64;
            }
        }
        Ok(partial)
    }

    /// Forgets what is there.
    fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(Error::io(self.path))?;
        io::Seek::rewind(&mut self.file).map_err(Error::io(self.path))?;
        self.have = 0;
        self.digests = Digests::new(self.of);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(Error::io(self.path))
    }

    /// Asks for the rest, and takes what comes of it.
    fn go_on(
        &mut self,
        remote: &Remote,
        id: &str,
        url: &str,
        watch: &mut dyn Watch,
    ) -> Result<(), Failure> {
        let chunks = request(remote.clone(), id.to_owned(), url.to_owned(), self.have);
        let mut is_first = true;
        loop {
            if watch.is_interrupted() {
                let _ = self.file.sync_all();
                return Err(Failure::Lasting(Error::Interrupted));
            }
            let part = match chunks.recv_timeout(LOOK_EVERY) {
                Ok(part) => part,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) if self.have == self.of.bytes => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Passing(format!(
                        "it ended after {} of {} bytes",
                        self.have, self.of.bytes
                    )));
                }
            };
            match part? {
                Part::Head(head) => self.check(&head).map_err(|it| wrong(remote, it))?,
                Part::Bytes(bytes) => {
                    if is_first {
                        watch.begins(&self.of.name, self.of.bytes, self.have);
                        is_first = false;
                    }
                    if self.have + bytes.len() as u64 > self.of.bytes {
                        let reason = format!(
                            "`{}` is longer than the {} bytes of the list",
                            self.of.name, self.of.bytes
                        );
                        return Err(wrong(remote, Ok(reason)));
                    }
                    let written = self.file.write_all(&bytes);
                    written.map_err(|error| Failure::Lasting(Error::io(self.path)(error)))?;
                    self.digests.update(&bytes);
                    self.have += bytes.len() as u64;
                    watch.has(self.have);
                }
            }
        }
    }

    /// Checks that the bytes to come are those asked for. A server that ignores ranges begins
    /// anew.
    fn check(&mut self, head: &Head) -> Result<(), Result<String, Error>> {
        if self.have == 0 && head.status == 200 {
            return Ok(());
        }
        if head.status == 200 {
            return self.restart().map_err(Err);
        }
        let expected = format!("bytes {}-{}/", self.have, self.of.bytes - 1);
        let range = head.range.as_deref().unwrap_or("no range");
        if range.starts_with(&expected) {
            Ok(())
        } else {
            Err(Ok(format!(
                "`{}`: {range} came for {expected}{}",
                self.of.name, self.of.bytes
            )))
        }
    }
}

/// The failure for an answer that is not what was asked for.
fn wrong(remote: &Remote, reason: Result<String, Error>) -> Failure {
    Failure::Lasting(reason.map_or_else(|error| error, |reason| remote.answer(reason)))
}

/// A part of an answer, in order.
enum Part {
    Head(Head),
    Bytes(Vec<u8>),
}

struct Head {
    status: u16,
    range: Option<String>,
}

/// Reads on a thread of its own, which ends soon after nobody listens: a server may be silent
/// for long, and an interruption does not wait for it.
fn request(remote: Remote, id: String, url: String, from: u64) -> Receiver<Result<Part, Failure>> {
    let (parts, received) = sync_channel(AHEAD);
    thread::spawn(move || {
        let answer = match remote.get(&id, &url, from) {
            Ok(answer) => answer,
            Err(failure) => {
                let _ = parts.send(Err(failure));
                return;
            }
        };
        let range = answer
            .headers()
            .get("content-range")
            .and_then(|it| it.to_str().ok());
        let head = Head {
            status: answer.status().as_u16(),
            range: range.map(ToOwned::to_owned),
        };
        if parts.send(Ok(Part::Head(head))).is_err() {
            return;
        }
        let mut body = answer.into_body().into_reader();
        loop {
            let mut chunk = vec![0; CHUNK];
            let part = match body.read(&mut chunk) {
                Ok(0) => return,
                Ok(read) => {
                    chunk.truncate(read);
                    Ok(Part::Bytes(chunk))
                }
                Err(error) => Err(Failure::Passing(error.to_string())),
            };
            let is_end = part.is_err();
            if parts.send(part).is_err() || is_end {
                return;
            }
        }
    });
    received
}
