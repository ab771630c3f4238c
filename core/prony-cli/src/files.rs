//! The files that a pipeline names, looked at before a run.

use prony_config::{NamedFile, Pipeline, Purpose, Unreadable};
use prony_runner::dataset;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Maximum number of files among which one with a similar name is looked for.
const MAX_OTHERS: usize = 10_000;

/// Help with a missing file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    /// With the name of a file that may be meant.
    Similar,
    /// None, after many missing files.
    None,
}

/// Looks at a file that a pipeline in the folder `base` names: it is there and can be read, and
/// a dataset begins with a record. The error says where it was looked for.
pub(crate) fn look(file: &NamedFile, base: &Path, hint: Hint) -> Result<(), Unreadable> {
    let base = &match &file.purpose {
        Purpose::Program { folder: Some(of) } => {
            let starts_in = prony_files::located(base, of);
            // A folder that is not there is told in its own place.
            if !starts_in.is_dir() {
                return Ok(());
            }
            starts_in
        }
        _ => base.to_owned(),
    };
    let place = prony_files::located(base, &file.path);
    let folder = prony_files::folder(&place);
    let opened = match &file.purpose {
        // A program need not be readable.
        Purpose::Program { .. } => {
            let words = "it is no plain file, and a program is expected";
            expect(&place, fs::Metadata::is_file, words)
        }
        Purpose::Folder => {
            let words = "it is a file, and a folder is expected";
            expect(&place, fs::Metadata::is_dir, words)
        }
        Purpose::Model | Purpose::Tokenizer if place.is_dir() => fs::read_dir(&place).map(|_| ()),
        Purpose::Dataset(_) if place.is_dir() => Ok(()),
        _ => prony_files::open(&place).map(|_| ()),
    };
    let path = &file.path;
    let Err(error) = opened else {
        let Purpose::Dataset(of) = &file.purpose else {
            return Ok(());
        };
        return dataset::recognise(&place, of).map_or_else(
            |problem| {
                let shown =
                    "`prony dataset FILE` shows how a dataset is read, with all of its problems";
                Err(Unreadable {
                    reason: format!("the dataset cannot be read: {path}{problem}"),
                    help: Some(shown.to_owned()),
                })
            },
            |_| Ok(()),
        );
    };
    Err(Unreadable {
        reason: reason(&error, path, base, &folder),
        help: if hint == Hint::None {
            None
        } else {
            way_out(&error, file, base, &place)
        },
    })
}

/// Checks that there is something at a place, and that it is what is expected.
fn expect(place: &Path, is_it: fn(&fs::Metadata) -> bool, otherwise: &str) -> io::Result<()> {
    if is_it(&fs::metadata(place)?) {
        Ok(())
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, otherwise))
    }
}

/// The reason why a file cannot be opened, with the folder in which it was looked for.
fn reason(error: &io::Error, path: &str, base: &Path, folder: &Path) -> String {
    let name = Path::new(path).file_name().unwrap_or_default();
    let (name, folder) = (name.to_string_lossy(), folder.display());
    if !is_missing(error) {
        return format!("`{name}` in `{folder}` cannot be read: {error}");
    }
    // A path to another place says itself where it leads.
    if Path::new(path).is_relative() && !path.starts_with('~') {
        return format!("there is no `{path}` in `{}`", base.display());
    }
    format!("there is no `{name}` in `{folder}`")
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The way out, where more is known than that another file is to be named.
fn way_out(error: &io::Error, file: &NamedFile, base: &Path, place: &Path) -> Option<String> {
    let path = file.path.as_str();
    if !is_missing(error) {
        return None;
    }
    if path.starts_with('~') && !path.starts_with("~/") {
        let home = "only `~/` is expanded, to your own home: write another user's as a whole path";
        return Some(home.to_owned());
    }
    let here = std::env::current_dir().ok().map(|here| here.join(path));
    if let Some(here) = here.filter(|here| here != place && here.exists()) {
        let whose = match &file.purpose {
            Purpose::Program { folder: Some(_) } => "a program's path is relative to its `cwd`",
            _ => "paths are relative to the pipeline's",
        };
        return Some(format!(
            "it is in the working folder, and {whose}, `{}`: write `{}`",
            base.display(),
            here.display()
        ));
    }
    match similar(place) {
        Some(similar) => Some(format!("there is `{}`; is that meant?", similar.display())),
        None => (file.purpose == Purpose::Model)
            .then(|| "`--only-present` leaves out models that are not here".to_owned()),
    }
}

/// A file beside `place` with a similar name.
fn similar(place: &Path) -> Option<PathBuf> {
    let wanted = place.file_name()?.to_str()?;
    let entries = fs::read_dir(place.parent()?).ok()?.take(MAX_OTHERS);
    let names = entries.filter_map(|it| it.ok()?.file_name().into_string().ok());
    let names: Vec<String> = names.collect();
    let found = prony_config::similar(wanted, names.iter().map(String::as_str))?;
    Some(place.with_file_name(found))
}

/// The datasets of a pipeline whose paths are relative to `base`, each once: its format, or that
/// it is not there yet or cannot be read yet, since a step makes it.
pub(crate) fn datasets(pipeline: &Pipeline, base: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for of in pipeline
        .points
        .iter()
        .filter_map(|it| it.workload.dataset.as_ref())
    {
        let path = prony_files::located(base, &of.path);
        let line = match dataset::recognise(&path, of) {
            _ if !path.exists() => format!("the dataset {} is not there yet", of.path),
            Ok((format, by)) => {
                let (name, title) = (format.name(), format.title());
                format!("the dataset {} is {title} (`{name}`), {by}", of.path)
            }
            Err(problem) => format!("the dataset cannot be read: {}{problem}", of.path),
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}
