//! The templates from which `prony plugin new` makes a project.

use crate::project::{Build, Kind, Lang, Project, in_process};
use crate::sdk::{self, File};
use minijinja::{Environment, Value};
use prony_contract::CONTRACT;
use std::path::PathBuf;

/// A project to be made.
#[derive(Debug, Clone)]
pub struct New<'a> {
    /// Name of the plugin.
    pub name: &'a str,
    /// Its kind.
    pub kind: Kind,
    /// Its language.
    pub lang: Lang,
    /// Rust only: the folder or the Git address of another SDK than the one in `sdk/`.
    pub sdk: Option<&'a str>,
}

const FOR_ENGINE: &[(&str, &str)] = &[
    (
        "toy/server.py",
        include_str!("../templates/common/toy_server.py"),
    ),
    (
        "fixtures/kit.json",
        include_str!("../templates/fixtures/engine/kit.json"),
    ),
    (
        "fixtures/answer.body",
        include_str!("../templates/fixtures/engine/answer.body"),
    ),
    (
        "fixtures/answer.events.json",
        include_str!("../templates/fixtures/engine/answer.events.json"),
    ),
    (
        "fixtures/answer.request.json",
        include_str!("../templates/fixtures/engine/answer.request.json"),
    ),
    (
        "fixtures/answer.http.json",
        include_str!("../templates/fixtures/engine/answer.http.json"),
    ),
    (
        "fixtures/failed.body",
        include_str!("../templates/fixtures/engine/failed.body"),
    ),
    (
        "fixtures/failed.events.json",
        include_str!("../templates/fixtures/engine/failed.events.json"),
    ),
    (
        "fixtures/refused.404.body",
        include_str!("../templates/fixtures/engine/refused.404.body"),
    ),
    (
        "fixtures/refused.404.events.json",
        include_str!("../templates/fixtures/engine/refused.404.events.json"),
    ),
];

const FOR_STDIO: &[(&str, &str)] = &[
    (
        "toy/engine.py",
        include_str!("../templates/common/toy_engine.py"),
    ),
    (
        "fixtures/kit.json",
        include_str!("../templates/fixtures/stdio-engine/kit.json"),
    ),
    (
        "fixtures/answer.body",
        include_str!("../templates/fixtures/stdio-engine/answer.body"),
    ),
    (
        "fixtures/answer.events.json",
        include_str!("../templates/fixtures/stdio-engine/answer.events.json"),
    ),
    (
        "fixtures/answer.request.json",
        include_str!("../templates/fixtures/engine/answer.request.json"),
    ),
    (
        "fixtures/answer.http.json",
        include_str!("../templates/fixtures/stdio-engine/answer.http.json"),
    ),
    (
        "fixtures/failed.body",
        include_str!("../templates/fixtures/stdio-engine/failed.body"),
    ),
    (
        "fixtures/failed.events.json",
        include_str!("../templates/fixtures/stdio-engine/failed.events.json"),
    ),
];

const FOR_IN_PROCESS: &[(&str, &str)] = &[(
    "fixtures/kit.json",
    include_str!("../templates/fixtures/in-process-engine/kit.json"),
)];

/// The files of a new project, relative to its folder: those to keep, then those of `sdk/`.
///
/// Fails with the reason if the language has no plugins of the kind.
pub fn files(new: &New<'_>) -> Result<Vec<File>, String> {
    let New { kind, lang, .. } = *new;
    if kind == Kind::InProcessEngine && !matches!(lang, Lang::Rust | Lang::C) {
        return Err(in_process(lang));
    }
    let project = project(new);
    let mut values = vec![("sdk", Value::from(new.sdk.map(dependency)))];
    values.extend(values_of(&project));
    let values = Value::from_pairs(values);
    let shared: &[(&str, &str)] = &[
        (
            "plugin.toml",
            include_str!("../templates/common/plugin.toml"),
        ),
        ("README.md", include_str!("../templates/common/README.md")),
        (
            "pipeline.yaml",
            include_str!("../templates/common/pipeline.yaml"),
        ),
        (".gitignore", include_str!("../templates/common/gitignore")),
        (
            ".github/workflows/plugin.yml",
            include_str!("../templates/common/workflow.yml"),
        ),
    ];
    let verbatim = match kind {
        Kind::Engine => FOR_ENGINE,
        Kind::StdioEngine => FOR_STDIO,
        Kind::InProcessEngine => FOR_IN_PROCESS,
        Kind::Reporter => &[],
    };
    let source = match &project.build {
        Build::Lang {
            source: Some(source),
            ..
        } => source.as_str(),
        _ => "src/lib.rs",
    };
    let mut files: Vec<File> = shared
        .iter()
        .copied()
        .chain([(source, source_of(kind, lang))])
        .chain(
            (lang == Lang::Rust)
                .then_some(("Cargo.toml", include_str!("../templates/rust/Cargo.toml"))),
        )
        .chain((lang == Lang::Python).then_some((
            "pyproject.toml",
            include_str!("../templates/python/pyproject.toml"),
        )))
        .map(|(path, text)| (PathBuf::from(path), render(text, &values)))
        .collect();
    let verbatim = verbatim.iter().copied();
    let lock = (lang == Lang::Rust).then_some(("Cargo.lock", sdk::LOCK));
    files.extend(
        verbatim
            .chain(lock)
            .map(|(path, text)| (path.into(), text.to_owned())),
    );
    if new.sdk.is_none() {
        files.extend(sdk::files(&project));
    }
    Ok(files)
}

fn source_of(kind: Kind, lang: Lang) -> &'static str {
    match (lang, kind) {
        (Lang::Rust, Kind::Engine) => include_str!("../templates/rust/engine.rs"),
        (Lang::Rust, Kind::StdioEngine) => include_str!("../templates/rust/stdio_engine.rs"),
        (Lang::Rust, Kind::InProcessEngine) => {
            include_str!("../templates/rust/in_process_engine.rs")
        }
        (Lang::Rust, Kind::Reporter) => include_str!("../templates/rust/reporter.rs"),
        (Lang::C, Kind::Engine) => include_str!("../templates/c/engine.c"),
        (Lang::C, Kind::StdioEngine) => include_str!("../templates/c/stdio_engine.c"),
        (Lang::C, Kind::InProcessEngine) => include_str!("../templates/c/in_process_engine.c"),
        (Lang::C, Kind::Reporter) => include_str!("../templates/c/reporter.c"),
        (Lang::Python, Kind::StdioEngine) => include_str!("../templates/python/stdio_engine.py"),
        (Lang::Python, Kind::Reporter) => include_str!("../templates/python/reporter.py"),
        (Lang::Python, _) => include_str!("../templates/python/engine.py"),
        (Lang::Js, Kind::StdioEngine) => include_str!("../templates/js/stdio_engine.js"),
        (Lang::Js, Kind::Reporter) => include_str!("../templates/js/reporter.js"),
        (Lang::Js, _) => include_str!("../templates/js/engine.js"),
    }
}

/// The project that the files will describe.
fn project(new: &New<'_>) -> Project {
    let part = if new.kind == Kind::Reporter {
        "reporter"
    } else {
        "adapter"
    };
    let source = match new.lang {
        Lang::Rust => None,
        Lang::C => Some(format!("{part}.c")),
        Lang::Python => Some(format!("{part}.py")),
        Lang::Js => Some(format!("{part}.js")),
    };
    Project {
        folder: PathBuf::new(),
        name: new.name.to_owned(),
        kind: new.kind,
        version: "0.1.0".to_owned(),
        contract: CONTRACT,
        build: Build::Lang {
            lang: new.lang,
            source,
        },
        limits: crate::project::Limits::default(),
    }
}

/// The dependency on an SDK elsewhere, as Cargo has it.
fn dependency(sdk: &str) -> String {
    let key = if sdk.contains("://") || sdk.starts_with("git@") {
        "git"
    } else {
        "path"
    };
    format!("{{ {key} = {sdk:?} }}")
}

/// Values of the templates of `sdk/`.
pub(crate) fn values(project: &Project) -> Value {
    Value::from_pairs(values_of(project))
}

fn values_of(project: &Project) -> Vec<(&'static str, Value)> {
    let source = match &project.build {
        Build::Lang {
            source: Some(source),
            ..
        } => source.clone(),
        _ => String::new(),
    };
    let module = source.trim_end_matches(".py").replace('/', ".");
    let (major, minor) = project.contract;
    let description = match project.kind {
        Kind::Reporter => format!("The reporter {}", project.name),
        _ => format!("The engine {}", project.name),
    };
    // As it is written in Python and in JavaScript.
    let functions = match project.kind {
        Kind::Reporter => r#"["render"]"#,
        _ => r#"["launch", "encode", "decode"]"#,
    };
    vec![
        ("functions", functions.into()),
        ("name", project.name.as_str().into()),
        // A name in the languages that have no `-` in theirs.
        ("ident", project.name.replace('-', "_").into()),
        ("version", project.version.as_str().into()),
        ("kind", project.kind.name().into()),
        ("lang", project.lang().map_or("", Lang::name).into()),
        ("contract", format!("{major}.{minor}").into()),
        ("source", source.into()),
        ("module", module.into()),
        ("description", description.into()),
        ("library", std::env::consts::DLL_EXTENSION.into()),
    ]
}

/// A template with its values, and one line break at its end.
pub(crate) fn render(template: &str, values: &Value) -> String {
    let rendered = Environment::new().render_str(template, values);
    let rendered = rendered.expect("the templates are tested");
    format!("{}\n", rendered.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_complete() {
        for kind in Kind::ALL {
            for lang in Lang::ALL {
                let new = New {
                    name: "my-plugin",
                    kind,
                    lang,
                    sdk: None,
                };
                let files = match files(&new) {
                    Ok(files) => files,
                    Err(reason) => {
                        assert_eq!(kind, Kind::InProcessEngine, "{reason}");
                        assert!(reason.contains("stdio-engine"), "{reason}");
                        continue;
                    }
                };
                let text = |path: &str| {
                    let found = files.iter().find(|(it, _)| it.as_os_str() == path);
                    &found
                        .unwrap_or_else(|| panic!("{kind:?} {lang:?}: no {path}"))
                        .1
                };
                let folder = tempfile::tempdir().expect("a folder");
                std::fs::write(folder.path().join("plugin.toml"), text("plugin.toml"))
                    .expect("a file");
                let project = Project::read(folder.path()).unwrap_or_else(|it| panic!("{it}"));
                assert_eq!((project.kind, project.lang()), (kind, Some(lang)));
                assert_eq!(project.name, "my-plugin");
                if let Build::Lang {
                    source: Some(source),
                    ..
                } = &project.build
                {
                    assert!(text(source).len() > 500);
                }
                for path in ["README.md", ".gitignore", "pipeline.yaml"] {
                    let text = text(path);
                    assert!(
                        !text.contains("{{ ") && !text.contains("\n\n\n"),
                        "{kind:?} {lang:?} {path}: {text}"
                    );
                }
            }
        }
    }

    #[test]
    fn another_sdk_is_a_dependency() {
        assert_eq!(dependency("/opt/prony"), "{ path = \"/opt/prony\" }");
        assert_eq!(
            dependency("https://example.org/prony.git"),
            "{ git = \"https://example.org/prony.git\" }"
        );
    }
}
