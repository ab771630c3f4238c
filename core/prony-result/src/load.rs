//! The load client: what it did, and what it is worth.

use super::RunResult;
use crate::words;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The load client against a server with a known schedule, sending as the pipeline does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Selfcheck {
    /// The way of sending, in words: `concurrency 4`, `poisson, 40 a second`.
    pub arrival: String,
    /// The most requests in flight.
    pub concurrency: u32,
    /// Requests a second of an open loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Requests that were sent.
    pub requests: u32,
    /// Tokens that were held against their write.
    pub tokens: u64,
    /// From the server's write of a request's first token to the stamp of its arrival.
    pub first_error_us: ErrorRange,
    /// The same of every token.
    pub arrival_error_us: ErrorRange,
    /// Between the gap of two arrivals and that of their writes, either way.
    pub gap_error_us: ErrorRange,
    /// From the client's stamp of sending to when the server had read the whole request, of
    /// the first wave: requests that go out at the start, over new connections. Absent in
    /// an open loop, which has no waves, and with one request in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_receipt_us: Option<ErrorRange>,
    /// The same of all other requests; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub later_receipt_us: Option<ErrorRange>,
    /// What the client did and needed.
    pub client: Client,
    /// Why times measured like this are not to be trusted; empty if they are.
    pub invalid: Vec<String>,
}

/// How wrong times are, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorRange {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

impl Selfcheck {
    /// What reports say of it, without a full stop.
    pub fn sentence(&self) -> String {
        let (first, gaps) = (self.first_error_us, self.gap_error_us);
        format!(
            "{}: first tokens seen {} µs (p50) and {} µs (p99) after the server's write, gaps wrong by {} µs and {} µs: {}",
            words::one_line(&self.arrival),
            words::number(first.p50),
            words::number(first.p99),
            words::number(gaps.p50),
            words::number(gaps.p99),
            if self.invalid.is_empty() {
                "VALID"
            } else {
                "NOT VALID"
            }
        )
    }
}

impl RunResult {
    /// What was delivered of the load that was asked for, all engines together, without a
    /// full stop; `None` where nothing was sent over a connection.
    pub fn load_sentence(&self) -> Option<String> {
        let engines = self.models.iter().flat_map(|model| &model.engines);
        let all: Vec<&Delivered> = engines.filter_map(|it| it.delivered.as_ref()).collect();
        let most = all.iter().map(|it| it.max_in_flight).max()?;
        let sum = |of: fn(&Delivered) -> u64| all.iter().map(|it| of(it)).sum::<u64>();
        let requests = words::count(sum(|it| it.intended), "request");
        let mut text = format!(
            "{} of {requests} sent, at most {most} in flight",
            sum(|it| it.sent)
        );
        let residuals = all.iter().filter_map(|it| it.littles_law_residual_percent);
        if let Some(worst) = residuals.max_by(|a, b| a.abs().total_cmp(&b.abs())) {
            let _ = write!(
                text,
                ", Little's law within {} %",
                words::number(worst.abs())
            );
        }
        text += if self.invalid.is_empty() {
            ": VALID"
        } else {
            ": NOT VALID"
        };
        Some(text)
    }
}

/// What the load client did and needed: the proof that it is not what was measured. Of
/// several visits the worst.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Client {
    /// Who stamped arrivals, at least 99 in 100: `kernel`, when a segment came from the
    /// network; else `read`, right after reading it, which is later the busier the client is.
    #[schemars(extend("enum" = ["kernel", "read"]))]
    pub stamps: String,
    /// Its threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<u32>,
    /// Reads that brought bytes.
    pub reads: u64,
    /// From the stamp to the end of the read, median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_delay_p50_ms: Option<f64>,
    /// The same, 99th percentile.
    pub read_delay_p99_ms: f64,
    /// How long the first byte of a read may have waited for it at most, median: since the
    /// client last saw that nothing more was there. Absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen_p50_ms: Option<f64>,
    /// From when a request could have been sent to its sending, 90th percentile.
    pub send_delay_p90_ms: f64,
    /// The same, 99th percentile.
    pub send_delay_p99_ms: f64,
    /// CPU time in percent of the cores that it may use, one for each of its threads.
    pub cpu_percent: f64,
    /// Requests of an open loop that were due and never sent, because the stage ended.
    pub dropped: u64,
}

impl Client {
    /// The worse of both in everything.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        let worse = |one: Option<f64>, other: Option<f64>| {
            let both = one.zip(other).map(|(one, other)| one.max(other));
            both.or(one).or(other)
        };
        Self {
            stamps: if self.stamps == other.stamps {
                self.stamps
            } else {
                "read".to_owned()
            },
            shards: self.shards.max(other.shards),
            reads: self.reads + other.reads,
            read_delay_p50_ms: worse(self.read_delay_p50_ms, other.read_delay_p50_ms),
            read_delay_p99_ms: self.read_delay_p99_ms.max(other.read_delay_p99_ms),
            unseen_p50_ms: worse(self.unseen_p50_ms, other.unseen_p50_ms),
            send_delay_p90_ms: self.send_delay_p90_ms.max(other.send_delay_p90_ms),
            send_delay_p99_ms: self.send_delay_p99_ms.max(other.send_delay_p99_ms),
            cpu_percent: self.cpu_percent.max(other.cpu_percent),
            dropped: self.dropped + other.dropped,
        }
    }
}

/// The load that was delivered, against the one that was asked for. Of all visits together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Delivered {
    /// Requests that were due.
    pub intended: u64,
    /// Requests that were sent.
    pub sent: u64,
    /// How many were due in a second, from the first to the last.
    pub intended_per_sec: Option<f64>,
    /// How many were sent in a second, from the first to the last.
    pub sent_per_sec: Option<f64>,
    /// Requests in flight in the mean, from the first sending to the last byte.
    pub mean_in_flight: Option<f64>,
    /// The most requests in flight.
    pub max_in_flight: u32,
    /// By how much `requests ending in a second × their mean latency` is more than the mean
    /// in flight, in percent, over the middle 80 % of each visit: Little's law, which holds
    /// for a steady load. Absent with fewer than 10 requests there.
    pub littles_law_residual_percent: Option<f64>,
}

impl Delivered {
    /// What reports say of it, without a full stop.
    pub fn sentence(&self) -> String {
        let Self {
            intended,
            sent,
            max_in_flight,
            ..
        } = self;
        let mut text = format!("{sent} of {} sent", words::count(*intended, "request"));
        if let (Some(due), Some(sent)) = (self.intended_per_sec, self.sent_per_sec) {
            let (due, sent) = (words::number(due), words::number(sent));
            let _ = write!(text, ", {sent} a second of {due} that were due");
        }
        if let Some(mean) = self.mean_in_flight {
            let mean = words::number(mean);
            let _ = write!(
                text,
                ", {mean} in flight in the mean and {max_in_flight} at most"
            );
        }
        if let Some(residual) = self.littles_law_residual_percent {
            let residual = words::signed_percent(residual);
            let _ = write!(text, ", Little's law off by {residual}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_delivered_is_a_sentence() {
        let delivered = Delivered {
            intended: 120,
            sent: 118,
            intended_per_sec: Some(40.0),
            sent_per_sec: Some(38.52),
            mean_in_flight: Some(3.94),
            max_in_flight: 4,
            littles_law_residual_percent: Some(0.8),
        };
        assert_eq!(
            delivered.sentence(),
            "118 of 120 requests sent, 38.5 a second of 40.0 that were due, 3.94 in flight in the mean and 4 at most, Little's law off by +0.8 %"
        );
    }
}
