//! Requests, and the records kept of them.

use super::Staged;
use super::account;
use super::engine::{Link, Material, Running};
use super::sequence::Sent;
use super::together::OnItsWay;
use crate::Result;
use crate::chat::Chat;
use crate::images::{self, Images};
use crate::process::Process;
use crate::request_set::{RequestSet, Texts};
use crate::run::Run;
use crate::sending;
use prony_config::{Cache, Engine, MatrixPoint, Question, stop_word};
use prony_contract::{self as contract, Kind, Model, Request};
use prony_journal::{Error, Event, api};
use prony_loadgen::client::MAX_ANSWER;
use prony_loadgen::load::Load;
use prony_loadgen::local::Worker;
use prony_loadgen::stdio::Pipe;
use prony_loadgen::target::{Prepared, RequestFile, Target};
use prony_metrics::cache;
use prony_plan::Visit;
use prony_plugin_host::Plugin;
use prony_record::{Failed, Phase};
use prony_tokenizer::Tokenizer;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Memory of a stage's HTTP requests, in bytes; further ones lie in a file.
const MAX_REQUESTS: usize = 64 << 20;
/// Maximum size of a stage's requests to engines without HTTP, in bytes.
const MAX_KEPT: usize = 256 << 20;

/// The requests of a stage.
pub(crate) struct Batch<'s> {
    pub(super) phase: Phase,
    /// Id of the stage.
    pub(super) stage: &'s str,
    /// Number of the first of them within the stage, from 0.
    pub(super) first: u32,
    pub(super) count: u32,
    /// Arrival process of the requests.
    pub(super) arrival: prony_config::Arrival,
    /// Number of client threads, if the pipeline states it.
    pub(super) shards: Option<u32>,
    /// Time during which they are sent.
    pub(super) duration: Option<Duration>,
    /// Expected state of the prefix cache.
    pub(super) cache: Option<Cache>,
    /// Timeout of all of them together.
    pub(super) limit: Option<Duration>,
    /// `true` if they carry the workload's images; those without are not part of the
    /// results.
    pub(super) has_images: bool,
    /// Content of the requests, in place of the workload's.
    pub(super) question: Option<&'s Question>,
}

/// Characters at the beginning of a nonce that another may have by chance, and an engine's
/// cache with it: of 36 signs, 4 are one of 1.7 million.
const CHANCE_OF_NONCE: usize = 4;

/// The requests of a visit: makes and sends them, and journals the answers.
pub(super) struct Requests<'r, 'a> {
    pub(super) run: &'r Run<'a>,
    pub(super) visit: &'r Visit,
    pub(super) point: &'r MatrixPoint,
    pub(super) engine: &'r Engine,
    /// The engine's config, once its templates are filled in.
    pub(super) config: Value,
    pub(super) model: Model,
    pub(super) request_set: Arc<RequestSet>,
    pub(super) tokenizer: Option<Arc<Tokenizer>>,
    pub(super) cold_tokenizer: Option<Arc<Tokenizer>>,
    pub(super) chat: Option<Arc<Chat>>,
    /// Tokens of rendered prompts, by prompt; only of requests without a nonce.
    pub(super) rendered: HashMap<u32, Option<u32>>,
    pub(super) images: &'r Images,
    /// Server's name of the model that the batch asks for, if the adapter gives it.
    pub(super) asked_model: Option<String>,
    /// Number of the last request over standard input in this visit; 0 before the first.
    pub(super) numbered: u64,
    /// End of the last request to end, since the run's origin.
    pub(super) last_end_ns: u64,
    /// Time from which nothing of the batch was in flight, since the run's origin: what is decoded
    /// after it takes none of the engine's time. `None` until then.
    pub(super) stopped_ns: Option<u64>,
    /// Send time of the batch's first request, since the run's origin.
    pub(super) first_sent_ns: Option<u64>,
    /// Error of the first request of the batch that failed.
    pub(super) first_failure: Option<Failed>,
    /// Reason why the engine is gone or hangs, once it is.
    pub(super) lost: Option<String>,
    /// `true` if a request of the batch was answered with HTTP 404.
    pub(super) has_not_found: bool,
    /// Tokens of prompts without their images, by the engine's count, once asked; by
    /// `true` for cold requests, then by prompt.
    pub(super) without_images: BTreeMap<bool, BTreeMap<u32, u32>>,
    /// First answer to each question, by its stage.
    pub(super) answers: HashMap<String, String>,
}

impl<'r, 'a> Requests<'r, 'a> {
    /// Requests of `model` to `engine`, before any is sent.
    pub(super) fn new(
        run: &'r Run<'a>,
        visit: &'r Visit,
        point: &'r MatrixPoint,
        engine: &'r Engine,
        model: Model,
        material: &Material<'r>,
    ) -> Self {
        Self {
            run,
            visit,
            point,
            engine,
            config: Value::Null,
            model,
            request_set: material.request_set.clone(),
            tokenizer: material.tokenizer.clone(),
            cold_tokenizer: material.cold_tokenizer.clone(),
            chat: material.chat.clone(),
            rendered: HashMap::new(),
            images: material.images,
            asked_model: None,
            numbered: 0,
            last_end_ns: 0,
            stopped_ns: None,
            first_sent_ns: None,
            first_failure: None,
            lost: None,
            has_not_found: false,
            without_images: BTreeMap::new(),
            answers: HashMap::new(),
        }
    }

    /// Sends a batch whose results count.
    pub(super) async fn send(&mut self, batch: &Batch<'_>, running: &mut Running) -> Sent {
        self.first_sent_ns = None;
        self.stopped_ns = None;
        self.has_not_found = false;
        self.lost = None;
        let succeeded = self.send_batch(batch, running).await;
        Sent {
            succeeded,
            first_sent_ns: self.first_sent_ns,
            last_end_ns: self.last_end_ns,
            stopped_ns: self.stopped_ns,
            first_failure: self.first_failure.take(),
            lost: self.lost.take(),
        }
    }

    /// Sends over the engine's transport; returns the number that succeeded.
    pub(super) async fn send_batch(
        &mut self,
        batch: &Batch<'_>,
        running: &mut Running,
    ) -> Staged<u32> {
        let process = &mut running.process;
        match &mut running.link {
            Link::Http { target, .. } => self.over_http(batch, target, process).await,
            Link::Stdio { pipe, .. } => self.over_stdio(batch, pipe, process).await,
            Link::Worker(worker) => self.over_worker(batch, worker, process).await,
        }
    }

    /// Request `index` of a stage; prompts and images repeat in turn.
    fn request(&self, batch: &Batch<'_>, index: u32) -> std::result::Result<Request, String> {
        let workload = &self.point.workload;
        let prompts = self.request_set.prompts.len() as u32;
        let texts = self.texts(batch, index);
        let chat = self.chat.as_ref();
        let (api, texts) = match chat.filter(|chat| chat.is_for(&self.engine.name)) {
            Some(chat) => (contract::Api::Completions, Texts::raw(chat.render(&texts)?)),
            None => (api(workload.api), texts),
        };
        let Texts {
            system,
            history,
            prompt,
        } = texts;
        let mut request = Request {
            api,
            prompt,
            system,
            history,
            max_tokens: self.request_set.prompt(index).max_tokens,
            temperature: workload.temperature,
            top_p: workload.top_p,
            seed: workload.seed,
            stop: workload.stop.clone(),
            ignore_eos: workload.ignore_eos,
            images: Vec::new(),
        };
        if let Some(question) = batch.question {
            request.max_tokens = question.max_tokens;
            request.temperature = question.temperature;
            request.seed = question.seed;
            request.ignore_eos = question.ignore_eos;
            request.stop = self.stop_of(question)?;
        } else if batch.has_images {
            request.images = self.images.of_request(workload, prompts, index)?;
            request.images.extend(self.request_set.images(index));
        } else {
            // Only the prompt matters.
            request.max_tokens = 1;
        }
        Ok(request)
    }

    /// The texts at which the answer to a question is to stop.
    fn stop_of(&self, question: &Question) -> std::result::Result<Vec<String>, String> {
        let Some(stage) = question.stops_at_word_of else {
            return Ok(Vec::new());
        };
        let answer = self.answers.get(stage);
        let word = answer.and_then(|answer| stop_word(answer));
        let word = word.ok_or("there is no answer that has a word to stop at")?;
        Ok(vec![word.to_owned()])
    }

    /// The texts of request `index` of a stage. For a cold cache, the first message
    /// begins with a unique nonce, so that each turn of a conversation is cold too.
    fn texts(&self, batch: &Batch<'_>, index: u32) -> Texts {
        if let Some(question) = batch.question {
            return Texts {
                system: self.point.workload.system.clone(),
                ..Texts::raw(question.prompt.clone())
            };
        }
        let mut texts = self.request_set.texts(self.point, index);
        if self.is_cold(batch) {
            let Visit {
                point,
                model,
                cycle,
                ..
            } = self.visit;
            let point = point.as_deref();
            let nonce = self
                .request_set
                .nonce(point, model, *cycle, batch.stage, index);
            if batch.has_images {
                texts.first().insert_str(0, &nonce);
            } else {
                // Of the same length, and useless to a cache.
                texts.prompt.push(' ');
                texts.prompt.push_str(nonce.trim_end());
            }
        }
        texts
    }

    /// Returns `true` if the requests of a batch must be unknown to a cache. The requests of a
    /// warm-up for these must not fill it with what they share.
    fn is_cold(&self, batch: &Batch<'_>) -> bool {
        let cache = match batch.phase {
            Phase::Warmup if batch.has_images => self.point.warmup_cache(batch.stage),
            Phase::Warmup | Phase::Measure => batch.cache,
        };
        cache == Some(Cache::Cold)
    }

    /// Minimum number of tokens in all texts of request `index` of a stage.
    pub(super) fn least_prompt_tokens(&self, batch: &Batch<'_>, index: u32) -> u32 {
        let texts = self.texts(batch, index);
        texts.all().map(cache::least_tokens).sum()
    }

    /// Minimum number of tokens in all texts of cold request `index` of a stage, by the model's
    /// tokenizer. Of images there is no such count.
    pub(super) fn own_prompt_tokens(&self, batch: &Batch<'_>, index: u32) -> Option<u32> {
        let tokenizer = self.cold_tokenizer.as_ref()?;
        if !self.point.workload.images.is_empty() || self.request_set.has_images() {
            return None;
        }
        let mut texts = self.texts(batch, index);
        texts.first().drain(..CHANCE_OF_NONCE);
        let count = |text: &str| {
            let tokens = tokenizer.count(text.trim()).ok()?;
            // What a template puts beside a text may join it in a token.
            u32::try_from(tokens.saturating_sub(1)).ok()
        };
        texts.all().map(count).sum()
    }

    /// Tokens of the prompt of request `index` of a stage as prony renders it.
    pub(super) fn rendered_tokens(&mut self, batch: &Batch<'_>, index: u32) -> Option<u32> {
        let chat = self.chat.clone()?;
        if self.is_cold(batch) || batch.question.is_some() {
            return chat.count(&self.texts(batch, index));
        }
        let (prompt, _) = self.content(index);
        if let Some(known) = self.rendered.get(&prompt) {
            return *known;
        }
        let tokens = chat.count(&self.texts(batch, index));
        self.rendered.insert(prompt, tokens);
        tokens
    }

    /// The numbers of prompt and image of request `index`, which distinguish the requests
    /// of a stage.
    fn content(&self, index: u32) -> (u32, Option<u32>) {
        let prompts = self.request_set.prompts.len() as u32;
        let images = self.point.workload.images.len() as u32;
        (index % prompts, images::number_for(index, prompts, images))
    }

    /// Sends requests to a server; returns the number that succeeded.
    async fn over_http(
        &mut self,
        batch: &Batch<'_>,
        target: &Target,
        process: &mut Option<Process>,
    ) -> Staged<u32> {
        let plugin = self.adapter()?;
        let path = self.run.folder.path().join("requests.bin");
        let (mut file, mut bytes) = (None, 0);
        let encode = |index| -> Staged<Arc<Prepared>> {
            let made = plugin.encode(&self.config, &self.model, &self.request(batch, index)?)?;
            let request = target.prepare(&made)?;
            bytes += request.len();
            if bytes <= MAX_REQUESTS {
                return Ok(Arc::new(request));
            }
            let io = Error::io(&path);
            let moved = match &mut file {
                Some(file) => RequestFile::put(file, request),
                None => RequestFile::create(&path).and_then(|new| file.insert(new).put(request)),
            };
            Ok(Arc::new(moved.map_err(io)?))
        };
        let requests = self.each_content(batch, encode)?;
        if let Some(file) = &mut file {
            file.flush().map_err(Error::io(&path))?;
        }
        let first = requests.first();
        self.asked_model = first.and_then(|request| request.model().cloned());
        let load = self.load_of(batch, requests)?;
        let answers = self.answers(batch, Some(plugin), &load)?;
        let running = self.start(batch, target, load).await?;
        self.receive(batch, answers, running, process, || None)
            .await
    }

    /// Sends requests over an engine's standard input; returns the number that succeeded.
    async fn over_stdio(
        &mut self,
        batch: &Batch<'_>,
        pipe: &Pipe,
        process: &mut Option<Process>,
    ) -> Staged<u32> {
        let plugin = self.adapter()?;
        let mut requests = Vec::new();
        let mut bytes = 0;
        for index in (batch.first..).take(batch.count as usize) {
            // A new number for each request of the visit.
            self.numbered += 1;
            let request = self.request(batch, index)?;
            let made = plugin.encode_stdio(&self.config, &self.model, &request, self.numbered)?;
            bytes += made.line.len();
            check_kept(bytes)?;
            requests.push(made);
        }
        let load = self.load_of(batch, requests)?;
        let answers = self.answers(batch, Some(plugin), &load)?;
        let running = OnItsWay::alone(pipe.start(load));
        self.receive(batch, answers, running, process, || pipe.lost())
            .await
    }

    /// Sends requests to a worker; returns the number that succeeded.
    async fn over_worker(
        &mut self,
        batch: &Batch<'_>,
        worker: &Worker,
        process: &mut Option<Process>,
    ) -> Staged<u32> {
        let mut bytes = 0;
        let request = |index| -> Staged<Arc<Request>> {
            let request = self.request(batch, index)?;
            let history = request.history.iter().map(|it| it.content.len());
            let images = request.images.iter().map(|it| it.data.len());
            let system = request.system.as_ref().map_or(0, String::len);
            bytes += request.prompt.len() + system + history.chain(images).sum::<usize>();
            check_kept(bytes)?;
            Ok(Arc::new(request))
        };
        let requests = self.each_content(batch, request)?;
        let load = self.load_of(batch, requests)?;
        let answers = self.answers(batch, None, &load)?;
        let running = OnItsWay::alone(worker.start(load));
        self.receive(batch, answers, running, process, || worker.lost())
            .await
    }

    /// The requests of a batch, in order. Repeated ones are made once: images are large.
    fn each_content<T>(
        &self,
        batch: &Batch<'_>,
        mut make: impl FnMut(u32) -> Staged<Arc<T>>,
    ) -> Staged<Vec<Arc<T>>> {
        let mut known: HashMap<(u32, Option<u32>), Arc<T>> = HashMap::new();
        let mut requests = Vec::new();
        for index in (batch.first..).take(batch.count as usize) {
            let content = self.content(index);
            let request = match known.get(&content) {
                Some(request) => request.clone(),
                None => make(index)?,
            };
            requests.push(request.clone());
            if !self.is_cold(batch) {
                known.insert(content, request);
            }
        }
        Ok(requests)
    }

    /// The plugin of the engine.
    pub(super) fn adapter(&self) -> prony_plugin_host::Result<Arc<dyn Plugin>> {
        self.run.registry.load(Kind::Engine, &self.engine.plugin)
    }

    /// The load of `requests`: arrival times and conversations. Conversations that would
    /// start after the duration are not due, and their requests are removed.
    fn load_of<T>(
        &self,
        batch: &Batch<'_>,
        mut requests: Vec<T>,
    ) -> std::result::Result<Load<T>, String> {
        let mut sessions = self.request_set.conversations(batch.first, batch.count);
        let arrival = sending::arrival(
            batch.arrival,
            self.run.pipeline.schedule.seed ^ (u64::from(self.visit.cycle) << 32),
            &mut sessions,
            batch.duration,
            |index| self.request_set.prompt(batch.first + index).at_ns,
        )?;
        requests.truncate(sessions.last().map_or(0, |last| last.end as usize));
        Ok(Load {
            requests,
            sessions,
            think: self.think(batch),
            delays: self.delays(batch),
            arrival,
            timeout: self.point.workload.request_timeout.to_std(),
            until: batch.duration,
            is_share: false,
        })
    }

    /// Pause between the end of a turn's answer and the next turn.
    fn think(&self, batch: &Batch<'_>) -> Duration {
        let dataset = self.point.workload.dataset.as_ref();
        let dataset = dataset.filter(|_| batch.has_images);
        dataset.map_or(Duration::ZERO, |dataset| dataset.think.to_std())
    }

    /// Pauses before turns for which the dataset states one, by their index in the batch.
    fn delays(&self, batch: &Batch<'_>) -> BTreeMap<u32, Duration> {
        if !batch.has_images {
            return BTreeMap::new();
        }
        let delay = |index| self.request_set.prompt(batch.first + index).delay;
        let stated = (0..batch.count).filter_map(|index| Some((index, delay(index)?)));
        stated.collect()
    }
}

impl Requests<'_, '_> {
    /// Returns `true` if the engine is not to be asked about itself.
    pub(super) fn is_silent(&self) -> bool {
        self.run.silent.borrow().contains(&self.visit.engine)
    }

    /// Remembers an engine that took the whole time over the questions: to wait for it before
    /// each stage would change what is measured.
    pub(super) fn note_silence(&self, time: Duration) -> Result<()> {
        let engine = &self.visit.engine;
        if time < account::LIMIT || !self.run.silent.borrow_mut().insert(engine.clone()) {
            return Ok(());
        }
        let message = format!(
            "{}: `{engine}` (cycle {}) did not answer questions about its settings and counters within {:?}, so it stood idle for that time before a stage; it is not asked again",
            self.visit.model,
            self.visit.cycle,
            account::LIMIT
        );
        self.run.tell(Event::Warning { message })
    }

    /// Tells that answers of the engine about itself are too long to be read, of `paths`.
    pub(super) fn note_long_answers(&self, paths: &[String]) -> Result<()> {
        for path in paths {
            let message = format!(
                "{}: what `{}` answers at `{path}` (cycle {}) is longer than {} MiB and was not read, so what it tells there is not known",
                self.visit.model,
                self.visit.engine,
                self.visit.cycle,
                MAX_ANSWER >> 20
            );
            self.run.tell(Event::Warning { message })?;
        }
        Ok(())
    }
}

/// Checks that the requests of a stage, which lie in memory, are not too large for that.
fn check_kept(bytes: usize) -> std::result::Result<(), String> {
    if bytes <= MAX_KEPT {
        return Ok(());
    }
    Err(format!(
        "the requests of the stage come to more than {} MiB, which is the most for an engine without HTTP: lower `requests`, or shorten what is sent",
        MAX_KEPT >> 20
    ))
}
