//! Check-up pipelines: every engine once, with a few equal requests.

use serde_json::{Map, Value, json};

use crate::fairness;
use crate::plugins::Plugins;
use crate::stage::{OnFailure, Warmup, Work};
use crate::{Condition, Duration, Engine, Pipeline};

/// Requests to each engine in a check-up.
pub const CHECKUP_REQUESTS: u32 = 3;
/// Maximum number of tokens of an answer in a check-up.
const MAX_TOKENS: u64 = 48;

/// Makes the pipeline file of a check-up, which loads like any other: one cycle, the first
/// enabled model, the first value of each axis, and [`CHECKUP_REQUESTS`] times the same
/// request without a warm-up. `setup`, `load` and `unload` stay; thresholds and reporters
/// go.
pub fn checkup(pipeline: &Pipeline) -> Value {
    let mut file = pipeline.resolved.clone();
    let Some(root) = file.as_object_mut() else {
        return file;
    };
    for key in ["thresholds", "reporters", "allow"] {
        root.shift_remove(key);
    }
    root.insert("schedule".to_owned(), json!({ "cycles": 1 }));
    if let Some(Value::Object(matrix)) = root.get_mut("matrix") {
        matrix.shift_remove("include");
        for (_, values) in matrix.iter_mut().filter(|(key, _)| *key != "exclude") {
            first_of(values);
        }
    }
    if let Some(Value::Array(models)) = root.get_mut("models") {
        models.retain(|model| model["enabled"] != false);
        models.truncate(1);
    }
    if let Some(Value::Object(workload)) = root.get_mut("workload") {
        one_request(workload);
    }
    let given = root.shift_remove("stages");
    let given = given.as_ref().and_then(Value::as_array);
    let stage = |kind: &str| {
        let mut stages = given.into_iter().flatten();
        let found = stages.find(|stage| stage.get(kind).is_some());
        found.cloned().unwrap_or_else(|| json!({ kind: {} }))
    };
    let measure = json!({ "measure": { "requests": CHECKUP_REQUESTS } });
    let report = json!({ "report": { "reporters": ["json"] } });
    let stages = [
        stage("setup"),
        stage("load"),
        measure,
        stage("unload"),
        report,
    ];
    root.insert("stages".to_owned(), stages.into_iter().collect());
    file
}

/// Leaves one prompt and short answers.
fn one_request(workload: &mut Map<String, Value>) {
    for key in ["prompts", "prompt_files"] {
        if let Some(values) = workload.get_mut(key) {
            first_of(values);
        }
    }
    if workload
        .get("prompts")
        .is_some_and(|it| it.as_array().is_some_and(|it| !it.is_empty()))
    {
        workload.shift_remove("prompt_files");
    }
    for (source, count) in [("dataset", "limit"), ("synthetic", "count")] {
        if let Some(Value::Object(source)) = workload.get_mut(source) {
            source.insert(count.to_owned(), json!(1));
            source.shift_remove("sample");
        }
    }
    if workload["max_tokens"]
        .as_u64()
        .is_none_or(|most| most > MAX_TOKENS)
    {
        workload.insert("max_tokens".to_owned(), json!(MAX_TOKENS));
    }
}

/// A question that a check-up asks an engine with one request, or with two equal ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// A request that says nothing special, for comparison.
    Plain,
    /// The same, which is to stop at a word of the plain answer.
    Stop,
    /// The same, which is not to end before `max_tokens`.
    IgnoreEos,
    /// A request that samples, with another seed than the next.
    OtherSeed,
    /// Two equal requests that sample.
    Seed,
    /// A prompt that is longer than the context.
    Context,
}

impl Ask {
    /// The questions, in order. The last may keep an engine busy.
    pub const ALL: [Self; 6] = [
        Self::Plain,
        Self::Stop,
        Self::IgnoreEos,
        Self::OtherSeed,
        Self::Seed,
        Self::Context,
    ];

    /// Beginning of the id of its stages.
    fn stage(self) -> &'static str {
        match self {
            Self::Plain => "ask_plain",
            Self::Stop => "ask_stop",
            Self::IgnoreEos => "ask_ignore_eos",
            Self::OtherSeed => "ask_other_seed",
            Self::Seed => "ask_seed",
            Self::Context => "ask_context",
        }
    }

    /// The question that is asked in a stage.
    pub fn of_stage(id: &str) -> Option<Self> {
        let is_it = |ask: &Self| id.starts_with(ask.stage());
        Self::ALL.into_iter().find(is_it)
    }

    fn requests(self) -> u32 {
        match self {
            Self::Seed => 2,
            _ => 1,
        }
    }

    /// Content of its requests; `context` is the engine's context length, in tokens.
    fn question(self, context: u32) -> Question {
        let plain = Question {
            prompt: "What is the capital of France? Answer with one sentence.".to_owned(),
            max_tokens: MAX_TOKENS_OF_QUESTION,
            temperature: 0.0,
            seed: 1,
            ignore_eos: false,
            stops_at_word_of: None,
        };
        let sampled = || "Write a story about a traveller.".to_owned();
        match self {
            Self::Plain => plain,
            Self::Stop => Question {
                stops_at_word_of: Some(Self::Plain.stage()),
                ..plain
            },
            Self::IgnoreEos => Question {
                ignore_eos: true,
                ..plain
            },
            Self::OtherSeed | Self::Seed => Question {
                prompt: sampled(),
                temperature: 1.0,
                seed: if self == Self::Seed { 1 } else { 2 },
                ..plain
            },
            Self::Context => Question {
                prompt: vec!["apple"; too_many(context) as usize].join(" "),
                max_tokens: 1,
                ..plain
            },
        }
    }
}

/// Maximum number of tokens of the answer to a question.
const MAX_TOKENS_OF_QUESTION: u32 = 24;
/// Time allowed for the answer to a question.
const TIME: Duration = Duration::from_secs(20);
/// Context lengths above which no prompt is sent to see what becomes of it, in tokens.
const LARGEST_CONTEXT: u32 = 1 << 17;

/// Content of a request that asks what an engine honours.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The prompt, after the workload's system message.
    pub prompt: String,
    /// Maximum number of tokens to generate.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Sampling seed.
    pub seed: u64,
    /// Forces the engine to generate `max_tokens`.
    pub ignore_eos: bool,
    /// Id of the stage whose answer has the word to stop at ([`stop_word`]).
    pub stops_at_word_of: Option<&'static str>,
}

/// Number of words that are at least as many tokens as no context of this length takes, also
/// if an engine rounds it up.
pub fn too_many(context: u32) -> u32 {
    const ROUNDED: u32 = 512;
    context.saturating_add(ROUNDED)
}

/// Context length that an engine is given, in tokens, by its options and their defaults;
/// `None` if it is not known before the run.
pub fn context_of(engine: &Engine, plugins: &dyn Plugins) -> Option<u32> {
    let (_, length) = fairness::option_of(engine, "context", plugins)?;
    u32::try_from(length.as_u64()?).ok()
}

/// Option of an engine with a role in comparisons, as a line of the pipeline that gives it
/// `value`; `None` if the engine has no such option.
pub fn setting(
    engine: &Engine,
    role: &str,
    value: &Value,
    plugins: &dyn Plugins,
) -> Option<String> {
    let (keys, _) = fairness::option_of(engine, role, plugins)?;
    let nested = |inner: String, key: &String| format!("{{ {key}: {inner} }}");
    let config = keys.iter().rev().fold(value.to_string(), nested);
    Some(format!(
        "engines: {{ {}: {{ config: {config} }} }}",
        engine.name
    ))
}

/// A text to stop at, which occurs in `answer` after other text: a word from its middle, or
/// the end of its only word.
pub fn stop_word(answer: &str) -> Option<&str> {
    let words: Vec<&str> = answer.split_whitespace().collect();
    let text = match words.as_slice() {
        [] => return None,
        [word] => {
            let middle = word.char_indices().nth(word.chars().count() / 2);
            middle.map_or("", |(at, _)| &word[at..])
        }
        words => words[words.len() / 2],
    };
    let at = answer.find(text)?;
    let is_after_text = !answer[..at].trim().is_empty();
    is_after_text.then_some(text)
}

/// Adds the questions to a check-up, after its requests.
pub fn ask(pipeline: &mut Pipeline, plugins: &dyn Plugins) {
    for point in &mut pipeline.points {
        let mut stages = Vec::new();
        for ask in Ask::ALL {
            let stage = |id: String, condition: Condition, context: u32| {
                Work::Warmup(Warmup {
                    id: Some(id),
                    condition,
                    requests: ask.requests(),
                    timeout: Some(TIME),
                    on_failure: OnFailure::Continue,
                    question: Some(ask.question(context)),
                    ..Warmup::default()
                })
            };
            if ask != Ask::Context {
                stages.push(stage(ask.stage().to_owned(), Condition::Is(true), 0));
                continue;
            }
            for (number, engine) in point.engines.iter().enumerate() {
                let context = context_of(engine, plugins);
                // A longer prompt would take longer than everything else together.
                if let Some(context) = context.filter(|it| *it <= LARGEST_CONTEXT) {
                    let is_it = format!("${{{{ engine.name == {} }}}}", json!(engine.name));
                    let id = format!("{}_{number}", ask.stage());
                    stages.push(stage(id, Condition::When(is_it), context));
                }
            }
        }
        for segment in &mut point.segments {
            segment.work.append(&mut stages);
        }
    }
}

fn first_of(values: &mut Value) {
    if let Value::Array(values) = values {
        values.truncate(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_to_stop_at_comes_after_other_text() {
        assert_eq!(stop_word("The capital is Paris."), Some("is"));
        assert_eq!(stop_word(" t0 t1"), Some("t1"));
        assert_eq!(stop_word("Paris"), Some("ris"));
        assert_eq!(stop_word("na\u{ef}f\u{e9}"), Some("\u{ef}f\u{e9}"));
        for text in ["", " ", "a", "it it it"] {
            assert_eq!(stop_word(text), None, "{text}");
        }
    }

    #[test]
    fn each_question_has_its_stage() {
        for ask in Ask::ALL {
            assert_eq!(Ask::of_stage(&format!("{}_1", ask.stage())), Some(ask));
        }
        assert_eq!(Ask::of_stage("measure"), None);
    }
}
