//! An engine that takes long to load.
//!
//! The bands are those of large models (70B and more) on one machine: 2 to 5 minutes are
//! usual, 5 to 8 point to memory pressure, and what has not loaded after 10 mostly does not
//! fit.

use crate::run::Run;
use prony_journal::Event;
use prony_machine::State;
use prony_plan::Visit;
use prony_result::words::seconds;
use std::convert::Infallible;
use std::time::Duration;

/// Load time from which on memory pressure is likely, in seconds.
const LONG: u64 = 300;
/// Load time from which on the available memory is looked at, in seconds.
const NOTICEABLE: u64 = 120;

/// Shows every second that the engine of a visit is still loading. Never ends.
pub(super) async fn show_progress(run: &Run<'_>, visit: &Visit) -> Infallible {
    let second = Duration::from_secs(1);
    let mut ticks = tokio::time::interval(second);
    ticks.tick().await;
    let mut seconds = 0;
    loop {
        ticks.tick().await;
        seconds += 1;
        let available_bytes = (seconds >= NOTICEABLE && seconds % 60 == 0)
            .then(|| State::read().memory_available_bytes)
            .flatten();
        run.show(&Event::Loading {
            visit: visit.clone(),
            seconds,
            available_bytes,
        });
    }
}

/// Remark, after the engine's name, on a load that took so long that memory may be short.
pub(super) fn took_long(time_ns: u64) -> Option<String> {
    let time = Duration::from_nanos(time_ns);
    (time.as_secs() >= LONG).then(|| {
        let time = seconds(time.as_secs_f64());
        format!("took {time} to load; memory may be short")
    })
}

/// Message of a load that failed, with the way out if memory ran out.
pub(super) fn with_cause(message: String, ran_out_of_memory: bool) -> String {
    if ran_out_of_memory {
        format!(
            "{message}; memory ran out: close other programs, or use a smaller model, a smaller quantisation or a shorter context"
        )
    } else {
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_loads_are_remarked_on() {
        assert_eq!(took_long(299_000_000_000), None);
        let remark = took_long(360_000_000_000).expect("a remark");
        assert!(remark.contains("memory may be short"), "{remark}");
    }
}
