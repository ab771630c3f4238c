//! `prony truth-stdio`

use crate::{Exit, Failure, Outcome};
use clap::Args;
use clap::builder::PossibleValuesParser;
use prony_truth_server::{StdioConfig, StdioFault};
use std::time::Duration;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Text to print on standard error first.
    #[arg(long, default_value = "ready")]
    pub(crate) ready: String,
    /// Tokens per answer, unless the request asks for fewer.
    #[arg(long, default_value_t = 16)]
    pub(crate) tokens: u32,
    /// Time from the request to the first token.
    #[arg(long, default_value_t = 20, value_name = "MS")]
    pub(crate) time_to_first_token_ms: u64,
    /// Time from token to token.
    #[arg(long, default_value_t = 5000, value_name = "US")]
    pub(crate) inter_token_latency_us: u64,
    /// Tokens per line.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) batch: u32,
    /// The fault.
    #[arg(long, value_parser = PossibleValuesParser::new(StdioFault::ALL.map(StdioFault::name)))]
    pub(crate) fault: Option<String>,
    /// The first request, from 0, with the fault.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) fault_from: u32,
}

pub(crate) fn run(engine: &Arguments) -> Outcome {
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
