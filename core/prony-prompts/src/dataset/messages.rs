//! Messages with authors become turns.

use super::conversation::{Conversation, Text, Turn};
use super::fields::{Fields, Wrong};
use super::format::Context;
use super::parts::{self, CANNOT_SEND};

/// Author of a message that can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    System,
    User,
    Assistant,
}

impl Author {
    fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// The author in a field.
pub(super) fn author(message: &Fields<'_>, key: &str) -> Result<Author, Wrong> {
    match message.some_text(key)? {
        "system" => Ok(Author::System),
        "user" | "human" => Ok(Author::User),
        "assistant" | "gpt" | "chatgpt" | "bing" | "bard" | "model" => Ok(Author::Assistant),
        other @ ("developer" | "tool" | "function" | "function_call" | "observation") => {
            let way = match other {
                "developer" => {
                    "; if the engines are to get it as a system message, name it `system`"
                }
                _ => "",
            };
            Err(message.wrong(
                key,
                format!("a message of `{other}` cannot be sent: requests have messages of system, user and assistant, and none is left out{way}"),
            ))
        }
        other => Err(message.wrong(
            key,
            format!(
                "`{}` is `{}`, expected system, user (human) or assistant (gpt)",
                message.named(key),
                other.chars().take(40).collect::<String>()
            ),
        )),
    }
}

/// Makes turns of messages.
#[derive(Debug, Default)]
pub(super) struct Builder {
    system: Option<String>,
    turns: Vec<Turn>,
}

impl Builder {
    pub(super) fn system(&mut self, text: String) {
        self.system = Some(text);
    }

    pub(super) fn has_turns(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Adds a message of the user, or continues the one before.
    pub(super) fn user_joined(&mut self, text: String) {
        match self.turns.last_mut() {
            Some(Turn {
                text: Text::Written(known),
                answer: None,
                ..
            }) => join(known, &text),
            _ => self.turns.push(Turn {
                text: text.into(),
                ..Turn::default()
            }),
        }
    }

    /// Adds an answer to the last question, or continues the one before.
    pub(super) fn assistant_joined(&mut self, text: String) {
        if let Some(last) = self.turns.last_mut() {
            match &mut last.answer {
                Some(known) => join(known, &text),
                none => *none = Some(text),
            }
        }
    }

    /// The conversation; `None` without a question.
    pub(super) fn end(mut self) -> Option<Conversation> {
        // The answer to the last question is up to the engine.
        self.turns.last_mut()?.answer = None;
        Some(Conversation {
            system: self.system,
            turns: self.turns,
            ..Conversation::default()
        })
    }
}

fn join(known: &mut String, text: &str) {
    known.push_str("\n\n");
    known.push_str(text);
}

/// The conversation in a list of `{"role": …, "content": …}`: a system message if there is one,
/// then user and assistant in turn.
pub(super) fn read(
    fields: &Fields<'_>,
    key: &str,
    context: &mut Context<'_>,
) -> Result<Conversation, Wrong> {
    let mut builder = Builder::default();
    for (index, message) in fields
        .objects(key)?
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        let author = author(&message, "role")?;
        message.refuse(
            &["tool_calls", "function_call", "tool_call_id", "audio"],
            CANNOT_SEND,
        )?;
        let parts = parts::read(&message, "content", context)?;
        if author != Author::User && !parts.images.is_empty() {
            return Err(message.wrong("content", "an image in a message that is not of the user"));
        }
        let number = index + 1;
        if author == Author::System {
            if builder.system.is_some() && !builder.has_turns() {
                return Err(message.wrong("role", "several system messages; expected one at most"));
            }
            if number == 1 {
                builder.system(parts.text);
                continue;
            }
        }
        let is_answered = builder
            .turns
            .last()
            .is_none_or(|turn| turn.answer.is_some());
        let expected = if is_answered {
            Author::User
        } else {
            Author::Assistant
        };
        if author != expected {
            return Err(message.wrong(
                "role",
                format!(
                    "message {number} is of `{}`, expected `{}`: user and assistant take turns, and only the first message may be of `system`",
                    author.name(),
                    expected.name()
                ),
            ));
        }
        match author {
            Author::User => builder.turns.push(Turn {
                text: parts.text.into(),
                images: parts.images,
                ..Turn::default()
            }),
            _ => builder.assistant_joined(parts.text),
        }
    }
    let Some(conversation) = builder.end() else {
        return Err(fields.wrong(key, "no message of the user"));
    };
    with_later_images(fields, key, &conversation)?;
    Ok(conversation)
}

/// Fails if an image would have to be sent again with a later turn.
pub(super) fn with_later_images(
    fields: &Fields<'_>,
    key: &str,
    conversation: &Conversation,
) -> Result<(), Wrong> {
    let earlier = conversation.turns.split_last().map_or(&[][..], |it| it.1);
    if earlier.iter().any(|turn| !turn.images.is_empty()) {
        return Err(fields.wrong(
            key,
            "an image in an earlier turn cannot be sent again with the later ones: requests carry the images of the last message; make conversations of one turn of it",
        ));
    }
    Ok(())
}
