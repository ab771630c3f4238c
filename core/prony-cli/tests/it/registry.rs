//! A server on this machine that gives files, and artifacts as a registry does that wants a token.

use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

const TOKEN: &str = "a-token-for-anybody";

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A file of the server.
#[derive(Clone)]
struct Served {
    body: Vec<u8>,
    /// `true` if the connection ends after half of it.
    is_cut: bool,
}

type Files = Arc<Mutex<HashMap<String, Served>>>;

pub(crate) struct Registry {
    pub(crate) url: String,
    files: Files,
    gave_tokens: Arc<AtomicBool>,
}

impl Registry {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Self {
            url: format!("http://{address}"),
            files: Files::default(),
            gave_tokens: Arc::default(),
        };
        let (files, gave) = (server.files.clone(), server.gave_tokens.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, gave) = (files.clone(), gave.clone());
                thread::spawn(move || serve(stream, &files, &gave));
            }
        });
        server
    }

    pub(crate) fn host(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub(crate) fn gave_tokens(&self) -> bool {
        self.gave_tokens.load(Ordering::SeqCst)
    }

    pub(crate) fn put(&self, path: &str, body: &[u8]) {
        let served = Served {
            body: body.to_owned(),
            is_cut: false,
        };
        self.files
            .lock()
            .expect("no panic")
            .insert(path.to_owned(), served);
    }

    /// Lets the connection end in the middle of a file from now on.
    pub(crate) fn cut(&self, path: &str) {
        let mut files = self.files.lock().expect("no panic");
        files.get_mut(path).expect("a file").is_cut = true;
    }

    /// Puts a file under a tag; returns the digest of its manifest.
    pub(crate) fn push(
        &self,
        repository: &str,
        tag: &str,
        file: &[u8],
        annotations: &[(&str, &str)],
    ) -> String {
        let annotations: HashMap<_, _> = annotations.iter().copied().collect();
        let digest = format!("sha256:{}", sha256(file));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.wasm.config.v0+json",
                "digest": format!("sha256:{}", sha256(b"{}")),
                "size": 2,
            },
            "layers": [{
                "mediaType": "application/wasm",
                "digest": digest,
                "size": file.len(),
            }],
            "annotations": annotations,
        });
        let manifest = manifest.to_string();
        self.put(&format!("/v2/{repository}/blobs/{digest}"), file);
        self.put(
            &format!("/v2/{repository}/manifests/{tag}"),
            manifest.as_bytes(),
        );
        format!("sha256:{}", sha256(manifest.as_bytes()))
    }
}

fn serve(mut stream: TcpStream, files: &Files, gave_tokens: &AtomicBool) {
    let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
    let first = lines.next().and_then(Result::ok).unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut has_token = false;
    for line in lines.map_while(Result::ok) {
        if line.is_empty() {
            break;
        }
        let line = line.to_ascii_lowercase();
        has_token |= line == format!("authorization: bearer {TOKEN}");
    }
    let host = stream.local_addr().expect("an address");
    let mut answer = |status: &str, header: &str, body: &[u8], sent: usize| {
        let head = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{header}\r\n",
            body.len()
        );
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&body[..sent]);
    };
    if path.starts_with("/token?") {
        assert!(path.contains("scope=repository%3Aacme"), "{path}");
        gave_tokens.store(true, Ordering::SeqCst);
        let body = json!({ "token": TOKEN }).to_string();
        return answer("200 OK", "", body.as_bytes(), body.len());
    }
    if path.starts_with("/v2/") && !has_token {
        let challenge = format!(
            "www-authenticate: Bearer realm=\"http://{host}/token\",service=\"test\",scope=\"repository:acme/lines:pull\"\r\n"
        );
        return answer("401 Unauthorized", &challenge, b"", 0);
    }
    let file = files.lock().expect("no panic").get(&path).cloned();
    match file {
        Some(Served { body, is_cut }) => {
            let sent = if is_cut { body.len() / 2 } else { body.len() };
            answer("200 OK", "", &body, sent);
        }
        None => answer("404 Not Found", "", b"", 0),
    }
}
