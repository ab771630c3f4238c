//! The server's own account: settings and counters.

use crate::{Config, MODEL};
use serde_json::json;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tokens of an answer that began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) prompt: u32,
    pub(crate) cached: u32,
    pub(crate) output: u32,
}

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: AtomicU64,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    output_tokens: AtomicU64,
}

impl Counters {
    pub(crate) fn count(&self, spent: Spent) {
        let add = |counter: &AtomicU64, more: u32| {
            counter.fetch_add(more.into(), Ordering::Relaxed);
        };
        add(&self.requests, 1);
        add(&self.prompt_tokens, spent.prompt);
        add(&self.cached_tokens, spent.cached);
        add(&self.output_tokens, spent.output);
    }

    /// All of them, in the text format of Prometheus, with what `config` claims beyond the
    /// truth.
    pub(crate) fn text(&self, config: &Config) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let requests = read(&self.requests);
        let more = u64::from(config.claim_requests) * requests;
        let of_more = more * u64::from(config.tokens);
        let counters = [
            ("requests", requests + more),
            ("prompt_tokens", read(&self.prompt_tokens) + of_more),
            ("cached_tokens", read(&self.cached_tokens)),
            ("output_tokens", read(&self.output_tokens) + of_more),
        ];
        let mut text = String::new();
        for (name, value) in counters {
            let _ = writeln!(text, "# TYPE {MODEL}:{name}_total counter");
            let _ = writeln!(text, "{MODEL}:{name}_total{{model=\"{MODEL}\"}} {value}");
        }
        text
    }
}

/// The settings, as JSON.
pub(crate) fn settings(config: &Config) -> String {
    let model = config.claim_model.as_deref().unwrap_or(MODEL);
    json!({ "model": model, "context": config.claim_context, "version": "truth-1" }).to_string()
}
