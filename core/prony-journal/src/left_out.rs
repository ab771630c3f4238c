//! Requests that are in no comparison, each with the reason.

use crate::Result;
use crate::groups::{groups, ratios_of};
use crate::reader::Reader;
use crate::result::Seen;
use crate::samples::{Key, Sample};
use crate::source::RecordSource;
use prony_metrics::comparison::Ratios;
use prony_record::{Phase, Record};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Reason why a request is in no comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeftOut {
    /// It warms the engine up, and is in no number at all.
    Warmup,
    /// In its cycle the run was broken off, or lines of the journal are damaged.
    BrokenVisit,
    /// In its cycle a request or a stage failed, on its engine or on the one that it is
    /// compared with.
    DegradedCycle,
    /// Its cycle lacks requests of an engine, as the last one of a run that was cut short.
    IncompleteCycle,
}

impl LeftOut {
    /// Its name in exported rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warmup => "warmup",
            Self::BrokenVisit => "broken_visit",
            Self::DegradedCycle => "degraded_cycle",
            Self::IncompleteCycle => "incomplete_cycle",
        }
    }
}

/// The cycles of a run that comparisons leave out, by the numbers that the comparisons rest on.
#[derive(Debug, Default)]
pub struct LeftOutCycles {
    /// By group and cycle; `None` where a comparison uses it.
    cycles: HashMap<(Key, u32), Option<LeftOut>>,
}

impl LeftOutCycles {
    /// Reads a journal.
    ///
    /// # Errors
    ///
    /// The journal cannot be read.
    pub fn of(journal: &Path) -> Result<Self> {
        let mut reader = Reader::open(journal)?;
        let started = reader.started().clone();
        let mut seen = Seen::new(&started);
        seen.all(&mut reader)?;
        seen.samples.finish();
        let mut found = Self::default();
        let source = RecordSource::File(journal);
        for group in groups(&started, &seen.samples, &seen.others, source) {
            for pair in group.pairs()? {
                let ratios = ratios_of(&group, &pair);
                let arms = [&pair.baseline, &pair.candidate].map(|arm| arm.name);
                let samples = arms.map(|name| group.sample(name));
                for (name, sample) in arms.iter().zip(samples) {
                    found.add(&group.key(name), sample, samples, &ratios);
                }
            }
        }
        Ok(found)
    }

    /// Takes in the cycles of an engine in one of its comparisons.
    fn add(&mut self, key: &Key, sample: &Sample, both: [&Sample; 2], ratios: &Ratios) {
        let used: BTreeSet<u32> = ratios.cycles().into_iter().collect();
        let broken: BTreeSet<u32> = both
            .iter()
            .flat_map(|it| &it.failures)
            .filter(|it| it.outside)
            .map(|it| it.cycle)
            .collect();
        let cycles: BTreeSet<u32> = sample.requests.facts().iter().map(|it| it.cycle).collect();
        for cycle in cycles {
            let reason = if used.contains(&cycle) {
                None
            } else if broken.contains(&cycle) {
                Some(LeftOut::BrokenVisit)
            } else if ratios.degraded.contains(&cycle) {
                Some(LeftOut::DegradedCycle)
            } else {
                Some(LeftOut::IncompleteCycle)
            };
            let known = self.cycles.entry((key.clone(), cycle)).or_insert(reason);
            // The baseline has several comparisons.
            if reason.is_none() {
                *known = None;
            }
        }
    }

    /// The reason why a request is in no comparison; `None` if it is in one, or if its engine
    /// is compared with no other.
    pub fn reason(&self, record: &Record) -> Option<LeftOut> {
        if record.id.phase == Phase::Warmup {
            return Some(LeftOut::Warmup);
        }
        let key = (Key::of_request(record), record.id.cycle);
        self.cycles.get(&key).copied().flatten()
    }
}
