//! Advice on requests per visit, from noise of known size.

use prony_metrics::statistics::advice::{Effort, MAX_REQUESTS};
use prony_metrics::statistics::level::{CarryOver, Cycle, Level, Request, Visit};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};

/// A machine and its engines.
#[derive(Clone, Copy)]
struct Machine {
    requests: usize,
    request_s: f64,
    other_s: f64,
    request_noise: f64,
    visit_noise: f64,
    advantage: f64,
    /// Share of visits slowed by 20 %.
    bursts: f64,
}

const MACHINE: Machine = Machine {
    requests: 3,
    request_s: 2.0,
    other_s: 32.0,
    request_noise: 0.02,
    visit_noise: 0.01,
    advantage: 0.0,
    bursts: 0.0,
};

impl Machine {
    fn level(self, cycles: usize, seed: u64) -> Level {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let visit_s = self.other_s + self.requests as f64 * self.request_s;
        let of_cycles = (0..cycles).map(|c| {
            let baseline_first = share(&mut random) < 0.5;
            let mut visit = |k: usize| {
                let mut luck = self.visit_noise * normal(&mut random);
                if share(&mut random) < self.bursts {
                    luck += 0.2;
                }
                if (k == 1) == baseline_first {
                    luck -= self.advantage;
                }
                let requests = (0..self.requests).map(|question| {
                    let noise = luck + self.request_noise * normal(&mut random);
                    Request {
                        question,
                        tokens: 100,
                        first_s: None,
                        time_s: self.request_s
                            * (1.0 + 0.1 * (question % 3) as f64 - 0.1)
                            * noise.exp(),
                    }
                });
                Visit {
                    at_s: (2 * c + k) as f64 * visit_s,
                    control: None,
                    requests: requests.collect(),
                }
            };
            Cycle {
                baseline_first,
                is_followed: true,
                visits: [visit(0), visit(1)],
            }
        });
        Level::new(of_cycles.collect(), CarryOver::Removed)
    }

    fn effort(self, cycles: usize, seed: u64) -> Effort {
        Effort::new(&self.level(cycles, seed), cycles).expect("enough cycles")
    }
}

/// A number from 0 up to 1.
fn share(random: &mut Pcg64Mcg) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A normal value (Box & Muller 1958).
fn normal(random: &mut Pcg64Mcg) -> f64 {
    let (u, v) = (1.0 - share(random), share(random));
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[test]
fn noise_of_known_size_is_found() {
    for machine in [
        MACHINE,
        Machine {
            requests: 8,
            ..MACHINE
        },
        Machine {
            advantage: 0.1,
            ..MACHINE
        },
        Machine {
            bursts: 0.15,
            ..MACHINE
        },
        Machine {
            request_noise: 0.005,
            ..MACHINE
        },
    ] {
        let many = machine.effort(400, 1);
        let near = |what: &str, got: f64, want: f64, tolerance: f64| {
            assert!(
                (got / want - 1.0).abs() < tolerance,
                "{what}: {got}, not {want}"
            );
        };
        near(
            "requests",
            many.request_variance,
            machine.request_noise.powi(2),
            0.2,
        );
        near(
            "visits",
            many.visit_variance,
            machine.visit_noise.powi(2),
            0.5,
        );
        near("other", many.other_s, machine.other_s, 0.05);
        let ratio = machine.other_s / many.request_s;
        let want = ratio.sqrt() * machine.request_noise / machine.visit_noise;
        near("best", many.best(), want, 0.3);
    }
}

#[test]
fn a_number_off_by_a_factor_is_told_and_another_is_not() {
    // The best is 4 times 2: 8 requests.
    let few = |seed| {
        Machine {
            requests: 2,
            ..MACHINE
        }
        .effort(60, seed)
        .advice()
    };
    let told = (0..20)
        .filter_map(few)
        .filter(|it| (4..=20).contains(it))
        .count();
    assert!(told >= 15, "{told} of 20");
    let right = |seed| {
        Machine {
            requests: 8,
            ..MACHINE
        }
        .effort(60, seed)
        .advice()
    };
    assert_eq!((0..20).filter_map(right).count(), 0);
    // Requests hardly differ, so more of them tell nothing.
    let alike = Machine {
        requests: 40,
        request_noise: 0.005,
        ..MACHINE
    };
    let told: Vec<u32> = (0..20)
        .filter_map(|seed| alike.effort(60, seed).advice())
        .collect();
    assert!(
        told.len() == 20 && told.iter().all(|it| *it <= 8),
        "{told:?}"
    );
}

/// After few cycles only what is far off is told.
#[test]
fn few_cycles_tell_little() {
    let right = |seed| {
        Machine {
            requests: 8,
            ..MACHINE
        }
        .effort(6, seed)
        .advice()
    };
    let told = (0..100).filter_map(right).count();
    assert!(told <= 6, "{told} of 100");
    let alike = |seed| {
        let machine = Machine {
            requests: 100,
            request_noise: 0.002,
            ..MACHINE
        };
        machine.effort(6, seed).advice()
    };
    assert!((0..20).filter_map(alike).count() >= 18);
}

#[test]
fn what_cannot_be_told_is_not() {
    let none = |machine: Machine, cycles| Effort::new(&machine.level(cycles, 1), cycles);
    assert_eq!(
        none(
            Machine {
                requests: 1,
                ..MACHINE
            },
            20
        ),
        None
    );
    assert_eq!(
        none(
            Machine {
                request_noise: 0.0,
                visit_noise: 0.0,
                ..MACHINE
            },
            20
        ),
        None
    );
    assert_eq!(none(MACHINE, 0), None);
    let steady = Machine {
        visit_noise: 0.0,
        ..MACHINE
    }
    .effort(400, 3);
    assert!(steady.best() > 20.0 && steady.best() <= f64::from(MAX_REQUESTS));
}
