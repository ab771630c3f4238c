//! The models.

use std::collections::HashMap;

use prony_diagnostic::Diagnostic;

use super::{Document, is_false, known};
use crate::codes;
use crate::tree::Node;
use crate::wording::literal;

impl Document<'_> {
    pub(super) fn models(&self, out: &mut Vec<Diagnostic>) {
        self.one_of(codes::MODEL_CHOICE, "model", "models", out);
        let models = self.model_nodes();
        let mut seen = HashMap::new();
        for id in models.iter().filter_map(|model| model.entry("id")) {
            let Some(text) = known(&id.value) else {
                continue;
            };
            if let Some(first) = seen.insert(text, id.value.span.clone()) {
                let message = format!("the model {} is given twice", literal(text));
                out.push(
                    Diagnostic::error(codes::DUPLICATE_MODEL, message)
                        .at(id.value.span.clone(), "given again")
                        .and(first, "given here")
                        .help("remove one, or give them different ids"),
                );
            }
        }
        let off = |model: &&Node| model.entry("enabled").is_some_and(|e| is_false(&e.value));
        if !models.is_empty() && models.iter().all(off) {
            let section = self.entry("models").or_else(|| self.entry("model"));
            let span =
                section.map_or_else(|| self.root.span.clone(), |entry| entry.key_span.clone());
            out.push(
                Diagnostic::error(codes::NO_MODEL, "no model is enabled")
                    .at(span, "all are switched off")
                    .help("remove `enabled: false` from at least one model"),
            );
        }
    }
}
