//! Files that users name, read with a limit.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Reads a regular file of at most `max` bytes; `None` if it is larger.
pub fn read(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    // A device or a pipe would not end, or not begin.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max).then_some(bytes))
}
