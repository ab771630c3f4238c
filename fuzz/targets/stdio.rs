//! Lines of an engine over its standard output: any bytes are answers or belong to the log, the
//! same however they were cut into reads.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use prony_contract::{Ending, Message};
use prony_fuzz::{ends, knobs, reads};
use prony_loadgen::Exchange;
use prony_loadgen::stdio::routed;

/// Requests in flight together.
const IN_FLIGHT: u32 = 3;

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((output, knobs)) = knobs(data) else {
        return Corpus::Reject;
    };
    let ends = ends(output.len(), knobs);
    let whole = answers(&[output]);
    let cut = answers(&reads(output, &ends));
    assert_eq!(whole.len(), cut.len());
    for ((index, whole), (other, cut)) in whole.iter().zip(&cut) {
        assert_eq!((index, &whole.body), (other, &cut.body));
        assert_eq!(whole.seen.failed, cut.seen.failed);
    }
    Corpus::Keep
});

fn answers(reads: &[&[u8]]) -> Vec<(u32, Exchange)> {
    let message = |index: u32| Message {
        line: "{}".to_owned(),
        ids: vec![index.to_string()],
        ends: vec![Ending::is("/done", true), Ending::at("/error").failed()],
    };
    let messages: Vec<Message> = (0..IN_FLIGHT).map(message).collect();
    let pointers = vec!["/id".to_owned(), "/params/stream_id".to_owned()];
    let answers = routed(messages, pointers, reads);
    // Each request ends once.
    let mut indices: Vec<u32> = answers.iter().map(|it| it.0).collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..IN_FLIGHT).collect::<Vec<_>>());
    for (_, exchange) in &answers {
        assert_eq!(exchange.ends.len(), exchange.seen.reads_ns.len());
        assert!(exchange.ends.is_sorted());
        let last = exchange.ends.last().map_or(0, |end| *end as usize);
        assert_eq!(last, exchange.body.len());
    }
    answers
}
