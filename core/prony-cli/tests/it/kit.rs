//! What the tests are written in: a scratch folder in which prony runs,
//! pipelines built from parts, and runs that can be asked about.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The command under test.
pub(crate) const PRONY: &str = env!("CARGO_BIN_EXE_prony");
/// No command of prony's takes longer in these tests, unless it hangs.
const LIMIT: Duration = Duration::from_mins(4);
/// Interval between looks at something awaited.
const POLL: Duration = Duration::from_millis(20);

/// The lock of the plugins that ship.
pub(crate) fn lock() -> PathBuf {
    let lock = plugin_file("prony.lock");
    assert!(
        lock.is_file(),
        "there is no `{}`: run `cargo xtask build`",
        lock.display()
    );
    lock
}

/// A file beside the lock.
pub(crate) fn plugin_file(name: &str) -> PathBuf {
    let folder = Path::new(PRONY).parent().expect("prony lies in a folder");
    folder.join("plugins").join(name)
}

/// The top folder of the repository.
pub(crate) fn repository() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    folder.canonicalize().expect("the repository exists")
}

/// Waits until `ready` gives something.
pub(crate) fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(begin.elapsed() < LIMIT, "still waiting for {what}");
        std::thread::sleep(POLL);
    }
}

// ---- scratch folder

/// A folder of the test's own. Everything runs in it; it is removed when neither
/// it nor a run in it is needed any more.
#[derive(Clone)]
pub(crate) struct Scratch(Rc<TempDir>);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(Rc::new(tempfile::tempdir().expect("a temporary folder")))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a folder");
        }
        fs::write(&path, content).expect("a file");
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// `prony ARGUMENTS` without a lock.
    pub(crate) fn bare(&self, arguments: &[&str]) -> Output {
        self.start_bare(arguments).wait()
    }

    /// `prony ARGUMENTS` without a lock, with variables of the environment.
    pub(crate) fn bare_in(&self, variables: &[(&str, String)], arguments: &[&str]) -> Output {
        self.start_in(variables, arguments).wait()
    }

    /// `prony --lock … ARGUMENTS`
    pub(crate) fn prony(&self, arguments: &[&str]) -> Output {
        self.start(arguments).wait()
    }

    /// `prony --lock LOCK ARGUMENTS`
    pub(crate) fn prony_with_lock(&self, lock: &str, arguments: &[&str]) -> Output {
        self.bare(&[&["--lock", lock], arguments].concat())
    }

    /// The same, without waiting for its end.
    pub(crate) fn start(&self, arguments: &[&str]) -> Started {
        self.start_locked_in(&[], arguments)
    }

    /// `prony --lock … ARGUMENTS` with variables of the environment.
    pub(crate) fn prony_in(&self, variables: &[(&str, String)], arguments: &[&str]) -> Output {
        self.start_locked_in(variables, arguments).wait()
    }

    /// The same, without waiting for its end.
    pub(crate) fn start_locked_in(
        &self,
        variables: &[(&str, String)],
        arguments: &[&str],
    ) -> Started {
        let lock = lock();
        let lock = lock.to_str().expect("the path is text");
        self.start_in(variables, &[&["--lock", lock], arguments].concat())
    }

    /// The output of prony on a terminal, on which somebody types.
    pub(crate) fn on_a_terminal(&self, arguments: &[&str], typed: &str) -> String {
        let lock = lock();
        let mut command = vec![PRONY, "--lock", lock.to_str().expect("the path is text")];
        command.extend(arguments);
        let words = command.iter().map(|word| format!("'{word}'"));
        let line = words.collect::<Vec<_>>().join(" ");
        let mut child = Command::new("script");
        // Otherwise than util-linux, BSD takes the command's words behind the file.
        if cfg!(target_os = "macos") {
            child.args(["-q", "/dev/null", "sh", "-c", &line]);
        } else {
            child.args(["-q", "-e", "-c", &line, "/dev/null"]);
        }
        let child = child
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("`script` is there");
        let mut terminal = child.stdin.take().expect("a pipe");
        terminal.write_all(typed.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("an end");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn start_bare(&self, arguments: &[&str]) -> Started {
        self.start_in(&[], arguments)
    }

    fn start_in(&self, variables: &[(&str, String)], arguments: &[&str]) -> Started {
        // Files, since pipes would have to be read at the same time.
        let streams = tempfile::tempdir().expect("a temporary folder");
        let stream = |name| File::create(streams.path().join(name)).expect("a file");
        let child = self
            .command(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(stream("stdout"))
            .stderr(stream("stderr"))
            .spawn()
            .expect("prony starts");
        Started { child, streams }
    }

    /// `prony ARGUMENTS`, with nothing of the user's.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PRONY);
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env_remove("PRONY_LOCK")
            .env_remove("NO_COLOR")
            .env_remove("CI")
            .env_remove("BROWSER")
            .env("PRONY_GRANTS", self.path("user/grants"))
            // The user's own lock file.
            .env("XDG_DATA_HOME", self.path("user/data"))
            // Who signs certificates, for tests with encryption.
            .env("SSL_CERT_FILE", self.path("certificate.pem"))
            // No model is fetched from elsewhere.
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_HOME", self.path("hub"));
        command
    }

    /// Runs a pipeline.
    pub(crate) fn run(&self, pipeline: &Value) -> Run {
        self.run_with(pipeline, &[])
    }

    /// Runs a pipeline with more options.
    pub(crate) fn run_with(&self, pipeline: &Value, options: &[&str]) -> Run {
        self.write_pipeline(pipeline);
        let output = self.prony(&[&["run", "pipeline.yaml"], options].concat());
        self.latest(output)
    }

    /// Starts a pipeline.
    pub(crate) fn start_run(&self, pipeline: &Value) -> Started {
        self.write_pipeline(pipeline);
        self.start(&["run", "pipeline.yaml"])
    }

    pub(crate) fn write_pipeline(&self, pipeline: &Value) {
        // JSON is YAML.
        self.write("pipeline.yaml", format!("{pipeline:#}"));
    }

    /// The newest run, that ended with these words.
    pub(crate) fn latest(&self, output: Output) -> Run {
        let folder = self.path("results/latest").canonicalize();
        let folder = folder.unwrap_or_else(|_| panic!("there is no run\n{output:?}"));
        Run {
            output,
            folder,
            _scratch: self.clone(),
        }
    }

    /// Waits until the newest run's journal has so many measured requests.
    pub(crate) fn wait_for_requests(&self, count: usize) {
        wait_for("requests in the journal", || {
            // `latest` is not this run before its end.
            let runs = fs::read_dir(self.path("results")).ok()?.flatten();
            let folders = runs.map(|run| run.path()).filter(|path| !path.is_symlink());
            let journal = folders.max()?.join("journal.jsonl");
            let text = fs::read_to_string(journal).ok()?;
            // The plan in the first line has phases too.
            let is_measured = |line: &&str| {
                line.starts_with(r#"{"event":"request""#) && line.contains(r#""phase":"measure""#)
            };
            (text.lines().filter(is_measured).count() >= count).then_some(())
        });
    }

    /// The number in a file that something else writes.
    pub(crate) fn wait_for_pid(&self, name: &str) -> i32 {
        wait_for(name, || {
            let text = fs::read_to_string(self.path(name)).ok()?;
            text.strip_suffix('\n')?.trim().parse().ok()
        })
    }
}

/// A prony that runs; killed if the test ends before it does.
pub(crate) struct Started {
    child: Child,
    streams: TempDir,
}

impl Started {
    pub(crate) fn id(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.id(), signal);
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.streams.path().join("stderr")).unwrap_or_default()
    }

    pub(crate) fn wait(mut self) -> Output {
        let status = wait_for("prony", || self.child.try_wait().expect("a status"));
        Output {
            code: status.code(),
            stdout: fs::read_to_string(self.streams.path().join("stdout")).unwrap_or_default(),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exit code and output of prony.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Checks the exit code. Success may be 6 instead, if prony's own client was late and
    /// nothing else speaks against the numbers: on a busy machine, that is as it must be.
    pub(crate) fn exits(self, code: i32) -> Self {
        let held_up = code == 0 && self.code == Some(6) && self.is_client_late();
        assert!(held_up || self.code == Some(code), "not {code}: {self:?}");
        self
    }

    /// Returns `true` if all reasons against the numbers are a late client.
    fn is_client_late(&self) -> bool {
        let reasons = self.stderr.lines();
        let mut reasons = reasons.filter(|line| line.starts_with("error: not valid: "));
        reasons.all(|it| {
            it.ends_with(": times of tokens may be its own") || it.contains(" ms late or later, ")
        })
    }

    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "no `{text}` in\n{self:?}");
        self
    }

    pub(crate) fn complains(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "no `{text}` in\n{}",
            self.stderr
        );
        self
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

// ---- processes

pub(crate) fn send(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("a process id");
    kill_process(pid, signal).expect("the process can be signalled");
}

/// Returns `true` if a process runs; one that only waits to be cleared away does not.
pub(crate) fn runs(pid: i32) -> bool {
    if test_kill_process(Pid::from_raw(pid).expect("a process id")).is_err() {
        return false;
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat
        .rsplit(')')
        .next()
        .is_some_and(|fields| fields.trim_start().starts_with('Z'))
}

/// Waits for the end of a process that was killed a moment ago.
pub(crate) fn ends(pid: i32) {
    let begin = Instant::now();
    while runs(pid) {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{pid} still runs"
        );
        std::thread::sleep(POLL);
    }
}

/// A truth server that the test starts, for attaching to.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(options: &[&str]) -> Self {
        let mut child = Command::new(PRONY)
            .arg("truth-server")
            .args(["--prompt-tokens", "constant"].iter().filter(|_| {
                let is_given = options.contains(&"--prompt-tokens");
                !is_given
            }))
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the truth server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("a line");
        let url = line.trim().strip_prefix("listening on ");
        let url = url.expect("it says where it listens").to_owned();
        Self { child, url }
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a status").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ---- pipelines

/// An engine that prony launches with this command line.
pub(crate) fn launched(command: &[&str]) -> Value {
    json!({
        "plugin": "openai",
        "config": { "launch": { "command": command, "ready": { "http": "/health" } } }
    })
}

/// The truth server as an engine: 8 tokens, the first after 5 ms, then one
/// every ms, unless the options say otherwise.
pub(crate) fn truth(options: &[&str]) -> Value {
    launched(&truth_command(options)).with("config.model", "truth")
}

/// The truth server started by a shell script, which ends by `exec "$@"`.
pub(crate) fn truth_through(script: &str, options: &[&str]) -> Value {
    let script = format!("{script}; exec \"$@\"");
    launched(&[&["sh", "-c", &script, "sh"][..], &truth_command(options)].concat())
        .with("config.model", "truth")
}

fn truth_command<'a>(options: &[&'a str]) -> Vec<&'a str> {
    let mut command = vec![PRONY, "truth-server", "--port", "${{ engine.port }}"];
    let has = |name: &str| options.contains(&name);
    if !has("--tokens") {
        command.extend(["--tokens", "8"]);
    }
    if !has("--time-to-first-token-ms") {
        command.extend(["--time-to-first-token-ms", "5"]);
    }
    if !has("--inter-token-latency-us") {
        command.extend(["--inter-token-latency-us", "1000"]);
    }
    if !has("--prompt-tokens") {
        command.extend(["--prompt-tokens", "constant"]);
    }
    command.extend(options);
    command
}

/// The embedded engine on tiny random weights.
pub(crate) fn synthetic() -> Value {
    let shape = json!({
        "layers": 2, "hidden": 64, "intermediate": 128, "heads": 4, "kv_heads": 2, "vocab": 512,
    });
    json!({ "plugin": "candle", "config": { "threads": 1, "weights": { "synthetic": shape } } })
}

/// A pipeline: 4 measured requests of 2 prompts to each engine, in one cycle.
/// The first engine is the baseline.
pub(crate) fn pipeline<const N: usize>(engines: [(&str, Value); N]) -> Value {
    let mut pipeline = json!({
        "version": 1,
        "name": "it",
        "engines": {},
        "models": [{ "id": "model" }],
        "workload": { "prompts": ["one", "two"], "max_tokens": 64, "temperature": 0 },
        "schedule": { "cycles": 1 },
        "stages": [
            { "setup": {} },
            { "load": { "timeout": "30s" } },
            { "warmup": { "requests": 0 } },
            { "measure": { "requests": 4 } },
            { "unload": { "timeout": "10s" } },
            { "report": { "reporters": ["console", "markdown", "html", "json"] } },
        ],
    });
    if N > 1 {
        pipeline["compare"] = json!({ "baseline": engines[0].0 });
    }
    for (name, engine) in engines {
        pipeline["engines"][name] = engine;
    }
    pipeline
}

/// Changes to a pipeline.
pub(crate) trait With: Sized {
    /// Sets what a path such as `workload.max_tokens` names.
    fn with(self, path: &str, value: impl Into<Value>) -> Self;
    /// Sets an option of a stage.
    fn stage(self, stage: &str, option: &str, value: impl Into<Value>) -> Self;
}

impl With for Value {
    fn with(mut self, path: &str, value: impl Into<Value>) -> Self {
        let place = path.split('.').fold(&mut self, |at, key| &mut at[key]);
        *place = value.into();
        self
    }

    fn stage(mut self, stage: &str, option: &str, value: impl Into<Value>) -> Self {
        let stages = self["stages"].as_array_mut().expect("stages");
        let found = stages.iter_mut().find_map(|it| it.get_mut(stage));
        found.expect("the stage is there")[option] = value.into();
        self
    }
}

/// A journal as of the first schema, whose lines have no checksums that would tell of changes.
pub(crate) fn unsealed(journal: &str) -> String {
    let line = |line: &str| {
        let end = line.rfind(",\"n\":").expect("every line has a number");
        format!("{}}}\n", &line[..end])
    };
    let lines: String = journal.lines().map(line).collect();
    lines.replacen("prony-journal/2", "prony-journal/1", 1)
}

/// An event with its lists of differences as times, and arrivals as time and tokens.
fn with_times(mut event: Value) -> Value {
    for name in ["arrivals", "textless_ns", "emitted_ns"] {
        let Some(list) = event.get_mut(name) else {
            continue;
        };
        let mut time = 0;
        let differences = list["ns"].as_array().into_iter().flatten();
        let times: Vec<i64> = differences
            .map(|it| {
                time += it.as_i64().expect("a number");
                time
            })
            .collect();
        let tokens = list["tokens"].as_array().cloned().unwrap_or_default();
        *list = if name == "arrivals" {
            let of = |index: usize| tokens.get(index).or(tokens.first());
            let pairs = times.iter().enumerate();
            pairs.map(|(at, time)| json!([time, of(at)])).collect()
        } else {
            times.into()
        };
    }
    event
}

// ---- runs

/// A run that has ended.
pub(crate) struct Run {
    pub(crate) output: Output,
    pub(crate) folder: PathBuf,
    _scratch: Scratch,
}

impl Run {
    /// Checks the exit code.
    pub(crate) fn exits(self, code: i32) -> Self {
        let output = self.output.exits(code);
        Self { output, ..self }
    }

    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.folder.join(name);
        fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{name}: {error}\n{:?}", self.output))
    }

    pub(crate) fn result(&self) -> Value {
        serde_json::from_str(&self.read("result.json")).expect("the result is JSON")
    }

    pub(crate) fn journal(&self) -> Vec<Value> {
        let event = |line| serde_json::from_str(line).expect("every line is JSON");
        let events = self.read("journal.jsonl");
        events.lines().map(event).map(with_times).collect()
    }

    pub(crate) fn events(&self, name: &str) -> Vec<Value> {
        let mut events = self.journal();
        events.retain(|event| event["event"] == name);
        events
    }

    /// Checks what was said on standard error.
    pub(crate) fn complains(&self, text: &str) {
        let output = &self.output.stderr;
        assert!(output.contains(text), "no `{text}` in\n{output}");
    }

    pub(crate) fn outcome(&self) -> String {
        text(&self.result()["run"]["outcome"])
    }

    /// The measured requests to an engine.
    pub(crate) fn requests(&self, engine: &str) -> Vec<Value> {
        let mut requests = self.events("request");
        requests.retain(|it| it["engine"] == engine && it["phase"] == "measure");
        requests
    }

    /// The result of a model.
    pub(crate) fn model(&self, id: &str) -> Value {
        let result = self.result();
        let models = result["models"].as_array().expect("models");
        let model = models.iter().find(|it| it["id"] == id);
        model.expect("the model is in the result").clone()
    }

    /// The numbers of an engine with the first model.
    pub(crate) fn engine(&self, name: &str) -> Value {
        let result = self.result();
        let engines = result["models"][0]["engines"].as_array().expect("engines");
        let engine = engines.iter().find(|it| it["engine"] == name);
        engine.expect("the engine is in the result").clone()
    }

    /// Checks that every request to an engine succeeded.
    pub(crate) fn all_well(&self, engine: &str) {
        let numbers = self.engine(engine);
        assert_eq!(numbers["success_rate"], 1.0, "{numbers:#}");
        assert_eq!(numbers["errors"], json!({}));
        assert!(numbers["output_tokens_per_sec"].as_f64() > Some(0.0));
    }

    /// Checks that the report lists a failure with these words.
    pub(crate) fn reports(&self, words: &str) {
        // What is no word may be escaped.
        let plain = self.read("report.md").replace('\\', "");
        assert!(plain.contains(words), "no `{words}` in\n{plain}");
    }

    /// Checks that result, console and report say of an engine what the journal
    /// says when it is summed up by hand.
    pub(crate) fn agrees_with_its_journal(&self, engine: &str) {
        let by_hand = ByHand::sum_up(&self.requests(engine));
        let numbers = self.engine(engine);
        assert_eq!(numbers["requests"], by_hand.requests);
        assert_eq!(numbers["succeeded"], by_hand.succeeded);
        assert_eq!(numbers["output_tokens"], by_hand.tokens);
        assert_eq!(numbers["errors"], json!(by_hand.errors));
        let rate = by_hand.succeeded as f64 / by_hand.requests as f64;
        assert_eq!(numbers["success_rate"], rate);
        let exact = by_hand.tokens as f64 / by_hand.seconds;
        let speed = numbers["output_tokens_per_sec"].as_f64().expect("a speed");
        assert!((speed / exact - 1.0).abs() < 1e-9, "{speed}, not {exact}");
        let latency = numbers["request_latency_ms"]["mean"].as_f64();
        let latency = latency.expect("a latency") / by_hand.mean_latency_ms;
        assert!((latency - 1.0).abs() < 1e-9, "off by a factor of {latency}");

        let row = self.row_of_report(engine);
        close(&row[1], exact);
        close(&row[5], rate * 100.0);
        assert_eq!(row[6], by_hand.tokens.to_string());
        let row = self.row_of_console(engine);
        close(&row[0], exact);
        close(&row[1], by_hand.mean_latency_ms);
        close(&row[6], rate * 100.0);
    }

    /// The row of an engine in the report's first table of numbers.
    fn row_of_report(&self, engine: &str) -> Vec<String> {
        let report = self.read("report.md");
        let mut rows = report
            .lines()
            .skip_while(|line| !line.starts_with("| Engine | Output tokens per second"))
            .map(|line| line.trim_matches('|').split('|'))
            .map(|cells| cells.map(|cell| cell.trim().to_owned()).collect());
        let row = rows.find(|row: &Vec<String>| row[0] == engine);
        row.expect("the report has the engine")
    }

    /// The cells after an engine's name in the console's first table.
    fn row_of_console(&self, engine: &str) -> Vec<String> {
        let mut rows = self.output.stdout.lines().filter_map(|line| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            let name = cells.iter().position(|cell| *cell == engine)?;
            let cells = &cells[name + 1..];
            let is_number = cells.first()?.parse::<f64>().is_ok();
            is_number.then(|| cells.iter().map(ToString::to_string).collect())
        });
        let row = rows.next();
        row.unwrap_or_else(|| panic!("no row of {engine}\n{}", self.output.stdout))
    }
}

/// Content of a journal, computed without prony.
pub(crate) struct ByHand {
    pub(crate) requests: u64,
    pub(crate) succeeded: u64,
    pub(crate) tokens: u64,
    /// Of all requests, one at a time.
    pub(crate) seconds: f64,
    pub(crate) mean_latency_ms: f64,
    pub(crate) errors: BTreeMap<String, u64>,
}

impl ByHand {
    pub(crate) fn sum_up(requests: &[Value]) -> Self {
        let mut sum = Self {
            requests: requests.len() as u64,
            succeeded: 0,
            tokens: 0,
            seconds: 0.0,
            mean_latency_ms: 0.0,
            errors: BTreeMap::new(),
        };
        for request in requests {
            // The answer may have ended before the response.
            let end_ns = [&request["answered_ns"], &request["end_ns"]];
            let end_ns = end_ns.into_iter().find(|it| !it.is_null()).expect("an end");
            let seconds = (number(end_ns) - number(&request["sent_ns"])) / 1e9;
            sum.seconds += seconds;
            match request.get("failed") {
                None => {
                    sum.succeeded += 1;
                    sum.tokens += request["output_tokens"].as_u64().expect("a count");
                    sum.mean_latency_ms += seconds * 1e3;
                }
                Some(failed) => *sum.errors.entry(text(&failed["class"])).or_default() += 1,
            }
        }
        sum.mean_latency_ms /= sum.succeeded as f64;
        sum
    }
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).into()
}

/// Returns `true` if what is shown is what it should be, up to rounding to three digits.
fn close(shown: &str, exact: f64) {
    let plain = shown.trim_end_matches('%').trim();
    let value: f64 = plain.parse().unwrap_or_else(|_| panic!("`{shown}`"));
    assert!(
        (value - exact).abs() <= 0.0051 * exact,
        "{shown} is shown for {exact}"
    );
}
