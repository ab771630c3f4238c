//! A file of answers that a killed prony has left: any bytes give answers, and what is lost is
//! told within the size of the file.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use prony_fuzz::{file, knobs};
use prony_loadgen::spill::SpillReader;

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((bytes, knobs)) = knobs(data) else {
        return Corpus::Reject;
    };
    let bytes = if knobs[0].is_multiple_of(2) {
        bytes.to_vec()
    } else {
        sealed(bytes, usize::from(knobs[1]) + 12)
    };
    let Ok((line, mut answers)) = SpillReader::open(&file("answers", &bytes)) else {
        return Corpus::Reject;
    };
    let mut size = line.len() + 1;
    for answer in answers.by_ref() {
        let (_, mut exchange) = answer.expect("the file can be read");
        size += exchange.body.len() + 8 * exchange.seen.reads_ns.len();
        // Only a client that counts its reads as they come has written it.
        if exchange.ends.is_sorted()
            && exchange
                .ends
                .last()
                .is_none_or(|end| *end as usize <= exchange.body.len())
        {
            exchange.unpack();
        }
    }
    let lost = answers.lost();
    assert!(size + lost.bytes as usize <= bytes.len());
    assert!(lost.answers <= bytes.len() as u64);
    Corpus::Keep
});

/// Pieces of so many bytes as answers with a length and a checksum that are right, so that what
/// reads them sees the content.
fn sealed(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut file = b"{}\n".to_vec();
    for rest in bytes.chunks(size) {
        file.extend((rest.len() as u64).to_le_bytes());
        file.extend(crc32fast::hash(rest).to_le_bytes());
        file.extend(rest);
    }
    file
}
