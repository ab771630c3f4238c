//! What the truth server did is what prony says it did.

use crate::kit::{Run, Scratch, Server, With, number, pipeline, truth};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

const TOKENS: u64 = 12;
const FIRST_MS: f64 = 30.0;
const NEXT_MS: f64 = 4.0;

fn known(concurrency: u32) -> Run {
    let engine = truth(&[
        "--tokens",
        "12",
        "--time-to-first-token-ms",
        "30",
        "--inter-token-latency-us",
        "4000",
    ]);
    let pipeline = pipeline([("engine", engine)])
        .stage("measure", "requests", 8)
        .stage("measure", "arrival", json!({ "concurrency": concurrency }));
    Scratch::new().run(&pipeline).exits(0)
}

/// Milliseconds from sending a request to one of its stamps.
fn since_sent(request: &Value, stamp: &Value) -> f64 {
    (number(stamp) - number(&request["sent_ns"])) / 1e6
}

fn has_the_known_times(request: &Value) {
    let arrivals = request["arrivals"].as_array().expect("arrivals");
    assert_eq!(arrivals.len() as u64, TOKENS);
    assert_eq!(request["output_tokens"], TOKENS);
    assert_eq!(request["prompt_tokens"], 7);
    assert_eq!(request["finish_reason"], "stop");
    assert_eq!(
        request["text"], " t0 t1 t2 t3 t4 t5 t6 t7 t8 t9 t10 t11",
        "the whole answer and nothing else"
    );
    for (index, arrival) in (0..).zip(arrivals) {
        let due = FIRST_MS + NEXT_MS * f64::from(index);
        assert!(since_sent(request, &arrival[0]) >= due, "too early");
    }
    let last = arrivals.last().expect("an arrival");
    assert!(request["end_ns"].as_u64() >= last[0].as_u64());
    assert!(request["written_ns"].as_u64() >= request["sent_ns"].as_u64());
    assert!(request["head_ns"].as_u64() >= request["written_ns"].as_u64());
}

#[test]
fn times_and_tokens_are_recovered() {
    let run = known(1);
    run.all_well("engine");
    run.agrees_with_its_journal("engine");
    let requests = run.requests("engine");
    assert_eq!(requests.len(), 8);
    requests.iter().for_each(has_the_known_times);

    let numbers = run.engine("engine");
    let whole = FIRST_MS + NEXT_MS * (TOKENS - 1) as f64;
    assert_eq!(numbers["output_tokens"], 8 * TOKENS);
    assert!(number(&numbers["time_to_first_token_ms"]["min"]) >= FIRST_MS);
    assert!(number(&numbers["request_latency_ms"]["min"]) >= whole);
    assert_eq!(numbers["inter_token_latency_ms"]["n"], 8 * (TOKENS - 1));
    assert!(number(&numbers["output_tokens_per_sec"]) <= TOKENS as f64 / whole * 1e3);
    let per_token = number(&numbers["time_per_output_token_ms"]["mean"]);
    let latency = number(&numbers["request_latency_ms"]["mean"]);
    let first = number(&numbers["time_to_first_token_ms"]["mean"]);
    let derived = (latency - first) / (TOKENS - 1) as f64;
    assert!((per_token / derived - 1.0).abs() < 1e-9);
    assert!(number(&numbers["total_time_s"]) >= 8.0 * whole / 1e3);
    assert_eq!(numbers["served_models"], json!(["truth"]));
    assert_eq!(numbers["engine_versions"], json!(["truth-1"]));
    assert_eq!(numbers["finish_reasons"], json!({ "stop": 8 }));
    // Requests do not overlap.
    for pair in requests.windows(2) {
        assert!(pair[1]["sent_ns"].as_u64() >= pair[0]["end_ns"].as_u64());
    }
}

#[test]
fn several_requests_in_flight_are_all_recorded() {
    let run = known(4);
    run.all_well("engine");
    let requests = run.requests("engine");
    requests.iter().for_each(has_the_known_times);
    let mut indexes: Vec<u64> = requests
        .iter()
        .filter_map(|it| it["index"].as_u64())
        .collect();
    indexes.sort_unstable();
    assert_eq!(indexes, [0, 1, 2, 3, 4, 5, 6, 7]);
    // The first four are under way before one of them has ended.
    let first_end = requests.iter().filter_map(|it| it["end_ns"].as_u64()).min();
    let before = |it: &&Value| it["sent_ns"].as_u64() < first_end;
    assert_eq!(requests.iter().filter(before).count(), 4);

    // Throughput is over the wall-clock time of the stage, on every screen.
    let numbers = run.engine("engine");
    let speed = number(&numbers["output_tokens_per_sec"]);
    let visit = &run.events("visit")[0];
    let exact = 8.0 * TOKENS as f64 / number(&visit["measure_ns"]["measure"]) * 1e9;
    assert!((speed / exact - 1.0).abs() < 1e-9, "{speed}, not {exact}");
    run.complains(&format!("{speed:.1} tok/s"));

    let delivered = &numbers["delivered"];
    assert_eq!(
        (&delivered["intended"], &delivered["sent"]),
        (&json!(8), &json!(8))
    );
    assert_eq!(delivered["max_in_flight"], 4);
    let mean = number(&delivered["mean_in_flight"]);
    assert!(mean > 1.0 && mean <= 4.0, "{mean}");
    let line = "Load: 8 of 8 requests sent, at most 4 in flight";
    assert!(run.output.stdout.contains(line), "{}", run.output.stdout);
    run.reports(line);
    // 8 requests are too few for a 90th percentile.
    assert_eq!(numbers["request_latency_ms"]["p90"], json!(null));
    assert!(run.output.stdout.contains("n=8"), "{}", run.output.stdout);
    run.reports("n too small");
}

#[test]
fn fewer_tokens_are_asked_for() {
    let pipeline = pipeline([("engine", truth(&[]))]).with("workload.max_tokens", 3);
    let run = Scratch::new().run(&pipeline).exits(0);
    assert_eq!(run.engine("engine")["output_tokens"], 4 * 3);
    assert_eq!(
        run.engine("engine")["finish_reasons"],
        json!({ "length": 4 })
    );
}

#[test]
fn plain_completions_are_measured_too() {
    let pipeline = pipeline([("engine", truth(&[]))]).with("workload.api", "completions");
    let run = Scratch::new().run(&pipeline).exits(0);
    run.all_well("engine");
    assert_eq!(run.engine("engine")["output_tokens"], 4 * 8);
}

#[test]
fn warm_up_counts_for_nothing() {
    let pipeline = pipeline([("engine", truth(&[]))]).stage("warmup", "requests", 3);
    let run = Scratch::new().run(&pipeline).exits(0);
    assert_eq!(run.events("request").len(), 7);
    assert_eq!(run.engine("engine")["requests"], 4);
    run.agrees_with_its_journal("engine");
}

#[test]
fn prony_attaches_to_a_server_that_runs_already() {
    let mut server = Server::start(&["--tokens", "8"]);
    for path in ["", "/v1"] {
        let url = format!("{}{path}", server.url);
        let config = json!({ "base_url": url, "attach_ready": "/health" });
        let engine = json!({ "plugin": "openai", "config": config });
        let run = Scratch::new().run(&pipeline([("engine", engine)])).exits(0);
        run.all_well("engine");
        run.agrees_with_its_journal("engine");
        assert_eq!(run.engine("engine")["load_time_ms"], json!(null));
        assert_eq!(run.engine("engine")["peak_memory_bytes"], json!(null));
    }
    assert!(server.runs(), "what prony did not start it does not stop");
}

/// Answers one request, and closes the connection when the next one comes.
fn answer_once(mut stream: TcpStream) -> std::io::Result<()> {
    let mut bytes = [0; 4096];
    // The few bytes of a request come in one piece or two.
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        let count = stream.read(&mut bytes)?;
        request.extend_from_slice(&bytes[..count]);
    }
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"word\"}}]}\n\n\
                data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\
                \"usage\":{\"completion_tokens\":1}}\n\n\
                data: [DONE]\n\n";
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes())?;
    stream.read(&mut bytes).map(drop)
}

#[test]
fn a_kept_connection_that_the_server_closes_is_no_failure_of_the_engine() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(|| answer_once(stream));
        }
    });
    let config = json!({ "base_url": format!("http://{address}") });
    let engine = json!({ "plugin": "openai", "config": config });
    let run = Scratch::new().run(&pipeline([("engine", engine)])).exits(0);
    run.all_well("engine");
    assert_eq!(run.requests("engine").len(), 4);
}

#[test]
fn one_recording_is_scored_by_several_definitions() {
    let scratch = Scratch::new();
    let run = scratch.run(&pipeline([("engine", truth(&[]))])).exits(0);
    let groups = scratch
        .prony(&["metrics", "--latency-ms", "60000", "--json"])
        .exits(0)
        .json();
    let group = &groups[0];
    assert_eq!(group["requests"], 4);
    assert_eq!(group["goodput_share"], 1.0);
    let metric = |definition: &str, name: &str| {
        let of_it = |it: &&Value| it["definition"] == definition;
        let defined = group["definitions"].as_array().expect("a list");
        let metrics = defined.iter().find(of_it).expect(definition)["metrics"].clone();
        let metrics = metrics.as_array().expect("a list").clone();
        metrics
            .into_iter()
            .find(|it| it["metric"] == name)
            .expect("a metric")
    };
    // prony's own are those of the result.
    let own = metric("prony", "time_to_first_token_ms");
    let result = &run.engine("engine")["time_to_first_token_ms"];
    assert_eq!(own["mean"], result["mean"]);
    assert_eq!(own["p90"], Value::Null, "4 are too few");
    // One chunk for each token: then the gap is the time for each token.
    let [gap, per_token] = ["Inter Chunk Latency (ms)", "Inter Token Latency (ms)"];
    let [gap, per_token] = [gap, per_token].map(|it| number(&metric("aiperf", it)["mean"]));
    assert!((gap - per_token).abs() < 1e-6);
    // The finish reason has a chunk of its own, which vLLM counts as a token.
    assert_eq!(metric("prony", "inter_token_latency_ms")["n"], 4 * 7);
    assert_eq!(metric("vllm", "ITL (ms)")["n"], 4 * 8);
    let requests = run.requests("engine");
    let textless = |it: &Value| it["textless_ns"].as_array().map(Vec::len);
    assert!(requests.iter().all(|it| textless(it) == Some(1)));
    // Throughput: prony's own is that of the result, the others' over the wall-clock time.
    let throughput = metric("prony", "output_tokens_per_sec");
    assert_eq!(
        throughput["mean"],
        run.engine("engine")["output_tokens_per_sec"]
    );
    assert_eq!(throughput["p50"], Value::Null);
    let guidellm = metric("guidellm", "output_tokens_per_second");
    assert!(number(&guidellm["mean"]) <= number(&throughput["mean"]));
    let output = scratch
        .prony(&["metrics", "--definition", "mlperf"])
        .exits(0);
    output.prints("Sample latency (ms)").prints("n too small");
    scratch
        .prony(&["metrics", "--model", "model", "--definition", "mlperf"])
        .exits(0)
        .prints("model · measure · ");
    scratch
        .prony(&["metrics", "--model", "nonsense"])
        .exits(2)
        .complains("the run has no model `nonsense`; it has `model`");
    scratch
        .prony(&["metrics", "--definition", "nonsense"])
        .exits(2);
}

#[test]
fn an_encrypted_server_is_measured_alike() {
    let scratch = Scratch::new();
    let certificate = scratch.path("certificate.pem");
    let certificate = certificate.to_str().expect("the path is text");
    // So many reads that the first one, which the kernel may not stamp yet, does not count.
    let options = ["--tokens", "100", "--tls", "--tls-certificate", certificate];
    let server = Server::start(&options);
    let url = server.url.replace("127.0.0.1", "localhost");
    let attached = json!({ "plugin": "openai", "config": { "base_url": url } });
    let run = scratch
        .run(&pipeline([("engine", attached.clone())]))
        .exits(0);
    run.all_well("engine");
    if cfg!(target_os = "linux") {
        assert_eq!(run.engine("engine")["client"]["stamps"], "kernel");
    }
    // A certificate that nobody signed is no server to be trusted.
    let elsewhere = Scratch::new();
    let other = elsewhere.path("certificate.pem");
    let other = other.to_str().expect("the path is text");
    let _other = Server::start(&["--tls", "--tls-certificate", other]);
    let run = elsewhere.run(&pipeline([("engine", attached)])).exits(1);
    let errors = &run.engine("engine")["error_messages"];
    assert!(
        errors["connect"]
            .as_str()
            .is_some_and(|it| it.contains("certificate")),
        "{errors}"
    );
}
