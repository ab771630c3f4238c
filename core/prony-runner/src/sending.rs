//! From what a pipeline says of sending to what the load client does, and back.

use prony_config::{Arrival as Said, Bursts, Ramp, Rate};
use prony_loadgen::arrivals::{Process, offsets_ns};
use prony_loadgen::client::{Arrival, Usage};
use prony_plugin_sdk::result::Client;
use std::time::Duration;

/// From so many requests in flight on, the client looks at its sockets less often, ...
const MANY: u32 = 256;

/// ... every so often. The kernel stamps what comes meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// When at most `requests` are sent, all of them within `duration`. Equal seeds give equal
/// times.
pub fn arrival(
    said: Said,
    seed: u64,
    requests: u32,
    duration: Option<Duration>,
) -> Result<Arrival, String> {
    let closed = |concurrency, ramp| Ok(Arrival::Closed { concurrency, ramp });
    let (process, max_in_flight) = match said {
        Said::Concurrency(concurrency) => return closed(concurrency, Duration::ZERO),
        Said::Ramp(Ramp { concurrency, over }) => return closed(concurrency, over.to_std()),
        Said::Constant(Rate {
            rate,
            max_in_flight,
        }) => (Process::Constant { rate }, max_in_flight),
        Said::Poisson(Rate {
            rate,
            max_in_flight,
        }) => (Process::Poisson { rate }, max_in_flight),
        Said::Gamma(Bursts {
            rate,
            burstiness,
            max_in_flight,
        }) => (Process::Gamma { rate, burstiness }, max_in_flight),
    };
    let offsets_ns =
        offsets_ns(process, seed, requests, duration).map_err(|error| error.to_string())?;
    Ok(Arrival::Open {
        offsets_ns,
        max_in_flight,
    })
}

/// How often the client looks at its sockets at most.
pub fn look_every(said: Said) -> Duration {
    if said.most_in_flight() < MANY {
        Duration::ZERO
    } else {
        LOOK_EVERY
    }
}

/// What a result says of the client.
pub fn client(usage: &Usage) -> Client {
    let ms = |ns: u64| ns as f64 / 1e6;
    let by_kernel = usage.is_stamped_by_kernel();
    let cores = u64::from(usage.shards) * usage.wall_ns.max(1);
    Client {
        stamps: if by_kernel { "kernel" } else { "read" }.to_owned(),
        reads: usage.reads,
        read_delay_p99_ms: ms(usage.behind_ns.value_at_quantile(0.99)),
        send_delay_p90_ms: ms(usage.late_ns.value_at_quantile(0.9)),
        send_delay_p99_ms: ms(usage.late_ns.value_at_quantile(0.99)),
        cpu_percent: usage.cpu_ns as f64 * 100.0 / cores as f64,
        dropped: usage.dropped.len() as u64,
    }
}
