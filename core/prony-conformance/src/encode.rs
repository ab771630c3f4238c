//! Requests as HTTP exchanges, or as lines.

use crate::sent::{PROMPT, SYSTEM, Sent, probe_request};
use crate::{Answer, Fault, Kit, adapter, fields, fixture, model, other_model};
use prony_contract::{
    Api, ChatMessage, ErrorKind, HttpRequest, Image, Manifest, Message, Model, Request, Role,
};
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

/// Requests and what they became, to ask again when everything else has been asked.
pub(crate) type Calls = Vec<(Request, Made)>;

pub(crate) fn check(kit: &mut Kit<'_>, manifest: &Manifest) -> Calls {
    let apis = apis(kit, manifest);
    if apis.is_empty() {
        let message = "neither chat nor completions are supported".to_owned();
        kit.finding("encode", message);
    }
    let mut calls = Calls::new();
    for api in Api::all() {
        let name = api.name();
        let is_named = apis.contains(&api);
        let mut request = probe_request(api);
        if !is_named {
            // Refused for its form, not for what it carries.
            request.system = None;
        }
        match (encode(kit, &request), is_named) {
            (Ok(made), true) => {
                exchange(kit, api, &made);
                let told = fields::check(kit, api);
                kit.done("encode", format!("{name}: {told}"));
                calls.push((probe_request(api), made));
            }
            (Ok(_), false) => kit.finding(
                "encode",
                format!("the manifest does not name `{name}` among its `apis`, and it is taken"),
            ),
            (Err(Fault::Reported(error)), true) if error.kind == ErrorKind::Unsupported => kit
                .finding(
                    "encode",
                    format!(
                        "the manifest names `{name}` among its `apis`, and it is refused: {error}"
                    ),
                ),
            (Err(Fault::Reported(error)), false) if error.kind == ErrorKind::Unsupported => {}
            (Err(fault), _) => kit.finding("encode", format!("{api:?}: {fault}")),
        }
    }
    told_apart(kit, &apis);
    the_model(kit, &apis);
    with_images(kit, manifest, &apis);
    with_history(kit, manifest, &apis);
    kit.done("encode", "forms, model, images, history".to_owned());
    for extreme in extremes() {
        if let Err(fault @ Fault::Broken(_)) = encode(kit, &extreme) {
            let prompt: String = extreme.prompt.chars().take(20).collect();
            kit.finding("encode", format!("a request with `{prompt}`…: {fault}"));
        }
    }
    long_prompt(kit, &apis);
    kit.done("encode", "extreme requests".to_owned());
    recorded(kit);
    calls
}

/// Asks the same once more, after everything else: nothing may be kept between calls.
pub(crate) fn check_again(kit: &mut Kit<'_>, calls: &Calls) {
    for (request, made) in calls {
        if encode(kit, request).ok().as_ref() != Some(made) {
            kit.finding(
                "encode",
                format!(
                    "{:?}: differs after other calls: something is kept between them",
                    request.api
                ),
            );
        }
    }
    kit.done("encode", "the same after all other calls".to_owned());
}

/// Requests of the fixtures.
fn recorded(kit: &mut Kit<'_>) {
    let Some(folder) = kit.fixtures.clone() else {
        return;
    };
    let mut count = 0;
    for it in fixture::read(&folder).0 {
        let Some(request) = &it.request else { continue };
        count += 1;
        let problem = match encode(kit, request) {
            Ok(made) => it.compare("http", &fixture::made(&made), kit.bless),
            Err(fault) => Some(format!("`{}.request.json`: {fault}", it.name).into()),
        };
        if let Some(problem) = problem {
            kit.finding("encode", problem);
        }
    }
    if count == 0 {
        kit.skipped("encode", "no fixture has a request (`NAME.request.json`)");
    } else {
        kit.done("encode", format!("recorded requests: {count}"));
    }
}

/// Forms of requests that the engine says it takes with the example's config.
pub(crate) fn apis(kit: &Kit<'_>, manifest: &Manifest) -> Vec<Api> {
    match kit.settings.config.as_object() {
        Some(config) => Api::of_config(&manifest.apis, &manifest.config_schema, config),
        None => manifest.apis.clone(),
    }
}

/// Number of the request over standard input.
const NUMBER: u64 = 7;

/// A request as it is sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Made {
    Exchange(HttpRequest),
    Message(Message),
}

impl Made {
    /// Everything that is sent but headers.
    pub(crate) fn body(&self) -> &str {
        match self {
            Self::Exchange(exchange) => &exchange.body,
            Self::Message(message) => &message.line,
        }
    }
}

pub(crate) fn encode(kit: &Kit<'_>, request: &Request) -> Answer<Made> {
    encode_for(kit, &model(), request)
}

fn encode_for(kit: &Kit<'_>, model: &Model, request: &Request) -> Answer<Made> {
    if kit.stdio() {
        let config = &kit.settings.config;
        let made = kit.subject.encode_stdio(config, model, request, NUMBER);
        return made.map(Made::Message);
    }
    let made = kit.subject.encode(&kit.settings.config, model, request);
    made.map(Made::Exchange)
}

/// The message of a request by its number.
pub(crate) fn numbered(kit: &Kit<'_>, request: &Request, number: u64) -> Option<Message> {
    let config = &kit.settings.config;
    let made = kit.subject.encode_stdio(config, &model(), request, number);
    made.ok()
}

/// Problems of a message, in words.
pub(crate) fn problems(message: &Message) -> Vec<String> {
    let line = &message.line;
    let mut problems = Vec::new();
    if line.contains('\n') || serde_json::from_str::<Value>(line).is_err() {
        problems.push(format!(
            "the line `{}` is not one line of JSON",
            line.escape_debug()
        ));
    }
    if message.ids.is_empty() {
        problems.push("a message has no id: nothing would be an answer to it".to_owned());
    }
    if message.ends.is_empty() {
        problems.push("a message has no ending: its answer would never end".to_owned());
    }
    problems
}

/// Chat and completions are different requests.
fn told_apart(kit: &mut Kit<'_>, apis: &[Api]) {
    if !Api::is_all(apis) {
        return;
    }
    let [chat, plain] = [Api::Chat, Api::Completions].map(|api| {
        let request = Request {
            system: None,
            ..probe_request(api)
        };
        encode(kit, &request).ok()
    });
    let stated = kit.settings.not_sent.contains_key("api");
    if chat.is_some() && chat == plain && !stated {
        let message =
            "chat and completions are sent alike: the model would answer one as the other";
        kit.finding("encode", message.to_owned());
    }
}

/// The engine is told which model it is, where it starts or in each request.
fn the_model(kit: &mut Kit<'_>, apis: &[Api]) {
    let Some(api) = apis.first() else { return };
    let request = probe_request(*api);
    let [one, other] =
        [model(), other_model()].map(|it| encode_for(kit, &it, &request).map(|made| (it, made)));
    let (Ok(one), Ok(other)) = (one, other) else {
        // An adapter may refuse models.
        return;
    };
    let stated = kit.settings.not_sent.get("model").cloned();
    let differs = Sent::of(&one.1) != Sent::of(&other.1);
    let in_plan = adapter::names_the_model(kit);
    let fixed = in_config(kit, &one.1);
    match stated {
        Some(_) if differs || in_plan => {
            let message = "`model` is stated as not sent, and it is: remove it from `not_sent`";
            kit.finding("encode", message.to_owned());
        }
        None if !differs && !in_plan && !fixed => kit.finding(
            "encode",
            "no exchange and no launch plan names the model: send its id or path, or state `model` as not sent, with the reason".to_owned(),
        ),
        _ => {}
    }
    for (model, made) in [one, other] {
        if differs && !Sent::of(&made).names(&model) {
            kit.finding(
                "encode",
                format!(
                    "the exchange differs by model, and `{}` is not in it",
                    model.id
                ),
            );
        }
        if let Made::Exchange(exchange) = &made
            && let Some(asked) = &exchange.model
        {
            if !Sent::of(&made).holds(asked) {
                kit.finding(
                    "encode",
                    format!("it says that it asks for the model `{asked}`, which it does not send"),
                );
            }
            let is_own = model.id.contains(asked.as_str())
                || model
                    .path
                    .as_ref()
                    .is_some_and(|path| path.contains(asked.as_str()));
            if !is_own && !in_config(kit, &made) {
                kit.finding(
                    "encode",
                    format!(
                        "it asks for the model `{asked}`, which is neither `{}` nor in the config",
                        model.id
                    ),
                );
            }
        }
    }
}

/// Returns `true` if the model that an exchange asks for stands in the config.
fn in_config(kit: &Kit<'_>, made: &Made) -> bool {
    let Made::Exchange(exchange) = made else {
        return false;
    };
    let mut config = Sent::default();
    config.add("", &kit.settings.config);
    let asked = exchange.model.as_ref();
    asked.is_some_and(|asked| config.is(asked))
}

/// An image is sent or the request is refused; it is never dropped.
fn with_images(kit: &mut Kit<'_>, manifest: &Manifest, apis: &[Api]) {
    let says_so = manifest.images && may_be_chat(manifest, apis);
    let mut sent = 0;
    for api in [Api::Chat, Api::Completions] {
        for count in 1..=2 {
            let images = images()[..count].to_vec();
            let asked = Request {
                images: images.clone(),
                ..probe_request(api)
            };
            let made = encode(kit, &asked);
            let mut wrong =
                |what: String| kit.finding("encode", format!("{api:?}, images: {what}"));
            match made {
                Ok(made) => {
                    sent += 1;
                    let body = Sent::of(&made);
                    let texts: Vec<String> = images.iter().map(Image::base64).collect();
                    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                    for (image, text) in images.iter().zip(&texts) {
                        if !body.holds(text) {
                            wrong(format!(
                                "the {} is not in the body, in base64: send it, or return `unsupported`",
                                image.media_type
                            ));
                        }
                    }
                    let all = texts.iter().all(|text| body.holds(text));
                    if all && !body.holds_in_order(&texts) {
                        wrong("they are not in the body in their order".to_owned());
                    }
                    if !body.holds(PROMPT) {
                        wrong("the prompt is not in the body".to_owned());
                    }
                }
                Err(Fault::Reported(error)) if is_refusal(error.kind) => {}
                Err(fault) => wrong(fault.to_string()),
            }
        }
    }
    if says_so && sent == 0 {
        let message = "the manifest says that it takes images, and it takes none";
        kit.finding("encode", message.to_owned());
    }
}

/// Returns `false` if only the example's config rules out chats, which carry images and history.
fn may_be_chat(manifest: &Manifest, apis: &[Api]) -> bool {
    apis.contains(&Api::Chat) || !manifest.apis.contains(&Api::Chat)
}

fn is_refusal(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unsupported | ErrorKind::InvalidConfig)
}

/// Every message of a conversation is sent, in order, or the request is refused as
/// unsupported.
fn with_history(kit: &mut Kit<'_>, manifest: &Manifest, apis: &[Api]) {
    let says_so = manifest.history && may_be_chat(manifest, apis);
    let mut sent = 0;
    for api in [Api::Chat, Api::Completions] {
        for turns in 1..=2 {
            let asked = Request {
                history: history(turns),
                ..probe_request(api)
            };
            let made = encode(kit, &asked);
            let mut wrong =
                |what: String| kit.finding("encode", format!("{api:?}, a history: {what}"));
            match made {
                Ok(made) => {
                    sent += 1;
                    let body = Sent::of(&made);
                    let texts = asked.system.iter();
                    let texts = texts.chain(asked.history.iter().map(|said| &said.content));
                    let texts: Vec<&str> =
                        texts.chain([&asked.prompt]).map(String::as_str).collect();
                    match texts.iter().find(|text| !body.holds(text)) {
                        Some(missing) => wrong(format!(
                            "`{}` is not in the body: send every message, or return `unsupported`",
                            missing.escape_debug()
                        )),
                        None if !body.holds_in_order(&texts) => wrong(
                            "the messages are not in the body in their order, oldest first"
                                .to_owned(),
                        ),
                        None => {}
                    }
                }
                Err(Fault::Reported(error)) if error.kind == ErrorKind::Unsupported => {}
                Err(fault) => wrong(fault.to_string()),
            }
        }
    }
    if says_so && sent == 0 {
        let message = "the manifest says that it takes a history, and it takes none";
        kit.finding("encode", message.to_owned());
    }
}

/// Questions and answers, all different.
pub(crate) fn history(turns: usize) -> Vec<ChatMessage> {
    let said = [
        (Role::User, "What is \"é\"?\n{{ x }}"),
        (Role::Assistant, "</s> A letter 🦀 "),
        (Role::User, "And \\u0041?"),
        (Role::Assistant, "[INST] Another\tone"),
    ];
    let said = said.into_iter().take(2 * turns);
    said.map(|(role, content)| ChatMessage {
        role,
        content: content.to_owned(),
    })
    .collect()
}

/// One pixel each.
pub(crate) fn images() -> [Image; 2] {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\xdac\xfc\xcf\xc0P\x0f\0\x04\x85\x01\x80\x84\xa9\x8c!\0\0\0\0IEND\xaeB`\x82";
    const GIF: &[u8] =
        b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
    [("image/png", PNG), ("image/gif", GIF)].map(|(media_type, data)| Image {
        media_type: media_type.to_owned(),
        data: data.to_vec(),
    })
}

fn exchange(kit: &mut Kit<'_>, api: Api, made: &Made) {
    for _ in 0..3 {
        if encode(kit, &probe_request(api)).ok().as_ref() != Some(made) {
            kit.finding("encode", format!("{api:?}: differs each time"));
            break;
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0.0, |since| since.as_secs_f64());
    if let Some(time) = Sent::of(made).time(now) {
        kit.finding(
            "encode",
            format!("{api:?}: `{time}` is the time: equal requests would differ"),
        );
    }
    let other = numbered(kit, &probe_request(api), NUMBER + 1);
    let other = other.filter(|_| kit.stdio());
    let mut wrong = |message: String| kit.finding("encode", format!("{api:?}: {message}"));
    match made {
        Made::Exchange(exchange) => about(exchange).into_iter().for_each(&mut wrong),
        Made::Message(message) => {
            problems(message).into_iter().for_each(&mut wrong);
            let shared = |id: &&String| other.as_ref().is_some_and(|it| it.ids.contains(*id));
            if let Some(id) = message.ids.iter().find(shared) {
                wrong(format!(
                    "requests {NUMBER} and {} share the id `{id}`",
                    NUMBER + 1
                ));
            }
            let sent = Sent::of(made);
            for id in message.ids.iter().filter(|id| {
                !sent.holds(id) && id.parse().map_or(true, |id| sent.number(id).is_none())
            }) {
                wrong(format!(
                    "the id `{id}` is not in the line: nothing would answer to it"
                ));
            }
        }
    }
    if api == Api::Chat && !Sent::of(made).holds(SYSTEM) {
        wrong("the system message is not in the body".to_owned());
    }
}

/// A long prompt is sent whole or refused.
fn long_prompt(kit: &mut Kit<'_>, apis: &[Api]) {
    let prompt = format!("{}the end", "word ".repeat(100_000));
    for api in apis {
        let asked = Request {
            prompt: prompt.clone(),
            ..probe_request(*api)
        };
        match encode(kit, &asked) {
            Ok(made) if !Sent::of(&made).holds(&prompt) => kit.finding(
                "encode",
                format!(
                    "{api:?}: a prompt of {} bytes is not sent whole: send it, or return `unsupported`",
                    prompt.len()
                ),
            ),
            _ => {}
        }
    }
}

/// Problems of an exchange, apart from its body, in words.
fn about(made: &HttpRequest) -> Vec<String> {
    let mut problems = Vec::new();
    let mut wrong = |message: String| problems.push(message);
    if made.method.is_empty() || !made.method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        wrong(format!("the method `{}`", made.method));
    }
    if !made.path.starts_with('/') || made.path.bytes().any(|byte| byte <= b' ' || byte > b'~') {
        wrong(format!("the path `{}`", made.path.escape_debug()));
    }
    for header in &made.headers {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let name = header.name.to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(token) || header.value.contains(['\r', '\n']) {
            wrong(format!("the header `{}`", name.escape_debug()));
        }
        if ["host", "content-length", "transfer-encoding", "connection"].contains(&name.as_str()) {
            wrong(format!("the header `{name}` is the host's to set"));
        }
    }
    for mark in made
        .end_marks
        .iter()
        .filter(|mark| mark.is_empty() || mark.contains(['\r', '\n']))
    {
        wrong(format!("the end mark `{}` is no line", mark.escape_debug()));
    }
    problems
}

fn extremes() -> [Request; 3] {
    let large = Request {
        max_tokens: u32::MAX,
        seed: u64::MAX,
        temperature: 1e300,
        top_p: Some(1.0),
        stop: vec![String::new(), "\n".to_owned(), "\u{10ffff}".to_owned()],
        ignore_eos: true,
        ..probe_request(Api::Completions)
    };
    let prompt = |prompt: String| Request {
        prompt,
        ..probe_request(Api::Chat)
    };
    [
        large,
        prompt(String::new()),
        prompt("\0\u{1}\u{feff}\u{2028}".to_owned()),
    ]
}
