//! Artifacts of a registry: the distribution specification of the Open Container Initiative
//! (<https://github.com/opencontainers/distribution-spec>), as far as pulling one file takes it.

use crate::http::{agent, body, get, is_loopback, is_sha256, refused, sha256};
use crate::{Error, Fetched, MAX_FILE, Result};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use ureq::Agent;

/// Most bytes of a manifest: what registries themselves allow.
const MAX_MANIFEST: u64 = 4 << 20;
/// Most bytes of an answer with a token.
const MAX_TOKEN: u64 = 1 << 20;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Type of a layer that is a WASM file.
const WASM: &str = "application/wasm";
/// Annotation of a manifest that holds the text of a signature by minisign.
const SIGNATURE: &str = "prony.minisig";
/// Annotation of a manifest that holds the public key.
const KEY: &str = "prony.minisign.pub";

/// The parts of `HOST/REPOSITORY:TAG` or `HOST/REPOSITORY@sha256:HEX`.
#[derive(Debug, PartialEq)]
struct Reference<'a> {
    host: &'a str,
    repository: &'a str,
    /// A tag or a digest.
    version: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    size: u64,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// A registry, with the token that it has given.
struct Registry {
    agent: Agent,
    base: String,
    token: Option<String>,
}

pub(crate) fn fetch(source: &str, reference: &str) -> Result<Fetched> {
    let at = parse(reference).map_err(|reason| Error::Source {
        source_text: source.to_owned(),
        reason,
    })?;
    let scheme = if is_loopback(at.host) {
        "http"
    } else {
        "https"
    };
    let mut registry = Registry {
        agent: agent(),
        base: format!("{scheme}://{}/v2/{}", at.host, at.repository),
        token: None,
    };
    let url = format!("{}/manifests/{}", registry.base, at.version);
    let different = |reason: String| Error::Different {
        url: url.clone(),
        reason,
    };
    let (text, stated) = registry.get(&url, MANIFEST, MAX_MANIFEST)?;
    let resolved = format!("sha256:{}", sha256(&text));
    let named = at.version.contains(':').then_some(at.version);
    for digest in named.into_iter().chain(stated.as_deref()) {
        // A registry may state another algorithm.
        if digest.starts_with("sha256:") && digest != resolved {
            return Err(different(format!(
                "a manifest with digest {resolved}, and {digest} is named"
            )));
        }
    }
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| different(format!("no manifest of an artifact: {error}")))?;
    let layer = layer(&manifest.layers).map_err(different)?;
    let blob = format!("{}/blobs/{}", registry.base, layer.digest);
    let (bytes, _) = registry.get(&blob, "*/*", layer.size)?;
    let found = format!("sha256:{}", sha256(&bytes));
    if bytes.len() as u64 != layer.size || found != layer.digest {
        return Err(Error::Different {
            url: blob,
            reason: format!(
                "{} bytes with digest {found}, and the manifest says {} bytes with {}",
                bytes.len(),
                layer.size,
                layer.digest
            ),
        });
    }
    let mut annotations = manifest.annotations;
    Ok(Fetched {
        bytes,
        resolved: Some(resolved),
        signature: annotations.remove(SIGNATURE),
        key: annotations.remove(KEY),
    })
}

impl Registry {
    /// A body and the digest that the registry states. Asks for a token if it is told to.
    fn get(&mut self, url: &str, accept: &str, most: u64) -> Result<(Vec<u8>, Option<String>)> {
        let mut answer = get(&self.agent, url, accept, self.token.as_deref())?;
        if answer.status().as_u16() == 401 && self.token.is_none() {
            let header = answer.headers().get("www-authenticate");
            let challenge = header.and_then(|it| it.to_str().ok()).unwrap_or_default();
            let Some(asked) = token_url(challenge) else {
                return Err(refused(url, 401));
            };
            self.token = Some(self.ask(&asked)?);
            answer = get(&self.agent, url, accept, self.token.as_deref())?;
        }
        if answer.status().as_u16() != 200 {
            return Err(refused(url, answer.status().as_u16()));
        }
        let stated = answer.headers().get("docker-content-digest");
        let stated = stated.and_then(|it| it.to_str().ok()).map(str::to_owned);
        Ok((body(url, &mut answer, most)?, stated))
    }

    /// A token for anybody.
    fn ask(&self, url: &str) -> Result<String> {
        let mut answer = get(&self.agent, url, "application/json", None)?;
        if answer.status().as_u16() != 200 {
            return Err(refused(url, answer.status().as_u16()));
        }
        let text = body(url, &mut answer, MAX_TOKEN)?;
        let token: Option<Token> = serde_json::from_slice(&text).ok();
        let token = token.and_then(|it| it.token.or(it.access_token));
        // It becomes a header.
        let is_plain = |token: &String| token.bytes().all(|it| it.is_ascii_graphic());
        token.filter(is_plain).ok_or_else(|| Error::Different {
            url: url.to_owned(),
            reason: "an answer without a token".to_owned(),
        })
    }
}

/// Where to get a token, by the words of a registry: `Bearer realm="…",service="…",scope="…"`.
fn token_url(challenge: &str) -> Option<String> {
    let (scheme, parameters) = challenge.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    // A scope may hold commas, so each value ends at its quotation mark.
    let value = |name: &str| {
        let start = parameters.find(&format!("{name}=\""))? + name.len() + 2;
        parameters[start..].split('"').next()
    };
    let mut url = value("realm")?.to_owned();
    for name in ["service", "scope"] {
        if let Some(value) = value(name) {
            let separator = if url.contains('?') { '&' } else { '?' };
            let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
            let _ = write!(url, "{separator}{name}={value}");
        }
    }
    Some(url)
}

/// The layer that is the plugin.
fn layer(layers: &[Layer]) -> std::result::Result<&Layer, String> {
    let mut wasm = layers.iter().filter(|it| it.media_type == WASM);
    let layer = match (wasm.next(), wasm.next(), layers) {
        (Some(layer), None, _) | (None, None, [layer]) => layer,
        (None, None, []) => {
            return Err("a manifest without layers, such as an index of several platforms: name the manifest of one by its digest, as in `…@sha256:HEX`".to_owned());
        }
        _ => {
            let types: Vec<&str> = layers.iter().map(|it| it.media_type.as_str()).collect();
            return Err(format!(
                "layers of the types {}: a plugin is the only one, or the only one of type `{WASM}`",
                types.join(", ")
            ));
        }
    };
    let digest = layer.digest.strip_prefix("sha256:");
    if !digest.is_some_and(is_sha256) {
        return Err(format!(
            "a layer with the digest `{}`: it needs a SHA-256",
            layer.digest
        ));
    }
    if layer.size > MAX_FILE {
        return Err(format!(
            "a layer of {} bytes: {MAX_FILE} are the most",
            layer.size
        ));
    }
    Ok(layer)
}

/// Takes a reference apart. The error is the reason.
fn parse(reference: &str) -> std::result::Result<Reference<'_>, String> {
    let expected =
        "expected `oci://HOST/REPOSITORY:TAG`, as in `oci://ghcr.io/acme/engine-acme:1.2.0`";
    let (host, rest) = reference.split_once('/').ok_or(expected)?;
    let (repository, version) = match rest.split_once('@') {
        Some((repository, digest)) => (repository, digest),
        None => rest
            .rsplit_once(':')
            .ok_or_else(|| format!("the tag is missing: {expected}"))?,
    };
    let is_host = !host.is_empty()
        && host
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || b"-.:[]".contains(&it));
    let is_part = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part
                .bytes()
                .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-._".contains(&it))
    };
    let is_tag = !version.is_empty()
        && version.len() <= 128
        && version
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || b"-._".contains(&it));
    let is_digest = version.strip_prefix("sha256:").is_some_and(is_sha256);
    if is_host && repository.split('/').all(is_part) && (is_tag || is_digest) {
        Ok(Reference {
            host,
            repository,
            version,
        })
    } else {
        Err(expected.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_taken_apart() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let long = format!("h/a@{digest}");
        for (text, host, repository, version) in [
            (
                "ghcr.io/acme/engine:1.2.0",
                "ghcr.io",
                "acme/engine",
                "1.2.0",
            ),
            ("127.0.0.1:5000/a:latest", "127.0.0.1:5000", "a", "latest"),
            (&long, "h", "a", &digest),
        ] {
            let expected = Reference {
                host,
                repository,
                version,
            };
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in [
            "ghcr.io",
            "h/a",
            "h/a:",
            "/a:1",
            "h/../a:1",
            "h/A:1",
            "h/a:1 2",
            "h/a@sha256:12",
            "u@h/a:1",
        ] {
            parse(text).expect_err(text);
        }
    }

    #[test]
    fn a_challenge_names_where_tokens_are() {
        let challenge =
            r#"Bearer realm="https://auth.h/token",service="h",scope="repository:a/b:pull,push""#;
        assert_eq!(
            token_url(challenge).as_deref(),
            Some("https://auth.h/token?service=h&scope=repository%3Aa%2Fb%3Apull%2Cpush")
        );
        assert_eq!(token_url("Basic realm=\"h\""), None);
        assert_eq!(token_url("Bearer"), None);
    }

    #[test]
    fn the_layer_is_the_only_one() {
        let of = |types: &[&str]| {
            let layer_of = |it: &&str| Layer {
                media_type: (*it).to_owned(),
                digest: format!("sha256:{}", "0".repeat(64)),
                size: 1,
            };
            let layers: Vec<Layer> = types.iter().map(layer_of).collect();
            layer(&layers).ok().map(|it| it.media_type.clone())
        };
        assert_eq!(of(&["a"]).as_deref(), Some("a"));
        assert_eq!(of(&["a", WASM, "b"]).as_deref(), Some(WASM));
        assert_eq!(of(&["a", "b"]), None);
        assert_eq!(of(&[WASM, WASM]), None);
        assert_eq!(of(&[]), None);
    }
}
