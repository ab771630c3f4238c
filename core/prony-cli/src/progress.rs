//! Progress of a run: a view on a terminal; otherwise a line per visit, and some within a long one.

mod left;
mod measured;
mod screen;
mod ticker;
mod told;

use self::left::{Ending, Left};
use self::measured::{Measured, outcome};
use self::screen::{Compared, Doing, Last, Looked, Screen, Sent};
use self::ticker::Ticker;
use self::told::{lines, of_point, still_loading};
use crate::arguments::Global;
use crate::view::View;
use jiff::ZonedDateTime;
use prony_config::{Ask, MAX_COMPARED_CYCLES, Pipeline};
use prony_journal::{Event, Visited};
use prony_plan::{Plan, Segment, SegmentKey, StageKind, Visit};
use prony_record::{Phase, Record};
use prony_result::words::{bytes, count};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Follows the events of a run.
pub(crate) struct Progress<'a> {
    quiet: bool,
    /// The view of the screen; without one there are lines.
    view: Option<View>,
    screen: Arc<Mutex<Screen>>,
    segments: HashMap<SegmentKey<'a>, &'a Segment>,
    /// The expected visits: those planned, without the ones made unnecessary by a
    /// verdict, and with those of replacement cycles.
    visits: Vec<Visit>,
    /// Planned cycles.
    cycles: u32,
    ending: Ending,
    /// Durations of the cycles of the model under way, in seconds.
    cycle_s: Vec<f64>,
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

impl<'a> Progress<'a> {
    pub(crate) fn new(global: &Global, pipeline: &Pipeline, plan: &'a Plan) -> Self {
        let ending = Ending::of(pipeline);
        let screen = Arc::new(Mutex::new(Screen {
            plan: planned(pipeline, plan, ending),
            planned: (!is_open(plan.cycles())).then(|| plan.requests()),
            position: 0,
            now: Doing::new("setup"),
            sent: Sent::default(),
            compared: Compared::new(pipeline, plan, ending),
            left: Left::new(&plan.visits, ending, None),
        }));
        let shown = Arc::clone(&screen);
        let view = View::start(global, move |columns| {
            // What is laid out below holds up nobody who counts a request.
            let screen = locked(&shown).clone();
            screen.lines(columns, Instant::now(), &ZonedDateTime::now())
        });
        Self {
            quiet: global.quiet,
            view,
            screen,
            segments: plan.segments(),
            visits: plan.visits.clone(),
            cycles: plan.cycles(),
            ending,
            cycle_s: Vec::new(),
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
                self.answered(None);
            }
            Event::Request(record) => self.request(record),
            Event::Visit(visited) => self.visit(visited),
            Event::Cycle { seconds, .. } => {
                self.cycle_s.push(*seconds);
                self.leave(self.begun);
            }
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
                if let Some(line) = still_loading(*seconds, *available_bytes) {
                    self.say(&format!("{visit}: {line}"));
                }
            }
            other => {
                self.look(other);
                for line in lines(other, &self.stage, self.cycles) {
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
        if skipped {
            let at = visit.map_or_else(String::new, |visit| format!("{visit}: "));
            self.say(&format!("{at}{}: its `if` is false", self.stage));
            return;
        }
        let mut doing = Doing::new(&self.stage);
        doing.place = visit.map_or_else(Vec::new, |visit| self.place(visit));
        match (stage, visit) {
            (StageKind::Load, _) => self.ticker.load(Instant::now()),
            (_, Some(visit)) => {
                let segment = self.segments.get(&visit.of_segment());
                let mut stages = segment.iter().flat_map(|it| &it.stages);
                if let Some(stage) = stages.find(|it| it.id == self.stage) {
                    self.ticker.begin(visit, stage, Instant::now());
                    let engines = self.ticker.engines();
                    let visit = engines.map(|engine| Visit {
                        engine,
                        ..visit.clone()
                    });
                    doing.place = visit.map_or_else(Vec::new, |visit| self.place(&visit));
                    doing.sending = self.ticker.sending();
                }
            }
            _ => {}
        }
        self.screen().now = doing;
    }

    /// The place of the visit that began last, in parts.
    fn place(&self, visit: &Visit) -> Vec<String> {
        let number = if is_open(self.cycles) {
            format!("visit {}", self.begun)
        } else {
            format!("visit {} of {}", self.begun, self.visits.len())
        };
        let model = of_point(&visit.model, visit.point.as_deref());
        let mut parts = vec![
            number,
            format!("{model} on {}", visit.engine),
            format!("cycle {}", visit.cycle),
        ];
        if visit.segment > 1 {
            parts.push(format!("segment {}", visit.segment));
        }
        parts
    }

    fn request(&mut self, record: &Record) {
        // Requests answered earlier have been counted.
        if self.unread > 0 {
            self.unread -= 1;
            self.screen().decoded(record, self.unread);
        } else {
            self.answered(Some(record));
        }
        if record.id.phase == Phase::Measure {
            self.count(record);
        }
    }

    /// Counts a request that was answered, and is decoded if there is a record; tells of it where
    /// there is no view.
    fn answered(&mut self, record: Option<&Record>) {
        self.position += 1;
        let mut ticker = std::mem::take(&mut self.ticker);
        let left = || {
            let all = self.requests(&self.visits);
            let left = all.saturating_sub(self.position);
            (!is_open(self.cycles)).then_some((left, self.visits.len()))
        };
        let line = ticker.answered(Instant::now(), left);
        self.ticker = ticker;
        {
            let mut screen = self.screen();
            screen.position = self.position;
            screen.sent.answered += 1;
            screen.sent.unread = self.unread;
            screen.now.sending = self.ticker.sending();
            if let Some(record) = record {
                screen.decoded(record, self.unread);
            }
        }
        if let Some(line) = line.filter(|_| self.view.is_none()) {
            self.say(&line);
        }
    }

    fn visit(&mut self, visited: &Visited) {
        // Also if requests were dropped.
        self.advance(self.begun);
        let before = self.visits.iter().take_while(|it| **it != visited.visit);
        let segment = self.segments.get(&visited.visit.of_segment());
        self.say(&format!(
            "[{}/{}] {}: {}",
            before.count() + 1,
            self.visits.len(),
            visited.visit,
            outcome(visited, segment.copied(), &self.measured)
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
        self.leave(self.begun);
        let model = of_point(model, point);
        let of = if is_open(of) {
            String::new()
        } else {
            format!(" of {of}")
        };
        self.say(&format!("{model}: decided after {cycles}{of} cycles"));
    }

    /// Shows an interim analysis.
    fn look(&self, event: &Event) {
        let Event::Look {
            candidate,
            stage,
            cycles,
            decision,
            estimate_percent,
            low_percent,
            high_percent,
            point,
            ..
        } = event
        else {
            return;
        };
        let segments = self.segments.values().filter(|it| it.point == *point);
        let measures: usize = segments.map(|it| it.measures().count()).sum();
        let ends = low_percent.zip(*high_percent).map(<[f64; 2]>::from);
        let difference = estimate_percent.zip(ends);
        self.screen().compared.look(Looked {
            candidate: candidate.clone(),
            stage: (measures > 1).then(|| stage.clone()),
            cycles: *cycles,
            decision: *decision,
            difference,
        });
    }

    /// A file is being fetched: the view tells how much has come, lines only when it begins.
    fn fetching(&mut self, model: &str, file: &str, of: u64, have: u64) {
        let of_file = format!("{model}: fetching {file}, {}", bytes(of));
        let is_new = self.fetched != file;
        if is_new {
            file.clone_into(&mut self.fetched);
            if self.view.is_none() {
                self.say(&of_file);
            }
        }
        let percent = have.saturating_mul(100) / of.max(1);
        let stage = format!("{of_file}, {percent} %");
        let mut screen = self.screen();
        if is_new {
            screen.now = Doing::new(&stage);
        } else {
            screen.now.stage = stage;
        }
    }

    /// Tells of other pronys, by their process ids.
    pub(crate) fn tell_neighbours(&self, pids: &[String]) {
        for pid in pids {
            self.say(&format!(
                "warning: another prony (process {pid}) is measuring on this machine: the two disturb each other"
            ));
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
        let last = self.begun.checked_sub(1).and_then(|it| self.visits.get(it));
        let is_same_model = last.is_some_and(|it| it.is_of_model(visit));
        let is_same_cycle = is_same_model && last.is_some_and(|it| it.cycle == visit.cycle);
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
        if !is_same_model {
            self.cycle_s.clear();
            self.screen().compared.begin();
        }
        if !is_same_cycle {
            self.leave(self.begun - 1);
        }
        self.screen().compared.cycle = visit.cycle;
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
        self.screen().position = self.position;
    }

    /// Sets the number of requests to that of the visits.
    fn adjust(&self) {
        let all = (!is_open(self.cycles)).then(|| self.requests(&self.visits));
        self.screen().planned = all;
    }

    /// Shows what is left from a visit on.
    fn leave(&self, from: usize) {
        let cycle_s = (!self.cycle_s.is_empty())
            .then(|| self.cycle_s.iter().sum::<f64>() / self.cycle_s.len() as f64);
        self.screen().left = Left::new(&self.visits[from..], self.ending, cycle_s);
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        locked(&self.screen)
    }

    fn say(&self, line: &str) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }

    /// The run is over.
    pub(crate) fn end(self) {
        drop(self.view);
    }
}

impl Screen {
    /// Counts a request that was decoded, when so many are not yet.
    fn decoded(&mut self, record: &Record, unread: u64) {
        self.sent.unread = unread;
        self.sent.failed += u64::from(!record.ok());
        self.sent.last = Some(Last::of(record));
        self.compared.count(record);
    }
}

impl Compared {
    fn new(pipeline: &Pipeline, plan: &Plan, ending: Ending) -> Self {
        let compare = pipeline.compare.as_ref();
        Self {
            baseline: compare.map_or_else(String::new, |it| it.baseline.clone()),
            margin_percent: compare.map_or(0.0, |it| it.margin_percent),
            ending,
            cycles: plan.cycles(),
            cycle: 0,
            looks: Vec::new(),
            measured: Vec::new(),
        }
    }
}

fn locked(screen: &Mutex<Screen>) -> MutexGuard<'_, Screen> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Engines, models, matrix points and cycles of a plan, in parts.
fn planned(pipeline: &Pipeline, plan: &Plan, ending: Ending) -> Vec<String> {
    const NAMED: usize = 3;
    let mut engines: Vec<&str> = Vec::new();
    let mut models: Vec<&str> = Vec::new();
    let mut points: Vec<&str> = Vec::new();
    for visit in plan.models().flatten() {
        add(&mut engines, visit.engine.as_str());
    }
    for visit in plan.models().filter_map(|visits| visits.first()) {
        add(&mut models, visit.model.as_str());
        if let Some(point) = &visit.point {
            add(&mut points, point.as_str());
        }
    }
    let named = |names: &[&str], noun: &str| match names.len() {
        0 => String::new(),
        many if many > NAMED => count(many as u64, noun),
        _ => names.join(" and "),
    };
    let cycles = count(u64::from(plan.cycles()), "cycle");
    let mut parts = vec![
        format!("{}: {}", pipeline.name, named(&engines, "engine")),
        named(&models, "model"),
    ];
    if !points.is_empty() {
        parts.push(count(points.len() as u64, "matrix point"));
    }
    parts.push(match ending {
        Ending::Planned => cycles,
        Ending::Decided { .. } => format!("at most {cycles}"),
        Ending::Open { .. } => "cycles until it is decided".to_owned(),
    });
    parts
}

/// Adds a name that is not there yet.
fn add<'n>(names: &mut Vec<&'n str>, name: &'n str) {
    if !names.contains(&name) {
        names.push(name);
    }
}

/// `true` for the cycles of an open run: its plan has more than anyone expects.
fn is_open(cycles: u32) -> bool {
    cycles > MAX_COMPARED_CYCLES
}
