//! The boundary to plugins: whatever a component returns as events, and whatever the transport
//! saw beside them, makes a record that survives the journal.
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use prony_contract::{Error, Event, EventKind, HttpRequest, Pair};
use prony_loadgen::target::Target;
use prony_record::{ErrorClass, Failed, Observation, Phase, Record, RequestId, Stamps};

fuzz_target!(|data: &[u8]| {
    // An input that is too short for a case is none.
    let _ = case(&mut Unstructured::new(data));
});

fn case(data: &mut Unstructured<'_>) -> Result<()> {
    send(data)?;
    let max_tokens = data.arbitrary()?;
    let seen = seen(data)?;
    let decoded = if data.ratio(1, 8)? {
        Err(Error::engine(data.arbitrary::<String>()?))
    } else {
        let mut events = Vec::new();
        while !data.is_empty() && events.len() < 64 {
            events.push(event(data)?);
        }
        Ok(events)
    };
    let is_whole = decoded.is_ok() && seen.failed.is_none();
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
    let record = Record::judge(id, seen, decoded, max_tokens);
    assert!(is_whole || !record.ok(), "no failure becomes a success");
    let json = serde_json::to_string(&record).expect("JSON");
    let again: Record = serde_json::from_str(&json).expect("a record");
    assert_eq!(record, again);
    Ok(())
}

/// A request of a plugin is sent as one request, or refused.
fn send(data: &mut Unstructured<'_>) -> Result<()> {
    let request = HttpRequest {
        method: data.arbitrary()?,
        path: data.arbitrary()?,
        headers: vec![Pair {
            name: data.arbitrary()?,
            value: data.arbitrary()?,
        }],
        body: data.arbitrary()?,
        end_marks: vec![data.arbitrary()?],
        answer_headers: vec!["content-type".to_owned()],
        model: None,
    };
    if let Ok(target) = Target::new("http://127.0.0.1:8080") {
        let _ = target.prepare(&request);
    }
    let _ = Target::new(data.arbitrary()?);
    Ok(())
}

fn seen(data: &mut Unstructured<'_>) -> Result<Observation> {
    let stamps = Stamps {
        intended_ns: data.arbitrary()?,
        sent_ns: data.arbitrary()?,
        written_ns: data.arbitrary()?,
        head_ns: data.arbitrary()?,
        end_ns: data.arbitrary()?,
    };
    let failed = data.ratio(1, 8)?;
    Ok(Observation {
        stamps,
        status: data.arbitrary()?,
        reads_ns: data.arbitrary()?,
        body_bytes: data.arbitrary()?,
        resent: data.arbitrary()?,
        closed: data.arbitrary()?,
        status_detail: data.arbitrary()?,
        failed: failed.then(|| Failed::new(ErrorClass::Truncated, "cut")),
    })
}

fn event(data: &mut Unstructured<'_>) -> Result<Event> {
    Ok(Event {
        read: data.arbitrary()?,
        kind: *data.choose(&EventKind::ALL)?,
        tokens: data.arbitrary()?,
        ns: data.arbitrary()?,
        text: data.arbitrary()?,
    })
}
