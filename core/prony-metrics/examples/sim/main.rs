//! Simulation of how often a way of comparing two engines names a false winner, and how often it
//! finds a true one, on simulated machines.

#![allow(clippy::disallowed_methods, reason = "a program has arguments")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that prints a table"
)]

mod comparators;
mod designs;
mod machine;
#[cfg(test)]
mod tests;

use designs::{Answer, Loading};
use machine::{SCENARIOS, Scenario};
use prony_metrics::statistics::{Decision, Sequential};
use std::process::ExitCode;

const USAGE: &str = "usage: sim [--experiments N] [--seed N]";

/// The difference that is to be found.
const DIFFERENCE: f64 = 0.02;

#[derive(Clone, Copy)]
struct Options {
    experiments: usize,
    seed: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(options) = options(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    println!(
        "{} experiments, seed {}; in %, ± one standard error of the simulation.\n\
         False: a winner among equal engines. Power: the right winner when one is 2 % faster.\n\
         Equal, cycles: share of equivalent verdicts and mean cycles, among equal engines.\n",
        options.experiments, options.seed
    );
    // The machines know nothing of each other, nor do their random numbers.
    let tables: Vec<Vec<Row>> = std::thread::scope(|scope| {
        let threads: Vec<_> = SCENARIOS
            .iter()
            .map(|scenario| scope.spawn(move || table(*scenario, options)))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Vec<Row>>| {
            thread.join().expect("no simulation panics")
        };
        threads.into_iter().map(join).collect()
    });
    for (scenario, rows) in SCENARIOS.iter().zip(&tables) {
        println!(
            "{:<44}{:>12}{:>13}{:>8}{:>8}",
            scenario.name, "false", "power", "equal", "cycles"
        );
        for row in rows {
            println!("  {row}");
        }
        println!();
    }
    ExitCode::SUCCESS
}

fn options(arguments: &[String]) -> Option<Options> {
    let mut options = Options {
        experiments: 1000,
        seed: 1,
    };
    for pair in arguments.chunks(2) {
        let [name, value] = pair else { return None };
        match name.as_str() {
            "--experiments" => {
                options.experiments = value.parse().ok().filter(|count| *count > 0)?;
            }
            "--seed" => options.seed = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(options)
}

/// Outcome of one design.
struct Row {
    design: &'static str,
    /// Of equal engines.
    equal: Tally,
    /// Of a candidate that is faster.
    faster: Tally,
}

/// Counted answers.
#[derive(Clone, Copy, Default)]
struct Tally {
    experiments: usize,
    faster: usize,
    slower: usize,
    equivalent: usize,
    cycles: usize,
}

impl Tally {
    fn count(&mut self, answer: Answer) {
        self.experiments += 1;
        self.cycles += answer.cycles;
        match answer.decision {
            Decision::Faster => self.faster += 1,
            Decision::Slower => self.slower += 1,
            Decision::Equivalent => self.equivalent += 1,
            Decision::Continue | Decision::Inconclusive => {}
        }
    }

    fn wins(&self) -> usize {
        self.faster + self.slower
    }

    fn share(&self, count: usize) -> f64 {
        count as f64 / self.experiments as f64
    }

    /// A share in percent, with the standard error of a binomial one.
    fn percent(&self, count: usize) -> String {
        let share = self.share(count);
        let error = (share * (1.0 - share) / self.experiments as f64).sqrt();
        format!("{:.1} ± {:.1}", 100.0 * share, 100.0 * error)
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let false_winners = self.equal.percent(self.equal.wins());
        let power = self.faster.percent(self.faster.faster);
        write!(f, "{:<42}{false_winners:>12}{power:>13}", self.design)?;
        // Designs that start each engine once know no equivalence.
        if self.equal.cycles > self.equal.experiments {
            let equivalent = 100.0 * self.equal.share(self.equal.equivalent);
            let cycles = self.equal.share(self.equal.cycles);
            write!(f, "{equivalent:>8.1}{cycles:>8.1}")?;
        }
        Ok(())
    }
}

/// All designs on one machine.
fn table(scenario: Scenario, options: Options) -> Vec<Row> {
    let mut rows = naive(scenario, options);
    rows.extend(interleaved(scenario, options, Loading::Resident));
    rows.extend(interleaved(scenario, options, Loading::Reload));
    rows
}

/// The answers of several designs to the same experiments.
fn rows<const N: usize>(
    names: [&'static str; N],
    options: Options,
    run: impl Fn(f64, u64) -> [Answer; N],
) -> Vec<Row> {
    let tally = |difference: f64| {
        let mut tallies = [Tally::default(); N];
        for experiment in 0..options.experiments {
            let seed = (options.seed << 32) + experiment as u64;
            for (tally, answer) in tallies.iter_mut().zip(run(difference, seed)) {
                tally.count(answer);
            }
        }
        tallies
    };
    let (equal, faster) = (tally(0.0), tally(DIFFERENCE.ln_1p()));
    names
        .into_iter()
        .zip(equal)
        .zip(faster)
        .map(|((design, equal), faster)| Row {
            design,
            equal,
            faster,
        })
        .collect()
}

/// Designs that ask everything of one engine before the other.
fn naive(scenario: Scenario, options: Options) -> Vec<Row> {
    let names = [
        "A before B, 10 questions, totals by 1 %",
        "A before B, 40 requests, Welch's t",
        "A before B, 40 requests, Mann-Whitney",
        "A before B, 120 requests, Mann-Whitney",
        "A before B, 120 questions, paired t",
    ];
    rows(names, options, |difference, seed| {
        let run = |requests| designs::one_after_the_other(scenario, difference, requests, seed);
        let (few, some, many) = (run(10), run(40), run(120));
        [
            designs::smaller_total(&few),
            designs::welch(&some),
            designs::ranks(&some),
            designs::ranks(&many),
            designs::by_question(&many),
        ]
    })
}

/// Designs that alternate, in fresh starts.
fn interleaved(scenario: Scenario, options: Options, loading: Loading) -> Vec<Row> {
    let sequential = Sequential::new(designs::rule(loading));
    let names = match loading {
        Loading::Resident => [
            "resident, 12 cycles, percentile bootstrap",
            "resident, 12 cycles, paired t",
            "resident, 12 cycles, signed ranks",
            "resident, signed ranks at 5 % every cycle",
            "resident, prony, medians",
            "resident, prony",
        ],
        Loading::Reload => [
            "reload, 12 cycles, percentile bootstrap",
            "reload, 12 cycles, paired t",
            "reload, 12 cycles, signed ranks",
            "reload, signed ranks at 5 % every cycle",
            "reload, prony, medians",
            "reload, prony",
        ],
    };
    rows(names, options, |difference, seed| {
        let cycles = designs::interleaved(scenario, difference, loading, seed);
        [
            designs::percentile_bootstrap(&cycles.sum, seed),
            designs::paired_t(&cycles.sum),
            designs::signed_rank(&cycles.sum),
            designs::peeking(&cycles.sum),
            designs::sequential(&sequential, &cycles.med),
            designs::sequential(&sequential, &cycles.sum),
        ]
    })
}
