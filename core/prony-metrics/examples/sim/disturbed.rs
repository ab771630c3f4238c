//! Comparisons that are disturbed, by one thing at a time.

use crate::designs::{self, Answer, Loading, Setting};
use crate::machine::{Disturbances, Lengths, SCENARIOS};
use crate::{Options, Row, rows};
use prony_metrics::statistics::LogRatios;
use prony_metrics::statistics::level::CarryOver;

/// The designs that are compared.
const DESIGNS: [&str; 4] = [
    "table of ranks, 40",
    "medians, 60",
    "level, no carry-over, 60",
    "level, 60",
];

/// A disturbance, and the questions of a cycle.
pub(crate) struct Disturbed {
    pub(crate) name: &'static str,
    pub(crate) disturbances: Disturbances,
    pub(crate) questions: usize,
}

const NONE: Disturbances = Disturbances::NONE;

const fn disturbed(name: &'static str, disturbances: Disturbances) -> Disturbed {
    Disturbed {
        name,
        disturbances,
        questions: 5,
    }
}

const fn carry_over(name: &'static str, carry_over: [f64; 2]) -> Disturbed {
    disturbed(name, Disturbances { carry_over, ..NONE })
}

const fn lengths(name: &'static str, mean: [f64; 2], sampled: bool) -> Disturbed {
    let lengths = Some(Lengths { mean, sampled });
    disturbed(name, Disturbances { lengths, ..NONE })
}

impl Disturbed {
    /// Nothing tells the engines apart.
    #[cfg(test)]
    pub(crate) fn is_alike(&self) -> bool {
        let Disturbances {
            carry_over,
            noise,
            starts,
            lengths,
            pauses,
            failures,
            ..
        } = self.disturbances;
        let lengths = lengths.map_or([0.0; 2], |lengths| lengths.mean);
        let pairs = [carry_over, noise, starts, lengths, pauses, failures];
        pairs.iter().all(|[a, b]| a.total_cmp(b).is_eq())
    }
}

pub(crate) const DISTURBED: [Disturbed; 22] = [
    disturbed("none", NONE),
    carry_over("carry-over, candidate 0.5 %", [0.0, 0.005]),
    carry_over("carry-over, candidate 1 %", [0.0, 0.01]),
    carry_over("carry-over, candidate 3 %", [0.0, 0.03]),
    carry_over("carry-over, candidate 5 %", [0.0, 0.05]),
    carry_over("carry-over, candidate 10 %", [0.0, 0.1]),
    carry_over("carry-over, both 3 %", [0.03, 0.03]),
    disturbed(
        "second visit 2 % slower",
        Disturbances {
            order: 0.02,
            ..NONE
        },
    ),
    disturbed(
        "second visit 5 % slower",
        Disturbances {
            order: 0.05,
            ..NONE
        },
    ),
    disturbed(
        "noise grows 10 % a cycle",
        Disturbances {
            growth: 0.1,
            ..NONE
        },
    ),
    disturbed(
        "requests, candidate 3 % noisier",
        Disturbances {
            noise: [0.0, 0.03],
            ..NONE
        },
    ),
    disturbed(
        "starts, candidate 2 % noisier",
        Disturbances {
            starts: [0.0, 0.02],
            ..NONE
        },
    ),
    lengths("lengths by question, alike", [24.0, 24.0], false),
    lengths("lengths by question, unlike", [16.0, 48.0], false),
    lengths("lengths sampled, alike", [24.0, 24.0], true),
    lengths("lengths sampled, unlike", [16.0, 48.0], true),
    disturbed(
        "the same, carry-over of candidate 3 %",
        Disturbances {
            carry_over: [0.0, 0.03],
            lengths: Some(Lengths {
                mean: [16.0, 48.0],
                sampled: true,
            }),
            ..NONE
        },
    ),
    disturbed(
        "5 % of candidate's requests x 1.5",
        Disturbances {
            pauses: [0.0, 0.05],
            ..NONE
        },
    ),
    disturbed(
        "2 % of requests fail",
        Disturbances {
            failures: [0.02, 0.02],
            ..NONE
        },
    ),
    disturbed(
        "10 % of cycles broken off",
        Disturbances {
            breaks: 0.01,
            ..NONE
        },
    ),
    Disturbed {
        name: "loads of 60 s, 10 requests",
        disturbances: Disturbances {
            load_s: 40.0,
            ..NONE
        },
        questions: 10,
    },
    Disturbed {
        name: "loads of 600 s, 20 requests",
        disturbances: Disturbances {
            load_s: 580.0,
            ..NONE
        },
        questions: 20,
    },
];

/// Prints the designs under each disturbance, on a calm machine, on a laptop and in the cloud.
pub(crate) fn print(options: Options) {
    println!("False, unstopped / power, in %.");
    for scenario in [0, 1, 2] {
        print!("{:<40}", SCENARIOS[scenario].name);
        for design in DESIGNS {
            print!("{design:>26}");
        }
        println!();
        for disturbed in &DISTURBED {
            print!("  {:<38}", disturbed.name);
            for Row { equal, faster, .. } in run(scenario, disturbed, options) {
                let percent = |share: f64| 100.0 * share;
                let cell = format!(
                    "{:.1}, {:.1} / {:.1}",
                    percent(equal.share(equal.wins())),
                    percent(equal.share(equal.unstopped)),
                    percent(faster.share(faster.faster)),
                );
                print!("{cell:>26}");
            }
            println!();
        }
        println!();
    }
}

/// The designs under one disturbance.
pub(crate) fn run(scenario: usize, disturbed: &Disturbed, options: Options) -> Vec<Row> {
    rows(DESIGNS, options, |difference, seed| -> [Answer; 4] {
        let setting = Setting {
            disturbances: disturbed.disturbances,
            questions: disturbed.questions,
            ..Setting::new(SCENARIOS[scenario], Loading::Reload).with(difference)
        };
        let cycles = designs::interleaved(&setting, seed);
        let [none, removed] = [CarryOver::None, CarryOver::Removed].map(|it| cycles.level(it));
        [
            cycles.table(),
            cycles.sequential(&LogRatios(cycles.med.clone()), 60),
            cycles.sequential(&none, 60),
            cycles.withstanding(&removed, 60),
        ]
    })
}
