//! Carry-over among three engines: numbers that it makes are no verdicts, and
//! verdicts that rest on the engines stand.

use prony_metrics::statistics::predecessor::{Before, withstands};
use prony_metrics::statistics::{Decision, Evidence as _, LogRatios, Rule, Sequential};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};

const CYCLES: usize = 60;
const RUNS: u64 = 200;
const MARGIN: f64 = 0.02;

/// Verdicts on the second of `engines`, of which the first slows the next visit by `left`, in
/// runs whose visits scatter by 2 %: those named, and those that withstand.
fn verdicts(engines: usize, left: f64, advantage: f64) -> (usize, usize) {
    let judge = Sequential::new(Rule::new(2.0, CYCLES));
    let (mut named, mut stands) = (0, 0);
    for seed in 0..RUNS {
        let (own, before) = cycles(engines, left, advantage, seed);
        let evidence = LogRatios(own);
        let look = judge.judge(&evidence).expect("cycles");
        let of_cycles = evidence.unweighted(look.cycles).expect("numbers");
        let before = &before[..look.cycles];
        let is_win = look.decision.is_win();
        named += usize::from(is_win);
        let holds = withstands(&of_cycles, before, look.decision, MARGIN);
        stands += usize::from(is_win && holds);
    }
    (named, stands)
}

fn cycles(engines: usize, left: f64, advantage: f64, seed: u64) -> (Vec<f64>, Vec<Before>) {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut share = move || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let mut last: Option<u32> = None;
    let mut cycle = |_| {
        let mut order: Vec<usize> = (0..engines).collect();
        for k in (1..engines).rev() {
            order.swap(k, (share() * (k + 1) as f64) as usize);
        }
        let (mut logs, mut before) = (vec![0.0; engines], vec![None; engines]);
        for engine in order {
            let (u, v) = (1.0 - share(), share());
            let noise = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
            let slowed = if last == Some(0) { left } else { 0.0 };
            let faster = if engine == 1 { advantage } else { 0.0 };
            logs[engine] = slowed - faster + 0.02 * noise;
            before[engine] = last;
            last = Some(engine as u32);
        }
        (logs[0] - logs[1], [before[0], before[1]])
    };
    (0..CYCLES).map(&mut cycle).unzip()
}

#[test]
fn what_an_engine_leaves_behind_is_no_winner() {
    for engines in [2, 3] {
        let (named, stands) = verdicts(engines, 0.03, 0.0);
        assert!(named > 60, "{named} of {RUNS}");
        assert!(stands <= 20, "{stands} of {RUNS}");
    }
}

#[test]
fn an_engine_that_is_faster_stays_the_winner() {
    for (engines, least) in [(2, 140), (3, 160)] {
        let (named, stands) = verdicts(engines, 0.0, 0.02);
        assert!(named > 180 && stands > least, "{stands} of {named}");
        // What is left behind by the slower one hides nothing.
        let (_, stands) = verdicts(engines, 0.03, 0.06);
        assert!(stands > least, "{stands}");
    }
}

#[test]
fn equal_engines_are_that_without_what_they_leave_behind() {
    let (own, before) = cycles(2, 0.05, 0.025, 1);
    assert!(!withstands(&own, &before, Decision::Equivalent, MARGIN));
    let (own, before) = cycles(2, 0.05, 0.0, 1);
    assert!(withstands(&own, &before, Decision::Equivalent, MARGIN));
}

#[test]
fn without_predecessors_there_is_nothing_to_say() {
    let own = [0.01, 0.02, 0.015];
    for before in [[None; 2], [Some(0), Some(0)]] {
        assert!(withstands(&own, &[before; 3], Decision::Faster, MARGIN));
    }
    // Few cycles leave nothing over.
    let two = [[Some(0), Some(1)], [Some(1), Some(0)]];
    assert!(withstands(&own[..2], &two, Decision::Faster, MARGIN));
}
