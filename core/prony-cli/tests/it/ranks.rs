//! Several processes that send one load together.

use crate::kit::{Output, Run, Scratch, Server, With, pipeline, send, truth, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

/// A server that logs what it is sent.
fn logging(scratch: &Scratch, name: &str, options: &[&str]) -> (Server, Value) {
    let log = scratch.path(name);
    let log = ["--log", log.to_str().expect("text"), "--tokens", "4"];
    let server = Server::start(&[&log[..], options].concat());
    let config = json!({ "base_url": server.url, "model": "truth" });
    let engine = json!({ "plugin": "openai", "config": config });
    (server, engine)
}

/// Bodies of the questions in a server's log, and how often each was asked.
fn asked(scratch: &Scratch, name: &str) -> BTreeMap<String, usize> {
    let text = scratch.read(name);
    let entries = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut asked = BTreeMap::new();
    for entry in entries {
        if entry["path"]
            .as_str()
            .is_some_and(|it| it.contains("completions"))
        {
            *asked.entry(entry["body"].to_string()).or_default() += 1;
        }
    }
    asked
}

/// Each request of a stage by its index: its due time since the first of them.
fn due(run: &Run, stage: &str) -> BTreeMap<u64, u64> {
    let all = run.requests("engine");
    let of_stage: Vec<&Value> = all.iter().filter(|it| it["stage"] == stage).collect();
    let ns = |it: &Value| it["intended_ns"].as_u64().expect("a stamp");
    let first = of_stage.iter().map(|it| ns(it)).min().expect("a request");
    let each = of_stage
        .iter()
        .map(|it| (it["index"].as_u64().expect("an index"), ns(it) - first));
    let due: BTreeMap<u64, u64> = each.collect();
    assert_eq!(due.len(), of_stage.len(), "each once");
    due
}

/// Most requests of a stage that were in flight at the same time.
fn most_in_flight(run: &Run, stage: &str) -> i32 {
    let all = run.requests("engine");
    let ns = |it: &Value, stamp: &str| it[stamp].as_u64().expect("a stamp");
    let mut edges: Vec<(u64, i32)> = all
        .iter()
        .filter(|it| it["stage"] == stage)
        .flat_map(|it| [(ns(it, "sent_ns"), 1), (ns(it, "end_ns"), -1)])
        .collect();
    edges.sort_unstable();
    let mut now = 0;
    let counts = edges.into_iter().map(|(_, edge)| {
        now += edge;
        now
    });
    counts.max().expect("a request")
}

const OPEN: [&str; 3] = ["constant", "poisson", "gamma"];
const CLOSED: [&str; 2] = ["slots", "ramp"];

/// Stages of every arrival process.
fn every_arrival(engine: &Value) -> Value {
    let stage = |id: &str, arrival: Value| json!({ "measure": { "id": id, "requests": 24, "arrival": arrival } });
    pipeline([("engine", engine.clone())])
        .with("workload.prompts", (0..24).map(|it| format!("prompt {it}")).collect::<Vec<_>>())
        .with("schedule.seed", 11)
        .with("stages", json!([
            { "load": { "timeout": "30s" } },
            { "warmup": { "requests": 8, "arrival": { "concurrency": 8 } } },
            stage("slots", json!({ "concurrency": 8 })),
            stage("ramp", json!({ "ramp": { "concurrency": 8, "over": "200ms" } })),
            stage("constant", json!({ "constant": { "rate": 200, "max_in_flight": 64 } })),
            stage("poisson", json!({ "poisson": { "rate": 200, "max_in_flight": 64 } })),
            stage("gamma", json!({ "gamma": { "rate": 200, "burstiness": 0.3, "max_in_flight": 64 } })),
            { "unload": { "timeout": "10s" } },
            { "report": { "reporters": ["json"] } },
        ]))
}

#[test]
fn what_is_sent_is_the_same_for_any_number_of_ranks() {
    let scratch = Scratch::new();
    let mut alone = None;
    for ranks in ["1", "2", "3", "7"] {
        let log = format!("log-{ranks}");
        let (server, engine) = logging(&scratch, &log, &["--time-to-first-token-ms", "20"]);
        let run = scratch
            .run_with(&every_arrival(&engine), &["--ranks", ranks])
            .exits(0);
        drop(server);
        run.all_well("engine");
        for stage in CLOSED {
            assert!(most_in_flight(&run, stage) <= 8, "{stage}, {ranks}");
            assert_eq!(due(&run, stage).len(), 24);
        }
        let times: Vec<_> = OPEN.iter().map(|stage| due(&run, stage)).collect();
        let bodies = asked(&scratch, &log);
        match &alone {
            None => alone = Some((bodies, times)),
            Some((of_one, at)) => {
                assert_eq!(*of_one, bodies, "{ranks}");
                assert_eq!(*at, times, "{ranks}");
            }
        }
        let clocks = run.events("clock");
        let others = ranks.parse::<usize>().expect("a number") - 1;
        assert_eq!(clocks.len(), others * 6, "before each stage, warm-up too");
        let told = run.result()["run"]["ranks"].as_array().map_or(0, Vec::len);
        assert_eq!(told, others);
        let report = ["report", "latest", "--reporter", "markdown"];
        scratch.prony(&report).exits(0);
        let words = format!("Ranks that sent the load | {ranks}, beside rank 0 on");
        assert_eq!(run.read("report.md").contains(&words), others > 0);
        // All are of one machine.
        for clock in clocks {
            let offset = clock["offset_ns"]
                .as_i64()
                .expect("an offset")
                .unsigned_abs();
            assert!(
                offset <= clock["bound_ns"].as_u64().expect("a bound"),
                "{clock}"
            );
        }
    }
}

#[test]
fn conversations_stay_whole() {
    let scratch = Scratch::new();
    let talk = |it: usize| {
        json!({ "messages": [
            { "role": "user", "content": format!("a{it}") },
            { "role": "assistant", "content": "A" },
            { "role": "user", "content": format!("b{it}") },
        ] })
        .to_string()
    };
    let talks: Vec<String> = (0..8).map(talk).collect();
    scratch.write("talks.jsonl", talks.join("\n"));
    let dataset = json!({ "path": "talks.jsonl", "think": "10ms" });
    let mut alone = None;
    for ranks in ["1", "3"] {
        let log = format!("log-{ranks}");
        let (server, engine) = logging(&scratch, &log, &[]);
        let talking = pipeline([("engine", engine)])
            .with(
                "workload",
                json!({ "dataset": dataset, "temperature": 0, "max_tokens": 64 }),
            )
            .stage("measure", "requests", 16)
            .stage("measure", "arrival", json!({ "concurrency": 4 }));
        let run = scratch.run_with(&talking, &["--ranks", ranks]).exits(0);
        drop(server);
        run.all_well("engine");
        let requests = run.requests("engine");
        let of = |index: u64| {
            let found = requests.iter().find(|it| it["index"] == index);
            found.expect("the request")
        };
        for turn in (0..16).step_by(2) {
            let (first, second) = (of(turn), of(turn + 1));
            let pause =
                second["sent_ns"].as_u64() >= first["end_ns"].as_u64().map(|it| it + 10_000_000);
            assert!(pause, "{first} {second}");
        }
        let bodies = asked(&scratch, &log);
        assert_eq!(*alone.get_or_insert_with(|| bodies.clone()), bodies);
    }
}

#[test]
fn a_recording_with_images_is_replayed_at_its_times() {
    let scratch = Scratch::new();
    scratch.write("a.png", b"\x89PNG\r\n\x1a\n and so on");
    let line = |it: u64| {
        let content = json!([
            { "type": "image_url", "image_url": { "url": "a.png" } },
            { "type": "text", "text": format!("p{it}") },
        ]);
        let messages = json!([{ "role": "user", "content": content }]);
        json!({ "messages": messages, "at_ms": 100 + it * it }).to_string()
    };
    let lines: Vec<String> = (0..21).map(line).collect();
    scratch.write("trace.jsonl", lines.join("\n"));
    let mut alone = None;
    for ranks in ["1", "2", "3", "7"] {
        let log = format!("log-{ranks}");
        let (server, engine) = logging(&scratch, &log, &[]);
        let replay = pipeline([("engine", engine)])
            .with(
                "workload",
                json!({ "dataset": { "path": "trace.jsonl" }, "temperature": 0 }),
            )
            .stage("measure", "requests", 21)
            .stage("measure", "arrival", json!({ "replay": { "speed": 2 } }));
        let run = scratch.run_with(&replay, &["--ranks", ranks]).exits(0);
        drop(server);
        run.all_well("engine");
        let due = due(&run, "measure");
        let recorded = (0..21).map(|it| (it, it * it * 500_000));
        assert_eq!(due, recorded.collect(), "{ranks}");
        let bodies = asked(&scratch, &log);
        assert_eq!(*alone.get_or_insert_with(|| bodies.clone()), bodies);
    }
}

/// A port that nobody listens at.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// The environment of a rank.
fn place(rank: u32, world: u32, port: u16) -> Vec<(&'static str, String)> {
    vec![
        ("PRONY_RANK", rank.to_string()),
        ("PRONY_WORLD", world.to_string()),
        ("PRONY_RENDEZVOUS", format!("tcp://127.0.0.1:{port}")),
        ("PRONY_TOKEN", "secret".to_owned()),
    ]
}

fn start(scratch: &Scratch, variables: &[(&str, String)], arguments: &[&str]) -> Child {
    let mut command = scratch.command(arguments);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("prony starts")
}

/// The end of a process.
fn end(child: Child) -> Output {
    let output = child.wait_with_output().expect("an end");
    Output {
        code: output.status.code(),
        stdout: String::new(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn eight(engine: Value) -> Value {
    pipeline([("engine", engine)])
        .stage("measure", "requests", 8)
        .stage("measure", "arrival", json!({ "concurrency": 4 }))
}

#[test]
fn ranks_of_the_environment_find_each_other() {
    let scratch = Scratch::new();
    scratch.write_pipeline(&eight(truth(&[])));
    let port = free_port();
    // One has the pipeline, as `srun` starts it, and one needs none.
    let second = start(&scratch, &place(1, 3, port), &["run", "pipeline.yaml"]);
    let third = start(&scratch, &place(2, 3, port), &["rank"]);
    let run = scratch
        .prony_in(&place(0, 3, port), &["run", "pipeline.yaml"])
        .exits(0);
    run.complains("rank 0 of 3, by `PRONY_RANK` and `PRONY_WORLD`");
    for child in [second, third] {
        end(child).exits(0).complains("joined rank 0");
    }
    let journal = scratch.read("results/latest/journal.jsonl");
    let started: Value =
        serde_json::from_str(journal.lines().next().expect("a line")).expect("JSON");
    assert_eq!(started["world"]["by"], "`PRONY_RANK` and `PRONY_WORLD`");
    let ranks = started["world"]["ranks"].as_array().expect("ranks");
    assert_eq!(
        ranks
            .iter()
            .map(|it| it["rank"].as_u64())
            .collect::<Vec<_>>(),
        [Some(1), Some(2)]
    );
    // The answer of a file meets them, too, and has the token.
    let file = [(
        "PRONY_RENDEZVOUS",
        format!("file:{}", scratch.path("met").display()),
    )];
    let at = |rank| [&place(rank, 2, 0)[..2], &file[..]].concat();
    let second = start(&scratch, &at(1), &["rank"]);
    scratch.prony_in(&at(0), &["run", "pipeline.yaml"]).exits(0);
    end(second).exits(0);
    assert!(!scratch.path("met").exists());
}

#[test]
fn a_rank_that_differs_is_refused_before_any_request() {
    let scratch = Scratch::new();
    let (server, engine) = logging(&scratch, "log", &[]);
    scratch.write_pipeline(&eight(engine.clone()));
    let other = eight(engine).with("workload.max_tokens", 3);
    scratch.write("other.yaml", other.to_string());
    let set = |mut variables: Vec<(&'static str, String)>, name: &'static str, value: &str| {
        variables.retain(|it| it.0 != name);
        variables.push((name, value.to_owned()));
        variables
    };
    for (variables, arguments, words) in [
        (
            place(1, 2, 0),
            &["run", "other.yaml"][..],
            "its pipeline is another one",
        ),
        (
            set(place(1, 2, 0), "PRONY_WORLD", "3"),
            &["rank"],
            "its world has 3 ranks",
        ),
        (
            set(place(1, 2, 0), "PRONY_TOKEN", "guess"),
            &["rank"],
            "the token differs",
        ),
    ] {
        let port = free_port();
        let variables = set(
            variables,
            "PRONY_RENDEZVOUS",
            &format!("tcp://127.0.0.1:{port}"),
        );
        let leader = start(&scratch, &place(0, 2, port), &["run", "pipeline.yaml"]);
        let refused = end(start(&scratch, &variables, arguments)).exits(1);
        refused.complains(words);
        if words.contains("token") {
            // A stranger does not end the run: the right one may still come.
            end(start(&scratch, &place(1, 2, port), &["rank"])).exits(0);
            let run = end(leader).exits(0);
            run.complains("was refused: the token differs");
        } else {
            end(leader).exits(1).complains(words);
            assert!(asked(&scratch, "log").is_empty());
        }
    }
    drop(server);
}

#[test]
fn what_cannot_be_shared_is_told() {
    let scratch = Scratch::new();
    scratch.write_pipeline(&eight(truth(&[])));
    let run = ["run", "pipeline.yaml", "--ranks", "5"];
    scratch
        .prony(&run)
        .exits(2)
        .complains("at most 4 requests in flight, which is fewer than 5 ranks");
    let in_process = eight(crate::kit::synthetic());
    scratch.write("in-process.yaml", in_process.to_string());
    let run = ["run", "in-process.yaml", "--ranks", "2"];
    scratch
        .prony(&run)
        .exits(2)
        .complains("which no other rank reaches");
    let alone = [("PRONY_RANK", "1".to_owned())];
    let run = scratch.prony_in(&alone, &["run", "pipeline.yaml"]).exits(2);
    run.complains("set `PRONY_WORLD`");
    scratch
        .prony(&["rank"])
        .exits(2)
        .complains("nothing says which rank this is");
    let indexed = [("JOB_COMPLETION_INDEX", "0".to_owned())];
    scratch
        .prony_in(&indexed, &["run", "pipeline.yaml"])
        .exits(2)
        .complains("`--no-ranks`");
    scratch
        .prony_in(&indexed, &["run", "pipeline.yaml", "--no-ranks"])
        .exits(0);
}

/// A slow server, and a run by two ranks that is measuring.
fn under_way(scratch: &Scratch) -> (Child, Child) {
    let slow = truth(&["--tokens", "20", "--inter-token-latency-us", "20000"]);
    let long = pipeline([("engine", slow)])
        .with("schedule.cycles", 2)
        .stage("measure", "requests", 60)
        .stage("measure", "arrival", json!({ "concurrency": 4 }));
    scratch.write_pipeline(&long);
    let port = free_port();
    let second = start(scratch, &place(1, 2, port), &["rank"]);
    let leader = start(scratch, &place(0, 2, port), &["run", "pipeline.yaml"]);
    (leader, second)
}

/// Waits until a cycle is over and the next one is measured.
fn in_second_cycle(scratch: &Scratch) {
    wait_for("the second cycle", || {
        let text = fs::read_to_string(scratch.path("results/latest/journal.jsonl"));
        let text = text.or_else(|_| {
            let mut runs = fs::read_dir(scratch.path("results"))?;
            let run = runs.next().ok_or(std::io::ErrorKind::NotFound)??;
            fs::read_to_string(run.path().join("journal.jsonl"))
        });
        let text = text.ok()?;
        let begun = text
            .lines()
            .filter(|it| it.contains(r#""stage":"measure""#) && it.contains(r#""event":"stage""#));
        (begun.count() >= 2).then_some(())
    });
    // The share is dealt, and the start is named.
    std::thread::sleep(Duration::from_secs(2));
}

#[test]
fn a_lost_rank_ends_the_run_with_what_is_complete() {
    let scratch = Scratch::new();
    let (leader, second) = under_way(&scratch);
    in_second_cycle(&scratch);
    send(second.id().cast_signed(), Signal::KILL);
    let run = end(leader).exits(1);
    end(second);
    run.complains("rank 1 of ").complains("is lost");
    let result: Value =
        serde_json::from_str(&scratch.read("results/latest/result.json")).expect("JSON");
    assert_eq!(result["run"]["outcome"], "interrupted");
    let failure = &result["models"][0]["failures"][0];
    assert_eq!(
        (&failure["cycle"], &failure["outside"]),
        (&json!(2), &json!(true))
    );
    let journal = scratch.read("results/latest/journal.jsonl");
    let first =
        |line: &&str| line.contains(r#""event":"request""#) && line.contains(r#""cycle":1"#);
    assert_eq!(journal.lines().filter(first).count(), 60);
    assert!(journal.contains(r#""rank":true"#));
}

#[test]
fn a_rank_that_says_nothing_is_lost_and_the_run_goes_on_with_as_many() {
    let scratch = Scratch::new();
    let (leader, second) = under_way(&scratch);
    in_second_cycle(&scratch);
    send(second.id().cast_signed(), Signal::STOP);
    let run = end(leader).exits(1);
    send(second.id().cast_signed(), Signal::KILL);
    end(second);
    let run = run.complains("nothing was heard of it for 5s");
    let folder = fs::read_link(scratch.path("results/latest")).expect("a link");
    let folder = format!("results/{}", folder.display());
    run.complains(&format!("the same command with `--into {folder}` goes on"));
    // One process alone would send another load.
    scratch
        .prony(&["resume", &folder])
        .exits(2)
        .complains("--into");
    let port = free_port();
    let again = start(&scratch, &place(1, 2, port), &["rank"]);
    let on = ["run", "pipeline.yaml", "--into", &folder];
    scratch.prony_in(&place(0, 2, port), &on);
    end(again).exits(0);
    let result: Value =
        serde_json::from_str(&scratch.read(&format!("{folder}/result.json"))).expect("JSON");
    assert_eq!(result["run"]["outcome"], "completed");
}

#[test]
fn ranks_end_with_the_one_that_leads() {
    let scratch = Scratch::new();
    let (leader, second) = under_way(&scratch);
    in_second_cycle(&scratch);
    let pid = leader.id().cast_signed();
    send(pid, Signal::KILL);
    end(leader);
    end(second).exits(1).complains("rank 0 is gone");
}

#[test]
fn an_interrupted_run_keeps_what_all_ranks_have() {
    let scratch = Scratch::new();
    let (leader, second) = under_way(&scratch);
    in_second_cycle(&scratch);
    send(leader.id().cast_signed(), Signal::INT);
    end(leader).exits(130);
    end(second).exits(0);
    let journal = scratch.read("results/latest/journal.jsonl");
    let requests: Vec<Value> = journal
        .lines()
        .filter(|line| line.contains(r#""event":"request""#))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let second: BTreeSet<u64> = requests
        .iter()
        .filter(|it| it["cycle"] == 2 && it.get("failed").is_none())
        .filter_map(|it| it["index"].as_u64())
        .collect();
    // Of both: session i is rank i mod 2's, of 4 slots.
    assert!(
        second.iter().any(|it| it % 2 == 0) && second.iter().any(|it| it % 2 == 1),
        "{second:?}"
    );
}

/// A client that says nothing, and one that says nonsense.
#[test]
fn strangers_hold_nobody_up() {
    let scratch = Scratch::new();
    scratch.write_pipeline(&eight(truth(&[])));
    let port = free_port();
    let leader = start(&scratch, &place(0, 2, port), &["run", "pipeline.yaml"]);
    let silent = wait_for("rank 0", || TcpStream::connect(("127.0.0.1", port)).ok());
    let mut loud = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    std::io::Write::write_all(&mut loud, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").expect("written");
    end(start(&scratch, &place(1, 2, port), &["rank"])).exits(0);
    end(leader).exits(0).complains("was refused");
    drop(silent);
}

#[test]
fn what_is_to_be_submitted_is_printed() {
    let scratch = Scratch::new();
    let secret = eight(truth(&[])).with(
        "engines.engine.config.headers",
        json!({ "x-api-key": "a-literal-key" }),
    );
    scratch.write_pipeline(&secret);
    let slurm = [
        "launch",
        "slurm",
        "pipeline.yaml",
        "--ranks",
        "4",
        "--set",
        "schedule.cycles=3",
    ];
    let script = scratch.prony(&slurm).exits(0);
    let script = script
        .prints("#SBATCH --ntasks=4\n")
        .prints(
            " run pipeline.yaml --set 'schedule.cycles=3'
",
        )
        .prints("srun --kill-on-bad-exit=0 --wait=60 prony ");
    assert!(!script.stdout.contains("a-literal-key"));
    let kubernetes = [
        "launch",
        "kubernetes",
        "pipeline.yaml",
        "--ranks",
        "3",
        "--image",
        "x:1",
    ];
    let manifests = scratch.prony(&kubernetes).exits(0);
    let manifests = manifests
        .prints("completions: 3\n")
        .prints("name: prony-it-env\n")
        .prints("tcp://prony-it-0.prony-it:7766");
    assert!(!manifests.stdout.contains("a-literal-key"));
    scratch
        .prony(&["launch", "slurm", "pipeline.yaml", "--ranks", "5"])
        .exits(2)
        .complains("fewer than 5 ranks");
    let key = [
        "--set",
        "engines.engine.config.headers.x-api-key=another-literal",
    ];
    let told = scratch.prony(&[&slurm[..5], &key].concat()).exits(2);
    assert!(
        told.complains("a secret is in the options")
            .stdout
            .is_empty()
    );
    let two_words = [
        "launch",
        "slurm",
        "pipeline.yaml",
        "--ranks",
        "4",
        "--partition",
        "a\nb",
    ];
    scratch
        .prony(&two_words)
        .exits(2)
        .complains("is no single word");
}
