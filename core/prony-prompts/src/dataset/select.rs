//! The conversations that are used: by length, from an offset on, up to a limit, and drawn.

use super::conversation::Conversation;
use super::notes::Notes;
use super::{MAX_KEPT, Problem};
use prony_result::words::count;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

/// Bounds of a length, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// Minimum.
    pub min: u64,
    /// Maximum.
    pub max: u64,
}

impl Length {
    fn has(self, length: u64) -> bool {
        (self.min..=self.max).contains(&length)
    }
}

/// Conversations that are used: of those with the lengths asked for, without the first `offset`,
/// the first `limit`, or `sample` drawn from them.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Number of conversations that are passed over.
    pub offset: u32,
    /// Maximum number of conversations that are read behind them.
    pub limit: Option<u32>,
    /// Number of conversations that are drawn from these, each at most once.
    pub sample: Option<u32>,
    /// `true` if there may be fewer than `limit` and `sample`.
    pub is_at_most: bool,
    /// Characters of the longest request.
    pub chars: Option<Length>,
    /// Tokens of the longest request.
    pub tokens: Option<Length>,
    /// Recorded maximum of tokens in an answer, of each turn.
    pub output: Option<Length>,
}

/// Answer to an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    More,
    /// No further conversation is needed.
    Enough,
}

/// Selects conversations in one pass.
pub(super) struct Selector<'s> {
    selection: &'s Selection,
    random: Pcg64Mcg,
    /// The conversations that are kept, with their numbers.
    kept: Vec<(u64, Conversation)>,
    bytes: u64,
    /// Number of conversations with the lengths asked for.
    passed: u64,
    /// Number of conversations without them.
    pub(super) left_out: u64,
}

impl<'s> Selector<'s> {
    pub(super) fn new(selection: &'s Selection, seed: u64) -> Self {
        Self {
            selection,
            random: Pcg64Mcg::seed_from_u64(seed),
            kept: Vec::new(),
            bytes: 0,
            passed: 0,
            left_out: 0,
        }
    }

    /// Offers the next conversation of the file.
    pub(super) fn offer(
        &mut self,
        conversation: Conversation,
        tokens: &mut dyn FnMut(&str) -> Result<usize, String>,
        see: &mut dyn FnMut(&Conversation),
    ) -> Result<Taken, Problem> {
        let is_long = self.is_as_long(&conversation, tokens);
        if !is_long.map_err(|message| conversation.problem(message))? {
            self.left_out += 1;
            return Ok(Taken::More);
        }
        if conversation.turns.iter().any(|it| it.max_tokens == Some(0)) {
            return Err(conversation.problem(
                "the recorded answer has no token, as of a failed request, and cannot be asked for: leave such records out by `output_tokens: { min: 1 }`",
            ));
        }
        let number = self.passed;
        self.passed += 1;
        let offset = u64::from(self.selection.offset);
        if number < offset {
            return Ok(Taken::More);
        }
        see(&conversation);
        self.keep(number, conversation)?;
        let end = self.selection.limit.map(|limit| offset + u64::from(limit));
        Ok(if end.is_some_and(|end| self.passed >= end) {
            Taken::Enough
        } else {
            Taken::More
        })
    }

    /// Keeps a conversation, or by a fair draw another one: Algorithm R (Vitter, "Random sampling
    /// with a reservoir", 1985).
    fn keep(&mut self, number: u64, conversation: Conversation) -> Result<(), Problem> {
        self.bytes += conversation.bytes();
        let seen = number - u64::from(self.selection.offset);
        let sample = self.selection.sample.map_or(u64::MAX, u64::from);
        if seen < sample {
            self.kept.push((number, conversation));
        } else {
            let place = self.random.random_range(0..=seen);
            let mut left = (number, conversation);
            if place < sample {
                left = std::mem::replace(&mut self.kept[place as usize], left);
            }
            self.bytes -= left.1.bytes();
        }
        if self.bytes > MAX_KEPT {
            let line = self.kept.last().map_or(1, |it| it.1.line);
            let message = format!(
                "the conversations up to here come to more than {} MiB: lower `limit`, or draw some by `sample`",
                MAX_KEPT >> 20
            );
            self.kept.clear();
            self.bytes = 0;
            return Err(Problem::at(line, 1, message));
        }
        Ok(())
    }

    /// Returns `true` if the lengths of a conversation are those asked for.
    fn is_as_long(
        &self,
        conversation: &Conversation,
        tokens: &mut dyn FnMut(&str) -> Result<usize, String>,
    ) -> Result<bool, String> {
        let selection = self.selection;
        if let Some(output) = selection.output {
            let mut outputs = conversation.turns.iter().map(|turn| turn.max_tokens);
            let is_in = |it: Option<u32>| it.is_some_and(|it| output.has(u64::from(it)));
            if !outputs.all(is_in) {
                return Ok(false);
            }
        }
        if let Some(length) = selection.chars {
            let chars = conversation
                .chars()
                .ok_or("`input_chars` does not go with lengths in tokens: use `input_tokens`")?;
            if !length.has(chars) {
                return Ok(false);
            }
        }
        match selection.tokens {
            Some(length) => Ok(length.has(conversation.tokens(tokens)?)),
            None => Ok(true),
        }
    }

    /// The conversations in the order of the file. Fails if there are fewer than asked for.
    pub(super) fn end(mut self, notes: &mut Notes) -> Result<Vec<Conversation>, String> {
        let Selection {
            offset,
            limit,
            sample,
            is_at_most,
            ..
        } = *self.selection;
        let of_it = self.passed.saturating_sub(u64::from(offset));
        for (key, asked) in [("limit", limit), ("sample", sample)] {
            if let Some(asked) = asked
                && of_it < u64::from(asked)
                && !is_at_most
            {
                let behind = match offset {
                    0 => String::new(),
                    _ => format!(" behind the first {offset}"),
                };
                let with = match self.left_out {
                    0 => "",
                    _ => " of the lengths asked for",
                };
                return Err(format!(
                    "it has {}{with}{behind}, and the workload's `{key}` is {asked}",
                    count(of_it, "conversation")
                ));
            }
        }
        if self.left_out > 0 {
            notes.add(
                "a conversation is left out: its length is outside `input_chars`, `input_tokens` or `output_tokens`",
                "conversation",
                self.left_out,
            );
        }
        self.kept.sort_unstable_by_key(|it| it.0);
        Ok(self.kept.into_iter().map(|it| it.1).collect())
    }
}
