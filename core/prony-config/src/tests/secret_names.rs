//! Secrets and the names that they must not be in.

use prony_diagnostic::human;

use super::fixtures::with;
use super::plugins::Installed;
use crate::{Inputs, load_all};

#[test]
fn a_name_that_holds_a_secret_is_refused_where_it_stands() {
    let text = "version: 1
name: pipeline-name
env: [SECRET_KEY]
engines:
  engine-a: { plugin: mock }
  engine-b: { plugin: mock }
compare: { baseline: engine-a }
models: [{ id: model-id }, { id: other }]
matrix: { axes: { axis_name: [axis-value, other-value] } }
workload: { prompts: [\"${{ matrix.axis_name }}\"], api: completions, max_tokens: 8, temperature: 0 }
schedule: { cycles: 6, order: interleaved }
thresholds: [{ metric: success_rate, min: 0.5 }]
reporters: { reporter-name: { plugin: markdown } }
stages:
  - warmup: { requests: 1 }
  - measure: { id: stage_name, requests: 1 }
  - report: { reporters: [reporter-name] }
";
    let load = |secret: &str| {
        let secret = secret.to_owned();
        let inputs = Inputs {
            env: &|name| (name == "SECRET_KEY").then(|| secret.clone()),
            ..Inputs::one("a.yaml", text, &Installed)
        };
        load_all(&inputs)
    };
    for (secret, line) in [
        ("pipeline-name", 2),
        ("engine-a", 5),
        ("ENGINE-A", 5),
        ("gine-b", 6),
        ("model-id", 8),
        ("axis_name", 9),
        ("axis-value", 9),
        ("reporter-name", 13),
        ("markdown", 13),
        ("warmup", 15),
        ("stage_name", 16),
        ("interleaved", 11),
        ("success_rate", 12),
        ("completions", 10),
    ] {
        let problems = load(secret).expect_err(secret);
        let errors = problems.iter().filter(|it| it.is_error());
        assert!(errors.clone().count() > 0, "{secret}: {problems:?}");
        assert!(
            errors.clone().all(|it| it.code == "P0208"),
            "{secret}: {problems:?}"
        );
        let shown = human(&problems, false);
        assert!(
            shown.contains(&format!("a.yaml:{line}:")),
            "{secret}: {shown}"
        );
        assert!(!shown.contains(&format!("`{secret}`")), "{shown}");
    }
    // Not in what is sent or measured by another name.
    let loaded = load("something else").expect("a pipeline");
    assert_eq!(loaded.pipeline.models.len(), 2);
}

#[test]
fn a_secret_in_a_command_is_called_by_its_variable() {
    let text = with(
        "env: [MY_API_KEY]\nengine: { plugin: mock, config: { command: \"serve --key ${{ env.MY_API_KEY }} x\" } }\nworkload: { prompts: [a] }",
    );
    let inputs = Inputs {
        env: &|name| (name == "MY_API_KEY").then(|| "sk-0123456789".to_owned()),
        ..Inputs::one("a.yaml", &text, &Installed)
    };
    let secrets = load_all(&inputs).expect("a pipeline").pipeline.secrets;
    assert_eq!(secrets.mask("x sk-0123456789"), "x (secret MY_API_KEY)");
}
