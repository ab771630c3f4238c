//! The comparisons of a run in progress: an interim analysis after each cycle, by which a
//! model is decided early, continues, or gets a replacement cycle for one in which
//! something failed.
//!
//! The numbers are those of [`ratios`] and the rule is the one in the journal's first
//! line, so a report from the journal shows the same decisions. Of a cycle only its numbers are
//! kept, and of the current one those of its requests: texts and stamps are read from the journal.

use crate::Result;
use crate::groups::{arm, design};
use crate::journal::{Event, Family, Subject};
use crate::samples::{Key, Samples};
use crate::source::RecordSource;
use prony_config::Stop;
use prony_metrics::comparison::{Bound, Family as Comparisons, MAX_DEGRADED, Ratios, ratios};
use prony_metrics::statistics::pilot::{PILOT_CYCLES, Pilot, plan as pilot};
use prony_metrics::statistics::{Decision, Look, mean};
use prony_plan::{Plan, Segment, Visit};
use prony_result::to_percent;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Interim analyses of the comparisons, one model after the other.
#[derive(Debug)]
pub struct InterimAnalyses<'a> {
    plan: &'a Plan,
    subject: Subject,
    stop: Stop,
    family: Family,
    /// `None` if no analysis can decide anything.
    comparisons: Option<Comparisons>,
    /// Numbers of the comparisons of earlier models.
    earlier: Vec<Ratios>,
    /// Comparisons of the current model, as of the last analysis.
    current: Vec<Compared>,
    journal: PathBuf,
    /// The current cycle.
    samples: Samples<'a>,
    /// Engines of the current model that are out.
    out: HashSet<String>,
    /// Duration of its cycles, in seconds.
    seconds: Vec<f64>,
    piloted: bool,
}

/// A comparison of the current model.
#[derive(Debug, Clone, PartialEq)]
struct Compared {
    candidate: String,
    measure: String,
    numbers: Ratios,
    /// `true` if the stage's `if` has always skipped it.
    is_left_out: bool,
    look: Option<Look>,
}

impl Compared {
    /// Returns `true` if so many of its cycles have a failure that no verdict is given: more
    /// cycles may make them few.
    fn is_too_degraded(&self) -> bool {
        let degraded = self.numbers.degraded.len();
        let all = self.numbers.cycles().len() + degraded;
        degraded as f64 > MAX_DEGRADED * all as f64
    }

    fn is_decided(&self) -> bool {
        self.look
            .is_some_and(|look| look.decision != Decision::Continue)
    }
}

impl<'a> InterimAnalyses<'a> {
    /// Of a run, whose `journal` is being written; `None` if it compares nothing.
    pub fn new(plan: &'a Plan, subject: &Subject, stop: Stop, journal: &Path) -> Option<Self> {
        let family = subject.judged_by?;
        let possible = family.rule.max_cycles >= PILOT_CYCLES;
        let comparisons = family.comparisons as usize;
        Some(Self {
            plan,
            subject: subject.clone(),
            stop,
            family,
            comparisons: possible.then(|| Comparisons::by(family.rule, comparisons)),
            earlier: Vec::new(),
            current: Vec::new(),
            journal: journal.to_owned(),
            samples: Samples::of_cycle(plan),
            out: HashSet::new(),
            seconds: Vec::new(),
            piloted: false,
        })
    }

    /// Starts another model.
    pub fn begin(&mut self) {
        let over = std::mem::take(&mut self.current);
        self.earlier.extend(over.into_iter().map(|it| it.numbers));
        self.samples = Samples::of_cycle(self.plan);
        self.out.clear();
        self.seconds.clear();
        self.piloted = false;
    }

    /// Takes in an event that was written at a place of the journal.
    pub fn see(&mut self, event: &Event, position: u64) {
        if self.comparisons.is_none() {
            return;
        }
        if let Event::Skipped { engine, .. } = event {
            self.out.extend(engine.clone());
        }
        self.samples.see(event, position);
    }

    /// Analyses the comparisons after a cycle of `seconds`. Returns the events to
    /// journal.
    ///
    /// # Errors
    ///
    /// The journal cannot be read.
    pub fn analyse(&mut self, of: &Visit, seconds: f64) -> Result<Vec<Event>> {
        self.seconds.push(seconds);
        let Some(comparisons) = self.comparisons else {
            return Ok(Vec::new());
        };
        let before = std::mem::take(&mut self.current);
        let is_same =
            |a: &Compared, b: &Compared| (&a.candidate, &a.measure) == (&b.candidate, &b.measure);
        let mut current = self.numbers(of)?;
        for compared in &mut current {
            if let Some(before) = before.iter().find(|it| is_same(it, compared)) {
                let later = std::mem::replace(&mut compared.numbers, before.numbers.clone());
                compared.numbers.extend(later);
                compared.is_left_out = false;
            }
        }
        current.retain(|it| !it.is_left_out);
        self.samples = Samples::of_cycle(self.plan);
        let of_all: Vec<Ratios> = self
            .earlier
            .iter()
            .chain(current.iter().map(|it| &it.numbers))
            .cloned()
            .collect();
        let looks = comparisons.looks(&of_all);
        for (compared, look) in current.iter_mut().zip(&looks[self.earlier.len()..]) {
            compared.look = *look;
        }
        let is_new = |it: &&Compared| {
            !before.iter().any(|before| {
                is_same(before, it) && (before.is_decided() || before.look == it.look)
            })
        };
        let mut events: Vec<Event> = current
            .iter()
            .filter(is_new)
            .filter_map(|it| Self::told(of, it, comparisons))
            .collect();
        self.current = current;
        events.extend(self.pilot(of));
        Ok(events)
    }

    /// Returns `true` if the model needs no further cycle.
    pub fn is_settled(&self) -> bool {
        let is_over = |it: &Compared| it.is_decided() && !it.is_too_degraded();
        let decided = self.stop == Stop::Decided && self.current.iter().all(is_over);
        decided && !self.current.is_empty()
    }

    /// Returns `true` if a replacement cycle is needed for a failed one, when `spent`
    /// have been used.
    pub fn wants_replacement(&self, spent: usize) -> bool {
        let wants = |it: &Compared| {
            let is_open = self.stop == Stop::Never || !it.is_decided();
            let done = it.numbers.cycles().len();
            is_open && done < self.family.rule.max_cycles && it.numbers.degraded.len() > spent
        };
        self.current.iter().any(wants)
    }

    /// The feasible comparisons of a model: not those with an engine that is out, or
    /// skipped by the stage's `if`.
    fn numbers(&mut self, of: &Visit) -> Result<Vec<Compared>> {
        self.samples.finish();
        let source = RecordSource::File(&self.journal);
        let planned = self.plan.visits.iter().filter(|it| it.is_of_model(of));
        let planned: HashSet<&str> = planned.map(|it| it.engine.as_str()).collect();
        let runs = |name: &str| planned.contains(name) && !self.out.contains(name);
        let engines = &self.subject.engines;
        let Some(baseline) = engines
            .iter()
            .find(|it| it.baseline && runs(&it.name))
            .map(|it| it.name.as_str())
        else {
            return Ok(Vec::new());
        };
        let segments = self.plan.segments.iter().filter(|it| it.point == of.point);
        let mut compared = Vec::new();
        for stage in segments.flat_map(Segment::measures) {
            let sample = |engine| {
                self.samples
                    .group(&Key::new(of.of_model(), engine, &stage.id))
            };
            let candidates = engines.iter().filter(|it| !it.baseline && runs(&it.name));
            for candidate in candidates.map(|it| it.name.as_str()) {
                let (a, b) = (sample(baseline), sample(candidate));
                let is_left_out = a.is_left_out() || b.is_left_out();
                let pairs = source.pairs(&a.requests, &b.requests)?;
                let (a, b) = (arm((baseline, a)), arm((candidate, b)));
                compared.push(Compared {
                    candidate: candidate.to_owned(),
                    measure: stage.id.clone(),
                    numbers: ratios(a, b, &pairs, design(&self.subject, stage)),
                    is_left_out,
                    look: None,
                });
            }
        }
        Ok(compared)
    }

    fn told(of: &Visit, compared: &Compared, comparisons: Comparisons) -> Option<Event> {
        let look = compared.look?;
        // Of a run without end it takes longer with every cycle, and only a decision shows it.
        let is_due = !comparisons.is_open() || look.decision != Decision::Continue;
        let interval = is_due
            .then(|| comparisons.interval(&compared.numbers, &look))
            .flatten();
        Some(Event::Look {
            point: of.point.clone(),
            model: of.model.clone(),
            candidate: compared.candidate.clone(),
            stage: compared.measure.clone(),
            cycles: look.cycles as u32,
            decision: look.decision,
            estimate_percent: interval.map(|_| to_percent(look.estimate)),
            low_percent: interval.map(|it| to_percent(it.low)),
            high_percent: interval.map(|it| to_percent(it.high)),
        })
    }

    /// Estimates once, after the first cycles, what the comparison with the largest
    /// scatter will take.
    fn pilot(&mut self, visit: &Visit) -> Option<Event> {
        let rule = self.family.rule;
        let open: Vec<&Compared> = self.current.iter().filter(|it| !it.is_decided()).collect();
        let is_ready = |it: &&Compared| it.numbers.cycles().len() >= PILOT_CYCLES;
        let ready = open.iter().all(is_ready);
        if self.piloted || !ready || rule.max_cycles <= PILOT_CYCLES || rule.margin <= 0.0 {
            return None;
        }
        let plans = open.iter().filter_map(|it| {
            let evidence = it.numbers.evidence(Bound::Middle);
            let plan = pilot(evidence.as_ref(), rule.margin, rule.max_cycles)?;
            Some((plan, &it.numbers))
        });
        let of = |it: &(Pilot, &Ratios)| it.0.standard_deviation;
        let (worst, numbers) = plans.max_by(|a, b| of(a).total_cmp(&of(b)))?;
        let Pilot {
            expected_cycles,
            likely_cycles: (low, high),
            detectable,
            feasible,
            ..
        } = worst;
        self.piloted = true;
        let cycle_s = mean(&self.seconds);
        Some(Event::Pilot {
            point: visit.point.clone(),
            model: visit.model.clone(),
            expected_cycles: expected_cycles.ceil(),
            low_cycles: Some(low.ceil()),
            high_cycles: Some(high.ceil()),
            expected_s: expected_cycles.ceil() * cycle_s,
            detectable_percent: to_percent(detectable),
            feasible,
            better_requests: numbers.better_requests(PILOT_CYCLES),
        })
    }
}
