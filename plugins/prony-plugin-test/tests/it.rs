//! A kit that finds nothing is worth nothing: adapters with one defect each,
//! and what is said of them.
#![expect(clippy::unwrap_used, reason = "tests")]

use prony_plugin_sdk::native::{PluginTable, engine_table, reporter_table, stdio_engine_table};
use prony_plugin_sdk::result::RunResult;
use prony_plugin_sdk::{
    About, Api, Artifact, Command, Ending, Endpoint, Engine, Error, Events, HttpRequest,
    LaunchPlan, Message, Model, Pair, Ready, Reporter, Request, Response, Result, StdioEngine,
    StdioPlan,
};
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Where the server listens.
    #[serde(default, rename = "url")]
    _url: String,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Open {
    #[serde(default, rename = "url")]
    _url: String,
}

const GOOD: u32 = 0;
const LAST_READ: u32 = 1;
const HALF_LINES: u32 = 2;
const END_AT_EOF: u32 = 3;
const READ_BY_READ: u32 = 4;
const PANICS: u32 = 5;
const NO_SEED: u32 = 6;
const RANDOM: u32 = 7;
const IGNORES_STATUS: u32 = 8;
const LATE_READ: u32 = 9;
const BAD_HEADER: u32 = 10;
const ELSEWHERE: u32 = 11;
const WRONG_TEXT: u32 = 12;
const EARLY_READ: u32 = 13;
const COMPLETIONS_ONLY: u32 = 14;
const REFUSES_CHAT: u32 = 15;
// From here on images are taken.
const SENDS_IMAGES: u32 = 20;
const DROPS_IMAGES: u32 = 21;
const DROPS_THE_SECOND: u32 = 22;
const TAKES_NONE: u32 = 23;
// From here on a history is taken.
const SENDS_HISTORY: u32 = 30;
const SENDS_THE_LAST: u32 = 31;
const SENDS_IT_AFTER: u32 = 32;
const REFUSES_HISTORY: u32 = 33;

/// An adapter for a server of lines, with a defect.
struct Lines<const DEFECT: u32>;

impl<const DEFECT: u32> Engine for Lines<DEFECT> {
    type Config = Config;
    const ABOUT: About = prony_plugin_sdk::about!("lines", "One token a line");
    const APIS: &'static [Api] = match DEFECT {
        COMPLETIONS_ONLY => &[Api::Completions],
        _ => &[Api::Chat, Api::Completions],
    };
    const IMAGES: bool = DEFECT >= SENDS_IMAGES && DEFECT <= TAKES_NONE;
    const HISTORY: bool = DEFECT >= SENDS_HISTORY;

    fn new(_: Config) -> Result<Self> {
        Ok(Self)
    }

    fn launch(&self, _: &Model, at: &Endpoint) -> Result<LaunchPlan> {
        if DEFECT != ELSEWHERE {
            return Ok(LaunchPlan::attach("http://h:1", Ready::Immediate));
        }
        let command = Command {
            argv: vec![],
            env: vec![],
            cwd: None,
        };
        let mut plan = LaunchPlan::spawn(command, at, Ready::Http("health".to_owned()));
        plan.base_url.push_str("/v1");
        Ok(plan)
    }

    fn encode(&self, model: &Model, request: &Request) -> Result<HttpRequest> {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let seed = match DEFECT {
            NO_SEED => 0,
            RANDOM => request.seed * 10 + CALLS.fetch_add(1, Ordering::Relaxed) % 10,
            _ => request.seed,
        };
        if DEFECT == REFUSES_CHAT && request.api == Api::Chat {
            return Err(Error::unsupported("no chat"));
        }
        if DEFECT == TAKES_NONE {
            request.without_images()?;
        }
        if DEFECT == REFUSES_HISTORY {
            request.without_history()?;
        }
        let mut texts: Vec<&str> = request
            .history
            .iter()
            .map(|said| said.content.as_str())
            .collect();
        match DEFECT {
            SENDS_THE_LAST => texts = texts.split_off(texts.len().saturating_sub(2)),
            SENDS_IT_AFTER => texts.insert(0, &request.prompt),
            _ => {}
        }
        if DEFECT != SENDS_IT_AFTER {
            texts.push(&request.prompt);
        }
        let sent = match DEFECT {
            SENDS_IMAGES => usize::MAX,
            DROPS_THE_SECOND => 1,
            _ => 0,
        };
        let images: Vec<String> = request
            .images
            .iter()
            .take(sent)
            .map(prony_plugin_sdk::Image::data_url)
            .collect();
        let mut body = serde_json::json!(request);
        body["model"] = model.id.as_str().into();
        body["system"] = serde_json::json!(request.system);
        body["prompt"] = "".into();
        body["history"] = serde_json::json!([]);
        body["seed"] = seed.into();
        body["texts"] = serde_json::json!(texts);
        body["images"] = serde_json::json!(images);
        let mut made = HttpRequest::post_json("/", &body);
        if DEFECT == BAD_HEADER {
            made.headers.push(Pair::new("Host", "h"));
            made.headers.push(Pair::new("x", "a\r\nb: c"));
            made.path.insert_str(0, "http://h");
        }
        Ok(made)
    }

    fn decode(&self, response: &Response<'_>, events: &mut Events) -> Result<()> {
        if response.status != 200 && DEFECT != IGNORES_STATUS {
            events.failure(response.last_read(), "refused");
            return Ok(());
        }
        let last = response.last_read();
        let late = |read: u32| match DEFECT {
            LAST_READ => last,
            LATE_READ => (read + 1).min(last),
            _ => read,
        };
        if DEFECT == READ_BY_READ {
            let mut start = 0;
            for (read, end) in response.ends.iter().enumerate() {
                let text = String::from_utf8_lossy(&response.body[start..*end as usize]);
                for line in text.lines() {
                    match line {
                        "." => events.end(read as u32),
                        line => events.text(read as u32, 1, line),
                    }
                }
                start = *end as usize;
            }
            return Ok(());
        }
        if DEFECT == EARLY_READ {
            // Needs two lines for an event and stamps it with the first.
            let mut lines = response.lines();
            while let Some((read, _)) = lines.next() {
                let (_, text) = lines
                    .next()
                    .ok_or_else(|| Error::malformed("half an event"))?;
                events.text(read, 1, &String::from_utf8_lossy(text));
            }
            return Ok(());
        }
        let mut used = 0;
        for (read, line) in response.lines() {
            used += line.len() + 1;
            let text = match std::str::from_utf8(line) {
                Ok(text) => text.to_owned(),
                Err(error) if DEFECT == PANICS => panic!("{error}"),
                Err(error) => return Err(Error::malformed(error.to_string())),
            };
            if text == "." {
                if DEFECT != END_AT_EOF {
                    events.end(late(read));
                }
                break;
            }
            let text = if DEFECT == WRONG_TEXT { "?" } else { &text };
            events.text(late(read), 1, text);
        }
        if DEFECT == HALF_LINES && used < response.body.len() && !response.body.ends_with(b"\n") {
            events.text(last, 1, "half");
        }
        if DEFECT == END_AT_EOF {
            events.end(last);
        }
        Ok(())
    }
}

fn findings(table: &PluginTable) -> Vec<String> {
    prony_plugin_test::Engine::new(table)
        .config(r#"{ "url": "x" }"#)
        .fixtures("tests/fixtures")
        .run()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn finds<const DEFECT: u32>(words: &[&str]) {
    let found = findings(&engine_table::<Lines<DEFECT>>());
    for words in words {
        assert!(
            found.iter().any(|it| it.contains(words)),
            "{DEFECT}: no `{words}` in {found:#?}"
        );
    }
    assert!(!words.is_empty() || found.is_empty(), "{found:#?}");
}

#[test]
fn nothing_is_found_in_a_good_adapter() {
    finds::<GOOD>(&[]);
}

#[test]
fn wrong_reads_are_found() {
    finds::<LAST_READ>(&["`lines`"]);
    finds::<LATE_READ>(&["`lines`"]);
}

#[test]
fn an_event_stamped_before_it_was_complete_is_found() {
    // Four lines, so that the whole makes sense.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pairs.body"), "1\na\n2\nb\n").unwrap();
    std::fs::write(
        folder.path().join("pairs.events.json"),
        r#"[{"kind":"text","tokens":1,"text":"a"},{"kind":"text","tokens":1,"text":"b"}]"#,
    )
    .unwrap();
    let found = prony_plugin_test::Engine::new(&engine_table::<Lines<EARLY_READ>>())
        .fixtures(folder.path())
        .run();
    assert_eq!(
        found[0].to_string(),
        "decode: `pairs`: cut short after 2 bytes, error: half an event"
    );
}

#[test]
fn what_depends_on_the_cuts_is_found() {
    finds::<READ_BY_READ>(&["decode: `lines`: read byte by byte, event 0 is"]);
    finds::<HALF_LINES>(&["decode: `lines`: cut short after 1 bytes, event 0 is Text 1 `half`"]);
}

#[test]
fn an_end_that_is_none_is_found() {
    finds::<END_AT_EOF>(&["still says `end`"]);
}

#[test]
fn a_panic_is_found() {
    finds::<PANICS>(&["broke down: panic: invalid utf-8"]);
}

#[test]
fn a_wrong_event_is_found_in_its_line() {
    finds::<WRONG_TEXT>(&[
        r#"`lines.events.json` line 2: wanted `  {"kind":"text","tokens":1,"text":"one"},`"#,
    ]);
}

#[test]
fn a_refusal_read_as_an_answer_is_found() {
    finds::<IGNORES_STATUS>(&["is read as an answer", "gives no `failure`"]);
}

#[test]
fn lost_and_changing_requests_are_found() {
    finds::<NO_SEED>(&["encode: Chat, `seed`: asking for it changes nothing in the exchange"]);
    finds::<RANDOM>(&["encode: Completions: differs each time"]);
    finds::<BAD_HEADER>(&[
        "the header `host` is the host's to set",
        "the header `x`",
        "the path `http://h/`",
    ]);
    let found = prony_plugin_test::Engine::new(&engine_table::<Lines<NO_SEED>>())
        .without("seed", "it has none")
        .run();
    assert_eq!(found, []);
}

#[test]
fn forms_of_requests_are_those_of_the_manifest() {
    finds::<COMPLETIONS_ONLY>(&[]);
    finds::<REFUSES_CHAT>(&[
        "encode: the manifest names `chat` among its `apis`, and it is refused: no chat",
    ]);
}

#[test]
fn images_left_out_are_found() {
    finds::<SENDS_IMAGES>(&[]);
    finds::<DROPS_IMAGES>(&[
        "encode: Chat, images: the image/png is not in the body",
        "encode: Completions, images: the image/gif is not in the body",
    ]);
    let second = findings(&engine_table::<Lines<DROPS_THE_SECOND>>());
    assert_eq!(second.len(), 2, "{second:#?}");
    assert!(second.iter().all(|it| it.contains("image/gif")));
    finds::<TAKES_NONE>(&["encode: the manifest says that it takes images, and it takes none"]);
}

#[test]
fn messages_left_out_or_out_of_order_are_found() {
    finds::<SENDS_HISTORY>(&[]);
    let found = findings(&engine_table::<Lines<SENDS_THE_LAST>>());
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].starts_with("encode: Chat, a history: `What is"),
        "{found:#?}"
    );
    finds::<SENDS_IT_AFTER>(&[
        "encode: Completions, a history: the messages are not in the body in their order",
    ]);
    finds::<REFUSES_HISTORY>(&[
        "encode: the manifest says that it takes a history, and it takes none",
    ]);
}

#[test]
fn an_adapter_that_says_nothing_of_images_and_history_is_not_handed_any() {
    let table = engine_table::<Lines<GOOD>>();
    let subject: &dyn prony_plugin_test::Subject = &table;
    assert!(!subject.describe().unwrap().images);
    let model = Model {
        id: "m".to_owned(),
        path: None,
    };
    let mut request = Request {
        api: Api::Chat,
        prompt: "p".to_owned(),
        system: None,
        max_tokens: 1,
        temperature: 0.0,
        top_p: None,
        seed: 1,
        stop: Vec::new(),
        ignore_eos: false,
        history: Vec::new(),
        images: Vec::new(),
    };
    let config = serde_json::json!({});
    subject.encode(&config, &model, &request).unwrap();
    request.images = vec![prony_plugin_sdk::Image {
        media_type: "image/png".to_owned(),
        data: b"png".to_vec(),
    }];
    let prony_plugin_test::Fault::Reported(error) =
        subject.encode(&config, &model, &request).unwrap_err()
    else {
        panic!("broke down")
    };
    assert_eq!(error.kind, prony_plugin_sdk::ErrorKind::Unsupported);
    assert!(error.message.contains("carries an image"), "{error}");
    request.images.clear();
    request.history = vec![prony_plugin_sdk::ChatMessage {
        role: prony_plugin_sdk::Role::User,
        content: "before".to_owned(),
    }];
    let prony_plugin_test::Fault::Reported(error) =
        subject.encode(&config, &model, &request).unwrap_err()
    else {
        panic!("broke down")
    };
    assert_eq!(error.kind, prony_plugin_sdk::ErrorKind::Unsupported);
    assert!(error.message.contains("1 message before it"), "{error}");
}

#[test]
fn wrong_launch_plans_are_found() {
    finds::<ELSEWHERE>(&[
        "launch: the base URL `http://127.0.0.1:40961/v1` is not",
        "launch: the command is empty",
        "launch: a launched server must listen at",
        "launch: the ready path `health`",
    ]);
}

/// An adapter for a program of lines, with a defect.
struct Program<const DEFECT: u32>;

impl<const DEFECT: u32> StdioEngine for Program<DEFECT> {
    type Config = Config;
    const ABOUT: About = prony_plugin_sdk::about!("program", "One token a line");

    fn new(_: Config) -> Result<Self> {
        Ok(Self)
    }

    fn launch(&self, _: &Model) -> Result<StdioPlan> {
        let good = DEFECT != ELSEWHERE;
        let argv = if good { vec!["x".to_owned()] } else { vec![] };
        let pointer = if good { "/id" } else { "id" };
        let opening = Message {
            line: if good { "{}" } else { "{\n}" }.to_owned(),
            ids: vec!["0".to_owned()],
            ends: if good {
                vec![Ending::at("/done")]
            } else {
                vec![]
            },
        };
        Ok(StdioPlan {
            command: Command {
                argv,
                env: vec![],
                cwd: None,
            },
            ready: if good {
                Ready::Immediate
            } else {
                Ready::Http("/".to_owned())
            },
            id_at: vec![pointer.to_owned()],
            opening: vec![opening],
            closing: vec![],
        })
    }

    fn encode(&self, model: &Model, request: &Request, number: u64) -> Result<Message> {
        let (seed, id) = match DEFECT {
            NO_SEED => (0, number),
            RANDOM => (request.seed, 1),
            _ => (request.seed, number),
        };
        // It comes before the prompt.
        let mut line = serde_json::json!({ "system": request.system });
        let fields = serde_json::json!(request);
        for (name, value) in fields.as_object().into_iter().flatten() {
            line[name] = value.clone();
        }
        line["seed"] = seed.into();
        line["model"] = model.id.as_str().into();
        line["id"] = id.into();
        Ok(Message {
            line: line.to_string(),
            ids: vec![id.to_string()],
            ends: vec![Ending::at("/done")],
        })
    }

    fn decode(&self, response: &Response<'_>, events: &mut Events) -> Result<()> {
        Lines::<DEFECT>.decode(response, events)
    }
}

fn program_finds<const DEFECT: u32>(words: &[&str]) {
    let found = findings(&stdio_engine_table::<Program<DEFECT>>());
    for words in words {
        assert!(
            found.iter().any(|it| it.contains(words)),
            "{DEFECT}: no `{words}` in {found:#?}"
        );
    }
    assert_eq!(words.is_empty(), found.is_empty(), "{found:#?}");
}

#[test]
fn adapters_for_standard_input_and_output_are_checked_too() {
    program_finds::<GOOD>(&[]);
    program_finds::<LATE_READ>(&["`lines`"]);
    program_finds::<PANICS>(&["broke down: panic: invalid utf-8"]);
    program_finds::<NO_SEED>(&[
        "encode: Chat, `seed`: asking for it changes nothing in the exchange",
    ]);
    program_finds::<RANDOM>(&["encode: Chat: requests 7 and 8 share the id `1`"]);
    program_finds::<ELSEWHERE>(&[
        "launch: the command is empty",
        "launch: nothing can be asked over HTTP",
        "launch: `id` in `id_at` is no JSON pointer",
        "launch: the line `{\\n}` is not one line of JSON",
        "launch: a message has no ending",
    ]);
}

struct Careless;

impl Engine for Careless {
    type Config = Open;
    const ABOUT: About = About {
        name: "Careless Engine",
        version: "one",
        description: "It does things.",
    };

    fn new(_: Open) -> Result<Self> {
        Ok(Self)
    }

    fn launch(&self, _: &Model, _: &Endpoint) -> Result<LaunchPlan> {
        Ok(LaunchPlan::attach("http://h:1", Ready::Immediate))
    }

    fn encode(&self, _: &Model, _: &Request) -> Result<HttpRequest> {
        Err(Error::unsupported("no"))
    }

    fn decode(&self, response: &Response<'_>, _: &mut Events) -> Result<()> {
        match response.status {
            200 => Ok(()),
            _ => Err(Error::engine("refused")),
        }
    }
}

#[test]
fn a_careless_manifest_is_found() {
    let found = findings(&engine_table::<Careless>());
    for words in [
        "manifest: the name `Careless Engine`",
        "manifest: the version `one`",
        "manifest: the description",
        "schema: the config accepts unknown options",
        "schema: `/url` has no description",
        "config: an unknown option is accepted",
        "encode: the manifest names `chat` among its `apis`, and it is refused: no",
        "encode: the manifest names `completions` among its `apis`",
    ] {
        assert!(
            found.iter().any(|it| it.starts_with(words)),
            "no `{words}` in {found:#?}"
        );
    }
}

impl Reporter for Careless {
    type Config = Config;
    const ABOUT: About = prony_plugin_sdk::about!("nothing", "Reports nothing");

    fn new(_: Config) -> Result<Self> {
        Ok(Self)
    }

    fn render(&self, _: &RunResult) -> Result<Vec<Artifact>> {
        Ok(Vec::new())
    }
}

#[test]
fn a_reporter_that_makes_nothing_is_found() {
    let found = prony_plugin_test::Engine::new(&reporter_table::<Careless>()).run();
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    for words in [
        "render: two engines: nothing is made",
        "render: failures: the engine `beta` is in no artifact",
    ] {
        assert!(found.iter().any(|it| it == words), "{found:#?}");
    }
}

#[test]
fn mistakes_of_the_author_are_named() {
    let table = engine_table::<Lines<GOOD>>();
    let run = |kit: prony_plugin_test::Engine<'_>| kit.run()[0].to_string();
    let kit = || prony_plugin_test::Engine::new(&table);
    assert!(run(kit().config("{")).starts_with("config: the example is no JSON"));
    assert!(run(kit().config(r#"{ "ulr": 1 }"#)).starts_with("config: the config is refused"));
    assert!(run(kit().fixtures("nowhere")).starts_with("decode: `nowhere`: "));
    let empty = tempfile::tempdir().unwrap();
    assert!(run(kit().fixtures(empty.path())).contains("holds no `NAME.sse`"));
    std::fs::write(empty.path().join("a.sse"), "x\n").unwrap();
    assert!(
        run(kit().fixtures(empty.path()))
            .contains("`--bless`, or `BLESS=1` in a test of Rust, writes it")
    );
}
