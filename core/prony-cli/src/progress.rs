//! Progress of a run: a bar on a terminal; otherwise a line per visit, and some within a long one.

mod ticker;

use self::ticker::Ticker;
use crate::arguments::{Global, is_capable};
use crate::output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use prony_config::{Ask, MAX_COMPARED_CYCLES};
use prony_journal::{Event, Scope, Visited};
use prony_metrics::statistics::Decision;
use prony_metrics::throughput;
use prony_plan::{Plan, Segment, SegmentKey, Stage, StageKind, Visit};
use prony_record::{Phase, Record, RequestId};
use prony_result::words::{better_requests, bytes, count};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Follows the events of a run.
pub(crate) struct Progress<'a> {
    quiet: bool,
    bar: Option<ProgressBar>,
    segments: HashMap<SegmentKey<'a>, &'a Segment>,
    /// The expected visits: those planned, without the ones made unnecessary by a
    /// verdict, and with those of replacement cycles.
    visits: Vec<Visit>,
    /// Planned cycles.
    cycles: u32,
    /// Number of visits that have begun.
    begun: usize,
    /// Requests of the plan that are over.
    position: u64,
    ticker: Ticker,
    stage: String,
    /// The file of a model that is being fetched.
    fetched: String,
    /// Number of requests answered but not decoded yet.
    unread: u64,
    /// Measured requests of the current visits, by engine and stage.
    measured: Vec<Measured>,
}

/// The requests of a `measure` stage of a visit so far.
struct Measured {
    /// The first of them.
    id: RequestId,
    sent: u32,
    good: u32,
    /// Tokens of those that succeeded; `None` if one of them has no count.
    tokens: Option<u64>,
    /// Time of all, one after the other.
    latency_ns: u64,
}

impl Measured {
    fn new(id: &RequestId) -> Self {
        Self {
            id: id.clone(),
            sent: 0,
            good: 0,
            tokens: Some(0),
            latency_ns: 0,
        }
    }

    fn has(&self, id: &RequestId) -> bool {
        let of = &self.id;
        (&of.stage, &of.engine, of.cycle) == (&id.stage, &id.engine, id.cycle)
            && (&of.point, &of.model) == (&id.point, &id.model)
    }

    fn add(&mut self, record: &Record) {
        self.sent += 1;
        self.latency_ns = self.latency_ns.saturating_add(record.latency_ns());
        if record.ok() {
            self.good += 1;
            let tokens = record.tokens().map(u64::from);
            self.tokens = self.tokens.zip(tokens).map(|(all, more)| all + more);
        }
    }
}

impl<'a> Progress<'a> {
    pub(crate) fn new(global: &Global, plan: &'a Plan) -> Self {
        let bar = (!global.quiet && is_capable()).then(|| {
            let rest = if is_open(plan.cycles()) {
                // Its plan has more than anyone expects.
                ""
            } else {
                ", about {eta} for the rest"
            };
            let style = ProgressStyle::with_template(&format!(
                "{{bar:24}} {{pos}}/{{len}} requests, {{elapsed}} so far{rest}  {{msg}}"
            ));
            let bar =
                ProgressBar::with_draw_target(Some(plan.requests()), ProgressDrawTarget::stderr());
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Self {
            quiet: global.quiet,
            bar,
            segments: plan.segments(),
            visits: plan.visits.clone(),
            cycles: plan.cycles(),
            begun: 0,
            position: 0,
            ticker: Ticker::default(),
            unread: 0,
            stage: String::new(),
            fetched: String::new(),
            measured: Vec::new(),
        }
    }

    pub(crate) fn see(&mut self, event: &Event) {
        match event {
            // The findings of a check-up tell.
            Event::Stage { id: Some(id), .. } | Event::Failed { id: Some(id), .. }
                if Ask::of_stage(id).is_some() => {}
            Event::Stage {
                stage,
                id,
                visit,
                skipped,
                ..
            } => self.stage(*stage, id.as_deref(), visit.as_ref(), *skipped),
            Event::Answered => {
                self.unread += 1;
                self.answered();
            }
            Event::Request(record) => self.request(record),
            Event::Visit(visited) => self.visit(visited),
            Event::Stopped {
                point,
                model,
                cycles,
                of,
            } => self.stopped(point.as_deref(), model, *cycles, *of),
            Event::Fetching {
                model,
                file,
                bytes: of,
                have,
            } => self.fetching(model, file, *of, *have),
            Event::Loading {
                visit,
                seconds,
                available_bytes,
            } => {
                if let Some(bar) = &self.bar {
                    let line = format!("{visit}: loading, {seconds} s");
                    bar.set_message(output::one_line(&line).into_owned());
                }
                if let Some(line) = still_loading(*seconds, *available_bytes) {
                    self.say(&format!("{visit}: {line}"));
                }
            }
            other => {
                for line in self.lines(other) {
                    self.say(&line);
                }
            }
        }
    }

    fn stage(&mut self, stage: StageKind, id: Option<&str>, visit: Option<&Visit>, skipped: bool) {
        if let (StageKind::Load, Some(visit)) = (stage, visit) {
            self.begin(visit);
        }
        id.unwrap_or(stage.name()).clone_into(&mut self.stage);
        let at = visit.map_or_else(String::new, |visit| format!("{visit}: "));
        let line = format!("{at}{}", self.stage);
        if skipped {
            self.say(&format!("{line}: its `if` is false"));
            return;
        }
        match (stage, visit) {
            (StageKind::Load, _) => self.ticker.load(Instant::now()),
            (_, Some(visit)) => {
                let segment = self.segments.get(&visit.of_segment());
                let mut stages = segment.iter().flat_map(|it| &it.stages);
                if let Some(stage) = stages.find(|it| it.id == self.stage) {
                    self.ticker.begin(visit, stage, Instant::now());
                }
            }
            _ => {}
        }
        if let Some(bar) = &self.bar {
            bar.set_message(output::one_line(&line).into_owned());
        }
    }

    fn request(&mut self, record: &Record) {
        // Requests answered earlier have been counted.
        if self.unread > 0 {
            self.unread -= 1;
        } else {
            self.answered();
        }
        if record.id.phase == Phase::Measure {
            self.count(record);
        }
    }

    /// Moves the bar by an answered request, or tells of it where there is none.
    fn answered(&mut self) {
        self.position += 1;
        if let Some(bar) = &self.bar {
            bar.inc(1);
            return;
        }
        let mut ticker = std::mem::take(&mut self.ticker);
        let left = || {
            let all = self.requests(&self.visits);
            let left = all.saturating_sub(self.position);
            (!is_open(self.cycles)).then_some((left, self.visits.len()))
        };
        let line = ticker.answered(Instant::now(), left);
        self.ticker = ticker;
        if let Some(line) = line {
            self.say(&line);
        }
    }

    fn visit(&mut self, visited: &Visited) {
        // Also if requests were dropped.
        self.advance(self.begun);
        let before = self.visits.iter().take_while(|it| **it != visited.visit);
        self.say(&format!(
            "[{}/{}] {}: {}",
            before.count() + 1,
            self.visits.len(),
            visited.visit,
            self.outcome(visited)
        ));
    }

    fn stopped(&mut self, point: Option<&str>, model: &str, cycles: u32, of: u32) {
        let begun: Vec<Visit> = self.visits.drain(..self.begun).collect();
        let needless = |it: &Visit| {
            (it.point.as_deref(), it.model.as_str()) == (point, model) && it.cycle > cycles
        };
        self.visits.retain(|visit| !needless(visit));
        self.visits.splice(..0, begun);
        self.adjust();
        let model = of_point(model, point);
        let of = if is_open(of) {
            String::new()
        } else {
            format!(" of {of}")
        };
        self.say(&format!("{model}: decided after {cycles}{of} cycles"));
    }

    /// The lines for an event that only tells something.
    fn lines(&self, event: &Event) -> Vec<String> {
        let line = match event {
            Event::Step { name, reason, .. } => {
                let reason = reason
                    .as_ref()
                    .map_or_else(String::new, |reason| format!(" ({reason})"));
                format!("{}: {name}{reason}", self.stage)
            }
            Event::Rendering {
                point,
                model,
                rendering,
            } if !rendering.engines.is_empty() => {
                let model = of_point(model, point.as_deref());
                let engines = rendering.engines.join(", ");
                format!("{model}: rendering its chat template for {engines}")
            }
            Event::Selfcheck(check) => format!("selfcheck, {}", check.sentence()),
            Event::Failed {
                stage,
                id,
                scope,
                message,
                ..
            } => {
                let subject = subject(scope);
                let stage = id.as_deref().unwrap_or(stage.name());
                format!("failed: {subject}{stage}: {message}")
            }
            Event::Skipped {
                point,
                model,
                engine,
            } => {
                let model = of_point(model, point.as_deref());
                let on = engine
                    .as_ref()
                    .map_or_else(String::new, |engine| format!(" on {engine}"));
                format!("skipping the rest of {model}{on}")
            }
            Event::Look { .. } | Event::Pilot { .. } => return self.of_analysis(event),
            Event::IdlePower(power) => {
                let of_gpu = |(index, watts): (usize, &Option<f64>)| match watts {
                    Some(watts) => format!("GPU {index} {watts:.1} W"),
                    None => format!("GPU {index} not known"),
                };
                let gpus = power.gpus_w.iter().enumerate().map(of_gpu);
                let processor = power
                    .processor_w
                    .map(|watts| format!("processor {watts:.1} W"));
                let all: Vec<String> = gpus.chain(processor).collect();
                format!("idle power: {}", all.join(", "))
            }
            Event::Warning { message } => format!("warning: {message}"),
            Event::Degraded { visits, reason } => {
                // All of one cycle.
                let Some(visit) = visits.first() else {
                    return Vec::new();
                };
                let model = of_point(&visit.model, visit.point.as_deref());
                format!(
                    "{model}, cycle {}: {reason}: it does not count, and a replacement cycle may take its place",
                    visit.cycle
                )
            }
            Event::Started(_)
            | Event::Stage { .. }
            | Event::Answered
            | Event::Request(_)
            | Event::Visit(_)
            | Event::Stopped { .. }
            | Event::Loading { .. }
            | Event::Fetching { .. }
            | Event::Resumed { .. }
            | Event::Outputs { .. }
            | Event::ControlWork(_)
            | Event::Cycle { .. }
            | Event::Damaged { .. }
            | Event::Client { .. }
            | Event::Control { .. }
            | Event::Model { .. }
            | Event::Image { .. }
            | Event::Input(_)
            | Event::RequestSet { .. }
            | Event::Rendering { .. }
            | Event::WithoutImages { .. }
            | Event::Program { .. }
            | Event::Finished { .. } => return Vec::new(),
        };
        vec![line]
    }

    /// A file is being fetched: the bar tells how much has come, lines only when it begins.
    fn fetching(&mut self, model: &str, file: &str, of: u64, have: u64) {
        let of_file = format!("{model}: fetching {file}, {}", bytes(of));
        match &self.bar {
            Some(bar) => {
                let percent = have.saturating_mul(100) / of.max(1);
                bar.set_message(output::one_line(&format!("{of_file}, {percent} %")).into_owned());
            }
            None if self.fetched != file => self.say(&of_file),
            None => {}
        }
        file.clone_into(&mut self.fetched);
    }

    /// Tells of other pronys, by their process ids.
    pub(crate) fn tell_neighbours(&self, pids: &[String]) {
        for pid in pids {
            self.say(&format!(
                "warning: another prony (process {pid}) is measuring on this machine: the two disturb each other"
            ));
        }
    }

    /// The lines for what an interim analysis found.
    fn of_analysis(&self, event: &Event) -> Vec<String> {
        match event {
            Event::Look {
                point,
                model,
                candidate,
                stage,
                cycles,
                decision,
                low_percent,
                high_percent,
            } => {
                let verdict = match decision {
                    Decision::Continue => return Vec::new(),
                    Decision::Faster => "faster",
                    Decision::Slower => "slower",
                    Decision::Equivalent => "equivalent",
                    Decision::Inconclusive => "inconclusive",
                };
                let interval = match (low_percent, high_percent) {
                    (Some(low), Some(high)) => format!(" ({low:+.1} … {high:+.1} %)"),
                    _ => String::new(),
                };
                let model = of_point(model, point.as_deref());
                vec![format!(
                    "{model}, {stage}: {candidate} is {verdict} after {}{interval}",
                    count(u64::from(*cycles), "cycle")
                )]
            }
            Event::Pilot {
                point,
                model,
                better_requests: better,
                ..
            } => {
                let model = of_point(model, point.as_deref());
                let forecast = event.forecast(self.cycles);
                let forecast = forecast.map(|it| format!("{model}: {}", it.sentence()));
                let better = better.map(|it| format!("{model}: {}", better_requests(it)));
                forecast.into_iter().chain(better).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Visits come in the order of the plan; some may be skipped, and replacement visits
    /// may come in between.
    fn begin(&mut self, visit: &Visit) {
        // Engines that stay loaded side by side are measured in between.
        self.measured.retain(|measured| {
            let id = &measured.id;
            (&id.point, &id.model, id.cycle) == (&visit.point, &visit.model, visit.cycle)
        });
        let found = self.visits[self.begun..].iter().position(|it| it == visit);
        if let Some(found) = found {
            if found > 0 {
                // Of a run that is resumed, or of a model that is skipped.
                self.advance(self.begun + found);
            }
            self.begun += found + 1;
        } else {
            self.visits.insert(self.begun, visit.clone());
            self.begun += 1;
            self.adjust();
        }
    }

    /// Counts a measured request.
    fn count(&mut self, record: &Record) {
        let id = &record.id;
        let known = self.measured.iter().position(|it| it.has(id));
        let at = known.unwrap_or_else(|| {
            self.measured.push(Measured::new(id));
            self.measured.len() - 1
        });
        self.measured[at].add(record);
    }

    /// Number of requests in visits; stages with an `if` count as if they ran.
    fn requests(&self, visits: &[Visit]) -> u64 {
        let of = |visit: &Visit| {
            self.segments
                .get(&visit.of_segment())
                .map_or(0, |it| it.requests())
        };
        visits.iter().map(of).sum()
    }

    /// Sets the position to the end of so many visits.
    fn advance(&mut self, visits: usize) {
        self.position = self.requests(&self.visits[..visits]);
        if let Some(bar) = &self.bar {
            bar.set_position(self.position);
        }
    }

    /// Sets the bar's length to that of the visits.
    fn adjust(&self) {
        if let Some(bar) = &self.bar {
            bar.set_length(self.requests(&self.visits));
        }
    }

    /// The load time, and the outcome of each `measure` stage.
    fn outcome(&self, visited: &Visited) -> String {
        let mut parts = Vec::new();
        if let Some(load) = visited.load_time_ns {
            parts.push(format!("loaded in {:.2} s", load as f64 / 1e9));
        }
        let segment = self.segments.get(&visited.visit.of_segment());
        let stages: Vec<&Stage> = segment.map_or_else(Vec::new, |it| it.measures().collect());
        for stage in &stages {
            let of_it = |it: &&Measured| {
                (&it.id.stage, &it.id.engine) == (&stage.id, &visited.visit.engine)
            };
            let Some(measured) = self.measured.iter().find(of_it) else {
                continue;
            };
            let name = match stages.len() {
                1 => String::new(),
                _ => format!("{}: ", stage.id),
            };
            let Measured { sent, good, .. } = measured;
            // For a visit that was cut short; a stage with a time limit sends as many as
            // it can.
            let planned = stage.requests;
            let left_out = match stage.seconds {
                None if *sent < planned => format!(" ({planned} planned)"),
                _ => String::new(),
            };
            parts.push(format!("{name}{good} of {sent} requests{left_out}"));
            let time_ns = match stage.concurrency {
                1 => Some(measured.latency_ns),
                _ => visited.measure_ns.get(&stage.id).copied(),
            };
            let rate = measured.tokens.zip(time_ns);
            if let Some(rate) = rate.and_then(|(tokens, ns)| throughput::per_second(tokens, ns)) {
                parts.push(format!("{rate:.1} tok/s"));
            }
        }
        if parts.is_empty() {
            "nothing measured".to_owned()
        } else {
            parts.join(", ")
        }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.println(output::one_line(line)),
            None => eprintln!("{line}"),
        }
    }

    /// The run is over.
    pub(crate) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `true` for the cycles of an open run: its plan has more than anyone expects.
fn is_open(cycles: u32) -> bool {
    cycles > MAX_COMPARED_CYCLES
}

/// Remark on a load after 2, 5 and 8 minutes; `elapsed` is in seconds.
fn still_loading(elapsed: u64, available_bytes: Option<u64>) -> Option<String> {
    let remark = match elapsed {
        120 => "2 to 5 minutes are usual for the largest models",
        300 => "more than 5 minutes point to memory pressure: other programs may need closing",
        480 => "the model probably does not fit into memory",
        _ => return None,
    };
    let available = available_bytes
        .map(|available| format!(" ({} of memory available)", bytes(available)))
        .unwrap_or_default();
    let minutes = elapsed / 60;
    Some(format!(
        "still loading after {minutes} min{available}; {remark}"
    ))
}

fn of_point(model: &str, point: Option<&str>) -> String {
    match point {
        None => model.to_owned(),
        Some(point) => format!("{model} · {point}"),
    }
}

/// The subject of a failure; a missing model has no engine.
fn subject(scope: &Scope) -> String {
    match scope {
        Scope::Run => String::new(),
        Scope::Model { point, model } => format!("{} ", of_point(model, point.as_deref())),
        Scope::Visit(visit) => {
            let model = of_point(&visit.model, visit.point.as_deref());
            format!("{model} on {} ", visit.engine)
        }
    }
}
