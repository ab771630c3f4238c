//! Comparison of delivered with requested load.

use crate::facts::Facts;
use prony_result::Delivered;
use std::collections::BTreeMap;

/// Share of a stage at either end that is excluded from Little's law: requests there
/// begin or end without a counterpart.
const EDGE: f64 = 0.1;

/// The load of a group according to its records, all cycles together; `None` for engines
/// inside a process, whose requests are not sent, and without requests.
///
/// A request is in flight from its sending to its last byte. Requests that were due but
/// never sent count only as intended.
pub fn delivered(measured: &[&Facts]) -> Option<Delivered> {
    let mut cycles = BTreeMap::<u32, Vec<&Facts>>::new();
    for record in measured {
        cycles.entry(record.cycle).or_default().push(record);
    }
    let is_sent = |record: &Facts| record.is_written;
    if !measured.iter().any(|record| is_sent(record)) {
        return None;
    }
    let (mut intended_gaps, mut sent_gaps) = (Gaps::default(), Gaps::default());
    let (mut busy_ns, mut window_ns, mut max_in_flight) = (0.0, 0.0, 0);
    let mut steady = Steady::default();
    for records in cycles.values() {
        let sent: Vec<&Facts> = records.iter().copied().filter(|it| is_sent(it)).collect();
        // Of others it is not known when they were due.
        let due = records
            .iter()
            .filter(|it| it.is_written || it.intended_ns < it.sent_ns);
        intended_gaps.add(due.map(|it| it.intended_ns));
        sent_gaps.add(sent.iter().map(|it| it.sent_ns));
        let flights: Vec<Flight> = sent.iter().map(|it| Flight::new(it)).collect();
        let (Some(begin), Some(end)) = (
            flights.iter().map(|it| it.from).min(),
            flights.iter().map(|it| it.to).max(),
        ) else {
            continue;
        };
        busy_ns += flights.iter().map(Flight::ns).sum::<f64>();
        window_ns += (end - begin) as f64;
        max_in_flight = max_in_flight.max(max_at_once(&flights));
        steady.add(&flights, begin, end);
    }
    Some(Delivered {
        intended: measured.len() as u64,
        sent: measured.iter().filter(|it| is_sent(it)).count() as u64,
        intended_per_sec: intended_gaps.per_sec(),
        sent_per_sec: sent_gaps.per_sec(),
        mean_in_flight: (window_ns > 0.0).then(|| busy_ns / window_ns),
        max_in_flight,
        littles_law_residual_percent: steady.residual_percent(),
    })
}

struct Flight {
    from: u64,
    to: u64,
}

impl Flight {
    fn new(record: &Facts) -> Self {
        let from = record.sent_ns;
        Self {
            from,
            to: record.end_ns.max(from),
        }
    }

    fn ns(&self) -> f64 {
        (self.to - self.from) as f64
    }
}

/// Event rate: the number of gaps, over the time from first to last event.
#[derive(Default)]
struct Gaps {
    count: u64,
    ns: u64,
}

impl Gaps {
    fn add(&mut self, times: impl Iterator<Item = u64> + Clone) {
        if let (Some(first), Some(last)) = (times.clone().min(), times.clone().max()) {
            self.count += times.count() as u64 - 1;
            self.ns += last - first;
        }
    }

    fn per_sec(&self) -> Option<f64> {
        (self.ns > 0).then(|| self.count as f64 * 1e9 / self.ns as f64)
    }
}

/// Maximum number of requests in flight. An end counts before a beginning at the same
/// time.
fn max_at_once(flights: &[Flight]) -> u32 {
    let mut changes: Vec<(u64, i32)> = flights
        .iter()
        .flat_map(|it| [(it.from, 1), (it.to, -1)])
        .collect();
    changes.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, change) in changes {
        now += change;
        most = most.max(now);
    }
    most.unsigned_abs()
}

/// Little's law in the middle of each cycle: the mean number of requests in flight equals
/// the number ending per second times their mean latency, if the load is steady. Over a
/// whole stage it would hold by arithmetic alone.
#[derive(Default)]
struct Steady {
    /// Time in flight within the windows.
    busy_ns: f64,
    /// Latencies of requests that ended within them.
    ended_ns: f64,
    ended: u64,
}

impl Steady {
    /// Fewer ends prove nothing.
    const MIN_REQUESTS: u64 = 10;

    fn add(&mut self, flights: &[Flight], begin: u64, end: u64) {
        let edge = ((end - begin) as f64 * EDGE) as u64;
        let (low, high) = (begin + edge, end - edge);
        for flight in flights {
            let (from, to) = (flight.from.max(low), flight.to.min(high));
            self.busy_ns += to.saturating_sub(from) as f64;
            if (low..high).contains(&flight.to) {
                self.ended_ns += flight.ns();
                self.ended += 1;
            }
        }
    }

    /// `throughput × mean latency / mean in flight - 1`; the windows' length cancels.
    fn residual_percent(&self) -> Option<f64> {
        (self.ended >= Self::MIN_REQUESTS && self.busy_ns > 0.0)
            .then(|| (self.ended_ns / self.busy_ns - 1.0) * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flights(of: &[(u64, u64)]) -> Vec<Flight> {
        of.iter()
            .map(|(from, to)| Flight {
                from: *from,
                to: *to,
            })
            .collect()
    }

    #[test]
    fn one_after_the_other_is_one_at_once() {
        assert_eq!(max_at_once(&flights(&[(0, 5), (5, 9), (9, 12)])), 1);
        assert_eq!(max_at_once(&flights(&[(0, 5), (4, 9), (4, 12)])), 3);
        assert_eq!(max_at_once(&[]), 0);
    }

    #[test]
    fn littles_law_holds_for_a_steady_load_and_not_for_a_growing_queue() {
        let residual = |flights: &[Flight]| {
            let mut steady = Steady::default();
            steady.add(flights, flights[0].from, flights[flights.len() - 1].to);
            steady.residual_percent()
        };
        // Two slots offset by half a request, 100 requests each.
        let steady: Vec<(u64, u64)> = (0..200).map(|k| (k * 500, k * 500 + 1000)).collect();
        let seen = residual(&flights(&steady)).expect("enough");
        assert!(seen.abs() < 2.0, "{seen}");
        // One server with arrivals at twice its capacity: requests in flight have waited
        // less than those yet to end.
        let growing: Vec<(u64, u64)> = (0..200).map(|k| (k * 500, (k + 1) * 1000)).collect();
        let seen = residual(&flights(&growing)).expect("enough");
        assert!(seen < -10.0, "{seen}");
        assert_eq!(residual(&flights(&steady[..5])), None);
    }
}
