//! Damaged journals: whatever happens to the bytes after the first line, the rest is read, and
//! what is lost is told.

use prony_journal::{Event, Journal, Reopened, SCHEMA, Verified, Writer, read, result, verify};
use prony_result::Outcome;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A run of two engines that was recorded, written by today's writer.
struct Recorded {
    folder: TempDir,
    journal: Journal,
    bytes: Vec<u8>,
}

/// The run up to the end of a cycle.
fn recorded(cycles: u32) -> Recorded {
    let ends = |event: &Event| matches!(event, Event::Visit(it) if it.visit.cycle == cycles);
    recorded_to(|events| events.iter().rposition(ends).expect("the cycle") + 1)
}

/// Its first events.
fn small() -> Recorded {
    recorded_to(|_| 9)
}

fn recorded_to(length: impl FnOnce(&[Event]) -> usize) -> Recorded {
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/compared/journal.jsonl");
    let mut journal = read(&old).expect("the fixture can be read");
    SCHEMA.clone_into(&mut journal.started.schema);
    journal.events.truncate(length(&journal.events));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.jsonl");
    let mut writer = Writer::create(&path).expect("a journal");
    let started = Event::Started(journal.started.clone());
    for event in std::iter::once(&started).chain(&journal.events) {
        writer.append(event).expect("a line");
    }
    let sha256 = Some(writer.sha256());
    let finished = Event::Finished {
        outcome: Outcome::Completed,
        at_ns: 1 << 40,
        sha256,
    };
    writer.append(&finished).expect("a line");
    journal.events.push(finished);
    let bytes = fs::read(&path).expect("it is there");
    Recorded {
        folder,
        journal,
        bytes,
    }
}

impl Recorded {
    /// A run of the user's.
    fn of(path: &Path) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            journal: read(path).expect("the journal can be read"),
            bytes: fs::read(path).expect("it is there"),
        }
    }

    /// Number of bytes of the first line.
    fn first(&self) -> usize {
        1 + self
            .bytes
            .iter()
            .position(|it| *it == b'\n')
            .expect("a line")
    }

    /// A journal of these bytes.
    fn holding(&self, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join("changed.jsonl");
        fs::write(&path, bytes).expect("a writable folder");
        path
    }

    /// Reads a journal of these bytes, which cannot fail, and computes its result.
    fn survives(&self, bytes: &[u8]) -> Journal {
        let journal = read(&self.holding(bytes)).expect("the rest can be read");
        let known: BTreeSet<String> = self.journal.events.iter().map(shown).collect();
        for event in &journal.events {
            let made = matches!(event, Event::Damaged { .. } | Event::Degraded { .. });
            assert!(made || known.contains(&shown(event)), "{event:?}");
        }
        result(&journal);
        journal
    }

    fn damage(&self, bytes: &[u8]) -> Vec<String> {
        verify(&self.holding(bytes)).expect("it can be read").damage
    }

    /// Checks that damage behind the first line is found, or takes the end of the run away.
    fn is_found(&self, bytes: &[u8]) {
        let found = verify(&self.holding(bytes)).expect("it can be read");
        let is_told = !found.damage.is_empty() || found.outcome.is_none();
        assert_eq!(bytes != self.bytes, is_told);
    }

    /// Blocks of a disk: the first line, then pieces of so many bytes.
    fn blocks(&self, size: usize) -> Vec<Vec<u8>> {
        let (first, rest) = self.bytes.split_at(self.first());
        let rest = rest.chunks(size).map(<[u8]>::to_vec);
        std::iter::once(first.to_vec()).chain(rest).collect()
    }
}

fn shown(event: &Event) -> String {
    serde_json::to_string(event).expect("JSON")
}

/// Cycles that are degraded, by the events.
fn degraded(journal: &Journal) -> Vec<u32> {
    let visits = journal.events.iter().filter_map(|event| match event {
        Event::Degraded { visits, .. } => Some(visits.iter().map(|it| it.cycle)),
        _ => None,
    });
    let cycles: BTreeSet<u32> = visits.flatten().collect();
    cycles.into_iter().collect()
}

#[test]
fn what_is_written_is_whole() {
    let recorded = recorded(2);
    let found = verify(&recorded.holding(&recorded.bytes)).expect("it can be read");
    assert_eq!(found.damage, Vec::<String>::new());
    assert!(found.outcome.is_some() && found.has_checksums);
    assert_eq!(found.lines as usize, recorded.journal.events.len() + 1);
    assert_eq!(recorded.survives(&recorded.bytes), recorded.journal);
}

#[test]
fn a_journal_cut_anywhere_has_what_came_before() {
    let recorded = small();
    for cut in recorded.first()..recorded.bytes.len() {
        let read = recorded.survives(&recorded.bytes[..cut]);
        assert!(
            read.events
                .iter()
                .all(|it| !matches!(it, Event::Damaged { .. }))
        );
        let lines = recorded.bytes[..cut].split(|it| *it == b'\n');
        // The first line, and what is after the last line break.
        let complete = lines.count() - 2;
        assert_eq!(read.events, recorded.journal.events[..complete]);
    }
}

#[test]
fn zeros_from_anywhere_to_the_end_cost_what_they_cover() {
    let recorded = small();
    for from in recorded.first()..recorded.bytes.len() {
        let mut bytes = recorded.bytes.clone();
        bytes[from..].fill(0);
        recorded.survives(&bytes);
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let recorded = small();
    let first = recorded.first();
    // Of the first line, which is long, every seventh.
    let bits = (0..first * 8)
        .step_by(7)
        .chain(first * 8..recorded.bytes.len() * 8);
    for bit in bits {
        let mut bytes = recorded.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let path = recorded.holding(&bytes);
        match verify(&path) {
            Err(error) => assert!(bit / 8 < first, "bit {bit}: {error}"),
            Ok(found) => assert!(
                !found.damage.is_empty() || found.outcome.is_none(),
                "bit {bit}"
            ),
        }
    }
}

#[test]
fn a_damaged_line_costs_its_own_cycle_only() {
    let recorded = recorded(4);
    let whole = result(&recorded.journal);
    for cycle in 1..=4 {
        let request = |event: &Event| matches!(event, Event::Request(it) if it.id.cycle == cycle);
        let at = recorded
            .journal
            .events
            .iter()
            .position(request)
            .expect("one")
            + 1;
        let mut lines: Vec<Vec<u8>> = recorded
            .bytes
            .split_inclusive(|it| *it == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        lines[at][20] ^= 1;
        let bytes = lines.concat();
        let read = recorded.survives(&bytes);
        assert_eq!(degraded(&read), [cycle]);
        let found = result(&read);
        assert_eq!(found.models[0].comparisons[0].degraded_cycles, 1);
        assert_eq!(whole.models[0].comparisons[0].degraded_cycles, 0);
        assert!(found.invalid.is_empty(), "{:?}", found.invalid);
        let told = found.warnings.concat();
        let line = format!("line {} of the journal", at + 1);
        assert!(told.contains(&line) && told.contains("checksum"), "{told}");
        // The line is gone: nobody can tell what was in it.
        lines.remove(at);
        let bytes = lines.concat();
        let read = recorded.survives(&bytes);
        let invalid = result(&read).invalid.concat();
        assert!(
            invalid.contains("1 line of the journal missing"),
            "{invalid}"
        );
        assert_eq!(degraded(&read), [cycle]);
    }
}

#[test]
fn a_line_that_comes_again_is_passed_over() {
    let recorded = recorded(1);
    let lines: Vec<&[u8]> = recorded.bytes.split_inclusive(|it| *it == b'\n').collect();
    for at in 1..lines.len() - 1 {
        let mut twice = lines.clone();
        twice.insert(at, lines[at]);
        let damage = recorded.damage(&twice.concat()).concat();
        assert!(damage.contains("comes again"), "{damage}");
        recorded.survives(&twice.concat());
    }
}

#[test]
fn an_event_of_a_newer_prony_is_told_and_passed_over() {
    let recorded = recorded(1);
    let path = recorded.folder.path().join("newer.jsonl");
    let mut writer = Writer::create(&path).expect("a journal");
    writer
        .append(&Event::Started(recorded.journal.started.clone()))
        .expect("a line");
    drop(writer);
    let mut bytes = fs::read(&path).expect("it is there");
    let mut line = b"{\"event\":\"weather\",\"n\":2".to_vec();
    let crc = crc32fast::hash(&line);
    line.extend_from_slice(format!(",\"crc\":\"{crc:08x}\"}}\n").as_bytes());
    bytes.extend_from_slice(&line);
    let told = result(&recorded.survives(&bytes)).warnings.concat();
    assert!(told.contains("unknown variant `weather`"), "{told}");
    assert!(!told.contains("expected one of"), "{told}");
}

/// Writes events into a journal; returns what a check of it finds.
fn verified(recorded: &Recorded, events: &[Event]) -> Verified {
    let path = recorded.folder.path().join("written.jsonl");
    let _ = fs::remove_file(&path);
    let mut writer = Writer::create(&path).expect("a journal");
    let started = Event::Started(recorded.journal.started.clone());
    for event in std::iter::once(&started).chain(events) {
        let sha256 = writer.sha256();
        writer
            .append(&match event {
                Event::Finished { outcome, at_ns, .. } if *at_ns > 0 => Event::Finished {
                    outcome: *outcome,
                    at_ns: *at_ns,
                    sha256: Some(sha256),
                },
                other => other.clone(),
            })
            .expect("a line");
    }
    drop(writer);
    verify(&path).expect("it can be read")
}

/// The end of a run; without the digest that belongs to it at 0.
fn finished(outcome: Outcome, at_ns: u64) -> Event {
    Event::Finished {
        outcome,
        at_ns,
        sha256: None,
    }
}

fn resumed() -> Event {
    Event::Resumed {
        resumed_at: "2026-11-27T19:12:34Z".to_owned(),
        gap_s: 1.0,
        process: prony_machine::ProcessId::own(),
    }
}

fn request(recorded: &Recorded) -> Event {
    let mut all = recorded.journal.events.iter();
    let request = all.find(|it| matches!(it, Event::Request(_)));
    request.expect("a request").clone()
}

#[test]
fn lines_damaged_before_a_run_went_on_are_told() {
    let recorded = recorded(1);
    let path = recorded.folder.path().join("resumed.jsonl");
    for (damaged, told) in [(1, "line 2 of"), (200, "lines 2 to 201 of")] {
        let _ = fs::remove_file(&path);
        let mut writer = Writer::create(&path).expect("a journal");
        let started = Event::Started(recorded.journal.started.clone());
        writer.append(&started).expect("a line");
        drop(writer);
        let mut bytes = fs::read(&path).expect("it is there");
        bytes.extend(b"no line of a journal\n".repeat(damaged));
        // A line that a kill has cut goes away.
        bytes.extend(b"{\"event\":");
        fs::write(&path, bytes).expect("written");
        let journal = Reopened::open(&path).expect("it is over");
        let mut writer = journal.read_on(|_| Ok(())).expect("no line is missing");
        writer.append(&resumed()).expect("a line");
        drop(writer);
        let found = verify(&path).expect("it can be read").damage;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(told), "{found:?}");
    }
}

#[test]
fn what_may_follow_the_end_of_a_run_is_known() {
    let recorded = recorded(1);
    let warning = Event::Warning {
        message: "recovered".to_owned(),
    };
    let answers = [request(&recorded), warning, resumed()];
    let of = |outcome| {
        let end = [finished(outcome, 1)];
        verified(
            &recorded,
            &[&end[..], &answers, &[finished(Outcome::Completed, 2)]].concat(),
        )
    };
    let found = of(Outcome::Interrupted);
    assert_eq!(found.damage, Vec::<String>::new());
    assert_eq!(found.outcome, Some(Outcome::Completed));
    let found = of(Outcome::Completed).damage;
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("comes after the last line"), "{found:?}");
    let twice = [
        finished(Outcome::Interrupted, 1),
        finished(Outcome::Completed, 2),
    ];
    assert_eq!(verified(&recorded, &twice).damage.len(), 1);
}

#[test]
fn an_end_without_a_digest_is_told() {
    let recorded = recorded(1);
    let found = verified(&recorded, &[finished(Outcome::Completed, 0)]).damage;
    assert!(found.concat().contains("without the SHA-256"), "{found:?}");
}

#[test]
fn a_request_that_comes_again_in_another_visit_is_told() {
    let recorded = recorded(3);
    let mut events = recorded.journal.events.clone();
    events.insert(events.len() - 1, request(&recorded));
    let found = verified(&recorded, &events).damage;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("comes again"), "{found:?}");
}

#[test]
fn what_editors_and_git_do_to_a_journal_has_a_name() {
    let recorded = small();
    let marked = [b"\xef\xbb\xbf", &recorded.bytes[..]].concat();
    let text = String::from_utf8(recorded.bytes.clone()).expect("text");
    let converted = text.replace('\n', "\r\n");
    for (bytes, told) in [
        (marked, "a byte order mark"),
        (converted.into_bytes(), "CR LF"),
    ] {
        let error = verify(&recorded.holding(&bytes)).expect_err("it was changed");
        assert!(error.to_string().contains(told), "{error}");
    }
    // Part of it, as an editor of lines leaves it.
    let end = text.trim_end().len();
    let found = recorded.damage(format!("{}\r\n", &text[..end]).as_bytes());
    assert!(found.concat().contains("CR LF"), "{found:?}");
}

#[test]
fn who_asks_whether_a_run_is_in_progress_does_not_make_it_one() {
    let recorded = small();
    let path = recorded.holding(&recorded.bytes);
    let asks = fs::File::open(&path).expect("the journal");
    asks.lock_shared().expect("a lock");
    let release = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        drop(asks);
    });
    let reopened = Reopened::open(&path);
    release.join().expect("it ends");
    let reopened = reopened.expect("it is over");
    let error = Reopened::open(&path).expect_err("it is locked");
    assert!(error.to_string().contains("in progress"), "{error}");
    drop(reopened);
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
#[ignore = "looks at the journal `PRONY_JOURNAL` for minutes: `cargo xtask faults`"]
fn crash_images_of_a_real_run() {
    const BLOCK: usize = 4096;
    let path = std::env::var_os("PRONY_JOURNAL").expect("a journal");
    let recorded = Recorded::of(Path::new(&path));
    let (first, length) = (recorded.first(), recorded.bytes.len());
    look_at("truncations", (first..length).collect(), |cut| {
        recorded.survives(&recorded.bytes[..*cut]);
    });
    look_at("zeros to the end", (first..length).collect(), |from| {
        let mut bytes = recorded.bytes.clone();
        bytes[*from..].fill(0);
        recorded.survives(&bytes);
    });
    let behind = 1..recorded.blocks(BLOCK).len();
    look_at("blocks of zeros", behind.clone().collect(), |block| {
        let mut blocks = recorded.blocks(BLOCK);
        blocks[*block].fill(0);
        recorded.survives(&blocks.concat());
        recorded.is_found(&blocks.concat());
    });
    let pairs = behind
        .clone()
        .flat_map(|one| (one + 1..behind.end).map(move |other| (one, other)));
    look_at("swapped blocks", pairs.collect(), |(one, other)| {
        let mut blocks = recorded.blocks(BLOCK);
        blocks.swap(*one, *other);
        recorded.survives(&blocks.concat());
        recorded.is_found(&blocks.concat());
    });
    look_at("flipped bits", (first * 8..length * 8).collect(), |bit| {
        let mut bytes = recorded.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        recorded.is_found(&bytes);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Blocks that a disk wrote in another order, lost or left empty.
    #[test]
    fn blocks_in_another_order_never_cost_the_whole(
        size in 64_usize..4096,
        one in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        kind in 0..3,
    ) {
        let recorded = recorded(2);
        let mut blocks = recorded.blocks(size);
        let behind = blocks.len() - 1;
        let (one, other) = (1 + one.index(behind), 1 + other.index(behind));
        match kind {
            0 => blocks.swap(one, other),
            1 => blocks[one].fill(0),
            _ => drop(blocks.remove(one)),
        }
        let bytes = blocks.concat();
        recorded.survives(&bytes);
        recorded.is_found(&bytes);
    }
}
