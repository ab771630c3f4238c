//! Files that users name, read with a limit.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Reads at most `max` bytes of a file or a pipe; `None` if there are more.
pub fn read(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max).then_some(bytes))
}

/// As [`read`], of a regular file only: reading a pipe may wait for ever, and a second time
/// brings nothing.
pub(crate) fn read_file(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    read(path, max)
}
