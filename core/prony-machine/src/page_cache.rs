//! Files in memory.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Depth to which a model's folder is searched.
const DEPTH: u32 = 4;

/// Share of a file, or of the files in a folder, that the system holds in memory, 0 to 1: a
/// server that loads it reads the rest from the disk. `None` if it cannot be told.
pub fn page_cache_share(path: &Path) -> Option<f64> {
    let mut pages = Pages::default();
    pages.count(path, DEPTH)?;
    (pages.all > 0).then(|| pages.cached as f64 / pages.all as f64)
}

#[derive(Default)]
struct Pages {
    cached: u64,
    all: u64,
    /// Device and inode of each file and folder that was counted: links may lead there again.
    seen: BTreeSet<(u64, u64)>,
}

impl Pages {
    /// Adds the pages of `path`. What is neither a file nor a folder has none: to open a pipe
    /// would wait for its other end, and links may lead nowhere.
    fn count(&mut self, path: &Path, depth: u32) -> Option<()> {
        let Ok(metadata) = fs::metadata(path) else {
            return Some(());
        };
        let is_known = metadata.is_file() || metadata.is_dir();
        if !is_known || !self.seen.insert((metadata.dev(), metadata.ino())) {
            return Some(());
        }
        if metadata.is_dir() {
            let depth = depth.checked_sub(1)?;
            for entry in fs::read_dir(path).ok()? {
                self.count(&entry.ok()?.path(), depth)?;
            }
            return Some(());
        }
        let file = File::open(path).ok()?;
        // Of other files Linux says that all is in memory.
        let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
        if !is_own && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_err() {
            return None;
        }
        let length = usize::try_from(metadata.len()).ok()?;
        if length == 0 {
            return Some(());
        }
        let of_file = resident(&file, length)?;
        self.cached += of_file.iter().filter(|page| **page & 1 == 1).count() as u64;
        self.all += of_file.len() as u64;
        Some(())
    }
}

/// For each page of the first `length` bytes, above 0, a byte whose lowest bit is set if the
/// page is in memory.
fn resident(file: &File, length: usize) -> Option<Vec<u8>> {
    let mut pages = vec![0; length.div_ceil(rustix::param::page_size())];
    // SAFETY: a new mapping of an open file, at an address that the kernel chooses.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the mapping has `length` bytes, and `pages` a byte for each of its pages. Nothing
    // is read through the mapping, so it does not matter if the file shrinks.
    let told = unsafe { libc::mincore(at, length, pages.as_mut_ptr().cast()) };
    // SAFETY: the mapping made above, which nothing else uses.
    unsafe { libc::munmap(at, length) };
    (told == 0).then_some(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_just_written_is_in_memory() {
        let folder = std::env::temp_dir().join(format!("prony-pages-{}", std::process::id()));
        let nested = folder.join("nested");
        fs::create_dir_all(&nested).expect("a folder");
        fs::write(folder.join("one"), vec![1; 100_000]).expect("a file");
        fs::write(nested.join("empty"), []).expect("a file");
        let cached = page_cache_share(&folder);
        let nothing = page_cache_share(&nested);
        fs::remove_dir_all(&folder).expect("it can be removed");
        assert_eq!(cached, Some(1.0));
        assert_eq!(nothing, None);
        assert_eq!(page_cache_share(&folder), None);
    }

    /// A pipe would wait for its other end for ever, and a link may lead to itself, back or
    /// nowhere.
    #[test]
    fn pipes_and_odd_links_are_passed_over() {
        use std::os::unix::fs::symlink;
        let folder = std::env::temp_dir().join(format!("prony-odd-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("weights"), vec![1; 100_000]).expect("a file");
        let made = std::process::Command::new("mkfifo")
            .arg(folder.join("pipe"))
            .status();
        for (from, to) in [("self", "self"), ("back", "."), ("nowhere", "gone")] {
            symlink(to, folder.join(from)).expect("a link");
        }
        symlink("pipe", folder.join("to_pipe")).expect("a link");
        let share = page_cache_share(&folder);
        fs::remove_dir_all(&folder).expect("it can be removed");
        assert!(made.is_ok_and(|it| it.success()));
        assert_eq!(share, Some(1.0));
    }

    /// A file that was dropped from memory is not counted.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_was_dropped_is_not() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dropped.tmp");
        let file = File::create_new(&path).expect("a file");
        std::io::Write::write_all(&mut &file, &vec![1; 1 << 20]).expect("it can be written");
        file.sync_all().expect("it can be synced");
        // SAFETY: advice about an open file; it changes no memory.
        let advised =
            unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        let share = page_cache_share(&path);
        fs::remove_file(&path).expect("it can be removed");
        assert_eq!(advised, 0);
        assert!(share < Some(0.5), "{share:?}");
    }
}
