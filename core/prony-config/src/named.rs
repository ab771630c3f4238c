//! The files that a pipeline names, as far as they are known before the run.

use std::collections::HashSet;

use prony_diagnostic::Diagnostic;

use crate::inputs::{Inputs, Unreadable};
use crate::plugins::plugin_of;
use crate::schema::launched;
use crate::tree::{Kind, Node, Span};
use crate::{Dataset, PluginKind, Plugins, codes, option_paths, template};

/// A file or folder that a pipeline names, for the caller to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// The path as it is written, relative to the pipeline's folder; `~` is not expanded.
    pub path: String,
    /// Its purpose.
    pub purpose: Purpose,
}

/// Purpose of a file that a pipeline names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// The weights: a file or a folder.
    Model,
    /// A tokenizer: a file or a folder.
    Tokenizer,
    /// A chat template.
    ChatTemplate,
    /// A prompt.
    Prompt,
    /// An image that is sent.
    Image,
    /// A dataset, with its options: a file or a folder.
    Dataset(Box<Dataset>),
    /// The program of an engine.
    Program {
        /// The folder that it starts in and its path is relative to, as it is written; that of the
        /// pipeline if absent.
        folder: Option<String>,
    },
    /// The folder that an engine's program starts in.
    Folder,
}

impl Purpose {
    /// Label of the place that names the file.
    fn label(&self) -> &'static str {
        match self {
            Self::Model => "the model",
            Self::Tokenizer => "the tokenizer",
            Self::ChatTemplate => "the chat template",
            Self::Prompt => "a prompt",
            Self::Image => "an image",
            Self::Dataset(_) => "the dataset",
            Self::Program { .. } => "the program",
            Self::Folder => "the working folder",
        }
    }
}

/// Files with the places that name them, each once, and the place of the model that alone needs
/// one.
#[derive(Debug, Default)]
pub(crate) struct Named {
    files: Vec<(NamedFile, Span, Option<usize>)>,
    /// Places of the enabled models: the same at every matrix point.
    models: HashSet<usize>,
    /// Their places, paths and the folders of programs: a place names another file at each matrix
    /// point.
    known: HashSet<(usize, String, Option<String>)>,
}

impl Named {
    /// Adds the files of a document that has been checked.
    pub(crate) fn add_all(&mut self, root: &Node, plugins: &dyn Plugins) {
        let one = root.entry("engine").map(|it| &it.value);
        let several = root.entry("engines").map(|it| it.value.entries());
        let several = several.into_iter().flatten().map(|it| &it.value);
        for engine in one.into_iter().chain(several) {
            self.add_options(engine, plugins);
        }
        let one = root.entry("model").map(|it| &it.value);
        let several = root.entry("models").map(|it| it.value.items());
        for model in one.into_iter().chain(several.into_iter().flatten()) {
            let enabled = model.entry("enabled").map(|it| &it.value.kind);
            if matches!(enabled, Some(Kind::Bool(false))) {
                continue;
            }
            let of = model.span.start;
            self.models.insert(of);
            for (key, purpose) in [
                ("/path", Purpose::Model),
                ("/tokenizer", Purpose::Tokenizer),
                ("/chat_template", Purpose::ChatTemplate),
            ] {
                self.add_of(model.exactly(key), purpose, Some(of));
            }
        }
        let Some(workload) = root.entry("workload").map(|it| &it.value) else {
            return;
        };
        let items = |key: &str| workload.entry(key).map(|it| it.value.items());
        for file in items("prompt_files").into_iter().flatten() {
            self.add(Some(file), Purpose::Prompt);
        }
        for file in items("images").into_iter().flatten() {
            self.add(Some(file), Purpose::Image);
        }
        let tokenizer = workload.exactly("/synthetic/tokenizer");
        self.add(tokenizer, Purpose::Tokenizer);
        let dataset = workload.exactly("/dataset").map(Node::to_json);
        if let Some(Ok(dataset)) = dataset.map(serde_json::from_value::<Dataset>) {
            let purpose = Purpose::Dataset(Box::new(dataset));
            self.add(workload.exactly("/dataset/path"), purpose);
        }
    }

    /// Adds the files that an engine's options name, where its schema says so.
    fn add_options(&mut self, engine: &Node, plugins: &dyn Plugins) {
        let plugin = plugin_of(engine).and_then(Node::text);
        let schema = plugin.and_then(|name| plugins.config_schema(PluginKind::Engine, name));
        let config = engine.entry("config").map(|it| &it.value);
        if let (Some(schema), Some(config)) = (schema, config) {
            let options = config.to_json();
            for option in option_paths(&options, &schema) {
                self.add(config.exactly(&option), Purpose::Model);
            }
            let launched = launched(&options, &schema);
            for option in &launched.folders {
                self.add(config.exactly(option), Purpose::Folder);
            }
            for (option, folder) in &launched.programs {
                let folder = folder.as_ref().and_then(|option| config.exactly(option));
                let folder = folder.and_then(Node::text).map(str::to_owned);
                let program = config.exactly(option);
                // A bare name is looked for on the engine's `PATH`, which the run knows.
                let is_path = program
                    .and_then(Node::text)
                    .is_some_and(|it| it.contains('/'));
                if is_path && !folder.as_deref().is_some_and(template::is_template) {
                    self.add(program, Purpose::Program { folder });
                }
            }
        }
    }

    fn add(&mut self, node: Option<&Node>, purpose: Purpose) {
        self.add_of(node, purpose, None);
    }

    fn add_of(&mut self, node: Option<&Node>, purpose: Purpose, model: Option<usize>) {
        let Some((node, path)) = node.and_then(|node| Some((node, node.text()?))) else {
            return;
        };
        // What only the run knows, such as `prony.cache`.
        if template::is_template(path) {
            return;
        }
        let span = node.span.clone();
        let folder = match &purpose {
            Purpose::Program { folder } => folder.clone(),
            _ => None,
        };
        let path = path.to_owned();
        if self.known.insert((span.start, path.clone(), folder)) {
            self.files.push((NamedFile { path, purpose }, span, model));
        }
    }

    /// The files that cannot be read, by the caller's word. A model that lacks one is no error
    /// while another has all of its own: the run measures that, and reports this one as failed.
    pub(crate) fn problems(&self, inputs: &Inputs<'_>) -> Vec<Diagnostic> {
        let missing: Vec<_> = self
            .files
            .iter()
            .filter_map(|it| Some((it, (inputs.look)(&it.0).err()?)))
            .collect();
        let lacking: HashSet<usize> = missing.iter().filter_map(|((_, _, of), _)| *of).collect();
        let goes_on = lacking.len() < self.models.len();
        let problem = |((file, span, of), told): (
            &(NamedFile, Span, Option<usize>),
            Unreadable,
        )| {
            let Unreadable { reason, help } = told;
            let problem = if of.is_some() && goes_on {
                Diagnostic::warning(codes::MISSING_FILE, reason)
                    .note("the run reports this model as failed, and measures the others")
            } else {
                Diagnostic::error(codes::MISSING_FILE, reason)
            };
            let problem = problem
                .at(span.clone(), file.purpose.label())
                .help("name a file that is there; with a step in `setup`, which may get it, prony looks only after that");
            match help {
                Some(help) => problem.help(help),
                None => problem,
            }
        };
        missing.into_iter().map(problem).collect()
    }
}
