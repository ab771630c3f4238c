//! Exchanges, messages, plans and manifests that are wrong.

use super::Defect::{Exchange as X, Launch as L, LaunchStdio as S, Message as M};
use super::{Defect, Mutant, mutant};
use prony_contract::{Api, Ending, Error, Pair, Ready};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Adds a field to a body.
fn add(body: &mut String, name: &str, value: Value) {
    if let Ok(Value::Object(mut fields)) = serde_json::from_str(body) {
        fields.insert(name.to_owned(), value);
        *body = Value::Object(fields).to_string();
    } else {
        body.push(' ');
        body.push_str(&value.to_string());
    }
}

fn now() -> Value {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    json!(since.map_or(0, |it| it.as_secs()))
}

pub(crate) const EXCHANGE: &[Mutant] = &[
    mutant(
        "a random number in `encode`",
        X(|it, _, state| add(&mut it.body, "nonce", json!(state.calls))),
    ),
    mutant(
        "the time in `encode`",
        X(|it, _, _| add(&mut it.body, "at", now())),
    ),
    mutant(
        "the prompt before in `encode`",
        X(|it, _, state| add(&mut it.body, "before", json!(state.last))),
    ),
    mutant(
        "the host's header",
        X(|it, _, _| it.headers.push(Pair::new("Host", "h"))),
    ),
    mutant(
        "a path without `/`",
        X(|it, _, _| it.path = it.path.replacen('/', "", 1)),
    ),
    mutant(
        "asks for no header of the answer",
        X(|it, _, _| it.answer_headers.clear()),
    ),
    mutant("end marks lost", X(|it, _, _| it.end_marks.clear())),
    mutant(
        "another end mark",
        X(|it, _, _| it.end_marks = vec!["[DONE]".to_owned()]),
    ),
    mutant(
        "another model named",
        X(|it, _, _| it.model = it.model.take().map(|_| "gpt-x".to_owned())),
    ),
];

pub(crate) const MESSAGE: &[Mutant] = &[
    mutant(
        "a random number in `encode`",
        M(|it, _, state| add(&mut it.line, "nonce", json!(state.calls))),
    ),
    mutant(
        "the time in `encode`",
        M(|it, _, _| add(&mut it.line, "at", now())),
    ),
    mutant(
        "the prompt before in `encode`",
        M(|it, _, state| add(&mut it.line, "before", json!(state.last))),
    ),
    mutant(
        "one id for all",
        M(|it, _, _| it.ids = vec!["1".to_owned()]),
    ),
    mutant("two lines", M(|it, _, _| it.line.push_str("\n{}"))),
    mutant("no ending", M(|it, _, _| it.ends.clear())),
    mutant(
        "every line an ending",
        M(|it, _, _| it.ends.push(Ending::at(""))),
    ),
    mutant(
        "endings of failures lost",
        M(|it, _, _| it.ends.retain(|end| !end.failed)),
    ),
    mutant(
        "every ending a failure",
        M(|it, _, _| it.ends.iter_mut().for_each(|end| end.failed = true)),
    ),
    mutant(
        "good endings lost",
        M(|it, _, _| it.ends.retain(|end| end.failed)),
    ),
];

pub(crate) const LAUNCH: &[Mutant] = &[
    mutant(
        "a base URL with a path",
        L(|it, _| it.base_url.push_str("/v1")),
    ),
    mutant(
        "another base URL",
        L(|it, _| {
            if it.command.is_some() {
                "http://127.0.0.1:9".clone_into(&mut it.base_url);
            }
        }),
    ),
    mutant(
        "an empty command",
        L(|it, _| it.command.iter_mut().for_each(|it| it.argv.clear())),
    ),
    mutant(
        "another plan each time",
        L(|it, state| it.base_url = format!("http://h:{}", state.calls)),
    ),
    mutant(
        "an empty ready line",
        L(|it, _| it.ready = Ready::LogLine(String::new())),
    ),
    mutant(
        "models at no path",
        L(|it, _| it.models.iter_mut().for_each(|it| it.path.clear())),
    ),
];

pub(crate) const LAUNCH_STDIO: &[Mutant] = &[
    mutant("an empty command", S(|it, _| it.command.argv.clear())),
    mutant(
        "another plan each time",
        S(|it, state| it.command.argv.push(state.calls.to_string())),
    ),
    mutant(
        "ready over HTTP",
        S(|it, _| it.ready = Ready::Http("/".to_owned())),
    ),
    mutant("ids nowhere", S(|it, _| it.id_at.clear())),
    mutant(
        "ids elsewhere",
        S(|it, _| it.id_at = vec!["/text".to_owned()]),
    ),
];

pub(crate) const MANIFEST: &[Mutant] = &[
    mutant(
        "another manifest each time",
        Defect::Manifest(|it, state| it.version = format!("1.0.{}", state.calls)),
    ),
    mutant(
        "a name with spaces",
        Defect::Manifest(|it, _| "An Engine".clone_into(&mut it.name)),
    ),
    mutant(
        "a schema that is open",
        Defect::Manifest(|it, _| {
            if let Some(schema) = it.config_schema.as_object_mut() {
                schema.remove("additionalProperties");
            }
        }),
    ),
    mutant("any config taken", Defect::AnyConfig),
    mutant(
        "a check that always complains",
        Defect::Check(|it, _| it.push(Error::config("/x", "no"))),
    ),
];

/// What the manifest says of requests.
pub(crate) const CARRIES: &[Mutant] = &[
    mutant(
        "all forms claimed",
        Defect::Manifest(|it, _| it.apis = Api::all()),
    ),
    mutant(
        "one form claimed",
        Defect::Manifest(|it, _| it.apis.truncate(1)),
    ),
    mutant("images claimed", Defect::Manifest(|it, _| it.images = true)),
    mutant(
        "a history claimed",
        Defect::Manifest(|it, _| it.history = true),
    ),
];
