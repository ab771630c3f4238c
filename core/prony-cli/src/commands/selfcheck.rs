//! `prony selfcheck`: the load client against the server with a known schedule.

use crate::arguments::{Global, Layers, Source};
use crate::commands::{print_json, runtime};
use crate::{Exit, Failure, Outcome, output, pipeline, plugins};
use clap::Args;
use prony_config::Arrival;
use prony_result::{ErrorRange, Selfcheck};
use prony_runner::selfcheck::{self, FIRST_MS, GAP_MS, LoadShape, TOKENS};
use std::path::PathBuf;

/// Checks with the load shapes of a pipeline, or with some numbers of requests in flight.
#[derive(Debug, Args)]
#[command(after_help = "Example: prony selfcheck --concurrency 64 --seconds 5")]
pub(crate) struct Arguments {
    /// A pipeline whose load shapes are checked.
    pub(crate) pipeline: Option<PathBuf>,
    /// Requests in flight, without a pipeline. May be repeated.
    #[arg(
        long,
        value_name = "N",
        default_values_t = [1, 64],
        value_parser = clap::value_parser!(u32).range(1..=4096),
        conflicts_with = "pipeline"
    )]
    pub(crate) concurrency: Vec<u32>,
    /// Approximate duration of each check, in seconds.
    #[arg(long, default_value_t = 5, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// Print as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let shapes = match &arguments.pipeline {
        None => arguments
            .concurrency
            .iter()
            .map(|concurrency| LoadShape {
                arrival: Arrival::Concurrency(*concurrency),
                shards: None,
            })
            .collect(),
        Some(source) => {
            let registry = plugins::registry_of(global, &super::run::base_of(source)?)?;
            let source = Source {
                file: source.clone(),
                layers: Layers::default(),
            };
            let Some(loaded) = pipeline::open(global, &source, &registry, None) else {
                return Ok(Exit::InvalidPipeline);
            };
            selfcheck::shapes(&loaded.pipeline)
        }
    };
    let failure = |message: String| Failure::new(Exit::RunFailed, message);
    let folder = tempfile::tempdir().map_err(|error| failure(error.to_string()))?;
    let command = truth_server()?;
    let runtime = runtime()?;
    let mut checks = Vec::new();
    for shape in shapes {
        if !global.quiet {
            eprintln!(
                "checking {} for about {} s",
                prony_plan::describe(shape.arrival),
                arguments.seconds
            );
        }
        let check = selfcheck::check(&command, folder.path(), shape, arguments.seconds);
        let check = async {
            tokio::select! {
                check = check => Some(check),
                // The check ends its server, and the folder is removed.
                _ = tokio::signal::ctrl_c() => None,
            }
        };
        let Some(check) = runtime.block_on(check) else {
            return Ok(Exit::Interrupted);
        };
        checks.push(check.map_err(failure)?);
    }
    if arguments.json {
        print_json(&checks)?;
    } else {
        output::lines(&table(&checks));
    }
    let valid = checks.iter().all(|check| check.invalid.is_empty());
    Ok(if valid { Exit::Ok } else { Exit::Invalid })
}

/// The command that runs the truth server; its options follow.
pub(crate) fn truth_server() -> Result<Vec<String>, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(Exit::RunFailed, error.to_string()))?;
    let program = program.to_string_lossy().into_owned();
    Ok(vec![program, "truth-server".to_owned()])
}

fn table(checks: &[Selfcheck]) -> String {
    let mut text = format!(
        "Against a server that sends {TOKENS} tokens, the first after {FIRST_MS} ms and then one each {GAP_MS} ms:\n"
    );
    for check in checks {
        let Selfcheck {
            arrival,
            requests,
            tokens,
            arrival_error_us: arrivals,
            gap_error_us: gaps,
            first_receipt_us,
            later_receipt_us,
            client,
            invalid,
            ..
        } = check;
        let stamps = match client.stamps.as_str() {
            "kernel" => "by the kernel",
            _ => "after each read",
        };
        let range = |name: &str, it: ErrorRange| {
            format!(
                "  {name:<35} p50 {:.0} µs   p99 {:.0} µs   max {:.0} µs",
                it.p50, it.p99, it.max
            )
        };
        let receipt = |name: &str, it: &Option<ErrorRange>| it.map(|it| range(name, it));
        let lines = [
            Some(format!(
                "{arrival}: {requests} requests, {tokens} tokens, stamped {stamps}"
            )),
            receipt("first requests read after sending", first_receipt_us),
            receipt("later requests read after sending", later_receipt_us),
            Some(range("arrivals after the server's write", *arrivals)),
            Some(range("error of gaps between tokens", *gaps)),
            Some(format!(
                "  late in sending                     p90 {:.0} µs   p99 {:.0} µs",
                client.send_delay_p90_ms * 1e3,
                client.send_delay_p99_ms * 1e3
            )),
            Some(format!(
                "  CPU time of the client              {:.1} % of a core",
                client.cpu_percent
            )),
        ];
        text.push('\n');
        for line in lines.iter().flatten() {
            text.push_str(line);
            text.push('\n');
        }
        if invalid.is_empty() {
            text.push_str("  valid: times measured like this are the server's\n");
        }
        for reason in invalid {
            text.push_str("  NOT VALID: ");
            text.push_str(reason);
            text.push('\n');
        }
    }
    text.truncate(text.trim_end().len());
    text
}
