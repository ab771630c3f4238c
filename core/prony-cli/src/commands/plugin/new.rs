//! `prony plugin new`

use crate::arguments::Global;
use crate::{Exit, Failure, Outcome};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use prony_author::{Kind, Lang, New, is_name};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
#[command(after_help = "Example: prony plugin new --lang python acme")]
pub(super) struct Arguments {
    /// Name of the plugin, and of its folder.
    name: String,
    /// Kind of the plugin.
    #[arg(long, value_parser = kinds(), default_value = "engine")]
    kind: Kind,
    /// Language to write it in.
    #[arg(long, value_parser = langs())]
    lang: Lang,
    /// Folder to make. Defaults to the name.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Take the SDK in Rust from a folder or a Git repository, not from prony's own binary.
    #[arg(long, value_name = "PATH|URL")]
    sdk: Option<String>,
}

fn kinds() -> impl clap::builder::TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::name)).map(|name| {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        kind.unwrap_or(Kind::Engine)
    })
}

fn langs() -> impl clap::builder::TypedValueParser<Value = Lang> {
    PossibleValuesParser::new(Lang::ALL.map(Lang::name)).map(|name| {
        let lang = Lang::ALL.into_iter().find(|lang| lang.name() == name);
        lang.unwrap_or(Lang::Rust)
    })
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let Arguments {
        name, kind, lang, ..
    } = arguments;
    let wrong = |message: String| Failure::new(Exit::Usage, message);
    if !is_name(name) {
        return Err(wrong(format!(
            "`{}` is no name of a plugin: one begins with a lower-case letter and has only these, digits, `-` and `_`, 64 at most",
            name.escape_debug()
        )));
    }
    if arguments.sdk.is_some() && *lang != Lang::Rust {
        return Err(wrong("`--sdk` is for `--lang rust`".to_owned()));
    }
    let sdk = arguments.sdk.as_deref().map(absolute).transpose()?;
    let new = New {
        name,
        kind: *kind,
        lang: *lang,
        sdk: sdk.as_deref(),
    };
    let files = prony_author::files(&new).map_err(wrong)?;
    let folder = arguments.dir.clone().unwrap_or_else(|| name.into());
    let is_free = match std::fs::read_dir(&folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if !is_free {
        return Err(wrong(format!(
            "`{}` is there already, and is no empty folder: choose another one with `--dir`",
            folder.display()
        )));
    }
    for (path, text) in files {
        write(&folder.join(path), &text)?;
    }
    if !global.quiet {
        let shown = shlex::try_quote(folder.to_str().unwrap_or_default()).unwrap_or_default();
        println!(
            "made `{}`; its README.md has the next steps:",
            folder.display()
        );
        println!("  cd {shown} && prony plugin build .");
    }
    Ok(Exit::Ok)
}

/// The path of an SDK as the project finds it from its own folder; an address as it is.
fn absolute(sdk: &str) -> Result<String, Failure> {
    if sdk.contains("://") || sdk.starts_with("git@") {
        return Ok(sdk.to_owned());
    }
    let wrong = |reason: String| Failure::new(Exit::Usage, format!("`--sdk {sdk}`: {reason}"));
    let path = std::path::absolute(sdk).map_err(|error| wrong(error.to_string()))?;
    let path = [path.clone(), path.join("plugins/prony-plugin-sdk")]
        .into_iter()
        .find(|it| it.join("Cargo.toml").is_file() && it.join("src/wasm.rs").is_file());
    let path = path.ok_or_else(|| {
        wrong("neither this folder nor `plugins/prony-plugin-sdk` in it is the SDK".to_owned())
    })?;
    Ok(path.to_string_lossy().into_owned())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|error| Failure::new(Exit::RunFailed, format!("`{}`: {error}", path.display())))
}
