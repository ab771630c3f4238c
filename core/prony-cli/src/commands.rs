//! The commands, one module each; the small ones are here.

pub(crate) mod aa;
pub(crate) mod compare;
pub(crate) mod explain;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod list;
pub(crate) mod metrics;
pub(crate) mod plan;
pub(crate) mod plugin;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod selfcheck;
pub(crate) mod validate;

use crate::arguments::{Arguments, Global, TruthServer, TruthStdio};
use crate::{Exit, Failure, Outcome, output, plugins};
use clap::CommandFactory as _;
use prony_truth_server::{
    Config, Fault, Identity, Images, Log, Recording, StdioConfig, StdioFault,
};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

/// `prony completions`
pub(crate) fn completions(shell: clap_complete::Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "prony", &mut script);
    output::write(&script);
    Exit::Ok
}

/// `prony worker`
pub(crate) fn worker(global: &Global, plugin: &str) -> Outcome {
    let registry = plugins::registry(global)?;
    prony_runner::worker::serve(&registry, plugin)
        .map_err(|error| Failure::new(Exit::RunFailed, error.to_string()))?;
    Ok(Exit::Ok)
}

/// `prony truth-server`
pub(crate) fn truth_server(server: &TruthServer) -> Outcome {
    if let Some(code) = server.exit {
        eprintln!("cannot start: told to end with {code}");
        #[expect(clippy::exit, reason = "any code, not only prony's own")]
        std::process::exit(code.into());
    }
    let fault = server.fault.as_deref().map(|name| {
        Fault::ALL
            .into_iter()
            .find(|fault| fault.name() == name)
            .ok_or_else(|| {
                let names: Vec<String> = Fault::ALL
                    .iter()
                    .map(|fault| format!("`{}`", fault.name()))
                    .collect();
                Failure::new(
                    Exit::Usage,
                    format!("there is no fault `{name}`; there are {}", names.join(", ")),
                )
            })
    });
    let listener = TcpListener::bind(("127.0.0.1", server.port))
        .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
        .map_err(|error| Failure::new(Exit::RunFailed, format!("port {}: {error}", server.port)));
    let (fault, (listener, address)) = (fault.transpose()?, listener?);
    let failed = |error: std::io::Error| Failure::new(Exit::RunFailed, error.to_string());
    let at = |path: &Path, error: std::io::Error| {
        Failure::new(Exit::RunFailed, format!("{}: {error}", path.display()))
    };
    let tls = server.tls.then(|| match server.tls_authority {
        true => Identity::authority(),
        false => Identity::self_signed(),
    });
    let tls = tls.transpose().map_err(failed)?;
    if let (Some(identity), Some(path)) = (&tls, &server.tls_certificate) {
        std::fs::write(path, identity.certificate_pem()).map_err(|error| at(path, error))?;
    }
    let recording = server.play.as_deref().map(Recording::read);
    let recording = recording.transpose().map_err(failed)?;
    let log = match &server.log {
        Some(path) => Log::to_file(path).map_err(|error| at(path, error))?,
        None => Log::none(),
    };
    let scheme = if server.tls { "https" } else { "http" };
    println!("listening on {scheme}://{address}");
    // The line must be seen even when standard output is a file.
    let _ = std::io::stdout().flush();
    let config = Config {
        tokens: server.tokens,
        eos_after: server.eos_after,
        time_to_first_token: Duration::from_millis(server.time_to_first_token_ms),
        inter_token_latency: Duration::from_micros(server.inter_token_latency_us),
        jitter: Duration::from_micros(server.jitter_us),
        seed: server.seed,
        coalesce: server.coalesce,
        framing: server.framing,
        gzip: server.gzip,
        tls,
        prompt_tokens: server.prompt_tokens,
        prefix_cache: server.prefix_cache,
        claim_cached: server.claim_cached,
        recording,
        fault,
        fault_from: server.fault_from,
        stall: Duration::from_millis(server.stall_ms),
        images: match (server.require_image, server.drop_images) {
            (true, _) => Images::Required,
            (_, true) => Images::Dropped,
            _ => Images::Counted,
        },
        threads: server.threads,
        log,
    };
    prony_truth_server::serve(&listener, config).map_err(failed)?;
    Ok(Exit::Ok)
}

/// `prony truth-stdio`
pub(crate) fn truth_stdio(engine: &TruthStdio) -> Outcome {
    let name = engine.fault.as_deref();
    let config = StdioConfig {
        tokens: engine.tokens,
        time_to_first_token: Duration::from_millis(engine.time_to_first_token_ms),
        inter_token_latency: Duration::from_micros(engine.inter_token_latency_us),
        batch: engine.batch,
        fault: StdioFault::ALL
            .into_iter()
            .find(|it| Some(it.name()) == name),
        fault_from: engine.fault_from,
    };
    eprintln!("{}", engine.ready);
    let input = std::io::BufReader::new(std::io::stdin());
    prony_truth_server::serve_stdio(input, std::io::stdout(), &config)
        .map_err(|error| Failure::new(Exit::RunFailed, error.to_string()))?;
    Ok(Exit::Ok)
}

/// Pretty JSON on standard output.
pub(crate) fn print_json<T: serde::Serialize>(value: &T) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(Exit::RunFailed, error.to_string()))?;
    println!("{json}");
    Ok(())
}
