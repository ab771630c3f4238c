//! `prony launch`: what to submit so that several ranks send the load of a run. prony talks to no
//! cluster itself.

use crate::arguments::{Global, Source};
use crate::commands::run::base_of;
use crate::{Exit, Failure, Outcome, output, pipeline, plugins};
use clap::{Args, Subcommand};
use prony_config::Pipeline;
use serde_json::{Value, json};
use std::fmt::Write as _;

#[derive(Debug, Args)]
#[command(
    after_help = "Example: prony launch slurm gateway.yaml --ranks 4 > gateway.sbatch && sbatch gateway.sbatch"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    system: System,
}

#[derive(Debug, Subcommand)]
enum System {
    /// Print a batch script for Slurm.
    #[command(
        after_help = "Example: prony launch slurm gateway.yaml --ranks 4 > gateway.sbatch && sbatch gateway.sbatch"
    )]
    Slurm(Slurm),
    /// Print manifests for Kubernetes: a job with an index for each rank, and what it needs.
    #[command(
        after_help = "Example: prony launch kubernetes gateway.yaml --ranks 4 --image registry.example/prony:1 | kubectl apply -f -"
    )]
    Kubernetes(Kubernetes),
}

#[derive(Debug, Args)]
struct Ranks {
    #[command(flatten)]
    source: Source,
    /// Number of processes that send the load, each on a machine of its own.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=i64::from(prony_ranks::place::MAX_WORLD)))]
    ranks: u32,
}

#[derive(Debug, Args)]
struct Slurm {
    #[command(flatten)]
    ranks: Ranks,
    /// Partition to submit to.
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
    /// Longest time of the job, as Slurm writes it.
    #[arg(long, default_value = "01:00:00", value_name = "TIME")]
    time: String,
}

#[derive(Debug, Args)]
struct Kubernetes {
    #[command(flatten)]
    ranks: Ranks,
    /// Container image that has `prony` on its path.
    #[arg(long, value_name = "IMAGE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    image: String,
    /// Name of the job and of what belongs to it; that of the pipeline if absent.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Claim of a volume for the results; without it they end with the pod of rank 0.
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    claim: Option<String>,
}

/// Port at which rank 0 listens in Kubernetes.
const PORT: u16 = 7766;

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let ranks = match &arguments.system {
        System::Slurm(it) => &it.ranks,
        System::Kubernetes(it) => &it.ranks,
    };
    let base = base_of(&ranks.source.file)?;
    let registry = plugins::registry_of(global, &base)?;
    let Some(loaded) = pipeline::open(global, &ranks.source, &registry, Some(&base)) else {
        return Ok(Exit::InvalidPipeline);
    };
    let checked = crate::ranks::Checked {
        pipeline: &loaded.pipeline,
        plan: &prony_plan::Plan::new(&loaded.pipeline),
        registry: &registry,
        pipeline_sha256: String::new(),
    };
    checked.suits(ranks.ranks)?;
    reached_from_elsewhere(&loaded.pipeline)?;
    let text = match &arguments.system {
        System::Slurm(it) => it.script(global, &loaded.pipeline)?,
        System::Kubernetes(it) => it.manifests(&loaded.pipeline)?,
    };
    output::lines(&text);
    Ok(Exit::Ok)
}

fn usage(message: String) -> Failure {
    Failure::new(Exit::Usage, message)
}

/// Checks that no engine is at an address of one machine only.
fn reached_from_elsewhere(pipeline: &Pipeline) -> Result<(), Failure> {
    for engine in &pipeline.engines {
        let Some(Value::String(url)) = engine.config.get("base_url") else {
            continue;
        };
        let host = url.split_once("://").map_or(url.as_str(), |it| it.1);
        if ["127.", "localhost", "[::1]"]
            .iter()
            .any(|it| host.starts_with(it))
        {
            return Err(usage(format!(
                "engine `{}` is at `{url}`, which ranks on other machines cannot reach: give its address in their network",
                engine.name
            )));
        }
    }
    Ok(())
}

impl Slurm {
    fn script(&self, global: &Global, pipeline: &Pipeline) -> Result<String, Failure> {
        let Ranks { source, ranks } = &self.ranks;
        let file = source.file.to_string_lossy();
        if pipeline::is_stdin(&source.file) {
            return Err(usage(
                "a batch script needs a pipeline in a file".to_owned(),
            ));
        }
        let mut quoted = global.as_words();
        // A name that begins with a hyphen is no option.
        let file = if file.starts_with('-') {
            format!("./{file}")
        } else {
            file.into_owned()
        };
        quoted.extend(["run".to_owned(), file]);
        quoted.extend(source.layers.as_words());
        let command = shlex::try_join(quoted.iter().map(String::as_str))
            .map_err(|error| usage(error.to_string()))?;
        let one_line = |what: &str, text: &str| {
            let is_one =
                !text.is_empty() && !text.chars().any(|it| it.is_whitespace() || it.is_control());
            is_one
                .then_some(())
                .ok_or_else(|| usage(format!("`{what}`: `{text}` is no single word")))
        };
        if pipeline.secrets.mask(&command) != command {
            return Err(usage(
                "a secret is in the options, which no script is to show: take it from the environment (`env` in the pipeline), and export it before `sbatch`".to_owned(),
            ));
        }
        one_line("--time", &self.time)?;
        let mut text = format!(
            "#!/bin/bash\n#SBATCH --job-name={}\n#SBATCH --nodes={ranks}\n#SBATCH --ntasks={ranks}\n#SBATCH --ntasks-per-node=1\n#SBATCH --exclusive\n#SBATCH --time={}\n#SBATCH --output=prony-%j.log\n",
            name(&pipeline.name),
            self.time
        );
        if let Some(partition) = &self.partition {
            one_line("--partition", partition)?;
            let _ = writeln!(text, "#SBATCH --partition={partition}");
        }
        let _ = write!(
            text,
            "\n# Rank 0 leads, on the first of the nodes: its engines start there. The others only send.\n\
             # An engine of your own on other nodes is started before this, and its address is in the\n\
             # pipeline. prony, the pipeline and what it names lie on a disk that all nodes have.\n\
             set -eu\n\
             PRONY_TOKEN=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \\n')\n\
             export PRONY_TOKEN\n\
             # A rank that is lost ends the run, which rank 0 reports; the rest end within a minute.\n\
             srun --kill-on-bad-exit=0 --wait=60 prony {command}\n"
        );
        Ok(text)
    }
}

impl Kubernetes {
    fn manifests(&self, pipeline: &Pipeline) -> Result<String, Failure> {
        let ranks = self.ranks.ranks;
        let name = name(self.name.as_ref().unwrap_or(&pipeline.name));
        let text = super::run::resolved(pipeline)?;
        let pipeline: Value =
            serde_yaml::from_str(&text).map_err(|error| usage(error.to_string()))?;
        let token = prony_ranks::assembly::nonce()
            .map_err(|error| Failure::new(Exit::RunFailed, error.to_string()))?;
        let metadata = json!({ "name": name });
        let variable = |name: &str, value: String| json!({ "name": name, "value": value });
        let of_secret = json!({ "secretKeyRef": { "name": name, "key": "token" } });
        let run = ["run", "/pipeline/pipeline.yaml", "--results", "/results"];
        let results = match &self.claim {
            Some(claim) => {
                json!({ "name": "results", "persistentVolumeClaim": { "claimName": claim } })
            }
            None => json!({ "name": "results", "emptyDir": {} }),
        };
        let mut environment = vec![
            variable("PRONY_WORLD", ranks.to_string()),
            variable("PRONY_RENDEZVOUS", format!("tcp://{name}-0.{name}:{PORT}")),
            json!({ "name": "PRONY_TOKEN", "valueFrom": of_secret }),
        ];
        // Secrets that are written in the file are variables, too, when it is written again.
        let own = ["env", "secrets"].map(|key| pipeline[key].as_array());
        let own = own.into_iter().flatten().flatten();
        let own: Vec<&str> = own.filter_map(Value::as_str).collect();
        environment.extend(own.iter().map(|key| {
            let of_secret = json!({ "name": format!("{name}-env"), "key": key });
            json!({ "name": key, "valueFrom": { "secretKeyRef": of_secret } })
        }));
        let container = json!({
            "name": "prony",
            "image": self.image,
            "command": ["prony"],
            "args": run,
            "env": environment,
            "ports": [{ "name": "rendezvous", "containerPort": PORT }],
            "volumeMounts": [
                { "name": "pipeline", "mountPath": "/pipeline" },
                { "name": "results", "mountPath": "/results" },
            ],
        });
        let apart = json!({
            "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{
                "labelSelector": { "matchLabels": { "job-name": name } },
                "topologyKey": "kubernetes.io/hostname",
            }] },
        });
        let pod = json!({
            "subdomain": name,
            "restartPolicy": "Never",
            // Ranks that share a machine share its limits.
            "affinity": apart,
            "containers": [container],
            "volumes": [{ "name": "pipeline", "configMap": { "name": name } }, results],
        });
        let all = [
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": metadata,
                "spec": {
                    "clusterIP": "None",
                    // Ranks look for rank 0 before any of them is ready.
                    "publishNotReadyAddresses": true,
                    "selector": { "job-name": name },
                    "ports": [{ "name": "rendezvous", "port": PORT }],
                },
            }),
            json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": metadata,
                "type": "Opaque", "stringData": { "token": token },
            }),
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
                "data": { "pipeline.yaml": text },
            }),
            json!({
                "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata,
                "spec": {
                    "completionMode": "Indexed", "completions": ranks, "parallelism": ranks,
                    // Fewer ranks would send another load, and a run does not begin again by itself.
                    "backoffLimitPerIndex": 0, "maxFailedIndexes": 0,
                    "template": { "spec": pod },
                },
            }),
        ];
        let mut text = documents(&all)?;
        let mut head = String::from(
            "# Files that the pipeline names have to be in the image, or mounted beside\n# /pipeline/pipeline.yaml.\n",
        );
        if !own.is_empty() {
            let literals: Vec<String> = own
                .iter()
                .map(|key| format!(" --from-literal={key}=..."))
                .collect();
            let _ = writeln!(
                head,
                "# What it takes from the environment; of an option that is a secret, the whole value:\n# kubectl create secret generic {name}-env{}",
                literals.concat()
            );
        }
        text.insert_str(0, &head);
        Ok(text)
    }
}

/// Values as the documents of a YAML file.
fn documents(all: &[Value]) -> Result<String, Failure> {
    let texts = all
        .iter()
        .map(serde_yaml::to_string)
        .collect::<Result<Vec<_>, _>>();
    let texts = texts.map_err(|error| usage(error.to_string()))?;
    Ok(texts.join("---\n"))
}

/// A name that Slurm and Kubernetes take: letters, digits and hyphens.
fn name(text: &str) -> String {
    let mut name = String::from("prony");
    for word in text.split(|it: char| !it.is_ascii_alphanumeric()) {
        if !word.is_empty() {
            name.push('-');
            name.push_str(&word.to_ascii_lowercase());
        }
    }
    // The longest name of a pod's host is 63, and the index follows.
    name.truncate(52);
    name.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_everywhere() {
        assert_eq!(name("Gateway (8B), v1.2"), "prony-gateway-8b-v1-2");
        assert_eq!(name("…"), "prony");
        let long = name(&"long name ".repeat(20));
        assert!(long.len() <= 52 && !long.ends_with('-'));
    }
}
