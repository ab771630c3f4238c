//! Field by field: what a request asks for arrives, is refused, or is stated as not sent.

use crate::encode::{encode, images};
use crate::sent::{MAX_TOKENS, OTHER_PROMPT, PROMPT, SEED, SYSTEM, Sent, probe_request};
use crate::{Fault, Kit};
use prony_contract::{Api, ErrorKind, Request};
use serde_json::Value;

/// A request and one that differs from it in a field.
struct Probe {
    field: &'static str,
    asked: Request,
    other: Request,
    /// Proof that `other` arrived, as told by the exchanges of both; else what is missing.
    arrived: fn(&Sent, &Sent) -> Result<(), String>,
    /// An adapter may refuse it as unsupported.
    may_refuse: bool,
}

const TEMPERATURE: f64 = 0.37;
const TOP_P: f64 = 0.83;
const STOPS: [&str; 2] = ["</é>", "\n\nQ:"];

fn probes(api: Api) -> Vec<Probe> {
    let base = || probe_request(api);
    let probe = |field, other, arrived, may_refuse| Probe {
        field,
        asked: base(),
        other,
        arrived,
        may_refuse,
    };
    let warm = || Request {
        temperature: TEMPERATURE,
        ..base()
    };
    let mut probes = vec![
        probe(
            "prompt",
            Request {
                prompt: OTHER_PROMPT.to_owned(),
                ..base()
            },
            match api {
                Api::Chat => |asked, other| prompts(asked, other, Sent::holds),
                Api::Completions => |asked, other| prompts(asked, other, Sent::is),
            },
            false,
        ),
        probe(
            "max_tokens",
            Request {
                max_tokens: MAX_TOKENS + 64,
                ..base()
            },
            |asked, other| {
                replaced(
                    asked,
                    other,
                    f64::from(MAX_TOKENS),
                    f64::from(MAX_TOKENS + 64),
                )
            },
            false,
        ),
        probe(
            "seed",
            Request {
                seed: SEED + 2,
                ..base()
            },
            |asked, other| replaced(asked, other, SEED as f64, (SEED + 2) as f64),
            true,
        ),
        probe("temperature", warm(), temperature, true),
        Probe {
            field: "top_p",
            asked: warm(),
            other: Request {
                top_p: Some(TOP_P),
                ..warm()
            },
            arrived: |_, other| number(other, TOP_P),
            may_refuse: true,
        },
        probe(
            "stop",
            Request {
                stop: STOPS.map(str::to_owned).to_vec(),
                ..base()
            },
            |_, other| STOPS.iter().try_for_each(|stop| text(other, stop)),
            true,
        ),
        probe(
            "ignore_eos",
            Request {
                ignore_eos: true,
                ..base()
            },
            switched_on,
            true,
        ),
    ];
    let system = |system: Option<&str>| Request {
        system: system.map(str::to_owned),
        ..base()
    };
    probes.push(Probe {
        field: "system",
        asked: system(None),
        other: system(Some(SYSTEM)),
        arrived: |_, other| {
            text_in(other, SYSTEM)?;
            let is_before = other.holds_in_order(&[SYSTEM, PROMPT]);
            (is_before || other.has_field("system", SYSTEM))
                .then_some(())
                .ok_or_else(|| "it does not come before the prompt".to_owned())
        },
        may_refuse: api == Api::Completions,
    });
    probes
}

fn missing(what: &str) -> String {
    format!("`{}` is not in the exchange", what.escape_debug())
}

fn text(sent: &Sent, wanted: &str) -> Result<(), String> {
    sent.is(wanted).then_some(()).ok_or_else(|| missing(wanted))
}

fn text_in(sent: &Sent, wanted: &str) -> Result<(), String> {
    let is_in = sent.holds(wanted);
    is_in.then_some(()).ok_or_else(|| missing(wanted))
}

fn number(sent: &Sent, wanted: f64) -> Result<(), String> {
    let found = sent.number(wanted);
    found
        .map(|_| ())
        .ok_or_else(|| missing(&wanted.to_string()))
}

fn prompts(asked: &Sent, other: &Sent, has: fn(&Sent, &str) -> bool) -> Result<(), String> {
    for (sent, own, alien) in [(asked, PROMPT, OTHER_PROMPT), (other, OTHER_PROMPT, PROMPT)] {
        if !has(sent, own) {
            return Err(format!("{}, as it is", missing(own)));
        }
        let times = sent.count(own);
        if times != 1 {
            return Err(format!("it is in the exchange {times} times"));
        }
        if sent.holds(alien) {
            return Err("another request's is in the exchange".to_owned());
        }
    }
    Ok(())
}

/// Each has its own number, and not the other's.
fn replaced(asked: &Sent, other: &Sent, one: f64, two: f64) -> Result<(), String> {
    for (sent, own, alien) in [(asked, one, two), (other, two, one)] {
        number(sent, own)?;
        if sent.number(alien).is_some() {
            return Err(format!(
                "`{alien}` is in the exchange, and it asks for `{own}`"
            ));
        }
    }
    Ok(())
}

/// It is sent, and a temperature of 0 is sent as 0 or left out.
fn temperature(asked: &Sent, other: &Sent) -> Result<(), String> {
    let Some(at) = other.number(TEMPERATURE) else {
        return Err(missing(&TEMPERATURE.to_string()));
    };
    let greedy = asked.at(at).filter(|value| !value.is_null());
    // A body that is no JSON is one text.
    let is_known = |value: &&Value| value.is_number();
    match greedy.filter(is_known).and_then(Value::as_f64) {
        Some(sent) if sent != 0.0 => Err(format!("a temperature of 0 is sent as `{sent}`")),
        _ => Ok(()),
    }
}

/// Something is added or switched, and nothing that is called so is switched off.
fn switched_on(asked: &Sent, other: &Sent) -> Result<(), String> {
    let changed = asked.changed(other);
    let is_off = |at: &str, value: &Value| at.contains("ignore") && value == &Value::Bool(false);
    if changed.iter().any(|(at, _, value)| !is_off(at, value)) {
        return Ok(());
    }
    Err("it is sent when it is not asked for".to_owned())
}

/// Checks all fields; returns how each travels, in words.
pub(crate) fn check(kit: &mut Kit<'_>, api: Api) -> String {
    let (mut sent, mut refused, mut stated) = (Vec::new(), Vec::new(), Vec::new());
    let mut all = probe_request(api);
    for probe in probes(api) {
        let field = probe.field;
        let reason = kit.settings.not_sent.get(field).cloned();
        let wrong = |kit: &mut Kit<'_>, message: String| {
            kit.finding("encode", format!("{api:?}, `{field}`: {message}"));
        };
        let one = match encode(kit, &probe.asked) {
            Ok(made) => Sent::of(&made),
            Err(Fault::Reported(error))
                if field == "top_p" && error.kind == ErrorKind::Unsupported =>
            {
                // An engine that always decodes greedily.
                refused.push(field);
                continue;
            }
            Err(fault) => {
                wrong(kit, fault.to_string());
                continue;
            }
        };
        match encode(kit, &probe.other) {
            Err(Fault::Reported(error))
                if probe.may_refuse && error.kind == ErrorKind::Unsupported =>
            {
                refused.push(field);
                if reason.is_some() {
                    wrong(
                        kit,
                        "it is stated as not sent, and it is refused: remove it from `not_sent`"
                            .to_owned(),
                    );
                }
            }
            Err(fault) => wrong(kit, fault.to_string()),
            Ok(made) => {
                let other = Sent::of(&made);
                match (reason, one == other) {
                    (Some(reason), true) => {
                        stated.push(format!("`{field}` not sent ({reason})"));
                    }
                    (Some(_), false) => wrong(kit, "it is stated as not sent, and it changes the exchange: remove it from `not_sent`".to_owned()),
                    (None, true) => wrong(kit, "asking for it changes nothing in the exchange: send it, refuse it as `unsupported`, or state that it is not sent, with the reason".to_owned()),
                    (None, false) => {
                        sent.push(field);
                        match (probe.arrived)(&one, &other) {
                            Ok(()) => merge(&mut all, field, &probe.other),
                            Err(what) => wrong(kit, format!("it does not arrive as asked: {what}")),
                        }
                    }
                }
            }
        }
    }
    together(kit, &all, &sent);
    let mut told = vec![format!("sends {}", sent.join(", "))];
    if !refused.is_empty() {
        told.push(format!("refuses {}", refused.join(", ")));
    }
    told.extend(stated);
    told.join("; ")
}

/// Takes over a field's value.
fn merge(all: &mut Request, field: &str, from: &Request) {
    match field {
        "temperature" => all.temperature = from.temperature,
        "top_p" => all.top_p = from.top_p,
        "stop" => all.stop.clone_from(&from.stop),
        "ignore_eos" => all.ignore_eos = from.ignore_eos,
        "system" => all.system.clone_from(&from.system),
        _ => {}
    }
}

/// Everything that is sent alone is sent together, with images where they are taken.
fn together(kit: &mut Kit<'_>, all: &Request, sent: &[&str]) {
    let asked = Request {
        images: images()[..1].to_vec(),
        ..all.clone()
    };
    let made = match encode(kit, &asked) {
        Err(Fault::Reported(_)) => encode(kit, all),
        made => made,
    };
    let Ok(made) = made else {
        // Some pairs exclude each other, and the adapter says so.
        return;
    };
    let exchange = Sent::of(&made);
    let mut lost = Vec::new();
    for field in sent {
        let holds = match *field {
            "prompt" => exchange.holds(&all.prompt),
            "max_tokens" => exchange.number(f64::from(all.max_tokens)).is_some(),
            "seed" => exchange.number(all.seed as f64).is_some(),
            "temperature" => exchange.number(all.temperature).is_some(),
            "top_p" => all.top_p.is_none_or(|it| exchange.number(it).is_some()),
            "stop" => all.stop.iter().all(|it| exchange.is(it)),
            "system" => all.system.iter().all(|it| exchange.holds(it)),
            _ => true,
        };
        if !holds {
            lost.push(format!("`{field}`"));
        }
    }
    if !lost.is_empty() {
        kit.finding(
            "encode",
            format!(
                "{:?}: in a request that asks for everything, {} is lost",
                all.api,
                lost.join(", ")
            ),
        );
    }
}
