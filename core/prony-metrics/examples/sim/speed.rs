//! Time that a verdict takes on one core.

use crate::designs::{self, Loading, Setting};
use crate::machine::SCENARIOS;
use prony_metrics::statistics::level::CarryOver;
use prony_metrics::statistics::{Evidence, LogRatios, Rule, Sequential};
use std::time::Instant;

/// Runs of which the median is told.
const RUNS: u64 = 9;
/// Nothing is within it, so that no look but the last ends a run of equal engines.
const NO_MARGIN_PERCENT: f64 = 0.0;

/// Prints the times of all looks at 60 cycles and of the interval after them.
pub(crate) fn print(seed: u64) {
    println!(
        "Medians of {RUNS} runs of equal engines in the cloud, 60 cycles of 5 requests, in ms:"
    );
    println!(
        "{:<12}{:>12}{:>12}{:>12}",
        "", "last look", "all looks", "interval"
    );
    for name in ["level", "throughput"] {
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for run in 0..RUNS {
            let setting = Setting::new(SCENARIOS[2], Loading::Reload);
            let cycles = designs::interleaved(&setting, seed + run);
            let evidence: Box<dyn Evidence> = match name {
                "level" => Box::new(cycles.level(CarryOver::Removed)),
                _ => Box::new(LogRatios(cycles.sum.clone())),
            };
            let judge = Sequential::new(Rule::new(NO_MARGIN_PERCENT, 60));
            let started = Instant::now();
            let look = judge.judge(evidence.as_ref()).expect("there are cycles");
            let all = started.elapsed();
            let started = Instant::now();
            let interval = judge.interval(evidence.as_ref(), &look);
            let of_interval = started.elapsed();
            std::hint::black_box(interval);
            times[0].push(all.as_secs_f64() / look.cycles as f64);
            times[1].push(all.as_secs_f64());
            times[2].push(of_interval.as_secs_f64());
        }
        let median = |times: &mut Vec<f64>| {
            times.sort_by(f64::total_cmp);
            1e3 * times[times.len() / 2]
        };
        let [last, all, interval] = times.each_mut().map(median);
        println!("{name:<12}{last:>12.2}{all:>12.1}{interval:>12.1}");
    }
}
