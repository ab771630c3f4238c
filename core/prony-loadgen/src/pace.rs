//! Due times of a load's requests: a pure function of the load, what has ended, and the
//! time. All times are nanoseconds of one clock, chosen by the caller.

use crate::deal::Rank;
use crate::load::{Arrival, Load};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A request that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) session: u32,
    pub(crate) index: u32,
    /// Due time in an open loop; `None`: whenever it can be sent.
    pub(crate) intended_ns: Option<u64>,
    /// Earliest possible send time: when it was due and there was room for it. `None` for
    /// the first of a slot, which are due whenever it is their turn.
    pub(crate) sendable_ns: Option<u64>,
}

/// The state of one part of a load.
#[derive(Debug)]
pub(crate) struct Pace {
    part: Rank,
    /// Requests with a known due time: time, session, index; the first on top. Later ones
    /// of sessions, and in a closed loop all.
    later: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// Index of the next session of an open loop.
    next_arrival: u32,
    /// Index of the next session of a closed loop, shared by all parts.
    next_session: Arc<AtomicU32>,
    start_ns: u64,
    /// Time at which the last slot of a closed loop has begun.
    ramped_ns: u64,
    /// Latest send time.
    until_ns: u64,
    /// Requests that were due and have not ended.
    in_flight: u32,
    max_in_flight: u32,
    /// Time at which room became free again; 0 if there always was room.
    room_since_ns: u64,
    /// `true` if nothing more is sent.
    is_stopped: bool,
    /// Requests of an open loop that were due but never sent, each with its due time.
    dropped: Vec<(u32, u64)>,
}

impl Pace {
    /// A part of a load that has not started. `next_session` is 0 and shared by all
    /// parts.
    pub(crate) fn new(part: Rank, next_session: Arc<AtomicU32>) -> Self {
        Self {
            part,
            later: BinaryHeap::new(),
            next_arrival: part.number,
            next_session,
            start_ns: u64::MAX,
            ramped_ns: u64::MAX,
            until_ns: u64::MAX,
            in_flight: 0,
            max_in_flight: u32::MAX,
            room_since_ns: 0,
            is_stopped: false,
            dropped: Vec::new(),
        }
    }

    /// Starts it at `start_ns`.
    pub(crate) fn start<R>(&mut self, load: &Load<R>, start_ns: u64) {
        let after_start = |duration: Duration| start_ns.saturating_add(nanoseconds(duration));
        self.start_ns = start_ns;
        self.until_ns = load.until.map_or(u64::MAX, after_start);
        match load.arrival {
            Arrival::Closed { ramp, .. } => {
                self.ramped_ns = after_start(ramp.over());
                for slot in 0..self.part.slots(load) {
                    let Some((session, index)) = self.next_session(load) else {
                        break;
                    };
                    let nth = slot * self.part.of + self.part.number;
                    let at = after_start(ramp.begin(nth));
                    self.later.push(Reverse((at, session, index)));
                }
            }
            Arrival::Open { max_in_flight, .. } => {
                self.max_in_flight = self.part.share(max_in_flight);
            }
        }
    }

    /// The next request due at `now_ns`, if there is room for it. It counts as in flight
    /// from now on, until [`Self::ended`].
    pub(crate) fn due<R>(&mut self, load: &Load<R>, now_ns: u64) -> Option<Due> {
        let is_open = load.arrival.is_open();
        if is_open && now_ns > self.until_ns {
            // They would have been sent if there had been room.
            self.drop_due(load, u64::MAX);
            return None;
        }
        // Conversations in progress take precedence over new ones.
        let later = self.later.peek().map(|next| next.0);
        let later = later.filter(|(at, ..)| *at <= now_ns);
        let arrival = || self.next_arrival(load).filter(|(at, ..)| *at <= now_ns);
        let (at, session, index) = later.or_else(arrival)?;
        if !self.has_room() {
            return None;
        }
        if later.is_some() {
            self.later.pop();
        } else {
            self.next_arrival += self.part.of;
        }
        self.in_flight += 1;
        Some(Due {
            session,
            index,
            intended_ns: is_open.then_some(at),
            sendable_ns: (is_open || at > self.ramped_ns).then_some(at.max(self.room_since_ns)),
        })
    }

    /// Next due time with room for the request; `u64::MAX`: not before something ends.
    pub(crate) fn next_ns<R>(&self, load: &Load<R>) -> u64 {
        if !self.has_room() {
            return u64::MAX;
        }
        let later = self.later.peek().map_or(u64::MAX, |next| next.0.0);
        later.min(self.next_arrival(load).map_or(u64::MAX, |next| next.0))
    }

    /// Records that a request ended at `end_ns`, at the time `now_ns`. Its follower can
    /// be sent from `resumed_ns` on.
    pub(crate) fn ended<R>(
        &mut self,
        load: &Load<R>,
        due: Due,
        end_ns: u64,
        resumed_ns: u64,
        now_ns: u64,
    ) {
        if !self.has_room() {
            self.room_since_ns = end_ns;
        }
        self.in_flight -= 1;
        if self.is_stopped {
            return;
        }
        let is_closed = !load.arrival.is_open();
        let (session, index, at) = if due.index + 1 < load.sessions[due.session as usize].end {
            let pause = load.pause(due.index + 1);
            let at = resumed_ns.saturating_add(nanoseconds(pause));
            (due.session, due.index + 1, at)
        } else if is_closed && let Some((session, index)) = self.next_session(load) {
            (session, index, resumed_ns)
        } else {
            return;
        };
        if at > self.until_ns || (is_closed && now_ns > self.until_ns) {
            // The load is over. Sessions not begun by a closed loop were not due, nor was
            // a turn whose time comes after the end.
            return;
        }
        self.later.push(Reverse((at, session, index)));
    }

    /// Ends the load at `now_ns`. Requests of an open loop that were due and not sent are
    /// dropped.
    pub(crate) fn end<R>(&mut self, load: &Load<R>, now_ns: u64) {
        if load.arrival.is_open() {
            self.drop_due(load, now_ns);
        }
        self.stop();
    }

    /// Stops sending. Requests that were due are not reported as dropped.
    pub(crate) fn stop(&mut self) {
        self.is_stopped = true;
        self.later.clear();
    }

    /// Returns `true` if nothing is in flight and nothing will be due.
    pub(crate) fn is_over<R>(&self, load: &Load<R>) -> bool {
        self.in_flight == 0 && self.later.is_empty() && self.next_arrival(load).is_none()
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.max_in_flight
    }

    /// Returns `true` if sessions of an open loop are still to begin.
    pub(crate) fn has_arrivals<R>(&self, load: &Load<R>) -> bool {
        self.next_arrival(load).is_some()
    }

    /// Takes the requests that were due but never sent, because the load ended, each with its
    /// due time.
    pub(crate) fn take_dropped(&mut self) -> Vec<(u32, u64)> {
        std::mem::take(&mut self.dropped)
    }

    /// Start time of an open loop's next session, its index, and its first request.
    fn next_arrival<R>(&self, load: &Load<R>) -> Option<(u64, u32, u32)> {
        let Arrival::Open { offsets_ns, .. } = &load.arrival else {
            return None;
        };
        if self.is_stopped {
            return None;
        }
        let offset_ns = offsets_ns.get(self.next_arrival as usize)?;
        let session = load.sessions.get(self.next_arrival as usize)?;
        let at = self.start_ns.saturating_add(*offset_ns);
        Some((at, self.next_arrival, session.start))
    }

    /// The index and the first request of the next session of a closed loop.
    fn next_session<R>(&self, load: &Load<R>) -> Option<(u32, u32)> {
        let number = self.next_session.fetch_add(1, Ordering::Relaxed);
        let session = load.sessions.get(number as usize)?;
        Some((number, session.start))
    }

    /// Drops everything due up to `until_ns`.
    fn drop_due<R>(&mut self, load: &Load<R>, until_ns: u64) {
        while let Some((at, _, index)) = self.next_arrival(load).filter(|it| it.0 <= until_ns) {
            self.dropped.push((index, at));
            self.next_arrival += self.part.of;
        }
        let later = self
            .later
            .drain()
            .map(|Reverse((at, _, index))| (index, at));
        self.dropped.extend(later.filter(|it| it.1 <= until_ns));
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrivals::{Process, offsets_ns};
    use crate::load::{Ramp, single_request_sessions};
    use std::collections::BTreeMap;
    use std::ops::Range;

    const START_NS: u64 = 1_000;

    fn load(sessions: Vec<Range<u32>>, arrival: Arrival) -> Load<()> {
        Load {
            requests: Vec::new(),
            sessions,
            think: Duration::ZERO,
            delays: BTreeMap::new(),
            arrival,
            timeout: Duration::MAX,
            until: None,
            is_share: false,
        }
    }

    fn closed(concurrency: u32, ramp_ns: u64) -> Arrival {
        let ramp = Ramp::new(Duration::from_nanos(ramp_ns), concurrency);
        Arrival::Closed { concurrency, ramp }
    }

    fn open(offsets_ns: &[u64], max_in_flight: u32) -> Arrival {
        Arrival::Open {
            offsets_ns: offsets_ns.to_vec(),
            max_in_flight,
        }
    }

    /// A name, a load, and the expected sendings.
    type Row<'a> = (&'a str, Load<()>, &'a [(u32, u64)]);

    /// Actions of a driver whose requests take `took_ns` each: index and time since the
    /// start of each sending, the due request, and what was dropped.
    struct Driven {
        sent: Vec<(u32, u64)>,
        due: Vec<Due>,
        dropped: Vec<(u32, u64)>,
        max_in_flight: usize,
    }

    /// Drives the parts of a load with a clock that jumps to the next event; everything
    /// stops `stop_ns` after the start, before any sending due then.
    fn drive(load: &Load<()>, parts: u32, took_ns: u64, stop_ns: u64) -> Driven {
        let next_session = Arc::<AtomicU32>::default();
        let mut paces: Vec<Pace> = (0..parts)
            .map(|number| Rank { number, of: parts })
            .map(|part| Pace::new(part, next_session.clone()))
            .collect();
        for pace in &mut paces {
            assert_eq!(pace.due(load, u64::MAX - 1), None, "it has not started");
            pace.start(load, START_NS);
        }
        let mut result = Driven {
            sent: Vec::new(),
            due: Vec::new(),
            dropped: Vec::new(),
            max_in_flight: 0,
        };
        // End time, part, and request.
        let mut flights: Vec<(u64, usize, Due)> = Vec::new();
        let mut now = START_NS;
        while !paces.iter().all(|pace| pace.is_over(load)) {
            if now >= START_NS.saturating_add(stop_ns) {
                paces.iter_mut().for_each(Pace::stop);
            }
            for (number, pace) in paces.iter_mut().enumerate() {
                while let Some(due) = pace.due(load, now) {
                    result.sent.push((due.index, now - START_NS));
                    result.due.push(due);
                    flights.push((now + took_ns, number, due));
                }
            }
            result.max_in_flight = result.max_in_flight.max(flights.len());
            let ends = flights.iter().map(|flight| flight.0);
            let next = paces.iter().map(|pace| pace.next_ns(load)).chain(ends);
            let Some(next) = next.min().filter(|next| *next < u64::MAX) else {
                break;
            };
            now = now.max(next);
            flights.sort_by_key(|flight| flight.0);
            while flights.first().is_some_and(|flight| flight.0 <= now) {
                let (end_ns, number, due) = flights.remove(0);
                paces[number].ended(load, due, end_ns, end_ns, now);
            }
        }
        assert!(paces.iter().all(|pace| pace.is_over(load)));
        result.dropped = paces.iter_mut().flat_map(Pace::take_dropped).collect();
        result.dropped.sort_unstable();
        result
    }

    fn sent(load: &Load<()>, took_ns: u64) -> Vec<(u32, u64)> {
        drive(load, 1, took_ns, u64::MAX).sent
    }

    #[test]
    fn what_is_sent_when() {
        let alone = single_request_sessions;
        let talks = || vec![0..3, 3..4, 4..6];
        let think = Duration::from_nanos(5);
        let thoughtful = |arrival| Load {
            think,
            ..load(talks(), arrival)
        };
        let table: &[Row<'_>] = &[
            (
                "closed, one at a time",
                load(alone(3), closed(1, 0)),
                &[(0, 0), (1, 10), (2, 20)],
            ),
            (
                "closed, two slots",
                load(alone(5), closed(2, 0)),
                &[(0, 0), (1, 0), (2, 10), (3, 10), (4, 20)],
            ),
            (
                "closed, more slots than sessions",
                load(alone(2), closed(8, 0)),
                &[(0, 0), (1, 0)],
            ),
            (
                "a ramp begins slot by slot",
                load(alone(6), closed(4, 12)),
                &[(0, 0), (1, 3), (2, 6), (3, 9), (4, 10), (5, 13)],
            ),
            (
                "turns follow one another after a think time, and sessions at once",
                thoughtful(closed(1, 0)),
                &[(0, 0), (1, 15), (2, 30), (3, 40), (4, 50), (5, 65)],
            ),
            (
                "open, at set times whatever is in flight",
                load(alone(4), open(&[0, 1, 2, 30], 8)),
                &[(0, 0), (1, 1), (2, 2), (3, 30)],
            ),
            (
                "open, waiting for room",
                load(alone(4), open(&[0, 1, 2, 30], 2)),
                &[(0, 0), (1, 1), (2, 10), (3, 30)],
            ),
            (
                "open: conversations go on before others begin, if their turn is due",
                thoughtful(open(&[0, 14, 15], 1)),
                &[(0, 0), (3, 14), (1, 24), (4, 34), (2, 44), (5, 54)],
            ),
        ];
        for (name, load, expected) in table {
            assert_eq!(sent(load, 10), *expected, "{name}");
        }
    }

    #[test]
    fn every_arrival_process_is_kept_to() {
        for process in [
            Process::Constant { rate: 1e6 },
            Process::Poisson { rate: 1e6 },
            Process::Gamma {
                rate: 1e6,
                burstiness: 0.3,
            },
        ] {
            let offsets = offsets_ns(process, 3, 50, None).expect("a process");
            let load = load(single_request_sessions(50), open(&offsets, 64));
            let expected: Vec<(u32, u64)> = (0..).zip(offsets.iter().copied()).collect();
            assert_eq!(sent(&load, 10), expected, "{process:?}");
        }
    }

    #[test]
    fn a_request_is_late_from_when_there_was_room_for_it() {
        let load = load(single_request_sessions(3), open(&[0, 1, 15], 1));
        let driven = drive(&load, 1, 10, u64::MAX);
        let times = |of: fn(&Due) -> Option<u64>| -> Vec<Option<u64>> {
            let times = driven.due.iter().map(of);
            times.map(|time| time.map(|time| time - START_NS)).collect()
        };
        assert_eq!(times(|due| due.intended_ns), [Some(0), Some(1), Some(15)]);
        // The last one was due while the second was in flight, which ended at 20.
        assert_eq!(times(|due| due.sendable_ns), [Some(0), Some(10), Some(20)]);

        let closed = self::load(single_request_sessions(3), closed(2, 4));
        let due = drive(&closed, 1, 10, u64::MAX).due;
        assert!(due.iter().all(|due| due.intended_ns.is_none()));
        let sendable: Vec<_> = due.iter().map(|due| due.sendable_ns).collect();
        assert_eq!(sendable, [None, None, Some(START_NS + 10)]);
    }

    #[test]
    fn an_end_drops_what_an_open_loop_owes_and_a_closed_loop_owes_nothing() {
        let until = Some(Duration::from_nanos(25));
        let drive = |load: Load<()>| {
            let driven = drive(&Load { until, ..load }, 1, 10, u64::MAX);
            let sent: Vec<u32> = driven.sent.iter().map(|sent| sent.0).collect();
            let dropped: Vec<u32> = driven.dropped.iter().map(|it| it.0).collect();
            (sent, dropped)
        };
        let alone = || single_request_sessions(5);
        let times = &[0, 1, 2, 3, 4];
        assert_eq!(
            drive(load(alone(), open(times, 1))),
            (vec![0, 1, 2], vec![3, 4])
        );
        assert_eq!(
            drive(load(alone(), open(times, 8))),
            (vec![0, 1, 2, 3, 4], vec![])
        );
        assert_eq!(drive(load(alone(), closed(1, 0))), (vec![0, 1, 2], vec![]));
        let talks = || vec![0..3, 3..6];
        let thoughtful = |think, arrival| Load {
            think: Duration::from_nanos(think),
            ..load(talks(), arrival)
        };
        // A conversation that cannot begin is one request that was due.
        assert_eq!(
            drive(thoughtful(0, open(&[0, 0], 1))),
            (vec![0, 1, 2], vec![3])
        );
        // A turn that is due and finds no room is dropped; its followers are not due.
        assert_eq!(
            drive(thoughtful(2, open(&[0, 0], 1))),
            (vec![0, 3, 1], vec![4])
        );
        // Nor is one whose time comes after the end.
        assert_eq!(
            drive(thoughtful(20, open(&[0, 1], 8))),
            (vec![0, 3], vec![])
        );
        assert_eq!(drive(thoughtful(20, closed(2, 0))), (vec![0, 3], vec![]));
    }

    #[test]
    fn nothing_is_sent_after_a_stop() {
        for arrival in [closed(2, 0), open(&[0, 0, 5, 15, 25], 2)] {
            let load = load(vec![0..2, 2..3, 3..4, 4..5, 5..6], arrival);
            let driven = drive(&load, 1, 10, 12);
            assert!(driven.sent.len() >= 2 && driven.sent.len() < 6);
            assert!(driven.sent.iter().all(|(_, at)| *at < 12));
            assert!(driven.dropped.is_empty());
        }
    }

    #[test]
    fn an_early_end_drops_only_what_was_due() {
        let times = [0, 5, 15, 25];
        let open = load(single_request_sessions(4), open(&times, 1));
        let mut pace = Pace::new(Rank::ONLY, Arc::default());
        pace.start(&open, START_NS);
        assert_eq!(pace.due(&open, START_NS).map(|it| it.index), Some(0));
        pace.end(&open, START_NS + 20);
        // With room for one, two were due and waited; the last was not due.
        let dropped = vec![(1, START_NS + 5), (2, START_NS + 15)];
        assert_eq!(pace.take_dropped(), dropped);
        assert_eq!(pace.due(&open, START_NS + 30), None);

        let closed = load(single_request_sessions(4), closed(1, 0));
        let mut pace = Pace::new(Rank::ONLY, Arc::default());
        pace.start(&closed, START_NS);
        pace.end(&closed, START_NS + 20);
        assert!(pace.take_dropped().is_empty());
    }

    #[test]
    fn parts_deal_out_slots_and_arrivals_and_share_sessions() {
        let slots = |concurrency, of| -> Vec<u32> {
            let load = load(single_request_sessions(20), closed(concurrency, 0));
            (0..of)
                .map(|number| Rank { number, of }.slots(&load))
                .collect()
        };
        assert_eq!(slots(10, 4), [3, 3, 2, 2]);
        assert_eq!(slots(2, 4), [1, 1, 0, 0]);
        assert_eq!(slots(100, 3), [7, 7, 6]);
    }

    proptest::proptest! {
        #[test]
        fn parts_together_send_everything_once(
            parts in 1_u32..5,
            lengths in proptest::collection::vec(1_u32..5, 1..30),
            extra in 0_u32..6,
            think in 0_u64..30,
            delays in proptest::collection::btree_map(0_u32..120, 0_u64..60, 0..20),
            took in 1_u64..40,
            gap in 0_u64..20,
            is_open: bool,
        ) {
            let in_flight = parts + extra;
            let sessions: Vec<Range<u32>> = lengths
                .iter()
                .scan(0, |end, length| {
                    *end += length;
                    Some(*end - length..*end)
                })
                .collect();
            let requests: u32 = lengths.iter().sum();
            let offsets: Vec<u64> = (0..lengths.len() as u64).map(|n| n * gap).collect();
            let arrival = if is_open { open(&offsets, in_flight) } else { closed(in_flight, gap) };
            let load = Load {
                think: Duration::from_nanos(think),
                delays: delays.iter().map(|(index, ns)| (*index, Duration::from_nanos(*ns))).collect(),
                ..load(sessions.clone(), arrival)
            };
            let driven = drive(&load, parts, took, u64::MAX);
            let mut indices: Vec<u32> = driven.sent.iter().map(|sent| sent.0).collect();
            indices.sort_unstable();
            proptest::prop_assert_eq!(indices, (0..requests).collect::<Vec<_>>());
            proptest::prop_assert!(driven.dropped.is_empty());
            proptest::prop_assert!(driven.max_in_flight <= in_flight as usize);
            let at = |index: u32| driven.sent.iter().find(|sent| sent.0 == index).map(|sent| sent.1);
            for session in sessions {
                for turn in session.start + 1..session.end {
                    let pause = delays.get(&turn).copied().unwrap_or(think);
                    proptest::prop_assert!(at(turn) >= at(turn - 1).map(|at| at + took + pause));
                }
            }
        }
    }
}
