//! The framing of HTTP: any bytes of a server give an answer or a failure, the same however
//! they were cut into reads.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use prony_contract::HttpRequest;
use prony_fuzz::{ends, knobs, reads};
use prony_loadgen::Exchange;
use prony_loadgen::client::received;
use prony_loadgen::target::{Prepared, Target};
use std::sync::Arc;

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((response, knobs)) = knobs(data) else {
        return Corpus::Reject;
    };
    let ends = ends(response.len(), knobs);
    let reads = reads(response, &ends);
    let plain = request(&[]);
    let whole = checked(received(plain.clone(), &[response]));
    let cut = checked(received(plain, &reads));
    assert_eq!(whole.body, cut.body);
    assert_eq!(whole.seen.failed, cut.seen.failed);
    assert_eq!(whole.seen.status, cut.seen.status);
    // Where the answer ends by its own mark, what follows in the same read may be kept.
    let marked = request(&["data: [DONE]", "{\"done\":true}"]);
    let marked = checked(received(marked, &reads));
    assert!(cut.body.starts_with(&marked.body));
    Corpus::Keep
});

fn request(end_marks: &[&str]) -> Arc<Prepared> {
    let target = Target::new("http://127.0.0.1:8080").expect("a URL");
    let request = HttpRequest {
        method: "POST".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        headers: Vec::new(),
        body: "{}".to_owned(),
        end_marks: end_marks.iter().map(ToString::to_string).collect(),
        answer_headers: vec!["content-type".to_owned()],
        model: None,
    };
    Arc::new(target.prepare(&request).expect("a request"))
}

/// Checks an answer and unpacks a copy of it.
fn checked(exchange: Exchange) -> Exchange {
    let check = |exchange: &Exchange| {
        assert_eq!(exchange.ends.len(), exchange.seen.reads_ns.len());
        assert!(exchange.ends.is_sorted());
        let last = exchange.ends.last().map_or(0, |end| *end as usize);
        assert_eq!(last, exchange.body.len());
    };
    check(&exchange);
    let mut unpacked = exchange.clone();
    unpacked.unpack();
    check(&unpacked);
    exchange
}
