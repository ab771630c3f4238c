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

use crate::comparison::{MAX_DEGRADED, MIN_SUCCESS_RATE};
use crate::statistics::aggregate::length_mismatch;
use crate::statistics::comparators::Shift;
use crate::statistics::sequential::{ALPHA, ALPHA_EQUIVALENT, Decision, Rule, Sequential};
use crate::statistics::smallest_sample;
use prony_plugin_sdk::result::{
    Comparison, CycleResult, EngineInfo, EngineResult, Interval, ModelResult, Outcome, RunResult,
    Verdict, Workload,
};
use prony_plugin_sdk::words::{MISSING, count};
use serde::Serialize;
use std::collections::BTreeMap;

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

/// One engine of the base against one of the candidate, in one group: a model, cell and
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
    (&one.id, &one.cell, &one.measure) == (&other.id, &other.cell, &other.measure)
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

/// What is not the same, told once for the whole runs.
fn of_runs(base: &RunResult, candidate: &RunResult) -> Vec<Unlike> {
    let mut unlike = Differences::default();
    let machine = |result: &RunResult| {
        let it = &result.environment;
        let digest = match it.machine.as_str() {
            "" => "unknown",
            digest => digest,
        };
        format!(
            "{}, {}, {} ({digest})",
            it.cpu,
            count(it.cpus.into(), "CPU"),
            it.os
        )
    };
    // Without digests it cannot be said that they are the same.
    let (one, two) = (&base.environment.machine, &candidate.environment.machine);
    if one != two || one.is_empty() {
        unlike.add("machine", &machine(base), &machine(candidate), true);
    }
    let version = |result: &RunResult| result.prony_version.clone();
    unlike.note("version of prony", version(base), version(candidate));
    let outcome = |result: &RunResult| match result.run.outcome {
        Outcome::Completed => "completed",
        Outcome::Failed => "failed in part",
        Outcome::Interrupted => "interrupted",
        Outcome::Running => "still running",
    };
    let (one, two) = (outcome(base), outcome(candidate));
    unlike.note("outcome", one.to_owned(), two.to_owned());
    unlike.0
}

#[derive(Default)]
struct Differences(Vec<Unlike>);

impl Differences {
    fn add(&mut self, what: &str, base: &str, candidate: &str, forbids: bool) {
        self.0.push(Unlike {
            what: what.to_owned(),
            base: base.to_owned(),
            candidate: candidate.to_owned(),
            forbids,
        });
    }

    /// What a reader must know.
    fn note(&mut self, what: &str, base: String, candidate: String) {
        if base != candidate {
            self.add(what, &base, &candidate, false);
        }
    }

    /// What makes the work another one.
    fn forbid(&mut self, what: &str, base: String, candidate: String) {
        if base != candidate {
            self.add(what, &base, &candidate, true);
        }
    }
}

/// One of both.
struct Side<'a> {
    run: &'a RunResult,
    group: &'a ModelResult,
    engine: &'a EngineResult,
}

impl<'a> Side<'a> {
    fn new(run: &'a RunResult, group: &'a ModelResult, engine: &'a EngineResult) -> Self {
        Self { run, group, engine }
    }

    fn workload(&self) -> &Workload {
        let cell = self.group.cell.as_ref();
        let cell = cell.and_then(|id| self.run.cells.iter().find(|cell| cell.id == *id));
        cell.and_then(|cell| cell.workload.as_ref())
            .unwrap_or(&self.run.workload)
    }

    fn info(&self) -> Option<&EngineInfo> {
        let named = |info: &&EngineInfo| info.name == self.engine.engine;
        self.run.engines.iter().find(named)
    }

    fn plugin(&self) -> String {
        let Some(info) = self.info() else {
            return MISSING.to_owned();
        };
        let plugins = &self.run.plugins;
        let is_it = |it: &&prony_plugin_sdk::result::PluginInfo| {
            it.name == info.plugin && it.kind == prony_plugin_sdk::Kind::Engine
        };
        plugins.iter().find(is_it).map_or_else(
            || info.plugin.clone(),
            |it| {
                let digest: String = it.sha256.chars().take(8).collect();
                format!("{} {} ({}, {digest})", it.name, it.version, it.form)
            },
        )
    }

    /// Throughput by cycle; of those that count.
    fn throughputs(&self) -> BTreeMap<u32, f64> {
        let cycles = self.engine.by_cycle.iter();
        cycles
            .filter_map(|it| Some((it.cycle, it.output_tokens_per_sec?)))
            .filter(|(_, rate)| *rate > 0.0)
            .collect()
    }

    /// What forbids a verdict, whatever the other side is.
    fn obstacle(&self, what: &str) -> Option<String> {
        let EngineResult {
            success_rate,
            output_tokens_per_sec,
            by_cycle,
            ..
        } = self.engine;
        if let Some(reason) = self.run.invalid.first() {
            return Some(format!("the numbers of the {what} are not valid: {reason}"));
        }
        let rate = success_rate.unwrap_or_default();
        if rate < MIN_SUCCESS_RATE {
            return Some(format!(
                "only {:.1} % of the requests of the {what} succeeded; {:.0} % are needed",
                rate * 100.0,
                MIN_SUCCESS_RATE * 100.0
            ));
        }
        if output_tokens_per_sec.is_none() {
            return Some(format!(
                "the {what} does not say how many tokens it generated"
            ));
        }
        let good = self.throughputs().len();
        let degraded = by_cycle.len() - good;
        if degraded as f64 > MAX_DEGRADED * by_cycle.len() as f64 {
            return Some(format!(
                "{degraded} of {} of the {what} have a failure, or tokens that cannot be counted",
                count(by_cycle.len() as u64, "cycle")
            ));
        }
        let needed = smallest_sample(ALPHA);
        (good < needed).then(|| {
            format!(
                "{} of the {what}; an interval needs at least {needed}",
                count(good as u64, "cycle")
            )
        })
    }

    fn against(&self, other: &Self, of_runs: &[Unlike], options: &Options) -> Pair {
        let differences = self.differences(other);
        let margin_percent = options.margin_percent.unwrap_or_else(|| {
            let comparisons = [self.group, other.group].into_iter();
            let mut comparisons = comparisons.flat_map(|group| &group.comparisons);
            comparisons.next().map_or(2.0, |it| it.margin_percent)
        });
        let forbidden = of_runs.iter().chain(&differences).find(|it| it.forbids);
        let obstacle = forbidden
            .map(|it| format!("not the same {}", it.what))
            .or_else(|| self.obstacle("base"))
            .or_else(|| other.obstacle("candidate"))
            .or_else(|| self.lengths(other));
        let basis = if forbidden.is_some() {
            Basis::Descriptive
        } else if self.is_interleaved(other, options.offset_s) {
            Basis::Paired
        } else if options.assume_stable {
            Basis::TwoSamples
        } else {
            Basis::Descriptive
        };
        let found = match basis {
            Basis::Paired => self.paired(other, margin_percent),
            Basis::TwoSamples => self.two_samples(other, margin_percent),
            Basis::Descriptive => Found::default(),
        };
        // What the run itself says of the two stands.
        if let Some(said) = self
            .said(other)
            .filter(|it| (it.margin_percent - margin_percent).abs() < 1e-9)
        {
            return Pair {
                label: self.group.label(),
                base_engine: said.baseline.clone(),
                candidate_engine: said.candidate.clone(),
                differences,
                metrics: metrics(self.engine, other.engine),
                basis: Basis::Paired,
                verdict: Some(said.verdict),
                reason: said.reason.clone(),
                difference_percent: said.difference_percent,
                interval: said.interval,
                margin_percent,
                cycles: [said.cycles, said.cycles],
                regression: said.verdict == Verdict::Slower && !found.within_margin,
            };
        }
        let (verdict, reason) = match (basis, obstacle) {
            (Basis::Descriptive, Some(obstacle)) => (None, obstacle),
            (Basis::Descriptive, None) => (None, "sequential runs: descriptive only".to_owned()),
            (_, Some(obstacle)) => (Some(Verdict::Inconclusive), obstacle),
            (_, None) => (Some(found.verdict), found.reason(margin_percent)),
        };
        Pair {
            label: self.group.label(),
            base_engine: self.engine.engine.clone(),
            candidate_engine: other.engine.engine.clone(),
            differences,
            metrics: metrics(self.engine, other.engine),
            basis,
            verdict,
            reason,
            difference_percent: found.estimate.map(percent),
            interval: found.interval.map(|interval| Interval {
                low_percent: percent(interval.low),
                high_percent: percent(interval.high),
                level: interval.level,
            }),
            margin_percent,
            cycles: [self, other].map(|side| side.throughputs().len() as u32),
            regression: verdict == Some(Verdict::Slower) && !found.within_margin,
        }
    }

    /// The comparison of the two in their run, if they are of one run and it has it.
    fn said(&self, other: &Self) -> Option<&'a Comparison> {
        let is_it = |it: &&Comparison| {
            it.baseline == self.engine.engine && it.candidate == other.engine.engine
        };
        let found = self.group.comparisons.iter().find(is_it);
        found.filter(|_| same_run(self.run, other.run))
    }

    /// What is not the same, in the order of how much it matters.
    fn differences(&self, other: &Self) -> Vec<Unlike> {
        let mut unlike = Differences::default();
        let keys = differing(self.workload(), other.workload());
        if !keys.is_empty() {
            let told = format!("workload ({})", keys.join(", "));
            unlike.add(&told, "one", "another", true);
        }
        let model = |side: &Self| {
            let revision = side.group.revision.as_ref();
            side.group.sha256.as_ref().or(revision).cloned()
        };
        match (model(self), model(other)) {
            (Some(one), Some(two)) => unlike.forbid("model", one, two),
            (one, two) => {
                let told = |it: Option<String>| it.unwrap_or_else(|| "not pinned".to_owned());
                unlike.note("model", told(one), told(two));
            }
        }
        let sending = |side: &Self| {
            let it = side.group;
            let arrival = it.arrival.as_deref().unwrap_or("closed loop");
            format!(
                "{} after {} for warm-up, {} in flight, {arrival}{}",
                count(it.requests_per_visit.into(), "request"),
                it.warmup_requests,
                it.concurrency,
                it.seconds
                    .map_or_else(String::new, |it| format!(", {it} s"))
            )
        };
        unlike.forbid("way of sending", sending(self), sending(other));
        unlike.note("plugin", self.plugin(), other.plugin());
        let config = |side: &Self| side.info().map(|info| info.config.to_string());
        let told = |it: Option<String>| it.unwrap_or_else(|| MISSING.to_owned());
        unlike.note("engine config", told(config(self)), told(config(other)));
        let list = |names: &[String]| match names {
            [] => "not told".to_owned(),
            names => names.join(", "),
        };
        let (one, two) = (self.engine, other.engine);
        unlike.note(
            "engine version",
            list(&one.engine_versions),
            list(&two.engine_versions),
        );
        unlike.note(
            "served model",
            list(&one.served_models),
            list(&two.served_models),
        );
        let cache = |engine: &EngineResult| match engine.cached_tokens {
            0 => "no prompt tokens from it",
            _ => "prompt tokens from it",
        };
        let (one, two) = (cache(one).to_owned(), cache(two).to_owned());
        unlike.note("state of the prefix cache", one, two);
        unlike.0
    }

    /// Throughput says nothing where the answers differ in length.
    fn lengths(&self, other: &Self) -> Option<String> {
        let mean = |side: &Self| Some(side.engine.output_tokens_per_request?.mean);
        let (one, two) = (mean(self)?, mean(other)?);
        length_mismatch(one, two).then(|| {
            format!("answers have {one:.1} tokens in the base and {two:.1} in the candidate, so it is not the same work")
        })
    }

    /// Whether the cycles of both were measured in turn, one at a time, and in both orders.
    fn is_interleaved(&self, other: &Self, offset_s: Option<f64>) -> bool {
        if same_run(self.run, other.run) {
            return self.run.run.order == "interleaved";
        }
        let Some(offset_s) = offset_s else {
            return false;
        };
        let by_cycle = |side: &Self| -> BTreeMap<u32, CycleResult> {
            let cycles = side.engine.by_cycle.iter().cloned();
            cycles.map(|it| (it.cycle, it)).collect()
        };
        let (base, candidate) = (by_cycle(self), by_cycle(other));
        let mut end = f64::NEG_INFINITY;
        let (mut base_first, mut candidate_first) = (false, false);
        for (cycle, one) in &base {
            let Some(two) = candidate.get(cycle) else {
                // Of a run that was cut short.
                continue;
            };
            let (start, stop) = (two.start_s + offset_s, two.end_s + offset_s);
            if one.start_s.min(start) < end {
                return false;
            }
            if one.end_s <= start {
                base_first = true;
            } else if stop <= one.start_s {
                candidate_first = true;
            } else {
                return false;
            }
            end = one.end_s.max(stop);
        }
        base_first && candidate_first
    }

    fn paired(&self, other: &Self, margin_percent: f64) -> Found {
        let (base, candidate) = (self.throughputs(), other.throughputs());
        let ratios = base
            .iter()
            .filter_map(|(cycle, one)| Some((candidate.get(cycle)? / one).ln()));
        let ratios: Vec<f64> = ratios.collect();
        let planned = self.run.run.cycles.max(ratios.len() as u32) as usize;
        let rule = Sequential::new(Rule::new(margin_percent, planned));
        let Some(look) = rule.judge(&ratios) else {
            return Found::default();
        };
        Found {
            verdict: match look.decision {
                Decision::Faster => Verdict::Faster,
                Decision::Slower => Verdict::Slower,
                Decision::Equivalent => Verdict::Equivalent,
                Decision::Continue | Decision::Inconclusive => Verdict::Inconclusive,
            },
            estimate: Some(look.estimate),
            interval: look.interval,
            within_margin: look.within_margin,
        }
    }

    fn two_samples(&self, other: &Self, margin_percent: f64) -> Found {
        let logs = |side: &Self| -> Vec<f64> {
            let rates = side.throughputs().into_values();
            rates.map(f64::ln).collect()
        };
        let Some(shift) = Shift::new(&logs(self), &logs(other)) else {
            return Found::default();
        };
        let margin = (margin_percent / 100.0).ln_1p();
        let equivalent = shift.interval(ALPHA_EQUIVALENT);
        let within_margin = equivalent.is_some_and(|it| -margin < it.low && it.high < margin);
        let interval = shift.interval(ALPHA);
        Found {
            verdict: match interval {
                Some(interval) if interval.low > 0.0 => Verdict::Faster,
                Some(interval) if interval.high < 0.0 => Verdict::Slower,
                Some(_) if within_margin => Verdict::Equivalent,
                _ => Verdict::Inconclusive,
            },
            estimate: Some(shift.estimate()),
            interval,
            within_margin,
        }
    }
}

/// What a test says, in log ratios.
struct Found {
    verdict: Verdict,
    estimate: Option<f64>,
    interval: Option<crate::statistics::Interval>,
    /// Whether the interval for equivalence lies inside the margin.
    within_margin: bool,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            verdict: Verdict::Inconclusive,
            estimate: None,
            interval: None,
            within_margin: false,
        }
    }
}

impl Found {
    fn reason(&self, margin_percent: f64) -> String {
        match self.verdict {
            Verdict::Faster | Verdict::Slower if self.within_margin => format!(
                "the interval excludes zero, but the difference is less than {margin_percent} %"
            ),
            Verdict::Faster | Verdict::Slower => "the interval excludes zero".to_owned(),
            Verdict::Equivalent => {
                format!("the 90 % interval lies inside ±{margin_percent} %")
            }
            Verdict::Inconclusive => {
                "the interval contains both no difference and a difference that counts".to_owned()
            }
        }
    }
}

/// The keys of a workload that are not the same.
fn differing(one: &Workload, other: &Workload) -> Vec<String> {
    let fields = |workload: &Workload| {
        let value = serde_json::to_value(workload).unwrap_or_default();
        value.as_object().cloned().unwrap_or_default()
    };
    let (one, other) = (fields(one), fields(other));
    let keys: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differ = keys
        .into_iter()
        .filter(|key| one.get(*key) != other.get(*key));
    differ.cloned().collect()
}

fn metrics(base: &EngineResult, candidate: &EngineResult) -> Vec<MetricPair> {
    let pair = |metric, statistic, of: &dyn Fn(&EngineResult) -> Option<f64>| {
        let (base, candidate) = (of(base), of(candidate));
        MetricPair {
            metric,
            statistic,
            base,
            candidate,
            difference_percent: base
                .zip(candidate)
                .filter(|(base, _)| *base > 0.0)
                .map(|(base, candidate)| (candidate / base - 1.0) * 100.0),
        }
    };
    vec![
        pair("output_tokens_per_sec", None, &|it| {
            it.output_tokens_per_sec
        }),
        pair("time_to_first_token_ms", Some("p50"), &|it| {
            it.time_to_first_token_ms.map(|it| it.p50)
        }),
        pair("inter_token_latency_ms", Some("p50"), &|it| {
            it.inter_token_latency_ms.map(|it| it.p50)
        }),
        pair("request_latency_ms", Some("p50"), &|it| {
            it.request_latency_ms.map(|it| it.p50)
        }),
    ]
}

/// A log ratio as a difference in percent.
fn percent(log_ratio: f64) -> f64 {
    log_ratio.exp_m1() * 100.0
}
