//! Images of a file of answers as a crash may leave them: what is read is what was written.

use prony_loadgen::Exchange;
use prony_loadgen::spill::{Lost, SpillReader};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A file of answers that a killed run has left.
struct Recorded {
    folder: TempDir,
    bytes: Vec<u8>,
    /// By the index of the request.
    answers: BTreeMap<u32, Exchange>,
}

impl Recorded {
    fn of(path: &Path) -> Self {
        let mut recorded = Self {
            folder: tempfile::tempdir().expect("a folder"),
            bytes: fs::read(path).expect("answers"),
            answers: BTreeMap::new(),
        };
        let (answers, lost) = recorded.read(&recorded.bytes).expect("a first line");
        // The last one may have been cut by the kill.
        assert_eq!(lost.answers, 0);
        let whole = recorded.bytes.len() - lost.bytes as usize;
        recorded.bytes.truncate(whole);
        recorded.answers = answers;
        recorded
    }

    /// Number of bytes of the first line.
    fn first(&self) -> usize {
        let end = self.bytes.iter().position(|it| *it == b'\n');
        end.expect("a first line") + 1
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("answers.bin")
    }

    /// The answers in these bytes; `None` without a whole first line.
    fn read(&self, bytes: &[u8]) -> Option<(BTreeMap<u32, Exchange>, Lost)> {
        fs::write(self.path(), bytes).expect("a writable folder");
        let (_, mut answers) = SpillReader::open(&self.path()).ok()?;
        let read = answers.by_ref().map(|it| it.expect("it can be read"));
        let read = read.collect();
        Some((read, answers.lost()))
    }

    /// Reads an image with its first line, and checks that no other answer comes out. Returns
    /// the number of those that do, and what is told to be lost.
    fn survives(&self, bytes: &[u8]) -> (usize, Lost) {
        let (read, lost) = self.read(bytes).expect("the first line is whole");
        for (index, answer) in &read {
            assert_eq!(self.answers.get(index), Some(answer));
        }
        (read.len(), lost)
    }

    /// The same for an image that is no less long: every answer that is gone is told.
    fn tells(&self, bytes: &[u8]) {
        let (read, lost) = self.survives(bytes);
        let is_whole = read == self.answers.len();
        assert_eq!(is_whole, lost == Lost::default());
    }
}

/// Has images of one kind looked at: all of them, or about as many as `PRONY_IMAGES` says.
fn look_at<T>(kind: &str, images: Vec<T>, mut look: impl FnMut(&T)) {
    let most = std::env::var("PRONY_IMAGES").ok();
    let most = most.and_then(|it| it.parse().ok()).unwrap_or(usize::MAX);
    let chosen: Vec<&T> = images
        .iter()
        .step_by(images.len().div_ceil(most).max(1))
        .collect();
    for image in &chosen {
        look(image);
    }
    // Past the harness, which would keep it.
    let line = format!("\nimages: {kind}: {}\n", chosen.len());
    std::io::stdout().write_all(line.as_bytes()).expect("told");
}

#[test]
#[ignore = "looks at the answers `PRONY_ANSWERS` for minutes: `cargo xtask faults`"]
fn crash_images_of_a_real_run() {
    const BLOCK: usize = 4096;
    let path = std::env::var_os("PRONY_ANSWERS").expect("answers");
    let recorded = Recorded::of(Path::new(&path));
    let (first, length) = (recorded.first(), recorded.bytes.len());
    let mut most = 0;
    look_at("truncations", (first..length).collect(), |cut| {
        let (read, lost) = recorded.survives(&recorded.bytes[..*cut]);
        assert!(read >= most && lost.answers == 0, "a longer file has more");
        most = read;
    });
    look_at("zeros to the end", (first..length).collect(), |from| {
        let mut bytes = recorded.bytes.clone();
        bytes[*from..].fill(0);
        recorded.survives(&bytes);
    });
    let blocks = || {
        let (first, rest) = recorded.bytes.split_at(first);
        let rest = rest.chunks(BLOCK).map(<[u8]>::to_vec);
        std::iter::once(first.to_vec()).chain(rest)
    };
    let behind = 1..blocks().count();
    look_at("blocks of zeros", behind.clone().collect(), |block| {
        let mut blocks: Vec<_> = blocks().collect();
        blocks[*block].fill(0);
        recorded.survives(&blocks.concat());
    });
    let pairs = behind
        .clone()
        .flat_map(|one| (one + 1..behind.end).map(move |other| (one, other)));
    look_at("swapped blocks", pairs.collect(), |(one, other)| {
        let mut blocks: Vec<_> = blocks().collect();
        blocks.swap(*one, *other);
        recorded.survives(&blocks.concat());
    });
    look_at("flipped bits", (first * 8..length * 8).collect(), |bit| {
        let mut bytes = recorded.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        recorded.tells(&bytes);
    });
}
