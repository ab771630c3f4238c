//! Two results side by side: of two runs, or of two engines of one run.
//!
//! What may be said of them depends on how they were measured.
//!
//! - *paired*: the cycles of both were measured in turn, in both orders, with the same
//!   questions. Then whatever the machine did, it did to both, and the verdict is that of a
//!   run: [`sequential`](crate::statistics::sequential).
//! - *sequential*: one run after the other. Between them the machine may have become faster
//!   or slower, which no statistic can tell from the engines. The numbers are shown, and no
//!   winner is named.
//! - *two samples*: sequential runs of which the user says that the machine was equally fast
//!   in both. Then the cycles are two independent samples, and the Mann-Whitney test with its
//!   interval says whether one is shifted. It is exact for few cycles, needs no distribution
//!   and bears single bad cycles, where a t test does neither; swapping labels within a cycle
//!   is not possible, since a cycle of one run has nothing to do with one of the other.
//!
//! Where the two did not do the same work on the same machine, no way gives a verdict.

mod differences;
mod side;
mod verdict;

use differences::of_runs;
use prony_result::{
    EngineResult, Interval, METRICS, Metric, ModelResult, RunResult, Statistic, Verdict,
};
use serde::Serialize;
use side::Side;

/// What is compared, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// The engine of the base; all that both have without it.
    pub base_engine: Option<String>,
    /// The engine of the candidate, if it has another name there.
    pub candidate_engine: Option<String>,
    /// Differences up to this many percent count as none; that of the base without it.
    pub margin_percent: Option<f64>,
    /// Whether the machine is taken to have been equally fast in both.
    pub assume_stable: bool,
    /// From the start of the base to the start of the candidate, in seconds; 0 for one run.
    /// Unknown without it.
    pub offset_s: Option<f64>,
}

/// How far two results can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Their cycles were measured in turn: a verdict as within a run.
    Paired,
    /// One after the other, on a machine that is taken to have been equally fast.
    TwoSamples,
    /// No verdict.
    Descriptive,
}

/// Two results side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Across {
    /// What the candidate is compared with.
    pub base: About,
    /// What is compared with it.
    pub candidate: About,
    /// What is not the same in both, as far as it is about the whole runs.
    pub differences: Vec<Unlike>,
    /// What both measured.
    pub pairs: Vec<Pair>,
    /// What only one of them measured, a sentence each.
    pub left_out: Vec<String>,
}

/// Which run it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct About {
    /// Name of the run's folder.
    pub run: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// RFC 3339, UTC.
    pub started_at: String,
}

/// Something that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unlike {
    /// What.
    pub what: String,
    /// In the base.
    pub base: String,
    /// In the candidate.
    pub candidate: String,
    /// Whether it forbids a verdict.
    pub forbids: bool,
}

impl Unlike {
    /// As a sentence without a full stop.
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

/// One engine of the base against one of the candidate, in one group: a model, matrix point and
/// `measure` stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// What the group is called.
    pub label: String,
    /// The engine of the base.
    pub base_engine: String,
    /// The engine of the candidate.
    pub candidate_engine: String,
    /// What is not the same in both here.
    pub differences: Vec<Unlike>,
    /// The numbers.
    pub metrics: Vec<MetricPair>,
    /// How far they can be compared.
    pub basis: Basis,
    /// The verdict on the candidate; absent if the basis gives none.
    pub verdict: Option<Verdict>,
    /// Why the verdict is what it is, or why there is none.
    pub reason: String,
    /// Both in words, a sentence without a full stop.
    pub sentence: String,
    /// Hodges-Lehmann estimate of the difference of the throughputs, in percent.
    pub difference_percent: Option<f64>,
    /// The interval that goes with it.
    pub interval: Option<Interval>,
    /// Differences up to this count as none, in percent.
    pub margin_percent: f64,
    /// Cycles of the base and of the candidate that it rests on.
    pub cycles: [u32; 2],
    /// Whether the candidate is slower, and not by less than the margin.
    pub regression: bool,
}

/// A metric of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricPair {
    /// Its name in results.
    pub metric: &'static str,
    /// Title in tables, with statistic and unit; not part of the JSON.
    #[serde(skip)]
    pub title: String,
    /// Which value of a distribution; absent for a plain number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistic: Option<&'static str>,
    /// In the base.
    pub base: Option<f64>,
    /// In the candidate.
    pub candidate: Option<f64>,
    /// Candidate's over the base's, minus 1, in percent.
    pub difference_percent: Option<f64>,
}

/// Puts `candidate` beside `base`. The error says what they do not have in common.
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
    (&one.id, &one.point, &one.measure) == (&other.id, &other.point, &other.measure)
}

/// Whether both are of one run.
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

/// Which engines are put side by side: that of the base and that of the candidate.
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

fn metrics(base: &EngineResult, candidate: &EngineResult) -> Vec<MetricPair> {
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
                .filter(|(base, _)| *base > 0.0)
                .map(|(base, candidate)| (candidate / base - 1.0) * 100.0),
        }
    };
    let compared = METRICS.iter().filter(|it| it.is_compared);
    compared.map(pair).collect()
}

/// A log ratio as a difference in percent.
fn percent(log_ratio: f64) -> f64 {
    log_ratio.exp_m1() * 100.0
}
