//! An engine's own account beside its answers, as the journal keeps it.

use prony_contract::CounterKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A setting of an engine in a visit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingTold {
    /// Its name.
    pub name: String,
    /// Value that was asked for, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Value>,
    /// Value that the engine says is in force: a text, a number or a boolean; absent if it
    /// does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<Value>,
}

/// A counter of an engine around the requests of a `measure` stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CounterTold {
    /// Subject of the counter.
    pub kind: CounterKind,
    /// Value before and after each share of the requests, in order; `None` if either was not
    /// to be had. A stage has several shares only with `resident`.
    pub spans: Vec<Option<(f64, f64)>>,
}

impl CounterTold {
    /// The increase over all shares; `None` if a value is missing, or the counter went back,
    /// as after a restart.
    pub fn amount(&self) -> Option<f64> {
        let increase = |span: &Option<(f64, f64)>| {
            let (before, after) = (*span)?;
            (after >= before).then_some(after - before)
        };
        self.spans.iter().map(increase).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_needs_every_value() {
        let amount = |spans: &[Option<(f64, f64)>]| {
            let spans = spans.to_vec();
            let kind = CounterKind::OutputTokens;
            CounterTold { kind, spans }.amount()
        };
        assert_eq!(amount(&[Some((1.0, 4.0)), Some((9.0, 9.0))]), Some(3.0));
        assert_eq!(amount(&[Some((1.0, 4.0)), None]), None);
        assert_eq!(amount(&[Some((4.0, 1.0))]), None, "it was started again");
    }
}
