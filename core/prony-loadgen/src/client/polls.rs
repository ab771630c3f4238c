//! How long bytes may have waited before the client looked at them.

/// Looks at all sockets of a shard, by the poller's waits.
///
/// A read's stamp is that of the last bytes it brought. The first of them may have come
/// earlier, but not before the client last knew that nothing more was there. That bounds what
/// a stamp can hide, whoever sent how many tokens in which writes.
#[derive(Debug)]
pub(super) struct Polls {
    /// Since then, what is found may have been there.
    since_ns: u64,
}

impl Polls {
    /// A wait that took longer had nothing to return at once.
    const BLOCKED_NS: u64 = 200_000;

    pub(super) fn new(now_ns: u64) -> Self {
        Self { since_ns: now_ns }
    }

    /// The poller waited from `before_ns` to `after_ns`; if its events are full, there may be
    /// more that is ready. Returns since when that which it found may have been there.
    pub(super) fn waited(&mut self, before_ns: u64, after_ns: u64, is_full: bool) -> u64 {
        if after_ns.saturating_sub(before_ns) > Self::BLOCKED_NS {
            // Nothing was there before, and what came then ended the wait.
            self.since_ns = after_ns;
        }
        let since_ns = self.since_ns;
        if !is_full {
            // All that was ready by now has been found.
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
        // From, to, full: since when what was found may have been there.
        let waits = [
            // What was there at once came since the beginning.
            (10 * MS, 10 * MS, false, 5 * MS),
            // What a wait was for came at its end.
            (11 * MS, 20 * MS, false, 20 * MS),
            // A look after a while at what came since the last one.
            (21 * MS, 21 * MS, false, 20 * MS),
            // More is ready than a look can bring: it has been there since the one before.
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
