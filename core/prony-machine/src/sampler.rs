//! Samples a process tree.

use crate::series::{Energy, GpuSample, Sample, Series, Usage, Window};
use crate::tree::Family;
use crate::{now_ns, nvml, os};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two samples.
pub const PERIOD: Duration = Duration::from_millis(100);
/// Number of samples between two readings of the GPUs, but for their energy.
const GPU_EVERY: u32 = 5;
/// Increase of a GPU's memory, in bytes, that is not taken for an engine's where the driver does
/// not tell processes apart. A CUDA context alone takes several times as much.
const MIN_OWN_GPU_GROWTH: u64 = 64 << 20;

/// Sampling options.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// CPUs to avoid, by number: those of the measuring threads. Only on Linux, and not
    /// if no other is left. On macOS the thread's quality of service keeps it out of the
    /// way.
    pub avoid_cpus: Vec<usize>,
}

/// Samples memory, CPU time and energy of a process and its descendants, on a
/// low-priority thread.
///
/// The tree consists of the family's members ([`Family::members`]); a process once seen in
/// it stays in it. New members are searched for every second, so
/// shorter-lived ones may be missed. Memory is the resident set; what several processes
/// share is told apart only at the end: for that the kernel walks all pages of a process
/// while it wants to run, which takes milliseconds for gigabytes.
#[derive(Debug)]
pub struct Sampler {
    series: Arc<Mutex<Series>>,
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Starts with a family of processes.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn start(of: Family, options: Options) -> std::io::Result<Self> {
        let series = Arc::new(Mutex::new(Series::default()));
        let (stop, stopped) = mpsc::channel();
        let kept = Arc::clone(&series);
        let thread = std::thread::Builder::new()
            .name("prony-sampler".to_owned())
            .spawn(move || {
                os::keep_out_of_the_way(&options.avoid_cpus);
                let mut watcher = Watcher::new(of);
                let begin = Instant::now();
                loop {
                    watcher.sample(&kept);
                    // The next full period, so that late samples do not bunch up.
                    let into = begin.elapsed().as_nanos() % PERIOD.as_nanos();
                    let into = Duration::from_nanos(u64::try_from(into).unwrap_or(0));
                    let wait = PERIOD.saturating_sub(into);
                    if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                        break;
                    }
                }
                watcher.count = 0;
                watcher.sample(&kept);
                // Now that nothing is measured any more.
                let twice = watcher.tree.counted_twice_bytes();
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.counted_twice_bytes = twice;
            })?;
        Ok(Self {
            series,
            stop,
            thread: Some(thread),
        })
    }

    /// Usage from `begin_ns` to `end_ns`, as [`now_ns`] counts, as far as known: the last
    /// sample may be 100 ms old, and anything after it does not count. So call it after
    /// [`Self::finish`], or a moment later.
    pub fn window(&self, begin_ns: u64, end_ns: u64) -> Window {
        self.lock().window(begin_ns, end_ns)
    }

    /// Usage so far.
    pub fn usage(&self) -> Usage {
        self.lock().usage()
    }

    /// Takes a last sample and stops; best called before the processes are asked to end.
    /// The samples remain available to [`Self::window`].
    pub fn finish(&mut self) {
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    /// [`Self::finish`], then [`Self::usage`].
    pub fn stop(mut self) -> Usage {
        self.finish();
        self.usage()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Series> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.finish();
    }
}

/// State of the sampling thread.
struct Watcher {
    tree: os::Tree,
    packages: os::Packages,
    count: u32,
    /// Memory in use on each GPU at the start.
    gpu_memory_before: Vec<Option<u64>>,
    /// `true` if the driver has ever reported memory of these processes.
    told_apart: bool,
}

impl Watcher {
    fn new(of: Family) -> Self {
        let gpus = nvml::states();
        Self {
            tree: os::Tree::new(of),
            packages: os::Packages::new(),
            count: 0,
            gpu_memory_before: gpus.iter().map(|gpu| gpu.memory_used_bytes).collect(),
            told_apart: false,
        }
    }

    fn sample(&mut self, series: &Mutex<Series>) {
        let seen = self.tree.sample();
        let at_ns = now_ns();
        let energy = Energy {
            at_ns,
            processor_j: self.packages.joules(),
            gpus_j: nvml::joules(),
        };
        let gpus = self
            .count
            .is_multiple_of(GPU_EVERY)
            .then(|| self.read_gpus());
        self.count += 1;
        let mut series = series.lock().unwrap_or_else(PoisonError::into_inner);
        // A tree that is gone uses no memory; that is not a sample of its usage.
        if let Some(rss_bytes) = seen.rss_bytes {
            series.samples.push(Sample {
                at_ns,
                rss_bytes,
                cpu_ns: seen.cpu_ns,
            });
        }
        series.high_water_bytes = series.high_water_bytes.max(seen.high_water_bytes);
        if energy.is_known() {
            series.energy.push(energy);
        }
        series.gpus.extend(gpus.flatten());
    }

    /// Reads the GPUs; `None` without any.
    fn read_gpus(&mut self) -> Option<GpuSample> {
        let gpus = nvml::states();
        if gpus.is_empty() {
            return None;
        }
        let own = nvml::memory_of(&self.tree.pids());
        self.told_apart |= own.is_some();
        let more = || {
            let used = gpus.iter().map(|gpu| gpu.memory_used_bytes);
            let more = |(used, before): (Option<u64>, &Option<u64>)| {
                let more = used?.saturating_sub((*before)?);
                (more > MIN_OWN_GPU_GROWTH).then_some(more)
            };
            used.zip(&self.gpu_memory_before).map(more).collect()
        };
        let own_memory_bytes = match own {
            Some(own) => own.into_iter().map(|it| (it > 0).then_some(it)).collect(),
            None if self.told_apart => vec![None; gpus.len()],
            None => more(),
        };
        Some(GpuSample {
            at_ns: now_ns(),
            gpus,
            own_memory_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, Signal, kill_process_group};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command};

    fn family(child: &Child) -> Family {
        Family {
            leader: child.id(),
            mark: "none".to_owned(),
        }
    }

    fn shell(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).process_group(0);
        command.spawn().expect("there is a shell")
    }

    #[test]
    fn a_tree_is_sampled() {
        // The grandchild works; the shell itself does not.
        let mut child = shell("(while :; do :; done) & wait");
        let begin = now_ns();
        let mut sampler = Sampler::start(family(&child), Options::default()).expect("it starts");
        std::thread::sleep(Duration::from_millis(2500));
        sampler.finish();
        let (usage, window) = (sampler.usage(), sampler.window(begin, now_ns()));
        let group = Pid::from_child(&child);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait();
        assert!(usage.total.samples >= 5, "{usage:?}");
        assert!(usage.total.peak_rss_bytes > Some(4096), "{usage:?}");
        assert!(usage.total.peak_rss_bytes >= usage.total.mean_rss_bytes);
        // It gets some CPU time even on the busiest machine.
        assert!(usage.total.cpu_seconds > Some(0.05), "{usage:?}");
        assert_eq!(window.samples, usage.total.samples);
    }

    /// Two processes that share 64 MiB have them once.
    #[cfg(target_os = "linux")]
    #[test]
    fn memory_that_processes_share_counts_once() {
        let mut child = std::process::Command::new("python3")
            .args(["-c", "import mmap, os, time\nm = mmap.mmap(-1, 64 << 20)\nm.write(bytes(64 << 20))\nif os.fork() == 0:\n    m[::4096]\nprint(1, flush=True)\ntime.sleep(60)"])
            .stdout(std::process::Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("there is a Python");
        let mut lines = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
        for _ in 0..2 {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut lines, &mut line).expect("a line");
        }
        let usage = Sampler::start(family(&child), Options::default())
            .expect("it starts")
            .stop();
        let group = Pid::from_child(&child);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait();
        let peak = usage.total.peak_rss_bytes.expect("samples") >> 20;
        // And Python; twice would be 128 MiB.
        assert!((64..120).contains(&peak), "{peak} MiB");
    }

    #[test]
    fn a_tree_that_is_not_there_has_no_samples() {
        let mut child = shell("exit 0");
        let _ = child.wait();
        let sampler = Sampler::start(
            family(&child),
            Options {
                avoid_cpus: (0..4096).collect(),
            },
        );
        let usage = sampler.expect("it starts").stop();
        assert_eq!(usage.total.samples, 0);
        assert_eq!(usage.total.peak_rss_bytes, None);
        assert_eq!(usage.total.cpu_seconds, None);
    }
}
