//! The printed tables: medians of all turns, and their ratio to the reference's.

use crate::case::{Case, Client, Measured, Receipts};
use std::fmt::Write as _;

#[derive(Default)]
pub(crate) struct Table {
    text: String,
    json: Vec<serde_json::Value>,
}

/// All turns of the firehose.
#[derive(Default)]
pub(crate) struct Firehose {
    pub(crate) reference: Vec<Measured>,
    /// Events, wall time and CPU time.
    pub(crate) recording: Vec<(u64, u64, u64)>,
    pub(crate) memory: Vec<f64>,
    /// Events and CPU time.
    pub(crate) wasm: Vec<(u64, u64)>,
    pub(crate) native: Vec<(u64, u64)>,
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 {
        values[half]
    } else {
        f64::midpoint(values[half - 1], values[half])
    }
}

/// Processor seconds for a million events.
fn per_million(events: u64, cpu_ns: u64) -> f64 {
    cpu_ns as f64 / 1e9 / (events as f64 / 1e6)
}

impl Table {
    pub(crate) fn firehose(&mut self, case: &Case, rows: &Firehose) {
        let rate = |events: u64, wall_ns: u64| events as f64 / (wall_ns as f64 / 1e9) / 1e6;
        let reference = median(rows.reference.iter().map(|it| rate(it.events, it.wall_ns)));
        let recording = median(rows.recording.iter().map(|it| rate(it.0, it.1)));
        let cpu_reference = median(
            rows.reference
                .iter()
                .map(|it| per_million(it.events, it.cpu_ns)),
        );
        let cpu = median(rows.recording.iter().map(|it| per_million(it.0, it.2)));
        let wasm = median(rows.wasm.iter().map(|it| per_million(it.0, it.1)));
        let native = median(rows.native.iter().map(|it| per_million(it.0, it.1)));
        let memory = median(rows.memory.iter().copied());
        let _ = write!(
            self.text,
            "\n| {} | million events/s | CPU-s per million events |\n|---|---|---|\n\
             | reference, bytes kept, light decoding | {reference:.2} | {cpu_reference:.2} |\n\
             | prony, recording | {recording:.2} ({:.2} ×) | {cpu:.2} |\n\
             | prony, recording and decoding as WASM | | {:.2} |\n\
             | prony, recording and decoding as native library | | {:.2} |\n\n\
             Memory for each byte received: {memory:.2} bytes.\n",
            case.name,
            recording / reference,
            cpu + wasm,
            cpu + native,
        );
        self.json.push(serde_json::json!({
            "case": case.name, "reference_events_per_sec": reference * 1e6,
            "events_per_sec": recording * 1e6, "ratio": recording / reference,
            "reference_cpu_s_per_million": cpu_reference, "recording_cpu_s_per_million": cpu,
            "wasm_decoding_cpu_s_per_million": wasm, "native_decoding_cpu_s_per_million": native,
            "memory_bytes_per_byte": memory,
        }));
    }

    pub(crate) fn paced(&mut self, case: &Case, all: &[(Client, Vec<Measured>)]) {
        let _ = write!(
            self.text,
            "\n| {} | TTFT error, mean | ITL error, p99 | CPU-s per million events |\n|---|---|---|---|\n",
            case.name
        );
        let mut to: Option<(f64, f64)> = None;
        for (client, turns) in all {
            let first = median(turns.iter().map(|it| it.first_us));
            let gap = median(turns.iter().map(|it| it.gap_p99_us));
            let cpu = median(turns.iter().map(|it| per_million(it.events, it.cpu_ns)));
            let (of_first, of_cpu) = to.map_or((String::new(), String::new()), |to| {
                (
                    format!(" ({:.2} ×)", first / to.0),
                    format!(" ({:.2} ×)", cpu / to.1),
                )
            });
            let _ = writeln!(
                self.text,
                "| {} | {first:+.0} µs{of_first} | {gap:+.0} µs | {cpu:.1}{of_cpu} |",
                client.name()
            );
            if *client == Client::Reference {
                to = Some((first, cpu));
            }
            self.json.push(serde_json::json!({
                "case": case.name, "client": client.name(), "ttft_error_mean_us": first,
                "itl_error_p99_us": gap, "cpu_s_per_million": cpu,
            }));
        }
    }

    /// The way of requests to the server.
    pub(crate) fn waves(&mut self, case: &Case, all: &[(Client, Vec<Measured>)]) {
        let _ = write!(
            self.text,
            "\n| {} | first requests read after sending, p50 | p99 | later requests, p50 | p99 |\n\
             |---|---|---|---|---|\n",
            case.name
        );
        for (client, turns) in all {
            let of = |part: fn(&Measured) -> f64| median(turns.iter().map(part));
            let first = (of(|it| it.receipts.0.p50), of(|it| it.receipts.0.p99));
            let later = |of: fn(Receipts) -> f64| {
                median(turns.iter().filter_map(|it| it.receipts.1).map(of))
            };
            let later = (later(|it| it.p50), later(|it| it.p99));
            let _ = writeln!(
                self.text,
                "| {} | {:.0} µs | {:.0} µs | {:.0} µs | {:.0} µs |",
                client.name(),
                first.0,
                first.1,
                later.0,
                later.1
            );
            self.json.push(serde_json::json!({
                "case": case.name, "client": client.name(),
                "first_receipt_p50_us": first.0, "first_receipt_p99_us": first.1,
                "later_receipt_p50_us": later.0, "later_receipt_p99_us": later.1,
            }));
        }
    }

    pub(crate) fn markdown(&self) -> &str {
        &self.text
    }

    pub(crate) fn json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self.json))
    }
}
