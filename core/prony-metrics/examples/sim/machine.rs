//! A machine that drifts, and two engines on it.
//!
//! Log latency of a request, over 2 s:
//! `question + process + drift(t) + noise + 0.3 exp(-requests since start) + outlier`,
//! less the true difference for the candidate. The sizes are assumptions about
//! machines, not measurements of any.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};
use std::f64::consts::TAU;

/// A usual latency, in seconds.
const REQUEST_S: f64 = 2.0;
/// Between two requests, in seconds.
const GAP_S: f64 = 0.05;
/// To start an engine, in seconds.
const START_S: f64 = 20.0;
/// Slowness of the first request after a start, as a log ratio.
const COLD: f64 = 0.3;
/// Requests after a start that are not measured.
const WARMUP: usize = 3;
/// Standard deviation between questions.
const QUESTIONS: f64 = 0.1;
/// Of an outlier: `1 + scale * x` times slower, `P(x > t) = 1 / t^2` from 1 on.
const OUTLIER: f64 = 0.2;
/// In which a machine heats up, in seconds.
const HEAT_S: f64 = 600.0;

/// Behaviour of a machine. Sizes are log ratios, times seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Standard deviation between requests.
    noise: f64,
    /// Standard deviation between starts of an engine.
    process: f64,
    /// Standard deviation and correlation time of an Ornstein-Uhlenbeck process.
    wander: (f64, f64),
    /// Slowness when it is hot.
    ramp: f64,
    /// Probability of a throttling step, its least and greatest size, mean duration.
    step: (f64, f64, f64, f64),
    /// Bursts of load: mean time between them and of each, least and greatest size.
    bursts: Option<(f64, f64, f64, f64)>,
    /// Probability of an outlier.
    outliers: f64,
}

pub(crate) const SCENARIOS: [Scenario; 4] = [
    Scenario {
        name: "calm",
        noise: 0.01,
        process: 0.001,
        wander: (0.003, 300.0),
        ramp: 0.0,
        step: (0.0, 0.0, 0.0, 1.0),
        bursts: None,
        outliers: 0.002,
    },
    Scenario {
        name: "laptop",
        noise: 0.015,
        process: 0.003,
        wander: (0.015, 300.0),
        ramp: 0.1,
        step: (0.5, 0.05, 0.2, 900.0),
        bursts: Some((300.0, 20.0, 0.05, 0.3)),
        outliers: 0.01,
    },
    Scenario {
        name: "cloud",
        noise: 0.02,
        process: 0.005,
        wander: (0.03, 600.0),
        ramp: 0.0,
        step: (0.5, -0.1, 0.1, f64::INFINITY),
        bursts: Some((120.0, 20.0, 0.05, 0.3)),
        outliers: 0.02,
    },
    Scenario {
        name: "brutal",
        noise: 0.015,
        process: 0.01,
        wander: (0.05, 900.0),
        ramp: 0.3,
        step: (1.0, 0.1, 0.4, 1200.0),
        bursts: Some((90.0, 40.0, 0.05, 0.5)),
        outliers: 0.03,
    },
];

/// Random numbers.
struct Random(Pcg64Mcg);

impl Random {
    /// Above 0, at most 1.
    fn uniform(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.uniform() <= probability && probability > 0.0
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.uniform().ln()
    }

    /// By Box & Muller (1958).
    fn normal(&mut self, deviation: f64) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        deviation * radius * (TAU * self.uniform()).cos()
    }
}

/// One engine's running process.
#[derive(Clone, Copy, Default)]
struct Process {
    effect: f64,
    requests: usize,
}

/// A machine with a baseline, engine 0, and a candidate, engine 1.
pub(crate) struct Machine {
    scenario: Scenario,
    random: Random,
    /// True log ratio of the candidate's speed to the baseline's.
    difference: f64,
    clock: f64,
    wander: f64,
    /// From, until, size.
    step: (f64, f64, f64),
    next_burst: f64,
    /// Until, size.
    bursts: Vec<(f64, f64)>,
    engines: [Process; 2],
}

impl Machine {
    /// A machine for a run of about `horizon` seconds, in which a step begins anywhere.
    pub(crate) fn new(scenario: Scenario, difference: f64, horizon: f64, seed: u64) -> Self {
        let mut random = Random(Pcg64Mcg::seed_from_u64(seed));
        let (probability, low, high, duration) = scenario.step;
        let size = if random.chance(probability) {
            random.between(low, high)
        } else {
            0.0
        };
        let from = random.between(0.0, horizon);
        let until = from + random.exponential(duration);
        let wander = random.normal(scenario.wander.0);
        let next_burst = scenario
            .bursts
            .map_or(f64::INFINITY, |(every, ..)| random.exponential(every));
        Self {
            scenario,
            random,
            difference,
            clock: 0.0,
            wander,
            step: (from, until, size),
            next_burst,
            bursts: Vec::new(),
            engines: [Process::default(); 2],
        }
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.random.chance(0.5)
    }

    /// Some questions, by how long their answers take.
    pub(crate) fn questions(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.random.normal(QUESTIONS)).collect()
    }

    /// Starts an engine anew.
    pub(crate) fn start(&mut self, engine: usize) {
        self.advance(START_S);
        self.engines[engine] = Process {
            effect: self.random.normal(self.scenario.process),
            requests: 0,
        };
    }

    /// Sends the requests that are not measured.
    pub(crate) fn warm_up(&mut self, engine: usize) {
        for _ in 0..WARMUP {
            self.ask(engine, 0.0);
        }
    }

    /// The latency of one request, in seconds.
    pub(crate) fn ask(&mut self, engine: usize, question: f64) -> f64 {
        let process = self.engines[engine];
        let mut log = question + process.effect + self.drift();
        log += self.random.normal(self.scenario.noise);
        log += COLD * (-(process.requests as f64)).exp();
        if engine == 1 {
            log -= self.difference;
        }
        let mut latency = REQUEST_S * log.exp();
        if self.random.chance(self.scenario.outliers) {
            latency *= 1.0 + OUTLIER * self.random.uniform().powf(-0.5);
        }
        self.engines[engine].requests += 1;
        self.advance(latency + GAP_S);
        latency
    }

    fn drift(&self) -> f64 {
        let heat = self.scenario.ramp * (1.0 - (-self.clock / HEAT_S).exp());
        let (from, until, size) = self.step;
        let step = if (from..until).contains(&self.clock) {
            size
        } else {
            0.0
        };
        let bursts: f64 = self.bursts.iter().map(|(_, size)| size).sum();
        heat + step + self.wander + bursts
    }

    fn advance(&mut self, seconds: f64) {
        self.clock += seconds;
        let (deviation, time) = self.scenario.wander;
        let kept = (-seconds / time).exp();
        self.wander =
            kept * self.wander + self.random.normal(deviation * (1.0 - kept * kept).sqrt());
        if let Some((every, duration, low, high)) = self.scenario.bursts {
            while self.next_burst <= self.clock {
                let until = self.next_burst + self.random.exponential(duration);
                let size = self.random.between(low, high);
                self.bursts.push((until, size));
                self.next_burst += self.random.exponential(every);
            }
            self.bursts.retain(|(until, _)| *until > self.clock);
        }
    }
}
