//! The comparisons of a run in progress: an interim analysis after each cycle, by which a
//! model is decided early, continues, or gets a replacement cycle for one in which
//! something failed.
//!
//! The numbers are those of [`ratios`] and the rule is the one in the journal's first
//! line, so a report from the journal shows the same decisions.

use crate::journal::{Event, Family, Subject};
use crate::result::{arm, design};
use crate::samples::{Key, Samples};
use prony_config::Stop;
use prony_metrics::comparison::ratios;
use prony_metrics::statistics::holm::Holm;
use prony_metrics::statistics::pilot::{PILOT_CYCLES, Pilot, plan as pilot};
use prony_metrics::statistics::{Decision, Look, mean};
use prony_plan::{Plan, Segment, Visit};
use prony_record::Phase;
use prony_result::to_percent;
use std::collections::HashSet;

/// Interim analyses of the comparisons, one model after the other.
#[derive(Debug)]
pub struct InterimAnalyses<'a> {
    plan: &'a Plan,
    subject: Subject,
    stop: Stop,
    family: Family,
    /// `None` if no analysis can decide anything.
    holm: Option<Holm>,
    /// Log ratios per cycle of the comparisons of earlier models.
    earlier: Vec<Vec<f64>>,
    /// Comparisons of the current model, as of the last analysis.
    current: Vec<Compared>,
    /// Events of the current model.
    events: Vec<Event>,
    /// Duration of its cycles, in seconds.
    seconds: Vec<f64>,
    piloted: bool,
}

/// A comparison of the current model.
#[derive(Debug, Clone, PartialEq)]
struct Compared {
    candidate: String,
    measure: String,
    numbers: Vec<f64>,
    degraded: usize,
    look: Option<Look>,
}

impl Compared {
    fn is_decided(&self) -> bool {
        self.look
            .is_some_and(|look| look.decision != Decision::Continue)
    }
}

impl<'a> InterimAnalyses<'a> {
    /// Looks up or simulates the critical values. Takes up to seconds, so not between
    /// cycles.
    pub fn new(plan: &'a Plan, subject: &Subject, stop: Stop) -> Option<Self> {
        let family = subject.judged_by?;
        let possible = family.rule.max_cycles >= PILOT_CYCLES;
        let holm = possible.then(|| Holm::new(family.rule, family.comparisons as usize));
        if let Some(holm) = &holm {
            holm.prepare();
        }
        Some(Self {
            plan,
            subject: subject.clone(),
            stop,
            family,
            holm,
            earlier: Vec::new(),
            current: Vec::new(),
            events: Vec::new(),
            seconds: Vec::new(),
            piloted: false,
        })
    }

    /// Starts another model.
    pub fn begin(&mut self) {
        let over = std::mem::take(&mut self.current);
        self.earlier.extend(over.into_iter().map(|it| it.numbers));
        self.events.clear();
        self.seconds.clear();
        self.piloted = false;
    }

    /// Keeps the events that an analysis needs.
    pub fn see(&mut self, event: &Event) {
        if self.holm.is_none() {
            return;
        }
        match event {
            Event::Request(record) if record.id.phase == Phase::Measure => {
                let mut record = record.clone();
                // An analysis needs only counts and total times.
                record.text = String::new();
                record.arrivals = Vec::new();
                self.events.push(Event::Request(record));
            }
            Event::Stage { .. }
            | Event::Visit(_)
            | Event::Failed { .. }
            | Event::Skipped { .. } => self.events.push(event.clone()),
            _ => {}
        }
    }

    /// Analyses the comparisons after a cycle of `seconds`. Returns the events to
    /// journal.
    pub fn analyse(&mut self, of: &Visit, seconds: f64) -> Vec<Event> {
        self.seconds.push(seconds);
        let Some(holm) = &self.holm else {
            return Vec::new();
        };
        let before = std::mem::take(&mut self.current);
        let mut current = self.numbers(of);
        let of_all: Vec<&[f64]> = self
            .earlier
            .iter()
            .map(Vec::as_slice)
            .chain(current.iter().map(|it| it.numbers.as_slice()))
            .collect();
        let looks = holm.judge(&of_all);
        for (compared, look) in current.iter_mut().zip(&looks[self.earlier.len()..]) {
            compared.look = *look;
        }
        let is_new = |it: &&Compared| {
            !before.iter().any(|before| {
                (&before.candidate, &before.measure) == (&it.candidate, &it.measure)
                    && (before.is_decided() || before.look == it.look)
            })
        };
        let mut events: Vec<Event> = current
            .iter()
            .filter(is_new)
            .filter_map(|it| Self::told(of, it))
            .collect();
        self.current = current;
        events.extend(self.pilot(of));
        events
    }

    /// Returns `true` if the model needs no further cycle.
    pub fn is_settled(&self) -> bool {
        let decided = self.stop == Stop::Decided && self.current.iter().all(Compared::is_decided);
        decided && !self.current.is_empty()
    }

    /// Returns `true` if a replacement cycle is needed for a failed one, when `spent`
    /// have been used.
    pub fn wants_replacement(&self, spent: usize) -> bool {
        let wants = |it: &Compared| {
            let is_open = self.stop == Stop::Never || !it.is_decided();
            is_open && it.numbers.len() < self.family.rule.max_cycles && it.degraded > spent
        };
        self.current.iter().any(wants)
    }

    /// The feasible comparisons of a model: not those with an engine that is out, or
    /// skipped by the stage's `if`.
    fn numbers(&self, of: &Visit) -> Vec<Compared> {
        let samples = Samples::new(self.plan, &self.events);
        let out = self.events.iter().filter_map(|event| match event {
            Event::Skipped { engine, .. } => engine.as_deref(),
            _ => None,
        });
        let out: HashSet<&str> = out.collect();
        let planned = self.plan.visits.iter().filter(|it| it.is_of_model(of));
        let planned: HashSet<&str> = planned.map(|it| it.engine.as_str()).collect();
        let runs = |name: &str| planned.contains(name) && !out.contains(name);
        let engines = &self.subject.engines;
        let Some(baseline) = engines
            .iter()
            .find(|it| it.baseline && runs(&it.name))
            .map(|it| it.name.as_str())
        else {
            return Vec::new();
        };
        let segments = self.plan.segments.iter().filter(|it| it.point == of.point);
        let mut compared = Vec::new();
        for stage in segments.flat_map(Segment::measures) {
            let sample = |engine| {
                samples.group(Key {
                    model: of.of_model(),
                    engine,
                    measure: &stage.id,
                })
            };
            let candidates = engines.iter().filter(|it| !it.baseline && runs(&it.name));
            for candidate in candidates.map(|it| it.name.as_str()) {
                let (a, b) = (sample(baseline), sample(candidate));
                if a.is_left_out() || b.is_left_out() {
                    continue;
                }
                let (a, b) = (arm((baseline, a)), arm((candidate, b)));
                let ratios = ratios(a, b, design(&self.subject, stage));
                compared.push(Compared {
                    candidate: candidate.to_owned(),
                    measure: stage.id.clone(),
                    numbers: ratios.throughputs(),
                    degraded: ratios.degraded.len(),
                    look: None,
                });
            }
        }
        compared
    }

    fn told(of: &Visit, compared: &Compared) -> Option<Event> {
        let look = compared.look?;
        Some(Event::Look {
            point: of.point.clone(),
            model: of.model.clone(),
            candidate: compared.candidate.clone(),
            stage: compared.measure.clone(),
            cycles: look.cycles as u32,
            decision: look.decision,
            low_percent: look.interval.map(|it| to_percent(it.low)),
            high_percent: look.interval.map(|it| to_percent(it.high)),
        })
    }

    /// Estimates once, after the first cycles, what the comparison with the largest
    /// scatter will take.
    fn pilot(&mut self, of: &Visit) -> Option<Event> {
        let rule = self.family.rule;
        let open: Vec<&Compared> = self.current.iter().filter(|it| !it.is_decided()).collect();
        let ready = open.iter().all(|it| it.numbers.len() >= PILOT_CYCLES);
        if self.piloted || !ready || rule.max_cycles <= PILOT_CYCLES || rule.margin <= 0.0 {
            return None;
        }
        let plans = open
            .iter()
            .filter_map(|it| pilot(&it.numbers, rule.margin, rule.max_cycles));
        let worst = plans.max_by(|a, b| a.standard_deviation.total_cmp(&b.standard_deviation));
        let Pilot {
            expected_cycles,
            detectable,
            feasible,
            ..
        } = worst?;
        self.piloted = true;
        let cycle_s = mean(&self.seconds);
        Some(Event::Pilot {
            point: of.point.clone(),
            model: of.model.clone(),
            expected_cycles: expected_cycles.ceil(),
            expected_s: expected_cycles.ceil() * cycle_s,
            detectable_percent: to_percent(detectable),
            feasible,
        })
    }
}
