//! The tools whose files are told from pipelines, and the way from each to a pipeline.

use crate::mlx_serving;
use prony_config::foreign::{Tool, Way};

/// The tools, those with the most telling keys first.
pub const TOOLS: &[Tool] = &[
    Tool {
        tool: "AIPerf",
        signs: &[
            &["benchmark/endpoint"],
            &["benchmark/phases"],
            &["schemaVersion", "benchmark"],
            &["endpoint", "loadgen"],
            &["endpoint", "input/conversation"],
        ],
        words: &[],
        way: Way::Advice(
            "write it as a pipeline (`prony init`): `endpoint.url` is the engine's `base_url`, `isl` and `osl` are `workload: { synthetic: … }`, a phase is a `warmup` or a `measure` with an `arrival`; `prony metrics RUN` scores a run by AIPerf's definitions",
        ),
    },
    Tool {
        tool: "guidellm",
        signs: &[
            &["target", "rate_type"],
            &["target", "rate-type"],
            &["target", "profile"],
            &["target", "data"],
            &["benchmarks/*/config/profile"],
        ],
        words: &[],
        way: Way::Advice(
            "write it as a pipeline (`prony init`): `target` is the engine's `base_url`, `data` the `workload`, `rate_type` and `rate` the `arrival` of a `measure`, `max_requests` its `requests`; `prony metrics RUN` scores a run by GuideLLM's definitions",
        ),
    },
    Tool {
        tool: "inference-perf",
        signs: &[
            &["load", "server"],
            &["load/stages", "api"],
            &["server/model_name", "data"],
            &["report/request_lifecycle"],
        ],
        words: &[],
        way: Way::Advice(
            "write it as a pipeline (`prony init`): `server.base_url` is the engine's, `data` the `workload`, each of `load.stages` a `measure` with `arrival: { constant: { rate: RATE } }` or `poisson` and a `duration`",
        ),
    },
    Tool {
        tool: "k6",
        signs: &[
            &["stages/*/target"],
            &["scenarios/*/executor"],
            &["thresholds/http_req_duration"],
            &["vus"],
        ],
        words: &[
            "export const options",
            "export let options",
            "from 'k6",
            "from \"k6",
        ],
        way: Way::Advice(
            "write what it does as a pipeline (`prony init`): the address is the engine's `base_url`, a rate or a number of users the `arrival` of a `measure`, a threshold one of `thresholds`; the body of requests is prony's own",
        ),
    },
    Tool {
        tool: "locust",
        signs: &[&["locustfile"], &["spawn-rate"], &["spawn_rate"]],
        words: &["from locust", "import locust", "spawn-rate"],
        way: Way::Advice(
            "write what it does as a pipeline (`prony init`): the host is the engine's `base_url`, the users are `arrival: { concurrency: N }` of a `measure`; the body of requests is prony's own",
        ),
    },
    Tool {
        tool: "GenAI-Perf or perf_analyzer",
        signs: &[
            &["model_names"],
            &["perf_analyzer"],
            &["analyze", "endpoint"],
            &["endpoint/backend"],
            &["data/*/payload"],
            &["service_kind"],
        ],
        words: &[],
        way: Way::Advice(
            "write it as a pipeline (`prony init`): the endpoint's URL is the engine's `base_url`, input and output tokens are `workload: { synthetic: … }`, a concurrency or a request rate is the `arrival` of a `measure`",
        ),
    },
    Tool {
        tool: "LLMPerf",
        signs: &[
            &["results_end_to_end_latency_s_mean"],
            &["results_num_requests_started"],
            &["mean-input-tokens"],
            &["mean_input_tokens"],
        ],
        words: &[],
        way: Way::Advice(
            "write it as a pipeline (`prony init`): mean and deviation of the tokens are `workload: { synthetic: { input_tokens: { normal: … } } }`, the concurrent requests are `arrival: { concurrency: N }` of a `measure`",
        ),
    },
    Tool {
        tool: "vLLM's benchmark",
        signs: &[
            &["num_prompts"],
            &["num-prompts"],
            &["dataset-name"],
            &["dataset_name"],
            &["*/num_prompts"],
            &["*/server_parameters"],
            &["request_throughput", "total_token_throughput"],
            &["random-input-len"],
            &["random_input_len"],
        ],
        words: &[],
        way: Way::Advice(
            "write it as a pipeline (`prony init`): the address is the engine's `base_url`, the dataset the `workload`, `request_rate` or `max_concurrency` the `arrival` of a `measure`, `num_prompts` its `requests`; `prony metrics RUN` scores a run by vLLM's definitions",
        ),
    },
    Tool {
        tool: "a vLLM server",
        signs: &[
            &["tensor-parallel-size"],
            &["tensor_parallel_size"],
            &["gpu-memory-utilization"],
            &["gpu_memory_utilization"],
            &["max-model-len"],
            &["max_model_len"],
            &["max-num-seqs"],
            &["served-model-name"],
        ],
        words: &[],
        way: Way::Advice(
            "hand it to the server that prony starts: `engine: { plugin: vllm, config: { arguments: [--config, FILE] } }` in a pipeline (`prony init`)",
        ),
    },
    Tool {
        tool: "Docker Compose",
        signs: &[
            &["services/*/image"],
            &["services/*/build"],
            &["services/*/command"],
        ],
        words: &[],
        way: Way::Advice(
            "start it with `docker compose up`, and attach to its server in a pipeline (`prony init`): `engine: { plugin: openai, config: { base_url: http://127.0.0.1:PORT/v1 } }`",
        ),
    },
    Tool {
        tool: "GitHub Actions",
        signs: &[&["on", "jobs"], &["jobs/*/runs-on"], &["runs/using"]],
        words: &[],
        way: Way::Advice(
            "call prony in a step of it, with a pipeline of its own (`prony init ci-gate`): `run: prony run pipeline.yaml`",
        ),
    },
    Tool {
        tool: "Kubernetes",
        signs: &[&["apiVersion", "kind"]],
        words: &[],
        way: Way::Advice(
            "apply it with `kubectl apply -f FILE`, and attach to its server in a pipeline (`prony init`): `engine: { plugin: openai, config: { base_url: http://HOST:PORT/v1 } }`",
        ),
    },
    mlx_serving::TOOL,
];
