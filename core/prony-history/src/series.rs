//! A series of a history, analysed: its segments, changes and suspicions.

use crate::Record;
use prony_metrics::history::{self, Analysis, Bridge, Point};
use prony_result::words::{count, number, one_line, signed_percent};
use prony_result::{to_log_ratio, to_percent};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A series as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Series {
    /// Digest that names its file.
    #[serde(rename = "series")]
    pub digest: String,
    /// Model, matrix point, stage and engine.
    pub label: String,
    /// Name of the pipeline of its last run.
    pub pipeline: String,
    /// Id of the model.
    pub model: String,
    /// Matrix point; `None` without a matrix.
    pub cell: Option<String>,
    /// Id of the `measure` stage; `None` if there is only one.
    pub measure: Option<String>,
    /// The engine whose history it is.
    pub candidate: String,
    /// The anchor of the last run with one, with its version; differences are to it.
    pub anchor: Option<String>,
    /// Differences up to this percentage count as none.
    pub margin_percent: f64,
    /// The runs, in the order of time.
    pub runs: Vec<Run>,
    /// The parts without a change, in order.
    pub segments: Vec<Segment>,
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// A change at the end that too few runs show yet.
    pub suspicion: Option<Suspicion>,
}

/// A run in a series.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Run {
    /// Id of its line.
    pub id: String,
    /// Its place in time.
    pub at: String,
    /// Its commit.
    pub commit: Option<String>,
    /// By how much the candidate is faster than the anchor, in percent.
    pub difference_percent: Option<f64>,
    /// Lower end of its interval.
    pub low_percent: Option<f64>,
    /// Upper end of its interval.
    pub high_percent: Option<f64>,
    /// Output tokens per second of the candidate by itself.
    pub output_tokens_per_sec: Option<f64>,
    /// Number of its segment, from 0; absent if it does not count.
    pub segment: Option<usize>,
    /// Reason why it does not count.
    pub reason: Option<String>,
}

/// A part of a series without a change.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Segment {
    /// Time of its first run.
    pub from: String,
    /// Time of its last run.
    pub to: String,
    /// Number of its runs.
    pub runs: usize,
    /// Difference to the anchor, in percent: the mean of the middle half of its runs.
    pub level_percent: f64,
    /// `true` if no bridge joins it to the part before it, so that both are not compared.
    pub apart: bool,
    /// Trend within it, in percent a run; absent if there is none.
    pub trend_percent: Option<f64>,
}

/// A change between two runs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Change {
    /// Time of the first run after it.
    pub at: String,
    /// Commit of the last run before it.
    pub good: Option<String>,
    /// Commit of the first run after it.
    pub bad: Option<String>,
    /// Speed after it over that before it less 1, in percent.
    pub difference_percent: f64,
    /// p value of no change.
    pub p_value: f64,
    /// `true` if the engine became slower.
    pub regression: bool,
    /// `true` if the runs before it are of other machines than those after it.
    pub other_machine: bool,
}

/// A change that may be there.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Suspicion {
    /// Time of the first run after it.
    pub at: String,
    /// Commit of the last run before it.
    pub good: Option<String>,
    /// Commit of the first run after it.
    pub bad: Option<String>,
    /// Speed after it over that before it less 1, in percent.
    pub difference_percent: f64,
    /// Minimum number of further runs that can make it a change.
    pub needs_runs: usize,
}

/// A line that counts.
struct Usable<'a> {
    record: &'a Record,
    /// Its number among all.
    at: usize,
    anchor: &'a str,
    log_ratio: f64,
}

fn usable(records: &[Record]) -> Vec<Usable<'_>> {
    let valid = records.iter().enumerate().filter(|(_, it)| it.valid);
    let of = |(at, record)| {
        let record: &Record = record;
        Some(Usable {
            record,
            at,
            anchor: &record.anchor.as_ref()?.identity,
            log_ratio: record.log_ratio?,
        })
    };
    valid.filter_map(of).collect()
}

/// Runs of one anchor against another one, with what one series measures.
fn bridges<'a>(all: &'a BTreeMap<String, Vec<Record>>, setting: &str) -> Vec<Bridge<'a>> {
    let records = || all.values().flatten().filter(|it| it.setting == setting);
    // An engine that never was an anchor may be another build every night.
    let anchors: BTreeSet<&str> = records()
        .filter_map(|it| it.anchor.as_ref())
        .map(|it| it.identity.as_str())
        .collect();
    let bridge = |record: &'a Record| {
        let from = record.anchor.as_ref()?.identity.as_str();
        let to = record.candidate.identity.as_str();
        let is_bridge = record.valid && from != to && anchors.contains(to);
        let (low, high, level) = (record.low?, record.high?, record.level?);
        is_bridge.then_some(Bridge {
            from,
            to,
            log_ratio: record.log_ratio?,
            variance: history::variance(low, high, level),
        })
    };
    records().filter_map(bridge).collect()
}

impl Series {
    /// Analyses a series of a history. `margin_percent` stands in for that of the
    /// last run that counts.
    pub fn new(
        name: &str,
        all: &BTreeMap<String, Vec<Record>>,
        margin_percent: Option<f64>,
    ) -> Option<Self> {
        let records = all.get(name)?;
        let last = records.last()?;
        // A run that does not count may have no margin of its own.
        let counts = records.iter().rev().find(|it| it.valid);
        let margin_percent = margin_percent.unwrap_or(counts.unwrap_or(last).margin_percent);
        let margin = to_log_ratio(margin_percent);
        let usable = usable(records);
        let points: Vec<Point<'_>> = usable
            .iter()
            .map(|it| Point {
                anchor: it.anchor,
                log_ratio: it.log_ratio,
            })
            .collect();
        let mut series = Self::empty(name, records, margin_percent);
        for chained in history::chain(&points, &bridges(all, &last.setting)) {
            let analysis = history::analyse(&chained.values, &chained.junctions, margin);
            let stretch = &usable[chained.start..chained.start + chained.values.len()];
            series.take(stretch, &chained.values, &analysis);
        }
        Some(series)
    }

    /// The series with its runs, of which nothing is known yet.
    fn empty(name: &str, records: &[Record], margin_percent: f64) -> Self {
        let last = records.last();
        let anchor = records.iter().rev().find_map(|it| it.anchor.as_ref());
        let run = |record: &Record| Run {
            id: record.id.clone(),
            at: record.at.clone(),
            commit: record.commit.clone(),
            difference_percent: record.log_ratio.map(to_percent),
            low_percent: record.low.map(to_percent),
            high_percent: record.high.map(to_percent),
            output_tokens_per_sec: record.absolute.output_tokens_per_sec,
            segment: None,
            reason: record.reason.clone(),
        };
        Self {
            digest: name.to_owned(),
            label: last.map(Record::label).unwrap_or_default(),
            pipeline: last.map(|it| it.pipeline.clone()).unwrap_or_default(),
            model: last.map(|it| it.model.clone()).unwrap_or_default(),
            cell: last.and_then(|it| it.cell.clone()),
            measure: last.and_then(|it| it.measure.clone()),
            candidate: last
                .map(|it| it.candidate.engine.clone())
                .unwrap_or_default(),
            anchor: anchor.map(|it| match &it.version {
                Some(version) => format!("{} {version}", it.engine),
                None => it.engine.clone(),
            }),
            margin_percent,
            runs: records.iter().map(run).collect(),
            segments: Vec::new(),
            changes: Vec::new(),
            suspicion: None,
        }
    }

    /// Adds the analysis of a stretch, the runs of which lie on the scale of its last anchor.
    fn take(&mut self, stretch: &[Usable<'_>], values: &[f64], analysis: &Analysis) {
        for (at, segment) in analysis.segments.iter().enumerate() {
            let runs = &stretch[segment.range.clone()];
            for (usable, value) in runs.iter().zip(&values[segment.range.clone()]) {
                let run = &mut self.runs[usable.at];
                let moved = |end: Option<f64>| Some(to_percent(end? - usable.log_ratio + value));
                run.segment = Some(self.segments.len());
                run.difference_percent = Some(to_percent(*value));
                run.low_percent = moved(usable.record.low);
                run.high_percent = moved(usable.record.high);
            }
            self.segments.push(Segment {
                from: runs
                    .first()
                    .map(|it| it.record.at.clone())
                    .unwrap_or_default(),
                to: runs
                    .last()
                    .map(|it| it.record.at.clone())
                    .unwrap_or_default(),
                runs: runs.len(),
                level_percent: to_percent(segment.level),
                apart: at == 0 && !self.segments.is_empty(),
                trend_percent: segment.trend.map(|it| to_percent(it.slope)),
            });
        }
        for (at, change) in analysis.changes.iter().enumerate() {
            let machines = |of: usize| -> BTreeSet<&str> {
                let runs = &stretch[analysis.segments[of].range.clone()];
                runs.iter().map(|it| it.record.machine.as_str()).collect()
            };
            let difference_percent = to_percent(change.difference());
            self.changes.push(Change {
                at: stretch[change.index].record.at.clone(),
                good: stretch[change.index - 1].record.commit.clone(),
                bad: stretch[change.index].record.commit.clone(),
                difference_percent,
                p_value: change.p_value,
                regression: difference_percent < 0.0,
                other_machine: machines(at).is_disjoint(&machines(at + 1)),
            });
        }
        // Only the end of the whole history can have too few runs yet.
        self.suspicion = analysis.suspicion.map(|it| Suspicion {
            at: stretch[it.index].record.at.clone(),
            good: stretch[it.index - 1].record.commit.clone(),
            bad: stretch[it.index].record.commit.clone(),
            difference_percent: to_percent(it.difference),
            needs_runs: it.needs,
        });
    }

    /// The newest change, if it is a loss and no other anchor begins after it.
    pub fn alarm(&self) -> Option<&Change> {
        let is_of_last = self.segments.last().is_some_and(|last| !last.apart);
        self.changes.last().filter(|it| it.regression && is_of_last)
    }

    /// The trend of the last runs, if they become slower, in percent a run.
    pub fn creeping(&self) -> Option<f64> {
        self.last_trend().filter(|it| *it < 0.0)
    }

    /// Sentences about what was found.
    pub fn findings(&self) -> Vec<String> {
        let mut findings: Vec<String> = self.changes.iter().map(Change::sentence).collect();
        if let Some(suspicion) = &self.suspicion {
            findings.push(suspicion.sentence());
        }
        if let (Some(trend), Some(segment)) = (self.last_trend(), self.segments.last()) {
            findings.push(format!(
                "trend: {} a run since {} ({} runs)",
                signed_percent(trend),
                day(&segment.from),
                segment.runs
            ));
        }
        findings
    }

    fn last_trend(&self) -> Option<f64> {
        self.segments.last()?.trend_percent
    }

    /// Sentences about runs that do not count: one for each kind of reason, with its number.
    pub fn not_counted(&self) -> Vec<String> {
        let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for run in self.runs.iter().filter(|it| it.segment.is_none()) {
            let reason = run.reason.as_deref().unwrap_or("no estimate");
            let kind = reason.split(':').next().unwrap_or_default();
            let of_kind = kinds.entry(one_line(kind)).or_default();
            of_kind.push(one_line(reason));
        }
        let sentence = |(kind, mut reasons): (String, Vec<String>)| {
            let runs = count(reasons.len() as u64, "run");
            let last = reasons.pop().unwrap_or_default();
            if reasons.iter().all(|it| *it == last) {
                return format!("{runs} not counted: {last}");
            }
            let detail = last.strip_prefix(&kind).unwrap_or_default();
            let detail = detail.trim_start_matches([':', ' ']);
            format!("{runs} not counted: {kind} (the last: {detail})")
        };
        kinds.into_iter().map(sentence).collect()
    }
}

/// A commit as people read it.
pub fn short(commit: Option<&str>) -> String {
    match commit {
        Some(commit) => one_line(&commit.chars().take(10).collect::<String>()),
        None => "an unknown commit".to_owned(),
    }
}

/// The day of a time.
pub fn day(at: &str) -> String {
    one_line(&at.chars().take(10).collect::<String>())
}

fn direction(difference_percent: f64) -> String {
    let word = if difference_percent < 0.0 {
        "slower"
    } else {
        "faster"
    };
    format!("{} % {word}", number(difference_percent.abs()))
}

impl Change {
    /// The change in words.
    pub fn sentence(&self) -> String {
        let kind = if self.regression {
            "regression"
        } else {
            "improvement"
        };
        let p_value = if self.p_value <= 0.0001 {
            "p ≤ 0.0001".to_owned()
        } else {
            format!("p = {:.4}", self.p_value)
        };
        let machine = if self.other_machine {
            "; no machine ran both before and after it, so it may be one between machines"
        } else {
            ""
        };
        format!(
            "{kind} at {}: {} since {} (last run before it: {}; {p_value}){machine}",
            short(self.bad.as_deref()),
            direction(self.difference_percent),
            day(&self.at),
            short(self.good.as_deref()),
        )
    }
}

impl Suspicion {
    /// The suspicion in words.
    pub fn sentence(&self) -> String {
        format!(
            "suspected at {}: {} since {} (last run before it: {}), needs at least {}",
            short(self.bad.as_deref()),
            direction(self.difference_percent),
            day(&self.at),
            short(self.good.as_deref()),
            count(self.needs_runs as u64, "more run"),
        )
    }
}
