//! Engines inside a worker process.
//!
//! prony starts a worker for each visit of an in-process engine, so that every
//! cycle is a fresh start, its memory is its own, and a crash is a failed
//! request. They exchange lines of JSON over the worker's standard input and
//! output; the worker stamps tokens in the engine's callback, with the same
//! clock, and hands everything over when the request has ended.

use crate::clock::now_ns;
use prony_contract::{Error, Event, Model, Request};
use prony_record::{ErrorClass, Failed, Observation, Stamps};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{BufRead, Write};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

/// To the worker.
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
    Generate(Request),
}

/// From the worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The model is loaded, or could not be.
    Loaded(Result<(), Error>),
    /// A request has ended.
    Generated {
        /// When generation was called.
        sent_ns: u64,
        /// When it returned.
        end_ns: u64,
        /// Stamp and event, in order, or the plugin's error.
        events: Result<Vec<(u64, Event)>, Error>,
    },
}

/// prony's end of a worker.
#[derive(Debug)]
pub struct Worker {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Over the pipes of a started worker.
    pub fn new(orders: ChildStdin, answers: ChildStdout) -> Self {
        Self {
            orders,
            answers: BufReader::new(answers),
        }
    }

    /// Has the model loaded. Pending until the worker answers or is gone.
    pub async fn load(&mut self, config: Value, model: Model) -> Result<(), String> {
        match self.ask(&Order::Load { config, model }).await? {
            Answer::Loaded(Ok(())) => Ok(()),
            Answer::Loaded(Err(error)) => Err(error.to_string()),
            Answer::Generated { .. } => Err("the worker answered out of turn".to_owned()),
        }
    }

    /// Has one request generated, for at most `limit`. After a timeout or a
    /// crash the worker is of no further use: generation cannot be called off.
    pub async fn generate(
        &mut self,
        request: &Request,
        limit: Duration,
    ) -> (Observation, Result<Vec<Event>, Error>) {
        let start = now_ns();
        let answer = tokio::time::timeout(limit, self.ask(&Order::Generate(request.clone()))).await;
        let (stamps, failed, events) = match answer {
            Ok(Ok(Answer::Generated {
                sent_ns,
                end_ns,
                events,
            })) => (
                Stamps {
                    intended_ns: sent_ns,
                    sent_ns,
                    end_ns,
                    ..Stamps::default()
                },
                None,
                events,
            ),
            other => {
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
                let stamps = Stamps {
                    intended_ns: start,
                    sent_ns: start,
                    end_ns: now_ns(),
                    ..Stamps::default()
                };
                (stamps, Some(failed), Ok(Vec::new()))
            }
        };
        let mut seen = Observation {
            stamps,
            failed,
            ..Observation::default()
        };
        let events = events.map(|events| {
            let (reads_ns, events): (Vec<u64>, Vec<Event>) = events.into_iter().unzip();
            seen.reads_ns = reads_ns;
            events
        });
        (seen, events)
    }

    async fn ask(&mut self, order: &Order) -> Result<Answer, String> {
        let gone = |error: std::io::Error| format!("the engine's process is gone: {error}");
        let mut line = serde_json::to_vec(order).map_err(|error| error.to_string())?;
        line.push(b'\n');
        self.orders.write_all(&line).await.map_err(gone)?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer).await.map_err(gone)? == 0 {
            return Err("the engine's process is gone".to_owned());
        }
        serde_json::from_str(&answer)
            .map_err(|error| format!("the worker answered something unreadable: {error}"))
    }
}

/// An engine with its model loaded, in a worker.
pub trait Engine {
    /// Generates; every event carries the reading of `clock` in its callback.
    fn generate(
        &mut self,
        request: &Request,
        clock: fn() -> u64,
    ) -> Result<Vec<(u64, Event)>, Error>;
}

/// The worker's side: obeys orders until there are no more.
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
            Order::Generate(request) => {
                let sent_ns = now_ns();
                let events = match &mut engine {
                    Some(engine) => engine.generate(&request, now_ns),
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
    use prony_contract::{Api, EventKind, Image, Role, Said};

    /// Says what it was asked.
    struct Echo;

    impl Engine for Echo {
        fn generate(
            &mut self,
            request: &Request,
            clock: fn() -> u64,
        ) -> Result<Vec<(u64, Event)>, Error> {
            let event = Event {
                chunk: 0,
                kind: EventKind::Text,
                tokens: 1,
                text: format!("{request:?}"),
            };
            Ok(vec![(clock(), event)])
        }
    }

    #[test]
    fn an_order_reaches_the_engine_unchanged() {
        let request = Request {
            api: Api::Chat,
            prompt: "a\nb".to_owned(),
            system: None,
            history: vec![Said {
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
        };
        let load = Order::Load {
            config: Value::Null,
            model: Model {
                id: "m".to_owned(),
                path: None,
            },
        };
        let orders: Vec<u8> = [load, Order::Generate(request.clone())]
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
