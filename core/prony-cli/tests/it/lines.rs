//! The program of `examples/lines`, which needs Python and nothing else.

use crate::kit::{Run, Scratch, With, pipeline, repository, text};
use serde_json::{Value, json};

/// A folder with the program, after `patch` has been put before it.
fn program(patch: &str) -> Scratch {
    let scratch = Scratch::new();
    let example = |name: &str| {
        let file = repository().join("examples/lines").join(name);
        std::fs::read_to_string(file).expect("an example")
    };
    scratch.write("lines.py", example("lines.py"));
    scratch.write("engine.py", format!("{patch}\n{}", example("echo.py")));
    scratch
}

fn with_options(options: &Value) -> Value {
    let engine = json!({ "plugin": "lines", "config": {
        "command": ["python3", "engine.py"], "options": options,
    } });
    pipeline([("engine", engine)])
}

fn numbers(list: &Value) -> Vec<u64> {
    let list = list.as_array().expect("a list");
    list.iter()
        .map(|it| it.as_u64().expect("a number"))
        .collect()
}

fn stages(concurrency: u32) -> Value {
    with_options(&json!({ "pause_ms": 1 }))
        .with("workload.max_tokens", 16)
        .stage("measure", "requests", 6)
        .stage("measure", "arrival", json!({ "concurrency": concurrency }))
}

#[test]
fn both_stamps_of_each_token_are_kept() {
    for concurrency in [1, 3] {
        let run = program("").run(&stages(concurrency)).exits(0);
        run.all_well("engine");
        let requests = run.requests("engine");
        assert_eq!(requests.len(), 6);
        for request in &requests {
            let arrivals = request["arrivals"].as_array().expect("arrivals");
            let emitted = numbers(&request["emitted_ns"]);
            assert_eq!((arrivals.len(), emitted.len()), (16, 16));
            let mut before = request["sent_ns"].as_u64().expect("a time");
            for (emitted, arrival) in emitted.iter().zip(arrivals) {
                assert!(before <= *emitted, "{request}");
                assert!(
                    *emitted <= arrival[0].as_u64().expect("a time"),
                    "{request}"
                );
                assert_eq!(arrival[1], 1);
                before = *emitted;
            }
            assert_eq!(request["output_tokens"], 16);
            assert_eq!(request["served_model"], "model");
        }
        let clock = &run.result()["models"][0]["engines"][0]["own_clock"];
        assert_eq!(clock["delivery_ms"]["n"], 6 * 16);
        assert_eq!(clock["time_to_first_token_ms"]["n"], 6);
        // 16 tokens with a pause of a millisecond each.
        let gap = clock["time_per_output_token_ms"]["min"].as_f64();
        assert!(gap.is_some_and(|ms| ms >= 1.0), "{clock}");
        assert!(clock.get("prefill_ms").is_none(), "it tells no times");
        assert!(
            run.read("report.md")
                .contains("Own clock of engine: decode")
        );
    }
}

#[test]
fn stamps_of_another_clock_are_left_out_and_said() {
    let run = program("import time\ntime.clock_gettime_ns = lambda _: time.time_ns()")
        .run(&stages(1))
        .exits(0);
    run.all_well("engine");
    for request in run.requests("engine") {
        assert!(request.get("emitted_ns").is_none(), "{request}");
        assert_eq!(request["arrivals"].as_array().map(Vec::len), Some(16));
    }
    let engine = &run.result()["models"][0]["engines"][0];
    assert!(engine.get("own_clock").is_none(), "{engine}");
    let warnings = run.result()["warnings"].to_string();
    assert!(warnings.contains("of another clock"), "{warnings}");
}

#[test]
fn what_the_program_cannot_do_fails_in_its_words() {
    let run = program("").run(&stages(1).with("workload.stop", json!(["x"])));
    let requests = run.requests("engine");
    assert_eq!(requests.len(), 6);
    for request in requests {
        assert_eq!(text(&request["failed"]["class"]), "engine_error");
        let words = text(&request["failed"]["message"]);
        // The first ones also say where what came is.
        let words = words.split(" (what came is in `failed/").next();
        assert_eq!(words, Some("ValueError: this engine has no `stop`"));
    }
    let run: Run = program("").run(&with_options(&json!({ "threads": 4 })));
    assert_ne!(run.output.code, Some(0));
    run.complains("unexpected keyword argument 'threads'");
}

#[test]
fn what_a_library_prints_is_in_the_log() {
    let run = program("print('on import')").run(&stages(1)).exits(0);
    run.all_well("engine");
    assert!(run.read("logs/model-engine-c1.log").contains("on import"));
}
