//! Files at an address, of which the digest is known.

use crate::http::{agent, body, get, is_sha256, refuse_open, refused, sha256, text};
use crate::{Error, Fetched, MAX_FILE, Result};

/// Most bytes of a signature or a key.
const MAX_TEXT: u64 = 16 << 10;

/// Fetches `https://…#sha256=HEX`, with `….minisig` and `minisign.pub` beside it if they are there.
pub(crate) fn fetch(source: &str) -> Result<Fetched> {
    let wrong = |reason: &str| Error::Source {
        source_text: source.to_owned(),
        reason: reason.to_owned(),
    };
    let (url, fragment) = source.split_once('#').unwrap_or((source, ""));
    let digest = fragment.strip_prefix("sha256=").filter(|it| is_sha256(it));
    let digest = digest.ok_or_else(|| {
        wrong("the address needs the file's digest behind it, as the author states it: `#sha256=` and 64 digits")
    })?;
    refuse_open(url)?;
    let agent = agent();
    let mut answer = get(&agent, url, "*/*", None)?;
    if answer.status().as_u16() != 200 {
        return Err(refused(url, answer.status().as_u16()));
    }
    let bytes = body(url, &mut answer, MAX_FILE)?;
    let found = sha256(&bytes);
    if !found.eq_ignore_ascii_case(digest) {
        return Err(Error::Different {
            url: url.to_owned(),
            reason: format!(
                "{} bytes with sha256 {found}, and the address says {digest}",
                bytes.len()
            ),
        });
    }
    let (path, query) = match url.find('?') {
        Some(at) => url.split_at(at),
        None => (url, ""),
    };
    let signature = text(&agent, &format!("{path}.minisig{query}"), MAX_TEXT)?;
    let folder = path.rsplit_once('/').map_or(path, |(folder, _)| folder);
    let key = match signature {
        Some(_) => text(&agent, &format!("{folder}/minisign.pub{query}"), MAX_TEXT)?,
        None => None,
    };
    Ok(Fetched {
        bytes,
        resolved: None,
        signature,
        key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_digest_is_none() {
        for source in [
            "https://h/a.wasm",
            "https://h/a.wasm#sha256=12",
            "https://h/a.wasm#md5=0123456789abcdef0123456789abcdef",
        ] {
            let error = fetch(source).expect_err(source).to_string();
            assert!(error.contains("`#sha256=` and 64 digits"), "{error}");
        }
        let digest = "0".repeat(64);
        let error = fetch(&format!("http://h/a.wasm#sha256={digest}"));
        let error = error.expect_err("in the open").to_string();
        assert!(error.contains("use `https://`"), "{error}");
    }
}
