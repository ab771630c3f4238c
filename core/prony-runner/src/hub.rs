//! Models that are fetched from the hub.

use crate::run::Run;
use prony_config::Model;
use prony_hub::{Hub, Wanted, Watch};
use prony_journal::Event;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Progress is shown this often.
const SHOWN_EVERY: Duration = Duration::from_millis(500);

/// A model's id, revision and files.
type Key = (String, Option<String>, Vec<String>);

/// The files that a model of a pipeline names.
pub fn wanted(model: &Model) -> Wanted<'_> {
    Wanted {
        id: &model.id,
        revision: model.revision.as_deref(),
        files: &model.files,
    }
}

/// Fetches models, each once, however many matrix points use it.
pub(crate) struct HubModels {
    hub: Hub,
    fetched: HashMap<Key, Result<PathBuf, String>>,
}

impl HubModels {
    /// Of the hub that the environment names, and of folders of models.
    pub(crate) fn new(folders: &[PathBuf]) -> Self {
        Self {
            hub: Hub::from_env().with_folders(folders.to_vec()),
            fetched: HashMap::new(),
        }
    }

    /// The file or folder of a model with `files`; what is fetched is locked beside the
    /// pipeline. The error is for people.
    pub(crate) fn path(&mut self, run: &Run<'_>, model: &Model) -> Result<PathBuf, String> {
        let key = (
            model.id.clone(),
            model.revision.clone(),
            model.files.clone(),
        );
        let hub = &self.hub;
        let fetched = self.fetched.entry(key).or_insert_with(|| {
            let wanted = wanted(model);
            let mut watch = Shown::new(run, &model.id);
            let path = hub.path(&run.options.folder, &wanted, &mut watch);
            path.map_err(|error| error.to_string())
        });
        fetched.clone()
    }
}

/// Shows a fetch to the observer of the run.
struct Shown<'r, 'p> {
    run: &'r Run<'p>,
    model: &'r str,
    file: String,
    bytes: u64,
    last: Option<Instant>,
}

impl<'r, 'p> Shown<'r, 'p> {
    fn new(run: &'r Run<'p>, model: &'r str) -> Self {
        Self {
            run,
            model,
            file: String::new(),
            bytes: 0,
            last: None,
        }
    }

    fn show(&mut self, have: u64) {
        self.last = Some(Instant::now());
        self.run.show(&Event::Fetching {
            model: self.model.to_owned(),
            file: self.file.clone(),
            bytes: self.bytes,
            have,
        });
    }
}

impl Watch for Shown<'_, '_> {
    fn begins(&mut self, file: &str, bytes: u64, have: u64) {
        file.clone_into(&mut self.file);
        self.bytes = bytes;
        self.show(have);
    }

    fn has(&mut self, have: u64) {
        let is_due = self.last.is_none_or(|last| last.elapsed() >= SHOWN_EVERY);
        if is_due || have == self.bytes {
            self.show(have);
        }
    }

    fn note(&mut self, text: &str) {
        self.run.show(&Event::Warning {
            message: text.to_owned(),
        });
    }

    fn is_interrupted(&self) -> bool {
        self.run.is_interrupted()
    }

    fn sha256(&mut self, path: &Path) -> io::Result<String> {
        self.run.digest(path)
    }
}
