//! Where recorded answers end, by the adapter's own rules: end marks over HTTP, endings and ids
//! over standard input and output.

use crate::encode::{self, Made};
use crate::fixture::Fixture;
use crate::sent::probe_request;
use crate::{Kit, decode, model};
use prony_contract::{Api, Event, EventKind, Message};
use serde_json::Value;

/// A fixture, and its events if it can be read.
type Read = (Fixture, Option<Vec<Event>>);

pub(crate) fn problems(kit: &Kit<'_>, read: &[Read]) -> Vec<String> {
    if kit.stdio() {
        endings(kit, read)
    } else {
        end_marks(kit, read)
    }
}

fn has(events: &[Event], kind: EventKind) -> bool {
    events.iter().any(|event| event.kind == kind)
}

/// The host takes an answer as complete at a mark, so nothing of it may come later.
fn end_marks(kit: &Kit<'_>, read: &[Read]) -> Vec<String> {
    let mut marks = Vec::new();
    for api in Api::all() {
        if let Ok(Made::Exchange(exchange)) = encode::encode(kit, &probe_request(api)) {
            marks.extend(exchange.end_marks);
        }
    }
    if marks.is_empty() {
        return Vec::new();
    }
    let (mut problems, mut found, mut ended) = (Vec::new(), false, false);
    for (fixture, whole) in read.iter().filter(|(it, _)| it.status == 200) {
        let Some(whole) = whole else { continue };
        ended |= has(whole, EventKind::End);
        let Some(at) = mark_end(&fixture.body, &marks) else {
            continue;
        };
        found = true;
        let cut = &fixture.body[..at];
        let same = decode::decode(kit, &fixture.response(cut, &[at as u32]))
            .map_err(|fault| fault.to_string())
            .and_then(|events| decode::same(whole, &events));
        if let Err(what) = same {
            problems.push(format!(
                "`{}`: it is taken as complete at the end mark, after {at} bytes, and then {what}",
                fixture.name
            ));
        }
    }
    if ended && !found {
        let marks: Vec<String> = marks.iter().map(|mark| format!("`{mark}`")).collect();
        problems.push(format!(
            "no recorded answer has one of the end marks {}",
            marks.join(", ")
        ));
    }
    problems
}

/// Offset behind the first line that is a mark.
fn mark_end(body: &[u8], marks: &[String]) -> Option<usize> {
    let mut start = 0;
    for line in body.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
        let text = line.trim_ascii_end();
        let text = if line.len() - text.len() <= 1 {
            text
        } else {
            line.strip_suffix(b"\n").unwrap_or(line)
        };
        if marks.iter().any(|mark| mark.as_bytes() == text) {
            return Some(start + text.len());
        }
        start += line.len();
    }
    None
}

fn endings(kit: &Kit<'_>, read: &[Read]) -> Vec<String> {
    let Ok(plan) = kit.subject.launch_stdio(&kit.settings.config, &model()) else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    for (fixture, whole) in read {
        let Some(whole) = whole else { continue };
        let lines: Option<Vec<Value>> = fixture
            .body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).ok())
            .collect();
        // A line that is no JSON reaches nobody.
        let Some(lines) = lines else { continue };
        let ids: Vec<Option<String>> = lines.iter().map(|line| id(line, &plan.id_at)).collect();
        let mut wrong = |what: String| problems.push(format!("`{}`: {what}", fixture.name));
        let Some(message) = asked(kit, &ids) else {
            wrong(format!(
                "no request has the ids of its lines, {ids:?}: `id_at` and `ids` do not go together"
            ));
            continue;
        };
        let foreign = |it: &Option<String>| it.as_ref().is_none_or(|it| !message.ids.contains(it));
        if let Some(line) = ids.iter().position(foreign) {
            wrong(format!(
                "line {} would not reach the request: its id is none of `{}`",
                line + 1,
                message.ids.join("`, `")
            ));
            continue;
        }
        let end = lines
            .iter()
            .position(|line| message.ends.iter().any(|end| end.ends(line)));
        match end {
            Some(line) if line + 1 < lines.len() => wrong(format!(
                "line {} is taken as the last of the answer, and {} more follow",
                line + 1,
                lines.len() - line - 1
            )),
            None if has(whole, EventKind::End) || has(whole, EventKind::Failure) => {
                wrong("no line is taken as the last: the answer would never end".to_owned());
            }
            Some(line) => {
                let ended = message.ends.iter().filter(|end| end.ends(&lines[line]));
                let failed = ended.clone().all(|end| end.failed);
                if failed && !has(whole, EventKind::Failure) {
                    wrong(
                        "its last line is an ending of failures, and `decode` gives none"
                            .to_owned(),
                    );
                } else if failed && has(whole, EventKind::End) {
                    wrong(
                        "its last line is an ending of failures, and `decode` gives `end`"
                            .to_owned(),
                    );
                } else if !failed && !has(whole, EventKind::End) {
                    wrong(
                        "its last line ends a good answer, and `decode` gives no `end`".to_owned(),
                    );
                }
            }
            None => {}
        }
    }
    problems
}

/// The message that lines with these ids answer.
fn asked(kit: &Kit<'_>, ids: &[Option<String>]) -> Option<Message> {
    let ids: Vec<&String> = ids.iter().flatten().collect();
    let of = |number: u64| {
        let made = Api::all()
            .into_iter()
            .find_map(|api| encode::numbered(kit, &crate::everyday(api, "Why?"), number))?;
        let all = ids.iter().any(|id| made.ids.contains(id));
        all.then_some(made)
    };
    let numbers = ids.iter().flat_map(|id| {
        let words = id.split(|c: char| !c.is_ascii_digit());
        words
            .filter_map(|word| word.parse().ok())
            .collect::<Vec<u64>>()
    });
    numbers.into_iter().find_map(of)
}

/// Id of a line: the first pointer that leads to a text or a number.
fn id(line: &Value, id_at: &[String]) -> Option<String> {
    id_at.iter().find_map(|at| match line.pointer(at)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_line() {
        let marks = ["data: [DONE]".to_owned()];
        let end = |body: &str| mark_end(body.as_bytes(), &marks);
        assert_eq!(end("data: x\n\ndata: [DONE]\n\n"), Some(21));
        assert_eq!(end("data: [DONE]\r\n"), Some(12));
        assert_eq!(end("data: [DONE]"), Some(12));
        assert_eq!(end("data: [DONE] \n"), None);
        assert_eq!(end("x data: [DONE]\n"), None);
    }
}
