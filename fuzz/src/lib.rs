//! Helpers of the targets.

use std::path::PathBuf;

/// Bytes that say how the others are used, at the end of an input: so a file as it was recorded
/// is an input.
const KNOBS: usize = 4;

/// Splits an input into its bytes and its knobs.
pub fn knobs(data: &[u8]) -> Option<(&[u8], [u8; KNOBS])> {
    let (body, knobs) = data.split_last_chunk()?;
    Some((body, *knobs))
}

/// End offsets of the reads in which so many bytes arrive, none of them empty.
pub fn ends(length: usize, knobs: [u8; KNOBS]) -> Vec<u32> {
    let cut = |knob: u8| (length * usize::from(knob) / 256) as u32;
    let mut ends: Vec<u32> = knobs.into_iter().map(cut).collect();
    ends.push(length as u32);
    ends.sort_unstable();
    ends.dedup();
    ends.retain(|end| *end > 0);
    ends
}

/// The reads themselves.
pub fn reads<'a>(body: &'a [u8], ends: &[u32]) -> Vec<&'a [u8]> {
    let mut from = 0;
    let read = |end: &u32| &body[std::mem::replace(&mut from, *end as usize)..*end as usize];
    ends.iter().map(read).collect()
}

/// A file of this process with this content.
pub fn file(name: &str, content: &[u8]) -> PathBuf {
    let name = format!("prony-fuzz-{}-{name}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, content).expect("a writable folder");
    path
}
