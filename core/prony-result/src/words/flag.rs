//! Limits of a comparison.

/// A limit of a comparison: everything that [`Comparison::flags`] can hold.
///
/// [`Comparison::flags`]: crate::Comparison::flags
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    /// Answers to the same question differ in length.
    LengthMismatch,
    /// An engine's count of tokens cannot be right.
    TokenMismatch,
    /// Too few requests succeeded.
    LowSuccessRate,
    /// Too many cycles have a failure.
    DegradedCycles,
    /// Each engine was started once.
    SingleStart,
    /// An engine answered with another model than was asked for, or with several.
    OtherModel,
    /// One engine took more of its prompts from a prefix cache.
    CacheMismatch,
    /// An engine got another prompt than prony renders.
    PromptMismatch,
    /// A stream does not show what prefill and decoding took.
    CoarseStream,
    /// The typical request and the total throughput say different things.
    OutlierSensitive,
    /// The machine became steadily faster or slower.
    ThermalRamp,
    /// The machine's speed changed at one point.
    ThrottleStep,
    /// One engine leaves the machine slower for the next visit than the other.
    CarryOver,
    /// The run was broken off in its cycles, and resumed.
    Resumed,
}

impl Flag {
    /// All of them, in the order in which reports show them.
    pub const ALL: [Self; 14] = [
        Self::LengthMismatch,
        Self::TokenMismatch,
        Self::LowSuccessRate,
        Self::DegradedCycles,
        Self::SingleStart,
        Self::OtherModel,
        Self::CacheMismatch,
        Self::PromptMismatch,
        Self::CoarseStream,
        Self::OutlierSensitive,
        Self::ThermalRamp,
        Self::ThrottleStep,
        Self::CarryOver,
        Self::Resumed,
    ];

    /// As in results; `prony explain` has a page by that name.
    pub fn name(self) -> &'static str {
        match self {
            Self::LengthMismatch => "length_mismatch",
            Self::TokenMismatch => "token_mismatch",
            Self::LowSuccessRate => "low_success_rate",
            Self::DegradedCycles => "degraded_cycles",
            Self::SingleStart => "single-start",
            Self::OtherModel => "other_model",
            Self::CacheMismatch => "cache_mismatch",
            Self::PromptMismatch => "prompt_mismatch",
            Self::CoarseStream => "coarse_stream",
            Self::OutlierSensitive => "outlier_sensitive",
            Self::ThermalRamp => "thermal_ramp",
            Self::ThrottleStep => "throttle_step",
            Self::CarryOver => "carry_over",
            Self::Resumed => "resumed",
        }
    }

    /// Meaning of the flag, as a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::LengthMismatch => {
                "The engines generated answers of different length: a verdict rests on the tokens \
                 common to both, and none falls where the lengths may explain the difference."
            }
            Self::TokenMismatch => {
                "An engine counts more tokens than its answers have bytes, which cannot be right, \
                 or not as many as the model's tokenizer."
            }
            Self::LowSuccessRate => "Too many requests failed for a winner to be named.",
            Self::DegradedCycles => "Too many cycles have a failure for a winner to be named.",
            Self::SingleStart => {
                "Each engine was started once, so what was found may be the luck of that start."
            }
            Self::OtherModel => {
                "An engine answered with another model than was asked for, or with several, so the \
                 engines may not have run the same model."
            }
            Self::CacheMismatch => {
                "One engine took a larger share of its prompt tokens from a prefix cache than the \
                 other, so it had less work before the first token."
            }
            Self::PromptMismatch => {
                "An engine counts other prompt tokens than the prompt has as prony renders it, so \
                 the engines did not get the same prompt."
            }
            Self::CoarseStream => {
                "An engine sends several tokens at a time, or only part of them, so its stream does \
                 not show what prefill and decoding took."
            }
            Self::OutlierSensitive => {
                "The typical request and the total throughput disagree: a few slow requests decide."
            }
            Self::ThermalRamp => {
                "The machine became steadily faster or slower during the run, as it does when it \
                 heats up."
            }
            Self::ThrottleStep => {
                "The machine's speed changed abruptly during the run, as it does when it throttles."
            }
            Self::CarryOver => {
                "A visit after one of the engines is slower than after the other; longer pauses \
                 between visits help."
            }
            Self::Resumed => {
                "The run was broken off in a cycle of this model and resumed: that cycle counts as \
                 one in which something failed."
            }
        }
    }

    /// The flag of this name; `single_start` and `single-start` are one. `None` of those that
    /// this version does not know.
    pub fn named(name: &str) -> Option<Self> {
        let plain = |name: &str| name.to_ascii_lowercase().replace('-', "_");
        let wanted = plain(name);
        Self::ALL
            .into_iter()
            .find(|flag| plain(flag.name()) == wanted)
    }
}

/// Meaning of the flag of this name, as a sentence; `None` of those that this version does
/// not know.
pub fn flag(name: &str) -> Option<&'static str> {
    Flag::named(name).map(Flag::meaning)
}

impl crate::Comparison {
    /// The flags with their meaning, for example `single_start: The run has one cycle …`.
    pub fn flag_sentences(&self) -> Vec<String> {
        let sentence = |name: &String| {
            let meaning = flag(name).map(|meaning| format!(": {meaning}"));
            format!("{}{}", super::one_line(name), meaning.unwrap_or_default())
        };
        self.flags.iter().map(sentence).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_by_name() {
        for flag in Flag::ALL {
            assert_eq!(Flag::named(flag.name()), Some(flag));
            assert!(flag.meaning().ends_with('.'));
        }
        assert_eq!(Flag::named("Single_Start"), Some(Flag::SingleStart));
        assert_eq!(flag("from_the_future"), None);
    }
}
