//! Simulated experiments with the verdict and the cycle in which each must stop.

use flate2::read::GzDecoder;
use prony_metrics::statistics::aggregate::{Block, log_ratio, median_log_ratio};
use prony_metrics::statistics::{Decision, Rule, Sequential};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    delta_ratio: f64,
    alpha_win: f64,
    alpha_eq_two_sided: f64,
    sets: Vec<Set>,
}

#[derive(Deserialize)]
struct Set {
    name: String,
    design: String,
    nmax: usize,
    /// Engine of each visit of a cycle whose order bit is 0.
    pattern: Vec<u8>,
    requests_per_visit: usize,
    experiments: Vec<Experiment>,
}

#[derive(Deserialize)]
struct Experiment {
    /// Order bit of each cycle.
    o: String,
    /// Times of the requests of each cycle.
    t: Vec<Vec<f64>>,
    /// Verdict and cycle of `sum`, of `med`.
    e: (char, usize, char, usize),
}

/// The statistics `sum` and `med` of a cycle, above zero where engine 0 is faster.
fn statistics(set: &Set, order: u8, times: &[f64]) -> (f64, f64) {
    let mut engines = [Vec::new(), Vec::new()];
    for (visit, times) in set.pattern.iter().zip(times.chunks(set.requests_per_visit)) {
        engines[usize::from(visit ^ order)].extend_from_slice(times);
    }
    let [a, b] = &engines;
    let sum = log_ratio(1.0 / b.iter().sum::<f64>(), 1.0 / a.iter().sum::<f64>());
    // Resident: each block is ABBA. Reload: each question is asked once.
    let size = if set.design == "resident" { 2 } else { 1 };
    let blocks: Vec<Block<'_>> = b
        .chunks(size)
        .zip(a.chunks(size))
        .map(|(baseline, candidate)| Block {
            baseline,
            candidate,
        })
        .collect();
    (sum, median_log_ratio(&blocks).expect("blocks"))
}

#[test]
fn every_experiment_stops_where_it_must_with_the_verdict_it_must_have() {
    let data = include_bytes!("../data/paired-experiments.json.gz");
    let file: File = serde_json::from_reader(GzDecoder::new(&data[..])).expect("experiments");
    let mut verdicts = 0;
    for set in &file.sets {
        let sequential = Sequential::new(Rule {
            margin: file.delta_ratio.ln(),
            alpha: file.alpha_win,
            alpha_equivalent: file.alpha_eq_two_sided,
            max_cycles: set.nmax,
        });
        for (number, experiment) in set.experiments.iter().enumerate() {
            let (sum, med): (Vec<f64>, Vec<f64>) = experiment
                .o
                .bytes()
                .zip(&experiment.t)
                .map(|(order, times)| statistics(set, order - b'0', times))
                .unzip();
            let judge = |d: &[f64]| {
                let look = sequential.judge(d).expect("cycles");
                let verdict = match look.decision {
                    Decision::Faster => 'A',
                    Decision::Slower => 'B',
                    Decision::Equivalent => 'E',
                    Decision::Inconclusive => 'I',
                    Decision::Continue => '?',
                };
                (verdict, look.cycles)
            };
            let ((sum, sum_at), (med, med_at)) = (judge(&sum), judge(&med));
            let got = (sum, sum_at, med, med_at);
            assert_eq!(got, experiment.e, "{} {number}", set.name);
            verdicts += 2;
        }
    }
    assert_eq!(verdicts, 2 * 4 * 400);
}
