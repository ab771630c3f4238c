//! Parses requests.

use serde_json::Value;

/// The relevant parts of a request.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// The header `x-request-id`.
    pub(crate) id: Option<String>,
    /// `true` if the answer may be compressed.
    pub(crate) gzip: bool,
    /// `true` if the connection is not to be reused.
    pub(crate) close: bool,
    /// Null if it is not JSON.
    pub(crate) body: Value,
}

/// Maximum head size; a request to a language model has less.
const MAX_HEAD: usize = 64 << 10;

/// Takes one complete request off `input`; `None` if it is incomplete. Fails with the
/// reason if it is invalid.
pub(crate) fn take(input: &mut Vec<u8>) -> Result<Option<Request>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let begin = match head.parse(input).map_err(|error| error.to_string())? {
        httparse::Status::Complete(begin) => begin,
        httparse::Status::Partial if input.len() > MAX_HEAD => {
            return Err("the head is too long".to_owned());
        }
        httparse::Status::Partial => return Ok(None),
    };
    let mut request = Request {
        path: head.path.unwrap_or_default().to_owned(),
        ..Request::default()
    };
    let mut length = 0_usize;
    for header in head.headers {
        let value = String::from_utf8_lossy(header.value);
        let lists = |item: &str| {
            let mut items = value.split(',');
            items.any(|it| it.trim().eq_ignore_ascii_case(item))
        };
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => {
                length = value
                    .trim()
                    .parse()
                    .map_err(|_| "the content-length is no number".to_owned())?;
            }
            "transfer-encoding" => return Err("a request needs a content-length".to_owned()),
            "x-request-id" => request.id = Some(value.trim().to_owned()),
            "accept-encoding" => request.gzip = lists("gzip"),
            "connection" => request.close = lists("close"),
            _ => {}
        }
    }
    let Some(body) = input[begin..].get(..length) else {
        return Ok(None);
    };
    request.body = serde_json::from_slice(body).unwrap_or_default();
    input.drain(..begin + length);
    Ok(Some(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_in_any_pieces() {
        let bytes = b"POST /v1/completions HTTP/1.1\r\nContent-Length: 7\r\nX-Request-ID: r 1\r\n\
            accept-encoding: br, GZIP\r\nconnection: close\r\n\r\n{\"a\":1}GET / HTTP/1.1\r\n\r\n";
        let mut input = Vec::new();
        let mut taken = Vec::new();
        for byte in bytes {
            input.push(*byte);
            taken.extend(take(&mut input).expect("well"));
        }
        assert_eq!(taken.len(), 2);
        assert_eq!(taken[0].path, "/v1/completions");
        assert_eq!(taken[0].id.as_deref(), Some("r 1"));
        assert!(taken[0].gzip && taken[0].close);
        assert_eq!(taken[0].body["a"], 1);
        assert_eq!(taken[1].path, "/");
        assert!(taken[1].body.is_null() && !taken[1].gzip && !taken[1].close);
        // Several complete requests are taken one by one.
        let mut input = bytes.to_vec();
        for path in ["/v1/completions", "/"] {
            let request = take(&mut input).expect("well").expect("whole");
            assert_eq!(request.path, path);
        }
        assert!(input.is_empty());
    }

    #[test]
    fn what_is_no_request_is_told() {
        for bytes in [
            &b"\x16\x03\x01\x02\x00"[..],
            b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            take(&mut bytes.to_vec()).expect_err("told");
        }
        let mut endless = b"GET / HTTP/1.1\r\na: ".to_vec();
        endless.resize(MAX_HEAD + 1, b'a');
        take(&mut endless).expect_err("told");
    }
}
