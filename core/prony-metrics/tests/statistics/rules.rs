//! The rules of a verdict and the warnings, on data whose answer is known.

use prony_metrics::statistics::aggregate::{Block, length_mismatch, quantile_log_ratio};
use prony_metrics::statistics::drift::{kendall, split};
use prony_metrics::statistics::holm::Holm;
use prony_metrics::statistics::label_swap::{Cycle, RESAMPLES, label_swap};
use prony_metrics::statistics::mcnemar::mcnemar;
use prony_metrics::statistics::models::synchronous;
use prony_metrics::statistics::quantile::{min_samples_for_quantile, quantile_interval};
use prony_metrics::statistics::warnings::{
    Request, Warning, outlier_sensitive, outliers, per_cycle, thermal_ramp, throttle_step,
};
use prony_metrics::statistics::{Decision, Evidence, LogRatios, Rule, Sequential, pilot};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};
use statrs::distribution::{ContinuousCDF as _, Normal};

fn decision(d: &[f64], rule: Rule) -> (Decision, usize) {
    let evidence = LogRatios(d.to_vec());
    let look = Sequential::new(rule).judge(&evidence).expect("cycles");
    (look.decision, look.cycles)
}

/// Numbers around `middle` that differ by up to 1 % of `spread`, none of them equal.
fn around(middle: f64, spread: f64, cycles: usize) -> Vec<f64> {
    let place = |c: usize| (c as f64 * 0.618_033_988_749).fract() - 0.5;
    (0..cycles).map(|c| middle + spread * place(c)).collect()
}

#[test]
fn the_first_winner_comes_at_10_cycles_of_60_and_the_first_equivalence_at_9() {
    let rule = Rule::new(2.0, 60);
    assert_eq!(Sequential::new(rule).first_look(), Some(9));
    assert_eq!(
        decision(&around(0.1, 0.01, 60), rule),
        (Decision::Faster, 10)
    );
    assert_eq!(
        decision(&around(-0.1, 0.01, 60), rule),
        (Decision::Slower, 10)
    );
    assert_eq!(
        decision(&around(0.0, 0.01, 60), rule),
        (Decision::Equivalent, 9)
    );
    assert_eq!(
        decision(&around(0.1, 0.01, 9), rule),
        (Decision::Continue, 9)
    );
    assert!(
        Sequential::new(rule)
            .judge(&LogRatios(Vec::new()))
            .is_none()
    );
}

#[test]
fn a_verdict_stands_whatever_comes_after_it_and_nothing_comes_after_the_last_look() {
    let rule = Rule::new(2.0, 30);
    let mut d = around(0.1, 0.01, 9);
    d.extend(around(-0.2, 0.01, 21));
    assert_eq!(decision(&d, rule), (Decision::Faster, 9));

    let scattered: Vec<f64> = (0..30).map(|i| 0.02 * f64::from(i * 7 % 11 - 5)).collect();
    let more = [scattered.clone(), vec![0.5; 30]].concat();
    assert_eq!(decision(&more, rule), (Decision::Inconclusive, 30));
    assert_eq!(decision(&scattered, rule), (Decision::Inconclusive, 30));
}

#[test]
fn a_winner_may_lie_within_the_margin() {
    // At 12 cycles a winner can be named as soon as equivalence can.
    let rule = Rule::new(2.0, 12);
    let sequential = Sequential::new(rule);
    let look = sequential
        .judge(&LogRatios(around(0.01, 0.001, 12)))
        .expect("cycles");
    assert!(look.decision == Decision::Equivalent || look.within_margin);
    let far = LogRatios(around(0.05, 0.001, 12));
    let look = sequential.judge(&far).expect("cycles");
    assert!(look.decision == Decision::Faster && !look.within_margin);
}

#[test]
fn one_burst_decides_nothing_and_hides_nothing() {
    let rule = Rule::new(2.0, 40);
    // One visit was five times slower, for either engine.
    for burst in [1.6, -1.6] {
        let mut d = around(0.1, 0.01, 40);
        d[3] = burst;
        let (found, cycles) = decision(&d, rule);
        assert_eq!(found, Decision::Faster);
        assert!(cycles <= 12, "{cycles}");
        let mut d = around(0.0, 0.01, 40);
        d[3] = burst;
        assert_eq!(decision(&d, rule).0, Decision::Equivalent);
    }
}

#[test]
fn the_interval_says_what_the_decision_does() {
    for (middle, spread) in [
        (0.1, 0.01),
        (-0.05, 0.1),
        (0.0, 0.01),
        (0.0, 0.2),
        (0.03, 0.05),
    ] {
        let judge = Sequential::new(Rule::new(2.0, 40));
        let evidence = LogRatios(around(middle, spread, 40));
        let look = judge.judge(&evidence).expect("cycles");
        let Some(interval) = judge.interval(&evidence, &look) else {
            assert!(!look.decision.is_win());
            continue;
        };
        assert!(interval.low <= look.estimate && look.estimate <= interval.high);
        let what = format!("{middle}, {spread}: {look:?}, {interval:?}");
        assert_eq!(
            interval.low >= 0.0,
            look.decision == Decision::Faster,
            "{what}"
        );
        assert_eq!(
            interval.high <= 0.0,
            look.decision == Decision::Slower,
            "{what}"
        );
        let inner = judge.interval_equivalent(&evidence, &look);
        let margin = judge.rule().margin;
        let inside = inner.is_some_and(|it| it.low >= -margin && it.high <= margin);
        assert_eq!(inside, look.within_margin, "{what}, {inner:?}");
    }
}

#[test]
fn a_winner_makes_it_easier_for_the_other_models() {
    let two = Holm::new(Rule::new(2.0, 30), 2);
    let decisions = |models: &[&[f64]]| -> Vec<Option<Decision>> {
        let evidence: Vec<LogRatios> = models.iter().map(|d| LogRatios(d.to_vec())).collect();
        let evidence: Vec<&dyn Evidence> = evidence.iter().map(|it| it as &dyn Evidence).collect();
        let looks = two.judge(&evidence);
        looks
            .iter()
            .map(|look| look.map(|it| it.decision))
            .collect()
    };
    let (going_on, faster) = (Some(Decision::Continue), Some(Decision::Faster));
    // At 0.04 a winner can be named at 9 cycles, at 0.02 only at 10.
    let (late, long) = (around(0.1, 0.01, 9), around(0.1, 0.01, 30));
    assert_eq!(decisions(&[&late, &[0.0, 0.1, -0.1]]), [going_on, going_on]);
    assert_eq!(decisions(&[&late, &long]), [faster, faster]);
    assert_eq!(decisions(&[&long, &late]), [faster, faster]);
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
    // Normal scores, with the standard deviation `sd`.
    let pilot = |sd: f64| {
        let d = [-1.35, 0.68, -0.21, 1.35, 0.21, -0.68].map(|score| score * sd / 0.967);
        pilot::plan(&LogRatios(d.to_vec()), margin, 30).expect("six cycles")
    };
    for (sd, cycles) in [(0.01, 9.0..=9.0), (0.02, 9.0..=16.0), (0.03, 24.0..=36.0)] {
        let plan = pilot(sd);
        assert!(cycles.contains(&plan.expected_cycles.ceil()), "{plan:?}");
        assert!((plan.standard_deviation / sd).ln().abs() < 0.15, "{plan:?}");
    }
    let rough = pilot(0.1);
    assert!(!rough.feasible && pilot(0.02).feasible);
    let detectable = rough.standard_deviation * 0.4_f64.sqrt();
    assert!((rough.detectable - detectable).abs() < 1e-12);
    assert!(pilot::plan(&LogRatios(vec![0.1; 5]), margin, 30).is_none());
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
