//! Two machines whose clocks differ: namespaces of the network and of time.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use super::Bench;
use crate::shell;

/// Seconds by which the other clock is ahead.
const AHEAD_S: i64 = 500;
/// Addresses of this machine and of the other one, which no network routes between.
const HERE: &str = "10.231.77.1";
const THERE: &str = "10.231.77.2";

/// A network with one other machine; removed when dropped.
struct Network(String);

impl Network {
    fn new() -> Result<Self> {
        let name = format!("prony{}", std::process::id());
        let network = Self(name.clone());
        let (near, far) = (format!("{name}n"), format!("{name}f"));
        ip(&["netns", "add", &name])?;
        ip(&[
            "link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &name,
        ])?;
        ip(&["address", "add", &format!("{HERE}/30"), "dev", &near])?;
        ip(&["link", "set", &near, "up"])?;
        ip(&[
            "-n",
            &name,
            "address",
            "add",
            &format!("{THERE}/30"),
            "dev",
            &far,
        ])?;
        ip(&["-n", &name, "link", "set", &far, "up"])?;
        Ok(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Its link goes with it.
        let _ = ip(&["netns", "delete", &self.0]);
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    shell::run(Command::new("ip").args(arguments))
}

/// Measures with a rank on a machine whose clock is far ahead.
pub(super) fn check(bench: &Bench) -> Result<()> {
    shell::step("two ranks whose clocks are 500 s apart");
    let network = Network::new()?;
    let place = |mut command: Command, rank: &str| {
        command.env("PRONY_RANK", rank).env("PRONY_WORLD", "2");
        command.env("PRONY_RENDEZVOUS", format!("tcp://{HERE}:27766"));
        command.env("PRONY_TOKEN", "token");
        command
    };
    let mut other = place(bench.command("ip"), "1");
    other.args([
        "netns",
        "exec",
        &network.0,
        "unshare",
        "--time",
        "--monotonic",
    ]);
    other.args([
        &AHEAD_S.to_string(),
        "--fork",
        "--kill-child",
        "prony",
        "rank",
    ]);
    let other = other.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut leader = place(bench.command("prony"), "0");
    let ended = leader
        .args(["run", "pipeline.yaml", "--results", "clocks"])
        .output()?;
    let other = other.wait_with_output()?;
    let said = String::from_utf8_lossy(&other.stderr);
    ensure!(other.status.success(), "the other rank:\n{said}");
    let run = bench.checked("clocks", &ended, 2)?;
    ensure!(!run.clocks.is_empty(), "no clock was measured");
    for (offset_ns, bound_ns) in run.clocks {
        let error_ns = offset_ns + AHEAD_S * 1_000_000_000;
        ensure!(
            error_ns.abs() <= bound_ns,
            "off by {error_ns} ns, with a bound of {bound_ns} ns"
        );
    }
    Ok(())
}
