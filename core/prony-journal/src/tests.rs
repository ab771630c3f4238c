//! From journals to results: journals written by hand, of pipelines read from text.

use crate::journal::{Event, Journal, SCHEMA, Scope, StageEnergy, StageOf, Started, Visited};
use crate::subject::subject;
use crate::{RunFolder, Writer, find_run, newest_run, past, reader, result, result_of, runs};
use prony_config::{Pipeline, PluginKind, Plugins};
use prony_contract::{Event as Reported, EventKind};
use prony_machine::{GpuUsage, IdlePower};
use prony_metrics::definition::goodput_share;
use prony_metrics::facts::Requests;
use prony_metrics::threshold::Threshold;
use prony_plan::{Estimate, Plan, StageKind, Visit};
use prony_record::{ErrorClass, Failed, Observation, Phase, Record, RequestId, Stamps};
use prony_result::{
    Client, Environment, ModelResult, Objectives, Outcome, RunResult, ThresholdResult, Verdict,
};
use std::collections::BTreeMap;
use std::path::Path;

struct AnyPlugin;

impl Plugins for AnyPlugin {
    fn config_schema(&self, _: PluginKind, _: &str) -> Option<serde_json::Value> {
        Some(serde_json::json!({}))
    }

    fn names(&self, _: PluginKind) -> Vec<String> {
        Vec::new()
    }
}

pub(crate) fn pipeline(text: &str) -> Pipeline {
    let head = "version: 1\nname: t\nengines: { a: { plugin: x }, b: { plugin: x } }\n\
                compare: { baseline: a }\nmodels: [{ id: m, size: 1B, revision: main }]\n";
    match prony_config::load("t.yaml", &format!("{head}{text}"), &AnyPlugin) {
        Ok((pipeline, _)) => pipeline,
        Err(problems) => panic!("{problems:?}"),
    }
}

const SIMPLE: &str = "\
workload: { prompts: [hi, ho], temperature: 0 }
schedule: { cycles: 8, order: sequential }
stages: [{ warmup: { requests: 1 } }, { measure: {} }]
";

const SEVERAL: &str = "\
matrix: { axes: { length: [8, 32] }, exclude: [{ length: 32, engine: b }] }
workload: { prompts: [hi], images: [cat.png], temperature: 0, max_tokens: '${{ matrix.length }}' }
schedule: { cycles: 8 }
stages:
  - warmup: { requests: 3 }
  - measure: { requests: 1 }
  - measure: { id: burst, requests: 2, arrival: { concurrency: 2 } }
  - unload: {}
  - load: {}
  - measure: { id: again, requests: 1 }
thresholds:
  - { metric: output_tokens_per_sec, min: 60 }
";

/// Course of a visit.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fate {
    Well,
    /// This stage fails, by a step of the user's or not.
    Fails(&'static str, bool),
    /// The `if` of this stage leaves it out.
    Skips(&'static str),
    /// The run is killed in the middle.
    Killed,
}

/// A journal of a pipeline in which requests to `a` take 1 s and to `b` 0.5 s,
/// for 50 tokens.
pub(crate) fn journal(pipeline: &Pipeline, fate: impl Fn(&Visit) -> Fate) -> Journal {
    let plan = Plan::new(pipeline);
    let mut events = Vec::new();
    for visit in &plan.visits {
        visit_events(&plan, visit, fate(visit), &mut events);
    }
    events.push(Event::Finished {
        sha256: None,
        outcome: Outcome::Completed,
        at_ns: 60_000_000_000,
    });
    let started = Started {
        pipeline_folder: None,
        process: None,
        world: None,
        schema: SCHEMA.to_owned(),
        prony_version: "0".to_owned(),
        run: "run".to_owned(),
        started_at: "2026-01-02T03:04:05Z".to_owned(),
        pipeline_sha256: String::new(),
        subject: subject(pipeline),
        plan,
        environment: Environment {
            os: String::new(),
            kernel: String::new(),
            arch: String::new(),
            cpu: String::new(),
            cpus: 1,
            memory_bytes: 1,
            load_average: 0.0,
            machine: String::new(),
            virtual_machine: None,
            governor: None,
            gpus: Vec::new(),
        },
        plugins: Vec::new(),
        noise: Vec::new(),
        notes: vec!["[F0001] a note".to_owned()],
    };
    Journal {
        started: Box::new(started),
        events,
    }
}

fn visit_events(plan: &Plan, visit: &Visit, fate: Fate, events: &mut Vec<Event>) {
    let of = |kind, id: &str| StageOf {
        kind,
        id: id.to_owned(),
        scope: Scope::Visit(visit.clone()),
    };
    let mut visited = Visited {
        visit: visit.clone(),
        load_time_ns: Some(1_000_000_000),
        unload_time_ns: None,
        measure_ns: BTreeMap::new(),
        peak_memory_bytes: Some(visit.segment.into()),
        peak_gpu_memory_bytes: None,
        memory: Vec::new(),
        energy: BTreeMap::new(),
        page_cache_share: None,
        measure_cpu_s: BTreeMap::new(),
        settings: Vec::new(),
        counters: BTreeMap::new(),
        machine: Vec::new(),
        total_ns: 5_000_000_000,
    };
    let load = of(StageKind::Load, "load");
    events.push(load.begins(0));
    let mut goes_on = true;
    if let Fate::Fails("load", step) = fate {
        events.push(load.failed(cause(step), "boom".to_owned()));
        goes_on = false;
    }
    for stage in plan.segments()[&visit.of_segment()]
        .stages
        .iter()
        .filter(|_| goes_on)
    {
        let of_visit = of(stage.phase.into(), &stage.id);
        if fate == Fate::Skips(of_visit_id(&stage.id)) {
            events.push(of_visit.is_skipped(0));
            continue;
        }
        events.push(of_visit.begins(0));
        let failed = matches!(fate, Fate::Fails(id, _) if id == stage.id);
        for index in 0..stage.requests {
            let phase = stage.phase;
            events.push(Event::Request(Box::new(record(
                visit, phase, &stage.id, index,
            ))));
            if fate == Fate::Killed && phase == Phase::Measure {
                return;
            }
        }
        if stage.phase == Phase::Measure {
            visited.measure_ns.insert(stage.id.clone(), time_of(visit));
        }
        if failed {
            let step = matches!(fate, Fate::Fails(_, true));
            events.push(of_visit.failed(cause(step), "boom".to_owned()));
        }
    }
    let unload = of(StageKind::Unload, "unload");
    events.push(unload.begins(0));
    if let Fate::Fails("unload", step) = fate {
        events.push(unload.failed(cause(step), "boom".to_owned()));
    }
    events.push(Event::Visit(visited));
}

/// The same text for as long as a fate needs it.
fn of_visit_id(id: &str) -> &'static str {
    ["measure", "burst", "again", "warmup"]
        .into_iter()
        .find(|it| *it == id)
        .unwrap_or("")
}

fn time_of(visit: &Visit) -> u64 {
    if visit.engine == "a" {
        1_000_000_000
    } else {
        500_000_000
    }
}

fn record(visit: &Visit, phase: Phase, stage: &str, index: u32) -> Record {
    let id = RequestId {
        point: visit.point.clone(),
        model: visit.model.clone(),
        engine: visit.engine.clone(),
        cycle: visit.cycle,
        phase,
        stage: stage.to_owned(),
        index,
        prompt: index,
        image: None,
    };
    let event = |read, kind, tokens, text: &str| Reported {
        read,
        kind,
        tokens,
        ns: 0,
        text: text.to_owned(),
    };
    let events = vec![
        event(0, EventKind::Text, 1, "x"),
        event(1, EventKind::Text, 49, &"x".repeat(49)),
        event(1, EventKind::Finish, 0, "length"),
        event(1, EventKind::OutputTokens, 50, ""),
        event(1, EventKind::End, 0, ""),
    ];
    let stamps = Stamps {
        end_ns: time_of(visit),
        ..Stamps::default()
    };
    let seen = Observation {
        stamps,
        reads_ns: vec![0, stamps.end_ns],
        ..Observation::default()
    };
    Record::judge(id, seen, Ok(events), 100)
}

fn group<'a>(result: &'a RunResult, label: &str) -> &'a ModelResult {
    let found = result.models.iter().find(|model| model.label() == label);
    found.unwrap_or_else(|| panic!("no `{label}`"))
}

fn degraded(result: &RunResult, label: &str) -> u32 {
    group(result, label).comparisons[0].degraded_cycles
}

// ---- groups

#[test]
fn a_forecast_is_void_when_there_is_a_verdict() {
    let pipeline = pipeline(SIMPLE);
    let mut journal = journal(&pipeline, |_| Fate::Well);
    journal.events.push(Event::Pilot {
        point: None,
        model: "m".to_owned(),
        expected_cycles: 100.0,
        low_cycles: None,
        high_cycles: None,
        expected_s: 100.0,
        detectable_percent: 9.0,
        better_requests: None,
        feasible: false,
    });
    let told = |journal: &Journal| {
        let result = result(journal);
        let verdict = result.models[0].comparisons[0].verdict;
        let mut warnings = result.warnings.iter();
        (
            verdict,
            warnings.any(|it| it.contains("by its first cycles")),
        )
    };
    assert_eq!(told(&journal), (Verdict::Faster, false));
    let is_late = |event: &Event| matches!(event, Event::Request(it) if it.id.cycle > 3);
    journal.events.retain(|event| !is_late(event));
    assert_eq!(told(&journal), (Verdict::Inconclusive, true));
    // A resumed run forecasts once more.
    let mut later = journal.events.last().cloned().expect("a forecast");
    if let Event::Pilot {
        expected_cycles, ..
    } = &mut later
    {
        *expected_cycles = 50.0;
    }
    journal.events.push(later);
    let warnings = result(&journal).warnings;
    let forecasts: Vec<_> = warnings
        .iter()
        .filter(|it| it.contains("by its first cycles"))
        .collect();
    assert_eq!(forecasts.len(), 1);
    assert!(forecasts[0].contains("about 50 cycles"), "{forecasts:?}");
    // A range that reaches into what is planned frightens nobody.
    let mut ranged = |low, high| {
        if let Some(Event::Pilot {
            low_cycles,
            high_cycles,
            ..
        }) = journal.events.last_mut()
        {
            (*low_cycles, *high_cycles) = (Some(low), Some(high));
        }
        told(&journal).1
    };
    assert!(!ranged(5.0, 400.0));
    assert!(ranged(300.0, 2000.0));
}

#[test]
fn numbers_that_are_not_valid_name_no_winner() {
    let mut journal = journal(&pipeline(SIMPLE), |_| Fate::Well);
    let verdict = |journal: &Journal| {
        let result = result(journal);
        let comparison = result.models[0].comparisons[0].clone();
        let winners = result.family.expect("a family").winners;
        let total = comparison.total.map(|it| it.verdict);
        (comparison.verdict, total, winners, comparison.obstacle)
    };
    let (named, total, winners, obstacle) = verdict(&journal);
    assert_eq!((named, winners, obstacle), (Verdict::Faster, 1, None));
    assert_eq!(total, Some(Verdict::Faster));
    let visits = journal.started.plan.visits.clone();
    journal
        .events
        .extend(visits.into_iter().map(|visit| Event::Client {
            visit,
            stage: "measure".to_owned(),
            client: Client {
                cpu_percent: 99.0,
                ..Client::default()
            },
        }));
    let (named, total, winners, obstacle) = verdict(&journal);
    assert_eq!((named, winners), (Verdict::Inconclusive, 0));
    assert_eq!(total, Some(Verdict::Inconclusive));
    let obstacle = obstacle.expect("an obstacle");
    assert!(
        obstacle.starts_with("the numbers are not valid: m: `a`"),
        "{obstacle}"
    );
}

/// Verdict on engines that are equally fast with two requests in flight, one of which leaves
/// the machine slower for the next visit, and the reason.
fn carried_over(schedule: &str) -> (Verdict, String) {
    let text = format!(
        "workload: {{ prompts: [hi, ho], temperature: 0 }}\nschedule: {{ cycles: 60{schedule} }}\n\
         stages: [{{ measure: {{ requests: 2, arrival: {{ concurrency: 2 }} }} }}]\n"
    );
    let mut journal = journal(&pipeline(&text), |_| Fate::Well);
    let mut last = String::new();
    for (index, event) in (0_u64..).zip(&mut journal.events) {
        if let Event::Visit(visited) = event {
            let noise = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            let slowed = if last == "a" { 30_000_000 } else { 0 };
            let ns = 1_000_000_000 + noise / 2 + slowed;
            visited.measure_ns = [("measure".to_owned(), ns)].into();
            last.clone_from(&visited.visit.engine);
        }
    }
    let comparison = result(&journal).models[0].comparisons[0].clone();
    let is_told = comparison.flags.iter().any(|flag| flag == "carry_over");
    assert_eq!(is_told, schedule.is_empty(), "{:?}", comparison.flags);
    (comparison.verdict, comparison.reason)
}

#[test]
fn what_an_engine_leaves_behind_names_no_winner_with_several_in_flight() {
    let (verdict, reason) = carried_over("");
    assert_eq!(verdict, Verdict::Inconclusive, "{reason}");
    assert!(reason.contains("leaves behind"), "{reason}");
    // Who says that it is nothing is taken at his word.
    let (verdict, reason) = carried_over(", carry_over: none");
    assert_eq!(verdict, Verdict::Slower, "{reason}");
}

#[test]
fn warnings_of_a_kind_are_of_one_visit() {
    let mut journal = journal(&pipeline(SIMPLE), |_| Fate::Well);
    let warning = |gpu: u32| prony_machine::Warning {
        code: "gpu_throttled".into(),
        message: format!("GPU {gpu} was slowed down"),
    };
    for event in &mut journal.events {
        if let Event::Visit(visited) = event {
            visited.machine = vec![warning(0), warning(1)];
        }
    }
    let warnings = result(&journal).warnings;
    let told =
        "in 16 of 16 visits the machine was not quiet; in the first of them: GPU 0 was slowed down";
    assert!(warnings.contains(&told.to_owned()), "{warnings:?}");
}

/// Lets the machine draw 10 W when idle, and each visit, of 2 s, take this energy of GPU 1.
fn on_a_gpu(journal: &mut Journal, joules: impl Fn(&Visit) -> f64) {
    let idle = IdlePower {
        gpus_w: vec![None, Some(10.0)],
        processor_w: None,
    };
    journal.events.insert(0, Event::IdlePower(idle));
    for event in &mut journal.events {
        if let Event::Visit(visited) = event {
            visited.measure_ns = [("measure".to_owned(), 2_000_000_000)].into();
            let gpu = GpuUsage {
                index: 1,
                samples: 4,
                energy_joules: Some(joules(&visited.visit)),
                mean_sm_clock_mhz: Some(1000.0 * f64::from(visited.visit.cycle)),
                throttled: [("sw_power_cap".to_owned(), 0.5)].into(),
                ..GpuUsage::default()
            };
            let usage = StageEnergy {
                gpus: vec![gpu],
                ..StageEnergy::default()
            };
            visited.energy = [("measure".to_owned(), usage)].into();
            visited.peak_gpu_memory_bytes = Some(1 << 30);
        }
    }
}

#[test]
fn energy_is_told_without_that_of_the_idle_machine_and_judged() {
    let pipeline = pipeline(SIMPLE);
    // 100 tokens a visit; 20 J of the 2 s are the idle machine's.
    let joules = |visit: &Visit| if visit.engine == "a" { 220.0 } else { 120.0 };
    let mut journal = journal(&pipeline, |_| Fate::Well);
    on_a_gpu(&mut journal, joules);
    let told = result(&journal);
    let model = &told.models[0];
    let of = |index: usize| model.engines[index].energy.as_ref().expect("it is known");
    assert_eq!(of(0).gpu_j_per_token, Some(2.0));
    assert_eq!(of(1).gpu_j_per_token, Some(1.0));
    assert_eq!(of(0).mean_gpu_power_w, Some(110.0));
    assert_eq!(of(0).idle_gpu_power_w, Some(10.0));
    assert_eq!(of(0).processor_j_per_token, None);
    let gpu = &model.engines[0].gpus[0];
    assert_eq!((gpu.index, gpu.mean_sm_clock_mhz), (1, Some(4500.0)));
    assert_eq!(gpu.throttled.get("sw_power_cap"), Some(&0.5));
    assert_eq!(model.engines[0].peak_gpu_memory_bytes, Some(1 << 30));
    let energy = model.comparisons[0].energy.as_ref().expect("a judgement");
    assert_eq!(energy.verdict, Verdict::Faster);
    let by = energy.difference_percent.expect("a difference");
    assert!((by - 100.0).abs() < 1e-4, "{by}");
    let sentences = model.comparisons[0].judgement_sentences();
    let said = sentences.last().expect("sentences");
    assert!(
        said.starts_with("Energy: b gives 100 % more tokens per joule than a ("),
        "{said}"
    );
}

#[test]
fn energy_in_doubt_is_withheld_with_the_reason() {
    let pipeline = pipeline(SIMPLE);
    let withheld = |change: &dyn Fn(&mut Event)| {
        let mut journal = journal(&pipeline, |_| Fate::Well);
        on_a_gpu(&mut journal, |_| 100.0);
        journal.events.iter_mut().for_each(change);
        let told = result(&journal);
        let model = &told.models[0];
        let energy = model.engines[0].energy.clone().expect("a reason");
        assert_eq!(energy.gpu_j_per_token, None);
        let judged = model.comparisons[0].energy.clone().expect("a reason");
        assert_eq!(judged.verdict, Verdict::Inconclusive);
        assert_eq!(judged.difference_percent, None);
        assert_eq!(energy.withheld, judged.withheld);
        energy.withheld.expect("a reason")
    };
    let busy = withheld(&|event| {
        if let Event::IdlePower(idle) = event {
            idle.gpus_w[1] = None;
        }
    });
    assert!(busy.contains("did not rest"), "{busy}");
    let of_visits = |change: &dyn Fn(&mut Visited)| {
        withheld(&|event| {
            if let Event::Visit(visited) = event {
                change(visited);
            }
        })
    };
    let short = of_visits(&|visited| {
        visited.measure_ns = [("measure".to_owned(), 500_000_000)].into();
    });
    assert!(short.contains("less than a second"), "{short}");
    let shared = of_visits(&|visited| {
        for usage in visited.energy.values_mut() {
            usage.shared = true;
        }
    });
    assert!(shared.contains("at the same time"), "{shared}");
    let nothing = of_visits(&|visited| {
        for usage in visited.energy.values_mut() {
            usage.gpus[0].energy_joules = Some(19.0);
        }
    });
    assert!(nothing.contains("when idle"), "{nothing}");
}

#[test]
fn models_that_engines_did_not_find_alike_in_memory_are_told() {
    let told = |share: fn(&Visit) -> f64| {
        let mut journal = journal(&pipeline(SIMPLE), |_| Fate::Well);
        for event in &mut journal.events {
            if let Event::Visit(visited) = event {
                visited.page_cache_share = Some(share(&visited.visit));
            }
        }
        let mut warnings = result(&journal).warnings.into_iter();
        warnings.find(|it| it.contains("in memory"))
    };
    assert_eq!(told(|_| 0.0), None);
    assert_eq!(told(|visit| if visit.cycle == 1 { 0.0 } else { 1.0 }), None);
    let first = |visit: &Visit| {
        let reads = visit.cycle == 1 && visit.engine == "a";
        if reads { 0.0 } else { 1.0 }
    };
    assert_eq!(
        told(first).as_deref(),
        Some(
            "m: in 1 of 8 cycles the engines did not find the model alike in memory when they were started (cycle 1: `a` 0 % of it, `b` 100 %), so their load times of these cycles do not compare"
        )
    );
}

#[test]
fn without_matrix_there_is_one_result_per_model() {
    let result = result(&journal(&pipeline(SIMPLE), |_| Fate::Well));
    let [model] = &result.models[..] else {
        panic!("{:?}", result.models)
    };
    assert_eq!((model.cell.as_ref(), model.measure.as_ref()), (None, None));
    assert_eq!(model.label(), "m");
    assert_eq!(
        (
            model.warmup_requests,
            model.requests_per_visit,
            model.concurrency
        ),
        (1, 2, 1)
    );
    assert_eq!(model.revision.as_deref(), Some("main"));
    assert_eq!(model.comparisons[0].verdict, Verdict::Faster);
    assert_eq!(model.engines[1].requests, 16, "warm-up does not count");
    assert_eq!(result.workload.prompts, ["hi", "ho"]);
    // The fixture's answers are of one text, which is told, too.
    assert_eq!(result.warnings[0], "[F0001] a note");
    let coarse = |it: &String| it.contains("sends 25.0 tokens at a time");
    assert!(result.warnings[1..].iter().all(coarse));
    assert!(result.cells.is_empty() && result.thresholds.is_empty());
}

#[test]
fn there_is_a_result_for_every_point_and_measure_stage() {
    let result = result(&journal(&pipeline(SEVERAL), |_| Fate::Well));
    let labels: Vec<String> = result.models.iter().map(ModelResult::label).collect();
    let stages = ["measure", "burst", "again"];
    let expected = ["length=8", "length=32"]
        .into_iter()
        .flat_map(|point| stages.map(|stage| format!("m · {point} · {stage}")));
    assert_eq!(labels, expected.collect::<Vec<_>>());

    let asked = |label: &str| {
        let model = group(&result, label);
        (
            model.warmup_requests,
            model.requests_per_visit,
            model.concurrency,
        )
    };
    assert_eq!(asked("m · length=8 · measure"), (3, 1, 1));
    assert_eq!(asked("m · length=8 · burst"), (3, 2, 2));
    assert_eq!(asked("m · length=8 · again"), (0, 1, 1), "of a fresh start");

    // Two in flight: by the stage's own wall-clock time.
    let speed = |label: &str| group(&result, label).engines[0].output_tokens_per_sec;
    assert_eq!(speed("m · length=8 · measure"), Some(50.0));
    assert_eq!(speed("m · length=8 · burst"), Some(100.0));
    let memory = |label: &str| group(&result, label).engines[0].peak_memory_bytes;
    assert_eq!(memory("m · length=8 · measure"), Some(1));
    assert_eq!(memory("m · length=8 · again"), Some(2), "of its own part");
}

#[test]
fn an_engine_that_a_point_leaves_out_is_not_in_its_results() {
    let result = result(&journal(&pipeline(SEVERAL), |_| Fate::Well));
    let engines = |label: &str| -> Vec<&str> {
        let engines = group(&result, label).engines.iter();
        engines.map(|engine| engine.engine.as_str()).collect()
    };
    assert_eq!(engines("m · length=8 · burst"), ["a", "b"]);
    assert_eq!(engines("m · length=32 · burst"), ["a"]);
    assert!(
        group(&result, "m · length=32 · burst")
            .comparisons
            .is_empty()
    );
}

#[test]
fn a_point_says_what_it_asks_for_if_that_is_something_else() {
    let mut journal = journal(&pipeline(SEVERAL), |_| Fate::Well);
    journal.events.insert(
        0,
        Event::Image {
            path: "cat.png".to_owned(),
            sha256: "ab".to_owned(),
        },
    );
    let result = result(&journal);
    assert_eq!(result.workload.max_tokens, 8);
    let [first, second] = &result.cells[..] else {
        panic!("{:?}", result.cells)
    };
    assert_eq!((first.id.as_str(), &first.workload), ("length=8", &None));
    assert_eq!(second.matrix["length"], 32);
    let own = second.workload.as_ref().expect("a workload of its own");
    assert_eq!(own.max_tokens, 32);
    for workload in [&result.workload, own] {
        assert_eq!(workload.images[0].sha256.as_deref(), Some("ab"));
    }
}

#[test]
fn models_say_which_file_they_are() {
    let mut journal = journal(&pipeline(SIMPLE), |_| Fate::Well);
    journal.events.insert(
        0,
        Event::Model {
            point: None,
            model: "m".to_owned(),
            path: "/models/m.gguf".to_owned(),
            sha256: Some("cd".to_owned()),
        },
    );
    let result = result(&journal);
    assert_eq!(result.models[0].path.as_deref(), Some("/models/m.gguf"));
    assert_eq!(result.models[0].sha256.as_deref(), Some("cd"));
}

// ---- failures

/// Something happens to `b` in the first matrix point's first cycle, in one of its segments.
fn once(segment: u32, fate: Fate) -> RunResult {
    let journal = journal(&pipeline(SEVERAL), |visit| {
        let it =
            visit.point.as_deref() == Some("length=8") && visit.engine == "b" && visit.cycle == 1;
        if it && visit.segment == segment {
            fate
        } else {
            Fate::Well
        }
    });
    result(&journal)
}

/// Degraded cycles and failures of the three measure stages of the first matrix point.
fn touched(result: &RunResult) -> [(u32, usize); 3] {
    ["measure", "burst", "again"].map(|stage| {
        let label = format!("m · length=8 · {stage}");
        (
            degraded(result, &label),
            group(result, &label).failures.len(),
        )
    })
}

#[test]
fn a_failure_touches_what_comes_after_it_in_its_segment() {
    let (hit, well) = ((1, 1), (0, 0));
    assert_eq!(
        touched(&once(1, Fate::Fails("load", false))),
        [hit, hit, well]
    );
    assert_eq!(
        touched(&once(2, Fate::Fails("load", false))),
        [well, well, hit]
    );
    assert_eq!(
        touched(&once(1, Fate::Fails("warmup", false))),
        [hit, hit, well]
    );
    // The requests of a stage say nothing about those of the next.
    assert_eq!(
        touched(&once(1, Fate::Fails("measure", false))),
        [hit, well, well]
    );
    assert_eq!(
        touched(&once(1, Fate::Fails("burst", false))),
        [well, hit, well]
    );
    // A step may have left anything behind, but not before it ran.
    assert_eq!(
        touched(&once(1, Fate::Fails("measure", true))),
        [hit, hit, well]
    );
    assert_eq!(
        touched(&once(1, Fate::Fails("burst", true))),
        [well, hit, well]
    );
    // It is told, though nothing depends on it.
    let told = (0, 1);
    assert_eq!(
        touched(&once(1, Fate::Fails("unload", false))),
        [well, told, well]
    );
    for result in [
        once(1, Fate::Fails("load", false)),
        once(1, Fate::Fails("warmup", true)),
    ] {
        assert!(
            group(&result, "m · length=32 · measure")
                .failures
                .is_empty(),
            "another matrix point"
        );
    }
}

#[test]
fn a_failure_is_told_by_the_name_of_its_stage() {
    let result = once(1, Fate::Fails("burst", false));
    let failure = &group(&result, "m · length=8 · burst").failures[0];
    assert_eq!(
        (failure.stage.as_str(), failure.cycle, &*failure.engine),
        ("burst", 1, "b")
    );
}

#[test]
fn a_model_that_cannot_be_had_has_failed_in_every_stage_of_its_point() {
    let pipeline = pipeline(SEVERAL);
    let mut journal = journal(&pipeline, |_| Fate::Well);
    let setup = StageOf {
        kind: StageKind::Setup,
        id: "setup".to_owned(),
        scope: Scope::Model {
            point: Some("length=8".to_owned()),
            model: "m".to_owned(),
        },
    };
    journal.events = vec![setup.failed(cause(false), "no file".to_owned())];
    let result = result(&journal);
    assert_eq!(
        result.run.outcome,
        Outcome::Interrupted,
        "there is no last line"
    );
    for (point, failures) in [("length=8", 1), ("length=32", 0)] {
        for stage in ["measure", "burst", "again"] {
            let model = group(&result, &format!("m · {point} · {stage}"));
            assert_eq!(model.failures.len(), failures);
            assert_eq!(model.engines[0].requests, 0);
        }
    }
    assert_eq!(
        result.warnings,
        ["[F0001] a note"],
        "it is no warning of the run"
    );
}

#[test]
fn requests_without_the_end_of_their_visit_have_a_time() {
    let pipeline = pipeline(SIMPLE);
    let journal = journal(&pipeline, |visit| match visit.cycle {
        8 => Fate::Killed,
        _ => Fate::Well,
    });
    let result = result(&journal);
    let b = &result.models[0].engines[1];
    assert_eq!((b.requests, b.output_tokens_per_sec), (15, Some(100.0)));
    assert!((b.total_time_s - 8.0 * 0.5).abs() < 1e-9);
    assert_eq!(
        result.models[0].comparisons[0].cycles, 7,
        "the last one is not whole"
    );
}

// ---- conditions

#[test]
fn a_stage_that_is_left_out_on_one_engine_gives_no_verdict() {
    let skips = |engine: &'static str, cycles: std::ops::RangeInclusive<u32>| {
        let journal = journal(&pipeline(SEVERAL), move |visit| {
            let it = engine.contains(&visit.engine) && cycles.contains(&visit.cycle);
            if it && visit.segment == 1 {
                Fate::Skips("burst")
            } else {
                Fate::Well
            }
        });
        result(&journal)
    };
    let burst = "m · length=8 · burst";
    let result = skips("b", 1..=8);
    let model = group(&result, burst);
    assert_eq!(model.comparisons[0].verdict, Verdict::Inconclusive);
    let reason = &model.comparisons[0].reason;
    assert!(
        reason.starts_with("the `if` of the stage left out `b` in 8"),
        "{reason}"
    );
    assert_eq!(model.engines.len(), 1, "it was not to be measured");
    assert_eq!(degraded(&result, "m · length=8 · measure"), 0);
    let thresholds = |engine: &str| -> Vec<&ThresholdResult> {
        let thresholds = result.thresholds.iter();
        let of_it = thresholds.filter(|it| it.engine == engine && it.label() == burst);
        of_it.collect()
    };
    assert_eq!(
        thresholds("b"),
        [] as [&ThresholdResult; 0],
        "nothing was asked of it"
    );
    assert_eq!(thresholds("a").len(), 1);

    // One cycle is enough, and where both left it out nothing is lost.
    let once = skips("a", 3..=3);
    assert_eq!(
        group(&once, burst).comparisons[0].verdict,
        Verdict::Inconclusive
    );
    let both = skips("a b", 1..=2);
    let comparison = &group(&both, burst).comparisons[0];
    assert_eq!((comparison.cycles, &comparison.obstacle), (6, &None));
}

// ---- thresholds

#[test]
fn thresholds_are_held_against_every_group() {
    let result = result(&journal(&pipeline(SEVERAL), |_| Fate::Well));
    let missed: Vec<String> = result
        .thresholds
        .iter()
        .filter(|it| !it.passed)
        .map(ThresholdResult::sentence)
        .collect();
    let of = |point: &str, stage: &str| {
        format!(
            "m · {point} · {stage} on a: output_tokens_per_sec is 50.0, at least 60 is asked for"
        )
    };
    let stages = ["measure", "again"];
    let expected = ["length=8", "length=32"].map(|point| stages.map(|stage| of(point, stage)));
    assert_eq!(missed, expected.concat());
    assert_eq!(result.thresholds.len(), 3 * 2 + 3);
}

#[test]
fn a_distribution_is_bounded_by_its_median_unless_given() {
    let text = format!(
        "{SIMPLE}thresholds: [{{ metric: request_latency_ms, max: 600, engine: b, model: m }}]\n"
    );
    let result = result(&journal(&pipeline(&text), |_| Fate::Well));
    let [threshold] = &result.thresholds[..] else {
        panic!("{:?}", result.thresholds)
    };
    assert_eq!(threshold.what(), "request_latency_ms p50");
    assert_eq!((threshold.value, threshold.passed), (Some(500.0), true));
}

#[test]
fn a_threshold_may_be_for_one_stage_and_some_points() {
    let text = SEVERAL.split("thresholds:").next().expect("a pipeline");
    let of = |limits: &str| {
        let text = format!("{text}thresholds: [{{ metric: success_rate, min: 1, {limits} }}]\n");
        let result = result(&journal(&pipeline(&text), |_| Fate::Well));
        let held = result.thresholds.iter();
        held.map(|it| format!("{} {}", it.label(), it.engine))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("measure: burst"),
        [
            "m · length=8 · burst a",
            "m · length=8 · burst b",
            "m · length=32 · burst a"
        ]
    );
    assert_eq!(
        of("matrix: { length: 32 }, measure: again"),
        ["m · length=32 · again a"]
    );
    assert_eq!(of("matrix: { length: '8' }, model: m, engine: b").len(), 3);
    let one =
        format!("{SIMPLE}thresholds: [{{ metric: success_rate, min: 1, measure: measure }}]\n");
    let result = result(&journal(&pipeline(&one), |_| Fate::Well));
    assert_eq!(result.thresholds.len(), 2, "the only stage has an id too");
}

#[test]
fn goodput_is_of_every_request() {
    let text =
        format!("{SIMPLE}thresholds: [{{ metric: goodput_percent, latency_ms: 600, min: 95 }}]\n");
    let mut journal = journal(&pipeline(&text), |_| Fate::Well);
    let mut of_b = Vec::new();
    for event in &mut journal.events {
        if let Event::Request(record) = event
            && record.id.engine == "b"
            && record.id.phase == Phase::Measure
        {
            if record.id.cycle == 3 && record.id.index == 0 {
                record.failed = Some(Failed::new(ErrorClass::Timeout, "slow"));
            }
            of_b.push(record.clone());
        }
    }
    let result = result(&journal);
    let found: Vec<_> = result
        .thresholds
        .iter()
        .map(|it| (it.what(), it.engine.as_str(), it.value, it.passed))
        .collect();
    let what = || "goodput_percent (latency 600 ms)".to_owned();
    // Requests to `a` take a second; one of 16 to `b` has failed.
    assert_eq!(
        found,
        [
            (what(), "a", Some(0.0), false),
            (what(), "b", Some(93.75), false)
        ]
    );
    let objectives = Objectives {
        latency_ms: Some(600.0),
        ..Objectives::default()
    };
    let requests: Requests = of_b.iter().map(|it| &**it).collect();
    assert_eq!(goodput_share(requests.facts(), objectives), Some(0.9375));
}

#[test]
fn a_threshold_of_an_old_journal_is_read() {
    let old = r#"{"metric":"request_latency_ms","statistic":"p90","max":500.0,"model":"m"}"#;
    let threshold: Threshold = serde_json::from_str(old).expect("a threshold");
    assert_eq!(threshold.objectives, Objectives::default());
    assert_eq!(serde_json::to_string(&threshold).expect("JSON"), old);
}

// ---- the file

pub(crate) fn write(folder: &RunFolder, journal: &Journal) -> Writer {
    let mut writer = Writer::create(&folder.journal()).expect("a journal");
    let started = Event::Started(journal.started.clone());
    for event in std::iter::once(&started).chain(&journal.events) {
        writer.append(event).expect("a line");
    }
    writer
}

pub(crate) fn results() -> (tempfile::TempDir, impl Fn(&str) -> RunFolder) {
    let results = tempfile::tempdir().expect("a folder");
    let path = results.path().to_owned();
    (results, move |name: &str| {
        RunFolder::create(&path, name).expect("a folder")
    })
}

#[test]
fn what_is_written_is_read() {
    let (_results, create) = results();
    let folder = create("t");
    let mut journal = journal(&pipeline(SEVERAL), |visit| match visit.cycle {
        1 => Fate::Skips("burst"),
        2 => Fate::Fails("load", true),
        _ => Fate::Well,
    });
    let step = |reason: Option<&str>| Event::Step {
        name: "step".to_owned(),
        skipped: reason.is_some(),
        reason: reason.map(str::to_owned),
    };
    let setup = StageOf {
        kind: StageKind::Setup,
        id: "prepare".to_owned(),
        scope: Scope::Run,
    };
    journal.events.extend([
        setup.begins(7),
        setup.failed(cause(true), "boom".to_owned()),
        step(None),
        step(Some("its `if` is false")),
    ]);
    drop(write(&folder, &journal));
    assert_eq!(
        reader::read(&folder.journal()).expect("it is whole"),
        journal
    );
}

#[test]
fn a_simple_run_has_a_simple_journal() {
    let journal = journal(&pipeline(SIMPLE), |_| Fate::Well);
    let line = |event: &Event| serde_json::to_string(event).expect("serialises");
    assert_eq!(
        line(&journal.events[0]),
        format!(
            r#"{{"event":"stage","stage":"load","model":"m","engine":"{}","cycle":1,"at_ns":0}}"#,
            journal.started.plan.visits[0].engine
        )
    );
    let visit = journal
        .events
        .iter()
        .find(|event| matches!(event, Event::Visit(_)));
    let visit: serde_json::Value = serde_json::to_value(visit).expect("serialises");
    assert_eq!(visit.get("cell"), None);
    assert_eq!(visit.get("part"), None);
    assert!(visit["measure_ns"]["measure"].is_u64());
}

#[test]
fn a_run_in_progress_is_not_interrupted() {
    let (_results, create) = results();
    let folder = create("t");
    let mut journal = journal(&pipeline(SIMPLE), |_| Fate::Well);
    journal.events.pop();
    let writer = write(&folder, &journal);
    let outcome = || result_of(&folder).expect("a result").run.outcome;
    assert_eq!(outcome(), Outcome::Running);
    drop(writer);
    assert_eq!(outcome(), Outcome::Interrupted);
}

#[test]
fn latest_is_the_run_that_has_ended_last() {
    let (results, create) = results();
    let results = results.path();
    let journal = journal(&pipeline(SIMPLE), |_| Fate::Well);
    let latest = || find_run(results, "latest").map(|folder| folder.id());
    let first = create("first");
    drop(write(&first, &journal));
    assert_eq!(
        latest().expect("the only one"),
        first.id(),
        "though it has not ended"
    );
    first.make_latest().expect("a link");
    let second = create("second");
    drop(write(&second, &journal));
    assert_eq!(latest().expect("a link"), first.id());
    second.make_latest().expect("a link");
    assert_eq!(latest().expect("a link"), second.id());
    let ids: Vec<String> = runs(results).iter().map(RunFolder::id).collect();
    assert_eq!(ids, [first.id(), second.id()], "the link is no run");
    assert!(find_run(Path::new("nowhere"), "latest").is_err());
}

#[test]
fn the_newest_run_is_the_last_that_is_over_however_it_ended() {
    let (results, create) = results();
    let results = results.path();
    let whole = journal(&pipeline(SIMPLE), |_| Fate::Well);
    let mut cut = whole.clone();
    cut.events.pop();
    let ids = |runs: &[RunFolder]| runs.iter().map(RunFolder::id).collect::<Vec<_>>();
    let newest = || {
        let found = newest_run(results).expect("a run");
        let latest = found.latest.map(|folder| folder.id());
        (found.folder.id(), latest, ids(&found.running))
    };
    assert!(newest_run(Path::new("nowhere")).is_err());
    let ended = create("1");
    drop(write(&ended, &whole));
    ended.make_latest().expect("a link");
    assert_eq!(newest(), (ended.id(), None, vec![]));

    let died = create("2");
    drop(write(&died, &cut));
    let overtaken = create("3");
    drop(write(&overtaken, &whole));
    assert_eq!(newest(), (died.id(), Some(ended.id()), vec![]));

    let going_on = create("4");
    let writer = write(&going_on, &cut);
    let stillborn = create("5");
    std::fs::write(stillborn.journal(), "").expect("a file");
    let running = vec![going_on.id()];
    assert_eq!(newest(), (died.id(), Some(ended.id()), running.clone()));
    overtaken.make_latest().expect("a link");
    assert_eq!(newest(), (overtaken.id(), None, running));
    drop(writer);
    let latest = Some(overtaken.id());
    assert_eq!(newest(), (going_on.id(), latest, vec![]));
}

// ---- the past

#[test]
fn the_newest_finished_run_of_the_pipeline_tells_what_it_takes() {
    let (results, create) = results();
    let pipeline = pipeline(SIMPLE);
    let whole = journal(&pipeline, |visit| match visit.cycle {
        1 => Fate::Fails("load", false),
        _ => Fate::Well,
    });
    let known = || past(results.path(), "t").map(|(folder, past)| (folder.id(), past));
    assert!(known().is_none());
    let finished = create("1");
    drop(write(&finished, &whole));
    let mut other = whole.clone();
    other.started.subject.name = "other".to_owned();
    drop(write(&create("2"), &other));
    let mut interrupted = whole;
    interrupted.events.pop();
    drop(write(&create("3"), &interrupted));
    create("4");

    let (folder, past) = known().expect("a run");
    assert_eq!(folder, finished.id());
    // A visit takes 5 s, of which 3 or 1.5 s for its requests, as the journal says.
    let estimate = Estimate::new(&pipeline, &Plan::new(&pipeline), Some(&past));
    assert_eq!(
        estimate.seconds,
        Some(16.0 * 5.0),
        "failed visits say nothing"
    );
}

#[test]
fn what_two_loaded_engines_took_is_told_apart() {
    let (results, create) = results();
    let pipeline = pipeline(SIMPLE);
    let one_after_the_other = journal(&pipeline, |_| Fate::Well);
    let mut in_turns = one_after_the_other.clone();
    let order = |event: &Event| match event {
        Event::Stage { stage, visit, .. } if *stage == StageKind::Load => {
            (visit.as_ref().map_or(0, |it| it.cycle), 0)
        }
        Event::Stage { visit, .. } => (visit.as_ref().map_or(0, |it| it.cycle), 1),
        Event::Request(record) => (record.id.cycle, 1),
        Event::Visit(visited) => (visited.visit.cycle, 2),
        Event::Finished { .. } => (u32::MAX, 0),
        _ => (0, 0),
    };
    in_turns.events.sort_by_key(order);
    assert_ne!(in_turns.events, one_after_the_other.events);
    let estimates = [("1", one_after_the_other), ("2", in_turns)].map(|(name, journal)| {
        drop(write(&create(name), &journal));
        let (_, past) = past(results.path(), "t").expect("a run");
        Estimate::new(&pipeline, &Plan::new(&pipeline), Some(&past)).seconds
    });
    assert_eq!(estimates[0], estimates[1]);
    assert!(estimates[0].is_some());
}

#[test]
fn requests_that_were_sent_again_are_told_of_how_many() {
    let mut journal = journal(&pipeline(SIMPLE), |_| Fate::Well);
    assert!(!result(&journal).warnings.concat().contains("sent again"));
    let (mut engine, mut all) = (String::new(), 0);
    for event in &mut journal.events {
        if let Event::Request(record) = event {
            record.resent = record.id.phase == Phase::Warmup && engine.is_empty();
            if record.resent {
                engine.clone_from(&record.id.engine);
            }
        }
    }
    for event in &journal.events {
        if let Event::Request(record) = event {
            all += u64::from(record.id.engine == engine);
        }
    }
    let told = format!("1 of its {all} requests (warm-ups counted)");
    let warnings = result(&journal).warnings.concat();
    assert!(warnings.contains(&told), "{warnings}");
}

// ---- what can be asked for

#[test]
fn a_failed_request_is_no_failure_of_its_stage() {
    let pipeline = pipeline(SIMPLE);
    let mut journal = journal(&pipeline, |_| Fate::Well);
    let request = journal.events.iter_mut().find_map(|event| match event {
        Event::Request(record) if record.id.phase == Phase::Measure => Some(record),
        _ => None,
    });
    let request = request.expect("a request");
    request.failed = Some(Failed::new(ErrorClass::Timeout, "after 5m"));
    let engine = request.id.engine.clone();
    let result = result(&journal);
    let model = &result.models[0];
    assert!(model.failures.is_empty());
    assert_eq!(model.engine(&engine).map(|it| it.succeeded), Some(15));
    assert_eq!(model.comparisons[0].degraded_cycles, 1);
}

fn cause(step: bool) -> crate::journal::Cause {
    if step {
        crate::journal::Cause::Step
    } else {
        crate::journal::Cause::Engine
    }
}
