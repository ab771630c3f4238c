//! Server-sent events (WHATWG HTML, section 9.2) out of a recorded response.
//!
//! Works on the whole body, so how the bytes were split into reads cannot
//! change what is found; it only decides which read an event is stamped with.

use crate::Response;
use std::borrow::Cow;

/// One event of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// The read that completed its last `data` line.
    pub read: u32,
    /// The `event` field, if any.
    pub event: Option<Cow<'a, str>>,
    /// The `data` lines, joined by line feeds. Invalid UTF-8 is replaced.
    pub data: Cow<'a, str>,
    /// `true` if its last `data` line ended. If not, the body ended within the line or right
    /// behind it, and only what the data says can tell which.
    pub is_complete: bool,
}

/// Something in the body of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<'a> {
    /// An event.
    Message(Message<'a>),
    /// A line that is no part of the format: neither a field that it knows nor a comment.
    Stray {
        /// The read that completed it.
        read: u32,
        /// The line, without its line break.
        line: &'a [u8],
    },
}

/// The messages of a response. Comments and other fields are passed over.
///
/// A message counts when its last `data` line is complete, even without the
/// blank line after it: some servers close right behind `data: [DONE]`.
pub fn messages<'a>(response: &Response<'a>) -> impl Iterator<Item = Message<'a>> {
    items(response).filter_map(|item| match item {
        Item::Message(message) if message.is_complete => Some(message),
        _ => None,
    })
}

/// Everything in a response but comments and the fields `id` and `retry`, in order. An
/// unfinished last line of `data` is a message that is not complete; any other unfinished
/// line is left out.
pub fn items<'a>(response: &Response<'a>) -> impl Iterator<Item = Item<'a>> {
    let finished = response.lines().map(|(read, line)| (read, line, true));
    let last = (response.last_read(), false);
    let unfinished = response
        .unfinished_line()
        .map(|line| (last.0, line, last.1));
    let mut lines = finished.chain(unfinished);
    let mut first = true;
    let mut stray = None;
    let mut message: Option<Message<'a>> = None;
    let mut event: Option<Cow<'a, str>> = None;
    std::iter::from_fn(move || {
        if let Some(stray) = stray.take() {
            return Some(stray);
        }
        for (read, mut line, is_complete) in lines.by_ref() {
            if std::mem::take(&mut first) {
                line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
            }
            if line.is_empty() {
                // An event whose data is empty is none: some servers keep a
                // connection alive that way.
                let (message, event) = (message.take(), event.take());
                if let Some(message) = dispatched(message, event) {
                    return Some(message);
                }
                continue;
            }
            let (field, value) = split_field(line);
            match field {
                b"data" => match &mut message {
                    None => {
                        message = Some(Message {
                            read,
                            event: None,
                            data: text(value),
                            is_complete,
                        });
                    }
                    Some(message) => {
                        let data = message.data.to_mut();
                        data.push('\n');
                        data.push_str(&text(value));
                        message.read = read;
                        message.is_complete = is_complete;
                    }
                },
                b"event" => event = Some(text(value)),
                b"id" | b"retry" | b"" => {}
                _ if !is_complete => {}
                _ => {
                    // What came before it was said before it.
                    let stands = Item::Stray { read, line };
                    let before = dispatched(message.take(), event.take());
                    if before.is_some() {
                        stray = Some(stands);
                        return before;
                    }
                    return Some(stands);
                }
            }
        }
        dispatched(message.take(), event.take())
    })
}

fn dispatched<'a>(message: Option<Message<'a>>, event: Option<Cow<'a, str>>) -> Option<Item<'a>> {
    let message = message.filter(|it| !it.data.is_empty())?;
    Some(Item::Message(Message { event, ..message }))
}

/// `field: value`; a line that starts with a colon is a comment (empty field).
fn split_field(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|byte| *byte == b':') {
        None => (line, b""),
        Some(colon) => {
            let value = &line[colon + 1..];
            (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
        }
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(body: &str, ends: &[u32]) -> Vec<(u32, String)> {
        let response = Response::new(200, body.as_bytes(), ends);
        messages(&response)
            .map(|message| (message.read, message.data.into_owned()))
            .collect()
    }

    #[test]
    fn reads_comments_line_endings_and_joined_data() {
        let body =
            ": keepalive 0/3\r\n\r\ndata: a\r\n\r\ndata:b\ndata: c\n\nid: 7\rdata: d\r\rdata";
        let end = body.len() as u32;
        assert_eq!(
            all(body, &[end]),
            [(0, "a".into()), (0, "b\nc".into()), (0, "d".into())]
        );
    }

    #[test]
    fn an_event_belongs_to_the_read_that_completed_its_line() {
        assert_eq!(
            all("data: a\n\ndata: b\n\n", &[3, 8, 12, 18]),
            [(1, "a".into()), (3, "b".into())]
        );
    }

    #[test]
    fn an_event_without_data_is_none() {
        let body = "data:\n\nevent: ping\ndata\n\ndata: a\n\nevent: b\n\ndata: \n";
        assert_eq!(all(body, &[body.len() as u32]), [(0, "a".into())]);
    }

    #[test]
    fn an_unfinished_line_is_no_event() {
        assert_eq!(all("data: a\n\ndata: {\"x\":", &[21]), [(0, "a".into())]);
        assert_eq!(all("data: [DONE]\n", &[13]), [(0, "[DONE]".into())]);
        let response = Response::new(200, b"data: a\n\ndata: [DONE]", &[3, 21]);
        let last = items(&response).last().expect("items");
        let Item::Message(last) = last else {
            panic!("{last:?}")
        };
        assert_eq!(
            (last.read, &*last.data, last.is_complete),
            (1, "[DONE]", false)
        );
    }

    #[test]
    fn a_line_that_is_no_field_stands_where_it_stood() {
        let body = b"data: a\nupstream error: gone\n{\"error\":1}\n: comment\ndata: b\n\nerr";
        let ends = [body.len() as u32];
        let response = Response::new(200, body, &ends);
        let found: Vec<String> = items(&response)
            .map(|item| match item {
                Item::Message(message) => message.data.into_owned(),
                Item::Stray { line, .. } => format!("! {}", line.escape_ascii()),
            })
            .collect();
        assert_eq!(
            found,
            ["a", "! upstream error: gone", r#"! {\"error\":1}"#, "b"]
        );
    }
}
