//! A hub on this machine: the part of its interface that is used here, with troubles.

use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// The commit of `main`.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The commit of `main` after it has moved.
const LATER: &str = "ffffffffffffffffffffffffffffffffffffffff";

/// A fault of the hub.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Trouble {
    None,
    /// Connections end after 200,000 bytes of a file.
    BreaksOff,
    /// All is sent, whatever is asked for.
    IgnoresRanges,
    /// Files are not those of the list.
    OtherContent,
    /// A token is needed.
    Gated,
    /// It has one commit, whatever is asked for.
    OneCommit,
    EscapingName,
    EscapingBlob,
    NoCommit,
    NoJson,
}

/// The model's files; those over 100 kB count as large.
pub(crate) fn files() -> Vec<(&'static str, Vec<u8>)> {
    let noise = |bytes: usize, seed: u32| -> Vec<u8> {
        let mut state = seed;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        std::iter::repeat_with(next).take(bytes).collect()
    };
    vec![
        ("README.md", b"# tiny\n".to_vec()),
        ("config.json", b"{\"hidden_size\": 8}\n".to_vec()),
        ("model.safetensors", noise(1_000_000, 1)),
        ("sub/tokens \u{e4}.txt", b"a\nb\n".to_vec()),
        ("tiny-q4.gguf", noise(150_000, 2)),
        ("tiny-q8-00001-of-00002.gguf", noise(120_000, 3)),
        ("tiny-q8-00002-of-00002.gguf", noise(110_000, 4)),
    ]
}

pub(crate) fn content(name: &str) -> Vec<u8> {
    let mut files = files().into_iter();
    files
        .find(|(it, _)| *it == name)
        .expect("a file of the model")
        .1
}

fn is_large(content: &[u8]) -> bool {
    content.len() > 100_000
}

pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Name of a content on the hub.
pub(crate) fn blob(_name: &str, content: &[u8]) -> String {
    if is_large(content) {
        return text(&Sha256::digest(content));
    }
    let mut git = Sha1::new();
    git.update(format!("blob {}\0", content.len()));
    git.update(content);
    text(&git.finalize())
}

pub(crate) struct Server {
    pub(crate) address: String,
    requests: Arc<AtomicUsize>,
    has_moved: Arc<AtomicBool>,
    others: Arc<Mutex<Option<String>>>,
}

struct State {
    trouble: Trouble,
    /// Address of large files; another host name of this machine.
    store: String,
    requests: Arc<AtomicUsize>,
    has_moved: Arc<AtomicBool>,
    others: Arc<Mutex<Option<String>>>,
}

impl Server {
    pub(crate) fn start(trouble: Trouble) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = Self {
            address: format!("http://127.0.0.1:{port}"),
            requests: Arc::default(),
            has_moved: Arc::default(),
            others: Arc::default(),
        };
        let state = Arc::new(State {
            trouble,
            store: format!("http://localhost:{port}"),
            requests: server.requests.clone(),
            has_moved: server.has_moved.clone(),
            others: server.others.clone(),
        });
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = state.clone();
                thread::spawn(move || state.serve(stream));
            }
        });
        server
    }

    /// Number of requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn move_branch(&self) {
        self.has_moved.store(true, Ordering::SeqCst);
    }

    /// The token that came with a request to the store of large files.
    pub(crate) fn other_hosts_token(&self) -> Option<String> {
        self.others.lock().expect("nobody panicked").clone()
    }
}

impl State {
    /// Serves one request; each has its own connection.
    fn serve(&self, stream: TcpStream) {
        let mut lines = BufReader::new(&stream).lines();
        let Some(Ok(request)) = lines.next() else {
            return;
        };
        let (mut token, mut from) = (None, None);
        for line in lines.map_while(Result::ok).take_while(|it| !it.is_empty()) {
            let line = line.to_lowercase();
            if let Some(it) = line.strip_prefix("authorization: bearer ") {
                token = Some(it.to_owned());
            }
            if let Some(it) = line.strip_prefix("range: bytes=") {
                from = it.trim_end_matches('-').parse::<usize>().ok();
            }
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        let path = request.split(' ').nth(1).unwrap_or_default();
        let is_head = request.starts_with("HEAD ");
        if self.trouble == Trouble::Gated && token.is_none() && !path.starts_with("/store/") {
            return answer(
                &stream,
                "401 Unauthorized",
                "x-error-code: GatedRepo\r\n",
                b"gated",
            );
        }
        if let Some(rest) = path.strip_prefix("/api/models/acme/tiny/revision/") {
            return self.list(&stream, rest.split('?').next().unwrap_or_default());
        }
        if path.starts_with("/api/models/acme/tiny/tree/") {
            return tree(&stream);
        }
        if let Some(name) = path.strip_prefix("/store/") {
            *self.others.lock().expect("nobody panicked") = token;
            return self.send(&stream, name, from, "");
        }
        for commit in [COMMIT, LATER] {
            if let Some(name) = path.strip_prefix(&format!("/acme/tiny/resolve/{commit}/")) {
                let files = files();
                let found = files.iter().find(|(it, _)| *it == decoded(name));
                let mut head = format!("x-repo-commit: {commit}\r\n");
                if let Some((name, content)) = found {
                    let _ = write!(head, "etag: \"{}\"\r\n", blob(name, content));
                }
                if let Some((name, content)) = found.filter(|it| is_large(&it.1)) {
                    let _ = write!(
                        head,
                        "location: {}/store/{name}\r\nx-linked-etag: \"{}\"\r\nx-linked-size: {}\r\n",
                        self.store,
                        blob(name, content),
                        content.len()
                    );
                    return answer(&stream, "302 Found", &head, b"");
                }
                if let (Some((_, content)), true) = (found, is_head) {
                    return about(&stream, &head, content.len());
                }
                return self.send(&stream, name, from, &head);
            }
        }
        answer(
            &stream,
            "404 Not Found",
            "x-error-code: RepoNotFound\r\n",
            b"",
        );
    }

    fn list(&self, stream: &TcpStream, revision: &str) {
        let main = if self.has_moved.load(Ordering::SeqCst) {
            LATER
        } else {
            COMMIT
        };
        let commit = match revision {
            "main" => main,
            COMMIT => COMMIT,
            _ if self.trouble == Trouble::OneCommit => COMMIT,
            LATER => LATER,
            _ => {
                return answer(
                    stream,
                    "404 Not Found",
                    "x-error-code: RevisionNotFound\r\n",
                    b"",
                );
            }
        };
        let mut all = Vec::new();
        for (name, content) in files() {
            let (mut name, mut blob) = (name.to_owned(), blob(name, &content));
            match self.trouble {
                Trouble::EscapingName => name = format!("../../../../{name}"),
                Trouble::EscapingBlob => blob = format!("{}{}", "../".repeat(4), &blob[12..]),
                _ => {}
            }
            let bytes = content.len();
            all.push(if is_large(&content) {
                format!("{{\"rfilename\":\"{name}\",\"size\":{bytes},\"blobId\":\"{}\",\"lfs\":{{\"sha256\":\"{blob}\",\"size\":{bytes},\"pointerSize\":130}}}}", "c".repeat(40))
            } else {
                format!("{{\"rfilename\":\"{name}\",\"size\":{bytes},\"blobId\":\"{blob}\"}}")
            });
        }
        let commit = if self.trouble == Trouble::NoCommit {
            "../../x"
        } else {
            commit
        };
        let body = match self.trouble {
            Trouble::NoJson => "<html>welcome to the hotel</html>".to_owned(),
            _ => format!(
                "{{\"id\":\"acme/tiny\",\"sha\":\"{commit}\",\"siblings\":[{}]}}",
                all.join(",")
            ),
        };
        answer(stream, "200 OK", "", body.as_bytes());
    }

    fn send(&self, mut stream: &TcpStream, name: &str, from: Option<usize>, about: &str) {
        let name = decoded(name);
        let Some((_, mut content)) = files().into_iter().find(|(it, _)| **it == name) else {
            return answer(
                stream,
                "404 Not Found",
                "x-error-code: EntryNotFound\r\n",
                b"",
            );
        };
        if self.trouble == Trouble::OtherContent {
            content[0] ^= 1;
        }
        let from = from.filter(|_| self.trouble != Trouble::IgnoresRanges);
        let total = content.len();
        let rest = &content[from.unwrap_or(0)..];
        let (status, range) = match from {
            Some(from) => (
                "206 Partial Content",
                format!("content-range: bytes {from}-{}/{total}\r\n", total - 1),
            ),
            None => ("200 OK", String::new()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\n{about}{range}content-length: {}\r\nconnection: close\r\n\r\n",
            rest.len()
        );
        let sent = match self.trouble {
            Trouble::BreaksOff => &rest[..rest.len().min(200_000)],
            _ => rest,
        };
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(sent));
    }
}

/// Lists the files as the hub's own package asks for them.
fn tree(stream: &TcpStream) {
    let entry = |(name, content): (&str, Vec<u8>)| {
        let (blob, bytes) = (blob(name, &content), content.len());
        let large = if is_large(&content) {
            format!(",\"lfs\":{{\"oid\":\"{blob}\",\"size\":{bytes},\"pointerSize\":130}}")
        } else {
            String::new()
        };
        format!(
            "{{\"type\":\"file\",\"path\":\"{name}\",\"size\":{bytes},\"oid\":\"{blob}\"{large}}}"
        )
    };
    let entries: Vec<String> = files().into_iter().map(entry).collect();
    let body = format!("[{}]", entries.join(","));
    answer(
        stream,
        "200 OK",
        "content-type: application/json\r\n",
        body.as_bytes(),
    );
}

/// A file's name in a path.
fn decoded(name: &str) -> String {
    name.replace("%20", " ").replace("%C3%A4", "\u{e4}")
}

/// Answers what a file is, without its content.
fn about(mut stream: &TcpStream, head: &str, bytes: usize) {
    let head =
        format!("HTTP/1.1 200 OK\r\n{head}content-length: {bytes}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes());
}

fn answer(mut stream: &TcpStream, status: &str, head: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status}\r\n{head}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body));
}
