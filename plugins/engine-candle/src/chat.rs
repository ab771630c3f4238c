//! Chat templates: the Jinja dialect of `transformers`, on minijinja.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{ValueKind, from_args};
use minijinja::{Environment, Error as JinjaError, ErrorKind as JinjaKind, Value, context};
use prony_plugin_sdk::{ChatMessage, Error, Result};

/// The template of synthetic models.
pub(crate) const TRIVIAL: &str = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    begin: String,
    end: String,
}

impl ChatTemplate {
    /// Compiles a template; `begin` and `end` are the texts of the tokens known to
    /// templates as `bos_token` and `eos_token`.
    pub fn new(source: &str, begin: &str, end: &str) -> Result<Self> {
        let mut environment = Environment::new();
        // As in transformers.
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|error| {
            Error::new(prony_plugin_sdk::ErrorKind::Internal, error.to_string())
        })?);
        environment.add_function(
            "raise_exception",
            |message: String| -> std::result::Result<Value, JinjaError> {
                Err(JinjaError::new(JinjaKind::InvalidOperation, message))
            },
        );
        environment.set_unknown_method_callback(|state, value, method, args| match value.kind() {
            ValueKind::String => string_method(value.as_str().unwrap_or_default(), method, args),
            ValueKind::Map => match method {
                "get" => {
                    let (key, default): (Value, Option<Value>) = from_args(args)?;
                    let found = value.get_item(&key)?;
                    Ok(if found.is_undefined() {
                        default.unwrap_or(Value::from(()))
                    } else {
                        found
                    })
                }
                "items" => state.apply_filter("items", std::slice::from_ref(value)),
                "keys" => Ok(value.try_iter()?.collect()),
                _ => Err(JinjaError::from(JinjaKind::UnknownMethod)),
            },
            _ => Err(JinjaError::from(JinjaKind::UnknownMethod)),
        });
        environment
            .add_template_owned("chat", source.to_owned())
            .map_err(|error| {
                Error::engine(format!("the model's chat template is not usable: {error}"))
            })?;
        Ok(Self {
            environment,
            begin: begin.to_owned(),
            end: end.to_owned(),
        })
    }

    /// The prompt of a conversation whose last message is `user`'s.
    pub fn render(
        &self,
        system: Option<&str>,
        history: &[ChatMessage],
        user: &str,
    ) -> Result<String> {
        let said =
            |it: &ChatMessage| context! { role => it.role.name(), content => it.content.as_str() };
        let messages: Vec<Value> = system
            .map(|content| context! { role => "system", content })
            .into_iter()
            .chain(history.iter().map(said))
            .chain([context! { role => "user", content => user }])
            .collect();
        self.environment
            .get_template("chat")
            .and_then(|template| {
                template.render(context! {
                    messages,
                    add_generation_prompt => true,
                    bos_token => self.begin.as_str(),
                    eos_token => self.end.as_str(),
                })
            })
            .map_err(|error| Error::engine(format!("the model's chat template failed: {error}")))
    }
}

/// The methods of Python strings that templates call.
fn string_method(
    text: &str,
    method: &str,
    args: &[Value],
) -> std::result::Result<Value, JinjaError> {
    let set = |args: &[Value]| -> std::result::Result<Vec<char>, JinjaError> {
        let (characters,): (Option<String>,) = from_args(args)?;
        Ok(characters.map_or_else(
            || vec![' ', '\t', '\n', '\r', '\u{b}', '\u{c}'],
            |characters| characters.chars().collect(),
        ))
    };
    let one = |args: &[Value]| from_args::<(String,)>(args).map(|(text,)| text);
    Ok(match method {
        "strip" => Value::from(text.trim_matches(&*set(args)?)),
        "lstrip" => Value::from(text.trim_start_matches(&*set(args)?)),
        "rstrip" => Value::from(text.trim_end_matches(&*set(args)?)),
        "upper" => Value::from(text.to_uppercase()),
        "lower" => Value::from(text.to_lowercase()),
        "startswith" => Value::from(text.starts_with(&one(args)?)),
        "endswith" => Value::from(text.ends_with(&one(args)?)),
        "replace" => {
            let (from, to): (String, String) = from_args(args)?;
            Value::from(text.replace(&from, &to))
        }
        "split" => {
            let (separator,): (Option<String>,) = from_args(args)?;
            match separator.as_deref() {
                Some("") => {
                    return Err(JinjaError::new(
                        JinjaKind::InvalidOperation,
                        "empty separator",
                    ));
                }
                Some(separator) => text.split(separator).map(Value::from).collect(),
                None => text.split_whitespace().map(Value::from).collect(),
            }
        }
        _ => return Err(JinjaError::from(JinjaKind::UnknownMethod)),
    })
}
