//! `prony plugin add`

use super::origin::{self, GrantOf, Signing};
use crate::arguments::Global;
use crate::{Exit, Failure, Outcome, plugins};
use clap::Args;
use prony_plugin_host::{Entry, Form, Grant, Registry, commit};
use std::path::Path;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony plugin add --grant native target/release/libengine_mine.so")]
pub(super) struct Arguments {
    /// A WASM module or component, a shared library, the folder of a project, which is built,
    /// `https://…#sha256=HEX` or `oci://HOST/REPOSITORY:TAG`.
    #[arg(value_name = "FILE|FOLDER|ADDRESS")]
    source: String,
    /// Permissions beyond the sandbox, which hold for this file, for you, on this machine.
    #[arg(long = "grant", value_enum, value_name = "GRANT")]
    grants: Vec<GrantOf>,
    /// Lock it for your pipelines in every folder, in your folder of data.
    #[arg(long)]
    user: bool,
    /// Keep other versions in the lock: `NAME@VERSION` tells them apart in a pipeline.
    #[arg(long)]
    beside: bool,
    #[command(flatten)]
    signing: Signing,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let lock = origin::own_lock(global, arguments.user)?;
    let grants = arguments.grants.iter();
    let grants: Vec<Grant> = grants.map(|GrantOf::Native| Grant::Native).collect();
    let prepared = origin::prepared(
        global,
        &arguments.source,
        &lock,
        &grants,
        &arguments.signing,
    )?;
    let imports = prepared.imports();
    let bytes = prepared.size();
    let setup = plugins::setup(global);
    let mut entries = commit(vec![prepared], &lock, arguments.beside, &setup)?;
    let entry = entries.remove(0);
    origin::compile(global, &lock, &entry)?;
    if !global.quiet {
        tell(&entry, &lock);
        println!("  {}", details(&entry, bytes, &imports));
        taken_places(global, &entry, &lock)?;
    }
    Ok(Exit::Ok)
}

fn tell(entry: &Entry, lock: &Path) {
    println!(
        "added {} `{}` {} ({}{}) to `{}`",
        entry.kind.name(),
        entry.name,
        entry.version,
        entry.form.name(),
        if entry.dev { ", dev" } else { "" },
        lock.display()
    );
}

/// Facts about a plugin for who has to decide whether to trust it.
fn details(entry: &Entry, bytes: u64, imports: &[String]) -> String {
    let imports = match (entry.form, imports) {
        (Form::Native, _) => "not sandboxed".to_owned(),
        (Form::Wasm, []) => "imports nothing".to_owned(),
        (Form::Wasm, imports) => format!("imports {}", imports.join(", ")),
    };
    let signer = entry.signer.as_ref();
    let signer = signer.map_or_else(
        || "not signed".to_owned(),
        |signer| format!("signed by {signer}"),
    );
    let resolved = entry.resolved.as_ref();
    let resolved = resolved.map_or_else(String::new, |it| format!(", manifest {it}"));
    format!(
        "contract {}, {} KiB, sha256 {}{resolved}, {signer}, {imports}",
        entry.contract,
        bytes >> 10,
        origin::short(&entry.sha256),
    )
}

/// Tells of other plugins and recipes of the same name, and the way out.
fn taken_places(global: &Global, entry: &Entry, lock: &Path) -> Result<(), Failure> {
    let registry = Registry::open(&plugins::locks(global, None), plugins::setup(global))?;
    if let Some(told) = plugins::hidden(&registry, entry.kind, &entry.name) {
        eprintln!(
            "note: {told}: `prony plugin remove {}` takes this one away, and another name in the plugin's manifest avoids it",
            entry.name
        );
    }
    if !plugins::locks(global, None).iter().any(|it| it == lock) {
        eprintln!(
            "note: pipelines elsewhere find it with `--lock {}`",
            lock.display()
        );
    }
    Ok(())
}
