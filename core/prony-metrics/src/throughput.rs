//! Tokens per second of a group of requests.

use crate::facts::Facts;

/// Facts about one visit of a group that its requests do not hold.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Visit {
    /// Cycle, from 1.
    pub cycle: u32,
    /// From starting the engine to its being ready; `None` if it never was, or
    /// ran already.
    pub load_time_ns: Option<u64>,
    /// From the beginning of its `load` stage to the earliest token of any request that
    /// succeeded; `None` as above.
    pub first_token_ns: Option<u64>,
    /// From asking the engine to end until all its processes were gone; `None` if it was
    /// not started by the run.
    pub unload_time_ns: Option<u64>,
    /// Wall-clock time of the group's `measure` stage; `None` if it never began.
    pub measure_ns: Option<u64>,
    /// Highest resident memory of the engine's processes, sampled.
    pub peak_memory_bytes: Option<u64>,
    /// Highest memory of the engine's processes on all GPUs, sampled.
    pub peak_gpu_memory_bytes: Option<u64>,
    /// CPU time of the engine's processes in the group's `measure` stage, in seconds.
    pub measure_cpu_s: Option<f64>,
    /// Energy in the group's `measure` stage.
    pub energy: VisitEnergy,
    /// Shortest time of the control, the fixed load beside the visit, if there was one.
    pub control_ns: Option<u64>,
    /// The engine that was visited right before, by a number that tells engines apart; `None`
    /// if none was, or several are loaded at once.
    pub before: Option<u32>,
}

/// Energy in a `measure` stage of a visit, in joules, with the idle energy taken off.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct VisitEnergy {
    /// Of the GPUs that the engine used, 0 if it used none; `None` if it is not known.
    pub gpu_j: Option<f64>,
    /// `true` if it used a GPU.
    pub uses_gpu: bool,
    /// Of the processor packages; `None` if it is not known.
    pub processor_j: Option<f64>,
    /// Mean power of the GPUs that it used, in watts, idle power included.
    pub gpu_power_w: Option<f64>,
    /// Their idle power, in watts.
    pub idle_gpu_power_w: Option<f64>,
    /// Reason why something is not known, in words.
    pub withheld: Option<&'static str>,
}

/// Output tokens per second, as a ratio of sums.
///
/// One request in flight: tokens of successful requests over the time of all
/// requests, so that an engine which fails slowly does not look fast. Several
/// in flight: over the wall-clock time of the measure stages.
///
/// `None` when nothing succeeded or a successful request has no token count.
pub fn throughput(measured: &[&Facts], visits: &[Visit], concurrency: u32) -> Option<f64> {
    rate(measured, visits, concurrency, Facts::tokens)
}

/// The same by another count of tokens.
pub(crate) fn rate(
    measured: &[&Facts],
    visits: &[Visit],
    concurrency: u32,
    count: impl Fn(&Facts) -> Option<u32>,
) -> Option<f64> {
    let mut tokens = 0;
    for record in measured.iter().filter(|record| record.ok()) {
        tokens += u64::from(count(record)?);
    }
    // A journal may claim any time.
    let time = if concurrency == 1 {
        let times = measured.iter().map(|record| record.latency_ns());
        times.fold(0, u64::saturating_add)
    } else {
        let times = visits.iter().filter_map(|visit| visit.measure_ns);
        times.fold(0, u64::saturating_add)
    };
    per_second(tokens, time)
}

/// `tokens` per second, if they took `time_ns`; `None` without any.
pub fn per_second(tokens: u64, time_ns: u64) -> Option<f64> {
    (tokens > 0 && time_ns > 0).then(|| tokens as f64 * 1e9 / time_ns as f64)
}
