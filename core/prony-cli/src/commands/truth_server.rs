//! `prony truth-server`

use crate::{Exit, Failure, Outcome};
use clap::Args;
use prony_truth_server::{Config, Fault, Framing, Identity, Images, Log, PromptTokens, Recording};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
#[command(
    after_help = "Example: prony truth-server --time-to-first-token-ms 50 --fault error_frame"
)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub(crate) struct Arguments {
    /// Address or name at which it listens. From elsewhere it can be reached by anybody.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// Answer every request, whatever its path, with this recorded response: bytes as they
    /// go over the wire. FILE.txt beside FILE.http says how they are cut and timed, and how
    /// the connection ends: a line `end of connection: keep`, `close` or `hold`, a line
    /// `pieces:`, and for each piece a line `+MS BYTES` with the pause before it. The other
    /// options on answers are of no account then.
    #[arg(long, value_name = "FILE.http", conflicts_with = "fault")]
    pub(crate) play: Option<PathBuf>,
    /// Threads, to which connections are given in turn.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) threads: usize,
    /// Tokens per answer, unless the request asks for fewer.
    #[arg(long, default_value_t = 16)]
    pub(crate) tokens: u32,
    /// End after this many tokens with the finish reason `stop`, unless the request has
    /// `ignore_eos`.
    #[arg(long, value_name = "N")]
    pub(crate) eos_after: Option<u32>,
    /// Refuse prompts with more tokens.
    #[arg(long, value_name = "N")]
    pub(crate) context: Option<u32>,
    /// Let the texts of answers depend on the seed, at a temperature above 0.
    #[arg(long)]
    pub(crate) samples: bool,
    /// From the request to the first token, in milliseconds.
    #[arg(long, default_value_t = 20, value_name = "MS")]
    pub(crate) time_to_first_token_ms: u64,
    /// From token to token, in microseconds. With 0, tokens are written together, as fast
    /// as the connection takes them.
    #[arg(long, default_value_t = 5000, value_name = "US")]
    pub(crate) inter_token_latency_us: u64,
    /// Move each token by up to this, earlier or later, in microseconds.
    #[arg(long, default_value_t = 0, value_name = "US")]
    pub(crate) jitter_us: u64,
    /// Decides the jitter, with the numbers of request and token.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
    /// Tokens per write, which is due with the last of them.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) coalesce: u32,
    /// Send the tokens of a write as one event.
    #[arg(long)]
    pub(crate) merge: bool,
    /// Framing of bodies: `chunked`, `close` or `length`.
    #[arg(long, default_value = "chunked", value_name = "HOW")]
    pub(crate) framing: Framing,
    /// Compress for clients that accept it, so that each write can be read at once.
    #[arg(long)]
    pub(crate) gzip: bool,
    /// Speak TLS, with a certificate that is made at the start and signed by itself.
    #[arg(long)]
    pub(crate) tls: bool,
    /// Make it a certificate that may sign others, as `openssl req -x509` does.
    #[arg(long, requires = "tls")]
    pub(crate) tls_authority: bool,
    /// Write the certificate to this file, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// Method of counting prompts: `words` is a token for each word and 7 for each message,
    /// `constant` 7 tokens, whatever the prompt. An image is 256 more.
    #[arg(long, default_value = "words", value_name = "HOW")]
    pub(crate) prompt_tokens: PromptTokens,
    /// Tell how many words each prompt has in common with the beginning of an earlier one,
    /// as `cached_tokens`. Counts prompts by words.
    #[arg(long)]
    pub(crate) prefix_cache: bool,
    /// Claim so many cached prompt tokens, whatever the prompt, as a server does that
    /// keeps no cache apart.
    #[arg(long, value_name = "N")]
    pub(crate) claim_cached: Option<u32>,
    /// Say nothing of cached tokens in answers. The counters at `/metrics` still do.
    #[arg(long)]
    pub(crate) hide_cached: bool,
    /// Claim at `/props` to have this model.
    #[arg(long, value_name = "NAME")]
    pub(crate) claim_model: Option<String>,
    /// Claim at `/props` to have a context of so many tokens.
    #[arg(long, default_value_t = 4096, value_name = "N")]
    pub(crate) claim_context: u32,
    /// Claim at `/metrics` to have had so many requests more for each that came, of as many
    /// tokens as an answer has at most, as a server has that others use, too.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) claim_requests: u32,
    /// Fault to show: `error_frame`, `empty`, `cut`, `http500`, `http404`, `hang`, `crash`,
    /// `garbage`, `zero_tokens`, `no_finish`, `not_http`, `stall`, `slow_headers`, `reset`,
    /// `wrong_length`, `bad_chunk`, `redirect`, `huge_head`, `endless_head`, `endless_interim`,
    /// `endless_extension`, `endless_chunks`, `endless_trailers`, `ignore_stop`, `ignore_seed`,
    /// `ignore_ignore_eos`, `cut_prompt`, `no_usage` or `no_end_mark`.
    #[arg(long)]
    pub(crate) fault: Option<String>,
    /// The first request, from 0, with the fault.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) fault_from: u32,
    /// Duration of the faults `stall` and `slow_headers`, in milliseconds.
    #[arg(long, default_value_t = 3000, value_name = "MS")]
    pub(crate) stall_ms: u64,
    /// Answer requests without an image with an error.
    #[arg(long)]
    pub(crate) require_image: bool,
    /// Leave images out of the prompt, as a server of a text model does.
    #[arg(long, conflicts_with = "require_image")]
    pub(crate) drop_images: bool,
    /// Write a line of JSON about each answer to this file: when its request had come, and
    /// when each write was made and was due, in nanoseconds of the monotonic clock.
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// End at once with this exit code, as an engine that cannot start.
    #[arg(long, value_name = "CODE")]
    pub(crate) exit: Option<u8>,
}

pub(crate) fn run(server: &Arguments) -> Outcome {
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
    let listener = TcpListener::bind((server.host.as_str(), server.port))
        .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
        .map_err(|error| {
            Failure::new(
                Exit::RunFailed,
                format!("{} port {}: {error}", server.host, server.port),
            )
        });
    let (fault, (listener, address)) = (fault.transpose()?, listener?);
    let failed = |error: std::io::Error| Failure::new(Exit::RunFailed, error.to_string());
    let at = |path: &Path, error: std::io::Error| {
        Failure::new(Exit::RunFailed, format!("{}: {error}", path.display()))
    };
    let tls = server.tls.then(|| {
        if server.tls_authority {
            Identity::authority()
        } else {
            Identity::self_signed()
        }
    });
    let tls = tls.transpose().map_err(failed)?;
    let recording = server.play.as_deref().map(Recording::read);
    let recording = recording.transpose().map_err(failed)?;
    if let (Some(identity), Some(path)) = (&tls, &server.tls_certificate) {
        std::fs::write(path, identity.certificate_pem()).map_err(|error| at(path, error))?;
    }
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
        context: server.context,
        samples: server.samples,
        time_to_first_token: Duration::from_millis(server.time_to_first_token_ms),
        inter_token_latency: Duration::from_micros(server.inter_token_latency_us),
        jitter: Duration::from_micros(server.jitter_us),
        seed: server.seed,
        coalesce: server.coalesce,
        merge: server.merge,
        framing: server.framing,
        gzip: server.gzip,
        tls,
        prompt_tokens: server.prompt_tokens,
        prefix_cache: server.prefix_cache,
        claim_cached: server.claim_cached,
        hide_cached: server.hide_cached,
        claim_model: server.claim_model.clone(),
        claim_context: server.claim_context,
        claim_requests: server.claim_requests,
        fault,
        fault_from: server.fault_from,
        stall: Duration::from_millis(server.stall_ms),
        images: match (server.require_image, server.drop_images) {
            (true, _) => Images::Required,
            (_, true) => Images::Dropped,
            _ => Images::Counted,
        },
        threads: server.threads,
        recording,
        log,
    };
    prony_truth_server::serve(&listener, config).map_err(failed)?;
    Ok(Exit::Ok)
}
