//! What holds for any data.
#![expect(
    clippy::float_cmp,
    reason = "inputs are chosen so that both sides are computed exactly"
)]

use prony_metrics::statistics::drift::{kendall, split, theil_sen};
use prony_metrics::statistics::holm::Holm;
use prony_metrics::statistics::label_swap::{Cycle, label_swap};
use prony_metrics::statistics::quantile::{min_samples_within, quantile_interval};
use prony_metrics::statistics::shift::Shift;
use prony_metrics::statistics::{
    Decision, Evidence, Interval, LogRatios, Look, Rule, Sequential, SignedRank, quantile,
};
use proptest::collection::vec;
use proptest::prelude::{
    ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, proptest,
};

/// Log ratios around a difference, in multiples of 2^-20, so that sums of them are exact.
fn differences(most: usize) -> impl Strategy<Value = Vec<f64>> {
    let exact = |x: i32| f64::from(x) / f64::from(1 << 20);
    (-60_000..60_000, vec(-40_000..40_000, 1..=most)).prop_map(move |(shift, noise)| {
        noise
            .into_iter()
            .map(|noise| exact(noise + shift))
            .collect()
    })
}

fn negated(d: &[f64]) -> Vec<f64> {
    d.iter().map(|x| -x).collect()
}

fn rule(max_cycles: usize) -> Rule {
    Rule::new(2.0, max_cycles)
}

fn mirrored(decision: Decision) -> Decision {
    match decision {
        Decision::Faster => Decision::Slower,
        Decision::Slower => Decision::Faster,
        other => other,
    }
}

/// Whether `b` says of the negated differences what `a` says of the differences.
fn antisymmetric(a: &Look, b: &Look) -> bool {
    a.cycles == b.cycles
        && b.decision == mirrored(a.decision)
        && (a.estimate + b.estimate).abs() < 1e-6
        && a.within_margin == b.within_margin
}

/// Returns `true` if twice the differences and twice the margin give the same look at twice the numbers.
fn scales(d: &[f64]) -> bool {
    let sequential = Sequential::new(rule(30));
    let wider = Sequential::new(Rule {
        margin: 2.0 * rule(30).margin,
        ..rule(30)
    });
    let doubled: Vec<f64> = d.iter().map(|x| 2.0 * x).collect();
    let one = sequential.judge(&LogRatios(d.to_vec())).expect("cycles");
    let two = wider.judge(&LogRatios(doubled)).expect("cycles");
    let is_same = (one.decision, one.cycles) == (two.decision, two.cycles);
    is_same && (2.0 * one.estimate - two.estimate).abs() < 1e-6
}

#[test]
fn a_score_that_is_zero_at_several_places_scales_too() {
    assert!(scales(&[
        0.028_835_296_630_859_375,
        0.000_949_859_619_140_625,
        -0.025_809_288_024_902_344,
        0.036_965_370_178_222_656,
        0.016_692_161_560_058_594,
        0.032_835_960_388_183_594,
        0.028_762_817_382_812_5,
        0.027_261_734_008_789_063,
        -0.022_838_592_529_296_875,
    ]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn swapping_the_engines_swaps_the_verdict(d in differences(45)) {
        for most in [12, 30, 40] {
            let sequential = Sequential::new(rule(most));
            let there = sequential.judge(&LogRatios(d.clone())).expect("cycles");
            let back = sequential.judge(&LogRatios(negated(&d))).expect("cycles");
            prop_assert!(antisymmetric(&there, &back), "{there:?} {back:?}");
        }
    }

    #[test]
    fn a_common_factor_scales_the_look(d in differences(30)) {
        prop_assert!(scales(&d));
    }

    #[test]
    fn the_estimate_lies_among_the_numbers_and_the_stop_is_the_first(d in differences(40)) {
        let sequential = Sequential::new(rule(40));
        let look = sequential.judge(&LogRatios(d.clone())).expect("cycles");
        let earlier = LogRatios(d[..look.cycles - 1].to_vec());
        if let Some(earlier) = sequential.judge(&earlier) {
            prop_assert_eq!(earlier.decision, Decision::Continue);
        }
        if look.decision == Decision::Continue {
            prop_assert!(look.cycles == d.len() && d.len() < 40);
        }
        let (least, most) = d.iter().fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(*x), b.max(*x)));
        prop_assert!(least - 1e-6 <= look.estimate && look.estimate <= most + 1e-6);
    }

    #[test]
    fn positive_and_negative_ranks_make_up_all(d in differences(30)) {
        let ranks = SignedRank::new(&d).expect("differences");
        let all = d.len() * (d.len() + 1) / 2;
        prop_assert!(ranks.positive() + ranks.negative() <= all);
        let back = SignedRank::new(&negated(&d)).expect("differences");
        prop_assert_eq!(ranks.positive(), back.negative());
        prop_assert_eq!(ranks.p_value(), back.p_value());
        prop_assert!((0.0..=1.0).contains(&ranks.p_value()));
        // The test and the interval are two views of the same.
        if let Some(interval) = ranks.interval(0.05) {
            let excluded = interval.low > 0.0 || interval.high < 0.0;
            prop_assert_eq!(excluded, ranks.p_value() <= 0.05);
        }
    }

    #[test]
    fn one_model_is_judged_as_if_alone(d in differences(30)) {
        let evidence = LogRatios(d);
        let alone = Sequential::new(rule(30)).judge(&evidence);
        prop_assert_eq!(Holm::new(rule(30), 1).judge(&[&evidence]), [alone]);
    }

    #[test]
    fn of_several_models_none_wins_that_would_not_alone(
        models in vec(differences(30), 1..5),
    ) {
        let series: Vec<LogRatios> = models.into_iter().map(LogRatios).collect();
        let evidence: Vec<&dyn Evidence> = series.iter().map(|it| it as &dyn Evidence).collect();
        let most = Holm::new(rule(30), 4).judge(&evidence);
        let alone = Sequential::new(rule(30));
        let strictest = Sequential::new(Rule { alpha: rule(30).alpha / 4.0, ..rule(30) });
        for (look, d) in most.into_iter().zip(&series) {
            let wins = |look: Option<Look>| look.is_some_and(|it| it.decision.is_win());
            prop_assert!(!wins(look) || wins(alone.judge(d)));
            prop_assert!(wins(look) || !wins(strictest.judge(d)));
        }
    }

    #[test]
    fn quantile_estimates_lie_in_their_interval_and_in_the_data(
        mut x in vec(0.0_f64..100.0, 5..80),
        p in 0.05..0.95,
    ) {
        x.sort_by(f64::total_cmp);
        let interval = quantile_interval(&x, p, 0.05);
        prop_assert!(interval.level >= 0.95 - 1e-9);
        let (low, high) = (interval.low.unwrap_or(0.0), interval.high.unwrap_or(100.0));
        // A type 7 quantile may lie up to one rank off at the ends.
        let estimate = quantile(&x, p);
        prop_assert!(low <= estimate + 1e-12 && estimate <= high + 1e-12);
    }

    #[test]
    fn higher_percentiles_take_more_requests(over in 0_u64..4, p in 0.5..0.98) {
        prop_assert!(min_samples_within(over, p, 0.99) <= min_samples_within(over, p + 0.015, 0.99));
        prop_assert!(min_samples_within(over, p, 0.99) < min_samples_within(over + 1, p, 0.99));
    }

    #[test]
    fn a_trend_turns_with_the_series(y in vec(-100_i32..100, 2..50)) {
        let y: Vec<f64> = y.into_iter().map(f64::from).collect();
        let (there, back) = (kendall(&y), kendall(&negated(&y)));
        prop_assert_eq!(there.map(|it| it.p_value), back.map(|it| it.p_value));
        prop_assert_eq!(there.map(|it| it.tau), back.map(|it| -it.tau));
        if let Some(there) = there {
            prop_assert!((-1.0..=1.0).contains(&there.tau) && (0.0..=1.0).contains(&there.p_value));
        }
    }

    #[test]
    fn a_line_has_its_slope(slope in -100_i32..100, n in 2_i32..30) {
        let line: Vec<(f64, f64)> = (0..n).map(|t| (f64::from(t), f64::from(slope * t))).collect();
        prop_assert_eq!(theil_sen(&line), Some(f64::from(slope)));
    }

    #[test]
    fn no_split_is_better(y in vec(-100_i32..100, 2..40), other in any::<prop::sample::Index>()) {
        let y: Vec<f64> = y.into_iter().map(f64::from).collect();
        let best = split(&y, 1).expect("values");
        prop_assert!(best.squares <= best.squares_unsplit + 1e-9);
        let at = 1 + other.index(y.len() - 1);
        let cost = |part: &[f64]| {
            let mean = part.iter().sum::<f64>() / part.len() as f64;
            part.iter().map(|x| (x - mean).powi(2)).sum::<f64>()
        };
        prop_assert!(best.squares <= cost(&y[..at]) + cost(&y[at..]) + 1e-9);
    }

    #[test]
    fn exchanged_samples_turn_the_shift(x in vec(0_i32..50, 1..15), y in vec(0_i32..50, 1..15)) {
        let float = |x: &[i32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
        let (x, y) = (float(&x), float(&y));
        let shift = |x: &[f64], y: &[f64]| Shift::new(x, y).expect("values");
        let (there, back) = (shift(&x, &y), shift(&y, &x));
        prop_assert_eq!(there.estimate(), -back.estimate());
        // An error that is no p value of such samples.
        let ends = |shift: &Shift| shift.interval(0.0789).map(|it: Interval| (it.low, it.high));
        prop_assert_eq!(ends(&there), ends(&back).map(|(low, high)| (-high, -low)));
    }

    #[test]
    fn swapping_the_engines_turns_the_log_ratio_and_keeps_p(
        cycles in vec((vec(1.0_f64..2.0, 1..6), vec(1.0_f64..2.0, 1..6)), 1..10),
        seed in 0_u64..100,
    ) {
        let there: Vec<Cycle<'_>> = cycles
            .iter()
            .map(|(a, b)| Cycle { baseline: a, candidate: b })
            .collect();
        let back: Vec<Cycle<'_>> = cycles
            .iter()
            .map(|(a, b)| Cycle { baseline: b, candidate: a })
            .collect();
        let there = label_swap(&there, 0.9, 99, seed).expect("latencies");
        let back = label_swap(&back, 0.9, 99, seed).expect("latencies");
        prop_assert_eq!(there.log_ratio, -back.log_ratio);
        prop_assert_eq!(there.p_value, back.p_value);
        prop_assert!(0.01 <= there.p_value && there.p_value <= 1.0);
    }
}
