//! A plugin with a defect.

use super::{Defect, Input, Mutant, State};
use crate::{Answer, Fault, Session, Subject};
use prony_contract::{
    Artifact, Endpoint, Error, ErrorKind, Event, EventKind, HttpRequest, LaunchPlan, Manifest,
    Message, Model, Request, Response, StdioPlan,
};
use serde_json::Value;
use std::cell::{Cell, RefCell};

pub(crate) struct Mutated<'a> {
    good: &'a dyn Subject,
    mutant: Mutant,
    state: RefCell<State>,
    /// `true` once an answer differed from the good plugin's.
    has_effect: Cell<bool>,
    /// The last config that was accepted.
    accepted: RefCell<Option<Value>>,
}

impl<'a> Mutated<'a> {
    pub(crate) fn new(good: &'a dyn Subject, mutant: Mutant) -> Self {
        Self {
            good,
            mutant,
            state: RefCell::default(),
            has_effect: Cell::new(false),
            accepted: RefCell::default(),
        }
    }

    pub(crate) fn has_effect(&self) -> bool {
        self.has_effect.get()
    }

    /// Keeps whether the defect changed an answer; returns the changed one.
    fn told<T: PartialEq>(&self, good: impl FnOnce() -> Answer<T>, bad: Answer<T>) -> Answer<T> {
        if !self.has_effect.get() {
            let good = good();
            let differs = match (&good, &bad) {
                // The words of a refusal are for people.
                (Err(Fault::Reported(good)), Err(Fault::Reported(bad))) => good.kind != bad.kind,
                (good, bad) => good != bad,
            };
            self.has_effect.set(differs);
        }
        bad
    }

    fn request(&self, request: &Request) -> Request {
        let mut request = request.clone();
        if let Defect::Request(spoil) = self.mutant.defect {
            spoil(&mut request);
        }
        request
    }

    fn model(&self, model: &Model) -> Model {
        let mut model = model.clone();
        if let Defect::Model(spoil) = self.mutant.defect {
            spoil(&mut model);
        }
        model
    }

    /// Calls with a config, and with the last good one if it is refused and the defect says so.
    fn configured<T>(&self, config: &Value, call: impl Fn(&Value) -> Answer<T>) -> Answer<T> {
        let answer = call(config);
        if !matches!(self.mutant.defect, Defect::AnyConfig) {
            return answer;
        }
        match (&answer, &*self.accepted.borrow()) {
            (Err(Fault::Reported(error)), Some(good)) if error.kind == ErrorKind::InvalidConfig => {
                return call(good);
            }
            _ => {}
        }
        if answer.is_ok() {
            *self.accepted.borrow_mut() = Some(config.clone());
        }
        answer
    }

    fn events(&self, events: &mut Vec<Event>, reads: u32) {
        if let Defect::Events(spoil) = self.mutant.defect {
            let mut state = self.state.borrow_mut();
            state.calls += 1;
            let text = events.iter().find(|it| !it.text.is_empty());
            let text = text.map(|it| it.text.clone());
            spoil(events, reads, &mut state);
            state.last = text.unwrap_or_default();
        }
    }

    fn decoded(&self, config: &Value, input: &Input) -> Answer<Vec<Event>> {
        let decode = |body: &[u8], ends: &[u32]| {
            let response = Response {
                status: input.status,
                headers: &input.headers,
                body,
                ends,
            };
            self.good.decode(config, &response)
        };
        match self.mutant.defect {
            Defect::BreaksOnBytes if std::str::from_utf8(&input.body).is_err() => {
                Err(Fault::Broken("panic: invalid utf-8".to_owned()))
            }
            Defect::HalfLine => {
                let mut events = decode(&input.body, &input.ends)?;
                let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
                let start = input.body.iter().rposition(is_break).map_or(0, |at| at + 1);
                let half = &input.body[start..];
                if !half.is_empty() && input.status == 200 {
                    events.push(Event {
                        read: input.ends.len().saturating_sub(1) as u32,
                        kind: EventKind::Text,
                        tokens: 1,
                        ns: 0,
                        text: String::from_utf8_lossy(half).into_owned(),
                    });
                }
                Ok(events)
            }
            Defect::ReadByRead => {
                let (mut all, mut start) = (Vec::new(), 0);
                for (index, end) in input.ends.iter().enumerate() {
                    let read = &input.body[start..*end as usize];
                    start = *end as usize;
                    let events = decode(read, &[read.len() as u32])?;
                    all.extend(events.into_iter().map(|event| Event {
                        read: index as u32,
                        ..event
                    }));
                }
                Ok(all)
            }
            _ => {
                let mut events = decode(&input.body, &input.ends)?;
                self.events(&mut events, input.ends.len() as u32);
                Ok(events)
            }
        }
    }
}

impl Subject for Mutated<'_> {
    fn describe(&self) -> Answer<Manifest> {
        let mut manifest = self.good.describe()?;
        if let Defect::Manifest(spoil) = self.mutant.defect {
            let mut state = self.state.borrow_mut();
            state.calls += 1;
            spoil(&mut manifest, &mut state);
        }
        self.told(|| self.good.describe(), Ok(manifest))
    }

    fn check(&self, config: &Value) -> Answer<Vec<Error>> {
        let mut problems = self.good.check(config)?;
        if let Defect::Check(spoil) = self.mutant.defect {
            let mut state = self.state.borrow_mut();
            state.calls += 1;
            spoil(&mut problems, &mut state);
        }
        self.told(|| self.good.check(config), Ok(problems))
    }

    fn launch(&self, config: &Value, model: &Model, at: &Endpoint) -> Answer<LaunchPlan> {
        let plan = self.configured(config, |config| {
            self.good.launch(config, &self.model(model), at)
        });
        let plan = plan.map(|mut plan| {
            if let Defect::Launch(spoil) = self.mutant.defect {
                let mut state = self.state.borrow_mut();
                state.calls += 1;
                spoil(&mut plan, &mut state);
            }
            plan
        });
        self.told(|| self.good.launch(config, model, at), plan)
    }

    fn encode(&self, config: &Value, model: &Model, request: &Request) -> Answer<HttpRequest> {
        let asked = self.request(request);
        let made = self.configured(config, |config| {
            self.good.encode(config, &self.model(model), &asked)
        });
        let made = made.map(|mut made| {
            if let Defect::Exchange(spoil) = self.mutant.defect {
                let mut state = self.state.borrow_mut();
                state.calls += 1;
                spoil(&mut made, request, &mut state);
                state.last.clone_from(&request.prompt);
            }
            made
        });
        self.told(|| self.good.encode(config, model, request), made)
    }

    fn launch_stdio(&self, config: &Value, model: &Model) -> Answer<StdioPlan> {
        let plan = self.configured(config, |config| {
            self.good.launch_stdio(config, &self.model(model))
        });
        let plan = plan.map(|mut plan| {
            if let Defect::LaunchStdio(spoil) = self.mutant.defect {
                let mut state = self.state.borrow_mut();
                state.calls += 1;
                spoil(&mut plan, &mut state);
            }
            plan
        });
        self.told(|| self.good.launch_stdio(config, model), plan)
    }

    fn encode_stdio(
        &self,
        config: &Value,
        model: &Model,
        request: &Request,
        number: u64,
    ) -> Answer<Message> {
        let asked = self.request(request);
        let made = self.configured(config, |config| {
            self.good
                .encode_stdio(config, &self.model(model), &asked, number)
        });
        let made = made.map(|mut made| {
            if let Defect::Message(spoil) = self.mutant.defect {
                let mut state = self.state.borrow_mut();
                state.calls += 1;
                spoil(&mut made, request, &mut state);
                state.last.clone_from(&request.prompt);
            }
            made
        });
        self.told(
            || self.good.encode_stdio(config, model, request, number),
            made,
        )
    }

    fn decode(&self, config: &Value, response: &Response<'_>) -> Answer<Vec<Event>> {
        let mut input = Input {
            status: response.status,
            headers: response.headers.to_vec(),
            body: response.body.to_vec(),
            ends: response.ends.to_vec(),
        };
        if let Defect::Input(spoil) = self.mutant.defect {
            spoil(&mut input);
        }
        let events = self.decoded(config, &input);
        self.told(|| self.good.decode(config, response), events)
    }

    fn render(&self, config: &Value, whole: &str) -> Answer<Vec<Artifact>> {
        let mut result: Value = serde_json::from_str(whole).unwrap_or_default();
        let artifacts = match self.mutant.defect {
            Defect::Fails(on) if on(&result) => {
                Err(Fault::Reported(Error::engine("index out of bounds")))
            }
            Defect::Result(spoil) => {
                spoil(&mut result);
                self.good.render(config, &result.to_string())
            }
            _ => self.configured(config, |config| self.good.render(config, whole)),
        };
        let artifacts = artifacts.map(|mut artifacts| {
            if let Defect::Artifacts(spoil) = self.mutant.defect {
                let mut state = self.state.borrow_mut();
                state.calls += 1;
                spoil(&mut artifacts, &result, &mut state);
                state.last = result["models"][0]["id"].to_string();
            }
            artifacts
        });
        self.told(|| self.good.render(config, whole), artifacts)
    }

    fn open(&self, config: &Value, model: &Model) -> Answer<Box<dyn Session + '_>> {
        let session =
            self.configured(config, |config| self.good.open(config, &self.model(model)))?;
        // A config that should have been refused.
        if matches!(self.mutant.defect, Defect::AnyConfig)
            && self.accepted.borrow().as_ref() != Some(config)
        {
            self.has_effect.set(true);
        }
        Ok(Box::new(Generating {
            mutated: self,
            session,
        }))
    }
}

struct Generating<'m, 'a> {
    mutated: &'m Mutated<'a>,
    session: Box<dyn Session + 'm>,
}

impl Session for Generating<'_, '_> {
    fn generate(&mut self, request: &Request) -> Answer<Vec<Event>> {
        let asked = self.mutated.request(request);
        let mut events = self.session.generate(&asked)?;
        let reads = events.len() as u32;
        self.mutated.events(&mut events, reads);
        let session = &mut self.session;
        self.mutated.told(|| session.generate(request), Ok(events))
    }
}
