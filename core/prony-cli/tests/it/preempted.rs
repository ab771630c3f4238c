//! A job that a scheduler kills and starts again with the same command, as a pod or with
//! `sbatch --requeue`: one run, one journal.

use crate::kit::{PRONY, Scratch, With, lock, pipeline, truth};
use serde_json::{Value, json};
use std::process::Command;

/// A scheduler: starts the command in a session of its own, like the process of a container;
/// preempts it after so many measured requests in its journal with SIGTERM and, after so many
/// seconds, SIGKILL, once for each pair in `preemptions`; starts it again until it ends by
/// itself. Prints the exit code of each time.
const SCHEDULER: &str = r#"
journal=$1; shift
requests() {
    count=$(grep -c '^{"event":"request".*"phase":"measure"' "$journal" 2>/dev/null)
    echo "${count:-0}"
}
for preemption in $preemptions done; do
    setsid "$@" & job=$!
    if [ "$preemption" != done ]; then
        while [ "$(requests)" -lt "${preemption%:*}" ] && kill -0 $job 2>/dev/null; do
            sleep 0.02
        done
        env kill -TERM -- -$job 2>/dev/null
        grace=${preemption#*:}
        while [ "$grace" -gt 0 ] && kill -0 $job 2>/dev/null; do
            sleep 1; grace=$((grace - 1))
        done
        env kill -KILL -- -$job 2>/dev/null
    fi
    wait $job
    echo "exit $?"
done
"#;

#[test]
fn a_preempted_job_is_one_run_with_one_journal() {
    let scratch = Scratch::new();
    let slow = truth(&["--time-to-first-token-ms", "20"]);
    let fast = truth(&["--time-to-first-token-ms", "5"]);
    let compared = pipeline([("slow", slow), ("fast", fast)])
        .with("schedule.cycles", 9)
        .with("schedule.stop", "never");
    scratch.write("pipeline.yaml", format!("{compared:#}"));
    let script = scratch.write("scheduler.sh", SCHEDULER);
    let output = Command::new("sh")
        .arg(script)
        .arg(scratch.path("runs/job/journal.jsonl"))
        .arg(PRONY)
        .arg("--lock")
        .arg(lock())
        .args(["run", "pipeline.yaml", "--into", "runs/job"])
        // Killed at once, given time to end, and killed at once again.
        .env("preemptions", "5:0 20:30 35:0")
        .current_dir(scratch.path(""))
        .output()
        .expect("a shell");
    let told = String::from_utf8_lossy(&output.stdout);
    let codes: Vec<&str> = told
        .lines()
        .filter_map(|line| line.strip_prefix("exit "))
        .collect();
    let told = format!("{codes:?}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(codes.len(), 4, "{told}");
    assert_eq!(codes[1], "130", "it had time to end: {told}");
    // 6 where a busy machine kept the load client late.
    assert!(["0", "6"].contains(&codes[3]), "{told}");

    let runs = std::fs::read_dir(scratch.path("runs")).expect("a folder");
    assert_eq!(runs.count(), 1);
    let journal = scratch.read("runs/job/journal.jsonl");
    let events: Vec<Value> = journal
        .lines()
        .map(|line| serde_json::from_str(line).expect("a whole line"))
        .collect();
    let count = |name: &str| events.iter().filter(|it| it["event"] == name).count();
    assert_eq!((count("started"), count("resumed")), (1, 3), "{told}");
    let last = events.last().expect("an event");
    assert_eq!(last["outcome"], json!("completed"), "{told}");
    // Each cycle under way was broken off, and a replacement took its place.
    let cycles: Vec<u64> = events
        .iter()
        .filter(|it| it["event"] == "cycle")
        .filter_map(|it| it["cycle"].as_u64())
        .collect();
    let degraded = count("degraded");
    assert!((1..=3).contains(&degraded), "{degraded}: {told}");
    let all: Vec<u64> = (1..=9 + degraded as u64).collect();
    assert_eq!(cycles, all, "{told}");
    let whole = cycles.len() - degraded;
    assert_eq!(whole, 9);
    scratch
        .prony(&["verify", "runs/job"])
        .exits(0)
        .prints("ok: nothing is damaged");
    let result = scratch
        .prony(&["report", "runs/job", "--json"])
        .exits(0)
        .json();
    let comparison = &result["models"][0]["comparisons"][0];
    assert_eq!(comparison["degraded_cycles"], degraded, "{comparison}");
}
