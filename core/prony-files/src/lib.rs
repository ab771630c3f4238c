//! The one way to files: reads plain ones within a limit, and replaces them as a whole.
//!
//! A name that a user, a pipeline or a plugin gives may lead to anything. Reading a FIFO
//! waits for ever, a device has no end, and a link may lead out of the folder. So a file is
//! opened only if it is a plain one, and written beside its place, flushed to the disk and
//! renamed: a reader finds the old content or the new one, and a link at its place is
//! replaced, never followed.

pub mod kind;

use rustix::fs::{Mode, OFlags};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::Builder;

/// Opens a plain file for reading. Fails for a folder, a FIFO, a socket and a device, without
/// waiting for any of them.
pub fn open(path: &Path) -> io::Result<File> {
    plain(&std::fs::metadata(path)?)?;
    // It may have been replaced meanwhile. Without `NONBLOCK` opening a FIFO would wait.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    plain(&file.metadata()?)?;
    Ok(file)
}

/// Fails unless it is a plain file; the error says what it is.
fn plain(found: &Metadata) -> io::Result<()> {
    let kind = found.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let what = if kind.is_dir() {
        "folder"
    } else if kind.is_fifo() {
        "FIFO"
    } else if kind.is_socket() {
        "socket"
    } else {
        "device"
    };
    let kind = if kind.is_dir() {
        ErrorKind::IsADirectory
    } else {
        ErrorKind::InvalidInput
    };
    let words = format!("it is a {what}, and a plain file is expected");
    Err(io::Error::new(kind, words))
}

/// Reads a plain file of at most `max` bytes; fails with [`ErrorKind::FileTooLarge`] if it
/// is longer.
pub fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    let too_long = || {
        let words = format!("it is larger than {}", size(max));
        Err(io::Error::new(ErrorKind::FileTooLarge, words))
    };
    if length > max {
        return too_long();
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // It may grow meanwhile.
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return too_long();
    }
    Ok(bytes)
}

/// Reads a plain file of at most `max` bytes of UTF-8, without its byte order mark. The error
/// of one that is none holds a [`kind::NotText`].
pub fn read_text(path: &Path, max: u64) -> io::Result<String> {
    kind::text(read(path, max)?).map_err(|it| io::Error::new(ErrorKind::InvalidData, it))
}

/// A size for people: whole MiB, MB or KiB if it is that.
fn size(bytes: u64) -> String {
    match bytes {
        0 => "0 bytes".to_owned(),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1_000_000) => format!("{} MB", bytes / 1_000_000),
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

/// Replaces the file at `path`, or what else lies there but a folder, by one with this
/// content; its folder is made if it is not there. The content is on the disk when this
/// returns. As many may read it as the umask allows.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = folder(path);
    std::fs::create_dir_all(&folder)?;
    let mut file = Builder::new()
        .prefix(".")
        .suffix(".new")
        // The umask applies.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(&folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(&folder);
    Ok(())
}

/// Makes the names in a folder last. A file system that cannot has no such promise to give.
pub fn sync_folder(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// Bytes that a user may still write to the file system of a path; `None` if it does not tell.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// The folder of a file; `.` for a bare name.
pub fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Place of a path that somebody wrote, relative to `folder`, [`with_home`].
pub fn located(folder: &Path, path: impl AsRef<Path>) -> PathBuf {
    folder.join(with_home(path.as_ref()))
}

/// A word with the user's home, if there is one, for a `~` that is all of it or stands before its
/// first `/`, as in a shell; another user's home is not looked up.
pub fn with_home(word: impl AsRef<OsStr>) -> OsString {
    let word = word.as_ref();
    let rest = word.as_bytes().strip_prefix(b"~");
    let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with(b"/"));
    match (rest, std::env::home_dir()) {
        (Some(rest), Some(home)) if !home.as_os_str().is_empty() => {
            let mut whole = home.into_os_string();
            whole.push(OsStr::from_bytes(rest));
            whole
        }
        _ => word.to_owned(),
    }
}

/// Locks a folder against other processes that do so too, until the result is dropped. Waits
/// for at most a minute.
pub fn lock_folder(folder: &Path) -> io::Result<File> {
    const LIMIT: Duration = Duration::from_mins(1);
    const LOOK_EVERY: Duration = Duration::from_millis(20);
    let locked = File::open(folder)?;
    let begin = Instant::now();
    loop {
        match locked.try_lock() {
            Ok(()) => return Ok(locked),
            Err(TryLockError::WouldBlock) if begin.elapsed() < LIMIT => {
                std::thread::sleep(LOOK_EVERY);
            }
            Err(TryLockError::WouldBlock) => {
                let words = "another process holds it locked";
                return Err(io::Error::new(ErrorKind::TimedOut, words));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_plain_files_are_opened_and_nothing_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "text").expect("a file");
        let made = std::process::Command::new("mkfifo")
            .arg(at("fifo"))
            .status();
        assert!(made.expect("mkfifo").success());
        let _socket = UnixListener::bind(at("socket")).expect("a socket");
        std::os::unix::fs::symlink(at("fifo"), at("link")).expect("a link");
        assert_eq!(read_text(&at("file"), 4).expect("a file"), "text");
        for (path, words) in [
            (folder.path().to_owned(), "a folder"),
            (at("fifo"), "a FIFO"),
            (at("link"), "a FIFO"),
            (at("socket"), "a socket"),
            (PathBuf::from("/dev/zero"), "a device"),
        ] {
            let error = read(&path, 1 << 20).expect_err(words);
            assert!(error.to_string().contains(words), "{path:?}: {error}");
        }
        let error = read(&at("file"), 3).expect_err("it is longer");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert_eq!(error.to_string(), "it is larger than 3 bytes");
        std::fs::write(at("file"), b"\xff").expect("a file");
        assert!(read_text(&at("file"), 4).is_err());
    }

    #[test]
    fn a_home_stands_for_the_first_part_of_a_word() {
        let home = std::env::home_dir().expect("a home");
        let expanded = |word: &str| PathBuf::from(with_home(word));
        assert_eq!(expanded("~"), home);
        assert_eq!(expanded("~/a:/b ~/"), home.join("a:/b ~/"));
        assert_eq!(located(Path::new("/x"), "~/a"), home.join("a"));
        for same in ["", "a/~/b", "~you/a", "--model=~/a", "./~"] {
            assert_eq!(with_home(same), OsStr::new(same));
        }
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (victim, name) = (folder.path().join("victim"), folder.path().join("name"));
        std::fs::write(&victim, "kept").expect("a file");
        std::os::unix::fs::symlink(&victim, &name).expect("a link");
        for content in ["one", "two"] {
            replace(&name, content.as_bytes()).expect("it is ours");
            assert!(!name.is_symlink());
            assert_eq!(read_text(&name, 9).expect("a file"), content);
        }
        assert_eq!(read_text(&victim, 9).expect("a file"), "kept");
        let left = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 2, "no temporary file is left");
        assert!(replace(folder.path(), b"").is_err(), "a folder stays");
    }

    #[test]
    fn one_after_the_other_has_a_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let count = folder.path().join("count");
        std::fs::write(&count, "0").expect("a file");
        let add = || {
            for _ in 0..20 {
                let _locked = lock_folder(folder.path()).expect("a lock");
                let now: u32 = read_text(&count, 9)
                    .expect("text")
                    .parse()
                    .expect("a number");
                replace(&count, (now + 1).to_string().as_bytes()).expect("it is ours");
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(add);
            }
        });
        assert_eq!(read_text(&count, 9).expect("text"), "80");
    }
}
