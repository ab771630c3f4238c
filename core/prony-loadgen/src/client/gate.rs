//! A gate at which shards wait for each other.

use std::sync::{Condvar, Mutex, PoisonError};

/// Opens when all have arrived, or on request: a shard that fails to start must not leave
/// the others waiting, as a barrier would.
#[derive(Debug)]
pub(super) struct Gate {
    /// Number of shards still to arrive.
    missing: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    pub(super) fn new(all: usize) -> Self {
        Self {
            missing: Mutex::new(all),
            changed: Condvar::new(),
        }
    }

    /// Waits for the others.
    pub(super) fn wait(&self) {
        self.arrive();
        self.wait_for_all_but(0);
    }

    /// Arrives, and does not wait.
    pub(super) fn arrive(&self) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        *missing = missing.saturating_sub(1);
        self.changed.notify_all();
    }

    /// Waits until all but `some` have arrived.
    pub(super) fn wait_for_all_but(&self, some: usize) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        while *missing > some {
            missing = self
                .changed
                .wait(missing)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets everyone through, now and later.
    pub(super) fn open(&self) {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner) = 0;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn all_go_on_together() {
        let (gate, come) = (Arc::new(Gate::new(3)), Arc::new(AtomicUsize::new(0)));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (gate, come) = (gate.clone(), come.clone());
                std::thread::spawn(move || {
                    come.fetch_add(1, Ordering::SeqCst);
                    gate.wait();
                    assert_eq!(come.load(Ordering::SeqCst), 3);
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
    }

    #[test]
    fn nobody_waits_for_one_that_was_never_started() {
        let gate = Arc::new(Gate::new(3));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let gate = gate.clone();
                std::thread::spawn(move || gate.wait())
            })
            .collect();
        gate.open();
        for thread in threads {
            thread.join().expect("no panic");
        }
    }
}
