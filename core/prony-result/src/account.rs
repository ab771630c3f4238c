//! Sentences about the settings and counters of engines.

use crate::words::{MISSING, one_line, optional};
use crate::{EngineResult, OwnCount, SettingInForce};
use prony_contract::CounterKind;
use serde_json::Value;

/// Shown where an engine does not say what is in force.
const NOT_TOLD: &str = "not told";

impl SettingInForce {
    /// Names of settings that name the model.
    pub const MODELS: [&str; 2] = ["model", "model_file"];

    /// Returns `true` if it names the model.
    pub fn is_model(&self) -> bool {
        Self::MODELS.contains(&self.name.as_str())
    }

    /// The value that was asked for, or [`MISSING`].
    pub fn asked_for(&self) -> String {
        self.asked
            .as_ref()
            .map_or_else(|| MISSING.to_owned(), shown)
    }

    /// The values in force, or that they are not told.
    pub fn told(&self) -> String {
        if self.in_force.is_empty() {
            return NOT_TOLD.to_owned();
        }
        let values: Vec<String> = self.in_force.iter().map(shown).collect();
        values.join(", ")
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), one_line)
}

/// Wording of a counter.
struct Words {
    /// Title with unit.
    title: &'static str,
    /// Explanation of an engine's count that is higher.
    more: &'static str,
    /// Explanation of an engine's count that is lower.
    less: &'static str,
}

const OTHERS: &str = "other clients, failed requests, or another way to count";

fn words(kind: CounterKind) -> Words {
    let (title, more, less) = match kind {
        CounterKind::Requests => (
            "requests",
            "other clients",
            "it counts only some, such as those that succeeded",
        ),
        CounterKind::PromptTokens => ("prompt tokens", OTHERS, "it counts otherwise"),
        CounterKind::ComputedPromptTokens => (
            "computed prompt tokens",
            OTHERS,
            "a prefix cache, or it counts otherwise",
        ),
        CounterKind::CachedTokens => ("cached prompt tokens", OTHERS, "it counts otherwise"),
        CounterKind::OutputTokens => ("output tokens", OTHERS, "it counts otherwise"),
        CounterKind::QueueTime => ("queue, s", "", ""),
        CounterKind::PrefillTime => (
            "prefill, s",
            "failed requests, or other clients",
            "queue, network and rendering, which are in prony's time to first token",
        ),
        CounterKind::DecodeTime => (
            "decode, s",
            "failed requests, or what it does between the last token and the end",
            "network and rendering",
        ),
    };
    Words { title, more, less }
}

impl OwnCount {
    /// Subject with its unit, for example `output tokens`.
    pub fn title(&self) -> &'static str {
        words(self.kind).title
    }

    /// The engine's count less prony's, with its sign, or [`MISSING`].
    pub fn difference(&self) -> String {
        optional(self.prony, |prony| match self.engine - prony {
            more if more > 0.0 => format!("+{}", self.amount(more)),
            more => self.amount(more),
        })
    }

    /// Explanation of the difference; empty if there is none.
    pub fn explanation(&self) -> &'static str {
        let Words { more, less, .. } = words(self.kind);
        match self.prony {
            Some(prony) if self.engine > prony => more,
            Some(prony) if self.engine < prony => less,
            _ => "",
        }
    }

    /// The engine's count.
    pub fn of_engine(&self) -> String {
        self.amount(self.engine)
    }

    /// prony's count, or [`MISSING`].
    pub fn of_prony(&self) -> String {
        optional(self.prony, |prony| self.amount(prony))
    }

    /// A count in full, a time to the millisecond.
    fn amount(&self, value: f64) -> String {
        let is_time = matches!(
            self.kind,
            CounterKind::QueueTime | CounterKind::PrefillTime | CounterKind::DecodeTime
        );
        let decimals = if is_time { 3 } else { 0 };
        format!("{value:.decimals$}")
    }
}

impl EngineResult {
    /// The settings that are not as asked for, without a full stop; `None` if all are. Another
    /// model is not among them: it is a warning. For example `llama: context is 1024 (asked for 4096)`.
    pub fn settings_sentence(&self) -> Option<String> {
        let differing = self.settings.iter();
        let differing = differing.filter(|it| it.differs && !it.is_model());
        let found: Vec<String> = differing
            .map(|setting| {
                format!(
                    "{} is {} (asked for {})",
                    one_line(&setting.name),
                    setting.told(),
                    setting.asked_for()
                )
            })
            .collect();
        let engine = one_line(&self.engine);
        (!found.is_empty()).then(|| format!("{engine}: {}", found.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn setting(asked: Option<Value>, in_force: &[Value], differs: bool) -> SettingInForce {
        SettingInForce {
            name: "context".to_owned(),
            asked,
            in_force: in_force.to_vec(),
            differs,
        }
    }

    #[test]
    fn only_settings_that_differ_are_in_the_sentence() {
        let engine = |settings: Vec<SettingInForce>| EngineResult {
            engine: "llama".to_owned(),
            settings,
            ..EngineResult::default()
        };
        let same = setting(Some(json!(4096)), &[json!(4096)], false);
        let other = setting(Some(json!(4096)), &[json!(2048), json!("a\nb")], true);
        let unasked = setting(None, &[json!("b1")], false);
        let untold = setting(Some(json!(true)), &[], false);
        assert_eq!(engine(vec![same.clone()]).settings_sentence(), None);
        assert_eq!(
            engine(vec![same, other]).settings_sentence().as_deref(),
            Some("llama: context is 2048, a b (asked for 4096)")
        );
        assert_eq!(
            (unasked.asked_for(), unasked.told()),
            ("–".into(), "b1".into())
        );
        assert_eq!(untold.told(), "not told");
    }

    #[test]
    fn a_difference_is_explained() {
        let count = |kind, engine, prony| OwnCount {
            kind,
            engine,
            prony,
            cycles: 1,
        };
        let tokens = |engine| count(CounterKind::OutputTokens, engine, Some(100.0));
        assert_eq!(tokens(100.0).difference(), "0");
        assert_eq!(tokens(100.0).explanation(), "");
        assert_eq!(tokens(164.0).difference(), "+64");
        assert!(tokens(164.0).explanation().contains("other clients"));
        assert_eq!(tokens(36.0).difference(), "-64");
        let queue = count(CounterKind::QueueTime, 0.25, None);
        assert_eq!(
            (queue.of_engine(), queue.of_prony(), queue.difference()),
            ("0.250".into(), "–".into(), "–".into())
        );
        let prefill = count(CounterKind::PrefillTime, 1.5, Some(1.75));
        assert!(
            prefill
                .explanation()
                .contains("queue, network and rendering")
        );
        assert_eq!(prefill.difference(), "-0.250");
    }
}
