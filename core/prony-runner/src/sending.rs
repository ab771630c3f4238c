//! Converts the arrival of a pipeline to that of the load client, and the client's usage
//! to results.

use prony_config::{Arrival as Stated, Bursts, Ramp as Slow, Rate, Replay};
use prony_loadgen::arrivals::{Process, offsets_ns};
use prony_loadgen::load::{Arrival, Ramp, Usage};
use prony_result::Client;
use std::ops::Range;
use std::time::Duration;

/// Start times of `sessions`, all within `duration`: sessions that would start later are
/// not due and are removed. Equal seeds give equal times. `recorded` is the recorded send
/// time of a request, in nanoseconds.
pub fn arrival(
    stated: Stated,
    seed: u64,
    sessions: &mut Vec<Range<u32>>,
    duration: Option<Duration>,
    recorded: impl Fn(u32) -> Option<u64>,
) -> Result<Arrival, String> {
    let closed = |concurrency, ramp| Ok(Arrival::Closed { concurrency, ramp });
    let (process, max_in_flight) = match stated {
        Stated::Concurrency(concurrency) => return closed(concurrency, Ramp::NONE),
        Stated::Ramp(Slow { concurrency, over }) => {
            return closed(concurrency, Ramp::new(over.to_std(), concurrency));
        }
        Stated::Constant(Rate {
            rate,
            max_in_flight,
        }) => (Process::Constant { rate }, max_in_flight),
        Stated::Poisson(Rate {
            rate,
            max_in_flight,
        }) => (Process::Poisson { rate }, max_in_flight),
        Stated::Gamma(Bursts {
            rate,
            burstiness,
            max_in_flight,
        }) => (Process::Gamma { rate, burstiness }, max_in_flight),
        Stated::Replay(Replay {
            speed,
            max_in_flight,
        }) => {
            let times = sessions.iter().map(|session| recorded(session.start));
            let times: Option<Vec<u64>> = times.collect();
            let times = times.ok_or("not everything that is to be replayed has a time")?;
            let first = times.first().copied().unwrap_or_default();
            let due = |at: u64| (at.saturating_sub(first) as f64 / speed) as u64;
            let mut offsets_ns: Vec<u64> = times.into_iter().map(due).collect();
            if let Some(duration) = duration {
                offsets_ns.retain(|at| u128::from(*at) < duration.as_nanos());
            }
            sessions.truncate(offsets_ns.len());
            return Ok(Arrival::Open {
                offsets_ns,
                max_in_flight,
            });
        }
    };
    let most = sessions.len() as u32;
    let offsets_ns =
        offsets_ns(process, seed, most, duration).map_err(|error| error.to_string())?;
    sessions.truncate(offsets_ns.len());
    Ok(Arrival::Open {
        offsets_ns,
        max_in_flight,
    })
}

/// The client's entry in a result.
pub fn client(usage: &Usage) -> Client {
    let ms = |ns: u64| ns as f64 / 1e6;
    let by_kernel = usage.is_stamped_by_kernel();
    let cores = u64::from(usage.shards) * usage.wall_ns.max(1);
    Client {
        stamps: if by_kernel { "kernel" } else { "read" }.to_owned(),
        shards: Some(usage.shards),
        reads: usage.reads,
        read_delay_p50_ms: (usage.reads > 0).then(|| ms(usage.read_lag_ns.value_at_quantile(0.5))),
        byte_delay_p90_ms: (!usage.byte_lag_ns.is_empty())
            .then(|| ms(usage.byte_lag_ns.value_at_quantile(0.9))),
        read_delay_p99_ms: ms(usage.read_lag_ns.value_at_quantile(0.99)),
        unseen_p50_ms: (!usage.unseen_ns.is_empty())
            .then(|| ms(usage.unseen_ns.value_at_quantile(0.5))),
        send_delay_p90_ms: ms(usage.send_lag_ns.value_at_quantile(0.9)),
        send_delay_p99_ms: ms(usage.send_lag_ns.value_at_quantile(0.99)),
        cpu_percent: usage.cpu_ns as f64 * 100.0 / cores as f64,
        dropped: usage.dropped.len() as u64,
        held_up_ms: (usage.held_up_ns > 0).then(|| ms(usage.held_up_ns)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_loop_has_a_time_for_each_session_and_no_session_without_one() {
        let rate = Rate {
            rate: 10.0,
            max_in_flight: 8,
        };
        let bursts = Bursts {
            rate: 10.0,
            burstiness: 0.3,
            max_in_flight: 8,
        };
        let processes = [
            Stated::Constant(rate),
            Stated::Poisson(rate),
            Stated::Gamma(bursts),
        ];
        for (turns, seconds, seed) in
            (1..5_u32).flat_map(|turns| (0..40_u64).map(move |n| (turns, n, n * 7)))
        {
            let all: Vec<Range<u32>> = (0..30).map(|n| n * turns..(n + 1) * turns).collect();
            let duration = Duration::from_millis(100 * seconds);
            for process in processes {
                let mut sessions = all.clone();
                let made =
                    arrival(process, seed, &mut sessions, Some(duration), |_| None).expect("times");
                let Arrival::Open { offsets_ns, .. } = made else {
                    panic!("open")
                };
                // Sessions arrive, however many turns follow.
                assert_eq!(offsets_ns.len(), sessions.len());
                assert_eq!(sessions, all[..sessions.len()]);
                assert!(
                    offsets_ns
                        .iter()
                        .all(|at| u128::from(*at) < duration.as_nanos())
                );
                // Removed sessions come after the end.
                let mut unlimited = all.clone();
                let all_times =
                    arrival(process, seed, &mut unlimited, None, |_| None).expect("times");
                let Arrival::Open {
                    offsets_ns: times, ..
                } = all_times
                else {
                    panic!("open")
                };
                assert_eq!((unlimited.len(), times.len()), (30, 30));
                assert_eq!(offsets_ns, times[..offsets_ns.len()]);
                let next = times.get(offsets_ns.len());
                assert!(next.is_none_or(|at| u128::from(*at) + 1 >= duration.as_nanos()));
            }
        }
    }

    #[test]
    fn what_was_recorded_is_sent_as_far_apart() {
        let times = [1_000_u64, 1_500, 0, 4_000];
        let recorded = |index: u32| Some(times[index as usize]);
        let replay = |speed| {
            Stated::Replay(Replay {
                speed,
                max_in_flight: 8,
            })
        };
        let sent = |speed, limit: Option<u64>| {
            let mut sessions = vec![0..1, 1..3, 3..4];
            let limit = limit.map(Duration::from_nanos);
            let made = arrival(replay(speed), 7, &mut sessions, limit, recorded).expect("times");
            let Arrival::Open { offsets_ns, .. } = made else {
                panic!("open")
            };
            assert_eq!(offsets_ns.len(), sessions.len());
            offsets_ns
        };
        assert_eq!(sent(1.0, None), [0, 500, 3_000]);
        assert_eq!(sent(2.0, None), [0, 250, 1_500]);
        assert_eq!(sent(1.0, Some(3_000)), [0, 500]);
        let mut sessions = vec![0..1, 1..2];
        assert!(arrival(replay(1.0), 7, &mut sessions, None, |_| None).is_err());
    }

    #[test]
    fn a_closed_loop_leaves_nothing_out() {
        let mut sessions = vec![0..2, 2..5];
        let limit = Some(Duration::from_nanos(1));
        let made = arrival(Stated::Concurrency(2), 0, &mut sessions, limit, |_| None);
        assert!(matches!(made, Ok(Arrival::Closed { concurrency: 2, .. })));
        assert_eq!(sessions, [0..2, 2..5]);
    }
}
