//! The hub's HTTP interface: <https://huggingface.co/docs/hub/api>.

use crate::{Error, Result, names};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use prony_fetch::{follow, origin};
use serde::Deserialize;
use std::io::Read as _;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

/// Most bytes of the list of a model's files; one file takes about 300.
const MAX_LIST: u64 = 64 << 20;
/// Most bytes of an error's explanation.
const MAX_REASON: u64 = 4 << 10;
/// Most redirects of a request.
const MAX_REDIRECTS: u32 = 5;

/// Bytes of a path that stay as they are.
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const PATH: AsciiSet = UNRESERVED.remove(b'/');

/// A hub, or a mirror of it.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    pub(crate) endpoint: String,
    token: Option<String>,
    agent: Agent,
}

/// A model at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) commit: String,
    pub(crate) files: Vec<RemoteFile>,
}

/// A file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteFile {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// Name of its content: the SHA-256 of a large file, the SHA-1 that Git gives a small one.
    pub(crate) blob: String,
}

/// Reason why nothing came.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Worth another try: the network, or a server in trouble.
    Passing(String),
    /// The same would come again.
    Lasting(Error),
}

#[derive(Deserialize)]
struct Model {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    sha256: String,
    size: u64,
}

impl Remote {
    pub(crate) fn new(endpoint: &str, token: Option<String>) -> Self {
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token,
            agent: prony_fetch::agent(),
        }
    }

    /// Address of a file's content.
    pub(crate) fn url(&self, id: &str, commit: &str, file: &str) -> String {
        let file = utf8_percent_encode(file, &PATH);
        format!("{}/{id}/resolve/{commit}/{file}", self.endpoint)
    }

    /// Asks for something at an address of this hub, from byte `from` on.
    pub(crate) fn get(&self, id: &str, url: &str, from: u64) -> Result<Response<Body>, Failure> {
        let own = origin(&self.endpoint);
        let mut url = url.to_owned();
        let mut left = MAX_REDIRECTS;
        let answer = loop {
            let mut request = self.agent.get(&url);
            if let Some(token) = &self.token
                && origin(&url) == own
            {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if from > 0 {
                request = request.header("range", format!("bytes={from}-"));
            }
            let answer = request.call().map_err(|error| match error {
                ureq::Error::Io(_)
                | ureq::Error::Timeout(_)
                | ureq::Error::HostNotFound
                | ureq::Error::ConnectionFailed
                | ureq::Error::Protocol(_) => Failure::Passing(error.to_string()),
                error => Failure::Lasting(self.answer(error.to_string())),
            })?;
            if !answer.status().is_redirection() {
                break answer;
            }
            let place = answer
                .headers()
                .get("location")
                .and_then(|it| it.to_str().ok());
            let next = place.and_then(|place| follow(&url, place));
            let (Some(next), true) = (next, left > 0) else {
                let reason = format!("it leads from {url} to {}", place.unwrap_or("nowhere"));
                return Err(Failure::Lasting(self.answer(reason)));
            };
            url = next;
            left -= 1;
        };
        match answer.status().as_u16() {
            200 | 206 => Ok(answer),
            status @ (408 | 429 | 500..=599) => Err(Failure::Passing(format!("status {status}"))),
            _ => Err(Failure::Lasting(self.refused(id, answer))),
        }
    }

    /// The refusal in words; `x-error-code` as the hub's own clients read it.
    fn refused(&self, id: &str, mut answer: Response<Body>) -> Error {
        let status = answer.status();
        let header = |name: &str| {
            let value = answer.headers().get(name).and_then(|it| it.to_str().ok());
            value.map(ToOwned::to_owned)
        };
        let (code, message) = (header("x-error-code"), header("x-error-message"));
        let page = format!("{}/{id}", self.endpoint);
        let reason = match (code.as_deref(), status) {
            (Some("GatedRepo"), _) => format!(
                "its licence must be accepted at {page}, and `HF_TOKEN` set to a token of that account"
            ),
            (Some("RevisionNotFound"), _) => "it has no such revision".to_owned(),
            (Some("EntryNotFound"), _) => "it has no such file".to_owned(),
            (Some("RepoNotFound"), _)
            | (None, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => {
                let token = if self.token.is_some() {
                    "or not for the token in use"
                } else {
                    "or only with a token in `HF_TOKEN`"
                };
                format!("status {}: it does not exist, {token}", status.as_u16())
            }
            _ => {
                let mut text = String::new();
                let read = answer
                    .body_mut()
                    .as_reader()
                    .take(MAX_REASON)
                    .read_to_string(&mut text);
                let text = message.or_else(|| read.is_ok().then(|| text.trim().to_owned()));
                let text = text.filter(|it| !it.is_empty()).map(|it| format!(": {it}"));
                format!("status {}{}", status.as_u16(), text.unwrap_or_default())
            }
        };
        Error::Refused {
            endpoint: self.endpoint.clone(),
            id: id.to_owned(),
            reason,
        }
    }

    /// The files of a model at a revision.
    pub(crate) fn list(&self, id: &str, revision: &str) -> Result<Listing, Failure> {
        let revision = utf8_percent_encode(revision, &UNRESERVED);
        let url = format!(
            "{}/api/models/{id}/revision/{revision}?blobs=true",
            self.endpoint
        );
        let mut answer = self.get(id, &url, 0)?;
        let mut text = Vec::new();
        let read = answer
            .body_mut()
            .as_reader()
            .take(MAX_LIST)
            .read_to_end(&mut text);
        read.map_err(|error| Failure::Passing(error.to_string()))?;
        let wrong = |reason: String| Failure::Lasting(self.answer(reason));
        let model: Model = serde_json::from_slice(&text)
            .map_err(|error| wrong(format!("its list of files: {error}")))?;
        if !names::is_commit(&model.sha) {
            return Err(wrong(format!("`{}` is no commit", model.sha)));
        }
        let mut files = Vec::new();
        for file in model.siblings {
            names::check_path("file", &file.rfilename).map_err(Failure::Lasting)?;
            let (bytes, blob) = match (file.lfs, file.size, file.blob) {
                (Some(large), ..) if large.sha256.len() == 64 => (large.size, large.sha256),
                (None, Some(bytes), Some(blob)) if blob.len() == 40 => (bytes, blob),
                _ => return Err(wrong(format!("`{}` has no size or digest", file.rfilename))),
            };
            if !names::is_hexadecimal(&blob) {
                return Err(wrong(format!("`{blob}` is no digest")));
            }
            files.push(RemoteFile {
                name: file.rfilename,
                bytes,
                blob,
            });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Listing {
            commit: model.sha,
            files,
        })
    }

    /// The error for an answer that is none of a hub.
    pub(crate) fn answer(&self, reason: String) -> Error {
        Error::Answer {
            endpoint: self.endpoint.clone(),
            reason,
        }
    }
}
