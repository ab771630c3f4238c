//! Vectors computed by hand, the definitions written out, and properties.

use super::divisive::Junction;
use super::energy::{Pairs, TwoSamples, arrangements};
use super::trend::{mann_kendall, slope};
use super::*;
use proptest::prelude::*;

/// `Q` of Matteson & James as it is written: scaled energy distance of two samples.
fn by_definition(one: &[f64], other: &[f64]) -> f64 {
    let (n, m) = (one.len() as f64, other.len() as f64);
    let cross: f64 = one
        .iter()
        .flat_map(|x| other.iter().map(move |y| (x - y).abs()))
        .sum();
    let within = |values: &[f64]| {
        let mut sum = 0.0;
        for (at, x) in values.iter().enumerate() {
            sum += values[at + 1..].iter().map(|y| (x - y).abs()).sum::<f64>();
        }
        let n = values.len() as f64;
        if n > 1.0 {
            sum / (n * (n - 1.0) / 2.0)
        } else {
            0.0
        }
    };
    n * m / (n + m) * (2.0 / (n * m) * cross - within(one) - within(other))
}

/// The best division by trying all.
fn best_by_definition(values: &[f64]) -> f64 {
    let mut best = f64::NEG_INFINITY;
    for end in 2..=values.len() {
        for index in 1..end {
            best = best.max(by_definition(&values[..index], &values[index..end]));
        }
    }
    best
}

/// The p value by trying every subset.
fn p_by_definition(one: &[f64], other: &[f64]) -> f64 {
    let all: Vec<f64> = one.iter().chain(other).copied().collect();
    let observed = by_definition(one, other);
    let (mut reached, mut number) = (0, 0);
    for mask in 0_u32..1 << all.len() {
        if mask.count_ones() as usize != other.len() {
            continue;
        }
        let of = |wanted: bool| {
            let chosen = all.iter().enumerate();
            let chosen = chosen.filter(|(at, _)| (mask >> at & 1 == 1) == wanted);
            chosen.map(|(_, value)| *value).collect::<Vec<f64>>()
        };
        number += 1;
        reached +=
            u32::from(by_definition(&of(false), &of(true)) >= observed - 1e-9 * observed.abs());
    }
    f64::from(reached) / f64::from(number)
}

/// Values that scatter without any pattern: multiples of the golden ratio, less their whole part.
fn scatter(count: usize, width: f64) -> Vec<f64> {
    let golden = (5_f64.sqrt() - 1.0) / 2.0;
    (1..=count)
        .map(|at| width * ((at as f64 * golden).fract() - 0.5))
        .collect()
}

fn step(before: usize, after: usize, by: f64) -> Vec<f64> {
    let mut values = scatter(before + after, 0.01);
    values[before..].iter_mut().for_each(|value| *value += by);
    values
}

#[test]
fn separated_samples_have_the_smallest_p_value_there_is() {
    // Of 20 ways to choose 3 of 6, this one and its mirror image are as far apart.
    let samples = TwoSamples::new(&[1.0, 2.0, 3.0], &[11.0, 12.0, 13.0]);
    let p_value = samples.p_value(STRONG, 1);
    assert!((p_value - 2.0 / 20.0).abs() < 1e-12, "{p_value}");
    assert_eq!(arrangements(20, 3), Some(1140));
    assert_eq!(arrangements(3, 20), None);
}

#[test]
fn equal_values_have_no_change_no_trend_and_no_suspicion() {
    let analysis = analyse(&[0.01; 60], &[], 0.0);
    assert_eq!(analysis.changes, []);
    assert_eq!(analysis.segments.len(), 1);
    assert_eq!(analysis.segments[0].trend, None);
    assert_eq!(analysis.suspicion, None);
    assert_eq!(analyse(&[], &[], 0.02).segments, []);
}

#[test]
fn a_step_is_found_where_it_is_with_three_runs_behind_it() {
    for behind in 3..=40 {
        let analysis = analyse(&step(30, behind, -0.03), &[], 0.02);
        let indices: Vec<usize> = analysis.changes.iter().map(|it| it.index).collect();
        assert_eq!(indices, [30], "{behind}");
        let change = analysis.changes[0];
        assert!((change.difference() + 0.03).abs() < 0.005, "{change:?}");
        assert!(change.p_value <= STRONG, "{change:?}");
        assert_eq!(analysis.suspicion, None, "{behind}");
    }
}

#[test]
fn before_that_it_is_suspected() {
    for (behind, needs) in [(1, 2), (2, 1)] {
        let analysis = analyse(&step(30, behind, -0.03), &[], 0.02);
        assert_eq!(analysis.changes, [], "{behind}");
        let suspicion = analysis.suspicion.expect("a suspicion");
        assert_eq!((suspicion.index, suspicion.needs), (30, needs));
        assert!((suspicion.difference + 0.03).abs() < 0.01);
    }
    // With fewer before it, more are needed.
    let suspicion = analyse(&step(10, 2, -0.03), &[], 0.02).suspicion;
    assert_eq!(suspicion.expect("a suspicion").needs, 2);
    assert_eq!(analyse(&step(30, 2, -0.015), &[], 0.02).suspicion, None);
}

#[test]
fn two_steps_are_two_changes_also_in_a_long_history() {
    let mut values = step(70, 80, -0.04);
    values[110..].iter_mut().for_each(|value| *value += 0.04);
    let found: Vec<usize> = changes(&values, &[], 0.02)
        .iter()
        .map(|it| it.index)
        .collect();
    assert_eq!(found, [70, 110]);
}

#[test]
fn a_step_within_the_margin_is_none() {
    assert_eq!(changes(&step(30, 30, -0.015), &[], 0.02), []);
    assert_eq!(changes(&step(30, 30, -0.015), &[], 0.01).len(), 1);
}

#[test]
fn the_error_of_a_bridge_is_no_change() {
    let values = step(30, 30, -0.025);
    let junction = |variance| {
        [Junction {
            index: 30,
            variance,
        }]
    };
    assert_eq!(changes(&values, &junction(0.0), 0.02).len(), 1);
    assert_eq!(changes(&values, &junction(0.01_f64.powi(2)), 0.02), []);
}

#[test]
fn a_rising_series_has_the_trend_of_the_tables() {
    let values: Vec<f64> = (0..12).map(f64::from).collect();
    // S = 66, Var S = 12 · 11 · 29 / 18, z = 65 / 14.583
    let p_value = mann_kendall(&values);
    assert!((p_value - 8.303e-6).abs() < 1e-9, "{p_value:e}");
    assert_eq!(trend(&values).map(|it| it.slope), Some(1.0));
    assert_eq!(trend(&values[..11]), None);
    // Tied: S = 0 has no z.
    assert!((mann_kendall(&[1.0, 1.0, 1.0]) - 1.0).abs() < 1e-12);
    // Three values at 1, then three at 2: S = 9, Var S = (6·5·17 - 2·3·2·11) / 18 = 21.
    let tied = mann_kendall(&[1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    assert!((tied - 0.080_857).abs() < 1e-5, "{tied}");
    // One wild value does not tilt the line.
    assert!((slope(&[0.0, 1.0, 2.0, 90.0, 4.0]) - 1.0).abs() < 1e-12);
}

#[test]
fn creeping_loss_is_a_trend_and_no_change_within_the_margin() {
    let values: Vec<f64> = scatter(24, 0.004)
        .iter()
        .zip(0..)
        .map(|(value, at)| value - 0.0005 * f64::from(at))
        .collect();
    let analysis = analyse(&values, &[], 0.02);
    assert_eq!(analysis.changes, []);
    let trend = analysis.segments[0].trend.expect("a trend");
    assert!((trend.slope + 0.0005).abs() < 0.0001, "{trend:?}");
}

#[test]
fn a_bridge_joins_the_runs_of_two_anchors() {
    let point = |anchor, log_ratio| Point { anchor, log_ratio };
    let points = [
        point("a", 0.10),
        point("a", 0.10),
        point("b", 0.04),
        point("b", 0.04),
    ];
    let apart = chain(&points, &[]);
    assert_eq!(apart.iter().map(|it| it.start).collect::<Vec<_>>(), [0, 2]);
    // b is faster than a by 0.06, found twice.
    let bridge = |from, to, log_ratio| Bridge {
        from,
        to,
        log_ratio,
        variance: 0.0004,
    };
    let bridges = [bridge("a", "b", 0.07), bridge("b", "a", -0.05)];
    let joined = chain(&points, &bridges);
    assert_eq!(joined.len(), 1);
    for value in &joined[0].values {
        assert!((value - 0.04).abs() < 1e-12, "{joined:?}");
    }
    let junction = joined[0].junctions[0];
    assert_eq!(junction.index, 2);
    assert!((junction.variance - 0.0002).abs() < 1e-12);
    // Over a third anchor, errors add up.
    let points = [point("a", 0.10), point("c", 0.0)];
    let joined = chain(&points, &[bridge("a", "b", 0.06), bridge("b", "c", 0.04)]);
    assert!((joined[0].values[0] - 0.0).abs() < 1e-12);
    assert!((joined[0].junctions[0].variance - 0.0008).abs() < 1e-12);
}

#[test]
fn an_interval_of_95_percent_is_3_92_deviations_wide() {
    let found = variance(-0.0392, 0.0, 0.95);
    assert!((found.sqrt() - 0.01).abs() < 1e-5, "{found}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_best_division_is_that_of_the_definition(values in prop::collection::vec(-5.0..5.0_f64, 2..14)) {
        let best = Pairs::new(values.len()).best(&values).expect("a division");
        prop_assert!((best.statistic - best_by_definition(&values)).abs() < 1e-9);
    }

    #[test]
    fn a_p_value_is_that_of_all_subsets(
        one in prop::collection::vec(-5.0..5.0_f64, 1..6),
        other in prop::collection::vec(-5.0..5.0_f64, 1..6),
    ) {
        let p_value = TwoSamples::new(&one, &other).p_value(STRONG, 1);
        prop_assert!((p_value - p_by_definition(&one, &other)).abs() < 1e-9);
    }

    #[test]
    fn another_scale_has_the_same_changes(by in -0.1..0.1_f64, factor in 0.25..4.0_f64) {
        let values = step(20, 20, -0.03);
        let scaled: Vec<f64> = values.iter().map(|value| by + factor * value).collect();
        let indices = |values: &[f64], margin| -> Vec<usize> {
            changes(values, &[], margin).iter().map(|it| it.index).collect()
        };
        prop_assert_eq!(indices(&scaled, 0.02 * factor), indices(&values, 0.02));
    }

    #[test]
    fn segments_cover_all_values_whatever_they_are(values in prop::collection::vec(-1.0..1.0_f64, 0..70)) {
        let analysis = analyse(&values, &[], 0.02);
        let mut end = 0;
        for segment in &analysis.segments {
            prop_assert_eq!(segment.range.start, end);
            prop_assert!(segment.range.end > end);
            end = segment.range.end;
        }
        prop_assert_eq!(end, values.len());
        for change in &analysis.changes {
            prop_assert!(change.difference().abs() >= 0.02 && change.p_value <= STRONG);
        }
    }
}

/// Values of a normal distribution by the quantiles of evenly spread numbers, in no order.
fn noise(number: usize) -> f64 {
    let share = (number as f64 * 0.618_034 + 0.5).fract().clamp(0.01, 0.99);
    0.006 * super::divisive::normal_quantile(share)
}

#[test]
fn one_wild_night_hides_no_change_and_makes_none() {
    for wild in [0.1_f64, 0.4, 1.0, -0.3, -0.5, -0.9] {
        for at in [0, 11, 29, 30, 45, 59] {
            let night = |number: usize, step: f64| {
                let level = if number < 30 { 0.0 } else { step };
                let broken = if number == at { wild.ln_1p() } else { 0.0 };
                level + noise(number) + broken
            };
            let flat: Vec<f64> = (0..60).map(|it| night(it, 0.0)).collect();
            let found = analyse(&flat, &[], 0.02);
            assert!(found.changes.is_empty(), "{wild} at {at}: {found:?}");
            let stepped: Vec<f64> = (0..60).map(|it| night(it, -0.03)).collect();
            let found = analyse(&stepped, &[], 0.02);
            let [change] = found.changes[..] else {
                panic!("{wild} at {at}: {found:?}");
            };
            assert!(change.index.abs_diff(30) <= 3, "{wild} at {at}: {change:?}");
            let off = change.difference() + 0.03;
            assert!(off.abs() < 0.004, "{wild} at {at}: {change:?}");
        }
    }
}

#[test]
fn a_change_is_not_wild_however_few_nights_show_it() {
    // All but equal before it: nothing is usual but one number.
    for after in 3..8 {
        let values: Vec<f64> = (0..20 + after)
            .map(|it| if it < 20 { 1e-9 * noise(it) } else { -0.04 })
            .collect();
        let found = analyse(&values, &[], 0.02);
        let [change] = found.changes[..] else {
            panic!("{after}: {found:?}");
        };
        assert_eq!(change.index, 20);
        assert!((change.difference() + 0.04).abs() < 1e-6, "{change:?}");
    }
}
