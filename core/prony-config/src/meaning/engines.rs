//! The engines, and which one is the baseline.

use prony_diagnostic::Diagnostic;

use super::{Document, known};
use crate::codes;
use crate::wording::{alternatives, literal, offer, similar};

impl Document<'_> {
    pub(super) fn engines(&self, out: &mut Vec<Diagnostic>) {
        self.one_of(codes::ENGINE_CHOICE, "engine", "engines", out);
        let baseline = self
            .entry("compare")
            .and_then(|compare| compare.value.entry("baseline"))
            .map(|entry| &entry.value);
        let names = self.engine_names();
        let Some((node, baseline)) = baseline.and_then(|node| Some((node, known(node)?))) else {
            return;
        };
        if names.is_empty() || names.iter().any(|(name, _)| *name == baseline) {
            return;
        }
        let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        let message = format!("the baseline {} is not an engine", literal(baseline));
        let problem = Diagnostic::error(codes::UNKNOWN_BASELINE, message)
            .at(node.span.clone(), "no engine of this name")
            .note(alternatives("engines", baseline, &names));
        out.push(offer(
            problem,
            similar(baseline, names.iter().copied()),
            &node.span,
            "an engine with a similar name exists",
            "name one of the engines",
        ));
    }
}
