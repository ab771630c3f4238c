//! Exit codes and their meaning.

/// Exit code of prony.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    RunFailed = 1,
    Usage = 2,
    InvalidPipeline = 3,
    ThresholdFailed = 4,
    Plugin = 5,
    /// It finished, and its numbers are invalid.
    Invalid = 6,
    Interrupted = 130,
}

impl Exit {
    pub(crate) const ALL: [Self; 8] = [
        Self::Ok,
        Self::RunFailed,
        Self::Usage,
        Self::InvalidPipeline,
        Self::ThresholdFailed,
        Self::Plugin,
        Self::Invalid,
        Self::Interrupted,
    ];

    /// The meaning, without a full stop.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::RunFailed => "the run failed, or standard output could not be written",
            Self::Usage => "wrong usage",
            Self::InvalidPipeline => "the pipeline is invalid, or an input of a replay is missing",
            Self::ThresholdFailed => {
                "a threshold was missed, `prony compare` or `prony history check` found what \
                 `--fail-on` names, or a replay differs"
            }
            Self::Plugin => "a plugin failed, or is not the one that was locked",
            Self::Invalid => {
                "finished, but the numbers are invalid: the load client was the bottleneck, or an \
                 engine's cache state was not what the pipeline declares"
            }
            Self::Interrupted => "interrupted",
        }
    }

    /// All exit codes in a line or two.
    pub(crate) fn in_short() -> String {
        let short = |exit: Self| match exit {
            Self::RunFailed => "run failed",
            Self::InvalidPipeline => "invalid pipeline",
            Self::ThresholdFailed => "threshold missed",
            Self::Plugin => "plugin failed",
            Self::Invalid => "invalid numbers",
            other => other.meaning(),
        };
        let codes = Self::ALL.map(|exit| format!("{} {}", exit as u8, short(exit)));
        codes.join(", ")
    }

    /// Turns a success into a failure; keeps other codes.
    pub(crate) fn or_failed(self) -> Self {
        match self {
            Self::Ok => Self::RunFailed,
            other => other,
        }
    }
}
