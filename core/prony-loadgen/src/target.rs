//! Destination of requests, and their bytes.

use prony_contract::HttpRequest;

/// Destination of requests: `http://host[:port]` or `https://host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    authority: String,
    /// Host and port, for connecting.
    pub(crate) address: String,
    /// Server name in the certificate, for encrypted connections.
    pub(crate) encrypted_for: Option<String>,
}

/// A base URL that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is not a base URL that prony can use: {reason}")]
pub struct BadUrl {
    url: String,
    reason: &'static str,
}

impl Target {
    /// Parses `http://host[:port]` or `https://host[:port]`.
    pub fn new(url: &str) -> Result<Self, BadUrl> {
        let bad = |reason| BadUrl {
            url: url.to_owned(),
            reason,
        };
        let (encrypted, authority) = match url.split_once("://") {
            Some(("http", authority)) => (false, authority),
            Some(("https", authority)) => (true, authority),
            _ => return Err(bad("it must start with `http://` or `https://`")),
        };
        let authority = authority.trim_end_matches('/');
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
            return Err(bad(
                "`http://host:port` is expected, without a path or a user",
            ));
        }
        let last_colon = authority
            .rfind(':')
            .filter(|colon| !authority[*colon..].contains(']'));
        let (host, address) = match last_colon {
            Some(colon) if authority[colon + 1..].parse::<u16>().is_ok() => {
                (&authority[..colon], authority.to_owned())
            }
            Some(_) => return Err(bad("the port is not a number")),
            None => {
                let port = if encrypted { 443 } else { 80 };
                (authority, format!("{authority}:{port}"))
            }
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            authority: authority.to_owned(),
            address,
            encrypted_for: encrypted.then(|| host.to_owned()),
        })
    }

    /// Renders a request, ready to be written. The error names the part that holds a line
    /// break or another control character.
    ///
    /// Answers are requested uncompressed, unless the request has its own
    /// `accept-encoding`.
    pub fn prepare(&self, request: &HttpRequest) -> Result<Prepared, String> {
        let parts = request
            .headers
            .iter()
            .flat_map(|header| [&header.name, &header.value]);
        for part in parts.chain([&request.method, &request.path]) {
            if part.chars().any(char::is_control) {
                return Err(format!(
                    "{part:?} holds a control character and cannot be sent in a request's head"
                ));
            }
        }
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {}\r\n",
            request.method, request.path, self.authority
        );
        for header in &request.headers {
            for part in [&header.name, ": ", &header.value, "\r\n"] {
                head.push_str(part);
            }
        }
        let mut headers = request.headers.iter();
        if !headers.any(|header| header.name.eq_ignore_ascii_case("accept-encoding")) {
            head.push_str("accept-encoding: identity\r\n");
        }
        head.push_str("content-length: ");
        head.push_str(&request.body.len().to_string());
        head.push_str("\r\n\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(request.body.as_bytes());
        Ok(Prepared(bytes))
    }
}

/// A request as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared(pub(crate) Vec<u8>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls() {
        let read = |url| {
            Target::new(url)
                .map(|target| (target.address, target.encrypted_for))
                .map_err(|bad| bad.reason)
        };
        assert_eq!(
            read("http://localhost:8080/"),
            Ok(("localhost:8080".into(), None))
        );
        assert_eq!(
            read("https://[::1]"),
            Ok(("[::1]:443".into(), Some("::1".into())))
        );
        assert_eq!(
            read("https://a.example:8443"),
            Ok(("a.example:8443".into(), Some("a.example".into())))
        );
        for bad in [
            "",
            "localhost:1",
            "ftp://a",
            "http://",
            "http://a/v1",
            "http://u@a",
            "http://a:x",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
