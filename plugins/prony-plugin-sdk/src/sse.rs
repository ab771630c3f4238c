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
    pub chunk: u32,
    /// The `event` field, if any.
    pub event: Option<Cow<'a, str>>,
    /// The `data` lines, joined by line feeds. Invalid UTF-8 is replaced.
    pub data: Cow<'a, str>,
}

/// The messages of a response. Comments and other fields are passed over.
///
/// A message counts when its last `data` line is complete, even without the
/// blank line after it: some servers close right behind `data: [DONE]`.
pub fn messages<'a>(response: &Response<'a>) -> impl Iterator<Item = Message<'a>> {
    let mut lines = response.lines();
    let mut first = true;
    std::iter::from_fn(move || {
        let (mut message, mut event): (Option<Message<'a>>, Option<Cow<'a, str>>) = (None, None);
        for (chunk, mut line) in lines.by_ref() {
            if std::mem::take(&mut first) {
                line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
            }
            if line.is_empty() {
                // An event whose data is empty is none: some servers keep a
                // connection alive that way.
                if message.as_ref().is_some_and(|it| !it.data.is_empty()) {
                    break;
                }
                (message, event) = (None, None);
                continue;
            }
            let (field, value) = split_field(line);
            match field {
                b"data" => match &mut message {
                    None => {
                        message = Some(Message {
                            chunk,
                            event: None,
                            data: text(value),
                        });
                    }
                    Some(message) => {
                        let data = message.data.to_mut();
                        data.push('\n');
                        data.push_str(&text(value));
                        message.chunk = chunk;
                    }
                },
                b"event" => event = Some(text(value)),
                _ => {}
            }
        }
        let mut message = message.filter(|it| !it.data.is_empty())?;
        message.event = event;
        Some(message)
    })
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
        let response = Response {
            status: 200,
            body: body.as_bytes(),
            ends,
        };
        messages(&response)
            .map(|message| (message.chunk, message.data.into_owned()))
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
    }
}
