//! `prony plugin record`

use super::exchange::{Answered, Asked, Sent, headers, secrets};
use super::subject::{Source, wrong};
use crate::arguments::Global;
use crate::{Exit, Failure, Outcome, output};
use clap::{Args, ValueEnum};
use prony_conformance::file_stem;
use prony_contract::{Manifest, Transport};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
#[command(
    after_help = "Example: prony plugin record engine-mine --base-url http://127.0.0.1:8000 --prompt 'Say hello.' --name hello"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    asked: Asked,
    /// Name of the fixture. Several prompts are numbered.
    #[arg(long, default_value = "recorded", value_name = "NAME", value_parser = name)]
    name: String,
    /// Also derive bad fixtures of the answer. May be repeated.
    #[arg(long = "fault", value_enum, value_name = "FAULT")]
    faults: Vec<Fault>,
    /// Overwrite fixtures of that name.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// The answer breaks off within a line.
    Cut,
    /// The answer stops between two reads, and nothing more comes.
    Stall,
    /// A line of the answer has lost its middle.
    Malformed,
}

fn name(given: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !given.is_empty() && given.bytes().all(is_plain) {
        return Ok(given.to_owned());
    }
    Err("a name has letters, digits, `-` and `_` only".to_owned())
}

/// A fixture to be written.
struct Fixture {
    name: String,
    status: u16,
    body: Vec<u8>,
    /// End offsets of reads in the body, and when each came, in milliseconds since the sending.
    ends: Vec<u32>,
    reads_ms: Vec<f64>,
    headers: Vec<(String, String)>,
    request: Value,
    /// Set if it was derived.
    fault: Option<&'static str>,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let mut tested = arguments.source.load(global)?;
    let manifest = tested.subject.plugin().describe()?;
    let is_http = manifest.transport == Some(Transport::Http);
    if is_http && arguments.asked.base_url.is_none() && !arguments.source.has_config() {
        return Err(wrong(format!(
            "which server is to be recorded? Give the address at which your engine listens, as in `prony plugin record {} --base-url http://127.0.0.1:8000`, or a config that has it by `--config`",
            arguments.source.shown()
        )));
    }
    arguments.asked.put_address(&mut tested, &manifest, None);
    let requests = arguments.asked.requests(&tested, &manifest);
    let answers = arguments.asked.send(&tested, &manifest, requests)?;
    let folder = &tested.fixtures;
    std::fs::create_dir_all(folder).map_err(|error| io(folder, &error))?;
    let count = answers.len();
    let mut fixtures = Vec::new();
    for (index, answer) in answers.iter().enumerate() {
        let name = match count {
            1 => arguments.name.clone(),
            _ => format!("{}-{}", arguments.name, index + 1),
        };
        if let Some(failed) = &answer.exchange.seen.failed {
            let message = format!(
                "the request failed, and nothing came of it (`{}`): {}",
                failed.class.name(),
                failed.message
            );
            if answer.exchange.body.is_empty() {
                return Err(Failure::new(Exit::RunFailed, message));
            }
            output::error_line(format_args!("warning: `{name}`: {}", failed.message));
        }
        let recorded = scrubbed(fixture(name, answer), &manifest, &tested.settings.config);
        let faults = arguments.faults.iter();
        let bad: Vec<_> = faults.filter_map(|it| derived(*it, &recorded)).collect();
        fixtures.push(recorded);
        fixtures.extend(bad);
    }
    let mut written = Vec::new();
    // Before the first is written.
    for fixture in fixtures.iter().filter(|_| !arguments.force) {
        refuse_taken(folder, &file_stem(&fixture.name, fixture.status))?;
    }
    for fixture in &fixtures {
        written.push(write(folder, fixture, arguments.force)?);
    }
    if !global.quiet {
        for path in &written {
            output::line(format_args!("recorded {}", path.display()));
        }
        let shown = arguments.source.shown();
        output::line(format_args!(
            "next: `prony plugin test {shown} --bless` writes the events that `decode` makes of it; read them"
        ));
    }
    Ok(Exit::Ok)
}

fn io(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::RunFailed, format!("`{}`: {error}", path.display()))
}

fn fixture(name: String, answer: &Answered) -> Fixture {
    let Answered {
        request, exchange, ..
    } = answer;
    let sent = exchange.seen.stamps.sent_ns;
    let reads = exchange.seen.reads_ns.iter();
    let ms = |ns: &u64| (ns.saturating_sub(sent) as f64 / 1e4).round() / 100.0;
    Fixture {
        name,
        // Over standard input and output there is none.
        status: exchange.seen.status.unwrap_or(200),
        body: exchange.body.clone(),
        ends: exchange.ends.clone(),
        reads_ms: reads.map(ms).collect(),
        headers: match &answer.sent {
            Sent::Http(_) => headers(exchange.head.as_deref()),
            Sent::Line(_) => Vec::new(),
        },
        request: json!(request),
        fault: None,
    }
}

/// The same without what is nobody's business: values of authorisation and cookies, the config's
/// secrets, and the user's name in paths. Lengths stay, so that reads end where they did.
fn scrubbed(mut fixture: Fixture, manifest: &Manifest, config: &Value) -> Fixture {
    let mut hidden = secrets(manifest, config);
    let home = std::env::var("HOME").unwrap_or_default();
    // Not `/` or `/root`, which name nobody.
    if Path::new(&home).components().count() > 2 {
        hidden.push(home);
    }
    for (name, value) in &mut fixture.headers {
        if is_private(name) {
            "***".clone_into(value);
        }
        for secret in &hidden {
            *value = value.replace(secret.as_str(), "***");
        }
    }
    for secret in &hidden {
        mask(&mut fixture.body, secret.as_bytes());
    }
    fixture
}

/// Returns `true` for the name of a header, in lower case, whose value may let somebody in.
pub(super) fn is_private(name: &str) -> bool {
    let words = [
        "auth",
        "cookie",
        "credential",
        "key",
        "password",
        "secret",
        "token",
    ];
    words.iter().any(|word| name.contains(word)) || name == "location"
}

/// Replaces the letters of each occurrence by `x`; slashes stay.
fn mask(body: &mut [u8], secret: &[u8]) {
    let mut from = 0;
    while let Some(at) = memchr::memmem::find(&body[from..], secret) {
        let start = from + at;
        from = start + secret.len();
        // Of a path the last part alone.
        let keep = secret
            .iter()
            .rposition(|byte| *byte == b'/')
            .map_or(0, |it| it + 1);
        body[start + keep..from].fill(b'x');
    }
}

/// A bad answer made of a good one; `None` if it is too short for that.
fn derived(fault: Fault, good: &Fixture) -> Option<Fixture> {
    // A line of the middle that is long enough to lose something.
    let mut lines = Vec::new();
    let mut from = 0;
    for end in memchr::memchr_iter(b'\n', &good.body).chain([good.body.len()]) {
        if end > from + 8 {
            lines.push((from, end));
        }
        from = end + 1;
    }
    let (start, middle) = *lines.get(lines.len() / 2)?;
    let (name, body) = match fault {
        Fault::Cut => {
            let at = start + (middle - start) / 2;
            ("cut", good.body[..at].to_vec())
        }
        Fault::Stall => {
            let ends = &good.ends[..good.ends.len().saturating_sub(1)];
            // An answer that came in one read stops in front of a line.
            let at = ends.get(ends.len() / 2).map_or(start, |at| *at as usize);
            ("stall", good.body[..at].to_vec())
        }
        Fault::Malformed => {
            let (from, to) = (
                start + (middle - start) / 3,
                start + (middle - start) * 2 / 3,
            );
            let mut body = good.body.clone();
            body.drain(from..to);
            ("malformed", body)
        }
    };
    if body.is_empty() || body == good.body {
        return None;
    }
    let length = body.len() as u32;
    let mut ends: Vec<u32> = good
        .ends
        .iter()
        .copied()
        .filter(|it| *it < length)
        .collect();
    ends.push(length);
    let reads_ms = good.reads_ms.iter().copied().take(ends.len()).collect();
    Some(Fixture {
        name: format!("{}-{name}", good.name),
        status: good.status,
        body,
        ends,
        reads_ms,
        headers: good.headers.clone(),
        request: Value::Null,
        fault: Some(name),
    })
}

/// Fails if a fixture of this name is there, whatever its form.
fn refuse_taken(folder: &Path, stem: &str) -> Result<(), Failure> {
    let files = ["sse", "body", "response.json", "request.json"];
    let mut paths = files.iter().map(|it| folder.join(format!("{stem}.{it}")));
    match paths.find(|path| path.exists()) {
        Some(path) => Err(wrong(format!(
            "`{}` is there already: give another `--name`, or `--force`",
            path.display()
        ))),
        None => Ok(()),
    }
}

/// Writes the files of a fixture; returns that of the body.
fn write(folder: &Path, fixture: &Fixture, force: bool) -> Result<PathBuf, Failure> {
    let is_sse = fixture
        .headers
        .iter()
        .any(|(name, value)| name == "content-type" && value.contains("text/event-stream"));
    let stem = file_stem(&fixture.name, fixture.status);
    let extension = if is_sse { "sse" } else { "body" };
    let path = folder.join(format!("{stem}.{extension}"));
    if !force {
        refuse_taken(folder, &stem)?;
    }
    let save = |path: &Path, bytes: &[u8]| {
        prony_files::replace(path, bytes).map_err(|error| io(path, &error))
    };
    save(&path, &fixture.body)?;
    let mut response = json!({
        "status": fixture.status,
        "headers": fixture.headers.iter().map(|(name, value)| json!([name, value])).collect::<Vec<_>>(),
        "ends": fixture.ends,
        "reads_ms": fixture.reads_ms,
    });
    if let Some(fault) = fixture.fault {
        response["derived"] = json!(fault);
    }
    let json = |value: &Value| format!("{value:#}\n").into_bytes();
    save(
        &folder.join(format!("{stem}.response.json")),
        &json(&response),
    )?;
    if !fixture.request.is_null() {
        save(
            &folder.join(format!("{stem}.request.json")),
            &json(&fixture.request),
        )?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Fixture {
        let body = b"data: {\"a\": 1}\n\ndata: {\"b\": 2}\n\ndata: [DONE]\n\n".to_vec();
        let length = body.len() as u32;
        Fixture {
            name: "hello".to_owned(),
            status: 200,
            ends: vec![16, 32, length],
            reads_ms: vec![1.0, 2.0, 3.0],
            body,
            headers: vec![("set-cookie".to_owned(), "id=1".to_owned())],
            request: json!({}),
            fault: None,
        }
    }

    #[test]
    fn bad_answers_are_made_of_a_good_one() {
        let good = good();
        for fault in [Fault::Cut, Fault::Stall, Fault::Malformed] {
            let bad = derived(fault, &good).expect("long enough");
            assert_ne!(bad.body, good.body);
            assert_eq!(bad.ends.last().copied(), Some(bad.body.len() as u32));
            assert_eq!(bad.ends.len(), bad.reads_ms.len(), "{fault:?}");
        }
        let cut = derived(Fault::Cut, &good).expect("long enough");
        assert!(good.body.starts_with(&cut.body) && !cut.body.ends_with(b"\n"));
        let stall = derived(Fault::Stall, &good).expect("long enough");
        assert!(good.ends.contains(&(stall.body.len() as u32)));
    }

    #[test]
    fn secrets_and_names_are_masked_and_lengths_stay() {
        let mut body = b"at /users/alice/x with key-1234 and key-1234".to_vec();
        let length = body.len();
        mask(&mut body, b"/users/alice");
        mask(&mut body, b"key-1234");
        assert_eq!(body, b"at /users/xxxxx/x with xxxxxxxx and xxxxxxxx");
        assert_eq!(body.len(), length);
    }
}
