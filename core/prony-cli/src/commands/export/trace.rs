//! Requests as slices of a trace, in Chrome's Trace Event Format, which Perfetto and
//! `chrome://tracing` open.
//!
//! A process is an engine, a thread is a slot: requests of a slot follow each other, and there are
//! as many slots as requests in flight. A request has the wait for its first text and the time in
//! which text came inside.

use crate::output;
use prony_record::Record;
use serde_json::{Value, json};

/// The trace, written as requests come: at most one visit is held.
#[derive(Default)]
pub(super) struct Trace {
    /// Requests of the visit that is read.
    visit: Vec<Record>,
    /// The engines seen, with the number of their slots that have a name; an engine's process has
    /// its place here as number, from 1.
    engines: Vec<(String, usize)>,
    is_begun: bool,
}

impl Trace {
    /// Adds a request.
    pub(super) fn add(&mut self, record: Record) {
        let visit = |it: &Record| (it.id.engine.clone(), it.id.cycle, it.id.point.clone());
        let last = self.visit.last();
        if last.is_some_and(|it| visit(it) != visit(&record)) {
            self.end_visit();
        }
        self.visit.push(Record {
            text: String::new(),
            ..record
        });
    }

    /// Ends the trace.
    pub(super) fn end(mut self) {
        self.end_visit();
        output::lines(if self.is_begun { "]" } else { "[]" });
    }

    /// Gives each request of the visit the first slot that is free when it is sent.
    fn end_visit(&mut self) {
        let mut visit = std::mem::take(&mut self.visit);
        visit.sort_by_key(|it| (it.stamps.sent_ns, it.id.index));
        let mut slots: Vec<u64> = Vec::new();
        for record in &visit {
            let free = slots.iter().position(|end| *end <= record.stamps.sent_ns);
            let slot = free.unwrap_or(slots.len());
            slots.resize(slots.len().max(slot + 1), 0);
            slots[slot] = record.stamps.end_ns;
            let process = self.process(&record.id.engine, slot);
            self.request(record, process, slot);
        }
    }

    /// The number of an engine's process; names it and the slot if they are new.
    fn process(&mut self, engine: &str, slot: usize) -> usize {
        let known = self.engines.iter().position(|(name, _)| name == engine);
        let index = known.unwrap_or(self.engines.len());
        if known.is_none() {
            self.engines.push((engine.to_owned(), 0));
            self.name("process_name", index + 1, 0, engine);
        }
        for slot in self.engines[index].1..=slot {
            self.name(
                "thread_name",
                index + 1,
                slot,
                &format!("slot {}", slot + 1),
            );
            self.engines[index].1 = slot + 1;
        }
        index + 1
    }

    fn name(&mut self, what: &str, process: usize, slot: usize, name: &str) {
        self.write(&json!({
            "ph": "M", "name": what, "pid": process, "tid": slot, "args": { "name": name },
        }));
    }

    fn request(&mut self, record: &Record, process: usize, slot: usize) {
        let (id, stamps) = (&record.id, &record.stamps);
        let mut slice = |name: &str, from: u64, to: u64, args: Value| {
            self.write(&json!({
                "ph": "X", "name": name, "cat": id.phase, "pid": process, "tid": slot,
                "ts": from as f64 / 1e3, "dur": to.saturating_sub(from) as f64 / 1e3, "args": args,
            }));
        };
        let error = record.failed.as_ref().map(|it| it.class.name());
        let name = error.map_or_else(|| format!("prompt {}", id.prompt), str::to_owned);
        let args = json!({
            "cell": id.point,
            "model": id.model,
            "cycle": id.cycle,
            "stage": id.stage,
            "index": id.index,
            "prompt": id.prompt,
            "send_lag_ms": stamps.sent_ns.saturating_sub(stamps.intended_ns) as f64 / 1e6,
            "prompt_tokens": record.prompt_tokens,
            "output_tokens": record.tokens(),
            "message": record.failed.as_ref().map(|it| &it.message),
        });
        slice(&name, stamps.sent_ns, stamps.end_ns, args);
        if let (Some(first), Some(last)) = (record.arrivals.first(), record.arrivals.last()) {
            slice("wait", stamps.sent_ns, first.0, json!({}));
            let texts = record.arrivals.len();
            slice("text", first.0, last.0, json!({ "texts": texts }));
        }
    }

    fn write(&mut self, event: &Value) {
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        let before = if is_first { '[' } else { ',' };
        output::json(&format!("{before}{event}"));
    }
}
