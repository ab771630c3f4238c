//! When the requests of a load are due.

use super::Load;
use crate::client::Arrival;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// A request that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) session: u32,
    pub(super) index: u32,
    /// When it was due, in an open loop.
    pub(super) intended_ns: Option<u64>,
    /// When it could have been sent; `None` for the first of a closed loop.
    pub(super) could_ns: Option<u64>,
}

pub(super) struct Pace {
    /// Later requests of sessions, by time.
    later: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// Sessions of an open loop still to begin: number and time, in order.
    arrivals: VecDeque<(u32, u64)>,
    /// The next session of a closed loop.
    next: u32,
    /// When the last lane of a closed loop has begun.
    begun_ns: u64,
    /// Something that is due waits for room, or did until now.
    was_full: bool,
    /// When a request ended last, which made room for another.
    freed_ns: u64,
    until_ns: u64,
    /// Requests that were due and never sent.
    pub(super) dropped: Vec<u32>,
}

impl Pace {
    pub(super) fn new(load: &Load, start_ns: u64) -> Self {
        let until = load.until.map(|until| until.as_nanos() as u64);
        let mut pace = Self {
            later: BinaryHeap::new(),
            arrivals: VecDeque::new(),
            next: 0,
            begun_ns: start_ns,
            was_full: false,
            freed_ns: 0,
            until_ns: until.map_or(u64::MAX, |until| start_ns.saturating_add(until)),
            dropped: Vec::new(),
        };
        match &load.arrival {
            Arrival::Closed { concurrency, ramp } => {
                let ramp = ramp.as_nanos() as u64;
                pace.begun_ns += ramp;
                let lanes = load.sessions.iter().take(*concurrency as usize);
                for (lane, session) in (0_u32..).zip(lanes) {
                    let after = ramp * u64::from(lane) / u64::from(*concurrency);
                    pace.later
                        .push(Reverse((start_ns + after, lane, session.start)));
                    pace.next += 1;
                }
            }
            Arrival::Open { offsets_ns, .. } => {
                let times = offsets_ns.iter().map(|at| start_ns.saturating_add(*at));
                pace.arrivals = (0..).zip(times).take(load.sessions.len()).collect();
            }
        }
        pace
    }

    /// Whether nothing more will be due by itself.
    pub(super) fn is_over(&self) -> bool {
        self.later.is_empty() && self.arrivals.is_empty()
    }

    /// When something is due next.
    pub(super) fn next_ns(&self, load: &Load, in_flight: u32) -> u64 {
        if !has_room(load, in_flight) {
            return u64::MAX;
        }
        let later = self.later.peek().map_or(u64::MAX, |next| next.0.0);
        let arrival = self.arrivals.front();
        later.min(arrival.map_or(u64::MAX, |arrival| arrival.1))
    }

    /// What is due now, if there is room for it.
    pub(super) fn due(&mut self, load: &Load, in_flight: u32, now: u64) -> Option<Due> {
        let open = matches!(load.arrival, Arrival::Open { .. });
        if open && now > self.until_ns {
            // They would have been sent if there had been room.
            let arrivals = self.arrivals.drain(..);
            let arrivals = arrivals.map(|(session, _)| load.sessions[session as usize].start);
            let later = self.later.drain().map(|Reverse((_, _, index))| index);
            self.dropped.extend(arrivals.chain(later));
            return None;
        }
        // Conversations in progress go on before others begin.
        let later = self.later.peek().map(|next| next.0);
        let later = later.filter(|(at, ..)| *at <= now);
        let arrival = self.arrivals.front().copied();
        let arrival = arrival.filter(|(_, at)| later.is_none() && *at <= now);
        if later.is_none() && arrival.is_none() {
            // Nothing is waiting any more.
            self.was_full = false;
            return None;
        }
        if !has_room(load, in_flight) {
            self.was_full = true;
            return None;
        }
        let freed_ns = if self.was_full { self.freed_ns } else { 0 };
        if let Some((at, session, index)) = later {
            self.later.pop();
            return Some(Due {
                session,
                index,
                intended_ns: open.then_some(at),
                could_ns: (open || at > self.begun_ns).then_some(at.max(freed_ns)),
            });
        }
        let (session, at) = arrival?;
        self.arrivals.pop_front();
        Some(Due {
            session,
            index: load.sessions[session as usize].start,
            intended_ns: Some(at),
            could_ns: Some(at.max(freed_ns)),
        })
    }

    /// A request has ended at `end_ns`; what follows it can be sent from `from_ns` on.
    pub(super) fn ended(&mut self, load: &Load, due: Due, end_ns: u64, from_ns: u64, now: u64) {
        self.freed_ns = end_ns;
        let closed = matches!(load.arrival, Arrival::Closed { .. });
        let (session, index, at) = if due.index + 1 < load.sessions[due.session as usize].end {
            let think = load.think.as_nanos() as u64;
            (due.session, due.index + 1, from_ns + think)
        } else if let (true, Some(next)) = (closed, load.sessions.get(self.next as usize)) {
            self.next += 1;
            (self.next - 1, next.start, from_ns)
        } else {
            return;
        };
        if at > self.until_ns || (closed && now > self.until_ns) {
            // The load is over. What a closed loop has not begun was not due, nor was a turn
            // whose time comes after the end.
            return;
        }
        self.later.push(Reverse((at, session, index)));
    }

    /// Nothing more is sent.
    pub(super) fn clear(&mut self) {
        self.later.clear();
        self.arrivals.clear();
        self.next = u32::MAX;
    }
}

fn has_room(load: &Load, in_flight: u32) -> bool {
    match load.arrival {
        Arrival::Closed { .. } => true,
        Arrival::Open { max_in_flight, .. } => in_flight < max_in_flight,
    }
}
