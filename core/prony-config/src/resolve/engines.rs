//! The engines, and which one is the baseline.

use prony_diagnostic::Diagnostic;

use super::Context;
use crate::file::{CompareEntry, PluginUse, margin_percent};
use crate::wording::{list, literal, nearest, similar};
use crate::{Compare, Engine, Ordered, codes};

impl Context<'_> {
    pub(super) fn engines(
        &self,
        one: Option<PluginUse>,
        several: Option<Ordered<PluginUse>>,
        out: &mut Vec<Diagnostic>,
    ) -> Vec<Engine> {
        self.one_of(codes::ENGINE_CHOICE, "engine", "engines", out);
        let one = one.map(|engine| (engine.plugin.clone(), engine));
        let several = several.map(|engines| engines.0).unwrap_or_default();
        one.into_iter()
            .chain(several)
            .map(|(name, PluginUse { plugin, config })| Engine {
                name,
                plugin,
                config,
            })
            .collect()
    }

    pub(super) fn compare(
        &self,
        entry: Option<CompareEntry>,
        engines: &[Engine],
        out: &mut Vec<Diagnostic>,
    ) -> Option<Compare> {
        let first = engines.first()?;
        if engines.len() < 2 && entry.is_none() {
            return None;
        }
        let (baseline, margin_percent) = match entry {
            Some(entry) => (entry.baseline, entry.margin_percent),
            None => (None, margin_percent()),
        };
        let baseline = baseline.unwrap_or_else(|| first.name.clone());
        if !engines.iter().any(|engine| engine.name == baseline) {
            out.push(self.unknown_baseline(&baseline, engines));
        }
        Some(Compare {
            baseline,
            margin_percent,
        })
    }

    fn unknown_baseline(&self, baseline: &str, engines: &[Engine]) -> Diagnostic {
        let names: Vec<&str> = engines.iter().map(|engine| engine.name.as_str()).collect();
        let span = self.value("/compare/baseline");
        let problem = Diagnostic::error(
            codes::UNKNOWN_BASELINE,
            format!("the baseline {} is not an engine", literal(baseline)),
        )
        .at(span.clone(), "no engine of this name")
        .note(format!(
            "engines: {}",
            list(&nearest(baseline, names.iter().copied()))
        ));
        match similar(baseline, names.iter().copied()) {
            Some(meant) => problem.suggest("an engine with a similar name exists", span, meant),
            None => problem,
        }
    }
}
