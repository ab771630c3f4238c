//! Runs without a last cycle against reference vectors, and what must hold of their bets.

use super::level::{bools, level, near, number, numbers};
use prony_metrics::statistics::bets::{e_values, first_look};
use prony_metrics::statistics::level::{CarryOver, Cycle, Level, Request, Visit};
use prony_metrics::statistics::orders::{FIRST_LOOK, Tail};
use prony_metrics::statistics::{Decision, Evidence, LogRatios, Rule, Sequential};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};
use serde_json::Value;

fn open(alpha: f64) -> Sequential {
    Sequential::new(Rule {
        alpha,
        open: true,
        ..Rule::new(2.0, 1000)
    })
}

#[test]
fn every_vector_agrees() {
    let read = |text: &str| serde_json::from_str::<Value>(text).expect("vectors");
    let given = read(include_str!("../data/level-vectors.json"));
    let wanted = read(include_str!("../data/bets-vectors.json"));
    let given = given["cases"].as_array().expect("cases");
    let wanted_cases = wanted["cases"].as_array().expect("cases");
    assert_eq!(wanted_cases.len(), 13);
    for want in wanted_cases {
        let name = want["name"].as_str().expect("a name");
        let is_same = |it: &&Value| it["kind"] == "verdict" && it["name"] == want["name"];
        let case = given.iter().find(is_same).expect("a case of this name");
        let evidence = level(case);
        let margin = number(&case["margin"]);
        let coins = bools(&case["baseline_first"]);
        let frozen = evidence.frozen(0.0);
        let g = numbers(&want["frozen"]);
        assert_eq!(frozen.len(), g.len(), "{name}");
        for ((signed, g), coin) in frozen.iter().zip(&g).zip(coins) {
            let signed = if coin { *signed } else { -signed };
            near(name, signed, *g, 1e-9 * g.abs() + 1e-12);
        }
        for (key, advantage, tail) in [
            ("both", 0.0, Tail::Both),
            ("low", -margin, Tail::Faster),
            ("high", margin, Tail::Slower),
        ] {
            let values = e_values(&evidence.frozen(advantage));
            let want = numbers(&want[key]);
            assert_eq!(values.len(), want.len(), "{name}");
            for (value, want) in values.iter().zip(want) {
                near(name, value.against(tail), want, 1e-7 * want);
            }
        }
        let look = open(number(&wanted["alpha"])).judge(&evidence);
        let look = look.expect("cycles");
        let (win, ends) = (want["win"].as_u64(), &want["equivalent"]);
        let equivalent = ends[0].as_u64().zip(ends[1].as_u64());
        let equivalent = equivalent.map(|(low, high)| low.max(high));
        let first = win.into_iter().chain(equivalent).min();
        assert_eq!(look.decision.is_conclusive(), first.is_some(), "{name}");
        assert_eq!(
            look.decision.is_win(),
            win.is_some() && win == first,
            "{name}"
        );
        let last = first.map_or(evidence.cycles(), |it| it as usize);
        assert_eq!(look.cycles, last, "{name}");
        if look.decision.is_win() {
            let is_faster = look.decision == Decision::Faster;
            assert_eq!(is_faster, look.estimate > 0.0, "{name}");
        }
        // Few cycles give none: their coins fall alike too often.
        let interval = open(0.04).interval(&evidence, &look);
        assert!(interval.is_some() || look.cycles < 16, "{name}");
        let without_zero = interval.is_some_and(|it| it.low >= 0.0 || it.high <= 0.0);
        assert_eq!(without_zero, look.decision.is_win(), "{name}: {interval:?}");
    }
}

/// All orders of coins in turn, over contributions `g`.
fn orders(g: &[f64]) -> impl Iterator<Item = Vec<f64>> {
    (0..1_u32 << g.len()).map(|order| {
        let of = |(c, g): (usize, &f64)| if order >> c & 1 == 1 { -g } else { *g };
        g.iter().enumerate().map(of).collect()
    })
}

/// Checks over all orders of the coins that no more of them than allowed ever name a winner,
/// and that the stakes are 1 in the mean after every cycle.
fn is_exact(g: &[f64], alpha: f64) -> Result<(), proptest::test_runner::TestCaseError> {
    let number = f64::from(1_u32 << g.len());
    let mut winners = 0.0;
    let mut sums = vec![(0.0, 0.0); g.len() + 1 - FIRST_LOOK];
    for signed in orders(g) {
        let values = e_values(&signed);
        let is_win = values
            .iter()
            .any(|it| it.against(Tail::Both) >= 1.0 / alpha);
        winners += f64::from(u8::from(is_win));
        for (sum, value) in sums.iter_mut().zip(values) {
            sum.0 += value.faster;
            sum.1 += value.slower;
        }
    }
    prop_assert!(winners <= alpha * number, "{winners} of {number}");
    for (faster, slower) in sums {
        prop_assert!((faster / number - 1.0).abs() < 1e-9, "{faster}");
        prop_assert!((slower / number - 1.0).abs() < 1e-9, "{slower}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn equal_engines_win_no_more_often_than_allowed(
        sizes in vec(0.1_f64..3.0, 6..=12),
        growth in 0.9_f64..1.6,
        alpha in 0.02_f64..0.2,
    ) {
        let growing = sizes.iter().zip(0..).map(|(size, c)| size * growth.powi(c));
        is_exact(&growing.collect::<Vec<f64>>(), alpha)?;
    }

    #[test]
    fn later_cycles_change_no_contribution(d in vec(-0.05_f64..0.05, 8..=30)) {
        let all = LogRatios(d.clone());
        let fewer = LogRatios(d[..d.len() - 2].to_vec());
        prop_assert_eq!(&all.frozen(0.01)[..d.len() - 2], &fewer.frozen(0.01)[..]);
        // What was decided stays decided.
        let before = open(0.2).judge(&fewer).expect("cycles");
        let after = open(0.2).judge(&all).expect("cycles");
        if before.decision.is_conclusive() {
            prop_assert_eq!(before, after);
        }
    }
}

#[test]
fn noise_that_grows_by_a_step_a_cycle_names_no_more_winners() {
    let growing: Vec<f64> = (1..=16).map(f64::from).collect();
    is_exact(&growing, 0.04).expect("exact");
    // All coins that fall alike do name one, so the test can fail.
    let values = e_values(&growing);
    assert!(values.iter().any(|it| it.faster > 25.0), "{values:?}");
    assert_eq!(first_look(0.04, Tail::Both), 9);
    assert_eq!(first_look(0.05, Tail::Faster), 8);
    let first = (6..).zip(&values).find(|(_, it)| it.faster > 50.0);
    assert!(first.is_some_and(|(n, _)| n >= 9), "{values:?}");
}

/// Cycles of visits at one distance, whose requests scatter by a few percent.
fn cycles(count: usize, advantage: f64) -> Vec<Cycle> {
    let mut state = 1_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24)
    };
    let mut cycle = |c: usize| {
        let baseline_first = random() < 0.5;
        let mut visit = |k: usize| Visit {
            at_s: (2 * c + k) as f64 * 30.0,
            control: None,
            requests: (0..3)
                .map(|question| {
                    let noise = 0.04 * (random() + random() - 1.0);
                    let is_candidate = (k == 1) == baseline_first;
                    let advantage = if is_candidate { advantage } else { 0.0 };
                    Request {
                        question,
                        tokens: 100,
                        first_s: None,
                        time_s: (noise - advantage).exp(),
                    }
                })
                .collect(),
        };
        Cycle {
            baseline_first,
            is_followed: true,
            visits: [visit(0), visit(1)],
        }
    };
    (0..count).map(&mut cycle).collect()
}

#[test]
fn a_level_is_frozen_with_the_next_cycle_whatever_the_order_was() {
    let all = cycles(150, 0.0);
    for carry_over in [CarryOver::Removed, CarryOver::None] {
        let fewer = Level::new(all[..140].to_vec(), carry_over);
        let level = Level::new(all.clone(), carry_over);
        let lag = level.lag();
        assert_eq!(lag, usize::from(carry_over == CarryOver::Removed));
        let (before, after) = (fewer.frozen(0.0), level.frozen(0.0));
        assert_eq!(before.len(), 140 - lag);
        assert_eq!(before, after[..140 - lag]);
        // Of equal engines the coins decide on signs alone.
        let mut turned = all.clone();
        for cycle in turned.iter_mut().step_by(3) {
            cycle.baseline_first = !cycle.baseline_first;
        }
        let turned = Level::new(turned, carry_over).frozen(0.0);
        for (c, (one, other)) in after.iter().zip(turned).enumerate() {
            let want = if c % 3 == 0 { -one } else { *one };
            assert!((other - want).abs() < 1e-15, "cycle {c}: {other}, {want}");
        }
    }
}

/// A difference too small for a few cycles is found by more, and a run goes beyond the
/// cycles for which there is a code.
#[test]
fn a_small_difference_takes_more_cycles() {
    let few = Level::new(cycles(40, 0.003), CarryOver::Removed);
    let look = open(0.04).judge(&few).expect("cycles");
    assert!(!look.decision.is_win(), "{look:?}");
    let narrow = Sequential::new(Rule {
        open: true,
        ..Rule::new(0.05, 1000)
    });
    let many = Level::new(cycles(240, 0.003), CarryOver::Removed);
    let look = narrow.judge(&many).expect("cycles");
    assert_eq!(look.decision, Decision::Faster);
    assert!(look.cycles > 40, "{look:?}");
    assert!((look.estimate - 0.003).abs() < 0.003, "{look:?}");
}
