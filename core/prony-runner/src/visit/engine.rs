//! A real engine in a visit.

use super::account::{self, Account, Values};
use super::exchanges;
use super::loading;
use super::requests::{Batch, Requests};
use super::sequence::{Ended, EngineSide, Sent, Used, Window};
use super::stage::Stage;
use super::{StageError, Staged};
use crate::chat::Chat;
use crate::context::{evaluate, text};
use crate::images::Images;
use crate::process::Process;
use crate::request_set::RequestSet;
use crate::run::Run;
use crate::served;
use prony_config::{Cache, Condition, MatrixPoint, Step};
use prony_contract::{Endpoint, Exchange, HttpRequest, Message, Model, Question};
use prony_journal::{Event, Result, StageEnergy};
use prony_loadgen::clock::now_ns;
use prony_loadgen::local::Worker;
use prony_loadgen::stdio::Pipe;
use prony_loadgen::target::Target;
use prony_machine::{Change, GpuUsage, Sampler, State, Warning};
use prony_plan::Visit;
use prony_record::Phase;
use prony_result::words;
use prony_tokenizer::Tokenizer;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Attempts, 100 ms apart, to see that the memory of an engine was given back.
const MAX_CHECKS: u32 = 20;
/// Time in which a server has to empty its prefix cache.
const RESET_LIMIT: Duration = Duration::from_secs(30);
/// Growth of memory in use, in bytes, that is not told.
const MIN_REPORTED_GROWTH: u64 = 64 << 20;

/// Data shared by all visits of a model.
pub(crate) struct Material<'r> {
    /// Path of the model, if it is a file or a folder.
    pub(crate) path: Option<&'r Path>,
    /// The request set.
    pub(crate) request_set: Arc<RequestSet>,
    /// Renders conversations, if an engine takes raw prompts.
    pub(crate) chat: Option<Arc<Chat>>,
    /// Counts the tokens of answers.
    pub(crate) tokenizer: Option<Arc<Tokenizer>>,
    /// Counts the tokens of cold prompts.
    pub(crate) cold_tokenizer: Option<Arc<Tokenizer>>,
    /// The workloads' images.
    pub(crate) images: &'r Images,
}

/// A started engine.
pub(super) struct Running {
    /// Its process; `None` if attached.
    pub(super) process: Option<Process>,
    /// Samples its resource use.
    pub(super) sampler: Option<Sampler>,
    pub(super) link: Link,
}

impl Running {
    /// Checks that no other process answers in the place of a started server, as far as
    /// the system tells.
    pub(super) fn owns_its_port(&self) -> std::result::Result<(), String> {
        match (&self.process, &self.link) {
            (Some(process), Link::Http { target, .. }) => target
                .local_port()
                .map_or(Ok(()), |port| process.listens_on(port)),
            _ => Ok(()),
        }
    }
}

/// Transport of requests to the engine.
#[expect(clippy::large_enum_variant, reason = "there is one for each engine")]
pub(super) enum Link {
    Http {
        target: Target,
        /// Request for the list of models, until it is sent.
        models: Option<HttpRequest>,
        /// Questions to the server about itself.
        questions: Vec<Question>,
        /// Requests that give the model's memory back.
        unload: Vec<Exchange>,
        /// Requests that empty the prefix cache.
        reset: Vec<Exchange>,
    },
    Stdio {
        pipe: Pipe,
        /// Messages sent before its input is closed.
        closing: Vec<Message>,
    },
    Worker(Worker),
}

/// Starts sampling an engine's processes. A machine that does not allow it is still
/// measured.
pub(super) fn watch(process: &Process) -> Option<Sampler> {
    let options = prony_machine::Options::default();
    Sampler::start(process.family(), options).ok()
}

/// Memory in use now that was not in use `before`, in words. A driver may take a moment to give
/// the memory of a process back.
async fn kept(before: &State) -> Vec<String> {
    let mut left = Vec::new();
    for _ in 0..MAX_CHECKS {
        left = more_in_use(before, &State::read());
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    left
}

fn more_in_use(before: &State, after: &State) -> Vec<String> {
    let more = |before: Option<u64>, after: Option<u64>| {
        let more = after?.saturating_sub(before?);
        (more > MIN_REPORTED_GROWTH).then_some(more)
    };
    let shared = more(before.shared_memory_bytes, after.shared_memory_bytes);
    let shared = shared.map(|bytes| format!("{} of shared memory", words::bytes(bytes)));
    let gpus = before.gpus.iter().zip(&after.gpus).enumerate();
    let of_gpus = gpus.filter_map(|(index, (before, after))| {
        let bytes = more(before.memory_used_bytes, after.memory_used_bytes)?;
        Some(format!(
            "{} of the memory of GPU {index}",
            words::bytes(bytes)
        ))
    });
    shared.into_iter().chain(of_gpus).collect()
}

/// An engine of a run, with everything that its visit needs of the run.
pub(crate) struct LiveEngine<'r, 'a> {
    /// Its requests and config.
    pub(super) requests: Requests<'r, 'a>,
    pub(super) running: Option<Running>,
    /// Address to listen on, once chosen.
    pub(super) at: Option<Endpoint>,
    revision: Option<&'r str>,
    /// `stages` of templates: the outputs of `setup` and of this visit.
    stages: Value,
    /// `true` if another engine is loaded at the same time.
    is_resident: bool,
    /// State of the machine at the start of the visit.
    before: State,
    /// CPU time of the engine in the visit, in seconds.
    cpu_s: Option<f64>,
    /// Warnings about the GPUs.
    gpu_warnings: Vec<Warning>,
    /// Share of the model that was in memory before the engine was started.
    page_cache_share: Option<f64>,
    /// The engine's own account, as far as it was asked.
    account: Account,
}

impl<'r, 'a> LiveEngine<'r, 'a> {
    /// An engine that is not loaded yet. `None` if the matrix point lacks it or the
    /// model.
    pub(super) fn new(
        run: &'r Run<'a>,
        visit: &'r Visit,
        point: &'r MatrixPoint,
        material: &Material<'r>,
        is_resident: bool,
        stages: Value,
    ) -> Option<Self> {
        let model = point.models.iter().find(|model| model.id == visit.model)?;
        let engine = point.engines.iter().find(|it| it.name == visit.engine)?;
        let path = material.path.map(text);
        let of_visit = Model {
            id: visit.model.clone(),
            path,
        };
        Some(Self {
            requests: Requests::new(run, visit, point, engine, of_visit, material),
            running: None,
            at: None,
            revision: model.revision.as_deref(),
            stages,
            is_resident,
            before: State::read(),
            cpu_s: None,
            gpu_warnings: Vec::new(),
            page_cache_share: None,
            account: Account::default(),
        })
    }

    /// `stages` of templates at the end of the visit.
    pub(crate) fn into_stages(self) -> Value {
        self.stages
    }

    /// `model-engine-c1`, as a safe and short file name.
    fn label(&self) -> String {
        let Visit {
            point,
            model,
            engine,
            cycle,
            segment,
        } = self.requests.visit;
        let point = point
            .as_ref()
            .map_or_else(String::new, |point| format!("-{point}"));
        let name = format!("{model}-{engine}{point}");
        let secrets = &self.requests.run.pipeline.secrets;
        let name = crate::log::safe_name(&secrets.mask(&name));
        match segment {
            1 => format!("{name}-c{cycle}"),
            segment => format!("{name}-c{cycle}-p{segment}"),
        }
    }

    pub(super) fn log(&self) -> PathBuf {
        let logs = self.requests.run.folder.logs();
        logs.join(format!("{}.log", self.label()))
    }

    /// The names available to templates in addition to those known everywhere.
    fn base(&self) -> Value {
        let Requests {
            point,
            model,
            visit,
            ..
        } = &self.requests;
        let mut base = point.context.clone();
        base["model"] = json!({ "id": model.id });
        // A missing value is absent, so that it can have a default.
        if let Some(path) = &model.path {
            base["model"]["path"] = json!(path);
        }
        if let Some(revision) = self.revision {
            base["model"]["revision"] = json!(revision);
        }
        base["engine"] = json!({ "name": visit.engine });
        if let Some(at) = &self.at {
            base["engine"]["host"] = json!(at.host);
            base["engine"]["port"] = json!(at.port);
        }
        base
    }

    pub(super) fn context(&self) -> Value {
        self.requests.run.context(&self.base(), &self.stages)
    }

    /// The engine's counters around the requests of a `measure` stage; `None` if it has none,
    /// or the run is interrupted.
    async fn counters(
        &self,
        batch: &Batch<'_>,
        ask: impl AsyncFn(&Target, &[Question]) -> Values,
    ) -> Option<Values> {
        let Link::Http {
            target, questions, ..
        } = &self.running.as_ref()?.link
        else {
            return None;
        };
        let has_counters = questions.iter().any(|it| !it.counters.is_empty());
        if batch.phase != Phase::Measure || !has_counters || self.requests.is_silent() {
            return None;
        }
        let mut stop = self.requests.run.stop.clone();
        let begin = Instant::now();
        let values = tokio::select! {
            values = ask(target, questions) => values,
            () = crate::run::interrupted(&mut stop) => return None,
        };
        self.requests.note_silence(begin.elapsed()).ok()?;
        Some(values)
    }

    /// Sends the closing messages before the input is closed. An engine that does not
    /// listen can still be ended.
    async fn send_closing(&self, pipe: &Pipe, closing: &[Message], grace: Duration) -> Result<()> {
        for message in closing {
            if pipe.lost().is_some() {
                break;
            }
            if let Err(words) = pipe.ask(message.clone(), grace).await {
                self.tell_not_unloaded(&words)?;
                break;
            }
        }
        Ok(())
    }

    fn tell_not_unloaded(&self, words: &str) -> Result<()> {
        let visit = self.requests.visit;
        let message = format!(
            "{}: `{}` (cycle {}) did not unload as it should: {words}",
            visit.model, visit.engine, visit.cycle
        );
        self.requests.run.tell(Event::Warning { message })
    }
}

impl EngineSide for LiveEngine<'_, '_> {
    fn now_ns(&self) -> u64 {
        self.requests.run.now()
    }

    fn tell(&mut self, event: Event) -> Result<()> {
        self.requests.run.tell(event)
    }

    fn evaluate(&self, condition: &Condition) -> std::result::Result<bool, String> {
        evaluate(condition, &self.context())
    }

    async fn steps(&mut self, stage: &str, steps: &[Step]) -> Staged<()> {
        let (base, log) = (self.base(), format!("{}-steps", self.label()));
        let run = self.requests.run;
        run.steps(steps, &base, stage, &log, &mut self.stages).await
    }

    async fn start(&mut self, limit: Duration) -> Staged<Option<u64>> {
        let path = self.requests.model.path.as_deref();
        // Recipes have an option for another path.
        let path = path.filter(|_| !self.requests.engine.config.contains_key("model_path"));
        self.page_cache_share =
            path.and_then(|path| prony_machine::page_cache_share(Path::new(path)));
        let (run, visit) = (self.requests.run, self.requests.visit);
        let mut stop = run.stop.clone();
        let started = tokio::select! {
            started = self.start_within(limit) => started,
            () = crate::run::interrupted(&mut stop) => Err(StageError::Interrupted),
            never = loading::show_progress(run, visit) => match never {},
        };
        match started {
            Ok(time_ns) => {
                if let Some(message) = time_ns.and_then(loading::took_long) {
                    let (model, engine) = (&visit.model, &visit.engine);
                    let message = format!("{model}: `{engine}` {message}");
                    run.tell(Event::Warning { message })?;
                }
                Ok(time_ns)
            }
            Err(StageError::Failed(message)) => {
                let process = self.running.as_mut().and_then(|it| it.process.as_mut());
                let ran_out = process.is_some_and(Process::ran_out_of_memory);
                Err(loading::with_cause(message, ran_out).into())
            }
            Err(error) => Err(error),
        }
    }

    fn is_running(&self) -> bool {
        self.running.is_some()
    }

    async fn prepare(&mut self, stage: &Stage<'_>) -> Staged<()> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        self.requests.ask_without_images(stage, running).await?;
        if let Link::Http {
            target, questions, ..
        } = &running.link
            && !self.account.is_asked
            && !self.requests.is_silent()
        {
            // After the warm-up: some servers load a model with the first request for it.
            self.account.is_asked = true;
            let mut stop = self.requests.run.stop.clone();
            let begin = Instant::now();
            let (settings, too_long) = tokio::select! {
                found = account::settings(target, questions) => found,
                () = crate::run::interrupted(&mut stop) => return Err(StageError::Interrupted),
            };
            self.account.settings = settings;
            self.requests.note_silence(begin.elapsed())?;
            self.requests.note_long_answers(&too_long)?;
        }
        if let Link::Http { target, reset, .. } = &running.link
            && stage.cache == Some(Cache::Cold)
            && !reset.is_empty()
        {
            let mut stop = self.requests.run.stop.clone();
            let emptied = tokio::select! {
                emptied = exchanges::send(target, reset, RESET_LIMIT) => emptied,
                () = crate::run::interrupted(&mut stop) => return Err(StageError::Interrupted),
            };
            emptied.map_err(|words| format!("the prefix cache was not emptied: {words}"))?;
        }
        Ok(())
    }

    async fn send(&mut self, batch: &Batch<'_>) -> Sent {
        let before = self.counters(batch, account::counters).await;
        match &mut self.running {
            Some(running) => {
                let mut sent = self.requests.send(batch, running).await;
                // A server that is ready by its log may begin to listen too late.
                let other = running.owns_its_port().err();
                sent.lost = sent.lost.or(other);
                if let Some(before) = before {
                    // Whoever is gone or hangs is not asked.
                    let is_well = sent.lost.is_none() && sent.succeeded.is_ok();
                    let after = if is_well {
                        self.counters(batch, account::counters_at_rest).await
                    } else {
                        None
                    };
                    let after = after.unwrap_or_default();
                    self.account.note(batch.stage, &before, &after);
                }
                sent
            }
            None => Sent {
                succeeded: Err("the engine is not loaded".to_owned().into()),
                first_sent_ns: None,
                last_end_ns: 0,
                stopped_ns: None,
                first_failure: None,
                lost: None,
            },
        }
    }

    async fn known_models(&mut self) -> Option<String> {
        if !self.requests.has_not_found {
            return None;
        }
        let Link::Http { target, models, .. } = &mut self.running.as_mut()?.link else {
            return None;
        };
        served::in_words(target, &models.take()?).await
    }

    fn look_back(&mut self, measured: &[Window]) -> Used {
        let mut used = Used {
            page_cache_share: self.page_cache_share,
            ..Used::default()
        };
        let sampler = self.running.as_mut().and_then(|it| it.sampler.take());
        let Some(mut sampler) = sampler else {
            return used;
        };
        sampler.finish();
        let origin = self.requests.run.origin_ns;
        for window in measured {
            let [from, to] = [window.from_ns, window.to_ns].map(|it| origin.wrapping_add(it));
            let seen = sampler.window(from, to);
            if let Some(cpu_s) = seen.cpu_seconds {
                let of_stage = used.measure_cpu_s.entry(window.stage.clone());
                *of_stage.or_default() += cpu_s;
            }
            let energy = StageEnergy {
                gpus: seen.gpus,
                processor_joules: seen.processor_energy_joules,
                shared: self.is_resident,
            };
            if !energy.gpus.is_empty() || energy.processor_joules.is_some() {
                used.energy.insert(window.stage.clone(), energy);
            }
        }
        let usage = sampler.stop();
        used.memory = usage.memory;
        let total = usage.total;
        used.peak_memory_bytes = total.peak_rss_bytes;
        used.peak_gpu_memory_bytes = total.peak_gpu_memory_bytes;
        self.cpu_s = total.cpu_seconds;
        self.gpu_warnings = total.gpus.iter().flat_map(GpuUsage::warnings).collect();
        used
    }

    async fn stop(&mut self, grace: Duration) -> Staged<Ended> {
        let Some(Running { process, link, .. }) = self.running.take() else {
            return Ok(Ended::default());
        };
        let port = match &link {
            Link::Http { target, .. } => target.local_port(),
            Link::Stdio { .. } | Link::Worker(_) => None,
        };
        match &link {
            Link::Stdio { pipe, closing } => self.send_closing(pipe, closing, grace).await?,
            Link::Http { target, unload, .. } => {
                if let Err(words) = exchanges::send(target, unload, grace).await {
                    self.tell_not_unloaded(&words)?;
                }
            }
            Link::Worker(_) => {}
        }
        // A worker, like any process that reads its input, may end when that closes.
        drop(link);
        let Some(process) = process else {
            return Ok(Ended::default());
        };
        let begin = now_ns();
        let stopped = process.stop(grace).await;
        let time_ns = now_ns() - begin;
        let left = port.map(prony_machine::listeners).unwrap_or_default();
        let left = left.iter().flatten().next();
        Ok(Ended {
            stopped,
            time_ns: Some(time_ns),
            listens: left.zip(port).map(|(it, port)| (it.name.clone(), port)),
            // The memory of an engine that is still loaded cannot be told from this one's.
            kept: if self.is_resident {
                Vec::new()
            } else {
                kept(&self.before).await
            },
        })
    }

    fn account(&mut self) -> Account {
        std::mem::take(&mut self.account)
    }

    fn warnings(&self) -> Vec<Warning> {
        let after = State::read();
        let change = Change::between(&self.before, &after, &[], self.cpu_s);
        let mut of_machine = change.warnings(&self.requests.run.machine, &after);
        if self.cpu_s.is_none() || self.is_resident {
            // The usage of an attached server, or of another engine, cannot be told from
            // the rest.
            of_machine.retain(|warning| warning.code != "busy_machine");
        }
        let of_gpus = self.gpu_warnings.iter().cloned();
        of_gpus.chain(of_machine).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prony_machine::GpuState;

    #[test]
    fn memory_that_is_not_given_back_is_named() {
        let state = |shared: u64, gpus: &[u64]| State {
            shared_memory_bytes: Some(shared << 20),
            gpus: gpus
                .iter()
                .map(|mib| GpuState {
                    memory_used_bytes: Some(mib << 20),
                    ..GpuState::default()
                })
                .collect(),
            ..State::default()
        };
        let before = state(100, &[500, 0]);
        assert_eq!(more_in_use(&before, &state(150, &[500, 60])), [""; 0]);
        assert_eq!(more_in_use(&before, &state(50, &[100, 0])), [""; 0]);
        assert_eq!(
            more_in_use(&before, &state(400, &[500, 2048])),
            [
                "300 MiB of shared memory",
                "2.00 GiB of the memory of GPU 1"
            ]
        );
        // What is not known has not grown.
        assert_eq!(more_in_use(&State::default(), &before), [""; 0]);
    }
}
