//! Upper bounds of the time that bytes waited before the client looked at them.

/// Tracks a shard's looks at its sockets, from the poller's waits.
///
/// A read's stamp is that of its last bytes. The first of them may have arrived earlier,
/// but not before the client last saw an empty socket. That bounds what a stamp can hide,
/// however many tokens were sent in however many writes.
#[derive(Debug)]
pub(super) struct Polls {
    /// Bytes found now may have been there since this time.
    since_ns: u64,
}

impl Polls {
    /// A wait that took longer found nothing ready at first.
    const BLOCKED_NS: u64 = 200_000;

    pub(super) fn new(now_ns: u64) -> Self {
        Self { since_ns: now_ns }
    }

    /// Records a wait of the poller from `before_ns` to `after_ns`; if its events are
    /// full, more may be ready. Returns the time since when its findings may have been
    /// there.
    pub(super) fn waited(&mut self, before_ns: u64, after_ns: u64, is_full: bool) -> u64 {
        if after_ns.saturating_sub(before_ns) > Self::BLOCKED_NS {
            // The sockets were empty before; the arrival ended the wait.
            self.since_ns = after_ns;
        }
        let since_ns = self.since_ns;
        if !is_full {
            // Everything ready by now has been found.
            self.since_ns = after_ns;
        }
        since_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_wait_from_the_last_poll_that_found_everything() {
        const MS: u64 = 1_000_000;
        // From, to, full: time since when the findings may have been there.
        let waits = [
            // Immediate findings came since the beginning.
            (10 * MS, 10 * MS, false, 5 * MS),
            // Findings that ended a wait came at its end.
            (11 * MS, 20 * MS, false, 20 * MS),
            // A look after a while finds what came since the last one.
            (21 * MS, 21 * MS, false, 20 * MS),
            // More is ready than one look returns: it has been there since the one
            // before.
            (30 * MS, 30 * MS, true, 21 * MS),
            (40 * MS, 40 * MS, true, 21 * MS),
            (50 * MS, 50 * MS, false, 21 * MS),
            (51 * MS, 51 * MS, false, 50 * MS),
        ];
        let mut polls = Polls::new(5 * MS);
        for (before_ns, after_ns, is_full, since_ns) in waits {
            assert_eq!(polls.waited(before_ns, after_ns, is_full), since_ns);
        }
    }
}
