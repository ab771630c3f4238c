//! One visit: load, warmup, measure, unload of one engine with one model.

use crate::journal::Event;
use crate::process::{Process, describe};
use crate::runner::{Runner, api, stopped, text};
use crate::{Result, memory};
use prony_config::{OnFailure, Step, template};
use prony_loadgen::clock::now_ns;
use prony_loadgen::closed_loop::{self, Done};
use prony_loadgen::http::{Prepared, Target, answers_200};
use prony_loadgen::local::Worker;
use prony_metrics::record::{ErrorClass, Failed, Observation, Phase, Place, Record};
use prony_metrics::summary;
use prony_plan::Visit;
use prony_plugin_host::Plugin;
use prony_plugin_sdk::{
    Endpoint, Event as Said, Kind, LaunchPlan, Model, Ready, Request, Transport,
};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// How often a starting server is asked whether it is ready.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// How long one such question may take.
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// How long a broken connection may precede the end of the process behind it.
const CRASH_GRACE: Duration = Duration::from_millis(300);

/// Why a visit ends the ordinary course of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A stage failed; its policy.
    Policy(OnFailure),
    /// The user said stop.
    Interrupted,
}

/// Why a stage ended early.
enum Trouble {
    Failed(String),
    Interrupted,
}

impl From<String> for Trouble {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

/// A stage's outcome, inside the outcome of keeping the journal.
type Staged<T> = Result<std::result::Result<T, Trouble>>;

/// Unwraps the inner result or returns it.
macro_rules! attempt {
    ($staged:expr) => {
        match $staged {
            Ok(value) => value,
            Err(trouble) => return Ok(Err(trouble.into())),
        }
    };
}

/// A started engine.
struct Running {
    /// Its process; `None` when attached.
    process: Option<Process>,
    link: Link,
}

/// How requests reach it.
enum Link {
    Http { target: Target },
    Worker(Worker),
}

pub(crate) struct VisitRun<'v, 'a> {
    runner: &'v mut Runner<'a>,
    visit: &'v Visit,
    model: Model,
    /// The engine's config, once its templates are filled in.
    config: Value,
    summary: summary::Visit,
    /// End of the request that ended last, since the run's origin.
    last_end_ns: u64,
}

impl<'v, 'a> VisitRun<'v, 'a> {
    pub(crate) fn new(runner: &'v mut Runner<'a>, visit: &'v Visit, path: Option<PathBuf>) -> Self {
        let summary = summary::Visit {
            model: visit.model.clone(),
            engine: visit.engine.clone(),
            cycle: visit.cycle,
            load_time_ns: None,
            measure_ns: None,
            peak_memory_bytes: None,
        };
        let model = Model {
            id: visit.model.clone(),
            path: path.as_deref().map(text),
        };
        Self {
            runner,
            visit,
            model,
            config: Value::Null,
            summary,
            last_end_ns: 0,
        }
    }

    /// Runs the stages. Whatever happens, the engine is unloaded.
    pub(crate) async fn run(mut self) -> Result<Option<Stop>> {
        let stages = &self.runner.pipeline.stages;
        let (load, warmup, measure, unload) = (
            &stages.load,
            &stages.warmup,
            &stages.measure,
            &stages.unload,
        );
        let mut running = None;
        let mut end = None;

        let loaded = self.load(&mut running).await?;
        end = end.or(self.settle("load", loaded, load.on_failure)?);
        if running.as_ref().is_some_and(|_| end.is_none()) {
            self.look_at_memory(running.as_ref());
            if let Some(running) = &mut running {
                if warmup.requests > 0 {
                    let warmed = self.requests("warmup", Phase::Warmup, running).await?;
                    end = self.settle("warmup", warmed, warmup.on_failure)?;
                }
                if matches!(end, None | Some(Stop::Policy(OnFailure::Continue))) {
                    self.look_at_memory(Some(running));
                    let measured = self.requests("measure", Phase::Measure, running).await?;
                    end = self
                        .settle("measure", measured, measure.on_failure)?
                        .or(end);
                }
            }
        }
        self.look_at_memory(running.as_ref());
        let unloaded = self.unload(running).await?;
        end = end.or(self.settle("unload", unloaded, unload.on_failure)?);
        self.runner.tell(Event::Visit(self.summary.clone()))?;
        Ok(end)
    }

    /// Journals a stage's failure and says what follows from it.
    fn settle(
        &mut self,
        stage: &str,
        outcome: std::result::Result<(), Trouble>,
        policy: OnFailure,
    ) -> Result<Option<Stop>> {
        match outcome {
            Ok(()) => Ok(None),
            Err(Trouble::Interrupted) => Ok(Some(Stop::Interrupted)),
            Err(Trouble::Failed(message)) => {
                self.runner.fail(
                    Some(&self.visit.model),
                    &self.visit.engine,
                    self.visit.cycle,
                    stage,
                    message,
                )?;
                Ok(Some(Stop::Policy(policy)))
            }
        }
    }

    fn begin(&mut self, stage: &str) -> Result<()> {
        let at_ns = self.runner.now();
        self.runner.tell(Event::Stage {
            stage: stage.to_owned(),
            model: Some(self.visit.model.clone()),
            engine: Some(self.visit.engine.clone()),
            cycle: Some(self.visit.cycle),
            at_ns,
        })
    }

    async fn steps(&mut self, steps: &[Step]) -> Staged<()> {
        let (context, log) = (self.context(None), format!("{}-steps", self.label()));
        let done = self.runner.steps(steps, &context, &log).await?;
        Ok(done.map_err(|message| {
            if *self.runner.stop.borrow() {
                Trouble::Interrupted
            } else {
                Trouble::Failed(message)
            }
        }))
    }

    /// `model-engine-c1`, safe as a file name.
    fn label(&self) -> String {
        let name = format!(
            "{}-{}-c{}",
            self.visit.model, self.visit.engine, self.visit.cycle
        );
        name.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "._-".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .collect()
    }

    fn log(&self) -> PathBuf {
        self.runner
            .folder
            .logs()
            .join(format!("{}.log", self.label()))
    }

    fn context(&self, at: Option<&Endpoint>) -> Value {
        let mut context = self.runner.context();
        context["model"] = json!({ "id": self.model.id, "path": self.model.path });
        context["engine"] = json!({ "name": self.visit.engine });
        if let Some(at) = at {
            context["engine"]["host"] = json!(at.host);
            context["engine"]["port"] = json!(at.port);
        }
        context
    }

    fn plugin(&self) -> (String, Transport) {
        let engine = self
            .runner
            .pipeline
            .engines
            .iter()
            .find(|engine| engine.name == self.visit.engine);
        let plugin = engine
            .map(|engine| engine.plugin.clone())
            .unwrap_or_default();
        let transport = self
            .runner
            .registry
            .find(Kind::Engine, &plugin)
            .ok()
            .and_then(|(entry, _)| entry.transport);
        (plugin, transport.unwrap_or(Transport::Http))
    }

    // ---- load

    async fn load(&mut self, running: &mut Option<Running>) -> Staged<()> {
        self.begin("load")?;
        let stage = self.runner.pipeline.stages.load.clone();
        attempt!(self.steps(&stage.before).await?);
        let limit = stage.timeout.to_std();
        let mut stop = self.runner.stop.clone();
        let started = tokio::select! {
            started = self.start(running, limit) => started,
            () = stopped(&mut stop) => Err(Trouble::Interrupted),
        };
        attempt!(started);
        self.steps(&stage.after).await
    }

    /// Starts the engine and waits until it is ready. `running` is set as soon
    /// as there is something to stop.
    async fn start(
        &mut self,
        running: &mut Option<Running>,
        limit: Duration,
    ) -> std::result::Result<(), Trouble> {
        let at = Endpoint {
            host: "127.0.0.1".to_owned(),
            port: free_port()?,
        };
        let engine = self
            .runner
            .pipeline
            .engines
            .iter()
            .find(|engine| engine.name == self.visit.engine);
        let config = engine
            .map(|engine| Value::Object(engine.config.clone()))
            .unwrap_or_default();
        self.config = template::render_value(&config, &self.context(Some(&at)))?;
        let (plugin, transport) = self.plugin();
        let begin = now_ns();
        let ready = match transport {
            Transport::InProcess => self.start_worker(&plugin, running, limit).await,
            Transport::Http => self.start_server(&plugin, &at, running, limit).await,
        };
        let was_started = running
            .as_ref()
            .is_some_and(|running| running.process.is_some());
        ready?;
        if was_started {
            self.summary.load_time_ns = Some(now_ns() - begin);
        }
        Ok(())
    }

    async fn start_worker(
        &mut self,
        plugin: &str,
        running: &mut Option<Running>,
        limit: Duration,
    ) -> std::result::Result<(), Trouble> {
        let [program, arguments @ ..] = self.runner.options.worker.as_slice() else {
            return Err("no worker command is set".to_owned().into());
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg(plugin)
            .current_dir(&self.runner.options.folder);
        let (process, orders, answers) = Process::start_piped(command, &self.log())
            .map_err(|error| format!("`{program}` did not start: {error}"))?;
        let running = running.insert(Running {
            process: Some(process),
            link: Link::Worker(Worker::new(orders, answers)),
        });
        let Running {
            process: Some(process),
            link: Link::Worker(worker),
        } = running
        else {
            return Err("a worker has a process".to_owned().into());
        };
        let loaded =
            tokio::time::timeout(limit, worker.load(self.config.clone(), self.model.clone())).await;
        match loaded {
            Ok(Ok(())) => Ok(()),
            Ok(Err(message)) => match process.exited_within(CRASH_GRACE).await {
                Some(status) => Err(format!(
                    "the engine ended while loading ({}); {}",
                    describe(status),
                    process.last_words()
                )
                .into()),
                None => Err(message.into()),
            },
            Err(_) => Err(format!(
                "the model was not loaded within {limit:?}; {}",
                process.last_words()
            )
            .into()),
        }
    }

    async fn start_server(
        &mut self,
        plugin: &str,
        at: &Endpoint,
        running: &mut Option<Running>,
        limit: Duration,
    ) -> std::result::Result<(), Trouble> {
        let plugin = self
            .runner
            .registry
            .load(Kind::Engine, plugin)
            .map_err(|error| error.to_string())?;
        let plan: LaunchPlan = plugin
            .launch(&self.config, &self.model, at)
            .map_err(|error| error.to_string())?;
        let target = Target::new(&plan.base_url).map_err(|error| error.to_string())?;
        let process = match &plan.command {
            None => None,
            Some(launch) => {
                let [program, arguments @ ..] = launch.argv.as_slice() else {
                    return Err("the launch command is empty".to_owned().into());
                };
                let folder = launch
                    .cwd
                    .as_ref()
                    .map_or(self.runner.options.folder.clone(), |cwd| {
                        self.runner.options.folder.join(cwd)
                    });
                let mut command = Command::new(program);
                command.args(arguments).current_dir(folder);
                command.envs(launch.env.iter().map(|pair| (&pair.name, &pair.value)));
                let process = Process::start(command, &self.log());
                Some(process.map_err(|error| format!("`{program}` did not start: {error}"))?)
            }
        };
        let running = running.insert(Running {
            process,
            link: Link::Http {
                target: target.clone(),
            },
        });
        let begin = Instant::now();
        loop {
            let ready = match &plan.ready {
                Ready::Immediate => true,
                Ready::Http(path) => answers_200(&target, path, PROBE_LIMIT).await,
                Ready::LogLine(line) => running
                    .process
                    .as_ref()
                    .is_none_or(|process| process.has_logged(line)),
            };
            // Also when it answered: a server that failed to bind its port may
            // have left the answering to another one.
            if let Some(process) = &mut running.process
                && let Some(status) = process.exited()
            {
                return Err(format!(
                    "the engine ended before it was ready ({}); {}",
                    describe(status),
                    process.last_words()
                )
                .into());
            }
            if ready {
                return Ok(());
            }
            if begin.elapsed() > limit {
                let words = running.process.as_ref().map_or_else(
                    || format!("`{}` does not answer", plan.base_url),
                    Process::last_words,
                );
                return Err(format!("the engine was not ready within {limit:?}; {words}").into());
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
    }

    // ---- warmup and measure

    async fn requests(&mut self, stage: &str, phase: Phase, running: &mut Running) -> Staged<()> {
        self.begin(stage)?;
        let stages = &self.runner.pipeline.stages;
        let (before, after, count, timeout, concurrency) = match phase {
            Phase::Warmup => (
                stages.warmup.before.clone(),
                stages.warmup.after.clone(),
                stages.warmup.requests,
                stages.warmup.timeout,
                1,
            ),
            Phase::Measure => (
                stages.measure.before.clone(),
                stages.measure.after.clone(),
                stages.measure.requests,
                stages.measure.timeout,
                self.runner.plan.concurrency,
            ),
        };
        attempt!(self.steps(&before).await?);
        let limit = timeout.map(prony_config::Duration::to_std);
        let begin = self.runner.now();
        let succeeded = match &mut running.link {
            Link::Http { target } => {
                let target = target.clone();
                self.over_http(
                    phase,
                    count,
                    concurrency,
                    &target,
                    &mut running.process,
                    limit,
                )
                .await?
            }
            Link::Worker(worker) => {
                self.over_worker(phase, count, worker, &mut running.process, limit)
                    .await?
            }
        };
        // To the last answer: that prony then finds out whether the engine has
        // crashed is no time of the engine's. When it was interrupted, to now:
        // requests were under way.
        if phase == Phase::Measure {
            let end = match succeeded {
                Ok(_) => self.last_end_ns,
                Err(_) => self.runner.now(),
            };
            self.summary.measure_ns = Some(end.saturating_sub(begin));
        }
        let succeeded = attempt!(succeeded);
        if count > 0 && succeeded == 0 {
            return Ok(Err(Trouble::Failed(format!(
                "none of {count} requests succeeded"
            ))));
        }
        self.steps(&after).await
    }

    /// Request `index` of a stage; the prompts go round.
    fn request(&self, index: u32) -> Request {
        let workload = &self.runner.pipeline.workload;
        Request {
            api: api(workload.api),
            prompt: workload.prompts[index as usize % workload.prompts.len()].clone(),
            system: workload.system.clone(),
            max_tokens: workload.max_tokens,
            temperature: workload.temperature,
            top_p: workload.top_p,
            seed: workload.seed,
            stop: workload.stop.clone(),
            ignore_eos: workload.ignore_eos,
        }
    }

    fn place(&self, phase: Phase, index: u32) -> Place {
        Place {
            model: self.visit.model.clone(),
            engine: self.visit.engine.clone(),
            cycle: self.visit.cycle,
            phase,
            index,
            prompt: index % self.runner.pipeline.workload.prompts.len() as u32,
        }
    }

    /// Sends `count` requests; returns how many succeeded.
    async fn over_http(
        &mut self,
        phase: Phase,
        count: u32,
        concurrency: u32,
        target: &Target,
        process: &mut Option<Process>,
        limit: Option<Duration>,
    ) -> Staged<u32> {
        let (name, _) = self.plugin();
        let plugin = attempt!(
            self.runner
                .registry
                .load(Kind::Engine, &name)
                .map_err(|error| error.to_string())
        );
        let encode = |index| -> std::result::Result<Prepared, String> {
            let made = plugin
                .encode(&self.config, &self.model, &self.request(index))
                .map_err(|error| error.to_string())?;
            target.prepare(&made)
        };
        let requests: Vec<Prepared> = attempt!(
            (0..count)
                .map(encode)
                .collect::<std::result::Result<_, _>>()
        );
        let timeout = self.runner.pipeline.workload.request_timeout.to_std();
        let plan = closed_loop::Plan {
            target: target.clone(),
            requests,
            concurrency,
            timeout,
        };
        // The loop stops when this end says so, or is gone.
        let (end, ended) = tokio::sync::watch::channel(false);
        let mut done = match closed_loop::start(plan, ended) {
            Ok(done) => done,
            Err(error) => {
                return Ok(Err(
                    format!("the load generator did not start: {error}").into()
                ));
            }
        };
        let mut answered = vec![false; count as usize];
        let mut succeeded = 0;
        let mut stop = self.runner.stop.clone();
        let deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
        let mut since = self.runner.now();
        let interrupted = loop {
            let next = tokio::select! {
                next = done.recv() => next,
                () = stopped(&mut stop) => break true,
                () = passed(deadline) => break false,
            };
            let Some(Done {
                index,
                exchange,
                resume,
            }) = next
            else {
                break false;
            };
            answered[index as usize] = true;
            let mut seen = exchange.seen;
            if let Some(failed) = &mut seen.failed {
                blame_crash(failed, process).await;
            }
            let said = self.decode(&plugin, &seen, &exchange.body, &exchange.ends);
            if self.keep(phase, index, seen, said)? {
                succeeded += 1;
            }
            since = self.runner.now();
            drop(resume);
        };
        let _ = end.send(true);
        if interrupted {
            return Ok(Err(Trouble::Interrupted));
        }
        self.unsent(
            phase,
            &answered,
            since,
            &Failed::new(ErrorClass::Timeout, "not finished within the stage's limit"),
        )?;
        Ok(Ok(succeeded))
    }

    fn decode(
        &self,
        plugin: &Arc<dyn Plugin>,
        seen: &Observation,
        body: &[u8],
        ends: &[u32],
    ) -> std::result::Result<Vec<Said>, prony_plugin_sdk::Error> {
        match seen.status {
            None => Ok(Vec::new()),
            Some(status) => plugin
                .decode(&self.config, status, body, ends)
                .map_err(prony_plugin_host::Error::into_reported),
        }
    }

    /// Has a worker answer `count` requests; returns how many succeeded.
    async fn over_worker(
        &mut self,
        phase: Phase,
        count: u32,
        worker: &mut Worker,
        process: &mut Option<Process>,
        limit: Option<Duration>,
    ) -> Staged<u32> {
        let timeout = self.runner.pipeline.workload.request_timeout.to_std();
        let mut stop = self.runner.stop.clone();
        let deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
        let mut answered = vec![false; count as usize];
        let mut succeeded = 0;
        let mut over = Failed::new(ErrorClass::Timeout, "not finished within the stage's limit");
        let mut since = self.runner.now();
        for index in 0..count {
            let request = self.request(index);
            let (mut seen, said) = tokio::select! {
                answer = worker.generate(&request, timeout) => answer,
                () = stopped(&mut stop) => return Ok(Err(Trouble::Interrupted)),
                () = passed(deadline) => break,
            };
            answered[index as usize] = true;
            let mut lost = None;
            if let Some(failed) = &mut seen.failed {
                blame_crash(failed, process).await;
                lost = Some(failed.clone());
            }
            if self.keep(phase, index, seen, said)? {
                succeeded += 1;
            }
            since = self.runner.now();
            if let Some(failed) = lost {
                // A worker cannot call generation off, so nothing more can be asked of it.
                over = Failed::new(
                    ErrorClass::Crashed,
                    format!("not sent: request {index} failed ({})", failed.message),
                );
                break;
            }
        }
        self.unsent(phase, &answered, since, &over)?;
        Ok(Ok(succeeded))
    }

    /// Journals a request; tells whether it succeeded.
    fn keep(
        &mut self,
        phase: Phase,
        index: u32,
        mut seen: Observation,
        said: std::result::Result<Vec<Said>, prony_plugin_sdk::Error>,
    ) -> Result<bool> {
        let origin = self.runner.origin_ns;
        let stamps = &mut seen.stamps;
        for stamp in [
            &mut stamps.intended_ns,
            &mut stamps.sent_ns,
            &mut stamps.end_ns,
        ]
        .into_iter()
        .chain(stamps.written_ns.as_mut())
        .chain(stamps.head_ns.as_mut())
        .chain(&mut seen.reads_ns)
        {
            *stamp = stamp.saturating_sub(origin);
        }
        let record = Record::judge(self.place(phase, index), seen, said);
        self.last_end_ns = self.last_end_ns.max(record.stamps.end_ns);
        let ok = record.ok();
        self.runner.tell(Event::Request(Box::new(record)))?;
        Ok(ok)
    }

    /// Requests that were due and never answered are failures too. The first of
    /// them takes the time since the last answer: it was waited for.
    fn unsent(&mut self, phase: Phase, answered: &[bool], since: u64, why: &Failed) -> Result<()> {
        let mut waited_since = Some(since);
        for (index, answered) in (0..).zip(answered) {
            if !answered {
                let place = self.place(phase, index);
                let mut record = Record::unsent(place, self.runner.now(), why.clone());
                self.last_end_ns = self.last_end_ns.max(record.stamps.end_ns);
                if let Some(since) = waited_since.take() {
                    (record.stamps.intended_ns, record.stamps.sent_ns) = (since, since);
                }
                self.runner.tell(Event::Request(Box::new(record)))?;
            }
        }
        Ok(())
    }

    fn look_at_memory(&mut self, running: Option<&Running>) {
        let now = running
            .and_then(|running| running.process.as_ref())
            .and_then(|process| memory::peak_bytes(process.id()));
        self.summary.peak_memory_bytes = self.summary.peak_memory_bytes.max(now);
    }

    // ---- unload

    async fn unload(&mut self, running: Option<Running>) -> Staged<()> {
        let Some(Running { process, link }) = running else {
            return Ok(Ok(()));
        };
        self.begin("unload")?;
        let stage = self.runner.pipeline.stages.unload.clone();
        // Steps that fail must not keep the engine alive.
        let before = self.steps(&stage.before).await?;
        // A worker ends when its orders do.
        drop(link);
        if let Some(process) = process {
            let grace = stage.timeout.to_std();
            if process.stop(grace).await {
                let message = format!(
                    "{}: `{}` (cycle {}) or a process of its own did not end when asked and was killed",
                    self.visit.model, self.visit.engine, self.visit.cycle
                );
                self.runner.tell(Event::Warning { message })?;
            }
        }
        attempt!(before);
        self.steps(&stage.after).await
    }
}

/// If the process behind a broken connection has ended, that is what happened.
async fn blame_crash(failed: &mut Failed, process: &mut Option<Process>) {
    let suspicious = matches!(
        failed.class,
        ErrorClass::Connect | ErrorClass::Truncated | ErrorClass::Protocol | ErrorClass::Crashed
    );
    if let (true, Some(process)) = (suspicious, process)
        && let Some(status) = process.exited_within(CRASH_GRACE).await
    {
        *failed = Failed::new(
            ErrorClass::Crashed,
            format!(
                "the engine ended ({}): {}; {}",
                describe(status),
                failed.message,
                process.last_words()
            ),
        );
    }
}

/// Pending until the deadline, or for ever without one.
async fn passed(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// A port that is free now. Another process could take it before the engine
/// does; then the engine fails to start and says so.
fn free_port() -> std::result::Result<u16, String> {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| format!("no free port on 127.0.0.1: {error}"))
}
