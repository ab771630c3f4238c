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
mod disturbed;
mod machine;
mod speed;
#[cfg(test)]
mod tests;

use comparators::Table;
use designs::{Answer, Loading, Setting};
use machine::{SCENARIOS, Scenario};
use prony_metrics::statistics::level::CarryOver;
use prony_metrics::statistics::{Decision, LogRatios};
use prony_result::{RunResult, to_log_ratio};
use std::process::ExitCode;

const USAGE: &str = "usage: sim [designs|disturbances|speed] [--quick] [--experiments N] [--seed N]
       sim judge [RESULT.json...]";

/// The difference that is to be found.
const DIFFERENCE: f64 = 0.02;
/// Threads that share the experiments.
const THREADS: usize = 2;
/// Experiments of `--quick`: enough to see that everything runs.
const QUICK: usize = 10;

/// Tables that can be made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tables {
    All,
    Designs,
    Disturbances,
    Speed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Options {
    tables: Tables,
    experiments: usize,
    seed: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("judge", files)) = arguments
        .split_first()
        .map(|(it, rest)| (it.as_str(), rest))
    {
        return judge(files);
    }
    let Some(options) = options(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    if options.tables == Tables::Speed {
        speed::print(options.seed);
        return ExitCode::SUCCESS;
    }
    println!(
        "{} experiments, seed {}; in %, ± one standard error of the simulation.\n\
         False: a winner among equal engines; unstopped: if `equivalent` ended no run.\n\
         Power: the right winner when one is 2 % faster; minutes: mean time until then.\n\
         Equal, cycles: share of equivalent verdicts and mean cycles, among equal engines.\n",
        options.experiments, options.seed
    );
    if options.tables != Tables::Disturbances {
        for scenario in SCENARIOS {
            println!(
                "{:<42}{:>12}{:>12}{:>13}{:>8}{:>8}{:>9}",
                scenario.name, "false", "unstopped", "power", "equal", "cycles", "minutes"
            );
            for row in table(scenario, options) {
                println!("  {row}");
            }
            println!();
        }
    }
    if options.tables != Tables::Designs {
        disturbed::print(options);
    }
    ExitCode::SUCCESS
}

/// Judges the first comparison of each result by the rule of before, and prints the verdict and
/// the cycles until then.
fn judge(files: &[String]) -> ExitCode {
    for file in files {
        let read = std::fs::read_to_string(file).map_err(Into::into);
        match read.and_then(|text| judged(&text)) {
            Ok((verdict, cycles)) => println!("{verdict} {cycles}"),
            Err(error) => {
                eprintln!("error: {file}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn judged(result: &str) -> Result<(&'static str, usize), Box<dyn std::error::Error>> {
    let result: RunResult = serde_json::from_str(result)?;
    let comparisons = result.models.first().map(|model| &model.comparisons);
    let comparison = comparisons.and_then(|it| it.first());
    let comparison = comparison.ok_or("it compares nothing")?;
    let margin = to_log_ratio(comparison.margin_percent);
    let (decision, cycles) = Table::judge(&comparison.cycle_log_ratios, margin);
    let verdict = match decision {
        Decision::Faster => "faster",
        Decision::Slower => "slower",
        Decision::Equivalent => "equivalent",
        Decision::Continue | Decision::Inconclusive => "inconclusive",
    };
    Ok((verdict, cycles))
}

fn options(arguments: &[String]) -> Option<Options> {
    let mut options = Options {
        tables: Tables::All,
        experiments: 1000,
        seed: 1,
    };
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match argument {
            "designs" => options.tables = Tables::Designs,
            "disturbances" => options.tables = Tables::Disturbances,
            "speed" => options.tables = Tables::Speed,
            "--quick" => options.experiments = QUICK,
            "--experiments" => {
                let count = arguments.next()?.parse();
                options.experiments = count.ok().filter(|count| *count > 0)?;
            }
            "--seed" => options.seed = arguments.next()?.parse().ok()?,
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
    /// Winners if `equivalent` ended no run.
    unstopped: usize,
    cycles: usize,
    minutes: f64,
}

impl Tally {
    fn count(&mut self, answer: Answer) {
        self.experiments += 1;
        self.cycles += answer.cycles;
        self.minutes += answer.minutes;
        self.unstopped += usize::from(answer.unstopped_win);
        match answer.decision {
            Decision::Faster => self.faster += 1,
            Decision::Slower => self.slower += 1,
            Decision::Equivalent => self.equivalent += 1,
            Decision::Continue | Decision::Inconclusive => {}
        }
    }

    fn add(&mut self, other: Self) {
        self.experiments += other.experiments;
        self.faster += other.faster;
        self.slower += other.slower;
        self.equivalent += other.equivalent;
        self.unstopped += other.unstopped;
        self.cycles += other.cycles;
        self.minutes += other.minutes;
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
        let unstopped = self.equal.percent(self.equal.unstopped);
        let power = self.faster.percent(self.faster.faster);
        write!(
            f,
            "{:<40}{false_winners:>12}{unstopped:>12}{power:>13}",
            self.design
        )?;
        // Designs that start each engine once know no equivalence.
        if self.equal.cycles > self.equal.experiments {
            let equivalent = 100.0 * self.equal.share(self.equal.equivalent);
            let cycles = self.equal.share(self.equal.cycles);
            write!(f, "{equivalent:>8.1}{cycles:>8.1}")?;
        }
        if self.faster.minutes > 0.0 {
            let minutes = self.faster.minutes / self.faster.experiments as f64;
            write!(f, "{minutes:>9.1}")?;
        }
        Ok(())
    }
}

/// All designs on one machine.
fn table(scenario: Scenario, options: Options) -> Vec<Row> {
    let mut rows = naive(scenario, options);
    rows.extend(resident(scenario, options));
    rows.extend(reload(scenario, options));
    rows
}

/// The answers of several designs to the same experiments, given a true difference as a log
/// ratio, and a seed.
fn rows<const N: usize>(
    names: [&'static str; N],
    options: Options,
    run: impl Fn(f64, u64) -> [Answer; N] + Sync,
) -> Vec<Row> {
    let equal = tally(options, |seed| run(0.0, seed));
    let faster = tally(options, |seed| run(DIFFERENCE.ln_1p(), seed));
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

/// Counts the answers of several designs to the experiments, given a seed.
fn tally<const N: usize>(options: Options, run: impl Fn(u64) -> [Answer; N] + Sync) -> [Tally; N] {
    let share = |from: usize| {
        let mut tallies = [Tally::default(); N];
        for experiment in (from..options.experiments).step_by(THREADS) {
            let seed = (options.seed << 32) + experiment as u64;
            for (tally, answer) in tallies.iter_mut().zip(run(seed)) {
                tally.count(answer);
            }
        }
        tallies
    };
    std::thread::scope(|scope| {
        let share = &share;
        let threads: Vec<_> = (0..THREADS)
            .map(|from| scope.spawn(move || share(from)))
            .collect();
        let mut tallies = [Tally::default(); N];
        for thread in threads {
            let share = thread.join().expect("no simulation panics");
            for (tally, share) in tallies.iter_mut().zip(share) {
                tally.add(share);
            }
        }
        tallies
    })
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

/// Designs that alternate, with both engines loaded within a cycle.
fn resident(scenario: Scenario, options: Options) -> Vec<Row> {
    let names = [
        "resident, 12 cycles, percentile bootstrap",
        "resident, 12 cycles, paired t",
        "resident, 12 cycles, signed ranks",
        "resident, signed ranks at 5 % every cycle",
        "resident, prony: medians, 30",
    ];
    let setting = Setting::new(scenario, Loading::Resident);
    rows(names, options, |difference, seed| {
        let cycles = designs::interleaved(&setting.with(difference), seed);
        [
            designs::percentile_bootstrap(&cycles.sum, seed),
            designs::paired_t(&cycles.sum),
            designs::signed_rank(&cycles.sum),
            designs::peeking(&cycles.sum),
            cycles.sequential(&LogRatios(cycles.med.clone()), 30),
        ]
    })
}

/// Designs that alternate, in fresh starts.
fn reload(scenario: Scenario, options: Options) -> Vec<Row> {
    let names = [
        "reload, 12 cycles, percentile bootstrap",
        "reload, 12 cycles, paired t",
        "reload, 12 cycles, signed ranks",
        "reload, signed ranks at 5 % every cycle",
        "reload, table of signed ranks, 40",
        "reload, prony: throughput, 60",
        "reload, medians, 60",
        "reload, level, no carry-over, 40",
        "reload, prony: level, no carry-over, 60",
        "reload, level, 40",
        "reload, prony: level, 60",
    ];
    let setting = Setting::new(scenario, Loading::Reload);
    rows(names, options, |difference, seed| {
        let cycles = designs::interleaved(&setting.with(difference), seed);
        let [none, removed] = [CarryOver::None, CarryOver::Removed].map(|it| cycles.level(it));
        [
            designs::percentile_bootstrap(&cycles.sum, seed),
            designs::paired_t(&cycles.sum),
            designs::signed_rank(&cycles.sum),
            designs::peeking(&cycles.sum),
            cycles.table(),
            cycles.withstanding_number(&cycles.sum, 60),
            cycles.sequential(&LogRatios(cycles.med.clone()), 60),
            cycles.sequential(&none, 40),
            cycles.sequential(&none, 60),
            cycles.sequential(&removed, 40),
            cycles.withstanding(&removed, 60),
        ]
    })
}
