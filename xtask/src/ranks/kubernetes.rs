//! The manifests of `prony launch kubernetes`: checked against the schemas of Kubernetes' versions,
//! and run as the controller of an indexed job does.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Bench;
use crate::workspace::Workspace;
use crate::{python, shell};

/// The validator, which has the schemas inside.
const VALIDATOR: &str = "kubernetes-validate==1.37.0";
/// Versions of Kubernetes.
const VERSIONS: [&str; 9] = [
    "1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37",
];

pub(super) fn check(workspace: &Workspace, bench: &Bench) -> Result<()> {
    let mut launch = bench.command("prony");
    launch.args(["launch", "kubernetes", "pipeline.yaml", "--ranks", "3"]);
    let printed = launch
        .args(["--image", "registry.example/prony:1"])
        .output()?;
    ensure!(
        printed.status.success(),
        "{}",
        String::from_utf8_lossy(&printed.stderr)
    );
    let file = bench.folder.join("manifests.yaml");
    fs::write(&file, &printed.stdout)?;
    shell::step(&format!(
        "manifests, for Kubernetes {} to {}",
        VERSIONS[0], VERSIONS[8]
    ));
    let validate = validator(workspace)?;
    for version in VERSIONS {
        let mut validate = Command::new(&validate);
        validate
            .args(["--strict", "--quiet", "-k", version])
            .arg(&file);
        shell::run(&mut validate).with_context(|| format!("not valid for {version}"))?;
    }
    shell::step("three ranks, as an indexed job starts them");
    let mut read = Command::new(validate.with_file_name("python"));
    let all = shell::output(read.args(["-c", READ]).arg(&file))?;
    run(bench, &serde_json::from_slice::<Vec<Value>>(&all)?)
}

/// Reads the documents of a YAML file.
const READ: &str =
    "import json, sys, yaml; json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)";

/// The validator, installed unless it is there.
fn validator(workspace: &Workspace) -> Result<PathBuf> {
    let venv = workspace.cache.join("validators/kubernetes");
    let program = venv.join("bin/kubernetes-validate");
    if !shell::succeeds(Command::new(&program).arg("--help")) {
        shell::step("installing kubernetes-validate");
        python::venv(&venv, &[VALIDATOR])?;
    }
    Ok(program)
}

/// Does what the controller of an indexed job and the network of its pods do: one process for
/// each index, with its number in the environment, which finds the others by their names.
fn run(bench: &Bench, all: &[Value]) -> Result<()> {
    let of_kind = |kind: &str| {
        let found = all.iter().find(|it| it["kind"] == kind);
        found.with_context(|| format!("there is no {kind}"))
    };
    let (job, config, secret) = (of_kind("Job")?, of_kind("ConfigMap")?, of_kind("Secret")?);
    let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
    let name = text(&job["metadata"]["name"])?;
    let pod = &job["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let count = job["spec"]["completions"]
        .as_u64()
        .context("no completions")?;
    ensure!(job["spec"]["completionMode"] == "Indexed" && job["spec"]["parallelism"] == count);
    // Its volumes.
    let volumes = bench.folder.join("pod");
    fs::create_dir_all(volumes.join("pipeline"))?;
    let pipeline = text(&config["data"]["pipeline.yaml"])?;
    fs::write(volumes.join("pipeline/pipeline.yaml"), pipeline)?;
    let subdomain = text(&pod["subdomain"])?;
    let hosts: Vec<String> = (0..count)
        .map(|index| format!("{name}-{index}.{subdomain}"))
        .collect();
    let hosts_file = volumes.join("hosts");
    fs::write(
        &hosts_file,
        format!("127.0.0.1 localhost {}\n", hosts.join(" ")),
    )?;
    let mut pods: Vec<Child> = Vec::new();
    for index in 0..count {
        let mut command = bench.command("unshare");
        command.args([
            "--mount",
            "sh",
            "-c",
            "mount --bind \"$0\" /etc/hosts && exec \"$@\"",
        ]);
        command.arg(&hosts_file);
        let words = [&container["command"], &container["args"]];
        for word in words.into_iter().filter_map(|it| it.as_array()).flatten() {
            let word = text(word)?;
            // Where its volumes are.
            let place = volumes.join(word.trim_start_matches('/'));
            if word.starts_with('/') {
                command.arg(place);
            } else {
                command.arg(word);
            }
        }
        command.env("JOB_COMPLETION_INDEX", index.to_string());
        for variable in container["env"].as_array().into_iter().flatten() {
            let key = text(&variable["name"])?;
            let reference = &variable["valueFrom"]["secretKeyRef"];
            let value = match reference["key"].as_str() {
                Some(of) => text(&secret["stringData"][of])?,
                None => text(&variable["value"])?,
            };
            command.env(key, value);
        }
        pods.push(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()?,
        );
    }
    let mut ended = Vec::new();
    for pod in pods {
        ended.push(pod.wait_with_output()?);
    }
    bench.checked("pod/results", &ended[0], count as usize)?;
    for (index, pod) in ended.iter().enumerate().skip(1) {
        let said = String::from_utf8_lossy(&pod.stderr);
        ensure!(pod.status.success(), "index {index}:\n{said}");
    }
    Ok(())
}
