//! Whether numbers are of the engine, or of the client that measured it, and of the state
//! of the engine that was to be measured.

use crate::cache;
use prony_result::{Cache, Client, EngineResult};

/// A client that is busier than this, in percent of its cores, may be what was measured.
pub const BUSY_PERCENT: f64 = 90.0;
/// Sends later than this are late, if they also are more than this share of the latency.
const LATE_MS: f64 = 5.0;
const LATE_SHARE: f64 = 0.1;
/// A stage shorter than this says nothing of how busy the client was.
const SHORTEST_S: f64 = 0.5;

/// Why the numbers of an engine are not valid; nothing if they are. `stated` is the state of
/// the prefix cache that they are to be of.
pub fn reasons(engine: &EngineResult, stated: Option<Cache>) -> Vec<String> {
    let of_cache = stated.zip(engine.cache.as_ref());
    let mut reasons = of_client(engine);
    reasons.extend(of_cache.and_then(|(stated, check)| cache::reason(stated, check)));
    reasons
}

/// Why the numbers may be the client's.
///
/// Client-side delay must not pass for the engine's: a run in which the client could not
/// send when it should have, or had no processor time left, is not a measurement of the
/// engine. The 90th percentile counts, so that one hiccup of the machine does not.
fn of_client(engine: &EngineResult) -> Vec<String> {
    let Some(client) = &engine.client else {
        return Vec::new();
    };
    let Client {
        cpu_percent,
        send_delay_p90_ms,
        ..
    } = client;
    let mut reasons = Vec::new();
    if *cpu_percent > BUSY_PERCENT && engine.total_time_s >= SHORTEST_S {
        reasons.push(format!(
            "the load client used {cpu_percent:.0} % of its processor time, so it may be what was measured"
        ));
    }
    let latency = engine.request_latency_ms.map_or(0.0, |latency| latency.p50);
    if *send_delay_p90_ms > LATE_MS && *send_delay_p90_ms > latency * LATE_SHARE {
        reasons.push(format!(
            "one request in ten was sent {send_delay_p90_ms:.1} ms late or later, against a median latency of {latency:.1} ms"
        ));
    }
    reasons
}
