//! Requests for tests.

use prony_contract::{Event, EventKind};
use prony_record::{Observation, Phase, Record, RequestId};

/// A successful request with this number of output tokens.
pub(crate) fn answered(text: &str, tokens: u32) -> Record {
    let event = |kind, tokens, text: &str| Event {
        read: 0,
        kind,
        tokens,
        ns: 0,
        text: text.to_owned(),
    };
    let events = vec![
        event(EventKind::Text, 0, text),
        event(EventKind::Finish, 0, "stop"),
        event(EventKind::End, 0, ""),
    ];
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
    let mut record = Record::judge(id, Observation::default(), Ok(events), u32::MAX);
    assert_eq!(record.failed, None);
    // Whatever the text: what is tested comes after the count was found plausible.
    record.output_tokens = Some(tokens);
    record
}
