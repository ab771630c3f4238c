//! Facts about a dataset that change no request and must still be told.

use super::fields::Known;
use super::rows::Record;
use prony_result::words::count;
use std::collections::BTreeMap;
use std::fmt;

/// Maximum number of different unused keys that are named.
const MAX_KEYS: usize = 20;

/// A fact, and how often it was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The fact.
    pub text: String,
    /// Name of the things counted; empty for a fact without a number.
    pub unit: &'static str,
    /// The number of them.
    pub times: u64,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            "" => f.write_str(&self.text),
            unit => write!(f, "{} ({})", self.text, count(self.times, unit)),
        }
    }
}

/// The notes of a dataset, each once.
#[derive(Debug, Default)]
pub(super) struct Notes {
    met: Vec<Note>,
    /// Keys that are not used, and the number of records that have them.
    unused: BTreeMap<String, u64>,
    /// Number of records with a key that has no place there.
    others: u64,
}

impl Notes {
    /// Adds a fact that was met `times` times.
    pub(super) fn add(&mut self, text: impl Into<String>, unit: &'static str, times: u64) {
        let text = text.into();
        match self.met.iter_mut().find(|note| note.text == text) {
            Some(note) => note.times += times,
            None => self.met.push(Note { text, unit, times }),
        }
    }

    /// Counts the keys of a record that nothing has looked at.
    pub(super) fn unused(&mut self, known: &Known, record: &Record) {
        for key in known.unused(record) {
            if self.unused.len() < MAX_KEYS || self.unused.contains_key(&key) {
                *self.unused.entry(key).or_default() += 1;
            } else {
                self.others += 1;
            }
        }
    }

    /// The notes in the order of their first meeting, unused keys last.
    pub(super) fn end(mut self) -> Vec<Note> {
        for (key, times) in self.unused {
            self.met.push(Note {
                text: format!("`{key}` is not used"),
                unit: "record",
                times,
            });
        }
        if self.others > 0 {
            self.met.push(Note {
                text: "further keys are not used".to_owned(),
                unit: "record",
                times: self.others,
            });
        }
        self.met
    }
}
