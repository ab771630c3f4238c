//! Texts of recorded lengths, with blocks that are alike where their ids are.

use crate::dataset::{Conversation, Note, Problem, Text};
use crate::prompt::{Seeds, mixed};
use crate::synthetic::{Error, Writer};
use prony_result::words::count;
use std::collections::HashMap;
use std::sync::Arc;

/// Tokens of a block of `hash_ids`: Mooncake's.
const BLOCK: u32 = 512;
/// Maximum size of the blocks that are kept to be used again, in bytes.
const MAX_BLOCKS: usize = 64 << 20;

/// Writes texts of lengths that were recorded.
pub(super) struct Texts<'t> {
    writer: Writer<'t>,
    seeds: Seeds,
    seed: u64,
    /// Tokens of a block.
    size: u32,
    /// Texts of blocks by their ids.
    known: HashMap<u64, Arc<str>>,
    /// Size of these texts.
    bytes: usize,
}

impl<'t> Texts<'t> {
    pub(super) fn new(writer: Writer<'t>, size: u32, seed: u64) -> Self {
        Self {
            writer,
            seeds: Seeds(seed),
            seed,
            size,
            known: HashMap::new(),
            bytes: 0,
        }
    }

    /// A text of exactly `tokens` tokens. With ids of blocks, each block has its own words, the
    /// same wherever its id is.
    pub(super) fn text(&mut self, tokens: u32, blocks: &[u64]) -> Result<String, Error> {
        /// Words that may have to give way where blocks join to more tokens than they have
        /// apart.
        const MAX_CUT: usize = 32;
        let Some((last, before)) = blocks.split_last() else {
            return self.writer.text("", tokens, self.seeds.next());
        };
        let mut prefix = String::new();
        for id in before {
            if !prefix.is_empty() {
                prefix.push(' ');
            }
            prefix.push_str(&self.block(*id)?);
        }
        let seed = self.seed_of(*last);
        let mut prefix = prefix.as_str();
        for _ in 0..MAX_CUT {
            match self.writer.text(prefix, tokens, seed) {
                Err(Error::NoText(_)) => {}
                text => return text,
            }
            let Some((shorter, _)) = prefix.rsplit_once(' ') else {
                break;
            };
            prefix = shorter;
        }
        Err(Error::NoText(tokens))
    }

    fn block(&mut self, id: u64) -> Result<Arc<str>, Error> {
        if let Some(known) = self.known.get(&id) {
            return Ok(known.clone());
        }
        let text = self.writer.text("", self.size, self.seed_of(id))?;
        let text: Arc<str> = text.into();
        self.bytes += text.len();
        if self.bytes > MAX_BLOCKS {
            // They can be made again.
            self.known.clear();
            self.bytes = text.len();
        }
        self.known.insert(id, text.clone());
        Ok(text)
    }

    fn seed_of(&self, id: u64) -> u64 {
        mixed(mixed(id).wrapping_add(self.seed))
    }
}

/// The size of a block, and what must be said of it.
pub(super) struct Size {
    pub(super) tokens: u32,
    pub(super) note: Option<Note>,
}

/// Tokens of a block: those that are asked for, or the usual 512 if all prompts have as many ids
/// as blocks then, or a size with which they do.
pub(super) fn block_tokens(
    conversations: &[Conversation],
    asked: Option<u32>,
) -> Result<Size, Problem> {
    let turns = conversations.iter().flat_map(|conversation| {
        let turns = conversation.turns.iter();
        turns.filter_map(move |turn| match &turn.text {
            Text::Tokens { tokens, blocks } if !blocks.is_empty() => {
                Some((conversation, *tokens, blocks.len() as u32))
            }
            _ => None,
        })
    });
    let size = asked.unwrap_or(BLOCK);
    let (mut min, mut max) = (1, u32::MAX);
    let mut is_usual = true;
    for (conversation, tokens, blocks) in turns {
        let is_asked = tokens.div_ceil(size) == blocks;
        is_usual &= is_asked;
        if asked.is_some() && !is_asked {
            return Err(conversation.problem(format!(
                "{tokens} tokens in blocks of {size} are {}, and `hash_ids` has {blocks}: `block_tokens` is another in this file",
                count(tokens.div_ceil(size).into(), "block")
            )));
        }
        min = min.max(tokens.div_ceil(blocks));
        if let Some(largest) = (tokens - 1).checked_div(blocks - 1) {
            max = max.min(largest);
        }
        if min > max {
            return Err(conversation.problem(
                "no size of a block fits the `hash_ids` of all lines up to here: a prompt has an id for each block of (usually) 512 tokens, the last of which may be shorter",
            ));
        }
    }
    if is_usual {
        return Ok(Size {
            tokens: size,
            note: None,
        });
    }
    // Sizes are powers of two, where there is one.
    let power = 1_u32.checked_shl(max.ilog2()).unwrap_or(max);
    let tokens = if power >= min { power } else { max };
    let fits = if min == max {
        min.to_string()
    } else {
        format!("{min} to {max}")
    };
    Ok(Size {
        tokens,
        note: Some(Note {
            text: format!(
                "blocks of {tokens} tokens are assumed, since `hash_ids` fit {fits} and not the usual {BLOCK}; `block_tokens` says which"
            ),
            unit: "",
            times: 1,
        }),
    })
}
