//! Responses as events.

use crate::bytes::{self, Random};
use crate::fixture::{self, Fixture};
use crate::{Answer, Engine, Fault};
use prony_plugin_sdk::{Event, EventKind};

pub(crate) fn check(engine: &mut Engine<'_>) {
    if !engine.stdio {
        refusals(engine);
    }
    let mut bodies = Vec::new();
    if let Some(folder) = engine.fixtures.clone() {
        let (fixtures, problems) = fixture::read(&folder);
        for problem in problems {
            engine.finding("decode", problem);
        }
        for fixture in fixtures {
            if let Err(problem) = recorded(engine, &fixture) {
                engine.finding("decode", format!("`{}`: {problem}", fixture.name));
            }
            bodies.push(fixture.body);
        }
    }
    if let Err(problem) = garbage(engine, &bodies) {
        engine.finding("decode", problem);
    }
}

/// One call, with what must hold for any response.
fn decode(engine: &Engine<'_>, status: u16, body: &[u8], ends: &[u32]) -> Answer<Vec<Event>> {
    let events = engine.subject.decode(&engine.config, status, body, ends)?;
    let mut last = 0;
    for event in &events {
        if event.chunk as usize >= ends.len().max(1) || event.chunk < last {
            return Err(Fault::Broken(format!(
                "an event of read {} of {}, after one of read {last}",
                event.chunk,
                ends.len()
            )));
        }
        last = event.chunk;
    }
    Ok(events)
}

fn recorded(engine: &Engine<'_>, fixture: &Fixture) -> Result<(), String> {
    let Fixture { status, body, .. } = fixture;
    let whole = decode(engine, *status, body, &bytes::ends(vec![], body.len()))
        .map_err(|fault| fault.to_string())?;
    if let Some(problem) = fixture.compare("events", &fixture::events(&whole)) {
        return Err(problem);
    }
    // One byte a read: then an event's read is the byte that completed it.
    let single = bytes::ends((1..body.len()).collect(), body.len());
    let completed = decode(engine, *status, body, &single).map_err(|fault| fault.to_string())?;
    same(&whole, &completed).map_err(|what| format!("read byte by byte, {what}"))?;
    let places: Vec<usize> = completed.iter().map(|event| event.chunk as usize).collect();
    if fixture.sse && *status == 200 {
        for (place, event) in places.iter().zip(&completed) {
            lines(body, *place)
                .map_err(|what| format!("{:?} is stamped with {what}", event.kind))?;
        }
    }
    for ends in bytes::splits(body.len(), engine.samples) {
        let cuts = || format!("cut into reads that end at {}", shown(&ends));
        let found =
            decode(engine, *status, body, &ends).map_err(|fault| format!("{}: {fault}", cuts()))?;
        same(&whole, &found).map_err(|what| format!("{}, {what}", cuts()))?;
        for (place, event) in places.iter().zip(&found) {
            let read = ends.partition_point(|end| (*end as usize) <= *place);
            if event.chunk as usize != read {
                return Err(format!(
                    "{}: {:?} `{}` is of read {}, and read {read} completed it",
                    cuts(),
                    event.kind,
                    event.text,
                    event.chunk
                ));
            }
        }
    }
    if *status == 200 {
        truncated(engine, body, &whole, &places)
    } else {
        Ok(())
    }
}

/// Cut short at every byte: the events that were complete by then, no others.
fn truncated(
    engine: &Engine<'_>,
    body: &[u8],
    whole: &[Event],
    places: &[usize],
) -> Result<(), String> {
    let completions = places.iter().map(|place| place + 1);
    for length in bytes::some(body.len(), engine.samples).chain(completions) {
        let cut = &body[..length];
        let found = match decode(engine, 200, cut, &bytes::ends(vec![], length)) {
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
fn same(wanted: &[Event], found: &[Event]) -> Result<(), String> {
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
fn refusals(engine: &mut Engine<'_>) {
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
            let problem = match decode(engine, status, body, &bytes::ends(vec![], body.len())) {
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
            engine.finding(
                "decode",
                format!("status {status} with `{body}`: {problem}"),
            );
        }
    }
}

/// Nonsense may be an error or nothing, and never breaks the plugin.
fn garbage(engine: &Engine<'_>, bodies: &[Vec<u8>]) -> Result<(), String> {
    let mut random = Random(3);
    let rounds = 300.min(engine.samples);
    let try_one = |body: &[u8], status: u16, ends: &[u32]| match decode(engine, status, body, ends)
    {
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
