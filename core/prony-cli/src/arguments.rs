//! The command line.

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use prony_metrics::definition::Definition;
use prony_truth_server::{Framing, PromptTokens, StdioFault};
use std::io::IsTerminal as _;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Exit codes: 0 ok, 1 run failed, 2 usage, 3 invalid pipeline, 4 threshold missed or
slower (`compare --fail-on`), 5 plugin failure, 6 finished, but not valid, 130 interrupted.
Start with: prony run pipelines/quickstart.yaml";

/// Says which LLM inference engine is faster, and how sure that is.
#[derive(Debug, Parser)]
#[command(name = "prony", version, after_help = AFTER_HELP, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Say only what went wrong.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more; twice: debugging; three times: everything.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// When to use colour.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
    /// A lock file with plugins, instead of `./prony.lock` and the bundled ones. May be repeated.
    #[arg(
        long = "lock",
        global = true,
        env = "PRONY_LOCK",
        value_name = "FILE",
        value_delimiter = ':'
    )]
    pub(crate) locks: Vec<PathBuf>,
    /// Folder for what can be made again: compiled plugins, downloaded models.
    #[arg(long, global = true, env = "PRONY_CACHE", value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    Always,
    Never,
}

impl Global {
    /// Whether standard error gets colour.
    pub(crate) fn color(&self) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                std::io::stderr().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a pipeline and report.
    Run(Run),
    /// Compare an engine of a pipeline with itself: how much of a difference is noise?
    Aa(Aa),
    /// Put the results of two runs beside each other.
    Compare(Compare),
    /// Check pipelines without running anything.
    Validate(Validate),
    /// Write a commented pipeline to start from.
    Init(Init),
    /// Make a pipeline of another tool's configuration.
    Import(Import),
    /// Say what a code such as `P0101` or a flag such as `carry_over` means.
    Explain {
        /// The code or flag; all are listed without one.
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// List all.
        #[arg(long, conflicts_with = "name")]
        list: bool,
    },
    /// Show what a pipeline would run, in order.
    Plan(Plan),
    /// Print a JSON Schema.
    Schema(Schema),
    /// List and add plugins.
    Plugin {
        #[command(subcommand)]
        command: Plugin,
    },
    /// List the runs in the results folder.
    List(List),
    /// Report a run again, from its journal.
    Report(Report),
    /// Score a run as other tools define their metrics.
    Metrics(Metrics),
    /// Measure prony's own load client against a server with a known schedule.
    Selfcheck(Selfcheck),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Serve an OpenAI-compatible API with a known schedule and known faults.
    TruthServer(TruthServer),
    /// The same over standard input and output, as JSON-RPC.
    #[command(hide = true)]
    TruthStdio(TruthStdio),
    /// Serve an in-process engine on standard input and output.
    #[command(hide = true)]
    Worker {
        /// The engine plugin.
        plugin: String,
    },
}

/// A pipeline, and what is laid over it.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// The pipeline.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) layers: Layers,
}

/// What is laid over pipelines.
#[derive(Debug, Default, Args)]
pub(crate) struct Layers {
    /// A file to lay over the pipeline: mappings are merged, other values replaced, `null`
    /// removes. May be repeated.
    #[arg(short = 'f', long = "overlay", value_name = "FILE")]
    pub(crate) overlays: Vec<PathBuf>,
    /// Set a value, for example `models.0.enabled=false`. May be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// Give a variable of the pipeline another value. May be repeated.
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub(crate) var: Vec<String>,
    /// Take warnings for errors.
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) deny: Option<Deny>,
}

const AA_EXIT: &str = "\
Exit codes: 0 ok, 1 a run failed, or 20 or more runs named a winner more often than
chance would, 2 usage, 3 invalid pipeline, 5 plugin failure, 6 not valid, 130 interrupted.";

/// Runs a pipeline with one of its engines on both sides, under the names `NAME` and
/// `NAME_again`. Whatever differs then is noise. What it finds is kept for this machine, and
/// later results with the same engine, model and workload say it.
#[derive(Debug, Args)]
#[command(after_help = AA_EXIT)]
pub(crate) struct Aa {
    #[command(flatten)]
    pub(crate) source: Source,
    /// The engine; without it the baseline, or the only one.
    #[arg(long, value_name = "NAME")]
    pub(crate) engine: Option<String>,
    /// How many runs, each with a seed of its own. From 20 on their winners are counted
    /// against what chance allows.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,
    /// Cycles of each run, instead of the pipeline's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(6..=10_000))]
    pub(crate) cycles: Option<u32>,
    /// Begin no run that would not be over after this time, by what the longest one took;
    /// for example `30m`.
    #[arg(long, value_name = "TIME")]
    pub(crate) limit: Option<prony_config::Duration>,
    /// Folder that gets a new folder for each run.
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub(crate) results: PathBuf,
    /// Print what was found as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

const COMPARE_EXIT: &str = "\
Exit codes: 0 ok, 2 usage, or nothing to compare, 4 what `--fail-on` names.";

/// Two versions of an engine are best compared as two engines of one pipeline, whose cycles
/// take turns. Of runs that were made one after the other the differences are shown and no
/// winner is named, since the machine may have changed in between.
#[derive(Debug, Args)]
#[command(after_help = COMPARE_EXIT)]
pub(crate) struct Compare {
    /// The run that is compared with: a name below the results folder, a folder, or a file
    /// `result.json`.
    pub(crate) base: String,
    /// The run that is compared.
    pub(crate) candidate: String,
    /// The engine, if not all that both have.
    #[arg(long, value_name = "NAME")]
    pub(crate) engine: Option<String>,
    /// Its name in the candidate, if it is another one.
    #[arg(long, value_name = "NAME")]
    pub(crate) candidate_engine: Option<String>,
    /// Differences up to this count as none, for example `2%`; the base's without it.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) margin: Option<f64>,
    /// Take the machine to have been equally fast in both runs, and name a winner.
    #[arg(long)]
    pub(crate) assume_stable: bool,
    /// What ends with exit code 4. May be repeated.
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    pub(crate) fail_on: Vec<FailOn>,
    /// Folder with runs.
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub(crate) results: PathBuf,
    /// How to print it.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: CompareFormat,
    /// Print as JSON.
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// A verdict says that the candidate is slower, and not by less than the margin.
    Regression,
    /// There is no verdict, or it is inconclusive.
    Inconclusive,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompareFormat {
    /// For a terminal.
    #[default]
    Text,
    /// For a merge request or a build summary.
    Markdown,
}

/// `2%` or `2`.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    let value = number.parse::<f64>().ok();
    value
        .filter(|value| (0.0..100.0).contains(value))
        .ok_or_else(|| "expected a percentage from 0 to below 100, such as `2%`".to_owned())
}

/// Scores the measured requests of a run by several definitions, side by side.
#[derive(Debug, Args)]
pub(crate) struct Metrics {
    /// The run: a folder, or a name below the results folder; the newest that is over
    /// without it.
    pub(crate) run: Option<String>,
    /// Folder with runs.
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub(crate) results: PathBuf,
    /// Whose definitions; all without it. May be repeated.
    #[arg(long, value_parser = PossibleValuesParser::new(Definition::ALL.map(Definition::name)), value_delimiter = ',')]
    pub(crate) definition: Vec<String>,
    /// Objective for goodput: the longest time to the first token.
    #[arg(long, value_name = "MS")]
    pub(crate) ttft_ms: Option<f64>,
    /// Objective for goodput: the longest time per output token.
    #[arg(long, value_name = "MS")]
    pub(crate) tpot_ms: Option<f64>,
    /// Objective for goodput: the longest latency.
    #[arg(long, value_name = "MS")]
    pub(crate) latency_ms: Option<f64>,
    /// Print as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Checks with a pipeline's own ways of sending, or with some numbers of requests in flight.
#[derive(Debug, Args)]
pub(crate) struct Selfcheck {
    /// A pipeline, whose ways of sending are checked.
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
    /// About how long each check takes, in seconds.
    #[arg(long, default_value_t = 5, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// Print as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Deny {
    /// Every warning that the pipeline does not allow.
    Warnings,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Folder that gets a new folder for the run.
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub(crate) results: PathBuf,
    /// Print the result as JSON instead of what reporters print.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// The pipelines.
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) layers: Layers,
    /// How to print what is found.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Human,
    /// For programs: one JSON object.
    Json,
    /// For code scanning: SARIF 2.1.0.
    Sarif,
    /// For GitHub Actions: one annotation a line.
    Github,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// What to start from.
    #[arg(value_enum, default_value_t)]
    pub(crate) what: Starter,
    /// The file to write; `-` is standard output.
    #[arg(default_value = "pipeline.yaml")]
    pub(crate) file: PathBuf,
    /// Write over a file that is there.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Starter {
    /// One engine, one model.
    #[default]
    Hello,
    /// Two engines against each other.
    Compare,
    /// One engine with every combination of some settings.
    Sweep,
    /// Limits that a build has to keep.
    CiGate,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The tool whose configuration it is.
    #[arg(value_enum)]
    pub(crate) from: ImportFrom,
    /// The configuration.
    pub(crate) file: PathBuf,
    /// The file to write instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Write over a file that is there.
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportFrom {
    /// mlx-serving's benchmark: `benchmark`, `models`, `questions` or `prompts` and `test_images`.
    MlxServing,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Folder with earlier runs, to estimate the time from.
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub(crate) results: PathBuf,
    /// Print the plan as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// Which schema.
    #[arg(value_enum, default_value_t)]
    pub(crate) of: SchemaOf,
    /// For `pipeline`: with the options of the installed plugins, for an editor.
    #[arg(long)]
    pub(crate) with_plugins: bool,
    /// For `plugin`: the plugin's name.
    #[arg(required_if_eq("of", "plugin"))]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaOf {
    /// Pipeline files.
    #[default]
    Pipeline,
    /// `result.json`.
    Result,
    /// `prony.lock`.
    Lock,
    /// The `config` of an installed plugin.
    Plugin,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// List the installed plugins.
    List {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check a plugin, put it beside a lock file and lock it.
    Add {
        /// A WASM module or component, or a shared library.
        file: PathBuf,
        /// What it may do beyond the sandbox.
        #[arg(long = "grant", value_enum, value_name = "GRANT")]
        grants: Vec<GrantOf>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GrantOf {
    /// Run as native code, outside the sandbox.
    Native,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Folder with runs.
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub(crate) results: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// The run: a folder, or a name below the results folder; `latest` is the last that came
    /// to its end. Without it, the newest that is over, also if it was cut short.
    pub(crate) run: Option<String>,
    /// Folder with runs.
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub(crate) results: PathBuf,
    /// Reporter plugins to use.
    #[arg(
        long = "reporter",
        default_value = "console",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub(crate) reporters: Vec<String>,
    /// Print the result as JSON, and write nothing.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TruthStdio {
    /// What is said on standard error first.
    #[arg(long, default_value = "ready")]
    pub(crate) ready: String,
    /// Tokens per answer, unless the request asks for fewer.
    #[arg(long, default_value_t = 16)]
    pub(crate) tokens: u32,
    /// From the request to the first token.
    #[arg(long, default_value_t = 20, value_name = "MS")]
    pub(crate) time_to_first_token_ms: u64,
    /// From token to token.
    #[arg(long, default_value_t = 5000, value_name = "US")]
    pub(crate) inter_token_latency_us: u64,
    /// Tokens per line.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) batch: u32,
    /// What goes wrong.
    #[arg(long, value_parser = PossibleValuesParser::new(StdioFault::ALL.map(StdioFault::name)))]
    pub(crate) fault: Option<String>,
    /// The first request, from 0, with the fault.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) fault_from: u32,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub(crate) struct TruthServer {
    /// Port on 127.0.0.1; 0 picks a free one.
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
    /// How the end of a body is told: `chunked`, `close` or `length`.
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
    /// How prompts are counted: `constant` is 7 tokens for each, `words` a token for each
    /// word and 7 for each message. An image is 256 more.
    #[arg(long, default_value = "constant", value_name = "HOW")]
    pub(crate) prompt_tokens: PromptTokens,
    /// Tell how many words each prompt has in common with the beginning of an earlier one,
    /// as `cached_tokens`. Counts prompts by words.
    #[arg(long)]
    pub(crate) prefix_cache: bool,
    /// Claim so many cached prompt tokens, whatever the prompt, as a server does that
    /// keeps no cache apart.
    #[arg(long, value_name = "N")]
    pub(crate) claim_cached: Option<u32>,
    /// What goes wrong: `error_frame`, `empty`, `cut`, `http500`, `http404`, `hang`, `crash`,
    /// `garbage`, `zero_tokens`, `no_finish`, `not_http`, `stall`, `slow_headers`, `reset`,
    /// `wrong_length`, `bad_chunk`, `redirect` or `huge_head`.
    #[arg(long)]
    pub(crate) fault: Option<String>,
    /// The first request, from 0, with the fault.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) fault_from: u32,
    /// How long the faults `stall` and `slow_headers` take, in milliseconds.
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
