//! The promises, on a fresh implementation of the machines. Seeds are fixed, so that an
//! outcome is the same each time; the bounds are those that any seed keeps with 97.5 %.

use super::{
    DIFFERENCE, Loading, Options, Row, SCENARIOS, Tally, interleaved, naive, options, rows,
};
use crate::designs;
use prony_metrics::statistics::Sequential;

/// The 97.5 % point of `Bin(400, 0.05)`: more false winners are no chance.
const MAX_FALSE: usize = 29;
/// The 2.5 % point of `Bin(400, 0.9)`: with 90 % power, fewer are no chance.
const MIN_FOUND: usize = 348;

const OPTIONS: Options = Options {
    experiments: 400,
    seed: 2026,
};

/// The verdicts by sums and by medians.
fn prony(scenario: usize, loading: Loading) -> Vec<Row> {
    let sequential = Sequential::new(designs::rule(loading));
    rows(["sum", "med"], OPTIONS, |difference, seed| {
        let cycles = designs::interleaved(SCENARIOS[scenario], difference, loading, seed);
        [&cycles.sum, &cycles.med].map(|d| designs::sequential(&sequential, d))
    })
}

#[test]
fn an_engine_seldom_wins_against_itself_on_any_machine() {
    for (index, scenario) in SCENARIOS.iter().enumerate() {
        for loading in [Loading::Resident, Loading::Reload] {
            for row in prony(index, loading) {
                let wins = row.equal.wins();
                let what = format!("{}, {loading:?}, {}: {wins}", scenario.name, row.design);
                assert!(wins <= MAX_FALSE, "{what}");
            }
        }
    }
}

#[test]
fn two_percent_are_found_where_that_is_promised() {
    // calm and laptop either way, cloud with both engines resident.
    for (index, loading) in [
        (0, Loading::Resident),
        (0, Loading::Reload),
        (1, Loading::Resident),
        (2, Loading::Resident),
    ] {
        for row in prony(index, loading) {
            let found = row.faster.faster;
            let what = format!("{}, {loading:?}, {}", SCENARIOS[index].name, row.design);
            assert!(found >= MIN_FOUND, "{what}: {found}");
        }
    }
}

#[test]
fn the_obvious_designs_name_false_winners_on_a_laptop() {
    let rows = naive(SCENARIOS[1], OPTIONS);
    let shares: Vec<f64> = rows
        .iter()
        .map(|row| row.equal.share(row.equal.wins()))
        .collect();
    let [totals, _, few, many, _] = shares[..] else {
        panic!("{shares:?}");
    };
    assert!(totals > 0.6, "{totals}");
    assert!(many > few && few > 0.25, "{few}, then {many}");
    // Looking every cycle without paying for it.
    let peeking = &interleaved(SCENARIOS[1], OPTIONS, Loading::Resident)[3];
    assert!(peeking.equal.share(peeking.equal.wins()) > 0.1);
}

#[test]
fn the_same_seed_is_the_same_experiment_and_another_is_another() {
    let run = |seed| designs::interleaved(SCENARIOS[1], DIFFERENCE, Loading::Reload, seed).sum;
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn options_are_read_or_refused() {
    let read = |line: &str| {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        options(&arguments).map(|it| (it.experiments, it.seed))
    };
    assert_eq!(read(""), Some((1000, 1)));
    assert_eq!(read("--seed 7 --experiments 20"), Some((20, 7)));
    for wrong in [
        "--experiments",
        "--experiments 0",
        "--experiments x",
        "--jobs 3",
    ] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}

#[test]
fn shares_come_with_their_error() {
    let tally = Tally {
        experiments: 400,
        faster: 20,
        ..Tally::default()
    };
    assert_eq!(tally.percent(tally.wins()), "5.0 ± 1.1");
}
