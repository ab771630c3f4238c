//! Errors of plugins, with messages that name the fix.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the plugin host.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The lock file is damaged.
    #[error("`{}` is not a lock file: {reason}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Description of the damage.
        reason: String,
    },
    /// The file is not a plugin.
    #[error("`{}` is not a prony plugin: {reason}", path.display())]
    NotAPlugin {
        /// The file.
        path: PathBuf,
        /// Reason for rejecting it.
        reason: String,
    },
    /// The plugin has another contract version.
    #[error(
        "`{}` speaks plugin contract {theirs}, and this prony speaks {ours}: build it again with `prony plugin build` of this prony, or use a prony that speaks {theirs}",
        path.display()
    )]
    Contract {
        /// The file.
        path: PathBuf,
        /// The plugin's version.
        theirs: String,
        /// The host's version.
        ours: String,
    },
    /// The component imports something that plugins may not use.
    #[error(
        "`{}` imports {}: a plugin may import only `prony:plugin/types` and `prony:plugin/log`, which is its sandbox; {}",
        path.display(),
        imports.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        crate::wasm::causes(imports)
    )]
    Import {
        /// The file.
        path: PathBuf,
        /// The imports that are not allowed.
        imports: Vec<String>,
    },
    /// The file differs from the locked one.
    #[error(
        "`{}` has changed since it was locked (sha256 {found}, locked {locked}): if that is meant, run `prony plugin add {}` again{}",
        path.display(), path.display(), again(from.as_deref())
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// Digest of the file.
        found: String,
        /// Digest in the lock.
        locked: String,
        /// Origin of the locked file.
        from: Option<String>,
    },
    /// The file of a locked plugin is not there.
    #[error(
        "there is no `{}`, which the lock has as the {plugin}: {}",
        path.display(), cure(from.as_deref(), name)
    )]
    Gone {
        /// The file.
        path: PathBuf,
        /// Kind, name and version.
        plugin: String,
        /// Name and version, as for `prony plugin remove`.
        name: String,
        /// Origin of the file.
        from: Option<String>,
    },
    /// A native library that the user has not granted to run outside the sandbox.
    #[error(
        "`{}` is a native library and would run outside the sandbox, and you have not granted that on this machine (no lock file can): if you trust it, run `prony plugin add --grant native {}`; if not, remove it from `prony.lock`",
        path.display(), path.display()
    )]
    NotGranted {
        /// The file.
        path: PathBuf,
    },
    /// Others may change the file.
    #[error("`{}` is not used, since `{}` {words}", path.display(), place.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// The file itself, or the folder above it that others can change.
        place: PathBuf,
        /// How, and the way out.
        words: String,
    },
    /// No plugin with that name is locked.
    #[error(
        "no {kind} plugin `{name}` is installed{}{}: `prony plugin list` shows what is, `prony plugin add` adds one",
        other_versions(versions), other_name(similar.as_deref())
    )]
    Unknown {
        /// `engine` or `reporter`.
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// Versions of it that are installed, if another one was asked for.
        versions: Vec<String>,
        /// The name of one that is installed and differs in case, or in what joins its words.
        similar: Option<String>,
    },
    /// The guest failed: a trap, a panic, a limit.
    #[error(
        "plugin `{plugin}` broke down in `{export}`: {reason}{}",
        log_suffix(log)
    )]
    Trap {
        /// The plugin.
        plugin: String,
        /// The function that was called.
        export: &'static str,
        /// Description of the failure.
        reason: String,
        /// Its earlier log messages of level error.
        log: Vec<String>,
    },
    /// The plugin has no such function.
    #[error("plugin `{plugin}` has no `{export}`")]
    Unsupported {
        /// The plugin.
        plugin: String,
        /// The function that was called.
        export: &'static str,
    },
    /// The plugin answered with an error.
    #[error("plugin `{plugin}`: {error}")]
    Reported {
        /// The plugin.
        plugin: String,
        /// Its error.
        error: prony_contract::Error,
    },
    /// The plugin's return value breaks the contract.
    #[error("plugin `{plugin}` returned something unreadable from `{export}`: {reason}")]
    Answer {
        /// The plugin.
        plugin: String,
        /// The function that was called.
        export: &'static str,
        /// Description of the violation.
        reason: String,
    },
    /// The WASM runtime itself failed.
    #[error("WASM runtime: {0}")]
    Runtime(String),
}

impl Error {
    /// The diagnostic code, `X00xx`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "X0001",
            Self::Lock { .. } => "X0002",
            Self::NotAPlugin { .. } => "X0003",
            Self::Contract { .. } => "X0004",
            Self::Import { .. } => "X0005",
            Self::Digest { .. } | Self::Gone { .. } => "X0006",
            Self::NotGranted { .. } => "X0007",
            Self::Exposed { .. } => "X0008",
            Self::Unknown { .. } => "X0009",
            Self::Trap { .. } => "X0010",
            Self::Unsupported { .. } => "X0011",
            Self::Reported { .. } => "X0012",
            Self::Answer { .. } => "X0013",
            Self::Runtime(_) => "X0014",
        }
    }

    /// Returns `true` for a defect of the plugin or its file, and `false` for its word that a config
    /// or a request cannot be used, or that an engine failed.
    pub fn is_of_plugin(&self) -> bool {
        match self {
            Self::Reported { error, .. } => error.kind == prony_contract::ErrorKind::Internal,
            _ => true,
        }
    }

    /// Converts to the plugin's own error type, for callers that expect it: a failure
    /// counts as the plugin's defect.
    pub fn into_reported(self) -> prony_contract::Error {
        match self {
            Self::Reported { error, .. } => error,
            other => {
                prony_contract::Error::new(prony_contract::ErrorKind::Internal, other.to_string())
            }
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// Way to the file that was locked, behind other words.
fn again(source: Option<&str>) -> String {
    source.map_or_else(String::new, |source| {
        format!("; if not, `prony plugin add {source}` brings the other back")
    })
}

/// Way out of a file that is gone.
fn cure(source: Option<&str>, name: &str) -> String {
    let add = source.map_or_else(
        || "add its file again with `prony plugin add FILE`".to_owned(),
        |source| format!("`prony plugin add {source}` brings it back"),
    );
    format!("{add}, `prony plugin remove {name}` forgets it")
}

fn other_versions(versions: &[String]) -> String {
    if versions.is_empty() {
        return String::new();
    }
    format!(", but {} of it", versions.join(", "))
}

fn other_name(similar: Option<&str>) -> String {
    similar.map_or_else(String::new, |name| format!(", but `{name}` is"))
}

fn log_suffix(log: &[String]) -> String {
    if log.is_empty() {
        String::new()
    } else {
        format!("; it logged: {}", log.join("; "))
    }
}
