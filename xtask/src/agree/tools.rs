//! The clients: how each is told the same load, and where it says what it saw.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::server::Answer;
use super::{TOKENS, WARMUPS};
use crate::clients::Client;
use crate::shell;
use crate::workspace::Workspace;

/// Name of the model for all servers.
const MODEL: &str = "truth";
const QUESTIONS: [&str; 8] = [
    "What is machine learning?",
    "Explain quantum computing.",
    "Why is the sky blue?",
    "Name three rivers of Europe.",
    "How does a compiler work?",
    "What makes bread rise?",
    "Describe the water cycle.",
    "Who wrote the Odyssey?",
];

/// The load of each client.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// Measured requests.
    pub(super) requests: usize,
    /// Requests in flight.
    pub(super) in_flight: usize,
}

/// Quantity that a client reports.
#[derive(Clone, Copy)]
pub(super) enum What {
    /// To the first token.
    First,
    /// To the last token.
    Last,
    /// To the finish reason, which comes with the end.
    End,
    /// Mean gap between texts, each a token.
    TextGaps,
    /// The same with the chunk of the finish reason behind them.
    ChunkGaps,
    /// From the first token to the last, over the tokens beyond the first.
    PerLaterToken,
    /// From the first token to the end, over the same.
    PerLaterTokenToEnd,
    /// From the request to the last token, over all tokens.
    PerToken,
    /// Generated tokens.
    Tokens,
    /// Tokens a second, from the first request to the last token of all.
    RateToLast,
    /// Tokens a second, from the first request to the last byte of all.
    RateToEnd,
    /// Tokens a second of the requests' own times, one after the other.
    RateOfLatency,
}

impl What {
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::RateToLast | Self::RateToEnd | Self::RateOfLatency => "tok/s",
            _ => "ms",
        }
    }

    /// The quantity by the server's account of the same requests; `None` where its log does not
    /// tell.
    pub(super) fn by(self, answers: &[Answer]) -> Option<f64> {
        let mean = |of: &dyn Fn(&Answer) -> Option<f64>| {
            let values: Option<Vec<f64>> = answers.iter().map(of).collect();
            values.map(|values| values.iter().sum::<f64>() / answers.len() as f64)
        };
        let sum = |of: &dyn Fn(&Answer) -> Option<f64>| {
            let values: Option<Vec<f64>> = answers.iter().map(of).collect();
            values.map(|values| values.iter().sum::<f64>())
        };
        let tokens = answers.iter().map(|it| it.tokens).sum::<f64>();
        let span = |to: &dyn Fn(&Answer) -> Option<f64>| {
            let begin: Option<Vec<f64>> = answers.iter().map(|it| it.received).collect();
            let end: Option<Vec<f64>> = answers
                .iter()
                .map(|it| Some(it.received? + to(it)?))
                .collect();
            let begin = begin?.into_iter().fold(f64::INFINITY, f64::min);
            Some(end?.into_iter().fold(0.0, f64::max) - begin)
        };
        match self {
            Self::First => mean(&|it| Some(it.first)),
            Self::Last => mean(&|it| Some(it.last)),
            Self::End => mean(&|it| it.end),
            Self::TextGaps => {
                Some(sum(&|it| Some(it.last - it.first))? / sum(&|it| Some(it.tokens - 1.0))?)
            }
            Self::ChunkGaps => Some(sum(&|it| Some(it.end? - it.first))? / tokens),
            Self::PerLaterToken => mean(&|it| Some((it.last - it.first) / (it.tokens - 1.0))),
            Self::PerLaterTokenToEnd => mean(&|it| Some((it.end? - it.first) / (it.tokens - 1.0))),
            Self::PerToken => mean(&|it| Some(it.last / it.tokens)),
            Self::Tokens => Some(tokens),
            Self::RateToLast => Some(tokens * 1e3 / span(&|it| Some(it.last))?),
            Self::RateToEnd => Some(tokens * 1e3 / span(&|it| it.end)?),
            Self::RateOfLatency => Some(tokens * 1e3 / sum(&|it| it.end)?),
        }
    }
}

/// A client.
#[derive(Clone, Copy)]
pub(super) enum Tool {
    Prony,
    Other(&'static Client),
}

/// Outcome of a client's run.
pub(super) struct Run {
    /// Its command line, for the page.
    pub(super) command: String,
    /// Measured requests that succeeded.
    pub(super) succeeded: usize,
    /// The client's name of each metric, what it is, and its mean.
    pub(super) figures: Vec<(&'static str, What, f64)>,
    /// prony's mean of each metric of each definition; only of prony.
    pub(super) definitions: BTreeMap<(String, String), f64>,
    /// The machine, as a result of prony describes it; only of prony.
    pub(super) environment: Option<Value>,
}

/// Metrics of a client: its name of each in prony's definitions, what it is, its place in the
/// client's output, and the factor to the unit of the page.
type Places = &'static [(&'static str, What, &'static str, f64)];

const VLLM: Places = &[
    ("TTFT (ms)", What::First, "/mean_ttft_ms", 1.0),
    ("E2EL (ms)", What::End, "/mean_e2el_ms", 1.0),
    ("ITL (ms)", What::ChunkGaps, "/mean_itl_ms", 1.0),
    ("TPOT (ms)", What::PerLaterTokenToEnd, "/mean_tpot_ms", 1.0),
    (
        "Total generated tokens",
        What::Tokens,
        "/total_output_tokens",
        1.0,
    ),
    (
        "Output token throughput (tok/s)",
        What::RateToEnd,
        "/output_throughput",
        1.0,
    ),
];

const AIPERF: Places = &[
    (
        "Time to First Token (ms)",
        What::First,
        "/time_to_first_token/avg",
        1.0,
    ),
    (
        "Request Latency (ms)",
        What::Last,
        "/request_latency/avg",
        1.0,
    ),
    (
        "Inter Chunk Latency (ms)",
        What::TextGaps,
        "/inter_chunk_latency/avg",
        1.0,
    ),
    (
        "Inter Token Latency (ms)",
        What::PerLaterToken,
        "/inter_token_latency/avg",
        1.0,
    ),
    (
        "Output Sequence Length, sum",
        What::Tokens,
        "/output_sequence_length/sum",
        1.0,
    ),
    (
        "Output Token Throughput (tokens/sec)",
        What::RateToLast,
        "/output_token_throughput/avg",
        1.0,
    ),
];

const GUIDELLM: Places = &[
    (
        "time_to_first_token_ms",
        What::First,
        "/time_to_first_token_ms/successful/mean",
        1.0,
    ),
    (
        "request_latency (ms)",
        What::End,
        "/request_latency/successful/mean",
        1000.0,
    ),
    (
        "inter_token_latency_ms",
        What::PerLaterToken,
        "/inter_token_latency_ms/successful/mean",
        1.0,
    ),
    (
        "time_per_output_token_ms",
        What::PerToken,
        "/time_per_output_token_ms/successful/mean",
        1.0,
    ),
    (
        "output_token_count, sum",
        What::Tokens,
        "/output_token_count/successful/total_sum",
        1.0,
    ),
    (
        "output_tokens_per_second",
        What::RateToEnd,
        "/output_tokens_per_second/successful/mean",
        1.0,
    ),
];

/// Writes the questions in the form of each client.
pub(super) fn write_inputs(folder: &Path, load: Load) -> Result<()> {
    let lines = |make: &dyn Fn(&str) -> Value| {
        let questions = QUESTIONS.iter().cycle().take(load.requests + WARMUPS);
        let lines: Vec<String> = questions.map(|it| make(it).to_string() + "\n").collect();
        lines.concat()
    };
    let prony = json!({
        "version": 1,
        "name": "agree",
        "engines": { "server": { "plugin": "openai", "config": { "base_url": "${{ vars.url }}" } } },
        "vars": { "url": "http://127.0.0.1:1" },
        "models": [{ "id": MODEL }],
        "workload": {
            "prompts": QUESTIONS, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": true,
        },
        "schedule": { "cycles": 1 },
        "stages": [
            { "load": {} },
            { "warmup": { "requests": WARMUPS } },
            { "measure": { "requests": load.requests, "arrival": { "concurrency": load.in_flight } } },
            { "report": { "reporters": ["json"] } },
        ],
    });
    // A tokenizer is asked for and of no account: the server counts.
    let words = json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": { "type": "Whitespace" },
        "model": { "type": "WordLevel", "vocab": { "?": 0 }, "unk_token": "?" },
    });
    let class = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "?" });
    fs::create_dir_all(folder.join("words"))?;
    for (file, text) in [
        ("agree.yaml", format!("{prony:#}\n")),
        ("vllm.jsonl", lines(&|it| json!({ "prompt": it }))),
        ("aiperf.jsonl", lines(&|it| json!({ "text": it }))),
        (
            "guidellm.jsonl",
            lines(&|it| json!({ "prompt": it, "output_tokens_count": TOKENS })),
        ),
        ("words/tokenizer.json", words.to_string()),
        ("words/tokenizer_config.json", class.to_string()),
    ] {
        fs::write(folder.join(file), text).with_context(|| format!("cannot write {file}"))?;
    }
    Ok(())
}

impl Tool {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Prony => "prony",
            Self::Other(client) => client.name,
        }
    }

    pub(super) fn run(
        self,
        workspace: &Workspace,
        folder: &Path,
        url: &str,
        load: Load,
    ) -> Result<Run> {
        let Self::Other(client) = self else {
            return prony(workspace, folder, url);
        };
        let Load {
            requests,
            in_flight,
        } = load;
        // No argument has a space in it.
        let (program, line, output, at, succeeded, places) = match client.name {
            "vllm" => {
                let script = "vllm_bench_serve.py";
                let from = workspace.root.join("xtask/scripts").join(script);
                fs::copy(from, folder.join(script))?;
                let line = format!(
                    "{script} --backend openai-chat --base-url {url} --endpoint /v1/chat/completions \
                     --model {MODEL} --dataset-name custom --dataset-path vllm.jsonl --disable-shuffle \
                     --skip-chat-template --custom-output-len {TOKENS} --ignore-eos --temperature 0 \
                     --num-prompts {requests} --num-warmups {WARMUPS} --max-concurrency {in_flight} \
                     --ready-check-timeout-sec 0 --percentile-metrics ttft,tpot,itl,e2el \
                     --disable-tqdm --save-result --save-detailed --result-filename vllm.json"
                );
                ("python", line, "vllm.json", "", "/completed", VLLM)
            }
            "aiperf" => {
                let line = format!(
                    "profile -m {MODEL} -u {url} --endpoint-type chat --streaming --tokenizer ./words \
                     --use-server-token-count --input-file aiperf.jsonl \
                     --custom-dataset-type single_turn --dataset-sampling-strategy sequential \
                     --request-count {requests} --warmup-request-count {WARMUPS} \
                     --concurrency {in_flight} --workers-max 1 \
                     --extra-inputs max_completion_tokens:{TOKENS} --extra-inputs temperature:0 \
                     --extra-inputs ignore_eos:true --output-artifact-dir aiperf --ui none \
                     --no-gpu-telemetry --no-server-metrics"
                );
                let output = "aiperf/profile_export_aiperf.json";
                ("aiperf", line, output, "", "/request_count/avg", AIPERF)
            }
            "guidellm" => {
                let profile = match in_flight {
                    1 => "kind=synchronous".to_owned(),
                    _ => format!("kind=concurrent,streams={in_flight}"),
                };
                let line = format!(
                    "run --backend kind=openai_http,target={url},model={MODEL},\
                     request_format=/v1/chat/completions,max_tokens={TOKENS} \
                     --profile {profile},warmup={WARMUPS} \
                     --constraint kind=max_requests,count={} \
                     --data kind=json_file,path=guidellm.jsonl \
                     --output kind=json,path=guidellm.json --disable-console",
                    requests + WARMUPS
                );
                let at = "/benchmarks/0/metrics";
                (
                    "guidellm",
                    line,
                    "guidellm.json",
                    at,
                    "/request_totals/successful",
                    GUIDELLM,
                )
            }
            name => bail!("no way to run {name} is known"),
        };
        let mut command = Command::new(client.program(workspace, program));
        command.args(line.split(' '));
        finish(&mut command, folder, client.name)?;
        let all = read(&folder.join(output))?;
        let value = |place: &str| {
            let place = format!("{at}{place}");
            let value = all.pointer(&place).and_then(Value::as_f64);
            value.with_context(|| format!("{output} has no {place}"))
        };
        let figures = places
            .iter()
            .map(|(metric, what, place, factor)| Ok((*metric, *what, value(place)? * factor)))
            .collect::<Result<_>>()?;
        Ok(Run {
            command: shell::line(&command),
            succeeded: value(succeeded)? as usize,
            figures,
            definitions: BTreeMap::new(),
            environment: None,
        })
    }
}

fn prony(workspace: &Workspace, folder: &Path, url: &str) -> Result<Run> {
    let mut command = Command::new(workspace.prony());
    command.args(["run", "agree.yaml", "--var", &format!("url={url}")]);
    finish(&mut command, folder, "prony")?;
    let mut metrics = Command::new(workspace.prony());
    let scored = shell::output(metrics.args(["metrics", "--json"]).current_dir(folder))?;
    let scored: Value = serde_json::from_slice(&scored)?;
    let mut definitions = BTreeMap::new();
    for defined in scored[0]["definitions"].as_array().into_iter().flatten() {
        for metric in defined["metrics"].as_array().into_iter().flatten() {
            let names = (defined["definition"].as_str(), metric["metric"].as_str());
            if let ((Some(definition), Some(name)), Some(mean)) = (names, metric["mean"].as_f64()) {
                definitions.insert((definition.to_owned(), name.to_owned()), mean);
            }
        }
    }
    let result = read(&folder.join("results/latest/result.json"))?;
    let own = |name: &str| {
        let found = definitions.get(&("prony".to_owned(), name.to_owned()));
        found
            .copied()
            .with_context(|| format!("prony has no {name}"))
    };
    let engine = &result["models"][0]["engines"][0];
    let tokens = engine["output_tokens"]
        .as_f64()
        .context("no tokens were counted")?;
    let rate = match result["models"][0]["concurrency"].as_u64() {
        Some(1) => What::RateOfLatency,
        _ => What::RateToEnd,
    };
    let figures = vec![
        (
            "time_to_first_token_ms",
            What::First,
            own("time_to_first_token_ms")?,
        ),
        ("request_latency_ms", What::End, own("request_latency_ms")?),
        (
            "inter_token_latency_ms",
            What::TextGaps,
            own("inter_token_latency_ms")?,
        ),
        (
            "time_per_output_token_ms",
            What::PerLaterTokenToEnd,
            own("time_per_output_token_ms")?,
        ),
        ("output_tokens", What::Tokens, tokens),
        ("output_tokens_per_sec", rate, own("output_tokens_per_sec")?),
    ];
    // What the others count as tokens is what the server says; so does prony.
    for (tool, name) in [
        ("vllm", "Total generated tokens"),
        ("aiperf", "Output Sequence Length, sum"),
        ("guidellm", "output_token_count, sum"),
    ] {
        definitions.insert((tool.to_owned(), name.to_owned()), tokens);
    }
    Ok(Run {
        command: shell::line(&command),
        succeeded: engine["succeeded"].as_u64().unwrap_or(0) as usize,
        figures,
        definitions,
        environment: Some(result["environment"].clone()),
    })
}

/// Runs a client; its words go to a file.
fn finish(command: &mut Command, folder: &Path, name: &str) -> Result<()> {
    let said = File::create(folder.join(format!("{name}.out")))?;
    let status = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(said.try_clone()?)
        .stdout(said)
        .status()
        .with_context(|| format!("cannot start `{}`", shell::line(command)))?;
    if !status.success() {
        bail!(
            "`{}` failed ({status}); {name}.out says why",
            shell::line(command)
        );
    }
    Ok(())
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", path.display()))
}
