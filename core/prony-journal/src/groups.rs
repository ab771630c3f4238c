//! The groups of a run: what is reported together and compared, one entry of a result each.

use crate::Result;
use crate::journal::{Event, ModelInfo, Started, Subject};
use crate::samples::{Key, Sample, Samples};
use crate::source::RecordSource;
use prony_machine::GpuUsage;
use prony_metrics::cache::{by_counters, check as check_cache};
use prony_metrics::comparison::{Arm, Ratios, StudyDesign, ratios};
use prony_metrics::credit::Pairs;
use prony_metrics::facts::{Facts, Streams};
use prony_metrics::summary;
use prony_metrics::threshold::Measured;
use prony_metrics::validity;
use prony_plan::{ModelKey, Segment, Stage};
use prony_record::Record;
use prony_result::{
    Cache, Client, Comparison, EngineResult, GpuResult, ModelResult, NoiseFloor, Rendering,
    TestStatistic,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The groups of a run: one per matrix point, model and `measure` stage for which visits were
/// planned.
pub(crate) fn groups<'a>(
    started: &'a Started,
    samples: &'a Samples<'a>,
    events: &'a [Event],
    source: RecordSource<'a>,
) -> Vec<Group<'a>> {
    let mut planned: HashMap<ModelKey<'_>, HashSet<&str>> = HashMap::new();
    for visit in &started.plan.visits {
        let engines = planned.entry(visit.of_model()).or_default();
        engines.insert(&visit.engine);
    }
    let mut segments: HashMap<Option<&str>, Vec<&Segment>> = HashMap::new();
    for segment in &started.plan.segments {
        let of_point = segments.entry(segment.point.as_deref()).or_default();
        of_point.push(segment);
    }
    let mut files: HashMap<ModelKey<'_>, (&String, &Option<String>)> = HashMap::new();
    for event in events {
        if let Event::Model {
            point,
            model,
            path,
            sha256,
        } = event
        {
            let point = point.as_deref();
            files.insert(ModelKey { point, model }, (path, sha256));
        }
    }
    let mut request_sets: HashMap<ModelKey<'_>, &String> = HashMap::new();
    for event in events {
        if let Event::RequestSet {
            point,
            model,
            sha256,
            ..
        } = event
        {
            let point = point.as_deref();
            request_sets.insert(ModelKey { point, model }, sha256);
        }
    }
    let mut renderings: HashMap<ModelKey<'_>, &Rendering> = HashMap::new();
    for event in events {
        if let Event::Rendering {
            point,
            model,
            rendering,
        } = event
        {
            let point = point.as_deref();
            renderings.insert(ModelKey { point, model }, rendering);
        }
    }
    let mut groups = Vec::new();
    for model in &started.subject.models {
        let key = model.key();
        let (Some(engines), Some(segments)) = (planned.get(&key), segments.get(&key.point)) else {
            continue;
        };
        let stages = || {
            segments
                .iter()
                .flat_map(|segment| segment.measures().map(move |it| (segment, it)))
        };
        let several = stages().nth(1).is_some();
        for (segment, stage) in stages() {
            groups.push(Group {
                started,
                samples,
                source,
                model,
                file: files.get(&key).copied(),
                request_set: request_sets.get(&key).copied(),
                rendering: renderings.get(&key).copied(),
                engines: engines.clone(),
                segment,
                stage,
                several,
            });
        }
    }
    groups
}

/// Two engines that are compared, with their answers side by side.
pub(crate) struct Compare<'a> {
    pub(crate) baseline: Arm<'a>,
    pub(crate) candidate: Arm<'a>,
    pub(crate) pairs: Pairs,
}

/// The numbers of two engines that are compared.
pub(crate) fn ratios_of(group: &Group<'_>, it: &Compare<'_>) -> Ratios {
    let design = design(&group.started.subject, group.stage);
    ratios(it.baseline, it.candidate, &it.pairs, design)
}

/// One entry of a result: a model at a matrix point in one `measure` stage.
pub(crate) struct Group<'a> {
    pub(crate) started: &'a Started,
    samples: &'a Samples<'a>,
    source: RecordSource<'a>,
    model: &'a ModelInfo,
    /// Path and digest.
    file: Option<(&'a String, &'a Option<String>)>,
    /// Digest of what was sent.
    request_set: Option<&'a String>,
    /// Rendering of its conversations.
    rendering: Option<&'a Rendering>,
    /// Engines with planned visits.
    engines: HashSet<&'a str>,
    segment: &'a Segment,
    pub(crate) stage: &'a Stage,
    /// `true` if the matrix point has other `measure` stages.
    several: bool,
}

impl<'a> Group<'a> {
    /// The engines that were to be visited, in the pipeline's order.
    pub(crate) fn visited(&self) -> Vec<(&'a str, &'a Sample)> {
        let engines = self.started.subject.engines.iter();
        let names = engines.map(|engine| engine.name.as_str());
        names
            .filter(|name| self.engines.contains(name))
            .map(|name| (name, self.sample(name)))
            .collect()
    }

    /// The pairs that are compared: the baseline with each candidate.
    pub(crate) fn pairs(&self) -> Result<Vec<Compare<'a>>> {
        let visited = self.visited();
        let mut engines = self.started.subject.engines.iter();
        let Some(baseline) = engines.find(|engine| engine.baseline) else {
            return Ok(Vec::new());
        };
        let (mut of_baseline, candidates): (Vec<_>, Vec<_>) =
            visited.into_iter().partition(|it| it.0 == baseline.name);
        let Some(baseline) = of_baseline.pop() else {
            return Ok(Vec::new());
        };
        let pair = |candidate: (&'a str, &'a Sample)| {
            let requests = (&baseline.1.requests, &candidate.1.requests);
            Ok(Compare {
                baseline: arm(baseline),
                candidate: arm(candidate),
                pairs: self.source.pairs(requests.0, requests.1)?,
            })
        };
        candidates.into_iter().map(pair).collect()
    }

    pub(crate) fn result(&self, comparisons: Vec<Comparison>) -> Result<ModelResult> {
        let visited = self.visited();
        let of_model = self.samples.of_model(self.model.key());
        let of_engines = visited.iter().flat_map(|(_, sample)| &sample.failures);
        let before = self
            .segment
            .stages
            .iter()
            .take_while(|it| it.id != self.stage.id);
        let is_warmup = |it: &&Stage| it.phase == prony_record::Phase::Warmup;
        let warmups: Vec<&Stage> = before.filter(is_warmup).collect();
        let measured = visited.iter().filter(|(_, sample)| !sample.is_left_out());
        let engines = measured.map(|(name, sample)| self.engine(name, sample));
        Ok(ModelResult {
            id: self.model.id.clone(),
            size: self.model.size.clone(),
            path: self.file.map(|(path, _)| path.clone()),
            sha256: self.file.and_then(|(_, sha256)| sha256.clone()),
            revision: self.model.revision.clone(),
            tape: self.request_set.cloned(),
            rendering: self.rendering.cloned(),
            cell: self.model.point.clone(),
            measure: self.several.then(|| self.stage.id.clone()),
            warmup_requests: warmups.iter().map(|it| it.requests).sum(),
            warmup_sending: warmup_sending(&warmups),
            requests_per_visit: self.stage.requests,
            concurrency: self.stage.concurrency,
            arrival: self.stage.arrival.clone(),
            seconds: self.stage.seconds,
            cache: self.stage.cache.map(cache),
            engines: engines.collect::<Result<_>>()?,
            comparisons,
            noise_floor: self.noise_floor(),
            failures: of_model.iter().chain(of_engines).cloned().collect(),
        })
    }

    fn engine(&self, name: &str, sample: &Sample) -> Result<EngineResult> {
        let Sample {
            requests,
            visits,
            gpus,
            client,
            failed,
            account,
            ..
        } = sample;
        let concurrency = self.stage.concurrency;
        let streams = self.streams(sample)?;
        let mut engine = summary::engine(name, requests, &streams, visits, concurrency);
        let all = requests.all();
        engine.gpus = used_gpus(gpus);
        engine.client.clone_from(client);
        let repeated = |it: &Facts| it.is_repeated;
        engine.cache = self.stage.cache.map(|stated| {
            let stated = cache(stated);
            let check = check_cache(stated, &all, repeated);
            let by_counters = || by_counters(stated, &all, repeated, account);
            let is_silent = check.counted == 0;
            is_silent.then(by_counters).flatten().unwrap_or(check)
        });
        engine.settings.clone_from(&account.settings);
        engine.own_counts.clone_from(&account.counts);
        engine.by_cycle = summary::by_cycle(
            &all,
            visits,
            failed,
            // With a limit in time, as many as there was time for.
            self.stage.seconds.map_or(self.stage.requests, |_| 1) as usize,
            concurrency,
        );
        Ok(engine)
    }

    /// Reasons why the numbers of its engines are invalid; empty if they are valid. One visit in
    /// ten may be one in which the load client was late.
    pub(crate) fn invalid(&self, model: &ModelResult) -> Vec<String> {
        let of_engine = |engine: &EngineResult| {
            let usual = EngineResult {
                client: Client::of_most_visits(&self.sample(&engine.engine).clients),
                ..engine.clone()
            };
            let label = format!("{}: `{}`", model.label(), engine.engine);
            let reasons = validity::reasons(&usual, model.cache).into_iter();
            let labelled = reasons.map(|reason| format!("{label}: {reason}"));
            labelled.collect::<Vec<_>>()
        };
        let engines = model.engines.iter().flat_map(of_engine);
        // A comparison leaves the cycle out, and another takes its place.
        let is_compared = !model.comparisons.is_empty();
        let broken = model
            .failures
            .iter()
            .filter(|it| it.outside && !is_compared);
        let broken = broken.map(|it| {
            format!(
                "{}: `{}`: cycle {} was broken off, and nothing replaces it where nothing is \
                 compared: run it again",
                model.label(),
                it.engine,
                it.cycle
            )
        });
        engines.chain(broken).collect()
    }

    /// The measurement that thresholds bound.
    pub(crate) fn measured(&'a self, model: &'a ModelResult) -> Measured<'a> {
        let points = &self.started.subject.points;
        let point = points
            .iter()
            .find(|it| Some(&it.id) == self.model.point.as_ref());
        let visited = self.visited().into_iter();
        Measured {
            model,
            measure: &self.stage.id,
            matrix: point.map(|it| &it.matrix),
            records: visited
                .map(|(name, sample)| (name, sample.requests.facts()))
                .collect(),
        }
    }

    pub(crate) fn sample(&self, engine: &str) -> &'a Sample {
        self.samples.group(&self.key(engine))
    }

    /// Times of the texts of an engine's requests.
    pub(crate) fn streams(&self, sample: &Sample) -> Result<Streams> {
        self.source.streams(&sample.requests)
    }

    /// Reads the records of requests again.
    pub(crate) fn each(&self, requests: &[Facts], see: &mut dyn FnMut(&Record)) -> Result<()> {
        self.source.each(requests, see)
    }

    pub(crate) fn key(&self, engine: &str) -> Key {
        Key::new(self.model.key(), engine, &self.stage.id)
    }

    fn noise_floor(&self) -> Option<NoiseFloor> {
        let known = self.started.noise.iter().find(|known| {
            (&known.point, &known.model, &known.measure)
                == (&self.model.point, &self.model.id, &self.stage.id)
        });
        known.map(|known| known.floor.clone())
    }
}

/// The planned size of a stage's study.
pub(crate) fn design(subject: &Subject, stage: &Stage) -> StudyDesign {
    StudyDesign {
        cycles: subject.cycles,
        requests_per_visit: stage.requests,
        concurrency: stage.concurrency,
        margin_percent: subject.margin_percent,
        // Verdicts of before there was a choice spoke of the throughput.
        statistic: stage.statistic.unwrap_or(TestStatistic::Throughput),
        tests_carry_over: stage.tests_carry_over,
        keeps_carry_over: !stage.tests_carry_over
            && (stage.statistic).is_some_and(|it| it != TestStatistic::Level),
    }
}

/// Words for how warm-ups are sent, each once and in order; `None` if all go one at a time.
fn warmup_sending(warmups: &[&Stage]) -> Option<String> {
    let one_at_a_time = |it: &&Stage| it.arrival.is_none() && it.concurrency == 1;
    if warmups.iter().all(one_at_a_time) {
        return None;
    }
    let mut ways: Vec<String> = Vec::new();
    for stage in warmups {
        let closed = || format!("{} at a time", stage.concurrency);
        let way = stage.arrival.clone().unwrap_or_else(closed);
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    Some(ways.join(", then "))
}

fn cache(stated: prony_config::Cache) -> Cache {
    match stated {
        prony_config::Cache::Cold => Cache::Cold,
        prony_config::Cache::Warm => Cache::Warm,
    }
}

pub(crate) fn arm<'a>((name, sample): (&'a str, &'a Sample)) -> Arm<'a> {
    Arm {
        name,
        requests: &sample.requests,
        visits: &sample.visits,
        failed: &sample.failed,
        skipped: &sample.skipped,
        account: &sample.account,
    }
}

/// The GPUs of an engine over all its visits: means are weighted by their samples.
fn used_gpus(usages: &[GpuUsage]) -> Vec<GpuResult> {
    let mut by_index = BTreeMap::<u32, Vec<&GpuUsage>>::new();
    for usage in usages {
        by_index.entry(usage.index).or_default().push(usage);
    }
    let of_gpu = |(index, usages): (u32, Vec<&GpuUsage>)| {
        let mean = |of: &dyn Fn(&GpuUsage) -> Option<f64>| {
            let (mut sum, mut samples) = (0.0, 0.0);
            for (value, count) in usages.iter().filter_map(|it| Some((of(it)?, it.samples))) {
                sum += value * f64::from(count);
                samples += f64::from(count);
            }
            (samples > 0.0).then(|| sum / samples)
        };
        let reasons: BTreeSet<&String> = usages.iter().flat_map(|it| it.throttled.keys()).collect();
        let share = |reason: &String| {
            let of_visit = |it: &GpuUsage| Some(it.throttled.get(reason).copied().unwrap_or(0.0));
            Some((reason.clone(), mean(&of_visit)?))
        };
        GpuResult {
            index,
            mean_sm_clock_mhz: mean(&|it| it.mean_sm_clock_mhz),
            max_temperature_c: usages.iter().filter_map(|it| it.max_temperature_c).max(),
            throttled: reasons.into_iter().filter_map(share).collect(),
        }
    };
    by_index.into_iter().map(of_gpu).collect()
}
