//! The rules of a verdict and the warnings, on data whose answer is known.

use prony_metrics::statistics::aggregate::{Block, length_mismatch, quantile_log_ratio};
use prony_metrics::statistics::drift::{kendall, split};
use prony_metrics::statistics::holm::Holm;
use prony_metrics::statistics::label_swap::{Cycle, RESAMPLES, label_swap};
use prony_metrics::statistics::mcnemar::mcnemar;
use prony_metrics::statistics::models::synchronous;
use prony_metrics::statistics::quantile::{min_samples_for_quantile, quantile_interval};
use prony_metrics::statistics::warnings::{
    Request, Warning, carry_over, outlier_sensitive, outliers, per_cycle, thermal_ramp,
    throttle_step,
};
use prony_metrics::statistics::{Decision, Rule, Sequential, pilot};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};
use statrs::distribution::{ContinuousCDF as _, Normal};

fn decision(d: &[f64], rule: Rule) -> (Decision, usize) {
    let look = Sequential::new(rule).judge(d).expect("cycles");
    (look.decision, look.cycles)
}

#[test]
fn the_first_winner_comes_at_9_cycles_and_the_first_equivalence_at_8() {
    let rule = Rule::new(2.0, 30);
    assert_eq!(Sequential::new(rule).first_look(), Some(8));
    assert_eq!(decision(&[0.1; 30], rule), (Decision::Faster, 9));
    assert_eq!(decision(&[-0.1; 30], rule), (Decision::Slower, 9));
    assert_eq!(decision(&[0.0; 30], rule), (Decision::Equivalent, 8));
    assert_eq!(decision(&[0.1; 8], rule), (Decision::Continue, 8));
    assert!(Sequential::new(rule).judge(&[]).is_none());
}

#[test]
fn a_verdict_stands_whatever_comes_after_it_and_nothing_comes_after_the_last_look() {
    let rule = Rule::new(2.0, 30);
    let mut d = vec![0.1; 9];
    d.extend([-0.2; 21]);
    assert_eq!(decision(&d, rule), (Decision::Faster, 9));
    // The last look would not name it any more.
    let last = Sequential::new(rule).look(&d).expect("cycles");
    assert_ne!(last.decision, Decision::Faster);

    let scattered: Vec<f64> = (0..30).map(|i| 0.02 * f64::from(i * 7 % 11 - 5)).collect();
    let more = [scattered.clone(), vec![0.5; 30]].concat();
    assert_eq!(decision(&more, rule), (Decision::Inconclusive, 30));
    assert_eq!(decision(&scattered, rule), (Decision::Inconclusive, 30));
}

#[test]
fn a_winner_may_lie_within_the_margin() {
    // Two cycles settle nothing at 12, so that equivalence cannot come first.
    let sequential = Sequential::new(Rule::new(2.0, 12));
    let look = sequential.look(&[0.01; 12]).expect("cycles");
    assert_eq!(look.decision, Decision::Faster);
    assert!(look.within_margin);
    let look = sequential.look(&[0.05; 12]).expect("cycles");
    assert!(look.decision == Decision::Faster && !look.within_margin);
}

#[test]
fn a_difference_of_exactly_zero_or_the_margin_supports_nothing() {
    let rule = Rule::new(2.0, 30);
    let mut d = vec![0.1; 9];
    d[4] = 0.0;
    assert_eq!(decision(&d, rule).0, Decision::Continue);
    for margin in [rule.margin, -rule.margin] {
        assert_eq!(decision(&[margin; 8], rule).0, Decision::Continue);
        let closer = margin * (1.0 - 1e-9);
        assert_eq!(decision(&[closer; 8], rule).0, Decision::Equivalent);
    }
}

#[test]
fn a_winner_makes_it_easier_for_the_other_models() {
    let two = Holm::new(Rule::new(2.0, 30), 2);
    let decisions = |models: &[&[f64]]| -> Vec<Option<Decision>> {
        let looks = two.judge(models);
        looks
            .iter()
            .map(|look| look.map(|it| it.decision))
            .collect()
    };
    let (going_on, faster) = (Some(Decision::Continue), Some(Decision::Faster));
    // At 0.04 a winner can be named at 9 cycles, at 0.02 only at 10.
    let late = [0.1; 9];
    assert_eq!(decisions(&[&late, &[0.0, 0.1, -0.1]]), [going_on, going_on]);
    assert_eq!(decisions(&[&late, &[0.1; 30]]), [faster, faster]);
    assert_eq!(decisions(&[&[0.1; 30], &late]), [faster, faster]);
    assert_eq!(decisions(&[&late, &[]]), [going_on, None]);
}

#[test]
fn mcnemar_is_a_fair_coin_on_what_differs() {
    let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "{got} is not {want}");
    near(mcnemar(1, 9), 22.0 / 1024.0);
    near(mcnemar(9, 1), 22.0 / 1024.0);
    near(mcnemar(0, 5), 2.0 / 32.0);
    near(mcnemar(0, 0), 1.0);
    near(mcnemar(3, 3), 1.0);
}

#[test]
fn a_percentile_is_shown_from_so_many_requests_on() {
    assert_eq!(min_samples_for_quantile(0.99), 459);
    assert_eq!(min_samples_for_quantile(0.9), 44);
    assert_eq!(min_samples_for_quantile(0.5), 7);
    let few: Vec<f64> = (0..100).map(f64::from).collect();
    let interval = quantile_interval(&few, 0.99, 0.05);
    assert_eq!((interval.rank_high, interval.high), (101, None));
    assert!(interval.low.is_some());
}

#[test]
fn a_shifted_quantile_is_found_and_a_shared_drift_is_not_mistaken_for_one() {
    let latencies: Vec<Vec<f64>> = (0..12_u32)
        .map(|cycle| {
            (0..10_u32)
                .map(|i| 1.0 + f64::from(cycle + i * 7 % 10) / 100.0)
                .collect()
        })
        .collect();
    let slower: Vec<Vec<f64>> = latencies
        .iter()
        .map(|cycle| cycle.iter().map(|it| 1.2 * it).collect())
        .collect();
    let cycles = |candidate: &'_ [Vec<f64>]| {
        latencies
            .iter()
            .zip(candidate)
            .map(|(baseline, candidate)| (baseline.clone(), candidate.clone()))
            .collect::<Vec<_>>()
    };
    let test = |pairs: &[(Vec<f64>, Vec<f64>)]| {
        let cycles: Vec<Cycle<'_>> = pairs
            .iter()
            .map(|(baseline, candidate)| Cycle {
                baseline,
                candidate,
            })
            .collect();
        label_swap(&cycles, 0.5, RESAMPLES, 1).expect("latencies")
    };
    let shifted = test(&cycles(&slower));
    assert!((shifted.log_ratio - 1.2_f64.ln()).abs() < 1e-12);
    assert!(shifted.p_value < 0.01, "{shifted:?}");
    assert!(test(&cycles(&latencies)).p_value > 0.99);
    assert!(label_swap(&[], 0.5, 10, 1).is_none());
}

/// Equal engines with cycles that differ more than requests do: how often the test of
/// the 90th percentile rejects at 5 %, of 400, when one is slower by `factor`.
fn rejections(factor: f64) -> usize {
    let mut random = Pcg64Mcg::seed_from_u64(3);
    let mut uniform = move || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let mut experiment = |seed: u64| {
        let cycles: Vec<[Vec<f64>; 2]> = (0..12)
            .map(|_| {
                let cycle = 1.0 + uniform();
                [1.0, factor].map(|factor| {
                    // Heavy tails, and a start's own luck.
                    let start = factor * cycle * (1.0 + 0.05 * uniform());
                    let request = || start * (1.0 + 0.05 / (0.01 + uniform()));
                    std::iter::repeat_with(request).take(6).collect()
                })
            })
            .collect();
        let cycles: Vec<Cycle<'_>> = cycles
            .iter()
            .map(|[baseline, candidate]| Cycle {
                baseline,
                candidate,
            })
            .collect();
        label_swap(&cycles, 0.9, 199, seed)
            .expect("latencies")
            .p_value
            <= 0.05
    };
    (0..400).filter(|seed| experiment(*seed)).count()
}

#[test]
fn a_quantile_seldom_differs_between_equal_engines() {
    // The 97.5 % point of Bin(400, 0.05).
    let wrong = rejections(1.0);
    assert!(wrong <= 29, "{wrong}");
    let right = rejections(2.0);
    assert!(right > 10 * wrong.max(1) && right > 200, "{right}");
}

#[test]
fn a_pilot_tells_how_long_it_takes_or_what_can_be_found() {
    let margin = 1.02_f64.ln();
    // Standard deviation `sd`, exactly.
    let pilot = |sd: f64| {
        let d = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0].map(|sign| sign * sd * (5.0_f64 / 6.0).sqrt());
        pilot::plan(&d, margin, 30).expect("six cycles")
    };
    for (sd, cycles) in [(0.01, 9.0), (0.02, 13.0), (0.03, 28.0)] {
        let plan = pilot(sd);
        assert!(
            (plan.expected_cycles.ceil() - cycles).abs() < 1e-9,
            "{plan:?}"
        );
        assert!((plan.standard_deviation - sd).abs() < 1e-12);
        assert!(plan.feasible);
    }
    let rough = pilot(0.1);
    assert!(!rough.feasible);
    assert!((rough.detectable - 0.1 * 0.4_f64.sqrt()).abs() < 1e-12);
    assert!(pilot::plan(&[0.1; 5], margin, 30).is_none());
}

/// A run of two equal engines on three questions, whose latencies are multiplied by `load`.
fn requests(cycles: u32, load: impl Fn(u32) -> f64) -> Vec<Request> {
    let mut requests = Vec::new();
    for cycle in 0..cycles {
        for (i, (question, engine)) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
            .into_iter()
            .enumerate()
        {
            let jitter = 1.0 + 0.002 * f64::from((cycle * 5 + i as u32 * 3) % 7);
            requests.push(Request {
                engine,
                question,
                cycle,
                at_s: f64::from(cycle) * 60.0 + i as f64,
                latency_s: (1.0 + question as f64)
                    * (1.0 + 0.5 * engine as f64)
                    * jitter
                    * load(cycle),
            });
        }
    }
    requests
}

#[test]
fn drift_is_named() {
    let calm = per_cycle(&requests(20, |_| 1.0));
    assert_eq!(calm.len(), 20);
    assert_eq!((thermal_ramp(&calm), throttle_step(&calm)), (None, None));

    let ramp = per_cycle(&requests(20, |cycle| (0.01 * f64::from(cycle)).exp()));
    let Some(Warning::ThermalRamp { change }) = thermal_ramp(&ramp) else {
        panic!("no ramp");
    };
    assert!((change - 0.19).abs() < 0.01, "{change}");

    let step = per_cycle(&requests(20, |cycle| if cycle < 15 { 1.0 } else { 1.1 }));
    let Some(Warning::ThrottleStep { shift, after }) = throttle_step(&step) else {
        panic!("no step");
    };
    assert_eq!(after, 15);
    assert!((shift - 1.1_f64.ln()).abs() < 0.01, "{shift}");
    // A single cycle is no step (but at either end, where it makes half of a side).
    let once = per_cycle(&requests(20, |cycle| if cycle == 10 { 1.1 } else { 1.0 }));
    assert_eq!(throttle_step(&once), None);
    let last = per_cycle(&requests(20, |cycle| if cycle == 19 { 1.04 } else { 1.0 }));
    assert_eq!(throttle_step(&last), None);
    assert_eq!((thermal_ramp(&[]), throttle_step(&[])), (None, None));
}

/// How many of `runs` runs of `cycles` cycles have a step, where cycles differ by 3 % and
/// the second half is slower by `shift`.
fn steps(runs: u32, cycles: u32, shift: f64) -> u32 {
    let mut random = Pcg64Mcg::seed_from_u64(u64::from(cycles));
    let mut uniform = move || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let normal = Normal::new(0.0, 0.03).expect("a distribution");
    let mut run = || {
        let mut cycle = |cycle: u32| {
            let noise = normal.inverse_cdf(uniform().max(1e-12));
            let slower = if cycle < cycles / 2 { 0.0 } else { shift };
            (f64::from(cycle), noise + slower)
        };
        let points: Vec<(f64, f64)> = (0..cycles).map(&mut cycle).collect();
        throttle_step(&points).is_some()
    };
    (0..runs).map(|_| u32::from(run())).sum()
}

#[test]
fn cycles_that_differ_anyway_are_no_step() {
    for cycles in [6, 12, 40] {
        // At most 1 % of them, and three standard errors of 2,000 runs.
        let named = steps(2000, cycles, 0.0);
        assert!(named <= 20 + 13, "{named} of 2000 with {cycles} cycles");
    }
    assert!(steps(200, 20, 0.1) >= 190);
}

#[test]
fn an_effect_of_the_order_is_named_and_one_of_the_engine_is_not() {
    let cycles = |d: fn(bool) -> f64| -> Vec<(bool, f64)> {
        (0..12)
            .map(|i| (i % 2 == 0, d(i % 2 == 0) + 0.0001 * f64::from(i)))
            .collect()
    };
    let Some(Warning::CarryOver { p_value }) =
        carry_over(&cycles(|first| if first { 0.03 } else { -0.03 }))
    else {
        panic!("no effect of the order");
    };
    assert!(p_value < 0.001);
    assert_eq!(carry_over(&cycles(|_| 0.03)), None);
    assert_eq!(carry_over(&[]), None);
    // Without both orders a difference of the engines would look like one of the order.
    let never_first: Vec<(bool, f64)> = (1..=12).map(|i| (false, f64::from(i) * 0.01)).collect();
    assert_eq!(carry_over(&never_first), None);
}

#[test]
fn sums_and_medians_must_agree() {
    use Decision::{Continue, Equivalent, Faster, Inconclusive};
    let named = Some(Warning::OutlierSensitive);
    assert_eq!(outlier_sensitive(Faster, Equivalent), named);
    assert_eq!(outlier_sensitive(Inconclusive, Equivalent), named);
    assert_eq!(outlier_sensitive(Faster, Faster), None);
    assert_eq!(outlier_sensitive(Continue, Inconclusive), None);
    assert_eq!(Warning::OutlierSensitive.flag().name(), "outlier_sensitive");
}

#[test]
fn outliers_are_counted() {
    // Quartiles 25 and 75: fences at -50 and 150, -125 and 225.
    let mut values: Vec<f64> = (0..=100).map(f64::from).collect();
    assert_eq!(outliers(&values), outliers(&[]));
    values.extend([160.0, -170.0, 170.0, -160.0]);
    let found = outliers(&values);
    assert_eq!((found.mild, found.far), (2, 2));
}

#[test]
fn trends_are_tested_also_with_ties_and_many_values() {
    assert!(kendall(&[1.0; 10]).is_none() && kendall(&[1.0]).is_none() && kendall(&[]).is_none());
    // By hand: 23 pairs rise, 1 falls, 4 are ties; the variance is (1176 - 18 - 66) / 18.
    let tied = kendall(&[1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 5.0, 4.0]).expect("a trend");
    assert!((tied.tau - 22.0 / (24.0_f64 * 28.0).sqrt()).abs() < 1e-12);
    assert!((tied.p_value - 0.004_73).abs() < 1e-5, "{}", tied.p_value);
    // A tie among many values makes it an approximation, which is then a good one.
    let mut y: Vec<f64> = (0..60)
        .map(|i| f64::from(i * 37 % 101) + 0.2 * f64::from(i))
        .collect();
    let exact = kendall(&y).expect("values").p_value;
    assert!(exact > 0.05, "{exact}");
    y[31] = y[30];
    let approximate = kendall(&y).expect("values").p_value;
    assert!((exact - approximate).abs() < 0.02, "{exact}, {approximate}");
    assert!(split(&[1.0, 2.0, 3.0], 2).is_none() && split(&[], 1).is_none());
}

#[test]
fn lengths_match_within_a_percent_and_models_share_their_cycles() {
    assert!(length_mismatch(100.0, 102.0) && !length_mismatch(100.0, 101.0));
    assert_eq!(synchronous(&[&[1.0, 3.0, 9.0], &[3.0, 5.0]]), [2.0, 4.0]);
}

#[test]
fn a_quantile_of_a_cycle_takes_ten_requests() {
    let (slow, fast) = ([2.0; 10], [1.0; 10]);
    let block = |baseline, candidate| Block {
        baseline,
        candidate,
    };
    assert_eq!(
        quantile_log_ratio(block(&slow, &fast), 0.9),
        Some(2.0_f64.ln())
    );
    assert_eq!(quantile_log_ratio(block(&slow, &fast[1..]), 0.9), None);
}
