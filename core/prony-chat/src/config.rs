//! The part of a `tokenizer_config.json` that templates need.

use crate::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Texts of a model's special tokens, by the names that templates use, for example
/// `bos_token`. A token that a model does not have is absent.
pub type SpecialTokens = BTreeMap<String, String>;

/// A chat template and the special tokens that it refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The template, if there is one.
    pub template: Option<String>,
    /// The special tokens.
    pub tokens: SpecialTokens,
}

impl Config {
    /// Reads the content of a `tokenizer_config.json`. Of several templates, it takes the
    /// one called `default`. Fails with [`Error::Config`] or [`Error::NoDefault`].
    pub fn from_json(content: &[u8]) -> Result<Self> {
        let config: Map<String, Value> =
            serde_json::from_slice(content).map_err(|error| Error::Config(error.to_string()))?;
        let template = match config.get("chat_template") {
            None | Some(Value::Null) => None,
            Some(Value::String(template)) => Some(template.clone()),
            Some(Value::Array(templates)) => Some(default_of(templates)?),
            Some(_) => {
                return Err(Error::Config(
                    "`chat_template` is neither a text nor a list of templates".to_owned(),
                ));
            }
        };
        let token = |(name, value): (&String, &Value)| {
            let text = value.as_str().or_else(|| value["content"].as_str())?;
            (name.ends_with("_token")).then(|| (name.clone(), text.to_owned()))
        };
        Ok(Self {
            template,
            tokens: config.iter().filter_map(token).collect(),
        })
    }
}

/// The template called `default`, or the only one.
fn default_of(templates: &[Value]) -> Result<String> {
    let named = |it: &Value| {
        Some((
            it["name"].as_str()?.to_owned(),
            it["template"].as_str()?.to_owned(),
        ))
    };
    let all: Option<Vec<(String, String)>> = templates.iter().map(named).collect();
    let all = all.ok_or_else(|| {
        Error::Config("an entry of `chat_template` lacks `name` or `template`".to_owned())
    })?;
    if let Some((_, template)) = all.iter().find(|(name, _)| name == "default") {
        return Ok(template.clone());
    }
    if let [(_, only)] = all.as_slice() {
        return Ok(only.clone());
    }
    let found: Vec<String> = all.iter().map(|(name, _)| format!("`{name}`")).collect();
    Err(Error::NoDefault(found.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Config> {
        Config::from_json(json.as_bytes())
    }

    #[test]
    fn tokens_are_texts_or_objects_and_null_is_none() {
        let config = read(
            r#"{"chat_template":"t","bos_token":{"content":"<s>","lstrip":false},"eos_token":"</s>",
                "pad_token":null,"add_bos_token":true,"tokenizer_class":"Fast"}"#,
        )
        .expect("a config");
        assert_eq!(config.template.as_deref(), Some("t"));
        let tokens: Vec<_> = config.tokens.iter().map(|(a, b)| (&**a, &**b)).collect();
        assert_eq!(tokens, [("bos_token", "<s>"), ("eos_token", "</s>")]);
        assert_eq!(read("{}").expect("a config"), Config::default());
    }

    #[test]
    fn of_several_templates_the_default_is_taken() {
        let several = r#"{"chat_template":[{"name":"tool_use","template":"a"},{"name":"default","template":"b"}]}"#;
        assert_eq!(
            read(several).expect("a config").template.as_deref(),
            Some("b")
        );
        let one = r#"{"chat_template":[{"name":"rag","template":"a"}]}"#;
        assert_eq!(read(one).expect("a config").template.as_deref(), Some("a"));
        let none =
            r#"{"chat_template":[{"name":"rag","template":"a"},{"name":"x","template":"b"}]}"#;
        assert_eq!(read(none), Err(Error::NoDefault("`rag`, `x`".to_owned())));
    }

    #[test]
    fn what_is_no_config_is_told() {
        for (json, reason) in [
            ("[]", "expected a map"),
            (r#"{"chat_template":1}"#, "neither a text nor a list"),
            (
                r#"{"chat_template":[{"name":"a"}]}"#,
                "lacks `name` or `template`",
            ),
        ] {
            let error = read(json).expect_err(json).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
