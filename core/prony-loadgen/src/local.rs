//! Engines inside a worker process.
//!
//! prony starts a worker for each visit of an in-process engine, so that every cycle is a
//! fresh start, its memory is its own, and a crash is a failed request. They exchange
//! lines of JSON over the worker's standard input and output; the worker stamps tokens in
//! the engine's callback, with the same clock, and hands everything over when the request
//! has ended.

use crate::Exchange;
use crate::clock::now_ns;
use crate::deal::Rank;
use crate::exchange::MAX_BODY;
use crate::load::{CUT_OFF, LOOK_EVERY, Load, Reporter, Running, Usage};
use crate::pace::{Due, Pace};
use prony_contract::{Error, Event, Model, Request};
use prony_record::{ErrorClass, Failed, Stamps};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::Notify;

/// A message to the worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Load the model.
    Load {
        /// The plugin's options.
        config: Value,
        /// The model.
        model: Model,
    },
    /// Generate.
    Generate {
        /// The request.
        request: Request,
        /// Time from which on the answer is no longer wanted.
        until_ns: u64,
    },
}

/// A message from the worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The model is loaded, or could not be.
    Loaded(Result<(), Error>),
    /// A request has ended.
    Generated {
        /// Time at which generation was called.
        sent_ns: u64,
        /// Time at which it returned.
        end_ns: u64,
        /// Stamp and event, in order, or the plugin's error.
        events: Result<Vec<(u64, Event)>, Error>,
    },
}

/// prony's end of a worker.
#[derive(Debug)]
pub struct Worker {
    pipes: Arc<tokio::sync::Mutex<Pipes>>,
    lost: Arc<Mutex<Option<Failed>>>,
}

impl Worker {
    /// Uses the pipes of a started worker.
    pub fn new(orders: ChildStdin, answers: ChildStdout) -> Self {
        let answers = BufReader::new(answers);
        Self {
            pipes: Arc::new(tokio::sync::Mutex::new(Pipes {
                orders,
                answers,
                is_lost: false,
            })),
            lost: Arc::default(),
        }
    }

    /// Loads the model. Pending until the worker answers or is gone.
    pub async fn load(&self, config: Value, model: Model) -> Result<(), String> {
        let mut pipes = self.pipes.lock().await;
        match pipes.ask(&Order::Load { config, model }).await? {
            Answer::Loaded(Ok(())) => Ok(()),
            Answer::Loaded(Err(error)) => Err(error.to_string()),
            Answer::Generated { .. } => Err("the worker answered out of turn".to_owned()),
        }
    }

    /// Starts a load on a task of its own; concurrent loads run one after the other. A
    /// worker answers one request at a time, however many are due.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(&self, load: Load<Arc<Request>>) -> Running {
        let stop = Arc::new(Notify::new());
        let (running, reporter) = Running::new({
            let stop = stop.clone();
            move || stop.notify_one()
        });
        let (pipes, lost) = (self.pipes.clone(), self.lost.clone());
        tokio::spawn(async move {
            let usage = tokio::select! {
                mut pipes = pipes.lock() => send_all(&mut pipes, &lost, &load, &reporter, &stop).await,
                () = stop.notified() => Usage::new(0),
            };
            reporter.ended(usage);
        });
        running
    }

    /// The reason why nothing more can be sent, if any: after a crash, and after a timeout
    /// that the engine does not heed, the worker is of no further use.
    pub fn lost(&self) -> Option<Failed> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.clone()
    }
}

/// Sends what is due, until nothing more will be or `stop` is notified.
async fn send_all(
    pipes: &mut Pipes,
    lost: &Mutex<Option<Failed>>,
    load: &Load<Arc<Request>>,
    reporter: &Reporter,
    stop: &Notify,
) -> Usage {
    let fail_rest = |why: Failed| {
        let mut lost = lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.get_or_insert(why);
    };
    let is_lost = lost.lock().is_ok_and(|lost| lost.is_some());
    let start_ns = now_ns();
    let mut pace = Pace::new(Rank::ONLY, Arc::default());
    pace.start(load, start_ns);
    if is_lost {
        pace.stop();
    }
    while !pace.is_over(load) {
        let now = now_ns();
        let Some(due) = pace.due(load, now) else {
            let rest = Duration::from_nanos(pace.next_ns(load).saturating_sub(now));
            tokio::select! {
                () = tokio::time::sleep(rest) => continue,
                () = stop.notified() => {
                    pace.end(load, now_ns());
                    break;
                }
            }
        };
        let request = &load.requests[due.index as usize];
        let exchange = tokio::select! {
            exchange = pipes.generate(request, due, load.timeout) => exchange,
            () = stop.notified() => {
                let message = "the load was ended, and what the engine was asked cannot be \
                               called off";
                fail_rest(Failed::new(ErrorClass::Timeout, message));
                let end_ns = now_ns();
                pace.end(load, end_ns);
                let mut exchange = Exchange::default();
                let stamps = &mut exchange.seen.stamps;
                stamps.intended_ns = due.intended_ns.unwrap_or(now);
                (stamps.sent_ns, stamps.end_ns) = (now, end_ns);
                exchange.seen.failed = Some(Failed::new(ErrorClass::Timeout, CUT_OFF));
                // Nothing follows it.
                drop(reporter.done(load, due.index, exchange));
                break;
            }
        };
        if let Some(failed) = exchange.seen.failed.as_ref().filter(|_| pipes.is_lost) {
            let message = format!("request {} failed ({})", due.index, failed.message);
            fail_rest(Failed::new(failed.class, message));
            pace.stop();
        }
        let end_ns = exchange.seen.stamps.end_ns;
        let mut resumed_ns = end_ns;
        if let Some(resumed) = reporter.done(load, due.index, exchange) {
            // Waits for the receiver, as requested. Always an error: the sender is
            // dropped, never used.
            let _ = resumed.await;
            resumed_ns = now_ns();
        }
        while reporter.is_full() {
            // One answer at a time: the engine is not held up.
            tokio::time::sleep(LOOK_EVERY).await;
        }
        pace.ended(load, due, end_ns, resumed_ns, now_ns());
    }
    let mut usage = Usage::new(0);
    usage.wall_ns = now_ns() - start_ns;
    usage.dropped = pace.take_dropped();
    usage
}

/// The worker's standard input and output.
#[derive(Debug)]
struct Pipes {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// `true` if no answer can be told from that to an earlier request.
    is_lost: bool,
}

/// Time in which an engine has to return once its answer is no longer wanted.
const RETURN_GRACE: Duration = Duration::from_secs(2);

impl Pipes {
    /// Generates one answer, for at most `limit`.
    async fn generate(&mut self, request: &Arc<Request>, due: Due, limit: Duration) -> Exchange {
        let start_ns = now_ns();
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let until_ns = start_ns.saturating_add(nanos);
        let order = Order::Generate {
            request: Request::clone(request),
            until_ns,
        };
        let patience = limit.saturating_add(RETURN_GRACE);
        let answer = tokio::time::timeout(patience, self.ask(&order)).await;
        let mut too_late = None;
        let (sent_ns, end_ns, outcome) = match answer {
            Ok(Ok(Answer::Generated {
                sent_ns,
                end_ns,
                events,
            })) => {
                too_late = (end_ns >= until_ns).then(|| {
                    Failed::new(
                        ErrorClass::Timeout,
                        format!("no complete answer within {limit:?}"),
                    )
                });
                (sent_ns, end_ns, Ok(events))
            }
            other => {
                self.is_lost = true;
                let failed = match other {
                    Err(_) => Failed::new(
                        ErrorClass::Timeout,
                        format!("no complete answer within {limit:?}"),
                    ),
                    Ok(Err(gone)) => Failed::new(ErrorClass::Crashed, gone),
                    Ok(Ok(_)) => {
                        Failed::new(ErrorClass::Protocol, "the worker answered out of turn")
                    }
                };
                (start_ns, now_ns(), Err(failed))
            }
        };
        let mut exchange = Exchange::default();
        let seen = &mut exchange.seen;
        seen.stamps = Stamps {
            intended_ns: due.intended_ns.unwrap_or(sent_ns),
            sent_ns,
            end_ns,
            ..Stamps::default()
        };
        seen.failed = too_late;
        let events = match outcome {
            Ok(events) => events,
            Err(failed) => {
                seen.failed = Some(failed);
                Ok(Vec::new())
            }
        };
        exchange.events = Some(events.map(|events| {
            let (reads_ns, events) = events.into_iter().unzip();
            seen.reads_ns = reads_ns;
            events
        }));
        exchange
    }

    async fn ask(&mut self, order: &Order) -> Result<Answer, String> {
        let gone = |error: std::io::Error| format!("the engine's process is gone: {error}");
        let mut line = serde_json::to_vec(order).map_err(|error| error.to_string())?;
        line.push(b'\n');
        self.orders.write_all(&line).await.map_err(gone)?;
        let mut answer = String::new();
        let mut answers = (&mut self.answers).take(MAX_BODY as u64);
        if answers.read_line(&mut answer).await.map_err(gone)? == 0 {
            return Err("the engine's process is gone".to_owned());
        }
        serde_json::from_str(&answer)
            .map_err(|error| format!("the worker answered something unreadable: {error}"))
    }
}

/// An engine with its model loaded, in a worker.
pub trait Engine {
    /// Generates; every event carries the reading of `clock` in its callback. From `until_ns`
    /// of it on the answer is no longer wanted.
    fn generate(
        &mut self,
        request: &Request,
        clock: fn() -> u64,
        until_ns: u64,
    ) -> Result<Vec<(u64, Event)>, Error>;
}

/// The worker's side: serves orders until there are no more.
pub fn serve<E: Engine>(
    orders: impl BufRead,
    mut answers: impl Write,
    load: impl Fn(&Value, &Model) -> Result<E, Error>,
) -> std::io::Result<()> {
    let mut engine: Option<E> = None;
    for line in orders.lines() {
        let answer = match serde_json::from_str(&line?)? {
            Order::Load { config, model } => {
                let loaded = load(&config, &model);
                Answer::Loaded(loaded.map(|loaded| engine = Some(loaded)))
            }
            Order::Generate { request, until_ns } => {
                let sent_ns = now_ns();
                let events = match &mut engine {
                    Some(engine) => engine.generate(&request, now_ns, until_ns),
                    None => Err(Error::engine("no model is loaded")),
                };
                Answer::Generated {
                    sent_ns,
                    end_ns: now_ns(),
                    events,
                }
            }
        };
        serde_json::to_writer(&mut answers, &answer)?;
        answers.write_all(b"\n")?;
        answers.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Arrival, Done, single_request_sessions};
    use prony_contract::{Api, ChatMessage, EventKind, Image, Role};
    use std::process::Stdio;
    use tokio::process::{Child, Command};

    /// An engine that repeats its request.
    struct Echo;

    impl Engine for Echo {
        fn generate(
            &mut self,
            request: &Request,
            clock: fn() -> u64,
            _until_ns: u64,
        ) -> Result<Vec<(u64, Event)>, Error> {
            let event = Event {
                read: 0,
                kind: EventKind::Text,
                tokens: 1,
                ns: 0,
                text: format!("{request:?}"),
            };
            Ok(vec![(clock(), event)])
        }
    }

    fn request() -> Request {
        Request {
            api: Api::Chat,
            prompt: "a\nb".to_owned(),
            system: None,
            history: vec![ChatMessage {
                role: Role::Assistant,
                content: "said".to_owned(),
            }],
            max_tokens: 1,
            temperature: 0.1,
            top_p: None,
            seed: u64::MAX,
            stop: Vec::new(),
            ignore_eos: false,
            images: vec![Image {
                media_type: "image/png".to_owned(),
                data: (0..=255).collect(),
            }],
        }
    }

    /// A worker whose answers come from a shell script.
    fn worker(script: &str) -> (Worker, Child) {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a shell");
        let (orders, answers) = (child.stdin.take(), child.stdout.take());
        let worker = Worker::new(orders.expect("a pipe"), answers.expect("a pipe"));
        (worker, child)
    }

    const ANSWER: &str = r#"echo '{"generated":{"sent_ns":5,"end_ns":7,"events":{"Ok":[[6,{"read":0,"kind":"text","tokens":1,"text":"a"}]]}}}'"#;

    fn load(requests: u32) -> Load<Arc<Request>> {
        Load {
            requests: (0..requests).map(|_| Arc::new(request())).collect(),
            sessions: single_request_sessions(requests),
            think: Duration::ZERO,
            delays: std::collections::BTreeMap::new(),
            arrival: Arrival::Closed {
                concurrency: 1,
                ramp: crate::load::Ramp::NONE,
            },
            timeout: Duration::from_secs(20),
            until: None,
            is_share: false,
        }
    }

    /// The finished requests, in order, and the usage if the load ended.
    async fn all(mut running: Running) -> (Vec<Done>, Option<Usage>) {
        let mut all = Vec::new();
        while let Some(mut done) = running.next().await {
            drop(done.resume.take());
            all.push(done);
        }
        (all, running.usage().cloned())
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(test);
    }

    #[test]
    fn requests_follow_one_another() {
        run(async {
            let (worker, _child) = worker(&format!("while read order; do {ANSWER}; done"));
            for _ in 0..2 {
                let (done, usage) = all(worker.start(load(5))).await;
                let indices: Vec<u32> = done.iter().map(|done| done.index).collect();
                assert_eq!(indices, [0, 1, 2, 3, 4]);
                for Done { exchange, .. } in done {
                    assert_eq!(exchange.seen.failed, None);
                    assert_eq!(exchange.seen.reads_ns, [6]);
                    let events = exchange.events.expect("events").expect("no error");
                    assert_eq!((events.len(), &*events[0].text), (1, "a"));
                }
                // The worker sends and stamps for itself.
                assert_eq!(usage.map(|usage| (usage.shards, usage.reads)), Some((0, 0)));
            }
            assert_eq!(worker.lost(), None);
        });
    }

    #[test]
    fn an_engine_that_returns_late_is_asked_again() {
        run(async {
            let late = ANSWER.replace("\"end_ns\":7", "\"end_ns\":18446744073709551615");
            let script = format!("read a; {late}; while read a; do {ANSWER}; done");
            let (worker, _child) = worker(&script);
            let (done, _) = all(worker.start(load(3))).await;
            let failed = done.iter().map(|done| done.exchange.seen.failed.as_ref());
            let classes: Vec<_> = failed.map(|failed| failed.map(|it| it.class)).collect();
            assert_eq!(classes, [Some(ErrorClass::Timeout), None, None]);
            assert_eq!(worker.lost(), None);
        });
    }

    #[test]
    fn nothing_more_is_asked_of_a_worker_that_is_gone() {
        run(async {
            let (worker, _child) = worker(&format!("read a; {ANSWER}; read a; {ANSWER}; read a"));
            let (done, usage) = all(worker.start(load(5))).await;
            let failed = done.iter().map(|done| done.exchange.seen.failed.as_ref());
            let classes: Vec<_> = failed.map(|failed| failed.map(|it| it.class)).collect();
            assert_eq!(classes, [None, None, Some(ErrorClass::Crashed)]);
            assert!(usage.is_some());
            let lost = worker.lost().expect("it is gone");
            assert!(lost.message.contains("request 2 failed"), "{lost:?}");
            assert_eq!(all(worker.start(load(5))).await.0.len(), 0);
        });
    }

    #[test]
    fn an_end_does_not_wait_for_a_worker() {
        run(async {
            let (slow, _child) = worker("read a; read never");
            let mut running = slow.start(load(5));
            running.stop();
            while let Some(done) = running.next().await {
                assert!(done.exchange.seen.failed.is_some());
            }
            let (slow, _child) = worker("read a; read never");
            let timeout = Duration::from_millis(20);
            let (done, _) = all(slow.start(Load { timeout, ..load(5) })).await;
            assert_eq!(done.len(), 1);
            let failed = done[0].exchange.seen.failed.as_ref();
            assert_eq!(failed.map(|it| it.class), Some(ErrorClass::Timeout));
            assert!(slow.lost().is_some());
        });
    }

    #[test]
    fn an_order_reaches_the_engine_unchanged() {
        let request = request();
        let load = Order::Load {
            config: Value::Null,
            model: Model {
                id: "m".to_owned(),
                path: None,
            },
        };
        let orders: Vec<u8> = [
            load,
            Order::Generate {
                request: request.clone(),
                until_ns: u64::MAX,
            },
        ]
        .iter()
        .flat_map(|order| {
            let mut line = serde_json::to_vec(order).expect("serialises");
            line.push(b'\n');
            line
        })
        .collect();
        let mut answers = Vec::new();
        serve(&orders[..], &mut answers, |_, _| Ok(Echo)).expect("serves");
        let answers = String::from_utf8(answers).expect("is text");
        let last = answers.lines().last().expect("answers");
        let Answer::Generated { events, .. } = serde_json::from_str(last).expect("parses") else {
            panic!("{last}")
        };
        assert_eq!(events.expect("generated")[0].1.text, format!("{request:?}"));
    }
}
