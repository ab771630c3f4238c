//! Events that say something else.

use super::Defect::Events as E;
use super::{Defect, Mutant, State, mutant};
use prony_contract::{Event, EventKind};

fn first_text(events: &mut [Event]) -> Option<&mut Event> {
    events
        .iter_mut()
        .find(|it| it.kind.is_text() && !it.text.is_empty())
}

fn of(events: &mut [Event], kind: EventKind) -> impl Iterator<Item = &mut Event> {
    events.iter_mut().filter(move |it| it.kind == kind)
}

fn lose(events: &mut Vec<Event>, kind: EventKind) {
    events.retain(|it| it.kind != kind);
}

fn event(kind: EventKind, read: u32, text: &str) -> Event {
    Event {
        read,
        kind,
        tokens: 0,
        ns: 0,
        text: text.to_owned(),
    }
}

/// Wrong whatever the engine answered.
pub(crate) const ALL: &[Mutant] = &[
    mutant(
        "a text counts one token more",
        E(|events, _, _| {
            if let Some(it) = first_text(events) {
                it.tokens += 1;
            }
        }),
    ),
    mutant(
        "a text counts one token less",
        E(|events, _, _| {
            if let Some(it) = first_text(events) {
                it.tokens = it.tokens.saturating_sub(1);
            }
        }),
    ),
    mutant(
        "tokens of texts not told",
        E(|events, _, _| {
            events
                .iter_mut()
                .filter(|it| it.kind.is_text())
                .for_each(|it| it.tokens = 0);
        }),
    ),
    mutant(
        "output count one more",
        E(|events, _, _| of(events, EventKind::OutputTokens).for_each(|it| it.tokens += 1)),
    ),
    mutant(
        "finish reason lost",
        E(|events, _, _| lose(events, EventKind::Finish)),
    ),
    mutant("end lost", E(|events, _, _| lose(events, EventKind::End))),
    mutant(
        "first text lost",
        E(|events, _, _| {
            if let Some(at) = events
                .iter()
                .position(|it| it.kind.is_text() && !it.text.is_empty())
            {
                events.remove(at);
            }
        }),
    ),
    mutant("last event lost", E(|events, _, _| drop(events.pop()))),
    mutant("all events lost", E(|events, _, _| events.clear())),
    mutant(
        "text of the call before",
        E(|events, _, state: &mut State| {
            if !state.last.is_empty() {
                events.insert(0, event(EventKind::Text, 0, &state.last));
            }
        }),
    ),
    mutant(
        "another text each call",
        E(|events, _, state: &mut State| {
            let text = format!("{}", state.calls);
            of(events, EventKind::Text).for_each(|it| it.text.push_str(&text));
        }),
    ),
];

/// What recorded responses show.
pub(crate) const DECODED: &[Mutant] = &[
    mutant(
        "lines counted as tokens",
        E(|events, _, _| of(events, EventKind::Text).for_each(|it| it.tokens = 1)),
    ),
    mutant(
        "output count one less",
        E(|events, _, _| {
            of(events, EventKind::OutputTokens)
                .for_each(|it| it.tokens = it.tokens.saturating_sub(1));
        }),
    ),
    mutant(
        "output count lost",
        E(|events, _, _| lose(events, EventKind::OutputTokens)),
    ),
    mutant(
        "prompt count lost",
        E(|events, _, _| lose(events, EventKind::PromptTokens)),
    ),
    mutant(
        "prompt count one more",
        E(|events, _, _| of(events, EventKind::PromptTokens).for_each(|it| it.tokens += 1)),
    ),
    mutant(
        "cached count lost",
        E(|events, _, _| lose(events, EventKind::CachedTokens)),
    ),
    mutant(
        "reasoning count lost",
        E(|events, _, _| lose(events, EventKind::ReasoningTokens)),
    ),
    mutant(
        "reasoning as text",
        E(|events, _, _| {
            of(events, EventKind::Reasoning).for_each(|it| it.kind = EventKind::Text);
        }),
    ),
    mutant(
        "text as reasoning",
        E(|events, _, _| {
            of(events, EventKind::Text).for_each(|it| it.kind = EventKind::Reasoning);
        }),
    ),
    mutant(
        "tool call as text",
        E(|events, _, _| of(events, EventKind::ToolCall).for_each(|it| it.kind = EventKind::Text)),
    ),
    mutant(
        "texts trimmed",
        E(|events, _, _| {
            of(events, EventKind::Text).for_each(|it| it.text = it.text.trim().to_owned());
        }),
    ),
    mutant(
        "last text lost",
        E(|events, _, _| {
            if let Some(at) = events.iter().rposition(|it| it.kind == EventKind::Text) {
                events.remove(at);
            }
        }),
    ),
    mutant(
        "first text twice",
        E(|events, _, _| {
            if let Some(at) = events.iter().position(|it| it.kind == EventKind::Text) {
                events.insert(at, events[at].clone());
            }
        }),
    ),
    mutant(
        "finish always `stop`",
        E(|events, _, _| {
            of(events, EventKind::Finish).for_each(|it| "stop".clone_into(&mut it.text));
        }),
    ),
    mutant(
        "error as text",
        E(|events, _, _| of(events, EventKind::Failure).for_each(|it| it.kind = EventKind::Text)),
    ),
    mutant(
        "error lost",
        E(|events, _, _| lose(events, EventKind::Failure)),
    ),
    mutant(
        "error as end",
        E(|events, _, _| of(events, EventKind::Failure).for_each(|it| it.kind = EventKind::End)),
    ),
    mutant(
        "every stream ended",
        E(|events, reads, _| {
            lose(events, EventKind::End);
            events.push(event(EventKind::End, reads.saturating_sub(1), ""));
        }),
    ),
    mutant(
        "served model lost",
        E(|events, _, _| lose(events, EventKind::ServedModel)),
    ),
    mutant(
        "another model served",
        E(|events, _, _| {
            of(events, EventKind::ServedModel).for_each(|it| "gpt-x".clone_into(&mut it.text));
        }),
    ),
    mutant(
        "engine version lost",
        E(|events, _, _| lose(events, EventKind::EngineVersion)),
    ),
    mutant(
        "notes lost",
        E(|events, _, _| lose(events, EventKind::Note)),
    ),
    mutant(
        "engine's times lost",
        E(|events, _, _| {
            use EventKind::{DecodeTime, PrefillTime, QueueTime};
            events.retain(|it| !matches!(it.kind, QueueTime | PrefillTime | DecodeTime));
        }),
    ),
    mutant(
        "engine's times a thousandfold",
        E(|events, _, _| {
            use EventKind::{DecodeTime, PrefillTime, QueueTime};
            let times = events.iter_mut();
            times
                .filter(|it| matches!(it.kind, QueueTime | PrefillTime | DecodeTime))
                .for_each(|it| it.ns = it.ns.saturating_mul(1000));
        }),
    ),
    mutant(
        "engine's stamps lost",
        E(|events, _, _| {
            events
                .iter_mut()
                .filter(|it| it.kind.is_text())
                .for_each(|it| it.ns = 0);
        }),
    ),
    mutant(
        "stamped with the first read",
        E(|events, _, _| events.iter_mut().for_each(|it| it.read = 0)),
    ),
    mutant(
        "stamped with the last read",
        E(|events, reads, _| {
            for it in events.iter_mut() {
                it.read = reads.saturating_sub(1);
            }
        }),
    ),
    mutant(
        "stamped a read late",
        E(|events, reads, _| {
            for it in events.iter_mut() {
                it.read = (it.read + 1).min(reads.saturating_sub(1));
            }
        }),
    ),
    mutant(
        "headers of the answer lost",
        Defect::Input(|input| input.headers.clear()),
    ),
    mutant("decoded read by read", Defect::ReadByRead),
    mutant("a panic at bytes that are no text", Defect::BreaksOnBytes),
    mutant(
        "refusals read as answers",
        Defect::Input(|it| it.status = 200),
    ),
    mutant("half a line read as a text", Defect::HalfLine),
    mutant(
        "last line lost",
        Defect::Input(|it| {
            let text = it.body.trim_ascii_end().len();
            let line = it.body[..text].iter().rposition(|byte| *byte == b'\n');
            let length = line.map_or(0, |at| at + 1);
            it.body.truncate(length);
            it.ends
                .iter_mut()
                .for_each(|end| *end = (*end).min(length as u32));
        }),
    ),
];
