//! Agreement of prony with other load clients, and of all with what the server did.
//!
//! Each client measures the same servers, one after the other: the truth server, whose log
//! says when each token was written, and llama.cpp, whose log says how long it computed. A
//! row of the page has a client's own figure, the same quantity by the server's log of the
//! same requests, and what prony computes by that client's definition from its own requests.

mod page;
mod server;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::build;
use crate::clients::{CLIENTS, Client};
use crate::shell;
use crate::workspace::{Workspace, create_folder};
use page::{Page, Row, Table};
use server::{Kind, Server};
use tools::{Load, Tool};

/// Requests of each client that are measured, unless told otherwise.
const REQUESTS: usize = 32;
/// Requests ahead of them, not measured: a connection is made, modules are loaded.
const WARMUPS: usize = 4;
/// Tokens of each answer.
const TOKENS: u32 = 32;

/// Servers in the order of the page: title, kind, requests in flight.
const SCENARIOS: [(&str, Kind, usize); 5] = [
    (
        "Known schedule, one request in flight",
        Kind::Truth { coalesce: 1 },
        1,
    ),
    (
        "Known schedule, four requests in flight",
        Kind::Truth { coalesce: 1 },
        4,
    ),
    (
        "Known schedule, four tokens a chunk",
        Kind::Truth { coalesce: 4 },
        1,
    ),
    ("llama.cpp, one request in flight", Kind::LlamaCpp, 1),
    ("llama.cpp, four requests in flight", Kind::LlamaCpp, 4),
];

struct Options {
    without: Vec<String>,
    requests: usize,
    to: PathBuf,
}

impl Options {
    fn parse(workspace: &Workspace, options: &[&str]) -> Result<Self> {
        let mut parsed = Self {
            without: Vec::new(),
            requests: REQUESTS,
            to: workspace.root.join("docs/agreement.md"),
        };
        let mut options = options.iter().peekable();
        while let Some(option) = options.next() {
            match *option {
                "--without" => {
                    while let Some(name) = options.next_if(|it| !it.starts_with("--")) {
                        if !matches!(*name, "llama.cpp" | "truth-server") {
                            Client::named(name)?;
                        }
                        parsed.without.push((*name).to_owned());
                    }
                }
                "--requests" => {
                    let number = options.next().and_then(|it| it.parse().ok());
                    parsed.requests = number
                        .filter(|it| *it > 0)
                        .context("`--requests` needs a number above 0")?;
                }
                "--to" => {
                    parsed.to = options.next().context("`--to` needs a file")?.into();
                }
                _ => bail!("`{option}` is not understood; `cargo xtask help` lists the options"),
            }
        }
        Ok(parsed)
    }

    fn has(&self, name: &str) -> bool {
        !self.without.iter().any(|it| it == name)
    }
}

/// Measures all servers with all clients and writes the page.
pub(crate) fn agree(workspace: &Workspace, options: &[&str]) -> Result<()> {
    let options = Options::parse(workspace, options)?;
    build::build(workspace)?;
    let mut page = Page::new(options.requests);
    let mut tools = vec![Tool::Prony];
    for client in &CLIENTS {
        if !options.has(client.name) {
            page.left_out(client.name, "left out by `--without`");
        } else if let Some(version) = client.installed(workspace) {
            page.version(client.name, &version);
            tools.push(Tool::Other(client));
        } else {
            let note = format!(
                "not installed; `cargo xtask clients {}` does it",
                client.name
            );
            page.left_out(client.name, &note);
        }
    }
    for (title, kind, in_flight) in SCENARIOS {
        if !options.has(kind.name()) {
            page.left_out(title, "left out by `--without`");
            continue;
        }
        if let Some(reason) = kind.is_missing(workspace) {
            page.left_out(title, &reason);
            continue;
        }
        shell::step(title);
        let load = Load {
            requests: options.requests,
            in_flight,
        };
        let folder = fresh_folder(workspace, title)?;
        let table = measure(workspace, &folder, kind, load, &tools, &mut page)
            .with_context(|| format!("{title} (see {})", folder.display()))?;
        page.table(title, table);
    }
    page.write(&options.to)
}

/// Runs every client against one server.
fn measure(
    workspace: &Workspace,
    folder: &Path,
    kind: Kind,
    load: Load,
    tools: &[Tool],
    page: &mut Page,
) -> Result<Table> {
    let server = Server::start(workspace, folder, kind, load.in_flight)?;
    page.command("server", &server.command);
    if let Some(version) = &server.version {
        page.version(kind.name(), version);
    }
    tools::write_inputs(folder, load)?;
    let mut prony = None;
    let mut table = Table::default();
    for tool in tools {
        shell::step(&format!("  {}", tool.name()));
        let before = server.answers()?.len();
        let run = match tool.run(workspace, folder, &server.url, load) {
            Ok(run) => run,
            Err(error) if matches!(tool, Tool::Other(_)) => {
                shell::step(&format!("  {error:#}"));
                let note = format!("{}: it failed, so it has no figures here.", tool.name());
                table.notes.push(note);
                // Requests that it left behind are to be over.
                server.wait_for(before + load.requests + WARMUPS)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        page.command(tool.name(), &run.command);
        let all = server.wait_for(before + load.requests + WARMUPS)?;
        // Those ahead are warm-ups; a request that failed or that its client
        // took for a warm-up is in none of its figures.
        let Some(ahead) = all[before..].len().checked_sub(run.succeeded) else {
            bail!(
                "{} had {} answers, of which the server knows less",
                tool.name(),
                run.succeeded
            );
        };
        // With more answers ahead than warm-ups, which of them it left out is not known.
        let answers = (ahead == WARMUPS).then(|| &all[before + ahead..]);
        if run.succeeded < load.requests {
            let unknown = match answers {
                Some(_) => "",
                None => {
                    " Which these are is not known, so the server's log is not held against them."
                }
            };
            table.notes.push(format!(
                "{}: {} of {} requests are in its figures.{unknown}",
                tool.name(),
                run.succeeded,
                load.requests
            ));
        }
        if let Some(environment) = &run.environment {
            page.environment(environment);
        }
        let prony = prony.get_or_insert_with(|| run.definitions.clone());
        for (metric, what, own) in run.figures {
            let by_prony = prony.get(&(tool.name().to_owned(), metric.to_owned()));
            table.rows.push(Row {
                client: tool.name(),
                metric,
                unit: what.unit(),
                own,
                server: answers.and_then(|answers| what.by(answers)),
                prony: by_prony.copied().filter(|_| tool.name() != "prony"),
            });
        }
    }
    Ok(table)
}

/// An empty folder below the target folder, named after a title.
fn fresh_folder(workspace: &Workspace, title: &str) -> Result<PathBuf> {
    let name: String = title
        .to_lowercase()
        .chars()
        .map(|letter| {
            if letter.is_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .collect();
    let folder = workspace.target.join("agree").join(name);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot empty {}", folder.display()));
        }
        _ => create_folder(&folder)?,
    }
    Ok(folder)
}
