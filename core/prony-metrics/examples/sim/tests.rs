//! The promises, on a fresh implementation of the machines. Seeds are fixed, so that an
//! outcome is the same each time; the bounds are those that any seed keeps with 97.5 %.

use super::{
    DIFFERENCE, Options, QUICK, SCENARIOS, Tables, Tally, judged, naive, options, resident, tally,
};
use crate::comparators::{Student, bootstrap, mann_whitney};
use crate::designs::{Answer, Cycles, Loading, Setting, interleaved};
use crate::disturbed::DISTURBED;
use crate::machine::{Disturbances, Lengths};
use prony_metrics::statistics::level::CarryOver;
use prony_metrics::statistics::{LogRatios, chance_wins};
use serde_json::Value;

/// The 2.5 % point of `Bin(400, 0.9)`: with 90 % power, fewer are no chance.
const MIN_FOUND: usize = 348;
/// The same of 79 %, on the machine that is made to be hopeless.
const MIN_FOUND_BRUTAL: usize = 300;

const OPTIONS: Options = Options {
    tables: Tables::All,
    experiments: 400,
    seed: 2026,
};
/// Where many things are tried; `cargo xtask sim` tries them more often.
const FEW: Options = Options {
    experiments: 100,
    ..OPTIONS
};

const NONE: Disturbances = Disturbances::NONE;

/// Judges the same experiments by several designs.
type Judge<const N: usize> = fn(&Cycles) -> [Answer; N];

/// The design of prony where engines are loaded for each visit.
fn level(cycles: &Cycles) -> [Answer; 1] {
    [cycles.sequential(&cycles.level(CarryOver::Removed), 60)]
}

/// The same without carry-over, and numbers of cycles.
fn others(cycles: &Cycles) -> [Answer; 3] {
    [
        cycles.sequential(&cycles.level(CarryOver::None), 60),
        cycles.sequential(&LogRatios(cycles.med.clone()), 60),
        cycles.withstanding_number(&cycles.sum, 60),
    ]
}

/// The design of prony where engines stay loaded.
fn medians(cycles: &Cycles) -> [Answer; 1] {
    [cycles.sequential(&LogRatios(cycles.med.clone()), 30)]
}

fn reload(scenario: usize, disturbances: Disturbances) -> Setting {
    Setting {
        disturbances,
        ..Setting::new(SCENARIOS[scenario], Loading::Reload)
    }
}

/// A candidate that leaves the machine 3 % slower.
const LEAVES: Disturbances = Disturbances {
    carry_over: [0.0, 0.03],
    ..NONE
};

/// Answers of random lengths, the candidate's three times as long before the cut.
const UNLIKE: Disturbances = Disturbances {
    lengths: Some(Lengths {
        mean: [16.0, 48.0],
        sampled: true,
    }),
    ..NONE
};

/// Asserts that no more false winners are named than chance explains, even if `equivalent`
/// ended no run.
fn assert_seldom<const N: usize>(options: Options, setting: &Setting, judge: Judge<N>) {
    let most = chance_wins(options.experiments as u64) as usize;
    let tallies = tally(options, |seed| judge(&interleaved(setting, seed)));
    for (design, Tally { unstopped, .. }) in tallies.iter().enumerate() {
        let what = format!("{}, design {design}", setting.scenario.name);
        assert!(*unstopped <= most, "{what}: {unstopped} with {setting:?}");
    }
}

/// Asserts that a difference is found often enough, and hardly ever the wrong way round.
fn assert_found(least: usize, setting: &Setting, judge: Judge<1>) {
    let faster = setting.with(DIFFERENCE.ln_1p());
    let [tally] = tally(OPTIONS, |seed| judge(&interleaved(&faster, seed)));
    let (name, found) = (setting.scenario.name, tally.faster);
    assert!(found >= least, "{name}: {found} with {setting:?}");
    assert!(tally.slower <= 2, "{name}: {} wrong", tally.slower);
}

#[test]
fn an_engine_seldom_wins_against_itself_on_any_machine() {
    for (index, scenario) in SCENARIOS.into_iter().enumerate() {
        assert_seldom(OPTIONS, &reload(index, NONE), level);
        assert_seldom(FEW, &reload(index, NONE), others);
        assert_seldom(OPTIONS, &Setting::new(scenario, Loading::Resident), medians);
    }
}

#[test]
fn two_percent_are_found_on_any_machine() {
    for (index, scenario) in SCENARIOS.into_iter().enumerate() {
        let is_brutal = scenario.name == "brutal";
        let least = if is_brutal {
            MIN_FOUND_BRUTAL
        } else {
            MIN_FOUND
        };
        assert_found(least, &reload(index, NONE), level);
        let resident = Setting::new(scenario, Loading::Resident);
        assert_found(MIN_FOUND, &resident, medians);
    }
}

#[test]
fn an_engine_that_leaves_the_machine_slower_names_no_winner() {
    for index in [1, 2] {
        assert_seldom(OPTIONS, &reload(index, LEAVES), level);
        let and_lengths = Disturbances {
            carry_over: LEAVES.carry_over,
            ..UNLIKE
        };
        assert_seldom(OPTIONS, &reload(index, and_lengths), level);
        // It is a danger to whoever trusts that it is not there.
        let [trusting, ..] = tally(FEW, |seed| {
            others(&interleaved(&reload(index, LEAVES), seed))
        });
        assert!(trusting.wins() > 50, "{}", trusting.wins());
    }
}

/// Where visits after the candidate are slower by many times what requests scatter, they look
/// like bursts. The statistic alone is then no proof, and its winner is withheld.
#[test]
fn carry_over_that_looks_like_bursts_names_no_winner() {
    let judge = |carried: f64, difference: f64| {
        let disturbances = Disturbances {
            carry_over: [0.0, carried],
            ..NONE
        };
        let setting = reload(0, disturbances).with(difference);
        let [tally, throughput] = tally(FEW, |seed| {
            let cycles = interleaved(&setting, seed);
            [
                cycles.withstanding(&cycles.level(CarryOver::Removed), 60),
                cycles.withstanding_number(&cycles.sum, 60),
            ]
        });
        // Of numbers from which nothing is taken out, few winners are left of nearly all.
        assert!(
            throughput.wins() <= 10 || difference > 0.0,
            "{}",
            throughput.wins()
        );
        tally
    };
    let most = chance_wins(FEW.experiments as u64) as usize;
    for carried in [0.03, 0.05, 0.1] {
        let wins = judge(carried, 0.0).wins();
        assert!(wins <= most, "{carried}: {wins}");
    }
    let found = judge(0.03, DIFFERENCE.ln_1p());
    assert!(found.faster >= 87 && found.slower == 0, "{}", found.faster);
}

#[test]
fn answers_of_random_lengths_decide_nothing_and_hide_nothing() {
    for index in 0..SCENARIOS.len() {
        assert_seldom(FEW, &reload(index, UNLIKE), level);
        assert_seldom(FEW, &reload(index, UNLIKE), others_on_equal_work);
    }
    for index in [0, 1, 2] {
        assert_found(MIN_FOUND, &reload(index, UNLIKE), level);
    }
    // Tokens per second are another matter: prefill is shared by more tokens.
    let [_, _, throughput] = tally(FEW, |seed| others(&interleaved(&reload(1, UNLIKE), seed)));
    assert!(throughput.wins() > 50, "{}", throughput.wins());
}

/// The designs of [`others`] that rest on times to a token that both answers have.
fn others_on_equal_work(cycles: &Cycles) -> [Answer; 2] {
    let [trusting, medians, _] = others(cycles);
    [trusting, medians]
}

#[test]
fn what_happens_to_both_engines_names_no_winner() {
    for disturbed in DISTURBED.iter().filter(|it| it.is_alike()) {
        let setting = Setting {
            questions: disturbed.questions,
            ..reload(2, disturbed.disturbances)
        };
        assert_seldom(FEW, &setting, level);
    }
}

#[test]
fn the_place_of_a_visit_in_its_cycle_costs_no_power() {
    let disturbances = Disturbances {
        order: 0.05,
        ..NONE
    };
    assert_found(MIN_FOUND, &reload(2, disturbances), level);
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
    let peeking = &resident(SCENARIOS[1], OPTIONS)[3];
    assert!(peeking.equal.share(peeking.equal.wins()) > 0.1);
}

#[test]
fn the_same_seed_is_the_same_experiment_and_another_is_another() {
    let run = |seed| interleaved(&reload(1, LEAVES), seed).sum;
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn options_are_read_or_refused() {
    let read = |line: &str| {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        options(&arguments).map(|it| (it.tables, it.experiments, it.seed))
    };
    assert_eq!(read(""), Some((Tables::All, 1000, 1)));
    assert_eq!(
        read("designs --seed 7 --experiments 20"),
        Some((Tables::Designs, 20, 7))
    );
    assert_eq!(
        read("--quick disturbances"),
        Some((Tables::Disturbances, QUICK, 1))
    );
    for wrong in [
        "--experiments",
        "--experiments 0",
        "--experiments x",
        "--jobs 3",
        "tables",
    ] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}

#[test]
fn a_result_is_judged_by_the_rule_of_before() {
    let file = include_str!("../../../prony-journal/tests/fixtures/compared/result.json");
    let judge = |ratios: &[f64]| {
        let mut result: Value = serde_json::from_str(file).expect("a result");
        result["models"][0]["comparisons"][0]["cycle_log_ratios"] = ratios.into();
        judged(&result.to_string()).expect("it compares two")
    };
    // Cycle 9 is the first that can name a winner, and cycle 8 the first that can show
    // equivalence within the 2 % of this result.
    assert_eq!(judge(&[0.02; 8]), ("inconclusive", 8));
    assert_eq!(judge(&[0.02; 20]), ("faster", 9));
    assert_eq!(judge(&[-0.02; 20]), ("slower", 9));
    assert_eq!(judge(&[0.001, -0.001].repeat(10)), ("equivalent", 8));
    assert_eq!(
        judge(&[0.9, -0.5, 0.2, -0.7].repeat(15)),
        ("inconclusive", 40)
    );
    assert!(judged("{}").is_err());
}

#[test]
fn shares_come_with_their_error() {
    let tally = Tally {
        experiments: 400,
        faster: 20,
        ..Tally::default()
    };
    assert_eq!(tally.percent(tally.wins()), "5.0 ± 1.1");
    let mut twice = tally;
    twice.add(tally);
    assert_eq!((twice.experiments, twice.wins()), (800, 40));
    // More of them are no chance.
    assert_eq!([100, 400].map(chance_wins), [10, 29]);
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
