//! `prony plugin try`

use super::exchange::{Answered, Asked, Sent};
use super::subject::{Source, Tested, wrong};
use crate::arguments::Global;
use crate::{Exit, Failure, Outcome, output};
use clap::Args;
use prony_contract::{
    Error, ErrorKind, Event, EventKind, Kind, Manifest, Request, Response, Transport,
};
use prony_record::{ErrorClass, Failed, Observation, Phase, Record, RequestId};
use prony_runner::author::now_ns;
use prony_truth_server::{Config, Server};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Bytes of a read that are shown.
const SHOWN: usize = 300;
/// A project's own stand-in for its engine, in its folder.
const TOY: &str = "toy/server.py";

#[derive(Debug, Args)]
#[command(
    after_help = "Example: prony plugin try engine-mine --base-url http://127.0.0.1:8000 --prompt 'Say hello.'"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    asked: Asked,
    /// Show every byte of each read.
    #[arg(long)]
    full: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let mut tested = arguments.source.load(global)?;
    let manifest = tested.subject.plugin().describe()?;
    if manifest.kind == Kind::Reporter {
        return report(&tested);
    }
    if manifest.transport == Some(Transport::InProcess) {
        return generate(&tested, &manifest, arguments);
    }
    let stand_in = stand_in(&tested, &manifest, arguments)?;
    let url = stand_in.as_ref().map(StandIn::url);
    arguments.asked.put_address(&mut tested, &manifest, url);
    let requests = arguments.asked.requests(&tested, &manifest);
    let answers = arguments.asked.send(&tested, &manifest, requests)?;
    let mut all_good = true;
    for answer in answers {
        all_good &= show(&tested, answer, stand_in.as_ref(), arguments.full);
    }
    Ok(if all_good { Exit::Ok } else { Exit::RunFailed })
}

/// A server that stands in for the engine while this lives.
enum StandIn {
    Truth(Server),
    Toy { child: Child, url: String },
}

impl StandIn {
    fn url(&self) -> &str {
        match self {
            Self::Truth(server) => &server.url,
            Self::Toy { url, .. } => url,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Truth(_) => "prony's truth server, since no `--base-url` is given",
            Self::Toy { .. } => "`toy/server.py`, since no `--base-url` is given",
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        if let Self::Toy { child, .. } = self {
            // One that has ended already is as well.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a server if the adapter needs one and none is named.
fn stand_in(
    tested: &Tested,
    manifest: &Manifest,
    arguments: &Arguments,
) -> Result<Option<StandIn>, Failure> {
    let is_named = arguments.asked.base_url.is_some()
        || arguments.source.has_config() && tested.settings.config.get("base_url").is_some();
    if manifest.transport != Some(Transport::Http) || is_named {
        return Ok(None);
    }
    if tested.folder.join(TOY).is_file() {
        return toy(&tested.folder).map(Some);
    }
    let config = Config {
        tokens: arguments.asked.max_tokens,
        ..Config::default()
    };
    let server = Server::spawn(config);
    let server = server.map_err(|error| Failure::new(Exit::RunFailed, error.to_string()))?;
    Ok(Some(StandIn::Truth(server)))
}

/// Starts the project's own server on a free port.
fn toy(folder: &Path) -> Result<StandIn, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::RunFailed,
            format!(
                "`python3 {TOY}` did not start: {error}; give `--base-url` of a server that runs"
            ),
        )
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let port = free.local_addr().map_err(failed)?.port();
    drop(free);
    let mut child = Command::new("python3")
        .args([TOY, "--port", &port.to_string()])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // Its first line says that it listens.
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output)
            .read_line(&mut line)
            .map_err(failed)?;
    }
    let toy = StandIn::Toy {
        child,
        url: format!("http://127.0.0.1:{port}"),
    };
    if line.is_empty() {
        return Err(failed(std::io::Error::other("it ended")));
    }
    Ok(toy)
}

/// Shows an answer; returns `true` if the request would count as a success.
fn show(tested: &Tested, answer: Answered, stand_in: Option<&StandIn>, full: bool) -> bool {
    let Answered {
        request,
        sent,
        exchange,
    } = answer;
    match &sent {
        Sent::Http(sent) => {
            let to = stand_in.map_or_else(String::new, |it| format!(" to {}", it.name()));
            output::line(format_args!("{} {}{to}", sent.method, sent.path));
            output::line(format_args!("  {}", shortened(sent.body.as_bytes(), full)));
        }
        Sent::Line(sent) => output::line(format_args!("{}", shortened(sent.line.as_bytes(), full))),
    }
    let seen = &exchange.seen;
    let ms = |ns: u64| ns.saturating_sub(seen.stamps.sent_ns) as f64 / 1e6;
    let status = seen
        .status
        .map_or_else(String::new, |it| format!("HTTP {it}, "));
    output::line(format_args!(
        "{status}{} bytes in {} reads, {:.1} ms",
        exchange.body.len(),
        exchange.ends.len(),
        ms(seen.stamps.end_ns)
    ));
    let status = seen.status.or((!exchange.body.is_empty()).then_some(200));
    let decoded = match status {
        None => Ok(Vec::new()),
        Some(status) => {
            let plugin = tested.subject.plugin();
            let config = &tested.settings.config;
            plugin
                .decode(
                    config,
                    &Response {
                        status,
                        headers: &exchange.headers,
                        body: &exchange.body,
                        ends: &exchange.ends,
                    },
                )
                .map_err(prony_plugin_host::Error::into_reported)
        }
    };
    let events = decoded.as_deref().unwrap_or_default();
    let mut start = 0;
    for (read, (end, at)) in exchange.ends.iter().zip(&seen.reads_ns).enumerate() {
        let bytes = &exchange.body[start..*end as usize];
        start = *end as usize;
        output::line(format_args!(
            "read {read:>3}  {:>8.1} ms  {}",
            ms(*at),
            shortened(bytes, full)
        ));
        for event in events.iter().filter(|it| it.read as usize == read) {
            output::line(format_args!("{:22}→ {}", "", words(event)));
        }
    }
    if let Err(error) = &decoded {
        output::line(format_args!("`decode` gives an error: {error}"));
    }
    judge(seen.clone(), decoded, &request)
}

/// Says what the request would count as in a run.
fn judge(mut seen: Observation, decoded: Result<Vec<Event>, Error>, request: &Request) -> bool {
    let decoded = decoded.or_else(|error| {
        if error.kind != ErrorKind::Internal {
            return Err(error);
        }
        let words = format!("prony could not read the answer: {}", error.message);
        seen.failed
            .get_or_insert(Failed::new(ErrorClass::Plugin, words));
        Ok(Vec::new())
    });
    let id = RequestId {
        point: None,
        model: "try".to_owned(),
        engine: "try".to_owned(),
        cycle: 1,
        phase: Phase::Measure,
        stage: "try".to_owned(),
        index: 0,
        prompt: 0,
        image: None,
    };
    let record = Record::judge(id, seen, decoded, request.max_tokens);
    let mut told = String::new();
    if let Some(tokens) = record.output_tokens {
        let _ = write!(told, ", {tokens} tokens");
    }
    if let Some(tokens) = record.prompt_tokens {
        let _ = write!(told, ", {tokens} prompt tokens");
    }
    for note in &record.notes {
        output::line(format_args!("note: {note}"));
    }
    match &record.failed {
        None => {
            let text = shortened(record.text.as_bytes(), false);
            output::line(format_args!("this counts as a success{told}: `{text}`"));
            if record.output_tokens.is_none() {
                output::line(format_args!(
                    "but its tokens are not counted, so it has no throughput: give each text its `tokens`, or tell the engine's count (`output-tokens`)"
                ));
            }
            true
        }
        Some(failed) => {
            output::line(format_args!(
                "this fails as `{}`: {}",
                failed.class.name(),
                failed.message
            ));
            if let Some(hint) = hint(failed.class) {
                output::line(format_args!("{hint}"));
            }
            false
        }
    }
}

/// Part of `decode` in a failure.
fn hint(class: ErrorClass) -> Option<&'static str> {
    match class {
        ErrorClass::Empty => Some(
            "no event is a text with tokens: `decode` found none in the bytes above, or tells no count of them",
        ),
        ErrorClass::Truncated => {
            Some("no event is an `end`: `decode` gives one where the stream ends by its own rule")
        }
        ErrorClass::Protocol => {
            Some("`decode` could not read the bytes above, or they break HTTP's own rules")
        }
        _ => None,
    }
}

/// Bytes as text, with what cannot be seen escaped.
fn shortened(bytes: &[u8], full: bool) -> String {
    let text = String::from_utf8_lossy(bytes);
    let escaped: String = text
        .chars()
        .map(|it| {
            if it.is_control() || it == '\u{fffd}' {
                it.escape_default().to_string()
            } else {
                it.to_string()
            }
        })
        .collect();
    let length = escaped.chars().count();
    if full || length <= SHOWN {
        return escaped;
    }
    let start: String = escaped.chars().take(SHOWN).collect();
    format!("{start}… ({length} characters, `--full` shows all)")
}

/// An event in a few words.
fn words(event: &Event) -> String {
    use EventKind::{CachedTokens, OutputTokens, PromptTokens, ReasoningTokens};
    let kind = serde_json::to_value(event.kind).unwrap_or_default();
    let mut words = kind.as_str().unwrap_or_default().to_owned();
    if !event.text.is_empty() || event.kind.is_text() {
        let _ = write!(words, " `{}`", shortened(event.text.as_bytes(), false));
    }
    let counts = matches!(
        event.kind,
        OutputTokens | PromptTokens | CachedTokens | ReasoningTokens
    );
    if event.tokens > 0 || counts {
        let s = if event.tokens == 1 { "" } else { "s" };
        let _ = write!(words, ", {} token{s}", event.tokens);
    }
    if event.ns > 0 {
        let _ = write!(words, ", {} ns", event.ns);
    }
    words
}

/// Answers in this process, each event with its time.
fn generate(tested: &Tested, manifest: &Manifest, arguments: &Arguments) -> Outcome {
    let config = &tested.settings.config;
    let mut engine = tested.subject.open_engine(config, &tested.model())?;
    let mut all_good = true;
    for request in arguments.asked.requests(tested, manifest) {
        let sent_ns = now_ns();
        let answer = engine.generate(&request, now_ns, u64::MAX);
        let mut seen = Observation::default();
        seen.stamps.intended_ns = sent_ns;
        seen.stamps.sent_ns = sent_ns;
        seen.stamps.end_ns = now_ns();
        let decoded = answer.map_err(prony_plugin_host::Error::into_reported);
        for (at, event) in decoded.iter().flatten() {
            let ms = at.saturating_sub(sent_ns) as f64 / 1e6;
            output::line(format_args!("{ms:>10.2} ms  {}", words(event)));
            seen.reads_ns.push(*at);
        }
        if let Err(error) = &decoded {
            output::line(format_args!("`generate` gives an error: {error}"));
        }
        let events = decoded.map(|it| it.into_iter().map(|(_, event)| event).collect());
        all_good &= judge(seen, events, &request);
    }
    Ok(if all_good { Exit::Ok } else { Exit::RunFailed })
}

/// Renders a recorded result of two engines, and shows what is printed and which files there are.
fn report(tested: &Tested) -> Outcome {
    let result = prony_conformance::sample_result();
    let plugin = tested.subject.plugin();
    let artifacts = plugin.render(&tested.settings.config, &result.to_string())?;
    if let Some(problem) = prony_contract::artifact::artifacts_problem(&artifacts) {
        return Err(wrong(problem));
    }
    for artifact in &artifacts {
        output::line(format_args!(
            "{}, {}, {} bytes",
            artifact.name,
            artifact.media_type,
            artifact.bytes.len()
        ));
        if std::str::from_utf8(&artifact.bytes).is_ok() {
            output::lines(&String::from_utf8_lossy(&artifact.bytes));
        }
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_events_are_shown_on_one_line() {
        assert_eq!(shortened(b"a\n\xff\tb\r", false), "a\\n\\u{fffd}\\tb\\r");
        let long = "é".repeat(SHOWN + 1);
        assert!(
            shortened(long.as_bytes(), false).ends_with("(301 characters, `--full` shows all)")
        );
        assert_eq!(shortened(long.as_bytes(), true), long);
        let event = Event {
            read: 0,
            kind: EventKind::Text,
            tokens: 1,
            ns: 0,
            text: "x".to_owned(),
        };
        assert_eq!(words(&event), "text `x`, 1 token");
    }
}
