//! Requests, and the records kept of them.

use super::account;
use super::engine::{Link, Material, Running};
use super::sequence::Sent;
use super::{CRASH_GRACE, Staged};
use crate::Result;
use crate::answers::{self, Reading, each_stamp};
use crate::chat::Chat;
use crate::images::{self, Images};
use crate::process::{Process, describe};
use crate::request_set::{self, RequestSet, Texts};
use crate::run::{Run, StageError, interrupted};
use crate::sending;
use prony_config::{Cache, Engine, MatrixPoint, Question, stop_word};
use prony_contract::{self as contract, Kind, Model, Request};
use prony_journal::{Error, Event, api};
use prony_loadgen::Exchange;
use prony_loadgen::client::{Http, MAX_ANSWER};
use prony_loadgen::clock::now_ns;
use prony_loadgen::load::{Done, Load};
use prony_loadgen::local::Worker;
use prony_loadgen::spill::Spill;
use prony_loadgen::stdio::Pipe;
use prony_loadgen::target::{Prepared, RequestFile, Target};
use prony_metrics::cache;
use prony_plan::Visit;
use prony_plugin_host::Plugin;
use prony_record::{ErrorClass, Failed, Phase, Record, Stamps};
use prony_result::words::count;
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

/// The answers to a load, on their way into the journal.
struct AnswerSink {
    reading: Reading,
    /// Decodes them; `None` if they need none.
    plugin: Option<Arc<dyn Plugin>>,
    /// Their file, with several requests in flight.
    spill: Option<Spill>,
    /// `true` for each request that was answered.
    answered: Vec<bool>,
    /// Number of answers handed to the file.
    kept: u64,
    /// Number of requests that succeeded, of the answers read so far.
    succeeded: u32,
}

impl AnswerSink {
    /// Returns `true` once the file could not be written.
    fn cannot_be_kept(&self) -> bool {
        self.spill.as_ref().is_some_and(Spill::has_failed)
    }
}

/// Requests that were due and never answered.
struct Unanswered<'b> {
    reading: &'b Reading,
    /// Time of the last answer, since the run's origin.
    since: u64,
    /// As of the batch.
    has_images: bool,
    /// Requests that were in flight when the load was ended, with their stamps.
    cut_off: BTreeMap<u32, Stamps>,
    /// Due times of those of an open loop that were due and not sent, since the run's origin.
    due: HashMap<u32, u64>,
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
    tokenizer: Option<Arc<Tokenizer>>,
    cold_tokenizer: Option<Arc<Tokenizer>>,
    chat: Option<Arc<Chat>>,
    /// Tokens of rendered prompts, by prompt; only of requests without a nonce.
    rendered: HashMap<u32, Option<u32>>,
    images: &'r Images,
    /// Server's name of the model that the batch asks for, if the adapter gives it.
    asked_model: Option<String>,
    /// Number of the last request over standard input in this visit; 0 before the first.
    numbered: u64,
    /// End of the last request to end, since the run's origin.
    last_end_ns: u64,
    /// Send time of the batch's first request, since the run's origin.
    first_sent_ns: Option<u64>,
    /// Error of the first request of the batch that failed.
    first_failure: Option<Failed>,
    /// Reason why the engine is gone or hangs, once it is.
    lost: Option<String>,
    /// `true` if a request of the batch was answered with HTTP 404.
    pub(super) has_not_found: bool,
    /// Tokens of prompts without their images, by the engine's count, once asked; by
    /// `true` for cold requests, then by prompt.
    pub(super) without_images: BTreeMap<bool, BTreeMap<u32, u32>>,
    /// First answer to each question, by its stage.
    answers: HashMap<String, String>,
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
        self.has_not_found = false;
        self.lost = None;
        let succeeded = self.send_batch(batch, running).await;
        Sent {
            succeeded,
            first_sent_ns: self.first_sent_ns,
            last_end_ns: self.last_end_ns,
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
        let system = self.point.workload.system.as_ref();
        if let Some(question) = batch.question {
            return Texts {
                system: system.cloned(),
                ..Texts::raw(question.prompt.clone())
            };
        }
        let mut texts = Texts::of(self.request_set.prompt(index), system);
        if self.is_cold(batch) {
            // Without the engine: all engines get the same texts.
            let Visit {
                point,
                model,
                cycle,
                ..
            } = self.visit;
            let point = point.as_deref().unwrap_or_default();
            let place = format!("{point}/{model}/{cycle}/{}/{index}", batch.stage);
            let nonce = self.request_set.nonce(&place);
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

    /// Returns `true` if the requests of a batch must be unknown to a cache. Warm-up
    /// requests must not fill it with what those share.
    fn is_cold(&self, batch: &Batch<'_>) -> bool {
        match batch.phase {
            Phase::Warmup if batch.has_images => request_set::is_cold(self.point),
            Phase::Warmup | Phase::Measure => batch.cache == Some(Cache::Cold),
        }
    }

    /// Minimum number of tokens in all texts of request `index` of a stage.
    fn least_prompt_tokens(&self, batch: &Batch<'_>, index: u32) -> u32 {
        let texts = self.texts(batch, index);
        texts.all().map(cache::least_tokens).sum()
    }

    /// Minimum number of tokens in all texts of cold request `index` of a stage, by the model's
    /// tokenizer. Of images there is no such count.
    fn own_prompt_tokens(&self, batch: &Batch<'_>, index: u32) -> Option<u32> {
        let tokenizer = self.cold_tokenizer.as_ref()?;
        if !self.point.workload.images.is_empty() {
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
    fn rendered_tokens(&mut self, batch: &Batch<'_>, index: u32) -> Option<u32> {
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
            let made = plugin
                .encode(&self.config, &self.model, &self.request(batch, index)?)
                .map_err(|error| error.to_string())?;
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
        let http = Http {
            target: target.clone(),
            shards: sending::shards(batch.shards, batch.arrival, sending::cores()),
            poll_every: sending::poll_every(batch.arrival),
        };
        let answers = self.answers(batch, Some(plugin), &load)?;
        let running = http.start(load);
        let running =
            running.map_err(|error| format!("the load generator did not start: {error}"))?;
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
            let made = plugin.encode_stdio(&self.config, &self.model, &request, self.numbered);
            let made = made.map_err(|error| error.to_string())?;
            bytes += made.line.len();
            check_kept(bytes)?;
            requests.push(made);
        }
        let load = self.load_of(batch, requests)?;
        let answers = self.answers(batch, Some(plugin), &load)?;
        let running = pipe.start(load);
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
        let running = worker.start(load);
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
    pub(super) fn adapter(&self) -> std::result::Result<Arc<dyn Plugin>, String> {
        let plugin = self.run.registry.load(Kind::Engine, &self.engine.plugin);
        plugin.map_err(|error| error.to_string())
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
            arrival,
            timeout: self.point.workload.request_timeout.to_std(),
            until: batch.duration,
        })
    }

    /// Pause between the end of a turn's answer and the next turn.
    fn think(&self, batch: &Batch<'_>) -> Duration {
        let dataset = self.point.workload.dataset.as_ref();
        let dataset = dataset.filter(|_| batch.has_images);
        dataset.map_or(Duration::ZERO, |dataset| dataset.think.to_std())
    }

    /// The way of the answers to a load into the journal. With several requests in flight a
    /// file is made for them.
    fn answers<T>(
        &self,
        batch: &Batch<'_>,
        plugin: Option<Arc<dyn Plugin>>,
        load: &Load<T>,
    ) -> Result<AnswerSink> {
        let mut reading = self.reading(batch, plugin.is_some());
        reading.count = load.requests.len() as u32;
        let spill = if load.is_one_at_a_time() {
            None
        } else {
            let path = answers::path(self.run.folder);
            let io = Error::io(&path);
            reading.run_sha256 = answers::run_sha256(self.run.folder)
                .map_err(Error::io(&self.run.folder.journal()))?;
            let line =
                serde_json::to_vec(&reading).unwrap_or_else(|_| unreachable!("it is plain data"));
            Some(Spill::create(&path, &line).map_err(io)?)
        };
        Ok(AnswerSink {
            reading,
            plugin,
            spill,
            answered: vec![false; load.requests.len()],
            kept: 0,
            succeeded: 0,
        })
    }

    /// Everything that makes records of the answers to a batch.
    fn reading(&self, batch: &Batch<'_>, is_decoded: bool) -> Reading {
        let workload = &self.point.workload;
        let prompts = &self.request_set.prompts;
        let is_asked = batch.question.is_some();
        let mut max_tokens: Vec<u32> = match batch.question {
            Some(question) => vec![question.max_tokens],
            None => prompts.iter().map(|it| it.max_tokens).collect(),
        };
        if max_tokens.iter().all(|it| *it == max_tokens[0]) {
            max_tokens.truncate(1);
        }
        let images = if batch.has_images {
            workload.images.len() as u32
        } else {
            0
        };
        let cold = batch.cache == Some(Cache::Cold);
        let without_images = self.without_images.get(&cold);
        let masked = self.run.pipeline.secrets.masked(&self.config);
        let config = masked.map(std::borrow::Cow::into_owned);
        Reading {
            schema: answers::SCHEMA.to_owned(),
            run_sha256: String::new(),
            visit: self.visit.clone(),
            phase: batch.phase,
            stage: batch.stage.to_owned(),
            first: batch.first,
            count: batch.count,
            prompts: prompts.len() as u32,
            images,
            max_tokens,
            origin_ns: self.run.origin_ns,
            plugin: is_decoded.then(|| self.engine.plugin.clone()),
            config: config.unwrap_or_default(),
            asked_model: self.asked_model.clone().filter(|_| batch.has_images),
            model_path: self.model.path.clone(),
            is_exact: workload.ignore_eos && workload.stop.is_empty() && !is_asked,
            without_images: without_images.cloned().unwrap_or_default(),
        }
    }

    /// Keeps the results of a load; returns the number that succeeded. `lost` returns the
    /// reason why nothing more could be sent, if any.
    async fn receive(
        &mut self,
        batch: &Batch<'_>,
        mut answers: AnswerSink,
        mut running: prony_loadgen::load::Running,
        process: &mut Option<Process>,
        lost: impl Fn() -> Option<Failed>,
    ) -> Staged<u32> {
        let mut stop = self.run.stop.clone();
        let deadline = batch.limit.map(|limit| tokio::time::Instant::now() + limit);
        let mut since = self.run.now();
        let (mut is_interrupted, mut is_over) = (false, false);
        let workload = &self.point.workload;
        // All that are in flight may meet one pause.
        let max_timeouts = workload.max_timeouts.max(batch.arrival.max_in_flight());
        let mut timeouts = 0;
        let mut hangs = None;
        loop {
            let next = tokio::select! {
                next = running.next() => next,
                () = interrupted(&mut stop) => {
                    is_interrupted = true;
                    break;
                }
                () = passed(deadline) => break,
            };
            let Some(mut done) = next else {
                is_over = true;
                break;
            };
            since = self.run.now();
            if let Some(failed) = &mut done.exchange.seen.failed {
                blame_crash(failed, done.exchange.seen.stamps.end_ns, process).await;
            }
            let class = done.exchange.seen.failed.as_ref().map(|it| it.class);
            self.lost = match class {
                Some(ErrorClass::Crashed | ErrorClass::Oom) => {
                    Some("the engine ended during the stage".to_owned())
                }
                Some(ErrorClass::Connect) => {
                    Some("the engine was gone at the end of the stage: no connection".to_owned())
                }
                _ => None,
            };
            timeouts = match class {
                Some(ErrorClass::Timeout) => timeouts + 1,
                _ => 0,
            };
            self.take(batch, &mut answers, done)?;
            if answers.cannot_be_kept() {
                break;
            }
            if timeouts >= max_timeouts {
                hangs = Some(format!(
                    "{timeouts} requests in a row had no answer within {:?}, so the engine is taken to hang (`max_timeouts`)",
                    workload.request_timeout.to_std()
                ));
                break;
            }
        }
        // Ending the load may itself lose the engine, and is then no explanation.
        let lost = lost();
        let stopped_ns = now_ns();
        running.stop();
        // What was answered until now is kept, whatever ended the stage. What was in flight
        // then has failed by our doing.
        let mut cut_off = BTreeMap::new();
        while let Some(mut done) = running.next().await {
            let seen = &mut done.exchange.seen;
            match &mut seen.failed {
                Some(_) if seen.stamps.end_ns >= stopped_ns => {
                    cut_off.insert(done.index, seen.stamps);
                    continue;
                }
                Some(failed) => blame_crash(failed, seen.stamps.end_ns, process).await,
                None => {}
            }
            since = self.run.now();
            self.take(batch, &mut answers, done)?;
        }
        let usage = running.usage();
        self.read_kept(batch, &mut answers)?;
        let AnswerSink {
            reading,
            mut answered,
            succeeded,
            ..
        } = answers;
        // A worker runs without a client.
        let client = usage.filter(|usage| batch.phase == Phase::Measure && usage.shards > 0);
        if let Some(usage) = client {
            self.run.tell(Event::Client {
                visit: self.visit.clone(),
                stage: batch.stage.to_owned(),
                client: sending::client(usage),
            })?;
        }
        if is_interrupted {
            self.note_cut_off(batch, cut_off.len())?;
            return Err(StageError::Interrupted);
        }
        for stamps in cut_off.values_mut() {
            for stamp in each_stamp(stamps) {
                *stamp = self.run.since_origin(*stamp);
            }
        }
        let dropped = usage.into_iter().flat_map(|usage| &usage.dropped);
        let unanswered = Unanswered {
            reading: &reading,
            since,
            has_images: batch.has_images,
            cut_off,
            due: dropped
                .map(|(index, due_ns)| (*index, self.run.since_origin(*due_ns)))
                .collect(),
        };
        if let Some(lost) = lost {
            let message = format!("not sent: {}", lost.message);
            let unsent = Failed::new(ErrorClass::Crashed, message);
            let cut = Failed::new(ErrorClass::Crashed, lost.message.clone());
            self.unanswered(&unanswered, &answered, &cut, &unsent)?;
            self.lost.get_or_insert(lost.message);
            return Ok(succeeded);
        }
        if let Some(hangs) = hangs {
            let over = Failed::new(ErrorClass::Timeout, format!("given up: {hangs}"));
            self.unanswered(&unanswered, &answered, &over, &over)?;
            self.lost = Some(hangs);
            return Ok(succeeded);
        }
        let mut not_due = 0;
        if batch.arrival.is_open() || (is_over && batch.duration.is_some()) {
            // Sessions not begun by a closed loop were never due; those dropped by an
            // open loop were.
            for (index, answered) in (0..).zip(&mut answered) {
                let is_owed =
                    unanswered.due.contains_key(&index) || unanswered.cut_off.contains_key(&index);
                not_due += u32::from(!*answered && !is_owed);
                *answered |= !is_owed;
            }
        }
        let unsent = match batch.duration.filter(|_| is_over) {
            Some(duration) => format!(
                "not sent within {duration:?}: {} requests in flight are the most",
                batch.arrival.max_in_flight()
            ),
            None => "not sent within the stage's limit".to_owned(),
        };
        let unsent = Failed::new(ErrorClass::Timeout, unsent);
        let cut = Failed::new(ErrorClass::Timeout, "not finished within the stage's limit");
        self.unanswered(&unanswered, &answered, &cut, &unsent)?;
        if !is_over && not_due > 0 && batch.has_images {
            let message = format!(
                "{}: the limit of `{}` (`timeout`) ended it before {} of `{}` (cycle {}) were due: they are in no number",
                self.visit.model,
                batch.stage,
                count(u64::from(not_due), "request"),
                self.visit.engine,
                self.visit.cycle
            );
            self.run.tell(Event::Warning { message })?;
        }
        Ok(succeeded)
    }

    /// Tells of requests that were in flight when the user interrupted the run.
    fn note_cut_off(&self, batch: &Batch<'_>, requests: usize) -> Result<()> {
        if requests == 0 || !batch.has_images {
            return Ok(());
        }
        let message = format!(
            "{}: {} of `{}` (cycle {}) in flight when the run was interrupted: in no number",
            self.visit.model,
            count(requests as u64, "request"),
            self.visit.engine,
            self.visit.cycle
        );
        self.run.tell(Event::Warning { message })
    }

    /// Takes an answer: journals it at once if the next request waits for that, or else
    /// keeps it.
    fn take(&mut self, batch: &Batch<'_>, answers: &mut AnswerSink, done: Done) -> Result<()> {
        let Done {
            index,
            exchange,
            resume,
            held,
        } = done;
        answers.answered[index as usize] = true;
        match &answers.spill {
            Some(spill) => {
                spill.keep(index, exchange, held);
                answers.kept += 1;
                if batch.has_images {
                    self.run.show(&Event::Answered);
                }
            }
            None => self.read(batch, answers, index, exchange)?,
        }
        drop(resume);
        Ok(())
    }

    /// Journals the answers that were kept, and removes their file. None is in flight any
    /// more, so decoding takes no CPU time from the engine.
    fn read_kept(&mut self, batch: &Batch<'_>, answers: &mut AnswerSink) -> Result<()> {
        let Some(spill) = answers.spill.take() else {
            return Ok(());
        };
        let path = answers::path(self.run.folder);
        let io = |error| Error::io(&path)(error);
        let kept = spill.finish().map_err(io)?;
        let mut read = 0;
        for answer in kept.answers {
            let (index, exchange) = answer.map_err(io)?;
            self.read(batch, answers, index, exchange)?;
            read += 1;
        }
        for (index, exchange) in kept.left {
            self.read(batch, answers, index, exchange)?;
            read += 1;
        }
        if read != answers.kept {
            let message = format!("{read} of {} answers are in it", answers.kept);
            return Err(io(std::io::Error::other(message)));
        }
        // Whatever is left of it is in the journal.
        let _ = std::fs::remove_file(&path);
        kept.failed.map_or(Ok(()), |error| Err(io(error)))
    }

    /// Has the plugin decode an answer, and journals it.
    fn read(
        &mut self,
        batch: &Batch<'_>,
        answers: &mut AnswerSink,
        index: u32,
        exchange: Exchange,
    ) -> Result<()> {
        let reading = &answers.reading;
        let plugin = answers.plugin.as_ref();
        let mut record = reading.record(plugin, &self.config, index, exchange);
        if !batch.has_images {
            self.see_without_image(batch, &record);
            answers.succeeded += u32::from(record.ok());
            return Ok(());
        }
        if let (true, Some(tokenizer)) = (record.ok(), &self.tokenizer) {
            // An uncountable answer is not checked.
            let counted = tokenizer.count(&record.text).ok();
            record.counted_tokens = counted.map(|tokens| tokens as u32);
        }
        reading.note_length(index, &mut record);
        let is_asked = batch.question.is_some();
        if is_asked && record.ok() {
            let answer = self.answers.entry(batch.stage.to_owned());
            answer.or_insert_with(|| record.text.clone());
        }
        if record.ok() {
            record.rendered_tokens = self.rendered_tokens(batch, batch.first + index);
        }
        let least = self.least_prompt_tokens(batch, batch.first + index);
        let is_cut = record.prompt_tokens.is_some_and(|tokens| tokens < least) && !is_asked;
        if batch.cache == Some(Cache::Cold) || is_cut {
            record.least_prompt_tokens = Some(least);
        }
        if batch.cache == Some(Cache::Cold) && record.ok() && record.cached_tokens != Some(0) {
            record.own_prompt_tokens = self.own_prompt_tokens(batch, batch.first + index);
        }
        self.last_end_ns = self.last_end_ns.max(record.stamps.end_ns);
        let sent = record.stamps.sent_ns;
        self.first_sent_ns = Some(self.first_sent_ns.map_or(sent, |first| first.min(sent)));
        self.has_not_found |= record.status == Some(404);
        if self.first_failure.is_none() {
            self.first_failure.clone_from(&record.failed);
        }
        answers.succeeded += u32::from(record.ok());
        self.run.tell(Event::Request(Box::new(record)))
    }

    /// Requests that were due and never answered are failures too: `cut` those in flight, and
    /// `unsent` the others. If none was in flight, the first takes the time since the last
    /// answer: it was being waited for.
    fn unanswered(
        &mut self,
        of: &Unanswered<'_>,
        answered: &[bool],
        cut: &Failed,
        unsent: &Failed,
    ) -> Result<()> {
        if !of.has_images {
            return Ok(());
        }
        let mut waited_since = of.cut_off.is_empty().then_some(of.since);
        for (index, _) in (0..).zip(answered).filter(|it| !it.1) {
            let id = of.reading.id(index);
            let now = self.run.now();
            let mut record;
            if let Some(stamps) = of.cut_off.get(&index) {
                // What had no connection yet has no time of its own.
                let is_sent = stamps.end_ns > stamps.sent_ns;
                let why = if is_sent { cut } else { unsent };
                record = Record::unsent(id, now, why.clone());
                record.stamps = *stamps;
                if is_sent {
                    let first = self.first_sent_ns.unwrap_or(u64::MAX);
                    self.first_sent_ns = Some(first.min(stamps.sent_ns));
                }
            } else {
                record = Record::unsent(id, now, unsent.clone());
                if let Some(due) = of.due.get(&index) {
                    record.stamps.intended_ns = *due;
                } else if let Some(since) = waited_since.take() {
                    (record.stamps.intended_ns, record.stamps.sent_ns) = (since, since);
                }
            }
            self.last_end_ns = self.last_end_ns.max(record.stamps.end_ns);
            self.run.tell(Event::Request(Box::new(record)))?;
        }
        Ok(())
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

/// Attributes a connection that broke at `end_ns` to a crash, if the process behind it has
/// ended by then or shortly after.
async fn blame_crash(failed: &mut Failed, end_ns: u64, process: &mut Option<Process>) {
    // Many that break together wait once.
    let passed = Duration::from_nanos(now_ns().saturating_sub(end_ns));
    let grace = CRASH_GRACE.saturating_sub(passed);
    let suspicious = matches!(
        failed.class,
        ErrorClass::Connect | ErrorClass::Truncated | ErrorClass::Protocol | ErrorClass::Crashed
    );
    if let (true, Some(process)) = (suspicious, process)
        && let Some(status) = process.exited_within(grace).await
    {
        let class = if process.ran_out_of_memory() {
            ErrorClass::Oom
        } else {
            ErrorClass::Crashed
        };
        *failed = Failed::new(
            class,
            format!(
                "the engine ended ({}): {}; {}",
                describe(status),
                failed.message,
                process.last_words()
            ),
        );
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

/// Pending until the deadline, or for ever without one.
async fn passed(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
