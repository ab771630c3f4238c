//! Raw bodies of failed requests, in the folder of the run: what the engine sent, as far as it
//! came. Nothing is computed from them.

use prony_config::Secrets;
use prony_journal::RunFolder;
use prony_record::{ErrorClass, Record};
use std::collections::BTreeMap;
use std::io;

/// Bodies of each engine and class that are kept, unless the user says otherwise.
pub const DEFAULT_KEPT: u32 = 3;
/// Bytes of a body that are kept, at most.
const MAX_BYTES: usize = 256 << 10;
/// The folder, in that of the run.
const FOLDER: &str = "failed";

/// The bodies that were kept so far.
#[derive(Debug, Default)]
pub(crate) struct FailedBodies {
    /// Number of bodies, by engine and class.
    kept: BTreeMap<(String, ErrorClass), u32>,
    /// `true` once one could not be written: no other is tried.
    is_broken: bool,
}

impl FailedBodies {
    /// Keeps the body of a failed request, and says so in the failure's words. `most` are the
    /// bodies of one engine and class. A body that cannot be written fails nothing: the words say
    /// that, too.
    pub(crate) fn keep(
        &mut self,
        folder: &RunFolder,
        secrets: &Secrets,
        most: u32,
        record: &mut Record,
        body: &[u8],
    ) {
        let engine = record.id.engine.clone();
        let Some(failed) = &mut record.failed else {
            return;
        };
        let count = self.kept.entry((engine, failed.class)).or_default();
        if body.is_empty() || *count >= most || self.is_broken {
            return;
        }
        *count += 1;
        let words = match write(folder, secrets, failed.class, body) {
            Ok(name) if body.len() > MAX_BYTES => format!(
                "the first {} KiB of what came are in `{name}`",
                MAX_BYTES >> 10
            ),
            Ok(name) => format!("what came is in `{name}`"),
            Err(error) => {
                self.is_broken = true;
                format!("what came could not be kept in `{FOLDER}`: {error}")
            }
        };
        failed.message = format!("{} ({words})", failed.message);
    }
}

/// Writes a body to the next free name; returns that, relative to the run's folder.
fn write(
    folder: &RunFolder,
    secrets: &Secrets,
    class: ErrorClass,
    body: &[u8],
) -> io::Result<String> {
    let all = folder.path().join(FOLDER);
    match std::fs::create_dir(&all) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // A link in its place is not followed.
    if !std::fs::symlink_metadata(&all)?.is_dir() {
        return Err(io::Error::other("it is no folder"));
    }
    let number = std::fs::read_dir(&all)?.count() + 1;
    let mut masked = body[..body.len().min(MAX_BYTES)].to_vec();
    secrets.blank(&mut masked);
    // A run that was resumed may have lost some.
    for number in number.. {
        let name = format!("{number:04}-{}.body", class.name());
        match std::fs::File::create_new(all.join(&name)) {
            Ok(mut file) => {
                io::Write::write_all(&mut file, &masked)?;
                return Ok(format!("{FOLDER}/{name}"));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no name is free"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prony_record::{Failed, Phase, RequestId};

    fn record(class: ErrorClass) -> Record {
        let id = RequestId {
            point: None,
            model: "m".to_owned(),
            engine: "e".to_owned(),
            cycle: 1,
            phase: Phase::Measure,
            stage: "measure".to_owned(),
            index: 0,
            prompt: 0,
            image: None,
        };
        Record::unsent(id, 1, Failed::new(class, "no token"))
    }

    #[test]
    fn the_first_of_each_class_are_kept_and_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = RunFolder::open(folder.path());
        let mut bodies = FailedBodies::default();
        let mut keep = |class, body: &[u8]| {
            let mut record = record(class);
            bodies.keep(&run, &Secrets::default(), 2, &mut record, body);
            record.failed.expect("it failed").message
        };
        assert_eq!(keep(ErrorClass::Empty, b""), "no token");
        assert_eq!(
            keep(ErrorClass::Empty, b"data: \xff\n"),
            "no token (what came is in `failed/0001-empty.body`)"
        );
        keep(ErrorClass::Empty, b"two");
        assert_eq!(keep(ErrorClass::Empty, b"three"), "no token");
        let long = vec![b'x'; MAX_BYTES + 1];
        assert_eq!(
            keep(ErrorClass::Protocol, &long),
            "no token (the first 256 KiB of what came are in `failed/0003-protocol.body`)"
        );
        let read = |name: &str| std::fs::read(folder.path().join(name)).expect("a file");
        assert_eq!(read("failed/0001-empty.body"), b"data: \xff\n");
        assert_eq!(read("failed/0003-protocol.body").len(), MAX_BYTES);
    }

    #[test]
    fn a_link_in_the_place_of_the_folder_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let elsewhere = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join(FOLDER)).expect("a link");
        let mut record = record(ErrorClass::Empty);
        let mut bodies = FailedBodies::default();
        let run = RunFolder::open(folder.path());
        bodies.keep(&run, &Secrets::default(), 1, &mut record, b"x");
        let message = record.failed.expect("it failed").message;
        assert!(message.contains("could not be kept"), "{message}");
        assert_eq!(elsewhere.path().read_dir().expect("a folder").count(), 0);
    }
}
