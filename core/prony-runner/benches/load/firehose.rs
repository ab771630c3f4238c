//! As many events as can be: recorded, kept, and decoded afterwards.

use crate::case::{Case, Client, cpu_ns, record};
use crate::table::{Firehose, Table};
use crate::{Options, Server};
use prony_contract::{Event, EventKind, Response};
use prony_loadgen::Exchange;
use prony_plugin_host::{Limits, NativePlugin, Plugin, WasmHost};
use std::time::Duration;

pub(crate) fn run(options: &Options, table: &mut Table) {
    let case = &Case::FIREHOSE;
    let mut server = Server::start(case);
    let host = WasmHost::new(&options.cache, Limits::default()).unwrap();
    let wasm = std::fs::read(&options.wasm).unwrap();
    let wasm = host.load(&options.wasm, &wasm).unwrap();
    let native = NativePlugin::open(&options.native).unwrap();
    let mut rows = Firehose::default();
    for repeat in 0..options.repeats {
        eprintln!("{}: {} of {}", case.name, repeat + 1, options.repeats);
        rows.reference
            .push(Client::Reference.run(case, &mut server));
        let (exchanges, wall_ns, cpu) = record(case, &server.url, Duration::ZERO);
        let exchanges: Vec<Exchange> = exchanges.into_iter().map(|it| it.1).collect();
        let events = u64::from(case.streams * case.answers * case.tokens);
        rows.recording.push((events, wall_ns, cpu));
        rows.memory.push(memory(&exchanges));
        rows.wasm.push((events, decode(&wasm, &exchanges, events)));
        rows.native
            .push((events, decode(&native, &exchanges, events)));
    }
    table.firehose(case, &rows);
}

/// Bytes of memory for each byte of the bodies.
fn memory(exchanges: &[Exchange]) -> f64 {
    let (mut kept, mut received) = (0, 0);
    for exchange in exchanges {
        kept += exchange.body.capacity()
            + exchange.ends.capacity() * size_of::<u32>()
            + exchange.seen.reads_ns.capacity() * size_of::<u64>()
            + size_of::<Exchange>();
        received += exchange.body.len();
    }
    kept as f64 / received as f64
}

/// CPU time in nanoseconds for decoding all of them.
fn decode(plugin: &dyn Plugin, exchanges: &[Exchange], events: u64) -> u64 {
    let config = serde_json::json!({ "base_url": "http://127.0.0.1" });
    let before = cpu_ns();
    let mut texts = 0;
    for exchange in exchanges {
        let said = plugin
            .decode(&config, &Response::new(200, &exchange.body, &exchange.ends))
            .unwrap();
        // The last message has an empty one.
        let is_text = |it: &&Event| it.kind == EventKind::Text && !it.text.is_empty();
        texts += said.iter().filter(is_text).count() as u64;
    }
    assert_eq!(texts, events);
    cpu_ns() - before
}
