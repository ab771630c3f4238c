//! Requests, and the records kept of them.

use super::account;
use super::engine::{Link, Material, Running};
use super::sequence::Sent;
use super::{CRASH_GRACE, Staged};
use crate::Result;
use crate::chat::Chat;
use crate::images::{self, Images};
use crate::process::{Process, describe};
use crate::request_set::{self, RequestSet, Texts};
use crate::run::{Run, StageError, interrupted};
use crate::sending;
use prony_config::{Cache, Engine, MatrixPoint, Question, stop_word};
use prony_contract::{self as contract, ErrorKind, Kind, Model, Request};
use prony_journal::{Event, api};
use prony_loadgen::Exchange;
use prony_loadgen::client::{Http, MAX_ANSWER};
use prony_loadgen::load::{Done, Load};
use prony_loadgen::local::Worker;
use prony_loadgen::stdio::Pipe;
use prony_loadgen::target::{Prepared, Target};
use prony_metrics::cache;
use prony_plan::Visit;
use prony_plugin_host::Plugin;
use prony_record::{ErrorClass, Failed, Observation, Phase, Record, RequestId};
use prony_tokenizer::Tokenizer;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Maximum size of undecoded answers kept while a stage runs, in bytes.
const MAX_UNREAD: usize = 512 << 20;

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

    /// The id of request `index` of a batch.
    fn id(&self, batch: &Batch<'_>, index: u32) -> RequestId {
        let index = batch.first + index;
        let (prompt, image) = self.content(index);
        let image = image.filter(|_| batch.has_images);
        RequestId {
            point: self.visit.point.clone(),
            model: self.visit.model.clone(),
            engine: self.visit.engine.clone(),
            cycle: self.visit.cycle,
            phase: batch.phase,
            stage: batch.stage.to_owned(),
            index,
            prompt,
            image,
        }
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
        let encode = |index| -> std::result::Result<Arc<Prepared>, String> {
            let made = plugin
                .encode(&self.config, &self.model, &self.request(batch, index)?)
                .map_err(|error| error.to_string())?;
            target.prepare(&made).map(Arc::new)
        };
        let requests = self.each_content(batch, encode)?;
        let first = requests.first();
        self.asked_model = first.and_then(|request| request.model.clone());
        let load = self.load_of(batch, requests)?;
        let http = Http {
            target: target.clone(),
            shards: sending::shards(batch.shards, batch.arrival, sending::cores()),
            poll_every: sending::poll_every(batch.arrival),
        };
        let due = load.requests.len();
        let running = http.start(load);
        let running =
            running.map_err(|error| format!("the load generator did not start: {error}"))?;
        self.receive(batch, Some(&plugin), running, due, process, || None)
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
        for index in (batch.first..).take(batch.count as usize) {
            // A new number for each request of the visit.
            self.numbered += 1;
            let request = self.request(batch, index)?;
            let made = plugin.encode_stdio(&self.config, &self.model, &request, self.numbered);
            requests.push(made.map_err(|error| error.to_string())?);
        }
        let load = self.load_of(batch, requests)?;
        let due = load.requests.len();
        let running = pipe.start(load);
        self.receive(batch, Some(&plugin), running, due, process, || pipe.lost())
            .await
    }

    /// Sends requests to a worker; returns the number that succeeded.
    async fn over_worker(
        &mut self,
        batch: &Batch<'_>,
        worker: &Worker,
        process: &mut Option<Process>,
    ) -> Staged<u32> {
        let request = |index| self.request(batch, index).map(Arc::new);
        let requests = self.each_content(batch, request)?;
        let load = self.load_of(batch, requests)?;
        let due = load.requests.len();
        let running = worker.start(load);
        self.receive(batch, None, running, due, process, || worker.lost())
            .await
    }

    /// The requests of a batch, in order. Repeated ones are made once: images are large.
    fn each_content<T>(
        &self,
        batch: &Batch<'_>,
        make: impl Fn(u32) -> std::result::Result<Arc<T>, String>,
    ) -> std::result::Result<Vec<Arc<T>>, String> {
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

    /// Keeps the results of a load of `due` requests; returns the number that succeeded.
    /// `lost` returns the reason why nothing more could be sent, if any; without a
    /// `plugin` nothing needs decoding.
    async fn receive(
        &mut self,
        batch: &Batch<'_>,
        plugin: Option<&Arc<dyn Plugin>>,
        mut running: prony_loadgen::load::Running,
        due: usize,
        process: &mut Option<Process>,
        lost: impl Fn() -> Option<Failed>,
    ) -> Staged<u32> {
        let mut answered = vec![false; due];
        let mut succeeded = 0;
        let mut stop = self.run.stop.clone();
        let deadline = batch.limit.map(|limit| tokio::time::Instant::now() + limit);
        let mut since = self.run.now();
        // Answers that came while others were in flight are decoded when none are, so
        // that decoding takes no CPU time from the engine.
        let mut later: Vec<(u32, Exchange)> = Vec::new();
        let mut bytes = 0;
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
            let Some(done) = next else {
                is_over = true;
                break;
            };
            let Done {
                index,
                mut exchange,
                resume,
            } = done;
            answered[index as usize] = true;
            since = self.run.now();
            if let Some(failed) = &mut exchange.seen.failed {
                blame_crash(failed, process).await;
            }
            let class = exchange.seen.failed.as_ref().map(|failed| failed.class);
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
            bytes += exchange.body.len();
            later.push((index, exchange));
            if resume.is_none() && batch.has_images {
                self.run.show(&Event::Answered);
            }
            if resume.is_some() || bytes > MAX_UNREAD {
                bytes = 0;
                for (index, exchange) in later.drain(..) {
                    succeeded += u32::from(self.read(batch, plugin, index, exchange)?);
                }
            }
            drop(resume);
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
        // Activity until now is recorded, whatever ended it.
        running.stop();
        while running.next().await.is_some() {}
        let usage = running.usage();
        for (index, exchange) in later {
            succeeded += u32::from(self.read(batch, plugin, index, exchange)?);
        }
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
            return Err(StageError::Interrupted);
        }
        if let Some(lost) = lost {
            let message = format!("not sent: {}", lost.message);
            let over = Failed::new(ErrorClass::Crashed, message);
            self.unsent(batch, &answered, since, &over)?;
            self.lost.get_or_insert(lost.message);
            return Ok(succeeded);
        }
        if let Some(hangs) = hangs {
            let over = Failed::new(ErrorClass::Timeout, format!("given up: {hangs}"));
            self.unsent(batch, &answered, since, &over)?;
            self.lost = Some(hangs);
            return Ok(succeeded);
        }
        if let (true, Some(usage), Some(duration)) = (is_over, usage, batch.duration) {
            // Sessions not begun by a closed loop were never due; those dropped by an
            // open loop were.
            let dropped: HashSet<u32> = usage.dropped.iter().copied().collect();
            for (index, answered) in (0..).zip(&mut answered) {
                *answered |= !dropped.contains(&index);
            }
            let message = format!(
                "not sent within {duration:?}: {} requests in flight are the most",
                batch.arrival.max_in_flight()
            );
            self.unsent(
                batch,
                &answered,
                since,
                &Failed::new(ErrorClass::Timeout, message),
            )?;
            return Ok(succeeded);
        }
        self.unsent(
            batch,
            &answered,
            since,
            &Failed::new(ErrorClass::Timeout, "not finished within the stage's limit"),
        )?;
        Ok(succeeded)
    }

    /// Has the plugin decode an answer, and journals it. Returns `true` if the request
    /// succeeded.
    fn read(
        &mut self,
        batch: &Batch<'_>,
        plugin: Option<&Arc<dyn Plugin>>,
        index: u32,
        mut exchange: Exchange,
    ) -> Result<bool> {
        exchange.unpack();
        let events = match (exchange.events.take(), plugin) {
            (Some(events), _) => events,
            (None, Some(plugin)) => self.decode(plugin, &exchange).or_else(|error| {
                let reported = defect(error)?;
                exchange.seen.failed.get_or_insert(reported);
                Ok(Vec::new())
            }),
            (None, None) => Ok(Vec::new()),
        };
        self.keep(batch, index, exchange.seen, events)
    }

    fn decode(
        &self,
        plugin: &Arc<dyn Plugin>,
        Exchange {
            seen, body, ends, ..
        }: &Exchange,
    ) -> prony_plugin_host::Result<Vec<contract::Event>> {
        // Without HTTP there is no status; a body counts as success.
        match seen.status.or((!body.is_empty()).then_some(200)) {
            None => Ok(Vec::new()),
            Some(status) => plugin.decode(&self.config, status, body, ends),
        }
    }

    /// Journals a request. Returns `true` if it succeeded.
    fn keep(
        &mut self,
        batch: &Batch<'_>,
        index: u32,
        mut seen: Observation,
        mut events: std::result::Result<Vec<contract::Event>, contract::Error>,
    ) -> Result<bool> {
        let origin = self.run.origin_ns;
        for event in events.iter_mut().flatten() {
            if event.ns > 0 && event.kind.is_text() {
                // Of another clock it may lie before the origin, and 0 says that there is none.
                event.ns = event.ns.saturating_sub(origin).max(1);
            }
        }
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
        let of_workload = self.request_set.prompt(batch.first + index).max_tokens;
        let max_tokens = batch.question.map_or(of_workload, |it| it.max_tokens);
        let mut record = Record::judge(self.id(batch, index), seen, events, max_tokens);
        if !batch.has_images {
            self.see_without_image(batch, &record);
            return Ok(record.ok());
        }
        if let Some(asked) = &self.asked_model {
            record.note_served_model(asked, self.model.path.as_deref());
        }
        self.require_image(batch, &mut record);
        if let (true, Some(tokenizer)) = (record.ok(), &self.tokenizer) {
            // An uncountable answer is not checked.
            let counted = tokenizer.count(&record.text).ok();
            record.counted_tokens = counted.map(|tokens| tokens as u32);
        }
        let workload = &self.point.workload;
        let is_asked = batch.question.is_some();
        if workload.ignore_eos && workload.stop.is_empty() && !is_asked {
            record.note_short_answer(max_tokens);
        }
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
        let ok = record.ok();
        self.has_not_found |= record.status == Some(404);
        if self.first_failure.is_none() {
            self.first_failure.clone_from(&record.failed);
        }
        self.run.tell(Event::Request(Box::new(record)))?;
        Ok(ok)
    }

    /// Requests that were due and never answered are failures too. The first of them
    /// takes the time since the last answer: it was being waited for.
    fn unsent(
        &mut self,
        batch: &Batch<'_>,
        answered: &[bool],
        since: u64,
        why: &Failed,
    ) -> Result<()> {
        if !batch.has_images {
            return Ok(());
        }
        let mut waited_since = Some(since);
        for (index, answered) in (0..).zip(answered) {
            if !answered {
                let id = self.id(batch, index);
                let mut record = Record::unsent(id, self.run.now(), why.clone());
                self.last_end_ns = self.last_end_ns.max(record.stamps.end_ns);
                if let Some(since) = waited_since.take() {
                    (record.stamps.intended_ns, record.stamps.sent_ns) = (since, since);
                }
                self.run.tell(Event::Request(Box::new(record)))?;
            }
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

/// The failure of a plugin that did not come to judge an answer; an error if it did.
fn defect(error: prony_plugin_host::Error) -> std::result::Result<Failed, contract::Error> {
    let error = error.into_reported();
    if error.kind != ErrorKind::Internal {
        return Err(error);
    }
    let message = format!("prony could not read the answer: {}", error.message);
    Ok(Failed::new(ErrorClass::Plugin, message))
}

/// Attributes a broken connection to a crash, if the process behind it has ended.
async fn blame_crash(failed: &mut Failed, process: &mut Option<Process>) {
    let suspicious = matches!(
        failed.class,
        ErrorClass::Connect | ErrorClass::Truncated | ErrorClass::Protocol | ErrorClass::Crashed
    );
    if let (true, Some(process)) = (suspicious, process)
        && let Some(status) = process.exited_within(CRASH_GRACE).await
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

/// Pending until the deadline, or for ever without one.
async fn passed(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
