//! Files of fixtures, which may come from strangers.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// Bytes of a file, at most.
const MAX_BYTES: u64 = 256 << 20;

/// Reads a plain file within the limit: a pipe would never end, nor would a device.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it has more than 256 MiB"));
    }
    Ok(bytes)
}

/// The same of a text.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| io::Error::other(error.utf8_error()))
}

/// Replaces a file as a whole, also one that is a link: nothing outside of the folder changes.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::write(&new, text)?;
    fs::rename(&new, path)
}
