//! Loads a pipeline from its file and overlays.

use crate::arguments::{Deny, Global, Layers, Source};
use crate::files;
use crate::output;
use crate::plugins::Locked;
use prony_config::{Inputs, Loaded, MAX_BYTES, Model, NamedFile, Pipeline, Unreadable, codes};
use prony_diagnostic::{Diagnostic, Source as Text};
use prony_files::kind::{self, NotText};
use prony_hub::Hub;
use prony_importers::TOOLS;
use prony_plugin_host::Registry;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// The name for standard input in the place of a file.
const STDIN: &str = "-";

/// Loads the pipeline of a command and shows its diagnostics. `None` if it is invalid, or
/// has warnings that are denied. The files that it names are looked at in `base`, if there is one.
pub(crate) fn open(
    global: &Global,
    source: &Source,
    registry: &Registry,
    base: Option<&Path>,
) -> Option<Loaded> {
    let (loaded, diagnostics) = load(global, &source.file, &source.layers, registry, base);
    show(global, &diagnostics);
    let denied = is_denied(&source.layers, &diagnostics);
    if denied {
        eprintln!("error: there are warnings, and `--deny warnings` takes them for errors");
    }
    loaded.filter(|_| !denied).map(|loaded| Loaded {
        warnings: diagnostics,
        ..loaded
    })
}

/// Loads a pipeline derived from another, under the other's name.
pub(crate) fn turned(
    name: &str,
    text: String,
    given: &Pipeline,
    layers: &Layers,
    registry: &Registry,
) -> Result<Loaded, Vec<Diagnostic>> {
    // Secrets in the other pipeline itself are templates in the text.
    let secret = |name: &str| given.secrets.value(name).map(str::to_owned);
    let inputs = Inputs {
        // The other pipeline's overlays are already merged into it.
        files: vec![(name.to_owned(), text)],
        set: &[],
        var: &[],
        read: &|_| Err("there is nothing to extend".into()),
        // The other pipeline's have been looked at.
        look: &|_| Ok(()),
        env: &|name| secret(name).or_else(|| std::env::var(name).ok()),
        assume_env: false,
        plugins: &Locked(registry),
        tools: TOOLS,
    };
    let loaded = prony_config::load_all(&inputs)?;
    output::conceal(&loaded.pipeline.secrets);
    if is_denied(layers, &loaded.warnings) {
        return Err(loaded.warnings);
    }
    Ok(loaded)
}

/// Notes about a pipeline for the results: its warnings, and those it allows.
pub(crate) fn notes(loaded: &Loaded) -> Vec<String> {
    let warning = |warning: &Diagnostic| format!("{}: {}", warning.code, warning.message);
    let allowed = |(code, reason): &(String, String)| format!("{code} is allowed: {reason}");
    let warnings = loaded.warnings.iter().map(warning);
    warnings.chain(loaded.allowed.iter().map(allowed)).collect()
}

/// Loads a pipeline: the pipeline, if it is valid, and every diagnostic. The files that it names
/// are looked at in `base`, if there is one.
pub(crate) fn load(
    global: &Global,
    file: &Path,
    layers: &Layers,
    registry: &Registry,
    base: Option<&Path>,
) -> (Option<Loaded>, Vec<Diagnostic>) {
    let texts = match texts(file, layers) {
        Ok(texts) => texts,
        Err(unreadable) => return (None, unreadable),
    };
    let plugins = Locked(registry);
    let load = |set: &[String], base: Option<&Path>| {
        /// Missing files that get help: looking for similar ones takes time.
        const MAX_HELPED: usize = 10;
        let missing = std::cell::Cell::new(0);
        let look = |named: &NamedFile| {
            let Some(base) = base else { return Ok(()) };
            let hint = if missing.get() < MAX_HELPED {
                files::Hint::Similar
            } else {
                files::Hint::None
            };
            let looked = files::look(named, base, hint);
            missing.set(missing.get() + usize::from(looked.is_err()));
            looked
        };
        let inputs = Inputs {
            look: &look,
            ..inputs(texts.clone(), set, layers, &plugins)
        };
        prony_config::load_all(&inputs).inspect(|it| output::conceal(&it.pipeline.secrets))
    };
    let loaded = if layers.models.is_empty() && !layers.only_present {
        load(&layers.set, base)
    } else {
        // The files of models that are left out need not be here.
        load(&layers.set, None)
            .and_then(|loaded| switched_off(global, &loaded.pipeline, file, layers))
            .and_then(|off| load(&[layers.set.as_slice(), &off].concat(), base))
    };
    match loaded {
        Ok(mut loaded) => {
            let warnings = std::mem::take(&mut loaded.warnings);
            (Some(loaded), warnings)
        }
        Err(diagnostics) => (None, diagnostics),
    }
}

/// Checks a pipeline as if every environment variable that it lists were set: `true` if it is
/// valid as far as that is known, and every diagnostic.
pub(crate) fn check_without_environment(
    file: &Path,
    layers: &Layers,
    registry: &Registry,
) -> (bool, Vec<Diagnostic>) {
    let texts = match texts(file, layers) {
        Ok(texts) => texts,
        Err(unreadable) => return (false, unreadable),
    };
    let plugins = Locked(registry);
    let inputs = Inputs {
        assume_env: true,
        ..inputs(texts, &layers.set, layers, &plugins)
    };
    match prony_config::check_all(&inputs) {
        Ok(warnings) => (true, warnings),
        Err(diagnostics) => (false, diagnostics),
    }
}

/// Names and texts of a pipeline file and of its overlays, or those that cannot be read.
fn texts(file: &Path, layers: &Layers) -> Result<Vec<(String, String)>, Vec<Diagnostic>> {
    let mut texts = Vec::new();
    let mut unreadable = Vec::new();
    for path in std::iter::once(file).chain(layers.overlays.iter().map(AsRef::as_ref)) {
        let name = name_of(path);
        match read(path) {
            Ok(text) => texts.push((name, text)),
            Err(problem) => unreadable.push(prony_config::unreadable(&name, &problem)),
        }
    }
    if unreadable.is_empty() {
        Ok(texts)
    } else {
        Err(unreadable)
    }
}

fn inputs<'a>(
    files: Vec<(String, String)>,
    set: &'a [String],
    layers: &'a Layers,
    plugins: &'a Locked<'a>,
) -> Inputs<'a> {
    Inputs {
        files,
        set,
        var: &layers.var,
        read: &|name| read(&prony_files::located(Path::new(""), name)),
        look: &|_| Ok(()),
        env: &|name| std::env::var(name).ok(),
        assume_env: false,
        plugins,
        tools: TOOLS,
    }
}

/// Settings that switch off the models that `--model` and `--only-present` leave out; fails if
/// a model is unknown or none is left.
fn switched_off(
    global: &Global,
    pipeline: &Pipeline,
    file: &Path,
    layers: &Layers,
) -> Result<Vec<String>, Vec<Diagnostic>> {
    let problem = |message: String| {
        let ids: Vec<String> = pipeline
            .models
            .iter()
            .map(|model| format!("`{}`", model.id))
            .collect();
        Diagnostic::error(codes::NO_MODEL, message)
            .note(format!("models: {}", ids.join(", ")))
            .in_file(&Arc::new(Text::new(name_of(file), "")))
    };
    let is_there = |id: &str| pipeline.models.iter().any(|model| model.id == id);
    if let Some(unknown) = layers.models.iter().find(|id| !is_there(id)) {
        let problem = problem(format!("`--model {unknown}` names no model"));
        return Err(vec![problem.help("name one of the models")]);
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    let is_wanted = |id: &str| layers.models.is_empty() || layers.models.iter().any(|it| it == id);
    // What only the run knows stays in its template, and the model in the run.
    let is_absent =
        |path: &String| !path.contains("${{") && !prony_files::located(folder, path).exists();
    let hub = Hub::from_env().with_folders(global.model_folders());
    let is_fetched = |model: &Model| {
        let wanted = prony_runner::wanted(model);
        // What is wrong with it, the run tells.
        hub.has(&prony_files::folder(file), &wanted).unwrap_or(true)
    };
    let absent_path = |id: &str| {
        let mut of_id = pipeline.points.iter().flat_map(|point| &point.models);
        let model = of_id
            .find(|model| model.id == id)
            .filter(|_| layers.only_present)?;
        match &model.path {
            _ if !model.files.is_empty() => {
                (!is_fetched(model)).then(|| "its `files` are not here".to_owned())
            }
            path => {
                let path = path.clone().filter(is_absent)?;
                Some(format!("there is no `{path}`"))
            }
        }
    };
    let mut off = Vec::new();
    let mut left = 0;
    for (index, model) in pipeline.models.iter().enumerate() {
        let absent = absent_path(&model.id).filter(|_| is_wanted(&model.id));
        if let Some(why) = &absent {
            eprintln!("{}: left out, since {why}", model.id);
        }
        if absent.is_some() || !is_wanted(&model.id) {
            off.push(format!("models.{index}.enabled=false"));
        } else if model.enabled {
            left += 1;
        }
    }
    if left == 0 && !off.is_empty() {
        let problem = problem("`--model` and `--only-present` leave no model".to_owned());
        return Err(vec![problem.help("get a model, or leave out the option")]);
    }
    Ok(off)
}

/// Stages that send each prompt again and again, where the pipeline does not say whether engines
/// may answer from their caches.
pub(crate) fn repeats(pipeline: &Pipeline) -> Vec<String> {
    /// Times that a prompt is sent without a word about it.
    const MAX_TIMES: u32 = 5;
    let mut lines = Vec::new();
    for point in &pipeline.points {
        let Some(prompts) = point.workload.prompt_count().filter(|it| *it > 0) else {
            continue;
        };
        let open = point.measures().filter(|it| it.cache.is_none());
        for stage in open.filter(|it| it.requests / prompts > MAX_TIMES) {
            let line = format!(
                "the stage `{}` sends {} about {} times; `cache: cold` or `cache: warm` says whether an engine may have them in its cache",
                stage.id,
                match prompts {
                    1 => "its prompt".to_owned(),
                    prompts => format!("each of {prompts} prompts"),
                },
                stage.requests / prompts
            );
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

/// Returns `true` if there is a warning that the user denies.
pub(crate) fn is_denied(layers: &Layers, diagnostics: &[Diagnostic]) -> bool {
    layers.deny == Some(Deny::Warnings) && !diagnostics.is_empty()
}

/// The name of a file in messages.
pub(crate) fn name_of(path: &Path) -> String {
    if is_stdin(path) {
        "<stdin>".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Returns `true` if `path` stands for standard input.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new(STDIN)
}

/// The text on standard input, which is read once, however often it is asked for.
fn stdin() -> Result<String, Unreadable> {
    static TEXT: OnceLock<Result<String, Unreadable>> = OnceLock::new();
    let read = || {
        let mut bytes = Vec::new();
        let input = std::io::stdin().lock().take(MAX_BYTES as u64 + 1);
        let read = { input }.read_to_end(&mut bytes);
        read.map_err(|error| Unreadable::from(&*error.to_string()))?;
        if bytes.len() > MAX_BYTES {
            let words = format!("it is larger than {MAX_BYTES} bytes");
            return Err(Unreadable::from(&*words));
        }
        kind::text(bytes).map_err(|it| Unreadable::from(&*it.to_string()))
    };
    TEXT.get_or_init(read).clone()
}

/// The text of a file, or the reason why it cannot be read. Reads no more than a pipeline may
/// have.
pub(crate) fn read(path: &Path) -> Result<String, Unreadable> {
    if is_stdin(path) {
        return stdin();
    }
    prony_files::read_text(path, MAX_BYTES as u64).map_err(|error| {
        let not_text = error.get_ref().and_then(|it| it.downcast_ref::<NotText>());
        Unreadable {
            reason: error.to_string(),
            help: not_text.map(|it| it.help(path)),
        }
    })
}

/// Prints diagnostics for people.
pub(crate) fn show(global: &Global, diagnostics: &[Diagnostic]) {
    let shown: Vec<Diagnostic> = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.is_error() || !global.quiet)
        .cloned()
        .collect();
    if shown.is_empty() {
        return;
    }
    output::error_lines(
        &prony_diagnostic::human(&shown, global.color()),
        global.color(),
    );
    eprintln!("");
    if let Some(code) = shown.iter().find(|d| d.is_error()).map(|d| d.code) {
        eprintln!("`prony explain {code}` says more");
    }
}
