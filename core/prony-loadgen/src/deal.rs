//! Deals a load out to the ranks that send it together.
//!
//! A rank is one of several prony processes. Each sends its share at the same time as the
//! others, and what they send together is the whole load:
//!
//! - an open loop has every session at its own time, whichever rank sends it: session `i` is
//!   that of rank `i mod N`;
//! - of a closed loop with `C` slots rank `r` has every `N`th slot, from slot `r` on, and
//!   session `i` is one of the rank of slot `i mod C`. So as many requests are in flight, and
//!   the same ones are sent; which slot takes which session next is free within a rank only.
//!
//! Conversations stay with one rank. The shards of a rank are dealt the same way, and take
//! the sessions of a closed loop as they come (`pace`).

use crate::load::{Arrival, Load};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// One of the processes that send a load together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rank {
    /// Its number, from 0.
    pub number: u32,
    /// Number of ranks, at least 1.
    pub of: u32,
}

impl Rank {
    /// The only one.
    pub const ONLY: Self = Self { number: 0, of: 1 };

    /// Its share of `all` items that are dealt out in turn.
    pub(crate) fn share(self, all: u32) -> u32 {
        all.saturating_sub(self.number).div_ceil(self.of)
    }

    /// Sessions of a closed loop that it has in progress.
    pub(crate) fn slots<R>(self, load: &Load<R>) -> u32 {
        self.share(load.arrival.max_in_flight().min(load.sessions.len() as u32))
    }

    /// Returns `true` if the session with this index is its own, of a load with so many slots.
    fn has(self, session: u32, arrival: &Arrival) -> bool {
        let place = match arrival {
            Arrival::Open { .. } => session,
            Arrival::Closed { concurrency, .. } => session % (*concurrency).max(1),
        };
        place % self.of == self.number
    }
}

/// The share of a rank.
#[derive(Debug)]
pub struct Share<R> {
    /// Its requests, numbered anew.
    pub load: Load<R>,
    /// The index of each of them in the whole load.
    pub indices: Vec<u32>,
}

impl<R: Clone> Load<R> {
    /// The share of a rank. The shares of all ranks together are the load.
    pub fn share_of(&self, rank: Rank) -> Share<R> {
        let own = |session: &u32| rank.has(*session, &self.arrival);
        let numbers: Vec<u32> = (0..self.sessions.len() as u32).filter(own).collect();
        let mut indices = Vec::new();
        let mut sessions: Vec<Range<u32>> = Vec::with_capacity(numbers.len());
        for number in &numbers {
            let begin = indices.len() as u32;
            indices.extend(self.sessions[*number as usize].clone());
            sessions.push(begin..indices.len() as u32);
        }
        let request = |index: &u32| self.requests[*index as usize].clone();
        let delay = |(at, index): (u32, &u32)| Some((at, *self.delays.get(index)?));
        let arrival = match &self.arrival {
            Arrival::Closed { concurrency, ramp } => Arrival::Closed {
                concurrency: rank.share(*concurrency),
                ramp: ramp.dealt(rank),
            },
            Arrival::Open {
                offsets_ns,
                max_in_flight,
            } => Arrival::Open {
                offsets_ns: numbers.iter().map(|it| offsets_ns[*it as usize]).collect(),
                max_in_flight: rank.share(*max_in_flight),
            },
        };
        let load = Self {
            requests: indices.iter().map(request).collect(),
            sessions,
            think: self.think,
            delays: (0..).zip(&indices).filter_map(delay).collect(),
            arrival,
            timeout: self.timeout,
            until: self.until,
            is_share: rank.of > 1,
        };
        Share { load, indices }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Ramp;
    use proptest::collection::{btree_map, vec};
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn load(lengths: &[u32], arrival: Arrival, delays: BTreeMap<u32, Duration>) -> Load<u32> {
        let sessions: Vec<Range<u32>> = lengths
            .iter()
            .scan(0, |end, length| {
                *end += length;
                Some(*end - length..*end)
            })
            .collect();
        Load {
            requests: (0..lengths.iter().sum()).collect(),
            sessions,
            think: Duration::ZERO,
            delays,
            arrival,
            timeout: Duration::MAX,
            until: None,
            is_share: false,
        }
    }

    #[test]
    fn slots_and_their_sessions() {
        let ramp = Ramp::new(Duration::from_secs(10), 5);
        let arrival = Arrival::Closed {
            concurrency: 5,
            ramp,
        };
        let whole = load(&[1; 12], arrival, BTreeMap::new());
        let of_rank = |number| whole.share_of(Rank { number, of: 2 });
        assert_eq!(of_rank(0).indices, [0, 2, 4, 5, 7, 9, 10]);
        assert_eq!(of_rank(1).indices, [1, 3, 6, 8, 11]);
        let begins = |number| {
            let Arrival::Closed { concurrency, ramp } = of_rank(number).load.arrival else {
                panic!("closed")
            };
            (0..concurrency)
                .map(|slot| ramp.begin(slot).as_secs())
                .collect::<Vec<_>>()
        };
        assert_eq!(begins(0), [0, 4, 8]);
        assert_eq!(begins(1), [2, 6]);
    }

    proptest::proptest! {
        #[test]
        fn shares_are_the_whole(
            of in 1_u32..9,
            extra in 0_u32..9,
            lengths in vec(1_u32..5, 1..60),
            gap in 0_u64..20,
            delays in btree_map(0_u32..120, 0_u64..60, 0..20),
            is_open: bool,
        ) {
            let most = of + extra;
            let offsets_ns: Vec<u64> = (0..lengths.len() as u64).map(|it| it * gap).collect();
            let ramp = Ramp::new(Duration::from_nanos(gap * 1000), most);
            let arrival = if is_open {
                Arrival::Open { offsets_ns: offsets_ns.clone(), max_in_flight: most }
            } else {
                Arrival::Closed { concurrency: most, ramp }
            };
            let all = delays.iter().map(|(at, ns)| (*at, Duration::from_nanos(*ns))).collect();
            let whole = load(&lengths, arrival, all);
            let shares: Vec<_> =
                (0..of).map(|number| whole.share_of(Rank { number, of })).collect();

            let mut sent: Vec<u32> = shares.iter().flat_map(|it| it.indices.clone()).collect();
            sent.sort_unstable();
            proptest::prop_assert_eq!(&sent, &whole.requests);
            let room: u32 = shares.iter().map(|it| it.load.arrival.max_in_flight()).sum();
            proptest::prop_assert_eq!(room, most);

            let mut begins = Vec::new();
            for share in &shares {
                proptest::prop_assert!(share.load.arrival.max_in_flight() > 0);
                proptest::prop_assert_eq!(&share.load.requests, &share.indices);
                for session in &share.load.sessions {
                    let of = |it: u32| share.indices[it as usize];
                    let turns = of(session.start)..of(session.end - 1) + 1;
                    proptest::prop_assert!(whole.sessions.contains(&turns));
                }
                for (at, index) in (0..).zip(&share.indices) {
                    proptest::prop_assert_eq!(share.load.pause(at), whole.pause(*index));
                }
                match &share.load.arrival {
                    Arrival::Open { offsets_ns: own, .. } => {
                        proptest::prop_assert_eq!(own.len(), share.load.sessions.len());
                        for (session, at) in share.load.sessions.iter().zip(own) {
                            let first = share.indices[session.start as usize];
                            let number = whole.sessions.iter().position(|it| it.start == first);
                            proptest::prop_assert_eq!(number.map(|it| offsets_ns[it]), Some(*at));
                        }
                    }
                    Arrival::Closed { concurrency, ramp } => {
                        begins.extend((0..*concurrency).map(|slot| ramp.begin(slot)));
                    }
                }
            }
            if !is_open {
                begins.sort_unstable();
                let expected: Vec<_> = (0..most).map(|slot| ramp.begin(slot)).collect();
                proptest::prop_assert_eq!(begins, expected);
            }
        }
    }
}
