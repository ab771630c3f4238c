//! Accuracy and cost of the client: side by side, in one run, with a plain
//! raw-socket client, against the server with a known schedule.
//!
//! `cargo xtask bench load` builds what it needs and runs it. Client and server are
//! processes of their own, each on a core of its own; the clients take turns.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark"
)]

mod case;
mod firehose;
mod reference;
mod table;

use case::{Case, Client, Measured};
use prony_truth_server::Entry;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use table::Table;

/// The parts of the command line.
struct Options {
    wasm: PathBuf,
    native: PathBuf,
    cache: PathBuf,
    repeats: usize,
    json: Option<PathBuf>,
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|it| it != "--bench");
    if let Some(config) = std::env::var_os("PRONY_BENCH_SERVER") {
        pin(-1);
        return case::serve(&config.into_string().unwrap());
    }
    let mut options = Options {
        wasm: PathBuf::new(),
        native: PathBuf::new(),
        cache: PathBuf::new(),
        repeats: 5,
        json: None,
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        match name.as_str() {
            "--wasm" => options.wasm = value.into(),
            "--native" => options.native = value.into(),
            "--cache" => options.cache = value.into(),
            "--repeats" => options.repeats = value.parse().unwrap(),
            "--json" => options.json = Some(value.into()),
            _ => panic!("{name}"),
        }
    }
    pin(0);
    let mut table = Table::default();
    firehose::run(&options, &mut table);
    paced(&options, &mut table);
    print!("{}", table.markdown());
    if let Some(path) = &options.json {
        std::fs::write(path, table.json()).unwrap();
    }
}

fn paced(options: &Options, table: &mut Table) {
    for case in Case::PACED.iter().chain(Case::WAVES) {
        let mut server = Server::start(case);
        let mut all: Vec<(Client, Vec<Measured>)> =
            case.clients().iter().map(|it| (*it, Vec::new())).collect();
        for repeat in 0..options.repeats {
            eprintln!("{}: {} of {}", case.name, repeat + 1, options.repeats);
            let shift = repeat % all.len();
            for turn in 0..all.len() {
                let (client, measured) = &mut all[(turn + shift) % case.clients().len()];
                measured.push(client.run(case, &mut server));
            }
        }
        if case.answers > 1 {
            table.waves(case, &all);
        } else {
            table.paced(case, &all);
        }
    }
}

/// Runs this process on the first or on the last core that it may use.
fn pin(nth: i32) {
    #[cfg(target_os = "linux")]
    {
        let may = rustix::thread::sched_getaffinity(None).unwrap();
        let cores: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU)
            .filter(|core| may.is_set(*core))
            .collect();
        let core = if nth < 0 { cores.last() } else { cores.first() };
        let mut set = rustix::thread::CpuSet::new();
        set.set(*core.unwrap());
        rustix::thread::sched_setaffinity(None, &set).unwrap();
    }
    #[cfg(not(target_os = "linux"))]
    let _ = nth;
}

/// A server in a process of its own.
pub(crate) struct Server {
    child: std::process::Child,
    /// Its output.
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(case: &Case) -> Self {
        use std::io::BufRead as _;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env("PRONY_BENCH_SERVER", case.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let (url, path) = (
            lines.next().unwrap().unwrap(),
            lines.next().unwrap().unwrap(),
        );
        if case.tls {
            // The client reads it when it connects.
            // SAFETY: no other thread runs.
            unsafe { std::env::set_var("SSL_CERT_FILE", path) };
        }
        Self { child, lines, url }
    }

    /// Log entries of the `requests` requests since the last call.
    pub(crate) fn entries(&mut self, requests: usize) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        // The log of an answer is written after its last byte.
        while entries.len() < requests {
            std::thread::sleep(std::time::Duration::from_millis(10));
            writeln!(self.child.stdin.as_mut().unwrap()).unwrap();
            let line = self.lines.next().unwrap().unwrap();
            entries.extend(serde_json::from_str::<Vec<Entry>>(&line).unwrap());
        }
        entries
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
