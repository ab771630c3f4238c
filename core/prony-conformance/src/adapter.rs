//! Configs and launch plans of adapters.

use crate::sent::Sent;
use crate::{Answer, Fault, Kit, bad_configs, encode, endpoint, model, other_model, questions};
use prony_contract::{ErrorKind, LaunchPlan, Model, Ready, StdioPlan};
use serde_json::Value;

pub(crate) fn configs(kit: &mut Kit<'_>) {
    let config = kit.settings.config.clone();
    if let Err(fault) = launched(kit, &config) {
        kit.finding("config", format!("the config is refused (give one with `--config`, or as `config` in `fixtures/kit.json`): {fault}"));
    }
    check(kit);
    for (what, config) in bad_configs(&config) {
        match launched(kit, &config) {
            Err(Fault::Reported(error)) if error.kind == ErrorKind::InvalidConfig => {}
            Err(fault) => kit.finding(
                "config",
                format!("{what} must give an `invalid-config` error: {fault}"),
            ),
            Ok(()) => kit.finding("config", format!("{what} is accepted")),
        }
    }
    kit.done(
        "config",
        "the example is accepted, nonsense is not".to_owned(),
    );
}

/// Asks the plugin's own `check` about the example.
pub(crate) fn check(kit: &mut Kit<'_>) {
    let config = kit.settings.config.clone();
    let problems = kit.subject.check(&config);
    match &problems {
        Ok(problems) => {
            for problem in problems {
                let words = &problem.message;
                kit.finding(
                    "config",
                    format!("`check` has something against the example: {words}"),
                );
            }
        }
        Err(fault) => kit.finding("config", format!("`check`: {fault}")),
    }
    if kit.subject.check(&config) != problems {
        let message = "`check` answers differently each time".to_owned();
        kit.finding("config", message);
    }
}

fn launched(kit: &Kit<'_>, config: &Value) -> Answer<()> {
    plan(kit, config, &model()).map(drop)
}

/// A plan of either transport.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(crate) enum Plan {
    Http(LaunchPlan),
    Stdio(StdioPlan),
}

impl Plan {
    /// All of it, as JSON: the lines of messages, too.
    fn sent(&self) -> Sent {
        let mut sent = Sent::default();
        match self {
            Self::Http(plan) => sent.add("", &serde_json::json!(plan)),
            Self::Stdio(plan) => {
                sent.add("", &serde_json::json!(plan));
                for (index, message) in plan.opening.iter().enumerate() {
                    let line = serde_json::from_str(&message.line).unwrap_or_default();
                    sent.add(&format!("/opening/{index}"), &line);
                }
            }
        }
        sent
    }

    fn starts_it(&self) -> bool {
        match self {
            Self::Http(plan) => plan.command.is_some(),
            Self::Stdio(_) => true,
        }
    }
}

fn plan(kit: &Kit<'_>, config: &Value, model: &Model) -> Answer<Plan> {
    if kit.stdio() {
        kit.subject.launch_stdio(config, model).map(Plan::Stdio)
    } else {
        let plan = kit.subject.launch(config, model, &endpoint());
        plan.map(Plan::Http)
    }
}

/// Returns `true` if the plan alone tells the engine which model it is to load.
pub(crate) fn names_the_model(kit: &Kit<'_>) -> bool {
    let plans = [model(), other_model()].map(|it| plan(kit, &kit.settings.config, &it).ok());
    let [Some(one), Some(other)] = plans else {
        return false;
    };
    one.starts_it() && one.sent().names(&model()) && other.sent().names(&other_model())
}

pub(crate) fn launch(kit: &mut Kit<'_>) {
    let config = kit.settings.config.clone();
    let made = plan(kit, &config, &model());
    let Ok(made) = made else {
        // The check of the config says it.
        return kit.skipped("launch", "there is no plan");
    };
    if plan(kit, &config, &model()).ok().as_ref() != Some(&made) {
        kit.finding("launch", "answers differently each time".to_owned());
    }
    let problems = match &made {
        Plan::Http(plan) => http_problems(plan),
        Plan::Stdio(plan) => stdio_problems(plan),
    };
    for problem in problems {
        kit.finding("launch", problem);
    }
    let detail = if made.starts_it() {
        "starts the engine"
    } else {
        "attaches to a server"
    };
    kit.done("launch", detail.to_owned());
}

fn stdio_problems(plan: &StdioPlan) -> Vec<String> {
    let mut problems = Vec::new();
    let mut wrong = |message: String| problems.push(message);
    if plan.command.argv.first().is_none_or(String::is_empty) {
        wrong("the command is empty".to_owned());
    }
    match &plan.ready {
        Ready::Http(_) => wrong("nothing can be asked over HTTP".to_owned()),
        Ready::LogLine(text) if text.is_empty() => {
            wrong("an empty ready line is in every line".to_owned());
        }
        _ => {}
    }
    if plan.id_at.is_empty() {
        wrong("`id_at` is empty: no line would be anybody's".to_owned());
    }
    for pointer in plan.id_at.iter().filter(|it| !it.starts_with('/')) {
        wrong(format!("`{pointer}` in `id_at` is no JSON pointer"));
    }
    for message in plan.opening.iter().chain(&plan.closing) {
        for problem in encode::problems(message) {
            wrong(problem);
        }
    }
    problems
}

fn http_problems(plan: &LaunchPlan) -> Vec<String> {
    let mut problems = Vec::new();
    let mut wrong = |message: String| problems.push(message);
    let url = &plan.base_url;
    let rest = url.strip_prefix("http://");
    let authority = rest.or_else(|| url.strip_prefix("https://"));
    let authority = authority.unwrap_or_default();
    if authority.is_empty() || authority.contains(['/', '?', '#']) {
        wrong(format!(
            "the base URL `{url}` is not `http://host:port` without a path"
        ));
    }
    if let Some(command) = &plan.command {
        if command.argv.first().is_none_or(String::is_empty) {
            wrong("the command is empty".to_owned());
        }
        let at = endpoint();
        if authority != format!("{}:{}", at.host, at.port) {
            wrong(format!(
                "a launched server must listen at {}:{}, and the base URL is `{url}`",
                at.host, at.port
            ));
        }
    }
    if let Some(models) = &plan.models
        && !models.path.starts_with('/')
    {
        wrong(format!(
            "the path of the models, `{}`, does not start with `/`",
            models.path
        ));
    }
    let exchanges = plan.load.iter().chain(&plan.unload).chain(&plan.reset);
    let exchanges = exchanges.flat_map(questions::of_exchange);
    let asked = plan.questions.iter().flat_map(questions::problems);
    for problem in asked.chain(exchanges) {
        wrong(problem);
    }
    match &plan.ready {
        Ready::Http(path) if !path.starts_with('/') => {
            wrong(format!("the ready path `{path}` does not start with `/`"));
        }
        Ready::LogLine(text) if text.is_empty() => {
            wrong("an empty ready line is in every line".to_owned());
        }
        _ => {}
    }
    problems
}
