//! Two results side by side: of two runs, or of two engines of one run.
//!
//! The comparison depends on how they were measured.
//!
//! - *paired*: the cycles of both were measured in turn, in both orders, with the same
//!   questions. Any drift of the machine then affects both, and the verdict is that of a
//!   run: [`sequential`](crate::statistics::sequential).
//! - *sequential*: one run after the other. In between, the machine may have become
//!   faster or slower, which no statistic can distinguish from the engines. The numbers
//!   are shown, and no winner is named.
//! - *two samples*: sequential runs for which the user vouches that the machine was
//!   equally fast in both. The cycles are then two independent samples, and the
//!   Mann-Whitney test with its interval decides whether one is shifted. It is exact for
//!   few cycles, assumes no distribution and tolerates single bad cycles, unlike a t
//!   test; swapping labels within a cycle is impossible, since cycles of different runs
//!   are not paired.
//!
//! Without the same work on the same machine there is no verdict.

mod differences;
mod side;
mod verdict;

use differences::of_runs;
use prony_result::to_percent;
use prony_result::{
    EngineResult, Interval, METRICS, Metric, ModelResult, RunResult, Statistic, Verdict,
};
use serde::Serialize;
use side::Side;

/// Options of a comparison.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// The engine of the base; without it, every engine common to both.
    pub base_engine: Option<String>,
    /// The engine of the candidate, if its name differs.
    pub candidate_engine: Option<String>,
    /// Differences up to this percentage count as none; defaults to the base's margin.
    pub margin_percent: Option<f64>,
    /// `true` if the machine is assumed to have been equally fast in both.
    pub assume_stable: bool,
    /// From the start of the base to the start of the candidate, in seconds; 0 for one
    /// run. `None` if unknown.
    pub offset_s: Option<f64>,
}

/// Basis on which two results are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Cycles measured in turn: a verdict as within a run.
    Paired,
    /// One run after the other, on a machine assumed to have been equally fast.
    TwoSamples,
    /// Not comparable: no verdict.
    Descriptive,
}

/// Two results side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Across {
    /// The result compared with.
    pub base: About,
    /// The result being compared.
    pub candidate: About,
    /// Differences between the runs as a whole.
    pub differences: Vec<Unlike>,
    /// The groups measured by both.
    pub pairs: Vec<Pair>,
    /// Groups measured by only one of them, a sentence each.
    pub left_out: Vec<String>,
}

/// Identity of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct About {
    /// Name of the run's folder.
    pub run: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Start time: RFC 3339, UTC.
    pub started_at: String,
}

/// A difference between two results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unlike {
    /// The property that differs.
    pub what: String,
    /// Value in the base.
    pub base: String,
    /// Value in the candidate.
    pub candidate: String,
    /// `true` if it rules out a verdict.
    pub forbids: bool,
}

impl Unlike {
    /// The difference as a sentence without a full stop.
    pub fn sentence(&self) -> String {
        let Self {
            what,
            base,
            candidate,
            forbids,
        } = self;
        let consequence = if *forbids { "; no verdict" } else { "" };
        format!("not the same {what}: {base} against {candidate}{consequence}")
    }
}

/// One engine of the base against one of the candidate, in one group: a model, matrix
/// point and `measure` stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// Label of the group.
    pub label: String,
    /// The engine of the base.
    pub base_engine: String,
    /// The engine of the candidate.
    pub candidate_engine: String,
    /// Differences within this group.
    pub differences: Vec<Unlike>,
    /// The metrics of both.
    pub metrics: Vec<MetricPair>,
    /// Basis of the comparison.
    pub basis: Basis,
    /// The verdict on the candidate; absent if the basis gives none.
    pub verdict: Option<Verdict>,
    /// Reason for the verdict, or for its absence.
    pub reason: String,
    /// Verdict and reason as a sentence without a full stop.
    pub sentence: String,
    /// Hodges-Lehmann estimate of the difference of the throughputs, in percent.
    pub difference_percent: Option<f64>,
    /// Confidence interval of the difference.
    pub interval: Option<Interval>,
    /// Differences up to this percentage count as none.
    pub margin_percent: f64,
    /// Cycles used, of the base and of the candidate.
    pub cycles: [u32; 2],
    /// `true` if the candidate is slower by more than the margin.
    pub regression: bool,
}

/// A metric in both results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricPair {
    /// Name in results.
    pub metric: &'static str,
    /// Title in tables, with statistic and unit; not part of the JSON.
    #[serde(skip)]
    pub title: String,
    /// Statistic of a distribution; absent for a plain number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistic: Option<&'static str>,
    /// Value in the base.
    pub base: Option<f64>,
    /// Value in the candidate.
    pub candidate: Option<f64>,
    /// Candidate's value over the base's, minus 1, in percent.
    pub difference_percent: Option<f64>,
}

/// Compares `candidate` with `base`. The error states what they do not have in common.
pub fn across(
    base: &RunResult,
    candidate: &RunResult,
    options: &Options,
) -> Result<Across, String> {
    let engines = engines(base, candidate, options)?;
    let differences = of_runs(base, candidate);
    let mut pairs = Vec::new();
    let mut left_out = Vec::new();
    for group in &base.models {
        let Some(other) = candidate.models.iter().find(|it| is_same(it, group)) else {
            left_out.push(format!("only the base has {}", group.label()));
            continue;
        };
        for (base_engine, candidate_engine) in &engines {
            match (group.engine(base_engine), other.engine(candidate_engine)) {
                (Some(one), Some(two)) => {
                    let sides = (
                        Side::new(base, group, one),
                        Side::new(candidate, other, two),
                    );
                    pairs.push(sides.0.against(&sides.1, &differences, options));
                }
                (Some(_), None) => left_out.push(format!(
                    "{}: `{candidate_engine}` was not measured in the candidate",
                    group.label()
                )),
                (None, Some(_)) => left_out.push(format!(
                    "{}: `{base_engine}` was not measured in the base",
                    group.label()
                )),
                (None, None) => {}
            }
        }
    }
    let unknown = candidate
        .models
        .iter()
        .filter(|it| !base.models.iter().any(|group| is_same(it, group)));
    left_out.extend(unknown.map(|it| format!("only the candidate has {}", it.label())));
    if pairs.is_empty() {
        let reasons: Vec<String> = left_out.into_iter().take(4).collect();
        return Err(format!(
            "they have nothing in common: {}",
            reasons.join("; ")
        ));
    }
    Ok(Across {
        base: about(base),
        candidate: about(candidate),
        differences,
        pairs,
        left_out,
    })
}

fn about(result: &RunResult) -> About {
    About {
        run: result.run.id.clone(),
        pipeline: result.run.name.clone(),
        started_at: result.run.started_at.clone(),
    }
}

fn is_same(one: &ModelResult, other: &ModelResult) -> bool {
    (&one.id, &one.cell, &one.measure) == (&other.id, &other.cell, &other.measure)
}

/// Returns `true` if both are of one run.
pub fn same_run(one: &RunResult, other: &RunResult) -> bool {
    let key = |it: &RunResult| {
        let run = &it.run;
        (
            run.id.clone(),
            run.started_at.clone(),
            run.pipeline_sha256.clone(),
        )
    };
    key(one) == key(other)
}

/// The engines to compare: one of the base, one of the candidate.
fn engines(
    base: &RunResult,
    candidate: &RunResult,
    options: &Options,
) -> Result<Vec<(String, String)>, String> {
    let names = |result: &RunResult| -> Vec<String> {
        let names = result.engines.iter().map(|engine| engine.name.clone());
        names.collect()
    };
    let (of_base, of_candidate) = (names(base), names(candidate));
    let list = |names: &[String]| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    };
    let known = |name: &str, names: &[String], what: &str| {
        if names.iter().any(|it| it == name) {
            Ok(())
        } else {
            Err(format!(
                "the {what} has no engine `{name}`; it has {}",
                list(names)
            ))
        }
    };
    let pairs: Vec<(String, String)> = match (&options.base_engine, &options.candidate_engine) {
        (Some(one), two) => {
            let two = two.as_ref().unwrap_or(one);
            known(one, &of_base, "base")?;
            known(two, &of_candidate, "candidate")?;
            vec![(one.clone(), two.clone())]
        }
        (None, Some(two)) => {
            known(two, &of_candidate, "candidate")?;
            let [one] = of_base.as_slice() else {
                return Err(format!(
                    "`{two}` is compared with which engine of the base? It has {}: name one by `--engine`",
                    list(&of_base)
                ));
            };
            vec![(one.clone(), two.clone())]
        }
        (None, None) => {
            if let ([one], [two]) = (of_base.as_slice(), of_candidate.as_slice()) {
                vec![(one.clone(), two.clone())]
            } else {
                let common = of_base.iter().filter(|name| of_candidate.contains(name));
                common.map(|name| (name.clone(), name.clone())).collect()
            }
        }
    };
    if pairs.is_empty() {
        return Err(format!(
            "no engine has the same name in both: the base has {}, the candidate {}; name them by `--engine` and `--candidate-engine`",
            list(&of_base),
            list(&of_candidate)
        ));
    }
    if same_run(base, candidate) && pairs.iter().all(|(one, two)| one == two) {
        return Err(format!(
            "both are the same run, so an engine would be compared with its own numbers: name two engines by `--engine` and `--candidate-engine`; there are {}",
            list(&of_base)
        ));
    }
    Ok(pairs)
}

fn metrics(base: &EngineResult, candidate: &EngineResult, are_valid: bool) -> Vec<MetricPair> {
    let pair = |metric: &Metric| {
        let median = Statistic::default();
        let value = |it| metric.value(it, Some(median));
        let (base, candidate) = (value(base), value(candidate));
        MetricPair {
            metric: metric.name,
            title: metric.short_heading(),
            statistic: metric.is_distribution().then(|| median.name()),
            base,
            candidate,
            difference_percent: base
                .zip(candidate)
                .filter(|(base, _)| are_valid && *base > 0.0)
                .map(|(base, candidate)| (candidate / base - 1.0) * 100.0),
        }
    };
    let compared = METRICS.iter().filter(|it| it.is_compared);
    compared.map(pair).collect()
}
