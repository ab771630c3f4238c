//! Cost of the view of a run: the same runs on a terminal with it and with plain lines, in turn.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use crate::workspace::{Workspace, create_folder};
use crate::{build, shell};

/// Runs of each load with the view, and as many without.
const RUNS: usize = 7;
/// Time between two looks at a process; what a thread does after the last one is not counted.
const POLL: Duration = Duration::from_millis(20);

/// Requests in flight, and requests; each takes 5 ms and 64 ms for as many tokens.
const LOADS: [(u32, u32); 2] = [(1, 120), (16, 2000)];

/// Processor time of prony's threads, by their names, in seconds, and wall-clock time.
#[derive(Debug, Default)]
struct Cost {
    threads: BTreeMap<String, f64>,
    wall_s: f64,
}

impl Cost {
    fn of(&self, prefix: &str) -> f64 {
        let named = self.threads.iter().filter(|it| it.0.starts_with(prefix));
        named.map(|it| it.1).sum()
    }
}

pub(super) fn view(workspace: &Workspace) -> Result<()> {
    ensure!(
        Path::new("/proc/self/schedstat").is_file(),
        "this bench needs Linux with the times of threads (`/proc/PID/schedstat`)"
    );
    ensure!(
        shell::on_path("script").is_some(),
        "this bench needs the program `script`, which opens a terminal"
    );
    build::build(workspace)?;
    let folder = workspace.target.join("view");
    create_folder(&folder)?;
    println!(
        "{:<28} {:>10} {:>10} {:>8}",
        "processor time, s", "lines", "view", "ratio (of pairs)"
    );
    for (in_flight, requests) in LOADS {
        let server = Server::start(&workspace.prony())?;
        let pipeline = pipeline(&folder, &server.address, in_flight, requests)?;
        let mut costs: [Vec<Cost>; 2] = Default::default();
        for pair in 0..RUNS {
            // Whatever drifts touches each as often first as second.
            let first = pair % 2;
            for at in [first, 1 - first] {
                costs[at].push(run(&workspace.prony(), &pipeline, &folder, at == 1)?);
            }
        }
        println!("{requests} requests, {in_flight} in flight");
        for (name, prefix) in [
            ("  load client", "loadgen"),
            ("  its runner", "prony"),
            ("  all of prony", ""),
        ] {
            let [lines, view] = [0, 1].map(|at| median(&costs[at], |it| it.of(prefix)));
            let pairs = costs[0].iter().zip(&costs[1]);
            let ratios = pairs.map(|(lines, view)| view.of(prefix) / lines.of(prefix).max(1e-9));
            let mut ratios: Vec<f64> = ratios.collect();
            ratios.sort_by(f64::total_cmp);
            println!(
                "{name:<28} {lines:>10.3} {view:>10.3} {:>8.3}  ({:.3} … {:.3})",
                ratios[RUNS / 2],
                ratios[0],
                ratios[RUNS - 1]
            );
        }
        let of_view = median(&costs[1], |it| it.of("view"));
        let wall_s = median(&costs[1], |it| it.wall_s);
        println!(
            "{:<28} {:>10} {of_view:>10.3} {:>7.3} % of a core",
            "  the view's thread",
            "",
            of_view / wall_s * 100.0
        );
    }
    fs::remove_dir_all(&folder).context("cannot remove the bench's folder")
}

/// The truth server, outside of prony, so that its time is not prony's.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(prony: &Path) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let port = port.to_string();
        let child = Command::new(prony)
            .args(["truth-server", "--port", &port, "--tokens", "64"])
            .args(["--time-to-first-token-ms", "5"])
            .args(["--inter-token-latency-us", "1000"])
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start the truth server")?;
        let server = Self {
            child,
            address: format!("127.0.0.1:{port}"),
        };
        let begun = Instant::now();
        while std::net::TcpStream::connect(&server.address).is_err() {
            ensure!(
                begun.elapsed() < Duration::from_secs(10),
                "the truth server does not answer"
            );
            std::thread::sleep(POLL);
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pipeline(folder: &Path, address: &str, in_flight: u32, requests: u32) -> Result<PathBuf> {
    // JSON is YAML.
    let pipeline = json!({
        "version": 1,
        "name": "view",
        "engines": { "truth": {
            "plugin": "openai",
            "config": { "model": "truth", "base_url": format!("http://{address}/v1") },
        } },
        "models": [{ "id": "truth" }],
        "workload": { "prompts": ["one", "two"], "max_tokens": 128, "temperature": 0 },
        "stages": [
            { "load": {} },
            { "measure": { "requests": requests, "arrival": { "concurrency": in_flight } } },
            { "report": { "reporters": ["json"] } },
        ],
    });
    let path = folder.join(format!("{in_flight}.yaml"));
    fs::write(&path, pipeline.to_string())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Runs a pipeline on a terminal.
fn run(prony: &Path, pipeline: &Path, folder: &Path, has_view: bool) -> Result<Cost> {
    let (pid, results) = (folder.join("pid"), folder.join("results"));
    for old in [&pid, &results] {
        if old.is_dir() {
            fs::remove_dir_all(old)?;
        } else if old.exists() {
            fs::remove_file(old)?;
        }
    }
    let line = format!(
        "stty rows 40 cols 120; echo $$ > '{}'; exec '{}' run '{}' --results '{}'",
        pid.display(),
        prony.display(),
        pipeline.display(),
        results.display()
    );
    let mut terminal = Command::new("script");
    terminal
        .args(["-q", "-e", "-c", &line, "/dev/null"])
        .env("TERM", "xterm-256color")
        .env("CI", if has_view { "" } else { "true" })
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let begun = Instant::now();
    let mut terminal = terminal.spawn().context("cannot start `script`")?;
    let mut threads = BTreeMap::new();
    let status = loop {
        if let Some(process) = fs::read_to_string(&pid)
            .ok()
            .filter(|it| it.ends_with('\n'))
        {
            look(process.trim(), &mut threads);
        }
        if let Some(status) = terminal.try_wait()? {
            break status;
        }
        std::thread::sleep(POLL);
    };
    // A busy machine makes the numbers of a run invalid, which matters to nothing here.
    if !matches!(status.code(), Some(0 | 6)) {
        bail!("the run failed: {status}");
    }
    let mut cost = Cost {
        wall_s: begun.elapsed().as_secs_f64(),
        ..Cost::default()
    };
    for (name, seconds) in threads.into_values() {
        *cost.threads.entry(name).or_default() += seconds;
    }
    ensure!(
        has_view == cost.threads.contains_key("view"),
        "the run with a view has none, or the other one has"
    );
    Ok(cost)
}

/// Notes name and processor time, in seconds, of each thread of a process.
fn look(process: &str, threads: &mut BTreeMap<String, (String, f64)>) {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
        return;
    };
    for task in tasks.flatten().map(|it| it.path()) {
        let read = |name: &str| fs::read_to_string(task.join(name)).ok();
        let (Some(name), Some(times)) = (read("comm"), read("schedstat")) else {
            continue;
        };
        let ns = times
            .split(' ')
            .next()
            .and_then(|it| it.parse::<f64>().ok());
        if let Some(ns) = ns {
            let id = task.display().to_string();
            threads.insert(id, (name.trim().to_owned(), ns / 1e9));
        }
    }
}

fn median(costs: &[Cost], of: impl Fn(&Cost) -> f64) -> f64 {
    let mut all: Vec<f64> = costs.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_a_name_count_together() {
        let cost = |view| Cost {
            threads: [("loadgen-0", 1.0), ("loadgen-1", 2.0), ("view", view)]
                .map(|(name, seconds)| (name.to_owned(), seconds))
                .into(),
            wall_s: 10.0,
        };
        let costs = [cost(3.0), cost(1.0), cost(2.0)];
        assert!((median(&costs, |it| it.of("loadgen")) - 3.0).abs() < 1e-9);
        assert!((median(&costs, |it| it.of("view")) - 2.0).abs() < 1e-9);
        assert!((median(&costs, |it| it.of("")) - 5.0).abs() < 1e-9);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_times_of_this_process_are_found() {
        let mut threads = BTreeMap::new();
        look("self", &mut threads);
        assert!(!threads.is_empty());
    }
}
