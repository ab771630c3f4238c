//! HTTP with limits: the certificates of the system, redirects by the caller's rules.

use crate::{Error, Result};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// Longest time without a byte.
const STALLED: Duration = Duration::from_mins(1);
const CONNECT: Duration = Duration::from_secs(20);
/// Longest time for a whole file: 512 MiB at 0.6 MiB/s.
const WHOLE: Duration = Duration::from_mins(15);
/// Most redirects of a request.
const MAX_REDIRECTS: u32 = 5;

/// A client that follows no redirect by itself, so that secrets stay with their origin, and gives
/// up after a minute without a byte.
pub fn agent() -> Agent {
    let found = rustls_native_certs::load_native_certs();
    let roots: Vec<_> = found
        .certs
        .iter()
        .map(|it| Certificate::from_der(it).to_owned())
        .collect();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("prony/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(STALLED))
        .timeout_per_read(Some(STALLED))
        .build();
    config.new_agent()
}

/// Scheme, host and port of an address, as far as the first `/` after them.
pub fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    Some(format!("{scheme}://{host}").to_ascii_lowercase())
}

/// The address that a redirect leads to: one of HTTP, or a path of the same origin.
pub fn follow(url: &str, place: &str) -> Option<String> {
    let lower = place.to_ascii_lowercase();
    if lower.starts_with("https://") || lower.starts_with("http://") {
        // Nothing that was encrypted goes on in the open.
        let stays =
            lower.starts_with("https://") || !url.to_ascii_lowercase().starts_with("https://");
        return stays.then(|| place.to_owned());
    }
    let is_path = place.starts_with('/') && !place.starts_with("//");
    is_path.then(|| origin(url).map(|origin| format!("{origin}{place}")))?
}

/// Returns `true` for a host, with or without a port, that is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|it| it.is_loopback())
}

/// Fails for an address that is neither encrypted nor on this machine.
pub(crate) fn refuse_open(url: &str) -> Result<()> {
    let lower = url.to_ascii_lowercase();
    let host = lower.strip_prefix("http://");
    let host = host.and_then(|it| it.split(['/', '?', '#']).next());
    // What stands before an `@` is no host.
    let is_here = host.is_some_and(|it| !it.contains('@') && is_loopback(it));
    if lower.starts_with("https://") || is_here {
        return Ok(());
    }
    Err(Error::Source {
        source_text: url.to_owned(),
        reason: "plain HTTP goes to this machine only: use `https://`".to_owned(),
    })
}

/// An answer of any status; redirects are followed. A token goes to the first origin only.
pub(crate) fn get(
    agent: &Agent,
    url: &str,
    accept: &str,
    token: Option<&str>,
) -> Result<Response<Body>> {
    refuse_open(url)?;
    let first = origin(url);
    let mut url = url.to_owned();
    for _ in 0..=MAX_REDIRECTS {
        let not_given = |reason: String| Error::NotGiven {
            url: url.clone(),
            reason,
        };
        let mut request = agent.get(&url).header("accept", accept);
        if let Some(token) = token.filter(|_| origin(&url) == first) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.config().timeout_global(Some(WHOLE)).build();
        let answer = request
            .call()
            .map_err(|error| not_given(error.to_string()))?;
        if !answer.status().is_redirection() {
            return Ok(answer);
        }
        let place = answer
            .headers()
            .get("location")
            .and_then(|it| it.to_str().ok());
        let next = place.and_then(|place| follow(&url, place));
        url =
            next.ok_or_else(|| not_given(format!("it leads to {}", place.unwrap_or("nowhere"))))?;
        refuse_open(&url)?;
    }
    Err(Error::NotGiven {
        url,
        reason: format!("it leads on more than {MAX_REDIRECTS} times"),
    })
}

/// The whole body of an answer, which may have `most` bytes.
pub(crate) fn body(url: &str, answer: &mut Response<Body>, most: u64) -> Result<Vec<u8>> {
    let not_given = |reason: String| Error::NotGiven {
        url: url.to_owned(),
        reason,
    };
    let mut bytes = Vec::new();
    let read = answer
        .body_mut()
        .with_config()
        .limit(u64::MAX)
        .reader()
        .take(most + 1)
        .read_to_end(&mut bytes);
    read.map_err(|error| not_given(error.to_string()))?;
    if bytes.len() as u64 > most {
        return Err(not_given(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

/// The body of a good answer; `None` for status 404, and the error for any other.
pub(crate) fn text(agent: &Agent, url: &str, most: u64) -> Result<Option<String>> {
    let mut answer = get(agent, url, "*/*", None)?;
    match answer.status().as_u16() {
        200 => {
            let bytes = body(url, &mut answer, most)?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
        404 | 410 => Ok(None),
        status => Err(refused(url, status)),
    }
}

/// The error for a status.
pub(crate) fn refused(url: &str, status: u16) -> Error {
    let reason = match status {
        401 | 403 => format!(
            "status {status}: it is only for those who log in, which prony does not: download the file with the tool that does, and add that"
        ),
        404 | 410 => format!("status {status}: there is none"),
        429 => "status 429: too many requests, try again later".to_owned(),
        _ => format!("status {status}"),
    };
    Error::NotGiven {
        url: url.to_owned(),
        reason,
    }
}

/// SHA-256, in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Returns `true` for a SHA-256 in hexadecimal.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|it| it.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_to_http_or_stays() {
        for (url, place, expected) in [
            ("https://h/a", "/b?c", Some("https://h/b?c")),
            ("https://h:1/a", "https://cdn/b", Some("https://cdn/b")),
            ("http://h/a", "http://cdn/b", Some("http://cdn/b")),
            ("https://h/a", "http://h/b", None),
            ("https://h/a", "file:///etc/passwd", None),
            ("https://h/a", "//other/b", None),
            ("https://h/a", "b", None),
        ] {
            assert_eq!(follow(url, place).as_deref(), expected, "{place}");
        }
        assert_ne!(origin("http://h:1/"), origin("http://h:2/"));
        assert_ne!(origin("http://h/"), origin("https://h/"));
        assert_eq!(origin("http://H/a"), origin("http://h/b"));
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        for (url, is_well) in [
            ("https://example.org/a", true),
            ("http://127.0.0.1:8/a", true),
            ("http://localhost/a", true),
            ("http://[::1]:8/a", true),
            ("http://example.org/a", false),
            ("http://localhost.example.org/a", false),
            ("http://127.0.0.1@example.org/a", false),
            ("http://localhost:x@example.org/a", false),
            ("ftp://127.0.0.1/a", false),
        ] {
            assert_eq!(refuse_open(url).is_ok(), is_well, "{url}");
        }
    }
}
