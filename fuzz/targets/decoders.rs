//! The adapters' decoders: any body gives the same events or the same error, however it was cut
//! into reads, and a record that survives the journal.
#![no_main]

use engine_lines::Lines;
use engine_mlx_serving::MlxServing;
use engine_openai::OpenAi;
use libfuzzer_sys::{Corpus, fuzz_target};
use prony_contract::{Error, Event, Events, Response};
use prony_fuzz::{ends, knobs};
use prony_plugin_sdk::{Engine, StdioEngine};
use prony_record::{Observation, Phase, Record, RequestId};
use serde_json::{Value, json};
use std::cell::LazyCell;

type Decode = Box<dyn Fn(&Response<'_>, &mut Events) -> Result<(), Error>>;

thread_local! {
    static DECODERS: LazyCell<Vec<Decode>> = const { LazyCell::new(decoders) };
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((body, knobs)) = knobs(data) else {
        return Corpus::Reject;
    };
    DECODERS.with(|decoders| {
        let [chosen, status, ..] = knobs;
        let decode = &decoders[usize::from(chosen) % decoders.len()];
        let status = if status < 200 { 200 } else { 500 };
        let whole = events(decode, status, body, &ends(body.len(), [0; 4]));
        let ends = ends(body.len(), knobs);
        let cut = events(decode, status, body, &ends);
        match (&whole, &cut) {
            (Ok(whole), Ok(cut)) => {
                let plain =
                    |event: &Event| (event.kind, event.tokens, event.ns, event.text.clone());
                let whole: Vec<_> = whole.iter().map(plain).collect();
                assert_eq!(whole, cut.iter().map(plain).collect::<Vec<_>>());
            }
            _ => assert_eq!(whole, cut),
        }
        keep(status, body, &ends, cut);
    });
    Corpus::Keep
});

fn decoders() -> Vec<Decode> {
    fn http(config: Value) -> Decode {
        let config = serde_json::from_value(config).expect("a configuration");
        let engine = OpenAi::new(config).expect("an engine");
        Box::new(move |response, events| engine.decode(response, events))
    }
    fn stdio<E: StdioEngine>(config: Value) -> Decode {
        let config = serde_json::from_value(config).expect("a configuration");
        let engine = E::new(config).expect("an engine");
        Box::new(move |response, events| engine.decode(response, events))
    }
    let protocols = ["openai", "ollama", "tgi", "llama-cpp", "sglang"];
    let served = protocols
        .map(|protocol| http(json!({ "base_url": "http://127.0.0.1:8080", "protocol": protocol })));
    let strict = json!({
        "base_url": "http://127.0.0.1:8080", "end_mark": "required", "finish_reasons": ["fin"],
    });
    let others = [
        http(strict),
        stdio::<Lines>(json!({ "command": ["x"] })),
        stdio::<MlxServing>(json!({ "runtime": "runtime.py" })),
    ];
    served.into_iter().chain(others).collect()
}

fn events(decode: &Decode, status: u16, body: &[u8], ends: &[u32]) -> Result<Vec<Event>, Error> {
    let mut events = Events::default();
    decode(&Response::new(status, body, ends), &mut events)?;
    let events = events.into_vec();
    let mut last = 0;
    for event in &events {
        assert!((event.read as usize) < ends.len().max(1), "{event:?}");
        assert!(event.read >= last, "an event of an earlier read");
        last = event.read;
    }
    Ok(events)
}

/// A record is in the journal what it was before.
fn keep(status: u16, body: &[u8], ends: &[u32], decoded: Result<Vec<Event>, Error>) {
    let seen = Observation {
        status: Some(status),
        reads_ns: (1..=ends.len() as u64).map(|read| read * 1000).collect(),
        body_bytes: body.len() as u64,
        ..Observation::default()
    };
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
    let record = Record::judge(id, seen, decoded, 64);
    let json = serde_json::to_string(&record).expect("JSON");
    let again: Record = serde_json::from_str(&json).expect("a record");
    assert_eq!(record, again);
}
