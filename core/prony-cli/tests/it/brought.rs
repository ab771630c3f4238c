//! Habits and files from elsewhere: numbers in commands, options that cannot work, files of other tools and in
//! other encodings, pipelines without their environment.

use crate::kit::Scratch;
use serde_json::Value;

/// A pipeline with these options of the engine `plugin`, and more sections.
fn with(plugin: &str, config: &str, more: &str) -> String {
    format!(
        "version: 1\nname: t\n{more}\nengine:\n  plugin: {plugin}\n  config: {config}\nmodel: {{ id: m }}\n\
         workload: {{ prompts: [hi], temperature: 0, max_tokens: 3 }}\n\
         stages: [ {{ load: {{ on_failure: continue }} }}, {{ warmup: {{ requests: 1 }} }}, {{ measure: {{ requests: 1 }} }}, {{ report: {{ reporters: [json] }} }} ]\n"
    )
}

#[test]
fn words_reach_the_program_as_they_are_written() {
    let scratch = Scratch::new();
    let command = "{ launch: { command: [sh, -c, 'echo \"ARGS: $*\"; echo \"ENV: $A\"; exit 7', x, 1.10, 1e3, 0x10, 007, 1_000, \
         2.0, 0.90, -1, 12345678901234567890123, 3.14159265358979323846, \"${{ matrix.v }}\", \
         \"v${{ matrix.v }}\", \"\", \"${{ '' }}\", .5, 0o17, yes, 2024-01-02, [a, 1.0], true, \
         \"${{ none }}\", \"${{ engine.port > 0 }}\"], env: { A: 1.10 } } }";
    scratch.write(
        "words.yaml",
        with(
            "openai",
            command,
            "matrix: { axes: { v: [1.9, 1.10, 2.0] } }",
        ),
    );
    let output = scratch.prony(&["run", "words.yaml"]);
    let run = scratch.latest(output);
    let logs = std::fs::read_dir(scratch.path("results/latest/logs")).expect("a folder");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(entry.expect("an entry").path()).expect("a log")
    };
    let logs: Vec<String> = logs.map(read).collect();
    for v in ["1.9", "1.10", "2.0"] {
        let words = format!(
            "ARGS: 1.10 1e3 0x10 007 1_000 2.0 0.90 -1 12345678901234567890123 \
             3.14159265358979323846 {v} v{v}   .5 0o17 yes 2024-01-02 a 1.0 true true\nENV: 1.10\n"
        );
        assert!(
            logs.iter().any(|log| log.contains(&words)),
            "{words}\n{logs:?}"
        );
    }
    // What was written runs again, with the same points.
    let ids = |result: &Value| -> Vec<String> {
        let points = result["cells"].as_array().expect("points");
        points.iter().map(|it| it["id"].to_string()).collect()
    };
    let first = run.result();
    let again = scratch.prony(&["run", "results/latest/pipeline.yaml", "--into", "again"]);
    assert_ne!(again.code, Some(3), "{}", again.stderr);
    let again: Value = serde_json::from_str(&scratch.read("again/result.json")).expect("a result");
    assert_eq!(ids(&first), ids(&again));
    assert_eq!(ids(&first), ["\"v=1.9\"", "\"v=1.10\"", "\"v=2.0\""]);
}

#[test]
fn options_that_cannot_work_are_refused() {
    let scratch = Scratch::new();
    let launch = "launch: { command: [sleep, 5] }";
    for (plugin, config, place, words) in [
        (
            "openai",
            format!("{{ base_url: \"http://127.0.0.1:1/v1\", {launch} }}"),
            "6:48",
            "give one of `base_url` and `launch`",
        ),
        (
            "openai",
            "{}".to_owned(),
            "6:3",
            "give one of `base_url` and `launch`",
        ),
        (
            "openai",
            "{ launch: { command: [] } }".to_owned(),
            "6:32",
            "must not be empty",
        ),
        (
            "openai",
            "{ launch: { command: [''] } }".to_owned(),
            "6:33",
            "the program is an empty text",
        ),
        (
            "openai",
            "{ base_url: \"localhost:8080/v1\" }".to_owned(),
            "6:23",
            "write `http://`",
        ),
        (
            "openai",
            "{ base_url: \"http://h:1/v1#x\" }".to_owned(),
            "6:23",
            "write `http://`",
        ),
        (
            "openai",
            "{ base_url: \"http://h:1/v1/chat/completions\" }".to_owned(),
            "6:23",
            "leave out `/chat/completions`",
        ),
        (
            "llama-cpp",
            "{ base_url: \"http://h:1\", threads: 4 }".to_owned(),
            "6:46",
            "this one runs already",
        ),
        (
            "llama-cpp",
            "{ program: [] }".to_owned(),
            "6:22",
            "must not be empty",
        ),
        (
            "lines",
            "{ command: [] }".to_owned(),
            "6:22",
            "must not be empty",
        ),
        (
            "candle",
            "{ weights: { synthetic: { hidden: 100, heads: 8 } } }".to_owned(),
            "6:45",
            "must be a multiple of twice `heads`",
        ),
        (
            "openai",
            "{ base_url: \"http://h:1\", body: { a: 1e400, b: 12345678901234567890123 } }"
                .to_owned(),
            "6:48",
            "cannot be kept as it is written",
        ),
    ] {
        scratch.write("p.yaml", with(plugin, &config, ""));
        let output = scratch.prony(&["validate", "p.yaml"]).exits(3);
        output
            .complains(words)
            .complains(&format!("p.yaml:{place}"));
    }
    for config in [
        "{ base_url: \"http://127.0.0.1:1/v1?api-version=2024-10-21\" }",
        "{ launch: { command: [server, --port, \"${{ engine.port }}\"] } }",
        "{ base_url: \"http://${{ env.HOME }}/v1\" }",
        "{ base_url: \"${{ vars.url }}/v1\" }",
    ] {
        let more = "env: [HOME]\nvars: { url: \"http://h:1\" }";
        scratch.write("p.yaml", with("openai", config, more));
        let output = scratch.prony(&["validate", "p.yaml"]);
        assert!(
            !output.stderr.contains("P0110"),
            "{config}: {}",
            output.stderr
        );
    }
}

#[test]
fn files_of_other_tools_are_answered_once() {
    let scratch = Scratch::new();
    for (name, text, tool) in [
        (
            "aiperf.yaml",
            "schemaVersion: \"2.0\"\nrandomSeed: 7\nbenchmark:\n  model: acme/tiny\n  endpoint: { url: http://localhost:9000, type: chat }\n  dataset: { type: synthetic }\n  phases: [{ name: profiling, type: poisson, rate: 5.0 }]\n",
            "AIPerf",
        ),
        (
            "inference-perf.yml",
            "load:\n  type: constant\n  stages:\n  - rate: 2\n    duration: 20\napi: { type: completion }\nserver: { type: vllm, model_name: acme/tiny, base_url: http://0.0.0.0:8000 }\ndata: { type: shareGPT }\n",
            "inference-perf",
        ),
        (
            "k6.js",
            "export const options = { stages: [{ duration: '30s', target: 20 }], thresholds: { http_req_duration: ['p(95)<500'] } };\n",
            "k6",
        ),
        // A text by YAML's rules.
        (
            "k6-get.js",
            "import http from 'k6/http';\nexport default function () { http.get('http://localhost'); }\n",
            "k6",
        ),
        (
            "k6.json",
            "{\"stages\": [{\"duration\": \"30s\", \"target\": 20}], \"vus\": 3}",
            "k6",
        ),
        (
            "guidellm.yaml",
            "target: http://localhost:8000\nrate_type: sweep\ndata: prompt_tokens=256\nmax_seconds: 30\n",
            "guidellm",
        ),
        (
            "genai.yaml",
            "model_names: [a]\nendpoint: { type: chat }\nperf_analyzer: { stimulus: { concurrency: 1 } }\n",
            "GenAI-Perf",
        ),
        (
            "serve.yaml",
            "model: a/b\ntensor-parallel-size: 2\nmax-model-len: 4096\n",
            "a vLLM server",
        ),
        (
            "bench.json",
            "[{\"num_prompts\": 100, \"random_input_len\": 10}]",
            "vLLM's benchmark",
        ),
        (
            "locust.py",
            "from locust import HttpUser, task\n\nclass U(HttpUser):\n    @task\n    def t(self): self.client.get('/')\n",
            "locust",
        ),
        (
            "compose.yaml",
            "version: \"3\"\nservices:\n  llm:\n    image: vllm/vllm-openai\n",
            "Docker Compose",
        ),
        (
            "ci.yaml",
            "name: ci\non: [push]\njobs:\n  a: { runs-on: ubuntu-latest, steps: [] }\n",
            "GitHub Actions",
        ),
        (
            "k8s.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: { name: a }\n",
            "Kubernetes",
        ),
        (
            "llmperf.json",
            "{\"version\": \"2023-08-31\", \"mean_input_tokens\": 550}",
            "LLMPerf",
        ),
    ] {
        scratch.write(name, text);
        let output = scratch.prony(&["validate", name]).exits(3);
        assert_eq!(
            output.stderr.matches("error[").count(),
            1,
            "{name}: {}",
            output.stderr
        );
        output.complains(&format!("P0012]: this is a configuration of {tool}"));
    }
    let output = scratch
        .prony(&["import", "mlx-serving", "aiperf.yaml"])
        .exits(3);
    assert_eq!(
        output.stderr.matches("error[").count(),
        1,
        "{}",
        output.stderr
    );
    output.complains("a configuration of AIPerf, not of mlx-serving's benchmark");
}

#[test]
fn files_that_are_not_utf8_are_named_with_the_way_to_text() {
    let scratch = Scratch::new();
    let pipeline = with(
        "openai",
        "{ base_url: \"http://h:1\" }",
        "description: grün",
    );
    scratch.write("marked.yaml", format!("\u{feff}{pipeline}"));
    scratch.prony(&["validate", "marked.yaml"]).exits(0);
    let utf16: Vec<u8> = pipeline.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin1: Vec<u8> = pipeline.chars().map(|c| c as u8).collect();
    for (name, bytes, what, command) in [
        ("utf16.yaml", utf16, "text in UTF-16", "iconv -f UTF-16LE"),
        (
            "latin1.yaml",
            latin1,
            "such as Latin-1",
            "iconv -f WINDOWS-1252",
        ),
        (
            "p.yaml.gz",
            b"\x1f\x8b\x08\0\0".to_vec(),
            "compressed with gzip",
            "gunzip -c p.yaml.gz > p.yaml",
        ),
        (
            "p.parquet",
            b"PAR1\x15\x04".to_vec(),
            "a Parquet table",
            "read_parquet",
        ),
        (
            "p.zip",
            b"PK\x03\x04\x14\0".to_vec(),
            "a ZIP archive",
            "unzip p.zip",
        ),
    ] {
        scratch.write(name, bytes);
        let output = scratch.prony(&["validate", name]).exits(3);
        output.complains("P0009").complains(what).complains(command);
    }
    scratch.write("over.yaml", "extends: p.yaml.gz\nname: over\n");
    let output = scratch.prony(&["validate", "over.yaml"]).exits(3);
    output
        .complains("over.yaml:1:10")
        .complains("gunzip -c p.yaml.gz > p.yaml");
}

#[test]
fn a_pipeline_is_checked_without_its_environment() {
    let scratch = Scratch::new();
    let config =
        "{ base_url: \"http://${{ env.BROUGHT_HOST }}/v1\", api_key: \"${{ env.BROUGHT_KEY }}\" }";
    let more = "env: [BROUGHT_HOST]\nsecrets: [BROUGHT_KEY]";
    scratch.write("p.yaml", with("openai", config, more));
    scratch
        .prony(&["validate", "p.yaml"])
        .exits(3)
        .complains("`BROUGHT_HOST` is not set");
    scratch
        .prony(&["validate", "p.yaml", "--assume-env"])
        .exits(0)
        .prints("valid");
    scratch.write(
        "p.yaml",
        with("openai", config, more).replace("max_tokens", "max_token"),
    );
    scratch
        .prony(&["validate", "p.yaml", "--assume-env"])
        .exits(3)
        .complains("unknown key `max_token`");
}

#[test]
fn each_cache_has_the_warm_up_that_it_needs() {
    let scratch = Scratch::new();
    let stages = "stages: [ { warmup: { requests: 2 } }, { measure: { id: cold, requests: 2, cache: cold } }, { warmup: { id: again, requests: 2 } }, { measure: { id: warm, requests: 2, cache: warm } }, { report: { reporters: [json] } } ]\n";
    let truth = crate::kit::truth(&["--prefix-cache"]).to_string();
    let pipeline = format!(
        "version: 1\nname: t\nengine: {truth}\nmodel: {{ id: m }}\nworkload: {{ prompts: [one two three four five six seven eight nine ten eleven, a b c d e f g h i j k l], temperature: 0, max_tokens: 3 }}\n{stages}"
    );
    scratch.write("p.yaml", &pipeline);
    let output = scratch.prony(&["run", "p.yaml"]).exits(0);
    let run = scratch.latest(output);
    // A prompt with a nonce has more tokens than one as it is written.
    let tokens = |stage: &str| -> Vec<u64> {
        let mut requests = run.events("request");
        requests.retain(|it| it["stage"] == stage);
        let counts = requests
            .iter()
            .filter_map(|it| it["prompt_tokens"].as_u64());
        counts.collect()
    };
    assert_eq!(tokens("warmup").len(), 2);
    assert_eq!(tokens("warmup"), tokens("cold"));
    assert_eq!(tokens("again"), tokens("warm"));
    assert!(tokens("cold")[0] > tokens("warm")[0]);
    // Both are verified: each by what was sent before it in the same words.
    for model in run.result()["models"].as_array().expect("models") {
        let cache = &model["engines"][0]["cache"];
        assert_eq!(cache["outcome"], "kept", "{model}");
    }
    // A warm-up that sends one of two prompts leaves the other cold.
    let half = pipeline.replace("id: again, requests: 2", "id: again, requests: 1");
    scratch.write("half.yaml", half);
    scratch
        .prony(&["validate", "half.yaml"])
        .exits(3)
        .complains("P0334");
}

#[test]
fn an_engines_own_name_of_an_option_is_answered_with_the_recipes() {
    let scratch = Scratch::new();
    for (plugin, config, place, words) in [
        ("vllm", "{ args: [--enforce-eager] }", "6:13", "`arguments`"),
        ("vllm", "{ max_model_len: 4096 }", "6:13", "`context`"),
        ("vllm", "{ --max-model-len: 4096 }", "6:13", "`context`"),
        (
            "vllm",
            "{ gpu-memory-utilization: 0.5 }",
            "6:13",
            "`gpu_memory`",
        ),
        ("llama-cpp", "{ ctx_size: 4096 }", "6:13", "`context`"),
        ("llama-cpp", "{ url: \"http://h:1\" }", "6:13", "`base_url`"),
    ] {
        scratch.write("p.yaml", with(plugin, config, ""));
        scratch
            .prony(&["validate", "p.yaml"])
            .exits(3)
            .complains("P0101")
            .complains(&format!("p.yaml:{place}"))
            .complains(&format!("write {words}"));
    }
}
