//! The load client: its activity, its load and its accuracy.

use super::RunResult;
use crate::words;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Accuracy of the load client, measured against a server with a known schedule and the
/// pipeline's load shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Selfcheck {
    /// The load shape in words: `concurrency 4`, `poisson, 40 a second`.
    pub arrival: String,
    /// Maximum number of requests in flight.
    pub concurrency: u32,
    /// Requests per second of an open loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Requests sent.
    pub requests: u32,
    /// Tokens whose arrival was compared with their write.
    pub tokens: u64,
    /// Error of the first token's arrival stamp: from the server's write to the stamp.
    pub first_error_us: ErrorRange,
    /// Error of the arrival stamps of all tokens.
    pub arrival_error_us: ErrorRange,
    /// Absolute difference between the gap of two arrivals and the gap of their writes.
    pub gap_error_us: ErrorRange,
    /// From the client's send stamp until the server had read the whole request, for the
    /// first wave: requests sent at the start, over new connections. Absent in an open
    /// loop, which has no waves, and with one request in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_receipt_us: Option<ErrorRange>,
    /// From the client's send stamp until the server had read the whole request, for all
    /// other requests; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub later_receipt_us: Option<ErrorRange>,
    /// Activity and resource use of the client.
    pub client: Client,
    /// Reasons why times measured with this load shape cannot be trusted; empty if they
    /// can.
    pub invalid: Vec<String>,
}

/// Size of timing errors, in microseconds.
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
    /// A sentence for reports, without a full stop.
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
    /// A sentence comparing delivered with requested load, all engines together, without
    /// a full stop; `None` if nothing was sent over a connection.
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
        text += if self.invalid.is_empty() {
            ": VALID"
        } else {
            ": NOT VALID"
        };
        Some(text)
    }
}

/// Activity and resource use of the load client: evidence that it was not the bottleneck.
/// Each field is the worst of all visits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Client {
    /// Source of at least 99 % of the arrival stamps: `kernel`, when a segment came from
    /// the network; else `read`, right after reading it, which is later the busier the
    /// client is.
    #[schemars(extend("enum" = ["kernel", "read"]))]
    pub stamps: String,
    /// Threads of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<u32>,
    /// Reads that returned bytes.
    pub reads: u64,
    /// Read lag: from the stamp to the end of the read, median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_delay_p50_ms: Option<f64>,
    /// Read lag of bytes, 90th percentile: a read that brings more counts for more. Absent
    /// if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub byte_delay_p90_ms: Option<f64>,
    /// Read lag, 99th percentile.
    pub read_delay_p99_ms: f64,
    /// Upper bound of the time that the first byte of a read waited unseen, since the
    /// client last saw an empty socket; median. Absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen_p50_ms: Option<f64>,
    /// Send lag: from when a request could have been sent to its sending, 90th
    /// percentile.
    pub send_delay_p90_ms: f64,
    /// Send lag, 99th percentile.
    pub send_delay_p99_ms: f64,
    /// CPU time in percent of the cores available to the client, one per thread.
    pub cpu_percent: f64,
    /// Requests of an open loop that were due but never sent, because the stage ended.
    pub dropped: u64,
    /// Time in which the client read and sent nothing, because answers came faster than they
    /// could be kept. Absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_up_ms: Option<f64>,
}

impl Client {
    /// The client of all `visits`: sums of what is counted, and of each other field the worst
    /// value. `None` without visits.
    pub fn of_visits(visits: &[Self]) -> Option<Self> {
        Self::without_worst(visits, 0)
    }

    /// The same with the worst values of a tenth of the visits left out. A machine that falters
    /// in a few visits of a long run does not make all of it doubtful.
    pub fn of_most_visits(visits: &[Self]) -> Option<Self> {
        Self::without_worst(visits, visits.len() / 10)
    }

    fn without_worst(visits: &[Self], left_out: usize) -> Option<Self> {
        let first = visits.first()?;
        let worst = |of: fn(&Self) -> Option<f64>| {
            let mut values: Vec<f64> = visits.iter().filter_map(of).collect();
            values.sort_by(|a, b| b.total_cmp(a));
            // Visits that say nothing are none of the worst.
            values.get(left_out.min(values.len() / 10)).copied()
        };
        let sum = |of: fn(&Self) -> u64| visits.iter().map(of).fold(0, u64::saturating_add);
        let is_alike = visits.iter().all(|it| it.stamps == first.stamps);
        Some(Self {
            stamps: if is_alike {
                first.stamps.clone()
            } else {
                "read".to_owned()
            },
            shards: visits.iter().filter_map(|it| it.shards).max(),
            reads: sum(|it| it.reads),
            read_delay_p50_ms: worst(|it| it.read_delay_p50_ms),
            byte_delay_p90_ms: worst(|it| it.byte_delay_p90_ms),
            read_delay_p99_ms: worst(|it| Some(it.read_delay_p99_ms))?,
            unseen_p50_ms: worst(|it| it.unseen_p50_ms),
            send_delay_p90_ms: worst(|it| Some(it.send_delay_p90_ms))?,
            send_delay_p99_ms: worst(|it| Some(it.send_delay_p99_ms))?,
            cpu_percent: worst(|it| Some(it.cpu_percent))?,
            dropped: sum(|it| it.dropped),
            // What was held up counts in whichever visit.
            held_up_ms: visits
                .iter()
                .filter_map(|it| it.held_up_ms)
                .reduce(f64::max),
        })
    }
}

/// Delivered and requested load, over all visits together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Delivered {
    /// Requests due.
    pub intended: u64,
    /// Requests sent.
    pub sent: u64,
    /// Requests due per second, from the first to the last.
    pub intended_per_sec: Option<f64>,
    /// Requests sent per second, from the first to the last.
    pub sent_per_sec: Option<f64>,
    /// Mean number of requests in flight, from the first sending to the last byte.
    pub mean_in_flight: Option<f64>,
    /// Maximum number of requests in flight.
    pub max_in_flight: u32,
    /// Excess of `requests ending per second × their mean latency` over the mean number
    /// in flight, in percent, over the middle 80 % of each visit: the residual of
    /// Little's law, which holds for a steady load. Absent with fewer than 10 requests
    /// there.
    pub littles_law_residual_percent: Option<f64>,
}

impl Delivered {
    /// A sentence for reports, without a full stop.
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
            let _ = write!(
                text,
                "; by Little's law, rate × latency equals the number in flight under a steady load: off by {residual}"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(send_delay_p90_ms: f64) -> Client {
        Client {
            stamps: "kernel".to_owned(),
            reads: 2,
            send_delay_p90_ms,
            ..Client::default()
        }
    }

    #[test]
    fn a_tenth_of_the_visits_is_left_out() {
        let of = |visits: &[Client]| Client::of_most_visits(visits).expect("visits");
        assert_eq!(Client::of_visits(&[]), None);
        let mut visits = vec![late(50.0)];
        visits.resize(9, late(0.1));
        assert!(of(&visits).send_delay_p90_ms > 49.0);
        visits.push(late(0.1));
        assert!(of(&visits).send_delay_p90_ms < 1.0);
        let worst = Client::of_visits(&visits).expect("visits");
        assert!(worst.send_delay_p90_ms > 49.0);
        assert_eq!(
            (of(&visits).reads, of(&visits).read_delay_p50_ms),
            (20, None)
        );
        visits.push(late(40.0));
        assert!(of(&visits).send_delay_p90_ms > 39.0);
        visits[3].held_up_ms = Some(7.0);
        visits[4].stamps = "read".to_owned();
        let all = of(&visits);
        assert_eq!((all.held_up_ms, &*all.stamps), (Some(7.0), "read"));
    }

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
            "118 of 120 requests sent, 38.5 a second of 40.0 that were due, 3.94 in flight in the mean and 4 at most; by Little's law, rate × latency equals the number in flight under a steady load: off by +0.8 %"
        );
    }
}
