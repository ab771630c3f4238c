//! Servers that are measured, and what they say of it themselves.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::TOKENS;
use crate::shell;
use crate::workspace::Workspace;

/// Longest time to wait for a server to start.
const LIMIT: Duration = Duration::from_mins(2);
/// Longest time from an answer to its line in the log.
const LOG_DELAY: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(50);

/// A server.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// prony's server with a known schedule, which writes so many tokens at a time.
    Truth { coalesce: u32 },
    /// llama.cpp with SmolLM2-135M, without its prompt cache.
    LlamaCpp,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Truth { .. } => "truth-server",
            Self::LlamaCpp => "llama.cpp",
        }
    }

    /// Reason why it cannot be started here, if any.
    pub(super) fn is_missing(self, workspace: &Workspace) -> Option<String> {
        let needed = |path: PathBuf, by: &str| {
            (!path.exists()).then(|| format!("not installed; `cargo xtask {by}` does it"))
        };
        match self {
            Self::Truth { .. } => None,
            Self::LlamaCpp => needed(llama_server(workspace), "engines llama.cpp")
                .or_else(|| needed(model(workspace), "model smollm2")),
        }
    }
}

fn llama_server(workspace: &Workspace) -> PathBuf {
    workspace.cache.join("engines/bin/llama-server")
}

fn model(workspace: &Workspace) -> PathBuf {
    workspace
        .cache
        .join("models/smollm2-135m-instruct-q4_1.gguf")
}

/// An answer by the server's own account, in milliseconds since its request had come.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    /// When the request had come, in milliseconds of the server's clock; absent where its log
    /// does not say.
    pub(super) received: Option<f64>,
    /// Its first token.
    pub(super) first: f64,
    /// Its last token.
    pub(super) last: f64,
    /// The end of the stream; absent where the log does not say.
    pub(super) end: Option<f64>,
    /// Generated tokens.
    pub(super) tokens: f64,
}

/// A server that runs until this is dropped.
pub(super) struct Server {
    kind: Kind,
    child: Child,
    log: PathBuf,
    pub(super) url: String,
    /// Its command line, for the page.
    pub(super) command: String,
    pub(super) version: Option<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(super) fn start(
        workspace: &Workspace,
        folder: &Path,
        kind: Kind,
        in_flight: usize,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
        let port = listener.local_addr()?.port();
        drop(listener);
        let mut version = None;
        let mut command = match kind {
            Kind::Truth { coalesce } => {
                let mut command = Command::new(workspace.prony());
                command
                    .args(["truth-server", "--tokens", &TOKENS.to_string()])
                    .args(["--time-to-first-token-ms", "200"])
                    .args(["--inter-token-latency-us", "20000"])
                    .args(["--coalesce", &coalesce.to_string()])
                    .args(["--log", "server.log"]);
                command
            }
            Kind::LlamaCpp => {
                let program = llama_server(workspace);
                let said = Command::new(&program).arg("--version").output()?;
                let said = [said.stdout, said.stderr].concat();
                let said = String::from_utf8_lossy(&said).into_owned();
                version = said
                    .lines()
                    .find_map(|line| line.strip_prefix("version: "))
                    .map(str::to_owned);
                // A link beside the log keeps this machine's paths off the page.
                std::os::unix::fs::symlink(model(workspace), folder.join("model.gguf"))?;
                let mut command = Command::new(program);
                command
                    .args(["-m", "model.gguf", "--alias", "truth", "--no-cache-prompt"])
                    .args(["-c", "8192", "-t", "1", "-np", &in_flight.to_string()])
                    .args(["--host", "127.0.0.1"]);
                command
            }
        };
        command.args(["--port", &port.to_string()]);
        let said = File::create(folder.join("server.out"))?;
        let child = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(said.try_clone()?)
            .stdout(said)
            .spawn()
            .with_context(|| format!("cannot start `{}`", shell::line(&command)))?;
        let log = match kind {
            Kind::Truth { .. } => "server.log",
            Kind::LlamaCpp => "server.out",
        };
        let mut server = Self {
            kind,
            child,
            log: folder.join(log),
            url: format!("http://127.0.0.1:{port}"),
            command: shell::line(&command),
            version,
        };
        server.wait_until_ready(port)?;
        Ok(server)
    }

    fn wait_until_ready(&mut self, port: u16) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < LIMIT {
            if let Some(status) = self.child.try_wait()? {
                bail!("`{}` ended: {status}", self.command);
            }
            if is_healthy(port) {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        bail!("`{}` is not ready after {LIMIT:?}", self.command)
    }

    /// The answers that its log tells of, by the time of their requests, or else in the order
    /// in which they ended.
    pub(super) fn answers(&self) -> Result<Vec<Answer>> {
        let text = fs::read_to_string(&self.log)
            .with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(match self.kind {
            Kind::Truth { .. } => of_truth_server(&text),
            Kind::LlamaCpp => of_llama_cpp(&text),
        })
    }

    /// The answers that its log tells of when it tells of so many, since it is written a moment
    /// later; or those that it has after a while, as requests can fail.
    pub(super) fn wait_for(&self, count: usize) -> Result<Vec<Answer>> {
        let begin = Instant::now();
        loop {
            let answers = self.answers()?;
            if answers.len() >= count || begin.elapsed() > LOG_DELAY {
                return Ok(answers);
            }
            std::thread::sleep(POLL);
        }
    }
}

fn is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream
            .write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(head.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

fn of_truth_server(log: &str) -> Vec<Answer> {
    // An incomplete last line is one that is being written.
    let entries = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut answers: Vec<Answer> = entries
        .filter_map(|entry| {
            let stamps = |name: &str| -> Vec<f64> {
                let list = entry[name].as_array().into_iter().flatten();
                list.filter_map(Value::as_f64).collect()
            };
            let received = entry["received_ns"].as_f64()?;
            let (writes, counts) = (stamps("writes_ns"), stamps("tokens_per_write"));
            let since = |at: f64| (at - received) / 1e6;
            let mut texts = writes
                .iter()
                .zip(&counts)
                .filter(|(_, tokens)| **tokens > 0.0);
            let first = since(*texts.next()?.0);
            Some(Answer {
                received: Some(received / 1e6),
                first,
                last: texts.next_back().map_or(first, |(at, _)| since(*at)),
                end: Some(since(*writes.last()?)),
                tokens: counts.iter().sum(),
            })
        })
        .collect();
    answers.sort_by(|a, b| {
        a.received
            .unwrap_or(0.0)
            .total_cmp(&b.received.unwrap_or(0.0))
    });
    answers
}

/// `prompt eval time = 798.48 ms / 31 tokens`, and in a later line of the same task `eval time
/// = 79.73 ms / 5 tokens`: from the beginning of work to the first token, and from there to the
/// last.
fn of_llama_cpp(log: &str) -> Vec<Answer> {
    let mut prompts = std::collections::BTreeMap::new();
    let mut answers = Vec::new();
    for line in log.lines() {
        let Some((before, figures)) = line.split_once("eval time =") else {
            continue;
        };
        let task = before
            .split("task ")
            .nth(1)
            .and_then(|it| it.split(' ').next());
        let figures: Vec<f64> = figures
            .split([' ', '/', '('])
            .filter_map(|word| word.parse().ok())
            .collect();
        let (Some(task), [ms, tokens, ..]) = (task, figures.as_slice()) else {
            continue;
        };
        if before.trim_end().ends_with("prompt") {
            prompts.insert(task.to_owned(), *ms);
        } else if let Some(first) = prompts.remove(task) {
            answers.push(Answer {
                received: None,
                first,
                last: first + ms,
                end: None,
                tokens: *tokens,
            });
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_truth_server_is_an_answer() {
        let line = r#"{"request":0,"received_ns":1000000,"writes_ns":[1000000,5000000,7000000,7500000],"tokens_per_write":[0,4,2,0],"complete":true}"#;
        let answers = of_truth_server(&format!("{line}\n{}", &line[..40]));
        let [answer] = answers.as_slice() else {
            panic!("{} answers", answers.len());
        };
        assert_eq!((answer.first, answer.last), (4.0, 6.0));
        assert_eq!((answer.end, answer.tokens), (Some(6.5), 6.0));
    }

    #[test]
    fn two_lines_of_llama_cpp_are_an_answer() {
        let log = "\
0.1 I slot print_timing: id  0 | task 0 | prompt eval time =     798.48 ms /    31 tokens (   25.76 ms per token)
0.1 I slot print_timing: id  1 | task 3 | prompt eval time =     10.00 ms /    3 tokens (   25.76 ms per token)
0.2 I slot print_timing: id  0 | task 0 |        eval time =      79.73 ms /     5 tokens (   19.93 ms per token)
0.2 I slot print_timing: id  0 | task 0 |       total time =     878.21 ms /    36 tokens
";
        let answers = of_llama_cpp(log);
        let [answer] = answers.as_slice() else {
            panic!("{} answers", answers.len());
        };
        assert_eq!((answer.first, answer.tokens), (798.48, 5.0));
        assert!((answer.last - 878.21).abs() < 1e-9);
    }
}
