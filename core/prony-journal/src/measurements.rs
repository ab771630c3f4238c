//! The measured requests of a run, group by group, for whoever scores them in his own way.

use crate::Result;
use crate::reader::{Placed, Reader};
use crate::samples::{Key, Sample, Samples};
use crate::source::RecordSource;
use prony_metrics::durations::Sorted;
use prony_metrics::facts::{Requests, Streams};
use prony_metrics::throughput::throughput;
use prony_plan::{Plan, Segment};
use std::path::Path;

/// The requests of one matrix point, model, `measure` stage and engine.
#[derive(Debug)]
pub struct Measurement<'a> {
    /// Matrix point; `None` without a matrix.
    pub point: Option<&'a str>,
    /// Model id.
    pub model: &'a str,
    /// Id of the `measure` stage.
    pub measure: &'a str,
    /// Engine name.
    pub engine: &'a str,
    /// The requests.
    pub requests: &'a Requests,
    /// Number of them in cycles that were broken off, or in which something failed with this engine;
    /// no comparison has these.
    pub degraded: u64,
    /// Times of their texts.
    pub streams: Streams,
    /// Times between their chunks, with text or without.
    pub chunk_gaps: Sorted,
    /// Tokens per second, as results have them.
    pub output_tokens_per_sec: Option<f64>,
}

/// Reads a journal, and hands out its groups of requests in the order of point, model, stage
/// and engine, but only those of models that are `wanted`.
///
/// # Errors
///
/// The journal cannot be read.
pub fn measurements(
    journal: &Path,
    wanted: impl Fn(&str) -> bool,
    mut see: impl FnMut(&Measurement<'_>),
) -> Result<()> {
    let mut reader = Reader::open(journal)?;
    let started = reader.started().clone();
    let mut samples = Samples::new(&started.plan);
    for placed in &mut reader {
        let Placed { offset, event, .. } = placed?;
        samples.see(&event, offset);
    }
    samples.finish();
    let source = RecordSource::File(journal);
    let groups = samples.groups().into_iter();
    for (key, sample) in groups.filter(|(key, _)| wanted(&key.model)) {
        see(&measurement(&started.plan, key, sample, source)?);
    }
    Ok(())
}

fn measurement<'a>(
    plan: &Plan,
    key: &'a Key,
    sample: &'a Sample,
    source: RecordSource<'_>,
) -> Result<Measurement<'a>> {
    let Sample {
        requests,
        visits,
        failed,
        ..
    } = sample;
    let segments = plan.segments.iter().filter(|it| it.point == key.point);
    let mut stages = segments.flat_map(Segment::measures);
    let stage = stages.find(|it| it.id == key.measure);
    let concurrency = stage.map_or(1, |stage| stage.concurrency);
    let facts = requests.facts();
    Ok(Measurement {
        point: key.point.as_deref(),
        model: &key.model,
        measure: &key.measure,
        engine: &key.engine,
        requests,
        degraded: facts.iter().filter(|it| failed.contains(&it.cycle)).count() as u64,
        streams: source.streams(requests)?,
        chunk_gaps: requests.chunk_gaps(|see| source.each(facts, see))?,
        output_tokens_per_sec: throughput(&requests.all(), visits, concurrency),
    })
}
