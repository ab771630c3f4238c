//! Ways to compare two engines, each with its answer on a simulated machine.

use crate::comparators::{Student, bootstrap, mann_whitney, welch_p_value};
use crate::machine::{Machine, Scenario};
use prony_metrics::statistics::aggregate::{Block, log_ratio, median_log_ratio};
use prony_metrics::statistics::sequential::MAX_CYCLES_RELOAD;
use prony_metrics::statistics::{Decision, Rule, Sequential, SignedRank};

/// Most cycles when both engines stay loaded within a cycle.
const MAX_CYCLES_RESIDENT: usize = 30;
/// Two-sided error of what looks once.
const ALPHA: f64 = 0.05;
/// A difference that a design without an interval takes for one.
const NOTICED: f64 = 0.01;
/// Cycles of a design that looks once.
const ONE_LOOK: usize = 12;
const RESAMPLES: usize = 800;
/// Questions of a cycle.
const QUESTIONS: usize = 5;
/// About what a cycle takes, in seconds.
const CYCLE_S: f64 = 95.0;
/// About what a request takes, in seconds.
const REQUEST_S: f64 = 2.05;

/// One experiment's answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) decision: Decision,
    /// Cycles until it was given; 1 where an engine is started once.
    pub(crate) cycles: usize,
}

/// Way in which engines are loaded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Loading {
    /// Both stay loaded within a cycle, and each question is asked ABBA.
    Resident,
    /// Each engine is loaded for its visit, and asked each question once.
    Reload,
}

impl Loading {
    pub(crate) fn max_cycles(self) -> usize {
        match self {
            Self::Resident => MAX_CYCLES_RESIDENT,
            Self::Reload => MAX_CYCLES_RELOAD,
        }
    }
}

/// The statistics `sum` and `med` of each cycle.
#[derive(Debug, Default)]
pub(crate) struct Cycles {
    pub(crate) sum: Vec<f64>,
    pub(crate) med: Vec<f64>,
}

/// Runs cycles in coin-flip order.
pub(crate) fn interleaved(
    scenario: Scenario,
    difference: f64,
    loading: Loading,
    seed: u64,
) -> Cycles {
    let most = loading.max_cycles();
    let mut machine = Machine::new(scenario, difference, most as f64 * CYCLE_S, seed);
    let questions = machine.questions(QUESTIONS);
    let mut cycles = Cycles::default();
    for _ in 0..most {
        let first = usize::from(machine.coin());
        let order = [first, 1 - first];
        let mut latencies = [vec![Vec::new(); QUESTIONS], vec![Vec::new(); QUESTIONS]];
        match loading {
            Loading::Resident => {
                for engine in order {
                    machine.start(engine);
                }
                for engine in order {
                    machine.warm_up(engine);
                }
                for (block, question) in questions.iter().enumerate() {
                    for engine in [first, 1 - first, 1 - first, first] {
                        latencies[engine][block].push(machine.ask(engine, *question));
                    }
                }
            }
            Loading::Reload => {
                for engine in order {
                    machine.start(engine);
                    machine.warm_up(engine);
                    for (block, question) in questions.iter().enumerate() {
                        latencies[engine][block].push(machine.ask(engine, *question));
                    }
                }
            }
        }
        let [baseline, candidate] = &latencies;
        let rate = |blocks: &[Vec<f64>]| 1.0 / blocks.iter().flatten().sum::<f64>();
        cycles.sum.push(log_ratio(rate(baseline), rate(candidate)));
        let blocks: Vec<Block<'_>> = baseline
            .iter()
            .zip(candidate)
            .map(|(baseline, candidate)| Block {
                baseline,
                candidate,
            })
            .collect();
        cycles.med.extend(median_log_ratio(&blocks));
    }
    cycles
}

/// Judges after every cycle.
pub(crate) fn sequential(sequential: &Sequential, d: &[f64]) -> Answer {
    let look = sequential.judge(d).expect("there are cycles");
    Answer {
        decision: look.decision,
        cycles: look.cycles,
    }
}

/// The rule of the simulations.
pub(crate) fn rule(loading: Loading) -> Rule {
    Rule::new(2.0, loading.max_cycles())
}

/// Names the winner by the sign of an estimate, if it is to be named.
fn winner(named: bool, estimate: f64, cycles: usize) -> Answer {
    let decision = match (named, estimate > 0.0) {
        (false, _) => Decision::Inconclusive,
        (true, true) => Decision::Faster,
        (true, false) => Decision::Slower,
    };
    Answer { decision, cycles }
}

/// A test that looks once, after 12 cycles.
pub(crate) fn signed_rank(d: &[f64]) -> Answer {
    let ranks = SignedRank::new(&d[..ONE_LOOK]).expect("there are cycles");
    winner(ranks.p_value() <= ALPHA, ranks.estimate(), ONE_LOOK)
}

/// The same with a t test.
pub(crate) fn paired_t(d: &[f64]) -> Answer {
    let student = Student::new(&d[..ONE_LOOK]).expect("cycles differ");
    winner(student.p_value() <= ALPHA, student.mean, ONE_LOOK)
}

/// The same with the percentile bootstrap.
pub(crate) fn percentile_bootstrap(d: &[f64], seed: u64) -> Answer {
    let interval = bootstrap(&d[..ONE_LOOK], ALPHA, RESAMPLES, seed);
    let (low, high) = interval.expect("cycles differ");
    winner(low > 0.0 || high < 0.0, low, ONE_LOOK)
}

/// The signed-rank test at 5 % after every cycle, as if each were the only one.
pub(crate) fn peeking(d: &[f64]) -> Answer {
    (1..=d.len())
        .filter_map(|n| SignedRank::new(&d[..n]))
        .find(|ranks| ranks.p_value() <= ALPHA)
        .map_or_else(
            || winner(false, 0.0, d.len()),
            |ranks| winner(true, ranks.estimate(), ranks.count()),
        )
}

/// Log latencies of the baseline, asked everything before the candidate is started.
pub(crate) fn one_after_the_other(
    scenario: Scenario,
    difference: f64,
    requests: usize,
    seed: u64,
) -> [Vec<f64>; 2] {
    let horizon = 2.0 * (20.0 + (requests + 3) as f64 * REQUEST_S);
    let mut machine = Machine::new(scenario, difference, horizon, seed);
    let questions = machine.questions(requests);
    [0, 1].map(|engine| {
        machine.start(engine);
        machine.warm_up(engine);
        questions
            .iter()
            .map(|question| machine.ask(engine, *question).ln())
            .collect()
    })
}

/// The engine whose total is smaller by more than 1 %.
pub(crate) fn smaller_total([baseline, candidate]: &[Vec<f64>; 2]) -> Answer {
    let total = |logs: &[f64]| logs.iter().map(|log| log.exp()).sum::<f64>();
    let estimate = (total(baseline) / total(candidate)).ln();
    winner(estimate.abs() > NOTICED, estimate, 1)
}

/// The t test of two independent samples.
pub(crate) fn welch([baseline, candidate]: &[Vec<f64>; 2]) -> Answer {
    let named = welch_p_value(baseline, candidate) <= ALPHA;
    winner(named, sum(baseline) - sum(candidate), 1)
}

/// The rank test of two independent samples.
pub(crate) fn ranks([baseline, candidate]: &[Vec<f64>; 2]) -> Answer {
    let test = mann_whitney(baseline, candidate).expect("latencies differ");
    let middle = (baseline.len() * candidate.len()) as f64 / 2.0;
    winner(test.p_value <= ALPHA, test.u - middle, 1)
}

/// The t test of the questions' differences.
pub(crate) fn by_question([baseline, candidate]: &[Vec<f64>; 2]) -> Answer {
    let pairs = baseline.iter().zip(candidate);
    let d: Vec<f64> = pairs
        .map(|(baseline, candidate)| baseline - candidate)
        .collect();
    let student = Student::new(&d).expect("latencies differ");
    winner(student.p_value() <= ALPHA, student.mean, 1)
}

fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}
