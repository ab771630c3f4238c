//! The table of critical values against its generator, and the generator against
//! complete enumeration.

use crate::vectors::file;
use prony_metrics::statistics::boundaries::{Boundaries, Paths, bound, budget, generate};

const LOOKS: [usize; 6] = [12, 16, 20, 24, 30, 40];
const ALPHAS: [f64; 8] = [0.004, 0.005, 0.008, 0.01, 0.02, 0.04, 0.05, 0.1];
const PATHS: usize = 200_000;

/// What two simulations of a share `p`, of these paths and of the table's 400 000,
/// may differ by: 5 standard errors, as thousands of values are compared.
fn tolerance(p: f64) -> f64 {
    let variance = p * (1.0 - p) * (1.0 / PATHS as f64 + 1.0 / 400_000.0);
    5.0 * variance.sqrt()
}

fn critical(boundaries: &Boundaries, looks: usize) -> Vec<Option<usize>> {
    (1..=looks).map(|n| boundaries.critical(n)).collect()
}

#[test]
fn the_table_is_that_of_the_reference() {
    let file = file();
    let reference = file["gs_bounds_rho1_5"].as_object().expect("boundaries");
    assert_eq!(reference.len(), LOOKS.len() * ALPHAS.len());
    for looks in LOOKS {
        for alpha in ALPHAS {
            let want = &reference[&format!("nmax={looks},alpha={alpha}")]["crit"];
            let want: Vec<Option<usize>> = (1..=looks)
                .map(|n| want[n.to_string()].as_u64().map(|w| w as usize))
                .collect();
            let got = Boundaries::new(looks, alpha);
            assert_eq!(critical(&got, looks), want, "{looks} looks, {alpha}");
        }
    }
}

/// The critical values are the largest within the budget, given those before: exactly
/// on the paths that they were generated from, and those of the table, as far as
/// simulation can tell, on any. (Two tables from different paths differ where the
/// budget lies next to a critical value, and then in what follows.)
#[test]
fn the_generator_reproduces_the_table() {
    for looks in LOOKS {
        let paths = Paths::simulate(looks, PATHS, 20_260_801);
        for alpha in ALPHAS {
            let table = paths.spent(&Boundaries::new(looks, alpha));
            let generated = paths.spent(&generate(&paths, alpha));
            for n in 6..=looks {
                let what = format!("{looks} looks, {alpha}, look {n}");
                let allowed = budget(looks, alpha, n);
                let near = tolerance(allowed);
                let (table, generated) = (table[n - 1], generated[n - 1]);
                assert!(table.error <= allowed + near, "{what}: {table:?}");
                assert!(table.with_next > allowed - near, "{what}: {table:?}");
                assert!(generated.error <= allowed, "{what}: {generated:?}");
                assert!(generated.with_next > allowed, "{what}: {generated:?}");
            }
        }
    }
}

/// What is bounded without simulation errs no more than it may, and not so much less
/// that it would be useless.
#[test]
fn bounds_keep_to_the_error() {
    for looks in [12, 30] {
        let paths = Paths::simulate(looks, PATHS, 20_260_802);
        for alpha in [0.001, 0.01, 0.04] {
            let spent = paths.spent(&bound(looks, alpha));
            let what = format!("{looks} looks, {alpha}");
            for n in 6..=looks {
                let allowed = budget(looks, alpha, n);
                assert!(spent[n - 1].error <= allowed + tolerance(allowed), "{what}");
            }
            assert!(spent[looks - 1].error > alpha / 4.0, "{what}");
        }
    }
    // So small an error no run of 12 cycles attains: all of one sign are 2^-11.
    assert_eq!(bound(12, 0.0004).first(), None);
    assert!(bound(40, 0.0004).first().is_some());
}

/// The exact shares that `boundaries` have rejected by each look.
///
/// `W+` depends only on the signs in the order of size. With `n` differences there are
/// `2^n` such patterns, and the next one is put at each place with each sign equally
/// often.
fn enumerate(boundaries: &Boundaries, looks: usize) -> Vec<f64> {
    let mut alive = vec![1.0];
    let mut dead = 0.0;
    let mut shares = Vec::new();
    for n in 1..=looks {
        let mut next = vec![0.0; 1 << n];
        for (pattern, probability) in alive.iter().enumerate() {
            for place in 0..n {
                let low = pattern & ((1 << place) - 1);
                let high = (pattern >> place) << (place + 1);
                for sign in [0, 1 << place] {
                    next[high | sign | low] += probability / (2 * n) as f64;
                }
            }
        }
        if let Some(critical) = boundaries.critical(n) {
            for (pattern, probability) in next.iter_mut().enumerate() {
                let positive: usize = (1..=n).filter(|rank| pattern >> (rank - 1) & 1 == 1).sum();
                if positive.min(n * (n + 1) / 2 - positive) <= critical {
                    dead += *probability;
                    *probability = 0.0;
                }
            }
        }
        alive = next;
        shares.push(dead);
    }
    shares
}

#[test]
fn simulated_error_is_the_exact_error() {
    for looks in [12, 16] {
        let paths = Paths::simulate(looks, PATHS, 7);
        for alpha in ALPHAS {
            let boundaries = Boundaries::new(looks, alpha);
            let exact = enumerate(&boundaries, looks);
            for (simulated, exact) in paths.spent(&boundaries).iter().zip(&exact) {
                let what = format!("{looks} looks, {alpha}: {simulated:?} is not {exact}");
                assert!(
                    (simulated.error - exact).abs() <= tolerance(*exact),
                    "{what}"
                );
            }
            let spent = exact[looks - 1];
            assert!(
                spent <= alpha + tolerance(alpha),
                "{looks} {alpha}: {spent}"
            );
            // As much is spent as whole critical values allow.
            assert!(spent > 0.8 * alpha, "{looks} {alpha}: {spent}");
        }
    }
}

#[test]
fn what_the_table_lacks_is_generated() {
    let third = Boundaries::new(30, 0.04 / 3.0);
    for n in 1..=30 {
        let bounds = [0.01, 0.02].map(|alpha| Boundaries::new(30, alpha).critical(n));
        assert!(
            bounds[0] <= third.critical(n) && third.critical(n) <= bounds[1],
            "look {n}"
        );
    }
    // More looks than the table knows.
    let long = Boundaries::new(60, 0.04);
    assert_eq!(long.critical(8), None);
    assert!(long.critical(60) > Boundaries::new(40, 0.04).critical(40));
    assert_eq!(long.critical(61), None);
    // Five differences can reject nothing, however they lie.
    assert_eq!(Boundaries::new(5, 0.1).first(), None);
    assert_eq!(Boundaries::new(6, 0.04).critical(6), Some(0));
}
