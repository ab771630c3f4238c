//! The definitions of other clients against what those clients really reported.
//!
//! `data/tools` has a run of each client against `prony truth-server
//! --time-to-first-token-ms 200 --inter-token-latency-us 20000` (8 requests of 16 tokens): one
//! in flight, four in flight, and `--coalesce 4` with one. Each file is the client's own JSON,
//! reduced to the fields that are read here, and the server's log of the same requests. The
//! load is that of `xtask/src/agree/tools.rs` without warm-up.

use prony_contract::{Event, EventKind};
use prony_metrics::definition::{Scored, definitions, score};
use prony_metrics::facts::Requests;
use prony_record::{Arrival, Observation, Phase, Record, RequestId, Stamps};
use serde_json::Value;
use std::path::Path;

const CLIENTS: [&str; 3] = ["vllm", "aiperf", "guidellm"];
const RUNS: [&str; 3] = ["one", "four", "chunks"];
/// Earliest and latest that a client of these recordings, on a machine busy with other work,
/// saw something on average: the former is the rounding of its stamps.
const TOLERANCE_MS: (f64, f64) = (0.01, 60.0);

#[expect(clippy::disallowed_methods, reason = "tests read recordings")]
fn recording(run: &str, client: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tools");
    let text =
        std::fs::read_to_string(folder.join(format!("{run}-{client}.json"))).expect("a file");
    serde_json::from_str(&text).expect("JSON")
}

fn list(value: &Value) -> Vec<f64> {
    let values = value.as_array().expect("a list").iter();
    values.map(number).collect()
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// A success with these times in nanoseconds.
fn record(sent: f64, texts: &[f64], textless: &[f64], end: f64, tokens: (f64, f64)) -> Record {
    let ns = |at: f64| at.round() as u64;
    let id = RequestId {
        point: None,
        model: "truth".to_owned(),
        engine: "truth".to_owned(),
        cycle: 1,
        phase: Phase::Measure,
        stage: "measure".to_owned(),
        index: 0,
        prompt: 0,
        image: None,
    };
    let event = |kind, tokens, text: &str| Event {
        read: 0,
        kind,
        tokens,
        ns: 0,
        text: text.to_owned(),
    };
    let events = vec![
        event(EventKind::Text, 0, &"t".repeat(texts.len().max(64))),
        event(EventKind::Finish, 0, "length"),
        event(EventKind::PromptTokens, tokens.0 as u32, ""),
        event(EventKind::OutputTokens, tokens.1 as u32, ""),
        event(EventKind::End, 0, ""),
    ];
    let seen = Observation {
        stamps: Stamps {
            intended_ns: ns(sent),
            sent_ns: ns(sent),
            end_ns: ns(end),
            ..Stamps::default()
        },
        status: Some(200),
        ..Observation::default()
    };
    let mut record = Record::judge(id, seen, Ok(events), 64);
    assert!(record.ok(), "{:?}", record.failed);
    record.arrivals = texts.iter().map(|at| Arrival(ns(*at), 0)).collect();
    record.textless_ns = textless.iter().map(|at| ns(*at)).collect();
    record.answered_ns = Some(ns(*textless.last().or(texts.last()).expect("an answer")));
    record
}

/// The requests as the client stamped them.
fn by_client(client: &str, output: &Value) -> Vec<Record> {
    let from_gaps = |first: f64, gaps: &[f64]| {
        let mut stamps = vec![first];
        stamps.extend(gaps.iter().scan(first, |at, gap| {
            *at += gap;
            Some(*at)
        }));
        stamps
    };
    let each = |at: &str| {
        output
            .pointer(at)
            .and_then(Value::as_array)
            .expect("a list")
            .iter()
    };
    match client {
        "vllm" => {
            let column = |name: &str| list(&output[name]);
            let (starts, ttfts) = (column("start_times"), column("ttfts"));
            let (prompts, lengths) = (column("input_lens"), column("output_lens"));
            let request = |(at, gaps): (usize, &Value)| {
                let gaps: Vec<f64> = list(gaps).iter().map(|gap| gap * 1e9).collect();
                let start = starts[at] * 1e9;
                let chunks = from_gaps(start + ttfts[at] * 1e9, &gaps);
                let (end, texts) = chunks.split_last().expect("chunks");
                record(start, texts, &[*end], *end, (prompts[at], lengths[at]))
            };
            each("/itls").enumerate().map(request).collect()
        }
        "aiperf" => {
            let request = |it: &Value| {
                let value = |name: &str| &it["metrics"][name]["value"];
                let gaps = list(value("inter_chunk_latency"));
                let gaps: Vec<f64> = gaps.iter().map(|gap| gap * 1e6).collect();
                // Whole nanoseconds since 1970 are too many for a float.
                let start = it["metadata"]["request_start_ns"]
                    .as_u64()
                    .expect("a stamp");
                let start = (start % 1_000_000_000_000_000) as f64;
                let texts = from_gaps(start + number(value("time_to_first_token")) * 1e6, &gaps);
                let end = *texts.last().expect("texts");
                let tokens = |name| number(value(name));
                let tokens = (
                    tokens("input_sequence_length"),
                    tokens("output_sequence_length"),
                );
                record(start, &texts, &[], end, tokens)
            };
            each("/records").map(request).collect()
        }
        "guidellm" => {
            let request = |it: &Value| {
                let at = |name: &str| (number(&it["timings"][name]) % 1e6) * 1e9;
                // It keeps the first stamp and the last, and no other.
                let texts = [at("first_token_iteration"), at("last_token_iteration")];
                let tokens = (number(&it["prompt_tokens"]), number(&it["output_tokens"]));
                record(at("request_start"), &texts, &[], at("request_end"), tokens)
            };
            each("/requests").map(request).collect()
        }
        _ => panic!("{client}"),
    }
}

/// The requests as the server logged them: each token is a chunk, and the finish reason, which
/// comes with the end, is another.
fn by_server(log: &Value) -> Vec<Record> {
    let of_entry = |entry: &Value| {
        let writes = list(&entry["writes_ns"]);
        let tokens = list(&entry["tokens_per_write"]);
        let pairs = writes.iter().zip(&tokens);
        let texts: Vec<f64> = pairs
            .flat_map(|(at, tokens)| std::iter::repeat_n(*at, *tokens as usize))
            .collect();
        let end = *writes.last().expect("writes");
        let counts = (7.0, tokens.iter().sum());
        record(number(&entry["received_ns"]), &texts, &[end], end, counts)
    };
    log.as_array()
        .expect("a list")
        .iter()
        .map(of_entry)
        .collect()
}

/// Values that the client reported by the name that prony's definition has for it: mean, median,
/// 90th percentile and largest, where it reports them.
fn reported(client: &str, output: &Value, metric: &str) -> [Option<f64>; 4] {
    let at = |place: String, factor: f64| {
        output
            .pointer(&place)
            .and_then(Value::as_f64)
            .map(|it| it * factor)
    };
    let (name, unit) = metric.split_once(" (").unwrap_or((metric, ""));
    match client {
        "vllm" => {
            let rate = match name {
                "Output token throughput" => Some("output_throughput"),
                "Total token throughput" => Some("total_token_throughput"),
                "Request throughput" => Some("request_throughput"),
                _ => None,
            };
            if let Some(rate) = rate {
                return [at(format!("/{rate}"), 1.0), None, None, None];
            }
            let name = name.to_lowercase();
            ["mean", "median", "p90"]
                .map(|statistic| at(format!("/{statistic}_{name}_ms"), 1.0))
                .into_iter()
                .chain([None])
                .collect::<Vec<_>>()
                .try_into()
                .expect("four")
        }
        "aiperf" => {
            let name = name.to_lowercase().replace(' ', "_");
            ["avg", "p50", "p90", "max"].map(|it| at(format!("/reported/{name}/{it}"), 1.0))
        }
        "guidellm" => {
            let factor = if unit == "ms)" { 1e3 } else { 1.0 };
            ["mean", "percentiles/p50", "percentiles/p90", "max"]
                .map(|it| at(format!("/metrics/{name}/{it}"), factor))
        }
        _ => panic!("{client}"),
    }
}

fn scores(client: &str, records: &[Record]) -> Vec<Scored> {
    let definition = definitions().iter().find(|it| it.name == client);
    let requests: Requests = records.iter().collect();
    let chunks = requests.chunk_gaps(|see| {
        records.iter().for_each(see);
        Ok::<(), ()>(())
    });
    let (texts, chunks) = (requests.streams_kept().gaps, chunks.expect("no error"));
    score(
        definition.expect("a definition"),
        &requests.all(),
        &texts,
        &chunks,
    )
}

fn is_rate(scored: &Scored) -> bool {
    scored.p50.is_none()
}

#[test]
fn a_client_reports_what_its_definition_makes_of_its_own_stamps() {
    for (run, client) in RUNS.iter().flat_map(|run| CLIENTS.map(|it| (*run, it))) {
        let file = recording(run, client);
        let output = &file["output"];
        let records = by_client(client, output);
        assert_eq!(records.len(), 8);
        let mut compared = 0;
        for scored in scores(client, &records) {
            let [mean, p50, p90, max] = reported(client, output, scored.metric);
            let of = format!("{run} {client} {}", scored.metric);
            let mean = mean.unwrap_or_else(|| panic!("{of} is not reported"));
            // vLLM and GuideLLM take the time of a rate from when they begin to when they have
            // put all away, of which their stamps say nothing: some ms of 1 to 5 s. AIPerf's
            // duration is of a clock that is some ms from the times of sending in its records.
            let margin = match (is_rate(&scored), client) {
                (true, "aiperf") => 0.005 * mean,
                (true, _) => 0.05 * mean,
                // Stamps as floats of seconds since 1970 have a quarter of a microsecond.
                (false, "guidellm") => 1e-3,
                (false, _) => 1e-5 * mean.max(1.0),
            };
            let alike = |seen: f64, wanted: f64| {
                assert!((seen - wanted).abs() <= margin, "{of}: {seen}, {wanted}");
            };
            alike(scored.mean, mean);
            for (seen, wanted) in [(scored.p50, p50), (scored.p90, p90), (scored.max, max)] {
                if let (Some(seen), Some(wanted)) = (seen, wanted) {
                    alike(seen, wanted);
                    compared += 1;
                }
            }
        }
        assert!(compared >= 5, "{run} {client}: {compared}");
    }
}

#[test]
fn a_client_cannot_see_a_token_before_the_server_writes_it() {
    for (run, client) in RUNS.iter().flat_map(|run| CLIENTS.map(|it| (*run, it))) {
        let file = recording(run, client);
        let server = by_server(&file["log"]);
        assert_eq!(server.len(), 8, "{run} {client}");
        let due = |at: usize| 200.0 + 20.0 * at as f64;
        for scored in scores(client, &server) {
            let [mean, ..] = reported(client, &file["output"], scored.metric);
            let mean = mean.expect("reported");
            let of = format!(
                "{run} {client} {}: {mean}, by the server {}",
                scored.metric, scored.mean
            );
            let lower = scored.metric.to_lowercase();
            if is_rate(&scored) || lower.contains("throughput") {
                continue;
            }
            // From sending on, what the client adds is its own delay: connecting, and reading
            // late. Between two arrivals it cancels but for the first and the last.
            let (early, late) = TOLERANCE_MS;
            let is_from_sending = ["ttft", "e2el", "first", "request"]
                .iter()
                .any(|it| lower.contains(it));
            let least = if is_from_sending {
                -early
            } else {
                -late / 15.0
            };
            let most = if is_from_sending { late } else { late / 15.0 };
            assert!((least..=most).contains(&(mean - scored.mean)), "{of}");
            // The schedule itself, to be sure of the log.
            let first = if run == "chunks" { due(3) } else { due(0) };
            if lower.contains("ttft")
                || lower.contains("first token")
                || lower.contains("time_to_first")
            {
                assert!((first..first + late).contains(&scored.mean), "{of}");
            }
        }
    }
}
