//! `prony plugin info`

use super::origin::GrantOf;
use super::subject::wrong;
use crate::arguments::Global;
use crate::commands::print_json;
use crate::{Exit, Failure, Outcome, plugins};
use clap::Args;
use prony_contract::Kind;
use prony_plugin_host::{
    Addition, Entry, Form, Grant, Origin, Registry, finished, imports, is_path, name_and_version,
    prepare, read_plugin,
};
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony plugin info acme@0.1.0")]
pub(super) struct Arguments {
    /// The name of an installed plugin, `NAME@VERSION`, a file, or the folder of a built project.
    #[arg(value_name = "NAME|FILE|FOLDER")]
    plugin: String,
    /// Permission for a shared library to run outside the sandbox, this once, to describe itself.
    #[arg(long, value_enum, value_name = "GRANT")]
    grant: Option<GrantOf>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Everything known about a plugin.
#[derive(Serialize)]
struct Info {
    #[serde(flatten)]
    entry: Entry,
    /// Its file.
    file: PathBuf,
    bytes: Option<u64>,
    imports: Vec<String>,
    /// Its lock file; none for a file that is not locked.
    lock: Option<PathBuf>,
    /// Problem with its file.
    problem: Option<String>,
    /// Other lock files that have a plugin of this name, further away.
    hides: Vec<PathBuf>,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let registry = plugins::registry(global)?;
    let name = arguments.plugin.as_str();
    let kinds = [Kind::Engine, Kind::Reporter];
    let installed = kinds.map(|kind| installed(&registry, kind, name));
    let mut infos: Vec<Info> = installed.into_iter().flatten().collect();
    if infos.is_empty() {
        infos.push(of_file(global, name, arguments.grant)?);
    }
    if arguments.json {
        print_json(&infos)?;
        return Ok(Exit::Ok);
    }
    for (index, info) in infos.iter().enumerate() {
        if index > 0 {
            println!("");
        }
        for (what, found) in rows(info) {
            println!("{what:12} {found}");
        }
    }
    Ok(Exit::Ok)
}

/// An installed plugin; `None` if there is none of that name and kind.
fn installed(registry: &Registry, kind: Kind, name: &str) -> Option<Info> {
    if is_path(name) {
        return None;
    }
    let (entry, file) = registry.find(kind, name).ok()?;
    let lock = registry
        .all()
        .find(|(other, _)| std::ptr::eq(*other, Arc::as_ptr(&entry)))
        .map(|(_, lock)| lock.to_owned());
    let problem = registry.check_file(&entry, &file).err();
    let hides = registry.hidden(kind, name).into_iter().skip(1);
    Some(Info {
        bytes: file.metadata().ok().map(|it| it.len()),
        imports: read_plugin(&file).map_or_else(|_| Vec::new(), |bytes| imports(&bytes)),
        problem: problem.map(|error| format!("[{}] {error}", error.code())),
        hides: hides.map(Path::to_owned).collect(),
        entry: (*entry).clone(),
        file,
        lock,
    })
}

/// A plugin that is not installed.
fn of_file(global: &Global, name: &str, grant: Option<GrantOf>) -> Result<Info, Failure> {
    let setup = plugins::setup(global);
    let path = Path::new(name);
    let (file, limits) = match (path.is_dir(), setup.project) {
        (true, Some(project)) => {
            let (file, asked) =
                project(path).map_err(|reason| wrong(format!("`{name}`: {reason}")))?;
            (file, Some(asked))
        }
        _ => (path.to_owned(), None),
    };
    if !file.exists() {
        let (own, _) = name_and_version(name);
        return Err(wrong(format!(
            "there is no file or folder `{name}`, and no plugin `{own}` of that version is installed: `prony plugin list` shows what is"
        )));
    }
    let bytes = read_plugin(&file)?;
    let size = bytes.len() as u64;
    let (form, made) = finished(&file, bytes.clone())?;
    if form == Form::Native && grant.is_none() {
        return Err(wrong(format!(
            "`{name}` is a native library of {size} bytes, and would run outside the sandbox to describe itself: if you trust it, add `--grant native`"
        )));
    }
    let grants = [Grant::Native];
    let addition = Addition {
        file: &file,
        bytes,
        grants: if grant.is_some() { &grants } else { &[] },
        origin: Origin {
            limits: limits.filter(|it| *it != prony_plugin_host::AskedLimits::default()),
            dev: limits.is_some(),
            ..Origin::default()
        },
        is_right: &|_| Ok(()),
    };
    Ok(Info {
        entry: prepare(addition, &setup)?.entry,
        bytes: Some(size),
        imports: imports(&made),
        lock: None,
        problem: None,
        hides: Vec::new(),
        file,
    })
}

fn rows(info: &Info) -> Vec<(&'static str, String)> {
    let entry = &info.entry;
    let mut rows = vec![
        ("name", format!("{} ({})", entry.name, entry.kind.name())),
        ("version", entry.version.clone()),
        ("description", entry.description.clone()),
    ];
    if let Some((adapter, _)) = &entry.recipe {
        rows.push(("recipe of", adapter.clone()));
    }
    rows.push((
        "form",
        match entry.form {
            Form::Wasm => "wasm, sandboxed".to_owned(),
            Form::Native => "native, not sandboxed".to_owned(),
        },
    ));
    rows.push(("contract", entry.contract.clone()));
    if entry.form == Form::Wasm {
        let names = match info.imports.as_slice() {
            [] => "nothing".to_owned(),
            names => names.join(", "),
        };
        rows.push(("imports", names));
    }
    let size = info.bytes.map(|bytes| format!(", {} KiB", bytes >> 10));
    let size = size.unwrap_or_default();
    rows.push(("file", format!("{}{size}", info.file.display())));
    rows.push(("sha256", entry.sha256.clone()));
    let locked = info.lock.as_ref();
    let locked = locked.map_or_else(
        || "no lock has it".to_owned(),
        |it| it.display().to_string(),
    );
    rows.push(("lock", locked));
    if let Some(source) = &entry.source {
        let resolved = entry.resolved.as_ref();
        let resolved = resolved.map_or_else(String::new, |it| format!(", manifest {it}"));
        rows.push(("source", format!("{source}{resolved}")));
    }
    let signer = entry.signer.clone();
    rows.push(("signer", signer.unwrap_or_else(|| "nobody".to_owned())));
    let asked = entry.limits.unwrap_or_default();
    rows.push((
        "limits",
        format!(
            "{} MiB and {} ms a call",
            asked.memory_mib.unwrap_or(64),
            asked.call_ms.unwrap_or(10_000)
        ),
    ));
    if entry.dev {
        rows.push((
            "dev",
            "a build of a folder that somebody works on".to_owned(),
        ));
    }
    let options = entry.config_schema["properties"].as_object();
    let options: Vec<&str> = options
        .into_iter()
        .flatten()
        .map(|it| it.0.as_str())
        .collect();
    rows.push((
        "options",
        match (options.as_slice(), &entry.config_schema) {
            ([], Value::Bool(true)) => "any".to_owned(),
            ([], _) => "none".to_owned(),
            (names, _) => names.join(", "),
        },
    ));
    for lock in &info.hides {
        rows.push(("hides", format!("the one of `{}`", lock.display())));
    }
    if let Some(problem) = &info.problem {
        rows.push(("problem", problem.clone()));
    }
    rows
}
