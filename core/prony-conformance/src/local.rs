//! In-process engines: what they answer shows what they were told.

use crate::encode::{self, history, images};
use crate::sent::everyday;
use crate::{Answer, Fault, Kit, Session, adapter, bad_configs, model};
use prony_contract::{Api, ErrorKind, Event, EventKind, Manifest, Model, Request};

const PROMPT: &str = "Count with me: one, two, three, four";
const TOKENS: u32 = 12;
/// Seeds that are tried before sampling is said to be without effect.
const SEEDS: std::ops::Range<u64> = 1..7;

/// An answer, as far as two equal requests must agree.
#[derive(Debug, Clone, PartialEq)]
struct Generated {
    text: String,
    tokens: u32,
    prompt_tokens: Option<u32>,
    finish: Option<String>,
    events: Vec<(EventKind, u32, String)>,
}

impl Generated {
    fn of(events: &[Event]) -> Self {
        let texts = events.iter().filter(|event| event.kind.is_text());
        let count = |kind| {
            let mut events = events.iter().rev();
            events.find(|event| event.kind == kind).map(|it| it.tokens)
        };
        let finish = events.iter().find(|it| it.kind == EventKind::Finish);
        let is_time = |kind| {
            use EventKind::{DecodeTime, PrefillTime, QueueTime};
            matches!(kind, DecodeTime | PrefillTime | QueueTime)
        };
        let events = events.iter().filter(|event| !is_time(event.kind));
        Self {
            text: texts.clone().map(|it| it.text.as_str()).collect(),
            tokens: texts.map(|event| event.tokens).sum(),
            prompt_tokens: count(EventKind::PromptTokens),
            finish: finish.map(|event| event.text.clone()),
            events: events
                .map(|it| (it.kind, it.tokens, it.text.clone()))
                .collect(),
        }
    }

    /// Returns `true` if it shows that another prompt was read.
    fn differs(&self, other: &Self) -> bool {
        (&self.text, self.prompt_tokens) != (&other.text, other.prompt_tokens)
    }
}

pub(crate) fn check(kit: &mut Kit<'_>, manifest: &Manifest) {
    adapter::check(kit);
    let model = kit.settings.model.clone().unwrap_or_else(model);
    let config = kit.settings.config.clone();
    let subject = kit.subject;
    let mut session = match subject.open(&config, &model) {
        Ok(session) => session,
        Err(fault) => {
            kit.finding(
                "config",
                format!("the model `{}` is not loaded: {fault}", model.id),
            );
            return kit.done("config", String::new());
        }
    };
    for (what, config) in bad_configs(&config) {
        match kit.subject.open(&config, &model) {
            Err(Fault::Reported(error)) if error.kind == ErrorKind::InvalidConfig => {}
            Err(fault) => kit.finding(
                "config",
                format!("{what} must give an `invalid-config` error: {fault}"),
            ),
            Ok(_) => kit.finding("config", format!("{what} is accepted")),
        }
    }
    kit.done("config", "the model is loaded, nonsense is not".to_owned());
    let apis = encode::apis(kit, manifest);
    for api in &apis {
        let told = generate(kit, &mut *session, &model, *api, manifest);
        let told = told.unwrap_or_else(|what| {
            kit.finding("generate", format!("{api:?}: {what}"));
            "ended".to_owned()
        });
        kit.done("generate", format!("{}: {told}", api.name()));
    }
    for api in Api::all().iter().filter(|api| !apis.contains(api)) {
        match session.generate(&asked(*api)) {
            Err(Fault::Reported(error)) if error.kind == ErrorKind::Unsupported => {}
            Err(fault) => kit.finding("generate", format!("{api:?}: {fault}")),
            Ok(_) => kit.finding(
                "generate",
                format!(
                    "the manifest does not name `{}` among its `apis`, and it is taken",
                    api.name()
                ),
            ),
        }
    }
    kit.done("generate", "forms of requests".to_owned());
}

fn asked(api: Api) -> Request {
    Request {
        max_tokens: TOKENS,
        ..everyday(api, PROMPT)
    }
}

fn say(session: &mut dyn Session, request: &Request) -> Answer<Generated> {
    session
        .generate(request)
        .map(|events| Generated::of(&events))
}

/// All checks of a form of requests. Returns their extent; fails if nothing is answered.
fn generate(
    kit: &mut Kit<'_>,
    session: &mut dyn Session,
    model: &Model,
    api: Api,
    manifest: &Manifest,
) -> Result<String, String> {
    let mut refused = Vec::new();
    let mut base = Request {
        ignore_eos: true,
        ..asked(api)
    };
    let events = match session.generate(&base) {
        Err(Fault::Reported(error)) if error.kind == ErrorKind::Unsupported => {
            base.ignore_eos = false;
            refused.push("ignore_eos");
            session.generate(&base)
        }
        made => made,
    };
    let events = events.map_err(|fault| fault.to_string())?;
    for problem in shape(&events, &base) {
        kit.finding("generate", format!("{api:?}: {problem}"));
    }
    let first = Generated::of(&events);
    limits(kit, session, &base, &first);
    prompts(kit, session, &base, &first, manifest, &mut refused);
    let steady = sampling(kit, session, &base, &first, &mut refused);
    stops(kit, session, &base, &first, &mut refused);
    if !base.ignore_eos {
        // Nothing more can be asked about it.
    } else if let Ok(natural) = say(session, &asked(api))
        && natural.tokens > TOKENS
    {
        kit.finding(
            "generate",
            format!("{api:?}: {} tokens for a limit of {TOKENS}", natural.tokens),
        );
    }
    if say(session, &base).ok().as_ref() != Some(&first) {
        kit.finding(
            "generate",
            format!("{api:?}: the same greedy request is answered otherwise after others: something is kept between them"),
        );
    }
    let config = kit.settings.config.clone();
    let subject = kit.subject;
    let fresh = subject.open(&config, model);
    let fresh = fresh.and_then(|mut other| say(&mut *other, &base));
    if fresh.ok().as_ref() != Some(&first) {
        kit.finding(
            "generate",
            format!("{api:?}: the same greedy request is answered otherwise after the model is loaded again"),
        );
    }
    let mut told = vec![format!("{} tokens a request", first.tokens)];
    if !refused.is_empty() {
        told.push(format!("refuses {}", refused.join(", ")));
    }
    told.extend(steady);
    Ok(told.join("; "))
}

/// Problems of the order of events.
fn shape(events: &[Event], request: &Request) -> Vec<String> {
    let mut problems = Vec::new();
    let said = Generated::of(events);
    let place = |kind| events.iter().position(|event| event.kind == kind);
    let last_text = events.iter().rposition(|event| event.kind.is_text());
    if events.last().map(|event| event.kind) != Some(EventKind::End) {
        problems.push("the last event is not `end`".to_owned());
    }
    match place(EventKind::Finish) {
        None => problems.push("there is no finish reason".to_owned()),
        Some(at) if last_text.is_some_and(|text| text > at) => {
            problems.push("a text follows the finish reason".to_owned());
        }
        Some(_) => {}
    }
    if place(EventKind::Failure).is_some() {
        problems.push("the answer has a `failure`".to_owned());
    }
    if let Some(many) = events.iter().find(|it| it.kind.is_text() && it.tokens > 1) {
        problems.push(format!(
            "a text of {} tokens: each token is handed over the moment it is there",
            many.tokens
        ));
    }
    let counted = events
        .iter()
        .rev()
        .find(|it| it.kind == EventKind::OutputTokens);
    if let Some(counted) = counted.filter(|it| it.tokens != said.tokens && request.ignore_eos) {
        problems.push(format!(
            "it counts {} tokens and hands over {}",
            counted.tokens, said.tokens
        ));
    }
    let wanted = request.max_tokens;
    let is_right = if request.ignore_eos {
        said.tokens == wanted
    } else {
        (1..=wanted).contains(&said.tokens)
    };
    if !is_right {
        problems.push(format!(
            "{} tokens for a limit of {wanted} (`ignore_eos: {}`)",
            said.tokens, request.ignore_eos
        ));
    }
    if said.tokens == wanted && said.finish.as_deref() != Some("length") && request.ignore_eos {
        problems.push(format!(
            "the finish reason at the limit is {:?}, not `length`",
            said.finish
        ));
    }
    problems
}

fn limits(kit: &mut Kit<'_>, session: &mut dyn Session, base: &Request, first: &Generated) {
    let fewer = Request {
        max_tokens: TOKENS - 5,
        ..base.clone()
    };
    let problem = match say(session, &fewer) {
        Err(fault) => Some(fault.to_string()),
        Ok(said) if base.ignore_eos && said.tokens != TOKENS - 5 => Some(format!(
            "{} tokens for a limit of {}",
            said.tokens,
            TOKENS - 5
        )),
        Ok(said) if said.tokens > TOKENS - 5 => Some(format!("{} tokens", said.tokens)),
        Ok(said)
            if !first
                .text
                .starts_with(said.text.trim_end_matches('\u{fffd}')) =>
        {
            Some("with a smaller limit the same greedy request begins otherwise".to_owned())
        }
        Ok(_) => None,
    };
    if let Some(problem) = problem {
        kit.finding(
            "generate",
            format!("{:?}, `max_tokens`: {problem}", base.api),
        );
    }
}

/// Prompt, system, history and images are read or refused.
fn prompts(
    kit: &mut Kit<'_>,
    session: &mut dyn Session,
    base: &Request,
    first: &Generated,
    manifest: &Manifest,
    refused: &mut Vec<&'static str>,
) {
    let api = base.api;
    let with = |change: &dyn Fn(&mut Request)| {
        let mut request = base.clone();
        change(&mut request);
        request
    };
    let last = |request: &mut Request| request.history = history(2)[2..].to_vec();
    for (field, request, than) in [
        (
            "prompt",
            with(&|it| it.prompt = format!("{PROMPT}, five, and so on")),
            None,
        ),
        (
            "system",
            with(&|it| it.system = Some("Be brief".to_owned())),
            None,
        ),
        ("history", with(&|it| it.history = history(1)), None),
        // The first turn has to count, too.
        (
            "history",
            with(&|it| it.history = history(2)),
            Some(with(&last)),
        ),
        (
            "images",
            with(&|it| it.images = images()[..1].to_vec()),
            None,
        ),
    ] {
        let may_refuse = match field {
            "history" => !(manifest.history && api == Api::Chat),
            "images" => !(manifest.images && api == Api::Chat),
            "system" => api == Api::Completions,
            _ => false,
        };
        let reference = match &than {
            None => Some(first.clone()),
            Some(than) => say(session, than).ok(),
        };
        match (say(session, &request), reference) {
            (Ok(said), Some(reference)) if !said.differs(&reference) => kit.finding(
                "generate",
                format!("{api:?}, `{field}`: neither the answer nor the count of prompt tokens changes with it: read it, or return `unsupported`"),
            ),
            (Ok(_), _) => {}
            (Err(Fault::Reported(error)), _)
                if may_refuse && error.kind == ErrorKind::Unsupported =>
            {
                if !refused.contains(&field) {
                    refused.push(field);
                }
            }
            (Err(fault), _) => kit.finding("generate", format!("{api:?}, `{field}`: {fault}")),
        }
    }
}

/// Temperature, nucleus and seed.
fn sampling(
    kit: &mut Kit<'_>,
    session: &mut dyn Session,
    base: &Request,
    first: &Generated,
    refused: &mut Vec<&'static str>,
) -> Option<String> {
    let api = base.api;
    let greedy = Request {
        seed: 99,
        ..base.clone()
    };
    if say(session, &greedy).is_ok_and(|said| said.text != first.text) {
        kit.finding(
            "generate",
            format!("{api:?}, `temperature`: at 0 the answer depends on the seed"),
        );
    }
    let sampled = |session: &mut dyn Session, seed: u64, top_p: Option<f64>| {
        let request = Request {
            temperature: 1.5,
            top_p,
            seed,
            ..base.clone()
        };
        say(session, &request)
    };
    let texts: Result<Vec<String>, Fault> = SEEDS
        .map(|seed| sampled(session, seed, None).map(|said| said.text))
        .collect();
    let texts = match texts {
        Ok(texts) => texts,
        Err(Fault::Reported(error)) if error.kind == ErrorKind::Unsupported => {
            refused.push("temperature");
            return None;
        }
        Err(fault) => {
            kit.finding("generate", format!("{api:?}, `temperature`: {fault}"));
            return None;
        }
    };
    let stated = |kit: &Kit<'_>, field: &str| kit.settings.not_sent.get(field).cloned();
    if texts.iter().all(|text| *text == first.text) {
        if stated(kit, "temperature").is_none() {
            kit.finding(
                "generate",
                format!("{api:?}, `temperature`: at 1.5 every seed gives the greedy answer"),
            );
        }
        return stated(kit, "temperature").map(|it| format!("`temperature` without effect ({it})"));
    }
    let mut told = None;
    if texts.iter().all(|text| *text == texts[0]) {
        match stated(kit, "seed") {
            Some(reason) => told = Some(format!("`seed` without effect ({reason})")),
            None => kit.finding(
                "generate",
                format!("{api:?}, `seed`: every seed gives the same sampled answer"),
            ),
        }
    }
    if sampled(session, SEEDS.start, None).is_ok_and(|said| said.text != texts[0])
        && stated(kit, "seed").is_none()
    {
        kit.finding(
            "generate",
            format!("{api:?}, `seed`: the same seed gives another answer each time"),
        );
    }
    // A nucleus that holds the likeliest token alone.
    for seed in SEEDS {
        match sampled(session, seed, Some(1e-9)) {
            Ok(said) if said.text != first.text => {
                if stated(kit, "top_p").is_none() {
                    kit.finding(
                        "generate",
                        format!("{api:?}, `top_p`: at 1e-9 the answer is not the greedy one"),
                    );
                }
                break;
            }
            Ok(_) => {}
            Err(Fault::Reported(error)) if error.kind == ErrorKind::Unsupported => {
                refused.push("top_p");
                break;
            }
            Err(fault) => {
                kit.finding("generate", format!("{api:?}, `top_p`: {fault}"));
                break;
            }
        }
    }
    told
}

/// A text of the answer, as a stop, ends it.
fn stops(
    kit: &mut Kit<'_>,
    session: &mut dyn Session,
    base: &Request,
    first: &Generated,
    refused: &mut Vec<&'static str>,
) {
    let api = base.api;
    // From its middle, where it comes for the first time.
    let characters: Vec<(usize, char)> = first.text.char_indices().collect();
    let stop = (characters.len() / 3..characters.len().saturating_sub(1)).find_map(|at| {
        let (from, to) = (
            characters[at].0,
            characters.get(at + 2).map_or(first.text.len(), |it| it.0),
        );
        let text = &first.text[from..to];
        (first.text.find(text) == Some(from) && !text.contains('\u{fffd}')).then_some((from, text))
    });
    let Some((from, stop)) = stop else {
        return kit.finding(
            "generate",
            format!(
                "{api:?}, `stop`: no part of the answer `{}` comes once, so none can be tried",
                first.text.escape_debug()
            ),
        );
    };
    let request = Request {
        stop: vec!["\u{10ffff}".to_owned(), stop.to_owned()],
        ..base.clone()
    };
    match say(session, &request) {
        Err(Fault::Reported(error)) if error.kind == ErrorKind::Unsupported => refused.push("stop"),
        Err(fault) => kit.finding("generate", format!("{api:?}, `stop`: {fault}")),
        Ok(said) => {
            // With the stop, without it, or with the part that was sent before it was known.
            let length = said.text.len();
            let ends_there =
                first.text.starts_with(&said.text) && (from..=from + stop.len()).contains(&length);
            if !ends_there && !kit.settings.not_sent.contains_key("stop") {
                kit.finding(
                    "generate",
                    format!(
                        "{api:?}, `stop`: with `{}` the answer is `{}` and should end there",
                        stop.escape_debug(),
                        said.text.escape_debug()
                    ),
                );
            } else if said.finish.as_deref() != Some("stop") {
                kit.finding(
                    "generate",
                    format!(
                        "{api:?}, `stop`: the finish reason is {:?}, not `stop`",
                        said.finish
                    ),
                );
            }
        }
    }
}
