//! Reference cases, computed with other software (see the `source` of each).

use prony_metrics::statistics::drift::{kendall, split, theil_sen};
use prony_metrics::statistics::models::geometric_mean;
use prony_metrics::statistics::quantile::{min_samples_within, quantile, quantile_interval};
use prony_metrics::statistics::shift::Shift;
use prony_metrics::statistics::{SignedRank, critical_value};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Kinds that no verdict rests on; the simulation, which computes them, tests them.
const OF_THE_SIMULATION: [&str; 3] = ["paired_t_logratio", "mann_whitney", "bootstrap_mean_ci"];

pub(crate) fn file() -> Value {
    serde_json::from_str(include_str!("../data/stats-vectors.json")).expect("vectors")
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().expect("numbers");
    values.iter().map(number).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// `got` and `want` are the same but for numbers that differ by no more than `tolerance`;
/// `got` has a value for everything in `want`.
fn same(got: &Value, want: &Value, tolerance: f64) -> bool {
    match (got, want) {
        (Value::Number(_), Value::Number(_)) => (number(got) - number(want)).abs() <= tolerance,
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, tolerance))
        }
        (Value::Object(_), Value::Object(b)) => b
            .iter()
            .all(|(key, want)| got.get(key).is_some_and(|got| same(got, want, tolerance))),
        _ => got == want,
    }
}

#[test]
fn every_case_agrees_with_its_reference() {
    let file = file();
    let mut counts = BTreeMap::new();
    for case in file["cases"].as_array().expect("cases") {
        let kind = case["kind"].as_str().expect("kind");
        if OF_THE_SIMULATION.contains(&kind) {
            continue;
        }
        let got = compute(kind, &case["input"]);
        assert!(
            same(&got, &case["expected"], number(&case["tol"])),
            "{}: {got}\nis not {}",
            case["id"],
            case["expected"]
        );
        *counts.entry(kind.to_owned()).or_insert(0) += 1;
    }
    assert_eq!(counts.values().sum::<i32>(), 18);
    assert_eq!(counts.len(), 6, "{counts:?}");
}

#[test]
fn a_shift_excludes_zero_from_the_p_value_of_the_reference_on() {
    let file = file();
    let mut samples = 0;
    for case in file["cases"].as_array().expect("cases") {
        let Some(p) = case["expected"]["p_exact"].as_f64() else {
            continue;
        };
        if case["kind"] != "mann_whitney" {
            continue;
        }
        let (x, y) = (numbers(&case["input"]["x"]), numbers(&case["input"]["y"]));
        let shift = Shift::new(&x, &y).expect("values");
        let excludes = |alpha: f64| {
            let interval = shift.interval(alpha);
            interval.is_some_and(|it| it.low > 0.0 || it.high < 0.0)
        };
        assert!(excludes(p * 1.000_001), "{}", case["id"]);
        assert!(!excludes(p * 0.999_999), "{}", case["id"]);
        samples += 1;
    }
    assert_eq!(samples, 4);
}

fn compute(kind: &str, input: &Value) -> Value {
    match kind {
        "signed_rank_hl" => {
            let d = numbers(&input["d"]);
            let alpha = number(&input["alpha"]);
            let ranks = SignedRank::new(&d).expect("differences");
            let interval = ranks.interval(alpha).expect("enough differences");
            assert!(interval.level >= 1.0 - alpha);
            json!({
                // SciPy's statistic is the smaller sum where the test is two-sided.
                "w_plus": ranks.positive(),
                "p_exact_two_sided": ranks.p_value(),
                "hl": ranks.estimate(),
                "w_crit": critical_value(d.len(), alpha).expect("enough differences").0,
                "ci": [interval.low, interval.high],
            })
        }
        "order_stat_quantile_ci" => {
            let mut x = numbers(&input["x"]);
            x.sort_by(f64::total_cmp);
            let p = number(&input["p"]);
            let interval = quantile_interval(&x, p, number(&input["alpha"]));
            json!({
                "rank_lo": interval.rank_low,
                "rank_hi": interval.rank_high,
                "lo": interval.low,
                "hi": interval.high,
                "coverage": interval.level,
                "estimate_type7": quantile(&x, p),
            })
        }
        "kendall_drift" => {
            let y = numbers(&input["y"]);
            let trend = kendall(&y).expect("values that differ");
            let points: Vec<(f64, f64)> = (0..).map(f64::from).zip(y).collect();
            json!({
                "tau": trend.tau,
                "p_exact": trend.p_value,
                "theil_sen_slope": theil_sen(&points),
            })
        }
        "mlperf_min_passing" => {
            let cases = input["cases"].as_array().expect("cases");
            let fewest = |case: &Value| {
                let over = case[0].as_u64().expect("a count");
                min_samples_within(over, number(&case[1]), number(&case[2]))
            };
            json!({ "h_min": cases.iter().map(fewest).collect::<Vec<_>>() })
        }
        "geomean_ratio" => {
            let mean = geometric_mean(&numbers(&input["log_ratios"]), &numbers(&input["se"]));
            let mean = mean.expect("models");
            json!({ "geomean_ratio": mean.ratio, "se_log": mean.standard_error })
        }
        "single_changepoint_sse" => {
            let split = split(&numbers(&input["y"]), 1).expect("values");
            json!({
                "k": split.at,
                "sse_split": split.squares,
                "sse_total": split.squares_unsplit,
            })
        }
        _ => panic!("nothing computes `{kind}`"),
    }
}
