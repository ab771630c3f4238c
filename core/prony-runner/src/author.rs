//! Single requests of an adapter, for its author: to a server, or to a process that is started for
//! them.

use crate::process::Process;
use prony_contract::{HttpRequest, Message, Ready, StdioPlan};
pub use prony_loadgen::Exchange;
use prony_loadgen::load::{Arrival, Load, Ramp, single_request_sessions};
use prony_loadgen::stdio::Pipe;
use prony_loadgen::target::Target;
use prony_loadgen::{client::Http, clock};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Interval between looks at a starting process.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Time that a process has to end by itself.
const GRACE: Duration = Duration::from_secs(5);

fn load<R>(requests: Vec<R>, timeout: Duration) -> Load<R> {
    Load {
        sessions: single_request_sessions(requests.len() as u32),
        requests,
        think: Duration::ZERO,
        delays: BTreeMap::new(),
        arrival: Arrival::Closed {
            concurrency: 1,
            ramp: Ramp::NONE,
        },
        timeout,
        until: None,
        is_share: false,
    }
}

/// Sends requests, one after the other, to `http://host:port`, and keeps the heads of the
/// answers. The error is for people.
pub async fn over_http(
    base_url: &str,
    requests: &[HttpRequest],
    timeout: Duration,
) -> Result<Vec<Exchange>, String> {
    let target = Target::new(base_url).map_err(|error| error.to_string())?;
    let prepared = requests.iter().map(|request| {
        let prepared = target.prepare(request)?;
        Ok(Arc::new(prepared.keeping_head()))
    });
    let prepared = prepared.collect::<Result<Vec<_>, String>>()?;
    let running = Http::new(target).start(load(prepared, timeout));
    let running = running.map_err(|error| error.to_string())?;
    answers(running, requests.len()).await
}

async fn answers(
    mut running: prony_loadgen::load::Running,
    count: usize,
) -> Result<Vec<Exchange>, String> {
    let mut answers: Vec<Option<Exchange>> = vec![None; count];
    while let Some(mut done) = running.next().await {
        done.exchange.unpack();
        if let Some(answer) = answers.get_mut(done.index as usize) {
            *answer = Some(done.exchange);
        }
    }
    let answers: Option<Vec<Exchange>> = answers.into_iter().collect();
    answers.ok_or_else(|| "a request was never answered".to_owned())
}

/// Starts the process of a plan in `folder`, with its standard error in the file `log`, sends its
/// opening messages and then these, one after the other. The process ends before this returns.
/// The error is for people.
pub async fn over_stdio(
    plan: StdioPlan,
    messages: Vec<Message>,
    folder: &Path,
    log: &Path,
    timeout: Duration,
) -> Result<Vec<Exchange>, String> {
    let [program, arguments @ ..] = plan.command.argv.as_slice() else {
        return Err("the launch command is empty".to_owned());
    };
    let mut command = Command::new(program);
    command.args(arguments);
    let cwd = plan.command.cwd.as_ref();
    command.current_dir(cwd.map_or_else(|| folder.to_owned(), |cwd| folder.join(cwd)));
    let env = plan.command.env.iter();
    command.envs(env.map(|pair| (&pair.name, &pair.value)));
    let not_started = |error: std::io::Error| format!("`{program}` did not start: {error}");
    let (mut process, input, output) = Process::start_piped(command, log).map_err(not_started)?;
    let piped = || {
        let log = File::options().append(true).open(log)?;
        let (input, output) = (input.into_owned_fd()?, output.into_owned_fd()?);
        Pipe::new(input.into(), output.into(), plan.id_at, log)
    };
    let pipe = piped().map_err(not_started)?;
    let told = talk(
        &mut process,
        &pipe,
        (&plan.ready, plan.opening),
        messages,
        timeout,
    )
    .await;
    for message in plan.closing {
        // It is ended in any case.
        let _ = pipe.ask(message, GRACE).await;
    }
    drop(pipe);
    let words = process.last_words();
    process.stop(GRACE).await;
    told.map_err(|what| format!("{what}; {words}"))
}

async fn talk(
    process: &mut Process,
    pipe: &Pipe,
    (ready, opening): (&Ready, Vec<Message>),
    messages: Vec<Message>,
    timeout: Duration,
) -> Result<Vec<Exchange>, String> {
    let begin = Instant::now();
    if let Ready::LogLine(line) = ready {
        while !process.has_logged(line) {
            if let Some(status) = process.exited() {
                return Err(format!("the engine ended while it started ({status})"));
            }
            if begin.elapsed() > timeout {
                return Err(format!("the line `{line}` did not come within {timeout:?}"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    for message in opening {
        let line = message.line.clone();
        let answer = pipe.ask(message, timeout).await;
        answer.map_err(|what| format!("`{line}` was not answered well: {what}"))?;
    }
    let count = messages.len();
    answers(pipe.start(load(messages, timeout)), count).await
}

/// Reading of the clock that stamps are of, in nanoseconds.
pub fn now_ns() -> u64 {
    clock::now_ns()
}
