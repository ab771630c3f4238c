//! Advances the epoch while a guest runs, and sleeps otherwise: a thread that woke the
//! CPU during a measurement would disturb it.

use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;
use wasmtime::Engine;

/// One step of the epoch.
pub(super) const TICK: Duration = Duration::from_millis(10);

struct State {
    /// Number of guests running.
    running: Mutex<usize>,
    changed: Condvar,
}

pub(super) struct Ticker {
    state: Arc<State>,
}

impl Ticker {
    /// Starts the thread. It ends with the ticker.
    pub(super) fn start(engine: Engine) -> Self {
        let state = Arc::new(State {
            running: Mutex::new(0),
            changed: Condvar::new(),
        });
        let weak = Arc::downgrade(&state);
        // Without the thread no deadline would ever pass; a system that cannot start one
        // thread cannot start an engine either.
        let spawned = std::thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || run(&weak, &engine));
        if let Err(error) = spawned {
            tracing::warn!("plugins run without a time limit: {error}");
        }
        Self { state }
    }

    /// Advances the epoch until the guard is dropped.
    pub(super) fn ticking(&self) -> Ticking<'_> {
        *self
            .state
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner) += 1;
        self.state.changed.notify_one();
        Ticking(&self.state)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.changed.notify_one();
    }
}

pub(super) struct Ticking<'a>(&'a State);

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        *self
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}

fn run(state: &Weak<State>, engine: &Engine) {
    while let Some(state) = state.upgrade() {
        let running = state.running.lock().unwrap_or_else(PoisonError::into_inner);
        if *running == 0 {
            // Holding the strong reference while waiting would keep the state alive for
            // ever, so the wait is bounded and the upgrade repeated.
            let _ = state.changed.wait_timeout(running, Duration::from_mins(1));
            continue;
        }
        drop(running);
        drop(state);
        std::thread::sleep(TICK);
        engine.increment_epoch();
    }
}
