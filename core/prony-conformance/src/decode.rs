//! Responses as events.

use crate::bytes::{self, Random};
use crate::encode::{self, Made};
use crate::fixture::{self, Fixture};
use crate::sent::probe_request;
use crate::{Answer, Fault, Kit, Problem, lines};
use prony_contract::{Api, Event, EventKind, Response};

/// Ways to cut a response that are tried at the most before a slow plugin is said to be slow.
const USUAL: usize = 400;

pub(crate) fn check(kit: &mut Kit<'_>) {
    if !kit.stdio() {
        refusals(kit);
        kit.done("decode", "refusals are failures".to_owned());
    }
    let mut read = Vec::new();
    match kit.fixtures.clone() {
        None => kit.skipped("decode", "no fixtures: `prony plugin record` makes them"),
        Some(folder) => {
            let (mut fixtures, problems) = fixture::read(&folder);
            let asked = answer_headers(kit);
            for fixture in &mut fixtures {
                fixture.headers.retain(|it| asked.contains(&it.name));
            }
            for problem in problems {
                kit.finding("decode", problem);
            }
            let mut is_complete = false;
            for fixture in fixtures {
                if kit.is_over() {
                    return;
                }
                let whole = checked(kit, &fixture);
                is_complete |= whole
                    .as_ref()
                    .is_some_and(|events| is_answer(&fixture, events));
                read.push((fixture, whole));
            }
            if !is_complete && !read.is_empty() {
                kit.finding(
                    "decode",
                    "no fixture is a whole answer, with a text and `end`: `prony plugin record` makes one".to_owned(),
                );
            }
            kit.done("decode", format!("fixtures: {}", read.len()));
        }
    }
    for problem in lines::problems(kit, &read) {
        kit.finding("decode", problem);
    }
    let bodies: Vec<&[u8]> = read.iter().map(|(it, _)| it.body.as_slice()).collect();
    if let Err(problem) = garbage(kit, &bodies) {
        kit.finding("decode", problem);
    }
    kit.done("decode", "nonsense breaks nothing".to_owned());
    for (fixture, whole) in &read {
        let ends = one_read(&fixture.body);
        let again = decode(kit, &fixture.response(&fixture.body, &ends)).ok();
        if whole.is_some() && again.as_ref() != whole.as_ref() {
            let name = &fixture.name;
            kit.finding(
                "decode",
                format!("`{name}`: differs after other calls: something is kept between them"),
            );
        }
    }
    kit.done("decode", "the same after all other calls".to_owned());
}

/// Names of the headers of answers that the plugin asks for: a run keeps no others.
fn answer_headers(kit: &Kit<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for api in Api::all() {
        if let Ok(Made::Exchange(made)) = encode::encode(kit, &probe_request(api)) {
            names.extend(made.answer_headers);
        }
    }
    names
}

fn one_read(body: &[u8]) -> Vec<u32> {
    bytes::ends(vec![], body.len())
}

/// Returns `true` for a whole answer: a text, an end and no failure.
fn is_answer(fixture: &Fixture, events: &[Event]) -> bool {
    let has = |kind| events.iter().any(|event| event.kind == kind);
    let has_text = events
        .iter()
        .any(|it| it.kind.is_text() && !it.text.is_empty());
    fixture.status == 200 && has_text && has(EventKind::End) && !has(EventKind::Failure)
}

/// Checks a fixture; returns its events if it can be read.
fn checked(kit: &mut Kit<'_>, fixture: &Fixture) -> Option<Vec<Event>> {
    let ends = one_read(&fixture.body);
    let whole = fixture.response(&fixture.body, &ends);
    let samples = kit.samples_for(|| drop(decode(kit, &whole)));
    match recorded(kit, fixture, samples) {
        Ok(events) => {
            let slow = if samples < USUAL.min(whole.body.len()) {
                format!(", some {samples} ways to cut it, since `decode` is slow")
            } else {
                String::new()
            };
            let count = events.len();
            kit.done(
                "decode",
                format!("`{}`: {count} events{slow}", fixture.name),
            );
            Some(events)
        }
        Err(problem) => {
            let name = &fixture.name;
            let message = format!("`{name}`: {}", problem.message);
            kit.finding("decode", Problem { message, ..problem });
            kit.done("decode", format!("`{name}`"));
            decode(kit, &whole).ok()
        }
    }
}

/// One call, with what must hold for any response.
pub(crate) fn decode(kit: &Kit<'_>, response: &Response<'_>) -> Answer<Vec<Event>> {
    let events = kit.subject.decode(&kit.settings.config, response)?;
    let ends = response.ends;
    let mut last = 0;
    for event in &events {
        if event.read as usize >= ends.len().max(1) || event.read < last {
            return Err(Fault::Broken(format!(
                "an event of read {} of {}, after one of read {last}",
                event.read,
                ends.len()
            )));
        }
        last = event.read;
    }
    Ok(events)
}

fn recorded(kit: &Kit<'_>, fixture: &Fixture, samples: usize) -> Result<Vec<Event>, Problem> {
    let Fixture { status, body, .. } = fixture;
    let whole =
        decode(kit, &fixture.response(body, &one_read(body))).map_err(|fault| fault.to_string())?;
    if let Some(problem) = fixture.compare("events", &fixture::events(&whole), kit.bless) {
        return Err(problem);
    }
    // One byte a read: then an event's read is the byte that completed it.
    let single = bytes::ends((1..body.len()).collect(), body.len());
    let completed =
        decode(kit, &fixture.response(body, &single)).map_err(|fault| fault.to_string())?;
    same(&whole, &completed).map_err(|what| format!("read byte by byte, {what}"))?;
    let places: Vec<usize> = completed.iter().map(|event| event.read as usize).collect();
    if fixture.sse && *status == 200 {
        for (place, event) in places.iter().zip(&completed) {
            lines(body, *place)
                .map_err(|what| format!("{:?} is stamped with {what}", event.kind))?;
        }
    }
    let recorded = fixture.reads.iter().cloned();
    for ends in recorded.chain(bytes::splits(body.len(), samples)) {
        let cuts = || format!("cut into reads that end at {}", shown(&ends));
        let found = decode(kit, &fixture.response(body, &ends))
            .map_err(|fault| format!("{}: {fault}", cuts()))?;
        same(&whole, &found).map_err(|what| format!("{}, {what}", cuts()))?;
        for (place, event) in places.iter().zip(&found) {
            let read = ends.partition_point(|end| (*end as usize) <= *place);
            if event.read as usize != read {
                let message = format!(
                    "{}: {:?} `{}` is of read {}, and read {read} completed it",
                    cuts(),
                    event.kind,
                    event.text,
                    event.read
                );
                return Err(message.into());
            }
        }
    }
    if *status == 200 {
        truncated(kit, fixture, &whole, &places, samples)?;
    }
    Ok(whole)
}

/// Cut short at every byte: the events that were complete by then, no others.
fn truncated(
    kit: &Kit<'_>,
    fixture: &Fixture,
    whole: &[Event],
    places: &[usize],
    samples: usize,
) -> Result<(), String> {
    let body = &fixture.body;
    let completions = places.iter().map(|place| place + 1);
    for length in bytes::some(body.len(), samples).chain(completions) {
        let cut = &body[..length];
        let found = match decode(kit, &fixture.response(cut, &one_read(cut))) {
            Ok(found) => found,
            // Half a JSON document, say, makes no sense; what an event is stamped
            // with must.
            Err(Fault::Reported(_)) if !places.iter().any(|place| place + 1 == length) => continue,
            Err(fault) => return Err(format!("cut short after {length} bytes, {fault}")),
        };
        let complete = places.iter().filter(|place| **place < length).count();
        // A last line may count without its line break, and a JSON document without the
        // space after it.
        let rest = &body[length..];
        let to_line = rest
            .iter()
            .take_while(|it| it.is_ascii_whitespace())
            .count();
        let more = places
            .iter()
            .filter(|place| (length..length + to_line).contains(place))
            .count();
        let found = without_ending(found, complete);
        let right = same(&whole[..complete], &found).or_else(|what| {
            let told = found.len().clamp(complete, complete + more);
            same(&whole[..told], &found).map_err(|_| what)
        });
        if found.iter().any(|event| event.kind == EventKind::End) && right.is_err() {
            return Err(format!(
                "cut short after {length} bytes, it still says `end`"
            ));
        }
        right.map_err(|what| format!("cut short after {length} bytes, {what}"))?;
    }
    Ok(())
}

/// Events of a stream that stopped, without what an adapter may add at its end: notes, and
/// `end` behind a finish reason, since the host knows whether the body was cut. `complete`
/// events are of the stream itself.
fn without_ending(mut found: Vec<Event>, complete: usize) -> Vec<Event> {
    let has_finished = found.iter().any(|event| event.kind == EventKind::Finish);
    let is_added = |event: &Event| match event.kind {
        EventKind::End => has_finished,
        kind => kind == EventKind::Note,
    };
    while found.len() > complete && found.last().is_some_and(is_added) {
        found.pop();
    }
    found
}

/// Checks that the byte at `place` ends a line that is not empty. The last line ends with the
/// body, with a line break or without.
fn lines(body: &[u8], place: usize) -> Result<(), String> {
    let mut line = match body.get(place) {
        Some(byte) if place + 1 == body.len() && !matches!(byte, b'\n' | b'\r') => body,
        Some(b'\n') => body[..place].strip_suffix(b"\r").unwrap_or(&body[..place]),
        Some(b'\r') => &body[..place],
        _ => return Err(format!("the byte {place}, which does not end a line")),
    };
    if let Some(start) = line.iter().rposition(|byte| matches!(byte, b'\n' | b'\r')) {
        line = &line[start + 1..];
    }
    if line.is_empty() {
        return Err(format!(
            "the blank line at byte {place}: it was complete with the line before"
        ));
    }
    Ok(())
}

/// Checks that two lists of events are the same, apart from the reads.
pub(crate) fn same(wanted: &[Event], found: &[Event]) -> Result<(), String> {
    let key = |event: &Event| (event.kind, event.tokens, event.ns, event.text.clone());
    for index in 0..wanted.len().max(found.len()) {
        let (a, b) = (wanted.get(index).map(key), found.get(index).map(key));
        if a != b {
            let show = |it: Option<(EventKind, u32, u64, String)>| match it {
                Some((kind, tokens, 0, text)) => format!("{kind:?} {tokens} `{text}`"),
                Some((kind, tokens, ns, text)) => format!("{kind:?} {tokens} `{text}` {ns} ns"),
                None => "nothing".to_owned(),
            };
            return Err(format!(
                "event {index} is {} and should be {}",
                show(b),
                show(a)
            ));
        }
    }
    Ok(())
}

fn shown(ends: &[u32]) -> String {
    match ends {
        [first, second, third, .., last] if ends.len() > 6 => {
            format!("{first}, {second}, {third}, …, {last}")
        }
        _ => format!("{ends:?}"),
    }
}

/// A refusal is a failure, whatever its body is, and never an answer.
fn refusals(kit: &mut Kit<'_>) {
    const BODIES: [&[u8]; 6] = [
        b"",
        br#"{"error":{"message":"no such model","type":"invalid_request_error","code":404}}"#,
        br#"{"error":"no such model"}"#,
        b"<html><body>502 Bad Gateway</body></html>\r\n",
        b"data: {\"error\": \"no\"}\n\n",
        b"\xff\xfe\x00",
    ];
    for status in [400, 401, 404, 429, 500, 503] {
        for body in BODIES {
            let problem = match decode(kit, &Response::new(status, body, &one_read(body))) {
                Err(Fault::Reported(_)) => continue,
                Err(fault) => fault.to_string(),
                Ok(events) => {
                    let has = |kind| events.iter().any(|event| event.kind == kind);
                    if has(EventKind::Text) || has(EventKind::End) {
                        "is read as an answer".to_owned()
                    } else if !has(EventKind::Failure) {
                        "gives no `failure`".to_owned()
                    } else {
                        continue;
                    }
                }
            };
            let body = String::from_utf8_lossy(body).into_owned();
            kit.finding(
                "decode",
                format!("status {status} with `{body}`: {problem}"),
            );
        }
    }
}

/// Nonsense may be an error or nothing, and never breaks the plugin.
fn garbage(kit: &Kit<'_>, bodies: &[&[u8]]) -> Result<(), String> {
    let mut random = Random(3);
    let rounds = kit
        .samples_for(|| drop(decode(kit, &Response::new(200, b"{}\n", &[3]))))
        .min(300);
    let try_one = |body: &[u8], status: u16, ends: &[u32]| match decode(
        kit,
        &Response::new(status, body, ends),
    ) {
        Err(fault @ Fault::Broken(_)) => Err(format!(
            "status {status}, reads {}, body `{}`: {fault}",
            shown(ends),
            body.escape_ascii()
        )),
        _ => Ok(()),
    };
    for round in 0..rounds {
        let body = random.garbage();
        let ends = random.ends(body.len());
        try_one(&body, [200, 200, 200, 500][round % 4], &ends)?;
    }
    for body in bodies {
        for _ in 0..rounds {
            let body = random.mutation(body);
            let ends = random.ends(body.len());
            try_one(&body, 200, &ends)?;
        }
    }
    Ok(())
}
