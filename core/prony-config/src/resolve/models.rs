//! The models.

use std::collections::HashMap;

use prony_diagnostic::Diagnostic;

use super::Context;
use crate::wording::literal;
use crate::{Model, codes};

impl Context<'_> {
    pub(super) fn models(
        &self,
        one: Option<Model>,
        several: Option<Vec<Model>>,
        out: &mut Vec<Diagnostic>,
    ) -> Vec<Model> {
        self.one_of(codes::MODEL_CHOICE, "model", "models", out);
        let key = if several.is_some() {
            "/models"
        } else {
            "/model"
        };
        let models: Vec<Model> = one.into_iter().chain(several.unwrap_or_default()).collect();
        self.unique(&models, out);
        if !models.is_empty() && !models.iter().any(|model| model.enabled) {
            out.push(
                Diagnostic::error(codes::NO_MODEL, "no model is enabled")
                    .at(self.key(key), "all are switched off")
                    .help("remove `enabled: false` from at least one model"),
            );
        }
        models
    }

    fn unique(&self, models: &[Model], out: &mut Vec<Diagnostic>) {
        let place = |index: usize| self.value(&format!("/models/{index}/id"));
        let mut seen = HashMap::new();
        for (index, model) in models.iter().enumerate() {
            if let Some(first) = seen.insert(&model.id, index) {
                let id = literal(&model.id);
                out.push(
                    Diagnostic::error(
                        codes::DUPLICATE_MODEL,
                        format!("the model {id} is given twice"),
                    )
                    .at(place(index), "given again")
                    .and(place(first), "given here")
                    .help("remove one, or give them different ids"),
                );
            }
        }
    }
}
