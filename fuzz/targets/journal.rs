//! The journal: any bytes give a result or say why not, and what was passed over is told.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use prony_fuzz::{file, knobs};
use prony_journal::{Event, Journal, read, result, verify};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((bytes, knobs)) = knobs(data) else {
        return Corpus::Reject;
    };
    let bytes = if knobs[0].is_multiple_of(2) {
        bytes.to_vec()
    } else {
        sealed(bytes)
    };
    let path = file("journal.jsonl", &bytes);
    let Ok(journal) = read(&path) else {
        assert!(verify(&path).is_err());
        return Corpus::Keep;
    };
    let found = verify(&path).expect("what is read can be verified");
    assert!(!is_damaged(&journal) || !found.damage.is_empty());
    let result = result(&journal);
    serde_json::to_string(&result).expect("JSON");
    Corpus::Keep
});

fn is_damaged(journal: &Journal) -> bool {
    let mut events = journal.events.iter();
    events.any(|event| matches!(event, Event::Damaged { .. }))
}

/// The lines with the numbers and checksums that they should have, so that what reads them sees
/// the content.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut journal = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = String::from_utf8_lossy(line);
        let Some(line) = line.strip_suffix('}') else {
            continue;
        };
        let line = line.rfind(",\"n\":").map_or(line, |at| &line[..at]);
        let line = line.replacen("prony-journal/1", "prony-journal/2", 1);
        let line = format!("{line},\"n\":{number}");
        let crc = crc32fast::hash(line.as_bytes());
        journal.extend(format!("{line},\"crc\":\"{crc:08x}\"}}\n").bytes());
    }
    journal
}
