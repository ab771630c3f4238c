//! Conversations from JSON lines.

use serde::{Deserialize, Serialize};

/// Author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions; only as the first message.
    System,
    /// The user.
    User,
    /// The model, as recorded in the dataset: no engine's own answer.
    Assistant,
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Author of the message.
    pub role: Role,
    /// Text of the message.
    pub content: String,
}

/// A line of a dataset: a conversation of one or more turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// The messages in order: a system message if there is one, then user and assistant
    /// in turn, the last one of the user.
    pub messages: Vec<Message>,
    /// Number of tokens of a prompt to be made; there are no messages then.
    pub input_tokens: Option<u32>,
    /// Recorded start time, in nanoseconds; not before that of the line above.
    pub at_ns: Option<u64>,
    /// Maximum number of tokens per answer, if the line states it.
    pub max_tokens: Option<u32>,
    /// Line in the file, from 1.
    pub line: usize,
}

/// An error in a dataset, and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
    /// Description of the error, and what was expected.
    pub message: String,
}

impl Problem {
    /// Text to follow the name of the file: `:line:column: message`.
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

/// Latest due time of a line, in milliseconds: a hundred days.
const LATEST_MS: f64 = 8.64e9;
/// Maximum length of a prompt to be made, in tokens.
const MAX_TOKENS: u32 = 1_000_000;

/// Maximum number of problems that are looked for.
pub const MAX_PROBLEMS: usize = 100;

/// Reads the lines of a dataset, skipping empty ones, up to the first `limit` conversations
/// or to the end: lines behind them are not looked at. Reports all problems up to there, at
/// most 100, not only the first. A line that cannot be read is a problem and the last one.
pub fn read<L: AsRef<str>>(
    lines: impl IntoIterator<Item = Result<L, String>>,
    limit: Option<u32>,
) -> Result<Vec<Conversation>, Vec<Problem>> {
    let mut conversations = Vec::new();
    let mut problems = Vec::new();
    let mut last_ns = 0;
    let most = limit.map_or(usize::MAX, |limit| limit as usize);
    for (line, content) in (1..).zip(lines) {
        let problem = |column: usize, message: String| Problem {
            line,
            column: column.max(1),
            message,
        };
        let content = match &content {
            Ok(content) => content.as_ref(),
            Err(message) => {
                problems.push(problem(1, message.clone()));
                break;
            }
        };
        if content.trim().is_empty() {
            continue;
        }
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
                // The place is reported beside the message.
                let place = format!(" at line {} column {}", error.line(), error.column());
                let message = text.strip_suffix(&place).unwrap_or(&text).to_owned();
                problems.push(problem(error.column(), message));
            }
        }
        if conversations.len() >= most || problems.len() >= MAX_PROBLEMS {
            break;
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
    // The answer to the last question is up to the engine.
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
    fn a_line_is_a_conversation() {
        let text = concat!(
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},"#,
            r#"{"role":"assistant","content":"b"},{"role":"user","content":"c"},"#,
            r#"{"role":"assistant","content":"not sent"}],"max_tokens":7}"#,
            "\n\n",
            r#"{"prompt":"p"}"#,
        );
        let read = read_all(text).expect("a dataset");
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].max_tokens, Some(7));
        let said = |it: &Conversation| -> String {
            let contents = it.messages.iter().map(|it| &*it.content);
            contents.collect()
        };
        assert_eq!(said(&read[0]), "sabc");
        assert_eq!(said(&read[1]), "p");
        assert_eq!(read[1].line, 3);
    }

    fn read_all(text: &str) -> Result<Vec<Conversation>, Vec<Problem>> {
        read(text.lines().map(Ok), None)
    }

    #[test]
    fn nothing_behind_the_limit_is_read() {
        let lines = ["{\"prompt\":\"a\"}", "", "{\"prompt\":\"b\"}"].map(Ok);
        let behind = std::iter::from_fn(|| -> Option<Result<&str, String>> {
            panic!("it is behind the limit")
        });
        let read = read(lines.into_iter().chain(behind), Some(2)).expect("two");
        assert_eq!(read.len(), 2);
        let broken = [Ok("{\"prompt\":\"a\"}"), Err("it is torn".to_owned())];
        let problems = super::read(broken, None).expect_err("a torn line");
        assert_eq!(problems[0].to_string(), "line 2, column 1: it is torn");
        let endless = std::iter::repeat(Ok("{}"));
        let problems = super::read(endless, Some(1)).expect_err("problems");
        assert_eq!(problems.len(), MAX_PROBLEMS);
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
        let problems = read_all(&text).expect_err("problems");
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
        assert_eq!(read_all("\n").expect_err("nothing").len(), 1);
    }
}
