//! Time for ranks to assemble, to take their shares and to hand over their answers: all of one
//! process, over loopback.

#![allow(clippy::print_stdout, reason = "the table is what it is for")]

use prony_contract::HttpRequest;
use prony_loadgen::deal::Rank;
use prony_loadgen::load::{Arrival, Load, Ramp, single_request_sessions};
use prony_loadgen::parcel::Parcel;
use prony_loadgen::target::{Prepared, Target};
use prony_ranks::assembly::{Expected, Leader};
use prony_ranks::follower::Follower;
use prony_ranks::{Meeting, Next, Ranks};
use prony_truth_server::{Config, Server};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Numbers of ranks to assemble.
const WORLDS: [u32; 3] = [16, 64, 256];
/// Requests of the load, half of which another rank sends.
const REQUESTS: u32 = 20_000;
/// Tokens of an answer.
const TOKENS: u32 = 256;
/// Bytes of a prompt.
const PROMPT: usize = 2_000;

fn main() {
    println!("| Ranks | Assembled in, s | Clocks measured in, s |\n|---|---|---|");
    for world in WORLDS {
        let begin = Instant::now();
        let (mut ranks, others) = assembled(world);
        let assembled_s = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        block_on(ranks.clocks()).expect("clocks");
        let clocks_s = begin.elapsed().as_secs_f64();
        println!("| {world} | {assembled_s:.2} | {clocks_s:.2} |");
        end(ranks, others);
    }
    let server = Server::spawn(Config {
        tokens: TOKENS,
        time_to_first_token: Duration::ZERO,
        inter_token_latency: Duration::ZERO,
        ..Config::default()
    });
    let server = server.expect("a server");
    let (target, load) = load(&server.url);
    let share = load.share_of(Rank { number: 1, of: 2 });
    let share_bytes = Parcel::new(&target, None, &share.load).size();
    let (mut ranks, others) = assembled(2);
    let folder = tempfile::tempdir().expect("a folder");
    let (deal_s, fetch_s, bytes, count) = block_on(async {
        let clocks = ranks.clocks().await.expect("clocks");
        let begin = Instant::now();
        let settled = ranks.deal(&target, None, &load, 3).await.expect("dealt");
        let deal_s = begin.elapsed().as_secs_f64();
        ranks.go(&clocks, settled).expect("told");
        while ranks.next().await != Next::Over {}
        let begin = Instant::now();
        let ended = ranks.fetch(folder.path()).await.expect("answers");
        let fetch_s = begin.elapsed().as_secs_f64();
        let path = ended[0].answers.as_ref().expect("a file");
        let bytes = path.metadata().expect("a file").len();
        (deal_s, fetch_s, bytes, ended[0].count)
    });
    end(ranks, others);
    let mb = |bytes: u64| bytes as f64 / 1e6;
    println!("\n| | Requests | MB | Bytes each | s | MB/s |\n|---|---|---|---|---|---|");
    for (what, bytes, seconds) in [
        ("share dealt, connections open", share_bytes, deal_s),
        ("answers of 256 tokens handed over", bytes, fetch_s),
    ] {
        println!(
            "| {what} | {count} | {:.1} | {} | {seconds:.2} | {:.0} |",
            mb(bytes),
            bytes / count,
            mb(bytes) / seconds
        );
    }
}

fn load(url: &str) -> (Target, Load<Arc<Prepared>>) {
    let target = Target::new(url).expect("a target");
    let request = HttpRequest {
        method: "POST".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        body: format!(
            r#"{{"model":"m","stream":true,"messages":[{{"role":"user","content":"{}"}}]}}"#,
            "x".repeat(PROMPT)
        ),
        ..HttpRequest::get("")
    };
    let request = Arc::new(target.prepare(&request).expect("a request"));
    let load = Load {
        requests: vec![request; REQUESTS as usize],
        sessions: single_request_sessions(REQUESTS),
        think: Duration::ZERO,
        delays: BTreeMap::new(),
        arrival: Arrival::Closed {
            concurrency: 64,
            ramp: Ramp::NONE,
        },
        timeout: Duration::from_mins(1),
        until: None,
        is_share: false,
    };
    (target, load)
}

type Others = Vec<JoinHandle<Result<(), String>>>;

fn assembled(world: u32) -> (Ranks, Others) {
    let expected = Expected {
        world,
        token: "token".to_owned(),
        pipeline_sha256: String::new(),
        prony: "1".to_owned(),
    };
    let here = Meeting::Tcp("127.0.0.1:0".to_owned());
    let leader = Leader::listen(&here, expected).expect("a port");
    let address = format!("127.0.0.1:{}", leader.port());
    let others = (1..world).map(|number| {
        let address = address.clone();
        std::thread::spawn(move || {
            let folder = tempfile::tempdir().expect("a folder");
            let follower = Follower {
                rank: Rank { number, of: world },
                meeting: Meeting::Tcp(address),
                token: "token".to_owned(),
                pipeline_sha256: None,
                prony: "1".to_owned(),
                folder: folder.path().to_owned(),
            };
            follower.follow(|| false, |_| {})
        })
    });
    let others = others.collect();
    (leader.assemble(|_| {}).expect("all ranks"), others)
}

fn end(ranks: Ranks, others: Others) {
    drop(ranks);
    for other in others {
        other.join().expect("no panic").expect("a good end");
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(future)
}
