//! A machine that drifts, and two engines on it.
//!
//! Log latency of a request, over 2 s for a full answer:
//! `question + process + drift(t) + noise + 0.3 exp(-requests since start) + outlier`,
//! less the true difference for the candidate. The sizes are assumptions about
//! machines, not measurements of any. [`Disturbances`] are what comes on top, from random
//! numbers of their own: without them, and up to the times that they shift, the machine is
//! the same.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};
use std::f64::consts::TAU;

/// Tokens of a full answer.
pub(crate) const TOKENS: usize = 32;
/// Time before the first token is computed, and of each token, in seconds: 2 s for a full
/// answer.
const PREFILL_S: f64 = 0.2;
const STEP_S: f64 = 1.8 / TOKENS as f64;
/// Between two requests, in seconds.
const GAP_S: f64 = 0.05;
/// To start an engine, in seconds.
pub(crate) const START_S: f64 = 20.0;
/// Slowness of the first request after a start, as a log ratio.
const COLD: f64 = 0.3;
/// Requests after a start that are not measured.
pub(crate) const WARMUP: usize = 3;
/// Standard deviation between questions.
const QUESTIONS: f64 = 0.1;
/// Of an outlier: `1 + scale * x` times slower, `P(x > t) = 1 / t^2` from 1 on.
const OUTLIER: f64 = 0.2;
/// Time of a request with a pause, over its time without.
const PAUSE: f64 = 1.5;
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

/// Disturbances of a comparison beyond the scenario, by the engines or by the world. Sizes are
/// log ratios; pairs are of the baseline and of the candidate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disturbances {
    /// Slowness of the visit after a visit of the engine.
    pub(crate) carry_over: [f64; 2],
    /// Slowness of the second visit of a cycle.
    pub(crate) order: f64,
    /// Share by which the noise of requests grows with every cycle.
    pub(crate) growth: f64,
    /// Standard deviation of requests, beside the scenario's.
    pub(crate) noise: [f64; 2],
    /// Standard deviation of starts, beside the scenario's.
    pub(crate) starts: [f64; 2],
    /// Lengths of answers; all full if `None`.
    pub(crate) lengths: Option<Lengths>,
    /// Time that a start takes beyond 20 s, in seconds.
    pub(crate) load_s: f64,
    /// Probability that a request takes 1.5 times as long.
    pub(crate) pauses: [f64; 2],
    /// Probability that a request fails.
    pub(crate) failures: [f64; 2],
    /// Probability, before each measured request, that its cycle is broken off; another
    /// cycle takes its place.
    pub(crate) breaks: f64,
}

impl Disturbances {
    /// An undisturbed machine.
    pub(crate) const NONE: Self = Self {
        carry_over: [0.0; 2],
        order: 0.0,
        growth: 0.0,
        noise: [0.0; 2],
        starts: [0.0; 2],
        lengths: None,
        load_s: 0.0,
        pauses: [0.0; 2],
        failures: [0.0; 2],
        breaks: 0.0,
    };
}

/// Answers that an end token cuts at a geometric place, or that are full.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lengths {
    /// Mean tokens before the cut at a full answer.
    pub(crate) mean: [f64; 2],
    /// `true`: each answer has a length of its own; `false`: an engine always gives the same
    /// one to a question.
    pub(crate) sampled: bool,
}

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

    /// Tokens of an answer of about `mean` tokens before it is cut; at least 1.
    fn length(&mut self, mean: f64) -> usize {
        let tokens = (self.uniform().ln() / (-1.0 / mean).ln_1p()).ceil();
        (tokens as usize).clamp(1, TOKENS)
    }
}

/// A question, by how long its answer takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    slowness: f64,
    /// Tokens of each engine's answer.
    tokens: [usize; 2],
}

/// An answered request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply {
    pub(crate) tokens: usize,
    /// Its time over what is usual for its length.
    slowness: f64,
}

impl Reply {
    /// Time to the `k`-th token, in seconds.
    pub(crate) fn time_s(&self, k: usize) -> f64 {
        self.slowness * (PREFILL_S + STEP_S * k as f64)
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
    disturbances: Disturbances,
    /// Of the disturbances.
    disturber: Random,
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
    /// Cycles that were begun.
    cycles: usize,
    /// Starts in this cycle.
    starts: usize,
    /// Engine that was started last.
    last: Option<usize>,
}

impl Machine {
    /// A machine for a run of about `horizon` seconds, in which a step begins anywhere.
    pub(crate) fn new(
        scenario: Scenario,
        disturbances: Disturbances,
        difference: f64,
        horizon: f64,
        seed: u64,
    ) -> Self {
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
            disturbances,
            disturber: Random(Pcg64Mcg::seed_from_u64(!seed)),
            difference,
            clock: 0.0,
            wander,
            step: (from, until, size),
            next_burst,
            bursts: Vec::new(),
            engines: [Process::default(); 2],
            cycles: 0,
            starts: 0,
            last: None,
        }
    }

    /// Seconds since the machine began.
    pub(crate) fn clock(&self) -> f64 {
        self.clock
    }

    /// Some questions.
    pub(crate) fn questions(&mut self, count: usize) -> Vec<Question> {
        let question = |_| Question {
            slowness: self.random.normal(QUESTIONS),
            tokens: [0, 1].map(|engine| self.length(engine)),
        };
        (0..count).map(question).collect()
    }

    fn length(&mut self, engine: usize) -> usize {
        self.disturbances.lengths.map_or(TOKENS, |lengths| {
            self.disturber.length(lengths.mean[engine])
        })
    }

    /// Begins a cycle: the engines in the order that its coin gives.
    pub(crate) fn begin_cycle(&mut self) -> [usize; 2] {
        self.starts = 0;
        self.cycles += 1;
        let first = usize::from(self.random.chance(0.5));
        [first, 1 - first]
    }

    /// Returns `true` if the cycle is broken off here.
    pub(crate) fn breaks(&mut self) -> bool {
        self.disturber.chance(self.disturbances.breaks)
    }

    /// Starts an engine anew.
    pub(crate) fn start(&mut self, engine: usize) {
        self.advance(START_S + self.disturbances.load_s);
        let mut effect = self.random.normal(self.scenario.process);
        effect += self.disturber.normal(self.disturbances.starts[engine]);
        effect += self
            .last
            .map_or(0.0, |last| self.disturbances.carry_over[last]);
        if self.starts == 1 {
            effect += self.disturbances.order;
        }
        self.engines[engine] = Process {
            effect,
            requests: 0,
        };
        self.starts += 1;
        self.last = Some(engine);
    }

    /// Sends the requests that are not measured.
    pub(crate) fn warm_up(&mut self, engine: usize) {
        let question = Question {
            slowness: 0.0,
            tokens: [TOKENS; 2],
        };
        for _ in 0..WARMUP {
            self.ask(engine, question);
        }
    }

    /// The answer to one request; `None` if it failed.
    pub(crate) fn ask(&mut self, engine: usize, question: Question) -> Option<Reply> {
        let disturbances = self.disturbances;
        let process = self.engines[engine];
        let mut log = question.slowness + process.effect + self.drift();
        let growth = (1.0 + disturbances.growth).powf(self.cycles as f64 - 1.0);
        log += self.random.normal(self.scenario.noise * growth);
        log += self.disturber.normal(disturbances.noise[engine]);
        log += COLD * (-(process.requests as f64)).exp();
        if engine == 1 {
            log -= self.difference;
        }
        let mut slowness = log.exp();
        if self.random.chance(self.scenario.outliers) {
            slowness *= 1.0 + OUTLIER * self.random.uniform().powf(-0.5);
        }
        if self.disturber.chance(disturbances.pauses[engine]) {
            slowness *= PAUSE;
        }
        let tokens = match disturbances.lengths {
            Some(Lengths { sampled: true, .. }) => self.length(engine),
            _ => question.tokens[engine],
        };
        let reply = Reply { tokens, slowness };
        self.engines[engine].requests += 1;
        self.advance(reply.time_s(tokens) + GAP_S);
        let failed = self.disturber.chance(disturbances.failures[engine]);
        (!failed).then_some(reply)
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
