//! Sequences of visits, with scripted engines and a scripted clock.

use super::account::Account;
use super::requests::Batch;
use super::sequence::{Ended, EngineSide, Sent, Stop, Used, Visit, Window, run};
use super::stage::Stage;
use super::{StageError, Staged};
use crate::process::Stopped;
use prony_config::{Condition, Pipeline, PluginKind, Plugins, Step};
use prony_journal::{Error, Event, Result, Visited};
use prony_machine::Warning;
use prony_plan::Plan;
use prony_record::{ErrorClass, Failed};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;

const SECOND: u64 = 1_000_000_000;

struct AnyPlugin;

impl Plugins for AnyPlugin {
    fn config_schema(&self, _: PluginKind, _: &str) -> Option<serde_json::Value> {
        Some(serde_json::json!({}))
    }

    fn names(&self, _: PluginKind) -> Vec<String> {
        Vec::new()
    }
}

/// Engines `a` and `b` with these stages.
fn pipeline(schedule: &str, stages: &str) -> Pipeline {
    let text = format!(
        "version: 1\nname: t\nengines: {{ a: {{ plugin: x }}, b: {{ plugin: x }} }}\n\
         models: [{{ id: m }}]\nworkload: {{ prompts: [hi] }}\n\
         schedule: {{ order: sequential, {schedule} }}\nstages:\n{stages}"
    );
    match prony_config::load("t.yaml", &text, &AnyPlugin) {
        Ok((pipeline, _)) => pipeline,
        Err(problems) => panic!("{problems:?}"),
    }
}

const STAGES: &str = "
- load: { timeout: 10s, before: [{ run: before load }], after: [{ run: after load }] }
- warmup: { requests: 2, before: [{ run: before warmup }], after: [{ run: after warmup }] }
- measure: { requests: 6, timeout: 20s, before: [{ run: before measure }], after: [{ run: after measure }] }
- unload: { timeout: 5s, before: [{ run: before unload }], after: [{ run: after unload }] }
";

/// Outcome of an operation of the engine.
#[derive(Clone, Copy, PartialEq)]
enum Behaviour {
    /// Success; a start and a request take a second each.
    Well,
    Fails,
    /// Takes until its limit.
    Hangs,
    /// Is gone after half of the requests.
    Leaves,
    /// The user interrupts it.
    Interrupted,
}

/// State shared by all engines.
#[derive(Clone, Default)]
struct World {
    now_ns: Rc<Cell<u64>>,
    /// All events, in order.
    log: Rc<RefCell<Vec<String>>>,
    visited: Rc<RefCell<Vec<Visited>>>,
    /// `true` once the journal can no longer be written.
    is_full: Rc<Cell<bool>>,
}

impl World {
    fn log(&self, line: String) {
        self.log.borrow_mut().push(line);
    }

    fn pass(&self, ns: u64) {
        self.now_ns.set(self.now_ns.get() + ns);
    }
}

/// An engine that follows its script, by the operation: `start`, `stop`, the stage of
/// requests, or the command of a step.
struct Scripted<F> {
    name: &'static str,
    world: World,
    script: F,
    running: bool,
}

impl<F: Fn(&str) -> Behaviour> Scripted<F> {
    fn log(&self, line: &str) {
        self.world.log(format!("{} {line}", self.name));
    }

    fn answers(&self, asked: &str) -> Staged<()> {
        self.log(asked);
        match (self.script)(asked) {
            Behaviour::Interrupted => Err(StageError::Interrupted),
            Behaviour::Fails | Behaviour::Hangs | Behaviour::Leaves => {
                Err(StageError::Failed("boom".to_owned()))
            }
            Behaviour::Well => Ok(()),
        }
    }
}

impl<F: Fn(&str) -> Behaviour> EngineSide for Scripted<F> {
    fn now_ns(&self) -> u64 {
        self.world.now_ns.get()
    }

    fn tell(&mut self, event: Event) -> Result<()> {
        if self.world.is_full.get() {
            return Err(Error::io("journal")(std::io::ErrorKind::StorageFull.into()));
        }
        let event = match serde_json::to_value(&event) {
            Ok(event) => event,
            Err(error) => panic!("{error}"),
        };
        let stage = event["id"].as_str().or(event["stage"].as_str());
        let stage = stage.unwrap_or_default();
        match event["event"].as_str() {
            Some("stage") if event["skipped"] == true => self.log(&format!("[{stage} skipped]")),
            Some("stage") => self.log(&format!("[{stage}]")),
            Some("failed") => self.log(&format!(
                "[{stage} failed: {}]",
                event["message"].as_str().unwrap_or_default()
            )),
            Some("warning") => self.log(&format!(
                "[warning: {}]",
                event["message"].as_str().unwrap_or_default()
            )),
            Some("visit") => {
                self.log("[visit]");
                let visited = serde_json::from_value(event).expect("a visit");
                self.world.visited.borrow_mut().push(visited);
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    }

    fn evaluate(&self, condition: &Condition) -> std::result::Result<bool, String> {
        crate::context::evaluate(condition, &serde_json::Value::Null)
    }

    async fn steps(&mut self, _: &str, steps: &[Step]) -> Staged<()> {
        for step in steps {
            self.answers(&step.run).map_err(|error| match error {
                StageError::Failed(message) => StageError::Step(message),
                other => other,
            })?;
        }
        Ok(())
    }

    async fn start(&mut self, limit: Duration) -> Staged<Option<u64>> {
        self.running = true;
        let behaviour = (self.script)("start");
        let ns = if behaviour == Behaviour::Hangs {
            limit.as_nanos() as u64
        } else {
            SECOND
        };
        self.world.pass(ns);
        self.answers("start").map(|()| Some(SECOND))
    }

    fn is_running(&self) -> bool {
        self.running
    }

    async fn prepare(&mut self, stage: &Stage<'_>) -> Staged<()> {
        self.log(&format!("prepares {}", stage.id));
        Ok(())
    }

    async fn send(&mut self, batch: &Batch<'_>) -> Sent {
        let numbers = batch.first..batch.first + batch.count;
        let limit = batch.limit.map(|limit| limit.as_secs());
        self.log(&format!(
            "sends {} {numbers:?}{}",
            batch.stage,
            limit.map_or_else(String::new, |s| format!(" within {s} s"))
        ));
        let begin = self.now_ns();
        let failed = |class| Some(Failed::new(class, "boom"));
        let (seconds, succeeded, first_failure) = match (self.script)(batch.stage) {
            Behaviour::Well => (batch.count.into(), Ok(batch.count), None),
            Behaviour::Fails => (0, Ok(0), failed(ErrorClass::Crashed)),
            Behaviour::Hangs => (limit.unwrap_or(60), Ok(0), failed(ErrorClass::Timeout)),
            Behaviour::Leaves => {
                let half = batch.count / 2;
                (half.into(), Ok(half), failed(ErrorClass::Crashed))
            }
            Behaviour::Interrupted => (1, Err(StageError::Interrupted), None),
        };
        let is_lost = (self.script)(batch.stage) == Behaviour::Leaves;
        self.world.pass(seconds * SECOND);
        Sent {
            succeeded,
            first_sent_ns: Some(begin),
            last_end_ns: self.now_ns(),
            stopped_ns: None,
            first_failure,
            lost: is_lost.then(|| "gone".to_owned()),
        }
    }

    async fn known_models(&mut self) -> Option<String> {
        None
    }

    fn look_back(&mut self, measured: &[Window]) -> Used {
        let cpu_s = |it: &Window| (it.stage.clone(), (it.to_ns - it.from_ns) as f64 / 1e9);
        Used {
            peak_memory_bytes: Some(1),
            measure_cpu_s: measured.iter().map(cpu_s).collect(),
            ..Used::default()
        }
    }

    async fn stop(&mut self, grace: Duration) -> Staged<Ended> {
        self.running = false;
        self.log("stop");
        let hangs = (self.script)("stop") == Behaviour::Hangs;
        if hangs {
            self.world.pass(grace.as_nanos() as u64);
        }
        Ok(Ended {
            stopped: Stopped {
                killed: hangs,
                strays: Vec::new(),
                left: Vec::new(),
            },
            ..Ended::default()
        })
    }

    fn account(&mut self) -> Account {
        Account::default()
    }

    fn warnings(&self) -> Vec<Warning> {
        Vec::new()
    }
}

/// The events, the end of each visit, and the journal.
struct Done {
    log: Vec<String>,
    ends: Vec<Option<Stop>>,
    visited: Vec<Visited>,
}

impl Done {
    fn has(&self, line: &str) -> bool {
        self.log.iter().any(|it| it == line)
    }

    fn at(&self, line: &str) -> usize {
        let found = self.log.iter().position(|it| it == line);
        found.unwrap_or_else(|| panic!("no `{line}` in {:#?}", self.log))
    }

    /// The lines that begin with `start`.
    fn lines(&self, start: &str) -> Vec<&str> {
        let lines = self.log.iter().map(String::as_str);
        lines.filter(|line| line.starts_with(start)).collect()
    }
}

/// Runs the first cycle of a pipeline, all its visits at once.
fn cycle<F: Fn(&str) -> Behaviour>(
    pipeline: &Pipeline,
    world: &World,
    engines: Vec<(&'static str, F)>,
) -> Result<Done> {
    let plan = Plan::new(pipeline);
    let point = &pipeline.points[0];
    let mut visits: Vec<_> = engines
        .into_iter()
        .map(|(name, script)| {
            let planned = plan.visits.iter().find(|visit| visit.engine == name);
            let ids = prony_plan::ids(&point.segments).remove(0);
            let engine = Scripted {
                name,
                world: world.clone(),
                script,
                running: false,
            };
            let planned = planned.expect("the engine is planned");
            Visit::new(planned, &point.segments[0], ids, engine)
        })
        .collect();
    let (_says_stop, stop) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let blocks = plan.blocks.unwrap_or(1);
    let runtime = runtime.expect("a runtime");
    runtime.block_on(run(&mut visits, blocks, &stop))?;
    Ok(Done {
        log: world.log.take(),
        ends: visits.into_iter().map(|visit| visit.into_end().0).collect(),
        visited: world.visited.take(),
    })
}

/// Runs one visit of `a` in which the operation `asked` has this outcome, and all others
/// succeed.
fn visit_with(stages: &str, asked: &'static str, behaviour: Behaviour) -> Done {
    let script = move |it: &str| {
        if it == asked {
            behaviour
        } else {
            Behaviour::Well
        }
    };
    let pipeline = pipeline("cycles: 1", stages);
    cycle(&pipeline, &World::default(), vec![("a", script)]).expect("a journal")
}

fn visit(asked: &'static str, behaviour: Behaviour) -> Done {
    visit_with(STAGES, asked, behaviour)
}

#[test]
fn all_goes_well() {
    let done = visit("", Behaviour::Well);
    assert_eq!(
        done.log,
        [
            "a [load]",
            "a before load",
            "a start",
            "a after load",
            "a [warmup]",
            "a before warmup",
            "a sends warmup 0..2",
            "a after warmup",
            "a [measure]",
            "a before measure",
            "a prepares measure",
            "a sends measure 0..6 within 20 s",
            "a after measure",
            "a [unload]",
            "a before unload",
            "a stop",
            "a after unload",
            "a [visit]",
        ]
    );
    assert_eq!(done.ends, [None]);
    let visited = &done.visited[0];
    assert_eq!(visited.load_time_ns, Some(SECOND));
    let measure_ns = BTreeMap::from([("measure".to_owned(), 6 * SECOND)]);
    assert_eq!(visited.measure_ns, measure_ns);
    assert_eq!(visited.measure_cpu_s.get("measure"), Some(&6.0));
    assert_eq!(visited.total_ns, (1 + 2 + 6) * SECOND);
}

#[test]
fn an_engine_that_does_not_load_is_unloaded_and_sent_nothing() {
    for (behaviour, seconds) in [(Behaviour::Fails, 1), (Behaviour::Hangs, 10)] {
        let done = visit("start", behaviour);
        assert_eq!(done.ends, [Some(Stop::SkipModel)]);
        assert!(done.has("a [load failed: boom]"), "{:#?}", done.log);
        assert!(done.lines("a sends").is_empty() && done.lines("a after load").is_empty());
        assert!(done.at("a stop") < done.at("a after unload"));
        assert_eq!(done.visited[0].load_time_ns, None);
        assert_eq!(done.visited[0].total_ns, seconds * SECOND);
    }
}

#[test]
fn a_failed_load_ends_the_visit_whatever_its_policy() {
    let stages = STAGES.replace("load: { timeout: 10s", "load: { on_failure: continue");
    let done = visit_with(&stages, "start", Behaviour::Fails);
    assert_eq!(done.ends, [Some(Stop::Continue)]);
    assert!(done.lines("a sends").is_empty() && done.has("a stop"));
}

#[test]
fn an_engine_that_was_never_started_is_not_stopped() {
    let done = visit("before load", Behaviour::Fails);
    assert_eq!(done.ends, [Some(Stop::SkipModel)]);
    let lines = [
        "a [load]",
        "a before load",
        "a [load failed: boom]",
        "a [visit]",
    ];
    assert_eq!(done.log, lines);
}

#[test]
fn an_engine_that_dies_in_its_warm_up_is_not_measured() {
    let done = visit("warmup", Behaviour::Fails);
    assert_eq!(done.ends, [Some(Stop::SkipModel)]);
    let failed = "a [warmup failed: none of 2 requests succeeded; the first: crashed: boom]";
    assert!(done.at(failed) < done.at("a stop"));
    assert!(!done.has("a [measure]") && !done.has("a after warmup"));
    assert_eq!(done.visited[0].measure_ns, BTreeMap::new());
}

#[test]
fn an_engine_that_leaves_in_a_measure_has_failed_it_although_requests_succeeded() {
    let done = visit("measure", Behaviour::Leaves);
    assert_eq!(done.ends, [Some(Stop::Continue)]);
    assert!(done.at("a [measure failed: gone]") < done.at("a stop"));
    assert!(!done.has("a after measure"));
    let measure_ns = BTreeMap::from([("measure".to_owned(), 3 * SECOND)]);
    assert_eq!(done.visited[0].measure_ns, measure_ns);
}

#[test]
fn the_policy_of_a_stage_says_whether_the_next_one_follows() {
    let with = |policy: &str| {
        let warmup = format!("warmup: {{ on_failure: {policy}, ");
        visit_with(
            &STAGES.replace("warmup: { ", &warmup),
            "warmup",
            Behaviour::Fails,
        )
    };
    let done = with("continue");
    assert_eq!(done.ends, [Some(Stop::Continue)]);
    assert!(done.has("a sends measure 0..6 within 20 s") && done.has("a stop"));
    let done = with("stop");
    assert_eq!(done.ends, [Some(Stop::Run)]);
    assert!(!done.has("a [measure]") && done.has("a stop"));
}

#[test]
fn an_engine_that_hangs_in_a_measure_costs_its_limit_and_no_more() {
    let done = visit("measure", Behaviour::Hangs);
    assert_eq!(done.ends, [Some(Stop::Continue)]);
    assert!(
        done.has("a [measure failed: none of 6 requests succeeded; the first: timeout: boom]"),
        "{:#?}",
        done.log
    );
    let visited = &done.visited[0];
    assert_eq!(visited.measure_ns["measure"], 20 * SECOND);
    assert_eq!(visited.total_ns, (1 + 2 + 20) * SECOND);
}

#[test]
fn an_interruption_in_any_state_unloads_and_is_no_failure() {
    for (asked, last) in [
        ("before load", "a before load"),
        ("start", "a start"),
        ("after load", "a after load"),
        ("before warmup", "a before warmup"),
        ("warmup", "a sends warmup 0..2"),
        ("after warmup", "a after warmup"),
        ("before measure", "a before measure"),
        ("measure", "a sends measure 0..6 within 20 s"),
        ("after measure", "a after measure"),
        ("before unload", "a before unload"),
        ("after unload", "a after unload"),
    ] {
        let done = visit(asked, Behaviour::Interrupted);
        assert_eq!(done.ends, [Some(Stop::Interrupted)], "{asked}");
        let rest: Vec<&str> = done.log[done.at(last) + 1..]
            .iter()
            .map(String::as_str)
            .collect();
        let expected: &[&str] = match asked {
            "before load" | "after unload" => &["a [visit]"],
            "before unload" => &["a stop", "a [visit]"],
            _ => &[
                "a [unload]",
                "a before unload",
                "a stop",
                "a after unload",
                "a [visit]",
            ],
        };
        assert_eq!(rest, expected, "{asked}");
    }
    // The requests in flight took time.
    let done = visit("measure", Behaviour::Interrupted);
    assert_eq!(done.visited[0].measure_ns["measure"], SECOND);
}

#[test]
fn an_engine_that_hangs_in_its_unload_is_killed_and_told() {
    let done = visit("stop", Behaviour::Hangs);
    assert_eq!(done.ends, [None]);
    let warning = "a [warning: m: `a` (cycle 1) or a process of its own did not end when asked and was killed]";
    assert!(done.at("a stop") < done.at(warning));
    assert!(done.at(warning) < done.at("a after unload"));
    assert_eq!(done.visited[0].total_ns, (1 + 2 + 6 + 5) * SECOND);
}

#[test]
fn a_step_that_fails_before_the_unload_keeps_no_engine_alive() {
    let done = visit("before unload", Behaviour::Fails);
    assert_eq!(done.ends, [Some(Stop::Continue)]);
    assert!(done.at("a stop") < done.at("a [unload failed: boom]"));
    assert!(!done.has("a after unload"));
}

#[test]
fn a_stage_that_is_left_out_is_passed_over() {
    let stages = STAGES
        .replace("measure: { ", "measure: { if: \"${{ 1 == 2 }}\", ")
        .replace("requests: 2", "requests: 0")
        + "- load: {}\n- measure: { id: again, requests: 1 }\n";
    let done = visit_with(&stages, "", Behaviour::Well);
    assert_eq!(done.ends, [None]);
    assert!(done.has("a [measure skipped]") && done.lines("a sends").is_empty());
    assert!(done.lines("a [warmup").is_empty());
}

#[test]
fn a_journal_that_cannot_be_kept_ends_all() {
    let world = World::default();
    let pipeline = pipeline("cycles: 1", STAGES);
    let is_full = world.is_full.clone();
    let script = move |asked: &str| {
        is_full.set(is_full.get() || asked == "warmup");
        Behaviour::Well
    };
    let done = cycle(&pipeline, &world, vec![("a", script)]);
    assert!(matches!(done, Err(Error::Io { .. })));
}

// ---- resident engines

fn resident(a: (&'static str, Behaviour), b: (&'static str, Behaviour)) -> Done {
    let pipeline = pipeline("cycles: 1, resident: true, blocks: 1", STAGES);
    let script = |(asked, behaviour): (&'static str, Behaviour)| {
        move |it: &str| {
            if it == asked {
                behaviour
            } else {
                Behaviour::Well
            }
        }
    };
    let engines = vec![("a", script(a)), ("b", script(b))];
    cycle(&pipeline, &World::default(), engines).expect("a journal")
}

#[test]
fn resident_engines_take_turns() {
    let done = resident(("", Behaviour::Well), ("", Behaviour::Well));
    assert_eq!(done.ends, [None, None]);
    let sent: Vec<&str> = done
        .log
        .iter()
        .map(String::as_str)
        .filter(|line| line.contains(" sends "))
        .collect();
    assert_eq!(
        sent,
        [
            "a sends warmup 0..2",
            "b sends warmup 0..2",
            "a sends measure 0..3 within 20 s",
            "b sends measure 0..3 within 20 s",
            "b sends measure 3..6 within 17 s",
            "a sends measure 3..6 within 17 s",
        ]
    );
    assert!(
        done.at("b start") < done.at("a [warmup]"),
        "both are loaded"
    );
    assert!(done.at("b after measure") < done.at("a stop"));
    // The turns of the other engine are not its own time.
    for visited in &done.visited {
        assert_eq!(visited.measure_ns["measure"], 6 * SECOND);
        assert_eq!(visited.total_ns, (1 + 2 + 6) * SECOND);
    }
}

#[test]
fn a_resident_engine_that_is_over_passes_its_turns_over() {
    let done = resident(("warmup", Behaviour::Fails), ("", Behaviour::Well));
    assert_eq!(done.ends, [Some(Stop::SkipModel), None]);
    assert_eq!(done.lines("a sends"), ["a sends warmup 0..2"]);
    assert_eq!(
        done.lines("b sends measure"),
        [
            "b sends measure 0..3 within 20 s",
            "b sends measure 3..6 within 17 s"
        ]
    );
    assert!(done.has("a stop") && done.has("b stop"));

    let done = resident(("", Behaviour::Well), ("start", Behaviour::Fails));
    assert_eq!(done.ends, [None, Some(Stop::SkipModel)]);
    assert!(done.lines("b sends").is_empty() && done.has("b stop"));
    assert_eq!(done.lines("a sends measure").len(), 2);
}

#[test]
fn a_resident_engine_that_hangs_has_one_limit_for_all_its_turns() {
    let done = resident(("", Behaviour::Well), ("measure", Behaviour::Hangs));
    assert_eq!(
        done.lines("b sends measure"),
        [
            "b sends measure 0..3 within 20 s",
            "b sends measure 3..6 within 0 s"
        ]
    );
    assert_eq!(done.ends, [None, Some(Stop::Continue)]);
    assert_eq!(done.visited[1].measure_ns["measure"], 20 * SECOND);
}
