//! The statistic `level` and the tests of coins against their reference vectors. They were
//! made by an implementation in numpy, by another hand.

use prony_metrics::statistics::level::{CarryOver, Cycle, Level, Request, Visit, slow_requests};
use prony_metrics::statistics::orders::{self, ORDERS, columns, scores};
use prony_metrics::statistics::{Decision, Evidence as _, Rule, Sequential};
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

pub(super) fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().expect("numbers");
    values.iter().map(number).collect()
}

pub(super) fn bools(value: &Value) -> Vec<bool> {
    let values = value.as_array().expect("booleans");
    values.iter().filter_map(Value::as_bool).collect()
}

/// The cycles of a case; without coins the baseline is always first, without times visits
/// follow one another evenly.
fn cycles(case: &Value) -> Vec<Cycle> {
    let visits = case["visits"].as_array().expect("visits");
    let times = case["times_s"].as_array();
    let visit = |(k, requests): (usize, &Value)| Visit {
        control: None,
        at_s: times.map_or(k as f64, |times| number(&times[k])),
        requests: requests
            .as_array()
            .expect("requests")
            .iter()
            .map(|it| Request {
                question: it[0].as_u64().expect("a question") as usize,
                tokens: 100,
                first_s: None,
                time_s: number(&it[1]),
            })
            .collect(),
    };
    let visits: Vec<Visit> = visits.iter().enumerate().map(visit).collect();
    let coins = case["baseline_first"]
        .as_array()
        .map(|_| bools(&case["baseline_first"]));
    let pairs = visits.chunks_exact(2).enumerate();
    pairs
        .map(|(c, pair)| Cycle {
            baseline_first: coins.as_ref().is_none_or(|coins| coins[c]),
            is_followed: true,
            visits: [pair[0].clone(), pair[1].clone()],
        })
        .collect()
}

pub(super) fn level(case: &Value) -> Level {
    let carry_over = if number(&case["carry"]) > 0.0 {
        CarryOver::Removed
    } else {
        CarryOver::None
    };
    Level::new(cycles(case), carry_over)
}

pub(super) fn near(what: &str, got: f64, want: f64, tolerance: f64) {
    assert!(
        (got - want).abs() <= tolerance,
        "{what}: {got} is not {want}"
    );
}

fn all_near(what: &str, got: &[f64], want: &Value) {
    let want = numbers(want);
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        near(what, *got, want, 1e-9 * want.abs() + 1e-13);
    }
}

#[test]
fn every_vector_agrees() {
    let file: Value =
        serde_json::from_str(include_str!("../data/level-vectors.json")).expect("vectors");
    let mut seen = BTreeMap::<&str, u32>::new();
    for case in file["cases"].as_array().expect("cases") {
        let kind = case["kind"].as_str().expect("a kind");
        let name = case["name"].as_str().expect("a name");
        let expect = &case["expect"];
        match kind {
            "columns" => {
                let own: Vec<f64> = columns().iter().map(|it| f64::from(*it)).collect();
                all_near(name, &own, expect);
            }
            "signs" => signs(case),
            "paths" => {
                let sums = signed_scores(&numbers(&case["g"]), &bools(&case["baseline_first"]));
                let mean =
                    |power: i32| sums.iter().map(|t| t.powi(power)).sum::<f64>() / ORDERS as f64;
                near(name, sums[0], number(&expect["score"]), 1e-7);
                near(name, mean(1), 0.0, 1e-7);
                near(name, mean(2), number(&expect["mean_of_squares"]), 1e-5);
                near(
                    name,
                    mean(4),
                    number(&expect["mean_of_fourth_powers"]),
                    1e-2,
                );
                let above = sums
                    .iter()
                    .filter(|t| t.abs() > sums[0].abs() + 1e-6)
                    .count();
                near(name, above as f64, number(&expect["above"]), 0.0);
            }
            "contributions" => {
                let fit = level(case).fit(cycles(case).len(), 0.0);
                all_near(name, &fit.contributions, &expect["g"]);
                all_near(name, &fit.residuals, &expect["psi"]);
                all_near(name, &fit.trust, &expect["p"]);
                all_near(name, &fit.levels, &expect["b"]);
                near(name, fit.scale, number(&expect["s"]), 1e-9 * fit.scale);
                near(name, fit.order_effect, number(&expect["order"]), 1e-9);
            }
            "verdict" => verdict(name, case),
            "slow_requests" => {
                let found = slow_requests(&cycles(case));
                near(name, found.p_value, number(expect), 0.0);
                assert_eq!(found.candidate > 2.0 * found.baseline, found.p_value < 0.1);
            }
            _ => panic!("nothing computes `{kind}`"),
        }
        *seen.entry(kind).or_default() += 1;
    }
    assert_eq!(seen.values().sum::<u32>(), 30, "{seen:?}");
    assert_eq!(seen["verdict"], 14);
}

/// The scores of all orders, in the units of `g`.
fn signed_scores(g: &[f64], baseline_first: &[bool]) -> Vec<f64> {
    let size: f64 = g.iter().map(|g| g.abs()).sum();
    let coins = baseline_first.iter().map(|it| if *it { 1.0 } else { -1.0 });
    let signed: Vec<f64> = g.iter().zip(coins).map(|(g, s)| g * s).collect();
    let scores = scores(&signed);
    scores
        .iter()
        .map(|it| f64::from(*it) * size / f64::from(1 << 30))
        .collect()
}

/// A score of powers of two shows the sign of each of its cycles.
fn signs(case: &Value) {
    let rows = case["expect"].as_array().expect("rows");
    let paths = numbers(&case["paths"]);
    for (path, row) in paths.iter().zip(rows) {
        for (cycle, want) in numbers(row).iter().enumerate() {
            let mut alone = vec![0.0; cycle + 1];
            alone[cycle] = 1.0;
            let got = f64::from(scores(&alone)[*path as usize].signum());
            near(&format!("path {path}, cycle {cycle}"), got, *want, 0.0);
        }
    }
}

fn verdict(name: &str, case: &Value) {
    let expect = &case["expect"];
    let rule = Rule {
        margin: number(&case["margin"]),
        alpha: number(&case["alpha"]),
        alpha_equivalent: 2.0 * number(&case["alpha_side"]),
        max_cycles: case["most"].as_u64().expect("cycles") as usize,
        open: false,
    };
    let level = level(case);
    let judge = Sequential::new(rule);
    let look = judge.judge(&level).expect("cycles");
    let decision = match look.decision {
        Decision::Faster => "faster",
        Decision::Slower => "slower",
        Decision::Equivalent => "equivalent",
        Decision::Continue => "continue",
        Decision::Inconclusive => "inconclusive",
    };
    assert_eq!(expect["decision"], decision, "{name}");
    near(name, look.cycles as f64, number(&expect["cycles"]), 0.0);
    let score: f64 = level.signed(look.cycles, 0.0).iter().sum();
    near(name, score, number(&expect["score"]), 1e-9 * score.abs());
    near(name, look.estimate, number(&expect["estimate"]), 1e-6);
    if expect["interval"].is_array() {
        let want = numbers(&expect["interval"]);
        let interval = judge.interval(&level, &look).expect("an interval");
        near(name, interval.low, want[0], 2e-4);
        near(name, interval.high, want[1], 2e-4);
    }
    if look.decision.is_win() {
        assert!(
            orders::p_value(&level.signed(look.cycles, 0.0)) < rule.alpha,
            "{name}"
        );
    }
}
