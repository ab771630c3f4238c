//! An answer that is being read: what every protocol says of it.

use super::Rules;
use super::halves::Halves;
use super::message::Count;
use super::words;
use crate::config::EndMark;
use prony_plugin_sdk::{EventKind, Events, finish};
use serde_json::Value;

/// An answer that is being read.
pub(crate) struct Answer<'e, 'c> {
    rules: Rules<'c>,
    events: &'e mut Events,
    halves: Halves,
    has_text: bool,
    has_finished: bool,
    /// The read of the last failure that the engine reported.
    failed: Option<u32>,
    /// The served model and the engine's version are told once each.
    told: [bool; 2],
}

impl<'e, 'c> Answer<'e, 'c> {
    pub(crate) fn new(rules: Rules<'c>, events: &'e mut Events) -> Self {
        Self {
            rules,
            events,
            halves: Halves::default(),
            has_text: false,
            has_finished: false,
            failed: None,
            told: [false; 2],
        }
    }

    /// Returns `true` if the engine reported a failure, or an end that is one.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Text of the kind `text`, `reasoning` or `tool-call`; an empty one says nothing.
    pub(crate) fn piece(&mut self, read: u32, kind: EventKind, text: &str) {
        if !text.is_empty() {
            self.has_text = true;
            self.events.push(read, kind, 0, &self.halves.join(text));
        }
    }

    pub(crate) fn text(&mut self, read: u32, text: &str) {
        self.piece(read, EventKind::Text, text);
    }

    /// Reads a message, and tells that it came if it has no text.
    pub(crate) fn even_without_text(&mut self, read: u32, told: impl FnOnce(&mut Self)) {
        let had_text = std::mem::take(&mut self.has_text);
        told(self);
        if !self.has_text {
            self.events.text(read, 0, "");
        }
        self.has_text |= had_text;
    }

    /// Text, and behind it the tokens so far. Without text there is no count: what comes next
    /// stands for these tokens, too.
    pub(crate) fn counted_text(&mut self, read: u32, text: &str, so_far: Count) {
        if !text.is_empty() {
            self.text(read, text);
            self.output(read, so_far);
        }
    }

    pub(crate) fn fail(&mut self, read: u32, words: &str) {
        self.failed = Some(read);
        self.events.failure(read, words);
    }

    pub(crate) fn finish(&mut self, read: u32, reason: &str) {
        self.has_finished = true;
        self.events.finish(read, reason);
        if let Some(words) = finish::problem(reason, self.rules.finish_reasons) {
            self.fail(read, &words);
        }
    }

    pub(crate) fn count(&mut self, read: u32, kind: EventKind, tokens: Count) {
        // There is no prompt without a token: it was not counted.
        let is_counted = |tokens: &u32| kind != EventKind::PromptTokens || *tokens > 0;
        if let Some(tokens) = tokens.0.filter(is_counted) {
            self.events.count(read, kind, tokens);
        }
    }

    /// Tells how many tokens were generated so far.
    pub(crate) fn output(&mut self, read: u32, tokens: Count) {
        if tokens == Count(Some(0)) && self.has_text {
            self.note(
                read,
                "the engine counts no output tokens, although there is text",
            );
        } else {
            self.count(read, EventKind::OutputTokens, tokens);
        }
    }

    /// A time by the engine's own clock, of which a unit has `ns` nanoseconds. What is no
    /// number, or less than nothing, is no time.
    pub(crate) fn time(&mut self, read: u32, kind: EventKind, time: &Value, ns: f64) {
        if let Some(time) = time.as_f64().filter(|time| *time >= 0.0) {
            self.events.time(read, kind, (time * ns).round() as u64);
        }
    }

    pub(crate) fn served_model(&mut self, read: u32, name: &str) {
        self.once(0, read, EventKind::ServedModel, name);
    }

    pub(crate) fn engine_version(&mut self, read: u32, version: &str) {
        self.once(1, read, EventKind::EngineVersion, version);
    }

    fn once(&mut self, index: usize, read: u32, kind: EventKind, text: &str) {
        if !text.is_empty() && !std::mem::replace(&mut self.told[index], true) {
            self.events.push(read, kind, 0, text);
        }
    }

    pub(crate) fn note(&mut self, read: u32, words: &str) {
        self.events.note(read, words);
    }

    /// Passes over data that says nothing.
    pub(crate) fn pass_over(&mut self, read: u32, data: &str) {
        let data = words::quote(data);
        let note = format!("a `data` line that says nothing was passed over: `{data}`");
        self.note(read, &note);
    }

    /// Ends the answer by the protocol's own rule. A failure that was reported behind the end is
    /// its end.
    pub(crate) fn end(&mut self, read: u32) {
        let failed = self.failed.unwrap_or_default();
        self.events.end(read.max(failed));
    }

    /// Tells that the body ended without the mark that ends an answer.
    pub(crate) fn end_without(&mut self, read: u32, mark: &str) {
        if self.has_failed() {
            return;
        }
        self.note(read, &format!("the stream ended without `{mark}`"));
        if self.has_finished && self.rules.end_mark == EndMark::Optional {
            self.end(read);
        }
    }
}
