//! The promises, on a fresh implementation of the machines. Seeds are fixed, so that an
//! outcome is the same each time; the bounds are those that any seed keeps with 97.5 %.

use super::{
    DIFFERENCE, Loading, Options, Row, SCENARIOS, Tally, interleaved, naive, options, rows,
};
use crate::comparators::{Student, bootstrap, mann_whitney};
use crate::designs;
use prony_metrics::statistics::Sequential;
use serde_json::Value;

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

/// Reference cases, computed with other software (see the `source` of each).
#[test]
fn the_comparators_agree_with_their_references() {
    let file = include_str!("../../tests/data/stats-vectors.json");
    let file: Value = serde_json::from_str(file).expect("vectors");
    let numbers = |value: &Value| -> Vec<f64> {
        let values = value.as_array().expect("numbers");
        values.iter().filter_map(Value::as_f64).collect()
    };
    let number = |value: &Value| value.as_f64().expect("a number");
    let mut compared = 0;
    for case in file["cases"].as_array().expect("cases") {
        let (input, expected) = (&case["input"], &case["expected"]);
        let pairs = match case["kind"].as_str().expect("kind") {
            "paired_t_logratio" => {
                let (a, b) = (numbers(&input["a"]), numbers(&input["b"]));
                let d: Vec<f64> = a.iter().zip(&b).map(|(a, b)| (a / b).ln()).collect();
                let student = Student::new(&d).expect("values that differ");
                vec![
                    (student.mean, &expected["mean_log"]),
                    (student.standard_error, &expected["se"]),
                    (student.t(), &expected["t"]),
                    (student.degrees_of_freedom, &expected["df"]),
                    (student.p_value(), &expected["p_two_sided"]),
                ]
            }
            "mann_whitney" => {
                let test = mann_whitney(&numbers(&input["x"]), &numbers(&input["y"]));
                let test = test.expect("values that differ");
                vec![
                    (test.u, &expected["u1"]),
                    (test.p_value, &expected["p_asymptotic_cc"]),
                ]
            }
            "bootstrap_mean_ci" => {
                let resamples = 5 * input["min_resamples"].as_u64().expect("a count") as usize;
                let alpha = 1.0 - number(&input["confidence"]);
                let interval = bootstrap(&numbers(&input["d"]), alpha, resamples, 1);
                let (low, high) = interval.expect("values that differ");
                let expected = &expected["percentile"];
                vec![(low, &expected[0]), (high, &expected[1])]
            }
            _ => continue,
        };
        for (got, want) in pairs {
            let apart = (got - number(want)).abs();
            let id = &case["id"];
            assert!(apart <= number(&case["tol"]), "{id}: {got}, not {want}");
            compared += 1;
        }
    }
    assert_eq!(compared, 6 * 5 + 5 * 2 + 3 * 2);
}
