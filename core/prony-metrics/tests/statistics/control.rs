//! A control beside each visit: what it gains on a machine that wanders between long loads,
//! and that one which says nothing changes nothing much.

use prony_metrics::statistics::Evidence as _;
use prony_metrics::statistics::level::{CarryOver, Cycle, Level, Request, Visit};
use prony_metrics::statistics::orders::p_value;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};

const CYCLES: usize = 20;
const RUNS: u64 = 200;
const ALPHA: f64 = 0.04;

/// Control of a machine.
#[derive(Clone, Copy, PartialEq)]
enum Shows {
    /// There is none.
    Nothing,
    /// The wander, times a sensitivity, within an error.
    Wander(f64),
    /// Only noise.
    Noise,
}

struct Random(Pcg64Mcg);

impl Random {
    /// A number from 0 up to 1.
    fn share(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A normal value (Box & Muller 1958).
    fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.share(), self.share());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// A machine whose speed wanders by 4 % from visit to visit, since loads are long: nothing of
/// it is left at the next one. Requests scatter by 2 %, and controls by 1 %.
fn cycles(shows: Shows, advantage: f64, seed: u64) -> Vec<Cycle> {
    let mut random = Random(Pcg64Mcg::seed_from_u64(seed));
    let cycles = (0..CYCLES).map(|c| {
        let baseline_first = random.share() < 0.5;
        let mut visit = |k: usize| {
            let wander = 0.04 * random.normal();
            let error = random.normal();
            let is_candidate = (k == 1) == baseline_first;
            let own = if is_candidate { advantage } else { 0.0 };
            let requests = (0..10).map(|question| Request {
                question,
                tokens: 100,
                first_s: None,
                time_s: (wander - own + 0.02 * random.normal()).exp(),
            });
            Visit {
                at_s: (2 * c + k) as f64 * 640.0,
                requests: requests.collect(),
                control: match shows {
                    Shows::Nothing => None,
                    Shows::Wander(sensitivity) => Some(sensitivity * wander + 0.01 * error),
                    Shows::Noise => Some(0.04 * error),
                },
            }
        };
        Cycle {
            baseline_first,
            is_followed: true,
            visits: [visit(0), visit(1)],
        }
    });
    cycles.collect()
}

fn level(shows: Shows, advantage: f64, seed: u64) -> Level {
    Level::new(cycles(shows, advantage, seed), CarryOver::Removed)
}

/// Runs in which one look at all cycles rejects that engines are equal.
fn found(shows: Shows, advantage: f64) -> u64 {
    let is_found = |seed: &u64| {
        let level = level(shows, advantage, *seed);
        p_value(&level.signed(CYCLES, 0.0)) <= ALPHA
    };
    (0..RUNS).filter(is_found).count() as u64
}

#[test]
fn what_wanders_between_visits_is_taken_out() {
    let advantage = 0.02;
    let without = found(Shows::Nothing, advantage);
    let with = found(Shows::Wander(1.0), advantage);
    let twice = found(Shows::Wander(2.0), advantage);
    let noise = found(Shows::Noise, advantage);
    assert!(without < RUNS / 2, "{without}");
    assert!(with > 9 * RUNS / 10, "{with}");
    // The machine of the control may be touched more than the engines are.
    assert!(twice > 9 * RUNS / 10, "{twice}");
    assert!(noise + RUNS / 10 > without, "{noise}, {without}");
}

#[test]
fn equal_engines_have_no_more_winners_with_a_control() {
    for shows in [Shows::Wander(1.0), Shows::Wander(0.6), Shows::Noise] {
        let false_winners = found(shows, 0.0);
        // The 99.9 % quantile of Bin(200, 0.04).
        assert!(false_winners <= 18, "{false_winners} of {RUNS}");
    }
}

#[test]
fn the_estimate_stays_true_with_a_control() {
    for shows in [Shows::Wander(1.0), Shows::Noise] {
        let of = |seed| level(shows, 0.05, seed).estimate(CYCLES).expect("cycles");
        let mean = (0..RUNS).map(of).sum::<f64>() / RUNS as f64;
        assert!((mean - 0.05).abs() < 0.005, "{mean}");
    }
}

/// A visit without a control is left as it is, and one control that is far off changes no
/// other visit.
#[test]
fn a_constant_control_changes_nothing() {
    let plain = level(Shows::Nothing, 0.02, 1);
    let steady = |control: fn(usize) -> Option<f64>| {
        let mut own = Vec::new();
        for (c, cycle) in cycles(Shows::Nothing, 0.02, 1).into_iter().enumerate() {
            let [mut first, mut second] = cycle.visits.clone();
            first.control = control(2 * c);
            second.control = control(2 * c + 1);
            own.push(Cycle {
                visits: [first, second],
                ..cycle
            });
        }
        Level::new(own, CarryOver::Removed).signed(CYCLES, 0.0)
    };
    let plain = plain.signed(CYCLES, 0.0);
    assert_eq!(plain, steady(|_| Some(0.7)));
    assert_eq!(plain, steady(|k| (k == 3).then_some(0.7)));
}
