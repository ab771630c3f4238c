//! Requests as HTTP exchanges, or as lines.

use crate::{Engine, Fault, fixture, model};
use prony_plugin_sdk::{Api, ChatMessage, ErrorKind, HttpRequest, Image, Message, Request, Role};
use serde_json::Value;

const PROMPT: &str = "Say \"é\\n\" 🦀\tand {{ x }} </s>";
const SYSTEM: &str = "Be \"brief\"";
const MAX_TOKENS: u32 = 1_237;
const SEED: u64 = 7_654_321;

pub(crate) fn check(engine: &mut Engine<'_>) {
    let apis = apis(engine);
    if apis.is_empty() {
        engine.finding("encode", "neither chat nor completions are supported");
    }
    for api in Api::all() {
        let name = api.name();
        match (encode(engine, &request(api)), apis.contains(&api)) {
            (Ok(made), true) => exchange(engine, api, &made),
            (Ok(_), false) => engine.finding(
                "encode",
                format!("the manifest does not name `{name}` among its `apis`, and it is taken"),
            ),
            (Err(Fault::Reported(error)), true) if error.kind == ErrorKind::Unsupported => engine
                .finding(
                    "encode",
                    format!(
                        "the manifest names `{name}` among its `apis`, and it is refused: {error}"
                    ),
                ),
            (Err(Fault::Reported(error)), false) if error.kind == ErrorKind::Unsupported => {}
            (Err(fault), _) => engine.finding("encode", format!("{api:?}: {fault}")),
        }
    }
    with_images(engine);
    with_history(engine);
    for extreme in extremes() {
        if let Err(fault @ Fault::Broken(_)) = encode(engine, &extreme) {
            let prompt: String = extreme.prompt.chars().take(20).collect();
            engine.finding("encode", format!("a request with `{prompt}`…: {fault}"));
        }
    }
    for it in fixtures(engine) {
        let Some(request) = &it.request else { continue };
        let problem = match encode(engine, request) {
            Ok(made) => it.compare("http", &fixture::made(&made)),
            Err(fault) => Some(format!("`{}.request.json`: {fault}", it.name)),
        };
        if let Some(problem) = problem {
            engine.finding("encode", problem);
        }
    }
}

/// Forms of requests that the engine says it takes with the example's config.
fn apis(engine: &Engine<'_>) -> Vec<Api> {
    engine.subject.describe().map_or_else(
        |_| Api::all(),
        |it| match engine.config.as_object() {
            Some(config) => Api::of_config(&it.apis, &it.config_schema, config),
            None => it.apis,
        },
    )
}

fn fixtures(engine: &Engine<'_>) -> Vec<fixture::Fixture> {
    let folder = engine.fixtures.as_ref();
    folder.map_or_else(Vec::new, |folder| fixture::read(folder).0)
}

/// Number of the request over standard input.
const NUMBER: u64 = 7;

/// A request as it is sent.
#[derive(Debug, PartialEq)]
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

fn encode(engine: &Engine<'_>, request: &Request) -> crate::Answer<Made> {
    if engine.stdio {
        return numbered(engine, request, NUMBER);
    }
    let made = engine.subject.encode(&engine.config, &model(), request);
    made.map(Made::Exchange)
}

fn numbered(engine: &Engine<'_>, request: &Request, number: u64) -> crate::Answer<Made> {
    let made = engine
        .subject
        .encode_stdio(&engine.config, &model(), request, number);
    made.map(Made::Message)
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

/// An image is sent or causes an error; it is never dropped.
fn with_images(engine: &mut Engine<'_>) {
    let says_so = engine.subject.describe().is_ok_and(|it| it.images);
    let says_so = says_so && apis(engine).contains(&Api::Chat);
    let mut sent = 0;
    for api in [Api::Chat, Api::Completions] {
        for count in 1..=2 {
            let images = images()[..count].to_vec();
            let asked = Request {
                images: images.clone(),
                ..request(api)
            };
            let made = encode(engine, &asked);
            let mut wrong =
                |what: String| engine.finding("encode", format!("{api:?}, images: {what}"));
            match made {
                Ok(made) => {
                    let body = Sent::of(made.body());
                    for image in images.iter().filter(|it| !body.holds(&it.base64())) {
                        wrong(format!(
                            "the {} is not in the body, in base64: send it, or return an error",
                            image.media_type
                        ));
                    }
                    sent += 1;
                }
                Err(Fault::Reported(_)) => {}
                Err(fault) => wrong(fault.to_string()),
            }
        }
    }
    if says_so && sent == 0 {
        let message = "the manifest says that it takes images, and it takes none";
        engine.finding("encode", message);
    }
}

/// Every message of a conversation is sent, in order, or the request is refused as
/// unsupported.
fn with_history(engine: &mut Engine<'_>) {
    let says_so = engine.subject.describe().is_ok_and(|it| it.history);
    let says_so = says_so && apis(engine).contains(&Api::Chat);
    let mut sent = 0;
    for api in [Api::Chat, Api::Completions] {
        for turns in 1..=2 {
            let asked = Request {
                history: history(turns),
                ..request(api)
            };
            let made = encode(engine, &asked);
            let mut wrong =
                |what: String| engine.finding("encode", format!("{api:?}, a history: {what}"));
            match made {
                Ok(made) => {
                    sent += 1;
                    let body = Sent::of(made.body());
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
        engine.finding("encode", message);
    }
}

/// Questions and answers, all different.
fn history(turns: usize) -> Vec<ChatMessage> {
    let said = [
        (Role::User, "What is \"é\"?\n{{ x }}"),
        (Role::Assistant, "</s> A letter 🦀"),
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
fn images() -> [Image; 2] {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\xdac\xfc\xcf\xc0P\x0f\0\x04\x85\x01\x80\x84\xa9\x8c!\0\0\0\0IEND\xaeB`\x82";
    const GIF: &[u8] =
        b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
    [("image/png", PNG), ("image/gif", GIF)].map(|(media_type, data)| Image {
        media_type: media_type.to_owned(),
        data: data.to_vec(),
    })
}

fn exchange(engine: &mut Engine<'_>, api: Api, made: &Made) {
    for _ in 0..3 {
        if encode(engine, &request(api)).ok().as_ref() != Some(made) {
            engine.finding("encode", format!("{api:?}: differs each time"));
            break;
        }
    }
    let seeded = engine.seeded;
    let other = match made {
        Made::Message(_) => numbered(engine, &request(api), NUMBER + 1).ok(),
        Made::Exchange(_) => None,
    };
    let mut wrong = |message: String| engine.finding("encode", format!("{api:?}: {message}"));
    match made {
        Made::Exchange(exchange) => about(exchange).into_iter().for_each(&mut wrong),
        Made::Message(message) => {
            problems(message).into_iter().for_each(&mut wrong);
            let shared =
                |id: &&String| matches!(&other, Some(Made::Message(it)) if it.ids.contains(*id));
            if let Some(id) = message.ids.iter().find(shared) {
                wrong(format!(
                    "requests {NUMBER} and {} share the id `{id}`",
                    NUMBER + 1
                ));
            }
        }
    }
    let sent = Sent::of(made.body());
    let mut wanted = vec![
        ("the prompt", sent.holds(PROMPT)),
        ("`max_tokens`", sent.holds(&MAX_TOKENS.to_string())),
    ];
    if seeded {
        wanted.push(("the seed", sent.holds(&SEED.to_string())));
    }
    if api == Api::Chat {
        wanted.push(("the system message", sent.holds(SYSTEM)));
    }
    for (what, _) in wanted.iter().filter(|(_, held)| !held) {
        wrong(format!("{what} is not in the body"));
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
    problems
}

/// All texts and numbers of a JSON body, or the body itself.
struct Sent(Vec<String>);

impl Sent {
    fn of(body: &str) -> Self {
        fn collect(value: &Value, into: &mut Vec<String>) {
            match value {
                Value::String(text) => into.push(text.clone()),
                Value::Number(number) => into.push(number.to_string()),
                Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
                Value::Object(map) => map.values().for_each(|item| collect(item, into)),
                _ => {}
            }
        }
        let mut all = Vec::new();
        match serde_json::from_str(body) {
            Ok(value) => collect(&value, &mut all),
            Err(_) => all.push(body.to_owned()),
        }
        Self(all)
    }

    fn holds(&self, wanted: &str) -> bool {
        self.0.iter().any(|it| it.contains(wanted))
    }

    /// Returns `true` if each begins after the end of the one before: in the same text or
    /// in a later one. Texts are in the order of the body, since objects keep theirs.
    fn holds_in_order(&self, wanted: &[&str]) -> bool {
        let (mut text, mut from) = (0, 0);
        wanted.iter().all(|wanted| {
            while let Some(it) = self.0.get(text) {
                if let Some(at) = it[from..].find(wanted) {
                    from += at + wanted.len();
                    return true;
                }
                (text, from) = (text + 1, 0);
            }
            false
        })
    }
}

fn request(api: Api) -> Request {
    Request {
        api,
        prompt: PROMPT.to_owned(),
        system: (api == Api::Chat).then(|| SYSTEM.to_owned()),
        max_tokens: MAX_TOKENS,
        temperature: 0.0,
        top_p: None,
        seed: SEED,
        stop: Vec::new(),
        ignore_eos: false,
        history: Vec::new(),
        images: Vec::new(),
    }
}

fn extremes() -> [Request; 4] {
    let large = Request {
        max_tokens: u32::MAX,
        seed: u64::MAX,
        temperature: 1e300,
        top_p: Some(1.0),
        stop: vec![String::new(), "\n".to_owned(), "\u{10ffff}".to_owned()],
        ignore_eos: true,
        ..request(Api::Completions)
    };
    let prompt = |prompt: String| Request {
        prompt,
        ..request(Api::Chat)
    };
    [
        large,
        prompt(String::new()),
        prompt("\0\u{1}\u{feff}\u{2028}".to_owned()),
        prompt("word ".repeat(100_000)),
    ]
}
