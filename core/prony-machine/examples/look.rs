//! Prints what can be read of this machine, as JSON: `cargo run --example look`.

#![allow(clippy::print_stdout)]

use prony_machine::{Change, Family, Fingerprint, Options, Sampler, State};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let timed = |what: &str, begin: Instant| println!("# {what}: {:?}", begin.elapsed());
    let begin = Instant::now();
    let machine = Fingerprint::read();
    timed("fingerprint", begin);
    println!("{}", serde_json::to_string_pretty(&machine)?);
    let begin = Instant::now();
    let before = State::read();
    timed("state", begin);
    println!("{}", serde_json::to_string_pretty(&before)?);
    // What to watch: a command, or this process itself.
    let mut words = std::env::args().skip(1);
    let mut child = match words.next() {
        Some(program) => Some(std::process::Command::new(program).args(words).spawn()?),
        None => None,
    };
    let leader = child
        .as_ref()
        .map_or(std::process::id(), std::process::Child::id);
    let family = Family {
        leader,
        mark: String::new(),
    };
    let mut sampler = Sampler::start(family, Options::default())?;
    match &mut child {
        Some(child) => {
            child.wait()?;
        }
        None => std::thread::sleep(Duration::from_secs(2)),
    }
    sampler.finish();
    let usage = sampler.usage();
    println!("{}", serde_json::to_string_pretty(&usage)?);
    let after = State::read();
    let change = Change::between(&before, &after, &[], usage.total.cpu_seconds);
    println!("{}", serde_json::to_string_pretty(&change)?);
    for warning in change.warnings(&machine, &after) {
        println!("{}: {}", warning.code, warning.message);
    }
    for gpu in &usage.total.gpus {
        for warning in gpu.warnings() {
            println!("{}: {}", warning.code, warning.message);
        }
    }
    println!(
        "# this process used {:?}",
        Duration::from_nanos(prony_machine::client::process_cpu_ns())
    );
    Ok(())
}
