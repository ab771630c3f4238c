//! Conversations from JSON lines.

use serde::{Deserialize, Serialize};

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions; only as the first message.
    System,
    /// The one who asks.
    User,
    /// The model, as the dataset has it: no engine's own answer.
    Assistant,
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// A line of a dataset: one conversation of one or several turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// The messages in order: a system message if there is one, then user and
    /// assistant in turn, the last one of the user.
    pub messages: Vec<Message>,
    /// Tokens of the prompt that is to be made; there are no messages then.
    pub input_tokens: Option<u32>,
    /// When it was recorded to begin, in nanoseconds; not before the line above.
    pub at_ns: Option<u64>,
    /// The most tokens of each answer, if the line says so.
    pub max_tokens: Option<u32>,
    /// The line of the file that it is, from one.
    pub line: usize,
}

impl Conversation {
    /// What is sent in each turn: all messages up to one of the user. The assistant's
    /// are those of the dataset, so every engine gets the same.
    pub fn turns(&self) -> impl Iterator<Item = &[Message]> {
        let ends = (1..).zip(&self.messages);
        ends.filter(|(_, message)| message.role == Role::User)
            .map(|(end, _)| &self.messages[..end])
    }
}

/// What is wrong with a dataset, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Problem {
    /// From one.
    pub line: usize,
    /// From one, in bytes.
    pub column: usize,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl Problem {
    /// What follows the name of the file: `:line:column: message`.
    pub(crate) fn place_and_message(&self) -> String {
        format!(":{}:{}: {}", self.line, self.column, self.message)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    input_tokens: Option<u32>,
    max_tokens: Option<u32>,
    at_ms: Option<f64>,
}

/// The latest that a line can be due, in milliseconds: a hundred days.
const LATEST_MS: f64 = 8.64e9;
/// The longest prompt that is made, in tokens.
const MAX_TOKENS: u32 = 1_000_000;

/// Reads the lines of a dataset; empty ones are passed over. All problems are told,
/// not only the first.
pub fn read(text: &str) -> Result<Vec<Conversation>, Vec<Problem>> {
    let mut conversations = Vec::new();
    let mut problems = Vec::new();
    let mut last_ns = 0;
    for (line, content) in (1..).zip(text.lines()) {
        if content.trim().is_empty() {
            continue;
        }
        let problem = |column: usize, message: String| Problem {
            line,
            column: column.max(1),
            message,
        };
        match serde_json::from_str::<Line>(content) {
            Ok(read) => match conversation(line, read) {
                Ok(conversation) => {
                    let at_ns = conversation.at_ns.unwrap_or(last_ns);
                    if at_ns < last_ns {
                        let message = "`at_ms` is less than in a line above; sort the lines by it";
                        problems.push(problem(1, message.to_owned()));
                    }
                    last_ns = at_ns;
                    conversations.push(conversation);
                }
                Err(message) => problems.push(problem(1, message)),
            },
            Err(error) => {
                let text = error.to_string();
                // The place is told beside the message.
                let place = format!(" at line {} column {}", error.line(), error.column());
                let message = text.strip_suffix(&place).unwrap_or(&text).to_owned();
                problems.push(problem(error.column(), message));
            }
        }
    }
    if problems.is_empty() && conversations.is_empty() {
        problems.push(Problem {
            line: 1,
            column: 1,
            message: "there is no line; expected one like {\"prompt\": \"…\"}".to_owned(),
        });
    }
    if problems.is_empty() {
        Ok(conversations)
    } else {
        Err(problems)
    }
}

fn conversation(number: usize, line: Line) -> Result<Conversation, String> {
    if line.max_tokens == Some(0) {
        return Err("`max_tokens` is 0, expected at least 1".to_owned());
    }
    let at_ns = match line.at_ms {
        None => None,
        Some(at_ms) if (0.0..=LATEST_MS).contains(&at_ms) => Some((at_ms * 1e6) as u64),
        Some(at_ms) => {
            return Err(format!(
                "`at_ms` is {at_ms:e}, expected milliseconds since the recording began, at most {LATEST_MS:e}"
            ));
        }
    };
    let mut messages = match (line.prompt, line.messages, line.input_tokens) {
        (Some(content), None, None) => vec![Message {
            role: Role::User,
            content,
        }],
        (None, Some(messages), None) => messages,
        (None, None, Some(tokens)) if (1..=MAX_TOKENS).contains(&tokens) => {
            return Ok(Conversation {
                messages: Vec::new(),
                input_tokens: Some(tokens),
                at_ns,
                max_tokens: line.max_tokens,
                line: number,
            });
        }
        (None, None, Some(tokens)) => {
            return Err(format!(
                "`input_tokens` is {tokens}, expected 1 to {MAX_TOKENS}"
            ));
        }
        (None, None, None) => {
            return Err("none of `prompt`, `messages` and `input_tokens`".to_owned());
        }
        _ => {
            return Err(
                "more than one of `prompt`, `messages` and `input_tokens`; expected one of them"
                    .to_owned(),
            );
        }
    };
    // An answer to the last question is the engine's to give.
    if messages.last().is_some_and(|it| it.role == Role::Assistant) {
        messages.pop();
    }
    let said = messages
        .iter()
        .skip_while(|it| it.role == Role::System)
        .count();
    if messages.len() - said > 1 {
        return Err("several system messages; expected one at most".to_owned());
    }
    let turns = &messages[messages.len() - said..];
    if turns.is_empty() {
        return Err("no message of the user".to_owned());
    }
    for (index, message) in turns.iter().enumerate() {
        let expected = [Role::User, Role::Assistant][index % 2];
        if message.role != expected {
            return Err(format!(
                "message {} is of `{}`, expected `{}`: user and assistant take turns, and only the first message may be of `system`",
                index + 1 + messages.len() - said,
                name(message.role),
                name(expected)
            ));
        }
    }
    Ok(Conversation {
        messages,
        input_tokens: None,
        at_ns,
        max_tokens: line.max_tokens,
        line: number,
    })
}

fn name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_has_what_the_dataset_says_was_answered() {
        let text = concat!(
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},"#,
            r#"{"role":"assistant","content":"b"},{"role":"user","content":"c"},"#,
            r#"{"role":"assistant","content":"not sent"}],"max_tokens":7}"#,
            "\n\n",
            r#"{"prompt":"p"}"#,
        );
        let read = read(text).expect("a dataset");
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].max_tokens, Some(7));
        let said = |turn: &[Message]| -> String { turn.iter().map(|it| &*it.content).collect() };
        let turns: Vec<String> = read[0].turns().map(said).collect();
        assert_eq!(turns, ["sa", "sabc"]);
        assert_eq!(read[1].turns().map(said).collect::<Vec<_>>(), ["p"]);
        assert_eq!(read[1].line, 3);
    }

    #[test]
    fn every_bad_line_is_told_with_its_place() {
        let text = [
            r#"{"prompt":"ok"}"#,
            r#"{"promt":"typo"}"#,
            r#"{"prompt":"a","messages":[]}"#,
            "{}",
            r#"{"messages":[{"role":"assistant","content":"a"},{"role":"user","content":"b"}]}"#,
            r#"{"messages":[{"role":"system","content":"a"}]}"#,
            r#"{"prompt":"a","max_tokens":0}"#,
            r#"{"prompt":"#,
        ]
        .join("\n");
        let problems = read(&text).expect_err("problems");
        let lines: Vec<usize> = problems.iter().map(|it| it.line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8]);
        let first = problems[0].to_string();
        assert!(
            first.starts_with("line 2, column 8: unknown field `promt`"),
            "{first}"
        );
        assert_eq!(
            problems[3].message,
            "message 1 is of `assistant`, expected `user`: user and assistant take turns, and only the first message may be of `system`"
        );
        assert_eq!(read("\n").expect_err("nothing").len(), 1);
    }
}
