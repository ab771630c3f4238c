//! What templates can name when the run has come to them, and what depends on it.

use prony_config::{Condition, Segment, template};
use prony_plan::Ids;
use serde_json::{Value, json};
use std::path::Path;

/// Of a matrix point, or of `setup`: `base` is the matrix point's own, to which is added what
/// the run knows.
pub(crate) fn context(base: &Value, cache: &Path, folder: &Path, stages: &Value) -> Value {
    let mut context = base.clone();
    context["prony"] = json!({ "cache": text(cache) });
    context["pipeline"] = json!({ "dir": text(folder) });
    context["stages"] = stages.clone();
    context
}

/// `stages` before any step has given an output. Every stage is there, so that
/// the output of one that is left out can have a default.
pub(crate) fn no_outputs<'a>(ids: impl IntoIterator<Item = &'a str>) -> Value {
    let stage = |id: &str| (id.to_owned(), json!({ "outputs": {} }));
    Value::Object(ids.into_iter().map(stage).collect())
}

/// The ids of all stages of a matrix point.
pub(crate) fn all_ids(segments: &[Segment]) -> Vec<String> {
    let ids = |Ids { load, work, unload }: Ids| [vec![load], work, vec![unload]].concat();
    prony_plan::ids(segments)
        .into_iter()
        .flat_map(ids)
        .collect()
}

/// Evaluates the `if` of a stage or a step.
pub(crate) fn evaluate(condition: &Condition, context: &Value) -> Result<bool, String> {
    let template = match condition {
        Condition::Is(value) => return Ok(*value),
        Condition::When(template) => template,
    };
    let value = template::render_value(&Value::from(template.as_str()), context)
        .map_err(|error| format!("`if`: {error}"))?;
    // The value itself may be a secret.
    let what = match &value {
        Value::Bool(value) => return Ok(*value),
        Value::String(_) => "a text",
        Value::Number(_) => "a number",
        _ => "something else",
    };
    Err(format!(
        "`if: {template}` gives {what}, and neither `true` nor `false`: compare it with something, as in `${{{{ … == 'yes' }}}}`"
    ))
}

pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn when(template: &str) -> Result<bool, String> {
        let context = json!({
            "engine": { "name": "a" },
            "stages": { "setup": { "outputs": { "gpu": "true", "cards": "2" } } },
        });
        evaluate(&Condition::When(template.to_owned()), &context)
    }

    #[test]
    fn conditions_are_true_or_false() {
        assert_eq!(evaluate(&Condition::Is(false), &Value::Null), Ok(false));
        assert_eq!(when("${{ engine.name == 'a' }}"), Ok(true));
        assert_eq!(when("${{ engine.name == 'b' }}"), Ok(false));
        assert_eq!(
            when("${{ stages.setup.outputs.cards | int > 1 }}"),
            Ok(true)
        );
    }

    #[test]
    fn an_output_that_was_not_given_can_have_a_default() {
        let context = context(
            &json!({ "vars": { "x": 1 } }),
            Path::new("/cache"),
            Path::new("/pipeline"),
            &no_outputs(["setup", "load"]),
        );
        let condition = "${{ stages.load.outputs.ready | default('no') == 'no' }}";
        assert_eq!(
            evaluate(&Condition::When(condition.to_owned()), &context),
            Ok(true)
        );
        assert_eq!(context["vars"]["x"], 1);
        assert_eq!(context["prony"]["cache"], "/cache");
    }

    #[test]
    fn what_is_neither_is_told() {
        // A text, even one that says so: `"false"` would otherwise be true to some.
        let problem = when("${{ stages.setup.outputs.gpu }}").expect_err("a text");
        assert!(problem.contains("gives a text, and neither"), "{problem}");
        assert!(problem.contains("`${{ … == 'yes' }}`"), "{problem}");
        let problem = when("${{ stages.setup.outputs.none == 1 }}").expect_err("unknown");
        assert!(problem.starts_with("`if`: cannot evaluate"), "{problem}");
    }
}
