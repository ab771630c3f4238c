//! The orders of the coins, and the promise of the tests over them.

use prony_metrics::statistics::orders::{
    FIRST_LOOK, MAX_CYCLES, ORDERS, Tail, Test, budget, columns, first_look, scores,
};
use prony_metrics::statistics::{Evidence as _, LogRatios};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, prop_assert, proptest};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};

/// The sign that an order gives to the coin of a cycle.
fn turns(order: usize, cycle: usize) -> bool {
    (order & usize::from(columns()[cycle])).count_ones() % 2 == 1
}

/// Any number of columns are independent coins if no sum of some of them is zero.
#[test]
fn any_four_coins_are_independent() {
    let columns = columns();
    let mut sums = std::collections::HashSet::new();
    for (a, x) in columns.iter().enumerate() {
        assert_ne!(*x, 0);
        for (b, y) in columns.iter().enumerate().skip(a + 1) {
            // Two pairs with the same sum would be four dependent coins; a pair and a single
            // one, three.
            assert!(sums.insert(x ^ y), "{a}, {b}");
            assert!(!columns.contains(&(x ^ y)), "{a}, {b}");
        }
    }
    assert_eq!(sums.len(), MAX_CYCLES * (MAX_CYCLES - 1) / 2);
}

#[test]
fn any_fourteen_cycles_in_a_row_fall_in_every_way() {
    for start in 0..=MAX_CYCLES - 14 {
        let mut basis: Vec<u16> = Vec::new();
        for column in &columns()[start..start + 14] {
            let left = basis.iter().fold(*column, |x, b| x.min(x ^ b));
            assert_ne!(left, 0, "from cycle {start}");
            basis.push(left);
            basis.sort_unstable_by(|a, b| b.cmp(a));
        }
    }
}

#[test]
fn scores_are_the_sums_over_the_signs_and_have_the_moments_of_all_orders() {
    let mut random = Pcg64Mcg::seed_from_u64(3);
    let g: Vec<f64> = (0..60).map(|_| uniform(&mut random) - 0.5).collect();
    let size: f64 = g.iter().map(|g| g.abs()).sum();
    let unit = size / f64::from(1 << 30);
    let scores: Vec<f64> = scores(&g).iter().map(|it| f64::from(*it) * unit).collect();
    for order in [0, 1, 77, 8192, ORDERS - 1] {
        let sign = |c: usize| if turns(order, c) { -1.0 } else { 1.0 };
        let sum: f64 = g.iter().enumerate().map(|(c, g)| g * sign(c)).sum();
        assert!((scores[order] - sum).abs() < 1e-6, "{order}");
    }
    let moment = |power: i32| scores.iter().map(|t| t.powi(power)).sum::<f64>() / ORDERS as f64;
    let squares: f64 = g.iter().map(|g| g * g).sum();
    let fourths: f64 = g.iter().map(|g| g.powi(4)).sum();
    let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-6 * want.abs() + 1e-6);
    near(moment(1), 0.0);
    near(moment(2), squares);
    near(moment(4), 3.0 * squares * squares - 2.0 * fourths);
}

fn uniform(random: &mut Pcg64Mcg) -> f64 {
    f64::from(random.next_u32()) / f64::from(u32::MAX)
}

/// Share of all orders that a test over `sizes` would reject, each being the one that was.
/// The test knows nothing of the order, so its removals are those of any of them.
fn rejected(sizes: &[f64], alpha: f64, tail: Tail) -> usize {
    let mut test = Test::new(sizes.len(), alpha, tail);
    for n in 1..=sizes.len() {
        test.look(&sizes[..n]);
    }
    test.removed()
}

/// The case in which critical values for exchangeable sizes name 6.9 % instead of 4 %.
#[test]
fn noise_that_grows_names_no_more_winners() {
    for (cycles, alpha) in [(30, 0.04), (40, 0.04), (60, 0.04), (40, 0.05), (60, 0.008)] {
        let growing: Vec<f64> = (1..=cycles).map(f64::from).collect();
        let allowed = (alpha * ORDERS as f64).floor() as usize;
        for tail in [Tail::Both, Tail::Faster, Tail::Slower] {
            let rejected = rejected(&growing, alpha, tail);
            assert!(rejected <= allowed, "{cycles}, {alpha}: {rejected}");
            // What may be spent is nearly spent.
            assert!(
                rejected * 100 > allowed * 95,
                "{cycles}, {alpha}: {rejected}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_more_orders_are_removed_than_the_error_allows(
        sizes in vec(-1.0_f64..1.0, 6..70),
        steep in 0.0_f64..0.3,
        alpha in 0.001_f64..0.2,
    ) {
        let sizes: Vec<f64> = sizes
            .iter()
            .enumerate()
            .map(|(c, size)| size * (steep * c as f64).exp())
            .collect();
        for tail in [Tail::Both, Tail::Faster, Tail::Slower] {
            prop_assert!(rejected(&sizes, alpha, tail) <= (alpha * ORDERS as f64) as usize);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Numbers that are fitted anew at each look keep the promise, too: of all orders of the
    /// same data, each judged by itself, at most the allowed share is ever rejected.
    #[test]
    fn refitted_numbers_keep_the_error(d in vec(-0.05_f64..0.05, 12..24), alpha in 0.02_f64..0.1) {
        let most = d.len();
        let mut rejections = 0;
        let sample: Vec<usize> = (0..ORDERS).step_by(64).collect();
        for order in &sample {
            let turned = d.iter().enumerate();
            let turned = turned.map(|(c, d)| if turns(*order, c) { -d } else { *d });
            let evidence = LogRatios(turned.collect());
            let mut test = Test::new(most, alpha, Tail::Both);
            let mut looks = FIRST_LOOK..=most;
            rejections += usize::from(looks.any(|n| test.look(&evidence.signed(n, 0.0))));
        }
        // Of the orders a regular sample was tried, which varies as a random one at most.
        let expected = alpha * sample.len() as f64;
        prop_assert!(rejections as f64 <= expected + 4.5 * expected.sqrt() + 1.0, "{rejections}");
    }
}

#[test]
fn the_first_look_is_the_first_that_can_reject() {
    for (cycles, alpha) in [
        (12, 0.04),
        (30, 0.04),
        (40, 0.04),
        (60, 0.04),
        (60, 0.004),
        (100, 0.05),
    ] {
        for tail in [Tail::Both, Tail::Faster] {
            let mut test = Test::new(cycles, alpha, tail);
            let alike: Vec<f64> = (0..cycles).map(|c| 1.0 + 0.01 * c as f64).collect();
            let first = (1..=cycles).find(|n| test.look(&alike[..*n]));
            assert_eq!(
                first,
                first_look(cycles, alpha, tail),
                "{cycles}, {alpha}, {tail:?}"
            );
        }
    }
    assert_eq!(first_look(40, 0.04, Tail::Both), Some(9));
    assert_eq!(first_look(60, 0.04, Tail::Both), Some(10));
    assert_eq!(first_look(5, 0.1, Tail::Both), None);
    assert_eq!(budget(40, 0.04, 40), 655);
}

#[test]
fn equal_scores_and_no_scores_reject_nothing() {
    let mut test = Test::new(20, 0.5, Tail::Both);
    assert!(!(1..=20).any(|n| test.look(&vec![0.0; n])));
    assert!(!(1..=20).any(|n| test.look(&vec![f64::NAN; n])));
    assert_eq!(test.removed(), 0);
}
