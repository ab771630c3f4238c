//! Reference cases, computed with other software (see the `source` of each).

use prony_metrics::statistics::aggregate::{Timing, decode_rate, throughput};
use prony_metrics::statistics::comparators::{
    Student, bootstrap, confidence_sequence, mann_whitney, sign_flip,
};
use prony_metrics::statistics::drift::{kendall, split, theil_sen};
use prony_metrics::statistics::holm::adjust;
use prony_metrics::statistics::models::geometric_mean;
use prony_metrics::statistics::quantile::{
    fewest_within, harrell_davis, maritz_jarrett, quantile, quantile_interval,
};
use prony_metrics::statistics::{Decision, Rule, Sequential, SignedRank, critical_value, mean};
use serde_json::{Value, json};
use std::collections::BTreeMap;

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
        let got = compute(kind, &case["input"]);
        assert!(
            same(&got, &case["expected"], number(&case["tol"])),
            "{}: {got}\nis not {}",
            case["id"],
            case["expected"]
        );
        *counts.entry(kind.to_owned()).or_insert(0) += 1;
    }
    assert_eq!(counts.values().sum::<i32>(), 47);
    assert_eq!(counts.len(), 14, "{counts:?}");
}

fn compute(kind: &str, input: &Value) -> Value {
    match kind {
        "paired_t_logratio_tost" => paired_t(input),
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
        "mann_whitney" => {
            let test = mann_whitney(&numbers(&input["x"]), &numbers(&input["y"])).expect("values");
            json!({
                "u1": test.u,
                "p_asymptotic": test.p_normal,
                "p_asymptotic_cc": test.p_corrected,
                "p_exact": test.p_exact(),
                "ties": test.ties,
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
                "estimate_hd": harrell_davis(&x, p),
                "maritz_jarrett_se": maritz_jarrett(&x, p),
            })
        }
        "holm" => {
            let adjusted = adjust(&numbers(&input["p"]));
            let alpha = number(&input["alpha"]);
            let reject: Vec<bool> = adjusted.iter().map(|p| *p <= alpha).collect();
            json!({ "adjusted": adjusted, "reject": reject })
        }
        "bootstrap_mean_ci" => {
            let resamples = input["min_resamples"].as_u64().expect("resamples") as usize;
            let alpha = 1.0 - number(&input["confidence"]);
            let intervals = bootstrap(&numbers(&input["d"]), alpha, 5 * resamples, 1);
            let intervals = intervals.expect("values that differ");
            let pair = |(low, high): (f64, f64)| json!([low, high]);
            json!({
                "bca": pair(intervals.bca),
                "percentile": pair(intervals.percentile),
                "studentized": pair(intervals.studentised),
            })
        }
        "sign_flip_mean" => json!({ "p_two_sided": sign_flip(&numbers(&input["d"]), 1) }),
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
                fewest_within(over, number(&case[1]), number(&case[2]))
            };
            json!({ "h_min": cases.iter().map(fewest).collect::<Vec<_>>() })
        }
        "conf_seq_t" => {
            let (g, alpha) = (number(&input["g"]), number(&input["alpha"]));
            let sequence = confidence_sequence(&numbers(&input["d"]), g, alpha).expect("values");
            json!({
                "log_e_value_at_0": sequence.log_e_value,
                "half_width": sequence.half_width,
            })
        }
        "throughput_aggregation" => aggregation(input),
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
        "group_sequential_signed_rank" => sequential(input),
        _ => panic!("nothing computes `{kind}`"),
    }
}

fn paired_t(input: &Value) -> Value {
    let (a, b) = (numbers(&input["a"]), numbers(&input["b"]));
    let d: Vec<f64> = a.iter().zip(&b).map(|(a, b)| (a / b).ln()).collect();
    let alpha = number(&input["alpha"]);
    let student = Student::new(&d).expect("values that differ");
    let (low, high) = student.interval(alpha);
    let narrow = student.interval(2.0 * alpha);
    let tost = student.equivalence(number(&input["margin_log"]));
    json!({
        "mean_log": student.mean,
        "se": student.standard_error,
        "t": student.t(),
        "df": student.degrees_of_freedom,
        "p_two_sided": student.p_value(),
        "ci95_log": [low, high],
        "ci95_ratio": [low.exp(), high.exp()],
        "ci90_log": [narrow.0, narrow.1],
        "tost_t_lower": tost.lower.0,
        "tost_p_lower": tost.lower.1,
        "tost_t_upper": tost.upper.0,
        "tost_p_upper": tost.upper.1,
        "tost_p": tost.p_value(),
    })
}

fn aggregation(input: &Value) -> Value {
    let (tokens, latencies) = (numbers(&input["out_tokens"]), numbers(&input["e2e_s"]));
    let first = numbers(&input["ttft_s"]);
    let requests: Vec<Timing> = tokens
        .iter()
        .zip(latencies)
        .zip(first)
        .map(|((tokens, latency_s), first_token_s)| Timing {
            prompt_tokens: 1,
            output_tokens: *tokens as u32,
            first_token_s,
            latency_s,
        })
        .collect();
    let rates: Vec<f64> = requests
        .iter()
        .map(|it| f64::from(it.output_tokens) / it.latency_s)
        .collect();
    let per_token: Vec<Option<f64>> = requests.iter().map(Timing::time_per_output_token).collect();
    json!({
        "ratio_of_sums": throughput(&requests),
        "mean_of_ratios": mean(&rates),
        "tpot_s": per_token,
        "decode_tok_s": decode_rate(&requests),
    })
}

fn sequential(input: &Value) -> Value {
    let rule = Rule {
        margin: number(&input["delta_log"]),
        alpha: number(&input["alpha_win"]),
        alpha_equivalent: number(&input["alpha_eq_two_sided"]),
        max_cycles: input["nmax"].as_u64().expect("a count") as usize,
    };
    let look = Sequential::new(rule).judge(&numbers(&input["d"]));
    let look = look.expect("cycles");
    let verdict = match look.decision {
        Decision::Faster => "a_faster",
        Decision::Slower => "b_faster",
        Decision::Equivalent => "equivalent",
        Decision::Continue => "continue",
        Decision::Inconclusive => "inconclusive",
    };
    let interval = look.interval.map(|it| [it.low, it.high]);
    let equivalent = look.interval_equivalent.map(|it| [it.low, it.high]);
    json!({
        "verdict": verdict,
        "within_margin": look.within_margin,
        "stop_n": look.cycles,
        "hl": look.estimate,
        "rci95": interval,
        "rci90": equivalent,
    })
}
