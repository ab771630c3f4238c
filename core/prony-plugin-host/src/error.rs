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
        "`{}` has changed since it was locked (sha256 {found}, locked {locked}): if that is meant, run `prony plugin add {}` again",
        path.display(), path.display()
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// Digest of the file.
        found: String,
        /// Digest in the lock.
        locked: String,
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
        "no {kind} plugin `{name}` is installed: `prony plugin list` shows what is, `prony plugin add` adds one"
    )]
    Unknown {
        /// `engine` or `reporter`.
        kind: &'static str,
        /// The name asked for.
        name: String,
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
            Self::Digest { .. } => "X0006",
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

fn log_suffix(log: &[String]) -> String {
    if log.is_empty() {
        String::new()
    } else {
        format!("; it logged: {}", log.join("; "))
    }
}
