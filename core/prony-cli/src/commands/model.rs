//! `prony model`

use crate::arguments::{Global, Layers};
use crate::commands::print_json;
use crate::view::{Line, View, Weight, bar, flow};
use crate::{Exit, Failure, Outcome, output, pipeline, plugins};
use clap::{Args, Subcommand};
use prony_hub::{CachedModel, Fetched, Hub, Locked, Wanted, Watch};
use prony_journal::Digests;
use prony_result::words::{about_seconds, bytes};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

#[derive(Debug, Args)]
#[command(
    after_help = "Example: prony model pull Qwen/Qwen2.5-0.5B-Instruct-GGUF '*q4_0.gguf'\n\n\
    The variables are those of the hub's own package: HF_ENDPOINT names a mirror, HF_TOKEN a\n\
    token, HF_HUB_CACHE the cache folder (else `hub` in HF_HOME); HF_HUB_OFFLINE=1 asks nobody."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch a model, or all that a pipeline names with `files`, into the hub's cache folder.
    Pull {
        /// A model's id, `organisation/name`, or the file of a pipeline.
        what: String,
        /// Of a model: names of files, with `*`, `?` and `[…]`. Defaults to all.
        files: Vec<String>,
        /// Of a model: branch, tag or commit. Defaults to `main`.
        #[arg(long)]
        revision: Option<String>,
        /// Of a pipeline: ask for the newest commits again, and lock those.
        #[arg(long)]
        update: bool,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the models in the hub's cache folder.
    List {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let hub = Hub::from_env().with_folders(global.model_folders());
    match &arguments.command {
        Command::Pull {
            what,
            files,
            revision,
            update,
            json,
        } => {
            let mut shown = Shown::new(global);
            let pulled = if Path::new(what).is_file() {
                if !files.is_empty() || revision.is_some() {
                    let message = "a pipeline says itself which files of which revision it needs";
                    return Err(Failure::new(Exit::Usage, message));
                }
                let file = Path::new(what);
                let Some(pulled) = of_pipeline(global, &hub, file, *update, &mut shown)? else {
                    return Ok(Exit::InvalidPipeline);
                };
                pulled
            } else {
                vec![one(&hub, what, files, revision.as_deref(), &mut shown)?]
            };
            drop(shown);
            print(&pulled, *json)
        }
        Command::List { json } => list(&hub, *json),
    }
}

/// A fetched model.
#[derive(Serialize)]
struct Pulled {
    /// The file or folder for an engine.
    path: PathBuf,
    #[serde(flatten)]
    locked: Locked,
}

impl Pulled {
    fn new(fetched: Fetched) -> Self {
        Self {
            path: fetched.path(),
            locked: fetched.locked,
        }
    }
}

fn failed(error: prony_hub::Error) -> Failure {
    Failure::new(Exit::RunFailed, error.to_string())
}

fn one(
    hub: &Hub,
    id: &str,
    files: &[String],
    revision: Option<&str>,
    shown: &mut Shown,
) -> Result<Pulled, Failure> {
    let all = ["*".to_owned()];
    let wanted = Wanted {
        id,
        revision,
        files: if files.is_empty() { &all } else { files },
    };
    let fetched = hub.fetch(&wanted, None, shown);
    fetched.map(Pulled::new).map_err(failed)
}

/// The models of a pipeline; `None` if it is invalid, which is told.
fn of_pipeline(
    global: &Global,
    hub: &Hub,
    file: &Path,
    update: bool,
    shown: &mut Shown,
) -> Result<Option<Vec<Pulled>>, Failure> {
    let registry = plugins::registry_of(global, &super::run::base_of(file)?)?;
    let (loaded, diagnostics) = pipeline::load(global, file, &Layers::default(), &registry, None);
    let Some(loaded) = loaded else {
        pipeline::show(global, &diagnostics);
        return Ok(None);
    };
    let folder = prony_files::folder(file);
    let mut pulled: Vec<Pulled> = Vec::new();
    let points = loaded.pipeline.points.iter();
    for model in points.flat_map(|point| &point.models) {
        if model.files.is_empty() || !model.enabled {
            continue;
        }
        let wanted = prony_runner::wanted(model);
        let fetched = hub.fetch_locked(&folder, &wanted, update, shown);
        let fetched = fetched.map_err(failed)?;
        if pulled.iter().all(|it| it.locked != fetched.locked) {
            pulled.push(Pulled::new(fetched));
        }
    }
    if pulled.is_empty() {
        let message = format!("{}: no model has `files` to fetch", file.display());
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(Some(pulled))
}

fn print(pulled: &[Pulled], json: bool) -> Outcome {
    if json {
        print_json(&pulled)?;
        return Ok(Exit::Ok);
    }
    for Pulled { path, locked } in pulled {
        let size = bytes(locked.found.iter().map(|file| file.bytes).sum());
        output::line(format_args!("{} at {} ({size})", locked.id, locked.commit));
        output::line(format_args!("  {}", path.display()));
    }
    Ok(Exit::Ok)
}

/// A model in the cache folder.
#[derive(Serialize)]
struct Row {
    id: String,
    commit: String,
    /// Branches and tags that are this commit.
    revisions: Vec<String>,
    bytes: u64,
    files: Vec<String>,
    path: PathBuf,
}

impl From<CachedModel> for Row {
    fn from(model: CachedModel) -> Self {
        Self {
            id: model.id,
            commit: model.commit,
            revisions: model.revisions,
            bytes: model.files.iter().map(|(_, bytes)| bytes).sum(),
            files: model.files.into_iter().map(|(name, _)| name).collect(),
            path: model.folder,
        }
    }
}

fn list(hub: &Hub, json: bool) -> Outcome {
    let rows: Vec<Row> = hub.cached().into_iter().map(Row::from).collect();
    if json {
        print_json(&rows)?;
    } else if rows.is_empty() {
        let folder = hub.cache().display();
        output::line(format_args!("there are no models in `{folder}`"));
    }
    for row in rows.iter().filter(|_| !json) {
        let files = match row.files.as_slice() {
            [one] => one.clone(),
            files => format!("{} files", files.len()),
        };
        let mut of = row.revisions.clone();
        of.push(row.commit.clone());
        let (of, size) = (of.join(", "), bytes(row.bytes));
        output::line(format_args!("{}  {of}  {size}  {files}", row.id));
    }
    Ok(Exit::Ok)
}

/// Shows a fetch: a bar on a terminal, a line for each file otherwise.
struct Shown {
    quiet: bool,
    view: Option<View>,
    fetching: Arc<Mutex<Fetching>>,
    digests: Digests,
}

/// The file that is being fetched.
#[derive(Default)]
struct Fetching {
    file: String,
    bytes: u64,
    have: u64,
    /// Bytes that were there before, and the time since.
    before: u64,
    begun: Option<Instant>,
}

impl Fetching {
    /// Lines for so many columns; none before the first file.
    fn lines(&self, columns: usize) -> Vec<Line> {
        let Some(begun) = self.begun else {
            return Vec::new();
        };
        let mut parts = vec![
            format!("{} {}", bar(self.have, self.bytes), self.file),
            format!("{} of {}", bytes(self.have), bytes(self.bytes)),
        ];
        let (took, came) = (begun.elapsed().as_secs_f64(), self.have - self.before);
        if came > 0 && took >= 1.0 {
            let rate = came as f64 / took;
            parts.push(format!("{} a second", bytes(rate as u64)));
            let left = self.bytes.saturating_sub(self.have) as f64 / rate;
            parts.push(format!("about {} to go", about_seconds(left)));
        }
        flow(&parts, columns, Weight::Plain)
    }
}

fn locked(fetching: &Mutex<Fetching>) -> MutexGuard<'_, Fetching> {
    fetching.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shown {
    fn new(global: &Global) -> Self {
        let fetching: Arc<Mutex<Fetching>> = Arc::default();
        let shown = Arc::clone(&fetching);
        Self {
            quiet: global.quiet,
            view: View::start(global, move |columns| locked(&shown).lines(columns)),
            fetching,
            digests: Digests::open(&plugins::cache(global)),
        }
    }

    fn say(&self, text: &str) {
        if !self.quiet {
            output::error_line(format_args!("{text}"));
        }
    }
}

impl Watch for Shown {
    fn begins(&mut self, file: &str, of: u64, have: u64) {
        if self.view.is_none() {
            return self.say(&format!("{file}, {}", bytes(of)));
        }
        *locked(&self.fetching) = Fetching {
            file: file.to_owned(),
            bytes: of,
            have,
            before: have,
            begun: Some(Instant::now()),
        };
    }

    fn has(&mut self, have: u64) {
        let mut fetching = locked(&self.fetching);
        fetching.have = have.max(fetching.before);
    }

    fn note(&mut self, text: &str) {
        self.say(text);
    }

    fn is_interrupted(&self) -> bool {
        // A signal ends the program; what has come is kept.
        false
    }

    fn sha256(&mut self, path: &Path) -> std::io::Result<String> {
        self.digests.of(path, &|| false).map(|(sha256, _)| sha256)
    }
}
