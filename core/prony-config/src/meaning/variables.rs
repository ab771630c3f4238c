//! Finds unused variables and unused `allow` entries.

use prony_diagnostic::Diagnostic;

use super::{Document, known};
use crate::template::Filled;
use crate::wording::{alternatives, literal, offer, similar};
use crate::{CODES, codes};

impl Document<'_> {
    pub(super) fn variables(&self, filled: &Filled, out: &mut Vec<Diagnostic>) {
        // Invalid names are reported by the schema.
        let is_name = |name: &str| {
            let mut chars = name.chars();
            chars
                .next()
                .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let is_used = |name: &str| {
            if !name.split_once('.').is_some_and(|(_, name)| is_name(name)) {
                return true;
            }
            let below = format!("{name}.");
            let mut from = filled.used.range(below.clone()..);
            filled.used.contains(name) || from.next().is_some_and(|used| used.starts_with(&below))
        };
        let mut unused = |name: &str, span, help: &str| {
            if !is_used(name) {
                let message = format!("{} is not used", literal(name));
                out.push(
                    Diagnostic::warning(codes::UNUSED_VARIABLE, message)
                        .at(span, "in no template")
                        .help(help.to_owned()),
                );
            }
        };
        let vars = self.entry("vars").map(|vars| vars.value.entries());
        for var in vars.unwrap_or_default() {
            let help = format!("use it as `${{{{ vars.{} }}}}`, or remove it", var.key);
            unused(&format!("vars.{}", var.key), var.key_span.clone(), &help);
        }
        let env = self.entry("env").map(|env| env.value.items());
        for name in env.unwrap_or_default() {
            let Some(text) = name.text() else { continue };
            let help = format!("use it as `${{{{ env.{text} }}}}`, or remove it");
            unused(&format!("env.{text}"), name.span.clone(), &help);
        }
        let axes = self
            .entry("matrix")
            .and_then(|matrix| matrix.value.entry("axes"))
            .map(|axes| axes.value.entries());
        for axis in axes.unwrap_or_default() {
            let help = format!(
                "use it as `${{{{ matrix.{} }}}}`, or remove it: its points are all the same",
                axis.key
            );
            unused(
                &format!("matrix.{}", axis.key),
                axis.key_span.clone(),
                &help,
            );
        }
    }

    /// Checks that `allow` names existing warnings.
    pub(super) fn allowed(&self, out: &mut Vec<Diagnostic>) {
        let section = self.entry("allow").map(|allow| allow.value.items());
        for code in section
            .unwrap_or_default()
            .iter()
            .filter_map(|a| a.entry("code"))
        {
            let Some(text) = known(&code.value) else {
                continue;
            };
            let warnings: Vec<&str> = CODES
                .iter()
                .filter(|c| c.is_warning())
                .map(|c| c.code)
                .collect();
            if warnings.contains(&text) || !is_code(text) {
                continue;
            }
            let exists = CODES.iter().any(|code| code.code == text);
            let message = if exists {
                format!("the error {} cannot be allowed", literal(text))
            } else {
                format!("there is no warning {}", literal(text))
            };
            let problem = Diagnostic::error(codes::UNKNOWN_WARNING, message)
                .at(code.value.span.clone(), "not a warning")
                .note(alternatives("warnings", text, &warnings));
            out.push(offer(
                problem,
                similar(text, warnings.iter().copied()).filter(|_| !exists),
                &code.value.span,
                "a warning with a similar code",
                "remove the entry: only warnings can be allowed",
            ));
        }
    }
}

/// Returns `true` if a text has the form of a code; otherwise the schema reports it.
fn is_code(text: &str) -> bool {
    text.len() == 5
        && text.starts_with(['F', 'P'])
        && text.bytes().skip(1).all(|b| b.is_ascii_digit())
}
